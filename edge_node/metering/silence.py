"""What the silence of many meters means: no supply, or a gateway that is silent itself. Pure. Room: metering; reading.

Whoever stands behind a door (``host:port``) with others says something by silence only while another one behind
it answers: else it is the gateway that is silent, and nobody can tell why. A meter with a door of its own speaks for
itself. Whoever answers and has nothing to book, a refusal or a wrong key, has current; whoever was not asked says
nothing. Nobody is called dark unless another transformer is heard: this node's own line may be cut.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from edge_node.store.outages import Evidence
from gridmodel.absence import Absence
from gridmodel.identity import MeterId, SupplyPointId, TransformerId, UsagePointId
from gridmodel.registry import Registry, Topology
from protocols.driver import MeterEventKind

METERS_MIN = 3
"""Fewer silent meters under one transformer are each a fault of their own."""
DARK_PERCENT = 80
"""Of the meters that can tell, so many are silent when a transformer is without supply: a few have batteries, a few
were dead before."""
LIGHT_PERCENT = 50
"""So many are heard again when it is back: those in between come with the next polls."""
HEARD_S = 4 * 3_600
"""A meter not heard for so long before the silence is none of its witnesses."""
EVENT_REACH_S = 3_600
"""Power events belong to an outage that began or ended within so long of them: polls are a quarter of an hour apart,
and a meter's clock may be off."""
EVENTS_PERCENT = 20
"""Of a transformer's meters, so many must have written the loss down: one that lost its own phase proves nothing."""


_ANSWERED = frozenset({Absence.SECURITY, Absence.REFUSED, Absence.NO_VALUE, Absence.CLOCK_DOUBTFUL})
"""Reasons for having no reading that only a meter with current can give."""
_SILENT = frozenset({Absence.SILENT, Absence.UNREACHABLE, Absence.SUSPENDED})
"""It was asked and did not answer. Every other reason tells neither."""


class Verdict(StrEnum):
    """What a transformer's meters say."""

    SUPPLIED = "supplied"
    DARK = "dark"
    SUSPECT = "suspect"
    """All that could tell stand behind a silent gateway."""
    UNKNOWN = "unknown"
    """Too few of them, or some of each: what was believed stays."""


@dataclass(frozen=True, slots=True)
class Witness:
    """One meter of a usage point, or a transformer's own."""

    meter: MeterId
    transformer: TransformerId
    door: str
    """The ``host:port`` that it shares with others behind one gateway or concentrator."""
    heard_at: int | None
    """The last interval end for which it was heard; None: never."""
    own: bool = False
    """The transformer's own meter, on its low-voltage side: heard, it proves supply by itself."""
    asked: bool = True
    """Whether its silence is one: False for a meter whose turn did not come, or that cannot be asked."""


def all_heard(registry: Registry, topology: Topology, heard: Mapping[str, int], end: int) -> bool:
    """Whether every meter under a transformer was heard for the interval that ended at `end`: then none is dark."""
    points: Iterable[str] = (*topology.transformer_of, *(one.id for one in registry.transformer_meter.values()))
    return all(heard.get(point, 0) >= end for point in points if point in topology.installation_at)


def witnesses(
    registry: Registry, topology: Topology, heard: Mapping[str, int], reasons: Mapping[str, Absence], end: int
) -> list[Witness]:
    """Every meter under a transformer, for the interval that ended at `end`. Heavy: a task for `compute`.

    `heard` gives the last interval end by point, `reasons` by meter why there is no fresh reading.
    """
    supplies = ((supply.id, transformer) for transformer, supply in registry.transformer_meter.items())
    places: list[tuple[UsagePointId | SupplyPointId, TransformerId, bool]] = [
        (point, transformer, False) for point, transformer in topology.transformer_of.items()
    ]
    places += [(point, transformer, True) for point, transformer in supplies]
    found = []
    for point, transformer, own in places:
        placed = topology.installation_at.get(point)
        if placed is None:
            continue
        reason = reasons.get(placed.meter)
        heard_at = end if reason in _ANSWERED else heard.get(point)
        asked = reason is None or reason in _ANSWERED or reason in _SILENT
        door = door_of(registry.meter[placed.meter].address)
        found.append(Witness(placed.meter, transformer, door, heard_at, own=own, asked=asked))
    return found


