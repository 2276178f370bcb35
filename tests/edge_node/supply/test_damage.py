"""Damaged rows: whoever is not concerned is restored as ever, whoever may be concerned is not cut."""

from pathlib import Path

import pytest

from edge_node.store.alarms import raise_alarm
from gridmodel.control import RelayState
from gridmodel.event import AlarmKind
from hosting.database import Connection
from tests.edge_node.supply.network import account_id, meter_id, point_id
from tests.edge_node.supply.office import Office, alarms, told


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE relay SET state = 'disconnectee' WHERE usage_point = 'up-004'",
        "UPDATE relay SET cause = 'debu', state = 'disconnected' WHERE usage_point = 'up-004'",
        "UPDATE relay_operation SET action = 'cur' WHERE usage_point = 'up-003'",
        "INSERT INTO relay_sighting VALUES ('up-004', 'm-004', 'closee', 1, 1776143000)",
    ],
)
def test_a_damaged_row_of_relays_stops_no_restore(tmp_path: Path, damage: str) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick_twice()
        assert (await office.row(3)).state is RelayState.DISCONNECTED

        async def hurt(conn: Connection) -> None:
            await conn.fetch_all("PRAGMA ignore_check_constraints = ON")
            assert await conn.execute(damage) == 1

        await office.control.write(hurt)
        await office.pay(3)
        for _ in range(3):
            await office.tick()
        assert (await office.row(3)).state is RelayState.CONNECTED

    told(tmp_path, story)


def test_a_payment_that_went_to_another_account_by_damage_holds_the_cut_and_is_shown(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.pay(3)
        await office.control.write(
            lambda conn: conn.execute(
                "UPDATE ledger_entry SET account = ? WHERE account = ? AND kind = 'payment'",
                (account_id(7), account_id(3)),
            )
        )
        await office.charge(3, 1, due_days_ago=1)  # the debts are worked out anew, without the payment
        await office.notify(3, 100_001)
        await office.tick_twice()
        assert office.meters.moved == []
        assert (AlarmKind.ROW_DAMAGED.value, point_id(3)) in await alarms(office)

    told(tmp_path, story)


def test_nobody_is_cut_where_another_meter_answers(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        at = office.clock.at
        await office.control.write(
            lambda conn: raise_alarm(conn, AlarmKind.WRONG_METER, meter_id(3), "'77' answered instead", at)
        )
        await office.tick_twice()
        assert office.meters.moved == []

    told(tmp_path, story)
