"""CPU of a client's DLMS session: ours beside dlms-cosem 21.3.2, and beside our codec with a bare asyncio.Protocol.

One session: connect by TCP wrapper, associate with GMAC and AES-GCM (general-glo: the peer knows no other), read four
registers one by one and 24 rows of a load profile by range, with times as UTC and values as numbers, release, close.
One session of each client is recorded from our meter side; with the same keys, counters and challenge its answers fit
again and again. So answers come from memory, or from another process that only replays them, and `process_time` is the
client's alone. The two clients are compared from memory, where the sockets of asyncio and of the peer, which blocks, do
not count; over sockets they are a figure without a limit. All take turns in one run, and a figure is the median of the
rounds' ratios, which a busy machine disturbs less than times. The peer's log, which costs it a fifth more, is off.
"""

import asyncio
import logging
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection as Pipe
from typing import Any, cast

from dlms_cosem import cosem, enumerations, utils  # type: ignore[import-untyped]
from dlms_cosem.clients.blocking_tcp_transport import BlockingTcpTransport  # type: ignore[import-untyped]
from dlms_cosem.clients.dlms_client import DlmsClient as PeerClient  # type: ignore[import-untyped]
from dlms_cosem.cosem.capture_object import CaptureObject as PeerColumn  # type: ignore[import-untyped]
from dlms_cosem.cosem.selective_access import RangeDescriptor  # type: ignore[import-untyped]
from dlms_cosem.parsers import ProfileGenericBufferParser  # type: ignore[import-untyped]
from dlms_cosem.protocol.wrappers import WrapperHeader, WrapperProtocolDataUnit  # type: ignore[import-untyped]

from benchmarks.dlms_session import (
    CHALLENGE,
    COLUMNS,
    FIRST,
    KEYS,
    LAST,
    OFFSET_MIN,
    PEERS,
    REGISTERS,
    ROWS_WANTED,
    TITLE,
    Exchanges,
    live_in_memory,
    new_client,
    recorded,
    requests,
    understood,
)
from benchmarks.figures import Figure, Report
from protocols.dlms.client import DlmsClient
from protocols.dlms.obis import LOAD_PROFILE, Obis
from protocols.dlms.terms import Outcome

NAME = "dlms"
SESSIONS = 200
"""In a round, of each client: a tenth of a second and more."""
AT_ONCE = 10
"""Sessions of an asyncio client at a time, as a collector has them."""
ROUNDS = 9
CLIENTS = {
    "codec": "our codec in memory",
    "peer_codec": "dlms-cosem 21.3.2 in memory",
    "bare": "a bare asyncio.Protocol",
    "ours": "our client over asyncio",
    "peer": "dlms-cosem 21.3.2 over a blocking socket",
}
"""By the method of `_Clients`, in the order in which they take turns."""


class _Replay(asyncio.Protocol):
    """The recorded answers, one for each request."""

    def __init__(self, answers: list[bytes]) -> None:
        self._answers = iter(answers)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        del data
        self._transport.write(next(self._answers))


