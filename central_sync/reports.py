"""What the hub's commands print for people: plain tables, read aloud over the phone. Above the rooms; pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from gridmodel.period import local_time, parse_rfc3339
from gridmodel.quantity import WH_PER_KWH, rounded
from hosting.process import Exit
from hosting.speech import table


def balance_lines(told: Mapping[str, Any], zone: str) -> list[str]:
    """`balance` and `losses`: energy in kWh, a dash where a loss cannot be known; the span in local time."""
    rows = [
        (
            area["id"],
            area["name"],
            _kwh(area["supplied_wh"]),
            _kwh(area["delivered_wh"]),
            _kwh(area["exported_wh"]),
            _kwh(area["loss_wh"]),
            None if area["loss_pct"] is None else rounded(area["loss_pct"], 2),
            None if area["completeness_pct"] is None else rounded(area["completeness_pct"], 1, down=True),
            "final" if area["final"] else "provisional",
        )
        for area in told["areas"]
    ]
    head = (
        "id",
        "name",
        "supplied kWh",
        "delivered kWh",
        "given back kWh",
        "loss kWh",
        "loss %",
        "complete %",
        "state",
    )
    since, until = (f"{local_time(parse_rfc3339(told[end]), zone):%Y-%m-%d %H:%M}" for end in ("from", "to"))
    lines = [f"{told['level']} by {told['period']}, {since} to {until} ({zone})", *table(rows, head)]
    return lines if rows else [*lines, "nothing: no such area, or nothing was heard of that time"]


def node_lines(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """`nodes`."""
    names = ("id", "state", "last_seen", "registry_version", "quarantined", "down_waiting", "alarms_standing")
    rows = [(*(node[name] for name in names), _backlog(node["backlog"])) for node in nodes]
    return table(
        rows, ("node", "state", "last seen", "registry", "set aside", "to send down", "alarms", "backlog (own word)")
    )


def verify_exit(told: Mapping[str, Any]) -> Exit:
    """Of `verify --node`: a difference is 1, what is still being brought back 3, a node out of reach 4."""
    if told["differences"] or told["state"] == "differs":
        return Exit.FAILED
    return {"healing": Exit.PARTLY, "no_answer": Exit.LINK_DOWN, "never_compared": Exit.LINK_DOWN}.get(
        told["state"], Exit.OK
    )


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
