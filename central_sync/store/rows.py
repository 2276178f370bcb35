"""The rows of the hub's store as values. Floor: central_sync/store; on all three walks."""

from dataclasses import dataclass

from gridmodel.account import LedgerEntry
from gridmodel.field_work import FieldWork
from gridmodel.identity import NodeId
from protocols.sync import wire
from protocols.sync.field_works import work_from_body
from protocols.sync.lanes import RECORD_LIMITS, Lane

HUB = NodeId("")
"""In the alarms' `node`: the hub itself noticed it."""


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node as the hub knows it."""

    id: NodeId
    public_key: str
    districts: tuple[str, ...]
    epoch: int
    """The highest ever minted for it; 0 before its first hello."""
    last_seen: int | None
    status: bytes | None
    """Its latest node_status, packed."""
    status_at: int | None


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One batch in the log."""

    node: NodeId
    lane: Lane
    epoch: int
    seq: int
    digest: bytes
    registry_version: int
    created_at: int
    received_at: int
    quarantine: str
    """The code of the reason; empty when applied."""
    reason: str
    data: bytes | None
    """The whole batch while it is quarantined."""


@dataclass(frozen=True, slots=True)
class PlaceDayRow:
    """The hours in force of one transformer or supply point; `state` and `booked` are packed by the balance room."""

    place: str
    day: str
    node: NodeId
    kind: str
    state: bytes
    booked: str
    chunk: str | None


@dataclass(frozen=True, slots=True)
class BalanceRow:
    """The moved balance of one area from one node; `state` has 24 rows for a day, one for a month."""

    area: str
    node: NodeId
    state: bytes


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A chunk as it was received."""

    id: str
    node: NodeId
    day: str
    epoch: int
    number: int
    registry_version: int
    received_at: int
    content: bytes


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A ledger entry, whose account it is about and how it came here."""

    entry: LedgerEntry
    node: NodeId
    origin: str
    """node or import."""
    received_at: int
    intact: bool
    """Whether the row still is what was hashed."""


@dataclass(frozen=True, slots=True)
class ConflictRow:
    """One id with two contents."""

    id: str
    content: str
    node: NodeId
    seen_at: int


@dataclass(frozen=True, slots=True)
class OwnerRow:
    """Which node speaks for something."""

    kind: str
    """transformer, supply_point, usage_point, account, meter."""
    id: str
    node: NodeId
    usage_point: str | None = None
    """Of an account."""


@dataclass(frozen=True, slots=True)
class IssuedRow:
    """A notice, protection, forecast or mandate that went down to a node."""

    kind: str
    id: str
    node: NodeId
    subject: str
    content: str
    """JSON."""
    issued_at: int


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """An alarm of a node, or of the hub (`node` is HUB)."""

    node: NodeId
    id: str
    kind: str
    subject: str
    at: int
    detail: str
    cleared_at: int | None


@dataclass(frozen=True, slots=True)
class OperationRow:
    """A relay operation as its node reported it."""

    node: NodeId
    id: str
    usage_point: str
    meter: str
    transformer: str
    action: str
    cause: str
    basis: bytes
    """Packed by wire."""
    mandate: str | None
    intent_at: int
    sent_at: int | None
    result_at: int | None
    outcome: str | None


WAITING, MERGED, REFUSED = "waiting", "merged", "refused"
"""What became of a field work."""


@dataclass(frozen=True, slots=True)
class FieldWorkRow:
    """A field work as its office recorded it, and what became of it."""

    node: NodeId
    id: str
    at: int
    meter: str
    body: bytes
    """Packed, as it came."""
    received_at: int
    state: str
    code: str
    """Of the refusal; else empty."""
    reason: str
    version: int | None
    """The registry that has it."""

    def work(self) -> FieldWork:
        """The work itself."""
        return work_from_body(wire.unpack(self.body, RECORD_LIMITS))


@dataclass(frozen=True, slots=True)
class LinkSpan:
    """Contact without a pause."""

    began_at: int
    last_at: int


def bundle_mark(node: NodeId, what: str) -> str:
    """The hub's mark of the latest bundle `written` for or `applied` from a node: JSON {at, bundle, whole}."""
    return f"bundle_{what}.{node}"
