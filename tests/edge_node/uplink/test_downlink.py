"""The way down on a real store: items taken once, refused ones kept and named, lanes begun anew."""

import asyncio
from pathlib import Path

import pytest

from gridmodel.event import AlarmKind
from gridmodel.fault import Fault
from protocols.sync.chunk.document import pack_document
from protocols.sync.lanes import DownLane
from protocols.sync.pull import DownItem
from tests.edge_node.uplink.paper_hub import JumpClock, PaperHub
from tests.edge_node.uplink.uplink_bench import Office, item, office


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


def test_what_was_refused_by_a_clock_behind_is_taken_in_once_it_is_right(tmp_path: Path) -> None:
    async def story() -> None:
        hub, clock = PaperHub(), JumpClock()
        begun = clock.now()
        hub.items = [item(DownLane.AUTHORITY, 1, **{"from": begun + 400})]
        async with office(tmp_path, hub, clock) as node:
            await node.until(lambda: _refused(node, 1))
            assert node.taken == []
            await node.until(lambda: _refused(node, 0))
            assert node.taken == [("ledger_entry", "item-1")]
            assert await node.alarms.count(AlarmKind.DOWNLINK_REFUSED) == 0
        assert clock.now() < begun + 2_000

    async def _refused(node: Office, count: int) -> bool:
        return len(await node.downlink.refused()) == count

    asyncio.run(story())


def test_a_refused_item_behind_a_thousand_others_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_node.store.downlink.REFUSED_RETRIED_MAX", 3)

    async def story() -> None:
        hub, clock = PaperHub(), JumpClock()
        begun = clock.now()
        hub.items = [item(DownLane.AUTHORITY, number, broken=True) for number in range(1, 8)]
        hub.items.append(item(DownLane.AUTHORITY, 8, **{"from": begun + 400}))
        async with office(tmp_path, hub, clock) as node:
            await node.until(lambda: _taken(node))
        assert clock.now() < begun + 2_000

    async def _taken(node: Office) -> bool:
        return node.taken == [("ledger_entry", "item-8")]

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


def test_what_was_asked_for_long_ago_is_taken_only_where_it_follows(tmp_path: Path) -> None:
    async def story() -> None:
        hub, clock = PaperHub(), JumpClock()
        hub.items = [item(DownLane.LEDGER, number) for number in range(1, 4)]
        async with office(tmp_path, hub, clock) as node:
            await node.until(node.settled)
            for offsets in ((5,), (2, 3, 5), (4, 6)):
                with pytest.raises(Fault, match="TQ-DL-02"):
                    await node.downlink.apply([item(DownLane.LEDGER, at) for at in offsets], clock.now(), gapless=True)
            assert (await node.downlink.offsets())[DownLane.LEDGER] == 3, "nothing of them stays"
            told = await node.downlink.apply([item(DownLane.LEDGER, at) for at in (3, 4)], clock.now(), gapless=True)
            assert told.applied == 1

    asyncio.run(story())
