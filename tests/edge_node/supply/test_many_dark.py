"""Thousands of dark homes: whoever pays or is protected is found among them, however many there are."""

import asyncio
from pathlib import Path

import pytest

from edge_node.store.relays import RelayRow
from gridmodel.control import Cause, RelayState
from gridmodel.identity import MeterId, UsagePointId
from gridmodel.record import Protection, ProtectionKind
from tests.edge_node.supply.network import DISTRICT, meter_id, point_id, registry
from tests.edge_node.supply.office import DAY, Office, told


def _dark(point: str, meter: str, cause: Cause, since: int) -> RelayRow:
    return RelayRow(
        UsagePointId(point),
        MeterId(meter),
        RelayState.DISCONNECTED,
        cause,
        since,
        since,
        0,
        operation=None,
        paid_at=None,
    )


@pytest.mark.parametrize("cause", [Cause.SAFETY, Cause.DEBT])
def test_a_payer_is_restored_at_once_behind_thousands_who_were_dark_before(tmp_path: Path, cause: Cause) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick_twice()
        assert (await office.row(3)).state is RelayState.DISCONNECTED
        others = [_dark(f"gone-{number}", f"m-gone-{number}", cause, 1) for number in range(6_000)]
        await office.control.write(lambda conn: office.sources.relays.put(conn, others))
        await office.pay(3)
        await office.tick()
        assert (await office.row(3)).state is RelayState.CONNECTED

    told(tmp_path, story)


def test_a_moratorium_reaches_every_dark_home_within_a_quarter_of_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = 150
    monkeypatch.setattr("edge_node.supply.enforcement.DARK_PER_TICK", 20)

    async def story(office: Office) -> None:
        for number in range(points):
            await office.charge(number, 100_000)
            office.meters.closed[meter_id(number)] = False
        rows = [_dark(point_id(n), meter_id(n), Cause.DEBT, office.clock.at - DAY) for n in range(points)]
        await office.control.write(lambda conn: office.sources.relays.put(conn, rows))
        task = asyncio.create_task(office.enforcement.run())
        try:
            while office.clock.at % 300 < 120:  # somewhere between two looks at those who owe
                await office.control.read(office.sources.operations.plans)
            now = office.clock.at
            moratorium = Protection("mora-1", ProtectionKind.MORATORIUM, None, DISTRICT, now, now + DAY, "person-1")
            await office.sources.records.put_protection(moratorium, now)
            office.wakeups.enforcement.set()
            while office.clock.at < now + 900:
                await office.control.read(office.sources.relays.dark)
        finally:
            task.cancel()
        dark = [row.usage_point for row in await office.control.read(office.sources.relays.dark)]
        assert dark == []

    told(tmp_path, story, network=registry(points))
