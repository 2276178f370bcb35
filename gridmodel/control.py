"""The relay as a table of states: what is believed, what was intended, what was seen. Ground floor; payment walk.

Everything that moves the state machine stands in `RELAY_TABLE`; a missing key is the error. An intent is durable before
the command leaves; afterwards the contact is read back. What could not be confirmed is a state, not an error. The
states follow DLMS/COSEM class 70 (disconnected, connected, ready for reconnection) plus what an operator must know.
"""

from dataclasses import dataclass
from enum import StrEnum

from gridmodel.fault import Fault


class RelayFault(Fault):
    """A relay event that its state does not allow."""


class RelayState(StrEnum):
    """What a node believes of a relay."""

    UNKNOWN = "unknown"
    """Never seen by this node."""
    CONNECTED = "connected"
    """Seen closed; the consumer is supplied."""
    CUT_INTENDED = "cut_intended"
    """The intent is durable; whether a command left is not known."""
    CUT_UNCONFIRMED = "cut_unconfirmed"
    """A command to open left; the contact has not been read since."""
    DISCONNECTED = "disconnected"
    """Seen open."""
    RESTORE_INTENDED = "restore_intended"
    """The intent is durable; whether a command left is not known."""
    RESTORE_UNCONFIRMED = "restore_unconfirmed"
    """A command to close left; the contact has not been read since."""
    READY_FOR_RECONNECTION = "ready_for_reconnection"
    """The meter waits for someone to press its button; the consumer is told so."""


class RelayEvent(StrEnum):
    """What moves the state."""

    INTEND_CUT = "intend_cut"
    INTEND_RESTORE = "intend_restore"
    COMMAND_SENT = "command_sent"
    """A command left the node, whatever the reply was or was not."""
    COMMAND_WITHHELD = "command_withheld"
    """The intent was dropped before any command left: the door found a reason against it."""
    SEEN_CLOSED = "seen_closed"
    SEEN_OPEN = "seen_open"
    SEEN_READY = "seen_ready"


class Cause(StrEnum):
    """Why supply was cut. A payment clears only debt."""

    DEBT = "debt"
    SAFETY = "safety"
    """Found open with no intent of ours, or locked by a person: money does not close it."""


@dataclass(frozen=True, slots=True)
class Transition:
    """Where an event leads, and whether the movement had no intent behind it."""

    state: RelayState
    unintended: bool = False
    """Raises an alarm within one poll."""


_S, _E = RelayState, RelayEvent
_SEEN = {
    _E.SEEN_CLOSED: Transition(_S.CONNECTED),
    _E.SEEN_OPEN: Transition(_S.DISCONNECTED),
    _E.SEEN_READY: Transition(_S.READY_FOR_RECONNECTION),
}

RELAY_TABLE: dict[RelayState, dict[RelayEvent, Transition]] = {
    _S.UNKNOWN: {**_SEEN, _E.INTEND_RESTORE: Transition(_S.RESTORE_INTENDED)},
    _S.CONNECTED: {
        _E.INTEND_CUT: Transition(_S.CUT_INTENDED),
        _E.SEEN_CLOSED: Transition(_S.CONNECTED),
        _E.SEEN_OPEN: Transition(_S.DISCONNECTED, unintended=True),
        _E.SEEN_READY: Transition(_S.READY_FOR_RECONNECTION, unintended=True),
    },
    _S.CUT_INTENDED: {
        **_SEEN,
        _E.COMMAND_SENT: Transition(_S.CUT_UNCONFIRMED),
        _E.COMMAND_WITHHELD: Transition(_S.CONNECTED),
        _E.INTEND_RESTORE: Transition(_S.RESTORE_INTENDED),
    },
    _S.CUT_UNCONFIRMED: {**_SEEN, _E.INTEND_RESTORE: Transition(_S.RESTORE_INTENDED)},
    _S.DISCONNECTED: {
        _E.SEEN_OPEN: Transition(_S.DISCONNECTED),
        _E.SEEN_READY: Transition(_S.READY_FOR_RECONNECTION),
        _E.SEEN_CLOSED: Transition(_S.CONNECTED, unintended=True),
        _E.INTEND_RESTORE: Transition(_S.RESTORE_INTENDED),
    },
    _S.RESTORE_INTENDED: {
        **_SEEN,
        _E.COMMAND_SENT: Transition(_S.RESTORE_UNCONFIRMED),
        _E.COMMAND_WITHHELD: Transition(_S.DISCONNECTED),
        _E.INTEND_RESTORE: Transition(_S.RESTORE_INTENDED),
    },
    _S.RESTORE_UNCONFIRMED: {**_SEEN, _E.INTEND_RESTORE: Transition(_S.RESTORE_INTENDED)},
    _S.READY_FOR_RECONNECTION: {
        _E.SEEN_READY: Transition(_S.READY_FOR_RECONNECTION),
        _E.SEEN_OPEN: Transition(_S.DISCONNECTED),
        _E.SEEN_CLOSED: Transition(_S.CONNECTED),
        _E.INTEND_RESTORE: Transition(_S.RESTORE_INTENDED),
    },
}


def step(state: RelayState, event: RelayEvent) -> Transition:
    """Where `event` leads from `state`; raises RelayFault (TQ-RL-01) when the table has no such way."""
    transition = RELAY_TABLE[state].get(event)
    if transition is None:
        raise RelayFault("TQ-RL-01", f"a relay that is {state} cannot take {event}", "nothing was moved; report this")
    return transition


def may_be_dark(state: RelayState) -> bool:
    """Whether a consumer in this state may be without supply by our doing."""
    return state not in {RelayState.CONNECTED, RelayState.UNKNOWN}
