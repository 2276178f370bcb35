"""A change of the network that is told late moves the energy of its own hours, open or sealed; a restart loses none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edge_node.metering.late_links import LateLinks, changed_at
from edge_node.store.registries import Registries
from edge_node.store.state import NodeState
from gridmodel.period import HOUR_S
from gridmodel.registry import Registry
from simulate.loop import run_virtual
from tests.edge_node.metering.small_grid import QUARTER, Office, grid, link, office, placed
from tests.edge_node.metering.test_exchanges import (
    DAY_END,
    NOON,
    OLD_WH,
    SWAP,
    chunk_series,
    exchanged,
    play,
)

BOTH = [placed("m-old", "up-1"), placed("m-2", "up-2")]


def before() -> Registry:
    return grid([link("up-1", "t-1"), link("up-2", "t-1")], BOTH)


def moved() -> Registry:
    """up-1 has hung on t-2 since noon."""
    links = [link("up-1", "t-1", until=NOON), link("up-1", "t-2", since=NOON), link("up-2", "t-1")]
    return grid(links, BOTH, version=2)


def gone() -> Registry:
    """The meter of up-1 was taken down at noon, and nobody wrote its register down."""
    return grid([link("up-1", "t-1"), link("up-2", "t-1")], [replace(BOTH[0], valid_to=NOON), BOTH[1]], version=2)


def room(one: Office) -> LateLinks:
    return LateLinks(
        readings=one.readings,
        registries=one.registries,
        state=NodeState(one.control),
        clock=one.clock,
        wakeups=one.wakeups,
    )


@pytest.mark.parametrize("sealed", [False, True])
def test_energy_goes_to_the_transformer_it_was_taken_from(tmp_path: Path, sealed: bool) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            await one.take(before())
            links = room(one)
            assert await links.tick(one.clock.now()) == 0
            await one.live(DAY_END + 2 * HOUR_S if sealed else NOON + 4 * HOUR_S)
            await one.take(moved())
            assert await links.tick(one.clock.now()) > 0
            assert await links.tick(one.clock.now()) == 0
            await one.live(one.clock.now() + 2 * HOUR_S)
            cells = await one.all_cells()
            assert cells[NOON]["t-1"].delivered_wh == 4 * (OLD_WH + 100)
            for hour in (NOON + HOUR_S, NOON + 3 * HOUR_S):
                assert (cells[hour]["t-1"].delivered_wh, cells[hour]["t-2"].delivered_wh) == (400, 4 * OLD_WH)
            if sealed:
                series = await chunk_series(one)
                assert sum(series["up-1", "t-2"][0]) == 48 * OLD_WH

    run_virtual(story())


def test_a_meter_that_went_before_the_paper_came_is_missed_no_more(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            await one.take(before())
            links = room(one)
            await links.tick(one.clock.now())
            await one.live(NOON + 200)
            one.meters.silent = {"m-old"}
            await one.live(NOON + 4 * HOUR_S)
            assert (await one.all_cells())[NOON + 2 * HOUR_S]["t-1"].points_missing == 4
            await one.take(gone())
            await links.tick(one.clock.now())
            await one.live(NOON + 6 * HOUR_S)
            cell = (await one.all_cells())[NOON + 2 * HOUR_S]["t-1"]
            assert (cell.points_expected, cell.points_missing) == (4, 0)

    run_virtual(story())


def test_what_came_before_a_restart_is_told_after_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            await one.take(before())
            await room(one).tick(one.clock.now())
            await one.live(NOON + 4 * HOUR_S)
            await one.take(moved())
        async with office(tmp_path, now=NOON + 4 * HOUR_S) as one:
            play(one)
            assert await room(one).tick(one.clock.now()) > 0
            assert await room(one).tick(one.clock.now()) == 0
            await one.live(NOON + 6 * HOUR_S)
            assert (await one.all_cells())[NOON + 2 * HOUR_S]["t-2"].delivered_wh == 4 * OLD_WH

    run_virtual(story())


def test_a_restart_without_a_change_reads_no_registry_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another half minute of a processor and a gigabyte, at each start of a region's node."""

    async def never(*_: object) -> None:
        raise AssertionError("an earlier registry was read")

    async def story() -> None:
        async with office(tmp_path) as one:
            await one.take(before())
            await room(one).tick(one.clock.now())
        monkeypatch.setattr(Registries, "earlier", never)
        async with office(tmp_path, now=NOON) as one:
            assert await room(one).tick(one.clock.now()) == 0

    run_virtual(story())


@pytest.mark.parametrize(
    ("earlier", "later", "at"),
    [
        (before, moved, NOON),
        (before, gone, NOON),
        (moved, before, NOON),
        (lambda: exchanged(registers=False), exchanged, None),
        (
            lambda: grid([link("up-1", "t-1"), link("up-2", "t-1")], [placed("m-old", "up-1"), placed("m-2", "up-2")]),
            exchanged,
            None,
        ),
        (before, lambda: grid([link("up-1", "t-1")], [BOTH[0]]), 0),
        (
            gone,
            lambda: grid(
                [link("up-1", "t-1"), link("up-2", "t-1")], [replace(BOTH[0], valid_to=SWAP + QUARTER), BOTH[1]]
            ),
            NOON,
        ),
    ],
    ids=["moved", "gone", "back", "registers alone", "an exchange", "a point less", "another time"],
)
def test_only_what_hangs_where_counts(
    earlier: Callable[[], Registry], later: Callable[[], Registry], at: int | None
) -> None:
    assert changed_at(earlier(), later()) == at
