"""The made grid: a sound registry, energy that adds up at every level, the planted loss, thieves, relays, history."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from gridmodel.network import SupplyPointKind
from gridmodel.period import day_bounds
from gridmodel.registry_document import registry_from_document, registry_to_document
from simulate.face import kind_of
from simulate.grid import Grid, GridSpec, build_grid
from simulate.grid_registry import GridFault, Listen, registry_of, spec_from_document, spec_to_document
from simulate.truth import GridTruth, TruthFault
from tests.simulate.rigs import ORIGIN, PROFILES, spec

DAY_END = ORIGIN + 86_400
TWO = ("1718203", "1718206")


def day_of(given: GridSpec) -> tuple[Grid, GridTruth]:
    grid = build_grid(given)
    truth = GridTruth(grid, PROFILES)
    truth.advance(DAY_END)
    return grid, truth


def supplied(grid: Grid, truth: GridTruth, kind: SupplyPointKind, of: Callable[[int], bool]) -> int:
    return sum(truth.primary_wh(s.meter, ORIGIN, DAY_END) for s in grid.supplies if s.kind is kind and of(s.of))


def feeder_loss_pct(grid: Grid, truth: GridTruth, feeder: int) -> float:
    into = sum(
        supplied(grid, truth, kind, lambda of: of == feeder)
        for kind in (SupplyPointKind.FEEDER_HEAD, SupplyPointKind.GENERATOR)
    )
    points = [point for point in grid.points if grid.transformers[point.transformer].feeder == feeder]
    out = sum(truth.primary_wh(point.meter, ORIGIN, DAY_END) for point in points)
    out -= sum(truth.registers(point.meter, DAY_END).export_wh for point in points)
    return 100 * (into - out) / into


@pytest.mark.parametrize("points", [6, 20, 200, 1000])
@pytest.mark.parametrize("districts", [TWO[:1], TWO])
def test_the_grid_is_a_sound_registry(points: int, districts: tuple[str, ...]) -> None:
    grid = build_grid(spec(points, districts=districts))
    registry = registry_of(grid, Listen("127.1.0.1", 20_502))
    assert len(registry.usage_points) == points
    assert len(registry.feeders) >= 2 * len(districts)
    assert registry_from_document(json.loads(json.dumps(registry_to_document(registry)))) == registry
    assert len({meter.serial for meter in registry.meters}) == len(registry.meters)
    topology = registry.topology(ORIGIN + 3600)
    assert set(topology.installation_at) == {p.id for p in registry.usage_points} | {
        s.id for s in registry.supply_points
    }
    assert all(topology.points_of.values()), "a transformer without consumers"


def test_one_seed_one_grid() -> None:
    assert build_grid(spec(100, seed=5)) == build_grid(spec(100, seed=5))
    assert build_grid(spec(100, seed=5)) != build_grid(spec(100, seed=6))


@pytest.mark.parametrize(("points", "seed"), [(20, 1), (40, 2), (200, 3), (1000, 4)])
def test_the_planted_loss_is_there(points: int, seed: int) -> None:
    grid, truth = day_of(spec(points, seed))
    assert feeder_loss_pct(grid, truth, 0) == pytest.approx(4.0, abs=0.3)


def test_no_feeder_is_free_of_loss_and_thieves_show() -> None:
    grid, truth = day_of(spec(1000, districts=TWO))
    losses = [feeder_loss_pct(grid, truth, feeder) for feeder in range(len(grid.feeders))]
    assert all(2 < loss < 15 for loss in losses), losses
    assert any(point.read_pct < 100 for point in grid.points)
    assert any(point.solar_w for point in grid.points)
    assert {kind_of(grid, n) for n in range(len(grid.meters))} == {
        "usage_point",
        "transformer",
        "feeder_head",
        "boundary",
        "generator",
    }


def test_districts_add_up_across_their_boundary() -> None:
    """Heads + generation + boundary in - out is what a district's own consumers take, and its losses."""
    grid, truth = day_of(spec(1000, districts=TWO))
    crossing = supplied(grid, truth, SupplyPointKind.BOUNDARY, lambda of: True)
    assert crossing > 0
    for district, sign in zip(TWO, (-1, 1), strict=True):
        mine = {n for n, f in enumerate(grid.feeders) if grid.substations[f.substation].district == district}
        into = sign * crossing + sum(
            supplied(grid, truth, kind, mine.__contains__)
            for kind in (SupplyPointKind.FEEDER_HEAD, SupplyPointKind.GENERATOR)
        )
        out = sum(truth.primary_wh(p.meter, ORIGIN, DAY_END) for p in grid.points if p.district == district)
        out -= sum(truth.registers(p.meter, DAY_END).export_wh for p in grid.points if p.district == district)
        assert 0.02 < (into - out) / into < 0.15


