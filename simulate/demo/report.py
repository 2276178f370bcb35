"""The demo's report: DESIGN §4's fields, worked out from meters, stores and papers while everything still runs.

Floor: simulate; all walks. Exit codes: 0 the whole story and nothing broken; 1 something lost, doubled or violated, or
energies that differ; 3 the story was not finished.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_node.policy_file import load_policy
from gridmodel.period import rfc3339
from hosting.process import Exit
from simulate.book import Book, Payment
from simulate.demo.books import SHOWN_MAX, Findings, compare, compare_batches, compare_payments
from simulate.demo.cast import Part
from simulate.demo.energy import Energy, measure
from simulate.demo.judge import Papers, Verdict, Violation, judge
from simulate.demo.plan import NEXT_DAY, PLANTED_PCT, STORY_DAY, ZONE, moment
from simulate.demo.records import (
    Row,
    days_closed,
    desk_payments,
    edge_batches,
    edge_payments,
    edge_readings,
    edge_sealed,
    hub_batches,
    hub_day_final,
    hub_payments,
    hub_readings,
)
from simulate.demo.stage import Stage
from simulate.relay_memory import RelayMove

LOSS_TOLERANCE_PCT = 0.5
"""How far the found loss of the planted feeder may be from the planted one, in points."""


@dataclass(slots=True)
class Told:
    """How the story went."""

    missing: list[str] = field(default_factory=list)
    """Steps that did not come about, or not in time."""
    until: int = 0
    """UTC seconds of utility time at the end."""

    @property
    def whole(self) -> bool:
        """Whether every step came about."""
        return not self.missing


async def build_report(stage: Stage, told: Told) -> dict[str, Any]:
    """Everything, as plain values."""
    desks = {node.id: desk_payments(stage.files.node_data(node.id)) for node in stage.plan.nodes}
    visitors = payments_of_visitors(stage.book, desks)
    energy = await measure(stage)
    moves = {node.id: await _moves(stage, node.id) for node in stage.plan.nodes}
    rules = load_policy(stage.files.root / "policy.toml", stage.clock.now(), ZONE)
    cuts = {node: line.cuts for node, line in stage.lines.items()}
    papers = Papers(stage.cast, stage.book, rules, cuts, stage.plan.options.speed, told.until)
    verdict = judge(papers, moves)
    found = await _found(stage, energy)
    violations = [*verdict.violations, *energy.violations]
    violations += [Violation("differs", told.until, "", what) for what in found.differing[:SHOWN_MAX]]
    violations += energy_violations(energy, whole=told.whole)
    closed = set.intersection(*(days_closed(stage.files.node_data(node.id), STORY_DAY) for node in stage.plan.nodes))
    return {
        "seed": stage.plan.options.seed,
        "speed": stage.plan.options.speed,
        "story_from": rfc3339(stage.plan.story_from),
        "story_to": rfc3339(told.until),
        "dir": str(stage.files.root),
        "hub_config": str(stage.files.hub),
        "node_configs": [str(stage.files.node(node.id)) for node in stage.plan.nodes],
        "urls": [stage.plan.hub, *(node.console for node in stage.plan.nodes)],
        "nodes": len(stage.plan.nodes),
        "meters": stage.plan.options.meters,
        "supply_meters": sum(len(node.grid.supplies) for node in stage.plan.nodes),
        "energy_wh": {
            "meters": energy.meters_wh,
            "edges": energy.edges_wh,
            "hub": energy.hub_wh,
            "until": rfc3339(energy.until),
        },
        "lost": len(found.lost),
        "doubled": len(found.doubled),
        "lost_what": found.lost[:SHOWN_MAX],
        "doubled_what": found.doubled[:SHOWN_MAX],
        "link_cuts": sum(len(line.cuts) for line in stage.lines.values()),
        "cut_while_offline": verdict.cut_while_offline,
        "restored_while_offline": verdict.restored_while_offline,
        "exposed": len(verdict.exposed),
        "paid_elsewhere": paid_elsewhere(stage, verdict, moves),
        "days_closed": len(closed),
        "feeder_loss": {
            "feeder": str(stage.plan.nodes[0].grid.feeders[0].id),
            "planted_pct": PLANTED_PCT,
            "found_pct": energy.loss_pct(),
        },
        "steps_missing": told.missing,
        "payments_of_visitors": visitors,
        "violations": [one.as_dict() for one in violations],
    }


def payments_of_visitors(book: Book, desks: Mapping[str, Sequence[Row]]) -> int:
    """Payments that somebody trying the demo took at a desk join the papers: they are no mistake of the product's.

    `desks` gives the rows of `desk_payments` by office; gives how many joined.
    """
    known = {one.entry or one.id for one in book.all_payments()}
    found = 0
    for node, rows in desks.items():
        for entry, account, tiyin, channel, at in rows:
            if entry not in known:
                book.payments[account].append(
                    Payment(entry, node, account, tiyin, channel, at, acknowledged_at=at, entry=entry)
                )
                found += 1
    return found


def exit_code(report: Mapping[str, Any], *, asked_to_end: bool) -> Exit:
    """What the report means. Who ends a demo without ``--for`` need not have heard the whole story."""
    if report["lost"] or report["doubled"] or report["violations"]:
        return Exit.FAILED
    return Exit.PARTLY if report["steps_missing"] and not asked_to_end else Exit.OK


def paid_elsewhere(stage: Stage, verdict: Verdict, moves: Mapping[str, Sequence[RelayMove]]) -> dict[str, Any]:
    """What became of the one who paid where the office could not know."""
    one = stage.cast.of(Part.ELSEWHERE)
    meter = str(one.point.meter)
    payments = stage.book.payments.get(str(one.point.account), [])
    cut = bool(payments) and any(
        move.meter == meter and not move.closed and move.at >= payments[0].at for move in moves[one.node]
    )
    exposed = any(who == meter for who, _ in verdict.exposed)
    return {
        "usage_point": str(one.point.id),
        "cut": cut,
        "exposed": exposed,
        "reason": "paid where the office could not know" if exposed else ", ".join(stage.reasons) or None,
    }


async def _moves(stage: Stage, node: str) -> list[RelayMove]:
    told = await stage.meters(node, "moves")
    return [RelayMove(**one) for one in told["moves"]]


async def _found(stage: Stage, energy: Energy) -> Findings:
    """Payments, batches and readings by their ids. Offices are asked first, as the hub only gains."""
    data = {node.id: stage.files.node_data(node.id) for node in stage.plan.nodes}
    acknowledged = [one for node, folder in data.items() for one in edge_batches(node, folder)]
    edges = {node: edge_payments(folder) for node, folder in data.items()}
    at_hub = hub_batches(stage.files.hub_data)
    sealed = {one for node, folder in data.items() for one in edge_sealed(node, folder)}
    whole = all(line.whole for line in stage.lines.values())
    truth = {one.entry or one.id: (one.account, one.amount_tiyin) for one in stage.book.all_payments()}
    node_of = {str(one.point.account): one.node for one in stage.cast.consumers}
    payments = compare_payments(truth, node_of, edges, hub_payments(stage.files.hub_data))
    if not whole:
        payments.lost.clear()  # what waits on a cut line is late and not lost
    found = compare_batches(acknowledged, sealed, at_hub)
    found += payments
    found += await _readings(stage, energy)
    return found


async def _readings(stage: Stage, energy: Energy) -> Findings:
    """Every reading of every closed hour at its office; and those of the story's day at the hub, once it is final."""
    found = Findings()
    points = {str(one.point.id) for one in stage.cast.consumers}
    for node in stage.plan.nodes:
        stored = edge_readings(stage.files.node_data(node.id), stage.plan.story_from, energy.until)
        mine = [one for one in stored if one[0][0] in points]
        found += compare("reading", f"at {node.id}", energy.truth[node.id], mine)
    if await hub_day_final(stage, STORY_DAY):
        at_hub = hub_readings(stage.files.hub_data, STORY_DAY, stage.plan.story_from)
        ends = {end for (_, end), _ in at_hub if end <= energy.until}
        truth = {key: wh for one in energy.truth.values() for key, wh in one.items() if key[1] in ends}
        found += compare("reading", "at the hub", truth, [one for one in at_hub if one[0][1] in ends])
    return found


def energy_violations(energy: Energy, *, whole: bool) -> list[Violation]:
    """Energies that differ; of a whole story also hours that never met, and a planted loss that was not found."""
    found = []
    if whole and energy.until < moment("00:00", NEXT_DAY):
        found.append(
            Violation("energy_equal", energy.until, "", "the hub does not have the whole day from every office")
        )
    if not energy.meters_wh == energy.edges_wh == energy.hub_wh:
        what = f"meters {energy.meters_wh} Wh, edges {energy.edges_wh} Wh, hub {energy.hub_wh} Wh"
        found.append(Violation("energy_equal", energy.until, "", what))
    loss_pct = energy.loss_pct()
    if whole and (loss_pct is None or abs(loss_pct - PLANTED_PCT) > LOSS_TOLERANCE_PCT):
        found.append(Violation("loss_found", energy.until, "", f"planted {PLANTED_PCT} %, found {loss_pct} %"))
    return found
