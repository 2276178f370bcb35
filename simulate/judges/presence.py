"""How much of what meters counted is there in time: an hour later, and by six in the morning. Floor: simulate; reading.

Of every interval of the consumers' meters that ended in a local day; an interval counts when it is actual. Only where a
scenario demands it: losses on the way are no excuse there, other faults are not meant.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gridmodel.period import HOUR_S, day_bounds, local_day
from gridmodel.reading import Channel, Quality
from simulate.judges.sight import NodeSight, Verdicts

MORNING_S = 6 * HOUR_S
"""After midnight: billing begins."""
FIRST_HOURS = 4
"""A node is new to its meters then: a register to count from has to come first."""


@dataclass(slots=True)
class PresenceChecker:
    """`look` every few minutes; what it found is in `found`."""

    sights: Mapping[str, NodeSight]
    verdicts: Verdicts
    start: int
    """UTC seconds of the rehearsal's first midnight."""
    pct: tuple[float, float]
    """Demanded after an hour, and by six."""
    found: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """By node and local day: the part of the day's intervals that was there in time, hour by hour, in percent."""
    worst_pct: tuple[float, float] | None = None
    """The least of all days and nodes, an hour after an interval and by six; None before the first morning."""
    _next_hour: dict[str, int] = field(default_factory=dict)
    _next_day: dict[str, int] = field(default_factory=dict)

    def look(self, now: int) -> None:
        """Judge every hour that ended an hour ago, and every day whose morning has come."""
        if not any(self.pct):
            return
        for node, sight in self.sights.items():
            end = self._next_hour.setdefault(node, self.start + FIRST_HOURS * HOUR_S)
            while end + HOUR_S <= now:
                day = local_day(end, sight.grid.spec.zone)
                self.found.setdefault((node, day), []).append(self._present_pct(sight, end - HOUR_S, end))
                end += HOUR_S
            self._next_hour[node] = end
            midnight = self._next_day.setdefault(node, self.start + 24 * HOUR_S)
            if midnight + MORNING_S <= now:
                self._judge(sight, midnight)
                self._next_day[node] = midnight + 24 * HOUR_S

    def _judge(self, sight: NodeSight, midnight: int) -> None:
        day = local_day(midnight, sight.grid.spec.zone)
        begin, _ = day_bounds(day, sight.grid.spec.zone)
        first = max(begin, self.start + (FIRST_HOURS - 1) * HOUR_S)
        hours = self.found.get((sight.node, day), [])
        soon, by_six = sum(hours) / max(1, len(hours)), self._present_pct(sight, first, midnight)
        before = self.worst_pct or (soon, by_six)
        self.worst_pct = min(before[0], soon), min(before[1], by_six)
        for pct, wanted, when in ((soon, self.pct[0], "an hour later"), (by_six, self.pct[1], "by six")):
            if pct < wanted:
                self.verdicts.against("presence", sight.node, f"{day} {when}", f"{pct:.2f} % of {wanted} % were there")

    def _present_pct(self, sight: NodeSight, after: int, upto: int) -> float:
        """Of the import intervals of consumers' meters that end in (after, upto]."""
        step_s = sight.grid.spec.interval_minutes * 60
        points = [str(one.id) for one in sight.grid.points]
        there = 0
        for eye in dict.fromkeys((sight.segment(after + step_s), sight.segment(upto))):
            rows = eye.rows(
                "SELECT p.point, count(*) FROM reading AS r JOIN point AS p ON p.number = r.point"
                " WHERE r.end > ? AND r.end <= ? AND r.quality = ? AND p.channel = ? GROUP BY p.point",
                (after, upto, int(Quality.ACTUAL), int(Channel.IMPORT)),
            )
            counted: Mapping[str, int] = dict(rows)
            there += sum(counted.get(point, 0) for point in points)
        return 100 * there / (len(points) * ((upto - after) // step_s))
