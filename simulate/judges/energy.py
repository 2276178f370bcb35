"""Hub = edges = the meters' truth, to the watt-hour, for closed hours. Floor: simulate; on the reading walk.

An hour in which a node slept is estimated: its energy is right in sum, its spread over the gap is not. So sums are
compared between *anchors*: hour ends at which every meter of a place was read. The hub is compared with the edges hour
by hour (its levels with its places: `levels`). Registers are those that the meters served.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from central_sync.balance.cells import CELL, HOURS, KNOWN, PLACE_COLUMNS, unpack
from gridmodel.network import SupplyPointKind
from gridmodel.period import HOUR_S, day_bounds
from gridmodel.reading import Channel
from protocols.sync import wire
from simulate.judges.sight import Eye, NodeSight, Verdicts

ANCHOR_S = 900
"""How long after an interval's end its registers are read at the latest."""
CLEAR_HOURS_MIN = 6
"""Of more hours than this that no wrong wall clouds, two are read whole; a day that is off may leave fewer."""
CELLS_READ_MAX = 50_000
"""Cells remembered as read: three nodes of seven places over a month."""
SUPPLIED, DELIVERED, EXPORTED = 0, 1, 2
"""Where energy stands in a cell: `gridmodel.balance.CELL_FIELDS`."""


@dataclass(frozen=True, slots=True)
class Place:
    """One place of a balance: whose meters make it."""

    id: str
    kind: str
    points: tuple[int, ...]
    """Indices of usage points' meters."""
    supply: tuple[int, ...]
    """Indices of supply meters in `Grid.meters`."""


def places_of(sight: NodeSight) -> list[Place]:
    """Every place of a node's grid, as a balance counts them."""
    grid = sight.grid
    base = len(grid.points)
    found = []
    for number, transformer in enumerate(grid.transformers):
        own = tuple(n for n, point in enumerate(grid.points) if point.transformer == number)
        meters = tuple(
            base + n
            for n, supply in enumerate(grid.supplies)
            if supply.kind is SupplyPointKind.TRANSFORMER and supply.of == number
        )
        found.append(Place(str(transformer.id), "transformer", own, meters))
    found += [
        Place(str(supply.id), supply.kind.value, (), (base + n,))
        for n, supply in enumerate(grid.supplies)
        if supply.kind is not SupplyPointKind.TRANSFORMER
    ]
    return found


def true_cell(sight: NodeSight, place: Place, begin: int, end: int) -> tuple[int, int, int]:
    """(supplied, delivered, exported) from `begin` to `end` (UTC seconds), primary Wh, from served registers."""
    truth = sight.truth

    def energy(index: int) -> tuple[int, int]:
        after, before = truth.registers_at(index, end), truth.registers_at(index, begin)
        multiplier = truth.multiplier(index)
        return (
            (after.import_wh - before.import_wh) * multiplier,
            (after.export_wh - before.export_wh) * multiplier if _gives(sight, index) else 0,
        )

    own = [energy(index) for index in place.points]
    return (
        sum(energy(index)[0] for index in place.supply),
        sum(taken for taken, _ in own),
        sum(given for _, given in own),
    )


def _gives(sight: NodeSight, index: int) -> bool:
    return index < len(sight.grid.points) and sight.grid.points[index].solar_w > 0


