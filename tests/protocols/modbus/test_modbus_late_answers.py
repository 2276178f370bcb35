"""Late answers behind a transparent serial gateway: told by their unit, thrown away, and waited for by nobody else."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from gridmodel.clock import IoClock
from hosting.clocks import SystemIoClock
from protocols.modbus.bus import Bus
from protocols.modbus.codec import Framing, ModbusFault, encode_frame, read_pdu
from protocols.turns import Priority
from tests.protocols.modbus.scripted import FAST, Gateway, Line, bus_to, gateway, registers, run

LATE, OTHER = 9, 4
"""Units: the one that answers too late, and its neighbour."""
ASKED = 100
"""What the late unit was asked for."""
LATE_FRAME = encode_frame(Framing.RTU, 0, LATE, registers(ASKED))


@dataclass
class Serial:
    """A gateway that knows no owners: the first request to `LATE` is answered out of whichever connection is there."""

    arrived: list[tuple[int, int]] = field(default_factory=list)
    """Unit and register of each request, in order."""
    answer: Callable[[Line, bytes], Awaitable[None]] | None = None
    """How a neighbour's request is answered; the frame of its own answer is given."""
    spoke: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when `LATE` was asked for the first time."""

    async def __call__(self, line: Line) -> None:
        while True:
            address = struct.unpack(">BHH", await line.request())[1]
            self.arrived.append((line.unit, address))
            frame = line.frame(registers(address))
            if self.arrived == [(LATE, ASKED)]:
                self.spoke.set()
            elif self.answer is not None and line.unit == OTHER:
                await self.answer(line, frame)
            else:
                await line.send(frame)


class HeldIoClock(SystemIoClock):
    """Lets nobody sleep before `go` is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        await self.go.wait()
        await super().sleep(seconds)


@asynccontextmanager
async def after_a_silence(serial: Serial, io_clock: IoClock | None = None) -> AsyncIterator[tuple[Gateway, Bus]]:
    """The bus after `LATE` was asked and did not answer in time."""
    async with gateway(serial, Framing.RTU) as made, bus_to(made, io_clock=io_clock) as bus:
        assert await ask(bus, LATE, ASKED) == "TQ-MB-02"
        yield made, bus


async def ask(bus: Bus, unit: int, address: int, priority: Priority = Priority.POLL) -> int | str:
    try:
        return int.from_bytes(await bus.exchange(unit, read_pdu(3, address, 1), FAST, priority), "big")
    except ModbusFault as fault:
        return fault.code


async def one_write(line: Line, frame: bytes) -> None:
    await line.send(LATE_FRAME + frame)


async def crumbs(line: Line, frame: bytes) -> None:
    for byte in LATE_FRAME + frame:
        await line.send(bytes((byte,)))
        await asyncio.sleep(0)


async def twice(line: Line, frame: bytes) -> None:
    await line.send(LATE_FRAME)
    await line.send(LATE_FRAME + frame)


@pytest.mark.parametrize("answer", [one_write, crumbs, twice])
def test_a_late_answer_among_a_neighbours_is_told_by_its_unit(
    answer: Callable[[Line, bytes], Awaitable[None]],
) -> None:
    async def main() -> None:
        async with after_a_silence(Serial(answer=answer)) as (made, bus):
            assert [await ask(bus, OTHER, address) for address in (200, 300)] == [200, 300]
            assert made.sessions == 2, "closed after the silence, never again"

    run(main())


def test_a_late_answer_between_two_requests_is_thrown_away() -> None:
    async def main() -> None:
        async with after_a_silence(Serial()) as (made, bus):
            assert await ask(bus, OTHER, 200) == 200
            for piece in (LATE_FRAME[:3], LATE_FRAME[3:], LATE_FRAME + LATE_FRAME[:4]):
                await made.lines[-1].send(piece)
                await asyncio.sleep(0)
            await made.lines[-1].send(LATE_FRAME[4:])
            assert await ask(bus, OTHER, 300) == 300
            assert made.sessions == 2

    run(main())


def test_an_answer_of_a_unit_that_is_not_late_still_condemns_the_connection() -> None:
    async def stranger(line: Line, frame: bytes) -> None:
        await line.send(line.frame(registers(1), unit=LATE + 1) + frame)

    async def main() -> None:
        async with after_a_silence(Serial(answer=stranger)) as (_, bus):
            assert await ask(bus, OTHER, 200) == "TQ-MB-04"

    run(main())


def test_neighbours_are_asked_at_once_and_the_late_unit_after_them() -> None:
    async def main() -> None:
        serial, io_clock = Serial(), HeldIoClock()
        async with after_a_silence(serial, io_clock) as (_, bus):
            again = asyncio.create_task(ask(bus, LATE, 500))
            restore = asyncio.create_task(ask(bus, LATE, 600, Priority.SAFETY))
            await asyncio.sleep(0)
            assert [await ask(bus, OTHER, address) for address in range(200, 220)] == list(range(200, 220))
            assert not again.done()
            assert serial.arrived[1:] == [(OTHER, address) for address in range(200, 220)]
            io_clock.go.set()
            assert list(await asyncio.gather(again, restore)) == [500, 600]

    run(main())


def test_the_late_unit_gets_its_own_value_though_the_gateway_kept_the_late_one_for_whoever_comes() -> None:
    """Nobody is connected when the late answer comes; it lies in the gateway until somebody is."""

    async def main() -> None:
        serial = Serial()

        async def keeping(line: Line) -> None:
            if line.number == 2:
                await line.send(LATE_FRAME)
            await serial(line)

        async with gateway(keeping, Framing.RTU) as made, bus_to(made) as bus:
            assert await ask(bus, LATE, ASKED) == "TQ-MB-02"
            assert await ask(bus, LATE, 700) == 700
            assert made.sessions == 2

    run(main())


def test_half_a_late_answer_never_becomes_the_beginning_of_an_answer() -> None:
    async def main() -> None:
        serial = Serial()

        async def halving(line: Line) -> None:
            if line.number == 2:
                await line.send(LATE_FRAME[:5])
            await serial(line)

        async with gateway(halving, Framing.RTU) as made, bus_to(made) as bus:
            assert await ask(bus, LATE, ASKED) == "TQ-MB-02"
            assert await ask(bus, LATE, 700) == 700
            assert made.sessions == 3, "the half died with its connection"

    run(main())


def test_an_answer_to_a_cancelled_call_is_late_too() -> None:
    async def main() -> None:
        serial = Serial(answer=one_write)
        async with gateway(serial, Framing.RTU) as made, bus_to(made) as bus:
            first = asyncio.create_task(ask(bus, LATE, ASKED))
            await serial.spoke.wait()
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            assert await ask(bus, OTHER, 200) == 200

    run(main())


def test_a_listening_connection_is_not_released() -> None:
    async def main() -> None:
        async with after_a_silence(Serial()) as (made, bus):
            again = asyncio.create_task(ask(bus, LATE, 500))
            assert await ask(bus, OTHER, 200) == 200
            bus.release()
            assert bus.connected
            assert await again == 500
            assert made.sessions == 2
            bus.release()
            assert not bus.connected

    run(main())


def test_a_call_given_up_while_it_listens_holds_nobody_up() -> None:
    async def main() -> None:
        async with after_a_silence(Serial()) as (_, bus):
            for steps in range(12):
                again = asyncio.create_task(ask(bus, LATE, 500))
                for _ in range(steps):
                    await asyncio.sleep(0)
                again.cancel()
                await asyncio.gather(again, return_exceptions=True)
                assert await ask(bus, OTHER, 200) == 200
            assert await ask(bus, LATE, 500) == 500

    run(main())
