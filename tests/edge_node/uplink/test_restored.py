"""A node put back from a backup, or copied: nothing the hub holds is lost, ids with two contents are named."""

import asyncio
from pathlib import Path

import pytest

from edge_node.money.payments import PaymentFault
from edge_node.store.operations import Movement, Outcome
from edge_node.store.state import Mark
from gridmodel.control import Cause, RelayState
from gridmodel.event import AlarmKind
from gridmodel.identity import AccountId, UsagePointId
from protocols.sync.attest import TAKEOVER_S
from tests.central_sync.hub_rig import A
from tests.edge_node.uplink.restoring_bench import (
    AGREES_NOT,
    Node,
    SharedClock,
    clock_at,
    copied,
    hub_alarms,
    hub_hours,
    hub_in,
    hub_ledger,
    hub_operations,
    put_back,
    running,
)


def test_what_the_hub_holds_comes_back_to_a_restored_node_and_new_payments_arrive(tmp_path: Path) -> None:
    """The restored-from-backup case: numbers the hub holds already, with other content."""

    async def story() -> None:
        clock, folder = clock_at(), tmp_path / "office"
        async with hub_in(tmp_path / "hub", clock) as hub:
            async with running(folder, hub, clock) as node:
                await node.pay(1)
                await node.until(node.agreed, "the first agreement")
                backup = await copied(node, tmp_path / "backup")
                await node.pay(2)
                await node.pay(3)
                await node.move(1, Movement.CUT, Outcome.CONFIRMED)
                await node.until(node.agreed, "all told")
            put_back(backup, folder)
            async with running(folder, hub, clock) as node:
                await node.pay(4)
                await node.until(node.agreed, "after the backup")
                assert await node.office.payments_known() == {f"pay-node-a-{number}" for number in (1, 2, 3, 4)}
                assert [(one.id, one.outcome) for one in await node.operations()] == [("op-1", Outcome.CONFIRMED)]
                assert set(await hub_ledger(hub)) == {f"pay-node-a-{number}" for number in (1, 2, 3, 4)}
                assert {AlarmKind.LANE_FORKED, AlarmKind.HUB_MOVED} <= await node.ever()
                assert not AGREES_NOT & await node.alarms()
                assert len(await node.stops()) == 1, "receipts that never reached the hub: a person looks"
                relay = await node.office.store.relays.get(UsagePointId("up-t-a0-0"))
                assert relay is not None
                assert (relay.state, relay.cause, relay.operation) == (RelayState.DISCONNECTED, Cause.DEBT, "op-1")
                assert (await hub.store.read(lambda tx: tx.node(A))).epoch > 1  # type: ignore[union-attr]

    asyncio.run(story())


def test_nobody_is_judged_before_the_lost_payments_are_known(tmp_path: Path) -> None:
    async def story() -> None:
        clock, folder = clock_at(), tmp_path / "office"
        async with hub_in(tmp_path / "hub", clock) as hub:
            async with running(folder, hub, clock) as node:
                await node.until(node.agreed, "the first agreement")
                backup = await copied(node, tmp_path / "backup")
                await node.pay(1)
                await node.until(node.agreed, "told")
            put_back(backup, folder)
            async with running(folder, hub, clock) as node:
                known_when_agreed = []

                async def looked() -> bool:
                    if await node.office.store.state.get(Mark.HUB_MOVED) is None and await node.agreed():
                        known_when_agreed.append(await node.office.payments_known())
                    return len(known_when_agreed) > 1

                await node.pay(2)
                ever_unsettled = False

                async def unsettled() -> bool:
                    nonlocal ever_unsettled
                    ever_unsettled = not await node.office.store.state.reconciled()
                    return ever_unsettled

                await node.until(unsettled, "it notices")
                await node.until(looked, "it agrees")
                assert known_when_agreed[0] == {"pay-node-a-1", "pay-node-a-2"}

    asyncio.run(story())


