"""Sealing whole APDUs, and what is known of the other side while doing so. Floor: protocols; walks: reading, payment.

One `Sealer` belongs to one association and one side of it: its own title and counters, the other's title and the
counters heard from it, for the global key and for the dedicated one. Both sides use the same class.
"""

from collections.abc import Mapping
from types import MappingProxyType

from protocols.dlms.apdu import Apdu, decode_apdu
from protocols.dlms.apdu.sealed import (
    GENERAL_DED,
    GENERAL_GLO,
    OPEN_TAGS,
    SEAL_TAGS,
    Protection,
    Sealed,
)
from protocols.dlms.counters import COUNTER_MAX, Counter
from protocols.dlms.data import encode_length
from protocols.dlms.faults import remote_fault
from protocols.dlms.security import OVERHEAD, SEALED, SEALED_BITS, TITLE_SIZE, Control, Heard, SecurityKeys, Suite

NOTHING_HEARD: Mapping[bytes, int] = MappingProxyType({})
_TITLE_LENGTH = bytes((TITLE_SIZE,))
_TAGS = [bytes((tag,)) for tag in range(256)]
_TAG_AND_LENGTH_SIZE = 4
"""Bytes before the sealed contents at most: a tag and a length of up to three."""


class Sealer:
    """Seals and opens the APDUs of one association."""

    def __init__(
        self, keys: SecurityKeys, title: bytes, counter: Counter, heard: int = -1, least: Control = SEALED
    ) -> None:
        """`counter` gives numbers for the global key; `least` is the protection that arriving APDUs must have.

        A dedicated key among `keys` is not used before `use_dedicated`.
        """
        self._global = Suite(keys.block_key, keys.authentication_key)
        self._dedicated: Suite | None = None
        self._authentication_key = keys.authentication_key
        self.title = title
        self.peer_title: bytes | None = None
        """The other side's system title, once it is known."""
        self._counter = counter
        self._dedicated_counter = Counter(1, COUNTER_MAX)
        self._heard = Heard(heard)
        self._dedicated_heard = Heard()
        self._least = int(least)

    @property
    def heard(self) -> int:
        """The other side's highest counter under the global key."""
        return self._heard.last

    def use_dedicated(self, key: bytes) -> None:
        """From now on dedicated APDUs are possible, under a key that both sides know."""
        self._dedicated = Suite(key, self._authentication_key)
        self._dedicated_counter = Counter(1, COUNTER_MAX)
        self._dedicated_heard = Heard()

    def know(self, title: bytes | None, heard: Mapping[bytes, int] = NOTHING_HEARD) -> None:
        """Learn the other side's title; `heard`: the highest counter known from before, by title.

        Raises DlmsFault TQ-DM-33 when there is none, or it is our own.
        """
        if title is None or len(title) != TITLE_SIZE or title == self.title:
            raise remote_fault("TQ-DM-33", "the other side gave no system title of its own")
        self.peer_title = title
        self._heard = Heard(max(self._heard.last, heard.get(title, -1)))

    def seal_apdu(self, plain: bytes, protection: Protection, control: int = SEALED_BITS) -> bytes:
        """The ciphered APDU around a plain one. Raises DlmsFault TQ-DM-35 when the counters are used up."""
        dedicated = protection.dedicated
        suite = self._dedicated if dedicated else self._global
        if suite is None:
            raise remote_fault("TQ-DM-33", "there is no dedicated key in this association")
        counter = (self._dedicated_counter if dedicated else self._counter).take()
        contents = suite.seal(self.title, counter, plain, control)
        if protection.general:
            head = _TAGS[GENERAL_DED if dedicated else GENERAL_GLO] + _TITLE_LENGTH + self.title
            return head + encode_length(len(contents)) + contents
        return _TAGS[SEAL_TAGS[protection][plain[0]]] + encode_length(len(contents)) + contents

    def unseal_apdu(self, sealed: Sealed) -> Apdu:
        """The APDU inside, proven and new.

        Raises:
            DlmsFault: TQ-DM-30 wrong key or changed, 31 heard before, 32 too little protection, 33 another's title, 34
                another suite, 05 another APDU inside than the tag says; or as `decode_apdu`.

        """
        protection, expected = OPEN_TAGS[sealed.tag]
        suite = self._dedicated if protection.dedicated else self._global
        title = self.peer_title
        if suite is None or title is None or sealed.title not in (None, title):
            raise remote_fault("TQ-DM-33", "an APDU is sealed by somebody we do not know")
        counter, plain = suite.unseal(title, sealed.contents, self._least)
        (self._dedicated_heard if protection.dedicated else self._heard).take(counter)
        if expected is not None and plain[:1] != bytes((expected,)):
            raise remote_fault("TQ-DM-05", f"tag 0x{sealed.tag:02X} covers another APDU")
        apdu = decode_apdu(plain)
        if isinstance(apdu, Sealed):
            raise remote_fault("TQ-DM-05", "a sealed APDU is sealed again, which nobody needs")
        return apdu

    def prove(self, challenge: bytes) -> bytes:
        """Our answer to the other side's challenge. Raises DlmsFault TQ-DM-35 when the counters are used up."""
        return self._global.prove(self.title, self._counter.take(), challenge)

    def is_proof(self, proof: bytes, challenge: bytes) -> bool:
        """Whether the other side answered our challenge rightly; the challenge is fresh, so the counter may be any."""
        return self.peer_title is not None and self._global.check_proof(self.peer_title, proof, challenge) is not None

    def overhead(self, protection: Protection) -> int:
        """Bytes a sealed APDU is longer than the plain one, at most."""
        return OVERHEAD + _TAG_AND_LENGTH_SIZE + (TITLE_SIZE + 1 if protection.general else 0)
