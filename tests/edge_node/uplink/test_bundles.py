"""A courier in place of the link: there and back, twice, late, in any order, after the link came back."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from edge_node.store.state import Mark
from edge_node.uplink.bundles import SETTLES_S_MAX
from gridmodel.event import AlarmKind
from gridmodel.fault import Fault
from protocols.sync.lanes import DownLane, Lane
from tests.central_sync.hub_rig import A
from tests.central_sync.test_hub_imports import csv_of
from tests.edge_node.uplink.courier_bench import (
    Courier,
    Desk,
    DirectLink,
    centre,
    courier,
    desk,
    holdings,
    uplink,
    with_courier,
)

YEAR_AND_A_MONTH_S = 396 * 86_400


def at_bank(number: int) -> bytes:
    """A payment taken by the bank, as its file tells it."""
    return csv_of(f"bank-{number};acc-up-t-a0-0;payment;1000;2026-05-04T10:00:00+05:00;;")


async def stands(office: Desk) -> tuple[object, ...]:
    """What the office's store says of the link: offsets, what is owed, alarms, whether it agrees with the hub."""
    store = office.store
    return (
        await store.downlink.offsets(),
        await store.outbox.backlog(),
        await store.alarms.standing(),
        await store.state.reconciled(),
        await office.payments_known(),
    )


