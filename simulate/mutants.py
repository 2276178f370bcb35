"""Planted bugs: proof that the checkers can see. Floor: simulate; on all walks.

Each mutant patches the product from outside (the product has no switch for it), lives in the smallest world and under
the faults that can show it, and must be found by a named checker within a few seeds. The same world without the bug
must be clean, so that what was found is the bug. A mutant that nobody finds is a hole in the net, not a good product.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from simulate.clock_mutations import (
    held_reads_stamped_when_told,
    hub_believed_alone,
    jump_believed,
    start_believes_its_wall,
)
from simulate.mutations import (
    acknowledge_before_commit,
    clock_doubt_ignored,
    count_a_duplicate,
    cut_told_again,
    delete_before_acknowledged,
    final_register_ignored,
    frost_ignored,
    mandate_quota_ignored,
    no_read_timeout,
    protected_stays_dark,
    stale_watermark_ignored,
    start_register_ignored,
    store_verb_without_lock,
)
from simulate.mutations_carried import (
    carried_twice_counts_twice,
    every_word_is_the_newest,
    written_is_delivered,
)
from simulate.mutations_restored import (
    acknowledged_is_forgotten,
    agrees_without_recall,
    lost_facts_not_taken_back,
)
from simulate.report import RunReport
from simulate.run import run
from simulate.scenario import AtEvent, Depth, InTime, PeopleMix, Scenario, Spell
from simulate.world import RunSpec

SEEDS_MAX = 12
"""Seeds tried for one mutant: a bug that hides longer needs a better fault, not more luck."""

BRAKES = {
    "max_cuts_per_node_day_pct": 100,
    "max_cuts_per_transformer_day_pct": 100,
    "max_cuts_per_transformer_hour": 10,
    "max_cuts_per_node_10min": 10,
}
"""Wide open: the bug is elsewhere."""
DEBTORS = PeopleMix(debtors=1.0, protected=0.0, unnoticed=0.0, pays=0.0, pays_in_the_dark=0.0)
"""Everybody owes and has been told; nobody pays."""
PAYERS = PeopleMix(debtors=1.0, protected=0.0, unnoticed=0.0, pays=1.0, by_app=0.0)
"""Everybody owes, and pays at the desk at some time of the day."""
EXCHANGES = {InTime.METER_EXCHANGED: Spell(24.0, (60.0, 180.0))}
COURIERS = {InTime.COURIER: Spell(12.0, (40.0, 200.0)), InTime.LINK_CUT: Spell(6.0, (600.0, 1_200.0))}
"""Days without a link: couriers instead, who bring old files and the same file twice."""
NO_LINE = {InTime.LINK_CUT: Spell(24.0, (200.0, 600.0))}
"""Nobody tells the time but the machine itself."""
CUT_DAY = ("2026-05-12",)
"""A Tuesday after the holidays: cuts are allowed from the first morning on."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A planted bug and where to look for it."""

    name: str
    what: str
    """The bug, in one sentence."""
    plant: Callable[[], AbstractContextManager[None]]
    scenario: Scenario
    checkers: frozenset[str]
    """Any of these may find it."""
    first_seed: int
    """Found there when this was written; others follow."""
    days: int = 1
    nodes: int = 1
    meters: int = 6

    def spec(self, seed: int) -> RunSpec:
        """The world in which it is looked for."""
        return RunSpec(seed, self.days, self.nodes, self.meters, self.scenario, stop_at_first=True)


