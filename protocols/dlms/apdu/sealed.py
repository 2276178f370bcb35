"""Ciphered APDUs: the tags around what `security` seals (IEC 62056-5-3, 5.7.2, 8.4). Floor: protocols; walk: reading.

A service-specific tag says what is inside and which key: glo-* the global key, ded-* the key of this association. The
general tags carry the sender's system title and anything inside. The response to each request uses the same kind.
"""

from enum import Enum
from typing import NamedTuple

from protocols.dlms.apdu.parts import encode_octets
from protocols.dlms.axdr import Reader
from protocols.dlms.faults import malformed

GENERAL_GLO = 0xDB
GENERAL_DED = 0xDC
_GLOBAL_INITIATE = {0x01: 0x21, 0x08: 0x28, 0x0E: 0x2E}
_GLOBAL = {0xC0: 0xC8, 0xC1: 0xC9, 0xC2: 0xCA, 0xC3: 0xCB, 0xC4: 0xCC, 0xC5: 0xCD, 0xC7: 0xCF}
_DEDICATED = {plain: tag + 8 for plain, tag in _GLOBAL.items()}


class Protection(Enum):
    """Which tags an association's APDUs wear after it is open."""

    GLOBAL = "glo"
    """glo-get-request and so on: the global key."""
    DEDICATED = "ded"
    """ded-get-request and so on: the dedicated key."""
    GENERAL_GLOBAL = "general-glo"
    """general-glo-ciphering: the global key, and the sender's system title in each APDU."""
    GENERAL_DEDICATED = "general-ded"
    """general-ded-ciphering: the dedicated key, and the sender's system title in each APDU."""

    __hash__ = object.__hash__
    dedicated: bool
    """Whether the dedicated key is used."""
    general: bool
    """Whether the general tags are used."""

    def __init__(self, tags: str) -> None:
        self.dedicated = tags.endswith("ded")
        self.general = tags.startswith("general")


SEAL_TAGS: dict[Protection, dict[int, int]] = {
    Protection.GLOBAL: _GLOBAL | _GLOBAL_INITIATE,
    Protection.DEDICATED: _DEDICATED,
}
"""The ciphered tag for each plain one."""
OPEN_TAGS: dict[int, tuple[Protection, int | None]] = {
    **{tag: (Protection.GLOBAL, plain) for plain, tag in SEAL_TAGS[Protection.GLOBAL].items()},
    **{tag: (Protection.DEDICATED, plain) for plain, tag in _DEDICATED.items()},
    GENERAL_GLO: (Protection.GENERAL_GLOBAL, None),
    GENERAL_DED: (Protection.GENERAL_DEDICATED, None),
}
"""For each ciphered tag the kind of protection and the plain tag that must be inside; None: any."""


class Sealed(NamedTuple):
    """A ciphered APDU as it lies on the wire."""

    tag: int
    """A key of `OPEN_TAGS`."""
    title: bytes | None
    """The sender's system title, in general APDUs alone."""
    contents: bytes
    """Security header, ciphertext, authentication tag."""

    @property
    def protection(self) -> Protection:
        """Which kind it is."""
        return OPEN_TAGS[self.tag][0]

    def encode(self) -> bytes:
        """The bytes of the wire."""
        title = encode_octets(self.title or b"") if self.tag in {GENERAL_GLO, GENERAL_DED} else b""
        return bytes((self.tag,)) + title + encode_octets(self.contents)


def read_sealed(reader: Reader, tag: int) -> Sealed:
    """After the tag."""
    title = None
    if tag in {GENERAL_GLO, GENERAL_DED}:
        title = reader.octets()
        if len(title) not in {0, 8}:
            raise malformed("system title", title)
    return Sealed(tag, title or None, reader.octets())
