"""Each interval that a node calls actual is what the meter counted in it; memories have filled what they could.

Floor: simulate; walk: reading. The checker of energy compares sums between hours in which every meter was read; this
one looks at single intervals, so that energy moved from one hour into another is found.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gridmodel.reading import Channel, Quality
from simulate.judges.energy import clouded
from simulate.judges.sight import NodeSight, Verdicts

WAITS = ("waiting", "meter_silent")
"""Reasons of gaps for which nobody but the node itself is waited for."""
OWED_S = 4 * 3_600
"""A gap that closed so long ago is filled, or says why it cannot be."""


@dataclass(frozen=True, slots=True)
class IntervalChecker:
    """Asked at the end."""

    sights: Mapping[str, NodeSight]
    verdicts: Verdicts

    def compare(self, node: str) -> int:
        """Every actual interval of a node's usage and supply points; gives how many."""
        sight, compared = self.sights[node], 0
        meters = {point: sight.truth.index(meter) for meter, point in sight.measured.items()}
        for eye in sight.segments():
            rows = eye.rows(
                "SELECT p.point, p.channel, r.end, r.energy_wh FROM reading AS r JOIN point AS p ON p.number = r.point"
                " WHERE r.quality = ? AND p.channel IN (?, ?)",
                (int(Quality.ACTUAL), int(Channel.IMPORT), int(Channel.EXPORT)),
            )
            for point, channel, end, energy_wh in rows:
                if clouded(sight, end):
                    continue
                true_wh = self._true_wh(sight, meters[point], Channel(channel), end)
                compared += 1
                if energy_wh != true_wh:
                    self.verdicts.against(
                        "actual_is_true", node, point, f"{energy_wh} Wh in the interval to {end}, the meter: {true_wh}"
                    )
        return compared

    def hours(self, node: str) -> int:
        """Every register stands at the interval end at which the meter showed it; gives how many.

        Where a wall was wrong a read may fall beside an interval's end: then it stands at the end next to it.
        """
        sight, compared = self.sights[node], 0
        step_s = sight.grid.spec.interval_minutes * 60
        first = {str(meter): index for index, meter in enumerate(sight.grid.meters)}
        meters = {point: first[meter] for meter, point in sight.measured.items() if meter in first}
        for eye in sight.segments():
            rows = eye.rows(
                "SELECT p.point, r.end, r.register_wh FROM reading AS r JOIN point AS p ON p.number = r.point"
                " WHERE r.register_wh IS NOT NULL AND p.channel = ?",
                (int(Channel.IMPORT),),
            )
            for point, end, register_wh in rows:
                if point not in meters:
                    continue
                beside = (0, -step_s, step_s) if clouded(sight, end) else (0,)
                compared += 1
                if end > sight.truth.end:
                    self.verdicts.against("hour_is_right", node, point, f"a register stands at {end}, in the future")
                    continue
                ends = [min(end + off_s, sight.truth.end) for off_s in beside]
                if all(register_wh != self._register_wh(sight, meters[point], one) for one in ends):
                    true_wh = self._register_wh(sight, meters[point], end)
                    what = f"{register_wh} Wh stands at {end}, the meter showed {true_wh} then"
                    self.verdicts.against("hour_is_right", node, point, what)
        return compared

    def _register_wh(self, sight: NodeSight, index: int, end: int) -> int:
        return sight.truth.registers_at(index, end).import_wh * sight.truth.multiplier(index)

    def filled(self, node: str) -> int:
        """Intervals that were read out of meters' memories."""
        return sum(
            eye.value("SELECT count(*) FROM reading WHERE quality = ? AND revision > 1", (int(Quality.ACTUAL),)) or 0
            for eye in self.sights[node].segments()
        )

    def waiting(self, node: str, now: int) -> int:
        """Gaps that are still owed: closed long ago, their meters' memories not asked to the end."""
        return sum(
            eye.value("SELECT count(*) FROM gap WHERE reason IN (?, ?) AND end < ?", (*WAITS, now - OWED_S)) or 0
            for eye in self.sights[node].segments()
        )

    def _true_wh(self, sight: NodeSight, index: int, channel: Channel, end: int) -> int:
        step_s = sight.grid.spec.interval_minutes * 60
        after, before = sight.truth.registers_at(index, end), sight.truth.registers_at(index, end - step_s)
        if channel is Channel.IMPORT:
            register_wh = after.import_wh - before.import_wh
        else:
            register_wh = after.export_wh - before.export_wh
        return register_wh * sight.truth.multiplier(index)
