"""The registry: one version of what is installed where, as one node needs it. Ground floor; on the reading walk.

A registry is immutable; a change is a new version. It answers questions for a moment: who hangs on which transformer,
which meter stood at a point. A `Topology` is worked out once for each span between two changes and then shared.
"""

from bisect import bisect_left
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import merge
from itertools import chain, groupby, islice, pairwise
from typing import Any, TypeVar

from gridmodel.fault import Fault
from gridmodel.identity import (
    AccountId,
    DistrictId,
    FeederId,
    MeterId,
    NodeId,
    SubstationId,
    SupplyPointId,
    TransformerId,
    UsagePointId,
)
from gridmodel.network import (
    FAR_FUTURE,
    Account,
    Feeder,
    FeederLink,
    Installation,
    Meter,
    Substation,
    SupplyPoint,
    SupplyPointKind,
    Transformer,
    TransformerLink,
    UsagePoint,
)
from gridmodel.period import INTERVAL_MINUTES, zone
from gridmodel.wide_index import index_of, new_index

TOPOLOGIES_KEPT = 64
"""Spans kept at once: more than a day's exchanges of the largest office (33 of 120,000 meters), 9 MB each there."""
SORTED_AT_ONCE = 16_384
"""Names sorted in one call: some five milliseconds."""


S = TypeVar("S")
Dated = Installation | TransformerLink | FeederLink
"""What holds from one time to another."""


class RegistryFault(Fault):
    """A registry that contradicts itself."""


@dataclass(frozen=True)
class Topology:
    """Who hangs on whom at one moment."""

    transformer_of: Mapping[UsagePointId, TransformerId]
    points_of: Mapping[TransformerId, tuple[UsagePointId, ...]]
    """In a fixed order; transformers without points have an empty tuple."""
    feeder_of: Mapping[TransformerId, FeederId]
    installation_at: Mapping[str, Installation]
    """By usage or supply point."""


