"""What a look at a relay changes: one step through the relay table, pure. Floor: edge_node/supply; payment walk.

Polls and read-backs come through here alike. A look that began before the last command left proves nothing about it,
and a contact that has not moved yet is not believed until the relay had time to move. An unintended movement is an
alarm; open for no reason of ours means that money does not close it.
"""

from dataclasses import dataclass, replace

from edge_node.store.operations import Movement, Operation, Outcome
from edge_node.store.relays import RelayRow, Sighting, loaded
from gridmodel.control import Cause, RelayEvent, RelayState, step
from gridmodel.event import AlarmKind

SETTLE_S = 5
"""Utility seconds that a relay may take to move: the slowest latching relay needs one, its register a few more."""
LATE_S_MAX = 3_600
"""A command of ours that seemed to have failed may still act within so long; later it was somebody else."""

EVENTS = {"closed": RelayEvent.SEEN_CLOSED, "open": RelayEvent.SEEN_OPEN, "ready": RelayEvent.SEEN_READY}
_OUTCOMES = {
    (Movement.CUT, "open"): Outcome.CONFIRMED,
    (Movement.CUT, "ready"): Outcome.CONFIRMED,
    (Movement.CUT, "closed"): Outcome.FAILED,
    (Movement.RESTORE, "closed"): Outcome.CONFIRMED,
    (Movement.RESTORE, "ready"): Outcome.READY,
    (Movement.RESTORE, "open"): Outcome.FAILED,
}
_ENDED_BY_SUPPLY = (AlarmKind.PAID_BUT_DARK, AlarmKind.LOAD_WHILE_OPEN, AlarmKind.RELAY_UNCONFIRMED)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look changes."""

    row: RelayRow
    outcome: Outcome | None = None
    """Of the operation under way; None when it stays open or there is none."""
    raised: tuple[tuple[AlarmKind, str], ...] = ()
    """Alarms that begin, with what to say."""
    cleared: tuple[AlarmKind, ...] = ()


def see(
    row: RelayRow | None,
    look: Sighting,
    operation: Operation | None,
    now: int,
    *,
    read_back: bool,
    last_cut: Operation | None = None,
    brought_open: bool = False,
) -> Seen | None:
    """What `look` changes, or None when it proves nothing.

    `operation` is the row's operation, under way or last, and `last_cut` the point's last cut that was sent: a gateway
    may hold it back behind the restore. `read_back` says that the look began after its command by the program's own
    order, so that no stamps need be compared. `brought_open`: the meter was cut by us for debt where it hung before.
    """
    if row is None or row.meter != look.meter:
        return _other_meter(row, look, operation, now, brought_open=brought_open)
    if not read_back and not _later(row, look, operation, now):
        return None
    outcome: Outcome | None = None
    recent = False
    if operation is not None and operation.sent_at is not None:
        recent = now < operation.sent_at + SETTLE_S and operation.sent_at <= now
    if operation is not None and operation.result_at is None:
        if operation.sent_at is None:
            return None  # no command left yet: the door decides about it
        outcome = _OUTCOMES[operation.action, look.contact]
        if outcome is Outcome.FAILED and recent:
            return None
    transition = step(row.state, EVENTS[look.contact])
    raised: list[tuple[AlarmKind, str]] = []
    late = next((one for one in (operation, last_cut) if _may_be_ours(one, now)), None)
    if transition.unintended:
        ours = late is not None and look.contact != "closed"
        what = "a cut of ours that had failed may have come late" if ours else "not by us"
        raised.append((AlarmKind.RELAY_MOVED_WITHOUT_INTENT, f"seen {look.contact} while {row.state.value}: {what}"))
    cleared = list(_ENDED_BY_SUPPLY if transition.state is RelayState.CONNECTED else ())
    load_w = look.load_w
    if look.contact == "open" and loaded(load_w):
        if recent:
            load_w = None  # the meter's average has not fallen yet
        else:
            raised.append((AlarmKind.LOAD_WHILE_OPEN, f"{load_w} W flow past an open relay"))
    elif look.contact == "open":
        cleared.append(AlarmKind.LOAD_WHILE_OPEN)
    if outcome is not None:
        cleared.append(AlarmKind.RELAY_UNCONFIRMED)
    moved = replace(
        row,
        state=transition.state,
        cause=_cause(row, transition.state, late),
        since=now if transition.state is not row.state else row.since,
        seen_at=look.asked_at,
        load_w=load_w,
        paid_at=None if transition.state is RelayState.CONNECTED else row.paid_at,
    )
    return Seen(moved, outcome, tuple(raised), tuple(dict.fromkeys(cleared)))


def _later(row: RelayRow, look: Sighting, operation: Operation | None, now: int) -> bool:
    """Whether a poll's look is later than what is known. Stamps from a future that the clock took back do not count."""
    stamps = [row.seen_at]
    if operation is not None:
        stamps.append(operation.sent_at)
    return all(stamp is None or stamp > now or look.asked_at > stamp for stamp in stamps)


def _may_be_ours(operation: Operation | None, now: int) -> bool:
    """Whether the last command was a cut that may act only now."""
    return (
        operation is not None
        and operation.action is Movement.CUT
        and operation.sent_at is not None
        and now - operation.sent_at <= LATE_S_MAX
    )


def _cause(row: RelayRow, state: RelayState, late: Operation | None) -> Cause | None:
    """Why it is dark in `state`: our cut, also one that came late; else nobody's that money could clear."""
    if state is RelayState.CONNECTED:
        return None
    if row.state is not RelayState.CONNECTED and row.cause is not None:
        return row.cause
    return Cause.SAFETY if late is None else late.cause


def _other_meter(
    row: RelayRow | None, look: Sighting, operation: Operation | None, now: int, *, brought_open: bool
) -> Seen:
    """A first sight, or an exchanged meter: what is dark for debt stays dark for debt on the new one.

    A meter that was moved while it was cut for its old place's debt darkens the new one: whoever owes nothing there
    gets supply back.
    """
    state = step(RelayState.UNKNOWN, EVENTS[look.contact]).state
    supplied = state is RelayState.CONNECTED
    dark_for = row.cause if row is not None and row.state is not RelayState.CONNECTED else None
    dark_for = dark_for or (Cause.DEBT if brought_open else None)
    fresh = RelayRow(
        usage_point=look.usage_point,
        meter=look.meter,
        state=state,
        cause=None if supplied else dark_for or Cause.SAFETY,
        since=now,
        seen_at=look.asked_at,
        load_w=look.load_w,
        operation=None,
        paid_at=None if supplied or row is None else row.paid_at,
    )
    under_way = operation is not None and operation.result_at is None
    raised: tuple[tuple[AlarmKind, str], ...] = ()
    if look.contact == "open" and loaded(look.load_w):
        raised = ((AlarmKind.LOAD_WHILE_OPEN, f"{look.load_w} W flow past an open relay"),)
    return Seen(fresh, Outcome.FAILED if under_way else None, raised, _ENDED_BY_SUPPLY if supplied else ())
