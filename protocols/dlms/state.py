"""The order of things, as tables: associations of both sides, and the HDLC link. Floor: protocols; reading, payment.

Everything that decides what may come next lives here. A table gives for each state the events that are possible in it
and the state each leads to; an event that is missing *is* the error: ours when we were about to send, the other side's
when it came off the wire. `docs/reference/dlms-states.md` is drawn from these tables by `page()`, and a test keeps it
so. No bytes are needed to try them.
"""

from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias, TypeVar

from protocols.dlms.faults import local_fault, remote_fault


class _Named(Enum):
    """A member is itself and nothing else, so its identity is its hash: the tables are looked into at every APDU."""

    __hash__ = object.__hash__


class ClientState(_Named):
    """Where a client's association stands."""

    IDLE = "idle"
    """Nothing was sent."""
    ASSOCIATING = "associating"
    """AARQ is out."""
    PROVING = "proving"
    """The server's challenge came (HLS); our proof is out."""
    ASSOCIATED = "associated"
    """Services may be asked for."""
    GETTING = "getting"
    """A GET is out; blocks may come."""
    SETTING = "setting"
    """A SET is out; blocks may be going."""
    ACTING = "acting"
    """An ACTION is out; blocks may be going or coming."""
    RELEASING = "releasing"
    """RLRQ is out."""
    CLOSED = "closed"
    """Released, refused or broken; this object is not used again."""


class ServerState(_Named):
    """Where a meter's side of an association stands."""

    IDLE = "idle"
    """Nobody is associated."""
    CHALLENGED = "challenged"
    """Our challenge is out (HLS); only the client's proof is heard."""
    ASSOCIATED = "associated"
    """Services are answered."""


class LinkState(_Named):
    """Where an HDLC link stands, seen from either side."""

    DISCONNECTED = "disconnected"
    """Only SNRM is heard."""
    CONNECTING = "connecting"
    """SNRM is out (client)."""
    READY = "ready"
    """Nothing is under way."""
    SENDING = "sending"
    """Segments of ours are out, more wait for their acknowledgement."""
    AWAITING = "awaiting"
    """All of ours is out; the answer or its acknowledgement is to come."""
    RECEIVING = "receiving"
    """Segments of theirs are coming."""
    DISCONNECTING = "disconnecting"
    """DISC is out (client)."""


class Event(_Named):
    """What moves a state. The first word says who is to blame when it is not possible."""

    SEND_AARQ = "send AARQ"
    RECEIVE_ACCEPTED = "receive AARE: accepted"
    RECEIVE_CHALLENGE = "receive AARE: challenge"
    RECEIVE_REJECTED = "receive AARE: rejected"
    RECEIVE_PROOF = "receive the server's proof"
    SEND_GET = "send GET"
    SEND_SET = "send SET"
    SEND_ACTION = "send ACTION"
    RECEIVE_GET_BLOCK = "receive GET block"
    RECEIVE_GET = "receive GET response"
    RECEIVE_SET_BLOCK = "receive SET block acknowledged"
    RECEIVE_SET = "receive SET response"
    RECEIVE_ACTION_BLOCK = "receive ACTION block or its acknowledgement"
    RECEIVE_ACTION = "receive ACTION response"
    RECEIVE_EXCEPTION = "receive exception response"
    RECEIVE_NOTIFICATION = "receive notification"
    SEND_RLRQ = "send RLRQ"
    RECEIVE_RLRE = "receive RLRE"
    FAIL = "fail"

    RECEIVE_AARQ_ACCEPTABLE = "receive AARQ: acceptable"
    RECEIVE_AARQ_TO_PROVE = "receive AARQ: to be proven"
    RECEIVE_AARQ_UNACCEPTABLE = "receive AARQ: unacceptable"
    RECEIVE_CLIENT_PROOF = "receive the client's proof"
    RECEIVE_WRONG_PROOF = "receive a wrong proof"
    RECEIVE_REQUEST = "receive request"
    RECEIVE_RLRQ = "receive RLRQ"
    LOSE_LINK = "lose the link"

    SEND_SNRM = "send SNRM"
    RECEIVE_UA = "receive UA"
    RECEIVE_DM = "receive DM"
    SEND_SEGMENT = "send segment"
    SEND_LAST = "send last segment"
    RECEIVE_RR = "receive RR"
    RECEIVE_SEGMENT = "receive segment"
    RECEIVE_LAST = "receive last segment"
    RECEIVE_UI = "receive UI"
    SEND_DISC = "send DISC"
    RECEIVE_SNRM = "receive SNRM"
    RECEIVE_DISC = "receive DISC"


State = TypeVar("State", ClientState, ServerState, LinkState)
Table: TypeAlias = Mapping[State, Mapping[Event, State]]

