"""The hub link on a real store against a hub on paper: nothing lost, nothing doubled, whatever the line does."""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_node.store.alarms import Alarms
from edge_node.store.batches import Outbox
from edge_node.store.downlink import Downlink
from edge_node.store.registries import Registries
from edge_node.store.state import Mark, NodeState
from edge_node.uplink.hub_link import HubLink
from edge_node.uplink.reconciliation import Reconciliation
from edge_node.wakeups import Wakeups
from gridmodel.event import AlarmKind
from gridmodel.fault import Fault
from hosting.compute import InlineCompute
from hosting.database import Connection, Database
from protocols.sync import wire
from protocols.sync.chunk.document import pack_document
from protocols.sync.lanes import DownLane, Lane
from protocols.sync.link import LinkLost
from protocols.sync.pull import DownItem
from tests.edge_node.store.outbox_bench import NODE, NOW, SIGNER, opened, put
from tests.edge_node.uplink.paper_hub import JumpClock, PaperHub, lossy

TURNS_MAX = 4_000
"""Looks at the condition before a test gives up."""


class CountedEntropy:
    def __init__(self) -> None:
        self._count = 0

    def token(self, size_bytes: int) -> bytes:
        self._count += 1
        return self._count.to_bytes(size_bytes, "big")


@dataclass
class Office:
    """A node's uplink at work."""

    control: Database
    outbox: Outbox
    alarms: Alarms
    state: NodeState
    downlink: Downlink
    hub_link: HubLink
    wakeups: Wakeups
    taken: list[tuple[str, str]]
    task: "asyncio.Task[None]"

    async def write(self, lane: Lane, *ids: str) -> None:
        await put(self.control, lane, *ids)
        self.wakeups.outbox.set()

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        for _ in range(TURNS_MAX):
            if self.task.done():
                self.task.result()
            if await condition():
                return
            await self.outbox.owing()  # a turn of the database: the link's own verbs come between
        raise AssertionError(f"never came about: {self.hub_link.view()}, {await self.alarms.standing()}")

    async def drained(self) -> bool:
        owed = await self.outbox.backlog()
        return all(one.records + one.batches == 0 for one in owed.values())

    async def settled(self) -> bool:
        return await self.state.reconciled() and await self.drained()


@asynccontextmanager
async def office(folder: Path, hub: PaperHub, clock: JumpClock) -> AsyncIterator[Office]:
    async with opened(folder) as (control, outbox):
        taken: list[tuple[str, str]] = []

        async def take(conn: Connection, kind: str, item_id: str, body: Mapping[str, Any], now: int) -> None:
            if body.get("broken"):
                await conn.execute("INSERT INTO node_state (key, value) VALUES (?, '')", (item_id,))
                raise Fault("TQ-XX-01", "a test says so", "none")
            taken.append((kind, item_id))

        wakeups, alarms = Wakeups(), Alarms(control, NODE)
        registries = Registries(control, NODE, InlineCompute())
        appliers = {DownLane.LEDGER: take, DownLane.AUTHORITY: take}
        downlink = Downlink(control, registries=registries, appliers=appliers)
        hub.now = clock.now
        hub_link = HubLink(
            node=NODE,
            outbox=outbox,
            downlink=downlink,
            alarms=alarms,
            reconciliation=Reconciliation(control, NODE, wakeups),
            link=hub,
            clock=clock,
            rng=random.Random(1),
            entropy=CountedEntropy(),
            signer=SIGNER,
            wakeups=wakeups,
        )
        task = asyncio.create_task(hub_link.run())
        try:
            yield Office(control, outbox, alarms, NodeState(control), downlink, hub_link, wakeups, taken, task)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def told(hub: PaperHub, lane: Lane) -> list[str]:
    return [record.id for record in hub.records(lane)]


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{number}" for number in range(count)]


