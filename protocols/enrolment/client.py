"""A node's questions to a hub that does not know it yet, or is to renew its certificate. Floor: protocols; link loss.

One question, one connection, one bounded answer. What the hub refuses is raised with the hub's own code and hint.

Codes: TQ-CE-30 no connection, -32 someone else answered, -34 the other side is not trusted.
"""

import json
import ssl

import aiohttp

from protocols.enrolment.messages import MESSAGE_BYTES_MAX, EnrolmentFault, EnrolReply, field_of, message_of, nonsense

ANSWER_S_MAX = 30.0
"""Real seconds for a whole question: a kilobyte each way."""
JSON = "application/json"


class EnrolmentClient:
    """Asks one hub. `context` says whom to trust, and which certificate to show."""

    def __init__(self, hub_url: str, context: ssl.SSLContext, *, answer_s_max: float = ANSWER_S_MAX) -> None:
        self._base = hub_url.rstrip("/") + "/enrol/v1/"
        self._context = context
        self._answer_s_max = answer_s_max

    async def authority(self) -> str:
        """The authority of the hub (PEM)."""
        return field_of(await self._ask("authority", b"{}"), "authority")

    async def request(self, request: bytes) -> EnrolReply:
        """File a request (see `EnrolRequest.to_json`); the same again gives how it stands."""
        return EnrolReply.from_json(await self._ask("request", request))

    async def state(self, enrolment: str) -> EnrolReply:
        """How an enrolment stands."""
        return EnrolReply.from_json(await self._ask("state", message_of("enrolment", enrolment)))

    async def renew(self, request_base64: str) -> str:
        """A new certificate (PEM) for the node of the one that is shown."""
        return field_of(await self._ask("renew", message_of("request", request_base64)), "certificate")

    async def _ask(self, what: str, body: bytes) -> bytes:
        timeout = aiohttp.ClientTimeout(total=self._answer_s_max)
        connector = aiohttp.TCPConnector(ssl=self._context, force_close=True)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector, timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
                ) as session,
                session.post(
                    self._base + what, data=body, headers={"Content-Type": JSON}, allow_redirects=False
                ) as reply,
            ):
                data = await reply.content.read(MESSAGE_BYTES_MAX + 1)
                while not reply.content.at_eof() and len(data) <= MESSAGE_BYTES_MAX:
                    data += await reply.content.read(MESSAGE_BYTES_MAX + 1 - len(data))
        except aiohttp.ClientConnectorCertificateError as error:
            raise refused_hub(error.certificate_error) from error
        except aiohttp.ClientConnectorSSLError as error:
            raise refused_hub(error.os_error) from error
        except TimeoutError as error:
            raise EnrolmentFault("TQ-CE-30", "the hub did not answer in time", _LINE) from error
        except (aiohttp.ClientError, OSError) as error:
            raise EnrolmentFault("TQ-CE-30", f"no answer of the hub: {error!s:.120}", _LINE) from error
        if reply.status == 200 and reply.content_type == JSON:
            return data
        raise _refusal(reply.status, data)


_LINE = "check the address and the line to the hub; nothing is lost, the same command goes on where it stopped"


def refused_hub(error: Exception) -> EnrolmentFault:
    """Why the other side is not trusted: our own judgement, or that of TLS."""
    code, what, hint = (getattr(getattr(error, "fault", None), name, None) for name in ("code", "what", "hint"))
    if code is not None:
        return EnrolmentFault(str(code), str(what), str(hint))
    return EnrolmentFault(
        "TQ-CE-34",
        f"whoever answers is not the hub that this node trusts: {error!s:.120}",
        "a proxy that opens TLS, another hub, or a name that is not among tls.names of the hub",
    )


def _refusal(status: int, data: bytes) -> EnrolmentFault:
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        told = None
    if isinstance(told, dict) and all(isinstance(told.get(name), str) for name in ("code", "title", "hint")):
        return EnrolmentFault(told["code"][:20], told["title"][:300], told["hint"][:300], status)
    return nonsense(f"HTTP {status} is not an answer of a hub")
