"""CPU of one FC3×10 read at 50 connections: our bus, pymodbus' client, and a bare asyncio.Protocol that only counts.

The meters are another process (a protocol over fixed bytes), so that `process_time` is the client's alone. The clients
take turns, each time in a fresh process; a figure is the median of the rounds' ratios, which a busy machine disturbs
less than times.

What a bare protocol costs hangs on the C library: asyncio asks for 256 KiB for each reply, which glibc either keeps
from one to the next or fetches from the kernel each time (three times the cost), after what else the process did. Each
process here first teaches it to keep them: the cheapest bare protocol there is. "awaited" is that protocol with one
future for each reply which a task awaits: what calls cost that somebody awaits, before any Modbus.

A meter's poll is a run of reads in one call (`BLOCKS`: half of the shipped Modbus profiles have so many or more); in
"ours, one a call" each read is a call of its own. pymodbus has no runs.
"""

import asyncio
import multiprocessing
import statistics
import struct
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection as Pipe
from typing import Literal, cast

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest

from benchmarks.figures import Figure, Report
from hosting.clocks import ScaledClock, SystemIoClock, seeded_rng
from protocols.modbus.bus import Bus, Timing
from protocols.modbus.codec import Framing, check_reply, encode_frame, read_pdu, split_tcp

NAME = "modbus"
CONNECTIONS = 50
REGISTERS = 10
BLOCKS = 4
"""Reads in one call of our bus."""
READS_EACH = 400
"""Per connection and round: a round of 20,000 reads is about a second."""
ROUNDS = 5
REQUEST = read_pdu(3, 10, REGISTERS)
BODY = bytes((1, 3, 2 * REGISTERS)) + bytes(range(2 * REGISTERS))
TEN = struct.Struct(f">{REGISTERS}H")
PATIENT = Timing(timeout_s=10.0)
KEPT_BYTES = 8 << 20
"""A block of this size, freed, teaches glibc to keep smaller ones."""

Client = Callable[[int, int], Awaitable[float]]
"""(port, reads each) to CPU seconds spent on reads, connections already open."""


class _Meter(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data[:4] + (len(BODY)).to_bytes(2, "big") + BODY)


def _serve(pipe: Pipe) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(_Meter, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)

    asyncio.run(main())


async def _bus_client(port: int, reads: int, blocks: int = BLOCKS) -> float:
    clock = ScaledClock()
    buses = [
        Bus("127.0.0.1", port, Framing.TCP, clock=clock, io_clock=SystemIoClock(), rng=seeded_rng(n))
        for n in range(CONNECTIONS)
    ]

    async def poll(bus: Bus, count: int) -> None:
        while count > 0:
            replies = await bus.exchanges(1, (REQUEST,) * min(blocks, count), PATIENT)
            for reply in replies:
                TEN.unpack(reply)
            count -= len(replies)

    await asyncio.gather(*(poll(bus, 1) for bus in buses))
    started = time.process_time()
    await asyncio.gather(*(poll(bus, reads) for bus in buses))
    spent = time.process_time() - started
    for bus in buses:
        bus.close()
    await asyncio.sleep(0)
    return spent


async def _bus_client_one_a_call(port: int, reads: int) -> float:
    return await _bus_client(port, reads, 1)


async def _pymodbus_client(port: int, reads: int) -> float:
    clients = [AsyncModbusTcpClient("127.0.0.1", port=port, timeout=10) for _ in range(CONNECTIONS)]

    async def poll(client: AsyncModbusTcpClient, count: int) -> None:
        for _ in range(count):
            reply = await client.read_holding_registers(10, count=REGISTERS, device_id=1)
            if len(reply.registers) != REGISTERS:
                raise RuntimeError("pymodbus lost registers")

    for client in clients:
        await client.connect()
    await asyncio.gather(*(poll(client, 1) for client in clients))
    started = time.process_time()
    await asyncio.gather(*(poll(client, reads) for client in clients))
    spent = time.process_time() - started
    for client in clients:
        client.close()
    await asyncio.sleep(0)
    return spent


class _Bare(asyncio.Protocol):
    """Writes the same bytes again for each reply: what asyncio itself costs."""

    def __init__(self, reads: int, done: asyncio.Future[None]) -> None:
        self.left = reads
        self.done = done
        self.frame = encode_frame(Framing.TCP, 1, 1, REQUEST)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        TEN.unpack_from(data, 9)
        self.left -= 1
        if self.left > 0:
            self.transport.write(self.frame)
        elif not self.done.done():
            self.done.set_result(None)


async def _bare_client(port: int, reads: int) -> float:
    loop = asyncio.get_running_loop()
    done = [loop.create_future() for _ in range(CONNECTIONS)]
    made = [(await loop.create_connection(lambda one=one: _Bare(reads, one), "127.0.0.1", port))[1] for one in done]  # type: ignore[misc]
    started = time.process_time()
    for bare in made:
        bare.transport.write(bare.frame)
    await asyncio.gather(*done)
    spent = time.process_time() - started
    for bare in made:
        bare.transport.abort()
    await asyncio.sleep(0)
    return spent


