"""A registry as a document: plain dicts and lists, as JSON files and the wire carry it. Ground floor.

On the reading walk. Strict both ways: unknown or missing keys, wrong types and impossible values are named
(RegistryFault, TQ-RG-10…), and nothing of a faulty document is used.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from gridmodel.identity import DistrictId, NodeId, checked_id, checked_soato
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
from gridmodel.registry import Registry, RegistryFault

R = TypeVar("R")
Document = Mapping[str, Any]
Reader = Callable[[object], Any]

TEXT_LENGTH_MAX = 200
"""Names, addresses, serials: longer ones are pasted by mistake."""


def _id(value: object) -> str:
    return checked_id("thing", value)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > TEXT_LENGTH_MAX:
        raise RegistryFault("TQ-RG-11", f"{value!r:.60} is not a short text", f"at most {TEXT_LENGTH_MAX} characters")
    return value


def _whole(value: object) -> int:
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
    return tuple(_whole(one) for one in value)


def _multiplier(value: object) -> Multiplier:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise RegistryFault("TQ-RG-16", f"{value!r:.60} is no multiplier", "write [numerator, denominator]")
    return Multiplier(_whole(value[0]), _whole(value[1]))


def _district(value: object) -> DistrictId:
    return DistrictId(checked_soato("district", value))


_READERS: dict[type, dict[str, Reader]] = {
    Substation: {"id": _id, "district": _district, "name": _text},
    Feeder: {"id": _id, "substation": _id, "name": _text},
    Transformer: {
        "id": _id,
        "district": _district,
        "name": _text,
        "rated_kva": _whole,
        "lat": _optional(_degrees),
        "lon": _optional(_degrees),
    },
    UsagePoint: {
        "id": _id,
        "district": _district,
        "consumer_class": _member(ConsumerClass),
        "protected_class": _optional(_id),
        "address": _text,
    },
    SupplyPoint: {
        "id": _id,
        "kind": _member(SupplyPointKind),
        "district": _district,
        "transformer": _optional(_id),
        "feeder": _optional(_id),
        "to_district": _optional(_district),
    },
    Account: {"id": _id, "usage_point": _id, "person": _id},
    Meter: {"id": _id, "serial": _text, "profile": _id, "address": _text, "unit": _whole},
    Installation: {
        "meter": _id,
        "point": _id,
        "channels": _channels,
        "multiplier": _multiplier,
        "valid_from": _whole,
        "valid_to": _whole,
        "start_registers_wh": _registers,
        "final_registers_wh": _registers,
        "unproven": _flag,
    },
    TransformerLink: {"usage_point": _id, "transformer": _id, "valid_from": _whole, "valid_to": _whole},
    FeederLink: {"transformer": _id, "feeder": _id, "valid_from": _whole, "valid_to": _whole},
}

_TABLES: dict[str, type] = {
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
_OPTIONAL: Mapping[type, frozenset[str]] = {
    Installation: frozenset({"start_registers_wh", "final_registers_wh", "unproven"})
}
"""Columns that came later: left out where they are empty, so that an older node reads what an older hub wrote."""
_HEAD = ("node", "version", "zone", "interval_minutes", "districts")


def registry_to_document(registry: Registry) -> dict[str, Any]:
    """The registry as plain dicts, lists, strings and numbers."""
    document: dict[str, Any] = {name: getattr(registry, name) for name in _HEAD}
    document["districts"] = list(registry.districts)
    for name, kind in _TABLES.items():
        columns, optional = tuple(_READERS[kind]), _OPTIONAL.get(kind, frozenset())
        document[name] = [
            {column: _plain(value) for column in columns if (value := getattr(row, column)) or column not in optional}
            for row in getattr(registry, name)
        ]
    return document


def registry_from_document(document: object) -> Registry:
    """The registry that a document describes; raises RegistryFault, IdentityFault or PeriodFault with the place."""
    if not isinstance(document, dict):
        raise RegistryFault("TQ-RG-10", "the registry is no object", "see docs/reference for its form")
    _same_keys("the registry", document, (*_HEAD, *_TABLES))
    if not isinstance(document["districts"], list | tuple):
        raise RegistryFault("TQ-RG-10", "districts is no list", 'write ["1703202"]')
    tables: dict[str, Any] = {name: _rows(name, document[name], kind) for name, kind in _TABLES.items()}
    return Registry(
        node=NodeId(_id(document["node"])),
        version=_whole(document["version"]),
        zone=_text(document["zone"]),
        interval_minutes=_whole(document["interval_minutes"]),
        districts=tuple(_district(one) for one in document["districts"]),
        **tables,
    )


def _rows(name: str, rows: object, kind: type[R]) -> tuple[R, ...]:
    if not isinstance(rows, list | tuple):
        raise RegistryFault("TQ-RG-10", f"{name} is no list", "write a list of objects")
    readers, optional = _READERS[kind], _OPTIONAL.get(kind, frozenset())
    made: list[R] = []
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RegistryFault("TQ-RG-10", f"{name}[{number}] is no object", "write an object")
        _same_keys(f"{name}[{number}]", row, tuple(one for one in readers if one in row or one not in optional))
        made.append(kind(**{column: read(row[column]) for column, read in readers.items() if column in row}))
    return tuple(made)


def _same_keys(where: str, row: Document, expected: tuple[str, ...]) -> None:
    unknown, missing = sorted(map(str, set(row) - set(expected))), sorted(set(expected) - set(row))
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
