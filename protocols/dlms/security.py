"""Security suite 0: AES-128-GCM for APDUs, GMAC for proofs (IEC 62056-5-3, 5.4-5.7). Floor: protocols; reading.

Sealed contents are a security control byte, a four-byte invocation counter, the ciphertext and a tag of 12 bytes. The
library's AES-GCM makes and checks tags of 16. So a tag is checked by sealing again: encrypting the ciphertext gives the
plaintext (GCM's cipher is a key stream), sealing that gives the tag it should have, of which 12 bytes are compared in
constant time. Nothing decrypted leaves before. Keys and plaintexts appear in no fault and no `repr`.
"""

import hmac
from dataclasses import dataclass, field
from enum import IntFlag

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from protocols.dlms.faults import local_fault, malformed, remote_fault
from protocols.errors import Hope

KEY_SIZE = 16
TITLE_SIZE = 8
TAG_SIZE = 12
HEADER_SIZE = 5
OVERHEAD = HEADER_SIZE + TAG_SIZE
"""Bytes a sealed APDU has more than its plaintext, without tags and lengths around it."""
CHALLENGE_SIZE_MIN = 8
CHALLENGE_SIZE_MAX = 64
_LOOK_AT_KEYS = "check the block and authentication keys and the system title of this meter"


class Control(IntFlag):
    """The security control byte; its low four bits are the suite."""

    AUTHENTICATED = 0x10
    ENCRYPTED = 0x20
    BROADCAST_KEY = 0x40
    COMPRESSED = 0x80


SEALED = Control.AUTHENTICATED | Control.ENCRYPTED
"""Authenticated and encrypted: all we ever send, and by default all we take."""
SEALED_BITS = int(SEALED)
_AUTHENTICATED, _ENCRYPTED = int(Control.AUTHENTICATED), int(Control.ENCRYPTED)
"""Plain numbers: an IntFlag costs as much as the cipher."""


@dataclass(frozen=True, slots=True)
class SecurityKeys:
    """The secrets between a client and one meter. They are shown nowhere."""

    block_key: bytes = field(repr=False)
    """Global unicast encryption key, 16 bytes."""
    authentication_key: bytes = field(repr=False)
    """Authentication key, 16 bytes."""
    dedicated_key: bytes | None = field(default=None, repr=False)
    """A key for one association, 16 bytes of fresh entropy; None: not used."""

    def __post_init__(self) -> None:
        """Raises DlmsFault TQ-DM-75 for a key of another size."""
        keys = (self.block_key, self.authentication_key, self.dedicated_key or self.block_key)
        if any(len(key) != KEY_SIZE for key in keys):
            raise local_fault("TQ-DM-75", "a key is not 16 bytes long", "suite 0 has keys of 16 bytes, 32 hex digits")