def test_a_transformer_gives_what_its_points_take_and_its_lines_lose() -> None:
    grid, truth = day_of(spec(200))
    for n in range(len(grid.transformers)):
        gives = supplied(grid, truth, SupplyPointKind.TRANSFORMER, lambda of, n=n: of == n)  # type: ignore[misc]
        points = [point for point in grid.points if point.transformer == n]
        if all(point.read_pct == 100 and not point.solar_w for point in points):
            takes = sum(truth.primary_wh(point.meter, ORIGIN, DAY_END) for point in points)
            assert 0.004 < (gives - takes) / gives < 0.03


@pytest.mark.parametrize("minutes", [15, 30, 60])
def test_truth_does_not_depend_on_how_often_it_is_asked(minutes: int) -> None:
    once = GridTruth(build_grid(spec(minutes=minutes)), PROFILES)
    once.advance(DAY_END)
    often = GridTruth(build_grid(spec(minutes=minutes)), PROFILES)
    for now in range(ORIGIN, DAY_END + 1, 500):
        often.advance(now)
        often.load_w(0, now)
    often.advance(DAY_END)
    for meter in once.grid.meters:
        for at in (ORIGIN, ORIGIN + 7 * 3600, DAY_END):
            assert once.registers(meter, at) == often.registers(meter, at)


