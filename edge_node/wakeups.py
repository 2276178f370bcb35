"""Wake-ups between the rooms of a node: so that a payment restores at once, and a fact leaves at once. On every walk.

Facts themselves travel through the store alone; an event says only "look now". A lost one costs nothing but time: every
room also looks by itself at its own period.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Wakeups:
    """The node's events. Whoever commits a fact sets; the room that waits clears before it looks."""

    outbox: asyncio.Event = field(default_factory=asyncio.Event)
    """A record waits in the outbox."""
    enforcement: asyncio.Event = field(default_factory=asyncio.Event)
    """A payment, protection, mandate, stop or sighting may change what is wanted of a relay."""
    hour: asyncio.Event = field(default_factory=asyncio.Event)
    """Readings came for an hour, or a new registry did."""


async def rung_or_over(event: asyncio.Event, sleep: Coroutine[Any, Any, None]) -> bool:
    """Wait until `event` is set or `sleep` (of a clock) ends; gives whether it was the event.

    When the sleep ends it sets the event, too: whoever waits clears it before looking. Raises what the sleep raises.
    One task and no gathering: rooms wait thousands of times a day.
    """
    if event.is_set():
        sleep.close()
        return True
    sleeper = asyncio.ensure_future(sleep)

    def ring(_: asyncio.Future[None]) -> None:
        event.set()

    sleeper.add_done_callback(ring)
    try:
        await event.wait()
    finally:
        over = sleeper.done()
        sleeper.remove_done_callback(ring)
        sleeper.cancel()
    if over:
        sleeper.result()
    return not over
