"""What a load profile says about a gap, and whether to believe it. Pure. Room: metering; walk: reading.

Rows are believed only as far as the two registers that bound the gap agree with them, within the resolution of the
profile. A register that was polled for an interval's end may have been read any time before the next one: so what was
polled must lie between the row of that end and the row after it. What is believed is booked so that the intervals of a
gap still add up to the difference of its registers, to the watt-hour. Nothing is invented: where rows are absent,
doubtful or empty the estimate stays, unless the register did not move over them, and the list says why.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from edge_node.store.gaps import Gap, GapReason
from gridmodel.quantity import Multiplier
from gridmodel.reading import IntervalReading, Quality
from gridmodel.vee import VeeRules
from protocols.driver import ClockReading, ProfileRow, ProfileSlice, ProfileValues

CLOCK_SHARE = 10
"""A clock may be off by this part of an interval: its rows then misplace a tenth of an interval's energy, and the
registers at both ends still bound the whole."""

LATE_SHARE = 2
"""Polls and their repetitions are over within half of the shortest interval: of rows that hold energies, so much of the
first and of the one after the gap may stand on the other side of its registers."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What a gap became."""

    intervals: tuple[IntervalReading, ...]
    """The full new values of all its intervals, in order; empty when nothing of it is booked anew."""
    left: tuple[Gap, ...]
    """What of it is still a gap, each with its reason and without a time to ask again; empty when it is filled."""


@dataclass(frozen=True, slots=True)
class _Point:
    """A register within the gap."""

    at: int
    register_wh: int
    """Primary Wh, counted on where the meter's own register wrapped."""


def clock_lies(reading: ClockReading, interval_s: int) -> str | None:
    """Why this clock's rows cannot be believed; None when they can."""
    if reading.meter_time is None:
        return "the meter does not say which moment it is"
    if reading.doubtful:
        return "the meter itself doubts its clock"
    early, late = reading.meter_time - reading.answered_at, reading.meter_time - reading.asked_at
    off_s = max(0, early) or min(0, late)
    if abs(off_s) > interval_s // CLOCK_SHARE:
        return f"the meter's clock is {abs(off_s)} s {'fast' if off_s > 0 else 'slow'}"
    return None


