"""A gateway with all the units there can be, one of them dead: the product's driver against the fleet, real sockets.

Judged by what arrived at the gateway and in which order, not by seconds.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import groupby

import pytest

from gridmodel.reading import Channel
from hosting.clocks import SystemIoClock, seeded_rng
from protocols.driver import MeterTarget
from protocols.errors import ProtocolFault
from protocols.modbus.codec import UNIT_MAX, Frame, Framing
from protocols.modbus.driver import ModbusDriver
from protocols.profile import MeterProfile
from protocols.resting import SILENCES_BEFORE_SUSPENSION, SUSPENSION_S
from simulate.meters import Fleet, ModbusPort
from tests.protocols.modbus.scripted import HandClock
from tests.simulate.rigs import ORIGIN, PROFILES, faces_of, free_listen, spec, targets_of

DEAD = 123
"""The dead unit, in the middle."""
BOUND_S = 60
"""Far beyond what it takes (about two seconds), far below 247 timeouts."""


class ListedPort(ModbusPort):
    """Notes whom each request was for."""

    def __init__(self, fleet: "ListedFleet", units: dict[int, int]) -> None:
        super().__init__(fleet, units)
        self._asked = fleet.asked

    def _serve(self, frame: Frame) -> None:
        self._asked.append(frame.unit)
        super()._serve(frame)


class ListedFleet(Fleet):
    """`asked` has the unit of each request, in the order of their arrival."""

    asked: list[int]

    def port(self, units: dict[int, int]) -> ListedPort:
        return ListedPort(self, units)

    def visits(self) -> list[int]:
        """Each unit once for the requests it got in a row; what was noted is forgotten."""
        units = [unit for unit, _ in groupby(self.asked)]
        self.asked.clear()
        return units


def hurried(profile: MeterProfile) -> MeterProfile:
    """The same profile without pauses and with the shortest timeout there is."""
    return replace(profile, section={**profile.section, "timing": {"timeout_ms": 310}})


@dataclass
class Place:
    """One gateway, full, with unit `DEAD` dead."""

    fleet: ListedFleet
    driver: ModbusDriver
    clock: HandClock
    targets: list[MeterTarget]

    @property
    def dead(self) -> MeterTarget:
        return self.targets[DEAD - 1]

    async def read(self, *targets: MeterTarget) -> dict[int, list[int | str]]:
        """Read all of them at once: unit to the import register or the fault's code, of each call."""
        seen = await asyncio.gather(*(self._register(target) for target in targets))
        found: dict[int, list[int | str]] = {}
        for target, one in zip(targets, seen, strict=True):
            found.setdefault(target.unit, []).append(one)
        return found

    def truth(self) -> dict[int, list[int | str]]:
        """What the living show."""
        now = self.clock.now()
        shown = {t.unit: self.fleet.grid_truth.registers_at(n, now).import_wh for n, t in enumerate(self.targets)}
        assert len(set(shown.values())) == UNIT_MAX, "equal registers could hide a swap"
        return {unit: [wh] for unit, wh in shown.items() if unit != DEAD}

    async def _register(self, target: MeterTarget) -> int | str:
        try:
            shown = (await self.driver.read(target)).registers[Channel.IMPORT]
        except ProtocolFault as fault:
            return fault.code
        return "no reading" if shown is None else shown


@asynccontextmanager
async def full_gateway(framing: Framing) -> AsyncIterator[Place]:
    clock = HandClock(ORIGIN + 10 * 3600 + 60)
    faces = faces_of(spec(points=UNIT_MAX))
    fleet = ListedFleet(faces, free_listen(UNIT_MAX), clock, framing=framing, count=UNIT_MAX)
    fleet.asked = []
    fleet.silent = {DEAD - 1}
    await fleet.start()
    profiles = {name: hurried(one) for name, one in PROFILES.items() if one.protocol == "modbus"}
    driver = ModbusDriver(profiles, clock=clock, io_clock=SystemIoClock(), rng=seeded_rng(1))
    try:
        targets = targets_of(faces, fleet.listen, f"{framing.value}://")[:UNIT_MAX]
        assert [target.unit for target in targets] == list(range(1, UNIT_MAX + 1))
        assert len({target.address for target in targets}) == 1
        yield Place(fleet, driver, clock, targets)
    finally:
        await driver.close()
        fleet.close()
        await asyncio.sleep(0)


@pytest.fixture(params=list(Framing))
def framing(request: pytest.FixtureRequest) -> Framing:
    made: Framing = request.param
    return made


def test_a_dead_unit_among_247_costs_the_living_one_timeout_and_rests(framing: Framing) -> None:
    async def main() -> None:
        async with full_gateway(framing) as place:
            five = [place.dead] * 5
            found = await place.read(*five, *place.targets[: DEAD - 1], *place.targets[DEAD:])
            asked = place.fleet.visits()
            outcome = Counter(found.pop(DEAD))
            assert outcome == {"TQ-MB-02": SILENCES_BEFORE_SUSPENSION, "TQ-MB-41": 2}
            assert found == place.truth()
            living = [unit for unit in range(1, UNIT_MAX + 1) if unit != DEAD]
            assert asked[:UNIT_MAX] == [DEAD, *living], "one timeout, then each of the living"
            assert set(asked[UNIT_MAX:]) == {DEAD}
            assert place.driver.suspended(place.dead)

    asyncio.run(asyncio.wait_for(main(), BOUND_S))


def test_a_dead_unit_among_247_is_probed_each_minute_until_it_lives(framing: Framing) -> None:
    async def main() -> None:
        async with full_gateway(framing) as place:
            await place.read(*[place.dead] * SILENCES_BEFORE_SUSPENSION)
            for minute in range(3):
                place.fleet.visits()
                for code in ("TQ-MB-41",) if minute == 0 else ("TQ-MB-02", "TQ-MB-41"):
                    found = await place.read(*place.targets)
                    assert found.pop(DEAD) == [code]
                    assert found == place.truth()
                asked = place.fleet.visits()
                assert asked.count(DEAD) == (0 if minute == 0 else 1), "the probe, and nothing else"
                place.clock.at += SUSPENSION_S
            place.fleet.silent.clear()
            found = await place.read(*place.targets)
            assert found.pop(DEAD) == [place.fleet.truth(place.dead.meter, place.clock.now())]
            assert found == place.truth()
            assert not place.driver.suspended(place.dead)

    asyncio.run(asyncio.wait_for(main(), BOUND_S))


def test_a_restore_behind_a_full_gateway_goes_before_246_polls_and_a_dead_unit(framing: Framing) -> None:
    async def main() -> None:
        async with full_gateway(framing) as place:
            index = next(n for n in range(UNIT_MAX) if n != DEAD - 1 and place.fleet.faces.relay_of(n))
            polls = [asyncio.ensure_future(place.driver.read(target)) for target in (place.dead, *place.targets)]
            await asyncio.sleep(0)
            await place.driver.read_relay(place.targets[index])
            assert place.fleet.visits()[:2] == [DEAD, index + 1]
            await asyncio.gather(*polls, return_exceptions=True)

    asyncio.run(asyncio.wait_for(main(), BOUND_S))
