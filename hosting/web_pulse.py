"""Tells open pages to look again when something changed. Floor: hosting; stands on no walk.

While at least one page is open a `look` is taken at a period; when it differs from the last one, every page is sent
``changed`` and asks its own server-rendered self again. Without open pages nothing is looked at. When a look fails the
streams end, which every page shows, and the failure is logged: a page never looks live when it is not.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable

from aiohttp import web

from gridmodel.clock import IoClock
from hosting.log import logger
from hosting.web_events import EventFan

EVENTS_PATH = "/events"
"""Where pages listen."""
PERIOD_S = 1.0
"""Real seconds between two looks: quicker than a person can say "nothing happens"."""


class Pulse:
    """The stream of one house. `look` gives something that compares equal while pages need not be asked again."""

    def __init__(
        self, look: Callable[[], Awaitable[Hashable]], *, digest: str, io_clock: IoClock, period_s: float = PERIOD_S
    ) -> None:
        self._look = look
        self._digest = digest
        self._io_clock = io_clock
        self._period_s = period_s
        self._fan = EventFan(io_clock, report=lambda name: logger(__name__).info("page_dropped", page=name))

    def attach(self, application: web.Application) -> None:
        """Serve the stream for as long as the application runs."""
        application.router.add_get(EVENTS_PATH, self._respond)
        application.cleanup_ctx.append(self._beating)
        application.on_shutdown.append(self._close)

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        return await self._fan.respond(request, opening=[("hello", {"digest": self._digest})])

    async def _close(self, _: web.Application) -> None:
        self._fan.close()

    async def _beating(self, _: web.Application) -> AsyncIterator[None]:
        beat = asyncio.create_task(self._beat(), name="pulse")
        beat.add_done_callback(self._ended)
        yield
        beat.cancel()
        await asyncio.wait({beat})

    async def _beat(self) -> None:
        seen: Hashable = None
        while True:
            await self._io_clock.sleep(self._period_s)
            if not len(self._fan):
                continue
            now = await self._look()
            if now != seen:
                seen = now
                self._fan.publish("changed", {})

    def _ended(self, beat: asyncio.Task[None]) -> None:
        if not beat.cancelled() and (error := beat.exception()) is not None:
            logger(__name__).error("pulse_failed", error=f"{type(error).__name__}: {error}")
            self._fan.close()
