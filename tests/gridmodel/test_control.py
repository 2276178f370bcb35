"""The relay table, with no meter in sight: every way through it keeps the promises of its states."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridmodel.control import RELAY_TABLE, RelayEvent, RelayFault, RelayState, may_be_dark, step

SEEN = {
    RelayEvent.SEEN_CLOSED: RelayState.CONNECTED,
    RelayEvent.SEEN_OPEN: RelayState.DISCONNECTED,
    RelayEvent.SEEN_READY: RelayState.READY_FOR_RECONNECTION,
}


def test_every_state_is_reached_from_the_unknown() -> None:
    reached, waiting = {RelayState.UNKNOWN}, [RelayState.UNKNOWN]
    while waiting:
        for transition in RELAY_TABLE[waiting.pop()].values():
            if transition.state not in reached:
                reached.add(transition.state)
                waiting.append(transition.state)
    assert reached == set(RelayState) == set(RELAY_TABLE)


@pytest.mark.parametrize("state", RelayState)
@pytest.mark.parametrize("event", SEEN)
def test_what_is_seen_is_believed_in_every_state(state: RelayState, event: RelayEvent) -> None:
    assert step(state, event).state is SEEN[event]


@pytest.mark.parametrize("state", RelayState)
def test_a_restore_may_be_intended_wherever_it_may_be_dark(state: RelayState) -> None:
    if may_be_dark(state):
        assert step(state, RelayEvent.INTEND_RESTORE).state is RelayState.RESTORE_INTENDED


def test_a_cut_is_intended_only_from_connected() -> None:
    for state in RelayState:
        if state is RelayState.CONNECTED:
            assert step(state, RelayEvent.INTEND_CUT).state is RelayState.CUT_INTENDED
        else:
            with pytest.raises(RelayFault, match="TQ-RL-01"):
                step(state, RelayEvent.INTEND_CUT)


def test_a_command_needs_its_intent() -> None:
    intended = {RelayState.CUT_INTENDED, RelayState.RESTORE_INTENDED}
    for state in RelayState:
        for event in (RelayEvent.COMMAND_SENT, RelayEvent.COMMAND_WITHHELD):
            if state not in intended:
                with pytest.raises(RelayFault):
                    step(state, event)


def test_unintended_are_exactly_the_movements_nobody_asked_for() -> None:
    unintended = {
        (state, event)
        for state, ways in RELAY_TABLE.items()
        for event, transition in ways.items()
        if transition.unintended
    }
    assert unintended == {
        (RelayState.CONNECTED, RelayEvent.SEEN_OPEN),
        (RelayState.CONNECTED, RelayEvent.SEEN_READY),
        (RelayState.DISCONNECTED, RelayEvent.SEEN_CLOSED),
    }


@given(events=st.lists(st.sampled_from(RelayEvent), max_size=40))
def test_no_story_opens_a_relay_without_an_intent_or_an_alarm(events: list[RelayEvent]) -> None:
    state, excused = RelayState.UNKNOWN, True
    for event in events:
        if event not in RELAY_TABLE[state]:
            continue
        before, transition = state, step(state, event)
        state = transition.state
        excused = excused or event is RelayEvent.INTEND_CUT
        if before is RelayState.CONNECTED and state is RelayState.DISCONNECTED:
            assert transition.unintended, "seen open out of the blue"
        if state is RelayState.CUT_UNCONFIRMED:
            assert before is RelayState.CUT_INTENDED
