"""Reading balances: any level, any period, with what they do not know. Floor: central_sync/balance; reading walk.

Regions and the republic are sums of their districts, and every area the sum of its nodes' parts, so that at any moment,
late data or not, the levels agree. What the registry says should have come and did not is counted as missing: an area
whose hours are not here yet never looks complete.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from central_sync.balance.cells import AREA_COLUMNS, HOURS, PLACES_FINAL, PLACES_KNOWN, Int64, cell_of, unpack
from central_sync.balance.topology import KnownRegistry, RegistryShelf
from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows import BalanceRow
from gridmodel.balance import HourCell, completeness_pct, loss_of
from gridmodel.clock import Compute
from gridmodel.fault import Fault
from gridmodel.identity import NodeId, checked_id
from gridmodel.period import HOUR_S, Period, local_day, parse_at, rfc3339
from hosting.territory import TerritoryFault, country

REPUBLIC = "17"
"""The republic's SOATO code."""


class BalanceFault(Fault):
    """A balance that cannot be asked for."""


class Level(StrEnum):
    """The levels of a balance."""

    TRANSFORMER = "transformer"
    FEEDER = "feeder"
    SUBSTATION = "substation"
    DISTRICT = "district"
    REGION = "region"
    REPUBLIC = "republic"


@dataclass(frozen=True, slots=True)
class BalanceQuestion:
    """What is asked: (start, end] in UTC seconds."""

    level: Level
    period: Period
    start: int
    end: int
    area: str | None = None
    """All areas of the level when None."""


@dataclass(slots=True)
class _Part:
    """One node's part of one stored area (transformer to district) over the period."""

    sums: Int64 = field(default_factory=lambda: np.zeros(AREA_COLUMNS, np.int64))
    lacking: HourCell = field(default_factory=HourCell)
    """What the registry expects beyond what was reported."""
    places: int = 0
    """Place-hours that the registry expects."""

    def cell(self) -> HourCell:
        """What was reported and what is missing."""
        return cell_of(self.sums) + self.lacking

    def final(self) -> bool:
        """Whether every place-hour that was or should be reported is from a closed day."""
        final = int(self.sums[PLACES_FINAL])
        return 0 < final == int(self.sums[PLACES_KNOWN]) and final >= self.places


def question(level: str, period: str, at: str, area: str | None, zone: str) -> BalanceQuestion:
    """The question of a command line or an address; raises BalanceFault (TQ-HB-10) or PeriodFault."""
    try:
        asked, span = Level(level), Period(period)
    except ValueError as error:
        raise BalanceFault(
            "TQ-HB-10",
            f"there is no balance of {level!r:.30} by {period!r:.30}",
            f"levels: {', '.join(Level)}; periods: {', '.join(Period)}",
        ) from error
    start, end = parse_at(span, at, zone)
    return BalanceQuestion(asked, span, start, end, None if area is None else checked_id("area", area))


@dataclass(frozen=True, slots=True)
class _Found:
    """What one snapshot of the store holds of a question."""

    rows: tuple[BalanceRow, ...]
    last_seen: Mapping[NodeId, int | None]


class BalanceReader:
    """Answers questions from the moved aggregates; `zone` names the local days and months."""

    def __init__(self, store: HubStore, shelf: RegistryShelf, compute: Compute, zone: str) -> None:
        self._store = store
        self._shelf = shelf
        self._compute = compute
        self._zone = zone

    async def balance(self, asked: BalanceQuestion, now: int) -> dict[str, Any]:
        """DESIGN §4: level, period, from, to, areas[…]. Hours later than `now` are not expected yet."""
        registries = await self._shelf.newest()
        found = await self._store.read(lambda tx: self._found(tx, asked))
        return await self._compute.run(_answer, asked, self._zone, found, registries, now)

    async def _found(self, tx: HubTransaction, asked: BalanceQuestion) -> _Found:
        level = stored_level(asked.level).value
        area = asked.area if asked.level.value == level else None
        day = local_day(asked.end, self._zone)
        rows: list[BalanceRow] = []
        match asked.period:
            case Period.HOUR | Period.DAY:
                rows += await tx.area_days(level, day, area)
            case Period.MONTH:
                rows += await tx.area_months(level, day[:7], area)
            case Period.YEAR:
                for month in range(1, 13):
                    rows += await tx.area_months(level, f"{day[:4]}-{month:02}", area)
        return _Found(tuple(rows), {row.id: row.last_seen for row in await tx.nodes()})


def _answer(
    asked: BalanceQuestion, zone: str, found: _Found, registries: Mapping[NodeId, KnownRegistry], now: int
) -> dict[str, Any]:
    """Pure: the answer from a snapshot. Heavy for a level of many areas."""
    parts: dict[tuple[str, NodeId], _Part] = defaultdict(_Part)
    for row in found.rows:
        if asked.area is None or asked.area == _above(asked.level, row.area):
            parts[row.area, row.node].sums += _sums(asked, zone, row)
    for node, known in registries.items():
        _expect(asked, now, known, parts, node)
    names = _names(asked.level, registries)
    grouped: dict[str, dict[NodeId, list[_Part]]] = defaultdict(lambda: defaultdict(list))
    for (area, node), part in sorted(parts.items()):
        grouped[_above(asked.level, area)][node].append(part)
    over = now >= asked.end
    return {
        "level": asked.level.value,
        "period": asked.period.value,
        "from": rfc3339(asked.start),
        "to": rfc3339(asked.end),
        "areas": [
            _area(area, names.get(area, area), nodes, found.last_seen, over=over)
            for area, nodes in sorted(grouped.items())
        ],
    }


