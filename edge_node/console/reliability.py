"""How often and how long consumers were without supply, by district. Room: console; walk: reading.

SAIDI and SAIFI of the running month and year, from the outages that this node believes (`gridmodel/reliability.py`).
"""

from collections import Counter
from typing import Any

from edge_node.store.opening import EdgeStore
from gridmodel.period import local_day, month_bounds, year_bounds
from gridmodel.quantity import rounded
from gridmodel.reliability import Indices, indices


async def reliability(store: EdgeStore, zone: str, now: int) -> list[dict[str, Any]]:
    """Each district of the registry in the running local month and year; empty before the first registry."""
    registry = store.registries.newest
    if registry is None:
        return []
    customers = Counter(point.district for point in registry.usage_points)
    today = local_day(now + 1, zone)
    periods = {"month": month_bounds(today[:7], zone)[0], "year": year_bounds(today[:4], zone)[0]}
    outages = await store.outages.since(periods["year"])
    told = []
    for district in registry.districts:
        own = [one for one in outages if one.district == district]
        line: dict[str, Any] = {
            "district": district,
            "customers": customers[district],
            "running": sum(one.ended_at is None for one in own),
            "customers_dark": sum(one.customers for one in own if one.ended_at is None),
        }
        for name, first in periods.items():
            found = indices((one.as_interruption() for one in own), customers[district], first, now)
            line[name] = _told(found, first)
        told.append(line)
    return told


def _told(found: Indices, first: int) -> dict[str, Any]:
    return {
        "from": first,
        "outages": found.interruptions,
        "saidi_min": None if found.saidi_min is None else float(rounded(found.saidi_min, 2)),
        "saifi": None if found.saifi is None else float(rounded(found.saifi, 4)),
        "caidi_min": None if found.caidi_min is None else float(rounded(found.caidi_min, 2)),
    }
