"""One grid that speaks Modbus and DLMS on real sockets: both drivers read it, one truth stands behind them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gridmodel.reading import Channel
from hosting.clocks import SystemEntropy, SystemIoClock, seeded_rng
from protocols.dlms.driver import DlmsDriver
from protocols.driver import MeterTarget, RelayCommand, RelayContact, WritePermit
from protocols.errors import ProtocolFault
from protocols.modbus.driver import ModbusDriver
from simulate.byte_meters import REHEARSED, RehearsedKeys, displays_of
from simulate.dlms_fleet import DlmsOptions
from simulate.dlms_keys import Security
from simulate.dlms_models import shape_of
from simulate.face import MeterFaces
from simulate.fleet_door import ask_fleet
from simulate.grid import build_grid
from simulate.grid_registry import registry_of
from simulate.meters_run import FleetOptions, serve_fleet
from simulate.mixed_fleet import MixedFleet
from simulate.truth import GridTruth
from tests.protocols.dlms.recording import MemoryCounters
from tests.protocols.modbus.scripted import HandClock, run
from tests.simulate.rigs import ORIGIN, PROFILES, free_listen, impatient, spec

HOMES = "dlms_hls_single"
NOON = ORIGIN + 12 * 3_600
PROFILE = impatient(PROFILES[HOMES])
GRID = build_grid(replace(spec(points=30), home_profile=HOMES))


class Street:
    """The fleet, its addresses and a driver for each protocol."""

    def __init__(self) -> None:
        self.clock = HandClock(NOON)
        listen = free_listen()
        self.listens = {"modbus": listen, "dlms": replace(free_listen(), host=listen.host)}
        truth = GridTruth(GRID, PROFILES, displays_of([HOMES], PROFILES))
        self.fleet = MixedFleet(
            MeterFaces(truth),
            self.listens,
            self.clock,
            DlmsOptions(shape_of(PROFILES[HOMES]), Security.GMAC, REHEARSED),
            entropy=SystemEntropy(),
        )
        io, rng = SystemIoClock(), seeded_rng(1)
        self.drivers: dict[str, ModbusDriver | DlmsDriver] = {
            "modbus": ModbusDriver(PROFILES, clock=self.clock, io_clock=io, rng=rng),
            "dlms": DlmsDriver(
                {HOMES: PROFILE},
                keys=RehearsedKeys(b"TMQ\x00\x00\x00\x00\x01"),
                counters=MemoryCounters(),
                entropy=SystemEntropy(),
                clock=self.clock,
                io_clock=io,
                rng=rng,
            ),
        }
        registry = registry_of(GRID, self.listens["modbus"], elsewhere={HOMES: self.listens["dlms"]})
        self.targets = [MeterTarget(m.id, m.serial, m.profile, m.address, m.unit) for m in registry.meters]

    def driver(self, target: MeterTarget) -> ModbusDriver | DlmsDriver:
        return self.drivers[PROFILES[target.profile].protocol]


@asynccontextmanager
async def street() -> AsyncIterator[Street]:
    made = Street()
    await made.fleet.start()
    try:
        yield made
    finally:
        for driver in made.drivers.values():
            await driver.close()
        made.fleet.close()
        await asyncio.sleep(0)


def test_every_meter_is_read_by_its_own_protocol() -> None:
    async def main() -> None:
        async with street() as one:
            spoken = {PROFILES[target.profile].protocol for target in one.targets}
            assert spoken == {"modbus", "dlms"}
            for index, target in enumerate(one.targets):
                seen = await one.driver(target).read(target)
                shown = one.fleet.grid_truth.registers_at(index, NOON)
                assert seen.registers[Channel.IMPORT] == shown.import_wh
                assert seen.serial in {target.serial, None}
            assert one.fleet.served > len(one.targets)

    run(main())


def test_a_relay_moved_over_dlms_shows_in_the_street_and_in_the_memory() -> None:
    async def main() -> None:
        async with street() as one:
            index = next(n for n, point in enumerate(GRID.points) if point.profile == HOMES)
            target = one.targets[index]
            driver = one.driver(target)
            await driver.control(target, RelayCommand.OPEN, WritePermit("intent", RelayCommand.OPEN))
            assert (await driver.read_relay(target)).state is RelayContact.OPEN
            assert not one.fleet.grid_truth.connected(index)
            assert [(move.meter, move.closed) for move in one.fleet.memory.moves] == [(target.meter, False)]
            before = one.fleet.grid_truth.registers_at(index, NOON).import_wh
            one.clock.at = NOON + 3_600
            assert (await driver.read(target)).registers[Channel.IMPORT] == before

    run(main())


def test_silence_is_silence_in_both_protocols() -> None:
    async def main() -> None:
        async with street() as one:
            ends = {PROFILES[target.profile].protocol: target for target in one.targets}
            for target in ends.values():
                one.fleet.silent.add(one.targets.index(target))
                with pytest.raises(ProtocolFault):
                    await one.driver(target).read(target)

    run(main())


def test_a_grid_with_both_is_served_as_a_process_serves_it(tmp_path: Path) -> None:
    async def main() -> None:
        listen, stop, ready = free_listen(), asyncio.Event(), asyncio.get_running_loop().create_future()
        dlms = DlmsOptions(shape_of(PROFILES[HOMES]), Security.GMAC, REHEARSED)
        options = FleetOptions(
            listen, door=tmp_path / "w", dlms=dlms, dlms_listen=replace(free_listen(), host=listen.host)
        )
        work = asyncio.ensure_future(
            serve_fleet(GRID.spec, options, clock=HandClock(NOON), stop=stop, ready=ready.set_result)
        )
        fleet = await asyncio.wait_for(ready, 20)
        home = next(str(point.meter) for point in GRID.points if point.profile == HOMES)
        supply = str(GRID.supplies[0].meter)
        assert (await ask_fleet(tmp_path / "w", {"do": "press", "meter": home}))["meter"] == home
        assert (await ask_fleet(tmp_path / "w", {"do": "summary"}))["meters"] == len(GRID.meters) == fleet.count
        with pytest.raises(Exception, match="these meters know nothing of press"):
            await ask_fleet(tmp_path / "w", {"do": "press", "meter": supply})
        stop.set()
        await work

    run(main())