def fill(
    gap: Gap, told: ProfileSlice, multiplier: Multiplier, rules: VeeRules, estimates: Mapping[int, int] | None = None
) -> Filled:
    """Fill a gap from the rows of its meter from `gap.start` to one interval past `gap.end`, as far as there are any.

    `rules` are those of the installation, in primary units. `estimates` are the energies booked so far by interval end:
    what cannot be filled keeps their shape; without them it is spread evenly.
    """
    if gap.energy_wh == 0:
        return still(gap)
    if told.period_s <= 0 or gap.interval_s % told.period_s:
        return _unfilled(gap, GapReason.PERIOD_UNFIT, f"the load profile has intervals of {told.period_s} s")
    if not told.rows:
        return _unfilled(gap, GapReason.OUTSIDE_MEMORY, "the meter has no row of this time")
    if not any(gap.channel in row.energies for row in told.rows):
        return _unfilled(gap, GapReason.COLUMN_MISSING, f"the load profile does not hold {gap.channel.name.lower()}")
    step_wh = -(-told.resolution_wh.get(gap.channel, 1) * multiplier.numerator // multiplier.denominator)
    work = _Gap(gap, told, multiplier, rules, step_wh, {} if estimates is None else estimates)
    return work.from_registers() if told.values is ProfileValues.REGISTERS else work.from_intervals()


def still(gap: Gap) -> Filled:
    """A gap over which the register did not move: each of its intervals was nothing, whatever the meter remembers."""
    register = {gap.end: gap.end_register_wh}
    return Filled(
        tuple(IntervalReading(gap.point, gap.channel, end, 0, Quality.ACTUAL, register.get(end)) for end in gap.ends),
        (),
    )


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in whole parts after `weights` (none below zero), evenly where they are all zero; they add up to it."""
    if not sum(weights):
        weights = [1] * len(weights)
    whole, running, given = sum(weights), 0, 0
    found = []
    for weight in weights:
        running += weight
        found.append(total * running // whole - given)
        given += found[-1]
    return found


@dataclass(frozen=True, slots=True)
class _Gap:
    gap: Gap
    told: ProfileSlice
    multiplier: Multiplier
    rules: VeeRules
    step_wh: int
    """The resolution of the rows in primary Wh."""
    estimates: Mapping[int, int]

    # Rows that hold registers -----------------------------------------------------------------------------------------

    def from_registers(self) -> Filled:
        """Intervals are differences of registers; what lies between two of them is known, whatever is absent."""
        gap = self.gap
        lift = self.rules.register_wh_wrap or 0
        points: dict[int, int] = {}
        for row in self.told.rows:
            value = self._usable(row)
            if value is not None and (row.end - gap.start) % gap.interval_s == 0:
                register_wh = self.multiplier.apply(value)
                wrapped = lift and register_wh < gap.start_register_wh - self.step_wh - self._carried_wh()
                points[row.end] = register_wh + lift if wrapped else register_wh
        wrong = self._contradiction(points)
        if wrong is not None:
            return _unfilled(gap, GapReason.REGISTER_DISAGREES, wrong)
        last_wh = gap.start_register_wh + gap.energy_wh
        inner = [
            _Point(end, min(max(points[end], gap.start_register_wh), last_wh)) for end in gap.ends[:-1] if end in points
        ]
        return self._between([_Point(gap.start, gap.start_register_wh), *inner, _Point(gap.end, last_wh)])

    def _contradiction(self, points: Mapping[int, int]) -> str | None:
        """How the rows contradict the gap's registers or each other; None when they do not."""
        gap, step_wh, carried_wh = self.gap, self.step_wh, self._carried_wh()
        last_wh = gap.start_register_wh + gap.energy_wh
        rows = sorted((end, wh) for end, wh in points.items() if gap.start <= end <= gap.end + gap.interval_s)
        for (_, earlier), (end, later) in pairwise(rows):
            if later < earlier:
                return f"the row of {end} is {earlier - later} Wh below the one before"
        for end, wh in rows:
            if end <= gap.start and not -step_wh <= gap.start_register_wh - wh <= carried_wh + step_wh:
                return f"{gap.start_register_wh} Wh were read, the row of {end} says {wh}"
            if end > gap.start and wh < gap.start_register_wh - step_wh:
                return f"{gap.start_register_wh} Wh were read before, the row of {end} says {wh}"
            if end <= gap.end and wh > last_wh + step_wh:
                return f"{last_wh} Wh were read after, the row of {end} says {wh}"
            if end >= gap.end and last_wh - wh > (carried_wh if end == gap.end else 0) + step_wh:
                return f"{last_wh} Wh were read, the row of {end} says {wh}"
        return None

    def _between(self, points: Sequence[_Point]) -> Filled:
        """Intervals between registers that were agreed on, and the gaps that are still among them.

        The first point and the last are the gap's own registers; with no other between them nothing new is known.
        """
        gap, length = self.gap, self.gap.interval_s
        intervals: list[IntervalReading] = []
        left: list[Gap] = []
        for before, after in pairwise(points):
            energy_wh = after.register_wh - before.register_wh
            ends = range(before.at + length, after.at + 1, length)
            known = len(ends) == 1 or energy_wh == 0
            if energy_wh > (len(ends) + 1) * self._carried_wh() + self.step_wh:  # a late read has some of the next
                wrong = f"{energy_wh} Wh up to {after.at} are more than the connection can carry"
                return _unfilled(gap, GapReason.REGISTER_DISAGREES, wrong)
            energies = shares(energy_wh, [self.estimates.get(end, 0) for end in ends])
            wraps = self._shown(after.register_wh) < self._shown(before.register_wh)
            quality = Quality.SUSPECT if known and wraps else Quality.ACTUAL if known else Quality.ESTIMATED
            intervals += [
                IntervalReading(gap.point, gap.channel, end, wh, quality, self._register(end, after))
                for end, wh in zip(ends, energies, strict=True)
            ]
            if not known:
                left.append(self._left(before, after, energy_wh))
        return Filled(() if len(points) == 2 else tuple(intervals), tuple(left))

    def _left(self, before: _Point, after: _Point, energy_wh: int) -> Gap:
        reason, detail = self._why_absent(before.at, after.at)
        return replace(
            self.gap,
            start=before.at,
            end=after.at,
            start_register_wh=self._shown(before.register_wh),
            end_register_wh=self._shown(after.register_wh),
            energy_wh=energy_wh,
            reason=reason,
            detail=detail,
            due_at=None,
        )

    def _register(self, end: int, after: _Point) -> int | None:
        return self._shown(after.register_wh) if end == after.at else None

    def _shown(self, register_wh: int) -> int:
        """A register as the meter shows it, wrapped where it wraps."""
        wrap = self.rules.register_wh_wrap
        return register_wh % wrap if wrap else register_wh

    # Rows that hold the energy of their interval alone ----------------------------------------------------------------

    def from_intervals(self) -> Filled:
        """All or nothing: only their sum can be held against the registers. Absent rows count as nothing."""
        gap = self.gap
        energies = self._sums(gap.ends)
        negative = next((end for end, wh in energies.items() if wh is not None and wh < 0), None)
        if negative is not None:
            return _unfilled(gap, GapReason.REGISTER_DISAGREES, f"the row of {negative} has less than nothing")
        known = [wh or 0 for wh in energies.values()]
        there = [int(wh is not None) for wh in energies.values()]
        total_wh, absent = sum(known), not all(there)
        rounding_wh = sum(there) * self.step_wh * (gap.interval_s // self.told.period_s)
        after = self._sums([gap.end + gap.interval_s])[gap.end + gap.interval_s]
        late_wh = 0 if absent else (max(known) if after is None else after) // LATE_SHARE
        if not total_wh - known[0] // LATE_SHARE - rounding_wh <= gap.energy_wh <= total_wh + late_wh + rounding_wh:
            if absent and gap.energy_wh > total_wh:
                return _unfilled(gap, *self._why_absent(gap.start, gap.end))
            wrong = f"the rows add up to {total_wh} Wh, the registers differ by {gap.energy_wh} Wh"
            return _unfilled(gap, GapReason.REGISTER_DISAGREES, wrong)
        carried_wh = 2 * self._carried_wh() + self.step_wh
        booked = _rounded_to(gap.energy_wh, known, there, rounding_wh)
        if max(booked) > carried_wh:
            wrong = f"{max(booked)} Wh in one interval are more than the connection can carry"
            return _unfilled(gap, GapReason.REGISTER_DISAGREES, wrong)
        return Filled(
            tuple(
                IntervalReading(
                    gap.point,
                    gap.channel,
                    end,
                    wh,
                    Quality.SUSPECT if gap.end_register_wh < gap.start_register_wh else Quality.ACTUAL,
                    gap.end_register_wh if end == gap.end else None,
                )
                for end, wh in zip(gap.ends, booked, strict=True)
            ),
            (),
        )

    def _sums(self, ends: Iterable[int]) -> dict[int, int | None]:
        """The primary energy of each interval; None where a row of it is absent, empty or doubtful."""
        period_s, length = self.told.period_s, self.gap.interval_s
        values = {row.end: self._usable(row) for row in self.told.rows}
        found: dict[int, int | None] = {}
        for end in ends:
            parts = [values.get(at) for at in range(end - length + period_s, end + 1, period_s)]
            whole = [part for part in parts if part is not None]
            found[end] = self.multiplier.apply(sum(whole)) if len(whole) == len(parts) else None
        return found

    # Both -------------------------------------------------------------------------------------------------------------

    def _usable(self, row: ProfileRow) -> int | None:
        return None if row.doubtful else row.energies.get(self.gap.channel)

    def _carried_wh(self) -> int:
        """The most that can flow in one interval."""
        return self.rules.power_w_max * self.gap.interval_s // 3_600

    def _why_absent(self, start: int, end: int) -> tuple[GapReason, str]:
        """Why rows after `start` up to `end` say nothing."""
        rows = [row for row in self.told.rows if start < row.end <= end]
        doubtful = sum(row.doubtful for row in rows)
        if doubtful:
            return GapReason.ROW_DOUBTFUL, f"{doubtful} rows are marked as doubtful by the meter"
        empty = sum(row.energies.get(self.gap.channel) is None for row in rows)
        if empty:
            return GapReason.ROW_EMPTY, f"{empty} rows have no value"
        if all(row.end >= end for row in self.told.rows):
            return GapReason.OUTSIDE_MEMORY, f"the meter's first row is that of {self.told.rows[0].end}"
        return GapReason.ROW_MISSING, "the meter has no rows of this time, though it has earlier ones"


def _rounded_to(energy_wh: int, known: Sequence[int], there: Sequence[int], rounding_wh: int) -> list[int]:
    """The energies of rows made to add up to that of the registers.

    What rounding took from the rows goes evenly to those that are `there`. What is over belongs to a register that was
    read late: it lacks in the first interval, or comes with the last one.
    """
    rest_wh = energy_wh - sum(known)
    booked = [wh + part for wh, part in zip(known, shares(min(max(0, rest_wh), rounding_wh), there), strict=True)]
    booked[0] += min(0, rest_wh)
    booked[-1] += max(0, rest_wh - rounding_wh)
    return booked if booked[0] >= 0 else shares(energy_wh, known)


def _unfilled(gap: Gap, reason: GapReason, detail: str) -> Filled:
    return Filled((), (replace(gap, reason=reason, detail=detail, due_at=None),))
