"""Files from elsewhere, read strictly: CSV in the forms that offices produce, or a JSON list. Floor: billing.

On the payment walk. UTF-8 with or without a byte order mark, `;` `,` or tab between fields, quotes after RFC 4180, a
header that names exactly the agreed columns in any order. A mistake in a row is collected with its line and told; a
mistake in the file as a whole is a TableFault. Nothing here knows what the columns mean.

Codes: TQ-IM-01 unreadable or too large, -02 a wrong header, -03 too many rows, -04 not a JSON list.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from gridmodel.fault import Fault

FILE_BYTES_MAX = 64 * 1024 * 1024
"""A million payments; a larger file is split by its sender."""
ROWS_MAX = 1_000_000
LINE_CHARACTERS_MAX = 4_096
"""The longest true row has some 300; an unclosed quote would swallow the whole file as one field."""
FIELD_CHARACTERS_MAX = 512
MISTAKES_KEPT_MAX = 10_000
"""Rows told in the file of mistakes; beyond that the file is the wrong one."""
SEPARATORS = ";,\t"

T = TypeVar("T")
Row = Mapping[str, str]


class TableFault(Fault):
    """A file that cannot be read as a table."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row that cannot be taken in."""

    line: int
    """In the file, from 1; of JSON the number of the object."""
    code: str
    what: str
    hint: str
    text: str
    """The row as it stands, cut short."""


@dataclass(frozen=True, slots=True)
class Table(Generic[T]):
    """What a file says: values with their lines, and the rows that say nothing."""

    rows: tuple[tuple[int, T], ...]
    mistakes: tuple[Mistake, ...]


def read_table(data: bytes, required: Sequence[str], optional: Sequence[str], read: Callable[[Row], T]) -> Table[T]:
    """Read a CSV or JSON file; `read` makes a value of a row or raises a Fault. Raises TableFault."""
    if len(data) > FILE_BYTES_MAX:
        raise TableFault("TQ-IM-01", f"the file has {len(data)} bytes", f"split it: at most {FILE_BYTES_MAX}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableFault(
            "TQ-IM-01", f"the file is not UTF-8 (byte {error.start})", "save it as CSV UTF-8 and try again"
        ) from error
    if "\0" in text:
        raise TableFault("TQ-IM-01", "the file holds zero bytes", "it is no text: export it as CSV UTF-8")
    source = _objects(text) if text.lstrip().startswith(("[", "{")) else _lines(text, required, optional)
    rows: list[tuple[int, T]] = []
    mistakes: list[Mistake] = []
    for count, (line, row, shown) in enumerate(source):
        if count >= ROWS_MAX:
            raise TableFault("TQ-IM-03", f"more than {ROWS_MAX} rows", "split the file")
        try:
            _same_columns(row, required, optional)
            rows.append((line, read(_texts(row))))
        except Fault as fault:
            if len(mistakes) >= MISTAKES_KEPT_MAX:
                raise TableFault(
                    "TQ-IM-03", f"more than {MISTAKES_KEPT_MAX} rows are wrong", "it is the wrong file: look at it"
                ) from fault
            mistakes.append(Mistake(line, fault.code, fault.what, fault.hint, shown))
    return Table(tuple(rows), tuple(mistakes))


def mistakes_csv(mistakes: Sequence[Mistake]) -> str:
    """The mistakes as a CSV that a spreadsheet opens without running anything in it."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\r\n")
    writer.writerow(("line", "code", "what", "hint", "row"))
    for one in mistakes:
        writer.writerow((one.line, one.code, *(_inert(text) for text in (one.what, one.hint, one.text))))
    return "\ufeff" + out.getvalue()


def _inert(text: str) -> str:
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


def _lines(text: str, required: Sequence[str], optional: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any], str]]:
    """Rows of a CSV with their lines."""
    head, _, rest = text.partition("\n")
    if len(head) > LINE_CHARACTERS_MAX:
        raise TableFault("TQ-IM-02", f"the header has {len(head)} characters", f"it is: {';'.join(required)}")
    separator = max(SEPARATORS, key=head.count)
    columns = [name.strip().strip('"') for name in head.strip("\r\n").split(separator)]
    unknown = sorted(set(columns) - set(required) - set(optional))
    missing = sorted(set(required) - set(columns))
    if unknown or missing or len(set(columns)) < len(columns):
        raise TableFault(
            "TQ-IM-02",
            f"the header lacks {missing} and has unknown or doubled columns {unknown}"[:300],
            f"the first line is: {separator.join((*required, *optional))}",
        )
    numbered = enumerate(rest.splitlines(keepends=True), start=2)
    for line, raw in numbered:
        shown = raw.strip("\r\n")
        if not shown.strip():
            continue
        yield line, _fields(raw, separator, columns), shown[:FIELD_CHARACTERS_MAX]


def _fields(raw: str, separator: str, columns: list[str]) -> Mapping[str, Any]:
    """One line's fields by column; `_same_columns` refuses a line with too few or too many. A field has no line end."""
    if len(raw) > LINE_CHARACTERS_MAX:
        return {"": f"a line of {len(raw)} characters"}
    try:
        found = next(csv.reader([raw], delimiter=separator, strict=True), [])
    except csv.Error as error:
        return {"": f"quotes: {error}"}
    if len(found) != len(columns):
        return {"": f"{len(found)} fields where the header has {len(columns)}"}
    return dict(zip(columns, found, strict=True))


def _objects(text: str) -> Iterator[tuple[int, Mapping[str, Any], str]]:
    """Objects of a JSON list with their numbers."""

    def no_constant(name: str) -> object:
        raise ValueError(f"{name} is not a value")

    try:
        found = json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise TableFault("TQ-IM-04", f"the file is no JSON: {error!s:.120}", "export it again") from error
    if not isinstance(found, list):
        raise TableFault("TQ-IM-04", "the file is no list of objects", "write [{…}, {…}]")
    for number, one in enumerate(found, start=1):
        shown = json.dumps(one, ensure_ascii=False)[:FIELD_CHARACTERS_MAX]
        yield number, one if isinstance(one, dict) else {"": "no object"}, shown


def _same_columns(row: Mapping[str, Any], required: Sequence[str], optional: Sequence[str]) -> None:
    if "" in row:
        raise TableFault(
            "TQ-IM-02", f"the row does not fit: {row['']}"[:300], "compare it with the header; mend its quotes"
        )
    missing = sorted(set(required) - set(row))
    unknown = sorted(set(map(str, row)) - set(required) - set(optional))
    if missing or unknown:
        raise TableFault("TQ-IM-02", f"the row lacks {missing} and has unknown {unknown}"[:300], "compare the columns")


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    """The fields as texts: JSON's numbers as they print, null as empty."""
    texts: dict[str, str] = {}
    for name, value in row.items():
        if value is None:
            texts[name] = ""
        elif isinstance(value, str):
            texts[name] = value.strip()
        elif isinstance(value, int | float) and not isinstance(value, bool):
            texts[name] = repr(value)
        else:
            raise TableFault("TQ-IM-02", f"{name} is neither text nor number", "write a text or a number")
        if len(texts[name]) > FIELD_CHARACTERS_MAX:
            raise TableFault("TQ-IM-02", f"{name} has {len(texts[name])} characters", "cut it short")
    return texts
