"""The shape of an estimate: a known sum over a gap, shared out as energy was taken at like times. Pure. Room: metering.

On the reading walk. A sum is never changed: shares are whole watt-hours by largest remainder and add up to it exactly.
A shape that says too little, or would put more into an interval than the connection can carry, is refused; the next
method has its turn, and an even spread always fits.
"""

from collections.abc import Mapping, Sequence

from gridmodel.reading import Estimation, IntervalReading

WEEK_S = 7 * 86_400
WEEKS_MAX = 4
"""The usual span of "like days" in meter data management: long enough for a mean, short enough for the season."""
KNOWN_PCT_MIN = 75
"""Of a gap's intervals must have a like one that was measured; the others count as the mean of those."""
EXACT = 12
"""Divisible by 1 to WEEKS_MAX: means of so many weeks stay whole numbers."""


Like = dict[int, list[int]]
"""For each interval end of a gap the ends of like intervals before the gap."""


def like_ends(start: int, end: int, length: int) -> Like:
    """Like intervals in the WEEKS_MAX weeks before the gap in (start, end], latest first.

    A gap of more than a week repeats the weeks before it: a year's gap looks up no more than its weeks.
    """
    found: Like = {}
    for one in range(start + length, end + 1, length):
        like = one - WEEK_S * -(-(one - start) // WEEK_S)
        found[one] = [like - week * WEEK_S for week in range(WEEKS_MAX)]
    return found


def like_weights(like: Mapping[int, Sequence[int]], measured: Mapping[int, int]) -> list[int] | None:
    """A weight for each interval from what was measured at like ones; None when too few were, or nothing was taken."""
    means: list[int | None] = []
    for ends in like.values():
        known = [measured[end] for end in ends if end in measured]
        means.append(sum(known) * EXACT // len(known) if known else None)
    found = [one for one in means if one is not None]
    if len(found) * 100 < len(means) * KNOWN_PCT_MIN or not any(found):
        return None
    usual = sum(found) // len(found)
    return [usual if one is None else one for one in means]


def shared(energy_wh: int, weights: Sequence[int]) -> list[int]:
    """`energy_wh` in proportion to `weights` (none negative, not all zero): whole watt-hours, by largest remainder."""
    total = sum(weights)
    shares = [energy_wh * weight // total for weight in weights]
    rests = [energy_wh * weight % total for weight in weights]
    for place in sorted(range(len(weights)), key=lambda place: -rests[place])[: energy_wh - sum(shares)]:
        shares[place] += 1
    return shares


def reshaped(
    intervals: tuple[IntervalReading, ...], weights: Sequence[int], method: Estimation, interval_wh_max: int
) -> tuple[IntervalReading, ...] | None:
    """The same sum over the same intervals in this shape; None when an interval would get more than it can carry."""
    shares = shared(sum(one.energy_wh or 0 for one in intervals), weights)
    if max(shares) > interval_wh_max:
        return None
    return tuple(
        IntervalReading(one.point, one.channel, one.end, share, one.quality, one.register_wh, method)
        for one, share in zip(intervals, shares, strict=True)
    )
