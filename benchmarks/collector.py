"""Benchmark `collector`: a whole node on one core, its meters behind concentrators on the other.

The product's own node (`node.build`; DLMS with GMAC and AES-GCM over TCP, validation, alarms, SQLite with FULL, every
room at its work) reads meters at the rate at which a million are read each hour: 278 a second, each a session of its
own (connect, associate, prove, ask, release). The concentrators are the simulator's: half of the exchanges take 1.5 s,
one in twenty longer than 8 s, and each has the load that 1,000 meters an hour would give it (200 in twelve minutes).
The fleet runs in another process; where there are two cores each has its own.

A meter is read once in a run, so that each session is a first one, which asks for scalers, too. Meters share their
keys, so that invocation counters are set aside for some sixteen sessions at once; with a key for each meter the first
hour after a start takes a transaction for each. *Lateness* is the time from a meter's due second to its answer, tries
that failed included; the first seconds, in which the widths of a thousand concentrators are learned, are left out.

The evening is simulated: two days of the scenario `evening-loss`, product and concentrators in virtual time.
"""

import asyncio
import gc
import multiprocessing
import os
import socket
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import collector_fleet, collector_node
from benchmarks.collector_fleet import FleetPlan
from benchmarks.collector_node import NodePlan, prepare
from benchmarks.figures import Figure, Report
from simulate.campaign import quiet_run, spec_of
from simulate.concentrator import Weather

NAME = "collector"
RATE = 278
"""Sessions a second: 1,000,000 an hour."""
SPREAD_S = 719
"""Seconds over which the meters of one interval are due: as many meters as one registry holds, and the rest of a
quarter of an hour for second tries."""
EACH = 200
"""Meters behind one concentrator that are due in these twelve minutes: the load of 1,000 an hour."""
WARM_S = 120
SECONDS = 600
MORNING = 1_777_950_000
"""08:00 in Tashkent, and the end of an interval: no evening loss."""
LEAD_S = 90.0
"""Until node and fleet stand: the node reads its registry."""
IMPORT_S_MAX = 60.0
"""Until a process has its modules, on a busy machine."""
RATE_MIN = RATE * 0.98
"""What is due in a window is not what comes to its end in it."""
LATE_RATIO_MAX = 1.1
"""What counts as keeping their p99."""
EVENING_SEED, EVENING_DAYS, EVENING_METERS = 1, 2, 20
CORES = sorted(os.sched_getaffinity(0))[:2]


@dataclass(frozen=True)
class Run:
    """One run of the benchmark."""

    what: str
    rate: int = RATE
    spread_s: int = SPREAD_S
    each: int = EACH
    warm_s: int = WARM_S
    seconds: int = SECONDS
    weather: Weather = Weather()  # noqa: RUF009 — it is frozen
    dead_share: float = 0.0
    lead_s: float = LEAD_S

    @property
    def meters(self) -> int:
        """As many as are due in the spread."""
        return self.rate * self.spread_s


SMOKE = Run("smoke", 20, 40, 50, 1, 2, Weather(0.02, 0.1, 0.0, 0.0), 0.05, 3.0)


def _free_place() -> tuple[str, int]:
    """Addresses of this process's own to count from, and a port that the system calls free there."""
    pid = os.getpid()
    host = f"127.{64 + pid % 150}.{pid // 150 % 200}.1"
    with socket.socket() as probe:
        probe.bind((host, 0))
        return host, int(probe.getsockname()[1])


