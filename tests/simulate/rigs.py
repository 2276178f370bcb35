"""Small grids, fleets on free ports, and drivers before them, for tests of several houses."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from gridmodel.period import day_bounds
from hosting.clocks import SystemIoClock, seeded_rng
from protocols.dlms.driver import DlmsDriver
from protocols.dlms.section import dlms_plan
from protocols.driver import MeterDriver, MeterTarget
from protocols.modbus.codec import Framing
from protocols.modbus.driver import ModbusDriver
from protocols.profile import MeterProfile, load_profiles
from simulate.driver import MeterFaults, SimDriver
from simulate.face import MeterFaces
from simulate.grid import GridSpec, build_grid
from simulate.grid_registry import Listen, registry_of
from simulate.meters import Fleet
from simulate.truth import GridTruth
from tests.protocols.dlms.parties import CountingEntropy
from tests.protocols.dlms.recording import MemoryCounters
from tests.protocols.dlms.served import ServedMeter, Wire, served
from tests.protocols.dlms.table_keys import TableKeys
from tests.protocols.modbus.scripted import HandClock

ZONE = "Asia/Samarkand"
ORIGIN = day_bounds("2026-05-05", ZONE)[0]
PROFILES = load_profiles()


def spec(points: int = 20, seed: int = 1, districts: tuple[str, ...] = ("1718203",), minutes: int = 60) -> GridSpec:
    return GridSpec("n1", ZONE, districts, points, seed, ORIGIN, interval_minutes=minutes)


def faces_of(given: GridSpec) -> MeterFaces:
    return MeterFaces(GridTruth(build_grid(given), PROFILES))


def free_listen(units: int = 1) -> Listen:
    """Addresses of this process's own, and a port that the system calls free."""
    pid = os.getpid()
    host = f"127.{10 + pid % 200}.{pid // 200 % 250}.1"
    with socket.socket() as probe:
        probe.bind((host, 0))
        return Listen(host, probe.getsockname()[1], units)


class Faces(Protocol):
    """What a test compares a driver with."""

    @property
    def truth(self) -> GridTruth: ...

    def relay_of(self, index: int) -> object | None:
        """The relay of that meter, if it has one."""


@dataclass
class Rig:
    """A driver, the meters behind it, and the hands to move them."""

    driver: MeterDriver
    faces: Faces
    clock: HandClock
    targets: list[MeterTarget]
    silence: Callable[[set[int]], None]
    """Exactly these meters do not answer."""


@asynccontextmanager
async def modbus_rig(framing: Framing, units: int) -> AsyncIterator[Rig]:
    clock = HandClock(ORIGIN + 10 * 3600 + 60)
    faces = faces_of(spec(points=10))
    fleet = Fleet(faces, free_listen(units), clock, framing=framing)
    await fleet.start()
    driver = ModbusDriver(PROFILES, clock=clock, io_clock=SystemIoClock(), rng=seeded_rng(1))

    def silence(meters: set[int]) -> None:
        fleet.silent = meters

    try:
        yield Rig(driver, faces, clock, targets_of(faces, fleet.listen, f"{framing.value}://"), silence)
    finally:
        await driver.close()
        fleet.close()
        await asyncio.sleep(0)


def impatient(profile: MeterProfile) -> MeterProfile:
    """The same profile with the shortest timeout there is, so that silence is soon noticed."""
    timing = {"timeout_ms": 310, "connect_timeout_ms": 1_000, "retries": 0}
    return replace(profile, section={**profile.section, "timing": timing})


def dlms_source(faces: MeterFaces, index: int) -> Callable[[str, int], int | None]:
    """What a DLMS meter in the place of that one shows."""

    def source(key: str, now: int) -> int | None:
        truth = faces.truth
        energy = truth.registers_at(index, now)
        shown = {"import": energy.import_wh, "export": energy.export_wh, "power_w": truth.load_w(index, now)}
        if key in shown:
            return shown[key]
        return 230_000 if key.startswith("voltage") else 50_000 if key.startswith("frequency") else 0

    return source


@asynccontextmanager
async def dlms_rig(with_relay: str, without: str) -> AsyncIterator[Rig]:
    """The same grid, its meters replaced by DLMS meters of two profiles, each on a port and with keys of its own."""
    clock = HandClock(ORIGIN + 10 * 3600 + 60)
    faces = faces_of(spec(points=10))
    profiles = {name: impatient(PROFILES[name]) for name in (with_relay, without)}
    keys = TableKeys()
    driver = DlmsDriver(
        profiles,
        keys=keys,
        counters=MemoryCounters(),
        entropy=CountingEntropy(1_000_000),
        clock=clock,
        io_clock=SystemIoClock(),
        rng=seeded_rng(1),
    )
    wires: list[Wire] = []
    targets: list[MeterTarget] = []
    async with AsyncExitStack() as stack:
        for index, target in enumerate(targets_of(faces, Listen("127.0.0.1", 502), "")):
            name = with_relay if faces.relay_of(index) else without
            meter = ServedMeter(
                dlms_plan(profiles[name]),
                target.serial,
                dlms_source(faces, index),
                unit=target.unit,
                secrets=keys.secrets_of(target.meter),
                title=keys.title_of(target.meter),
            )
            meter.relay.moved = lambda closed, now, moved=target.meter: faces.truth.move_relay(
                moved, closed=closed, at=now
            )
            wires.append(await stack.enter_async_context(served(meter, clock.now)))
            targets.append(replace(target, profile=name, address=wires[-1].address))

        def silence(meters: set[int]) -> None:
            for index, wire in enumerate(wires):
                wire.silent = index in meters

        try:
            yield Rig(driver, faces, clock, targets, silence)
        finally:
            await driver.close()
            await asyncio.sleep(0)


@asynccontextmanager
async def simulated_rig() -> AsyncIterator[Rig]:
    clock = HandClock(ORIGIN + 10 * 3600 + 60)
    faces = faces_of(spec(points=10))
    faults = MeterFaults(latency_s=0.001, timeout_s=0.05)
    driver = SimDriver([faces], clock=clock, io_clock=SystemIoClock(), rng=seeded_rng(1), faults=faults)

    def silence(meters: set[int]) -> None:
        faults.silent = frozenset(str(faces.truth.grid.meters[index]) for index in meters)

    yield Rig(driver, faces, clock, targets_of(faces, Listen("127.0.0.1", 502), ""), silence)
    await driver.close()


def targets_of(faces: MeterFaces, listen: Listen, scheme: str) -> list[MeterTarget]:
    registry = registry_of(faces.truth.grid, listen)
    return [MeterTarget(m.id, m.serial, m.profile, f"{scheme}{m.address}", m.unit) for m in registry.meters]
