"""Commands that wait, hang or come late: a late cut dies, a hung call costs nobody his supply."""

import asyncio
from pathlib import Path

import pytest

from gridmodel.control import Cause, RelayState
from protocols.driver import MeterTarget, RelayCommand, WritePermit
from tests.edge_node.supply.network import meter_id
from tests.edge_node.supply.office import Office, opened, rules, told
from tests.edge_node.supply.ports import HandClock, Meters


class SlowToOpen(Meters):
    """Behind a gateway that has other things to do first."""

    gate: asyncio.Event

    async def control(self, target: MeterTarget, command: RelayCommand, permit: WritePermit) -> None:
        if command is RelayCommand.OPEN:
            await self.gate.wait()
        await super().control(target, command, permit)


def test_a_cut_that_waits_in_its_driver_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_node.supply.relay.CUT_S_MAX", 0.02)

    async def story() -> None:
        clock = HandClock()
        meters = SlowToOpen(clock)
        meters.gate = asyncio.Event()
        async with opened(tmp_path, clock=clock, meters=meters) as office:
            await office.permissions()
            await office.see_all()
            await office.debtor(3)
            await office.tick()
            await office.tick()  # ends when the movement has ended, without the command
            await office.pay(3)
            meters.gate.set()
            for _ in range(5):
                await office.tick()
            assert meters.moved == []
            assert (await office.row(3)).state is RelayState.CONNECTED

    asyncio.run(story())


def test_hung_calls_give_their_places_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen payers whose meters' calls hang hold every place there is; the seventeenth is restored all the same."""
    monkeypatch.setattr("edge_node.supply.relay.CALL_S_MAX", 0.02)
    everybody = rules(
        max_cuts_per_node_10min=1000,
        max_cuts_per_transformer_hour=1000,
        max_cuts_per_transformer_day_pct=100,
        max_cuts_per_node_day_pct=100,
    )

    async def story(office: Office) -> None:
        for number in range(17):
            await office.debtor(number)
        for _ in range(30):
            await office.tick()
            office.clock.at += 30
        office.meters.hung = {meter_id(number) for number in range(16)}
        for number in range(17):
            await office.pay(number)
        for _ in range(4):
            await office.tick()
        assert (await office.row(16)).state is RelayState.CONNECTED
        office.meters.hung = set()
        for _ in range(4):
            office.clock.at += 300
            await office.tick()
        assert {(await office.row(number)).state for number in range(17)} == {RelayState.CONNECTED}

    told(tmp_path, story, policy=everybody)


def test_our_cut_that_lands_after_its_restore_is_ours_and_money_clears_it(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick()
        office.meters.silent.add(meter_id(3))  # no reply: the command is under way in a gateway
        await office.tick()
        assert (await office.row(3)).state is RelayState.CUT_UNCONFIRMED
        await office.pay(3)
        office.meters.silent.clear()
        office.clock.at += 30
        await office.tick()
        assert (await office.row(3)).state is RelayState.CONNECTED
        office.meters.closed[meter_id(3)] = False  # now it arrives
        office.clock.at += 60
        await office.see_all()
        assert (await office.row(3)).cause in {Cause.DEBT, None}
        for _ in range(3):
            office.clock.at += 300
            await office.tick()
        assert (await office.row(3)).state is RelayState.CONNECTED

    told(tmp_path, story)
