"""Readings in their segments: once and only once, over months, restarts and crashes at any commit."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.store.chunks import sealed_chunk
from edge_node.store.reading_round import Booking
from edge_node.store.readings import Readings
from edge_node.store.segments import SEGMENTS_OPEN_MAX, SegmentFault, Segments
from edge_node.store.upkeep import purge_readings, verify_readings
from gridmodel.identity import MeterId
from gridmodel.period import HOUR_S, day_bounds, hour_end
from gridmodel.reading import Channel, Quality, RegisterRead, Revision
from gridmodel.vee import VeeRules, validate
from hosting.clocks import seeded_rng
from hosting.compute import InlineCompute
from hosting.database import Connection, Database, open_database
from simulate.crash import SimulatedCrash
from simulate.disk import CommitHooks, SimDisk
from simulate.loop import run_virtual

ZONE = "Asia/Tashkent"
ROW_KEY = bytes(range(32))
QUARTER = 900
RULES = VeeRules(15, 20_000, None)
FIRST = Revision(1, 1)
MONTH_TURN = day_bounds("2026-06-01", ZONE)[0]


@asynccontextmanager
async def opened(folder: Path, hooks: CommitHooks | None = None) -> AsyncIterator[Readings]:
    readings = Readings(Segments(folder, SimDisk(seeded_rng(3), hooks), ZONE), ROW_KEY, InlineCompute())
    await readings.load()
    try:
        yield readings
    finally:
        await readings.close()


def bookings(readings: Readings, at: int, registers: dict[str, int]) -> list[Booking]:
    """One round: what the reads at `at` become, measured against what the store knows."""
    made = []
    for point, wh in registers.items():
        last = readings.last(point, Channel.IMPORT)
        result = validate(last, RegisterRead(point, MeterId(f"m-{point}"), Channel.IMPORT, at, wh), RULES)
        if result.last is not None and result.last != last:
            made.append(Booking(point, Channel.IMPORT, result.intervals, result.last))
    return made


async def energies(readings: Readings) -> dict[str, dict[int, tuple[int, int]]]:
    """{point: {end: (energy_wh, quality)}} of all segments."""
    found: dict[str, dict[int, tuple[int, int]]] = {}
    for month in readings.segments.months():
        async with readings.segments.lease(month) as segment:
            rows = await segment.database.read(
                lambda conn: conn.fetch_all(
                    "SELECT p.point, r.end, r.energy_wh, r.quality FROM reading AS r JOIN point AS p"
                    " ON p.number = r.point ORDER BY r.end"
                )
            )
        for point, end, energy_wh, quality in rows:
            assert end not in found.setdefault(point, {}), "an interval lies in one segment"
            found[point][end] = (energy_wh, quality)
    return found


class CrashAt:
    """Dies at the n-th commit of a segment, before or after it is durable."""

    def __init__(self, count: int, *, before: bool) -> None:
        self.left = count
        self.before = before

    def before_commit(self, name: str) -> None:
        self.left -= 1
        if self.before and self.left == 0:
            raise SimulatedCrash(name, "before a commit")

    def after_commit(self, name: str) -> None:
        if not self.before and self.left == 0:
            raise SimulatedCrash(name, "after a commit")


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    start=st.sampled_from([MONTH_TURN - 6 * QUARTER, MONTH_TURN - 20 * QUARTER, MONTH_TURN + 8 * QUARTER]),
    crashes=st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=4),
    silence=st.floats(0.0, 0.8),
)
def test_the_sum_of_intervals_is_the_difference_of_registers_whatever_happens(
    seed: int, start: int, crashes: list[tuple[int, bool]], silence: float
) -> None:
    rng = Random(seed)
    points = [f"up-{n}" for n in range(4)]
    steps = {point: [rng.randrange(400) for _ in range(31)] for point in points}
    served = {point: [1_000 + sum(steps[point][: k + 1]) for k in range(31)] for point in points}
    first_heard: dict[str, int] = {}

    async def life(folder: Path, k: int, hooks: CommitHooks | None) -> int:
        """Poll from the k-th interval on until the end or death; gives where it came to."""
        try:
            async with opened(folder, hooks) as readings:
                while k < 31:
                    heard = [p for p in points if k == 30 or rng.random() >= silence]
                    await readings.book(
                        bookings(readings, start + k * QUARTER, {p: served[p][k] for p in heard}), FIRST
                    )
                    for point in heard:
                        first_heard.setdefault(point, k)
                    k += 1
        except SimulatedCrash:
            # Whether the first read of a point outlived the crash is for the store to say.
            async with opened(folder) as readings:
                for point in points:
                    last = readings.last(point, Channel.IMPORT)
                    if last is None:
                        first_heard.pop(point, None)
                    elif point not in first_heard:
                        first_heard[point] = k
        return k

    async def story() -> None:
        with TemporaryDirectory() as name:
            folder, k = Path(name), 0
            for count, before in crashes:
                k = await life(folder, k, CrashAt(count, before=before))
            k = await life(folder, k, None)
            async with opened(folder) as readings:
                for point, found in (await energies(readings)).items():
                    begin = first_heard[point]
                    assert sorted(found) == [start + i * QUARTER for i in range(begin + 1, 31)]
                    assert sum(energy for energy, _ in found.values()) == served[point][30] - served[point][begin]
                    last = readings.last(point, Channel.IMPORT)
                    assert last is not None
                    assert (last.at, last.register_wh) == (start + 30 * QUARTER, served[point][30])
                assert (await verify_readings(readings)).altered == ()

    run_virtual(story())


def test_what_is_folded_at_a_start_is_what_was_known(tmp_path: Path) -> None:
    async def story() -> None:
        rng = Random(5)
        wh = dict.fromkeys((f"up-{n}" for n in range(6)), 5_000)
        for run in range(6):
            async with opened(tmp_path) as readings:
                for k in range(run * 20, run * 20 + 20):
                    for point in wh:
                        wh[point] += rng.choice((0, 0, 7, 300, 20_000_000 if rng.random() < 0.05 else 1))
                    heard = {p: w for p, w in wh.items() if rng.random() < 0.8}
                    await readings.book(bookings(readings, MONTH_TURN - 50 * QUARTER + k * QUARTER, heard), FIRST)
                known, newest = readings.known(), readings.newest_end
            async with opened(tmp_path) as again:
                assert again.known() == known
                assert again.newest_end == newest

    run_virtual(story())


def test_a_round_done_twice_is_booked_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as readings:
            await readings.book(bookings(readings, MONTH_TURN + QUARTER, {"up-1": 100}), FIRST)
            round_ = bookings(readings, MONTH_TURN + 2 * QUARTER, {"up-1": 150})
            await readings.book(round_, FIRST)
            await readings.book(round_, FIRST)
            assert bookings(readings, MONTH_TURN + 2 * QUARTER, {"up-1": 150}) == []
            assert await energies(readings) == {"up-1": {MONTH_TURN + 2 * QUARTER: (50, Quality.ACTUAL)}}

    run_virtual(story())


def test_a_lower_revision_changes_nothing_and_a_higher_one_replaces(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as readings:
            await readings.book(bookings(readings, MONTH_TURN + QUARTER, {"up-1": 100}), FIRST)
            round_ = bookings(readings, MONTH_TURN + 2 * QUARTER, {"up-1": 150})
            await readings.book(round_, Revision(2, 1))
            other = [
                Booking(one.point, one.channel, tuple(replace(i, energy_wh=77) for i in one.intervals), one.last)
                for one in round_
            ]
            await readings.book(other, Revision(1, 9))
            assert (await energies(readings))["up-1"][MONTH_TURN + 2 * QUARTER][0] == 50
            await readings.book(other, Revision(2, 2))
            assert (await energies(readings))["up-1"][MONTH_TURN + 2 * QUARTER][0] == 77

    run_virtual(story())


def test_registers_move_into_the_new_month_and_late_ones_reach_the_old(tmp_path: Path) -> None:
    async def story() -> None:
        before, after = MONTH_TURN - QUARTER, MONTH_TURN + QUARTER
        async with opened(tmp_path) as readings:
            await readings.book(bookings(readings, before, {"up-1": 100, "up-2": 100, "up-3": 100}), FIRST)
            await readings.book(bookings(readings, MONTH_TURN, {"up-1": 110}), FIRST)
            assert readings.segments.months() == ["2026-05"], "midnight belongs to the day before"
            await readings.book(bookings(readings, after, {"up-1": 125, "up-2": 140}), FIRST)
            assert readings.segments.months() == ["2026-05", "2026-06"]
            await readings.book(bookings(readings, after + QUARTER, {"up-3": 160}), FIRST)
            found = await energies(readings)
            assert found["up-1"] == {MONTH_TURN: (10, 0), after: (15, 0)}
            assert found["up-2"] == {MONTH_TURN: (20, 1), after: (20, 1)}
            assert [energy for energy, _ in found["up-3"].values()] == [20, 20, 20]
            assert set(await readings.touched()) == {MONTH_TURN, hour_end(after)}

    run_virtual(story())


def test_a_touch_that_came_after_the_look_is_not_forgotten(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as readings:
            for k in range(3):
                await readings.book(bookings(readings, MONTH_TURN + k * QUARTER, {"up-1": 100 + k}), FIRST)
            seen = await readings.touched()
            await readings.book(bookings(readings, MONTH_TURN + 3 * QUARTER, {"up-1": 200}), FIRST)
            await readings.settle(seen)
            assert list(await readings.touched()) == [MONTH_TURN + HOUR_S]
            await readings.settle(await readings.touched())
            assert await readings.touched() == {}

    run_virtual(story())


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("reading", "UPDATE reading SET energy_wh = energy_wh + 1 WHERE end = (SELECT min(end) FROM reading)"),
        ("reading", "UPDATE reading SET quality = 0 WHERE quality = 1"),
        ("point", "UPDATE point SET point = 'up-9' WHERE number = 1"),
        ("last_register", "UPDATE last_register SET register_wh = register_wh - 1 WHERE point = 1"),
    ],
)
def test_an_altered_row_is_found(tmp_path: Path, table: str, change: str) -> None:
    async def story() -> None:
        async with opened(tmp_path) as readings:
            for at, wh in ((0, 100), (3, 400), (4, 450)):
                await readings.book(bookings(readings, MONTH_TURN + at * QUARTER, {"up-1": wh, "up-2": wh}), FIRST)
            sound = await verify_readings(readings)
            assert (sound.altered, sound.rows > 8) == ((), True)
        with sqlite3.connect(tmp_path / "readings-2026-06.db") as hand:
            assert hand.execute(change).rowcount > 0
        hand.close()
        async with opened(tmp_path) as readings:
            checked = await verify_readings(readings)
            assert checked.altered
            assert all(f"2026-06 {table} (" in one for one in checked.altered)

    run_virtual(story())


def test_old_raw_readings_go_and_the_rest_stays(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as readings:
            for k in range(60):
                await readings.book(bookings(readings, MONTH_TURN + k * QUARTER, {"up-1": 100 + k}), FIRST)
            assert await purge_readings(readings.segments, "2026-06-01", days_kept=10) == 0
            assert await purge_readings(readings.segments, "2026-06-11", days_kept=10) == 0
            assert await purge_readings(readings.segments, "2026-06-12", days_kept=10) == 59
            assert await energies(readings) == {}
            assert readings.last("up-1", Channel.IMPORT) is not None

    run_virtual(story())


def test_few_segments_are_open_and_a_cancelled_opening_leaves_none_half_open(tmp_path: Path) -> None:
    open_now: set[str] = set()

    async def story() -> None:
        async def opener(path: Path, name: str, migrations: Sequence[str]) -> Database:
            database = await open_database(path, name, migrations)
            open_now.add(name)
            close = database.close

            async def closed() -> None:
                await close()
                open_now.discard(name)

            database.close = closed  # type: ignore[method-assign]
            return database

        segments = Segments(tmp_path, opener, ZONE)
        for month in range(1, 9):
            async with segments.lease(f"2026-0{month}") as segment:
                assert isinstance(segment.database, Database)
        assert len(open_now) == SEGMENTS_OPEN_MAX

        async def leave() -> None:
            async with segments.lease("2026-12"):
                pass

        task = asyncio.ensure_future(leave())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await segments.close()
        assert open_now == set()

    asyncio.run(story())


def test_a_dictionary_with_a_hole_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as readings:
            await readings.book(bookings(readings, MONTH_TURN + QUARTER, {"up-1": 1, "up-2": 1}), FIRST)
            async with readings.segments.lease("2026-06") as segment:

                async def verb(conn: Connection) -> None:
                    await conn.execute("DELETE FROM point WHERE number = 1")

                await segment.database.write(verb)
        with pytest.raises(SegmentFault, match="TQ-SG-01"):
            async with opened(tmp_path):
                pass

    run_virtual(story())


def test_a_chunk_that_is_not_there_or_damaged_is_named(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as readings:
            with pytest.raises(SegmentFault, match="TQ-SG-02"):
                await readings.chunks.payload("2026-06-01", "nothing")
            chunk = sealed_chunk("2026-06-01", 0, FIRST, 1, b"a chunk")
            await readings.chunks.put(chunk)
            await readings.chunks.put(chunk)
            assert await readings.chunks.payload("2026-06-01", chunk.row.id) == b"a chunk"
            async with readings.segments.lease("2026-06") as segment:
                await segment.database.write(lambda conn: conn.execute("UPDATE chunk SET payload = x'00'"))
            with pytest.raises(SegmentFault, match="TQ-SG-03"):
                await readings.chunks.payload("2026-06-01", chunk.row.id)
            assert "chunk" in (await verify_readings(readings)).altered[0]

    run_virtual(story())