_C = ClientState
CLIENT_TABLE: Table[ClientState] = {
    _C.IDLE: {Event.SEND_AARQ: _C.ASSOCIATING, Event.RECEIVE_NOTIFICATION: _C.IDLE, Event.FAIL: _C.CLOSED},
    _C.ASSOCIATING: {
        Event.RECEIVE_ACCEPTED: _C.ASSOCIATED,
        Event.RECEIVE_CHALLENGE: _C.PROVING,
        Event.RECEIVE_REJECTED: _C.CLOSED,
        Event.RECEIVE_EXCEPTION: _C.CLOSED,
        Event.RECEIVE_NOTIFICATION: _C.ASSOCIATING,
        Event.FAIL: _C.CLOSED,
    },
    _C.PROVING: {
        Event.RECEIVE_PROOF: _C.ASSOCIATED,
        Event.RECEIVE_EXCEPTION: _C.CLOSED,
        Event.RECEIVE_NOTIFICATION: _C.PROVING,
        Event.FAIL: _C.CLOSED,
    },
    _C.ASSOCIATED: {
        Event.SEND_GET: _C.GETTING,
        Event.SEND_SET: _C.SETTING,
        Event.SEND_ACTION: _C.ACTING,
        Event.SEND_RLRQ: _C.RELEASING,
        Event.RECEIVE_NOTIFICATION: _C.ASSOCIATED,
        Event.FAIL: _C.CLOSED,
    },
    _C.GETTING: {
        Event.RECEIVE_GET_BLOCK: _C.GETTING,
        Event.RECEIVE_GET: _C.ASSOCIATED,
        Event.RECEIVE_EXCEPTION: _C.ASSOCIATED,
        Event.RECEIVE_NOTIFICATION: _C.GETTING,
        Event.FAIL: _C.CLOSED,
    },
    _C.SETTING: {
        Event.RECEIVE_SET_BLOCK: _C.SETTING,
        Event.RECEIVE_SET: _C.ASSOCIATED,
        Event.RECEIVE_EXCEPTION: _C.ASSOCIATED,
        Event.RECEIVE_NOTIFICATION: _C.SETTING,
        Event.FAIL: _C.CLOSED,
    },
    _C.ACTING: {
        Event.RECEIVE_ACTION_BLOCK: _C.ACTING,
        Event.RECEIVE_ACTION: _C.ASSOCIATED,
        Event.RECEIVE_EXCEPTION: _C.ASSOCIATED,
        Event.RECEIVE_NOTIFICATION: _C.ACTING,
        Event.FAIL: _C.CLOSED,
    },
    _C.RELEASING: {
        Event.RECEIVE_RLRE: _C.CLOSED,
        Event.RECEIVE_EXCEPTION: _C.CLOSED,
        Event.RECEIVE_NOTIFICATION: _C.RELEASING,
        Event.FAIL: _C.CLOSED,
    },
    _C.CLOSED: {Event.FAIL: _C.CLOSED},
}
"""The client's association."""

_S = ServerState
_AARQ_MOVES = {
    Event.RECEIVE_AARQ_ACCEPTABLE: _S.ASSOCIATED,
    Event.RECEIVE_AARQ_TO_PROVE: _S.CHALLENGED,
    Event.RECEIVE_AARQ_UNACCEPTABLE: _S.IDLE,
    Event.RECEIVE_RLRQ: _S.IDLE,
    Event.LOSE_LINK: _S.IDLE,
}
"""A new AARQ begins anew in any state: the client may have lost its memory of the old association."""
SERVER_TABLE: Table[ServerState] = {
    _S.IDLE: _AARQ_MOVES,
    _S.CHALLENGED: {
        **_AARQ_MOVES,
        Event.RECEIVE_CLIENT_PROOF: _S.ASSOCIATED,
        Event.RECEIVE_WRONG_PROOF: _S.IDLE,
    },
    _S.ASSOCIATED: {**_AARQ_MOVES, Event.RECEIVE_REQUEST: _S.ASSOCIATED},
}
"""The meter's side of an association."""

