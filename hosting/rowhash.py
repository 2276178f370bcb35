"""Keyed 8-byte hashes over rows: readings, payments, orders. Floor: hosting; on the walks reading and payment.

A flipped bit in a database file comes back as a wrong number in silence; SQLite's own check finds few of them. A keyed
BLAKE2b beside each row finds all, and whoever edits the file without the key is found as well. Eight bytes: a forger
without the key has one guess in 2^64 per row.

The hashed text is the row as an ASCII Python literal, ``(1763956800, 'up-17', None)``: integers in decimal, texts and
bytes quoted and escaped, so that no two rows share a text. Put the row's identity in the fields and the table's name in
`table`, so that a valid row cannot be moved to another place.
"""

import hashlib
import hmac
import struct
from collections.abc import Iterable, Sequence

from gridmodel.fault import Fault

DIGEST_SIZE_BYTES = 8
"""Length of a row hash."""
KEY_SIZE_BYTES_MIN = 16
"""A key below 128 bits is a mistake in the key file."""
TABLE_SIZE_BYTES_MAX = 16
"""BLAKE2b's personalisation holds so many bytes."""

_INTEGER = struct.Struct("<q")
_NONE = -(2**63)

RowField = int | str | bytes | None
"""What a hashed column may hold; an `IntEnum` or `bool` counts as its integer, a `StrEnum` as its text."""


class RowHashFault(Fault):
    """A key, table name or field that cannot be hashed."""


class RowHasher:
    """Hashes the rows of one table under one key; safe to use from any thread.

    `key` has 16 to 64 bytes; `table` at most 16 ASCII characters. About 1.5 µs for nine fields.
    """

    def __init__(self, key: bytes, table: str = "") -> None:
        person = table.encode("ascii")
        if not KEY_SIZE_BYTES_MIN <= len(key) <= hashlib.blake2b.MAX_KEY_SIZE:
            raise RowHashFault("TQ-RH-01", f"a row hash key of {len(key)} bytes", "restore the node's row key file")
        if len(person) > TABLE_SIZE_BYTES_MAX:
            raise RowHashFault("TQ-RH-02", f"the table name {table!r} is too long to hash", "report this fault")
        self._keyed = hashlib.blake2b(key=key, digest_size=DIGEST_SIZE_BYTES, person=person)

    def digest(self, *fields: RowField) -> bytes:
        """The 8 bytes for one row, in the order of its columns."""
        state = self._keyed.copy()
        state.update(_row_text(fields))
        return state.digest()

    def digest_rows(self, rows: Iterable[Sequence[RowField]]) -> list[bytes]:
        """The digests of many rows, in order; the fast way for a batch, fit for the `compute` port."""
        digests: list[bytes] = []
        append, copy = digests.append, self._keyed.copy
        for row in rows:
            state = copy()
            state.update(_row_text(row))
            append(state.digest())
        return digests

    def digest_integers(self, rows: Iterable[Sequence[int | None]], head: Sequence[int] = ()) -> list[bytes]:
        """The digests of many rows of integers, packed instead of written out: two thirds of the time.

        `head` are the first columns, which all these rows share. Integers are plain ones of 64 bits; `None` counts as
        the lowest of them, which must stand for nothing else. A table is hashed either so or by the other methods:
        the digests differ.
        """
        begun = self._keyed.copy()
        begun.update(b"".join(map(_INTEGER.pack, head)))
        digests: list[bytes] = []
        append, copy, width = digests.append, begun.copy, -1
        pack = _INTEGER.pack
        for row in rows:
            if len(row) != width:
                width = len(row)
                pack = struct.Struct(f"<{width}q").pack
            state = copy()
            try:
                packed = pack(*row)
            except struct.error:
                packed = pack(*(_NONE if field is None else field for field in row))
            state.update(packed)
            append(state.digest())
        return digests

    def verify(self, digest: bytes, *fields: RowField) -> bool:
        """Whether the row still is what was hashed."""
        return hmac.compare_digest(self.digest(*fields), digest)


def _row_text(fields: Sequence[RowField]) -> bytes:
    """The row as an ASCII Python literal."""
    text = ascii(fields if type(fields) is tuple else tuple(fields))
    if "<" in text or "True" in text or "False" in text:
        text = ascii(_plain(fields))
    return text.encode()


def _plain(fields: Sequence[RowField]) -> tuple[RowField, ...]:
    """The row as SQLite gives it back: enumerations and booleans as their plain values."""
    return tuple(map(_plain_field, fields))


def _plain_field(field: RowField) -> RowField:
    if field is None:
        return None
    if isinstance(field, int):
        return int(field)
    if isinstance(field, str):
        return str.__str__(field)
    if isinstance(field, bytes):
        return bytes(field)
    raise RowHashFault("TQ-RH-03", f"a row field of type {type(field).__name__}", "report this fault")
