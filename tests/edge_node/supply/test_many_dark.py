"""Thousands of dark homes: whoever pays or is protected is found among them, however many there are."""

import asyncio
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Case:
    """Whom a protection reaches, and how long after it was made known it begins."""

    numbers: tuple[int, ...] | None
    """Homes; None: the whole district."""
    later_s: int


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(_Case(None, 0), id="a moratorium, told at once"),
        pytest.param(_Case(tuple(range(9, 150, 20)), 400), id="homes here and there, by the clock alone"),
    ],
)
def test_a_protection_reaches_every_dark_home_within_a_quarter_of_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: _Case
) -> None:
    points = 150
    monkeypatch.setattr("edge_node.supply.enforcement.DARK_PER_TICK", 20)

    async def story(office: Office) -> None:
        for number in range(points):
            await office.charge(number, 100_000)
            office.meters.closed[meter_id(number)] = False
        office.clock.turns = 40  # movements go on while a look waits for the next one
        rows = [_dark(point_id(n), meter_id(n), Cause.DEBT, office.clock.at - DAY) for n in range(points)]
        await office.control.write(lambda conn: office.sources.relays.put(conn, rows))
        task = asyncio.create_task(office.enforcement.run())

        async def until(at: int) -> None:
            while office.clock.at < at:
                assert not task.done()
                await office.control.read(office.sources.relays.dark)

        try:
            await until(office.clock.at + 700)  # a round is over and another one is on its way
            now = office.clock.at
            since = now + case.later_s
            whom: tuple[int | None, ...] = case.numbers or (None,)
            for home in whom:
                shield = Protection(
                    f"shield-{home}",
                    ProtectionKind.MORATORIUM if home is None else ProtectionKind.MEDICAL,
                    None if home is None else point_id(home),
                    DISTRICT if home is None else None,
                    since,
                    since + DAY,
                    "person-1",
                )
                await office.sources.records.put_protection(shield, now)
            office.wakeups.enforcement.set()
            await until(since + 900)
        finally:
            task.cancel()
        dark = {row.usage_point for row in await office.control.read(office.sources.relays.dark)}
        assert dark & {point_id(n) for n in case.numbers or range(points)} == set()

    told(tmp_path, story, network=registry(points))
