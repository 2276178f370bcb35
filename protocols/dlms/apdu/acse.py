"""ACSE: AARQ, AARE, RLRQ, RLRE by the BER subset DLMS uses (IEC 62056-5-3, 7.2 and 8.2). Floor: protocols; reading.

BER here is a tag of one byte, a definite length, and contents. Fields of the standard that we do not need (AE titles,
certificates) are stepped over; a field that is there twice, or with a wrong form, is refused.
"""

from dataclasses import dataclass, field
from enum import IntEnum

from protocols.dlms.axdr import Reader
from protocols.dlms.data import encode_length
from protocols.dlms.faults import malformed, remote_fault

AARQ = 0x60
AARE = 0x61
RLRQ = 0x62
RLRE = 0x63
_OID_CONTEXT = bytes.fromhex("60857405 0801")
_OID_MECHANISM = bytes.fromhex("60857405 0802")
_AUTHENTICATION_USED = bytes.fromhex("0780")
"""ACSE requirements: a bit string of one bit, the authentication functional unit."""
_REQUIREMENTS = bytes.fromhex("8A020780")
"""The same as the field of an AARQ."""


class Context(IntEnum):
    """The application context: how objects are named and whether APDUs may be ciphered."""

    OTHER = 0
    """One that we do not know: it can be refused by name."""
    LN = 1
    SN = 2
    LN_CIPHERED = 3
    SN_CIPHERED = 4


class Mechanism(IntEnum):
    """How the two sides prove who they are."""

    NONE = 0
    LOW = 1
    HIGH = 2
    MD5 = 3
    SHA1 = 4
    GMAC = 5
    SHA256 = 6
    ECDSA = 7
    OTHER = 255
    """One that we do not know: it can be refused by name."""


class AssociationResult(IntEnum):
    """What became of a request to associate."""

    ACCEPTED = 0
    REJECTED_PERMANENT = 1
    REJECTED_TRANSIENT = 2


def context_name(context: Context) -> bytes:
    """The object identifier of an application context."""
    return _OID_CONTEXT + bytes((context,))


def mechanism_name(mechanism: Mechanism) -> bytes:
    """The object identifier of an authentication mechanism."""
    return _OID_MECHANISM + bytes((mechanism,))


_CONTEXTS = {context_name(one): one for one in Context}
_MECHANISMS = {mechanism_name(one): one for one in Mechanism}
DIAGNOSTICS = {
    (1, 0): "no reason given",
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AP title (system title) not recognised",
    (1, 11): "authentication mechanism name not recognised",
    (1, 12): "authentication mechanism name required",
    (1, 13): "authentication failure",
    (1, 14): "authentication required",
    (2, 0): "no reason given",
    (2, 1): "no reason given",
    (2, 2): "no common ACSE version",
}
"""By source (1 service user, 2 service provider) and number."""
AUTHENTICATION_FAILURE = (1, 13)
AUTHENTICATION_REQUIRED = (1, 14)
CONTEXT_NOT_SUPPORTED = (1, 2)
MECHANISM_NOT_RECOGNISED = (1, 11)
TITLE_NOT_RECOGNISED = (1, 3)
NO_DIAGNOSTIC = (1, 0)
NO_REASON = (1, 1)


@dataclass(frozen=True, slots=True)
class Aarq:
    """A request to associate."""

    context: Context
    """How objects are named, and whether APDUs are ciphered."""
    user_information: bytes
    """An initiate request, ciphered or not."""
    mechanism: Mechanism = Mechanism.NONE
    """How we will be authenticated."""
    authentication: bytes | None = field(default=None, repr=False)
    """The password (LOW) or our challenge (HIGH and above)."""
    calling_title: bytes | None = None
    """Our system title, eight bytes, where anything is ciphered."""
    user: int | None = None
    """Which person or program at the client (calling AE invocation id)."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        out = _tlv(0xA1, _tlv(0x06, context_name(self.context)))
        if self.calling_title is not None:
            out += _tlv(0xA6, _tlv(0x04, self.calling_title))
        if self.user is not None:
            out += _tlv(0xA9, _tlv(0x02, bytes((self.user & 0xFF,))))
        if self.mechanism is not Mechanism.NONE:
            out += _REQUIREMENTS + _tlv(0x8B, mechanism_name(self.mechanism))
        if self.authentication is not None:
            out += _tlv(0xAC, _tlv(0x80, self.authentication))
        return _tlv(AARQ, out + _tlv(0xBE, _tlv(0x04, self.user_information)))


@dataclass(frozen=True, slots=True)
class Aare:
    """The answer to a request to associate."""

    context: Context
    """As asked, or the one the server would take."""
    result: AssociationResult
    """Accepted or not."""
    diagnostic: tuple[int, int]
    """Source and number; see `DIAGNOSTICS`. (1, 14) with ACCEPTED asks for the HLS steps."""
    user_information: bytes = b""
    """An initiate response or an error, ciphered or not."""
    mechanism: Mechanism = Mechanism.NONE
    """How the client is to be authenticated."""
    authentication: bytes | None = None
    """The server's challenge."""
    responding_title: bytes | None = None
    """The server's system title."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        source, number = self.diagnostic
        out = _tlv(0xA1, _tlv(0x06, context_name(self.context)))
        out += _tlv(0xA2, _tlv(0x02, bytes((self.result,))))
        out += _tlv(0xA3, _tlv(0xA0 | source, _tlv(0x02, bytes((number,)))))
        if self.responding_title is not None:
            out += _tlv(0xA4, _tlv(0x04, self.responding_title))
        if self.mechanism is not Mechanism.NONE:
            out += _tlv(0x88, _AUTHENTICATION_USED) + _tlv(0x89, mechanism_name(self.mechanism))
        if self.authentication is not None:
            out += _tlv(0xAA, _tlv(0x80, self.authentication))
        if self.user_information:
            out += _tlv(0xBE, _tlv(0x04, self.user_information))
        return _tlv(AARE, out)

    @property
    def reason(self) -> str:
        """The diagnostic in words."""
        return DIAGNOSTICS.get(self.diagnostic, f"diagnostic {self.diagnostic[0]}.{self.diagnostic[1]}")


@dataclass(frozen=True, slots=True)
class Rlrq:
    """A request to release the association."""

    reason: int | None = 0
    """0 normal, 1 urgent, 30 user defined."""
    user_information: bytes = b""
    """An initiate request again, where the context is ciphered."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return _tlv(RLRQ, _release(self.reason, self.user_information))


