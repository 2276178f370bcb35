"""Alarms: what a node noticed that a person should know. Ground floor; on the reading and payment walks."""

from dataclasses import dataclass
from enum import StrEnum

from gridmodel.identity import NodeId


class AlarmKind(StrEnum):
    """What was noticed."""

    RELAY_MOVED_WITHOUT_INTENT = "relay_moved_without_intent"
    LOAD_WHILE_OPEN = "load_while_open"
    """Energy flows past an open relay: a bypass."""
    RELAY_UNCONFIRMED = "relay_unconfirmed"
    PAID_BUT_DARK = "paid_but_dark"
    """Paid, and supply not proven within the target."""
    METER_SILENT = "meter_silent"
    REGISTER_RESET = "register_reset"
    REGISTER_SPIKE = "register_spike"
    REGISTER_STUCK = "register_stuck"
    WRONG_METER = "wrong_meter"
    """Another serial number answered at the address: nothing is booked."""
    METER_CLOCK_WRONG = "meter_clock_wrong"
    """A meter's clock lies beyond what is set from here: its rows are not believed."""
    TERMINAL_COVER_OPEN = "terminal_cover_open"
    METER_COVER_OPEN = "meter_cover_open"
    MAGNETIC_FIELD = "magnetic_field"
    """A strong magnet is near the meter, or was when its log was read last."""
    METER_LOGIN_FAILED = "meter_login_failed"
    """Somebody tried to log in to the meter with a wrong secret."""
    METER_LOG_CLEARED = "meter_log_cleared"
    METER_POWER_UNSTABLE = "meter_power_unstable"
    """One meter loses its power again and again: a loose contact."""
    SUPPLY_OUTAGE = "supply_outage"
    """Many meters of one transformer are silent while their concentrator and others answer."""
    LEDGER_CONFLICT = "ledger_conflict"
    """One id with two contents."""
    ROW_DAMAGED = "row_damaged"
    """A stored row no longer is what was written: nobody is cut on it."""
    CLOCK_DOUBTFUL = "clock_doubtful"
    CUTS_STOPPED = "cuts_stopped"
    HUB_MOVED = "hub_moved"
    """Another hub answered, or one that lacks what it had acknowledged: nothing is cut until it is refilled."""
    HUB_ROLLED_BACK = "hub_rolled_back"
    """The hub was put back from a backup: it lacks what it had confirmed. Nothing is cut until it holds it again."""
    NODE_COPIED = "node_copied"
    """Two stores speak as one node: one goes on, the other waits and cuts nobody."""
    LANE_FORKED = "lane_forked"
    """A lane contradicts the hub: a backup was restored somewhere."""
    LANE_HELD = "lane_held"
    """The hub refuses a lane."""
    CHUNK_UNREADABLE = "chunk_unreadable"
    """A day's chunk cannot be read back from the segments."""
    FIELD_WORK_REFUSED = "field_work_refused"
    """The registry contradicts what an office recorded of a meter; the record is kept and shown."""
    DOWNLINK_REFUSED = "downlink_refused"
    """An item from the hub could not be taken in; it is kept and shown."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm, raised once when the condition begins."""

    id: str
    kind: AlarmKind
    node: NodeId
    subject: str
    """The meter, point or account it is about; the node itself when none."""
    at: int
    detail: str
