"""What a node and a hub say to each other before they know each other. Floor: protocols; on the walk of link loss.

JSON over TLS, told as a whole in docs/reference/sync-v1.md. A *token* is 32 letters and digits in groups of four: half
of it names the hub's authority, so that the node knows whom it reached; the other half is a secret, kept at the hub as
a hash, good for one enrolment. A request is signed with the node's signing key and made with its TLS key, so that
whoever sends it has both. Its *fingerprint* is twenty digits that two persons compare by telephone.

Codes: TQ-CE-30 no connection, -31 not a token, -32 an answer or a request that makes no sense, -33 a wrong signature.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

from gridmodel.clock import TimeBounds
from gridmodel.fault import Fault
from gridmodel.identity import NodeId, checked_id
from protocols.authority.canonical import Domain, canonical
from protocols.authority.signatures import (
    FOREVER,
    KeyRing,
    NamedKey,
    Role,
    Signature,
    Signer,
    Verified,
    key_from_text,
    key_to_text,
)

PROTOCOL = 1
MESSAGE_BYTES_MAX = 16_384
"""A request has about a kilobyte, an answer with its certificate two."""
HALF_BYTES = 10
"""Of a token's halves: 80 bits each."""
REQUEST_BYTES_MAX = 4_096


class EnrolmentFault(Fault):
    """An enrolment that cannot go on. `status` is the HTTP status it deserves."""

    def __init__(self, code: str, what: str, hint: str, status: int = 400) -> None:
        super().__init__(code, what, hint)
        self.status = status


