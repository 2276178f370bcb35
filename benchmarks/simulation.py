"""Benchmark `simulation`: how many days a second a rehearsal lives, with the product's own code and its checkers.

Three nodes of 20 usage points each, polled every 15 minutes, with a hub, people and continuous checks, on one core. The
scenario is `calm`: faults would make the figure depend on their luck. Two lengths are run and their difference is
taken, so that starting up and the last checks are told apart from the days themselves.
"""

import time

from benchmarks.figures import Figure, Report
from simulate.campaign import quiet_run, spec_of

NAME = "simulation"
NODES, METERS, SEED = 3, 20, 7
DAYS_SHORT, DAYS_LONG, DAYS_SMOKE = 2, 12, 1
DAYS_PER_S_MIN = 1.0


def run(*, smoke: bool) -> Report:
    """Measure; a smoke run lives one day only."""
    lengths = (DAYS_SMOKE,) if smoke else (DAYS_SHORT, DAYS_LONG)
    rows = []
    for days in lengths:
        cpu_began = time.process_time()
        report = quiet_run(spec_of(SEED, days, NODES, METERS, "calm"))
        rows.append(
            {
                "days": days,
                "wall_s": round(report.seconds, 3),
                "cpu_s": round(time.process_time() - cpu_began, 3),
                "violations": len(report.violations),
            }
        )
    return Report(tuple(rows), (_figure(rows),))


def _figure(rows: list[dict[str, float]]) -> Figure:
    what = f"simulated days a second, {NODES} nodes x {METERS} usage points, 15-minute polls, checkers on"
    first, last = rows[0], rows[-1]
    days, seconds = last["days"], last["wall_s"]
    if len(rows) > 1:
        days, seconds = days - first["days"], seconds - first["wall_s"]
    return Figure("simulation.days_per_s", what, days / seconds, "days/s", ">=", DAYS_PER_S_MIN)
