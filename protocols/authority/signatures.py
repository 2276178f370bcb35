"""Signatures by named keys: who signed, in which role, and whether that still counts. Floor: protocols; on all walks.

A `Signer` holds one private key (given by hosting/keys, never read here) and the domain it signs for. A `KeyRing` holds
the public keys one party trusts; each is named for its person or machine, has roles and a time of validity. Checking
gives a closed outcome, not an exception: a wrong signature is an ordinary answer to an ordinary question. Several
signatures under one statement are counted by *person*, so that nobody approves twice with two keys.

Codes: TQ-AU-02 not a key, -03 a key ring that contradicts itself.
"""

import base64
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gridmodel.clock import TimeBounds
from gridmodel.fault import Fault
from gridmodel.identity import checked_id
from protocols.authority.canonical import Domain, signing_bytes

KEY_BYTES = 32
SIGNATURE_BYTES = 64
KEYS_MAX = 10_000
"""A hub trusts its nodes (206, at most some thousands), persons and offices; more is a mistake."""
REMEMBERED_MAX = 64
"""Right signatures remembered: 0.1 ms each saved where one statement is asked for again and again."""
FOREVER = 2**40
"""The end of a key that does not end."""

_PREFIX = "ed25519:"


class KeyFault(Fault):
    """A key, or a list of keys, that cannot be one."""


class Role(StrEnum):
    """What a key may be used for."""

    NODE = "node"
    """Signs the batches, hellos and pulls of the node it is named for."""
    APPROVER = "approver"
    """A person who signs mandates and orders."""
    BILLING = "billing"
    """Signs debts and receipts."""
    NOTIFIER = "notifier"
    """Signs that a notice was delivered."""
    HUB = "hub"
    """Signs tree heads; opens no relay."""


class RefusalReason(StrEnum):
    """Why a signature does not count."""

    UNKNOWN_KEY = "unknown_key"
    WRONG_ROLE = "wrong_role"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    BAD_SIGNATURE = "bad_signature"


@dataclass(frozen=True, slots=True)
class Verified:
    """The signature counts: this person or machine said it."""

    name: str
    key_id: str


@dataclass(frozen=True, slots=True)
class SignatureRefused:
    """The signature does not count."""

    reason: RefusalReason
    key_id: str


Verification = Verified | SignatureRefused


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature beside others under a statement."""

    key_id: str
    value: bytes


@dataclass(frozen=True, slots=True)
class NamedKey:
    """A public key, whose it is, and for what and when it counts."""

    public: bytes
    """32 raw bytes."""
    name: str
    """The node, person or office: two keys with one name are one voice."""
    roles: frozenset[Role]
    not_before: int = 0
    """UTC seconds, from."""
    not_after: int = FOREVER
    """UTC seconds, up to but not including."""

    @property
    def key_id(self) -> str:
        """See `key_id_of`."""
        return key_id_of(self.public)


def key_id_of(public: bytes) -> str:
    """The name of a key: the first 8 bytes of SHA-256 over its 32 raw bytes, in hexadecimal."""
    return sha256(public).digest()[:8].hex()


def key_to_text(public: bytes) -> str:
    """``ed25519:BASE64`` for files and forms."""
    return _PREFIX + base64.b64encode(public).decode("ascii")


def key_from_text(text: object) -> bytes:
    """The 32 raw bytes back; raises KeyFault (TQ-AU-02)."""
    public = b""
    if isinstance(text, str) and text.startswith(_PREFIX):
        with suppress(ValueError):
            public = base64.b64decode(text[len(_PREFIX) :], validate=True)
    if len(public) != KEY_BYTES or key_to_text(public) != text:
        raise KeyFault(
            "TQ-AU-02", f"{text!r:.60} is not a public key", "copy the whole line ed25519:… that the owner was shown"
        )
    return public


class Signer:
    """A private key at work. The key itself never leaves this object."""

    def __init__(self, private: Ed25519PrivateKey, domain: Domain) -> None:
        self._private = private
        self.domain = domain
        self.public = private.public_key().public_bytes_raw()
        """32 raw bytes."""
        self.key_id = key_id_of(self.public)

    @classmethod
    def from_seed(cls, seed: bytes, domain: Domain) -> "Signer":
        """A signer from 32 secret bytes; raises KeyFault (TQ-AU-02) on any other number."""
        if len(seed) != KEY_BYTES:
            raise KeyFault("TQ-AU-02", f"a private key has {KEY_BYTES} bytes, not {len(seed)}", "restore the key file")
        return cls(Ed25519PrivateKey.from_private_bytes(seed), domain)

    def __repr__(self) -> str:
        return f"Signer({self.key_id}, {self.domain.value})"

    def sign(self, statement: bytes) -> bytes:
        """The 64-byte signature of canonical bytes, in this signer's domain."""
        return self._private.sign(signing_bytes(self.domain, statement))

    def signature(self, statement: bytes) -> Signature:
        """The same, with the key's name."""
        return Signature(self.key_id, self.sign(statement))


