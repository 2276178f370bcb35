"""A day's chunks: who is in which, and their bytes from the stored rows. Pure and heavy. Room: metering; walk: reading.

A chunk holds whole transformers of one district with their points and their own meters, up to a thousand usage points;
the other supply points of a district are a chunk of their own. A point that moved during the day stands under each of
its transformers, each time with the intervals in which it hung there, in two chunks. Where nothing was installed the
quality says so, and before the node's first hour nothing is told.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from edge_node.store.chunks import ChunkRow, SealedChunk, sealed_chunk
from edge_node.store.day_rows import DayRows
from gridmodel.identity import DistrictId, TransformerId, UsagePointId
from gridmodel.network import SupplyPointKind
from gridmodel.period import interval_ends
from gridmodel.reading import Channel, Quality, Revision
from gridmodel.registry import Registry, Topology
from protocols.sync.chunk import (
    NOT_EXPECTED,
    POINTS_PER_CHUNK,
    ChunkContent,
    ChunkHead,
    Series,
    SeriesKind,
    encode_chunk,
    sums_of,
)

_Span = tuple[Topology, range]
"""A topology and the indexes of the day's intervals for which it holds."""


@dataclass(slots=True)
class Member:
    """One point under one transformer on one day."""

    point: str
    kind: SeriesKind
    transformer: str
    """Empty for supply points that are no transformer meters."""
    district: DistrictId
    present: bytearray
    """Per interval 1 where a meter stood there."""
    channels: set[Channel] = field(default_factory=lambda: {Channel.IMPORT})


@dataclass(frozen=True, slots=True)
class DayPart:
    """One chunk to be made."""

    number: int
    day: str
    """Local day, ``2026-05-04``."""
    district: DistrictId
    members: tuple[Member, ...]

    def channels(self) -> list[tuple[str, int]]:
        """(point, channel) of every series, in order."""
        return [(one.point, int(channel)) for one in self.members for channel in sorted(one.channels)]


def day_parts(registry: Registry, day: str, told_from: int) -> tuple[DayPart, ...]:
    """The chunks of a local day; intervals that end at or before `told_from` are not expected."""
    spans = list(_spans(registry, day, told_from))
    count = len(interval_ends(day, registry.interval_minutes, registry.zone))
    usage, supply = _usage_members(registry, spans, count), _supply_members(registry, spans, count)
    parts: list[tuple[DistrictId, list[Member]]] = []
    for district in sorted(registry.districts):
        filling: list[Member] = []
        named: set[str] = set()
        for transformer in sorted(one.id for one in registry.transformers if one.district == district):
            points = usage.get(transformer, [])
            own = [*points, *(one for one in supply if one.transformer == transformer)]
            filled = sum(one.kind is SeriesKind.USAGE for one in filling)
            if filling and (filled + len(points) > POINTS_PER_CHUNK or any(one.point in named for one in own)):
                parts.append((district, filling))
                filling, named = [], set()
            filling += own
            named |= {one.point for one in own}
        if filling:
            parts.append((district, filling))
        others = [one for one in supply if not one.transformer and one.district == district]
        if others:
            parts.append((district, others))
    return tuple(DayPart(number, day, district, tuple(members)) for number, (district, members) in enumerate(parts))


def _spans(registry: Registry, day: str, told_from: int) -> Iterator[_Span]:
    ends = interval_ends(day, registry.interval_minutes, registry.zone)
    begun, held = 0, None
    for index, end in enumerate(ends):
        topology = registry.topology(end) if end > told_from else None
        if topology is not held:
            if held is not None:
                yield held, range(begun, index)
            begun, held = index, topology
    if held is not None:
        yield held, range(begun, len(ends))


def _usage_members(registry: Registry, spans: Iterable[_Span], count: int) -> dict[str, list[Member]]:
    district_of = {one.id: one.district for one in registry.transformers}
    found: dict[tuple[TransformerId, UsagePointId], Member] = {}
    for topology, span in spans:
        for point, transformer in topology.transformer_of.items():
            placed = topology.installation_at.get(point)
            if placed is None:
                continue
            member = found.get((transformer, point))
            if member is None:
                member = Member(point, SeriesKind.USAGE, transformer, district_of[transformer], bytearray(count))
                found[transformer, point] = member
            member.present[span.start : span.stop] = b"\1" * len(span)
            member.channels.update(placed.channels)
    by_transformer: dict[str, list[Member]] = {}
    for key in sorted(found):
        by_transformer.setdefault(key[0], []).append(found[key])
    return by_transformer


def _supply_members(registry: Registry, spans: Sequence[_Span], count: int) -> list[Member]:
    found: list[Member] = []
    for supply in sorted(registry.supply_points, key=lambda one: one.id):
        own = supply.transformer if supply.kind is SupplyPointKind.TRANSFORMER else None
        member = Member(supply.id, SeriesKind.of(supply.kind), own or "", supply.district, bytearray(count))
        for topology, span in spans:
            placed = topology.installation_at.get(supply.id)
            if placed is not None:
                member.present[span.start : span.stop] = b"\1" * len(span)
                member.channels.update(placed.channels)
        if any(member.present):
            found.append(member)
    return found


def seal_part(
    registry: Registry, part: DayPart, rows: DayRows, revision: Revision, before: ChunkRow | None
) -> SealedChunk | None:
    """The part's chunk from its rows; None when it says the same as `before`, which was offered."""
    head = ChunkHead(
        node=registry.node,
        district=part.district,
        day=part.day,
        zone=registry.zone,
        interval_minutes=registry.interval_minutes,
        registry_version=registry.version,
        revision=revision,
    )
    series = _series(head, part, rows)
    content = ChunkContent(
        **{name: getattr(head, name) for name in ChunkHead.__slots__},
        series=series,
        transformer_sums=sums_of(head, series),
    )
    if before is not None:
        again = replace(content, revision=before.revision, registry_version=before.registry_version)
        if sha256(encode_chunk(again)).digest() == before.digest:
            return None
    return sealed_chunk(part.day, part.number, revision, registry.version, encode_chunk(content))


def _series(head: ChunkHead, part: DayPart, rows: DayRows) -> tuple[Series, ...]:
    ends = head.ends()
    length = head.interval_minutes * 60
    count = len(ends)
    lines = [(one, channel) for one in part.members for channel in sorted(one.channels)]
    energies = [[0] * count for _ in lines]
    qualities = [bytearray(Quality.MISSING if present else NOT_EXPECTED for present in one.present) for one, _ in lines]
    for end, index, energy_wh, quality in rows.rows:
        place = (end - ends[0]) // length
        if qualities[index][place] != NOT_EXPECTED:
            energies[index][place] = energy_wh
            qualities[index][place] = quality
    return tuple(
        Series(
            point=one.point,
            channel=channel,
            kind=one.kind,
            transformer=one.transformer,
            start_register_wh=rows.start_register_wh.get(index) if one.present[0] else None,
            energy_wh=tuple(energies[index]),
            quality=bytes(qualities[index]),
        )
        for index, (one, channel) in enumerate(lines)
    )
