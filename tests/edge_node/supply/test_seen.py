"""One look at a relay, as a table: what it proves about an operation, and what it does not."""

from dataclasses import replace

import pytest

from edge_node.store.operations import Movement, Operation, Outcome
from edge_node.store.relays import RelayRow, Sighting, tells_something
from edge_node.supply.seen import LATE_S_MAX, SETTLE_S, see
from gridmodel.control import Cause, RelayState
from gridmodel.event import AlarmKind
from gridmodel.identity import TransformerId
from tests.edge_node.supply.network import meter_id, point_id
from tests.edge_node.supply.ports import MORNING

SENT = MORNING
ROW = RelayRow(point_id(1), meter_id(1), RelayState.CUT_UNCONFIRMED, Cause.DEBT, SENT, SENT - 900, 300, "op", None)
CUT = Operation(
    "op", point_id(1), meter_id(1), TransformerId("tr-0"), Movement.CUT, Cause.DEBT, {}, "m", SENT - 1, SENT
)
RESTORE = replace(CUT, action=Movement.RESTORE)
RESTORING = replace(ROW, state=RelayState.RESTORE_UNCONFIRMED)


def look(contact: str, at: int = SENT + 60, load_w: int | None = 0) -> Sighting:
    return Sighting(point_id(1), meter_id(1), contact, load_w, at)


@pytest.mark.parametrize(
    ("row", "operation", "contact", "state", "outcome"),
    [
        (ROW, CUT, "open", RelayState.DISCONNECTED, Outcome.CONFIRMED),
        (ROW, CUT, "ready", RelayState.READY_FOR_RECONNECTION, Outcome.CONFIRMED),
        (ROW, CUT, "closed", RelayState.CONNECTED, Outcome.FAILED),
        (RESTORING, RESTORE, "closed", RelayState.CONNECTED, Outcome.CONFIRMED),
        (RESTORING, RESTORE, "ready", RelayState.READY_FOR_RECONNECTION, Outcome.READY),
        (RESTORING, RESTORE, "open", RelayState.DISCONNECTED, Outcome.FAILED),
    ],
)
def test_a_later_look_gives_the_result(
    row: RelayRow, operation: Operation, contact: str, state: RelayState, outcome: Outcome
) -> None:
    seen = see(row, look(contact), operation, SENT + 60, read_back=False)
    assert seen is not None
    assert (seen.row.state, seen.outcome) == (state, outcome)
    assert (seen.row.cause is None) == (state is RelayState.CONNECTED)
    assert AlarmKind.RELAY_UNCONFIRMED in seen.cleared
    assert seen.raised == ()


@pytest.mark.parametrize("at", [SENT - 5, SENT])
def test_a_look_that_began_before_the_command_proves_nothing(at: int) -> None:
    assert see(ROW, look("open", at), CUT, SENT + 60, read_back=False) is None
    assert see(ROW, look("closed", at), CUT, SENT + 60, read_back=False) is None


def plain(row: RelayRow | None) -> tuple[str, str, int | None] | None:
    """As the store reads a relay's row at every poll."""
    return None if row is None else (row.meter, row.state.value, row.load_w)


def test_a_relay_gets_its_time_to_move() -> None:
    for now in range(SENT, SENT + SETTLE_S):
        assert see(ROW, look("closed", now), CUT, now, read_back=True) is None
        assert see(RESTORING, look("open", now), RESTORE, now, read_back=True) is None
        assert see(ROW, look("open", now), CUT, now, read_back=True) is not None
    seen = see(ROW, look("closed", SENT + SETTLE_S), CUT, SENT + SETTLE_S, read_back=True)
    assert seen is not None
    assert seen.outcome is Outcome.FAILED


def test_a_stamp_that_the_clock_took_back_holds_nothing_up() -> None:
    ahead = replace(CUT, sent_at=SENT + 86_400)
    row = replace(ROW, seen_at=SENT + 86_300)
    seen = see(row, look("open"), ahead, SENT + 60, read_back=False)
    assert seen is not None
    assert seen.outcome is Outcome.CONFIRMED


