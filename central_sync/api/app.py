"""The hub over HTTP: sync for nodes, JSON for pages and programs, health for machines. Room: api; on all walks.

`hub_app` gives the application, pages add their routes to it. Sync speaks its own signed messages; the JSON only reads.
Answers carry an ETag worked out from their bytes, so that a page that asks again pays for a few bytes.

Codes: TQ-HB-70 a query that makes no sense, -71 nobody can listen there, -73 a body that came too slowly.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

from aiohttp import web

from central_sync.api.face import HubFace
from central_sync.balance.reading import losses
from central_sync.identity.enrolment import Speaker
from central_sync.identity.gate import check_speaks_for, spoken_elsewhere
from central_sync.situation.finding import Matter, matter_of
from gridmodel.clock import Entropy
from gridmodel.identity import NodeId, checked_id
from hosting.web import WebFault, web_application
from protocols.sync.link import CONTENT_TYPE, RATE_BYTES_S_MIN, REQUEST_BYTES_MAX
from protocols.sync.speaker import node_of

STOP_S_MAX = 5.0
"""Requests in progress get so long to end when the hub stops."""
EXCHANGES_AT_ONCE_MAX = 64
"""Sync exchanges in progress: at a megabyte each they stay within memory; the others are asked to come back."""
READING_AT_ONCE_MAX = 512
"""Bodies on their way in, beside the exchanges: 206 offices on slow lines, twice over. Whoever is no node and drips its
bytes takes one of these places for a while, never one of those where nodes are answered."""
BODY_S_MIN = 10.0
"""Real seconds for any body; a longer one gets a second more for each RATE_BYTES_S_MIN of its bytes."""
RETRY_AFTER_S = 15
PAGE_MAX = 500
HUB = web.AppKey("hub", HubFace)
"""Where handlers find the hub."""


class _Exchanges:
    """Counts those in progress."""

    def __init__(self) -> None:
        self.count = 0
        self.reading = 0


_EXCHANGES = web.AppKey("exchanges", _Exchanges)


def hub_app(hub: HubFace, entropy: Entropy) -> web.Application:
    """The application: ``/healthz``, ``/readyz``, ``/sync/v1/…``, ``/api/v1/…``."""
    application = web_application(hub.config.hosts, entropy)
    prepare_exchanges(application, hub)
    router = application.router
    router.add_post("/sync/v1/{kind}", _sync if hub.config.plain_sync else _sync_elsewhere)
    for path, handler in (
        ("/healthz", _healthz),
        ("/readyz", _readyz),
        ("/api/v1/status", _status),
        ("/api/v1/nodes", _nodes),
        ("/api/v1/nodes/{node}", _node),
        ("/api/v1/balances", _balances),
        ("/api/v1/losses", _losses),
        ("/api/v1/alarms", _alarms),
        ("/api/v1/relay-operations", _operations),
        ("/api/v1/quarantine", _quarantine),
        ("/api/v1/field-works", _field_works),
        ("/api/v1/mandates", _mandates),
        ("/api/v1/consumers", _consumers),
        ("/api/v1/consumers/{point}", _explain),
        ("/api/v1/accounts/{account}/ledger", _ledger),
    ):
        router.add_get(path, handler)
    return application


def prepare_exchanges(application: web.Application, hub: HubFace) -> None:
    """What `exchange` needs of its application."""
    application[HUB] = hub
    application[_EXCHANGES] = _Exchanges()


@asynccontextmanager
async def serve_hub(
    application: web.Application, listen: str, context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve on ``host:port`` for the length of the block; gives the address as it is (port 0: the system's choice)."""
    host, _, port = listen.rpartition(":")
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=STOP_S_MAX, auto_decompress=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host.strip("[]"), int(port), ssl_context=context)
        try:
            await site.start()
        except (OSError, OverflowError) as error:
            raise WebFault(
                "TQ-HB-71", f"the hub cannot listen on {listen}: {error}", "choose another listen", 500
            ) from (error)
        yield f"{'http' if context is None else 'https'}://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _sync(request: web.Request) -> web.Response:
    return await exchange(request)


async def _sync_elsewhere(_: web.Request) -> web.Response:
    raise spoken_elsewhere()


async def exchange(request: web.Request, speaker: Speaker | None = None) -> web.Response:
    """One exchange of sync; of `speaker` alone, where TLS says who speaks."""
    kind = request.match_info["kind"]
    limit = REQUEST_BYTES_MAX.get(kind)
    if limit is None:
        raise web.HTTPNotFound
    if request.content_type != CONTENT_TYPE:
        raise web.HTTPUnsupportedMediaType
    if request.content_length is not None and request.content_length > limit:
        raise web.HTTPRequestEntityTooLarge(limit, request.content_length)
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise web.HTTPUnsupportedMediaType  # a few bytes could become as many as they like
    exchanges = request.app[_EXCHANGES]
    body = await _body(request, exchanges, limit)
    if exchanges.count >= EXCHANGES_AT_ONCE_MAX:
        raise web.HTTPServiceUnavailable(headers={"Retry-After": str(RETRY_AFTER_S)})
    exchanges.count += 1
    try:
        if speaker is not None:
            check_speaks_for(speaker, node_of(kind, body))
        reply = await request.app[HUB].handle(kind, body)
    finally:
        exchanges.count -= 1
    return web.Response(body=reply, content_type=CONTENT_TYPE)


