"""Balances of one closed hour as JSON: by transformer or by feeder, with what they do not know. Room: console.

On the reading walk; the same cells that the hub is told, summed under the parents of their own hour. Supply enters a
feeder at its heads and from the plants on it; the rest counts for the district. A transformer's own meter is its own.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edge_node.store.opening import EdgeStore
from gridmodel.balance import CELL_FIELDS, NO_ENERGY, HourCell, completeness_pct, loss_of
from gridmodel.identity import FeederId, SupplyPointId, TransformerId
from gridmodel.network import SupplyPointKind
from gridmodel.registry import Registry


async def hour_areas(store: EdgeStore, level: str, end: int) -> dict[str, Any]:
    """``{"level", "end", "areas": […]}`` of the hour ending at `end` (0: the latest closed); none before one."""
    if end == 0:
        latest = (await store.hours.closed()).last_hour
        end = 0 if latest is None else latest.hour_end
    registry = store.registries.newest
    if registry is None or end == 0:
        return {"level": level, "end": None, "areas": []}
    cells = await store.hours.cells(end)
    found = _feeders(registry, cells, end) if level == "feeder" else _transformers(registry, cells)
    return {"level": level, "end": end, "areas": [_told(area, name, cell) for area, name, cell in found]}


def _transformers(registry: Registry, cells: Mapping[str, HourCell]) -> list[tuple[str, str, HourCell]]:
    return [(one.id, one.name, cells[one.id]) for one in registry.transformers if one.id in cells]


def _feeders(registry: Registry, cells: Mapping[str, HourCell], end: int) -> list[tuple[str, str, HourCell]]:
    sums = feeder_sums(registry, cells, end)
    return [(one.id, one.name, sums[one.id]) for one in registry.feeders]


def feeder_sums(registry: Registry, cells: Mapping[str, HourCell], end: int) -> dict[FeederId, HourCell]:
    """What every feeder took in and gave out in the hour ending at `end`: what supplies a feeder is said here alone.

    A plant counts where the feeder's head is measured, too: behind a head that nobody reads no loss can be told.
    """
    feeder_of = registry.topology(end).feeder_of
    headed = {
        _supply_of(registry, place, SupplyPointKind.FEEDER_HEAD)
        for place, cell in cells.items()
        if cell.supply_expected
    }
    sums: dict[FeederId, HourCell] = {one.id: NO_ENERGY for one in registry.feeders}
    for place, cell in cells.items():
        transformer = TransformerId(place)
        if transformer in registry.transformer:
            feeder, part = feeder_of.get(transformer), delivered_part(cell)
        else:
            plant = _supply_of(registry, place, SupplyPointKind.GENERATOR)
            feeder = _supply_of(registry, place, SupplyPointKind.FEEDER_HEAD) or (plant if plant in headed else None)
            part = cell
        if feeder is not None:
            sums[feeder] += part
    return sums


def unsupplied(cell: HourCell) -> bool:
    """Whether an hour of an area delivers and nothing measures what supplies it."""
    return bool(cell.points_expected) and not cell.supply_expected


def delivered_part(cell: HourCell) -> HourCell:
    """What a transformer adds to areas above it: consumers' energy, not its own supply meter."""
    return replace(cell, supplied_wh=0, supply_expected=0, supply_missing=0)


def _supply_of(registry: Registry, place: str, kind: SupplyPointKind) -> FeederId | None:
    """The feeder that a supply point of that kind feeds."""
    point = registry.supply_point.get(SupplyPointId(place))
    return point.feeder if point is not None and point.kind is kind else None


def _told(area: str, name: str, cell: HourCell) -> dict[str, Any]:
    loss = loss_of(cell)
    return {
        "id": area,
        "name": name,
        **dict(zip(CELL_FIELDS, cell.as_tuple(), strict=True)),
        "loss_wh": None if loss is None else loss.loss_wh,
        "loss_pct": None if loss is None else loss.loss_pct,
        "completeness_pct": completeness_pct(cell),
    }