_L = LinkState
CLIENT_LINK_TABLE: Table[LinkState] = {
    _L.DISCONNECTED: {Event.SEND_SNRM: _L.CONNECTING},
    _L.CONNECTING: {Event.RECEIVE_UA: _L.READY, Event.RECEIVE_DM: _L.DISCONNECTED},
    _L.READY: {
        Event.SEND_SEGMENT: _L.SENDING,
        Event.SEND_LAST: _L.AWAITING,
        Event.SEND_DISC: _L.DISCONNECTING,
        Event.RECEIVE_UI: _L.READY,
        Event.RECEIVE_DM: _L.DISCONNECTED,
    },
    _L.SENDING: {
        Event.RECEIVE_RR: _L.SENDING,
        Event.SEND_SEGMENT: _L.SENDING,
        Event.SEND_LAST: _L.AWAITING,
        Event.SEND_DISC: _L.DISCONNECTING,
        Event.RECEIVE_UI: _L.SENDING,
        Event.RECEIVE_DM: _L.DISCONNECTED,
    },
    _L.AWAITING: {
        Event.RECEIVE_RR: _L.AWAITING,
        Event.RECEIVE_SEGMENT: _L.RECEIVING,
        Event.RECEIVE_LAST: _L.READY,
        Event.SEND_DISC: _L.DISCONNECTING,
        Event.RECEIVE_UI: _L.AWAITING,
        Event.RECEIVE_DM: _L.DISCONNECTED,
    },
    _L.RECEIVING: {
        Event.RECEIVE_SEGMENT: _L.RECEIVING,
        Event.RECEIVE_LAST: _L.READY,
        Event.SEND_DISC: _L.DISCONNECTING,
        Event.RECEIVE_UI: _L.RECEIVING,
        Event.RECEIVE_DM: _L.DISCONNECTED,
    },
    _L.DISCONNECTING: {
        Event.RECEIVE_UA: _L.DISCONNECTED,
        Event.RECEIVE_DM: _L.DISCONNECTED,
        Event.RECEIVE_UI: _L.DISCONNECTING,
    },
}
"""The client's end of an HDLC link; it alone begins."""

_LINK_ANEW = {Event.RECEIVE_SNRM: _L.READY, Event.RECEIVE_DISC: _L.DISCONNECTED}
METER_LINK_TABLE: Table[LinkState] = {
    _L.DISCONNECTED: _LINK_ANEW,
    _L.READY: {
        **_LINK_ANEW,
        Event.RECEIVE_SEGMENT: _L.RECEIVING,
        Event.RECEIVE_LAST: _L.READY,
        Event.RECEIVE_RR: _L.READY,
        Event.SEND_SEGMENT: _L.SENDING,
        Event.SEND_LAST: _L.READY,
    },
    _L.RECEIVING: {
        **_LINK_ANEW,
        Event.RECEIVE_SEGMENT: _L.RECEIVING,
        Event.RECEIVE_LAST: _L.READY,
        Event.RECEIVE_RR: _L.RECEIVING,
    },
    _L.SENDING: {
        **_LINK_ANEW,
        Event.RECEIVE_RR: _L.SENDING,
        Event.SEND_SEGMENT: _L.SENDING,
        Event.SEND_LAST: _L.READY,
        Event.RECEIVE_SEGMENT: _L.RECEIVING,
        Event.RECEIVE_LAST: _L.READY,
    },
}
"""The meter's end of an HDLC link; a client that speaks anew gives up the old answer."""


def step(table: Table[State], state: State, event: Event) -> State:
    """The next state.

    Raises:
        DlmsFault: TQ-DM-41 when we were about to send out of turn (nothing was sent), TQ-DM-42 when the other side did.

    """
    following = table[state].get(event)
    if following is not None:
        return following
    what = f"{event.value!r} is not possible while {state.value}"
    if event.value.startswith("receive"):
        raise remote_fault("TQ-DM-42", what, "the meter answers out of turn: the connection is closed and opened anew")
    raise local_fault("TQ-DM-41", what, "the program asked out of turn: report this code")


def diagram(table: Table[State]) -> str:
    """The table as a Mermaid state diagram, one line for each pair of states."""
    lines = ["stateDiagram-v2", f"    [*] --> {next(iter(table)).value}"]
    for state, moves in table.items():
        for target in dict.fromkeys(moves.values()):
            events = [event.value.replace(":", ",") for event, into in moves.items() if into is target]
            lines.append(f"    {state.value} --> {target.value}: {' / '.join(events)}")
    return "\n".join(lines)


def page() -> str:
    """The whole of `docs/reference/dlms-states.md`."""
    parts = [
        "# DLMS: the order of things",
        "",
        "Drawn from `protocols/dlms/state.py` by its `page()`; not edited here.",
    ]
    tables: tuple[tuple[str, str], ...] = (
        ("The client's association", diagram(CLIENT_TABLE)),
        ("The meter's side of an association", diagram(SERVER_TABLE)),
        ("The client's end of an HDLC link", diagram(CLIENT_LINK_TABLE)),
        ("The meter's end of an HDLC link", diagram(METER_LINK_TABLE)),
    )
    for title, drawing in tables:
        parts += ["", f"## {title}", "", "```mermaid", drawing, "```"]
    return "\n".join(parts) + "\n"
