"""Registries at the hub: kept decoded, asked under which areas an hour stands and what should be known of it.

Floor: central_sync/balance; on the reading walk. A node's version never changes, so that it is decoded once (off the
event loop, it may have megabytes) and shared. Energy stays booked under the parents of its own hour.
"""

from bisect import bisect_left
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from central_sync.balance.cells import TRANSFORMER, Booking
from central_sync.store.port import AreaKey, HubStore, HubTransaction
from central_sync.store.rows import FieldWorkRow
from gridmodel.clock import Compute
from gridmodel.fault import Fault
from gridmodel.field_merge import merged
from gridmodel.identity import FeederId, NodeId, SupplyPointId, TransformerId
from gridmodel.network import FeederLink, Installation, SupplyPointKind, TransformerLink
from gridmodel.period import HOUR_S, day_bounds
from gridmodel.registry import Registry, Topology
from hosting.log import logger
from protocols.sync.chunk.registries import registry_of

REGISTRIES_KEPT_MAX = 512
"""Decoded registries in memory: every node's newest, and as many older ones that late data name."""
VERSIONS_KEPT_MAX = 3
"""Of one node: the newest, and those that its lanes summary and interval have got to. A region's has a gigabyte."""
SPANS_KEPT_MAX = 64
"""Spans between two changes whose areas are kept, of each registry: a month of meters exchanged every day."""

Areas = tuple[tuple[str, str, int], ...]


@dataclass(slots=True)
class Expected:
    """What should be known of one area in one interval."""

    points: int = 0
    """Usage points with a meter."""
    supply: int = 0
    """Supply points with a meter."""
    unmetered: int = 0
    """Feeders or lone transformers that deliver and whose supply nothing measures: no loss can be told."""
    places: int = 0
    """Transformers and supply points that report each hour."""


