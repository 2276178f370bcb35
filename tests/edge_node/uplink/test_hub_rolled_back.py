"""A hub put back from a backup: noticed by its nodes, refilled by them, and nobody is cut before that."""

import asyncio
import shutil
from pathlib import Path

import pytest

from central_sync.doctor import examine
from central_sync.hub import Hub
from central_sync.ingest.refilling import refilling, restored
from edge_node.store.operations import Movement, Outcome
from edge_node.store.state import Mark
from gridmodel.event import AlarmKind
from hosting.checkup import Health
from protocols.sync.lanes import DownLane
from protocols.sync.link import LinkLost
from tests.central_sync.hub_rig import SeededEntropy
from tests.central_sync.test_hub_imports import csv_of
from tests.edge_node.uplink.restoring_bench import (
    AGREES_NOT,
    Node,
    clock_at,
    hub_alarms,
    hub_in,
    hub_ledger,
    hub_operations,
    running,
)

PAYMENTS = {f"pay-node-a-{number}" for number in range(4)}


def at_bank(*numbers: int) -> bytes:
    """Payments taken by the bank, as its file tells them."""
    return csv_of(*(f"bank-{n};acc-up-t-a0-0;payment;1000;2026-05-04T10:00:00+05:00;;" for n in numbers))


async def forget_sent(node: Node) -> None:
    """Acknowledged batches are kept for a while only: this is after it."""

    async def verb(conn: object) -> None:
        await conn.execute("DELETE FROM outbox_record WHERE seq IS NOT NULL")  # type: ignore[attr-defined]
        await conn.execute("DELETE FROM outbox_batch")  # type: ignore[attr-defined]

    await node.office.store.control.write(verb)


