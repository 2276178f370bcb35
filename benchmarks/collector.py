"""Benchmark `collector`: a node's metering path on one core, its meters behind concentrators on the other.

One real node's path from driver to store (DLMS with GMAC and AES-GCM over TCP, validation, alarms, SQLite with FULL)
reads meters at the rate at which a million are read each hour: 278 a second, each a session of its own (connect,
associate, prove, ask, release). The concentrators are the simulator's: half of the exchanges take 1.5 s, one in twenty
longer than 8 s, and each has the load that 1,000 meters an hour would give it (250 a quarter of an hour). The fleet
runs in another process; where there are two cores each has its own.

A meter is read once in a run, so that each session is a first one, which asks for scalers, too. Meters share their
keys, so that invocation counters are set aside for some sixteen sessions at once; with a key for each meter the first
hour after a start takes a transaction for each. *Lateness* is the time from a meter's due second to its answer, tries
that failed included; the first seconds, in which the widths of a thousand concentrators are learned, are left out.
"""

import asyncio
import gc
import multiprocessing
import os
import socket
import time
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.collector_fleet import FleetPlan, serial_of, serve
from benchmarks.edge_rig import Callbacks
from benchmarks.edge_store import registry_of as plain_registry
from benchmarks.figures import Figure, Report
from edge_node.metering.collector import Collector
from edge_node.metering.polling import offset_s
from edge_node.metering.rounds import Rounds
from edge_node.store.alarms import Alarms
from edge_node.store.field_works import FieldWorks
from edge_node.store.meter_counters import MeterCounters
from edge_node.store.readings import Readings
from edge_node.store.registries import Registries
from edge_node.store.relays import Relays
from edge_node.store.segments import Segments
from edge_node.wakeups import Wakeups
from gridmodel.identity import MeterId
from gridmodel.network import Meter
from gridmodel.registry import Registry
from hosting.clocks import ScaledClock, SystemEntropy, SystemIoClock, seeded_rng
from hosting.compute import ThreadCompute
from hosting.database import open_database
from hosting.migrations import load_migrations
from hosting.process import leave_alone_what_lives, make_room_for_files
from protocols.dlms.driver import DlmsDriver
from protocols.dlms.keys import MeterSecrets
from protocols.driver import Line, MeterSnapshot, MeterTarget, RelayCommand, RelayReading, WritePermit
from protocols.errors import ProtocolFault
from protocols.profile import load_profiles
from simulate.concentrator import Weather
from simulate.dlms_keys import FleetSecrets

NAME = "collector"
RATE = 278
"""Sessions a second: 1,000,000 an hour."""
SPREAD_S = 840
"""Seconds over which the meters of one interval are due; the rest of a quarter of an hour is for second tries."""
EACH = 250
"""Meters behind one concentrator, each quarter of an hour: the load of 1,000 an hour."""
WARM_S = 120
SECONDS = 600
SMOKE_RATE, SMOKE_EACH, SMOKE_WARM_S, SMOKE_SECONDS = 20, 50, 2, 4
READS_AT_ONCE = 8_000
PROFILE = "dlms_hls_single"
MORNING = 1_777_950_000
"""08:00 in Tashkent, and the end of an interval: no evening loss."""
PREPARE_S, SMOKE_PREPARE_S = 60.0, 15.0
"""Until registry, fleet and files are there."""
RATE_MIN = RATE * 0.98
"""What is due in a window is not what comes to its end in it."""
LATE_RATIO_MAX = 1.1
"""What counts as keeping their p99."""
CORES = sorted(os.sched_getaffinity(0))[:2]
MIB = 1 << 20


@dataclass(frozen=True)
class Run:
    """One run of the benchmark."""

    what: str
    rate: int
    each: int
    warm_s: int
    seconds: int
    weather: Weather
    dead_share: float = 0.0

    @property
    def meters(self) -> int:
        """As many as are due in the spread."""
        return self.rate * SPREAD_S


@dataclass
class Watched:
    """What was seen in the measured time."""

    sessions: int = 0
    failed: int = 0
    wrong: int = 0
    late_s: "array[float]" = field(default_factory=lambda: array("f"))
    codes: dict[str, int] = field(default_factory=dict)
    under_way: int = 0
    most_under_way: int = 0


