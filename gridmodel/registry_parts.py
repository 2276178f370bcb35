"""A registry in parts, each small enough to travel, to be read and to be held to its limits alone. Ground floor.

On the reading walk. A place decides by its own name in which part it stands, together with its account, its
installations and its links; inside a part every table is in the order of its keys. So the parts are a function of the
*set* of rows: two registries that differ in one exchange differ in two or three parts, and all others need not travel
or be kept twice.

Codes: TQ-RG-20 a part that is none of this registry or at another place, -21 a row in the wrong part, -22 too many
rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

from gridmodel.registry import Registry, RegistryFault
from gridmodel.registry_document import head_from_document
from gridmodel.registry_tables import TABLES, TableReader, rows_of

PART_PLACES = 4_096
"""Usage points of a part at most, about: its tables take some ten milliseconds each, and 0.2 MB packed."""
PARTS_MAX = 1_024
"""A registry of the whole largest region has 256."""
PART_ROWS_MAX = 16_384
"""Rows of one table in one part: four times what is aimed at, as chance spreads names."""
ROWS_MAX = 2_000_000
"""Rows of one table of a registry: a region has 1,000,000 usage points, and meters that were exchanged."""

_KEYS: Mapping[str, tuple[str, ...]] = {
    "substations": ("id",),
    "feeders": ("id",),
    "transformers": ("id",),
    "usage_points": ("id",),
    "supply_points": ("id",),
    "accounts": ("usage_point", "id"),
    "meters": ("id",),
    "installations": ("point", "valid_from", "meter"),
    "transformer_links": ("usage_point", "valid_from"),
    "feeder_links": ("transformer", "valid_from"),
}
"""The order of each table inside a part; the first of them says which part."""
_HINT = "nothing of it is used and the version before goes on; import the registry again at the hub"


def part_count(registry: Registry) -> int:
    """Into how many parts a registry goes: a power of two, so that it seldom changes as a network grows."""
    most = max(len(getattr(registry, name)) for name in TABLES)
    count = 1
    while count * PART_PLACES < most:
        count *= 2
    return count


def part_of(name: str, count: int) -> int:
    """The number of the part, of `count`, in which a place stands."""
    return crc32(name.encode()) % count


def parts_of(registry: Registry) -> Iterator[dict[str, Any]]:
    """The parts in their order, ``{number, of, tables}`` as plain values. Heavy; raises RegistryFault TQ-RG-22."""
    count = part_count(registry)
    if count > PARTS_MAX:
        raise RegistryFault("TQ-RG-22", f"{count} parts where {PARTS_MAX} are allowed", "split the node's scope")
    spread = {name: _spread(name, getattr(registry, name), count) for name in TABLES}
    for number in range(count):
        yield {
            "number": number,
            "of": count,
            "tables": {name: rows_of(kind, spread[name][number], alike=True) for name, kind in TABLES.items()},
        }


def _spread(name: str, things: tuple[Any, ...], count: int) -> list[list[Any]]:
    keys = _KEYS[name]
    parts: list[list[Any]] = [[] for _ in range(count)]
    for one in things:
        parts[part_of(getattr(one, keys[0]), count)].append(one)
    for part in parts:
        if len(part) > PART_ROWS_MAX:
            raise RegistryFault("TQ-RG-22", f"{len(part)} {name} would stand in one part", "report this with the file")
        part.sort(key=lambda one: tuple(getattr(one, key) for key in keys))
    return parts


ReadPart = Mapping[str, list[Any]]
"""What stands in one part, by table. Shared by all versions of a registry that have the part, and never changed."""


class PartReader:
    """Reads the parts of one registry, one after the other. Heavy: a task for `compute` at each part."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._reader = TableReader()

    def read(self, number: int, part: object) -> ReadPart:
        """The part, as it was unpacked, that stands at `number`; raises RegistryFault or IdentityFault."""
        if not isinstance(part, dict) or part.keys() != {"number", "of", "tables"}:
            raise RegistryFault("TQ-RG-20", f"part {number} is no part of a registry", _HINT)
        if (part["number"], part["of"]) != (number, self._count):
            told = f"part {part['number']!r:.20} of {part['of']!r:.20}"
            raise RegistryFault("TQ-RG-20", f"{told} stands where {number} of {self._count} belongs", _HINT)
        tables = part["tables"]
        if not isinstance(tables, dict) or tables.keys() != TABLES.keys():
            raise RegistryFault("TQ-RG-20", f"part {number} has not the tables of a registry", _HINT)
        self._reader.next_part()
        return {name: self._table(number, name, told) for name, told in tables.items()}

    def forget(self) -> None:
        """All parts are read: let go what was remembered between them."""
        self._reader.forget()

    def _table(self, number: int, name: str, told: object) -> list[Any]:
        things = self._reader.table(name, told)
        if len(things) > PART_ROWS_MAX:
            raise RegistryFault("TQ-RG-22", f"part {number} has {len(things)} {name}", _HINT)
        key = _KEYS[name][0]
        for one in things:
            if part_of(getattr(one, key), self._count) != number:
                raise RegistryFault("TQ-RG-21", f"{getattr(one, key)} stands in part {number}, not its own", _HINT)
        return things


def assembled(head: Mapping[str, Any], parts: Sequence[ReadPart]) -> Registry:
    """The whole of all its parts in their order, checked whole. Heavy.

    `head` has what `registry_document.HEAD` names. Raises RegistryFault, IdentityFault or PeriodFault.
    """
    told = head_from_document(head)
    tables: dict[str, Any] = {}
    for name in TABLES:
        rows: list[Any] = []
        for part in parts:
            rows += part[name]
        if len(rows) > ROWS_MAX:
            raise RegistryFault("TQ-RG-22", f"{len(rows)} {name}, {ROWS_MAX} allowed", "split the node's scope")
        tables[name] = tuple(rows)
    return Registry(**told, **tables)