class Suite:
    """AES-GCM under one encryption key and the authentication key."""

    __slots__ = ("_aead", "_authentication_key")

    def __init__(self, encryption_key: bytes, authentication_key: bytes) -> None:
        """Keys of 16 bytes each."""
        self._aead = AESGCM(encryption_key)
        self._authentication_key = authentication_key

    def seal(self, title: bytes, counter: int, plain: bytes, control: int = SEALED_BITS) -> bytes:
        """Header, ciphertext and tag. `title` is the sender's; `counter` must be new under this key.

        `control` without ENCRYPTED leaves the APDU readable, without AUTHENTICATED it has no tag; only a meter that
        plays old ones asks for that.
        """
        bits = int(control)
        head = bytes((bits,)) + counter.to_bytes(4, "big")
        nonce = title + head[1:]
        if not bits & _AUTHENTICATED:
            body = self._aead.encrypt(nonce, plain, None)[: len(plain)] if bits & _ENCRYPTED else plain
            return head + body
        additional = head[:1] + self._authentication_key
        if bits & _ENCRYPTED:
            return head + self._aead.encrypt(nonce, plain, additional)[:-4]
        return head + plain + self._aead.encrypt(nonce, b"", additional + plain)[:TAG_SIZE]

    def unseal(self, title: bytes, contents: bytes, least: int = SEALED_BITS) -> tuple[int, bytes]:
        """Invocation counter and plaintext. `title` is the sender's; `least` the protection that must be there.

        The counter is authentic, whether it is new is for the caller to say.

        Raises:
            DlmsFault: TQ-DM-02 too short; 30 wrong tag (wrong key, or changed on the way); 32 less protection than
                `least`; 34 another suite, a broadcast key, compression.

        """
        if len(contents) < HEADER_SIZE:
            raise malformed("ciphered APDU", contents)
        bits = contents[0]
        if bits & ~SEALED_BITS:
            raise remote_fault("TQ-DM-34", f"security control {bits:02X} is not suite 0 unicast", _LOOK_AT_KEYS)
        if bits & least != least:
            raise remote_fault("TQ-DM-32", f"security control {bits:02X} protects too little", _LOOK_AT_KEYS)
        nonce = title + contents[1:HEADER_SIZE]
        counter = int.from_bytes(contents[1:HEADER_SIZE], "big")
        body = contents[HEADER_SIZE:]
        if not bits & _AUTHENTICATED:
            plain = self._aead.encrypt(nonce, body, None)[: len(body)] if bits & _ENCRYPTED else body
            return counter, plain
        if len(body) < TAG_SIZE:
            raise malformed("ciphered APDU", contents)
        body, tag = body[:-TAG_SIZE], body[-TAG_SIZE:]
        additional = contents[:1] + self._authentication_key
        if bits & _ENCRYPTED:
            plain = self._aead.encrypt(nonce, body, None)[: len(body)]
            should = self._aead.encrypt(nonce, plain, additional)[-16:-4]
        else:
            plain = body
            should = self._aead.encrypt(nonce, b"", additional + body)[:TAG_SIZE]
        if not hmac.compare_digest(tag, should):
            raise _wrong_tag()
        return counter, plain

    def prove(self, title: bytes, counter: int, challenge: bytes) -> bytes:
        """Our answer to a challenge under HLS-GMAC: control byte, counter, tag (IEC 62056-5-3, 5.4.6)."""
        head = bytes((Control.AUTHENTICATED,)) + counter.to_bytes(4, "big")
        additional = head[:1] + self._authentication_key + challenge
        return head + self._aead.encrypt(title + head[1:], b"", additional)[:TAG_SIZE]

    def check_proof(self, title: bytes, proof: bytes, challenge: bytes) -> int | None:
        """The counter inside the other side's answer to our challenge; None when the answer is wrong."""
        if len(proof) != OVERHEAD or proof[0] != Control.AUTHENTICATED:
            return None
        counter = int.from_bytes(proof[1:HEADER_SIZE], "big")
        return counter if hmac.compare_digest(self.prove(title, counter, challenge), proof) else None


class Heard:
    """The counters heard from one sender under one key: each must be higher than the last."""

    __slots__ = ("last",)

    def __init__(self, last: int = -1) -> None:
        """`last` is the highest counter heard so far, -1: none; the first to be taken is above it."""
        self.last = last

    def take(self, counter: int) -> None:
        """Raises DlmsFault TQ-DM-31 for a counter that is not new: a replay, or a sender that lost its memory."""
        if counter <= self.last:
            raise remote_fault(
                "TQ-DM-31",
                f"invocation counter {counter} was heard before (last: {self.last})",
                "an APDU was replayed, or the sender lost its counter: read the counter object and recover",
            )
        self.last = counter


def wrap_key(master: bytes, key: bytes) -> bytes:
    """A key sealed under the master key by AES key wrap (RFC 3394): 24 bytes for 16.

    Raises:
        DlmsFault: TQ-DM-75 for a key of another size.

    """
    if len(master) != KEY_SIZE or len(key) != KEY_SIZE:
        raise local_fault("TQ-DM-75", "a key is not 16 bytes long", "suite 0 has keys of 16 bytes, 32 hex digits")
    return aes_key_wrap(master, key)


def unwrap_key(master: bytes, wrapped: bytes) -> bytes:
    """The key inside; what was wrapped under another master key, or changed, is DlmsFault TQ-DM-30."""
    try:
        key = aes_key_unwrap(master, wrapped)
    except (InvalidUnwrap, ValueError):
        raise _wrong_tag() from None
    if len(key) != KEY_SIZE:
        raise malformed("wrapped key", b"")
    return key


def same_secret(one: bytes, other: bytes) -> bool:
    """Whether two secrets are equal, in constant time."""
    return hmac.compare_digest(one, other)


def check_title(title: bytes) -> bytes:
    """A system title, or DlmsFault TQ-DM-75."""
    if len(title) != TITLE_SIZE:
        raise local_fault("TQ-DM-75", "a system title is not 8 bytes long", "write 16 hex digits")
    return title


def check_challenge(challenge: bytes) -> bytes:
    """A challenge of ours, or DlmsFault TQ-DM-75."""
    if not CHALLENGE_SIZE_MIN <= len(challenge) <= CHALLENGE_SIZE_MAX:
        raise local_fault("TQ-DM-75", "a challenge is not 8 to 64 bytes long", "take 16 bytes of entropy")
    return challenge


def _wrong_tag() -> Exception:
    return remote_fault("TQ-DM-30", "an APDU is not sealed with our keys", _LOOK_AT_KEYS, Hope.PERMANENT)
