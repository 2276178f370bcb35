"""How nodes stand, and how pages hear that something changed."""

import asyncio
from pathlib import Path

import pytest

from central_sync.config import SituationConfig
from central_sync.hub import Hub
from central_sync.situation.changes import Changes
from central_sync.situation.nodes import NodeState, state_of
from gridmodel.fault import Fault
from gridmodel.period import rfc3339
from tests.central_sync.hub_rig import END, A, B, HandClock, Speaker, run_hub

LIMITS = SituationConfig(live_s_max=900, stale_s_max=7_200)


@pytest.mark.parametrize(
    ("silent_s", "state"),
    [
        (0, NodeState.LIVE),
        (900, NodeState.LIVE),
        (901, NodeState.STALE),
        (7_200, NodeState.STALE),
        (7_201, NodeState.OFFLINE),
    ],
)
def test_a_state_is_told_by_the_last_word(silent_s: int, state: NodeState) -> None:
    assert state_of(END - silent_s, END, LIMITS) is state
    assert state_of(None, END, LIMITS) is NodeState.NEVER_SEEN


def test_limits_must_be_in_order() -> None:
    with pytest.raises(ValueError, match="above"):
        SituationConfig(live_s_max=900, stale_s_max=900)


def test_a_link_has_a_history(tmp_path: Path) -> None:
    async def story(hub: Hub, clock: HandClock) -> None:
        node = Speaker(hub, A)
        for at in (END, END + 300, END + 9_000, END + 9_100):
            clock.at = at
            await node.hello()
        told = await hub.situation.node(A)
        assert told["link_history"] == [
            {"from": rfc3339(END + 9_000), "to": rfc3339(END + 9_100)},
            {"from": rfc3339(END), "to": rfc3339(END + 300)},
        ]
        clock.at = END + 20_000
        states = {one["id"]: (one["state"], one["silent_s"]) for one in await hub.situation.nodes()}
        assert states == {A: ("offline", 10_900), B: ("never_seen", None)}
        assert (await hub.status())["nodes"] == {"offline": 1, "never_seen": 1}
        with pytest.raises(Fault, match="TQ-HB-50"):
            await hub.situation.node("nobody")

    run_hub(tmp_path, story)


def test_many_changes_become_one_ring() -> None:
    async def story() -> None:
        changes = Changes()
        waiting = [asyncio.ensure_future(changes.after(0)) for _ in range(3)]
        await asyncio.sleep(0)
        changes.ring()
        changes.ring()
        assert await asyncio.gather(*waiting) == [2, 2, 2]
        assert await changes.after(1) == 2

    asyncio.run(story())


def test_every_commit_that_a_page_shows_rings(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        before = hub.changes.number
        await Speaker(hub, A).hello()
        assert hub.changes.number == before + 1

    run_hub(tmp_path, story)


def test_background_work_ends_when_it_is_told_to(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        assert hub.ready() == (False, "the hub is starting")
        running = asyncio.ensure_future(hub.run())
        await asyncio.sleep(0)
        assert hub.ready() == (True, "")
        hub.stop()
        await running

    run_hub(tmp_path, story)
