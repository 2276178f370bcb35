"""Backfill over real DLMS bytes and real files: what an outage hid comes out of the meters' memory, or says why not."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_node.metering.backfill import REACH_S
from edge_node.store.gaps import GapReason
from edge_node.store.upkeep import verify_readings
from gridmodel.period import HOUR_S, day_bounds
from gridmodel.reading import Quality
from gridmodel.registry_document import registry_to_document
from hosting.clocks import seeded_rng
from protocols.dlms.data import Data, Tag
from simulate.crash import SimulatedCrash
from simulate.disk import SimDisk
from tests.edge_node.metering.dlms_site import BORN, POINTS, Site, ends_between, energy_in, register_at, site
from tests.edge_node.metering.small_grid import MIDNIGHT, QUARTER, ZONE

GONE, BACK = BORN + 2 * HOUR_S, BORN + 7 * HOUR_S
"""The node is away in between."""
LATER = BACK + QUARTER + 300


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 60))


async def outage(one: Site) -> None:
    """Polled until GONE, then nobody asks before BACK."""
    await one.polls(BORN, GONE)
    await one.polls(BACK, BACK + QUARTER)


async def left(one: Site) -> dict[str, tuple[GapReason, int]]:
    """What is still on the list: by point the reason and how many intervals."""
    return {gap.point: (gap.reason, len(gap.ends)) for gap in await one.store.readings.gaps.standing()}


def test_after_an_outage_every_interval_is_what_its_meter_remembers(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            await outage(one)
            count = (BACK - GONE) // QUARTER
            assert await left(one) == dict.fromkeys(POINTS.values(), (GapReason.WAITING, count))
            before = {point: await one.booked(point) for point in POINTS.values()}
            closed = await one.store.hours.cells(GONE + 2 * HOUR_S)
            assert (closed["t-1"].points_actual, closed["t-1"].points_estimated) == (0, 8)
            await one.fill(BACK + 300)
            assert await left(one) == dict.fromkeys(POINTS.values(), (GapReason.WAITING, count)), "not before its time"
            await one.fill(LATER)
            assert await left(one) == {}
            for meter, point in POINTS.items():
                after = await one.booked(point)
                assert after == {end: (energy_in(meter, end), Quality.ACTUAL) for end in ends_between(BORN, BACK + 900)}
                assert sum(wh for wh, _ in after.values()) == sum(wh for wh, _ in before[point].values())
                assert after != before[point]
            checked = await verify_readings(one.store.readings)
            assert checked.rows > 0
            assert checked.altered == (), "each row has the hash of what it says now"
            one.clock.at += HOUR_S
            await one.hour_close.tick(one.clock.now())
            closed = await one.store.hours.cells(GONE + 2 * HOUR_S)
            assert (closed["t-1"].points_actual, closed["t-1"].points_estimated) == (8, 0), "closed again"

    run(story)


def test_a_day_that_was_sealed_is_sealed_again_with_the_truth(tmp_path: Path) -> None:
    async def story() -> None:
        day, evening, morning = "2026-05-05", MIDNIGHT + 23 * HOUR_S, MIDNIGHT + 25 * HOUR_S
        async with site(tmp_path) as one:
            await one.polls(evening - HOUR_S, evening)
            one.hush("m-1")
            await one.polls(evening + QUARTER, morning)
            await one.day_close.tick(one.clock.now())
            first = [row.revision.number for row in await one.store.readings.chunks.of_day(day)]
            one.hush("m-1", silent=False)
            await one.polls(morning + QUARTER, morning + 2 * QUARTER)
            await one.fill(morning + 2 * QUARTER + 300)
            assert await left(one) == {}
            one.clock.at += 2 * HOUR_S
            await one.day_close.tick(one.clock.now())
            again = await one.store.readings.chunks.of_day(day)
            assert first == [1]
            assert [row.revision.number for row in again] == [1, 2]
            cells = await one.store.hours.cells(MIDNIGHT + 24 * HOUR_S)
            assert cells["t-1"].points_actual == 8

    run(story)


def test_a_node_that_starts_again_fills_what_it_slept_through(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            await one.polls(BORN, GONE)
        async with site(tmp_path, now=BACK) as again:
            await again.polls(BACK, BACK + QUARTER)
            await again.fill(LATER)
            assert await left(again) == {}
            assert {quality for _, quality in (await again.booked("up-1")).values()} == {Quality.ACTUAL}

    run(story)


class CrashAt:
    """The power goes at the n-th commit of the readings since it is armed, before or after that is durable."""

    def __init__(self, commit: int, *, before: bool) -> None:
        self.left, self.before, self.armed = commit, before, False

    def before_commit(self, name: str) -> None:
        if self.armed and name.startswith("readings"):
            self.left -= 1
            if self.left == 0 and self.before:
                raise SimulatedCrash(name, "before a commit")

    def after_commit(self, name: str) -> None:
        if self.armed and name.startswith("readings") and self.left == 0:
            raise SimulatedCrash(name, "after a commit")


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("commit", [1, 2, 3, 4])
def test_a_crash_at_any_commit_books_the_same_in_the_end_over_a_months_turn(
    tmp_path: Path, commit: int, *, before: bool
) -> None:
    async def story() -> None:
        turn = day_bounds("2026-06-01", ZONE)[0]
        gone, back = turn - HOUR_S, turn + HOUR_S
        crash = CrashAt(commit, before=before)
        async with site(tmp_path, now=gone - HOUR_S, opener=SimDisk(seeded_rng(1), crash)) as one:
            await one.polls(gone - HOUR_S, gone)
            await one.polls(back, back + QUARTER)
            crash.armed = True
            if commit == 4:  # two months of readings, and the list: there is no fourth
                await one.fill(back + QUARTER + 300)
            else:
                with pytest.raises(SimulatedCrash):
                    await one.fill(back + QUARTER + 300)
        async with site(tmp_path, now=back + QUARTER + 600) as again:
            await again.fill(back + QUARTER + 600)
            assert await left(again) == {}
            for meter, point in POINTS.items():
                truth = ends_between(gone - HOUR_S, back + QUARTER)
                wanted = {end: (energy_in(meter, end), Quality.ACTUAL) for end in truth}
                assert await again.booked(point) == wanted

    run(story)


def test_what_lies_too_far_back_is_left_since_its_hours_are_not_closed_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            await outage(one)
            before = await one.booked("up-1")
            await one.fill(LATER + REACH_S)
            assert {reason for reason, _ in (await left(one)).values()} == {GapReason.TOO_OLD}
            assert await one.booked("up-1") == before

    run(story)


def test_an_empty_flat_needs_no_meter(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            one.meters["m-1"].source = lambda key, now: 50_000 if key == "import" else 0
            await outage(one)
            one.hush("m-1")
            await one.fill(LATER)
            assert await left(one) == {}
            assert set((await one.booked("up-1")).values()) == {(0, Quality.ACTUAL)}

    run(story)


def test_an_exchanged_meter_took_its_memory_along(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            await outage(one)
            stays = [
                replace(placed, valid_to=BACK + QUARTER) if placed.meter == "m-1" else placed
                for placed in one.registry.installations
            ]
            moved = replace(one.registry, version=one.registry.version + 1, installations=tuple(stays))
            await one.store.registries.put(registry_to_document(moved), LATER)
            await one.fill(LATER)
            assert await left(one) == {"up-1": (GapReason.METER_EXCHANGED, (BACK - GONE) // QUARTER)}

    run(story)


def _doubtful(_end: int, row: tuple[Data, ...]) -> tuple[Data, ...] | None:
    return (row[0], Data(Tag.UNSIGNED, 2), *row[2:])


def _empty(end: int, row: tuple[Data, ...]) -> tuple[Data, ...] | None:
    return (*row[:2], Data(Tag.NULL, None), row[3]) if GONE < end < BACK else row


def _tenfold(_end: int, row: tuple[Data, ...]) -> tuple[Data, ...] | None:
    shown = row[2].value
    assert isinstance(shown, int)
    return (*row[:2], Data(Tag.DOUBLE_LONG_UNSIGNED, shown // 10), row[3])


def _forgotten(_end: int, _row: tuple[Data, ...]) -> tuple[Data, ...] | None:
    return None


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (_doubtful, GapReason.ROW_DOUBTFUL),
        (_empty, GapReason.ROW_EMPTY),
        (_tenfold, GapReason.REGISTER_DISAGREES),
        (_forgotten, GapReason.OUTSIDE_MEMORY),
    ],
)
def test_rows_that_cannot_be_believed_are_not_booked(
    tmp_path: Path, rows: Callable[[int, tuple[Data, ...]], tuple[Data, ...] | None], reason: GapReason
) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            one.memories["m-1"].but = rows
            await outage(one)
            before = await one.booked("up-1")
            await one.fill(LATER)
            assert await left(one) == {"up-1": (reason, (BACK - GONE) // QUARTER)}
            assert await one.booked("up-1") == before
            connections = one.wires["m-1"].connections
            await one.fill(LATER + 5 * 24 * HOUR_S // QUARTER * QUARTER + 300)
            assert one.wires["m-1"].connections == connections, "nobody asks in vain for ever"

    run(story)


def test_a_small_memory_fills_what_it_holds_and_the_list_shrinks(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            one.memories["m-1"].rows_kept = 10
            await outage(one)
            await one.fill(LATER)
            (gap,) = await one.store.readings.gaps.standing()
            known = BACK - 8 * QUARTER  # the newest row is that of BACK + QUARTER
            assert (gap.point, gap.reason, gap.start, gap.end) == ("up-1", GapReason.OUTSIDE_MEMORY, GONE, known)
            booked = await one.booked("up-1")
            for end in ends_between(known, BACK):
                assert booked[end] == (energy_in("m-1", end), Quality.ACTUAL)
            rest = [booked[end] for end in gap.ends]
            assert {quality for _, quality in rest} == {Quality.ESTIMATED}
            assert sum(wh for wh, _ in rest) == register_at("m-1", known) - register_at("m-1", GONE)

    run(story)


def test_another_meter_and_a_lying_clock_are_named_and_asked_again_a_day_later(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            await outage(one)
            one.meters["m-1"].clock.error_s = 3_600
            one.meters["m-2"].serial = "serial-x"
            before = [await one.booked(point) for point in ("up-1", "up-2")]
            await one.fill(LATER)
            count = (BACK - GONE) // QUARTER
            wanted = {"up-1": (GapReason.CLOCK_WRONG, count), "up-2": (GapReason.METER_REFUSES, count)}
            assert await left(one) == wanted
            assert [await one.booked(point) for point in ("up-1", "up-2")] == before
            one.meters["m-1"].clock.error_s, one.meters["m-2"].serial = 0, "serial-m-2"
            await one.fill(LATER + HOUR_S)
            assert await left(one) == wanted
            await one.fill(LATER + 24 * HOUR_S)
            assert await left(one) == {}

    run(story)


def test_a_silent_meter_is_asked_again_and_holds_up_nobody(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            await outage(one)
            one.hush("m-2")
            await one.fill(LATER)
            assert await left(one) == {"up-2": (GapReason.METER_SILENT, (BACK - GONE) // QUARTER)}
            one.hush("m-2", silent=False)
            await one.fill(LATER + 600)
            assert len(await left(one)) == 1
            await one.fill(LATER + QUARTER)
            assert await left(one) == {}

    run(story)


def test_a_profile_file_without_a_memory_is_looked_at_again_when_the_node_starts(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            await outage(one)
            whole = one.driver
            one.backfill._drivers = {"dlms": _Deaf()}  # type: ignore[dict-item]
            await one.fill(LATER)
            assert {reason for reason, _ in (await left(one)).values()} == {GapReason.NO_MEMORY}
            assert await one.store.readings.gaps.counts() == {GapReason.NO_MEMORY: 3 * (BACK - GONE) // QUARTER}
            one.backfill._drivers = {"dlms": whole}
            task = asyncio.ensure_future(one.backfill.run())
            with pytest.raises(NotImplementedError):  # it has nothing left to do and waits
                await task
            assert await left(one) == {}

    run(story)


class _Deaf:
    """A driver that keeps no profiles, as that of Modbus."""