@dataclass(slots=True)
class EnergyChecker:
    """Compares when asked; `hub` reads the hub's database."""

    sights: Mapping[str, NodeSight]
    hub: Eye
    verdicts: Verdicts
    _places: dict[str, list[Place]] = field(default_factory=dict)
    _read: dict[tuple[str, str, str], tuple[bytes, dict[int, tuple[int, ...]]]] = field(default_factory=dict)
    """By node, place and day: the hub's last state, and the hours in it. Other bytes are read anew."""

    def places(self, node: str) -> list[Place]:
        """The node's places."""
        if node not in self._places:
            self._places[node] = places_of(self.sights[node])
        return self._places[node]

    def edge_hours(self, node: str) -> dict[str, dict[int, tuple[int, ...]]]:
        """Closed hours at the edge: place to {hour end: cell}."""
        found: dict[str, dict[int, tuple[int, ...]]] = {}
        for place, end, cell in self.sights[node].control.rows("SELECT place, hour_end, cell FROM hour_cell"):
            found.setdefault(place, {})[end] = _cell_in(bytes(cell))
        return found

    def hub_hours(self, node: str) -> dict[str, dict[int, tuple[int, ...]]]:
        """Hours in force at the hub: place to {hour end: cell}."""
        found: dict[str, dict[int, tuple[int, ...]]] = {}
        for place, day, state in self.hub.rows("SELECT place, day, state FROM place_day WHERE node = ?", (node,)):
            held = self._read.get((node, place, day))
            if held is None or held[0] != state:
                held = self._read[node, place, day] = (state, self._hours_in(node, day, state))
            found.setdefault(place, {}).update(held[1])
        return found

    def _hours_in(self, node: str, day: str, state: bytes) -> dict[int, tuple[int, ...]]:
        begin, _ = day_bounds(day, self.sights[node].grid.spec.zone)
        hours = unpack(bytes(state), HOURS, PLACE_COLUMNS)
        return {
            begin + (hour + 1) * HOUR_S: tuple(hours[hour, :CELL].tolist())
            for hour in np.flatnonzero(hours[:, KNOWN]).tolist()
        }

    def closed_to(self, node: str) -> int:
        """The last closed hour's end at the edge; 0 when none is."""
        return int(self.sights[node].control.value("SELECT max(hour_end) FROM hour_closed") or 0)

    def closed_from(self, node: str) -> int:
        """The first closed hour's end at the edge: a day's chunk holds hours before it, of which nothing is told."""
        return int(self.sights[node].control.value("SELECT min(hour_end) FROM hour_closed") or 0)

    def agree(self, node: str, upto: int) -> bool:
        """Whether hub and edge hold the same closed hours up to `upto`, each with the same value."""
        edge, hub, first = self.edge_hours(node), self.hub_hours(node), self.closed_from(node)
        return all(
            {end: cell for end, cell in edge.get(place.id, {}).items() if end <= upto}
            == {end: cell for end, cell in hub.get(place.id, {}).items() if first <= end <= upto}
            for place in self.places(node)
        )

    def heard(self, node: str, before: int) -> None:
        """Hours that the edge closed before then stand at the hub: a summary that was lost shows within the day."""
        if self.verdicts.forgetful:
            return
        hub = self.hub_hours(node)
        closed = self.sights[node].control.rows(
            "SELECT c.place, c.hour_end, h.closed_at FROM hour_cell AS c"
            " JOIN hour_closed AS h ON h.hour_end = c.hour_end WHERE h.closed_at < ?",
            (before,),
        )
        now = self.verdicts.now()
        for place, end, closed_at in closed:
            if before < end or end in hub.get(place, {}):
                continue  # an hour of the future was closed by a wall that was ahead
            if not self.sights[node].stamped_within(closed_at, before, now):
                self.verdicts.against(
                    "hub_equals_edge", node, place, f"hour {end} was closed and never reached the hub"
                )

    def compare_hours(self, node: str, upto: int) -> None:
        """Every closed hour at the edge stands at the hub with the same value."""
        edge, hub, first = self.edge_hours(node), self.hub_hours(node), self.closed_from(node)
        for place in self.places(node):
            for end, cell in sorted(edge.get(place.id, {}).items()):
                there = hub.get(place.id, {}).get(end)
                if end <= upto and there != cell:
                    self.verdicts.against(
                        "hub_equals_edge", node, place.id, f"hour {end}: {cell} at the edge, {there} at the hub"
                    )
            extra = sorted(end for end in set(hub.get(place.id, {})) - set(edge.get(place.id, {})) if first <= end)
            if extra:
                self.verdicts.against("hub_equals_edge", node, place.id, f"hour {extra[0]} is known at the hub alone")

    def compare_truth(self, node: str, upto: int) -> int:
        """Edge sums between anchors are the meters'; gives the watt-hours compared."""
        sight, compared = self.sights[node], 0
        edge = self.edge_hours(node)

        @cache
        def read_at(end: int) -> frozenset[tuple[Any, ...]] | None:
            return _read_at(sight, end)

        for place in self.places(node):
            hours = edge.get(place.id, {})
            wanted = _wanted(sight, place)
            anchors = [
                end for end in sorted(hours) if end <= upto and (there := read_at(end)) is not None and wanted <= there
            ]
            if len(anchors) < 2:
                clear = sum(1 for end in hours if end <= upto and not clouded(sight, end))
                if clear > CLEAR_HOURS_MIN and not _has_dead(sight, place):
                    self.verdicts.against("edge_equals_meters", node, place.id, "not two hours with every meter read")
                continue
            for begin, end in pairwise(anchors):
                gone = [end - n * HOUR_S for n in range((end - begin) // HOUR_S) if end - n * HOUR_S not in hours]
                told = tuple(
                    sum(hours[at][column] for at in hours if begin < at <= end)
                    for column in (SUPPLIED, DELIVERED, EXPORTED)
                )
                true = true_cell(sight, place, begin, end)
                compared += true[DELIVERED]
                if gone or told != true:
                    self.verdicts.against(
                        "edge_equals_meters",
                        node,
                        place.id,
                        f"from {begin} to {end}: {told} Wh closed, {true} Wh by the meters, {len(gone)} hours missing",
                    )
        return compared


def _wanted(sight: NodeSight, place: Place) -> frozenset[tuple[Any, ...]]:
    """(point, channel) of every register that makes a place's balance."""
    grid, base = sight.grid, len(sight.grid.points)
    own = [grid.points[index] for index in place.points]
    return frozenset(
        [(str(one.id), int(Channel.IMPORT)) for one in own]
        + [(str(one.id), int(Channel.EXPORT)) for one in own if one.solar_w]
        + [(str(grid.supplies[index - base].id), int(Channel.IMPORT)) for index in place.supply]
    )


def _read_at(sight: NodeSight, end: int) -> frozenset[tuple[Any, ...]] | None:
    """(point, channel) of every register that was read at `end`; None where no clock was sure to be right."""
    if clouded(sight, end):
        return None
    return frozenset(
        sight.segment(end).rows(
            "SELECT p.point, p.channel FROM reading AS r JOIN point AS p ON p.number = r.point"
            " WHERE r.end = ? AND r.register_wh IS NOT NULL",
            (end,),
        )
    )


@lru_cache(maxsize=CELLS_READ_MAX)
def _cell_in(packed: bytes) -> tuple[int, ...]:
    """A packed cell; the same bytes are the same cell in every run."""
    return tuple(wire.unpack(packed, wire.FRAME))


def _has_dead(sight: NodeSight, place: Place) -> bool:
    return any(str(sight.grid.meters[index]) in sight.never_read for index in (*place.points, *place.supply))


def clouded(sight: NodeSight, end: int) -> bool:
    """Whether a wall that was wrong may have stamped registers of other times with `end`, or let those of `end` go.

    Wrong by a step it shows [begin + step, over + step]; ahead, it has the ends until then behind it.
    """
    return any(
        span.begin + min(0, span.low_s) - ANCHOR_S <= end <= span.over + max(0, span.high_s) + ANCHOR_S
        for span in sight.clock_spans()
    )


def final_days(hub: Eye, node: str) -> set[str]:
    """Days of which every transformer's hours at the hub are final."""
    days: dict[str, bool] = {}
    for day, chunk in hub.rows("SELECT day, chunk FROM place_day WHERE node = ?", (node,)):
        days[day] = days.get(day, True) and chunk is not None
    return {day for day, whole in days.items() if whole}
