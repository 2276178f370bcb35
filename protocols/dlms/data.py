"""COSEM values and how A-XDR spells them (IEC 62056-6-2, 4.5; IEC 61334-6). Floor: protocols; walk: reading.

A value is a `Data`: the type's tag and a plain Python value, so that what was decoded can be encoded to the same bytes
and a structure is never mistaken for an array. Decoding is in `axdr`.
"""

import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from protocols.dlms.faults import DlmsFault, local_fault

DEPTH_MAX = 12
"""Nesting of arrays and structures. The deepest standard object (object_list with access rights) needs 6."""
ELEMENTS_MAX = 65_536
"""Values in one answer: a month of 15-minute rows with twenty columns."""

Value: TypeAlias = "bool | int | float | str | bytes | tuple[Data, ...] | None"


class Tag(IntEnum):
    """The tag of a COSEM data type."""

    NULL = 0
    ARRAY = 1
    STRUCTURE = 2
    BOOLEAN = 3
    BIT_STRING = 4
    DOUBLE_LONG = 5
    DOUBLE_LONG_UNSIGNED = 6
    OCTET_STRING = 9
    VISIBLE_STRING = 10
    UTF8_STRING = 12
    BCD = 13
    INTEGER = 15
    LONG = 16
    UNSIGNED = 17
    LONG_UNSIGNED = 18
    COMPACT_ARRAY = 19
    LONG64 = 20
    LONG64_UNSIGNED = 21
    ENUM = 22
    FLOAT32 = 23
    FLOAT64 = 24
    DATE_TIME = 25
    DATE = 26
    TIME = 27
    DELTA_INTEGER = 28
    DELTA_LONG = 29
    DELTA_DOUBLE_LONG = 30
    DELTA_UNSIGNED = 31
    DELTA_LONG_UNSIGNED = 32
    DELTA_DOUBLE_LONG_UNSIGNED = 33
    DONT_CARE = 255


class Data(NamedTuple):
    """One typed value.

    By tag the value is None (NULL, DONT_CARE), bool, int, float, a str of 0 and 1 (BIT_STRING), str (VISIBLE_STRING,
    read byte by byte as Latin-1; UTF8_STRING), bytes (OCTET_STRING, DATE_TIME, DATE, TIME), or a tuple of `Data`.
    """

    tag: int
    value: Value

    def encode(self) -> bytes:
        """The bytes of the wire. Raises DlmsFault TQ-DM-71 when the value does not fit its tag."""
        out = bytearray()
        _encode(self, out, 0)
        return bytes(out)


NULL = Data(Tag.NULL, None)


def array(items: Iterable[Data]) -> Data:
    """An ARRAY."""
    return Data(Tag.ARRAY, tuple(items))


def structure(*items: Data) -> Data:
    """A STRUCTURE."""
    return Data(Tag.STRUCTURE, items)


def octets(value: bytes) -> Data:
    """An OCTET_STRING."""
    return Data(Tag.OCTET_STRING, value)


_FORMATS = {
    Tag.DOUBLE_LONG: "i",
    Tag.DOUBLE_LONG_UNSIGNED: "I",
    Tag.BCD: "b",
    Tag.INTEGER: "b",
    Tag.LONG: "h",
    Tag.UNSIGNED: "B",
    Tag.LONG_UNSIGNED: "H",
    Tag.LONG64: "q",
    Tag.LONG64_UNSIGNED: "Q",
    Tag.ENUM: "B",
    Tag.FLOAT32: "f",
    Tag.FLOAT64: "d",
    Tag.DELTA_INTEGER: "b",
    Tag.DELTA_LONG: "h",
    Tag.DELTA_DOUBLE_LONG: "i",
    Tag.DELTA_UNSIGNED: "B",
    Tag.DELTA_LONG_UNSIGNED: "H",
    Tag.DELTA_DOUBLE_LONG_UNSIGNED: "I",
}
NUMBERS = {int(tag): struct.Struct(f">{form}") for tag, form in _FORMATS.items()}
"""How each number is packed, by its tag."""
FIXED_OCTETS = {Tag.DATE_TIME: 12, Tag.DATE: 5, Tag.TIME: 4}
"""Types of a fixed number of bytes."""
STRINGS = (Tag.OCTET_STRING, Tag.VISIBLE_STRING, Tag.UTF8_STRING)
"""Types of a length and bytes."""
_OCTETS = int(Tag.OCTET_STRING)
_EMPTY = frozenset((int(Tag.NULL), int(Tag.DONT_CARE)))
_LISTS = frozenset((int(Tag.ARRAY), int(Tag.STRUCTURE), int(Tag.COMPACT_ARRAY)))
_LENGTHS = tuple(bytes((length,)) for length in range(0x80))


