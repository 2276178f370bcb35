"""What polls see, what explain says: strangers at the relay, late contacts, exchanged meters, damaged rows."""

from pathlib import Path

import pytest

from edge_node.store.alarms import clear_alarm, raise_alarm
from edge_node.store.operations import Outcome
from edge_node.store.relays import Sighting
from edge_node.supply.explain import ExplainFault, explain
from edge_node.supply.preview import preview
from gridmodel.control import Cause, RelayState
from gridmodel.event import AlarmKind
from gridmodel.identity import UsagePointId
from gridmodel.record import Protection, ProtectionKind
from hosting.database import Connection
from tests.edge_node.supply.network import account_id, meter_id, point_id
from tests.edge_node.supply.office import DAY, Office, alarms, told
from tests.edge_node.supply.ports import MORNING


def test_a_cut_that_comes_late_is_still_ours_and_a_payment_lifts_it(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick()
        office.meters.stuck.add(meter_id(3))
        await office.tick()
        assert (await office.row(3)).state is RelayState.CONNECTED
        office.clock.at += 60
        office.meters.closed[meter_id(3)] = False
        await office.see_all()
        row = await office.row(3)
        assert (row.state, row.cause) == (RelayState.DISCONNECTED, Cause.DEBT)
        assert ("relay_moved_without_intent", point_id(3)) in await alarms(office)
        office.meters.stuck.clear()
        await office.pay(3)
        await office.tick()
        assert (await office.row(3)).state is RelayState.CONNECTED

    told(tmp_path, story)


def test_a_relay_opened_by_a_stranger_is_an_alarm_and_money_does_not_close_it(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        office.clock.at += 60
        office.meters.closed[meter_id(4)] = False
        office.meters.load_w[meter_id(4)] = 900
        await office.see_all()
        row = await office.row(4)
        assert (row.state, row.cause) == (RelayState.DISCONNECTED, Cause.SAFETY)
        found = await alarms(office)
        assert ("relay_moved_without_intent", point_id(4)) in found
        assert ("load_while_open", point_id(4)) in found
        await office.pay(4)
        await office.tick()
        assert office.meters.moved == []
        office.clock.at += 60
        office.meters.load_w[meter_id(4)] = 0
        await office.see_all()
        assert ("load_while_open", point_id(4)) not in await alarms(office)

    told(tmp_path, story)


def test_a_relay_closed_by_a_stranger_is_an_alarm(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick_twice()
        office.clock.at += 120
        office.meters.closed[meter_id(3)] = True
        await office.see_all()
        assert (await office.row(3)).state is RelayState.CONNECTED
        assert ("relay_moved_without_intent", point_id(3)) in await alarms(office)

    told(tmp_path, story)


def test_a_look_from_before_the_command_proves_nothing(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick_twice()
        old = Sighting(point_id(3), meter_id(3), "closed", 200, MORNING - 5)
        await office.sources.relays.record_sightings([old])
        await office.tick()
        assert (await office.row(3)).state is RelayState.DISCONNECTED
        assert await alarms(office) == set()

    told(tmp_path, story)


def test_a_damaged_row_cuts_nobody_and_is_named(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.control.write(
            lambda conn: conn.execute(
                "UPDATE ledger_entry SET amount_tiyin = amount_tiyin * 2 WHERE account = 'acc-003'"
            )
        )
        await office.tick_twice()
        assert office.meters.moved == []
        assert len(await office.sources.ledger.verify()) == 1
        places = office.enforcement.places()
        assert places is not None
        place = places.at(point_id(3), office.clock.at)
        assert place is not None
        judged = await office.enforcement.door.judge(place)
        assert "records_doubtful" in {reason.value for reason in judged.decision.reasons}
        await office.enforcement.door.plan_cut(place)
        assert ("row_damaged", point_id(3)) in await alarms(office)

    told(tmp_path, story)


def test_a_protection_that_names_another_point_now_lets_nobody_be_cut(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        medical = Protection(
            "p", ProtectionKind.MEDICAL, point_id(3), None, office.clock.at - DAY, office.clock.at + DAY, "clinic"
        )
        await office.sources.records.put_protection(medical, office.clock.at)
        await office.control.write(lambda conn: conn.execute("UPDATE protection SET usage_point = 'p-flipped'"))
        await office.tick_twice()
        assert office.meters.moved == []
        assert ("row_damaged", point_id(3)) in await alarms(office)

    told(tmp_path, story)


def test_a_stop_whose_row_is_altered_still_stops(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.sources.records.put_stop("stop-1", "chief", "fire", office.clock.at)
        await office.control.write(lambda conn: conn.execute("UPDATE cuts_stopped SET lifted_at = 7"))
        await office.tick_twice()
        assert office.meters.moved == []
        await office.sources.records.put_lift("chief", office.clock.at)
        await office.tick_twice()
        assert office.meters.moved != []

    told(tmp_path, story)


def test_an_exchanged_meter_keeps_the_cause(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick_twice()
        seen = Sighting(point_id(3), meter_id(3), "open", 0, office.clock.at + 60)
        row = await office.row(3)
        await office.control.write(
            lambda conn: conn.execute("UPDATE relay SET meter = 'm-old' WHERE usage_point = ?", (row.usage_point,))
        )
        office.clock.at += 120
        await office.sources.relays.record_sightings([seen])
        await office.tick()
        row = await office.row(3)
        assert (row.meter, row.state, row.cause) == (meter_id(3), RelayState.DISCONNECTED, Cause.DEBT)
        await office.pay(3)
        await office.tick()
        assert (await office.row(3)).state is RelayState.CONNECTED

    told(tmp_path, story)


def test_a_meter_that_waits_for_its_button_is_told_once(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick_twice()
        office.meters.silent.add(meter_id(3))
        await office.pay(3)
        await office.tick()
        office.clock.at += 30
        await office.sources.relays.record_sightings([Sighting(point_id(3), meter_id(3), "ready", 0, office.clock.at)])
        await office.tick()
        assert (await office.row(3)).state is RelayState.READY_FOR_RECONNECTION
        assert (await office.operations(3))[0].outcome is Outcome.READY
        for _ in range(20):
            office.clock.at += 60
            await office.tick()
        assert len(await office.operations(3)) == 2
        told_ = await explain(office.enforcement, office.sources, point_id(3))
        assert told_["restored_by"] == [{"code": "button", "label": "remedy.button"}]
        assert ("paid_but_dark", point_id(3)) in await alarms(office)
        office.clock.at += 60
        await office.sources.relays.record_sightings(
            [Sighting(point_id(3), meter_id(3), "closed", 100, office.clock.at)]
        )
        await office.tick()
        assert (await office.row(3)).state is RelayState.CONNECTED
        assert await alarms(office) == set()

    told(tmp_path, story)


def test_explain_and_preview_tell_without_writing(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.charge(4, 100_000)
        count = "SELECT count(*) FROM cut_plan"
        shown = await preview(office.enforcement, office.sources)
        assert (shown["cuts"], shown["restores"]) == (1, 0)
        assert shown["reasons_against"] == {"notice_missing": 1}
        assert await office.control.read(lambda conn: conn.fetch_one(count)) == (0,)
        on = await explain(office.enforcement, office.sources, point_id(4))
        assert on["supplied"] is True
        assert on["decision"]["reasons"] == [{"code": "notice_missing", "label": "reason.notice_missing"}]
        await office.tick_twice()
        off = await explain(office.enforcement, office.sources, point_id(3))
        assert off["supplied"] is False
        assert off["restored_by"][0] == {"code": "payment", "label": "remedy.payment", "amount_tiyin": 10_000_000}
        assert off["operations"][0]["basis"]["reasons"] == ["debt_overdue"]
        assert off["money"]["account"] == account_id(3)
        with pytest.raises(ExplainFault, match="TQ-SU-01"):
            await explain(office.enforcement, office.sources, UsagePointId("nobody"))

    told(tmp_path, story)


def test_every_movement_by_a_stranger_is_told_not_only_the_first(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        for closed in (False, True, False):
            office.clock.at += 3_600
            office.meters.closed[meter_id(4)] = closed
            await office.see_all()
        rows = await office.control.read(
            lambda conn: conn.fetch_all(
                "SELECT detail FROM alarm WHERE kind = 'relay_moved_without_intent' ORDER BY at"
            )
        )
        assert [detail.split(":")[0] for (detail,) in rows] == [
            "seen open while connected",
            "seen closed while disconnected",
            "seen open while connected",
        ]

    told(tmp_path, story)


def test_an_alarm_that_ends_and_begins_within_a_second_stands(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        async def verb(conn: Connection) -> None:
            for number in range(3):
                assert await raise_alarm(conn, AlarmKind.METER_SILENT, "m-1", f"{number}", office.clock.at)
                assert not await raise_alarm(conn, AlarmKind.METER_SILENT, "m-1", "again", office.clock.at)
                if number < 2:
                    await clear_alarm(conn, AlarmKind.METER_SILENT, "m-1", office.clock.at)

        await office.control.write(verb)
        assert ("meter_silent", "m-1") in await alarms(office)

    told(tmp_path, story)
