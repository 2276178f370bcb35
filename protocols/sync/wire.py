"""The only door to msgpack: bytes in and out, every dimension bounded. Floor: protocols; on the walk of link loss.

What comes in is hostile until it has passed here: a megabyte of empty maps would cost 74 MB and a second, a deep nest
overflows the stack, a NaN poisons a sum, a key given twice means different things to two readers. What leaves here is
plain: None, bool, int, finite float, str, bytes, list, dict with text keys. Packing is deterministic (keys sorted,
shortest forms), so that equal values have equal digests. `messages` gives the values their meaning.

Codes: TQ-SY-01 too long, -02 broken, -03 too deep, -04 too many, -05 a key twice or not text, -06 not a plain value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import msgpack  # type: ignore[import-untyped]

from protocols.errors import Blame, Hope, ProtocolFault

KEY_CHARACTERS_MAX = 64
"""Field names and identifiers are the only keys; identifiers end at 64 (gridmodel.identity)."""
_CONTAINERS = frozenset({dict, list})
_INTEGERS, _TEXTS, _FLAGS = frozenset({int}), frozenset({str, type(None)}), frozenset({bool, type(None)})
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**64 - 1
"""What msgpack can carry."""


class WireFault(ProtocolFault):
    """Bytes that cannot be taken in, or a value that cannot be sent (then `blame` is local)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a value may be on the wire; each use of the wire names its own."""

    bytes_max: int
    """The whole value, packed."""
    depth_max: int = 12
    """Containers in containers; the deepest document of ours (a registry) has 6."""
    items_max: int = 4_096
    """Items of one array or map."""
    containers_max: int = 4_096
    """Arrays and maps in all: each costs some 60 B of memory for one byte on the wire."""
    text_max: int = 4_096
    """Characters of one text."""
    octets_max: int = 65_536
    """Bytes of one binary."""


FRAME = Limits(bytes_max=8_192, octets_max=8_192)
"""A batch of a small lane: 8 kB are a second on a 64 kbit/s link, so a payment never waits longer behind one frame."""

DOCUMENT = Limits(bytes_max=67_108_864, items_max=200_000, containers_max=2_000_000)
"""A whole document down (a registry, see chunk.document): 120,000 usage points are 50 MB. Off the event loop."""


def pack(value: object, limits: Limits = FRAME) -> bytes:
    """`value` as bytes, the same bytes for equal values; raises WireFault (blame local) when a limit is passed."""
    plain = _Checked(limits, Blame.LOCAL).plain(value, 0)
    try:
        data: bytes = msgpack.packb(plain, use_bin_type=True)
    except (ValueError, TypeError, OverflowError) as error:
        raise _fault("06", f"a value cannot be packed: {error}", Blame.LOCAL) from error
    if len(data) > limits.bytes_max:
        raise _fault("01", f"{len(data)} bytes are to be sent where {limits.bytes_max} are allowed", Blame.LOCAL)
    return data


def unpack(data: bytes, limits: Limits = FRAME) -> Any:
    """The value in `data`, which must hold exactly one; raises WireFault (blame remote) on anything else."""
    if len(data) > limits.bytes_max:
        raise _fault("01", f"{len(data)} bytes came where {limits.bytes_max} are allowed", Blame.REMOTE)
    counter = _Counter(limits)
    try:
        value = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=counter.pairs,
            list_hook=counter.items,
            max_array_len=limits.items_max,
            max_map_len=limits.items_max,
        )
    except WireFault:
        raise
    except msgpack.exceptions.StackError as error:
        raise _fault("03", "containers are nested without end", Blame.REMOTE) from error
    except msgpack.exceptions.ExtraData as error:
        raise _fault("02", "bytes follow after the end of the value", Blame.REMOTE) from error
    except UnicodeDecodeError as error:
        raise _fault("02", "a text is not UTF-8", Blame.REMOTE) from error
    except (ValueError, OverflowError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise _fault("02", f"the bytes are broken or pass a limit ({error!s:.80})", Blame.REMOTE) from error
    _Checked(limits, Blame.REMOTE).inspect(value)
    return value


def _fault(number: str, what: str, blame: Blame) -> WireFault:
    hint = (
        "nothing was taken in; compare the versions of node and hub, then report this code with the log"
        if blame is Blame.REMOTE
        else "nothing was sent; report this code with the log"
    )
    return WireFault(f"TQ-SY-{number}", what, hint, blame=blame, hope=Hope.PERMANENT)


class _Counter:
    """The unpacker's hooks: they see each container as it closes, so that a bomb stops before it has grown."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._containers = 0

    def items(self, items: list[object]) -> list[object]:
        self._count()
        return items

    def pairs(self, pairs: Sequence[tuple[object, object]]) -> dict[object, object]:
        self._count()
        value = dict(pairs)
        if len(value) != len(pairs):
            raise _fault("05", "a map has the same key twice", Blame.REMOTE)
        return value

    def _count(self) -> None:
        self._containers += 1
        if self._containers > self._limits.containers_max:
            raise _fault("04", f"more than {self._limits.containers_max} arrays and maps", Blame.REMOTE)


