"""Many seeds, on every core: how sure may we be? Floor: simulate; on all walks.

Each run is a process of its own and gives only its report. Zero violations in N runs mean that, with 95 % confidence,
fewer than 3/N of such runs have one; and a rare thing that no run has seen means that a part of the rehearsal sleeps.
"""

import logging
import os
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from multiprocessing import get_context
from time import perf_counter

import structlog

from simulate.report import CampaignReport, RunReport
from simulate.run import run
from simulate.scenario import ScenarioFault, load_scenario
from simulate.world import RunSpec

WAITING_PER_WORKER_MAX = 2
"""Runs handed to a worker before it asks: seeds may be many thousands."""


def silence() -> None:
    """No log lines: a rehearsal is full of alarms, and each would be written to stderr."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def quiet_run(spec: RunSpec) -> RunReport:
    """One run without a word."""
    silence()
    return run(spec)


def campaign(
    seeds: range, spec: RunSpec, *, workers: int | None = None, told: Callable[[CampaignReport], None] = lambda _: None
) -> CampaignReport:
    """Run `spec` under every seed; `told` hears after each run. Workers are processes; one runs here."""
    began = perf_counter()
    report = CampaignReport((seeds.start, seeds.stop), spec.days, spec.scenario.name)
    count = max(1, min(len(seeds), workers if workers is not None else os.cpu_count() or 1))

    def take(one: RunReport) -> None:
        report.add(one)
        report.seconds = perf_counter() - began
        told(report)

    if count == 1:
        for seed in seeds:
            take(quiet_run(replace(spec, seed=seed)))
        return report
    fresh = get_context("spawn")  # a fork of a process that has threads may inherit a lock nobody will give back
    with ProcessPoolExecutor(max_workers=count, mp_context=fresh) as pool:
        waiting: set[Future[RunReport]] = set()
        left = iter(seeds)
        while True:
            for seed in left:
                waiting.add(pool.submit(quiet_run, replace(spec, seed=seed)))
                if len(waiting) >= count * WAITING_PER_WORKER_MAX:
                    break
            if not waiting:
                return report
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                take(future.result())


def spec_of(seed: int, days: int, nodes: int, meters: int, scenario: str) -> RunSpec:
    """The spec of a command line; raises ScenarioFault for an unknown scenario."""
    return RunSpec(seed, days, nodes, meters, load_scenario(scenario))


def seeds_of(text: str) -> range:
    """The seeds of ``FROM:TO``; raises ScenarioFault TQ-SM-22."""
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise ScenarioFault("TQ-SM-22", f"{text!r:.40} names no seeds", "write 0:200, the last one not included")
    return range(int(first), int(last))