def encode_length(length: int) -> bytes:
    """A length or count: one byte below 128, else the number of bytes and the bytes."""
    if length < 0x80:
        return _LENGTHS[length]
    size = (length.bit_length() + 7) // 8
    return bytes((0x80 | size,)) + length.to_bytes(size, "big")


def _unfit(data: Data) -> DlmsFault:
    return local_fault("TQ-DM-71", f"{str(data.value)[:40]!r} does not fit DLMS type {data.tag}")


def _encode(data: Data, out: bytearray, depth: int, *, bare: bool = False) -> None:
    """Append tag and contents; `bare` leaves out the tag, as inside a compact array."""
    tag, value = data
    if not bare:
        out.append(tag & 0xFF)
    number = NUMBERS.get(tag)
    if number is not None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _unfit(data)
        try:
            out += number.pack(value)
        except (struct.error, OverflowError):
            raise _unfit(data) from None
    elif tag == _OCTETS and isinstance(value, bytes):
        out += encode_length(len(value)) + value
    elif tag in _EMPTY:
        if value is not None:
            raise _unfit(data)
    elif tag == Tag.BOOLEAN and isinstance(value, bool):
        out.append(1 if value else 0)
    elif tag in _LISTS and isinstance(value, tuple):
        _encode_many(data, value, out, depth, bare=bare)
    else:
        _encode_octets(data, out)


def _encode_many(data: Data, items: tuple[Data, ...], out: bytearray, depth: int, *, bare: bool) -> None:
    if depth >= DEPTH_MAX or len(items) > ELEMENTS_MAX:
        raise _unfit(data)
    if data.tag == Tag.COMPACT_ARRAY:
        kind = _type_of(items[0], 0) if items else bytes((Tag.NULL,))
        contents = bytearray()
        for item in items:
            if _type_of(item, 0) != kind:
                raise _unfit(data)
            _encode(item, contents, depth + 1, bare=True)
        out += kind + encode_length(len(contents)) + contents
        return
    if not bare:
        out += encode_length(len(items))
    for item in items:
        _encode(item, out, depth + 1, bare=bare)


def _encode_octets(data: Data, out: bytearray) -> None:
    tag, value = data
    if tag == Tag.BIT_STRING and isinstance(value, str):
        if value.strip("01"):
            raise _unfit(data)
        size = (len(value) + 7) // 8
        out += encode_length(len(value)) + int(value.ljust(size * 8, "0") or "0", 2).to_bytes(size, "big")
        return
    raw = value
    if isinstance(raw, str) and tag in {Tag.VISIBLE_STRING, Tag.UTF8_STRING}:
        try:
            raw = raw.encode("latin-1" if tag == Tag.VISIBLE_STRING else "utf-8")
        except UnicodeEncodeError:
            raise _unfit(data) from None
    elif tag not in {Tag.OCTET_STRING, *FIXED_OCTETS}:
        raise _unfit(data)
    if not isinstance(raw, bytes) or len(raw) != FIXED_OCTETS.get(Tag(tag), len(raw)):
        raise _unfit(data)
    if tag in STRINGS:
        out += encode_length(len(raw))
    out += raw


def _type_of(data: Data, depth: int) -> bytes:
    """The type description of a compact array's element (IEC 62056-5-3, TypeDescription)."""
    if depth >= DEPTH_MAX or data.tag == Tag.COMPACT_ARRAY:
        raise _unfit(data)
    out = bytes((data.tag & 0xFF,))
    if data.tag in {Tag.ARRAY, Tag.STRUCTURE} and isinstance(data.value, tuple):
        kinds = [_type_of(item, depth + 1) for item in data.value]
        if data.tag == Tag.STRUCTURE:
            return out + encode_length(len(kinds)) + b"".join(kinds)
        if not kinds or any(kind != kinds[0] for kind in kinds):
            raise _unfit(data)
        return out + len(kinds).to_bytes(2, "big") + kinds[0]
    return out
