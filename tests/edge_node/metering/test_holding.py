"""What is read while the time is not known waits for it: right hours, no watt-hour made or lost, nothing twice."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from edge_node.metering.holding import Holding
from edge_node.store import held_reads
from edge_node.store.held_reads import HeldReads
from gridmodel.clock import ClockDoubt, ClockTrust
from gridmodel.period import interval_end
from gridmodel.reading import Channel, Quality
from hosting.clocks import ScaledClock
from simulate.loop import run_virtual
from tests.edge_node.metering.small_grid import MIDNIGHT, QUARTER, Office, grid, link, office, placed

HOUR_S, DAY_S, YEAR_S = 3_600, 86_400, 365 * 86_400
LINKS = [link("up-1", "t-1"), link("up-2", "t-1")]
PLACED = [placed("m-1", "up-1"), placed("m-2", "up-2")]
WH = 100


class Machine:
    """A machine whose wall a test sets; the world goes on as it does."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.off_s = 0.0

    @property
    def true(self) -> int:
        return MIDNIGHT + int(self.loop.time() - self.began)

    def process(self, boot: str = "b-1") -> ScaledClock:
        """The clock of one more process."""
        return ScaledClock(
            MIDNIGHT,
            self.began,
            wall=lambda: self.loop.time() + self.off_s,
            monotonic=self.loop.time,
            sleep_s_max=600,
            boot=boot,
        )

    def wire(self, one: Office) -> None:
        """Meters count by the world's time, whatever the node's clock shows."""
        for meter in ("m-1", "m-2"):
            one.meters.registers[meter] = self.register

    def register(self, _: int) -> Mapping[Channel, int | None]:
        return {Channel.IMPORT: 10_000 + WH * ((self.true - MIDNIGHT) // QUARTER)}


async def lived(one: Office, seconds: float) -> None:
    """All rooms run for so long by the world's time."""
    rooms = [asyncio.ensure_future(room.run()) for room in (one.collector, one.hour_close, one.day_close)]
    await asyncio.sleep(seconds)
    assert [room.exception() for room in rooms if room.done()] == []
    for room in rooms:
        room.cancel()
    await asyncio.gather(*rooms, return_exceptions=True)


def whole(line: Mapping[int, tuple[int, int]], until: int) -> None:
    """Each interval from the second to the one ending at `until`, once, with its own energy."""
    ends = range(MIDNIGHT + QUARTER, until + 1, QUARTER)
    assert {end: line.get(end) for end in ends} == dict.fromkeys(ends, (WH, Quality.ACTUAL))
    assert set(line) <= set(ends) | {until + QUARTER}


@pytest.mark.parametrize(
    "off_s",
    [
        pytest.param(9 * YEAR_S, id="years ahead"),
        pytest.param(-5 * HOUR_S, id="hours back"),
        pytest.param(-MIDNIGHT, id="1970"),
        pytest.param(1_000, id="some minutes ahead, over an interval's end"),
        pytest.param(-1_000, id="some minutes back"),
    ],
)
def test_what_a_wall_that_jumped_leaves_unstamped_stands_in_its_own_hours_afterwards(
    tmp_path: Path, off_s: float
) -> None:
    async def story() -> None:
        machine = Machine()
        clock = machine.process()
        async with office(tmp_path, holds=clock) as one:
            machine.wire(one)
            await one.take(grid(LINKS, PLACED))
            clock.confirm(machine.true)
            await lived(one, 2 * HOUR_S + 300)
            machine.off_s = off_s
            await lived(one, 5 * HOUR_S)
            assert clock.trust() is ClockTrust.DOUBTFUL
            held = HeldReads(one.control)
            assert await held.count() > 2 * 4 * 4
            booked = await one.booked()
            assert max(booked["up-1", Channel.IMPORT]) <= MIDNIGHT + 2 * HOUR_S, "no hour of a wrong wall"
            machine.off_s = 0.0
            await lived(one, HOUR_S)
            assert await held.count() == 0
            for point in ("up-1", "up-2"):
                whole((await one.booked())[point, Channel.IMPORT], interval_end(machine.true, 15) - QUARTER)

    run_virtual(story())


def test_hub_and_steady_clock_tell_the_time_of_a_wall_that_lies(tmp_path: Path) -> None:
    """Nothing waits any more once the hub has spoken, though the wall still shows another year."""

    async def story() -> None:
        machine = Machine()
        clock = machine.process()
        async with office(tmp_path, holds=clock) as one:
            machine.wire(one)
            await one.take(grid(LINKS, PLACED))
            await lived(one, HOUR_S)
            machine.off_s = 3.0 * YEAR_S
            await lived(one, HOUR_S)
            clock.confirm(machine.true)
            await lived(one, HOUR_S)
            assert clock.doubts() == (ClockDoubt.AHEAD,)
            assert await HeldReads(one.control).count() == 0
            whole((await one.booked())["up-1", Channel.IMPORT], interval_end(machine.true, 15) - QUARTER)

    run_virtual(story())


def test_a_process_that_dies_in_doubt_leaves_its_reads_to_the_next_of_the_same_boot(tmp_path: Path) -> None:
    async def story() -> None:
        machine = Machine()
        first = machine.process()
        async with office(tmp_path, holds=first) as one:
            machine.wire(one)
            await one.take(grid(LINKS, PLACED))
            first.confirm(machine.true)
            await lived(one, HOUR_S)
            anchor = first.anchor()
            assert anchor is not None
            machine.off_s = -MIDNIGHT + 7.0
            await lived(one, 2 * HOUR_S)
        second = machine.process()
        second.raise_floor(MIDNIGHT + HOUR_S)
        second.resume(anchor)
        async with office(tmp_path, holds=second) as one:
            machine.wire(one)
            await lived(one, 2 * HOUR_S)
            assert second.trust() is ClockTrust.DOUBTFUL
            second.confirm(machine.true)
            await lived(one, HOUR_S)
            line = (await one.booked())["up-1", Channel.IMPORT]
            whole(line, interval_end(machine.true, 15) - QUARTER)

    run_virtual(story())


def test_a_crash_amid_bringing_back_books_nothing_twice(tmp_path: Path) -> None:
    async def story() -> None:
        machine = Machine()
        clock = machine.process()
        async with office(tmp_path, holds=clock) as one:
            machine.wire(one)
            await one.take(grid(LINKS, PLACED))
            await lived(one, HOUR_S)
            machine.off_s = 5_000.0
            await lived(one, 2 * HOUR_S)
            machine.off_s = 0.0
            holding, forget = one.rounds._holding, Holding.forget
            assert holding is not None
            rows = list[int]()

            async def dies(self: Holding, row: held_reads.HeldRow) -> None:
                rows.append(row.number)
                if len(rows) == 3:
                    raise asyncio.CancelledError
                await forget(self, row)

            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(Holding, "forget", dies)
                await asyncio.gather(one.rounds.flush(), return_exceptions=True)
            assert len(rows) == 3
            await lived(one, HOUR_S)
            whole((await one.booked())["up-1", Channel.IMPORT], interval_end(machine.true, 15) - QUARTER)

    run_virtual(story())


def test_what_another_boot_read_goes_and_its_energy_does_not(tmp_path: Path) -> None:
    async def story() -> None:
        machine = Machine()
        first = machine.process()
        async with office(tmp_path, holds=first) as one:
            machine.wire(one)
            await one.take(grid(LINKS, PLACED))
            first.confirm(machine.true)
            await lived(one, HOUR_S)
            machine.off_s = -MIDNIGHT + 7.0
            await lived(one, 2 * HOUR_S)
        machine.off_s = 0.0
        second = machine.process("b-2")
        second.raise_floor(MIDNIGHT + HOUR_S)
        async with office(tmp_path, holds=second) as one:
            machine.wire(one)
            second.confirm(machine.true)
            await lived(one, HOUR_S)
            line = (await one.booked())["up-1", Channel.IMPORT]
            assert sum(energy for energy, _ in line.values()) == WH * (max(line) - MIDNIGHT) // QUARTER
            assert Quality.ESTIMATED in {quality for _, quality in line.values()}
            assert await HeldReads(one.control).count() == 0

    run_virtual(story())


def test_a_full_table_lets_the_newest_go_and_no_energy_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_reads, "HELD_MAX", 6)

    async def story() -> None:
        machine = Machine()
        clock = machine.process()
        async with office(tmp_path, holds=clock) as one:
            machine.wire(one)
            await one.take(grid(LINKS, PLACED))
            await lived(one, HOUR_S)
            machine.off_s = float(DAY_S)
            await lived(one, 3 * HOUR_S)
            assert await HeldReads(one.control).count() == 6
            machine.off_s = 0.0
            await lived(one, HOUR_S)
            line = (await one.booked())["up-1", Channel.IMPORT]
            assert sum(energy for energy, _ in line.values()) == WH * (max(line) - MIDNIGHT) // QUARTER

    run_virtual(story())
