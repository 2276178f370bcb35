"""An hour's cells from its readings: pure, and the same rule as a chunk's sums. Room: metering; walk: reading.

A point counts in an interval if a meter stood there and it hung on a transformer in that interval; energy is booked
under the transformer of its own interval. What is missing is missing: no energy is invented for it, it is counted.
"""

from collections.abc import Iterable, Sequence

from edge_node.store.hours import PlaceCell
from gridmodel.balance import CELL_FIELDS, HourCell
from gridmodel.network import SupplyPointKind
from gridmodel.period import HOUR_S
from gridmodel.reading import Channel, Quality
from gridmodel.registry import Registry

_SUPPLIED, _DELIVERED, _EXPORTED, _SUPPLY_EXPECTED, _SUPPLY_MISSING, _EXPECTED, _ACTUAL, _ESTIMATED, _MISSING = map(
    CELL_FIELDS.index,
    (
        "supplied_wh",
        "delivered_wh",
        "exported_wh",
        "supply_expected",
        "supply_missing",
        "points_expected",
        "points_actual",
        "points_estimated",
        "points_missing",
    ),
)
_Sums = dict[tuple[str, SupplyPointKind], list[int]]
_Values = dict[str, tuple[int, int]]


def hour_cells(
    registry: Registry, hour_end: int, names: Sequence[tuple[str, int]], rows: Iterable[tuple[int, int, int, int]]
) -> list[PlaceCell]:
    """The cells of every place with a meter in the hour, in order of place. Heavy: a task for `compute`.

    `names` gives (point, channel) by number, `rows` are (end, number, energy_wh, quality).
    """
    length = registry.interval_minutes * 60
    imports: dict[int, _Values] = {end: {} for end in range(hour_end - HOUR_S + length, hour_end + 1, length)}
    exports: dict[int, _Values] = {end: {} for end in imports}
    for end, number, energy_wh, quality in rows:
        point, channel = names[number]
        if channel == Channel.IMPORT:
            imports[end][point] = (energy_wh, quality)
        elif channel == Channel.EXPORT:
            exports[end][point] = (energy_wh, quality)
    sums: _Sums = {}
    for end, taken in imports.items():
        _usage(registry, end, taken, exports[end], sums)
        _supply(registry, end, taken, exports[end], sums)
    return [PlaceCell(place, kind, HourCell(*cell)) for (place, kind), cell in sorted(sums.items())]


def _usage(registry: Registry, end: int, imports: _Values, exports: _Values, sums: _Sums) -> None:
    topology = registry.topology(end)
    placed, kind = topology.installation_at, SupplyPointKind.TRANSFORMER
    for transformer, points in topology.points_of.items():
        present = [point for point in points if point in placed]
        if not present:
            continue
        cell = _cell(sums, transformer, kind)
        cell[_EXPECTED] += len(present)
        for point in present:
            value = imports.get(point)
            if value is None:
                cell[_MISSING] += 1
            else:
                cell[_DELIVERED] += value[0]
                cell[_ACTUAL if value[1] == Quality.ACTUAL else _ESTIMATED] += 1
            if point in exports:
                cell[_EXPORTED] += exports[point][0]


def _supply(registry: Registry, end: int, imports: _Values, exports: _Values, sums: _Sums) -> None:
    placed = registry.topology(end).installation_at
    for supply in registry.supply_points:
        if supply.id not in placed:
            continue
        own = supply.kind is SupplyPointKind.TRANSFORMER and supply.transformer is not None
        cell = _cell(sums, supply.transformer or "" if own else supply.id, supply.kind)
        cell[_SUPPLY_EXPECTED] += 1
        value = imports.get(supply.id)
        if value is None:
            cell[_SUPPLY_MISSING] += 1
        else:
            cell[_SUPPLIED] += value[0]
        if supply.id in exports:
            cell[_SUPPLIED] -= exports[supply.id][0]


def _cell(sums: _Sums, place: str, kind: SupplyPointKind) -> list[int]:
    found = sums.get((place, kind))
    if found is None:
        found = sums[place, kind] = [0] * len(CELL_FIELDS)
    return found
