"""Canonical bytes: the one form of a statement that is hashed and signed. Floor: protocols; on all three walks.

Two statements have the same canonical bytes only if they are the same statement: every value carries its type and its
length, fields stand in the order of their names, numbers are integers. A *purpose* ("sync.batch", "mandate") keeps a
signature over one kind of statement from serving as another; the *domain* keeps demo keys out of production. Nothing is
ever parsed from canonical bytes: whoever checks a signature builds them anew from the fields that were understood.

The form, version 1 (all lengths and counts are unsigned 32-bit, big-endian):

    statement = TEXT(purpose) MAP
    signed    = "tarmoq-sign/1" 00 domain 00 statement
    value     = "n" | "t" | "f"                             nothing, true, false
              | "i" length decimal-ASCII                    an integer
              | "s" length UTF-8      = TEXT                a text
              | "b" length bytes                            binary
              | "l" count value…                            a list
              | "m" count (TEXT value)…  = MAP              a map; keys ascend by their UTF-8 bytes
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from operator import itemgetter
from struct import Struct

from protocols.errors import Blame, Hope, ProtocolFault

CanonicalValue = None | bool | int | str | bytes | Sequence["CanonicalValue"] | Mapping[str, "CanonicalValue"]
"""What can be signed. No floats: two languages print them differently."""

DEPTH_MAX = 16
"""No statement of ours nests deeper than 5; a loop in a value must not hang the signer."""

_HEAD = b"tarmoq-sign/1\0"
_SIZE = Struct(">I").pack
_first = itemgetter(0)


class Domain(StrEnum):
    """Where a signature counts. A production directory refuses the demo's."""

    PRODUCTION = "production"
    DEMO = "demo"


class CanonicalFault(ProtocolFault):
    """A value that has no canonical form (TQ-AU-01)."""

    def __init__(self, what: str) -> None:
        super().__init__(
            "TQ-AU-01",
            what,
            "only texts, integers, binaries, lists and maps can be signed; report this code with the log",
            blame=Blame.LOCAL,
            hope=Hope.PERMANENT,
        )


def canonical(purpose: str, fields: Mapping[str, CanonicalValue]) -> bytes:
    """The canonical bytes of a statement; raises CanonicalFault on floats, deep nests and other foreign values."""
    out = bytearray()
    _text(out, purpose)
    _value(out, fields, 0)
    return bytes(out)


def signing_bytes(domain: Domain, statement: bytes) -> bytes:
    """What the signature is made over: the domain, then the statement."""
    return _HEAD + domain.value.encode("ascii") + b"\0" + statement


def _value(out: bytearray, value: object, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise CanonicalFault(f"a statement is nested deeper than {DEPTH_MAX}")
    if value is None:
        out += b"n"
    elif isinstance(value, str):
        _text(out, value)
    elif isinstance(value, bool):
        out += b"t" if value else b"f"
    elif isinstance(value, int):
        data = b"%d" % value
        out += b"i" + _SIZE(len(data)) + data
    elif isinstance(value, bytes):
        out += b"b" + _SIZE(len(value)) + value
    elif isinstance(value, Mapping):
        _mapping(out, value, depth)
    elif isinstance(value, (list, tuple)):
        out += b"l" + _SIZE(len(value))
        for item in value:
            _value(out, item, depth + 1)
    else:
        raise CanonicalFault(f"a {type(value).__name__} has no canonical form")


def _mapping(out: bytearray, value: Mapping[object, object], depth: int) -> None:
    keyed: list[tuple[bytes, object]] = []
    for key, item in value.items():
        if not isinstance(key, str):
            raise CanonicalFault(f"a key is a {type(key).__name__}, not a text")
        keyed.append((_utf8(key), item))
    keyed.sort(key=_first)
    out += b"m" + _SIZE(len(keyed))
    for encoded, item in keyed:
        out += b"s" + _SIZE(len(encoded)) + encoded
        kind = type(item)
        if kind is int:
            data = b"%d" % item  # type: ignore[str-format]
            out += b"i" + _SIZE(len(data)) + data
        elif kind is bytes:
            out += b"b" + _SIZE(len(item)) + item  # type: ignore[arg-type, operator]
        else:
            _value(out, item, depth + 1)


def _text(out: bytearray, value: str) -> None:
    encoded = _utf8(value)
    out += b"s" + _SIZE(len(encoded)) + encoded


def _utf8(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise CanonicalFault("a text cannot be written as UTF-8") from error
