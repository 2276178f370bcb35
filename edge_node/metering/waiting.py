"""Waiting for a time or for word, whichever comes first. Room: metering."""

import asyncio
from collections.abc import Generator
from types import coroutine

from edge_node.wakeups import rung_or_over
from gridmodel.clock import UtilityClock


async def until(clock: UtilityClock, at: int, event: asyncio.Event) -> None:
    """Return when the clock shows `at` or `event` is set; the caller clears the event before it looks."""
    await rung_or_over(event, clock.sleep_until(at))


@coroutine
def others_first() -> Generator[None, None, None]:
    """Let everything else that is ready on the event loop have its turn; no time passes."""
    yield
