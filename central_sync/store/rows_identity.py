"""Rows about who may speak as which node. Floor: central_sync/store; contracts in `port_identity`."""

from dataclasses import dataclass
from enum import StrEnum

from gridmodel.identity import NodeId


class EnrolmentState(StrEnum):
    """What became of an enrolment."""

    WAITING = "waiting"
    """For a person."""
    APPROVED = "approved"
    """Its keys count."""
    REJECTED = "rejected"
    REPLACED = "replaced"
    """A later enrolment of the node was approved."""
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token that somebody was given."""

    hash: bytes
    node: NodeId
    made_at: int
    ends_at: int
    made_by: str


@dataclass(frozen=True, slots=True)
class EnrolmentRow:
    """One enrolment."""

    id: str
    token: bytes
    """The token's hash."""
    node: NodeId
    signing_key: str
    request: bytes
    key_hash: bytes
    requested_at: int
    state: EnrolmentState
    decided_at: int | None
    decided_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class CertificateRow:
    """One certificate that was issued."""

    serial: str
    node: NodeId
    enrolment: str
    content: bytes
    not_after: int
    issued_at: int
    late_s: int
    """The one before had ended so many seconds ago when this one was asked for."""
    revoked_at: int | None
