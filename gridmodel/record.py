"""Records that stand between a consumer and a cut: notices, protections, weather, watermarks. Ground floor.

On the payment walk. None of them is a boolean: each says by whom, from when, until when, on what evidence. They come
down from the hub or are entered at the office, and merge as keyed unions: one id, one content.
"""

from dataclasses import dataclass
from enum import StrEnum

from gridmodel.identity import AccountId, ChannelId, DistrictId, UsagePointId


class NoticeEvidence(StrEnum):
    """How the delivery of a notice is proven; no proof, no cut."""

    SMS_DELIVERED = "sms_delivered"
    APP_READ = "app_read"
    SIGNED_LIST = "signed_list"
    """Handed over by the mahalla against a signature."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Notice:
    """A consumer was told what will happen, about which amount."""

    id: str
    account: AccountId
    amount_tiyin: int
    """The debt named in it; a cut for more than this has no notice."""
    evidence: NoticeEvidence
    delivered_at: int | None
    """When the delivery was proven; None when it was not."""


class ProtectionKind(StrEnum):
    """Why a usage point may not be cut."""

    MEDICAL = "medical"
    VULNERABLE = "vulnerable"
    DISPUTE = "dispute"
    INSTALMENT_PLAN = "instalment_plan"
    PAYMENT_BLOCKED = "payment_blocked"
    """Payments were refused for another debt; the electricity debt that resulted is under review."""
    MORATORIUM = "moratorium"
    SAFETY_LOCK = "safety_lock"
    """Set by a person: the supply must stay OFF (line under repair, burnt house). It outranks a restore."""


@dataclass(frozen=True, slots=True)
class Protection:
    """One assertion of one protection: an element of an observed-remove set, named by its id."""

    id: str
    kind: ProtectionKind
    usage_point: UsagePointId | None
    """None together with `district`: everybody there."""
    district: DistrictId | None
    valid_from: int
    valid_to: int
    asserted_by: str


@dataclass(frozen=True, slots=True)
class WeatherForecast:
    """The forecast extremes of the next 72 hours in a district."""

    district: DistrictId
    issued_at: int
    min_c: float
    max_c: float


@dataclass(frozen=True, slots=True)
class Watermark:
    """A payment channel's promise: every payment up to `complete_up_to` that it took is at this node."""

    channel: ChannelId
    complete_up_to: int
