"""What the node would do by itself now: a dry run of the same decision. Floor: edge_node/supply; payment walk.

Region and hub look at it before a mandate, the office before a morning. Nothing is planned and nothing is written.
"""

from collections import Counter
from typing import Any

from edge_node.store.operations import DAY_S
from edge_node.supply.enforcement import Enforcement
from edge_node.supply.facts import Sources
from edge_node.supply.place import Places
from gridmodel.identity import UsagePointId
from gridmodel.policy import Action

POINTS_PREVIEWED_MAX = 500
"""Points judged for one preview: a district's debtors of a month."""


async def preview(enforcement: Enforcement, sources: Sources, limit: int = POINTS_PREVIEWED_MAX) -> dict[str, Any]:
    """Dark points and debtors with what is wanted of each; brakes are those of this moment, before any of them."""
    places, moment = enforcement.places(), enforcement.moment()
    missing = list(moment.rules.missing())
    points = [] if places is None else await _candidates(enforcement, sources, places, min(limit, POINTS_PREVIEWED_MAX))
    lines: list[dict[str, Any]] = []
    against: Counter[str] = Counter()
    for point in points:
        place = None if places is None else places.at(point, moment.now)
        if place is None:
            continue
        judged = await enforcement.door.judge(place)
        reasons = [reason.value for reason in judged.decision.reasons]
        if judged.decision.action is Action.NONE:
            against.update(reasons)
        plan = judged.gathered.plan
        lines.append(
            {
                "usage_point": point,
                "account": place.account,
                "relay": judged.gathered.facts.relay.value,
                "action": judged.decision.action.value,
                "reasons": reasons,
                "overdue_tiyin": judged.gathered.facts.overdue.amount_tiyin,
                "not_before": None if plan is None else plan.not_before,
            }
        )
    return {
        "at": moment.now,
        "rules": moment.rules.version,
        "rules_missing": missing,
        "cuts": sum(line["action"] == Action.CUT.value for line in lines),
        "restores": sum(line["action"] == Action.RESTORE.value for line in lines),
        "reasons_against": dict(sorted(against.items())),
        "points": lines,
    }


async def _candidates(enforcement: Enforcement, sources: Sources, places: Places, limit: int) -> list[UsagePointId]:
    """Dark points first, then debtors, each once; without a minimum debt every debtor is looked at."""
    moment = enforcement.moment()
    dark = [row.usage_point for row in await sources.relays.list_dark()]
    due_before = moment.bounds.earliest - (moment.rules.min_debt_age_days or 0) * DAY_S
    found = await sources.control.read(
        lambda conn: sources.ledger.candidates(conn, due_before, moment.rules.min_debt_tiyin or 1, (-1, ""), limit)
    )
    owing = [point for one in found if (point := places.point_of(one.account)) is not None]
    return list(dict.fromkeys([*dark, *owing]))[:limit]