def test_facts_arrive_in_order_of_their_lanes_and_the_store_knows_it(tmp_path: Path) -> None:
    async def story() -> None:
        hub, clock = PaperHub(), JumpClock()
        async with office(tmp_path, hub, clock) as node:
            await node.until(node.settled)
            await node.write(Lane.SUMMARY, *names("hour", 300))
            await node.write(Lane.LEDGER, *names("pay", 10))
            await node.write(Lane.CONTROL, *names("op", 5))
            await node.until(node.drained)
            assert told(hub, Lane.SUMMARY) == names("hour", 300)
            assert told(hub, Lane.LEDGER) == names("pay", 10)
            assert told(hub, Lane.CONTROL) == names("op", 5)
            for lanes in hub.pushed_lanes:
                assert lanes == sorted(lanes, key=list(Lane).index)
            assert node.hub_link.view().up
            assert await node.state.get(Mark.HUB_INCARNATION) == "hub-1"

    asyncio.run(story())


def test_a_line_that_loses_requests_and_replies_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        duplicates = 0
        for seed in range(5):
            chance = random.Random(seed)
            hub, clock = PaperHub(before=lossy(chance, 0.25), after=lossy(chance, 0.35)), JumpClock()
            folder = tmp_path / str(seed)
            folder.mkdir()
            async with office(folder, hub, clock) as node:
                for number in range(12):
                    await node.write(Lane.LEDGER, f"pay-{number}")
                    await node.write(Lane.CONTROL, f"op-{number}")
                    await asyncio.sleep(0)
                await node.until(node.settled)
            assert told(hub, Lane.LEDGER) == names("pay", 12)
            assert told(hub, Lane.CONTROL) == names("op", 12)
            duplicates += hub.duplicates + sum(kind == "hello" for kind in hub.seen) - 1
        assert duplicates > 0, "the line lost nothing: the test proves nothing"

    asyncio.run(story())


def test_a_process_killed_at_any_point_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        chance = random.Random(3)
        hub, clock = PaperHub(), JumpClock()
        written = 0
        for _ in range(12):
            killed = asyncio.Event()
            countdown = chance.randrange(1, 6)

            async def kill(_: str, killed: asyncio.Event = killed) -> None:
                nonlocal countdown
                countdown -= 1
                if countdown <= 0:
                    killed.set()
                    await asyncio.Event().wait()

            hub.before, hub.after = (kill, None) if chance.random() < 0.5 else (None, kill)
            async with office(tmp_path, hub, clock) as node:
                await node.write(Lane.LEDGER, f"pay-{written}")
                written += 1
                await node.until(lambda killed=killed: _is(killed.is_set()))  # type: ignore[misc]
        hub.before = hub.after = None
        async with office(tmp_path, hub, clock) as node:
            await node.until(node.settled)
        assert told(hub, Lane.LEDGER) == names("pay", written)

    async def _is(value: bool) -> bool:
        return value

    asyncio.run(story())


def test_a_store_restored_from_a_backup_gets_a_new_epoch_and_its_new_payments_arrive(tmp_path: Path) -> None:
    async def story() -> None:
        hub, clock = PaperHub(), JumpClock()
        old, new = tmp_path / "old", tmp_path / "new"
        old.mkdir()
        new.mkdir()
        async with office(old, hub, clock) as node:
            await node.write(Lane.LEDGER, "pay-0")
            await node.until(node.settled)
            await node.control.copy_to(new / "control.db")
            await node.write(Lane.LEDGER, "pay-1")
            await node.until(node.settled)
        async with office(new, hub, clock) as node:
            await node.write(Lane.LEDGER, "pay-2")
            await node.until(node.settled)
            assert hub.epoch > 1
            assert sorted(told(hub, Lane.LEDGER)) == ["pay-0", "pay-1", "pay-2"]
            assert await node.alarms.standing() == []
            kinds = {row.kind for row in await node.alarms.recent()}
            assert {AlarmKind.LANE_FORKED, AlarmKind.HUB_MOVED} <= kinds, "nobody is cut until it is clear"

    asyncio.run(story())


