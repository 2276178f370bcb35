"""Neither way starves the other, and nothing that a restored hub may need is forgotten by a clock in doubt."""

import asyncio
from pathlib import Path

from edge_node.store.batches import KEPT_S
from edge_node.uplink.status import StatusRoom
from edge_node.wakeups import Wakeups
from hosting.clocks import ScaledClock
from protocols.sync.lanes import DownLane, Lane
from protocols.sync.pull import PullReply
from tests.edge_node.uplink.paper_hub import JumpClock, PaperHub
from tests.edge_node.uplink.uplink_bench import item, office

PAYMENTS = [f"pay-{number}" for number in range(5)]


def test_a_long_way_down_does_not_starve_the_way_up(tmp_path: Path) -> None:
    async def story() -> None:
        hub, clock = PaperHub(), JumpClock()
        async with office(tmp_path, hub, clock) as node:
            await node.until(node.settled)
            hub.items = [item(DownLane.AUTHORITY, number) for number in range(1, 256 * 40)]
            hub.seen.clear()
            await node.write(Lane.LEDGER, "pay-1")
            await node.until(node.drained)
            assert hub.seen.count("pull") - hub.seen[::-1].index("push") <= 20

    asyncio.run(story())


def test_a_hub_that_always_says_more_is_not_asked_without_end(tmp_path: Path) -> None:
    class More(PaperHub):
        def _pull(self, body: bytes) -> bytes:
            return PullReply(hub_incarnation=self.incarnation, hub_time=self.now(), items=(), more=True).to_bytes()

    async def story() -> None:
        hub, clock = More(), JumpClock()
        async with office(tmp_path, hub, clock) as node:
            await node.write(Lane.LEDGER, "pay-1")
            await node.until(node.drained)
            assert hub.seen.count("pull") <= 10
            assert not await node.state.reconciled(), "who knows what else it has"

    asyncio.run(story())


def test_a_clock_in_doubt_forgets_nothing_that_a_hub_may_need(tmp_path: Path) -> None:
    async def story() -> None:
        hub, clock = PaperHub(), JumpClock()
        async with office(tmp_path, hub, clock) as node:
            for name in PAYMENTS:
                await node.write(Lane.LEDGER, name)
                await node.until(node.settled)
            wall = [float(clock.now()), 0.0]
            wrong = ScaledClock(wall=lambda: wall[0], monotonic=lambda: wall[1])
            wall[0] += KEPT_S + 2 * 86_400

            async def collect() -> dict[str, object]:
                return {"link_up": True}

            await StatusRoom(
                control=node.control,
                outbox=node.outbox,
                collect=collect,
                clock=wrong,
                wakeups=Wakeups(),
                period_s=300,
            ).tick(wrong.now())
        hub.forget_after(Lane.LEDGER, 2)  # restored from a backup
        async with office(tmp_path, hub, clock) as node:
            await node.until(node.settled)
            assert sorted(record.id for record in hub.records(Lane.LEDGER)) == PAYMENTS

    asyncio.run(story())
