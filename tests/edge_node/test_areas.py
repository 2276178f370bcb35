"""Balances of an hour by feeder: heads and the plants on them supply it, what has no head has no loss."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from edge_node.console.areas import hour_areas
from edge_node.console.day import feeders_of_hours
from edge_node.store.listing import HourPlace
from edge_node.store.opening import EdgeStore
from gridmodel.balance import HourCell
from gridmodel.network import SupplyPointKind
from gridmodel.registry import Registry
from simulate.grid import build_grid
from simulate.grid_registry import Listen, registry_of
from tests.simulate.rigs import ORIGIN, spec

END = ORIGIN + 10 * 3600
HEAD_WH, PLANT_WH, DELIVERED_WH = 900, 150, 1_000


def registry() -> Registry:
    return registry_of(build_grid(spec(60)), Listen("127.9.0.1", 20_000))


def by_feeder(known: Registry) -> dict[str, dict[str, Any]]:
    feeder_of = known.topology(END).feeder_of
    of_kind = {point.id: point.kind for point in known.supply_points}
    cells: dict[str, HourCell] = {}
    for one in known.transformers:
        share = sum(1 for other in known.transformers if feeder_of[other.id] == feeder_of[one.id])
        cells[one.id] = HourCell(delivered_wh=DELIVERED_WH // share, points_expected=1, points_actual=1)
    for place, kind in of_kind.items():
        if kind is SupplyPointKind.FEEDER_HEAD:
            cells[place] = HourCell(supplied_wh=HEAD_WH, supply_expected=1)
        elif kind is SupplyPointKind.GENERATOR:
            cells[place] = HourCell(supplied_wh=PLANT_WH, supply_expected=1)

    async def found(_: int) -> dict[str, HourCell]:
        return cells

    store = SimpleNamespace(registries=SimpleNamespace(newest=known), hours=SimpleNamespace(cells=found))
    told = asyncio.run(hour_areas(cast("EdgeStore", store), "feeder", END))
    return {area["id"]: area for area in told["areas"]}


def test_a_plant_supplies_the_feeder_that_it_names() -> None:
    known = registry()
    (plant,) = [one for one in known.supply_points if one.kind is SupplyPointKind.GENERATOR]
    told = by_feeder(known)
    assert plant.feeder is not None
    assert told[plant.feeder]["supplied_wh"] == HEAD_WH + PLANT_WH
    assert told[plant.feeder]["loss_wh"] == HEAD_WH + PLANT_WH - DELIVERED_WH
    (other,) = [area for feeder, area in told.items() if feeder != plant.feeder]
    assert other["supplied_wh"] == HEAD_WH


def test_a_head_that_was_measured_for_a_part_of_the_day_makes_no_loss_known() -> None:
    known = registry()
    feeder_of = known.topology(END).feeder_of
    delivers = HourCell(delivered_wh=DELIVERED_WH, points_expected=1, points_actual=1)
    cells = [HourPlace(end, one.id, "transformer", delivers) for one in known.transformers for end in (END, END + 3600)]
    heads = [one for one in known.supply_points if one.kind is SupplyPointKind.FEEDER_HEAD]
    enough = HourCell(supplied_wh=DELIVERED_WH * len(feeder_of), supply_expected=1)
    late, whole = str(heads[0].feeder), str(heads[1].feeder)
    cells += [HourPlace(END + 3600, heads[0].id, "feeder_head", enough)]
    cells += [HourPlace(end, heads[1].id, "feeder_head", enough) for end in (END, END + 3600)]
    told = {area.id: area for area in feeders_of_hours(known, cells, END + 3600)}
    assert told[late].loss is None
    assert told[whole].loss is not None


def test_a_plant_alone_makes_no_loss_known() -> None:
    known = registry()
    (plant,) = [one for one in known.supply_points if one.kind is SupplyPointKind.GENERATOR]
    heads = {
        one.id for one in known.supply_points if one.kind is SupplyPointKind.FEEDER_HEAD and one.feeder == plant.feeder
    }
    headless = replace(
        known,
        supply_points=tuple(one for one in known.supply_points if one.id not in heads),
        installations=tuple(one for one in known.installations if one.point not in heads),
    )
    assert by_feeder(headless)[str(plant.feeder)]["loss_wh"] is None