class _WatchedDriver:
    """The DLMS driver with a look at each read."""

    def __init__(self, driver: DlmsDriver, begun: float, seen: Watched) -> None:
        self._driver = driver
        self._begun = begun
        self._seen = seen
        self.on = False

    def line(self, target: MeterTarget) -> Line:
        return self._driver.line(target)

    def width(self, key: str) -> int:
        return self._driver.width(key)

    async def read(self, target: MeterTarget) -> MeterSnapshot:
        seen = self._seen
        seen.under_way += 1
        seen.most_under_way = max(seen.most_under_way, seen.under_way)
        try:
            snapshot = await self._driver.read(target)
        except ProtocolFault as fault:
            if self.on:
                seen.failed += 1
                seen.codes[fault.code] = seen.codes.get(fault.code, 0) + 1
            raise
        finally:
            seen.under_way -= 1
        if self.on:
            seen.sessions += 1
            seen.late_s.append(time.time() - self._begun - offset_s(target.meter, SPREAD_S))
            seen.wrong += snapshot.serial != target.serial
        return snapshot

    async def read_relay(self, target: MeterTarget) -> RelayReading:
        return await self._driver.read_relay(target)

    async def control(self, target: MeterTarget, command: RelayCommand, permit: WritePermit) -> None:
        await self._driver.control(target, command, permit)

    async def close(self) -> None:
        await self._driver.close()


class _Keys:
    """The secrets that all meters of the fleet have."""

    def __init__(self) -> None:
        secrets = FleetSecrets()
        self._secrets = MeterSecrets(
            block_key=secrets.keys.block_key, authentication_key=secrets.keys.authentication_key
        )

    def client_title(self) -> bytes:
        return b"TMQ\x00\x00\x00\x00\x07"

    def secrets_of(self, meter: MeterId) -> MeterSecrets:
        del meter
        return self._secrets


def registry_of(plan: FleetPlan) -> Registry:
    """A district with that many meters behind the plan's concentrators."""
    plain = plain_registry(plan.meters)
    meters = tuple(
        Meter(meter.id, serial_of(index), PROFILE, *plan.listen.address(index))
        for index, meter in enumerate(plain.meters)
    )
    return replace(plain, meters=meters)


def _node(pipe: Pipe, run: Run, plan: FleetPlan, core: int | None) -> None:
    """The node's process: waits for word, measures, and sends what it found."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    with TemporaryDirectory() as folder:
        pipe.send(asyncio.run(_measure(Path(folder), run, plan)))


@asynccontextmanager
async def _node_path(folder: Path, plan: FleetPlan, seen: Watched) -> AsyncIterator[tuple[Collector, _WatchedDriver]]:
    """The metering path of a node over files in `folder`, as `edge_node.rooms` wires it."""
    clock, compute, wakeups = ScaledClock(*plan.calendar), ThreadCompute(), Wakeups()
    control = await open_database(
        folder / "control.db", "control", load_migrations("edge_node.store", "schema/control")
    )
    registry = registry_of(plan)
    readings = Readings(Segments(folder, open_database, registry.zone), bytes(32), compute)
    registries = Registries(control, registry.node, compute, FieldWorks(control, bytes(32)))
    registries._newest = registry.indexed()  # noqa: SLF001 — a document down the link has 200,000 points at most
    await readings.load()
    profiles = load_profiles()
    driver = DlmsDriver(
        profiles,
        keys=_Keys(),
        counters=MeterCounters(control),
        entropy=SystemEntropy(),
        clock=clock,
        io_clock=SystemIoClock(),
        rng=seeded_rng(1),
    )
    watched = _WatchedDriver(driver, plan.calendar[1], seen)
    alarms, relays = Alarms(control, registries.current().node), Relays(control)
    rounds = Rounds(control=control, readings=readings, alarms=alarms, relays=relays, clock=clock, wakeups=wakeups)
    collector = Collector(
        rounds,
        registries,
        drivers={"dlms": watched},
        profiles=profiles,
        clock=clock,
        compute=compute,
        spread_s=SPREAD_S,
        at_once_max=READS_AT_ONCE,
        settled=leave_alone_what_lives,
    )
    try:
        yield collector, watched
    finally:
        await driver.close()
        await readings.close()
        await control.close()
        compute.close()


def _free_place() -> tuple[str, int]:
    """Addresses of this process's own to count from, and a port that the system calls free there."""
    pid = os.getpid()
    host = f"127.{64 + pid % 150}.{pid // 150 % 200}.1"
    with socket.socket() as probe:
        probe.bind((host, 0))
        return host, int(probe.getsockname()[1])


