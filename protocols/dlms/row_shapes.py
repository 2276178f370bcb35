"""Rows of a profile that all look alike, decoded with one struct. Floor: protocols; walk: reading.

Nearly every buffer is an array of structures whose fields have the same types and lengths in every row. The first row,
decoded in the ordinary way, gives the shape; when all others keep to it, byte for byte, they are unpacked at half the
cost. Otherwise (a null where a value is as before, a longer string) nothing is given and the ordinary way goes on.
"""

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from protocols.dlms.data import NUMBERS, Data, Tag

SHAPES_REMEMBERED = 64
"""Profiles of as many meter models; a shape is a few hundred bytes."""
FIELDS_MAX = 64
"""Columns of a row: twice the widest load profile in the field."""
_OCTETS, _STRUCTURE = int(Tag.OCTET_STRING), int(Tag.STRUCTURE)
_new: Callable[[type[Data], tuple[int, Any]], Data] = tuple.__new__


class _Shape(NamedTuple):
    """How each row is spelled."""

    form: struct.Struct
    """The values; tags and lengths are passed over."""
    fixed: tuple[tuple[int, int], ...]
    """Places and values of the bytes that are the same in every row: tags and lengths."""
    tags: tuple[int, ...]
    """Of the values."""


@lru_cache(SHAPES_REMEMBERED)
def _shape(fields: tuple[tuple[int, int], ...]) -> _Shape:
    """Of rows whose fields have these (tag, length); the length counts for octet strings."""
    formats, fixed, at = [">xx"], [(0, _STRUCTURE), (1, len(fields))], 2
    for tag, length in fields:
        fixed.append((at, tag))
        if tag == _OCTETS:
            fixed.append((at + 1, length))
            formats.append(f"xx{length}s")
            at += 2 + length
        else:
            formats.append(f"x{NUMBERS[tag].format[1:]}")
            at += 1 + NUMBERS[tag].size
    return _Shape(struct.Struct("".join(formats)), tuple(fixed), tuple(tag for tag, _ in fields))


def rows_alike(first: Data, data: bytes, at: int, count: int) -> list[Data]:
    """`count` rows from `at` on, when all of them look like `first`; else an empty list."""
    fields = []
    for tag, value in first.value if isinstance(first.value, tuple) else ():
        if tag not in NUMBERS and (tag != _OCTETS or not isinstance(value, bytes) or len(value) >= 0x80):
            return []
        fields.append((tag, len(value) if isinstance(value, bytes) else 0))
    if not 0 < len(fields) <= FIELDS_MAX:
        return []
    form, fixed, tags = _shape(tuple(fields))
    region = data[at : at + count * form.size]
    if len(region) != count * form.size:
        return []
    for place, byte in fixed:
        if region[place :: form.size].count(byte) != count:
            return []
    return [
        _new(Data, (_STRUCTURE, tuple([_new(Data, cell) for cell in zip(tags, row, strict=False)])))
        for row in form.iter_unpack(region)
    ]