def door_of(address: str) -> str:
    """``host:port`` out of a meter's address, which may name a link before it and a place behind it after it."""
    return address.rpartition("://")[2].partition("?")[0].lower()


def verdicts(given: Iterable[Witness], end: int, dark: Iterable[TransformerId]) -> dict[TransformerId, Verdict]:
    """What is said of every transformer with meters, for the interval that ended at `end`, once its polls are over.

    `dark` are those that are believed to be without supply: their meters stay witnesses however long it lasts.
    """
    believed = frozenset(dark)
    people = [
        one
        for one in given
        if one.heard_at is not None and (one.transformer in believed or one.heard_at >= end - HEARD_S)
    ]
    behind: dict[str, list[Witness]] = {}
    under: dict[TransformerId, list[Witness]] = {}
    for one in people:
        behind.setdefault(one.door, []).append(one)
        under.setdefault(one.transformer, []).append(one)
    gateways = {door: any(_heard(one, end) for one in meters) for door, meters in behind.items() if len(meters) > 1}
    lit = {one.transformer for one in people if _heard(one, end)}
    found = {transformer: _verdict(meters, gateways, end) for transformer, meters in under.items()}
    return {
        transformer: verdict if verdict is Verdict.SUPPLIED or lit - {transformer} else Verdict.UNKNOWN
        for transformer, verdict in found.items()
    }


def _verdict(meters: list[Witness], gateways: Mapping[str, bool], end: int) -> Verdict:
    heard = [one for one in meters if _heard(one, end)]
    if any(one.own for one in heard):
        return Verdict.SUPPLIED
    homes = [one for one in meters if not one.own]
    telling = [one for one in homes if gateways.get(one.door, True)]  # the heard ones are all among them
    if len(telling) >= METERS_MIN:
        silent = sum(one.asked and not _heard(one, end) for one in telling)
        if silent * 100 >= DARK_PERCENT * len(telling) and silent >= METERS_MIN:
            return Verdict.DARK
        return Verdict.SUPPLIED if len(heard) * 100 >= LIGHT_PERCENT * len(telling) else Verdict.UNKNOWN
    if not heard and sum(one.asked and not gateways.get(one.door, True) for one in homes) >= METERS_MIN:
        return Verdict.SUSPECT
    return Verdict.SUPPLIED if heard else Verdict.UNKNOWN


def _heard(one: Witness, end: int) -> bool:
    return one.heard_at is not None and one.heard_at >= end


def refined(
    began_at: int, ended_at: int, meters: int, events: Iterable[tuple[MeterId, int, MeterEventKind]]
) -> tuple[int, int] | None:
    """When an outage truly began and ended by its meters' power events; None while too few of them tell.

    Of `meters` witnesses; the medians, since one meter's clock may be wrong. Of several events of one meter the nearest
    counts: another outage may have begun or ended within the hour.
    """
    downs: dict[MeterId, int] = {}
    ups: dict[MeterId, int] = {}
    for meter, at, kind in events:
        told, about = (downs, began_at) if kind is MeterEventKind.POWER_DOWN else (ups, ended_at)
        known = told.get(meter)
        if abs(at - about) <= EVENT_REACH_S and (known is None or abs(at - about) < abs(known - about)):
            told[meter] = at
    both = downs.keys() & ups.keys()
    if not both or len(both) * 100 < EVENTS_PERCENT * meters:
        return None
    begin, end = (int(median(times[meter] for meter in both)) for times in (downs, ups))
    return (begin, end) if begin < end else None


def last_heard(given: Iterable[Witness], transformer: TransformerId, end: int) -> int:
    """When the silent homes of a transformer were heard last, the median of them; at most `end`."""
    times = [
        one.heard_at
        for one in given
        if one.transformer == transformer and not one.own and one.heard_at is not None and end - HEARD_S <= one.heard_at
    ]
    silent = [at for at in times if at < end]
    return int(median(silent)) if silent else end


def heard_again(given: Iterable[Witness], transformer: TransformerId, end: int) -> int:
    """The interval end for which the first meter of a transformer was heard again; `end` when none was."""
    times = [one.heard_at or end for one in given if one.transformer == transformer and _heard(one, end)]
    return min(times, default=end)


def evidence_of(verdict: Verdict) -> Evidence:
    """Of an outage that is opened by this verdict."""
    return Evidence.GATEWAY_SILENT if verdict is Verdict.SUSPECT else Evidence.METERS_SILENT
