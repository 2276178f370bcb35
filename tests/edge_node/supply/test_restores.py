"""Restores: a payment wins at every point of a cut, and is carried out for as long as it takes."""

import asyncio
from pathlib import Path

from edge_node.store.operations import Operation, Outcome
from edge_node.supply.explain import explain
from gridmodel.control import Cause, RelayState
from gridmodel.record import Protection, ProtectionKind
from tests.edge_node.supply.network import meter_id, point_id
from tests.edge_node.supply.office import DAY, Office, alarms, told


def test_a_debtor_is_cut_with_a_basis_and_restored_by_the_payment(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        assert (await office.tick()).planned == 1
        assert office.meters.moved == []
        assert (await office.tick()).cuts == 1
        assert [(one[1], one[2]) for one in office.meters.moved] == [(meter_id(3), False)]
        row = await office.row(3)
        assert (row.state, row.cause, row.paid_at) == (RelayState.DISCONNECTED, Cause.DEBT, None)
        cut = (await office.operations(3))[0]
        assert (cut.outcome, cut.basis["reasons"], cut.mandate) == (Outcome.CONFIRMED, ["debt_overdue"], "mandate-1")
        assert cut.basis["overdue_tiyin"] == 10_000_000
        await office.tick()
        assert len(office.meters.moved) == 1
        await office.pay(3)
        assert office.wakeups.enforcement.is_set()
        await office.tick()
        row = await office.row(3)
        assert (row.state, row.cause, row.paid_at) == (RelayState.CONNECTED, None, None)
        assert (await office.operations(3))[0].basis["reasons"] == ["debt_cleared"]
        kinds = await office.control.read(
            lambda conn: conn.fetch_all("SELECT kind, count(*) FROM outbox_record GROUP BY kind ORDER BY kind")
        )
        assert dict(kinds) == {"ledger_entry": 1, "relay_operation": 4}

    told(tmp_path, story)


def test_a_payment_that_commits_before_the_command_wins(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick()
        places = office.enforcement.places()
        assert places is not None
        office.clock.at += 5
        place = places.at(point_id(3), office.clock.at)
        assert place is not None
        intended = await office.enforcement.door.intend_cut(place)
        assert isinstance(intended, Operation)
        await office.pay(3)
        assert await office.enforcement.door.release_cut(intended, place) is None
        assert office.meters.moved == []
        assert (await office.row(3)).state is RelayState.CONNECTED
        withheld = (await office.operations(3))[0]
        assert (withheld.outcome, withheld.basis["withheld"]) == (Outcome.WITHHELD, ["no_debt"])

    told(tmp_path, story)


def test_a_payment_during_the_command_restores_at_the_next_look(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick()
        payments: list[asyncio.Task[object]] = []
        office.meters.before_command = lambda meter, command: (
            payments.append(asyncio.ensure_future(office.pay(3))) if not payments else None
        )
        await office.tick()
        await asyncio.gather(*payments)
        await office.tick()
        assert [one[2] for one in office.meters.moved] == [False, True]
        assert (await office.row(3)).state is RelayState.CONNECTED

    told(tmp_path, story)


def test_part_of_the_debt_does_not_restore_and_all_of_it_does(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick_twice()
        await office.pay(3, 40_000)
        await office.tick()
        assert (await office.row(3)).state is RelayState.DISCONNECTED
        await office.pay(3, 60_000)
        await office.tick()
        assert (await office.row(3)).state is RelayState.CONNECTED

    told(tmp_path, story)


def test_a_silent_meter_is_tried_for_as_long_as_it_is_silent(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick_twice()
        office.meters.silent.add(meter_id(3))
        await office.pay(3)
        tries = 0
        for _ in range(120):
            tries += (await office.tick()).restores
            office.clock.at += 60
        assert 20 <= tries <= 60, "bounded, and never given up"
        assert ("paid_but_dark", point_id(3)) in await alarms(office)
        assert ("relay_unconfirmed", point_id(3)) in await alarms(office)
        assert len(await office.operations(3)) == 2, "one cut and one restore, told again and again"
        office.meters.silent.clear()
        office.clock.at += 300
        await office.tick()
        assert (await office.row(3)).state is RelayState.CONNECTED
        assert await alarms(office) == set()

    told(tmp_path, story)


def test_lost_replies_do_not_matter(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        office.meters.lose_replies.add(meter_id(3))
        await office.tick_twice()
        assert (await office.row(3)).state is RelayState.DISCONNECTED
        await office.pay(3)
        await office.tick()
        assert (await office.row(3)).state is RelayState.CONNECTED
        assert {one.outcome for one in await office.operations(3)} == {Outcome.CONFIRMED}

    told(tmp_path, story)


def test_a_payer_whose_cut_is_unconfirmed_is_told_to_connect(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick()
        office.meters.after_command = lambda meter, command: office.meters.silent.add(meter)
        office.meters.lose_replies.add(meter_id(3))
        await office.tick()
        assert (await office.row(3)).state is RelayState.CUT_UNCONFIRMED
        assert office.meters.closed[meter_id(3)] is False
        await office.pay(3)
        office.meters.after_command = None
        office.meters.silent.clear()
        await office.tick()
        assert (await office.row(3)).state is RelayState.CONNECTED
        assert [one.outcome for one in await office.operations(3)] == [Outcome.CONFIRMED, Outcome.UNCONFIRMED]

    told(tmp_path, story)


def test_a_stuck_relay_is_named_and_tried_again(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick_twice()
        office.meters.stuck.add(meter_id(3))
        await office.pay(3)
        await office.tick()
        assert (await office.row(3)).state is RelayState.DISCONNECTED
        assert (await office.operations(3))[0].outcome is Outcome.FAILED
        for _ in range(20):
            office.clock.at += 60
            await office.tick()
        assert ("paid_but_dark", point_id(3)) in await alarms(office)
        office.meters.stuck.clear()
        office.clock.at += 300
        await office.tick()
        assert (await office.row(3)).state is RelayState.CONNECTED

    told(tmp_path, story)


def test_a_new_protection_restores_and_a_safety_lock_outranks_everything(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.debtor(5)
        await office.tick_twice()
        now = office.clock.at
        lock = Protection("lock", ProtectionKind.SAFETY_LOCK, point_id(5), None, now, now + DAY, "dispatcher")
        await office.sources.records.put_protection(lock, now)
        medical = Protection("med", ProtectionKind.MEDICAL, point_id(3), None, now, now + DAY, "clinic")
        await office.sources.records.put_protection(medical, now)
        await office.pay(5)
        office.clock.at += 1000
        await office.tick()
        assert (await office.row(3)).state is RelayState.CONNECTED
        assert (await office.operations(3))[0].basis["reasons"] == ["protected_now"]
        assert (await office.row(5)).state is RelayState.DISCONNECTED
        told_ = await explain(office.enforcement, office.sources, point_id(5))
        assert told_["restored_by"][0]["code"] == "lock_removed"
        office.clock.at += DAY
        await office.tick()
        assert (await office.row(5)).state is RelayState.CONNECTED

    told(tmp_path, story)


def test_run_restores_when_woken(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick_twice()
        closed = asyncio.Event()
        office.meters.after_command = lambda meter, command: closed.set()
        running = asyncio.ensure_future(office.enforcement.run())
        await office.pay(3)
        async with asyncio.timeout(10):
            await closed.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert office.meters.closed[meter_id(3)] is True

    told(tmp_path, story)
