"""The energy of one interval through a grid, as whole watt-hours: points, thieves, plants, losses. Floor: simulate.

On the reading walk, before its first step. Energy is conserved to the watt-hour at every level except where a loss
takes it: rounding remainders are carried to the next interval, never dropped.
"""

from dataclasses import dataclass

import numpy as np

from gridmodel.network import SupplyPointKind
from simulate.grid import Grid, SupplyPlan
from simulate.loads import Ints


@dataclass(frozen=True, slots=True)
class Flow:
    """One interval's primary energy, Wh."""

    imported: Ints
    """What each usage point's meter counts as import."""
    exported: Ints
    """What each usage point's meter counts as export."""
    taken: Ints
    """What each usage point truly took: more than `imported` at a thief's."""
    supplied: Ints
    """What each supply point's meter counts as import."""


class Network:
    """Turns consumption into flows; holds the carried remainders, so intervals must come in order."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._transformer_of = np.array([point.transformer for point in grid.points], dtype=np.int64)
        self._feeder_of = np.array([one.feeder for one in grid.transformers], dtype=np.int64)
        self._read_pct = np.array([point.read_pct for point in grid.points], dtype=np.int64)
        self._producers = [n for n, point in enumerate(grid.points) if point.solar_w]
        self._line_bp = np.array([one.line_loss_bp for one in grid.transformers], dtype=np.int64)
        self._no_load_w = np.array([one.no_load_w for one in grid.transformers], dtype=np.int64)
        self._load_w = np.array([one.load_loss_w for one in grid.transformers], dtype=np.float64)
        self._rated_w = np.array([one.rated_kva * 1000 for one in grid.transformers], dtype=np.float64)
        self._feeder_bp = np.array([one.line_loss_bp for one in grid.feeders], dtype=np.int64)
        self._read_rest = np.zeros(len(grid.points), dtype=np.int64)
        self._line_rest = np.zeros(len(grid.transformers), dtype=np.int64)
        self._feeder_rest = np.zeros(len(grid.feeders), dtype=np.int64)
        self._delivered = np.zeros(len(grid.feeders), dtype=np.int64)
        self._head = np.zeros(len(grid.feeders), dtype=np.int64)

    def flow(self, load_wh: Ints, sun: float, plant: float, seconds: int) -> Flow:
        """Flows of an interval of `seconds` in which each point's appliances drew `load_wh`.

        `sun` is the mean output of a small plant as a part of its peak, `plant` that of the feeder's plant.
        """
        taken, exported = self._behind_the_meter(load_wh, sun, seconds)
        counted = taken * self._read_pct + self._read_rest
        imported, self._read_rest = counted // 100, counted % 100
        supplied = self._upstream(taken, imported, exported, plant, seconds)
        return Flow(imported, exported, taken, supplied)

    def _behind_the_meter(self, load_wh: Ints, sun: float, seconds: int) -> tuple[Ints, Ints]:
        """Own plants serve their house first; what is left over goes out, never more than the neighbours can take."""
        taken = load_wh.copy()
        exported = np.zeros_like(load_wh)
        if sun <= 0:
            return taken, exported
        made = {n: int(self._grid.points[n].solar_w * sun * seconds) // 3600 for n in self._producers if load_wh[n]}
        for n, made_wh in made.items():
            taken[n] = max(0, int(load_wh[n]) - made_wh)
        for n, made_wh in made.items():
            street = self._transformer_of == self._transformer_of[n]
            room_wh = int(taken[street].sum()) // 4 - int(exported[street].sum())
            exported[n] = max(0, min(made_wh - int(load_wh[n]), room_wh))
        return taken, exported

    def _upstream(self, taken: Ints, imported: Ints, exported: Ints, plant: float, seconds: int) -> Ints:
        grid = self._grid
        net = _sums(self._transformer_of, taken - exported, len(grid.transformers))
        lost = net * self._line_bp + self._line_rest
        low, self._line_rest = net + lost // 10_000, lost % 10_000
        load = low * (3600.0 / seconds) / self._rated_w
        copper = (self._load_w * load**2 * seconds / 3600).astype(np.int64)
        high = low + self._no_load_w * seconds // 3600 + copper
        drawn = _sums(self._feeder_of, high, len(grid.feeders))
        lost = drawn * self._feeder_bp + self._feeder_rest
        head, self._feeder_rest = drawn + lost // 10_000, lost % 10_000
        delivered = _sums(self._feeder_of[self._transformer_of], imported - exported, len(grid.feeders))
        head = self._planted(head, delivered)
        made = np.array([int(head[n] * plant * one.plant_share_bp) // 10_000 for n, one in enumerate(grid.feeders)])
        return np.array([_at(supply, low, high, head - made, made) for supply in grid.supplies], dtype=np.int64)

    def _planted(self, head: Ints, delivered: Ints) -> Ints:
        """Where a loss is planted, the head's sum so far is the delivered sum so far divided by one less the loss."""
        self._delivered += delivered
        for n, feeder in enumerate(self._grid.feeders):
            if feeder.planted is not None:
                kept = 1 - feeder.planted
                total = int(self._delivered[n]) * kept.denominator // kept.numerator
                head[n] = total - int(self._head[n])
        self._head += head
        return head


def _at(supply: SupplyPlan, low: Ints, high: Ints, head: Ints, made: Ints) -> int:
    match supply.kind:
        case SupplyPointKind.TRANSFORMER:
            return int(low[supply.of])
        case SupplyPointKind.BOUNDARY:
            return int(high[supply.of])
        case SupplyPointKind.FEEDER_HEAD:
            return int(head[supply.of])
        case SupplyPointKind.GENERATOR:
            return int(made[supply.of])


def _sums(group: Ints, values: Ints, groups: int) -> Ints:
    sums = np.zeros(groups, dtype=np.int64)
    np.add.at(sums, group, values)
    return sums