class _Checked:
    """Holds values to the limits, on the way out (`plain`, a sorted copy) and on the way in (`inspect`)."""

    def __init__(self, limits: Limits, blame: Blame) -> None:
        self._limits = limits
        self._blame = blame
        self._containers = 0

    def plain(self, value: object, depth: int) -> object:
        if isinstance(value, dict):
            self._container(len(value), depth)
            for key in value:
                if type(key) is not str or len(key) > KEY_CHARACTERS_MAX:
                    self._key(key)
            return {key: self._inner(value[key], depth) for key in sorted(value)}
        if isinstance(value, (list, tuple)):
            self._container(len(value), depth)
            return value if self._column(value) else [self._inner(item, depth) for item in value]
        self._scalar(value)
        return value

    def _inner(self, value: object, depth: int) -> object:
        if isinstance(value, (dict, list, tuple)):
            return self.plain(value, depth + 1)
        self._scalar(value)
        return value

    def inspect(self, value: object) -> None:
        waiting: list[tuple[object, int]] = [(value, 0)]
        while waiting:
            item, depth = waiting.pop()
            if type(item) is dict:
                self._container(len(item), depth)
                for key, inner in item.items():
                    if type(key) is not str or len(key) > KEY_CHARACTERS_MAX:
                        self._key(key)
                    if type(inner) in _CONTAINERS:
                        waiting.append((inner, depth + 1))
                    else:
                        self._scalar(inner)
            elif type(item) is list:
                self._container(len(item), depth)
                if not self._column(item):
                    for inner in item:
                        if type(inner) in _CONTAINERS:
                            waiting.append((inner, depth + 1))
                        else:
                            self._scalar(inner)
            else:
                self._scalar(item)

    def _container(self, size: int, depth: int) -> None:
        self._containers += 1
        if depth >= self._limits.depth_max:
            raise _fault("03", f"containers are nested deeper than {self._limits.depth_max}", self._blame)
        if size > self._limits.items_max:
            raise _fault("04", f"{size} items in one container, {self._limits.items_max} allowed", self._blame)
        if self._containers > self._limits.containers_max:
            raise _fault("04", f"more than {self._limits.containers_max} arrays and maps", self._blame)

    def _column(self, items: Sequence[Any]) -> bool:
        """Whether these are texts or numbers and no more, looked at together: the columns of a table are long."""
        kinds = set(map(type, items))
        if kinds == _INTEGERS:
            self._scalar(min(items))
            self._scalar(max(items))
            return True
        if kinds <= _TEXTS:
            self._scalar(max(filter(None, items), key=len, default=""))
            return True
        return kinds <= _FLAGS

    def _key(self, key: object) -> None:
        if not isinstance(key, str) or len(key) > KEY_CHARACTERS_MAX:
            raise _fault("05", f"{key!r:.40} is not a text of at most {KEY_CHARACTERS_MAX} characters", self._blame)

    def _scalar(self, value: object) -> None:
        kind = type(value)
        if kind is str and len(value) <= self._limits.text_max:  # type: ignore[arg-type]
            return
        if (kind is int and INTEGER_MIN <= value <= INTEGER_MAX) or value is None:  # type: ignore[operator]
            return
        match value:
            case None | bool():
                return
            case int():
                if not INTEGER_MIN <= value <= INTEGER_MAX:
                    raise _fault("06", "an integer has more than 64 bits", self._blame)
            case float():
                if not isfinite(value):
                    raise _fault("06", "a number is not finite", self._blame)
            case str():
                if len(value) > self._limits.text_max:
                    raise _fault("04", f"a text has {len(value)} characters", self._blame)
            case bytes():
                if len(value) > self._limits.octets_max:
                    raise _fault("04", f"a binary has {len(value)} bytes", self._blame)
            case _:
                raise _fault("06", f"a {type(value).__name__} is not a plain value", self._blame)
