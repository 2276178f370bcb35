"""Concentrators on a free port with a driver before them, quick enough for tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from gridmodel.identity import MeterId
from hosting.clocks import SystemEntropy, SystemIoClock, seeded_rng
from protocols.dlms.concentrators import ConcentratorTable
from protocols.dlms.driver import DlmsDriver
from protocols.dlms.keys import MeterSecrets
from protocols.dlms.tables import TimingTable
from protocols.driver import MeterTarget
from protocols.profile import MeterProfile, RelayCapability
from simulate.concentrator import ConcentratorShape, Weather
from simulate.concentrator_fleet import ConcentratorFleet
from simulate.dlms_fleet import DlmsOptions
from simulate.dlms_keys import FleetSecrets, Security
from simulate.dlms_shapes import SINGLE_PHASE
from simulate.grid import GridSpec, build_grid
from simulate.grid_registry import Listen
from simulate.truth import GridTruth
from tests.protocols.dlms.recording import MemoryCounters
from tests.protocols.modbus.scripted import HandClock
from tests.simulate.rigs import ORIGIN, PROFILES, ZONE, Rig, free_listen

MODEL = "bench"
NOW = ORIGIN + 10 * 3600 + 60
"""In the morning: no evening loss."""
EVENING = ORIGIN + 19 * 3600
FAIR = Weather(p50_s=0.004, p95_s=0.01, loss=0.0, evening_loss=0.15)
TIMEOUT_S = 0.31
WITH_RELAY, WITHOUT = "dlms_hls_single", "dlms_hls_without_relay"


class FleetKeys:
    """The secrets that every meter of a simulated fleet has."""

    def client_title(self) -> bytes:
        return bytes.fromhex("544D5100000000A1")

    def secrets_of(self, meter: MeterId) -> MeterSecrets:
        secrets = FleetSecrets()
        return MeterSecrets(
            block_key=secrets.keys.block_key,
            authentication_key=secrets.keys.authentication_key,
            password=secrets.password,
        )


def profiles_of() -> dict[str, MeterProfile]:
    """The model of the fleet's meters, and the same read without its relay."""
    full = PROFILES[WITH_RELAY]
    section = {key: value for key, value in full.section.items() if key != "relay"}
    bare = replace(full, name=WITHOUT, relay=RelayCapability.NONE, section=MappingProxyType(section), writes_allowed=())
    return {WITH_RELAY: full, WITHOUT: bare}


@dataclass
class Behind:
    """What a test holds in its hands."""

    fleet: ConcentratorFleet
    driver: DlmsDriver
    clock: HandClock
    targets: list[MeterTarget]

    def truth_wh(self, index: int) -> int:
        return self.fleet.grid_truth.registers_at(index, self.clock.now()).import_wh


@asynccontextmanager
async def behind(
    points: int = 12,
    each: int = 12,
    *,
    shape: ConcentratorShape | None = None,
    now: int = NOW,
    associations_max: int = 6,
    timing: dict[str, Any] | None = None,
) -> AsyncIterator[Behind]:
    """So many meters behind concentrators of `each`, and a driver that knows them by the model `MODEL`."""
    clock = HandClock(now)
    spec = GridSpec("n1", ZONE, ("1718203",), points, 1, ORIGIN, interval_minutes=60, profile=SINGLE_PHASE.name)
    truth = GridTruth(build_grid(spec), PROFILES, {SINGLE_PHASE.name: SINGLE_PHASE})
    free = free_listen()
    listen = Listen(free.host, free.port, each, MODEL)
    made = shape or ConcentratorShape(weather=FAIR, connections_max=associations_max + 2, round_s=0)
    options = DlmsOptions(SINGLE_PHASE, Security.GMAC)
    fleet = ConcentratorFleet(truth, listen, clock, options, entropy=SystemEntropy(), count=points, shape=made)
    patience = {"timeout_ms": int(TIMEOUT_S * 1000), "connect_timeout_ms": 1_000, "retries": 0} | (timing or {})
    table = ConcentratorTable(
        make="bench", model="bench", associations_max=associations_max, timing=TimingTable.model_validate(patience)
    )
    driver = DlmsDriver(
        profiles_of(),
        keys=FleetKeys(),
        counters=MemoryCounters(),
        entropy=SystemEntropy(),
        clock=clock,
        io_clock=SystemIoClock(),
        rng=seeded_rng(1),
        concentrators={MODEL: table},
    )
    grid = truth.grid
    targets = [
        MeterTarget(grid.meters[index], grid.serial_of(index), WITH_RELAY, *listen.address(index))
        for index in range(points)
    ]
    await fleet.start()
    try:
        yield Behind(fleet, driver, clock, targets)
    finally:
        await driver.close()
        fleet.close()
        await asyncio.sleep(0)


@dataclass(frozen=True)
class _Faces:
    truth: GridTruth
    plain: frozenset[int]

    def relay_of(self, index: int) -> object | None:
        return None if index in self.plain else SINGLE_PHASE.relay


@asynccontextmanager
async def concentrator_rig() -> AsyncIterator[Rig]:
    """The rig of the driver's contract; the last three meters are read by a profile without a relay."""
    calm = ConcentratorShape(weather=replace(FAIR, evening_loss=0.0), round_s=0)
    async with behind(10, 5, shape=calm, timing={"timeout_ms": 1_000}) as made:
        bare = frozenset(range(7, 10))
        targets = [replace(one, profile=WITHOUT) if n in bare else one for n, one in enumerate(made.targets)]

        def silence(meters: set[int]) -> None:
            made.fleet.silent.clear()
            made.fleet.silent.update(meters)

        yield Rig(made.driver, _Faces(made.fleet.grid_truth, bare), made.clock, targets, silence)