def _scenario(name: str, **given: Any) -> Scenario:
    at_event: dict[AtEvent, float] = given.pop("at_event", {})
    in_time: dict[InTime, Spell] = given.pop("in_time", {})
    return Scenario(
        name=name, what=f"looks for {name}", at_event=at_event, in_time=in_time, **{"brakes": BRAKES, **given}
    )


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="acknowledge_before_commit",
        what="the hub acknowledges a batch and commits it a little later",
        plant=acknowledge_before_commit,
        scenario=_scenario(
            "acknowledge_before_commit",
            at_event={AtEvent.HUB_CRASH_BEFORE_COMMIT: 0.05},
            restart_minutes=(0.2, 1.0),
        ),
        checkers=frozenset({"acknowledged_never_lost"}),
        first_seed=1,
    ),
    Mutant(
        name="count_a_duplicate",
        what="the hub books a batch again when it comes twice",
        plant=count_a_duplicate,
        scenario=_scenario("count_a_duplicate", at_event={AtEvent.DUPLICATED: 0.3}),
        checkers=frozenset({"counted_once"}),
        first_seed=1,
    ),
    Mutant(
        name="delete_before_acknowledged",
        what="the node deletes a batch when it is sent",
        plant=delete_before_acknowledged,
        scenario=_scenario("delete_before_acknowledged", at_event={AtEvent.REQUEST_LOST: 0.1}),
        checkers=frozenset(
            {"hub_equals_edge", "convergence", "counted_once", "nothing_expires", "no_fork_without_cause"}
        ),
        first_seed=1,
    ),
    Mutant(
        name="no_read_timeout",
        what="the collector waits for a meter's answer for ever",
        plant=no_read_timeout,
        scenario=_scenario("no_read_timeout", in_time={InTime.METER_HUNG: Spell(12.0, (20.0, 40.0))}),
        checkers=frozenset({"liveness"}),
        first_seed=1,
    ),
    Mutant(
        name="store_verb_without_lock",
        what="store verbs share a connection without taking turns",
        plant=store_verb_without_lock,
        scenario=_scenario("store_verb_without_lock"),
        checkers=frozenset(
            {
                "acknowledged_never_lost",
                "counted_once",
                "hub_equals_edge",
                "edge_equals_meters",
                "task_alive",
                "process_alive",
                "convergence",
                "hub_handles",
            }
        ),
        first_seed=1,
    ),
    Mutant(
        name="stale_watermark_ignored",
        what="a cut no longer asks how old the payment watermarks are",
        plant=stale_watermark_ignored,
        scenario=_scenario(
            "stale_watermark_ignored",
            in_time={InTime.FEED_DEAD: Spell(48.0, (2_400.0, 2_800.0))},
            people=DEBTORS,
            brakes={**BRAKES, "max_cuts_per_node_10min": 1, "max_cuts_per_transformer_hour": 1},
            down_hours_max=48.0,
        ),
        checkers=frozenset({"watermark"}),
        first_seed=1,
        days=2,
    ),
    Mutant(
        name="mandate_quota_ignored",
        what="cuts of a day are no longer counted against the mandate's quota",
        plant=mandate_quota_ignored,
        scenario=_scenario("mandate_quota_ignored", start_days=CUT_DAY, people=DEBTORS, quotas=(1,)),
        checkers=frozenset({"mandate_quota"}),
        first_seed=1,
    ),
    Mutant(
        name="frost_ignored",
        what="a cut no longer asks how cold it will be",
        plant=frost_ignored,
        scenario=_scenario("frost_ignored", start_days=CUT_DAY, people=DEBTORS, frost=1.0),
        checkers=frozenset({"weather"}),
        first_seed=1,
    ),
    Mutant(
        name="clock_doubt_ignored",
        what="a cut no longer asks whether the clock is in doubt",
        plant=clock_doubt_ignored,
        scenario=_scenario(
            "clock_doubt_ignored",
            start_days=CUT_DAY,
            people=DEBTORS,
            in_time={InTime.CLOCK_STEP: Spell(48.0, (30.0, 60.0))},
            brakes={**BRAKES, "max_cuts_per_node_10min": 1, "max_cuts_per_transformer_hour": 1},
        ),
        checkers=frozenset({"clock_doubt"}),
        first_seed=7,
    ),
    Mutant(
        name="start_believes_its_wall",
        what="a process that starts believes its wall, whatever it remembers",
        plant=start_believes_its_wall,
        scenario=_scenario(
            "start_believes_its_wall", in_time={InTime.MACHINE_REBOOT: Spell(6.0, (60.0, 200.0)), **NO_LINE}
        ),
        checkers=frozenset({"hour_is_right"}),
        first_seed=2,
    ),
    Mutant(
        name="jump_believed",
        what="a wall that jumps is believed",
        plant=jump_believed,
        scenario=_scenario("jump_believed", in_time={InTime.CLOCK_STEP: Spell(12.0, (60.0, 200.0)), **NO_LINE}),
        checkers=frozenset({"hour_is_right"}),
        first_seed=6,
    ),
    Mutant(
        name="hub_believed_alone",
        what="the hub's word alone is the time",
        plant=hub_believed_alone,
        scenario=_scenario("hub_believed_alone", in_time={InTime.HUB_CLOCK: Spell(12.0, (60.0, 200.0))}),
        checkers=frozenset({"hour_is_right"}),
        first_seed=1,
    ),
    Mutant(
        name="held_reads_stamped_when_told",
        what="reads that waited for the time are stamped with the moment at which it became known",
        plant=held_reads_stamped_when_told,
        scenario=_scenario(
            "held_reads_stamped_when_told", in_time={InTime.CLOCK_YEARS: Spell(12.0, (60.0, 200.0)), **NO_LINE}
        ),
        checkers=frozenset({"hour_is_right"}),
        first_seed=2,
    ),
    Mutant(
        name="protected_stays_dark",
        what="a protection that comes after the cut does not restore",
        plant=protected_stays_dark,
        scenario=_scenario("protected_stays_dark", start_days=CUT_DAY, people=replace(DEBTORS, protected=1.0)),
        checkers=frozenset({"restored_in_time", "convergence"}),
        first_seed=1,
    ),
    Mutant(
        name="cut_told_again",
        what="a cut that cannot be read back is told once more, without a judgement",
        plant=cut_told_again,
        scenario=_scenario(
            "cut_told_again",
            start_days=CUT_DAY,
            people=DEBTORS,
            at_event={AtEvent.COMMAND_LOST: 0.5},
            in_time={InTime.METER_SILENT: Spell(24.0, (20.0, 60.0))},
        ),
        checkers=frozenset({"cut_told_once", "no_cut_without_intent"}),
        first_seed=1,
    ),
    Mutant(
        name="start_register_ignored",
        what="a new meter's start register is taken for zero",
        plant=start_register_ignored,
        scenario=_scenario("start_register_ignored", meters=(Depth.DLMS,), in_time=EXCHANGES),
        checkers=frozenset({"exchange_is_whole", "edge_equals_meters"}),
        first_seed=1,
    ),
    Mutant(
        name="final_register_ignored",
        what="the old meter is taken to have stood still since it was last read",
        plant=final_register_ignored,
        scenario=_scenario("final_register_ignored", meters=(Depth.DLMS,), in_time=EXCHANGES),
        checkers=frozenset({"exchange_is_whole", "edge_equals_meters"}),
        first_seed=1,
    ),
    Mutant(
        name="written_is_delivered",
        what="what lies on a courier's drive counts as acknowledged",
        plant=written_is_delivered,
        scenario=_scenario("written_is_delivered", in_time=COURIERS),
        checkers=frozenset({"acknowledged_never_lost"}),
        first_seed=1,
    ),
    Mutant(
        name="carried_twice_counts_twice",
        what="the hub books a bundle again when it is brought twice",
        plant=carried_twice_counts_twice,
        scenario=_scenario("carried_twice_counts_twice", in_time=COURIERS),
        checkers=frozenset({"counted_once"}),
        first_seed=1,
    ),
    Mutant(
        name="every_word_is_the_newest",
        what="an old bundle is believed where it says that the hub holds less",
        plant=every_word_is_the_newest,
        scenario=_scenario("every_word_is_the_newest", in_time=COURIERS),
        checkers=frozenset({"hub_moved_with_cause"}),
        first_seed=1,
    ),
    Mutant(
        name="lost_facts_not_taken_back",
        what="a node put back from a backup does not take in what the hub gives back",
        plant=lost_facts_not_taken_back,
        scenario=_scenario(
            "lost_facts_not_taken_back", people=PAYERS, in_time={InTime.NODE_PUT_BACK: Spell(16.0, (30.0, 120.0))}
        ),
        checkers=frozenset({"acknowledged_never_lost", "convergence", "counted_once"}),
        first_seed=2,
    ),
    Mutant(
        name="agrees_without_recall",
        what="a node put back from a backup agrees with its hub before it has learnt what it lost",
        plant=agrees_without_recall,
        scenario=_scenario(
            "agrees_without_recall", people=PAYERS, in_time={InTime.NODE_PUT_BACK: Spell(16.0, (30.0, 120.0))}
        ),
        checkers=frozenset({"acknowledged_never_lost", "convergence", "counted_once"}),
        first_seed=1,
    ),
    Mutant(
        name="acknowledged_is_forgotten",
        what="what the hub has confirmed is let go at once, and not told again when a backup of the hub was put back",
        plant=acknowledged_is_forgotten,
        scenario=_scenario(
            "acknowledged_is_forgotten", people=PAYERS, in_time={InTime.HUB_PUT_BACK: Spell(8.0, (60.0, 240.0))}
        ),
        checkers=frozenset({"acknowledged_never_lost", "convergence", "hub_equals_edge", "counted_once"}),
        first_seed=1,
    ),
)


