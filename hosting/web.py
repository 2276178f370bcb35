"""What every web face of ours keeps: who may ask, how errors look, what a browser may load. Floor: hosting.

`web_application` gives an aiohttp application with the checks in place; the console, the hub's API and its pages add
routes. Errors are problem+json (RFC 9457) with a code that can be dictated; a stack never leaves the process. Pages
load nothing from elsewhere (CSP), so that an office without a wide-area link has the whole page.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from aiohttp import web

from gridmodel.clock import Entropy
from gridmodel.fault import Fault
from hosting.log import logger

BODY_SIZE_BYTES_MAX = 2 * 1024 * 1024
"""A request's body, after decompression: twice the largest frame of ours (an interval chunk of 1 MiB)."""
TRACE_SIZE_BYTES = 6
"""Of a trace id: twelve hex digits, short enough for the phone."""
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
"""Methods that change something and therefore must not come from another site's page."""
OWN_SITE = frozenset({"same-origin", "none"})
"""What a browser says of a request that one of our own pages, or the person themselves, made."""
PROBLEM_TYPE = "application/problem+json"
"""RFC 9457."""
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""On every response, streams included."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Hosts that are always right for a face that listens on the loopback."""


class WebFault(Fault):
    """A request that is refused. `status` is the HTTP status it deserves."""

    def __init__(self, code: str, what: str, hint: str, status: int = 400) -> None:
        super().__init__(code, what, hint)
        self.status = status


@dataclass(frozen=True, slots=True)
class ProblemPages:
    """How a browser is told of a fault: (request, fault, status, trace) to a page. Other askers get problem details."""

    page: Callable[[web.Request, Fault, int, str], web.Response]


PROBLEM_PAGES = web.AppKey("problem_pages", ProblemPages)
"""Set on an application that has pages."""


def web_application(
    hosts: Iterable[str],
    entropy: Entropy,
    *,
    status_of: Callable[[Fault], int] | None = None,
    body_size_bytes_max: int = BODY_SIZE_BYTES_MAX,
) -> web.Application:
    """An application that answers to `hosts` (names without port; the loopback is always among them) and nobody else.

    `status_of` chooses the HTTP status of a fault raised by a handler; by default its `status` attribute, else 400.
    """
    allowed = LOOPBACK | {host.lower() for host in hosts}
    application = web.Application(
        client_max_size=body_size_bytes_max,
        middlewares=[_problems(entropy, status_of or _status_of), _origins(allowed)],
    )
    application.on_response_prepare.append(_secure)
    return application


def problem(fault: Fault, status: int, *, instance: str = "", trace: str = "") -> web.Response:
    """A fault as RFC 9457 problem details: `title` is what, `code` and `hint` are ours."""
    body = {
        "type": "about:blank",
        "title": fault.what,
        "status": status,
        "code": fault.code,
        "hint": fault.hint,
    }
    if instance:
        body["instance"] = instance
    if trace:
        body["trace"] = trace
    return web.json_response(body, status=status, content_type=PROBLEM_TYPE)


def _problems(entropy: Entropy, status_of: Callable[[Fault], int]) -> Callable[..., Awaitable[web.StreamResponse]]:
    @web.middleware
    async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < HTTPStatus.BAD_REQUEST:
                raise
            answer = _told(request, _named(error), error.status)
            for name in ("Allow", "Retry-After"):
                if name in error.headers:
                    answer.headers[name] = error.headers[name]
            return answer
        except Fault as fault:
            return _told(request, fault, status_of(fault))
        except web.RequestPayloadError as error:
            what = f"the body of the request cannot be read: {error!s:.80}"
            return _told(request, WebFault("TQ-WB-07", what, "send it again"), HTTPStatus.BAD_REQUEST)
        except ConnectionResetError:
            if request.transport is not None:
                raise  # another connection than the asker's
            return problem(WebFault("TQ-WB-08", "the asker is gone", "nobody reads this"), HTTPStatus.BAD_REQUEST)
        except Exception:  # noqa: BLE001 — logged whole under a trace id; the asker gets the id, the process lives on
            trace = entropy.token(TRACE_SIZE_BYTES).hex()
            logger(__name__).exception("request_failed", trace=trace, method=request.method, path=request.path)
            inside = WebFault("TQ-WB-05", "something failed inside", f"tell an engineer the trace {trace}", 500)
            return _told(request, inside, 500, trace)

    return problems


def _told(request: web.Request, fault: Fault, status: int, trace: str = "") -> web.Response:
    pages = request.app.get(PROBLEM_PAGES)
    if pages is not None and "text/html" in request.headers.get("Accept", ""):
        return pages.page(request, fault, status, trace)
    return problem(fault, status, instance=request.path, trace=trace)


def _named(error: web.HTTPException) -> WebFault:
    status = error.status
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return WebFault("TQ-WB-03", "the request is too large", "send it in parts", status)
    if status == HTTPStatus.NOT_FOUND:
        return WebFault("TQ-WB-04", "there is nothing at this address", "correct the address", status)
    return WebFault("TQ-WB-06", error.reason.lower(), "correct the request", status)


def _origins(allowed: frozenset[str]) -> Callable[..., Awaitable[web.StreamResponse]]:
    @web.middleware
    async def origins(request: web.Request, handler: Handler) -> web.StreamResponse:
        if _host_of(f"//{request.host}") not in allowed:
            raise WebFault("TQ-WB-01", "this is not the host you asked for", "use a name from the configuration", 421)
        origin = request.headers.get("Origin")
        foreign = request.headers.get("Sec-Fetch-Site", "same-origin") not in OWN_SITE
        if request.method in WRITES and (foreign or (origin is not None and _host_of(origin) not in allowed)):
            raise WebFault("TQ-WB-02", "a page of another site may not write here", "use our own pages", 403)
        return await handler(request)

    return origins


def _host_of(address: str) -> str:
    """The host of an address, lower case, IPv6 in brackets; empty when there is none."""
    try:
        host = urlsplit(address).hostname or ""
    except ValueError:
        return ""
    return f"[{host}]" if ":" in host else host


def _status_of(fault: Fault) -> int:
    status = getattr(fault, "status", HTTPStatus.BAD_REQUEST)
    return status if isinstance(status, int) and 400 <= status <= 599 else int(HTTPStatus.BAD_REQUEST)


async def _secure(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
