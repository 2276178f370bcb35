"""What commands print for people: tables and lists that a tired operator can read aloud over the phone. Floor: hosting.

Pure: plain values in, lines out. Times are local, money is in soʻm, codes of ours are words; ``--json`` has the rest.
"""

from collections.abc import Iterable, Mapping, Sequence

from hosting.i18n import ABSENT, Language, translator

MARKS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}
"""The first word of a check-up's line."""
EPOCH_S_MIN = 1_000_000_000
"""Whole numbers from here on are moments where their name says so; smaller ones are stamps of a test or a count."""

SPEAK = translator(Language.EN)
_MOMENTS = frozenset({"at", "now", "since", "earliest", "latest", "expires", "not_before", "valid_from", "valid_to"})


def table(rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> list[str]:
    """Columns as wide as they need, two spaces apart; the last one is not padded, None is a dash."""
    cells = [[ABSENT if cell is None else str(cell) for cell in row] for row in rows]
    if head:
        cells.insert(0, list(head))
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))] if cells else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def moment(at: int | None, zone: str) -> str:
    """Local date and time, or a dash."""
    return ABSENT if at is None else SPEAK.moment(at, zone, seconds=True)


def check_lines(report: Mapping[str, object]) -> list[str]:
    """A check-up: state, name and finding; below it what to do."""
    lines: list[str] = []
    checks = report["checks"]
    for check in checks if isinstance(checks, list) else []:
        lines.append(f"{MARKS[check['health']]}  {check['name'].ljust(11)} {check['what']}")
        if check["hint"] and check["health"] != "ok":
            lines.append(f"                  -> {check['hint']}")
    return lines


def spoken_lines(value: object, zone: str, indent: str = "") -> list[str]:
    """Any JSON object as indented lines: for what has no table of its own."""
    if isinstance(value, Mapping):
        lines: list[str] = []
        for name, inner in value.items():
            called = str(name).removesuffix("_tiyin").replace("_", " ")
            if isinstance(inner, Mapping | list) and inner and not _is_label(inner) and not _is_flat(inner):
                lines += [f"{indent}{called}:", *spoken_lines(inner, zone, indent + "  ")]
            else:
                lines.append(f"{indent}{called}: {_spoken(str(name), inner, zone)}")
        return lines
    if isinstance(value, list):
        lines = []
        for inner in value:
            below = spoken_lines(inner, zone, indent + "  ")
            lines += [f"{indent}- {below[0].strip()}", *below[1:]] if below else [f"{indent}-"]
        return lines
    return [f"{indent}{_spoken('', value, zone)}"]


def _is_label(value: object) -> bool:
    return isinstance(value, Mapping) and value.keys() == {"code", "label"}


def _is_flat(value: object) -> bool:
    """A short list of words or numbers: it is said in one line."""
    return isinstance(value, list) and all(isinstance(one, str | int) or _is_label(one) for one in value)


def _spoken(name: str, value: object, zone: str) -> str:
    """One value as people say it; `name` tells what a number is."""
    if isinstance(value, Mapping) and _is_label(value):
        return SPEAK.gettext(str(value["label"]))
    if isinstance(value, list) and value:
        return ", ".join(_spoken("", one, zone) for one in value)
    if value is None or value in ([], {}):
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        if name.endswith("_tiyin"):
            return SPEAK.money(value)
        if value >= EPOCH_S_MIN and (name in _MOMENTS or name.endswith("_at")):
            return moment(value, zone)
    return str(value)
