"""DLMS faults by name: every broken rule is a `DlmsFault` with a code, a blame and a hint. Floor: protocols; reading.

Codes: 01-09 bytes that are no A-XDR or BER, 10-19 the TCP wrapper, 20-29 HDLC, 30-39 security, 40-49 associations and
services, 50-59 what a meter answered, 60-69 values that do not fit their class or profile, 70-79 what we were asked to
encode, 80-99 the driver: connections, silence, identity, permits.
"""

from gridmodel.absence import Absence
from protocols.errors import Blame, Hope, ProtocolFault

LOOK_AT_DEVICE = "check that the address is a DLMS meter and that link and profile fit it; try again"
LOOK_AT_PROFILE = "the program or the meter profile asked for what DLMS cannot say: report this code with the profile"


_SECURITY_CODES = range(30, 41)
_ABSENCES = {
    "TQ-DM-28": Absence.SILENT,
    "TQ-DM-44": Absence.REFUSED,
    "TQ-DM-46": Absence.REFUSED,
    "TQ-DM-50": Absence.REFUSED,
    "TQ-DM-51": Absence.REFUSED,
    "TQ-DM-52": Absence.REFUSED,
    "TQ-DM-80": Absence.UNREACHABLE,
    "TQ-DM-81": Absence.SILENT,
    "TQ-DM-82": Absence.UNREACHABLE,
    "TQ-DM-83": Absence.SILENT,
    "TQ-DM-86": Absence.WRONG_METER,
    "TQ-DM-87": Absence.WRONG_METER,
    "TQ-DM-88": Absence.UNREACHABLE,
    "TQ-DM-89": Absence.SUSPENDED,
    "TQ-DM-92": Absence.NO_PROFILE,
    "TQ-DM-94": Absence.SECURITY,
    "TQ-DM-95": Absence.QUEUE_FULL,
    **{f"TQ-DM-{code}": Absence.SECURITY for code in _SECURITY_CODES},
}


class DlmsFault(ProtocolFault):
    """A fault of the DLMS/COSEM wire."""

    @property
    def absence(self) -> Absence:
        """See `ProtocolFault.absence`."""
        return _ABSENCES.get(self.code) or super().absence


def remote_fault(code: str, what: str, hint: str = LOOK_AT_DEVICE, hope: Hope = Hope.RETRY) -> DlmsFault:
    """The meter or the way to it broke the rule."""
    return DlmsFault(code, what, hint, blame=Blame.REMOTE, hope=hope)


def local_fault(code: str, what: str, hint: str = LOOK_AT_PROFILE) -> DlmsFault:
    """We broke the rule; nothing was sent, and asking again does not help."""
    return DlmsFault(code, what, hint, blame=Blame.LOCAL, hope=Hope.PERMANENT)


def cut_short(where: str) -> DlmsFault:
    """Bytes ended before the value did."""
    return remote_fault("TQ-DM-01", f"the bytes end inside {where}")


def malformed(where: str, data: bytes) -> DlmsFault:
    """Bytes that no rule of the standard explains; `data` is shown by its first 16 bytes."""
    return remote_fault("TQ-DM-02", f"no valid {where}: {bytes(data[:16]).hex(' ')}")


def too_large(what: str) -> DlmsFault:
    """A limit of ours was passed; it protects the node, so the meter's answer is given up."""
    return remote_fault("TQ-DM-03", what, "ask for less at once: a shorter range, fewer columns", Hope.PERMANENT)
