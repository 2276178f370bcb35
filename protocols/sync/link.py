"""The way to the hub: one exchange at a time, and what may go wrong. Floor: protocols; on the walk of link loss.

`Link` is a port: `HttpLink` stands here, the simulator and the flash drive have their own. A link moves bytes and
judges nothing. It promises: a reply is whole or LinkLost is raised; after LinkLost nobody knows whether the other side
took the body in (so everything sent must be safe to send again); nothing is retried in here; no reply of an earlier
exchange is ever given to a later one.

HttpLink posts to ``{hub}/sync/v1/{kind}`` (a key of REQUEST_BYTES_MAX), content type CONTENT_TYPE both ways. A hub
says 200 with the reply; 503 or 429 with Retry-After (whole seconds) when it wants the node to come later; any 4xx with
a problem document (RFC 9457, `code` and `detail`) when it will never take this.

Codes: TQ-SY-50 no connection, -51 too slow, -52 broken off, -53 too large, -54 the hub failed, -55 come back later,
-56 refused, -57 someone else answered, -58 TLS: not the hub that is trusted, or it does not trust us.
"""

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from typing import Protocol

import aiohttp

from gridmodel.fault import Fault
from protocols.errors import Blame, Hope, ProtocolFault
from protocols.sync.attest import ATTEST_BYTES_MAX
from protocols.sync.completeness import COMPARE_BYTES_MAX, COMPARE_REPLY_BYTES_MAX
from protocols.sync.messages import BATCHES_PER_PUSH_MAX, PULL_REPLY_BYTES_MAX, PUSH_BYTES_MAX
from protocols.sync.recall import RECALL_BYTES_MAX, RECALL_REPLY_BYTES_MAX

CONTENT_TYPE = "application/msgpack"
REQUEST_BYTES_MAX = {
    "hello": 8_192,
    "push": PUSH_BYTES_MAX,
    "pull": 8_192,
    "compare": COMPARE_BYTES_MAX,
    "attest": ATTEST_BYTES_MAX,
    "recall": RECALL_BYTES_MAX,
}
"""What each kind of exchange may send; a server sets the same limits."""
REPLY_BYTES_MAX = {
    "hello": 8_192,
    "push": BATCHES_PER_PUSH_MAX * 1_024,
    "pull": PULL_REPLY_BYTES_MAX,
    "compare": COMPARE_REPLY_BYTES_MAX,
    "attest": ATTEST_BYTES_MAX,
    "recall": RECALL_REPLY_BYTES_MAX,
}
"""What each kind of exchange may be answered with."""
PROBLEM_BYTES_MAX = 4_096
"""A problem document is a few lines; more is not read."""
CONNECT_S_MAX = 10.0
"""Longer than any working satellite link needs."""
ANSWER_S_MAX = 30.0
"""From the last byte sent to the first byte of the reply; the hub commits within it."""
RATE_BYTES_S_MIN = 2_000
"""A quarter of 64 kbit/s: below it a link counts as lost, or a dripping peer would hold a connection for ever."""
RETRY_AFTER_S_MAX = 3_600
"""A hub cannot send a node away for longer than an hour."""


class LinkLost(ProtocolFault):
    """No whole reply came. `hope` tells a lost link (retry) from a hub that refuses (permanent)."""

    def __init__(
        self,
        number: int,
        what: str,
        hint: str,
        *,
        blame: Blame = Blame.REMOTE,
        hope: Hope = Hope.RETRY,
        retry_after_s: int | None = None,
        unknown_kind: bool = False,
    ) -> None:
        super().__init__(f"TQ-SY-{number}", what, hint, blame=blame, hope=hope)
        self.retry_after_s = retry_after_s
        """What the hub asked for, or None."""
        self.unknown_kind = unknown_kind
        """The hub is of a version that knows no such exchange (HTTP 404); the link itself is well."""


class Link(Protocol):
    """The port to the other side of sync."""

    async def exchange(self, kind: str, body: bytes) -> bytes:
        """Send `body` (one packed message) and give the whole reply; raises LinkLost. `kind` of REQUEST_BYTES_MAX."""
        ...

    async def close(self) -> None:
        """Let go of every connection; exchanges under way raise LinkLost or are cancelled. Safe to call twice."""
        ...