@dataclass(frozen=True)
class Registry:
    """One version of the network of one node's scope."""

    node: NodeId
    version: int
    zone: str
    interval_minutes: int
    districts: tuple[DistrictId, ...]
    substations: tuple[Substation, ...]
    feeders: tuple[Feeder, ...]
    transformers: tuple[Transformer, ...]
    usage_points: tuple[UsagePoint, ...]
    supply_points: tuple[SupplyPoint, ...]
    accounts: tuple[Account, ...]
    meters: tuple[Meter, ...]
    installations: tuple[Installation, ...]
    transformer_links: tuple[TransformerLink, ...]
    feeder_links: tuple[FeederLink, ...]
    works: int = field(default=0, compare=False)
    """Field works that were looked at over this version (`gridmodel.field_merge`); no part of the document."""
    _topologies: dict[int, Topology] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self)

    @cached_property
    def usage_point(self) -> Mapping[UsagePointId, UsagePoint]:
        """Usage points by id."""
        return index_of(((point.id, point) for point in self.usage_points), len(self.usage_points))

    @cached_property
    def supply_point(self) -> Mapping[SupplyPointId, SupplyPoint]:
        """Supply points by id."""
        return {point.id: point for point in self.supply_points}

    @cached_property
    def transformer(self) -> Mapping[TransformerId, Transformer]:
        """Transformers by id."""
        return {transformer.id: transformer for transformer in self.transformers}

    @cached_property
    def feeder(self) -> Mapping[FeederId, Feeder]:
        """Feeders by id."""
        return {feeder.id: feeder for feeder in self.feeders}

    @cached_property
    def substation(self) -> Mapping[SubstationId, Substation]:
        """Substations by id."""
        return {substation.id: substation for substation in self.substations}

    @cached_property
    def meter(self) -> Mapping[MeterId, Meter]:
        """Meters by id."""
        return index_of(((meter.id, meter) for meter in self.meters), len(self.meters))

    @cached_property
    def account(self) -> Mapping[AccountId, Account]:
        """Accounts by id."""
        return index_of(((account.id, account) for account in self.accounts), len(self.accounts))

    @cached_property
    def account_at(self) -> Mapping[UsagePointId, Account]:
        """Accounts by usage point."""
        return index_of(((account.usage_point, account) for account in self.accounts), len(self.accounts))

    @cached_property
    def accounts_at(self) -> Mapping[UsagePointId, tuple[AccountId, ...]]:
        """Every account of each usage point that has one: more than one is a doubt about who owes."""
        found: MutableMapping[UsagePointId, tuple[AccountId, ...]] = new_index(len(self.accounts))
        for account in self.accounts:
            found[account.usage_point] = (*found.get(account.usage_point, ()), account.id)
        return found

    @cached_property
    def usage_point_ids(self) -> tuple[UsagePointId, ...]:
        """Every usage point in the order of their ids."""
        return tuple(in_order(point.id for point in self.usage_points))

    def indexed(self) -> "Registry":
        """This registry with the indexes and the latest topology worked out. Heavy: a task for `compute`.

        For 120,000 points that is half a second, which would else fall to the first who asks, on the event loop.
        """
        for index in (self.usage_point, self.meter, self.account, self.accounts_at, self.usage_point_ids):
            len(index)
        self.topology(FAR_FUTURE)
        return self

    @cached_property
    def transformer_meter(self) -> Mapping[TransformerId, SupplyPoint]:
        """The supply point that meters each transformer, where there is one."""
        return {
            point.transformer: point
            for point in self.supply_points
            if point.kind is SupplyPointKind.TRANSFORMER and point.transformer is not None
        }

    def feeder_district(self, feeder: FeederId) -> DistrictId:
        """The district that a feeder supplies: that of its substation."""
        return self.substation[self.feeder[feeder].substation].district

    def topology(self, end: int) -> Topology:
        """Who hung on whom in the interval ending at `end`; shared between all intervals of one span, while it is kept.

        May be asked from several threads at once: at worst a span is worked out twice.
        """
        span = bisect_left(self._changes, end)
        found = self._topologies.get(span)
        if found is None:
            found = self._topologies[span] = self._topology(end)
            for oldest in list(self._topologies)[:-TOPOLOGIES_KEPT]:
                self._topologies.pop(oldest, None)
        return found

    @cached_property
    def _changes(self) -> tuple[int, ...]:
        dated: chain[Dated] = chain(self.installations, self.transformer_links, self.feeder_links)
        moments = (moment for link in dated for moment in (link.valid_from, link.valid_to))
        slices: list[list[int]] = []
        while some := sorted(set(islice(moments, SORTED_AT_ONCE))):
            slices.append(some)
        return tuple(moment for moment, _ in groupby(merge(*slices)))

    def _topology(self, end: int) -> Topology:
        transformer_of = index_of(
            ((link.usage_point, link.transformer) for link in self.transformer_links if _covers(link, end)),
            len(self.transformer_links),
        )
        points: dict[TransformerId, list[UsagePointId]] = {transformer.id: [] for transformer in self.transformers}
        for point, transformer in transformer_of.items():
            points[transformer].append(point)
        return Topology(
            transformer_of=transformer_of,
            points_of={transformer: tuple(sorted(ids)) for transformer, ids in points.items()},
            feeder_of={link.transformer: link.feeder for link in self.feeder_links if _covers(link, end)},
            installation_at=index_of(
                ((placed.point, placed) for placed in self.installations if _covers(placed, end)),
                len(self.installations),
            ),
        )


def in_order(values: Iterable[S], key: Callable[[S], Any] | None = None) -> Iterator[S]:
    """In order. A million sorted in one call would hold the interpreter for a second, on any thread."""
    given: Iterator[Any] = iter(values)
    slices: list[list[S]] = []
    while some := sorted(islice(given, SORTED_AT_ONCE), key=key):
        slices.append(some)
    ordered: Iterator[S] = merge(*slices, key=key)  # type: ignore[arg-type]
    return ordered


def _covers(link: Dated, end: int) -> bool:
    return link.valid_from < end <= link.valid_to


