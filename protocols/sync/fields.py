"""Typed, bounded fields out of an unpacked map: how `messages` reads what `wire` let in. Floor: protocols.

On the walk of link loss. A message with a missing or an unknown field is refused: what is not understood was not agreed
on, and what is not signed must not ride along. New fields come with a new protocol number (DESIGN: N serves N−1).

Codes: TQ-SY-20 wrong shape, -21 wrong type, -22 out of bounds.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, TypeVar

from gridmodel.identity import ID_LENGTH_MAX, IdentityFault, checked_id
from protocols.errors import Blame, Hope, ProtocolFault

TIME_MAX = 2**40
"""UTC seconds; the year 36812. Whether a stamp makes sense is judged by those who have a clock."""
COUNT_MAX = 2**53
"""Sequence numbers and offsets stay exact in every language's numbers."""
TEXT_MAX = 400
"""Reasons are one sentence."""
HASH_BYTES = 32
SIGNATURE_BYTES = 64
KEY_ID_CHARACTERS = 16

E = TypeVar("E", bound=StrEnum)

_HEX = frozenset("0123456789abcdef")


class MessageFault(ProtocolFault):
    """A well-packed value that is not the message it should be."""


def fault(number: int, what: str) -> MessageFault:
    """A MessageFault with code TQ-SY-`number`."""
    return MessageFault(
        f"TQ-SY-{number}",
        what,
        "nothing was taken in; compare the versions of node and hub, then report this code with the log",
        blame=Blame.REMOTE,
        hope=Hope.PERMANENT,
    )


class Fields:
    """The fields of one map. Each reader takes a field by name and returns it typed, or raises MessageFault."""

    def __init__(self, what: str, value: object, names: Iterable[str]) -> None:
        self._what = what
        expected = frozenset(names)
        if type(value) is not dict:
            raise fault(20, f"a {what} is a map, not a {type(value).__name__}")
        if value.keys() != expected:
            odd = sorted(map(str, value.keys() ^ expected))
            raise fault(20, f"a {what} has exactly the fields agreed on; missing or unknown: {', '.join(odd)[:120]}")
        self._value: dict[str, Any] = value

    def integer(self, name: str, low: int, high: int) -> int:
        """An integer in [low, high]."""
        value = self._value[name]
        if type(value) is int and low <= value <= high:
            return value
        return integer(f"{self._what}.{name}", self._value[name], low, high)

    def time(self, name: str) -> int:
        """UTC seconds."""
        return self.integer(name, 0, TIME_MAX)

    def text(self, name: str, characters_max: int = TEXT_MAX) -> str:
        """A text."""
        value = self._value[name]
        if type(value) is str and len(value) <= characters_max:
            return value
        return text(f"{self._what}.{name}", self._value[name], characters_max)

    def identity(self, name: str) -> str:
        """A name by the rule of gridmodel.identity."""
        return identity(f"{self._what}.{name}", self._value[name])

    def octets(self, name: str, size: int) -> bytes:
        """Exactly `size` bytes."""
        value = self._value[name]
        if type(value) is bytes and len(value) == size:
            return value
        return octets(f"{self._what}.{name}", self._value[name], size, size)

    def blob(self, name: str, bytes_max: int) -> bytes:
        """At most so many bytes."""
        return octets(f"{self._what}.{name}", self._value[name], 0, bytes_max)

    def key_id(self, name: str) -> str:
        """A key's name: 16 hexadecimal digits."""
        value = self.text(name, KEY_ID_CHARACTERS)
        if len(value) != KEY_ID_CHARACTERS or not _HEX.issuperset(value):
            raise fault(22, f"{self._what}.{name} is not a key id of {KEY_ID_CHARACTERS} hexadecimal digits")
        return value

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._value[name]
        if type(value) is not bool:
            raise fault(21, f"{self._what}.{name} is not true or false")
        return value

    def choice(self, name: str, kind: type[E]) -> E:
        """One of an enumeration."""
        return choice(f"{self._what}.{name}", self._value[name], kind)

    def listed(self, name: str, items_max: int) -> list[Any]:
        """An array of at most so many items."""
        return listed(f"{self._what}.{name}", self._value[name], items_max)

    def mapping(self, name: str, items_max: int) -> dict[str, Any]:
        """A map of at most so many items; `wire` has seen to it that the keys are texts."""
        value = self._value[name]
        if type(value) is not dict:
            raise fault(21, f"{self._what}.{name} is not a map")
        if len(value) > items_max:
            raise fault(22, f"{self._what}.{name} has {len(value)} items, {items_max} allowed")
        return value

    def given(self, name: str) -> bool:
        """Whether an optional field is there (not null)."""
        return self._value[name] is not None


def integer(what: str, value: object, low: int, high: int) -> int:
    """An integer in [low, high]; booleans are none."""
    if type(value) is not int:
        raise fault(21, f"{what} is not an integer")
    if not low <= value <= high:
        raise fault(22, f"{what} is not from {low} to {high}")
    return value


def text(what: str, value: object, characters_max: int = TEXT_MAX) -> str:
    """A text of at most so many characters."""
    if type(value) is not str:
        raise fault(21, f"{what} is not a text")
    if len(value) > characters_max:
        raise fault(22, f"{what} has {len(value)} characters, {characters_max} allowed")
    return value


def identity(what: str, value: object) -> str:
    """A name by the rule of gridmodel.identity."""
    try:
        return checked_id(what, value)
    except IdentityFault as error:
        raise fault(22, f"{what} is not an identifier of at most {ID_LENGTH_MAX} characters") from error


def octets(what: str, value: object, low: int, high: int) -> bytes:
    """Bytes of a length in [low, high]."""
    if type(value) is not bytes:
        raise fault(21, f"{what} is not binary")
    if not low <= len(value) <= high:
        raise fault(22, f"{what} has {len(value)} bytes, not {low} to {high}")
    return value


def choice(what: str, value: object, kind: type[E]) -> E:
    """One of an enumeration."""
    try:
        return kind(text(what, value, KEY_TEXT_MAX))
    except ValueError:
        raise fault(22, f"{what} is none of {', '.join(kind)}") from None


KEY_TEXT_MAX = 64


def listed(what: str, value: object, items_max: int) -> list[Any]:
    """An array of at most so many items."""
    if type(value) is not list:
        raise fault(21, f"{what} is not an array")
    if len(value) > items_max:
        raise fault(22, f"{what} has {len(value)} items, {items_max} allowed")
    return value