def test_nothing_is_believed_about_an_intent_whose_command_has_not_left() -> None:
    intended = replace(ROW, state=RelayState.CUT_INTENDED)
    for contact in ("open", "closed", "ready"):
        assert see(intended, look(contact), replace(CUT, sent_at=None), SENT + 60, read_back=False) is None


@pytest.mark.parametrize(
    ("operation", "now", "cause"),
    [
        (replace(CUT, result_at=SENT + 9, outcome=Outcome.FAILED), SENT + 60, Cause.DEBT),
        (replace(CUT, result_at=SENT + 9, outcome=Outcome.FAILED), SENT + LATE_S_MAX + 1, Cause.SAFETY),
        (replace(CUT, sent_at=None, result_at=SENT, outcome=Outcome.WITHHELD), SENT + 60, Cause.SAFETY),
        (replace(RESTORE, result_at=SENT + 9, outcome=Outcome.CONFIRMED), SENT + 60, Cause.SAFETY),
        (None, SENT + 60, Cause.SAFETY),
    ],
)
def test_who_opened_it(operation: Operation | None, now: int, cause: Cause) -> None:
    connected = replace(ROW, state=RelayState.CONNECTED, cause=None)
    seen = see(connected, look("open", now), operation, now, read_back=False)
    assert seen is not None
    assert seen.row.cause is cause
    assert [kind for kind, _ in seen.raised] == [AlarmKind.RELAY_MOVED_WITHOUT_INTENT]


def test_load_past_an_open_relay_is_a_bypass_once_the_average_has_fallen() -> None:
    early = see(ROW, look("open", SENT + 1, 700), CUT, SENT + 1, read_back=True)
    assert early is not None
    assert (early.raised, early.row.load_w) == ((), None)
    later = look("open", SENT + 900, 700)
    assert tells_something(plain(early.row), later)
    done = replace(CUT, result_at=SENT + 1, outcome=Outcome.CONFIRMED)
    seen = see(early.row, later, done, SENT + 900, read_back=False)
    assert seen is not None
    assert [kind for kind, _ in seen.raised] == [AlarmKind.LOAD_WHILE_OPEN]
    assert not tells_something(plain(seen.row), replace(later, asked_at=SENT + 1800))
    assert tells_something(plain(seen.row), replace(later, load_w=0))


@pytest.mark.parametrize(
    ("row", "contact", "state", "cause"),
    [
        (None, "closed", RelayState.CONNECTED, None),
        (None, "open", RelayState.DISCONNECTED, Cause.SAFETY),
        (replace(ROW, meter=meter_id(9)), "open", RelayState.DISCONNECTED, Cause.DEBT),
        (replace(ROW, meter=meter_id(9)), "closed", RelayState.CONNECTED, None),
        (
            replace(ROW, meter=meter_id(9), state=RelayState.CONNECTED, cause=None),
            "open",
            RelayState.DISCONNECTED,
            Cause.SAFETY,
        ),
    ],
)
def test_first_sights_and_exchanged_meters(
    row: RelayRow | None, contact: str, state: RelayState, cause: Cause | None
) -> None:
    operation = None if row is None else replace(CUT, meter=meter_id(9))
    seen = see(row, look(contact), operation, SENT + 60, read_back=False)
    assert seen is not None
    assert (seen.row.meter, seen.row.state, seen.row.cause) == (meter_id(1), state, cause)
    assert seen.outcome is (None if row is None else Outcome.FAILED)


def test_settled_homes_cost_no_write() -> None:
    connected = replace(ROW, state=RelayState.CONNECTED, cause=None)
    assert not tells_something(plain(connected), look("closed", load_w=900))
    assert tells_something(plain(connected), look("open"))
    assert tells_something(plain(ROW), look("open"))
    assert tells_something(plain(None), look("closed"))
    assert tells_something(plain(connected), replace(look("closed"), meter=meter_id(9)))
