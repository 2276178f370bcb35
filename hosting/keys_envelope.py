"""Envelopes: secrets sealed under a key, a key wrapped under another or for an offline one. Floor: hosting; reading.

Theory of operation. A store seals its secrets under a *data key* and keeps that key beside them, wrapped twice: under
the *node key*, a file of the machine, and for a *recovery key*, whose private half lies offline. Who has the database
alone has nothing; who has lost the machine opens the database's copy with the offline half.

Sealing is AES-256-GCM (NIST SP 800-38D) with a fresh nonce of 12 bytes before the ciphertext; a data key seals far
fewer than the 2^32 secrets for which random nonces are good. Wrapping for the recovery key is HPKE in base mode (RFC
9180: DHKEM with X25519 and HKDF-SHA256, HKDF-SHA256, AES-256-GCM) with an empty AAD, so that any program that speaks
HPKE can unwrap it in twenty years. What a secret belongs to (`bound`) is authenticated with it: moved to another row it
does not open. Failures say nothing of why; nothing secret has a `repr`.

Codes: TQ-KY-07 what was sealed does not open, 08 no recovery key.
"""

import base64
import binascii
import hmac
from hashlib import blake2s, sha256
from pathlib import Path
from typing import ClassVar, Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gridmodel.clock import Entropy
from hosting.keys import KEY_SIZE_BYTES, KeyDomain, KeyFault, KeyKind, create_key, load_key

NONCE_SIZE_BYTES = 12
TAG_SIZE_BYTES = 16
SEALED = "TQ-KY-07"
"""Code of the fault for what does not open."""
_KEM: Final = b"KEM\x00\x20"
_SUITE: Final = b"HPKE\x00\x20\x00\x01\x00\x02"


def bound(*parts: str | int) -> bytes:
    """What a secret belongs to, as bytes that no other parts have: each one with its length before it."""
    texts = [str(part).encode() for part in parts]
    return b"".join(len(text).to_bytes(2, "big") + text for text in texts)


class SealingKey:
    """An AES-256 key: a node key or a data key. Its bytes are shown nowhere."""

    __slots__ = ("_aead", "_raw", "id")

    def __init__(self, raw: bytes) -> None:
        """From 32 bytes; `id` is a fingerprint that tells nothing of them."""
        self._raw = raw
        self._aead = AESGCM(raw)
        self.id = blake2s(raw, digest_size=8, person=b"tq-keyid").hexdigest()

    @staticmethod
    def fresh(entropy: Entropy) -> "SealingKey":
        """A new one."""
        return SealingKey(entropy.token(KEY_SIZE_BYTES))

    def seal(self, plain: bytes, belongs: bytes, entropy: Entropy) -> bytes:
        """Nonce, ciphertext and tag."""
        nonce = entropy.token(NONCE_SIZE_BYTES)
        return nonce + self._aead.encrypt(nonce, plain, belongs)

    def open(self, sealed: bytes, belongs: bytes) -> bytes:
        """What was sealed; raises `KeyFault` ``TQ-KY-07`` for other bytes, another owner or another key."""
        if len(sealed) < NONCE_SIZE_BYTES + TAG_SIZE_BYTES:
            raise _does_not_open()
        try:
            return self._aead.decrypt(sealed[:NONCE_SIZE_BYTES], sealed[NONCE_SIZE_BYTES:], belongs)
        except InvalidTag:
            raise _does_not_open() from None

    def wrap(self, key: "SealingKey", belongs: bytes, entropy: Entropy) -> bytes:
        """Another key, sealed under this one."""
        return self.seal(key._raw, belongs, entropy)  # noqa: SLF001 — a key of the same class

    def unwrap(self, wrapped: bytes, belongs: bytes) -> "SealingKey":
        """The key that was wrapped; raises like `open`."""
        return SealingKey(self.open(wrapped, belongs))

    def write(self, path: Path, kind: KeyKind, domain: KeyDomain) -> None:
        """Make its file; see `hosting.keys.create_key`."""
        create_key(path, kind, self._raw, domain)

    @staticmethod
    def read(path: Path, kind: KeyKind, domain: KeyDomain) -> "SealingKey":
        """The key in a file; see `hosting.keys.load_key`."""
        return SealingKey(load_key(path, kind, domain))


