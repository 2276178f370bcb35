"""A registry as a document: plain dicts and lists, as JSON files and the wire carry it. Ground floor.

On the reading walk. Strict both ways: unknown or missing keys, wrong types and impossible values are named
(RegistryFault, TQ-RG-10…), and nothing of a faulty document is used. A table is a list of objects or, as it travels,
``{"columns": {name: [values]}}``. One too large for one document travels in parts (`gridmodel.registry_parts`).
"""

from collections.abc import Mapping
from typing import Any

from gridmodel.identity import NodeId
from gridmodel.registry import Registry, RegistryFault
from gridmodel.registry_tables import (
    TABLES,
    TableReader,
    read_district,
    read_id,
    read_text,
    read_whole,
    rows_of,
    same_keys,
)

HEAD = ("node", "version", "zone", "interval_minutes", "districts")
"""What a registry says of itself, beside its tables."""


def registry_to_document(registry: Registry) -> dict[str, Any]:
    """The registry as plain dicts, lists, strings and numbers."""
    tables = {name: rows_of(kind, getattr(registry, name)) for name, kind in TABLES.items()}
    return {**head_to_document(registry), **tables}


def head_to_document(registry: Registry) -> dict[str, Any]:
    """What the registry says of itself."""
    return {name: getattr(registry, name) for name in HEAD} | {"districts": list(registry.districts)}


def registry_from_document(document: object) -> Registry:
    """The registry that a document describes; raises RegistryFault, IdentityFault or PeriodFault with the place."""
    if not isinstance(document, dict):
        raise RegistryFault("TQ-RG-10", "the registry is no object", "see docs/reference for its form")
    same_keys("the registry", document, (*HEAD, *TABLES))
    head = head_from_document(document)
    reader = TableReader()
    tables: dict[str, Any] = {name: tuple(reader.table(name, document[name])) for name in TABLES}
    reader.forget()
    return Registry(**head, **tables)


def head_from_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the document says of itself, checked, by the names that `Registry` has for it."""
    if not isinstance(document["districts"], list | tuple):
        raise RegistryFault("TQ-RG-10", "districts is no list", 'write ["1703202"]')
    return {
        "node": NodeId(read_id(document["node"])),
        "version": read_whole(document["version"]),
        "zone": read_text(document["zone"]),
        "interval_minutes": read_whole(document["interval_minutes"]),
        "districts": tuple(read_district(one) for one in document["districts"]),
    }