def test_no_interval_exceeds_what_its_meter_can_carry() -> None:
    """Validation holds such energy back as a spike: made loads must never look like one."""
    truth = GridTruth(build_grid(spec(1000, minutes=15)), PROFILES)
    limits = [PROFILES[truth.grid.profile_of(n)].power_w_max for n in range(len(truth.grid.meters))]
    before = [truth.registers_at(n, ORIGIN).import_wh for n in range(len(limits))]
    for at in range(ORIGIN + 900, ORIGIN + 2 * 86_400 + 1, 900):
        now = [truth.registers_at(n, at).import_wh for n in range(len(limits))]
        assert all(0 <= b - a <= limit // 4 for a, b, limit in zip(before, now, limits, strict=True))
        before = now


def test_an_open_relay_stops_its_own_consumption_and_the_supply_for_it() -> None:
    given = spec(40)
    plain, cut = GridTruth(build_grid(given), PROFILES), GridTruth(build_grid(given), PROFILES)
    point = next(p for p in plain.grid.points if p.profile == "dds238_2_zn_sr" and p.read_pct == 100 and not p.solar_w)
    opened, closed = ORIGIN + 6 * 3600 + 1800, ORIGIN + 20 * 3600 + 900
    cut.move_relay(point.meter, closed=False, at=opened)
    cut.advance(closed)
    cut.move_relay(point.meter, closed=True, at=closed)

    def energy(truth: GridTruth, begin_h: int, end_h: int) -> int:
        return truth.primary_wh(point.meter, ORIGIN + begin_h * 3600, ORIGIN + end_h * 3600)

    assert energy(cut, 0, 6) == energy(plain, 0, 6)
    assert energy(cut, 6, 7) == pytest.approx(energy(plain, 6, 7) / 2, abs=20)
    assert energy(cut, 7, 20) == 0
    assert energy(plain, 7, 20) > 0
    assert energy(cut, 20, 21) == pytest.approx(energy(plain, 20, 21) * 3 / 4, abs=20)
    assert energy(cut, 21, 24) == pytest.approx(energy(plain, 21, 24), abs=20)
    head = next(s for s in cut.grid.supplies if s.kind is SupplyPointKind.FEEDER_HEAD and s.of == 0)
    if cut.grid.transformers[point.transformer].feeder == 0:
        assert cut.primary_wh(head.meter, ORIGIN, DAY_END) < plain.primary_wh(head.meter, ORIGIN, DAY_END)


def test_questions_without_an_answer_are_named() -> None:
    _, truth = day_of(spec(20))
    with pytest.raises(TruthFault, match="TQ-SM-01"):
        truth.register_wh("nobody", DAY_END)
    with pytest.raises(TruthFault, match="TQ-SM-03"):
        truth.move_relay(truth.grid.supplies[0].meter, closed=False, at=DAY_END)
    truth.advance(DAY_END + 50 * 86_400)
    with pytest.raises(TruthFault, match="TQ-SM-02"):
        truth.register_wh(truth.grid.meters[0], DAY_END)


def test_a_grid_file_comes_back_and_a_wrong_one_is_named() -> None:
    given = spec(30)
    assert spec_from_document(json.loads(json.dumps(spec_to_document(given)))) == given
    for wrong in (None, {}, spec_to_document(given) | {"points": "many"}, spec_to_document(given) | {"colour": 1}):
        with pytest.raises(GridFault, match="TQ-SM-11"):
            spec_from_document(wrong)
    for key, value in (
        *(("points", one) for one in (True, -1, 0, 1, 10**9)),
        *(("seed", one) for one in (-1, True)),
        *(("planted_pct", one) for one in (None, "x", float("nan"), float("inf"), -1, True)),
        *((name, []) for name in ("company_pct", "producer_pct", "thief_pct", "node", "zone")),
        *(("districts", one) for one in ("", [], [None])),
        *(("interval_minutes", one) for one in (0, 7, -15)),
    ):
        with pytest.raises(GridFault, match="TQ-SM-11"):
            build_grid(spec_from_document(spec_to_document(given) | {key: value}))
    with pytest.raises(GridFault, match="TQ-SM-10"):
        Listen("localhost", 502).place(0)
    assert Listen("127.1.0.250", 502, 247).place(250) == ("127.1.0.251", 502, 4)
    assert Listen("127.1.0.250", 502).place(10) == ("127.1.1.4", 502, 1)


@pytest.mark.parametrize(("seed", "points"), [(1002, 30), (3, 15), (7, 100), (9, 200)])
def test_no_meter_counts_more_than_it_carries(seed: int, points: int) -> None:
    """Seed 1002: one company outweighed its feeder, whose direct meters then showed what validation calls a spike."""
    origin, _ = day_bounds("2026-04-15", "Asia/Tashkent")
    grid = build_grid(replace(spec(points, seed), origin=origin))
    truth = GridTruth(grid, PROFILES)
    for index in range(len(grid.meters)):
        power_w_max = PROFILES[grid.profile_of(index)].power_w_max
        shown = [truth.registers_at(index, origin + hour * 3600).import_wh for hour in range(25)]
        assert max(after - before for before, after in pairwise(shown)) <= power_w_max


@pytest.mark.parametrize("seed", range(4))
def test_a_street_full_of_plants_never_feeds_its_transformer_backwards(seed: int) -> None:
    """Two plants in one street together gave more than it took: the supply register, which only imports, fell."""
    grid = build_grid(replace(spec(points=12, seed=seed, minutes=15), producer_pct=40.0))
    truth, before = GridTruth(grid, PROFILES), None
    for end in range(ORIGIN, ORIGIN + 86_400, 900):
        now = [truth.registers_at(index, end).import_wh for index in range(len(grid.meters))]
        assert before is None or all(later >= earlier for later, earlier in zip(now, before, strict=True))
        before = now
