"""Server-sent events: one publisher, many browsers, none of which can slow the others down. Floor: hosting.

Each client has a bounded queue; who does not read for that long is dropped (and its browser reconnects by itself and
gets the opening events again). A comment line is sent now and then so that a dead connection is noticed.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from gridmodel.clock import IoClock
from hosting.web import WebFault

CLIENTS_MAX = 200
"""Open pages on one process: each is a socket and a queue."""
QUEUE_EVENTS_MAX = 64
"""Events kept for a client that is slow: about a minute of live figures."""
HEARTBEAT_S = 15.0
"""Real seconds between comment lines: below the 30 s at which common proxies give up."""
RETRY_MS = 2000
"""How long a browser waits before it connects again."""

_HEARTBEAT = b": alive\n\n"


def event_bytes(name: str, document: Mapping[str, Any]) -> bytes:
    """One event on the wire; `name` is a plain word, `document` becomes one line of JSON."""
    if not name.isidentifier():
        raise ValueError(f"{name!r} cannot name an event")
    return f"event: {name}\ndata: {json.dumps(document, ensure_ascii=False)}\n\n".encode()


@dataclass(eq=False, slots=True)
class _Client:
    name: str
    transport: asyncio.BaseTransport | None
    queue: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(QUEUE_EVENTS_MAX))


class EventFan:
    """Hands each published event to every open page. `report` hears the name of a client that was dropped."""

    def __init__(self, io_clock: IoClock, *, report: Callable[[str], None] | None = None) -> None:
        self._io_clock = io_clock
        self._report = report
        self._clients: dict[int, _Client] = {}
        self._count = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._clients)

    def publish(self, name: str, document: Mapping[str, Any]) -> None:
        """Queue an event for every client; never waits. A client whose queue is full is cut off."""
        event = event_bytes(name, document)
        for key, client in list(self._clients.items()):
            self._offer(key, client, event)

    def close(self) -> None:
        """End every stream; later clients are refused."""
        self._closed = True
        for key, client in list(self._clients.items()):
            self._offer(key, client, None)

    async def respond(
        self, request: web.Request, opening: Iterable[tuple[str, Mapping[str, Any]]] = ()
    ) -> web.StreamResponse:
        """Serve one client until it leaves, is dropped, or the fan closes; `opening` events come first.

        Raises `WebFault` ``TQ-WB-07`` (503) beyond `CLIENTS_MAX` pages or while closing.
        """
        if self._closed or len(self._clients) >= CLIENTS_MAX:
            raise WebFault("TQ-WB-07", "no room for one more live page", "close some pages, or reload later", 503)
        self._count += 1
        key = self._count
        client = self._clients[key] = _Client(f"{request.remote} #{key}", request.transport)
        beat = asyncio.ensure_future(self._beat(key, client))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        try:
            await response.prepare(request)
            await response.write(f"retry: {RETRY_MS}\n\n".encode())
            for name, document in opening:
                await response.write(event_bytes(name, document))
            while (event := await client.queue.get()) is not None:
                await response.write(event)
        except ConnectionError:
            pass  # the page was closed, or dropped by us and reported then
        finally:
            self._clients.pop(key, None)
            beat.cancel()
        return response

    async def _beat(self, key: int, client: _Client) -> None:
        while key in self._clients:
            await self._io_clock.sleep(HEARTBEAT_S)
            self._offer(key, client, _HEARTBEAT)

    def _offer(self, key: int, client: _Client, event: bytes | None) -> None:
        try:
            client.queue.put_nowait(event)
        except asyncio.QueueFull:
            self._clients.pop(key, None)
            if isinstance(client.transport, asyncio.WriteTransport):
                client.transport.abort()
            if self._report is not None:
                self._report(client.name)
