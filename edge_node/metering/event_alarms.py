"""What lines of an event log mean for a person. Pure. Room: metering; walks: reading, payment.

A cover that is open and a magnet that is near are conditions: the alarm stands until the log says that they ended. A
failed login or a cleared log is over when it is read: its alarm stands until a day has passed without another. One loss
of power is no alarm (a district that went dark would raise thousands; the transformer's outage is one): three within a
day at one meter are, for that is a loose contact. A relay that moved and was not told to is told once for its point.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge_node.store.operations import Movement, Operation
from gridmodel.event import AlarmKind
from gridmodel.period import rfc3339
from protocols.driver import MeterEvent, MeterEventKind

DAY_S = 86_400
POWER_LOSSES_A_DAY = 3
"""Losses of power at one meter within a day that are worth a visit."""
CLOCK_ERROR_S = 300
"""How far a meter's stamp may stand before the command that it answers; a clock further off is an alarm itself."""
COMMAND_LATE_S = 3_600
"""How long after its command a relay may move: a gateway may hold it back."""

_BEGINS = {
    MeterEventKind.TERMINAL_COVER_OPENED: AlarmKind.TERMINAL_COVER_OPEN,
    MeterEventKind.METER_COVER_OPENED: AlarmKind.METER_COVER_OPEN,
    MeterEventKind.MAGNETIC_FIELD_BEGAN: AlarmKind.MAGNETIC_FIELD,
}
_ENDS = {
    MeterEventKind.TERMINAL_COVER_CLOSED: AlarmKind.TERMINAL_COVER_OPEN,
    MeterEventKind.METER_COVER_CLOSED: AlarmKind.METER_COVER_OPEN,
    MeterEventKind.MAGNETIC_FIELD_ENDED: AlarmKind.MAGNETIC_FIELD,
}
MOMENTS = {
    MeterEventKind.FAILED_LOGIN: AlarmKind.METER_LOGIN_FAILED,
    MeterEventKind.LOG_CLEARED: AlarmKind.METER_LOG_CLEARED,
}
"""What is over when it is read."""
OF_METERS = frozenset({*_BEGINS.values(), *MOMENTS.values(), AlarmKind.METER_POWER_UNSTABLE})
"""The alarms that are raised and cleared here, each about a meter."""
RECENT = (*MOMENTS, MeterEventKind.POWER_DOWN)
"""Kinds of which the lines of the last day decide."""
_MOVES = {
    MeterEventKind.RELAY_OPENED: (Movement.CUT,),
    MeterEventKind.RELAY_READY: (Movement.CUT, Movement.RESTORE),
    MeterEventKind.RELAY_CLOSED: (Movement.RESTORE,),
}


@dataclass(frozen=True, slots=True)
class Change:
    """An alarm that begins, or ends (without a text)."""

    kind: AlarmKind
    text: str | None


def conditions(fresh: Sequence[MeterEvent]) -> list[Change]:
    """What begins and ends by these lines, in their order."""
    found = []
    for one in fresh:
        if one.kind in _BEGINS:
            found.append(Change(_BEGINS[one.kind], f"since {rfc3339(one.at)} by the meter's clock"))
        elif one.kind in _ENDS:
            found.append(Change(_ENDS[one.kind], None))
    return found


def moments(fresh: Iterable[MeterEvent], recent: Iterable[MeterEvent], now: int) -> list[Change]:
    """What is told of lines that are over when they are read: `fresh` ones, and the `recent` ones of the last day.

    The meter's clock may be wrong: a fresh line counts whenever it says that it was.
    """
    told = {(one.log, one.at, one.code): one for one in (*recent, *fresh) if now - DAY_S <= one.at or one in fresh}
    found = []
    for kind, alarm in MOMENTS.items():
        lines = [one for one in told.values() if one.kind is kind]
        text = f"{len(lines)} within a day, the latest at {rfc3339(max(one.at for one in lines))}" if lines else None
        found.append(Change(alarm, text))
    losses = sum(one.kind is MeterEventKind.POWER_DOWN for one in told.values() if one.at >= now - DAY_S)
    text = f"power was lost {losses} times within a day" if losses >= POWER_LOSSES_A_DAY else None
    return [*found, Change(AlarmKind.METER_POWER_UNSTABLE, text)]


def unexplained_move(fresh: Iterable[MeterEvent], operations: Sequence[Operation]) -> str | None:
    """What to say of the first movement of a relay in these lines that no command of ours explains; None when all are.

    `operations` are those of the point; only sent ones count. A relay may be closed by its button long after it was
    made ready: the last command before it is then a restore.
    """
    sent = sorted((one.sent_at, one.action) for one in operations if one.sent_at is not None)
    for event in fresh:
        actions = _MOVES.get(event.kind)
        if actions is None:
            continue
        before = [(at, action) for at, action in sent if at <= event.at + CLOCK_ERROR_S]
        timely = any(action in actions and event.at <= at + COMMAND_LATE_S for at, action in before)
        button = event.kind is MeterEventKind.RELAY_CLOSED and bool(before) and before[-1][1] is Movement.RESTORE
        if not timely and not button:
            return f"the meter's log says {event.kind.value} at {rfc3339(event.at)}, and nobody here told it to"
    return None
