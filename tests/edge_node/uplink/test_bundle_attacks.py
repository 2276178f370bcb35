"""What a hostile or unlucky courier, drive, clock or hub can do with a bundle: no word counts that must not."""

import asyncio
import shutil
from pathlib import Path

import pytest

from central_sync.hub import Hub
from edge_node.store.state import Mark
from gridmodel.event import AlarmKind
from gridmodel.fault import Fault
from protocols.sync.bundle import FrameKind
from protocols.sync.lanes import AckOutcome, Lane
from protocols.sync.link import LinkLost
from protocols.sync.messages import Welcome
from tests.central_sync.hub_rig import DAY, A, HandClock
from tests.edge_node.uplink.courier_bench import (
    HUB_SIGNER,
    NODE_OPENING,
    Courier,
    DirectLink,
    centre,
    courier,
    desk,
    uplink,
    with_courier,
)
from tests.edge_node.uplink.test_bundle_bytes import forged, items, refused
from tests.edge_node.uplink.test_bundles import at_bank, stands

YEAR_S = 365 * 86_400


def test_a_hub_whose_clock_once_ran_ahead_does_not_spoil_later_bundles(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        office = carrier.desk
        carrier.clock.at += YEAR_S
        ahead = await carrier.down()
        carrier.clock.at -= YEAR_S
        before = await stands(office)
        with pytest.raises(Fault, match="TQ-BN-23"):
            await carrier.bring(ahead)
        assert await stands(office) == before
        for number in range(1, 4):
            await office.take(number)
            told = await carrier.trip()
            assert (told["newest"], told["acknowledged"], told["settled"]) == (True, {"ledger": number}, True)

    with_courier(tmp_path, story)


def test_a_word_over_the_link_from_a_clock_that_ran_ahead_makes_no_bundle_old(tmp_path: Path) -> None:
    class Ahead(DirectLink):
        """To a hub that lives a year ahead."""

        def __init__(self, hub: Hub, clock: HandClock) -> None:
            super().__init__(hub)
            self._clock = clock

        async def exchange(self, kind: str, body: bytes) -> bytes:
            self._clock.at += YEAR_S
            try:
                return await super().exchange(kind, body)
            finally:
                self._clock.at -= YEAR_S

    async def story(carrier: Courier) -> None:
        office = carrier.desk
        await office.take(1)
        link = asyncio.create_task(uplink(office, Ahead(carrier.hub, carrier.clock)).run())
        while not await office.drained():
            assert not link.done()
        link.cancel()
        await office.take(2)
        carrier.clock.at += 2 * 86_400
        assert (await carrier.trip())["newest"]

    with_courier(tmp_path, story)


def test_a_greeting_is_a_newer_word_than_a_bundle_made_before_it(tmp_path: Path) -> None:
    class Greeting(DirectLink):
        """Lost before anything is pushed."""

        greeted = False

        async def exchange(self, kind: str, body: bytes) -> bytes:
            if kind != "hello":
                self.greeted = True
                raise LinkLost(50, "the line is cut", "wait")
            return await super().exchange(kind, body)

    async def story() -> None:
        async with courier(tmp_path) as carrier:
            clock, drive = carrier.clock, carrier.drive
            await carrier.desk.take(1)
            await carrier.trip()
        shutil.copytree(tmp_path / "hub", tmp_path / "hub-backup")
        async with desk(tmp_path / "office", clock) as office, centre(tmp_path / "hub", clock) as hub:
            carrier = Courier(office, hub, drive, clock)
            await office.take(2)
            await carrier.trip()
            before = await carrier.down()
        async with desk(tmp_path / "office", clock) as office, centre(tmp_path / "hub-backup", clock) as hub:
            clock.at += 60
            line = Greeting(hub)
            link = asyncio.create_task(uplink(office, line).run())
            while not line.greeted:
                await asyncio.sleep(0)
                assert not link.done()
            link.cancel()
            assert await office.store.state.get(Mark.HUB_MOVED) is not None
            told = await Courier(office, hub, drive, clock).bring(before)
            assert (told["newest"], told["settled"]) == (False, False)
            assert (await office.store.outbox.backlog())[Lane.LEDGER].batches == 1, "owed again, and so it stays"
            told, _ = await Courier(office, hub, drive, clock).give(await Courier(office, hub, drive, clock).up())
            assert (told["ok"], set(told["batches"])) == (True, {"applied"}), "it goes on from what the greeting said"
            assert await hub.store.read(lambda tx: tx.ledger_entries(["pay-node-a-2"]))

    asyncio.run(story())


def test_a_store_agrees_with_no_hub_by_a_bundle_older_than_itself(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        early = await carrier.down(whole=True)
        await carrier.desk.take(1)
        await carrier.trip()
        carrier.clock.at += 3600
        async with desk(tmp_path / "rebuilt", carrier.clock) as rebuilt:
            told = await rebuilt.bundles.apply(early)
            assert (told["items"], told["settled"]) == (1, False), "it has forgotten what its desk took since"
            assert not await rebuilt.store.state.reconciled()

    with_courier(tmp_path, story)


@pytest.mark.parametrize("head", [None, "hub-y"])
def test_messages_of_another_hub_than_the_head_names_are_refused(tmp_path: Path, head: str | None) -> None:
    async def story(carrier: Courier) -> None:
        now = carrier.clock.at
        welcome = Welcome(hub_incarnation="hub-x", hub_time=now, lanes={}, node_epoch=1).to_bytes()
        data = forged(HUB_SIGNER, NODE_OPENING.public, (FrameKind.WELCOME, welcome), hub_incarnation=head, made_at=now)
        before = await stands(carrier.desk)
        assert await refused(carrier.desk.bundles.apply, tmp_path / "forged", data) == "TQ-BN-08"
        assert await stands(carrier.desk) == before

    with_courier(tmp_path, story)


def test_items_of_another_hub_than_the_head_names_are_refused(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        known, now = await carrier.desk.reconciliation.hub_known(), carrier.clock.at
        welcome = Welcome(hub_incarnation=str(known), hub_time=now, lanes={}, node_epoch=1).to_bytes()
        messages = ((FrameKind.WELCOME, welcome), (FrameKind.PULL_REPLY, items(1)))
        data = forged(HUB_SIGNER, NODE_OPENING.public, *messages, hub_incarnation=known, made_at=now)
        assert await refused(carrier.desk.bundles.apply, tmp_path / "forged", data) == "TQ-BN-08"

    with_courier(tmp_path, story)


def test_what_the_link_said_while_a_bundle_was_applied_is_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(carrier: Courier) -> None:
        office = carrier.desk
        await office.take(1)
        await carrier.trip()
        down = await carrier.down()
        await office.take(2)
        await carrier.give(await carrier.up())
        met = office.reconciliation.met

        async def meanwhile(incarnation: str, now: int) -> bool:
            mark = (await office.store.outbox.marks())[Lane.LEDGER]
            await office.store.outbox.acknowledge(
                Lane.LEDGER, mark, AckOutcome.APPLIED, "", now, told_at=carrier.clock.at - 60
            )
            return await met(incarnation, now)

        monkeypatch.setattr(office.reconciliation, "met", meanwhile)
        await carrier.bring(down)
        assert await office.store.alarms.count(AlarmKind.HUB_MOVED) == 0
        assert await office.drained()

    with_courier(tmp_path, story)


def test_payments_on_the_road_when_their_office_burned_down_are_taken_in(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        await carrier.desk.take(1)
        await carrier.desk.close_day()
        await carrier.trip()
        await carrier.desk.take(2, 3)
        await carrier.desk.close_day(2)
        on_the_road = await carrier.up()
        async with desk(tmp_path / "rebuilt", carrier.clock) as rebuilt:
            second = Courier(rebuilt, carrier.hub, carrier.drive, carrier.clock)
            await rebuilt.bundles.apply(await carrier.down(whole=True))
            await rebuilt.take(4)
            await rebuilt.close_day(3)
            for _ in range(3):
                await second.trip()
            assert (await rebuilt.store.outbox.marks())[Lane.LEDGER].epoch == 2
            names = [f"pay-node-a-{number}" for number in (1, 2, 3, 4)]
            for _ in range(2):
                told, _ = await second.give(on_the_road)
                kept = await carrier.hub.store.read(lambda tx: tx.ledger_entries(names))
                assert len(kept) == 4, told
                assert (await carrier.hub.store.read(lambda tx: tx.chunk_days(A))) == [(DAY, 3)]
            assert (await second.trip())["ok"]
            assert await rebuilt.drained()

    with_courier(tmp_path, story)


def test_a_bundle_cut_short_by_a_crash_is_the_newest_word_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub restored from a backup numbers its items anew: passed over, those that are here under other numbers."""

    async def story() -> None:
        async with courier(tmp_path) as carrier:
            clock, drive = carrier.clock, carrier.drive
        shutil.copytree(tmp_path / "hub", tmp_path / "hub-backup")
        async with desk(tmp_path / "office", clock) as office, centre(tmp_path / "hub", clock) as hub:
            carrier = Courier(office, hub, drive, clock)
            await hub.import_ledger(at_bank(1), "bank")
            await carrier.trip()
        async with desk(tmp_path / "office", clock) as office, centre(tmp_path / "hub-backup", clock) as hub:
            carrier = Courier(office, hub, drive, clock)
            await office.take(1)
            _, answer = await carrier.give(await carrier.up())
            await hub.import_ledger(at_bank(2) + at_bank(3).partition(b"\n")[2], "bank")
            with monkeypatch.context() as patched:
                patched.setattr(office.store.downlink, "refetch", cut_short)
                with pytest.raises(RuntimeError):
                    await carrier.bring(answer)
            told = await carrier.bring(answer)
            assert told["newest"]

    async def cut_short(_: object) -> None:
        raise RuntimeError("the power went")

    asyncio.run(story())
