"""The office's face over HTTP: health, and the JSON that pages show. Room: console; on all walks.

It works with the link lost. Reading needs no login while the console listens on the loopback; what writes goes through
pages with a login, or the local door. Pages add their routes to the application that `console_app` gives.

Codes: TQ-CN-01 a query that makes no sense, -02 nobody can listen there.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from edge_node.config import ConsoleConfig
from edge_node.console.face import NodeFace
from gridmodel.clock import Entropy
from gridmodel.identity import UsagePointId, checked_id
from hosting.web import WebFault, web_application

POINTS_PER_PAGE_MAX = 200
"""Usage points of one page."""
STOP_S_MAX = 5.0
"""Requests in progress get so long to end when the node stops."""
NODE = web.AppKey("node", NodeFace)
"""Where handlers find the node."""


def console_app(node: NodeFace, config: ConsoleConfig, entropy: Entropy) -> web.Application:
    """The application: ``/healthz``, ``/readyz`` and ``/api/v1/…``."""
    application = web_application(config.hosts, entropy)
    application[NODE] = node
    application.router.add_get("/healthz", _healthz)
    application.router.add_get("/readyz", _readyz)
    application.router.add_get("/api/v1/status", _status)
    application.router.add_get("/api/v1/points", _points)
    application.router.add_get("/api/v1/points/{point}", _explain)
    application.router.add_get("/api/v1/areas", _areas)
    application.router.add_get("/api/v1/preview", _preview)
    return application


@asynccontextmanager
async def serve_console(application: web.Application, listen: str) -> AsyncIterator[str]:
    """Serve on ``host:port`` for the length of the block; gives the address as it is (port 0: the system's choice)."""
    host, _, port = listen.rpartition(":")
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=STOP_S_MAX)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host.strip("[]"), int(port))
        try:
            await site.start()
        except (OSError, OverflowError) as error:
            raise WebFault(
                "TQ-CN-02", f"the console cannot listen on {listen}: {error}", "choose another console.listen", 500
            ) from error
        bound = runner.addresses[0]
        yield f"http://{host}:{bound[1]}"
    finally:
        await runner.cleanup()


async def _healthz(_: web.Request) -> web.Response:
    """The process answers."""
    return web.json_response({"status": "ok"})


async def _readyz(request: web.Request) -> web.Response:
    """The node does its work: 503 with what is missing when it does not."""
    ready, what = request.app[NODE].ready()
    return web.json_response({"ready": ready, "what": what}, status=200 if ready else 503)


async def _status(request: web.Request) -> web.Response:
    return web.json_response(await request.app[NODE].status())


async def _points(request: web.Request) -> web.Response:
    after = request.query.get("after", "")
    limit = _whole(request, "limit", 50, POINTS_PER_PAGE_MAX)
    state = request.query.get("state", "")
    return web.json_response(await request.app[NODE].points(after, limit, state))


async def _explain(request: web.Request) -> web.Response:
    point = UsagePointId(checked_id("usage point", request.match_info["point"]))
    return web.json_response(await request.app[NODE].explain(point))


async def _areas(request: web.Request) -> web.Response:
    level = request.query.get("level", "transformer")
    if level not in {"transformer", "feeder"}:
        raise WebFault("TQ-CN-01", f"there is no level {level:.40} here", "use level=transformer or level=feeder")
    return web.json_response(await request.app[NODE].areas(level, _whole(request, "end", 0, 2**40)))


async def _preview(request: web.Request) -> web.Response:
    result: dict[str, Any] = await request.app[NODE].preview(_whole(request, "limit", 100, 500))
    return web.json_response(result)


def _whole(request: web.Request, name: str, default: int, highest: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 13 and int(text) <= highest):
        raise WebFault("TQ-CN-01", f"{name} is {text:.20}", f"write a whole number from 0 to {highest}")
    return int(text)
