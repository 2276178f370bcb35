"""One consumer: why on or off, by which right, what restores it, money, readings. Room: console; payment walk.

What decides comes from `supply.explain`, the same gathering and decision as enforcement. Beside it stand the ledger's
lines and the last readings, both as they are durable here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_node.console.consumers import ConsumerIndex, Line, one_line
from edge_node.console.office import Office, district_name
from edge_node.console.payments_known import payments_known
from edge_node.store.absences import Missing
from edge_node.store.listing import PointReading
from gridmodel.absence import Absence
from gridmodel.account import LedgerEntry
from gridmodel.control import RelayState
from gridmodel.identity import UsagePointId
from gridmodel.period import HOUR_S, interval_end
from gridmodel.policy import Reason
from gridmodel.reading import Quality
from hosting.i18n import Translator

ENTRIES_SHOWN = 40
"""Three years of monthly charges and payments."""
INTERVALS_SHOWN = 24
"""Of the last readings."""
MEASURED_S_MAX = 2 * HOUR_S
"""Energy of an interval that ended so long ago proves supply now: the longest interval and an hour's grace."""
CHART_HEIGHT = 60
"""Units of the drawing."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One line of reasons or facts: a tone for its shape, a sentence."""

    tone: str
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One interval in the drawing; height 0 and `reading` None where it is missing."""

    end: int
    height: float
    reading: PointReading | None


async def consumer(office: Office, index: ConsumerIndex, t: Translator, point: UsagePointId) -> dict[str, Any]:
    """The values of `consumer.html`; raises ExplainFault where this office has no such consumer."""
    told = await office.node.explain(point)
    line = await one_line(office, index, point)
    account = told["place"]["account"]
    state = None if account is None else await office.store.ledger.statement(account)
    entries = () if state is None else tuple(sorted(state.entries, key=lambda one: (-one.at, one.id)))
    bars = await _bars(office, point)
    return {
        "told": told,
        "line": line,
        "district": district_name(t, told["place"]["district"]),
        "headline": headline(t, told, measured=_measured(bars, told["at"])),
        "foreign": _foreign(told),
        "reasons": reasons(t, told),
        "right": _right(told),
        "remedies": told["restored_by"],
        "permissions": permissions(t, told, line, office.zone, await _missing(office, line)),
        "payments": await payments_known(office),
        "entries": entries[:ENTRIES_SHOWN],
        "entries_more": max(0, len(entries) - ENTRIES_SHOWN),
        "sums": _running(entries)[:ENTRIES_SHOWN],
        "bars": bars,
        "chart_height": CHART_HEIGHT,
    }


def _foreign(told: dict[str, Any]) -> bool:
    """Whether nobody here knows the relay because nobody here switches it."""
    return told["relay"]["state"]["code"] == RelayState.UNKNOWN and not told["relay"]["remote"]


def _measured(bars: Sequence[Bar], now: int) -> bool:
    """Whether energy flowed lately, as the meter itself tells."""
    return any(
        bar.reading.energy_wh > 0 and bar.reading.quality is Quality.ACTUAL
        for bar in bars
        if bar.reading is not None and 0 <= now - bar.end <= MEASURED_S_MAX
    )


def headline(t: Translator, told: dict[str, Any], *, measured: bool) -> Mark:
    """The first sentence: is there supply, and why not."""
    _ = t.gettext
    cause = told["relay"]["cause"]
    if _foreign(told):
        if measured:
            return Mark("good", _("Its relay is not switched from here; supply is measured"))
        return Mark("off", _("Its relay is not switched from here; no supply was measured lately"))
    match told["supplied"]:
        case True:
            return Mark("good", _("Supply is on"))
        case False if cause is not None and cause["code"] == "debt":
            return Mark("bad", _("Supply is off: cut for debt"))
        case False:
            return Mark("bad", _("Supply is off, and not for debt"))
        case _:
            return Mark("warn", _("Whether there is supply is not known at this moment"))


def reasons(t: Translator, told: dict[str, Any]) -> tuple[str, list[Mark]]:
    """What is wanted of the relay, and every reason."""
    _ = t.gettext
    action = told["decision"]["action"]["code"]
    if _foreign(told):
        return _("It is not cut, because"), [Mark("good", t.label(Reason.NO_REMOTE_RELAY))]
    old = told["permission"]["weather"] is not None and not told["permission"]["weather_fresh"]
    marks = [
        _("The forecast is too old, which counts as frost")
        if old and one["code"] == Reason.WEATHER_UNKNOWN
        else t.word("reason", one["code"])
        for one in told["decision"]["reasons"]
    ]
    if action == "cut":
        return _("Everything for a cut is there"), [Mark("bad", text) for text in marks]
    if action == "restore":
        return _("It is to be restored, because"), [Mark("good", text) for text in marks]
    if told["supplied"] is False or told["relay"]["state"]["code"] not in {"connected", "unknown"}:
        return _("It stays as it is, because"), [Mark("warn", text) for text in marks]
    return _("It is not cut, because"), [Mark("good", text) for text in marks]


async def _missing(office: Office, line: Line | None) -> Missing | None:
    """Why the consumer's meter has no fresh reading; None where it has one, or there is no meter."""
    if line is None or line.meter is None:
        return None
    missing = await office.store.absences.of(line.meter)
    if missing is None and line.latest is None:
        return Missing(Absence.NEVER_ASKED, office.clock.now(), "")
    return missing


