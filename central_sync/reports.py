"""What the hub's commands print for people: plain tables, read aloud over the phone. Above the rooms; pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gridmodel.quantity import WH_PER_KWH, rounded

ABSENT = "–"


def table(rows: Iterable[Sequence[object]], head: Sequence[str]) -> list[str]:
    """Columns as wide as they need, two spaces apart."""
    cells = [list(head), *([ABSENT if cell is None else str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def balance_lines(told: Mapping[str, Any]) -> list[str]:
    """`balance` and `losses`: energy in kWh, a dash where a loss cannot be known."""
    rows = [
        (
            area["id"],
            area["name"],
            _kwh(area["supplied_wh"]),
            _kwh(area["delivered_wh"]),
            _kwh(area["loss_wh"]),
            None if area["loss_pct"] is None else rounded(area["loss_pct"], 2),
            None if area["completeness_pct"] is None else rounded(area["completeness_pct"], 1, down=True),
            "final" if area["final"] else "provisional",
        )
        for area in told["areas"]
    ]
    head = ("id", "name", "supplied kWh", "delivered kWh", "loss kWh", "loss %", "complete %", "state")
    return [f"{told['level']} by {told['period']}, {told['from']} to {told['to']}", *table(rows, head)]


def node_lines(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """`nodes`."""
    names = ("id", "state", "last_seen", "registry_version", "quarantined", "down_waiting", "alarms_standing")
    rows = [(*(node[name] for name in names), _backlog(node["backlog"])) for node in nodes]
    return table(
        rows, ("node", "state", "last seen", "registry", "set aside", "to send down", "alarms", "backlog (own word)")
    )


def doctor_lines(report: Mapping[str, Any]) -> list[str]:
    """`doctor`: the state first, then what and what to do."""
    lines = []
    for check in report["checks"]:
        lines.append(f"{check['health'].upper():<5}{check['name']}: {check['what']}")
        if check["hint"] and check["health"] != "ok":
            lines.append(f"     {check['hint']}")
    return lines


def import_lines(told: Mapping[str, Any]) -> list[str]:
    """`import` of ledger and records."""
    state = "applied" if told["done"] else "NOTHING was applied"
    lines = [
        f"{state}: {told['applied']} new, {told['known']} known before, {told['mistakes']} mistakes",
        f"nodes: {', '.join(told['nodes']) or 'none'}; complete up to: {told['watermark'] or 'not moved'}",
    ]
    lines += [f"line {one['line']}: {one['code']} {one['what']} ({one['hint']})" for one in told["first_mistakes"]]
    if "mistakes_file" in told:
        lines.append(f"all mistakes: {told['mistakes_file']}")
    return lines


def plain_lines(told: Mapping[str, Any]) -> list[str]:
    """Names and values, nested ones as JSON."""
    return [
        f"{name}: {json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value}"
        for name, value in told.items()
    ]


def _kwh(energy_wh: int | None) -> str | None:
    """Wh as kWh without floats: 1,234.567."""
    if energy_wh is None:
        return None
    whole, rest = divmod(abs(energy_wh), WH_PER_KWH)
    return f"{'-' if energy_wh < 0 else ''}{whole:,}.{rest:03}"


def _backlog(backlog: Any) -> str | None:
    if not isinstance(backlog, dict):
        return None
    return ", ".join(f"{lane} {count}" for lane, count in sorted(backlog.items()) if count) or "none"
