"""At the hub every area is the sum of what stands in it, supply as well as deliveries. Floor: simulate; reading walk.

Which place counts where is worked out from the grid by this page's own rules (DESIGN §4): usage points count at their
transformer and everything above it; supply is what passes feeder heads, plants and boundaries, and at a transformer its
own meter. Nothing may count twice or nowhere, at any moment of a run.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from central_sync.balance.cells import AREA_COLUMNS, CELL, HOURS, PLACE_COLUMNS, unpack
from gridmodel.balance import CELL_FIELDS
from gridmodel.network import SupplyPointKind
from simulate.grid import Grid, SupplyPlan
from simulate.judges.sight import Eye, NodeSight, Verdicts

Hours = NDArray[np.int64]
Rows = list[tuple[str, str, bytes]]
"""(level, area, state) of areas, ("", place, state) of places."""

SUPPLIED = CELL_FIELDS.index("supplied_wh")
SUPPLY = [CELL_FIELDS.index(name) for name in ("supplied_wh", "supply_expected", "supply_missing")]
_NOTHING: Hours = np.zeros((HOURS, CELL), np.int64)
POINTS = [number for number in range(CELL) if number not in SUPPLY]


@dataclass(frozen=True, slots=True)
class Part:
    """What one place adds to one area."""

    place: str
    columns: tuple[int, ...]
    """Fields of its cells that count there."""
    sign: int = 1
    """Of the energy supplied: −1 on the far side of a boundary."""


Areas = dict[tuple[str, str], list[Part]]
"""By (level, area)."""


def areas_of(grid: Grid) -> Areas:
    """Every area of a node's grid, and the places that make it."""
    found: Areas = defaultdict(list)
    for transformer in grid.transformers:
        place = str(transformer.id)
        feeder = grid.feeders[transformer.feeder]
        found["transformer", place].append(Part(place, tuple(range(CELL))))
        for area in (
            ("feeder", str(feeder.id)),
            ("substation", str(grid.substations[feeder.substation].id)),
            ("district", str(transformer.district)),
        ):
            found[area].append(Part(place, tuple(POINTS)))
    for supply in grid.supplies:
        if supply.kind is not SupplyPointKind.TRANSFORMER:
            for area, sign in _areas_fed(grid, supply):
                found[area].append(Part(str(supply.id), tuple(SUPPLY), sign))
    return found


def _areas_fed(grid: Grid, supply: SupplyPlan) -> list[tuple[tuple[str, str], int]]:
    if supply.kind is SupplyPointKind.BOUNDARY:
        return [(("district", str(supply.district)), 1), (("district", str(supply.to_district)), -1)]
    feeder = grid.feeders[supply.of]
    substation = grid.substations[feeder.substation]
    return [
        (("feeder", str(feeder.id)), 1),
        (("substation", str(substation.id)), 1),
        (("district", str(substation.district)), 1),
    ]


@dataclass(slots=True)
class LevelChecker:
    """Looks at the hub's days; `hub` reads its database."""

    sights: Mapping[str, NodeSight]
    hub: Eye
    verdicts: Verdicts
    _areas: dict[str, Areas] = field(default_factory=dict)
    _added: dict[tuple[str, str], tuple[Rows, Rows]] = field(default_factory=dict)
    """By node and day: the rows of places and areas that were last added up. Other rows are added up anew."""

    def add_up(self) -> None:
        """Compare every area's every day with its places."""
        for node, sight in sorted(self.sights.items()):
            if node not in self._areas:
                self._areas[node] = areas_of(sight.grid)
            self._node(node, self._areas[node])

    def _node(self, node: str, areas: Areas) -> None:
        places: dict[str, Rows] = defaultdict(list)
        moved: dict[str, Rows] = defaultdict(list)
        for place, day, state in self.hub.rows("SELECT place, day, state FROM place_day WHERE node = ?", (node,)):
            places[day].append(("", place, state))
        for day, *row in self.hub.rows("SELECT day, level, area, state FROM balance_day WHERE node = ?", (node,)):
            moved[day].append((row[0], row[1], row[2]))
        for day in sorted(places.keys() | moved.keys()):
            rows = (places[day], moved[day])
            if self._added.get((node, day)) != rows:
                self._added[node, day] = rows
                self._day(node, day, areas, *rows)

    def _day(self, node: str, day: str, areas: Areas, places: Rows, moved: Rows) -> None:
        hours = {place: unpack(bytes(state), HOURS, PLACE_COLUMNS)[:, :CELL] for _, place, state in places}
        stands = {(level, area): unpack(bytes(state), HOURS, AREA_COLUMNS)[:, :CELL] for level, area, state in moved}
        for level, area in sorted(stands.keys() - areas.keys()):
            self.verdicts.against("counted_once", node, f"{level} {area}", "it is no area of this node")
        for (level, area), parts in areas.items():
            apart = stands.get((level, area), _NOTHING) - sum_of(parts, hours)
            if places and apart.any():
                self._tell(node, f"{level} {area} {day}", apart.sum(axis=0))

    def _tell(self, node: str, about: str, apart: Hours) -> None:
        fields = ", ".join(f"{CELL_FIELDS[n]} {int(value):+}" for n, value in enumerate(apart) if value)
        self.verdicts.against("counted_once", node, about, f"it is off its places: {fields or 'hours are exchanged'}")


def sum_of(parts: list[Part], places: Mapping[str, Hours]) -> Hours:
    """What the places of an area make together on a day: [24, CELL]; a place of which nothing is known adds nothing."""
    total: Hours = np.zeros((HOURS, CELL), np.int64)
    for part in parts:
        hours = places.get(part.place)
        if hours is not None:
            columns = list(part.columns)
            total[:, columns] += hours[:, columns]
            if part.sign < 0:
                total[:, SUPPLIED] -= 2 * hours[:, SUPPLIED]
    return total