async def _body(request: web.Request, exchanges: _Exchanges, limit: int) -> bytes:
    """The whole body within its time; a refused one costs its connection, too."""
    if exchanges.reading >= READING_AT_ONCE_MAX:
        raise web.HTTPServiceUnavailable(headers={"Retry-After": str(RETRY_AFTER_S)})
    exchanges.reading += 1
    size = limit if request.content_length is None else request.content_length
    try:
        async with asyncio.timeout(BODY_S_MIN + size / RATE_BYTES_S_MIN):
            body = await request.read()
    except TimeoutError as error:
        raise WebFault("TQ-HB-73", "the request came too slowly", "look at the line; it is sent again", 408) from error
    finally:
        exchanges.reading -= 1
    if len(body) > limit:
        raise web.HTTPRequestEntityTooLarge(limit, len(body))
    return body


async def _healthz(_: web.Request) -> web.Response:
    """The process answers."""
    return web.json_response({"status": "ok"})


async def _readyz(request: web.Request) -> web.Response:
    """The hub does its work: 503 with what is missing when it does not."""
    ready, what = request.app[HUB].ready()
    return web.json_response({"ready": ready, "what": what}, status=200 if ready else 503)


async def _status(request: web.Request) -> web.Response:
    return _answer(request, await request.app[HUB].status())


async def _nodes(request: web.Request) -> web.Response:
    return _answer(request, {"nodes": await request.app[HUB].situation.nodes()})


async def _node(request: web.Request) -> web.Response:
    return _answer(request, await request.app[HUB].situation.node(request.match_info["node"]))


async def _balance(request: web.Request) -> dict[str, Any]:
    wanted = [_query(request, name) for name in ("level", "period", "at")]
    return await request.app[HUB].balance(wanted[0], wanted[1], wanted[2], _optional(request, "area"))


async def _balances(request: web.Request) -> web.Response:
    return _answer(request, await _balance(request))


async def _losses(request: web.Request) -> web.Response:
    told = await _balance(request)
    return _answer(request, told | {"areas": losses(told)})


async def _alarms(request: web.Request) -> web.Response:
    rows = await request.app[HUB].situation.alarms(
        _optional(request, "node"), _limit(request), standing=request.query.get("standing", "true") != "false"
    )
    return _answer(request, {"alarms": rows})


async def _operations(request: web.Request) -> web.Response:
    rows = await request.app[HUB].situation.operations(
        _optional(request, "node"), _optional(request, "usage_point"), _limit(request)
    )
    return _answer(request, {"relay_operations": rows})


async def _field_works(request: web.Request) -> web.Response:
    rows = await request.app[HUB].situation.field_works(_optional(request, "node"), _limit(request))
    return _answer(request, {"field_works": rows})


async def _quarantine(request: web.Request) -> web.Response:
    rows = await request.app[HUB].situation.quarantine(_optional(request, "node"), _limit(request))
    return _answer(request, {"batches": rows})


async def _mandates(request: web.Request) -> web.Response:
    return _answer(request, {"mandates": await request.app[HUB].mandates.listed(_wanted(request))})


async def _consumers(request: web.Request) -> web.Response:
    after = request.query.get("after", "")
    matter = matter_of(request.query.get("show", Matter.ALL))
    return _answer(
        request, await request.app[HUB].consumers.page(_optional(request, "node"), after, _limit(request), matter)
    )


async def _explain(request: web.Request) -> web.Response:
    return _answer(request, await request.app[HUB].consumers.explain(_name(request, "point")))


async def _ledger(request: web.Request) -> web.Response:
    return _answer(request, await request.app[HUB].consumers.ledger(_name(request, "account")))


def _answer(request: web.Request, told: dict[str, Any]) -> web.Response:
    """JSON with an ETag; 304 when the asker has it already."""
    body = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    tag = f'"{sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if tag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type="application/json", charset="utf-8", headers=headers)


def _name(request: web.Request, part: str) -> str:
    return checked_id(part, request.match_info[part])


def _query(request: web.Request, name: str) -> str:
    value = request.query.get(name, "")
    if not value:
        raise WebFault("TQ-HB-70", f"the query lacks {name}", "level, period and at are needed; area is optional")
    return value


def _optional(request: web.Request, name: str) -> str | None:
    value = request.query.get(name)
    return None if value is None else checked_id(name, value)


def _wanted(request: web.Request) -> NodeId | None:
    node = _optional(request, "node")
    return None if node is None else NodeId(node)


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", "100")
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= PAGE_MAX):
        raise WebFault("TQ-HB-70", f"limit is {text[:20]!r}", f"give a whole number from 1 to {PAGE_MAX}")
    return int(text)
