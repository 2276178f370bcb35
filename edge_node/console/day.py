"""The energy of one local day: by hour, feeder and transformer, with what is not known and why. Room: console.

On the reading walk. Made from the cells of closed hours as they are durable here, so that the page and what the hub is
told can never differ. What supplies a feeder is said in `areas`. A loss that cannot be known is called unknown, with
the reason.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edge_node.console.areas import delivered_part, feeder_sums, unsupplied
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

UNMEASURED = HourCell(supply_expected=1, supply_missing=1)
"""Added where nothing measures a supply, so that the sum's loss is not known."""


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
    def completeness_pct(self) -> float | None:
        """Share of the expected readings that are there; None where none are expected."""
        return completeness_pct(self.cell)

    @property
    def unknown(self) -> LossUnknown | None:
        """Why the loss is not known."""
        return why_unknown(self.cell)

    @property
    def tone(self) -> str:
        """Of the completeness."""
        share_pct = self.completeness_pct
        if share_pct is None:
            return "off"
        if share_pct >= 100:
            return "good"
        return "warn" if share_pct >= COMPLETENESS_PCT_MIN else "bad"


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
    within = cells if chosen is None else _at(cells, chosen)
    if registry is not None:
        ends = sorted({one.hour_end for one in cells})
        hours = [Area(str(end), "", _whole(registry, _at(cells, end), end)) for end in ends]
        areas = feeders_of_hours(registry, within, now) if by == "feeder" else _transformers(registry, within, now)
    return {
        "by": by,
        "day": asked,
        "today": today,
        "hour": chosen,
        "hours": hours,
        "areas": areas,
        "total": Area("total", "", _total(one.cell for one in hours if chosen in {None, int(one.id)})),
        "supplied_by": {} if registry is None else _supplied_by(registry, within),
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


def _over_hours(cells: Iterable[HourCell]) -> HourCell:
    """One area over several hours; if its supply was measured in some of them only, it is not known."""
    every = list(cells)
    total = _total(every)
    gap = total.supply_expected > 0 and any(unsupplied(cell) for cell in every)
    return total + UNMEASURED if gap else total


def _whole(registry: Registry, cells: list[HourPlace], end: int) -> HourCell:
    """The whole scope in one hour; a feeder without a meter at its head makes its supply unknown."""
    feeder_of = registry.topology(end).feeder_of
    total = _total(
        delivered_part(one.cell) if one.kind == SupplyPointKind.TRANSFORMER else one.cell
        for one in cells
        if not _inner(registry, one)
    )
    parts = [
        *feeder_sums(registry, {one.place: one.cell for one in cells}, end).values(),
        *(
            delivered_part(one.cell)
            for one in cells
            if one.kind == SupplyPointKind.TRANSFORMER and TransformerId(one.place) not in feeder_of
        ),
    ]
    return total + _total(UNMEASURED for part in parts if unsupplied(part))


def _inner(registry: Registry, one: HourPlace) -> bool:
    """A boundary between two districts of this very node: what leaves one enters the other."""
    point = registry.supply_point.get(SupplyPointId(one.place))
    return point is not None and point.kind is SupplyPointKind.BOUNDARY and point.to_district in registry.districts


def _supplied_by(registry: Registry, cells: Iterable[HourPlace]) -> dict[str, int]:
    """Whence the supply of the whole scope came, by the kind of its supply points: heads before plants."""
    found: dict[str, int] = {}
    for one in cells:
        if one.kind != SupplyPointKind.TRANSFORMER and one.cell.supply_expected and not _inner(registry, one):
            found[one.kind] = found.get(one.kind, 0) + one.cell.supplied_wh
    return dict(sorted(found.items(), key=lambda item: list(SupplyPointKind).index(SupplyPointKind(item[0]))))


def feeders_of_hours(registry: Registry, cells: Iterable[HourPlace], now: int) -> list[Area]:
    """Every feeder over the hours of `cells`."""
    hours: dict[int, dict[str, HourCell]] = defaultdict(dict)
    for one in cells:
        hours[one.hour_end][one.place] = one.cell
    sums = [feeder_sums(registry, at, end) for end, at in hours.items()]
    topology = registry.topology(now)
    points: dict[FeederId, int] = defaultdict(int)
    for transformer, feeder in topology.feeder_of.items():
        points[feeder] += len(topology.points_of[transformer])
    return [
        Area(one.id, one.name, _over_hours(hour[one.id] for hour in sums), points[one.id]) for one in registry.feeders
    ]


def _transformers(registry: Registry, cells: list[HourPlace], now: int) -> list[Area]:
    hours: dict[str, list[HourCell]] = defaultdict(list)
    for one in cells:
        if one.kind == SupplyPointKind.TRANSFORMER:
            hours[one.place].append(one.cell)
    points_of = registry.topology(now).points_of
    return [Area(one.id, one.name, _over_hours(hours[one.id]), len(points_of[one.id])) for one in registry.transformers]
