"""What commands print for people: plain tables that a tired operator can read aloud over the phone. Above the rooms.

Pure: plain values in, lines out. Times are local with their zone, money in soʻm, the state first.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hosting.i18n import ABSENT
from hosting.speech import SPEAK, moment, table


def status_lines(status: Mapping[str, Any]) -> list[str]:
    """`edge-node status`."""
    zone = status["zone"]
    lines = [f"node {status['node']} at {moment(status['at'], zone)} ({zone})", *_link_lines(status, zone), ""]
    lines += table(
        [
            ("registry", f"version {status['registry_version']}" if status["registry_version"] else "none yet"),
            ("usage points", status["usage_points"]),
            ("meters", f"{status['meters']}, silent {status['meters_silent']}"),
            ("no fresh reading", _counts(status["meters_absent"], "nobody")),
            ("newest reading", moment(status["newest_reading_end"], zone)),
            ("estimated intervals", _counts(status["gaps"], "none")),
            ("couriers", _couriers(status["bundles"], zone)),
            ("compared with the hub", _completeness(status["completeness"], zone)),
            ("relays", _counts(status["relays"])),
            ("cuts today", status["cuts_today"]),
            ("cuts stopped", _stops(status)),
            ("mandate", _mandate(status, zone)),
            ("reconciled", _agreement(status["agreement"])),
            ("certificate", _certificate(status.get("identity"))),
            ("clock", _clock(status["clock"], zone)),
        ]
    )
    lines += ["", *table(_lane_rows(status, zone), ("lane", "waiting", "sent", "oldest"))]
    if status["alarms"]:
        rows = [(moment(row["at"], zone), row["kind"], row["subject"], row["detail"]) for row in status["alarms"]]
        lines += ["", *table(rows, ("alarm since", "kind", "about", "what"))]
    return lines


def _couriers(bundles: Mapping[str, Any], zone: str) -> str | None:
    """The latest bundles; nothing where there never was one."""
    words = {"written": "took a bundle", "applied": "brought one"}
    told = [f"{words[name]} {moment(one['at'], zone)}{_trip(one)}" for name, one in bundles.items() if one]
    return "; ".join(told) or None


def _trip(one: Mapping[str, Any]) -> str:
    return "" if one["whole"] and not one["forked"] else " (another trip is needed)"


def _link_lines(status: Mapping[str, Any], zone: str) -> list[str]:
    link = status["link"]
    if link is None:
        return ["not running: figures from its files; start it with edge-node run"]
    if link["up"]:
        return [f"link up since {moment(link['since'], zone)}"]
    error = link["error"] or {"code": "", "what": "not tried yet", "hint": ""}
    return [
        f"LINK LOST since {moment(link['since'] or None, zone)}, next try {moment(link['retry_at'], zone)}",
        f"  {error['code']} {error['what']} ({error['hint']})",
    ]


def _lane_rows(status: Mapping[str, Any], zone: str) -> list[Sequence[object]]:
    return [
        (lane, owed["records"], owed["batches"], moment(owed["oldest_at"], zone))
        for lane, owed in status["lanes"].items()
    ]


def _counts(counts: Mapping[str, int], nothing: str = "none known") -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items() if count) or nothing


def _completeness(told: Mapping[str, Any] | None, zone: str) -> str:
    if told is None:
        return "not yet"
    line = f"{told['first']} to {told['last']}: {told['state']}, {told['chunks']} chunks, {moment(told['at'], zone)}"
    names = ("under_way", "damaged", "lacking", "given_back", "aside", "retained_here")
    return ", ".join([line, *(f"{name.replace('_', ' ')} {told[name]}" for name in names if told[name])])


def _agreement(told: Mapping[str, Any]) -> str:
    if told["state"] == "agreed":
        recalled = told["recalled"]
        return "yes" if recalled is None else f"yes{_recalled(recalled)}"
    return f"{told['state'].upper().replace('_', ' ')}, nobody is cut: {told['why']}"


def _recalled(told: Mapping[str, Any]) -> str:
    names = ("told_again", "given_back", "conflicts", "refused")
    return "".join(f", {name.replace('_', ' ')} {told[name]}" for name in names if told[name])


def _certificate(told: Mapping[str, Any] | None) -> str:
    if told is None:
        return "none: the link is plain HTTP"
    line = told["state"] if told["not_after"] is None else f"{told['state']}, until {told['not_after']}"
    if told["hub_judged_in_doubt"]:
        line += "; the hub's was judged with the clock in doubt"
    return line if told["error"] is None else f"{line}; {told['error']['code']} {told['error']['what']}"


def _stops(status: Mapping[str, Any]) -> str:
    stops = status["stops"]
    return f"yes, by {stops[0]['stopped_by']}: {stops[0]['why']}" if stops else "no"


def _clock(clock: Mapping[str, Any], zone: str) -> str:
    if not clock["doubts"]:
        return "trusted"
    named = " and ".join(doubt.replace("_", " ") for doubt in clock["doubts"])
    if clock["time_known"]:
        return f"{named}: nobody is cut; others tell the time"
    span = f"{moment(clock['earliest'], zone)} to {moment(clock['latest'], zone)}"
    return f"{named}: nobody is cut; it is {span}; reads that wait for their hour: {clock['held_reads']}"


def _mandate(status: Mapping[str, Any], zone: str) -> str:
    mandate = status["mandate"]
    if mandate is None:
        return "none in force: nobody is cut"
    return f"{mandate['id']} until {moment(mandate['expires'], zone)}, {mandate['quota_per_day']} cuts a day at most"


def payment_lines(paid: Mapping[str, Any], zone: str) -> list[str]:
    """`edge-node pay`."""
    again = " (taken before under this request; nothing was taken now)" if paid["repeated"] else ""
    return [
        f"payment {paid['entry']} taken{again}",
        *table(
            [
                ("account", paid["account"]),
                ("amount", SPEAK.money(paid["amount_tiyin"])),
                ("credit now", SPEAK.money(paid["credit_tiyin"])),
                ("at", moment(paid["at"], zone)),
                ("cashier", paid["cashier"]),
                ("request", paid["request"]),
            ]
        ),
    ]


def probe_lines(result: Mapping[str, Any]) -> list[str]:
    """`edge-node probe`: what the meter told."""
    who = f"client {result['client']} server {result['server']}" if "client" in result else f"unit {result['unit']}"
    lines = [f"{result['profile']} at {result['address']} {who}: {'ok' if result['ok'] else 'FAILED'}"]
    if result["serial"] is not None:
        lines.append(f"serial number {result['serial']}")
    if result["relay"] is not None:
        lines.append(f"relay {result['relay']['state']}, load {result['relay']['load_w']} W")
    readings = [
        (
            row["channel"],
            ABSENT if row["value"] is None else row["value"],
            row["unit"],
            "" if row["resolution_wh"] is None else row["resolution_wh"],
            row["mark"] or "",
            row["raw_hex"] or "",
        )
        for row in result["readings"]
    ]
    lines += table(readings, ("channel", "value", "unit", "step", "mark", "bytes"))
    lines += [f"{error['code']}: {error.get('what', '')} ({error['hint']})" for error in result["errors"]]
    return lines