class _Awaited(asyncio.Protocol):
    """Hands each reply to whoever awaits it."""

    reply: asyncio.Future[bytes]

    def __init__(self) -> None:
        self.frame = encode_frame(Framing.TCP, 1, 1, REQUEST)
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.reply.set_result(data)

    def ask(self) -> asyncio.Future[bytes]:
        self.reply = self.loop.create_future()
        self.transport.write(self.frame)
        return self.reply


async def _awaited_client(port: int, reads: int) -> float:
    loop = asyncio.get_running_loop()
    made = [(await loop.create_connection(_Awaited, "127.0.0.1", port))[1] for _ in range(CONNECTIONS)]

    async def poll(one: _Awaited) -> None:
        for _ in range(reads):
            TEN.unpack_from(await one.ask(), 9)

    started = time.process_time()
    await asyncio.gather(*(poll(one) for one in made))
    spent = time.process_time() - started
    for one in made:
        one.transport.abort()
    await asyncio.sleep(0)
    return spent


CLIENTS: dict[str, Client] = {
    "bare": _bare_client,
    "awaited": _awaited_client,
    "ours": _bus_client,
    "ours, one a call": _bus_client_one_a_call,
    "pymodbus": _pymodbus_client,
}


def _measured(pipe: Pipe, name: str, port: int, reads: int) -> None:
    """In a process of its own: µs per read."""
    bytes(KEPT_BYTES)
    pipe.send(asyncio.run(_timed(CLIENTS[name], port, reads)) / (reads * CONNECTIONS) * 1e6)


def _pdus_alone(count: int) -> dict[str, float]:
    """µs for building one request and parsing one reply without any socket: ours, pymodbus'."""
    reply = encode_frame(Framing.TCP, 1, 1, BODY[1:])
    framer = FramerSocket(DecodePDU(False))

    def ours() -> None:
        encode_frame(Framing.TCP, 1, 1, REQUEST)
        frame = split_tcp(reply)
        if frame is None:
            raise RuntimeError("our codec lost a frame")
        TEN.unpack(check_reply(REQUEST, frame.pdu))

    def theirs() -> None:
        framer.buildFrame(ReadHoldingRegistersRequest(address=10, count=REGISTERS, dev_id=1, transaction_id=1))
        if framer.handleFrame(reply, 1, 1)[1] is None:
            raise RuntimeError("pymodbus lost a frame")

    spent = {}
    for name, step in (("ours", ours), ("pymodbus", theirs)):
        started = time.process_time()
        for _ in range(count):
            step()
        spent[name] = round((time.process_time() - started) / count * 1e6, 2)
    return spent


def run(*, smoke: bool) -> Report:
    """Measure; see the module's docstring."""
    reads, rounds = (5, 1) if smoke else (READS_EACH, ROUNDS)
    spent: dict[str, list[float]] = {name: [] for name in CLIENTS}
    context = multiprocessing.get_context("spawn")
    pipe, far = context.Pipe()
    server = context.Process(target=_serve, args=(far,), daemon=True)
    server.start()
    try:
        port = pipe.recv()
        for _ in range(rounds):
            for name, times in spent.items():
                near, end = context.Pipe()
                client = context.Process(target=_measured, args=(end, name, port, reads))
                client.start()
                end.close()
                times.append(near.recv())
                client.join()
    finally:
        pipe.send(None)
        server.join(5)
        server.kill()
    rows: list[dict[str, object]] = [
        {"client": name, "cpu_us_per_read": round(statistics.median(times), 1)} for name, times in spent.items()
    ]
    rows.append({"codec_alone_us": _pdus_alone(100 if smoke else 20_000)})
    return Report(
        rows=tuple(rows),
        figures=(
            _figure("vs_bare", "a bare asyncio.Protocol", spent["ours"], spent["bare"], 1.3),
            _figure(
                "vs_bare_one_a_call",
                "a bare asyncio.Protocol, one read a call",
                spent["ours, one a call"],
                spent["bare"],
            ),
            _figure("vs_awaited", "the same with its replies awaited", spent["ours"], spent["awaited"]),
            _figure("vs_pymodbus", "pymodbus' client", spent["ours"], spent["pymodbus"], 0.75),
        ),
    )


async def _timed(client: Client, port: int, reads: int) -> float:
    return await client(port, reads)


def _figure(name: str, peer: str, ours: list[float], theirs: list[float], limit: float | None = None) -> Figure:
    ratio = round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 3)
    op: Literal["<="] | None = None if limit is None else "<="
    return Figure(f"modbus.{name}", f"CPU of our bus ÷ {peer}", ratio, "ratio", op, limit)