@dataclass(frozen=True, slots=True)
class Token:
    """What an operator of the hub gives to an office."""

    authority: bytes
    """The first bytes of the fingerprint of the hub's authority."""
    secret: bytes

    def __repr__(self) -> str:
        return f"Token({self.hash.hex()[:8]})"

    @property
    def hash(self) -> bytes:
        """What the hub keeps."""
        return sha256(b"tarmoq-enrolment-token/1\x00" + self.secret).digest()

    def to_text(self) -> str:
        """Eight groups of four."""
        text = base64.b32encode(self.authority + self.secret).decode("ascii")
        return "-".join(text[at : at + 4] for at in range(0, len(text), 4))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Back from `to_text`, however it was typed; raises EnrolmentFault (TQ-CE-31)."""
        plain = "".join(text.split()).replace("-", "").upper()
        try:
            raw = base64.b32decode(plain)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != 2 * HALF_BYTES:
            raise EnrolmentFault(
                "TQ-CE-31", "that is no token", "eight groups of four letters A–Z and digits 2–7, as the hub showed it"
            )
        return cls(raw[:HALF_BYTES], raw[HALF_BYTES:])

    def fits(self, authority: bytes) -> bool:
        """Whether the authority of that fingerprint is the one that was meant."""
        return authority[:HALF_BYTES] == self.authority


def fingerprint(node: str, key_hash: bytes, signing_key: str) -> str:
    """Twenty digits over both keys and the name: what two persons compare."""
    statement = canonical("enrol.fingerprint", {"key_hash": key_hash, "node": node, "signing_key": signing_key})
    digits = f"{int.from_bytes(sha256(statement).digest(), 'big') % 10**20:020}"
    return " ".join(digits[at : at + 4] for at in range(0, 20, 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolRequest:
    """A node asks to be known."""

    node: NodeId
    secret: bytes
    request: bytes
    """PKCS #10."""
    signing_key: str
    signature: bytes = b""

    @property
    def token_hash(self) -> bytes:
        """Under which the hub knows the token."""
        return Token(b"", self.secret).hash

    def canonical_bytes(self) -> bytes:
        """What the signature is over."""
        return canonical(
            "enrol.request",
            {
                "node": self.node,
                "request": sha256(self.request).digest(),
                "signing_key": self.signing_key,
                "token": self.token_hash,
            },
        )

    @classmethod
    def made(cls, node: NodeId, secret: bytes, request: bytes, signer: Signer) -> Self:
        """A signed one."""
        bare = cls(node=node, secret=secret, request=request, signing_key=key_to_text(signer.public))
        signature = signer.sign(bare.canonical_bytes())
        return cls(node=node, secret=secret, request=request, signing_key=bare.signing_key, signature=signature)

    def check(self, domain: Domain) -> None:
        """Raises EnrolmentFault (TQ-CE-33) when it was not made with the signing key it names."""
        ring = KeyRing([NamedKey(key_from_text(self.signing_key), self.node, frozenset({Role.NODE}))], domain)
        signature = Signature(ring.keys()[0].key_id, self.signature)
        found = ring.verify(Role.NODE, self.canonical_bytes(), signature, TimeBounds(0, FOREVER - 1))
        if not isinstance(found, Verified):
            raise EnrolmentFault(
                "TQ-CE-33",
                "the request is not signed with the key it names",
                "is it a demo's key, or a real one? else enrol anew",
                403,
            )

    def to_json(self) -> bytes:
        """As it is sent."""
        return _packed(
            {
                "protocol": PROTOCOL,
                "node": self.node,
                "secret": self.secret.hex(),
                "request": base64.b64encode(self.request).decode("ascii"),
                "signing_key": self.signing_key,
                "signature": self.signature.hex(),
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Back from `to_json`; raises EnrolmentFault (TQ-CE-32), KeyFault, IdentityFault."""
        read = _object(data, {"protocol", "node", "secret", "request", "signing_key", "signature"})
        if read["protocol"] != PROTOCOL:
            raise nonsense("it is of another version", "update the older side")
        key_from_text(read["signing_key"])
        return cls(
            node=NodeId(checked_id("node", _text(read, "node"))),
            secret=_octets(read, "secret", HALF_BYTES),
            request=request_of(_text(read, "request")),
            signing_key=_text(read, "signing_key"),
            signature=_octets(read, "signature", 64),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolReply:
    """How an enrolment stands."""

    enrolment: str
    state: str
    fingerprint: str
    certificate: str
    """PEM; empty until it is approved."""
    reason: str
    hub_time: int

    def to_json(self) -> bytes:
        """As it is sent."""
        return _packed({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Back from `to_json`; raises EnrolmentFault (TQ-CE-32)."""
        read = _object(data, set(cls.__slots__))
        hub_time = read["hub_time"]
        if type(hub_time) is not int or not 0 <= hub_time < FOREVER:
            raise nonsense("hub_time is no time")
        texts = {name: _text(read, name) for name in cls.__slots__ if name != "hub_time"}
        return cls(hub_time=hub_time, **texts)


def field_of(data: bytes, name: str) -> str:
    """The one text in a message of one field; raises EnrolmentFault (TQ-CE-32)."""
    return _text(_object(data, {name}), name)


def message_of(name: str, text: str) -> bytes:
    """A message of one field."""
    return _packed({name: text})


def request_of(text: str) -> bytes:
    """A signing request out of its base64; raises EnrolmentFault (TQ-CE-32)."""
    try:
        request = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        request = b""
    if not 0 < len(request) <= REQUEST_BYTES_MAX:
        raise nonsense("the request is no signing request")
    return request


def nonsense(what: str, hint: str = "is it our program, of this version, at the other side?") -> EnrolmentFault:
    """A message that makes no sense."""
    return EnrolmentFault("TQ-CE-32", f"a message makes no sense: {what}", hint)


def _packed(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode("utf-8")


def _object(data: bytes, names: set[str]) -> dict[str, Any]:
    try:
        read = json.loads(data) if len(data) <= MESSAGE_BYTES_MAX else None
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict) or read.keys() != names:
        raise nonsense("it has not the fields it should have")
    return read


def _text(read: Mapping[str, Any], name: str) -> str:
    if not isinstance(read[name], str):
        raise nonsense(f"{name} is no text")
    return str(read[name])


def _octets(read: Mapping[str, Any], name: str, size: int) -> bytes:
    text = _text(read, name)
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != size or raw.hex() != text:
        raise nonsense(f"{name} is not {size} bytes in hexadecimal")
    return raw
