"""What a look of enforcement begins with, read in one snapshot. Floor: edge_node/supply; on the payment walk.

Mostly there is nothing: one statement tells that neither a sighting nor an intent nor a plan waits, a second one lists
who is dark.
"""

from collections.abc import Collection
from dataclasses import dataclass

from edge_node.store.operations import CutPlan
from edge_node.store.relays import RelayRow, Sighting, awaited
from edge_node.supply.facts import Sources
from gridmodel.identity import UsagePointId
from hosting.database import Connection

SIGHTINGS_PER_TICK = 500
"""Booked in one transaction: some 0.3 s at a node's first poll, when every relay is new."""


@dataclass(frozen=True, slots=True)
class Glance:
    """What a look begins with."""

    looks: list[Sighting]
    unsent: bool
    """An intent without a command that nobody is carrying out."""
    plans: list[CutPlan]
    dark: list[RelayRow]
    """The first DARK_PER_READ that we may have darkened."""
    protections: tuple[int, int]
    """See `Records.protections_stamp`; asked only when somebody is dark."""
    turned: bool
    """A protection began or ended lately."""


async def glance(sources: Sources, busy: Collection[UsagePointId], window: tuple[int, int]) -> Glance:
    """All of it; points in `busy` have a movement under way, so that their sightings and intents are left alone.

    Protections that begin or end are looked for within `window`, UTC seconds, both ends in it.
    """

    async def verb(conn: Connection) -> Glance:
        waits = await awaited(conn)
        open_ones = await sources.operations.under_way(conn) if waits.operations else []
        dark = await sources.relays.dark_by_us(conn, "")
        stamp, turned = await sources.records.protections_stamp(conn, *window) if dark else ((0, 0), False)
        return Glance(
            looks=await sources.relays.sightings(conn, busy, SIGHTINGS_PER_TICK) if waits.sightings else [],
            unsent=any(one.sent_at is None and one.usage_point not in busy for one in open_ones),
            plans=await sources.operations.plans(conn) if waits.plans else [],
            dark=dark,
            protections=stamp,
            turned=turned,
        )

    return await sources.control.read(verb)
