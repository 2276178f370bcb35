"""How far a meter's clock may be moved now. Pure. Room: metering; walk: reading.

A load profile stays whole only when no step carries the clock over an interval's end: then no row is made twice, and
none is left out. So a step is small, a day's steps are bounded, and whatever would need a larger one needs a person.
"""

from dataclasses import dataclass
from enum import StrEnum

from protocols.driver import ClockReading

SHORTEST_INTERVAL_S = 900
"""The ends of 30 and 60 minutes are ends of 15 as well."""
END_MARGIN_S = 30
"""Neither before nor after its step a clock may be so close to an interval's end: the command takes its time."""
SENT_WITHIN_S = 60
"""So long after its intent a step may be sent at the latest: turns, associations and tries go before it."""


@dataclass(frozen=True, slots=True)
class ClockRules:
    """The policy for meters' clocks, seconds."""

    set_clocks: bool = True
    """False: drift is measured and told, nothing is written."""
    tolerance_s: int = 5
    """A clock within it is right."""
    step_s_day_max: int = 30
    """All steps of one meter within a day together, either way."""
    error_s_max: int = 300
    """A clock further off is never set from here: somebody has to look at the meter."""


class ClockVerdict(StrEnum):
    """What is to be done about a clock."""

    RIGHT = "right"
    OFF = "off"
    """It drifts, and may be moved a little."""
    WRONG = "wrong"
    """It cannot be believed, and a person must look."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A look at a clock."""

    verdict: ClockVerdict
    off_s: int | None
    """How far it is fast at least; None when it does not say which moment it is."""
    why: str = ""
    """For a person, of WRONG."""


def off_by(reading: ClockReading) -> int | None:
    """How far the clock is fast for certain: the answer's way cannot explain it. None without a time."""
    if reading.meter_time is None:
        return None
    return max(0, reading.meter_time - reading.answered_at) or min(0, reading.meter_time - reading.asked_at)


def judge(reading: ClockReading, rules: ClockRules) -> Judged:
    """What to do about a clock."""
    off_s = off_by(reading)
    if off_s is None:
        return Judged(ClockVerdict.WRONG, None, "the meter does not say which moment it is")
    if reading.doubtful:
        return Judged(ClockVerdict.WRONG, off_s, "the meter itself doubts its clock")
    if abs(off_s) > rules.error_s_max:
        how = "fast" if off_s > 0 else "slow"
        return Judged(ClockVerdict.WRONG, off_s, f"the meter's clock is {abs(off_s)} s {how}: set it on the spot")
    return Judged(ClockVerdict.RIGHT if abs(off_s) <= rules.tolerance_s else ClockVerdict.OFF, off_s)


def step_s(now: int, off_s: int, rules: ClockRules, moved_s: int) -> int:
    """By how much a clock that is `off_s` fast at `now` may be moved, forward when positive; 0: not now.

    `moved_s` were used in the last day. The clock stays within the interval that it shows, with a margin at both ends,
    whenever within SENT_WITHIN_S the meter obeys.
    """
    if not rules.set_clocks or not rules.tolerance_s < abs(off_s) <= rules.error_s_max:
        return 0
    allowed_s = max(0, rules.step_s_day_max - moved_s)
    wanted_s = max(-allowed_s, min(allowed_s, -off_s))
    place = (now + off_s) % SHORTEST_INTERVAL_S
    first, last = END_MARGIN_S, SHORTEST_INTERVAL_S - END_MARGIN_S - SENT_WITHIN_S
    return max(first - place, min(last - place, wanted_s)) if first <= place <= last else 0


def drift_ppm(before: tuple[int, int] | None, now: tuple[int, int]) -> int | None:
    """How much faster than time a clock ran between two looks, each a time and how far it was fast then.

    None for less than a quarter of a day: a second of latency would be several times the drift of a good clock.
    """
    if before is None or now[0] - before[0] < 6 * 3_600:
        return None
    return round((now[1] - before[1]) * 1_000_000 / (now[0] - before[0]))
