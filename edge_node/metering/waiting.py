"""Waiting for a time or for word, whichever comes first. Room: metering."""

import asyncio

from gridmodel.clock import UtilityClock


async def until(clock: UtilityClock, at: int, event: asyncio.Event) -> None:
    """Return when the clock shows `at` or `event` is set; the caller clears the event before it looks."""
    word, time_over = asyncio.ensure_future(event.wait()), asyncio.ensure_future(clock.sleep_until(at))
    try:
        done, _ = await asyncio.wait({word, time_over}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # a clock that failed says so here
    finally:
        for task in (word, time_over):
            task.cancel()
        await asyncio.gather(word, time_over, return_exceptions=True)
