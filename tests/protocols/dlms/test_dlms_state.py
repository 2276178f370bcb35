"""The tables, without a byte; and the page that is drawn from them."""

from pathlib import Path

import pytest

from protocols.dlms.faults import DlmsFault
from protocols.dlms.state import (
    CLIENT_LINK_TABLE,
    CLIENT_TABLE,
    METER_LINK_TABLE,
    SERVER_TABLE,
    ClientState,
    Event,
    LinkState,
    ServerState,
    page,
    step,
)
from protocols.errors import Blame

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "dlms-states.md"


def test_the_page_is_drawn_from_the_tables() -> None:
    assert PAGE.read_text("utf-8") == page(), "write page() of protocols/dlms/state.py to docs/reference/dlms-states.md"


def test_every_state_has_its_row_and_can_be_reached() -> None:
    assert set(CLIENT_TABLE) == set(ClientState)
    assert set(SERVER_TABLE) == set(ServerState)
    assert set(CLIENT_LINK_TABLE) == set(LinkState)
    for states in (
        {to for moves in CLIENT_TABLE.values() for to in moves.values()} | {ClientState.IDLE},
        {to for moves in SERVER_TABLE.values() for to in moves.values()},
    ):
        assert len(states) in {len(ClientState), len(ServerState)}
    assert {to for moves in METER_LINK_TABLE.values() for to in moves.values()} == set(METER_LINK_TABLE)


def test_a_story_of_a_client() -> None:
    state = ClientState.IDLE
    for event, expected in [
        (Event.SEND_AARQ, ClientState.ASSOCIATING),
        (Event.RECEIVE_CHALLENGE, ClientState.PROVING),
        (Event.RECEIVE_PROOF, ClientState.ASSOCIATED),
        (Event.SEND_GET, ClientState.GETTING),
        (Event.RECEIVE_NOTIFICATION, ClientState.GETTING),
        (Event.RECEIVE_GET_BLOCK, ClientState.GETTING),
        (Event.RECEIVE_GET, ClientState.ASSOCIATED),
        (Event.SEND_ACTION, ClientState.ACTING),
        (Event.RECEIVE_EXCEPTION, ClientState.ASSOCIATED),
        (Event.SEND_RLRQ, ClientState.RELEASING),
        (Event.RECEIVE_RLRE, ClientState.CLOSED),
    ]:
        state = step(CLIENT_TABLE, state, event)
        assert state is expected


def test_what_is_missing_is_the_fault_of_whoever_moved() -> None:
    with pytest.raises(DlmsFault, match="TQ-DM-41") as ours:
        step(CLIENT_TABLE, ClientState.GETTING, Event.SEND_SET)
    assert ours.value.blame is Blame.LOCAL
    with pytest.raises(DlmsFault, match="TQ-DM-42") as theirs:
        step(CLIENT_TABLE, ClientState.ASSOCIATED, Event.RECEIVE_GET)
    assert theirs.value.blame is Blame.REMOTE


def test_a_closed_client_does_nothing_more() -> None:
    for event in Event:
        if event is not Event.FAIL:
            with pytest.raises(DlmsFault):
                step(CLIENT_TABLE, ClientState.CLOSED, event)


def test_before_the_proof_a_meter_serves_nobody() -> None:
    with pytest.raises(DlmsFault):
        step(SERVER_TABLE, ServerState.CHALLENGED, Event.RECEIVE_REQUEST)
    with pytest.raises(DlmsFault):
        step(SERVER_TABLE, ServerState.IDLE, Event.RECEIVE_CLIENT_PROOF)
