"""What a clock is told at a start: the latest stamp that nothing spoke against, and what this boot already knew."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge_node.clock_memory import WRITTEN_AT
from edge_node.store.state import Mark
from gridmodel.clock import ClockDoubt, ClockTrust
from hosting.clocks import ScaledClock
from tests.edge_node.offices import BORN, Office, built, office

HOUR_S = 3_600


def at(given: Office, wall: float, boot: str = "b-2") -> Office:
    """The office on a machine whose wall shows `wall`."""
    return replace(given, clock=ScaledClock(wall=lambda: wall, monotonic=lambda: 7.0, boot=boot))


@pytest.mark.parametrize(
    ("wall", "doubt"),
    [
        pytest.param(7.0, ClockDoubt.BELOW_FLOOR, id="1970"),
        pytest.param(BORN - HOUR_S, ClockDoubt.BELOW_FLOOR, id="an hour back"),
        pytest.param(BORN + 60.0, ClockDoubt.UNCONFIRMED, id="a minute later"),
        pytest.param(BORN + 9 * 365 * 24 * HOUR_S, ClockDoubt.UNCONFIRMED, id="years later"),
    ],
)
def test_no_wall_alone_is_believed_after_a_reboot(tmp_path: Path, wall: float, doubt: ClockDoubt) -> None:
    async def story() -> None:
        given = at(await office(tmp_path), wall)
        async with built(given):
            assert (given.clock.trust(), given.clock.doubts()) == (ClockTrust.DOUBTFUL, (doubt,))
            assert given.clock.bounds().earliest == BORN
            assert given.clock.now() >= BORN

    asyncio.run(story())


def test_a_payment_made_after_the_last_floor_is_a_floor(tmp_path: Path) -> None:
    """Up to a quarter of an hour lay between two floors: a wall set back behind a payment was in no doubt."""

    async def story() -> None:
        given = await office(tmp_path)
        async with built(given) as node:
            await given.clock.sleep(600)
            account = given.registry.accounts[0].id
            paid = await node.pay(account, 5_000, "p-cashier", "req-1")
        after = at(given, float(paid["at"] - 120))
        async with built(after):
            assert after.clock.doubts() == (ClockDoubt.BELOW_FLOOR,)
            assert after.clock.bounds().earliest >= paid["at"] - 60

    asyncio.run(story())


def test_the_same_boot_goes_on_and_a_new_machine_knows_when_the_program_was_written(tmp_path: Path) -> None:
    async def story() -> None:
        given = await office(tmp_path)
        async with built(given) as node:
            known = json.dumps({"boot": "b-2", "steady_s": 3.0, "at": BORN + 4_996.0})
            await node.store.state.put(Mark.CLOCK_ANCHOR, known)
        after = at(given, BORN + 5_000.0)
        async with built(after):
            assert (after.clock.trust(), after.clock.doubts()) == (ClockTrust.TRUSTED, ())
            assert not after.clock.confirmed(), "the hub has not spoken to this process"
        (tmp_path / "new").mkdir()
        new = at(await office(tmp_path / "new", registered=False), 7.0)
        async with built(new):
            assert new.clock.now() == WRITTEN_AT

    asyncio.run(story())
