"""The hub link on a real store against a hub on paper: nothing lost, nothing doubled, whatever the line does."""

import asyncio
import random
import shutil
from pathlib import Path

from edge_node.store.batches import KEPT_S
from edge_node.store.state import Mark
from gridmodel.event import AlarmKind
from protocols.sync.lanes import DownLane, Lane, LaneMark
from protocols.sync.link import LinkLost
from tests.edge_node.store.outbox_bench import NOW
from tests.edge_node.uplink.paper_hub import JumpClock, PaperHub, lossy
from tests.edge_node.uplink.uplink_bench import Office, item, office


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
            assert [row.kind for row in await node.alarms.standing()] == [AlarmKind.CUTS_STOPPED]
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
            await node.until(lambda: _knows(node, "hub-2"))
            await node.until(node.settled)
            recent = [row for row in await node.alarms.recent() if row.kind == AlarmKind.HUB_MOVED]
            assert len(recent) == 1
            assert recent[0].cleared_at is not None

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


def test_a_store_that_went_back_cuts_nobody_until_a_person_has_looked(tmp_path: Path) -> None:
    """Its brakes may have forgotten cuts, and its ledger payments taken at this very desk."""

    async def story() -> None:
        hub, clock = PaperHub(), JumpClock()
        old, new, empty = (tmp_path / name for name in ("old", "new", "empty"))
        for folder in (old, new, empty):
            folder.mkdir()
        async with office(old, hub, clock) as node:
            await node.write(Lane.CONTROL, "op-0")
            await node.until(node.settled)
            assert await _stops(node) == []
            await node.control.copy_to(new / "control.db")
            await node.write(Lane.CONTROL, "op-1")
            await node.until(node.settled)
        for folder in (new, empty):
            async with office(folder, hub, clock) as node:
                await node.write(Lane.CONTROL, f"op-{folder.name}")
                await node.until(node.settled)
                ((by, why),) = await _stops(node)
                assert by == "node"
                assert "went back" in why
                assert await node.alarms.count(AlarmKind.CUTS_STOPPED) == 1

    asyncio.run(story())


def test_a_hub_that_went_back_behind_a_new_epoch_is_no_fault_of_the_store(tmp_path: Path) -> None:
    async def story() -> None:
        hub, clock = PaperHub(), JumpClock()
        async with office(tmp_path, hub, clock) as node:
            await node.write(Lane.CONTROL, "op-0")
            await node.until(node.settled)
            before = (hub.epoch, dict(hub.marks), {lane: dict(held) for lane, held in hub.batches.items()})
            hub.marks[Lane.CONTROL] = LaneMark(1, 2, b"\1" * 32)
            await node.write(Lane.CONTROL, "op-1")
            await node.until(node.settled)
            await node.control.write(lambda conn: conn.execute("DELETE FROM cuts_stopped"))
            await node.write(Lane.LEDGER, "pay-1")
            await node.until(node.settled)
        hub.epoch, hub.marks, hub.batches = before
        hub.incarnation = "hub-2"
        async with office(tmp_path, hub, clock) as node:
            await node.until(lambda: _knows(node, "hub-2"))
            await node.until(node.settled)
            assert await _stops(node) == []
            assert {"op-0", "op-1"} <= set(told(hub, Lane.CONTROL)), "what it had acknowledged is there again"
            assert told(hub, Lane.LEDGER) == ["pay-1"]

    asyncio.run(story())


def test_a_hub_that_lost_everything_is_refilled_with_all_that_is_kept(tmp_path: Path) -> None:
    async def story() -> None:
        hub, clock = PaperHub(), JumpClock()
        async with office(tmp_path, hub, clock) as node:
            await node.write(Lane.LEDGER, "pay-0")
            await node.until(node.settled)
            await clock.sleep(KEPT_S - 3_600)
            await node.write(Lane.LEDGER, "pay-1")
            await node.until(node.settled)
            await clock.sleep(7_200)
            assert await node.outbox.prune(clock.now()) == 1
        hub = PaperHub(incarnation="hub-2")
        async with office(tmp_path, hub, clock) as node:
            await node.until(lambda: _knows(node, "hub-2"))
            await node.until(node.settled)
            assert told(hub, Lane.LEDGER) == ["pay-1"]

    asyncio.run(story())


def test_nothing_is_agreed_while_a_lane_is_forked(tmp_path: Path) -> None:
    async def story() -> None:
        hub, clock = PaperHub(), JumpClock()
        async with office(tmp_path, hub, clock) as node:
            await node.until(node.settled)
            agreed_while_forked = 0

            async def look(_: str) -> None:
                nonlocal agreed_while_forked
                forked = await node.alarms.count(AlarmKind.LANE_FORKED)
                agreed_while_forked += forked and await node.state.reconciled()

            hub.before = look
            for turn in (2, 3):  # a copy of the node pushes in between: the second new epoch has to wait
                hub.marks[Lane.LEDGER] = LaneMark(hub.epoch, 9, bytes([turn]) * 32)
                await node.write(Lane.LEDGER, f"pay-{turn}")
                await node.until(node.drained)
            await node.until(node.settled)
            assert hub.epoch == 3
            assert agreed_while_forked == 0

    asyncio.run(story())


async def _knows(node: Office, name: str) -> bool:
    return await node.state.get(Mark.HUB_INCARNATION) == name


async def _stops(node: Office) -> list[tuple[str, str]]:
    rows = await node.control.read(
        lambda conn: conn.fetch_all("SELECT stopped_by, why FROM cuts_stopped WHERE lifted_at IS NULL")
    )
    return [(by, why) for by, why in rows]


def test_a_store_that_a_courier_changed_is_greeted_with_before_anything_is_sent(tmp_path: Path) -> None:
    async def story() -> None:
        hub, clock = PaperHub(), JumpClock()
        async with office(tmp_path, hub, clock) as node:
            await node.until(node.settled)
            before = len(hub.seen)
            node.hub_link.greet_anew()
            await node.write(Lane.LEDGER, "pay-1")
            await node.until(node.drained)
            after = [kind for kind in hub.seen[before:] if kind != "pull"]
            assert after == ["hello", "attest", "push"]
            assert told(hub, Lane.LEDGER) == ["pay-1"]

    asyncio.run(story())
