"""The fleet of benchmark `collector`: concentrators and their meters in a process and on a core of their own.

The meters are the simulator's, behind the simulator's concentrators; only their truth is simpler (each counts 250 Wh an
interval from a start of its own), and none is kept longer than its connection: it is made anew when it is asked again,
with higher counters of its own.
"""

import asyncio
import gc
import os
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import cast

from hosting.clocks import ScaledClock, SystemEntropy, seeded_rng
from hosting.process import make_room_for_files
from protocols.dlms.concentrators import METERS_FROM
from protocols.dlms.counters import COUNTER_MAX, Counter
from protocols.dlms.meter_side.model import ObjectTable
from simulate.concentrator import ConcentratorShape, Weather
from simulate.concentrator_fleet import ConcentratorFleet, ConcentratorPort
from simulate.dlms_fleet import DlmsOptions
from simulate.dlms_keys import Security
from simulate.dlms_meter import DlmsMeter
from simulate.dlms_shapes import SINGLE_PHASE
from simulate.fleet import MeterPort
from simulate.grid_registry import Listen
from simulate.truth import GridTruth, Registers

MODEL = "plc_wrapper"
INTERVAL_S = 900
WH_PER_INTERVAL = 250
COUNTERS_APART = 1_000
"""A meter that is made anew counts on from so far beyond."""
FILES_SPARE = 500


@dataclass(frozen=True)
class FleetPlan:
    """What the fleet's process is told."""

    host: str
    port: int
    meters: int
    each: int
    """Meters behind one concentrator."""
    core: int | None
    """The core that is its own; None: any."""
    weather: Weather
    dead_share: float
    seed: int = 1

    @property
    def listen(self) -> Listen:
        """Where the concentrators are."""
        return Listen(self.host, self.port, self.each, MODEL)

    def dead(self) -> set[int]:
        """The meters that never answer."""
        dice = seeded_rng(f"{self.seed}/dead")
        return {index for index in range(self.meters) if dice.random() < self.dead_share}


def serial_of(index: int) -> str:
    """The number on the front plate."""
    return str(11_000_001 + index)


def start_wh(index: int) -> int:
    """The register of a meter at the beginning of time."""
    return 1_000_000 + 37 * index


@dataclass
class _Spec:
    seed: int
    origin: int
    interval_minutes: int = INTERVAL_S // 60


class _Grid:
    def __init__(self, plan: FleetPlan, origin: int) -> None:
        self.spec = _Spec(plan.seed, origin)
        self.meters = range(plan.meters)

    def profile_of(self, index: int) -> str:
        del index
        return SINGLE_PHASE.name

    def serial_of(self, index: int) -> str:
        return serial_of(index)


class _Truth:
    """As much of `GridTruth` as a DLMS meter asks for, worked out and not kept."""

    def __init__(self, plan: FleetPlan, origin: int) -> None:
        self.grid = _Grid(plan, origin)
        self.end = origin

    def advance(self, now: int) -> None:
        self.end = now - now % INTERVAL_S

    def connected(self, index: int) -> bool:
        del index
        return True

    def registers_at(self, index: int, at: int) -> Registers:
        passed = (at - self.grid.spec.origin) // INTERVAL_S
        return Registers(start_wh(index) + WH_PER_INTERVAL * passed, 0)

    shown_at = registers_at
    """Nobody exchanges a meter here."""

    def serial_of(self, index: int) -> str:
        return serial_of(index)

    def stands_since(self, index: int) -> int:
        del index
        return self.grid.spec.origin

    def load_w(self, index: int, at: int) -> int:
        del index, at
        return WH_PER_INTERVAL * 3600 // INTERVAL_S


class _Fleet(ConcentratorFleet):
    """Concentrators whose meters live as long as somebody speaks to them."""

    _made = 0

    def meter(self, index: int) -> DlmsMeter:
        found = self._meters.get(index)
        if found is None:
            found = super().meter(index)
            self._made += 1
            found.device.counter = Counter(1 + self._made * COUNTERS_APART % (COUNTER_MAX // 2), COUNTER_MAX)
        return found

    def closed(self, port: MeterPort) -> None:
        super().closed(port)
        servers = cast("ConcentratorPort", port)._servers  # noqa: SLF001
        for number in servers:
            gone = self._meters.pop(port.units[number - METERS_FROM + 1], None)
            if gone is not None:
                _open_circles(gone)
        servers.clear()  # what is still under way to it finds a meter that knows nothing


def _open_circles(meter: DlmsMeter) -> None:
    """Let a meter that nobody speaks to any more die by itself: hundreds a second would wait for the collector."""
    for one in cast("ObjectTable", meter.device.model)._objects.values():  # noqa: SLF001
        vars(one).clear()


def serve(pipe: Pipe, plan: FleetPlan) -> None:
    """Hear the calendar, listen, and run until anything else is heard; then tell what was done."""
    if plan.core is not None:
        os.sched_setaffinity(0, {plan.core})
    pipe.send("here")
    asyncio.run(_serve(pipe, plan, pipe.recv()))


async def _serve(pipe: Pipe, plan: FleetPlan, calendar: tuple[float, float, float]) -> None:
    clock = ScaledClock(*calendar)
    truth = cast("GridTruth", _Truth(plan, int(calendar[0])))
    shape = ConcentratorShape(weather=plan.weather)
    options = DlmsOptions(SINGLE_PHASE, Security.GMAC)
    fleet = _Fleet(truth, plan.listen, clock, options, entropy=SystemEntropy(), count=plan.meters, shape=shape)
    fleet.silent.update(plan.dead())
    make_room_for_files(len(fleet.concentrators) * (1 + shape.connections_max) + FILES_SPARE)
    await fleet.start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 10)  # thousands of meters under way, some hundred objects each: walked once a minute
    pipe.send("ready")
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
    core = (time.process_time() - cpu) / (time.perf_counter() - wall)
    most_waiting = max(one.most_waiting for one in fleet.concentrators)
    pipe.send({**fleet.totals(), "most_waiting": most_waiting, "core_pct": round(100 * core, 1)})
    fleet.close()
    await asyncio.sleep(0)
