"""A-XDR decoding, and the cursor all APDUs are decoded with (IEC 61334-6). Floor: protocols; walk: reading.

Nothing here trusts a length or count: each is held against the bytes that are there, nesting and the number of values
against named limits. So any bytes at all give a value or a `DlmsFault`, in time linear in their number.
"""

import struct
from collections.abc import Callable
from typing import Any

from protocols.dlms.data import DEPTH_MAX, ELEMENTS_MAX, FIXED_OCTETS, NULL, NUMBERS, STRINGS, Data, Tag
from protocols.dlms.faults import cut_short, malformed, remote_fault, too_large
from protocols.dlms.row_shapes import rows_alike

_LENGTH_BYTES_MAX = 4
ROWS_ALIKE_MIN = 4
"""Rows for which it pays to look whether all are alike."""
_ARRAY, _STRUCTURE, _COMPACT, _OCTETS = (
    int(tag) for tag in (Tag.ARRAY, Tag.STRUCTURE, Tag.COMPACT_ARRAY, Tag.OCTET_STRING)
)
_LISTS = frozenset((_ARRAY, _STRUCTURE))
_STRINGS = frozenset(int(tag) for tag in STRINGS)
"""Plain numbers: hashing an enum member costs more than decoding a value."""
_new: Callable[[type[Data], tuple[int, Any]], Data] = tuple.__new__
"""A `Data` without the detour over its generated constructor: half the cost of a profile."""
_BARE: dict[int, Data] = {Tag.NULL: NULL, Tag.DONT_CARE: Data(Tag.DONT_CARE, None)}
_UNPACKERS: dict[int, tuple[Callable[..., tuple[Any, ...]], int]] = {
    tag: (form.unpack_from, form.size) for tag, form in NUMBERS.items()
}


class Reader:
    """A cursor over received bytes. Every method raises DlmsFault TQ-DM-01 where the bytes end too early."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    @property
    def left(self) -> int:
        """How many bytes are still to come."""
        return len(self.data) - self.at

    def u8(self) -> int:
        """One byte."""
        try:
            value = self.data[self.at]
        except IndexError:
            raise cut_short("an APDU") from None
        self.at += 1
        return value

    def two(self) -> tuple[int, int]:
        """Two bytes: what kind of request or response it is, and its invoke id."""
        at = self.at
        try:
            pair = self.data[at], self.data[at + 1]
        except IndexError:
            raise cut_short("an APDU") from None
        self.at = at + 2
        return pair

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self.at + size
        if size < 0 or end > len(self.data):
            raise cut_short("a field")
        value = self.data[self.at : end]
        self.at = end
        return value

    def number(self, size: int) -> int:
        """An unsigned number of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def length(self) -> int:
        """A length or count; at most four bytes of it."""
        first = self.u8()
        if first < 0x80:
            return first
        if not 1 <= first & 0x7F <= _LENGTH_BYTES_MAX:
            raise malformed("length", self.data[self.at - 1 :])
        return self.number(first & 0x7F)

    def octets(self) -> bytes:
        """A length and as many bytes."""
        at = self.at
        length = self.data[at] if at < len(self.data) else 0x80
        if length >= 0x80:
            return self.take(self.length())
        value = self.data[at + 1 : at + 1 + length]
        if len(value) != length:
            raise cut_short("a field")
        self.at = at + 1 + length
        return value

    def flag(self) -> bool:
        """A byte that says whether an optional field follows, or a boolean: 0 or anything else."""
        return self.u8() != 0

    def value(self) -> Data:
        """One `Data`."""
        item, self.at = _decode_at(self.data, self.at)
        return item

    def end(self) -> None:
        """Raises DlmsFault TQ-DM-04 when something is left."""
        if self.at != len(self.data):
            raise remote_fault("TQ-DM-04", f"{self.left} bytes follow a complete APDU or value")


def decode(data: bytes) -> Data:
    """One value that fills all of `data`.

    Raises:
        DlmsFault: TQ-DM-01 cut short, 02 no such type, 03 too deep or too many, 04 bytes left over.

    """
    item, at = _decode_at(data, 0)
    if at != len(data):
        raise remote_fault("TQ-DM-04", f"{len(data) - at} bytes follow a complete value")
    return item


def _decode_at(data: bytes, at: int) -> tuple[Data, int]:
    try:
        number = _UNPACKERS.get(data[at])
        if number is not None:
            return _new(Data, (data[at], number[0](data, at + 1)[0])), at + 1 + number[1]
        return _Values(data).of_tag(data[at], at + 1, 0)
    except (IndexError, struct.error):
        raise cut_short("a value") from None


