"""What the hub's pages show, worked out from the rooms' answers. Room: web; on all walks.

Answers of the rooms are plain values with RFC 3339 times; here they become lines with a tone. Nothing is decided here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from central_sync.balance.reading import Level
from central_sync.situation.nodes import NodeState
from central_sync.web.outlines import Outline, drawing
from central_sync.web.tree import Spot, Tree, territory_name
from gridmodel.balance import CELL_FIELDS, COMPLETENESS_PCT_MIN, HourCell, LossUnknown, why_unknown
from gridmodel.period import HOUR_S, Period, local_day, parse_rfc3339, rfc3339, zone
from hosting.i18n import Translator
from hosting.territory import TerritoryFault, country

WORST_FIRST = (NodeState.OFFLINE, NodeState.STALE, NodeState.NEVER_SEEN, NodeState.LIVE)
"""A region looks like its worst node."""


class MapOf(StrEnum):
    """What the colours of the map tell."""

    NODES = "nodes"
    COMPLETENESS = "completeness"


@dataclass(frozen=True, slots=True)
class AreaLine:
    """One area of a balance."""

    spot: Spot
    name: str
    told: Mapping[str, Any]
    """As `BalanceReader.balance` gives it."""

    @property
    def unknown(self) -> LossUnknown | None:
        """Why the loss is not known."""
        return why_unknown(HourCell(**{name: self.told[name] for name in CELL_FIELDS}))

    @property
    def tone(self) -> str:
        """Of the completeness."""
        return completeness_tone(self.told)


@dataclass(frozen=True, slots=True)
class RegionOnMap:
    """One region of the map with what is said about it."""

    outline: Outline
    name: str
    short: str
    tone: str
    said: str


def completeness_tone(told: Mapping[str, Any] | None) -> str:
    """How the completeness of an area looks."""
    if told is None or not told["points_expected"]:
        return "off"
    share: float = told["completeness_pct"]
    if share >= 100:
        return "good"
    return "warn" if share >= COMPLETENESS_PCT_MIN else "bad"


def at_of(period: Period, now: int, zone: str) -> str:
    """The present of a period: the last full hour, this day, month, year."""
    return at_ending(period, now - now % HOUR_S if period is Period.HOUR else now + 1, zone)


def at_ending(period: Period, end: int, zone: str) -> str:
    """The hour that ends at `end`, or the day, month, year that the interval ending then belongs to."""
    if period is Period.HOUR:
        return rfc3339(end)
    day = local_day(end, zone)
    return {Period.DAY: day, Period.MONTH: day[:7], Period.YEAR: day[:4]}[period]


def at_local(text: str, zone_name: str) -> str:
    """The hour that a field of a form names in local time (``2026-05-04T15:00``); raises PeriodFault."""
    try:
        moment = datetime.fromisoformat(text).replace(tzinfo=zone(zone_name), minute=0, second=0)
    except ValueError:
        return text  # the question refuses it by name
    return moment.isoformat()


def area_lines(t: Translator, tree: Tree, told: Mapping[str, Any], within: Spot | None) -> list[AreaLine]:
    """The areas of an answer that lie inside `within`, named."""
    level = Level(told["level"])
    lines = []
    for area in told["areas"]:
        spot = Spot(level, area["id"])
        if within is None or tree.inside(spot, within):
            lines.append(AreaLine(spot, tree.name(t, spot), area))
    return lines


SORTS = ("name", "supplied", "delivered", "loss", "complete")
"""Columns of a balance that may be sorted by."""


def sorted_lines(lines: Iterable[AreaLine], by: str, *, falling: bool) -> list[AreaLine]:
    """By a column; what is not known comes last either way."""
    if by == "name":
        return sorted(lines, key=lambda line: (line.name.casefold(), line.spot.id), reverse=falling)
    field = {
        "supplied": "supplied_wh",
        "delivered": "delivered_wh",
        "loss": "loss_pct",
        "complete": "completeness_pct",
    }[by]
    known = [line for line in lines if line.told[field] is not None]
    rest = [line for line in lines if line.told[field] is None]
    return sorted(known, key=lambda line: (line.told[field], line.name), reverse=falling) + rest


def map_of_nodes(t: Translator, nodes: Iterable[Mapping[str, Any]]) -> list[RegionOnMap]:
    """Every region in the colour of its worst node."""
    states: dict[str, list[NodeState]] = {}
    for node in nodes:
        for region in {district[:4] for district in node["districts"]}:
            states.setdefault(region, []).append(NodeState(node["state"]))
    found = []
    for outline in drawing().outlines:
        here = states.get(outline.soato, [])
        worst = next((state for state in WORST_FIRST if state in here), None)
        if worst is None:
            said = t.gettext("no node")
        else:
            counted = [(state, here.count(state)) for state in WORST_FIRST if state in here]
            said = ", ".join(f"{t.integer(count)} {t.label(state)}" for state, count in counted)
        found.append(_on_map(t, outline, node_tone(worst), said))
    return found


def map_of_completeness(t: Translator, told: Mapping[str, Any]) -> list[RegionOnMap]:
    """Every region in the colour of its completeness."""
    areas = {area["id"]: area for area in told["areas"]}
    found = []
    for outline in drawing().outlines:
        area = areas.get(outline.soato)
        said = t.gettext("nothing reported") if area is None else t.percent(area["completeness_pct"], down=True)
        found.append(_on_map(t, outline, completeness_tone(area), said))
    return found


def seats(t: Translator, nodes: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Where the nodes' districts lie on the map."""
    found = []
    for node in nodes:
        for district in node["districts"]:
            try:
                entry = country().district(district)
            except TerritoryFault:
                continue
            x, y = drawing().place(entry.lat_deg, entry.lon_deg)
            tone = node_tone(NodeState(node["state"]))
            found.append(
                {"x": x, "y": y, "tone": tone, "name": entry.names.in_language(t.language.value), "node": node}
            )
    return found


def node_tone(state: NodeState | None) -> str:
    """How a node's state looks."""
    if state is None:
        return "off"
    return {NodeState.LIVE: "good", NodeState.STALE: "warn", NodeState.OFFLINE: "bad", NodeState.NEVER_SEEN: "off"}[
        state
    ]


def backlog_of(node: Mapping[str, Any]) -> int | None:
    """What a node said it still owes; None before it said anything."""
    backlog = node["backlog"]
    return None if not isinstance(backlog, dict) else sum(one for one in backlog.values() if isinstance(one, int))


def heard_of(node: Mapping[str, Any]) -> int | None:
    """Until when what a node told is known: None while it is live and tells everything as it happens."""
    return None if node["state"] == NodeState.LIVE else seconds(node["last_seen"]) or 0


def seconds(text: str | None) -> int | None:
    """UTC seconds of a room's time."""
    return None if text is None else parse_rfc3339(text)


def _on_map(t: Translator, outline: Outline, tone: str, said: str) -> RegionOnMap:
    name = territory_name(t, outline.soato)
    return RegionOnMap(outline, name, short_name(name), tone, said)


def short_name(name: str) -> str:
    """A region's name without the word for region, for the map."""
    for word in (" Region", " viloyati", " вилояти", " область", "Republic of "):
        name = name.replace(word, "")
    return name.replace(" Respublikasi", "").replace(" Республикаси", "").replace("Республика ", "")
