"""What a client's association is told, and what it tells. Floor: protocols; walks: reading, payment."""

from dataclasses import dataclass, field
from typing import TypeAlias

from protocols.dlms.apdu.acse import Mechanism
from protocols.dlms.apdu.initiate import OURS, Conformance, InitiateResponse
from protocols.dlms.apdu.notices import DataNotification, EventNotification
from protocols.dlms.apdu.sealed import Protection
from protocols.dlms.carrier import APDU_SIZE_MAX
from protocols.dlms.exchanges import Answer
from protocols.dlms.faults import DlmsFault
from protocols.errors import Blame, Hope


@dataclass(frozen=True, slots=True)
class AssociationSettings:
    """How one client speaks to one meter."""

    mechanism: Mechanism = Mechanism.NONE
    """NONE, LOW or GMAC."""
    protection: Protection | None = None
    """How APDUs are sealed; None: the context is not ciphered."""
    password: bytes = field(default=b"", repr=False)
    """For LOW."""
    system_title: bytes | None = None
    """The client's, 8 bytes; needed for GMAC and for ciphering."""
    conformance: Conformance = OURS
    """The services we would like."""
    max_pdu_size: int = APDU_SIZE_MAX
    """The longest APDU we take, bytes."""
    sealed_release: bool = True
    """Whether the release carries a sealed initiate request in a ciphered context; a few meters choke on it."""
    user: int | None = None
    """Client user id, for meters that list users."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this APDU next."""

    apdu: bytes
    """Its bytes."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The association is open, and where HLS was asked for the meter has proven itself, too."""

    agreed: InitiateResponse
    """What the meter agreed to."""


@dataclass(frozen=True, slots=True)
class Released:
    """The association is over, in good order."""


@dataclass(frozen=True, slots=True)
class Notified:
    """The meter reported something by itself; whatever is under way goes on."""

    notice: DataNotification | EventNotification
    """What."""


Outcome: TypeAlias = Send | Opened | Answer | Released | Notified


class CounterRefused(DlmsFault):
    """TQ-DM-39: the meter has seen a higher invocation counter than ours; recover, then associate anew."""

    def __init__(self, expected: int | None) -> None:
        super().__init__(
            "TQ-DM-39",
            f"the meter refused our invocation counter (it expects at least {expected})",
            "somebody else uses this key, or our marks were lost: recover the counter from the meter",
            blame=Blame.REMOTE,
            hope=Hope.RETRY,
        )
        self.expected = expected
        """The lowest counter the meter would take, where it says so; not authenticated."""
