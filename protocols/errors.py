"""Errors at a wire, sorted by who broke the rule and whether trying again may help. Floor: protocols.

On the walk of a reading (docs/walks/reading.md) all that can go wrong between a node and a meter is one of these: the
collector looks at `blame` and `hope` only, a person reads the code and the hint. A local fault is ours (a wrong
profile, a write without a permit): the other side is not to be punished for it. A permanent one is not retried.
"""

from enum import StrEnum

from gridmodel.absence import Absence
from gridmodel.fault import Fault


class Blame(StrEnum):
    """Who broke the rule."""

    LOCAL = "local"
    """We did: a wrong profile, a refused write, a full queue."""
    REMOTE = "remote"
    """The other side or the way to it did: silence, a malformed reply, an exception reply."""


class Hope(StrEnum):
    """Whether the same request may succeed later."""

    RETRY = "retry"
    """It may: silence, a busy device, a broken connection."""
    PERMANENT = "permanent"
    """It will not until a person changes something: a wrong address, a refused write."""


class ProtocolFault(Fault):
    """A fault at a wire: the code, what and hint of every fault, and beside them `blame` and `hope`."""

    def __init__(self, code: str, what: str, hint: str, *, blame: Blame, hope: Hope) -> None:
        super().__init__(code, what, hint)
        self.blame = blame
        self.hope = hope

    @property
    def absence(self) -> Absence:
        """Why a meter has no fresh reading after this fault; each protocol says more for its own codes."""
        ours = self.blame is Blame.LOCAL and self.hope is Hope.PERMANENT
        return Absence.MISCONFIGURED if ours else Absence.NOT_UNDERSTOOD

    def as_dict(self) -> dict[str, str]:
        """Code, what, hint, blame and hope, for JSON faces."""
        return {**super().as_dict(), "blame": self.blame.value, "hope": self.hope.value}
