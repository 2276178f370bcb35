"""``edge-node enrol``: from a token to a certificate, step by step, each of them safe to repeat. Above the rooms.

Key, trust in the hub's authority, request, the telephone, certificate: what is done already is found in the folder and
not done again. docs/operating/enrolment.md tells it for an office.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge_node.config import NodeConfig
from edge_node.serving import key_domain
from edge_node.uplink.identity import NodeIdentity, Waiting
from gridmodel.clock import Entropy
from gridmodel.period import rfc3339
from hosting.clocks import ScaledClock, SystemIoClock
from hosting.instance import make_data_folder
from hosting.keys import MISSING, KeyFault, create_signing_key, load_signing_key
from hosting.keys_certificates import Certificate, CertificateFault
from hosting.process import Exit
from hosting.tls import TrustedTime, client_context, hub_judge, unverified_context
from protocols.authority.signatures import Signer
from protocols.enrolment.client import EnrolmentClient
from protocols.enrolment.messages import EnrolmentFault, EnrolReply, EnrolRequest, Token

LOOK_S = 2.0
"""Real seconds between two looks at how the enrolment stands."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was typed."""

    token: str = ""
    hub: str = ""
    """Empty: that of the configuration."""
    wait_s: int = 0
    again: bool = False


async def enrol(
    config: NodeConfig, asked: Asked, *, clock: ScaledClock, entropy: Entropy, say: Callable[[str], None]
) -> dict[str, Any]:
    """Go on where it stopped; gives how it stands. Raises CertificateFault, EnrolmentFault, KeyFault."""
    url = asked.hub or config.hub.url
    if not url.startswith("https://"):
        raise EnrolmentFault("TQ-CE-35", f"{url} is not https", "give --hub https://… as the hub's operator says")
    token = Token.from_text(asked.token) if asked.token else None
    identity = NodeIdentity(config.identity_dir, config.node_id, key_domain(config))
    if asked.again and token is not None:
        identity.set_aside()
    held = identity.certificate()
    if held is not None:
        return _told(identity, "approved", "", held)
    make_data_folder(config.data_dir)
    key, time = identity.key(entropy), TrustedTime(clock)
    waiting = identity.waiting()
    if token is None and waiting is None:
        raise EnrolmentFault("TQ-CE-36", "there is no enrolment to go on with", "give --token, from the hub's operator")
    anchor = await _anchor(identity, url, token)
    time.raise_floor(anchor.not_before)
    client = EnrolmentClient(url, client_context(anchor, hub_judge(time, lambda _: None)))
    if token is not None:
        signer = _signer(config, entropy)
        request = EnrolRequest.made(identity.node, token.secret, key.request(identity.node), signer)
        reply = await client.request(request.to_json())
    else:
        reply = await client.state(waiting.enrolment if waiting is not None else "")
    identity.remember(Waiting(url, reply.enrolment, reply.fingerprint))
    if reply.state == "waiting":
        say(f"Read these digits to the hub's operator by telephone: {reply.fingerprint}")
    reply = await _decided(client, reply, asked.wait_s)
    if reply.state == "approved" and reply.certificate:
        return _told(identity, reply.state, reply.fingerprint, identity.accept(reply.certificate))
    if reply.state != "waiting":
        identity.remember(None)
        raise EnrolmentFault(
            "TQ-CE-37",
            f"the enrolment was {reply.state}{': ' if reply.reason else ''}{reply.reason}",
            "ask the hub's operator why, and for a new token",
        )
    return _told(identity, reply.state, reply.fingerprint, None)


def exit_of(told: dict[str, Any]) -> Exit:
    """0 enrolled, 3 it waits for a person."""
    return Exit.OK if told["ok"] else Exit.PARTLY


async def _anchor(identity: NodeIdentity, url: str, token: Token | None) -> Certificate:
    anchor = identity.anchor()
    if token is None or (anchor is not None and token.fits(anchor.fingerprint)):
        if anchor is None:
            raise CertificateFault(50, "the hub's authority is not known here", "give --token")
        return anchor
    return identity.trust(await EnrolmentClient(url, unverified_context()).authority(), token)


async def _decided(client: EnrolmentClient, reply: EnrolReply, wait_s: int) -> EnrolReply:
    io_clock = SystemIoClock()
    until = io_clock.monotonic() + wait_s
    while reply.state == "waiting" and io_clock.monotonic() < until:
        await io_clock.sleep(LOOK_S)
        reply = await client.state(reply.enrolment)
    return reply


def _signer(config: NodeConfig, entropy: Entropy) -> Signer:
    """The node's signing key, made when there is none."""
    path, domain = config.keys.signing, key_domain(config)
    try:
        return Signer(load_signing_key(path, domain), config.domain)
    except KeyFault as fault:
        if fault.code != MISSING:
            raise
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Signer(create_signing_key(path, entropy, domain), config.domain)


def _told(identity: NodeIdentity, state: str, digits: str, certificate: Certificate | None) -> dict[str, Any]:
    return {
        "ok": certificate is not None,
        "node": identity.node,
        "state": state,
        "fingerprint": digits or None,
        "not_after": None if certificate is None else rfc3339(certificate.not_after),
        "folder": str(identity.folder),
    }