class KeyRing:
    """The public keys one party trusts, in one domain: a production ring never takes a demo signature."""

    def __init__(self, keys: Iterable[NamedKey], domain: Domain) -> None:
        self.domain = domain
        self._keys: dict[str, tuple[NamedKey, Ed25519PublicKey]] = {}
        self._right: dict[tuple[str, bytes, bytes], None] = {}
        for key in keys:
            _check_entry(key)
            if key.key_id in self._keys:
                raise KeyFault(
                    "TQ-AU-03", f"the key {key.key_id} is listed twice", "leave one entry with all its roles"
                )
            if len(self._keys) >= KEYS_MAX:
                raise KeyFault("TQ-AU-03", f"more than {KEYS_MAX} keys", "remove the keys that have expired")
            self._keys[key.key_id] = (key, Ed25519PublicKey.from_public_bytes(key.public))

    def keys(self) -> tuple[NamedKey, ...]:
        """All of them, in the order they were given."""
        return tuple(key for key, _ in self._keys.values())

    def holds(self, role: Role, name: str) -> bool:
        """Whether somebody of that name may sign in that role."""
        return any(key.name == name and role in key.roles for key, _ in self._keys.values())

    def assign(self, name: str, role: Role, public: bytes | None) -> None:
        """From now on this key, or none, is the one of `name` in that role alone; every other name keeps its own.

        Raises KeyFault (TQ-AU-03) when it is somebody else's key.
        """
        standing = [key for key, _ in self._keys.values() if key.name == name and key.roles == {role}]
        if [key.public for key in standing] == ([] if public is None else [public]):
            return
        entry = None if public is None else NamedKey(public, name, frozenset({role}))
        if entry is not None and entry.key_id in self._keys and entry.key_id not in {one.key_id for one in standing}:
            raise KeyFault("TQ-AU-03", f"the key {entry.key_id} is another's", "every node and person has its own")
        for key in standing:
            del self._keys[key.key_id]
        if entry is not None:
            _check_entry(entry)
            self._keys[entry.key_id] = (entry, Ed25519PublicKey.from_public_bytes(entry.public))

    def verify(self, role: Role, statement: bytes, signature: Signature, now: TimeBounds) -> Verification:
        """Whether `signature` is that of a trusted key with `role` at all of `now` over `statement`."""
        held = self._keys.get(signature.key_id)
        if held is None:
            return SignatureRefused(RefusalReason.UNKNOWN_KEY, signature.key_id)
        key, public = held
        if role not in key.roles:
            return SignatureRefused(RefusalReason.WRONG_ROLE, signature.key_id)
        if now.earliest < key.not_before:
            return SignatureRefused(RefusalReason.NOT_YET_VALID, signature.key_id)
        if now.latest >= key.not_after:
            return SignatureRefused(RefusalReason.EXPIRED, signature.key_id)
        if not self._fits(public, signature, statement):
            return SignatureRefused(RefusalReason.BAD_SIGNATURE, signature.key_id)
        return Verified(key.name, signature.key_id)

    def _fits(self, public: Ed25519PublicKey, signature: Signature, statement: bytes) -> bool:
        """Whether the signature is right; a right one is remembered, because a mandate is asked for at every use."""
        seen = (signature.key_id, signature.value, sha256(statement).digest())
        if seen in self._right:
            return True
        try:
            public.verify(signature.value, signing_bytes(self.domain, statement))
        except InvalidSignature:
            return False
        if len(self._right) >= REMEMBERED_MAX:
            del self._right[next(iter(self._right))]
        self._right[seen] = None
        return True

    def voices(
        self, role: Role, statement: bytes, signatures: Iterable[Signature], now: TimeBounds
    ) -> tuple[frozenset[str], tuple[SignatureRefused, ...]]:
        """The different persons whose signatures count, and the signatures that do not."""
        names: set[str] = set()
        refused: list[SignatureRefused] = []
        for signature in signatures:
            outcome = self.verify(role, statement, signature, now)
            if isinstance(outcome, Verified):
                names.add(outcome.name)
            else:
                refused.append(outcome)
        return frozenset(names), tuple(refused)


def key_entry(entry: Mapping[str, Any]) -> NamedKey:
    """A key out of a configuration table {name, public, roles, not_before?, not_after?}; raises KeyFault."""
    unknown = entry.keys() - {"name", "public", "roles", "not_before", "not_after"}
    missing = {"name", "public", "roles"} - entry.keys()
    if unknown or missing:
        odd = ", ".join(sorted(map(str, unknown | missing)))
        raise KeyFault("TQ-AU-03", f"missing or unknown in the entry of a key: {odd:.100}", "see docs/operating")
    roles = entry["roles"]
    try:
        known = frozenset(Role(role) for role in roles) if isinstance(roles, list | tuple) else frozenset()
    except ValueError as error:
        raise KeyFault("TQ-AU-03", f"{roles!r:.80} has an unknown role", f"use {', '.join(Role)}") from error
    times = [entry.get("not_before", 0), entry.get("not_after", FOREVER)]
    if not all(type(time) is int for time in times):
        raise KeyFault("TQ-AU-03", "the validity of a key is not in UTC seconds", "write whole numbers")
    key = NamedKey(key_from_text(entry["public"]), checked_id("key owner", entry["name"]), known, times[0], times[1])
    _check_entry(key)
    return key


def _check_entry(key: NamedKey) -> None:
    if len(key.public) != KEY_BYTES:
        raise KeyFault("TQ-AU-02", f"the key of {key.name:.64} is not {KEY_BYTES} bytes", "copy the whole key")
    if not key.roles:
        raise KeyFault("TQ-AU-03", f"the key of {key.name:.64} has no role", f"name one of {', '.join(Role)}")
    if not 0 <= key.not_before < key.not_after <= FOREVER:
        raise KeyFault("TQ-AU-03", f"the key of {key.name:.64} ends before it begins", "mend not_before, not_after")
