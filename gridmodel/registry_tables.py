"""The tables of a registry: which columns they have, and how rows become objects. Ground floor; on the reading walk.

Strict: unknown or missing keys, wrong types and impossible values are named (RegistryFault, TQ-RG-10…18). Columns are
read whole, and equal values of one registry become one object: a million consumers have four identifiers each in four
tables, and a hundred different channels, multipliers and dates between them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from gridmodel.identity import DistrictId, checked_id, checked_soato
from gridmodel.network import (
    FAR_FUTURE,
    Account,
    ConsumerClass,
    Feeder,
    FeederLink,
    Installation,
    Meter,
    Substation,
    SupplyPoint,
    SupplyPointKind,
    Transformer,
    TransformerLink,
    UsagePoint,
)
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel
from gridmodel.registry import RegistryFault

Reader = Callable[[object], Any]
Rows = Sequence[Mapping[str, Any]]
Columns = Mapping[str, list[Any]]

COLUMNS = "columns"
"""The only key of a table that stands by columns."""
TEXT_LENGTH_MAX = 200
"""Names, addresses, serials: longer ones are pasted by mistake."""


def read_id(value: object) -> str:
    """A name, or IdentityFault."""
    return checked_id("thing", value)


def read_text(value: object) -> str:
    """A short text, or RegistryFault TQ-RG-11."""
    if not isinstance(value, str) or len(value) > TEXT_LENGTH_MAX:
        raise RegistryFault("TQ-RG-11", f"{value!r:.60} is not a short text", f"at most {TEXT_LENGTH_MAX} characters")
    return value


def read_whole(value: object) -> int:
    """A whole number, or RegistryFault TQ-RG-12."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= FAR_FUTURE:
        raise RegistryFault("TQ-RG-12", f"{value!r:.60} is not a whole number", "write digits, no sign, no quotes")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise RegistryFault("TQ-RG-18", f"{value!r:.60} is neither true nor false", "write true or false")
    return value