def put_back(backup: Path, folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(backup, folder)


@pytest.mark.parametrize("said", [True, False], ids=["the operator says so", "nobody says so"])
@pytest.mark.parametrize("pruned", [True, False], ids=["batches are pruned", "batches are kept"])
def test_a_restored_hub_is_refilled_with_everything_it_once_confirmed(
    tmp_path: Path, *, said: bool, pruned: bool
) -> None:
    async def story() -> None:
        clock, folder = clock_at(), tmp_path / "hub"
        async with hub_in(folder, clock) as hub, running(tmp_path / "office", hub, clock) as node:
            await node.pay(0)
            await node.until(node.agreed, "the first agreement")
        shutil.copytree(folder, tmp_path / "backup")
        async with hub_in(folder, clock) as hub, running(tmp_path / "office", hub, clock) as node:
            await hub.import_ledger(at_bank(1), "bank")
            for number in (1, 2, 3):
                await node.pay(number)
                await node.move(number, Movement.CUT, Outcome.CONFIRMED)
                await node.until(node.agreed, "told")
            clock.at += 400
            await node.until(lambda: _has_heads(node, "down-ledger", 1), "attested since")
            if pruned:
                await forget_sent(node)
        put_back(tmp_path / "backup", folder)
        async with hub_in(folder, clock) as hub:
            if said:
                told = await restored(hub.store, clock, SeededEntropy(77))
                assert told["nodes_to_refill"] == ["node-a"]
                assert (None, "hub_rolled_back") in await hub_alarms(hub)
        async with hub_in(folder, clock) as hub:
            assert (await doctor_line(hub)) is (Health.WARN if said else Health.OK)
            async with running(tmp_path / "office", hub, clock) as node:
                await node.until(lambda: _rolled_back(node), "it notices")
                assert not await node.office.store.state.reconciled()
                assert AlarmKind.HUB_ROLLED_BACK in await node.alarms()
                await node.until(node.agreed, "refilled")
                assert set(await hub_ledger(hub)) == PAYMENTS | ({"bank-1"} if said else set())
                assert await hub_operations(hub) == {f"op-{n}": "confirmed" for n in (1, 2, 3)}
                assert await node.office.payments_known() == PAYMENTS | {"bank-1"}
                assert not AGREES_NOT & await node.alarms()
                assert await node.stops() == [], "the hub went back, not this store: cuts are allowed again"
                assert ((None, "hub_rolled_back") in await hub_alarms(hub)) != said
                assert (await hub.store.read(refilling))["restored_at"] is None
                clock.at += 400
                await node.until(lambda: _has_heads(node, "down-registry", 1), "it attests on")
                assert await node.agreed(), "what is lower by now is no news any more"
            if said:
                return
            assert (await doctor_line(hub)) is Health.FAIL, "an old incarnation is kept by nobody in silence"
            await restored(hub.store, clock, SeededEntropy(77))
        async with hub_in(folder, clock) as hub, running(tmp_path / "office", hub, clock) as node:
            await node.until(lambda: _speaks_with(node, hub.incarnation), "it agrees with the new incarnation")
            await node.until(node.agreed, "refilled once more")
            assert set(await hub_ledger(hub)) == PAYMENTS | {"bank-1"}
            assert (None, "hub_rolled_back") not in await hub_alarms(hub)
            assert (await doctor_line(hub)) is Health.OK

    asyncio.run(story())


async def doctor_line(hub: Hub) -> Health:
    return next(one.health for one in await examine(hub) if one.name == "restored")


async def _speaks_with(node: Node, incarnation: str) -> bool:
    return await node.office.store.state.get(Mark.HUB_INCARNATION) == incarnation


async def _rolled_back(node: Node) -> bool:
    return await node.office.store.state.get(Mark.HUB_ROLLED_BACK) is not None


async def _has_heads(node: Node, name: str, at_least: int) -> bool:
    node.office.wakeups.outbox.set()
    heads = await node.office.store.state.get(Mark.HUB_HEADS) or ""
    return f'"{name}": {at_least}' in heads


def test_a_log_that_went_back_and_grew_on_is_found_by_its_items(tmp_path: Path) -> None:
    """Longer than what the node remembers, and another one: its offsets alone would skip what it does not have."""

    async def story() -> None:
        clock, folder = clock_at(), tmp_path / "hub"
        async with hub_in(folder, clock) as hub, running(tmp_path / "office", hub, clock) as node:
            await node.until(node.agreed, "the first agreement")
        shutil.copytree(folder, tmp_path / "backup")
        async with hub_in(folder, clock) as hub, running(tmp_path / "office", hub, clock) as node:
            await hub.import_ledger(at_bank(1), "bank")
            await node.until(lambda: _knows(node, "bank-1"), "the first comes down")
        put_back(tmp_path / "backup", folder)
        async with hub_in(folder, clock) as hub:
            await hub.import_ledger(at_bank(7), "bank")
            await hub.import_ledger(at_bank(8), "bank")
            async with running(tmp_path / "office", hub, clock) as node:
                await node.until(lambda: _knows(node, "bank-8"), "the second of the new ones comes down")
                await node.until(lambda: _knows(node, "bank-7"), "and the first as well")
                await node.until(node.agreed, "refilled")
                assert AlarmKind.HUB_ROLLED_BACK in await node.ever()
                assert (await node.office.store.downlink.offsets())[DownLane.LEDGER] == 2

    asyncio.run(story())


async def _knows(node: Node, entry: str) -> bool:
    return entry in await node.office.payments_known()


def test_nothing_is_cut_while_a_restored_hub_cannot_be_refilled(tmp_path: Path) -> None:
    """The link breaks at every recall: the mark stands, and what it forbids."""

    async def story() -> None:
        clock, folder = clock_at(), tmp_path / "hub"
        async with hub_in(folder, clock) as hub, running(tmp_path / "office", hub, clock) as node:
            await node.until(node.agreed, "the first agreement")
        shutil.copytree(folder, tmp_path / "backup")
        async with hub_in(folder, clock) as hub, running(tmp_path / "office", hub, clock) as node:
            await node.pay(1)
            await node.until(node.agreed, "told")
        put_back(tmp_path / "backup", folder)
        async with hub_in(folder, clock) as hub, running(tmp_path / "office", hub, clock) as node:
            whole, broken = node.link.exchange, 0

            async def exchange(kind: str, body: bytes) -> bytes:
                nonlocal broken
                if kind == "recall" and broken < 20:
                    broken += 1
                    assert not await node.office.store.state.reconciled()
                    raise LinkLost(52, "a recall was lost", "wait")
                return await whole(kind, body)

            node.link.exchange = exchange  # type: ignore[method-assign]
            await node.until(lambda: _rolled_back(node), "it notices")
            await node.until(node.agreed, "at last")
            assert broken == 20
            assert set(await hub_ledger(hub)) == {"pay-node-a-1"}

    asyncio.run(story())