@dataclass(frozen=True, slots=True)
class Rlre:
    """The association is released."""

    reason: int | None = 0
    """0 normal, 1 not finished, 30 user defined."""
    user_information: bytes = b""
    """An initiate response again, where the context is ciphered."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return _tlv(RLRE, _release(self.reason, self.user_information))


def _release(reason: int | None, user_information: bytes) -> bytes:
    out = b"" if reason is None else _tlv(0x80, bytes((reason,)))
    return out + (_tlv(0xBE, _tlv(0x04, user_information)) if user_information else b"")


def _tlv(tag: int, contents: bytes) -> bytes:
    return bytes((tag,)) + encode_length(len(contents)) + contents


def _fields(reader: Reader, where: str) -> dict[int, bytes]:
    """The fields of an ACSE APDU by tag, after the APDU's own tag; the APDU fills all that is left."""
    if reader.length() != reader.left:
        raise remote_fault("TQ-DM-04", f"the length of an {where} is not that of its contents")
    found: dict[int, bytes] = {}
    data, size = reader.data, len(reader.data)
    while reader.at < size:
        tag = data[reader.at]
        reader.at += 1
        if tag in found:
            raise malformed(where, data)
        found[tag] = reader.octets()
    return found


def _inner(contents: bytes | None, tag: int, where: str) -> bytes | None:
    """The contents of the one value of `tag` inside an explicit field."""
    if contents is None:
        return None
    if len(contents) > 1 and contents[0] == tag and contents[1] == len(contents) - 2 < 0x80:
        return contents[2:]
    reader = Reader(contents)
    if reader.u8() != tag:
        raise malformed(where, contents[:1])
    value = reader.octets()
    reader.end()
    return value


def _integer(contents: bytes | None, where: str) -> int:
    value = _inner(contents, 0x02, where)
    if value is None or not 1 <= len(value) <= 4:
        raise malformed(where, contents or b"")
    return int.from_bytes(value, "big")


def _context(fields: dict[int, bytes]) -> Context:
    oid = _inner(fields.get(0xA1), 0x06, "application context name")
    if not oid:
        raise malformed("application context name", b"")
    return _CONTEXTS.get(oid, Context.OTHER)


def _mechanism(oid: bytes | None) -> Mechanism:
    return Mechanism.NONE if oid is None else _MECHANISMS.get(oid, Mechanism.OTHER)


def _title(title: bytes | None) -> bytes | None:
    if title is not None and len(title) != 8:
        raise malformed("system title", title)
    return title


def _user_information(fields: dict[int, bytes]) -> bytes:
    return _inner(fields.get(0xBE), 0x04, "user information") or b""


def read_aarq(reader: Reader) -> Aarq:
    """After the tag."""
    fields = _fields(reader, "AARQ")
    return Aarq(
        _context(fields),
        _user_information(fields),
        _mechanism(fields.get(0x8B)),
        _inner(fields.get(0xAC), 0x80, "authentication value"),
        _title(_inner(fields.get(0xA6), 0x04, "system title")),
        _integer(fields[0xA9], "user id") if 0xA9 in fields else None,
    )


def read_aare(reader: Reader) -> Aare:
    """After the tag."""
    fields = _fields(reader, "AARE")
    result = _integer(fields.get(0xA2), "association result")
    diagnostic = Reader(fields.get(0xA3, b""))
    source, number = diagnostic.u8() & 0x1F, _integer(diagnostic.octets(), "association diagnostic")
    diagnostic.end()
    if result > 2:
        raise malformed("association result", fields[0xA2])
    return Aare(
        _context(fields),
        AssociationResult(result),
        (source, number),
        _user_information(fields),
        _mechanism(fields.get(0x89)),
        _inner(fields.get(0xAA), 0x80, "authentication value"),
        _title(_inner(fields.get(0xA4), 0x04, "system title")),
    )


def read_rlrq(reader: Reader) -> Rlrq:
    """After the tag."""
    fields = _fields(reader, "RLRQ")
    return Rlrq(_reason(fields), _user_information(fields))


def read_rlre(reader: Reader) -> Rlre:
    """After the tag."""
    fields = _fields(reader, "RLRE")
    return Rlre(_reason(fields), _user_information(fields))


def _reason(fields: dict[int, bytes]) -> int | None:
    reason = fields.get(0x80)
    return None if reason is None else int.from_bytes(reason[-1:], "big")
