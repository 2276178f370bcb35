"""What a node remembers of its clock: a floor that one wrong clock cannot raise, a doubt that no restart clears."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from edge_node.store.state import Mark, NodeState
from edge_node.uplink.status import FLOOR_S, StatusRoom
from edge_node.wakeups import Wakeups
from gridmodel.clock import ClockTrust
from hosting.clocks import UNCERTAINTY_S, ScaledClock
from protocols.sync import wire
from protocols.sync.facts import NODE_STATUS
from protocols.sync.lanes import RECORD_LIMITS
from tests.edge_node.store.outbox_bench import NOW, opened
from tests.edge_node.uplink.paper_hub import JumpClock

YEAR = 365 * 86_400
PERIOD_S = 300


@dataclass
class Node:
    """A status room on a machine whose wall clock shows what a test wants."""

    room: StatusRoom
    state: NodeState
    clock: ScaledClock
    wall: "list[float]"

    async def ran(self, periods: int) -> None:
        """So many periods later by either clock."""
        for _ in range(periods):
            await self.room.tick(self.clock.now())
            self.room._ran_s += PERIOD_S
            self.wall[0] += PERIOD_S
            self.wall[1] += PERIOD_S

    async def mark(self, mark: Mark) -> int | None:
        value = await self.state.get(mark)
        return None if value is None else int(value)


Story = Callable[[Node], Awaitable[None]]


def told(folder: Path, story: Story, *, wall_s: int = NOW) -> None:
    async def whole() -> None:
        async with opened(folder) as (control, outbox):
            wall = [float(wall_s), 0.0]
            clock = ScaledClock(wall=lambda: wall[0], monotonic=lambda: wall[1])

            async def collect() -> dict[str, object]:
                return {}

            room = StatusRoom(
                control=control, outbox=outbox, collect=collect, clock=clock, wakeups=Wakeups(), period_s=PERIOD_S
            )
            await story(Node(room, NodeState(control), clock, wall))

    asyncio.run(whole())


def test_a_clock_nobody_confirmed_sets_no_floor(tmp_path: Path) -> None:
    async def story(node: Node) -> None:
        await node.ran(3)
        assert node.clock.trust() is ClockTrust.TRUSTED
        assert await node.mark(Mark.CLOCK_FLOOR) is None

    told(tmp_path, story, wall_s=NOW + YEAR)


def test_a_status_of_a_wall_years_ahead_is_not_of_the_future(tmp_path: Path) -> None:
    """The hub would set it aside until that year, with all of its batch (rehearsal clock-chaos, seeds 11 and 13)."""

    async def story(node: Node) -> None:
        node.clock.raise_floor(NOW)
        assert node.clock.trust() is ClockTrust.DOUBTFUL
        await node.ran(2)
        statuses = await node.state._control.read(
            lambda conn: conn.fetch_all("SELECT body FROM outbox_record WHERE kind = ?", (NODE_STATUS,))
        )
        assert [wire.unpack(bytes(body), RECORD_LIMITS)["at"] for (body,) in statuses] == [NOW + PERIOD_S]

    told(tmp_path, story, wall_s=NOW + YEAR)


def test_the_hub_s_agreement_raises_the_floor_and_then_running_does(tmp_path: Path) -> None:
    async def connected(node: Node) -> None:
        node.clock.confirm(node.clock.now())
        await node.ran(1)
        assert await node.mark(Mark.CLOCK_FLOOR) == NOW - UNCERTAINTY_S

    async def alone(node: Node) -> None:
        await node.ran(5)
        assert await node.mark(Mark.CLOCK_FLOOR) == NOW - UNCERTAINTY_S + 4 * PERIOD_S

    told(tmp_path, connected)
    told(tmp_path, alone, wall_s=NOW + YEAR)


def test_a_doubt_outlives_the_process_until_another_source_confirms(tmp_path: Path) -> None:
    async def jumped(node: Node) -> None:
        node.wall[0] += 12 * 3_600
        await node.ran(1)
        assert await node.mark(Mark.CLOCK_DOUBTED) is not None

    async def restarted(node: Node) -> None:
        node.clock.doubt()  # as `build` does when the mark stands
        assert node.clock.trust() is ClockTrust.DOUBTFUL
        await node.ran(2)
        assert await node.mark(Mark.CLOCK_DOUBTED) is not None
        node.clock.confirm(node.clock.now())
        await node.ran(1)
        assert node.clock.trust() is ClockTrust.TRUSTED
        assert await node.mark(Mark.CLOCK_DOUBTED) is None

    told(tmp_path, jumped)
    told(tmp_path, restarted)


def test_the_floor_is_kept_often_though_a_hub_wants_a_status_seldom(tmp_path: Path) -> None:
    """Six hours between statuses made every restart in an outage look like a wall ahead (rehearsal seed 10040)."""

    async def whole() -> None:
        async with opened(tmp_path) as (control, outbox):
            clock, state, told_at = JumpClock(), NodeState(control), list[int]()

            async def collect() -> dict[str, object]:
                told_at.append(clock.now())
                return {}

            room = StatusRoom(
                control=control, outbox=outbox, collect=collect, clock=clock, wakeups=Wakeups(), period_s=6 * 3_600
            )
            begun, behind_s = clock.now(), list[int]()
            running = asyncio.create_task(room.run())
            while clock.now() < begun + 12 * 3_600:
                assert not running.done()
                floor = await state.get(Mark.CLOCK_FLOOR)
                behind_s.append(clock.now() - (begun if floor is None else int(floor)))
            running.cancel()
            assert max(behind_s) <= FLOOR_S
            assert len(told_at) == 3

    asyncio.run(whole())
