"""The energy of one local day: by hour, feeder and transformer, with what is not known and why. Room: console.

On the reading walk. Made from the cells of closed hours as they are durable here, so that the page and what the hub is
told can never differ. A loss that cannot be known is said to be unknown, with the reason.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from edge_node.console.office import Office
from edge_node.store.listing import HourPlace
from gridmodel.balance import (
    COMPLETENESS_PCT_MIN,
    NO_ENERGY,
    HourCell,
    Loss,
    LossUnknown,
    completeness_pct,
    loss_of,
    why_unknown,
)
from gridmodel.identity import FeederId, SupplyPointId, TransformerId
from gridmodel.network import SupplyPointKind
from gridmodel.period import HOUR_S, day_bounds, local_day, parse_day
from gridmodel.registry import Registry
from hosting.web import WebFault


@dataclass(frozen=True, slots=True)
class Area:
    """One line: an hour, a feeder or a transformer."""

    id: str
    name: str
    cell: HourCell
    points: int | None = None
    """Usage points that hang on it now."""

    @property
    def loss(self) -> Loss | None:
        """None where it cannot be known."""
        return loss_of(self.cell)

    @property
    def completeness_pct(self) -> float:
        """Share of the expected readings that are there, rounded down."""
        return int(completeness_pct(self.cell) * 10) / 10

    @property
    def unknown(self) -> LossUnknown | None:
        """Why the loss is not known."""
        return why_unknown(self.cell)

    @property
    def tone(self) -> str:
        """Of the completeness."""
        if not self.cell.points_expected:
            return "off"
        if self.completeness_pct >= 100:
            return "good"
        return "warn" if self.completeness_pct >= COMPLETENESS_PCT_MIN else "bad"


async def energy_of_day(office: Office, *, by: str, day: str, hour: str) -> dict[str, Any]:
    """The values of `energy.html`; raises PeriodFault for a date that is none, WebFault (TQ-CN-01) for the rest."""
    if by not in {"feeder", "transformer"}:
        raise WebFault("TQ-CN-01", f"there is no level {by:.40} here", "by is feeder or transformer")
    now = office.clock.now()
    today = local_day(now + 1, office.zone)
    asked = parse_day(day).isoformat() if day else today
    first, last = day_bounds(asked, office.zone)
    chosen = _hour(hour, first, last)
    registry = office.store.registries.newest
    cells = await office.listing.cells(first, last)
    hours: list[Area] = []
    areas: list[Area] = []
    if registry is not None:
        ends = sorted({one.hour_end for one in cells})
        hours = [Area(str(end), "", _whole(registry, _at(cells, end), end)) for end in ends]
        within = cells if chosen is None else _at(cells, chosen)
        areas = _feeders(registry, within, now) if by == "feeder" else _transformers(registry, within, now)
    return {
        "by": by,
        "day": asked,
        "today": today,
        "hour": chosen,
        "hours": hours,
        "areas": areas,
        "total": Area("total", "", _total(one.cell for one in hours if chosen in {None, int(one.id)})),
        "closing": await office.listing.closing(first),
        "completeness_pct_min": COMPLETENESS_PCT_MIN,
    }


def _hour(text: str, first: int, last: int) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and first < int(text) <= last):
        raise WebFault("TQ-CN-01", "this is no hour of that day", "choose the hour in the list")
    return -(-int(text) // HOUR_S) * HOUR_S


def _at(cells: Iterable[HourPlace], end: int) -> list[HourPlace]:
    return [one for one in cells if one.hour_end == end]


def _total(cells: Iterable[HourCell]) -> HourCell:
    total = NO_ENERGY
    for cell in cells:
        total = total + cell
    return total


def _delivered(cell: HourCell) -> HourCell:
    """The part of a transformer's cell that counts higher up: its consumers, not its own supply meter."""
    return replace(cell, supplied_wh=0, supply_expected=0, supply_missing=0)


def _supplied(cell: HourCell) -> HourCell:
    """The part of a supply point's cell that counts."""
    return HourCell(
        supplied_wh=cell.supplied_wh, supply_expected=cell.supply_expected, supply_missing=cell.supply_missing
    )


def _whole(registry: Registry, cells: list[HourPlace], end: int) -> HourCell:
    """The whole scope in one hour; a feeder without a meter at its head makes its supply unknown."""
    feeder_of = registry.topology(end).feeder_of
    total = _total(
        _delivered(one.cell) if one.kind == SupplyPointKind.TRANSFORMER else _supplied(one.cell)
        for one in cells
        if not _inner(registry, one)
    )
    metered = {point.feeder for point in registry.supply_points if point.kind is SupplyPointKind.FEEDER_HEAD}
    unmetered = len({feeder for feeder in feeder_of.values() if feeder not in metered})
    return total + HourCell(supply_expected=unmetered, supply_missing=unmetered)


def _inner(registry: Registry, one: HourPlace) -> bool:
    """A boundary between two districts of this very node: what leaves one enters the other."""
    point = registry.supply_point.get(SupplyPointId(one.place))
    return point is not None and point.kind is SupplyPointKind.BOUNDARY and point.to_district in registry.districts


def _feeders(registry: Registry, cells: list[HourPlace], now: int) -> list[Area]:
    sums: dict[FeederId, HourCell] = defaultdict(HourCell)
    for one in cells:
        if one.kind == SupplyPointKind.TRANSFORMER:
            feeder = registry.topology(one.hour_end).feeder_of.get(TransformerId(one.place))
            part = _delivered(one.cell)
        else:
            point = registry.supply_point.get(SupplyPointId(one.place))
            feeder = None if point is None or point.kind is not SupplyPointKind.FEEDER_HEAD else point.feeder
            part = _supplied(one.cell)
        if feeder is not None:
            sums[feeder] = sums[feeder] + part
    topology = registry.topology(now)
    points: dict[FeederId, int] = defaultdict(int)
    for transformer, feeder in topology.feeder_of.items():
        points[feeder] += len(topology.points_of[transformer])
    return [Area(one.id, one.name, sums[one.id], points[one.id]) for one in registry.feeders]


def _transformers(registry: Registry, cells: list[HourPlace], now: int) -> list[Area]:
    sums: dict[str, HourCell] = defaultdict(HourCell)
    for one in cells:
        if one.kind == SupplyPointKind.TRANSFORMER:
            sums[one.place] = sums[one.place] + one.cell
    points_of = registry.topology(now).points_of
    return [Area(one.id, one.name, sums[one.id], len(points_of[one.id])) for one in registry.transformers]
