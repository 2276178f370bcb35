"""The network: substations, feeders, transformers, usage and supply points, meters, and the dated links between them.

Ground floor; on the reading walk. Names follow CIM (IEC 61968-9, 61970). The electrical tree (substation → feeder →
transformer → usage point) stands beside the administrative one (republic → region → district). Links and installations
have dates, so that energy stays booked under the parents of its own hour. A link covers the interval ends in
(`valid_from`, `valid_to`].
"""

from dataclasses import dataclass
from enum import StrEnum

from gridmodel.identity import (
    AccountId,
    DistrictId,
    FeederId,
    MeterId,
    PersonId,
    SubstationId,
    SupplyPointId,
    TransformerId,
    UsagePointId,
)
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel

FAR_FUTURE = 2**40
"""The end of a link that has none yet; beyond every calendar the house accepts."""


class ConsumerClass(StrEnum):
    """Who takes the energy; policy and tariffs differ by it."""

    HOUSEHOLD = "household"
    COMPANY = "company"


class SupplyPointKind(StrEnum):
    """Where energy is measured as supply. IMPORT always counts what enters the supplied side."""

    TRANSFORMER = "transformer"
    """The meter on a transformer's low-voltage side: supply of that transformer."""
    FEEDER_HEAD = "feeder_head"
    """The meter at the head of a feeder: supply of the feeder, its substation, its district."""
    BOUNDARY = "boundary"
    """Between two districts: IMPORT enters `district`, EXPORT leaves it towards `to_district`."""
    GENERATOR = "generator"
    """A plant that feeds in: supply of its district."""


@dataclass(frozen=True, slots=True)
class Substation:
    """A 35–110 kV substation."""

    id: SubstationId
    district: DistrictId
    name: str


@dataclass(frozen=True, slots=True)
class Feeder:
    """A 6–10 kV feeder of a substation; its district is the substation's."""

    id: FeederId
    substation: SubstationId
    name: str


@dataclass(frozen=True, slots=True)
class Transformer:
    """A 6–10/0.4 kV transformer; its feeder is a dated link."""

    id: TransformerId
    district: DistrictId
    name: str
    rated_kva: int
    lat: float | None = None
    lon: float | None = None


@dataclass(frozen=True, slots=True)
class UsagePoint:
    """Where a consumer takes energy; its transformer is a dated link, its meter a dated installation."""

    id: UsagePointId
    district: DistrictId
    consumer_class: ConsumerClass
    protected_class: str | None
    """A class of `protected_classes` (hospital, water_supply, …): never cut without a court; None otherwise."""
    address: str
    """Street and house as the utility files it; never a person's name."""


@dataclass(frozen=True, slots=True)
class SupplyPoint:
    """Where supply is measured."""

    id: SupplyPointId
    kind: SupplyPointKind
    district: DistrictId
    transformer: TransformerId | None = None
    """Of a transformer meter."""
    feeder: FeederId | None = None
    """Of a feeder head; also of a generator that feeds into one feeder."""
    to_district: DistrictId | None = None
    """The other side of a boundary."""


@dataclass(frozen=True, slots=True)
class Account:
    """A consumer's account at one usage point."""

    id: AccountId
    usage_point: UsagePointId
    person: PersonId


@dataclass(frozen=True, slots=True)
class Meter:
    """An end device and the way to it."""

    id: MeterId
    serial: str
    profile: str
    """A file of configs/meters."""
    address: str
    """``host:port`` of its bus, with the link before it and DLMS numbers behind it where the profile's do not fit."""
    unit: int
    """Modbus unit, 1–247; of DLMS the logical or physical device where the profile says so, else 1."""


@dataclass(frozen=True, slots=True)
class Installation:
    """A meter at a usage or supply point from one time to another."""

    meter: MeterId
    point: str
    """UsagePointId or SupplyPointId."""
    channels: tuple[Channel, ...]
    multiplier: Multiplier
    valid_from: int
    valid_to: int = FAR_FUTURE
    start_registers_wh: tuple[int, ...] = ()
    """The meter's own registers at `valid_from`, one for each of `channels`; empty when nobody recorded them."""
    final_registers_wh: tuple[int, ...] = ()
    """Those at `valid_to`."""
    unproven: bool = False
    """Recorded in the field, and nobody has read yet that it is the right meter: it is polled, its relay stays."""


@dataclass(frozen=True, slots=True)
class TransformerLink:
    """A usage point hangs on a transformer."""

    usage_point: UsagePointId
    transformer: TransformerId
    valid_from: int
    valid_to: int = FAR_FUTURE


@dataclass(frozen=True, slots=True)
class FeederLink:
    """A transformer hangs on a feeder."""

    transformer: TransformerId
    feeder: FeederId
    valid_from: int
    valid_to: int = FAR_FUTURE
