"""What is wanted of points, worked out and not written: one or many in one snapshot. Floor: edge_node/supply.

On the payment walk. The door acts on nothing found here without judging again in the transaction that acts.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from edge_node.store.operations import MINUTE_S
from edge_node.store.relays import RelayRow
from edge_node.supply.facts import Gathered, Moment, Sources, gather_all
from edge_node.supply.place import Place
from gridmodel.control import Cause, RelayState
from gridmodel.event import AlarmKind
from gridmodel.policy import Decision, decide
from hosting.database import Connection

PAID_BUT_DARK_S = 15 * MINUTE_S
"""The policy's reconnect_target_min: past it somebody is told, with the reason."""
UNCONFIRMED_S = 15 * MINUTE_S
"""How long a relay may stay unread after a command before somebody is told."""
UNREAD = frozenset({RelayState.CUT_UNCONFIRMED, RelayState.RESTORE_UNCONFIRMED})
"""A command left, and nobody has read the relay since."""
ALARMS_OF_DARK = (AlarmKind.PAID_BUT_DARK, AlarmKind.RELAY_UNCONFIRMED)
"""Kept by looks at dark points."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What one look at a point found."""

    gathered: Gathered
    decision: Decision


async def judge_each(conn: Connection, sources: Sources, places: Sequence[Place], moment: Moment) -> list[Judged]:
    """Judge without writing; what all share is read once."""
    gathered = await gather_all(conn, sources, places, moment)
    return [Judged(one, decide(one.facts, moment.rules, moment.bounds)) for one in gathered]


def changes(judged: Judged, standing: Collection[tuple[str, str]], now: int) -> bool:
    """Whether a look at a dark point has anything to write: a stamp, an alarm that begins or ends, a damaged row."""
    row = judged.gathered.row
    if judged.gathered.damaged:
        return True
    if row is None or row.state in {RelayState.CONNECTED, RelayState.UNKNOWN}:
        return False
    paid_at = paid_since(row, judged.gathered, now)
    late = paid_at is not None and now - paid_at >= PAID_BUT_DARK_S
    told = (AlarmKind.PAID_BUT_DARK.value, row.usage_point) in standing
    unread = row.state in UNREAD and now - row.since >= UNCONFIRMED_S
    unread = unread and (AlarmKind.RELAY_UNCONFIRMED.value, row.usage_point) not in standing
    return paid_at != row.paid_at or (told if paid_at is None else late and not told) or unread


def paid_since(row: RelayRow, gathered: Gathered, now: int) -> int | None:
    """Since when it is paid and dark: the moment the last credit was durable here; None while it is owed."""
    if row.cause is not Cause.DEBT or gathered.facts.overdue.amount_tiyin > 0:
        return None
    if row.paid_at is not None:
        return row.paid_at
    return min(now, gathered.credited_at) if gathered.credited_at is not None else now
