"""Whole rehearsals: the laws hold, the same seed gives the same events, and each planted bug is found."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from simulate.campaign import campaign, quiet_run, spec_of
from simulate.mutants import MUTANTS, Mutant, hunt

REGRESSIONS = {
    11: "a node whose clock had been set forward stamped registers with it: two hours held energy of other hours",
    1137: "a payer behind a clock that was wrong stayed dark",
}
"""Seeds that once failed, with what they found. Any change of what the product writes moves the faults of every seed:
what proves a mending for good is a test beside the room (for 11: the doubtful clock's in `test_collector.py`). These
two only go on looking where something was once found."""


def told(*arguments: str, hash_seed: str) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S603 — our own command
        [sys.executable, "-m", "simulate", *arguments, "--json"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return dict(json.loads(done.stdout))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_events_in_every_process() -> None:
    line = ("run", "--seed", "7", "--days", "1", "--nodes", "2", "--meters", "8")
    first, second = told(*line, hash_seed="1"), told(*line, hash_seed="271828")
    assert first["trace_sha256"] == second["trace_sha256"]
    assert first["violations"] == []
    other = told("run", "--seed", "8", "--days", "1", "--nodes", "2", "--meters", "8", hash_seed="1")
    assert other["trace_sha256"] != first["trace_sha256"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", REGRESSIONS, ids=str)
def test_a_seed_that_failed_once_holds_now(seed: int) -> None:
    report = quiet_run(spec_of(seed, 2, 3, 20, "everyday"))
    assert [str(one) for one in report.violations] == [], REGRESSIONS[seed]


@pytest.mark.slow
def test_a_report_says_what_the_contract_lists() -> None:
    report = told("run", "--seed", "3", "--days", "1", "--nodes", "1", "--meters", "8", hash_seed="0")
    named = {"seed", "days", "nodes", "meters", "scenario", "trace_sha256", "violations", "sometimes", "faults"}
    assert named | {"exposed", "sim_days_per_s", "converged_s"} <= set(report)
    assert len(report["sometimes"]) >= 10


@pytest.mark.slow
def test_a_campaign_adds_its_runs_up() -> None:
    spec = replace(spec_of(0, 1, 1, 8, "everyday"), days=1)
    report = campaign(range(20, 23), spec, workers=2).as_dict()
    assert report["runs"] == 3
    assert report["violations"] == []
    assert report["seeds"] == {"from": 20, "to_exclusive": 23}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found_and_the_world_without_it_is_clean(mutant: Mutant) -> None:
    result = hunt(mutant)
    assert result.found, result.what
    assert result.clean


@pytest.mark.slow
@pytest.mark.parametrize(
    "scenario", ["bytes", "dead-units", "slow-gateway", "wrong-flat", "profile-backfill", "meter-exchange"]
)
def test_the_laws_hold_over_every_byte(scenario: str) -> None:
    report = quiet_run(spec_of(3, 1, 2, 16, scenario))
    assert [str(one) for one in report.violations] == []
    assert any(report.sometimes.get(name) for name in ("cut", "brake_held_a_cut", "protection_held_a_cut"))


@pytest.mark.slow
def test_couriers_stand_in_for_lines_that_are_lost_for_days() -> None:
    report = quiet_run(spec_of(1, 2, 2, 12, "flash-drive"))
    assert [str(one) for one in report.violations] == []
    for name in ("courier_trip", "courier_brought_an_old_word", "altered_bundle_refused"):
        assert report.sometimes[name] > 0, name


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "seen"), [("restored-backup", "node_put_back"), ("hub-rollback", "hub_put_back")])
def test_old_backups_are_put_back_and_nothing_is_lost_or_doubled(scenario: str, seen: str) -> None:
    report = quiet_run(spec_of(2, 2, 2, 12, scenario))
    assert [str(one) for one in report.violations] == []
    assert report.sometimes[seen] > 1


@pytest.mark.slow
def test_bytes_come_in_the_same_order_in_every_process() -> None:
    line = ("run", "--seed", "7", "--days", "1", "--nodes", "2", "--meters", "8", "--scenario", "bytes")
    first, second = told(*line, hash_seed="1"), told(*line, hash_seed="271828")
    assert first["trace_sha256"] == second["trace_sha256"]


@pytest.mark.slow
def test_an_evening_on_power_line_leaves_hardly_a_gap() -> None:
    """95 % of all intervals an hour after they ended, 99 % by six in the morning: the scenario demands it."""
    report = quiet_run(spec_of(1, 2, 1, 20, "evening-loss"))
    assert [str(one) for one in report.violations] == []
    assert report.sometimes["interval_filled_from_memory"] > 0
