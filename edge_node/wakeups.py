"""Wake-ups between the rooms of a node: so that a payment restores at once, and a fact leaves at once. On every walk.

Facts themselves travel through the store alone; an event says only "look now". A lost one costs nothing but time: every
room also looks by itself at its own period.
"""

import asyncio
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Wakeups:
    """The node's events. Whoever commits a fact sets; the room that waits clears before it looks."""

    outbox: asyncio.Event = field(default_factory=asyncio.Event)
    """A record waits in the outbox."""
    enforcement: asyncio.Event = field(default_factory=asyncio.Event)
    """A payment, protection, mandate, stop or sighting may change what is wanted of a relay."""
    hour: asyncio.Event = field(default_factory=asyncio.Event)
    """Readings came for an hour, or a new registry did."""