def _check(registry: Registry) -> None:
    """Raise RegistryFault (TQ-RG-01…06) at the first contradiction: a wrong registry is refused whole."""
    zone(registry.zone)
    if registry.interval_minutes not in INTERVAL_MINUTES:
        raise RegistryFault("TQ-RG-01", f"intervals of {registry.interval_minutes} minutes", "use 15, 30 or 60")
    districts = set(registry.districts)
    substations = _unique("substation", registry.substations)
    feeders = _unique("feeder", registry.feeders)
    transformers = _unique("transformer", registry.transformers)
    usage_points = _unique("usage point", registry.usage_points)
    supply_points = _unique("supply point", registry.supply_points)
    meters = _unique("meter", registry.meters)
    _unique("account", registry.accounts)
    _known("district", (one.district for one in registry.substations), districts)
    _known("district", (one.district for one in registry.transformers), districts)
    _known("district", (one.district for one in registry.usage_points), districts)
    _known("district", (one.district for one in registry.supply_points), districts)
    _known("substation", (one.substation for one in registry.feeders), substations)
    _known("usage point", (one.usage_point for one in registry.accounts), usage_points)
    _known("usage point", (one.usage_point for one in registry.transformer_links), usage_points)
    _known("transformer", (one.transformer for one in registry.transformer_links), transformers)
    _known("transformer", (one.transformer for one in registry.feeder_links), transformers)
    _known("feeder", (one.feeder for one in registry.feeder_links), feeders)
    _known("meter", (one.meter for one in registry.installations), meters)
    _known("point", (one.point for one in registry.installations), usage_points, supply_points)
    for point in registry.supply_points:
        _check_supply_point(point, transformers, feeders)
    for placed in registry.installations:
        _check_registers(placed)
    _never_twice("usage point", registry.transformer_links, "usage_point")
    _never_twice("transformer", registry.feeder_links, "transformer")
    _never_twice("point", registry.installations, "point")
    _never_twice("meter", registry.installations, "meter")


def _check_supply_point(
    point: SupplyPoint, transformers: Container[str | None], feeders: Container[str | None]
) -> None:
    fits = {
        SupplyPointKind.TRANSFORMER: point.transformer in transformers,
        SupplyPointKind.FEEDER_HEAD: point.feeder in feeders,
        SupplyPointKind.BOUNDARY: point.to_district is not None and point.to_district != point.district,
        SupplyPointKind.GENERATOR: point.feeder is None or point.feeder in feeders,
    }[point.kind]
    if not fits:
        raise RegistryFault(
            "TQ-RG-02", f"supply point {point.id} ({point.kind}) does not say what it measures", "name its place"
        )


def _check_registers(placed: Installation) -> None:
    for registers in (placed.start_registers_wh, placed.final_registers_wh):
        if registers and len(registers) != len(placed.channels):
            raise RegistryFault(
                "TQ-RG-06",
                f"{placed.meter} at {placed.point}: {len(registers)} registers, {len(placed.channels)} channels",
                "write one for each channel, in their order, or none",
            )


def _unique(kind: str, things: Sequence[Any]) -> Container[str]:
    """The ids of things, for asking what is known."""
    seen: MutableMapping[str, None] = new_index(len(things))
    for thing in things:
        if thing.id in seen:
            raise RegistryFault("TQ-RG-03", f"{kind} {thing.id} stands twice in the registry", "keep one of the two")
        seen[thing.id] = None
    return seen


def _known(kind: str, ids: Iterable[str], *known: Container[str]) -> None:
    first, *others = known
    for one in ids:
        if one not in first and not any(one in other for other in others):
            raise RegistryFault(
                "TQ-RG-04", f"{kind} {one} is named but not described", f"add the {kind} or mend the name"
            )


def _never_twice(kind: str, links: Sequence[Dated], of: str) -> None:
    """No child has two parents, and no place two meters, at one time. Few have more than one link at all."""
    seen: MutableMapping[str, None] = new_index(len(links))
    again: dict[str, list[tuple[int, int]]] = {}
    for link in links:
        child = getattr(link, of)
        if link.valid_to <= link.valid_from or link.valid_to > FAR_FUTURE:
            raise RegistryFault("TQ-RG-05", f"a link of {kind} {child} ends before it starts", "mend its dates")
        if child in seen:
            again[child] = []
        seen[child] = None
    for link in links if again else ():
        child = getattr(link, of)
        if child in again:
            again[child].append((link.valid_from, link.valid_to))
    for child, dated in again.items():
        dated.sort()
        for (_, ends), (starts, _) in pairwise(dated):
            if starts < ends:
                raise RegistryFault("TQ-RG-05", f"{kind} {child} has two links at one time", "close the earlier one")
