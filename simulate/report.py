"""What a run or a campaign found, as JSON fields of DESIGN §4 and as a page for people. Floor: simulate."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gridmodel.period import rfc3339
from simulate.judges.sight import Violation

DAYS_PER_YEAR = 365.25
SOMETIMES = (
    "batch_duplicate",
    "brake_held_a_cut",
    "crash_after_commit",
    "crash_before_commit",
    "cut",
    "cut_while_offline",
    "day_closed_while_dark",
    "duplicate_delivered",
    "half_open_exchange",
    "late_delivered",
    "payment_interrupted",
    "protection_held_a_cut",
    "quota_held_a_cut",
    "relay_unconfirmed",
    "reply_lost_after_commit",
    "restore_while_offline",
    "stale_watermark_held_a_cut",
    "started_twice_refused",
    "weather_held_a_cut",
)
"""Rare things that a campaign of `everyday` must have seen; one at zero is a part of the rehearsal that never ran."""
RARE = (
    "batch_fork",
    "batch_gap",
    "batch_quarantined",
    "clock_doubt_held_a_cut",
    "exposed",
    "import_interrupted",
    "payment_raced_a_cut",
    "weather_raced_a_cut",
)
"""Counted and shown; so rare in a small world that their absence says nothing."""
CAMPAIGN_RUNS_MIN = 100
"""From so many runs on a dead counter fails a campaign."""
LINES_MAX = 20


@dataclass(slots=True)
class RunReport:
    """One run."""

    seed: int
    days: int
    nodes: int
    meters: int
    scenario: str
    trace_sha256: str
    violations: tuple[Violation, ...]
    sometimes: dict[str, int]
    faults: dict[str, int]
    exposed: int
    converged_s: float | None
    present_pct: tuple[float, float] | None = None
    """What was there an hour after an interval's end, and by six in the morning, on the worst day at the worst node;
    None where the scenario does not ask for it."""
    transcript: tuple[str, ...] = ()
    """The last events, when something was violated."""
    seconds: float = 0.0
    """Real seconds of the whole run."""

    def as_dict(self) -> dict[str, Any]:
        """DESIGN §4 `run`."""
        return {
            "seed": self.seed,
            "days": self.days,
            "nodes": self.nodes,
            "meters": self.meters,
            "scenario": self.scenario,
            "trace_sha256": self.trace_sha256,
            "violations": [one.as_dict() for one in self.violations],
            "sometimes": {name: self.sometimes.get(name, 0) for name in sorted({*SOMETIMES, *RARE, *self.sometimes})},
            "faults": self.faults,
            "exposed": self.exposed,
            "sim_days_per_s": round(self.days / self.seconds, 3) if self.seconds else None,
            "converged_s": self.converged_s,
            **({} if self.present_pct is None else {"present_pct": [round(pct, 2) for pct in self.present_pct]}),
        }

    def lines(self) -> list[str]:
        """For people."""
        head = (
            f"seed {self.seed}: {self.days} days, {self.nodes} nodes x {self.meters} meters, scenario {self.scenario};"
            f" {self.days / self.seconds:.2f} days a second"
        )
        told = [head, f"trace {self.trace_sha256[:16]}; faults: {_counts(self.faults)}"]
        told.append(f"seen: {_counts(self.sometimes)}; exposed {self.exposed}")
        if self.converged_s is not None:
            told.append(f"came together {self.converged_s / 60:.0f} virtual minutes after the faults ceased")
        if self.present_pct is not None:
            soon, by_six = self.present_pct
            told.append(f"of a day's intervals {soon:.2f} % were there an hour later, {by_six:.2f} % by six")
        if not self.violations:
            return [*told, "no violation"]
        told.append(f"VIOLATIONS: {len(self.violations)}; run it again with --seed {self.seed}")
        told += [f"  {rfc3339(one.at)} {one.checker} at {one.node}: {one.what}" for one in self.violations[:LINES_MAX]]
        return [*told, "last events:", *(f"  {line}" for line in self.transcript)]


@dataclass(slots=True)
class CampaignReport:
    """Many runs."""

    seeds: tuple[int, int]
    """(from, to exclusive)."""
    days: int
    scenario: str
    runs: int = 0
    violations: list[dict[str, Any]] = field(default_factory=list)
    sometimes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    exposed: int = 0
    nodes: int = 0
    seconds: float = 0.0
    failed: list[RunReport] = field(default_factory=list)

    def add(self, report: RunReport) -> None:
        """One more run."""
        self.runs += 1
        self.sometimes.update(report.sometimes)
        self.faults.update(report.faults)
        self.exposed += report.exposed
        self.nodes = report.nodes
        for one in report.violations:
            told = one.as_dict()
            self.violations.append({"seed": report.seed, **told})
        if report.violations:
            self.failed.append(report)

    def dead_counters(self) -> list[str]:
        """Rare things that no run saw."""
        return [name for name in SOMETIMES if not self.sometimes.get(name)]

    def failing(self) -> bool:
        """Whether the campaign failed: a violation, or a dead counter in a long one."""
        return bool(self.violations) or (self.runs >= CAMPAIGN_RUNS_MIN and bool(self.dead_counters()))

    def as_dict(self) -> dict[str, Any]:
        """DESIGN §4 `campaign`."""
        return {
            "seeds": {"from": self.seeds[0], "to_exclusive": self.seeds[1]},
            "days": self.days,
            "scenario": self.scenario,
            "runs": self.runs,
            "violations": self.violations,
            "sometimes": {name: self.sometimes.get(name, 0) for name in sorted({*SOMETIMES, *RARE, *self.sometimes})},
            "faults": dict(sorted(self.faults.items())),
            "dead_counters": self.dead_counters(),
            "exposed": self.exposed,
            "simulated_years": round(self.runs * self.days / DAYS_PER_YEAR, 3),
            "bound_3_over_n": round(3 / self.runs, 6) if self.runs and not self.violations else None,
            "seconds": round(self.seconds, 1),
        }

    def lines(self) -> list[str]:
        """For people."""
        years = self.runs * self.days / DAYS_PER_YEAR
        told = [
            f"{self.runs} runs of {self.days} days, scenario {self.scenario}, {self.seconds:.0f} s: {years:.2f} years",
            f"faults: {_counts(self.faults)}",
            f"seen: {_counts(self.sometimes)}; exposed {self.exposed}",
        ]
        if self.dead_counters():
            told.append(f"NEVER SEEN: {', '.join(self.dead_counters())}")
        if not self.violations:
            return [
                *told,
                f"no violation; with 95 % confidence fewer than {3 / max(1, self.runs):.2%} of runs have one",
            ]
        told.append(f"VIOLATIONS: {len(self.violations)} in {len(self.failed)} runs")
        told += [_line(one) for one in self.violations[:LINES_MAX]]
        return told


def _line(one: dict[str, Any]) -> str:
    return f"  seed {one['seed']}: {one['checker']} at {one['node']}: {one['what']}"


def _counts(counts: dict[str, int] | Counter[str]) -> str:
    shown: Sequence[str] = [f"{name} {count}" for name, count in sorted(counts.items()) if count]
    return ", ".join(shown) or "none"
