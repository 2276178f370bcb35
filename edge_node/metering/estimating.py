"""Estimation: gaps whose sum is known get the shape of like times. Room: metering; walk: reading.

A read after a silence books the sum over all that was missed. How it is shared out follows, in this order, the point's
own profile (the same times of the week, over the weeks before), the other points under the same transformer in the very
intervals, and a straight line. It happens before the round is booked, in its one transaction: no second value waits
for a second writer, and what a meter's own memory tells later stands above it by its revision. Its work is bounded as
the round is: four look-ups for an interval, and no more than a month's for a point.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from edge_node.metering.shapes import Like, like_ends, like_weights, reshaped
from edge_node.store.history import Folded, measured_energies, measured_means
from edge_node.store.reading_round import Booking
from edge_node.store.readings import Readings
from gridmodel.reading import Channel, Estimation, Quality

NEIGHBOUR_LOOKUPS_MAX = 50_000
"""For one round: 50 ms of the database's thread, in turns of 10. Points beyond it get a straight line."""
NEIGHBOURS_MAX = 20
"""Points asked under one transformer: their mean is smooth by then."""
NEIGHBOURS_MIN = 3
"""Fewer are no profile but somebody's habits."""
INTERVALS_PER_TASK = 5_000
"""Intervals shaped in one task for `compute`: some 10 ms."""


@dataclass(frozen=True, slots=True)
class Sum:
    """A known sum over a gap, waiting for its shape."""

    booking: Booking
    """Spread evenly; two intervals or more."""
    interval_wh_max: int
    """What one interval can carry."""
    neighbours: Sequence[str]
    """Usage points under the same transformer, itself among them; empty for supply points."""

    @property
    def start(self) -> int:
        """Where its first interval begins."""
        return 2 * self.booking.intervals[0].end - self.booking.intervals[1].end

    @property
    def span(self) -> tuple[int, int, int]:
        """(start, end, length of an interval); outages give many gaps one span."""
        intervals = self.booking.intervals
        return self.start, intervals[-1].end, intervals[1].end - intervals[0].end


class Estimator:
    """Shapes the gaps of poll rounds out of the readings of one node."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings

    async def shaped(self, sums: Sequence[Sum], around: Sequence[Booking]) -> list[Booking]:
        """The bookings of these gaps in the best shape that is known, in order; every sum stays what it is.

        `around` are the bookings of the same round: what neighbours took in the last interval is not stored yet.
        """
        found = [one.booking for one in sums]
        by_span: dict[tuple[int, int, int], list[int]] = {}
        for place, one in enumerate(sums):
            if any(interval.energy_wh for interval in one.booking.intervals):
                by_span.setdefault(one.span, []).append(place)
        left: list[int] = []
        for span, places in by_span.items():
            like = await self._readings.compute.run(like_ends, *span)
            for start in range(0, len(places), max(1, INTERVALS_PER_TASK // len(like))):
                part = places[start : start + max(1, INTERVALS_PER_TASK // len(like))]
                for place, booking in zip(part, await self._own([sums[one] for one in part], like), strict=True):
                    if booking is None:
                        left.append(place)
                    else:
                        found[place] = booking
        for place, booking in (await self._as_neighbours(sums, left, around)).items():
            found[place] = booking
        return found

    async def _own(self, sums: Sequence[Sum], like: Like) -> list[Booking | None]:
        """Each in the shape of its own past; None where that says too little."""
        channels = [(one.booking.point, int(one.booking.channel)) for one in sums]
        ends = sorted({end for ends in like.values() for end in ends})
        rows = await measured_energies(self._readings.segments, channels, ends)
        return await self._readings.compute.run(_of_own_profile, sums, rows, like)

    async def _as_neighbours(
        self, sums: Sequence[Sum], left: Iterable[int], around: Sequence[Booking]
    ) -> dict[int, Booking]:
        """Those of `left` whose neighbours were measured meanwhile, in the shape of their mean."""
        groups: dict[tuple[tuple[int, int, int], tuple[str, ...]], list[int]] = {}
        for place in left:
            one = sums[place]
            if one.booking.channel is Channel.IMPORT and len(one.neighbours) > NEIGHBOURS_MIN:
                groups.setdefault((one.span, tuple(one.neighbours[:NEIGHBOURS_MAX])), []).append(place)
        found: dict[int, Booking] = {}
        budget = NEIGHBOUR_LOOKUPS_MAX
        fresh = _fresh(around) if groups else {}
        for ((start, end, length), neighbours), places in groups.items():
            ends = range(start + length, end + 1, length)
            budget -= len(ends) * len(neighbours)
            if budget < 0:
                break
            channels = [(point, int(Channel.IMPORT)) for point in neighbours]
            means = await measured_means(self._readings.segments, channels, ends, NEIGHBOURS_MIN)
            just_now = [wh for point in neighbours if (wh := fresh.get((point, end))) is not None]
            if len(just_now) >= NEIGHBOURS_MIN:
                means[end] = sum(just_now) // len(just_now)
            weights = like_weights({one: [one] for one in ends}, means)
            if weights is None:
                continue
            shaped = await self._readings.compute.run(_in_shape, [sums[one] for one in places], weights)
            found |= {place: booking for place, booking in zip(places, shaped, strict=True) if booking is not None}
        return found


def _fresh(around: Iterable[Booking]) -> dict[tuple[str, int], int]:
    """Measured energies of the round itself, by (point, interval end)."""
    return {
        (booking.point, one.end): one.energy_wh
        for booking in around
        if booking.channel is Channel.IMPORT and len(booking.intervals) == 1
        for one in booking.intervals
        if one.quality is Quality.ACTUAL and one.energy_wh is not None
    }


def _of_own_profile(sums: Sequence[Sum], rows: Iterable[Folded], like: Like) -> list[Booking | None]:
    measured: list[dict[int, int]] = [{} for _ in sums]
    for index, ends, energies in rows:
        measured[index].update(zip(json.loads(ends), json.loads(energies), strict=True))
    weights = [like_weights(like, known) for known in measured]
    return [
        None if found is None else _reshaped(one, found, Estimation.OWN_PROFILE)
        for one, found in zip(sums, weights, strict=True)
    ]


def _in_shape(sums: Sequence[Sum], weights: Sequence[int]) -> list[Booking | None]:
    return [_reshaped(one, weights, Estimation.NEIGHBOURS) for one in sums]


def _reshaped(one: Sum, weights: Sequence[int], method: Estimation) -> Booking | None:
    intervals = reshaped(one.booking.intervals, weights, method, one.interval_wh_max)
    return None if intervals is None else replace(one.booking, intervals=intervals)