def test_a_courier_replaces_the_link_whole(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        office, hub = carrier.desk, carrier.hub
        assert office.store.registries.newest is not None, "the first bundle brought the registry"
        await office.take(1, 2)
        await office.close_hours(3)
        await office.close_day()
        told, answer = await carrier.give(await carrier.up())
        assert told["batches"] == {"applied": 3}
        assert (told["ok"], told["stopped"]) == (True, {})
        assert await hub.store.read(lambda tx: tx.ledger_entries(["pay-node-a-1", "pay-node-a-2"]))
        assert (await hub.store.read(lambda tx: tx.chunk_days(A))) == [("2026-05-04", 1)]
        assert not await office.drained()
        back = await carrier.bring(answer)
        assert back["acknowledged"] == {"ledger": 1, "summary": 1, "interval": 1}
        assert await office.drained()
        assert back["settled"]
        assert await office.store.state.reconciled()
        for mark, bundle in ((Mark.BUNDLE_WRITTEN, told["bundle"]), (Mark.BUNDLE_APPLIED, back["bundle"])):
            kept = json.loads(await office.store.state.get(mark) or "null")
            assert (kept["bundle"], kept["whole"], kept["forked"]) == (bundle, True, [])
        known = (await hub.situation.node(A))["bundles"]
        assert {what: one["bundle"] for what, one in known.items()} == {
            "written": back["bundle"],
            "applied": told["bundle"],
        }

    with_courier(tmp_path, story)


def test_payments_made_elsewhere_come_down_with_the_answer_and_without_one(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        office = carrier.desk
        await carrier.hub.import_ledger(at_bank(1), "bank")
        assert (await carrier.trip())["items"] == 1
        await carrier.hub.import_ledger(at_bank(2), "bank")
        told = await carrier.bring(await carrier.down())
        assert (told["items"], told["refused"], told["whole"]) == (1, 0, True)
        assert await office.payments_known() == {"bank-1", "bank-2"}

    with_courier(tmp_path, story)


def test_twice_is_once_both_ways(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        office = carrier.desk
        await office.take(1, 2, 3)
        await carrier.hub.import_ledger(at_bank(1), "bank")
        up = await carrier.up()
        _, answer = await carrier.give(up)
        held = holdings(tmp_path / "hub")
        told, second = await carrier.give(up)
        assert told["batches"] == {"duplicate": 1}
        assert holdings(tmp_path / "hub") == held
        await carrier.bring(answer)
        before = await stands(office)
        for path in (answer, second, answer):
            assert (await carrier.bring(path))["ok"]
            assert await stands(office) == before

    with_courier(tmp_path, story)


def test_the_wrong_order_is_harmless_both_ways(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        office = carrier.desk
        await office.take(1)
        await carrier.hub.import_ledger(at_bank(1), "bank")
        first = await carrier.up()
        await office.take(2)
        second = await carrier.up()
        told, late_answer = await carrier.give(second)
        assert told["batches"] == {"applied": 2}
        await carrier.hub.import_ledger(at_bank(2), "bank")
        told, newest = await carrier.give(first)
        assert told["batches"] == {"duplicate": 1}
        await carrier.bring(newest)
        before = await stands(office)
        assert await office.drained()
        told = await carrier.bring(late_answer)
        assert (told["newest"], told["ok"], told["items"]) == (False, True, 0)
        assert await stands(office) == before, "an older word is not a hub that went back"

    with_courier(tmp_path, story)


def test_what_a_courier_brings_after_the_link_came_back_changes_nothing(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        office = carrier.desk
        await office.take(1)
        late_up = await carrier.up()
        _, late_answer = await carrier.give(await carrier.up())
        early_answer = await carrier.down()
        await carrier.hub.import_ledger(at_bank(1), "bank")
        await office.take(2)
        carrier.clock.at += 3600
        link = asyncio.create_task(uplink(office, DirectLink(carrier.hub)).run())
        while not (await office.drained() and await office.payments_known()):
            assert not link.done()
        link.cancel()
        before, held = await stands(office), holdings(tmp_path / "hub")
        assert (await carrier.give(late_up))[0]["batches"] == {"duplicate": 1}
        for path in (late_answer, early_answer):
            told = await carrier.bring(path)
            assert (told["newest"], told["ok"]) == (False, True)
        assert await stands(office) == before
        assert holdings(tmp_path / "hub") == held

    with_courier(tmp_path, story)


def test_a_bundle_that_does_not_go_on_from_here_is_refused_whole(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        office = carrier.desk
        await carrier.hub.import_ledger(at_bank(1), "bank")
        lost = await carrier.down()
        shutil.copytree(tmp_path / "office", tmp_path / "backup")
        await carrier.bring(lost)
        await office.take(1)
        told, _ = await carrier.give(await carrier.up())
        assert told["batches"] == {"applied": 1}
        await carrier.hub.import_ledger(at_bank(2), "bank")
        skipping = await carrier.down()
        async with desk(tmp_path / "backup", carrier.clock) as restored:
            with pytest.raises(Fault, match="TQ-BN-21"):
                await restored.bundles.apply(skipping)
            assert await restored.payments_known() == set()
            assert not await restored.drained() or not await restored.store.outbox.owing()
            whole = await carrier.down(whole=True)
            assert (await restored.bundles.apply(whole))["items"] == 2
            assert await restored.payments_known() == {"bank-1", "bank-2"}

    with_courier(tmp_path, story)


def test_a_store_restored_from_a_backup_gets_its_new_epoch_by_courier(tmp_path: Path) -> None:
    async def story() -> None:
        async with courier(tmp_path) as carrier:
            await carrier.desk.take(1)
            clock, drive = carrier.clock, carrier.drive
            await carrier.trip()
            await carrier.desk.store.control.write(lambda conn: conn.execute("DELETE FROM alarm"))
        shutil.copytree(tmp_path / "office", tmp_path / "backup")
        async with desk(tmp_path / "office", clock) as office, centre(tmp_path / "hub", clock) as hub:
            await office.take(2)
            await Courier(office, hub, drive, clock).trip()
        async with desk(tmp_path / "backup", clock) as office, centre(tmp_path / "hub", clock) as hub:
            carrier = Courier(office, hub, drive, clock)
            await office.take(3)
            told, answer = await carrier.give(await carrier.up())
            assert told["stopped"].keys() == {"ledger"}
            assert not told["ok"]
            assert (await carrier.bring(answer))["forked"] == ["ledger"]
            assert not await office.store.state.reconciled()
            asking = await carrier.up()
            _, answer = await carrier.give(asking)
            await carrier.give(asking)
            back = await carrier.bring(answer)
            assert back["forked"] == []
            assert (await office.store.outbox.marks())[Lane.LEDGER].epoch == 2, "asked twice by one bundle, minted once"
            await carrier.trip()
            assert await office.drained()
            kept = await hub.store.read(lambda tx: tx.ledger_entries([f"pay-node-a-{n}" for n in (1, 2, 3)]))
            assert len(kept) == 3
            told, _ = await carrier.give(asking)
            assert (await hub.store.read(lambda tx: tx.node(A))).epoch == 2, "an old wish for an epoch is none"  # type: ignore[union-attr]

    asyncio.run(story())


def test_a_hub_that_went_back_is_noticed_and_refilled_by_courier(tmp_path: Path) -> None:
    async def story() -> None:
        async with courier(tmp_path) as carrier:
            clock, drive = carrier.clock, carrier.drive
            await carrier.desk.take(1)
            await carrier.trip()
        shutil.copytree(tmp_path / "hub", tmp_path / "hub-backup")
        async with desk(tmp_path / "office", clock) as office, centre(tmp_path / "hub", clock) as hub:
            await office.take(2)
            assert (await Courier(office, hub, drive, clock).trip())["settled"]
        async with desk(tmp_path / "office", clock) as office, centre(tmp_path / "hub-backup", clock) as hub:
            carrier = Courier(office, hub, drive, clock)
            told = await carrier.trip()
            assert (told["newest"], told["settled"]) == (True, False)
            assert await office.store.state.get(Mark.HUB_MOVED) is not None, "nothing is cut"
            assert (await carrier.trip())["settled"]
            kept = await hub.store.read(lambda tx: tx.ledger_entries(["pay-node-a-1", "pay-node-a-2"]))
            assert len(kept) == 2
            owed = (await office.store.outbox.backlog())[Lane.LEDGER]
            assert (owed.records, owed.batches) == (0, 0)

    asyncio.run(story())


def test_a_word_from_before_the_hub_went_back_is_old(tmp_path: Path) -> None:
    async def story() -> None:
        async with courier(tmp_path) as carrier:
            clock, drive, office = carrier.clock, carrier.drive, carrier.desk
            await office.take(1)
            await carrier.trip()
        shutil.copytree(tmp_path / "hub", tmp_path / "hub-backup")
        async with desk(tmp_path / "office", clock) as office, centre(tmp_path / "hub", clock) as hub:
            carrier = Courier(office, hub, drive, clock)
            await office.take(2)
            await carrier.trip()
            before = await carrier.down()
        async with desk(tmp_path / "office", clock) as office, centre(tmp_path / "hub-backup", clock) as hub:
            carrier = Courier(office, hub, drive, clock)
            await carrier.bring(await carrier.down())
            told = await carrier.bring(before)
            assert (told["newest"], told["settled"]) == (False, False)
            told, _ = await carrier.give(await carrier.up())
            assert (told["ok"], told["batches"]["applied"] >= 1) == (True, True), "it goes on from where the hub is"
            assert await hub.store.read(lambda tx: tx.ledger_entries(["pay-node-a-2"]))

    asyncio.run(story())


def test_another_hub_is_a_matter_for_a_person(tmp_path: Path) -> None:
    async def story() -> None:
        async with courier(tmp_path) as carrier:
            clock, drive, office = carrier.clock, carrier.drive, carrier.desk
            await office.take(1)
            await carrier.trip()
            async with centre(tmp_path / "other", clock) as other:
                await other.store.write(lambda tx: tx.set_hub_value("incarnation", "hub-other"))
            async with centre(tmp_path / "other", clock) as other:
                await other.import_ledger(at_bank(5), "bank")
                second = Courier(office, other, drive, clock)
                before = await stands(office)
                path = await second.down()
                with pytest.raises(Fault, match="TQ-BN-22"):
                    await second.bring(path)
                assert await stands(office) == before
                told = await second.bring(path, new_hub=True)
                assert (told["items"], told["settled"]) == (2, False)
                assert await office.payments_known() == {"bank-5"}
                assert await office.store.state.get(Mark.HUB_MOVED) is not None
                assert (await second.trip())["settled"]
                assert await other.store.read(lambda tx: tx.ledger_entries(["pay-node-a-1"]))

    asyncio.run(story())


def test_a_bundle_of_thirteen_months_ago_is_taken_in_and_settles_nothing(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        office = carrier.desk
        await carrier.trip()
        await office.take(1)
        await carrier.hub.import_ledger(at_bank(1), "bank")
        up, down = await carrier.up(), await carrier.down()
        carrier.clock.at += YEAR_AND_A_MONTH_S
        told, _ = await carrier.give(up)
        assert told["batches"] == {"applied": 1}
        seen = (await carrier.hub.situation.node(A))["silent_s"]
        assert seen >= YEAR_AND_A_MONTH_S, "carried facts are no sign of life"
        async with desk(tmp_path / "rebuilt", carrier.clock) as rebuilt:
            with pytest.raises(Fault, match="TQ-BN-21"):
                await rebuilt.bundles.apply(down)
        assert (await carrier.bring(down))["items"] == 1
        assert carrier.clock.at > SETTLES_S_MAX

    with_courier(tmp_path, story)


def test_a_rebuilt_store_is_filled_from_the_beginning_and_agrees_with_nobody_by_an_old_word(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        await carrier.hub.import_ledger(at_bank(1), "bank")
        whole = await carrier.down(whole=True)
        carrier.clock.at += SETTLES_S_MAX + 60
        async with desk(tmp_path / "rebuilt", carrier.clock) as rebuilt:
            told = await rebuilt.bundles.apply(whole)
            assert (told["items"], told["settled"]) == (2, False)
            assert not await rebuilt.store.state.reconciled()
            second = Courier(rebuilt, carrier.hub, carrier.drive, carrier.clock)
            assert (await second.trip())["settled"]

    with_courier(tmp_path, story)


def test_many_batches_and_a_file_that_is_full(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        office = carrier.desk
        for first in range(0, 2000, 100):
            await office.take(*range(first, first + 100))
        part = await office.bundles.write(carrier.drive, bytes_max=1_300_000)
        assert not part["whole"] or part["batches"]["ledger"] > 0
        told, answer = await carrier.give(Path(part["file"]))
        assert told["ok"]
        await carrier.bring(answer)
        await carrier.trip()
        assert await office.drained()
        kept = await carrier.hub.store.read(lambda tx: tx.account_entries("acc-up-t-a0-0", 5000))
        assert len(kept) == 2000
        assert (await office.store.downlink.offsets())[DownLane.REGISTRY] == 1

    with_courier(tmp_path, story)


def test_a_refused_item_stays_refused_by_name(tmp_path: Path) -> None:
    async def story(carrier: Courier) -> None:
        await carrier.hub.store.write(
            lambda tx: tx.append_down(A, DownLane.LEDGER, [("ledger_entry", "odd", b"\xc1")], carrier.clock.at)
        )
        told = await carrier.trip()
        assert (told["items"], told["refused"], told["ok"]) == (0, 1, True)
        assert await carrier.desk.store.alarms.count(AlarmKind.DOWNLINK_REFUSED) == 1

    with_courier(tmp_path, story)


def test_a_copy_that_waits_gives_a_courier_nothing(tmp_path: Path) -> None:
    """What it wrote would fork the lanes of the copy that goes on."""

    async def story(carrier: Courier) -> None:
        office = carrier.desk
        await office.take(1)
        await office.store.state.put(Mark.FENCED, '{"challenge": "", "since": 1, "wait_s": 900}')
        with pytest.raises(Fault) as refused:
            await carrier.up()
        assert refused.value.code == "TQ-BN-24"
        assert [path.name for path in (tmp_path / "drive").iterdir() if "up" in path.name] == []
        assert await office.payments_known() == set(), "nothing was moved by the refusal"

    with_courier(tmp_path, story)
