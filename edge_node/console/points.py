"""Usage points and areas as pages list them: where, what relay, what money, how fresh. Room: console; all walks.

Read in pages of bounded size from the registry that holds and the store; the figures of an area come from the cells of
closed hours, with what they do not know (gridmodel.balance).
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from edge_node.store.opening import EdgeStore
from edge_node.store.relays import RelayRow
from gridmodel.account import credit_tiyin, overdue
from gridmodel.clock import UtilityClock
from gridmodel.control import RelayState
from gridmodel.fault import Fault
from gridmodel.identity import AccountId, UsagePointId
from gridmodel.registry import Registry

SCANNED_MAX = 5_000
"""Points looked through for one filtered page; a page may come short and still have a next one."""


class PageFault(Fault):
    """A page that cannot be shown as asked."""


class PointsBoard:
    """Pages of usage points."""

    def __init__(self, store: EdgeStore, clock: UtilityClock) -> None:
        self._store = store
        self._clock = clock

    async def page(self, after: str, limit: int, state: str) -> dict[str, Any]:
        """``{"points": […], "next": id or null}`` after the id `after`, of relay state `state` if one is given."""
        if state and state not in set(RelayState):
            raise PageFault("TQ-CN-03", f"{state:.40} is no state of a relay", f"use one of {', '.join(RelayState)}")
        registry = self._store.registries.newest
        if registry is None:
            return {"points": [], "next": None}
        ids = registry.usage_point_ids
        start = bisect_right(ids, after)
        chosen: list[UsagePointId] = []
        rows: dict[UsagePointId, RelayRow] = {}
        end = start
        while end < len(ids) and len(chosen) < limit and end - start < SCANNED_MAX:
            part = ids[end : end + max(1, limit - len(chosen))]
            found = await self._store.control.read(lambda conn, part=part: self._store.relays.rows(conn, part))  # type: ignore[misc]
            rows |= found
            chosen += [one for one in part if not state or _state(found.get(one)) == state]
            end += len(part)
        points = [await self._point(registry, point, rows.get(point)) for point in chosen]
        return {"points": points, "next": ids[end - 1] if end < len(ids) and end > start else None}

    async def _point(self, registry: Registry, point_id: UsagePointId, row: RelayRow | None) -> dict[str, Any]:
        now = self._clock.now()
        point = registry.usage_point[point_id]
        topology = registry.topology(now)
        placed = topology.installation_at.get(point_id)
        latest = self._store.readings.latest(point_id)
        transformer = topology.transformer_of.get(point_id)
        return {
            "usage_point": point_id,
            "address": point.address,
            "consumer_class": point.consumer_class.value,
            "protected_class": point.protected_class,
            "district": point.district,
            "transformer": transformer,
            "feeder": None if transformer is None else topology.feeder_of.get(transformer),
            "meter": None if placed is None else placed.meter,
            "relay": _state(row),
            "cause": None if row is None or row.cause is None else row.cause.value,
            "since": None if row is None else row.since,
            "load_w": None if row is None else row.load_w,
            "paid_and_dark_since": None if row is None else row.paid_at,
            "latest_end": None if latest is None else latest.end,
            "latest_quality": None if latest is None else latest.quality.name.lower(),
            "accounts": await self._money(registry.accounts_at.get(point_id, ()), now),
        }

    async def _money(self, accounts: Sequence[AccountId], now: int) -> list[Mapping[str, Any]]:
        told: list[Mapping[str, Any]] = []
        for account in accounts:
            entries = (await self._store.ledger.statement(account)).entries
            late = overdue(entries, now)
            told.append(
                {
                    "account": account,
                    "credit_tiyin": credit_tiyin(entries),
                    "overdue_tiyin": late.amount_tiyin,
                    "overdue_since": late.oldest_due_at,
                }
            )
        return told


def _state(row: RelayRow | None) -> str:
    return RelayState.UNKNOWN.value if row is None else row.state.value
