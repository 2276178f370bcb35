"""A comparison that fails each time holds up nothing: facts go up, the link rests, and it is tried again later."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_node.store.state import Mark
from edge_node.uplink.comparison import PERIOD_S
from protocols.sync.lanes import DownLane, Lane
from protocols.sync.link import LinkLost
from tests.edge_node.uplink.paper_hub import JumpClock, PaperHub
from tests.edge_node.uplink.uplink_bench import item, office

WANTED = '{"first": "2026-05-01", "id": "asked-1", "last": "2026-05-31"}'
PAYMENTS = [f"pay-{number}" for number in range(40)]
FAILS_MAX = 6
"""Failed tries within the time that forty payments take."""


class Unequal(PaperHub):
    """Never manages to compare."""

    answer: Callable[[], bytes]

    async def exchange(self, kind: str, body: bytes) -> bytes:
        if kind == "compare":
            self.seen.append(kind)
            return self.answer()
        return await super().exchange(kind, body)


def fails() -> bytes:
    raise LinkLost(54, "the hub failed (HTTP 500)", "wait")


def refuses() -> bytes:
    raise LinkLost(56, "the hub refuses (HTTP 422): TQ-HB-23", "ask for less")


@pytest.mark.parametrize("answer", [fails, refuses, lambda: b"\x80"])
def test_facts_go_up_though_every_comparison_fails(tmp_path: Path, answer: Callable[[], bytes]) -> None:
    async def story() -> None:
        hub, clock = Unequal(), JumpClock()
        hub.answer = answer
        async with office(tmp_path, hub, clock) as node:
            await node.until(node.settled)
            await node.state.put(Mark.COMPARE_WANTED, WANTED)
            hub.items = [item(DownLane.AUTHORITY, 1)]
            began = clock.now()

            async def asked() -> bool:
                return "compare" in hub.seen

            await node.until(asked)
            for name in PAYMENTS:
                await node.write(Lane.LEDGER, name)
                await node.until(node.drained)
            assert hub.seen.count("compare") <= FAILS_MAX
            assert await node.state.get(Mark.COMPARE_WANTED) is not None, "it is still owed"
            first = hub.seen.count("compare")

            async def tried_again() -> bool:
                return hub.seen.count("compare") > first

            await node.until(tried_again)
            assert clock.now() - began < 2 * PERIOD_S

    asyncio.run(story())