def test_an_empty_machine_gets_back_what_its_hub_holds(tmp_path: Path) -> None:
    async def story() -> None:
        clock, folder = clock_at(), tmp_path / "office"
        async with hub_in(tmp_path / "hub", clock) as hub:
            async with running(folder, hub, clock) as node:
                await node.pay(1)
                await node.move(1, Movement.CUT, Outcome.CONFIRMED)
                await node.move(2, Movement.RESTORE, None)
                await node.until(node.agreed, "told")
            async with running(tmp_path / "empty", hub, clock) as node:
                await node.until(node.agreed, "the empty machine")
                assert await node.office.payments_known() == {"pay-node-a-1"}
                outcomes = {one.id: one.outcome for one in await node.operations()}
                assert outcomes == {"op-1": Outcome.CONFIRMED, "op-2": Outcome.UNCONFIRMED}
                assert (await hub_operations(hub))["op-2"] == "unconfirmed"
                assert len(await node.stops()) == 1

    asyncio.run(story())


def test_one_id_with_two_contents_is_named_on_both_sides_and_overwritten_on_neither(tmp_path: Path) -> None:
    async def story() -> None:
        clock, folder = clock_at(), tmp_path / "office"
        async with hub_in(tmp_path / "hub", clock) as hub:
            async with running(folder, hub, clock) as node:
                await node.until(node.agreed, "the first agreement")
                backup = await copied(node, tmp_path / "backup")
                await node.pay(1, amount=500_00)
                await node.until(node.agreed, "told")
            put_back(backup, folder)
            async with running(folder, hub, clock) as node:
                await node.pay(1, amount=700_00)
                await node.until(node.agreed, "in spite of the conflict")
                assert await hub_ledger(hub) == {"pay-node-a-1": 500_00}
                ledger = node.office.store.ledger
                here = await node.office.store.control.read(lambda conn: ledger.find(conn, "pay-node-a-1"))
                assert here is not None
                assert here.amount_tiyin == 700_00
                assert AlarmKind.LEDGER_CONFLICT in await node.alarms()
                assert {row.id for row in await hub.store.read(lambda tx: tx.conflicts(9))} == {"pay-node-a-1"}
                assert '"conflicts": 1' in str((await node.marks())["recalled"])

    asyncio.run(story())


def test_of_two_copies_at_once_one_goes_on_and_the_other_waits(tmp_path: Path) -> None:
    async def story() -> None:
        clock = clock_at()
        async with hub_in(tmp_path / "hub", clock) as hub, running(tmp_path / "one", hub, clock) as one:
            await one.pay(1)
            await one.until(one.agreed, "the first agreement")
            backup = await copied(one, tmp_path / "other")
            await one.pay(2)
            await one.until(one.agreed, "it goes on")
            await _attested_since(one, clock)
            async with running(backup, hub, clock) as other:
                await other.pay(3)

                async def fenced() -> bool:
                    return await other.office.store.state.get(Mark.FENCED) is not None

                await other.until(fenced, "the copy waits")
                assert not await other.office.store.state.reconciled()
                assert AlarmKind.NODE_COPIED in await other.alarms()
                assert (None, "node_copied") in await hub_alarms(hub)
                for number in (4, 5, 6):
                    await one.pay(number)
                    await _both(one, other, clock, 400)
                    assert await fenced(), "as long as the first one is heard"
                assert "pay-node-a-3" not in await hub_ledger(hub), "nothing goes up from the copy"
                assert (await hub.store.read(lambda tx: tx.node(A))).epoch == 1, "and no epoch is minted"  # type: ignore[union-attr]
                assert await one.agreed()
                await one.stop()
                clock.at += TAKEOVER_S + 1
                await other.until(other.agreed, "the first one is gone")
                assert await other.office.payments_known() == {f"pay-node-a-{number}" for number in range(1, 7)}
                assert set(await hub_ledger(hub)) == {f"pay-node-a-{number}" for number in range(1, 7)}
                assert len(await other.stops()) == 1
                await _attested_since(other, clock)
                one.start()

                async def one_fenced() -> bool:
                    return await one.office.store.state.get(Mark.FENCED) is not None

                await one.until(one_fenced, "the first one comes back and waits")

    asyncio.run(story())