class _Values:
    """Decodes one value with everything inside it. IndexError and struct.error mean: the bytes end too early."""

    __slots__ = ("budget", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.budget = ELEMENTS_MAX

    def of_tag(self, tag: int, at: int, depth: int) -> tuple[Data, int]:
        number = _UNPACKERS.get(tag)
        if number is not None:
            return _new(Data, (tag, number[0](self.data, at)[0])), at + number[1]
        if tag in _STRINGS:
            length, at = self.length(at)
            raw = self.data[at : at + length]
            if len(raw) != length:
                raise cut_short("a string")
            return _new(Data, (tag, raw if tag == _OCTETS else _text(tag, raw))), at + length
        if tag in _LISTS:
            count, at = self.length(at)
            return self.many(tag, count, at, depth)
        bare = _BARE.get(tag)
        if bare is not None:
            return bare, at
        return self.rare(tag, at, depth)

    def length(self, at: int) -> tuple[int, int]:
        first = self.data[at]
        if first < 0x80:
            return first, at + 1
        size = first & 0x7F
        if not 1 <= size <= _LENGTH_BYTES_MAX:
            raise malformed("length", self.data[at:])
        end = at + 1 + size
        if end > len(self.data):
            raise cut_short("a length")
        return int.from_bytes(self.data[at + 1 : end], "big"), end

    def spend(self, count: int, depth: int) -> None:
        self.budget -= count
        if self.budget < 0:
            raise too_large(f"more than {ELEMENTS_MAX} values in one answer")
        if depth >= DEPTH_MAX:
            raise too_large(f"values nested deeper than {DEPTH_MAX}")

    def many(self, tag: int, count: int, at: int, depth: int) -> tuple[Data, int]:
        data = self.data
        if count > len(data) - at:
            raise cut_short("a list")
        self.spend(count, depth)
        items: list[Data] = []
        add = items.append
        while len(items) < count:
            kind = data[at]
            number = _UNPACKERS.get(kind)
            if number is not None:
                add(_new(Data, (kind, number[0](data, at + 1)[0])))
                at += number[1] + 1
            elif kind == _OCTETS and data[at + 1] < 0x80:
                end = at + 2 + data[at + 1]
                if end > len(data):
                    raise cut_short("a string")
                add(_new(Data, (kind, data[at + 2 : end])))
                at = end
            elif kind in _LISTS and data[at + 1] < 0x80:
                begin = at
                item, at = self.many(kind, data[at + 1], at + 2, depth + 1)
                add(item)
                if count > ROWS_ALIKE_MIN and len(items) == 1 and kind == _STRUCTURE:
                    alike = rows_alike(item, data, at, count - 1)
                    self.spend(len(alike) * data[begin + 1], depth + 1)
                    at += len(alike) * (at - begin)
                    items += alike
            else:
                item, at = self.of_tag(kind, at + 1, depth + 1)
                add(item)
        return _new(Data, (tag, tuple(items))), at

    def rare(self, tag: int, at: int, depth: int) -> tuple[Data, int]:
        if tag == Tag.BOOLEAN:
            return Data(tag, self.data[at] != 0), at + 1
        if tag == Tag.BIT_STRING:
            count, at = self.length(at)
            size = (count + 7) // 8
            if size > len(self.data) - at:
                raise cut_short("a bit string")
            bits = f"{int.from_bytes(self.data[at : at + size], 'big'):0{size * 8}b}" if size else ""
            return Data(tag, bits[:count]), at + size
        if tag == Tag.COMPACT_ARRAY:
            return self.compact(at, depth)
        for fixed, size in FIXED_OCTETS.items():
            if tag == fixed:
                if size > len(self.data) - at:
                    raise cut_short("a time")
                return Data(tag, self.data[at : at + size]), at + size
        raise malformed("type", self.data[max(at - 1, 0) :])

    def compact(self, at: int, depth: int) -> tuple[Data, int]:
        """A compact array; its elements come out as ordinary values (IEC 62056-5-3, 8.5, CompactArray)."""
        kind_at = at
        at = self.skip_type(at, depth + 1)
        length, at = self.length(at)
        end = at + length
        if end > len(self.data):
            raise cut_short("a compact array")
        items = []
        while at < end:
            self.spend(1, depth)
            item, _, after = self.typed(kind_at, at, depth + 1)
            if after <= at:
                raise malformed("compact array (its elements have no contents)", self.data[kind_at:])
            items.append(item)
            at = after
        if at != end:
            raise malformed("compact array (its last element is cut)", self.data[kind_at:])
        return Data(Tag.COMPACT_ARRAY, tuple(items)), at

    def skip_type(self, at: int, depth: int) -> int:
        """Where a type description ends."""
        self.spend(1, depth)
        tag = self.data[at]
        if tag == Tag.ARRAY:
            return self.skip_type(at + 3, depth + 1)
        if tag == Tag.STRUCTURE:
            count, at = self.length(at + 1)
            if count > len(self.data) - at:
                raise cut_short("a type description")
            for _ in range(count):
                at = self.skip_type(at, depth + 1)
            return at
        if tag == Tag.COMPACT_ARRAY:
            raise malformed("type description", self.data[at:])
        return at + 1

    def typed(self, kind_at: int, at: int, depth: int) -> tuple[Data, int, int]:
        """One element by its type description: the value, where the description ends, where the contents end."""
        tag = self.data[kind_at]
        if tag not in _LISTS:
            item, at = self.of_tag(tag, at, depth)
            return item, kind_at + 1, at
        items = []
        if tag == Tag.STRUCTURE:
            count, kind_at = self.length(kind_at + 1)
            self.spend(count, depth)
            for _ in range(count):
                item, kind_at, at = self.typed(kind_at, at, depth + 1)
                items.append(item)
            return Data(tag, tuple(items)), kind_at, at
        count = int.from_bytes(self.data[kind_at + 1 : kind_at + 3], "big")
        self.spend(count, depth)
        element_at = kind_at + 3
        for _ in range(count):
            item, _, at = self.typed(element_at, at, depth + 1)
            items.append(item)
        return Data(tag, tuple(items)), self.skip_type(element_at, depth + 1), at


def _text(tag: int, raw: bytes) -> str:
    if tag == Tag.VISIBLE_STRING:
        return raw.decode("latin-1")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise malformed("UTF-8 string", raw) from None