def test_a_hub_restored_from_a_backup_is_noticed_refilled_and_meanwhile_nothing_may_be_cut(tmp_path: Path) -> None:
    async def story() -> None:
        hub, clock = PaperHub(), JumpClock()
        async with office(tmp_path, hub, clock) as node:
            for number in range(5):
                await node.write(Lane.LEDGER, f"pay-{number}")
                await node.until(node.settled)
            assert len(hub.batches[Lane.LEDGER]) == 5
        hub.forget_after(Lane.LEDGER, 2)
        gate = asyncio.Event()

        async def hold(kind: str) -> None:
            if kind == "push":
                gate.set()
                raise LinkLost(52, "not yet", "wait")

        hub.before = hold
        async with office(tmp_path, hub, clock) as node:
            await asyncio.wait_for(gate.wait(), 30)
            assert not await node.state.reconciled()
            assert await node.alarms.count(AlarmKind.HUB_MOVED) == 1
            hub.before = None
            await node.until(node.settled)
            assert told(hub, Lane.LEDGER) == names("pay", 5)
            assert await node.alarms.count(AlarmKind.HUB_MOVED) == 0

    asyncio.run(story())


def test_another_hub_in_its_place_is_noticed_even_when_it_has_everything(tmp_path: Path) -> None:
    async def story() -> None:
        hub, clock = PaperHub(), JumpClock()
        async with office(tmp_path, hub, clock) as node:
            await node.write(Lane.LEDGER, "pay-0")
            await node.until(node.settled)
            hub.incarnation = "hub-2"
            await node.until(lambda: _known(node, "hub-2"))
            await node.until(node.settled)
            recent = [row for row in await node.alarms.recent() if row.kind == AlarmKind.HUB_MOVED]
            assert len(recent) == 1
            assert recent[0].cleared_at is not None

    async def _known(node: Office, name: str) -> bool:
        return await node.state.get(Mark.HUB_INCARNATION) == name

    asyncio.run(story())


def test_a_lane_the_hub_refuses_is_held_under_an_alarm_and_the_others_go_on(tmp_path: Path) -> None:
    async def story() -> None:
        hub, clock = PaperHub(refused_lanes={Lane.SUMMARY}), JumpClock()
        async with office(tmp_path, hub, clock) as node:
            await node.write(Lane.SUMMARY, "hour-0")
            await node.until(lambda: _held(node, 1))
            await node.write(Lane.LEDGER, "pay-0")
            await node.until(lambda: _arrived(hub))
            hub.refused_lanes.clear()
            await node.until(node.drained)
            assert told(hub, Lane.SUMMARY) == ["hour-0"]
            await node.until(lambda: _held(node, 0))

    async def _held(node: Office, count: int) -> bool:
        return await node.alarms.count(AlarmKind.LANE_HELD) == count

    async def _arrived(hub: PaperHub) -> bool:
        return told(hub, Lane.LEDGER) == ["pay-0"]

    asyncio.run(story())


def test_what_the_hub_sets_aside_is_acknowledged_with_its_reason(tmp_path: Path) -> None:
    async def story() -> None:
        hub, clock = PaperHub(quarantine={Lane.SUMMARY: "registry 9 is not here"}), JumpClock()
        async with office(tmp_path, hub, clock) as node:
            await node.write(Lane.SUMMARY, "hour-0")
            await node.until(node.settled)
            assert await node.outbox.quarantined() == [("summary", 1, 1, "registry 9 is not here")]

    asyncio.run(story())


def item(lane: DownLane, offset: int, **body: object) -> DownItem:
    return DownItem(lane, offset, "ledger_entry", f"item-{offset}", wire.pack(body))


