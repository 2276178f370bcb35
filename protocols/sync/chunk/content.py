"""What a chunk says, in plain values: head, series, hours of each transformer. Floor: protocols; on the reading walk.

Nothing here needs numpy, so that the rooms at either end may build and read chunks. Energies are primary Wh per
interval (multiplier applied), in order of the day's interval ends; index 0 ends one interval after local midnight.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from gridmodel.balance import HourCell
from gridmodel.identity import DistrictId, NodeId
from gridmodel.network import SupplyPointKind
from gridmodel.period import interval_ends
from gridmodel.reading import Channel, Quality, Revision
from protocols.errors import Blame, Hope, ProtocolFault

CHUNK_VERSION = 1
HOURS = 24
"""A local day has 24 hours: no zone of the network moves its clocks. Another length is another version."""
NOT_EXPECTED = 4
"""Beside the numbers of `Quality`: nothing was installed there in that interval (a meter placed or a point moved at
noon, a node's first day). It is counted nowhere, and so is not called missing."""
POINTS_PER_CHUNK = 1_000
"""How many usage points the maker of chunks fills in, by whole transformers."""
ENERGY_WH_MAX = 100_000_000_000
"""Per interval: 100 GWh, more than the whole republic takes in an hour. Sums of a full chunk stay within 64 bits."""
REGISTER_WH_MAX = 2**53
"""Nine petawatt-hours; exact in every language's numbers."""


class ChunkFault(ProtocolFault):
    """Bytes that are no chunk, or a chunk that contradicts itself. Codes TQ-SY-30 to -39, see `codec`."""


def fault(number: int, what: str, blame: Blame) -> ChunkFault:
    """A ChunkFault with code TQ-SY-`number`."""
    hint = (
        "nothing was counted; the batch is set aside, its node can send the day again with a higher revision"
        if blame is Blame.REMOTE
        else "no chunk was made; the readings are still in the store, report this code with the log"
    )
    return ChunkFault(f"TQ-SY-{number}", what, hint, blame=blame, hope=Hope.PERMANENT)


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """How large a chunk may be; all are checked before memory is taken."""

    points_max: int = 2_000
    """Usage points: a chunk is filled to POINTS_PER_CHUNK, but a transformer is never split."""
    series_max: int = 8_192
    """All channels of all points, and the supply points."""
    transformers_max: int = 2_000
    packed_bytes_max: int = 1_048_576
    """The payload of an interval batch."""
    plain_bytes_max: int = 16_777_216
    """Decompressed: 8,192 series × 96 intervals × 9 bytes are 7 MB, 2,000 transformers' hours 3.5 MB."""
    head_bytes_max: int = 1_024


CHUNK_LIMITS = ChunkLimits()


class SeriesKind(IntEnum):
    """Whose series it is. The numbers travel on the wire and never change."""

    USAGE = 0
    TRANSFORMER = 1
    FEEDER_HEAD = 2
    BOUNDARY = 3
    GENERATOR = 4

    @classmethod
    def of(cls, kind: SupplyPointKind) -> "SeriesKind":
        """The series kind of a supply point."""
        return cls[kind.name]


@dataclass(frozen=True, slots=True)
class Series:
    """One channel of one point for the day."""

    point: str
    """Usage point, or supply point."""
    channel: Channel
    kind: SeriesKind
    transformer: str
    """Of a usage point and of a transformer's own meter; empty for other supply points."""
    start_register_wh: int | None
    """The register at the day's beginning, primary Wh; None when it was not read."""
    energy_wh: tuple[int, ...]
    """One per interval, 0 where the quality is MISSING or NOT_EXPECTED."""
    quality: bytes
    """One `Quality` number, or NOT_EXPECTED, per interval."""

    def known(self, index: int) -> bool:
        """Whether the interval has a value."""
        return self.quality[index] < Quality.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkHead:
    """Whose day it is, under which registry, and which revision of it."""

    node: NodeId
    district: DistrictId
    day: str
    """Local date, ``2026-05-04``."""
    zone: str
    interval_minutes: int
    """15, 30 or 60."""
    registry_version: int
    revision: Revision
    version: int = CHUNK_VERSION

    def intervals(self) -> int:
        """How many intervals the day has: 96, 48 or 24."""
        return HOURS * 60 // self.interval_minutes

    def ends(self) -> range:
        """The interval ends of the day, UTC seconds; raises PeriodFault for a zone or date that is none."""
        return interval_ends(self.day, self.interval_minutes, self.zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkContent(ChunkHead):
    """A whole chunk. Every transformer that a series names has its hours, and no other; see `sums_of` for the rule."""

    series: tuple[Series, ...]
    transformer_sums: Mapping[str, tuple[HourCell, ...]]
    """24 cells for each transformer, by local hour."""