def _measured(run: Run) -> dict[str, Any]:
    """One run: a folder for the node, the fleet in one process, the node in another."""
    cores = CORES if len(CORES) > 1 else [None, None]
    fleet = FleetPlan(*_free_place(), run.meters, run.each, cores[1], run.weather, run.dead_share)
    with TemporaryDirectory(prefix="collector-") as folder:
        plan = NodePlan(Path(folder), fleet, run.spread_s, run.warm_s, run.seconds, cores[0])
        gc.disable()  # tables of a registry, a million objects: nothing of it is circles
        asyncio.run(prepare(plan, MORNING - 3_600))
        gc.enable()
        found = _together(run, plan)
    return {"run": run.what, "meters": run.meters, "concentrators": -(-run.meters // run.each)} | found


def _together(run: Run, plan: NodePlan) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    fleet_pipe, fleet_end = context.Pipe()
    node_pipe, node_end = context.Pipe()
    fleet = context.Process(target=collector_fleet.serve, args=(fleet_end, plan.fleet), daemon=True)
    node = context.Process(target=collector_node.serve, args=(node_end, plan), daemon=True)
    pipes = (fleet_pipe, node_pipe)
    for process, end in ((fleet, fleet_end), (node, node_end)):
        process.start()
        end.close()  # so that a process that dies is heard of
    try:
        for pipe in pipes:
            _heard(pipe, IMPORT_S_MAX)
        begins_at = time.time() + run.lead_s
        for pipe in pipes:
            pipe.send((float(MORNING), begins_at, 1.0))
        for pipe in pipes:
            _heard(pipe, run.lead_s + IMPORT_S_MAX)  # who stands later than that begins late, and its figures show it
        found = dict(_heard(node_pipe, run.lead_s + run.warm_s + run.seconds + 240))
        fleet_pipe.send("end")
        return found | {"fleet": _heard(fleet_pipe, 30)}
    finally:
        for process in (fleet, node):
            process.kill()
            process.join(5)


def _heard(pipe: Pipe, seconds: float) -> Any:
    if not pipe.poll(max(0.0, seconds)):
        raise RuntimeError("a process of the benchmark did not answer in time")
    return pipe.recv()


def _evening() -> dict[str, Any]:
    """Two days with their evenings, in virtual time."""
    report = quiet_run(spec_of(EVENING_SEED, EVENING_DAYS, 1, EVENING_METERS, "evening-loss"))
    soon, by_six = report.present_pct or (0.0, 0.0)
    return {
        "run": "evening, simulated",
        "meters": EVENING_METERS,
        "days": EVENING_DAYS,
        "present_after_an_hour_pct": round(soon, 2),
        "present_by_six_pct": round(by_six, 2),
        "filled_from_memory": report.sometimes.get("interval_filled_from_memory", 0),
        "violations": len(report.violations),
        "wall_s": round(report.seconds, 1),
    }


def run(*, smoke: bool, seconds: int | None = None) -> Report:
    """Measure; see the module's docstring. `seconds`: of each run, 600 unless said."""
    if smoke:
        row = _measured(SMOKE)
        return Report((row,), (*_of_a_node(row, row), *_of_an_evening({})))
    alive = Run("all alive", seconds=seconds or SECONDS)
    whole, dead, evening = _measured(alive), _measured(replace(alive, what="5 % dead", dead_share=0.05)), _evening()
    return Report((whole, dead, evening), (*_of_a_node(whole, dead), *_of_an_evening(evening)))


def _of_a_node(whole: dict[str, Any], dead: dict[str, Any]) -> tuple[Figure, ...]:
    late_ratio = round(dead["late_s"]["p99"] / whole["late_s"]["p99"], 3)
    return (
        Figure(
            "collector.sessions", "sessions read and booked a second", whole["sessions_per_s"], "1/s", ">=", RATE_MIN
        ),
        Figure("collector.core", "share of one core for it", whole["core_pct"], "%", "<=", 70),
        Figure("collector.late", "p99 from due to answered", whole["late_s"]["p99"], "s", "<=", 60),
        Figure("collector.rss", "memory of the node's process", whole["rss_mib"], "MiB", "<=", 1_024),
        Figure("collector.callback", "longest callback of the loop", whole["longest_callback_ms"], "ms", "<=", 20),
        Figure(
            "collector.late_with_dead",
            "p99 of the living with 5 % of the meters dead ÷ without",
            late_ratio,
            "ratio",
            "<=",
            LATE_RATIO_MAX,
        ),
    )


def _of_an_evening(found: dict[str, Any]) -> tuple[Figure, ...]:
    """`found` is empty in a smoke run: an evening takes half a minute."""
    skipped = None if found else "not in a smoke run"
    return (
        Figure(
            "collector.evening_soon",
            "intervals there an hour later, 15 % lost each evening (simulated)",
            found.get("present_after_an_hour_pct"),
            "%",
            ">=",
            95,
            skipped,
        ),
        Figure(
            "collector.evening_by_six",
            "the same by 06:00",
            found.get("present_by_six_pct"),
            "%",
            ">=",
            99,
            skipped,
        ),
    )
