"""Hours as nodes report them, held against the registry before they may move anything. Pure. Floor: balance.

On the reading walk. A signature proves who said it, not that it makes sense: unknown places, another node's points,
counts that do not add up, more energy than a transformer can carry, hours that are not over. What fails here raises
ContentFault and the whole batch is set aside with the reason; what passes becomes `NewHours` for `booking`.

Codes: TQ-HQ-02 unknown place or point, -03 not over yet, -04 absurd energy, -05 counts contradict, -06 a revision with
two contents, -08 a chunk that contradicts its batch or registry.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from central_sync.balance.cells import CELL, FINAL, HOURS, PROVISIONAL, TRANSFORMER, Booking, Int64, NewHours
from central_sync.balance.topology import KnownRegistry
from gridmodel.balance import CELL_FIELDS, HourCell
from gridmodel.fault import Fault
from gridmodel.identity import TransformerId, UsagePointId
from gridmodel.network import SupplyPointKind
from gridmodel.period import HOUR_S, day_bounds, local_day
from gridmodel.quantity import POWER_W_MAX
from gridmodel.reading import Channel, Quality
from gridmodel.registry import Topology
from protocols.sync.chunk import NOT_EXPECTED, ChunkColumns, SeriesKind
from protocols.sync.facts import PlaceHour

FUTURE_S_MAX = 300
"""An hour may be reported before it is over here by as much: two clocks under NTP differ by less."""
OVERLOAD_MAX = 10
"""Times its rated power a transformer can carry for an hour at the very most: fuses go at two."""

_SUPPLY_FIELDS = {name: CELL_FIELDS.index(name) for name in ("supplied_wh", "supply_expected", "supply_missing")}
_USE = "the batch is kept; mend the registry or the node, then it is tried again"


class ContentFault(Fault):
    """A validly signed batch whose content cannot be: set aside, and its lane goes on."""


def content_fault(number: int, what: str) -> ContentFault:
    """A ContentFault TQ-HQ-`number`."""
    return ContentFault(f"TQ-HQ-{number:02}", what[:300], _USE)


class _Day:
    """One local day of one registry, worked out once for all places of a batch."""

    def __init__(self, known: KnownRegistry, day: str) -> None:
        self.known = known
        self.day = day
        self.start, self.end = day_bounds(day, known.registry.zone)
        self.topologies: list[Topology] = [topology for _, _, topology in known.day_spans(day)]
        self._bookings: dict[str, tuple[Booking, ...]] = {}
        self._points_max: dict[str, int] = {}
        self._meters = Counter(
            point.transformer
            for point in known.registry.supply_points
            if point.kind is SupplyPointKind.TRANSFORMER and self.metered(point.id)
        )

    def bookings(self, place: str) -> tuple[Booking, ...]:
        found = self._bookings.get(place)
        if found is None:
            found = self._bookings[place] = self.known.bookings(place, self.day)
        return found

    def points_max(self, transformer: str) -> int:
        """How many points hung on it at any time of the day."""
        found = self._points_max.get(transformer)
        if found is None:
            name = TransformerId(transformer)
            points = {point for topology in self.topologies for point in topology.points_of.get(name, ())}
            found = self._points_max[transformer] = len(points)
        return found

    def metered(self, point: str) -> bool:
        """Whether a meter stood there at any time of the day."""
        return any(point in topology.installation_at for topology in self.topologies)

    def meters(self, transformer: str) -> int:
        """How many meters of its own it had."""
        return self._meters[TransformerId(transformer)]

    def points_always(self, transformer: str) -> set[str]:
        """Those that hung on it with a meter all day: a whole transformer names each of them."""
        name = TransformerId(transformer)
        each = [
            {str(point) for point in topology.points_of.get(name, ()) if point in topology.installation_at}
            for topology in self.topologies
        ]
        return set.intersection(*each)

    def hangs(self, point: str, transformer: str) -> bool:
        """Whether the point hung on the transformer at any time of the day."""
        name = UsagePointId(point)
        return any(topology.transformer_of.get(name) == transformer for topology in self.topologies)


def hours_of_facts(
    facts: Sequence[tuple[str, PlaceHour]], known: KnownRegistry, now: int
) -> dict[str, tuple[NewHours, ...]]:
    """Provisional hours by local day, from (record kind is `transformer_hour`, fact); raises ContentFault."""
    days: dict[str, _Day] = {}
    new: dict[str, list[NewHours]] = defaultdict(list)
    for kind, fact in facts:
        if fact.end > now + FUTURE_S_MAX:
            raise content_fault(3, f"the hour of {fact.place} ending {fact.end} is not over")
        place_kind = known.kind(fact.place)
        if place_kind is None or (place_kind == TRANSFORMER) != (kind == "transformer_hour"):
            raise content_fault(2, f"{fact.place} is no place of this node for a {kind}")
        name = local_day(fact.end, known.registry.zone)
        day = days.get(name)
        if day is None:
            day = days[name] = _Day(known, name)
        _check_cell(day, fact.place, place_kind, fact.cell)
        new[name].append(
            NewHours(
                place=fact.place,
                kind=place_kind,
                known=PROVISIONAL,
                epoch=fact.revision.epoch,
                number=fact.revision.number,
                hours=((fact.end - day.start) // HOUR_S - 1,),
                cells=np.array([fact.cell.as_tuple()], np.int64),
                booked=day.bookings(fact.place),
            )
        )
    return {name: tuple(hours) for name, hours in sorted(new.items())}


def hours_of_chunk(columns: ChunkColumns, known: KnownRegistry, now: int) -> dict[str, tuple[NewHours, ...]]:
    """The final hours in a decoded chunk (its sums are verified); raises ContentFault. Heavy for a full chunk."""
    head, registry = columns.head, known.registry
    if (head.zone, head.interval_minutes) != (registry.zone, registry.interval_minutes):
        raise content_fault(8, f"the chunk has {head.interval_minutes} minutes in {head.zone}, the registry has not")
    if head.district not in registry.districts:
        raise content_fault(2, f"district {head.district} is not of this node")
    day = _Day(known, head.day)
    if day.end > now + FUTURE_S_MAX:
        raise content_fault(3, f"the day {head.day} is not over")
    _check_points(columns, day)
    new = [
        _final(columns, day, name, TRANSFORMER, np.ascontiguousarray(columns.cells[:, index, :].T))
        for index, name in enumerate(columns.transformers)
    ]
    for place, kind, cells in _supply_hours(columns):
        new.append(_final(columns, day, place, kind, cells))
    return {head.day: tuple(new)}


def _final(columns: ChunkColumns, day: _Day, place: str, kind: str, cells: Int64) -> NewHours:
    if day.known.kind(place) != kind:
        raise content_fault(2, f"{place} is no {kind} of this node")
    for row in cells:
        _check_cell(day, place, kind, HourCell(*(int(value) for value in row)))
    revision = columns.head.revision
    return NewHours(
        place, kind, FINAL, revision.epoch, revision.number, tuple(range(HOURS)), cells, day.bookings(place)
    )


def _supply_hours(columns: ChunkColumns) -> list[tuple[str, str, Int64]]:
    """(supply point, kind, [24, CELL]) of feeder heads, boundaries and generators: IMPORT − EXPORT."""
    per_hour = columns.head.intervals() // HOURS
    by_place: dict[str, Int64] = {}
    kinds: dict[str, str] = {}
    for index in np.flatnonzero(columns.kind >= SeriesKind.FEEDER_HEAD).tolist():
        channel = int(columns.channel[index])
        if channel not in {Channel.IMPORT, Channel.EXPORT}:
            continue
        place = columns.points[index]
        kinds[place] = SupplyPointKind[SeriesKind(int(columns.kind[index])).name].value
        cells = by_place.setdefault(place, np.zeros((HOURS, CELL), np.int64))
        energy = columns.energy_wh[index].reshape(HOURS, per_hour).sum(axis=1, dtype=np.int64)
        cells[:, _SUPPLY_FIELDS["supplied_wh"]] += energy if channel == Channel.IMPORT else -energy
        if channel == Channel.IMPORT:
            quality = columns.quality[index].reshape(HOURS, per_hour)
            cells[:, _SUPPLY_FIELDS["supply_expected"]] += (quality != NOT_EXPECTED).sum(axis=1, dtype=np.int64)
            cells[:, _SUPPLY_FIELDS["supply_missing"]] += (quality == Quality.MISSING).sum(axis=1, dtype=np.int64)
    return [(place, kinds[place], cells) for place, cells in by_place.items()]


def _check_points(columns: ChunkColumns, day: _Day) -> None:
    """Every series is of a point of this node in its place, and every transformer is whole."""
    registry = day.known.registry
    named: dict[str, set[str]] = defaultdict(set)
    rows = zip(columns.points, columns.kind.tolist(), columns.transformer.tolist(), strict=True)
    for point, kind, owner in rows:
        transformer = columns.transformers[owner] if owner >= 0 else ""
        if kind == SeriesKind.USAGE:
            if not day.hangs(point, transformer):
                raise content_fault(2, f"{point} is no point of transformer {transformer} on {day.day}")
            named[transformer].add(point)
            continue
        supply = registry.supply_point.get(point)  # type: ignore[call-overload]
        if supply is None or SeriesKind.of(supply.kind) != kind or (supply.transformer or "") not in {transformer, ""}:
            raise content_fault(2, f"{point} is no such supply point of this node")
    for transformer in columns.transformers:
        absent = day.points_always(transformer) - named[transformer]
        if absent:
            raise content_fault(8, f"transformer {transformer} is not whole: {min(absent)} is not in the chunk")


def _check_cell(day: _Day, place: str, kind: str, cell: HourCell) -> None:
    per_hour = day.known.intervals_per_hour
    if kind == TRANSFORMER:
        transformer = day.known.registry.transformer[TransformerId(place)]
        limit_wh = min(transformer.rated_kva * 1_000 * OVERLOAD_MAX or POWER_W_MAX, POWER_W_MAX)
        points_max = per_hour * day.points_max(place)
        supply_max = per_hour * day.meters(place)
    else:
        limit_wh, points_max, supply_max = POWER_W_MAX, 0, per_hour * day.metered(place)
    if not (
        abs(cell.supplied_wh) <= (limit_wh if supply_max else 0)
        and 0 <= cell.delivered_wh <= (limit_wh if points_max else 0)
        and 0 <= cell.exported_wh <= (limit_wh if points_max else 0)
    ):
        raise content_fault(4, f"{place} cannot have carried {cell.supplied_wh}, {cell.delivered_wh} Wh in an hour")
    divided = cell.points_actual + cell.points_estimated + cell.points_missing
    if (
        min(cell.points_actual, cell.points_estimated, cell.points_missing, cell.supply_missing) < 0
        or divided != cell.points_expected
        or cell.points_expected > points_max
        or not cell.supply_missing <= cell.supply_expected <= supply_max
    ):
        raise content_fault(5, f"the counts of {place} do not add up, or are more than the registry has")
