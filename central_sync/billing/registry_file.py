"""The registry office's file: one JSON document, or many lines where that is large. Floor: billing; reading walk.

The lines are JSON objects of their own: first what the registry says of itself (`registry_document.HEAD`), then pieces
of its tables, ``{"table": "meters", "rows": […]}``, in any order and as often as wanted. So a region of a million
meters is read piece by piece, in a fifth of the memory that one document of it would take.

Codes: TQ-IM-20 not JSON or not of this form, -24 too large.
"""

import io
import json
from typing import Any

from gridmodel.fault import Fault
from gridmodel.registry import Registry
from gridmodel.registry_document import HEAD, head_from_document, registry_from_document
from gridmodel.registry_parts import ROWS_MAX
from gridmodel.registry_tables import TABLES, TableReader, same_keys

DOCUMENT_BYTES_MAX = 256 * 1024 * 1024
"""One JSON document: 120,000 usage points have 75 MB, and ten times that in memory while it is read."""
REGISTRY_BYTES_MAX = 1024 * 1024 * 1024
"""A registry in lines: 1,000,000 usage points have 600 MB."""
LINE_BYTES_MAX = 16 * 1024 * 1024
"""A line: 16,384 rows of the widest table have 4 MB."""


class RegistryImportFault(Fault):
    """A registry that cannot be taken in."""


def import_fault(number: int, what: str, hint: str) -> RegistryImportFault:
    """With the code TQ-IM-`number`."""
    return RegistryImportFault(f"TQ-IM-{number}", what, hint)


def registry_from_file(data: bytes) -> Registry:
    """The registry in a file; pure and heavy. Raises RegistryImportFault, RegistryFault or IdentityFault."""
    if len(data) > REGISTRY_BYTES_MAX:
        raise import_fault(24, f"the file has {len(data)} bytes", f"at most {REGISTRY_BYTES_MAX}")
    lines = io.BytesIO(data)
    head = _json(lines.readline(LINE_BYTES_MAX + 1), 1, strict=False)
    if isinstance(head, dict) and not head.keys() & TABLES.keys() and len(head) > 1:
        return _from_lines(head, lines)
    if len(data) > DOCUMENT_BYTES_MAX:
        raise import_fault(
            24,
            f"the document has {len(data)} bytes, at most {DOCUMENT_BYTES_MAX} are read as one",
            "write it in lines (docs/reference/central-sync.md)",
        )
    return registry_from_document(_json(data, None))


def _from_lines(head: dict[str, Any], lines: io.BytesIO) -> Registry:
    same_keys("the first line", head, HEAD)
    told = head_from_document(head)
    reader, rows = TableReader(), {name: list[Any]() for name in TABLES}
    number = 1
    while line := lines.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(line) > LINE_BYTES_MAX:
            raise import_fault(24, f"line {number} has more than {LINE_BYTES_MAX} bytes", "write fewer rows a line")
        if not line.strip():
            continue
        piece = _json(line, number)
        name = piece["table"] if isinstance(piece, dict) and piece.keys() == {"table", "rows"} else None
        if not isinstance(name, str) or name not in TABLES:
            raise import_fault(20, f"line {number} is no piece of a table", 'write {"table": "meters", "rows": […]}')
        rows[name] += reader.table(name, piece["rows"])
        if len(rows[name]) > ROWS_MAX:
            raise import_fault(24, f"more than {ROWS_MAX} {name}", "split the node's scope")
    tables: dict[str, Any] = {name: tuple(rows.pop(name)) for name in TABLES}
    return Registry(**told, **tables)


def _json(text: bytes, line: int | None, *, strict: bool = True) -> Any:
    """What the text says; None where it is not JSON and that is no mistake yet."""
    try:
        return json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        if not strict:
            return None
        where = "the file" if line is None else f"line {line}"
        raise import_fault(20, f"{where} is no JSON in UTF-8: {error!s:.120}", "export it again") from error