async def _attested_since(node: Node, clock: SharedClock) -> None:
    """Let the tickets of other copies grow old: the one that goes on has to have moved on from it."""
    ticket = (await node.marks())["ticket"]

    async def moved_on() -> bool:
        node.office.wakeups.outbox.set()
        return (await node.marks())["ticket"] != ticket

    clock.at += 301
    await node.until(moved_on, "a new ticket")


async def _both(one: Node, other: Node, clock: SharedClock, seconds: int) -> None:
    until = clock.at + seconds

    async def later() -> bool:
        return clock.at >= until

    for node in (one, other):
        node.office.wakeups.outbox.set()
    await one.until(later, "time passes")


def test_a_cashier_who_asks_again_after_the_backup_pays_once(tmp_path: Path) -> None:
    """The request and its entry were forgotten here; the hub gave the entry back."""

    async def story() -> None:
        clock, folder = clock_at(), tmp_path / "office"
        async with hub_in(tmp_path / "hub", clock) as hub:
            async with running(folder, hub, clock) as node:
                await node.until(node.agreed, "the first agreement")
                backup = await copied(node, tmp_path / "backup")
                first = await node.desk().take(AccountId("acc-up-t-a0-0"), 500_00, "cashier", "request-1")
                await node.until(node.agreed, "told")
            put_back(backup, folder)
            async with running(folder, hub, clock) as node:
                await node.pay(9)
                await node.until(node.agreed, "after the backup")
                clock.at += 60
                again = await node.desk().take(AccountId("acc-up-t-a0-0"), 500_00, "cashier", "request-1")
                assert (again.repeated, again.entry) == (True, first.entry)
                with pytest.raises(PaymentFault) as refused:
                    await node.desk().take(AccountId("acc-up-t-a0-0"), 700_00, "cashier", "request-1")
                assert refused.value.code == "TQ-PY-05"

    asyncio.run(story())


def test_hours_and_days_of_the_new_epoch_win_over_those_of_the_lost_life_and_never_the_other_way(
    tmp_path: Path,
) -> None:
    """Both lives closed them under the same revisions, with other content."""

    async def story() -> None:
        clock, folder = clock_at(), tmp_path / "office"
        async with hub_in(tmp_path / "hub", clock) as hub:
            async with running(folder, hub, clock) as node:
                await node.until(node.agreed, "the first agreement")
                backup = await copied(node, tmp_path / "backup")
                await node.close(seed=1)
                await node.until(node.agreed, "told")
                lost = await hub_hours(hub)
            put_back(backup, folder)
            async with running(folder, hub, clock) as node:
                await node.stop()
                await node.close(seed=2)
                node.start()
                await node.until(node.agreed, "told again")
                assert await hub.situation.quarantine(None, 9) == []
                found = await hub_hours(hub)
                assert found != lost
                assert {epoch for _, epoch in found} == {(await node.epochs())["interval"]}

    asyncio.run(story())


def test_an_ordinary_restart_never_waits(tmp_path: Path) -> None:
    async def story() -> None:
        clock, folder = clock_at(), tmp_path / "office"
        async with hub_in(tmp_path / "hub", clock) as hub:
            for number in range(4):
                async with running(folder, hub, clock) as node:
                    await node.pay(number)
                    await node.until(node.agreed, f"life {number}")
                    assert AlarmKind.NODE_COPIED not in await node.ever()
                    assert await node.stops() == []
            assert len(await hub_ledger(hub)) == 4

    asyncio.run(story())
