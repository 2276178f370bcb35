"""A meter or gateway on a real socket that does exactly what a test says, and clocks that a test moves."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from gridmodel.clock import ClockDoubt, ClockTrust, IoClock, TimeBounds
from hosting.clocks import SystemIoClock, seeded_rng
from protocols.modbus.bus import Bus, Timing
from protocols.modbus.codec import Framing, encode_frame, split_rtu_request

FAST = Timing(timeout_s=0.31, connect_timeout_s=1.0)
NOON = 1_780_000_000

Handler = Callable[["Line"], Awaitable[None]]


class HandClock:
    """Utility time that a test moves by hand."""

    def __init__(self, at: int = NOON) -> None:
        self.at = at

    def now(self) -> int:
        return self.at

    def confirmed(self) -> bool:
        return True

    def doubts(self) -> tuple[ClockDoubt, ...]:
        return ()

    def trust(self) -> ClockTrust:
        return ClockTrust.TRUSTED

    def bounds(self) -> TimeBounds:
        return TimeBounds(self.at, self.at)

    async def sleep_until(self, at: int) -> None:
        raise NotImplementedError("the driver never waits for utility time")

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError("the driver never waits for utility time")


class Line:
    """One accepted connection, seen from the meter."""

    def __init__(
        self, number: int, framing: Framing, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self.framing = framing
        self.reader = reader
        self.writer = writer
        self.transaction = 0
        self.unit = 0

    async def request(self) -> bytes:
        """The next request's PDU; IncompleteReadError when the client has gone."""
        if self.framing is Framing.TCP:
            head = await self.reader.readexactly(7)
            self.transaction, _, length, self.unit = struct.unpack(">HHHB", head)
            return await self.reader.readexactly(length - 1)
        stream = await self.reader.readexactly(8)
        frame = split_rtu_request(stream)
        while frame is None:
            stream += await self.reader.readexactly(1)
            frame = split_rtu_request(stream)
        self.unit = frame.unit
        return frame.pdu

    def frame(self, pdu: bytes, *, unit: int | None = None, transaction: int | None = None) -> bytes:
        return encode_frame(
            self.framing,
            self.transaction if transaction is None else transaction,
            self.unit if unit is None else unit,
            pdu,
        )

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


class Gateway:
    """A listening server; `sessions` counts accepted connections."""

    def __init__(self, framing: Framing, handler: Handler) -> None:
        self.framing = framing
        self.handler = handler
        self.sessions = 0
        self.port = 0
        self.lines: list[Line] = []

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sessions += 1
        line = Line(self.sessions, self.framing, reader, writer)
        self.lines.append(line)
        try:
            await self.handler(line)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def gateway(handler: Handler, framing: Framing = Framing.TCP) -> AsyncIterator[Gateway]:
    made = Gateway(framing, handler)
    server = await asyncio.start_server(made.accept, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for line in made.lines:
            line.writer.transport.abort()
        await asyncio.sleep(0)
        await server.wait_closed()


@asynccontextmanager
async def bus_to(made: Gateway, clock: HandClock | None = None, io_clock: IoClock | None = None) -> AsyncIterator[Bus]:
    bus = Bus(
        "127.0.0.1",
        made.port,
        made.framing,
        clock=clock or HandClock(),
        io_clock=io_clock or SystemIoClock(),
        rng=seeded_rng(1),
    )
    try:
        yield bus
    finally:
        bus.close()
        await asyncio.sleep(0)


def registers(*values: int, function: int = 3) -> bytes:
    """The reply PDU that carries these registers."""
    return bytes((function, 2 * len(values))) + struct.pack(f">{len(values)}H", *values)


async def answer_with_address(line: Line) -> None:
    """A sound meter: register n holds n."""
    while True:
        function, address, count = struct.unpack(">BHH", (await line.request())[:5])
        await line.send(line.frame(registers(*range(address, address + count), function=function)))


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 20))