@dataclass(frozen=True, slots=True)
class MutantResult:
    """What became of one mutant."""

    name: str
    found: bool
    """By one of its checkers, while the same world without the bug is clean."""
    checker: str | None
    seed: int | None
    seconds: float
    clean: bool
    """The world without the bug, same seed."""
    what: str

    def as_dict(self) -> dict[str, Any]:
        """DESIGN §4 `mutants`, with `clean` and `what` beside."""
        return {
            "name": self.name,
            "found": self.found,
            "checker": self.checker,
            "seed": self.seed,
            "seconds": round(self.seconds, 2),
            "clean": self.clean,
            "what": self.what,
        }


def hunt(mutant: Mutant, *, seeds_max: int = SEEDS_MAX) -> MutantResult:
    """Try seeds until one of the mutant's checkers speaks; then run the same world without the bug."""
    began = perf_counter()
    for seed in range(mutant.first_seed, mutant.first_seed + seeds_max):
        with mutant.plant():
            report = run(mutant.spec(seed))
        found = [one for one in report.violations if one.checker in mutant.checkers]
        if found:
            clean = _clean(run(replace(mutant.spec(seed), stop_at_first=False)))
            seconds = perf_counter() - began
            return MutantResult(mutant.name, clean, found[0].checker, seed, seconds, clean, found[0].what)
    return MutantResult(
        mutant.name,
        found=False,
        checker=None,
        seed=None,
        seconds=perf_counter() - began,
        clean=True,
        what=f"not found in {seeds_max} seeds",
    )


def _clean(report: RunReport) -> bool:
    return not report.violations


def hunt_all(names: Sequence[str] = ()) -> Iterator[MutantResult]:
    """Every mutant (or those named), one after the other."""
    for mutant in MUTANTS:
        if not names or mutant.name in names:
            yield hunt(mutant)