def _sums(asked: BalanceQuestion, zone: str, row: BalanceRow) -> Int64:
    """What one row says of the period: one hour of its day, the whole day, or its month."""
    if asked.period in {Period.MONTH, Period.YEAR}:
        month: Int64 = unpack(row.state, 1, AREA_COLUMNS)[0]
        return month
    state = unpack(row.state, HOURS, AREA_COLUMNS)
    if asked.period is Period.DAY:
        whole: Int64 = state.sum(axis=0)
        return whole
    start = parse_at(Period.DAY, local_day(asked.end, zone), zone)[0]
    hour: Int64 = state[(asked.start - start) // HOUR_S]
    return hour


def stored_level(level: Level) -> Level:
    """The level whose rows answer for `level`."""
    return Level.DISTRICT if level in {Level.REGION, Level.REPUBLIC} else level


def _above(level: Level, area: str) -> str:
    return {Level.REGION: area[:4], Level.REPUBLIC: REPUBLIC}.get(level, area)


def _expect(
    asked: BalanceQuestion, now: int, known: KnownRegistry, parts: dict[tuple[str, NodeId], _Part], node: NodeId
) -> None:
    """Add to the parts what the node's registry expects of (start, end], and of it what is missing so far."""
    level = stored_level(asked.level).value
    points: dict[str, int] = defaultdict(int)
    supply: dict[str, int] = defaultdict(int)
    unmetered: dict[str, int] = defaultdict(int)
    places: dict[str, int] = defaultdict(int)
    for end, count in known.spans(asked.start, max(asked.start, min(asked.end, now))):
        intervals = count * known.intervals_per_hour
        for (one_level, area), expected in known.expected(end).items():
            if one_level == level and (asked.area is None or asked.area == _above(asked.level, area)):
                points[area] += intervals * expected.points
                supply[area] += intervals * expected.supply
                unmetered[area] += intervals * expected.unmetered
                places[area] += count * expected.places
    for area, count in places.items():
        part = parts[area, node]
        reported = cell_of(part.sums)
        lacking = max(0, points[area] - reported.points_expected)
        unsupplied = max(0, supply[area] - reported.supply_expected) + unmetered[area]
        part.lacking = HourCell(
            supply_expected=unsupplied, supply_missing=unsupplied, points_expected=lacking, points_missing=lacking
        )
        part.places = count


def _area(
    area: str, name: str, nodes: Mapping[NodeId, list[_Part]], last_seen: Mapping[NodeId, int | None], *, over: bool
) -> dict[str, Any]:
    parts = [part for some in nodes.values() for part in some]
    cell = _sum(parts)
    loss = loss_of(cell)
    return {
        "id": area,
        "name": name,
        "supplied_wh": cell.supplied_wh,
        "delivered_wh": cell.delivered_wh,
        "exported_wh": cell.exported_wh,
        "loss_wh": None if loss is None else loss.loss_wh,
        "loss_pct": None if loss is None else loss.loss_pct,
        "points_expected": cell.points_expected,
        "points_actual": cell.points_actual,
        "points_estimated": cell.points_estimated,
        "points_missing": cell.points_missing,
        "supply_expected": cell.supply_expected,
        "supply_missing": cell.supply_missing,
        "completeness_pct": completeness_pct(cell),
        "final": over and all(part.final() for part in parts),
        "nodes": [
            {
                "id": node,
                "supplied_wh": _sum(some).supplied_wh,
                "delivered_wh": _sum(some).delivered_wh,
                "last_seen": None if (seen := last_seen.get(node)) is None else rfc3339(seen),
            }
            for node, some in sorted(nodes.items())
        ],
    }


def _sum(parts: list[_Part]) -> HourCell:
    total = HourCell()
    for part in parts:
        total = total + part.cell()
    return total


def _names(level: Level, registries: Mapping[NodeId, KnownRegistry]) -> dict[str, str]:
    """What the areas of a level are called, in English where the country's list names them."""
    if level is Level.REPUBLIC:
        return {REPUBLIC: "Uzbekistan"}
    names: dict[str, str] = {}
    for known in registries.values():
        registry = known.registry
        match level:
            case Level.TRANSFORMER:
                names |= {one.id: one.name for one in registry.transformers}
            case Level.FEEDER:
                names |= {one.id: one.name for one in registry.feeders}
            case Level.SUBSTATION:
                names |= {one.id: one.name for one in registry.substations}
            case Level.DISTRICT | Level.REGION:
                names |= dict(_territory(level, one) for one in _districts(known))
    return names


def _districts(known: KnownRegistry) -> list[str]:
    far = [point.to_district for point in known.registry.supply_points if point.to_district is not None]
    return sorted({*known.registry.districts, *far})


def _territory(level: Level, district: str) -> tuple[str, str]:
    try:
        if level is Level.REGION:
            return district[:4], country().region(district[:4]).names.en
        return district, country().district(district).names.en
    except TerritoryFault:
        return _above(level, district), _above(level, district)  # a rehearsal may use a code that is not in the list


def losses(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The areas of a balance whose loss can be told, the highest share first, then those where it cannot."""
    areas = [dict(area) for area in answer["areas"]]
    return sorted(areas, key=lambda area: (area["loss_pct"] is None, -(area["loss_pct"] or 0.0), area["id"]))


def without_nodes(area: Mapping[str, Any]) -> dict[str, Any]:
    """An area without its nodes' parts, for lists."""
    return {name: value for name, value in area.items() if name != "nodes"}
