"""Meters as witnesses of the time: many clocks of their own that agree with ours. Pure. Room: metering; walk: reading.

An office that was without current for a night, and whose link is lost, has no hub to ask. Its meters kept time all
along. Nobody cuts by what they say (somebody set their clocks once, and it may have been us); but their word is enough
to believe a wall that nothing else speaks against, so that readings are stamped and hours closed.
"""

from collections.abc import Iterable
from statistics import median_low

WITNESSES_MIN = 5
"""Fewer may have been set by the same hand on the same day."""
AGREEING_PCT = 80
"""Of all that were heard: a district where every third clock is wrong says nothing."""
APART_S_MAX = 60
"""From the middle one: a meter's clock may drift half a minute before it is moved."""
HEARD_S = 1_800
"""A shift heard longer ago says nothing about the wall of now."""


class ClockWitnesses:
    """The clocks of meters beside ours, while ours is in doubt."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[int, int]] = {}

    def heard(self, meter: str, meter_time: int, asked_at: int, answered_at: int) -> None:
        """A meter showed `meter_time` at some moment between the two, all of them UTC seconds."""
        nearest = min(max(meter_time, asked_at), answered_at)
        self._heard[meter] = (answered_at, meter_time - nearest)

    def forget(self) -> None:
        """Ours is in no doubt any more."""
        self._heard.clear()

    def shift_s(self, now: int) -> int | None:
        """By how much the meters' clocks are ahead of ours, when enough of them agree; None otherwise."""
        self._heard = {meter: one for meter, one in self._heard.items() if 0 <= now - one[0] <= HEARD_S}
        return agreed_shift_s(shift_s for _, shift_s in self._heard.values())


def agreed_shift_s(shifts_s: Iterable[int]) -> int | None:
    """The shift around which enough of them lie."""
    heard = list(shifts_s)
    if len(heard) < WITNESSES_MIN:
        return None
    middle = median_low(heard)
    agreeing = sum(abs(one - middle) <= APART_S_MAX for one in heard)
    return middle if agreeing * 100 >= AGREEING_PCT * len(heard) else None