@dataclass
class KnownRegistry:
    """A registry and what was worked out from it."""

    registry: Registry
    _expected: dict[int, dict[AreaKey, Expected]] = field(default_factory=dict, repr=False)
    _changes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        registry = self.registry
        links: list[Installation | TransformerLink | FeederLink] = [
            *registry.installations,
            *registry.transformer_links,
            *registry.feeder_links,
        ]
        self._changes = tuple(sorted({moment for link in links for moment in (link.valid_from, link.valid_to)}))

    @property
    def intervals_per_hour(self) -> int:
        """4, 2 or 1."""
        return 60 // self.registry.interval_minutes

    def day_ends(self, day: str) -> range:
        """The 24 hour ends of a local day, UTC seconds."""
        start, end = day_bounds(day, self.registry.zone)
        return range(start + HOUR_S, end + 1, HOUR_S)

    def kind(self, place: str) -> str | None:
        """``transformer``, the kind of another supply point, or None for a place that reports no hours."""
        if place in self.registry.transformer:
            return TRANSFORMER
        point = self.registry.supply_point.get(SupplyPointId(place))
        return None if point is None or point.kind is SupplyPointKind.TRANSFORMER else point.kind.value

    def bookings(self, place: str, day: str) -> tuple[Booking, ...]:
        """How the 24 hours of a known place are booked."""
        spans: list[Booking] = []
        for first, count, topology in self.day_spans(day):
            areas = self._areas(place, topology)
            if spans and spans[-1].areas == areas:
                spans[-1] = Booking(spans[-1].first, spans[-1].count + count, areas)
            else:
                spans.append(Booking(first, count, areas))
        return tuple(spans)

    def day_spans(self, day: str) -> list[tuple[int, int, Topology]]:
        """(index of the first hour, hours, who hung on whom) of the spans of a local day; mostly there is one."""
        ends = self.day_ends(day)
        cuts = sorted({bisect_left(ends, moment + 1) for moment in self._changes if ends[0] <= moment < ends[-1]})
        firsts = [0, *cuts]
        return [
            (first, after - first, self.registry.topology(ends[first]))
            for first, after in zip(firsts, [*cuts, len(ends)], strict=True)
        ]

    def _areas(self, place: str, topology: Topology) -> Areas:
        registry = self.registry
        transformer = registry.transformer.get(TransformerId(place))
        if transformer is not None:
            feeder = topology.feeder_of.get(transformer.id)
            return (
                (TRANSFORMER, place, 1),
                *(() if feeder is None else self._above_feeder(feeder)),
                ("district", transformer.district, 1),
            )
        point = registry.supply_point[SupplyPointId(place)]
        match point.kind:
            case SupplyPointKind.FEEDER_HEAD | SupplyPointKind.GENERATOR if point.feeder is not None:
                return (*self._above_feeder(point.feeder), ("district", registry.feeder_district(point.feeder), 1))
            case SupplyPointKind.BOUNDARY if point.to_district is not None:
                return (("district", point.district, 1), ("district", point.to_district, -1))
            case _:
                return (("district", point.district, 1),)

    def _above_feeder(self, feeder: FeederId) -> Areas:
        return (("feeder", feeder, 1), ("substation", self.registry.feeder[feeder].substation, 1))

    def spans(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """(an hour's end, how many hours stand like it) for every span of (start, end] without a change."""
        cuts = [start, *(moment for moment in self._changes if start < moment < end), end]
        for low, high in pairwise(cuts):
            count = high // HOUR_S - low // HOUR_S
            if count > 0:
                yield high // HOUR_S * HOUR_S, count

    def expected(self, end: int) -> dict[AreaKey, Expected]:
        """What should be known of each area in the hour ending at `end`; shared by all hours of one span."""
        span = bisect_left(self._changes, end)
        found = self._expected.get(span)
        if found is None:
            found = self._expected[span] = self._work_out(self.registry.topology(end))
            for oldest in list(self._expected)[:-SPANS_KEPT_MAX]:
                self._expected.pop(oldest, None)
        return found

    def _work_out(self, topology: Topology) -> dict[AreaKey, Expected]:
        registry, placed = self.registry, topology.installation_at
        found: dict[AreaKey, Expected] = defaultdict(Expected)
        metered_feeders = {
            point.feeder
            for point in registry.supply_points
            if point.kind is SupplyPointKind.FEEDER_HEAD and point.id in placed
        }
        unmetered_feeders: set[FeederId] = set()
        for transformer, points in topology.points_of.items():
            count = sum(1 for point in points if point in placed)
            meter = registry.transformer_meter.get(transformer)
            metered = meter is not None and meter.id in placed
            if count == 0 and not metered:
                continue
            areas = self._areas(transformer, topology)
            for level, area, _ in areas:
                found[level, area].points += count
                found[level, area].places += 1
            found[TRANSFORMER, transformer].supply += int(metered)
            feeder = topology.feeder_of.get(transformer)
            if count and feeder is None:
                found["district", registry.transformer[transformer].district].unmetered += 1
            elif count and feeder is not None and feeder not in metered_feeders:
                unmetered_feeders.add(feeder)
        for feeder in unmetered_feeders:
            found["feeder", feeder].unmetered += 1  # a plant on it may be metered all the same
            found["substation", registry.feeder[feeder].substation].unmetered += 1
            found["district", registry.feeder_district(feeder)].unmetered += 1
        for point in registry.supply_points:
            if point.kind is not SupplyPointKind.TRANSFORMER and point.id in placed:
                for level, area, _ in self._areas(point.id, topology):
                    found[level, area].supply += 1
                    found[level, area].places += 1
        return dict(found)


class RegistryShelf:
    """Decoded registries by node and version, the least recently used let go.

    The field works of the node are put over each version, as its office does (`gridmodel.field_merge`): a chunk names
    the version under which it was made, and may already tell what the next one will say.
    """

    def __init__(self, store: HubStore, compute: Compute) -> None:
        self._store = store
        self._compute = compute
        self._kept: OrderedDict[tuple[NodeId, int], tuple[int, KnownRegistry]] = OrderedDict()
        """With the count of works that were put over each."""
        self._log = logger("balance")

    async def get(self, node: NodeId, version: int) -> KnownRegistry | None:
        """One version; None when it is not here, or damaged. Never call it inside a store verb: it reads by itself."""
        kept = self._kept.get((node, version))

        async def verb(tx: HubTransaction) -> tuple[bytes | None, tuple[bytes, ...], int, list[FieldWorkRow]] | None:
            count = await tx.count_field_works(node)
            if kept is not None and count == kept[0]:
                return None
            document, parts = await tx.registry_document(node, version), await tx.registry_parts(node, version)
            return document, parts, count, await tx.field_works(node, version)

        found = await self._store.read(verb)
        if found is not None:
            document, parts, count, rows = found
            if document is None:
                return None
            try:
                known = await self._compute.run(decoded, document, parts, rows)
            except Fault as fault:  # it was sound when it came in: what waits for it is set aside until it is again
                self._log.error("registry_damaged", node=node, version=version, code=fault.code, what=fault.what)
                return None
            kept = self._kept[node, version] = count, known
            self._kept.move_to_end((node, version))
            for oldest in [key for key in self._kept if key[0] == node][:-VERSIONS_KEPT_MAX]:
                del self._kept[oldest]
            while len(self._kept) > REGISTRIES_KEPT_MAX:
                self._kept.popitem(last=False)
        self._kept.move_to_end((node, version))
        return None if kept is None else kept[1]

    async def newest(self) -> dict[NodeId, KnownRegistry]:
        """The newest registry of every node that has one."""
        versions = await self._store.read(lambda tx: tx.registry_versions())
        found = {}
        for node, version in versions.items():
            known = await self.get(node, version)
            if known is not None:
                found[node] = known
        return found


def decoded(document: bytes, parts: Sequence[bytes] = (), works: Sequence[FieldWorkRow] = ()) -> KnownRegistry:
    """A registry from what is kept of it, with works in it; heavy for a large node."""
    registry = registry_of(document, parts)
    return KnownRegistry(merged(registry, [row.work() for row in works]).registry)
