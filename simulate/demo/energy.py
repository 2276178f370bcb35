"""Energy at the meters, at the edges and at the hub, to the watt-hour; and the loss that was planted. Floor: simulate.

On the reading walk. *Meters*: registers as served, through the window of each fleet, times the multiplier. *Edges*: the
stored readings of each office. *Hub*: the sum of `central-sync balance` for the republic over the same hours. The three
are read from three places that share no code after the meter's socket.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from central_sync.hub import Hub
from gridmodel.period import HOUR_S, rfc3339
from simulate.demo.judge import Violation
from simulate.demo.records import ReadingKey, edge_readings, hours_closed, hub_reader
from simulate.demo.stage import Stage

HUB_NODE = "hub"


@dataclass(slots=True)
class Energy:
    """What was found for (story_from, until]."""

    until: int
    """The last hour that every office has closed and the hub has from all of them."""
    meters_wh: int = 0
    edges_wh: int = 0
    hub_wh: int = 0
    feeder_entered_wh: int = 0
    feeder_loss_wh: int | None = 0
    """None where the hub says that it cannot be known."""
    truth: dict[str, dict[ReadingKey, int]] = field(default_factory=dict)
    """By node: the import of every usage point in every hour, from the meters."""
    violations: list[Violation] = field(default_factory=list)

    def loss_pct(self) -> float | None:
        """The loss of the watched feeder as the hub knows it, in percent of what entered."""
        if self.feeder_loss_wh is None or self.feeder_entered_wh == 0:
            return None
        return self.feeder_loss_wh * 100 / self.feeder_entered_wh


async def measure(stage: Stage) -> Energy:
    """All three sums, and whether the levels of the hub's balances agree."""
    start = stage.plan.story_from
    closed = [hours_closed(stage.files.node_data(node.id), start) for node in stage.plan.nodes]
    async with hub_reader(stage) as hub:
        energy = Energy(start)
        hour = start + HOUR_S
        while all(hour in one for one in closed) and await _whole(stage, hub, hour):
            energy.until = hour
            hour += HOUR_S
        await _hub_sums(stage, hub, energy)
    points = {str(one.point.id) for one in stage.cast.consumers}
    for node in stage.plan.nodes:
        found = edge_readings(stage.files.node_data(node.id), start, energy.until)
        energy.edges_wh += sum(wh for (point, _), wh in found if point in points)
        shown = [await _registers(stage, node.id, end) for end in range(start, energy.until + 1, HOUR_S)]
        point_of = {meter: str(one.point.id) for meter, one in stage.cast.by_meter.items()}
        energy.truth[node.id] = _hourly(shown, start, point_of)
        energy.meters_wh += sum(energy.truth[node.id].values())
    return energy


async def _whole(stage: Stage, hub: Hub, hour: int) -> bool:
    """Whether the hub misses nothing of that hour from any office."""
    told = await hub.balance("district", "hour", rfc3339(hour))
    areas = {area["id"]: area for area in told["areas"]}
    found = [areas.get(node.district) for node in stage.plan.nodes]
    return all(
        area is not None and area["points_actual"] and not area["points_missing"] and not area["supply_missing"]
        for area in found
    )


async def _hub_sums(stage: Stage, hub: Hub, energy: Energy) -> None:
    feeder = str(stage.plan.nodes[0].grid.feeders[0].id)
    for hour in range(stage.plan.story_from + HOUR_S, energy.until + 1, HOUR_S):
        at = rfc3339(hour)
        told = {level: await hub.balance(level, "hour", at) for level in ("republic", "region", "district", "feeder")}
        energy.hub_wh += _delivered(told["republic"]["areas"])
        energy.violations += disagreements(hour, {level: one["areas"] for level, one in told.items()})
        area = next(one for one in told["feeder"]["areas"] if one["id"] == feeder)
        energy.feeder_entered_wh += area["supplied_wh"] + area["exported_wh"]
        if area["loss_wh"] is None or energy.feeder_loss_wh is None:
            energy.feeder_loss_wh = None
        else:
            energy.feeder_loss_wh += area["loss_wh"]


def disagreements(hour: int, areas: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Violation]:
    """Republic, regions, districts and their nodes deliver the same in one hour; feeders do, too."""
    sums = {level: _delivered(found) for level, found in areas.items()}
    sums["nodes"] = sum(node["delivered_wh"] for area in areas["district"] for node in area["nodes"])
    if len(set(sums.values())) == 1:
        return []
    return [Violation("levels_agree", hour, HUB_NODE, f"delivered by level: {sums}")]


def _delivered(areas: Sequence[Mapping[str, Any]]) -> int:
    return sum(area["delivered_wh"] for area in areas)


async def _registers(stage: Stage, node: str, at: int) -> dict[str, tuple[int, int]]:
    """(import register, multiplier) of every usage point's meter at an interval end."""
    told = await stage.meters(node, "truth", at=at)
    return {
        one["meter"]: (one["import_wh"], one["multiplier"]) for one in told["meters"] if one["kind"] == "usage_point"
    }


def _hourly(
    shown: Sequence[Mapping[str, tuple[int, int]]], start: int, point_of: Mapping[str, str]
) -> dict[ReadingKey, int]:
    """Primary import by (usage point, hour end)."""
    found: dict[ReadingKey, int] = {}
    for number, (before, after) in enumerate(pairwise(shown)):
        end = start + (number + 1) * HOUR_S
        for meter, (register, multiplier) in after.items():
            found[point_of[meter], end] = (register - before[meter][0]) * multiplier
    return found