def _serve(pipe: Pipe, ours: list[bytes], peers: list[bytes]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        servers = [
            await loop.create_server(lambda answers=answers: _Replay(answers), "127.0.0.1", 0)  # type: ignore[misc]
            for answers in (ours, peers)
        ]
        pipe.send(tuple(server.sockets[0].getsockname()[1] for server in servers))
        await loop.run_in_executor(None, pipe.recv)

    asyncio.run(main())


class _Host(asyncio.Protocol):
    """Our client on a socket: one future for each thing that is waited for."""

    def __init__(self, client: DlmsClient) -> None:
        self._client = client
        self._waiting: asyncio.Future[Outcome] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        out, outcomes = self._client.receive(data)
        if out:
            self.transport.write(out)
        if outcomes and self._waiting is not None:
            self._waiting.set_result(outcomes[0])

    async def ask(self, out: bytes) -> Outcome:
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(out)
        return await self._waiting


class _Bare(asyncio.Protocol):
    """Writes the recorded requests: what asyncio itself costs."""

    def __init__(self, requests: list[bytes], done: asyncio.Future[None]) -> None:
        self._requests = iter(requests)
        self._done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        del data
        following = next(self._requests, None)
        if following is None:
            self._done.set_result(None)
        else:
            self.transport.write(following)


class _Clients:
    """Each client lives some sessions and gives the CPU seconds of it."""

    def __init__(self, ours: Exchanges, peers: Exchanges, our_port: int, peer_port: int) -> None:
        self._ours = ours
        self._peers = peers
        self._our_port = our_port
        self._peer_port = peer_port

    def codec(self, sessions: int) -> float:
        answers = [answer for _, answer in self._ours]
        started = time.process_time()
        for _ in range(sessions):
            replayed = iter(answers)
            live_in_memory(lambda _, replayed=replayed: next(replayed))  # type: ignore[misc]
        return time.process_time() - started

    def peer_codec(self, sessions: int) -> float:
        answers = [answer for _, answer in self._peers]
        started = time.process_time()
        for _ in range(sessions):
            replayed = iter(answers)
            _peer_session(_PeerInMemory(lambda _, replayed=replayed: next(replayed)))  # type: ignore[misc]
        return time.process_time() - started

    def ours(self, sessions: int) -> float:
        return asyncio.run(_several(self._session, sessions))

    async def _session(self) -> None:
        loop, client = asyncio.get_running_loop(), new_client()
        _, host = await loop.create_connection(lambda: _Host(client), "127.0.0.1", self._our_port)
        outcomes = [await host.ask(client.connect())]
        outcomes += [await host.ask(client.send(request())) for request in requests(client)]
        understood(outcomes)
        host.transport.close()

    def bare(self, sessions: int) -> float:
        return asyncio.run(_several(self._bare_session, sessions))

    async def _bare_session(self) -> None:
        loop = asyncio.get_running_loop()
        sent, done = [request for request, _ in self._ours], loop.create_future()
        _, bare = await loop.create_connection(lambda: _Bare(sent, done), "127.0.0.1", self._our_port)
        await done
        bare.transport.close()

    def peer(self, sessions: int) -> float:
        started = time.process_time()
        for _ in range(sessions):
            _peer_session(BlockingTcpTransport("127.0.0.1", self._peer_port, PEERS, 1))
        return time.process_time() - started


async def _several(session: Callable[[], Awaitable[None]], sessions: int) -> float:
    """CPU seconds of so many sessions, `AT_ONCE` at a time."""

    async def one_after_another(count: int) -> None:
        for _ in range(count):
            await session()

    started = time.process_time()
    await asyncio.gather(*(one_after_another(sessions // AT_ONCE) for _ in range(AT_ONCE)))
    return time.process_time() - started


def _attribute(class_id: int, obis: Obis, attribute: int) -> Any:
    return cosem.CosemAttribute(enumerations.CosemInterface(class_id), cosem.Obis(*obis), attribute)


PEER_COLUMNS = [_attribute(one.class_id, one.obis, one.attribute) for one in COLUMNS]


class _PeerInMemory:
    """The peer's transport without a socket."""

    client_logical_address = PEERS
    server_logical_address = 1
    timeout = 1

    def __init__(self, wire: Callable[[bytes], bytes]) -> None:
        self._wire = wire

    def connect(self) -> None: ...

    def disconnect(self) -> None: ...

    def send(self, apdu: bytes) -> bytes:
        answer = self._wire(WrapperProtocolDataUnit(apdu, WrapperHeader(PEERS, 1, len(apdu))).to_bytes())
        return answer[8 : 8 + WrapperHeader.from_bytes(answer[:8]).length]


def _peer_session(transport: Any) -> None:
    client = PeerClient(
        client_logical_address=PEERS,
        server_logical_address=1,
        io_interface=transport,
        authentication_method=enumerations.AuthenticationMechanism.HLS_GMAC,
        encryption_key=KEYS.block_key,
        authentication_key=KEYS.authentication_key,
        client_system_title=TITLE,
        client_initial_invocation_counter=1,
    )
    client.dlms_connection.client_to_meter_challenge = CHALLENGE
    client.connect()
    client.associate()
    values = [utils.parse_as_dlms_data(client.get(_attribute(3, obis, 2))) for obis in REGISTERS]
    first, last = (
        (datetime.fromtimestamp(at, UTC) + timedelta(minutes=OFFSET_MIN)).replace(tzinfo=None) for at in (FIRST, LAST)
    )
    column = PeerColumn(cosem_attribute=PEER_COLUMNS[0], data_index=0)
    wanted = RangeDescriptor(restricting_object=column, from_value=first, to_value=last)
    raw = client.get(_attribute(7, LOAD_PROFILE, 2), access_descriptor=wanted)
    table = ProfileGenericBufferParser(PEER_COLUMNS, 15).parse_bytes(raw)
    client.release_association()
    client.disconnect()
    if values != [123_456] * 4 or len(table) != ROWS_WANTED:
        raise RuntimeError("the peer read something else")


def run(*, smoke: bool) -> Report:
    """Measure; see the module's docstring."""
    sessions, rounds = (AT_ONCE, 1) if smoke else (SESSIONS, ROUNDS)
    logging.disable(logging.CRITICAL)
    ours, peers = recorded(live_in_memory), recorded(lambda wire: _peer_session(_PeerInMemory(wire)))
    context = multiprocessing.get_context("spawn")
    pipe, far = context.Pipe()
    server = context.Process(target=_serve, args=(far, *([b for _, b in one] for one in (ours, peers))), daemon=True)
    server.start()
    spent: dict[str, list[float]] = {name: [] for name in CLIENTS}
    try:
        clients = _Clients(ours, peers, *pipe.recv())
        for _ in range(rounds):
            for name, times in spent.items():
                times.append(getattr(clients, name)(sessions) / sessions * 1e6)
    finally:
        logging.disable(logging.NOTSET)
        pipe.send(None)
        server.join(5)
        server.kill()
    floor = [codec + bare for codec, bare in zip(spent["codec"], spent["bare"], strict=True)]
    return Report(
        rows=tuple(
            {"client": CLIENTS[name], "cpu_us_per_session": round(statistics.median(times))}
            for name, times in spent.items()
        ),
        figures=(
            Figure(
                "dlms.vs_peer",
                "CPU of dlms-cosem 21.3.2 ÷ ours, a session each with answers from memory",
                _ratio(spent["peer_codec"], spent["codec"]),
                "ratio",
                ">=",
                4.0,
            ),
            Figure(
                "dlms.vs_peer_sockets",
                "the same over sockets: dlms-cosem's blocks, ours are asyncio's, ten at a time",
                _ratio(spent["peer"], spent["ours"]),
                "ratio",
            ),
            Figure(
                "dlms.vs_floor",
                "CPU of our session ÷ (our codec in memory + a bare asyncio.Protocol with the same bytes)",
                _ratio(spent["ours"], floor),
                "ratio",
                "<=",
                1.3,
            ),
        ),
    )


def _ratio(over: list[float], under: list[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(over, under, strict=True)), 3)