async def _measure(folder: Path, run: Run, plan: FleetPlan) -> dict[str, Any]:
    make_room_for_files(READS_AT_ONCE + 500)
    seen, callbacks = Watched(), Callbacks()
    async with _node_path(folder, plan, seen) as (collector, driver):
        gc.collect()
        leave_alone_what_lives()
        await asyncio.sleep(max(0.0, plan.calendar[1] - time.time()))
        polling = asyncio.create_task(collector.run())
        await _pause(run.warm_s, polling)
        driver.on = True
        begun, peak_mib = time.perf_counter(), 0.0
        watched_s = max(1, run.seconds // 3)
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(run.seconds - watched_s):
            await _pause(1, polling)
            peak_mib = max(peak_mib, _rss_mib())
        core = (time.process_time() - cpu) / (time.perf_counter() - wall)
        with callbacks.watched():
            await _pause(watched_s, polling)
        driver.on = False
        passed, peak_mib = time.perf_counter() - begun, max(peak_mib, _rss_mib())
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
    late = sorted(seen.late_s)
    return {
        "run": run.what,
        "meters": run.meters,
        "concentrators": -(-run.meters // run.each),
        "seconds": round(passed),
        "warm_up_s": run.warm_s,
        "sessions_per_s": round(seen.sessions / passed, 1),
        "failed_tries_per_s": round(seen.failed / passed, 2),
        "codes": seen.codes,
        "wrong": seen.wrong,
        "core_pct": round(100 * core, 1),
        "cpu_ms_per_session": round(1_000 * core * passed / max(1, seen.sessions), 3),
        "late_s": {name: round(_share(late, share), 1) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))},
        "most_at_once": seen.most_under_way,
        "rss_mib": round(peak_mib),
        "longest_callback_ms": round(callbacks.longest_s * 1_000, 1),
        "slow_callbacks": callbacks.names[:5],
    }


async def _pause(seconds: float, polling: "asyncio.Task[None]") -> None:
    """Let the collector work; what ends it is raised."""
    done, _ = await asyncio.wait({polling}, timeout=seconds)
    for task in done:
        task.result()


def _share(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def _rss_mib() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


def _together(run: Run, prepare_s: float) -> dict[str, Any]:
    """One run: the fleet in one process, the node in another."""
    cores = CORES if len(CORES) > 1 else [None, None]
    calendar = (float(MORNING), time.time() + prepare_s, 1.0)
    plan = FleetPlan(*_free_place(), run.meters, run.each, calendar, cores[1], run.weather, run.dead_share)
    context = multiprocessing.get_context("spawn")
    fleet_pipe, fleet_end = context.Pipe()
    node_pipe, node_end = context.Pipe()
    fleet = context.Process(target=serve, args=(fleet_end, plan), daemon=True)
    node = context.Process(target=_node, args=(node_end, run, plan, cores[0]), daemon=True)
    for process, end in ((fleet, fleet_end), (node, node_end)):
        process.start()
        end.close()  # so that a process that dies is heard of
    try:
        _heard(fleet_pipe, prepare_s)
        found = dict(_heard(node_pipe, prepare_s + run.warm_s + run.seconds + 120))
        fleet_pipe.send("end")
        return found | {"fleet": _heard(fleet_pipe, 30)}
    finally:
        for process in (fleet, node):
            process.kill()
            process.join(5)


def _heard(pipe: Pipe, seconds: float) -> Any:
    if not pipe.poll(seconds):
        raise RuntimeError("a process of the benchmark did not answer in time")
    return pipe.recv()


def run(*, smoke: bool, seconds: int | None = None) -> Report:
    """Measure; see the module's docstring. `seconds`: of each run, 600 unless said."""
    if smoke:
        quick = Weather(0.02, 0.1, 0.0, 0.0)
        runs = [Run("smoke", SMOKE_RATE, SMOKE_EACH, SMOKE_WARM_S, SMOKE_SECONDS, quick, 0.05)]
    else:
        alive = Run("all alive", RATE, EACH, WARM_S, seconds or SECONDS, Weather())
        runs = [alive, replace(alive, what="5 % dead", dead_share=0.05)]
    rows = [_together(one, SMOKE_PREPARE_S if smoke else PREPARE_S) for one in runs]
    whole, dead = rows[0], rows[-1]
    return Report(
        rows=tuple(rows),
        figures=(
            Figure(
                "collector.sessions",
                "sessions read and booked a second",
                whole["sessions_per_s"],
                "1/s",
                ">=",
                RATE_MIN,
            ),
            Figure("collector.core", "share of one core for it", whole["core_pct"], "%", "<=", 70),
            Figure("collector.late", "p99 from due to answered", whole["late_s"]["p99"], "s", "<=", 60),
            Figure("collector.rss", "memory of the node's process", whole["rss_mib"], "MiB", "<=", 1_024),
            Figure("collector.callback", "longest callback of the loop", whole["longest_callback_ms"], "ms", "<=", 20),
            Figure(
                "collector.late_with_dead",
                "p99 of the living with 5 % of the meters dead ÷ without",
                round(dead["late_s"]["p99"] / whole["late_s"]["p99"], 3),
                "ratio",
                "<=",
                LATE_RATIO_MAX,
            ),
        ),
    )