def permissions(
    t: Translator, told: dict[str, Any], line: Line | None, zone: str, missing: Missing | None
) -> list[tuple[str, str, str]]:
    """(label, value, tone): the facts on which a decision rests, as this office knows them."""
    _ = t.gettext
    known, rights = told["relay"], told["permission"]
    yes, no = _("yes"), _("no")
    mandate = _("valid, {number} cuts left today", number=t.integer(max(0, rights["quota_left"])))
    facts = [
        (_("Relay switched from here"), yes if known["remote"] else no, "" if known["remote"] else "off"),
        (_("Contact last read"), t.moment(known["seen_at"], zone), ""),
        (_("Load at that time"), t.power(known["load_w"]), ""),
        (
            _("Latest reading"),
            "—" if line is None or line.latest is None else t.moment(line.latest.end, zone),
            "" if rights["reading_actual"] else "warn",
        ),
        *_why_missing(t, missing, zone),
        (_("Mandate for cuts"), mandate if rights["valid"] else _("none that is valid"), ""),
        (
            _("Cuts stopped by a person"),
            yes if rights["cuts_stopped"] else no,
            "warn" if rights["cuts_stopped"] else "",
        ),
        (_("Clock trusted"), yes if rights["clock_trusted"] else no, "" if rights["clock_trusted"] else "warn"),
        (_("Agreed with the hub"), yes if rights["reconciled"] else no, "" if rights["reconciled"] else "warn"),
    ]
    weather = rights["weather"]
    if weather is not None:
        low, high = (f"{degrees:.0f}".replace("-", "−") for degrees in weather)
        said = _("{low} to {high} °C", low=low, high=high)
        if not rights["weather_fresh"]:
            said = _("{range}, of {moment}: too old", range=said, moment=t.moment(rights["weather_issued_at"], zone))
        facts.append((_("Forecast for three days"), said, "" if rights["weather_fresh"] else "warn"))
    return facts


def _why_missing(t: Translator, missing: Missing | None, zone: str) -> list[tuple[str, str, str]]:
    _ = t.gettext
    if missing is None:
        return []
    said = t.label(missing.reason)
    if missing.reason is not Absence.NEVER_ASKED:
        said = _("{reason}, since the interval ending {moment}", reason=said, moment=t.moment(missing.since, zone))
    return [(_("Why there is no fresh one"), said, "warn")]


def _right(told: dict[str, Any]) -> dict[str, Any] | None:
    """The cut that holds now: by which right it was made."""
    if told["supplied"] is True or told["relay"]["cause"] is None:
        return None
    return next((one for one in told["operations"] if one["action"] == "cut" and one["outcome"] != "withheld"), None)


def _running(entries: Sequence[LedgerEntry]) -> list[int]:
    """The credit after each entry, newest first."""
    total = sum(entry.amount_tiyin for entry in entries)
    sums = []
    for entry in entries:
        sums.append(total)
        total -= entry.amount_tiyin
    return sums


async def _bars(office: Office, point: UsagePointId) -> list[Bar]:
    registry = office.store.registries.newest
    latest = office.store.readings.latest(point)
    if registry is None or latest is None:
        return []
    step_s = registry.interval_minutes * 60
    last = interval_end(latest.end, registry.interval_minutes)
    ends = [last - n * step_s for n in range(INTERVALS_SHOWN)]
    found = await office.listing.readings(point, ends)
    highest = max((abs(one.energy_wh) for one in found.values()), default=0) or 1
    return [
        Bar(end, 0.0 if (one := found.get(end)) is None else CHART_HEIGHT * abs(one.energy_wh) / highest, one)
        for end in reversed(ends)
    ]
