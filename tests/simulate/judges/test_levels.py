"""The hub's areas against their places: two formulas, one of them the checker's own, and every figure can be missed."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from central_sync.balance.cells import (
    AREA_COLUMNS,
    CELL,
    FINAL,
    HOURS,
    PLACE_COLUMNS,
    TRANSFORMER,
    Int64,
    NewHours,
    empty_day,
    movement,
    pack,
    revise,
    unpack,
)
from central_sync.balance.topology import SPANS_KEPT_MAX, KnownRegistry
from central_sync.store.port import AreaKey
from gridmodel.balance import CELL_FIELDS
from gridmodel.network import SupplyPointKind
from simulate.clock import WallSpan
from simulate.grid_registry import Listen, registry_of
from simulate.judges.energy import ANCHOR_S, EnergyChecker, clouded
from simulate.judges.levels import LevelChecker, areas_of
from simulate.judges.sight import Eye
from tests.simulate.judges.scenes import MIDNIGHT, Scene, grid_of, scene

POINTS = 160
DAY = "2026-05-12"
NODE_TABLES = """
    CREATE TABLE place_day (node TEXT, place TEXT, day TEXT, kind TEXT, state BLOB);
    CREATE TABLE balance_day (level TEXT, area TEXT, day TEXT, node TEXT, state BLOB);"""


def checker_of(one: Scene, hub: Path) -> LevelChecker:
    """Over a hub on which the product's own bookings stand: places with drawn figures, areas moved by them."""
    grid, dice = one.sight.grid, np.random.default_rng(1)
    known = KnownRegistry(registry_of(grid, Listen("127.0.0.1", 502)))
    places = {str(transformer.id): TRANSFORMER for transformer in grid.transformers}
    places |= {
        str(supply.id): supply.kind.value for supply in grid.supplies if supply.kind is not SupplyPointKind.TRANSFORMER
    }
    moved: dict[AreaKey, Int64] = {}
    with sqlite3.connect(hub) as rows:
        rows.executescript(NODE_TABLES)
        for place, kind in places.items():
            cells = dice.integers(1, 9_000, (HOURS, CELL))
            hours = tuple(range(HOURS))
            new = NewHours(place, kind, FINAL, 1, 1, hours, cells, known.bookings(place, DAY))
            day = revise(empty_day(kind), new).day
            movement(moved, empty_day(kind), day)
            assert day.state.shape == (HOURS, PLACE_COLUMNS)
            rows.execute("INSERT INTO place_day VALUES ('n1', ?, ?, ?, ?)", (place, DAY, kind, pack(day.state)))
        for (level, area), state in moved.items():
            rows.execute("INSERT INTO balance_day VALUES (?, ?, ?, 'n1', ?)", (level, area, DAY, pack(state)))
    rows.close()
    return LevelChecker({"n1": one.sight}, Eye(hub), one.verdicts)


def test_the_hubs_bookings_are_the_checkers_areas(tmp_path: Path) -> None:
    with scene(tmp_path, POINTS) as one:
        checker = checker_of(one, tmp_path / "hub.db")
        checker.add_up()
        checker.hub.close()
        assert one.found() == set()
        kinds = {supply.kind for supply in one.sight.grid.supplies}
        assert kinds == set(SupplyPointKind)


def test_a_registry_keeps_the_areas_of_a_bounded_number_of_spans(tmp_path: Path) -> None:
    with scene(tmp_path, POINTS) as one:
        known = KnownRegistry(registry_of(one.sight.grid, Listen("127.0.0.1", 502)))
        known._changes = tuple(range(MIDNIGHT, MIDNIGHT + 2 * SPANS_KEPT_MAX))
        for end in known._changes:
            known.expected(end)
        assert len(known._expected) == SPANS_KEPT_MAX
        one.found()


@pytest.mark.parametrize("level", ["transformer", "feeder", "substation", "district"])
@pytest.mark.parametrize("figure", ["supplied_wh", "delivered_wh", "supply_missing", "points_estimated"])
def test_one_watt_hour_too_many_is_seen_at_every_level(tmp_path: Path, level: str, figure: str) -> None:
    with scene(tmp_path, POINTS) as one:
        checker = checker_of(one, tmp_path / "hub.db")
        checker.add_up()
        assert not one.verdicts.found  # and what was added up once is looked at again when it is another
        with sqlite3.connect(tmp_path / "hub.db") as rows:
            area, blob = rows.execute("SELECT area, state FROM balance_day WHERE level = ?", (level,)).fetchone()
            state = unpacked(blob)
            state[7, CELL_FIELDS.index(figure)] += 1
            rows.execute("UPDATE balance_day SET state = ? WHERE level = ? AND area = ?", (pack(state), level, area))
        rows.close()
        checker.add_up()
        checker.hub.close()
        assert [found.what for found in one.verdicts.found] == [
            f"{level} {area} {DAY}: it is off its places: {figure} +1"
        ]


def test_hours_at_the_hub_are_read_anew_when_they_are_others(tmp_path: Path) -> None:
    with scene(tmp_path, POINTS) as one:
        levels = checker_of(one, tmp_path / "hub.db")
        checker = EnergyChecker({"n1": one.sight}, levels.hub, one.verdicts)
        before = checker.hub_hours("n1")
        assert checker.hub_hours("n1") == before
        with sqlite3.connect(tmp_path / "hub.db") as rows:
            place, blob = rows.execute("SELECT place, state FROM place_day").fetchone()
            state = unpack(blob, HOURS, PLACE_COLUMNS)
            state[7, CELL_FIELDS.index("delivered_wh")] += 1
            rows.execute("UPDATE place_day SET state = ? WHERE place = ?", (pack(state), place))
        rows.close()
        after = checker.hub_hours("n1")
        checker.hub.close()
        one.found()
        assert [(name, end) for name in after for end in after[name] if after[name][end] != before[name][end]] == [
            (place, sorted(after[place])[7])
        ]


def unpacked(blob: bytes) -> Int64:
    return unpack(blob, HOURS, AREA_COLUMNS)


def test_a_boundary_takes_from_one_district_what_it_gives_the_other() -> None:
    grid = grid_of(POINTS)
    boundary = next(str(one.id) for one in grid.supplies if one.kind is SupplyPointKind.BOUNDARY)
    found = [
        (level, part.sign) for (level, _), parts in areas_of(grid).items() for part in parts if part.place == boundary
    ]
    assert sorted(found) == [("district", -1), ("district", 1)]


def test_a_wall_clouds_as_much_as_it_is_off(tmp_path: Path) -> None:
    with scene(tmp_path) as one:
        one.walls.append(WallSpan(MIDNIGHT + 3_600, MIDNIGHT + 7_200, 86_400.0))
        assert not clouded(one.sight, MIDNIGHT + 3_600 - ANCHOR_S - 1)
        assert clouded(one.sight, MIDNIGHT + 86_400)
        assert not clouded(one.sight, MIDNIGHT + 7_200 + 86_400 + ANCHOR_S + 1)
        one.walls[:] = [WallSpan(MIDNIGHT + 36_000, MIDNIGHT + 37_000, -600.0)]
        assert clouded(one.sight, MIDNIGHT + 36_000 - 600)
        assert not clouded(one.sight, MIDNIGHT + 36_000 - 3_600)
