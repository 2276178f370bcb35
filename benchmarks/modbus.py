"""CPU of one FC3×10 read at 50 connections: our bus, pymodbus' client, and a bare asyncio.Protocol that only counts.

The meters are another process (a protocol over fixed bytes), so that `process_time` is the client's alone. The three
take turns in one run; a figure is the median of the rounds' ratios, which a busy machine disturbs less than times.
"""

import asyncio
import multiprocessing
import statistics
import struct
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection as Pipe
from typing import cast

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
READS_EACH = 400
"""Per connection and round: a round of 20,000 reads is about a second."""
ROUNDS = 5
REQUEST = read_pdu(3, 10, REGISTERS)
BODY = bytes((1, 3, 2 * REGISTERS)) + bytes(range(2 * REGISTERS))
TEN = struct.Struct(f">{REGISTERS}H")
PATIENT = Timing(timeout_s=10.0)

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


async def _bus_client(port: int, reads: int) -> float:
    clock = ScaledClock()
    buses = [
        Bus("127.0.0.1", port, Framing.TCP, clock=clock, io_clock=SystemIoClock(), rng=seeded_rng(n))
        for n in range(CONNECTIONS)
    ]

    async def poll(bus: Bus, count: int) -> None:
        for _ in range(count):
            TEN.unpack(await bus.exchange(1, REQUEST, PATIENT))

    await asyncio.gather(*(poll(bus, 1) for bus in buses))
    started = time.process_time()
    await asyncio.gather(*(poll(bus, reads) for bus in buses))
    spent = time.process_time() - started
    for bus in buses:
        bus.close()
    await asyncio.sleep(0)
    return spent


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
    clients: dict[str, Client] = {"bare": _bare_client, "ours": _bus_client, "pymodbus": _pymodbus_client}
    spent: dict[str, list[float]] = {name: [] for name in clients}
    context = multiprocessing.get_context("spawn")
    pipe, far = context.Pipe()
    server = context.Process(target=_serve, args=(far,), daemon=True)
    server.start()
    try:
        port = pipe.recv()
        for _ in range(rounds):
            for name, client in clients.items():
                total = reads * CONNECTIONS
                spent[name].append(asyncio.run(_timed(client, port, reads)) / total * 1e6)
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
            Figure("modbus.vs_bare", "CPU of our bus ÷ a bare asyncio.Protocol", _ratio(spent, "bare"), "ratio"),
            Figure("modbus.vs_pymodbus", "CPU of our bus ÷ pymodbus' client", _ratio(spent, "pymodbus"), "ratio"),
        ),
    )


async def _timed(client: Client, port: int, reads: int) -> float:
    return await client(port, reads)


def _ratio(spent: dict[str, list[float]], peer: str) -> float:
    return round(statistics.median(a / b for a, b in zip(spent["ours"], spent[peer], strict=True)), 3)
