"""What the silence of many meters means: no supply, or a gateway that is silent itself. Pure. Room: metering; reading.

A meter that stands behind an address with others says something by its silence only while another one behind the same
address answers: else it is the gateway that is silent, and nobody can tell why. A meter with an address of its own
speaks for itself. Nobody is called dark unless another transformer is heard: this node's own line may be cut.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from edge_node.store.outages import Evidence
from gridmodel.identity import MeterId, TransformerId
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
    address: str
    heard_at: int | None
    """The last interval end for which it was heard; None: never."""
    own: bool = False
    """The transformer's own meter, on its low-voltage side: heard, it proves supply by itself."""


def witnesses(registry: Registry, topology: Topology, heard: Mapping[str, int]) -> list[Witness]:
    """Every meter under a transformer; `heard` gives the last interval end by point. Heavy: a task for `compute`."""
    found = []
    for point, transformer in topology.transformer_of.items():
        placed = topology.installation_at.get(point)
        if placed is not None:
            address = registry.meter[placed.meter].address
            found.append(Witness(placed.meter, transformer, address, heard.get(point)))
    for transformer, supply in registry.transformer_meter.items():
        placed = topology.installation_at.get(supply.id)
        if placed is not None:
            address = registry.meter[placed.meter].address
            found.append(Witness(placed.meter, transformer, address, heard.get(supply.id), own=True))
    return found


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
        behind.setdefault(one.address, []).append(one)
        under.setdefault(one.transformer, []).append(one)
    gateways = {
        address: any(_heard(one, end) for one in meters) for address, meters in behind.items() if len(meters) > 1
    }
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
    telling = [one for one in homes if gateways.get(one.address, True)]  # the heard ones are all among them
    if len(telling) >= METERS_MIN:
        silent = len(telling) - len(heard)
        if silent * 100 >= DARK_PERCENT * len(telling) and silent >= METERS_MIN:
            return Verdict.DARK
        return Verdict.SUPPLIED if len(heard) * 100 >= LIGHT_PERCENT * len(telling) else Verdict.UNKNOWN
    if not heard and len(homes) - len(telling) >= METERS_MIN:
        return Verdict.SUSPECT
    return Verdict.SUPPLIED if heard else Verdict.UNKNOWN


def _heard(one: Witness, end: int) -> bool:
    return one.heard_at is not None and one.heard_at >= end


def refined(
    began_at: int, ended_at: int, meters: int, events: Iterable[tuple[MeterId, int, MeterEventKind]]
) -> tuple[int, int] | None:
    """When an outage truly began and ended by its meters' power events; None while too few of them tell.

    Of `meters` witnesses; the medians, since one meter's clock may be wrong.
    """
    downs: dict[MeterId, int] = {}
    ups: dict[MeterId, int] = {}
    for meter, at, kind in events:
        if kind is MeterEventKind.POWER_DOWN and abs(at - began_at) <= EVENT_REACH_S:
            downs.setdefault(meter, at)
        elif kind is MeterEventKind.POWER_UP and abs(at - ended_at) <= EVENT_REACH_S:
            ups[meter] = at
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