class HttpLink:
    """`Link` over HTTP: one session, no redirects, no cookies, no compression, every wait and size bounded.

    `tls` gives whom to trust and what to show; asked before every exchange, it may raise LinkLost.
    """

    def __init__(
        self,
        hub_url: str,
        *,
        connect_s_max: float = CONNECT_S_MAX,
        answer_s_max: float = ANSWER_S_MAX,
        rate_bytes_s_min: int = RATE_BYTES_S_MIN,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self._tls = tls
        self._base = hub_url.rstrip("/") + "/sync/v1/"
        self._connect_s_max = connect_s_max
        self._answer_s_max = answer_s_max
        self._rate_bytes_s_min = rate_bytes_s_min
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def exchange(self, kind: str, body: bytes) -> bytes:
        """See Link."""
        if kind not in REQUEST_BYTES_MAX:
            raise LinkLost(56, f"there is no exchange of kind {kind}", _REPORT, blame=Blame.LOCAL, hope=Hope.PERMANENT)
        if len(body) > REQUEST_BYTES_MAX[kind]:
            raise LinkLost(
                53, f"a {kind} of {len(body)} bytes is too large", _REPORT, blame=Blame.LOCAL, hope=Hope.PERMANENT
            )
        try:
            return await self._post(kind, body)
        except TimeoutError as error:
            raise LinkLost(51, f"the hub did not answer a {kind} in time", _WAIT) from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise LinkLost(
                50, "the address of the hub is not a URL", _ADDRESS, blame=Blame.LOCAL, hope=Hope.PERMANENT
            ) from error
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
            raise _not_trusted(error) from error
        except aiohttp.ClientConnectorError as error:
            raise LinkLost(50, f"no connection to the hub: {error.os_error!s:.120}", _ADDRESS) from error
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error.__cause__, ssl.SSLError) or "[SSL" in str(
                error
            ):  # the hub's alert comes late in TLS 1.3
                raise _not_trusted(error) from error
            raise LinkLost(52, f"the connection broke off ({type(error).__name__})", _WAIT) from error

    async def close(self) -> None:
        """See Link."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _post(self, kind: str, body: bytes) -> bytes:
        session = self._opened()
        whole_s = self._connect_s_max + self._answer_s_max + len(body) / self._rate_bytes_s_min
        headers = {"Content-Type": CONTENT_TYPE, "Accept": CONTENT_TYPE, "Accept-Encoding": "identity"}
        async with asyncio.timeout(whole_s):
            response = await session.post(self._base + kind, data=body, headers=headers, allow_redirects=False)
        try:
            limit = REPLY_BYTES_MAX[kind] if response.status == 200 else PROBLEM_BYTES_MAX
            async with asyncio.timeout(self._answer_s_max + limit / self._rate_bytes_s_min):
                if response.status != 200:
                    raise await self._refusal(response)
                return await self._reply(response, limit)
        finally:
            # A reply read to its end has given its connection back already; any other one must not be used again.
            response.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._closed:
            raise LinkLost(50, "the link was closed", "start the node again", blame=Blame.LOCAL, hope=Hope.PERMANENT)
        context = None if self._tls is None else self._tls()
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=None if context is None else aiohttp.TCPConnector(ssl=context),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._connect_s_max, sock_read=self._answer_s_max
                ),
            )
        return self._session

    async def _reply(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        if response.content_type != CONTENT_TYPE or response.headers.get("Content-Encoding", "identity") != "identity":
            raise LinkLost(
                57,
                f"the answer is {response.content_type:.40}, not that of a hub",
                "a proxy or login page may stand in between: open the hub's address in a browser on this machine",
            )
        data = await _read(response, limit)
        if len(data) > limit:
            raise LinkLost(53, f"the reply is larger than {limit} bytes", _REPORT)
        return data

    async def _refusal(self, response: aiohttp.ClientResponse) -> LinkLost:
        status = response.status
        told = _problem(await _read(response, PROBLEM_BYTES_MAX))
        if status in {429, 503}:
            return LinkLost(
                55, f"the hub asks to come back later{told}", _WAIT, retry_after_s=_retry_after(response.headers)
            )
        if 400 <= status < 500:
            return LinkLost(
                56,
                f"the hub refuses (HTTP {status}){told}",
                "look up the code the hub gave",
                hope=Hope.PERMANENT,
                unknown_kind=status == 404,
            )
        if status >= 500:
            return LinkLost(54, f"the hub failed (HTTP {status}){told}", _WAIT)
        return LinkLost(57, f"HTTP {status} is not an answer of a hub", _ADDRESS)


_WAIT = "nothing is lost, the node tries again by itself; if it lasts, check the line to the hub"
_ADDRESS = "check hub.url in the configuration and the line to the hub; the node goes on by itself meanwhile"
_REPORT = "compare the versions of node and hub, then report this code with the log"


def _not_trusted(error: Exception) -> LinkLost:
    """A handshake that failed: by our own judgement, which has a name and a hint, or by TLS's."""
    fault = getattr(getattr(error, "certificate_error", error.__cause__), "fault", None)
    if isinstance(fault, Fault):
        return LinkLost(58, f"the hub is not trusted: {fault.code}: {fault.what}", fault.hint)
    return LinkLost(
        58,
        f"TLS with the hub failed: {error!s:.160}",
        "another hub, a proxy that opens TLS, a name that is not among its tls.names, or a certificate of another hub",
    )


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, or a little more than `limit` of it: never more than that is held."""
    parts = bytearray()
    async for part in response.content.iter_any():
        parts += part
        if len(parts) > limit:
            break
    return bytes(parts)


def _retry_after(headers: Mapping[str, str]) -> int | None:
    value = headers.get("Retry-After", "")
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        return None
    return max(1, min(int(value), RETRY_AFTER_S_MAX))


def _problem(data: bytes) -> str:
    """``: TQ-XX-00 what happened`` out of a problem document, or nothing: it only decorates a sentence."""
    try:
        problem = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(problem, dict):
        return ""
    told = " ".join(str(problem[key]) for key in ("code", "detail", "title") if isinstance(problem.get(key), str))
    return f": {''.join(filter(str.isprintable, told))[:200]}" if told else ""
