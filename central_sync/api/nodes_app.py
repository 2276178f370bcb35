"""The interface for nodes, over TLS: sync for those who show a certificate that counts, enrolment for all. Room: api.

On the walk of link loss. Nothing else is here: whoever reaches it from the wide network finds no page and no figure. A
refused connection is closed, so that the next one shows what the node has by then.
"""

from aiohttp import web

from central_sync.api.app import HUB, exchange, prepare_exchanges
from central_sync.api.face import HubFace
from gridmodel.clock import Entropy
from hosting.web import web_application
from protocols.enrolment.messages import (
    MESSAGE_BYTES_MAX,
    EnrolReply,
    EnrolRequest,
    field_of,
    message_of,
    nonsense,
    request_of,
)
from protocols.sync.messages import PUSH_BYTES_MAX

JSON = "application/json"


def nodes_app(hub: HubFace, entropy: Entropy) -> web.Application:
    """The application: ``/sync/v1/…``, ``/enrol/v1/…``, ``/healthz``."""
    names = () if hub.config.tls is None else hub.config.tls.names
    hosts = [f"[{name}]" if ":" in name else name for name in names]
    application = web_application(hosts, entropy, body_size_bytes_max=PUSH_BYTES_MAX)
    prepare_exchanges(application, hub)
    router = application.router
    router.add_post("/sync/v1/{kind}", _sync)
    router.add_post("/enrol/v1/authority", _authority)
    router.add_post("/enrol/v1/request", _request)
    router.add_post("/enrol/v1/state", _state)
    router.add_post("/enrol/v1/renew", _renew)
    router.add_get("/healthz", _healthz)
    application.on_response_prepare.append(_close_refused)
    return application


async def _sync(request: web.Request) -> web.Response:
    return await exchange(request, await request.app[HUB].gate.speaker(_shown(request)))


async def _authority(request: web.Request) -> web.Response:
    authority = request.app[HUB].enrolments.authority
    if authority is None:
        raise web.HTTPNotFound
    return _json(message_of("authority", authority.certificate.pem))


async def _request(request: web.Request) -> web.Response:
    return _told(await request.app[HUB].enrolments.request(EnrolRequest.from_json(await _body(request))))


async def _state(request: web.Request) -> web.Response:
    return _told(await request.app[HUB].enrolments.state(field_of(await _body(request), "enrolment")))


async def _renew(request: web.Request) -> web.Response:
    hub = request.app[HUB]
    speaker = await hub.gate.speaker(_shown(request), renewing=True)
    asked = request_of(field_of(await _body(request), "request"))
    return _json(message_of("certificate", (await hub.enrolments.renew(speaker, asked)).pem))


async def _healthz(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _body(request: web.Request) -> bytes:
    """A small message; raises EnrolmentFault (TQ-CE-32)."""
    if request.content_length is None or request.content_length > MESSAGE_BYTES_MAX:
        raise nonsense("it is too long, or does not say how long it is")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise web.HTTPUnsupportedMediaType
    return await request.read()


def _shown(request: web.Request) -> bytes | None:
    """The certificate of the connection (DER), of which TLS has proven the signature and the key."""
    tls = request.get_extra_info("ssl_object")
    shown: bytes | None = None if tls is None else tls.getpeercert(binary_form=True)
    return shown


def _told(reply: EnrolReply) -> web.Response:
    return _json(reply.to_json())


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type=JSON)


async def _close_refused(_: web.Request, response: web.StreamResponse) -> None:
    if response.status in {401, 403}:
        response.force_close()
