"""What a clock is told at the start of what earlier runs knew. Above the rooms; on all walks; docs/adr/0022.

The floor is the latest of what was remembered and of what was stamped by a clock in no doubt: registers and closed
hours. A process of the same boot goes on from the steady clock of the one before it, as if it had never died.
"""

import json

from edge_node.store.opening import EdgeStore
from edge_node.store.state import Mark
from gridmodel.clock import Anchor, SteadyMoment, ToldClock

WRITTEN_AT = 1_767_225_600
"""1 January 2026: no machine ran this program before it was written, whatever its hardware clock shows in a new box."""


async def remind(clock: ToldClock, store: EdgeStore) -> None:
    """Tell the clock what an earlier run knew."""
    marks = await store.state.get_all()
    closed = (await store.hours.closed()).last_hour
    stamped = (
        int(marks.get(Mark.CLOCK_FLOOR, 0)),
        store.readings.newest_end or 0,
        0 if closed is None else closed.hour_end,
    )
    clock.raise_floor(max(*stamped, WRITTEN_AT))  # from now on its wall alone is not believed
    anchor = _anchor(marks.get(Mark.CLOCK_ANCHOR))
    if anchor is not None:
        clock.resume(anchor)


def _anchor(text: str | None) -> Anchor | None:
    if text is None:
        return None
    told = json.loads(text)
    return Anchor(SteadyMoment(str(told["boot"]), float(told["steady_s"])), float(told["at"]))
