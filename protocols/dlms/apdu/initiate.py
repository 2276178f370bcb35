"""The initiate service: what two sides agree to speak (IEC 62056-5-3, 7.3.1). Floor: protocols; walk: reading."""

import struct
from dataclasses import dataclass, field
from enum import IntFlag

from protocols.dlms.axdr import Reader
from protocols.dlms.data import encode_length
from protocols.dlms.faults import malformed

REQUEST = 0x01
RESPONSE = 0x08
VERSION = 6
"""The DLMS version both sides must speak."""
VAA_NAME_LN = 0x0007
"""What stands for the base name where objects have logical names."""
_CONFORMANCE_HEAD = bytes.fromhex("5F1F0400")
_USUAL = struct.Struct(">BB4s3sHH")
"""An initiate response without a quality of service, as nearly all are: flag, version, conformance, size, name."""


class Conformance(IntFlag):
    """The services a side can do: 24 bits, the first of the standard's list is the highest."""

    GENERAL_PROTECTION = 1 << 22
    GENERAL_BLOCK_TRANSFER = 1 << 21
    READ = 1 << 20
    WRITE = 1 << 19
    UNCONFIRMED_WRITE = 1 << 18
    DELTA_VALUE_ENCODING = 1 << 17
    ATTRIBUTE_0_WITH_SET = 1 << 15
    PRIORITY_MANAGEMENT = 1 << 14
    ATTRIBUTE_0_WITH_GET = 1 << 13
    BLOCK_TRANSFER_WITH_GET = 1 << 12
    BLOCK_TRANSFER_WITH_SET = 1 << 11
    BLOCK_TRANSFER_WITH_ACTION = 1 << 10
    MULTIPLE_REFERENCES = 1 << 9
    INFORMATION_REPORT = 1 << 8
    DATA_NOTIFICATION = 1 << 7
    ACCESS = 1 << 6
    PARAMETERIZED_ACCESS = 1 << 5
    GET = 1 << 4
    SET = 1 << 3
    SELECTIVE_ACCESS = 1 << 2
    EVENT_NOTIFICATION = 1 << 1
    ACTION = 1 << 0


OURS = (
    Conformance.PRIORITY_MANAGEMENT
    | Conformance.BLOCK_TRANSFER_WITH_GET
    | Conformance.BLOCK_TRANSFER_WITH_SET
    | Conformance.BLOCK_TRANSFER_WITH_ACTION
    | Conformance.MULTIPLE_REFERENCES
    | Conformance.GET
    | Conformance.SET
    | Conformance.SELECTIVE_ACCESS
    | Conformance.ACTION
)
"""What this codec does on both sides; general protection is added where it is used."""


@dataclass(frozen=True, slots=True)
class InitiateRequest:
    """What the client proposes."""

    conformance: Conformance
    """The services it wants."""
    max_pdu_size: int
    """The longest APDU it takes, bytes; 0: any."""
    dedicated_key: bytes | None = field(default=None, repr=False)
    """A key for this association alone; only ever sent ciphered."""
    response_allowed: bool = True
    """Whether it wants an answer."""
    quality_of_service: int | None = None
    """Not used by DLMS."""
    version: int = VERSION
    """Always 6."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        key, quality = self.dedicated_key, self.quality_of_service
        out = bytes((REQUEST,))
        out += b"\x00" if key is None else b"\x01" + encode_length(len(key)) + key
        out += b"\x00" if self.response_allowed else b"\x01\x00"
        out += b"\x00" if quality is None else bytes((1, quality & 0xFF))
        return out + bytes((self.version,)) + _encode_conformance(self.conformance) + self.max_pdu_size.to_bytes(2)


@dataclass(frozen=True, slots=True)
class InitiateResponse:
    """What the server agrees to."""

    conformance: Conformance
    """The services both can do."""
    max_pdu_size: int
    """The longest APDU it takes, bytes; 0: any."""
    quality_of_service: int | None = None
    """Not used by DLMS."""
    version: int = VERSION
    """Always 6."""
    vaa_name: int = VAA_NAME_LN
    """0007 with logical names."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        quality = self.quality_of_service
        out = bytes((RESPONSE,)) + (b"\x00" if quality is None else bytes((1, quality & 0xFF)))
        out += bytes((self.version,)) + _encode_conformance(self.conformance)
        return out + self.max_pdu_size.to_bytes(2) + self.vaa_name.to_bytes(2)


def _encode_conformance(conformance: Conformance) -> bytes:
    return _CONFORMANCE_HEAD + conformance.to_bytes(3, "big")


def _read_conformance(reader: Reader) -> Conformance:
    """[APPLICATION 31] with the tag in one or two bytes: meters after older editions send one."""
    first = reader.u8()
    if first == 0x5F and reader.data[reader.at : reader.at + 1] == b"\x1f":
        reader.u8()
    if first != 0x5F or reader.take(2) != b"\x04\x00":
        raise malformed("conformance", reader.data[reader.at :])
    return Conformance(reader.number(3))


def read_initiate_request(reader: Reader) -> InitiateRequest:
    """After the tag."""
    key = reader.octets() if reader.flag() else None
    allowed = not reader.flag() or reader.flag()
    quality = reader.u8() if reader.flag() else None
    version, conformance = reader.u8(), _read_conformance(reader)
    return InitiateRequest(conformance, reader.number(2), key, allowed, quality, version)


def read_initiate_response(reader: Reader) -> InitiateResponse:
    """After the tag."""
    if reader.left == _USUAL.size:
        quality, version, head, conformance, size, name = _USUAL.unpack(reader.take(_USUAL.size))
        if quality == 0 and head == _CONFORMANCE_HEAD:
            return InitiateResponse(Conformance(int.from_bytes(conformance, "big")), size, None, version, name)
        reader.at -= _USUAL.size
    quality = reader.u8() if reader.flag() else None
    version, conformance = reader.u8(), _read_conformance(reader)
    return InitiateResponse(conformance, reader.number(2), quality, version, reader.number(2))
