"""Brakes: how many cuts are too many, whoever asked for them. Floor: edge_node/supply; on the payment walk.

Pure: counts in, reasons out. The 58,217 homes cut in one day are why they stand at the edge, count durable intents in
sliding windows, and cannot be lifted by the hub. A restore knows no brake.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edge_node.store.operations import MINUTE_S, CutCounts
from gridmodel.policy import Reason
from gridmodel.policy_rules import PolicyRules
from gridmodel.quantity import percent_rounded_up


@dataclass(frozen=True, slots=True)
class PointCounts:
    """How many usage points there are, of which the brakes are a share."""

    node: int
    transformer: int


BRAKES: frozenset[Reason] = frozenset(
    {
        Reason.BRAKE_10_MINUTES,
        Reason.BRAKE_TRANSFORMER_HOUR,
        Reason.BRAKE_TRANSFORMER_DAY,
        Reason.BRAKE_NODE_DAY,
        Reason.BRAKE_METER,
    }
)
"""Reasons that pass by themselves within a day."""


def node_day_limit(rules: PolicyRules, points: PointCounts) -> int:
    """Cuts of the node within 24 hours."""
    return percent_rounded_up(points.node, rules.max_cuts_per_node_day_pct)


def brakes(counts: CutCounts, rules: PolicyRules, points: PointCounts, earliest: int) -> tuple[Reason, ...]:
    """The brakes that hold against one more cut at `earliest`, the present's beginning.

    `counts` leaves out the operation that is judged itself. A stamp after `earliest` (the clock stepped back) is now.
    """
    transformer_day = percent_rounded_up(points.transformer, rules.max_cuts_per_transformer_day_pct)
    rest_s = rules.min_minutes_between_switchings * MINUTE_S
    held: Sequence[tuple[Reason, bool]] = (
        (Reason.BRAKE_10_MINUTES, counts.node_10min >= rules.max_cuts_per_node_10min),
        (Reason.BRAKE_TRANSFORMER_HOUR, counts.transformer_hour >= rules.max_cuts_per_transformer_hour),
        (Reason.BRAKE_TRANSFORMER_DAY, counts.transformer_day >= transformer_day),
        (Reason.BRAKE_NODE_DAY, counts.node_day >= node_day_limit(rules, points)),
        (
            Reason.BRAKE_METER,
            counts.meter_day >= rules.max_cuts_per_meter_day
            or (counts.meter_moved_at is not None and earliest - counts.meter_moved_at < rest_s),
        ),
    )
    return tuple(reason for reason, holds in held if holds)