def _degrees(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not -180 <= value <= 180:
        raise RegistryFault("TQ-RG-13", f"{value!r:.60} is no latitude or longitude", "write degrees, 41.31")
    return float(value)


def _optional(reader: Reader) -> Reader:
    return lambda value: None if value is None else reader(value)


def _member(kind: type) -> Reader:
    def read(value: object) -> Any:
        try:
            return kind(value)
        except ValueError as error:
            known = ", ".join(str(one.value) for one in kind)  # type: ignore[attr-defined]
            raise RegistryFault("TQ-RG-14", f"{value!r:.60} is no {kind.__name__}", f"use one of {known}") from error

    return read


def _channels(value: object) -> tuple[Channel, ...]:
    if not isinstance(value, list | tuple) or not value or len(value) > len(Channel):
        raise RegistryFault("TQ-RG-15", f"{value!r:.60} is no list of channels", "for example [1] or [1, 2]")
    return tuple(_member(Channel)(one) for one in value)


def _registers(value: object) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or len(value) > len(Channel):
        raise RegistryFault("TQ-RG-17", f"{value!r:.60} is no list of registers", "one whole number for each channel")
    return tuple(read_whole(one) for one in value)


def _multiplier(value: object) -> Multiplier:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise RegistryFault("TQ-RG-16", f"{value!r:.60} is no multiplier", "write [numerator, denominator]")
    return Multiplier(read_whole(value[0]), read_whole(value[1]))


def read_district(value: object) -> DistrictId:
    """A district by its SOATO code, or IdentityFault."""
    return DistrictId(checked_soato("district", value))


_READERS: dict[type, dict[str, Reader]] = {
    Substation: {"id": read_id, "district": read_district, "name": read_text},
    Feeder: {"id": read_id, "substation": read_id, "name": read_text},
    Transformer: {
        "id": read_id,
        "district": read_district,
        "name": read_text,
        "rated_kva": read_whole,
        "lat": _optional(_degrees),
        "lon": _optional(_degrees),
    },
    UsagePoint: {
        "id": read_id,
        "district": read_district,
        "consumer_class": _member(ConsumerClass),
        "protected_class": _optional(read_id),
        "address": read_text,
    },
    SupplyPoint: {
        "id": read_id,
        "kind": _member(SupplyPointKind),
        "district": read_district,
        "transformer": _optional(read_id),
        "feeder": _optional(read_id),
        "to_district": _optional(read_district),
    },
    Account: {"id": read_id, "usage_point": read_id, "person": read_id},
    Meter: {"id": read_id, "serial": read_text, "profile": read_id, "address": read_text, "unit": read_whole},
    Installation: {
        "meter": read_id,
        "point": read_id,
        "channels": _channels,
        "multiplier": _multiplier,
        "valid_from": read_whole,
        "valid_to": read_whole,
        "start_registers_wh": _registers,
        "final_registers_wh": _registers,
        "unproven": _flag,
    },
    TransformerLink: {"usage_point": read_id, "transformer": read_id, "valid_from": read_whole, "valid_to": read_whole},
    FeederLink: {"transformer": read_id, "feeder": read_id, "valid_from": read_whole, "valid_to": read_whole},
}

TABLES: Mapping[str, type] = {
    "substations": Substation,
    "feeders": Feeder,
    "transformers": Transformer,
    "usage_points": UsagePoint,
    "supply_points": SupplyPoint,
    "accounts": Account,
    "meters": Meter,
    "installations": Installation,
    "transformer_links": TransformerLink,
    "feeder_links": FeederLink,
}
_LATER: Mapping[type, Mapping[str, object]] = {
    Installation: {"start_registers_wh": (), "final_registers_wh": (), "unproven": False}
}
"""Columns that came later, and what they are where they are left out, as an older hub does and a table without any."""

_POINT, _METER = "point", "meter"
_FAMILIES: Mapping[tuple[type, str], str] = {
    (UsagePoint, "id"): _POINT,
    (Account, "usage_point"): _POINT,
    (Installation, "point"): _POINT,
    (TransformerLink, "usage_point"): _POINT,
    (Meter, "id"): _METER,
    (Installation, "meter"): _METER,
}
"""Columns of several tables that hold the same names."""
_EACH_ITS_OWN = frozenset(
    {
        (UsagePoint, "address"),
        (Account, "id"),
        (Account, "person"),
        (Meter, "serial"),
        (Installation, "start_registers_wh"),
        (Installation, "final_registers_wh"),
    }
)
"""Columns whose values stand once: to look for an equal one would cost more than it finds."""
_MISSING = object()
REMEMBERED_MAX = 131_072
"""Values of one kind that are remembered while a registry is read: of more, those that come often come again."""


def rows_of(kind: type, things: Iterable[Any], *, alike: bool = False) -> list[dict[str, Any]]:
    """Things of one table as plain rows. `alike`: all have the same keys, so that they can travel by columns."""
    all_things, later = list(things), _LATER.get(kind, {})
    left_out = {name for name in later if alike and not any(getattr(one, name) for one in all_things)}
    names = [name for name in _READERS[kind] if name not in left_out]
    return [
        {name: _plain(value) for name in names if (value := getattr(one, name)) or alike or name not in later}
        for one in all_things
    ]


class TableReader:
    """Reads the tables of one registry, or of its parts one after the other."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, bool], dict[Any, Any]] = {}

    def next_part(self) -> None:
        """The points of the next part are others than those of the last one."""
        self._known.pop((_POINT, True), None)

    def forget(self) -> None:
        """Let go what was remembered, step by step: a million names that die in one call hold the interpreter."""
        for known in self._known.values():
            while known:
                known.popitem()

    def table(self, name: str, told: object) -> list[Any]:
        """The things in one table; raises RegistryFault or IdentityFault, and then nothing of it is used."""
        kind = TABLES[name]
        columns, count = _columns(name, kind, told)
        later = _LATER.get(kind, {})
        read = [
            self._column(kind, column, columns[column]) if column in columns else [later[column]] * count
            for column in _READERS[kind]
        ]
        return list(map(kind, *read))

    def _column(self, kind: type, column: str, values: list[Any]) -> list[Any]:
        reader = _READERS[kind][column]
        if (kind, column) in _EACH_ITS_OWN:
            return [reader(value) for value in values]
        kinds = set(map(type, values))
        plain = kinds == {int} or kinds <= {str, type(None)}  # equal ones are the same: else True passed for 1
        known = self._known.setdefault((_FAMILIES.get((kind, column), reader), plain), {})
        made: list[Any] = []
        for key, value in zip(values if plain else map(repr, values), values, strict=True):
            found = known.get(key, _MISSING)
            if found is _MISSING:
                if len(known) == REMEMBERED_MAX:
                    known.clear()
                found = known[key] = reader(value)
            made.append(found)
        return made


def _columns(name: str, kind: type, told: object) -> tuple[Columns, int]:
    """The values of each column, and how many rows there are."""
    if isinstance(told, dict) and told.keys() == {COLUMNS}:
        columns = told[COLUMNS]
        if not isinstance(columns, dict):
            raise RegistryFault("TQ-RG-10", f"the columns of {name} are no object", "write a list for each column")
        _same_keys(f"the table {name}", columns, kind)
        counts = {len(one) if isinstance(one, list | tuple) else -1 for one in columns.values()}
        if len(counts) != 1 or min(counts) < 0:
            raise RegistryFault("TQ-RG-10", f"the columns of {name} are not of one length", "write all rows whole")
        return columns, counts.pop()
    if not isinstance(told, list | tuple):
        raise RegistryFault("TQ-RG-10", f"{name} is no list", "write a list of objects")
    whole = _READERS[kind].keys()
    for number, row in enumerate(told):
        if not isinstance(row, dict):
            raise RegistryFault("TQ-RG-10", f"{name}[{number}] is no object", "write an object")
        if row.keys() != whole:
            _same_keys(f"{name}[{number}]", row, kind)
    later = _LATER.get(kind, {})
    return {column: [row.get(column, later.get(column)) for row in told] for column in whole}, len(told)


def _same_keys(where: str, row: Mapping[str, Any], kind: type) -> None:
    same_keys(where, row, _READERS[kind], _LATER.get(kind, {}))


def same_keys(where: str, row: Mapping[str, Any], expected: Iterable[str], later: Iterable[str] = ()) -> None:
    """Raise RegistryFault (TQ-RG-10) unless `row` has exactly the expected keys; those that came later may lack."""
    unknown = sorted(map(str, set(row) - set(expected)))
    missing = sorted(set(expected) - set(later) - set(row))
    if unknown or missing:
        raise RegistryFault(
            "TQ-RG-10",
            f"{where} has unknown keys {unknown[:5]} and lacks {missing[:5]}",
            "the keys are listed in docs/reference",
        )


def _plain(value: object) -> object:
    match value:
        case Multiplier():
            return [value.numerator, value.denominator]
        case tuple():
            return [int(one) for one in value]
        case Channel() | ConsumerClass() | SupplyPointKind():
            return value.value
        case _:
            return value


for _kind, _readers in _READERS.items():
    if tuple(_readers) != tuple(field.name for field in fields(_kind)):  # a new field must get its reader
        raise TypeError(f"the readers of {_kind.__name__} do not match its fields")