class HpkePublic:
    """The public half of an X25519 pair: wraps keys for whoever holds the private half, and cannot unwrap."""

    __slots__ = ("_raw", "id")
    HEAD = "x25519:"

    def __init__(self, raw: bytes) -> None:
        """From 32 bytes."""
        self._raw = raw
        self.id = blake2s(raw, digest_size=8, person=b"tq-recov").hexdigest()

    @classmethod
    def raw_of(cls, text: str) -> bytes | None:
        """The 32 bytes in its text; None when it is no such text."""
        try:
            raw = base64.b64decode(text.removeprefix(cls.HEAD), validate=True)
        except (binascii.Error, ValueError):
            return None
        return raw if text.startswith(cls.HEAD) and len(raw) == KEY_SIZE_BYTES else None

    @property
    def text(self) -> str:
        """Its head and base64."""
        return self.HEAD + base64.b64encode(self._raw).decode("ascii")

    def wrap(self, key: SealingKey, belongs: bytes, entropy: Entropy) -> bytes:
        """The key for whoever holds the private half: 32 bytes of a one-time public key, ciphertext, tag."""
        once = X25519PrivateKey.from_private_bytes(entropy.token(KEY_SIZE_BYTES))
        enc = once.public_key().public_bytes_raw()
        shared = once.exchange(X25519PublicKey.from_public_bytes(self._raw))
        aead, nonce = _hpke(shared, enc + self._raw, belongs)
        return enc + aead.encrypt(nonce, key._raw, b"")  # noqa: SLF001 — one envelope, two classes


class RecoveryPublic(HpkePublic):
    """The public half of a recovery key: ``x25519:<base64>``."""

    __slots__ = ()

    @staticmethod
    def from_text(text: str) -> "RecoveryPublic":
        """From ``x25519:<base64>``; raises `KeyFault` ``TQ-KY-08``."""
        raw = RecoveryPublic.raw_of(text)
        if raw is None:
            raise KeyFault(
                "TQ-KY-08",
                "that is not the public half of a recovery key",
                "give what edge-node keys new-recovery-pair printed: x25519:…",
            )
        return RecoveryPublic(raw)


class HpkePrivate:
    """The private half of an X25519 pair: unwraps what was wrapped for the public one."""

    __slots__ = ("_private", "public")
    FILE: ClassVar[KeyKind]
    """The kind of the files that hold it; a class that lies in files names it."""

    def __init__(self, raw: bytes, kind: type[HpkePublic] = HpkePublic) -> None:
        """From 32 bytes; `kind` of the public half."""
        self._private = X25519PrivateKey.from_private_bytes(raw)
        self.public = kind(self._private.public_key().public_bytes_raw())

    @classmethod
    def create(cls, path: Path, entropy: Entropy, domain: KeyDomain) -> Self:
        """Make a pair, its private half in a file; see `hosting.keys.create_key`."""
        raw = entropy.token(KEY_SIZE_BYTES)
        create_key(path, cls.FILE, raw, domain)
        return cls(raw)

    @classmethod
    def read(cls, path: Path, domain: KeyDomain) -> Self:
        """The private half in a file; see `hosting.keys.load_key`."""
        return cls(load_key(path, cls.FILE, domain))

    def unwrap(self, wrapped: bytes, belongs: bytes) -> SealingKey:
        """The key that was wrapped for us; raises `KeyFault` ``TQ-KY-07``."""
        enc, sealed = wrapped[:KEY_SIZE_BYTES], wrapped[KEY_SIZE_BYTES:]
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(enc))
            aead, nonce = _hpke(shared, enc + self.public._raw, belongs)  # noqa: SLF001 — the other half of this pair
            return SealingKey(aead.decrypt(nonce, sealed, b""))
        except (InvalidTag, ValueError):
            raise _does_not_open() from None


class RecoveryPrivate(HpkePrivate):
    """The private half of a recovery key, on a machine that is connected to nothing."""

    __slots__ = ()
    FILE = KeyKind.RECOVERY
    public: RecoveryPublic

    def __init__(self, raw: bytes) -> None:
        """From 32 bytes."""
        super().__init__(raw, RecoveryPublic)


def _hpke(shared: bytes, kem_context: bytes, info: bytes) -> tuple[AESGCM, bytes]:
    """The cipher and nonce of the one message of a base-mode exchange (RFC 9180, sections 4.1 and 5.1)."""
    secret = _expand(_extract(b"", _KEM, b"eae_prk", shared), _KEM, b"shared_secret", kem_context, 32)
    context = b"\x00" + _extract(b"", _SUITE, b"psk_id_hash", b"") + _extract(b"", _SUITE, b"info_hash", info)
    scheduled = _extract(secret, _SUITE, b"secret", b"")
    key = _expand(scheduled, _SUITE, b"key", context, KEY_SIZE_BYTES)
    return AESGCM(key), _expand(scheduled, _SUITE, b"base_nonce", context, NONCE_SIZE_BYTES)


def _extract(salt: bytes, suite: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt, b"HPKE-v1" + suite + label + ikm, sha256)


def _expand(prk: bytes, suite: bytes, label: bytes, info: bytes, size: int) -> bytes:
    """One block of HKDF-Expand: sizes up to 32."""
    return hmac.digest(prk, size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info + b"\x01", sha256)[:size]


def _does_not_open() -> KeyFault:
    return KeyFault(
        SEALED, "a sealed secret does not open", "another key sealed it, or it was altered: see keys list and doctor"
    )