def test_items_down_are_taken_once_and_one_that_cannot_be_taken_is_kept_and_stops_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        hub, clock = PaperHub(), JumpClock()
        hub.items = [
            item(DownLane.LEDGER, 1),
            item(DownLane.LEDGER, 2, broken=True),
            DownItem(DownLane.LEDGER, 3, "ledger_entry", "item-3", b"\xc1 no wire"),
            item(DownLane.LEDGER, 4),
            DownItem(DownLane.REGISTRY, 1, "registry", "r-1", pack_document({"document": {"version": 1}})),
        ]
        async with office(tmp_path, hub, clock) as node:
            await node.until(lambda: _offset(node, 4))
            assert node.taken == [("ledger_entry", "item-1"), ("ledger_entry", "item-4")]
            refused = {(one.lane, one.offset): one.code for one in await node.downlink.refused()}
            assert refused == {("ledger", 2): "TQ-XX-01", ("ledger", 3): "TQ-SY-02", ("registry", 1): "TQ-RG-10"}
            assert await node.alarms.count(AlarmKind.DOWNLINK_REFUSED) == 3
            assert (
                await node.control.read(lambda conn: conn.fetch_one("SELECT 1 FROM node_state WHERE key = 'item-2'"))
                is None
            ), "nothing of a refused item stays"
        async with office(tmp_path, hub, clock) as node:
            await node.until(node.settled)
            assert node.taken == [], "applied before, not again"
            assert await node.downlink.retry_refused(clock.now()) == 0
            assert len(await node.downlink.refused()) == 3

    async def _offset(node: Office, offset: int) -> bool:
        return (await node.downlink.offsets())[DownLane.LEDGER] == offset

    asyncio.run(story())


def test_a_hub_that_numbers_a_lane_anew_is_heard_from_the_beginning(tmp_path: Path) -> None:
    async def story() -> None:
        hub, clock = PaperHub(), JumpClock()
        hub.items = [item(DownLane.LEDGER, number) for number in range(1, 5)]
        async with office(tmp_path, hub, clock) as node:
            await node.until(node.settled)
            hub.items, hub.refetch = [item(DownLane.LEDGER, 1)], {DownLane.LEDGER}
            asked: list[str] = []

            async def once(kind: str) -> None:
                asked.append(kind)
                if kind == "pull" and (await node.downlink.offsets())[DownLane.LEDGER] == 0:
                    hub.refetch.clear()

            hub.before = once
            await node.until(lambda: _again(node))
            await node.until(node.settled)
            assert [row.kind for row in await node.alarms.recent()] == [AlarmKind.HUB_MOVED]

    async def _again(node: Office) -> bool:
        return node.taken.count(("ledger_entry", "item-1")) == 2

    asyncio.run(story())


def test_a_clock_that_is_set_back_makes_nobody_wait_for_it(tmp_path: Path) -> None:
    async def story() -> None:
        hub, clock = PaperHub(), JumpClock()
        async with office(tmp_path, hub, clock) as node:
            await node.until(node.settled)
            clock.step_back(10 * 24 * 3600)
            asked = len(hub.seen)
            hub.items = [item(DownLane.LEDGER, 1)]
            await node.until(lambda: _taken(node))
            assert clock.now() < NOW - 9 * 24 * 3600
            assert hub.seen[asked:].count("pull") >= 1

            async def cut(kind: str) -> None:
                raise LinkLost(52, f"a {kind} was cut", "wait")

            hub.before = cut
            await node.until(lambda: _lost(node))
            clock.step_back(10 * 24 * 3600)
            hub.before = None
            await node.write(Lane.LEDGER, "pay-0")
            await node.until(node.settled)
            assert clock.now() < NOW - 19 * 24 * 3600

    async def _taken(node: Office) -> bool:
        return node.taken == [("ledger_entry", "item-1")]

    async def _lost(node: Office) -> bool:
        return not node.hub_link.view().up

    asyncio.run(story())


def test_the_database_of_a_stopped_node_can_be_moved(tmp_path: Path) -> None:
    async def story() -> None:
        hub, clock = PaperHub(), JumpClock()
        first, second = tmp_path / "first", tmp_path / "second"
        first.mkdir()
        async with office(first, hub, clock) as node:
            await node.write(Lane.LEDGER, "pay-0")
            await node.until(node.settled)
        shutil.copytree(first, second)
        async with office(second, hub, clock) as node:
            await node.write(Lane.LEDGER, "pay-1")
            await node.until(node.settled)
            assert hub.epoch == 1
            assert told(hub, Lane.LEDGER) == ["pay-0", "pay-1"]

    asyncio.run(story())
