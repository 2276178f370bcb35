"""The node in figures: what the office's pages, `edge-node status` and the hub are told. Room: console; all walks.

One gathering for all three, so that they never tell different stories. Everything here is read; nothing decides.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from edge_node.console.reliability import reliability
from edge_node.store.opening import EdgeStore
from edge_node.store.operations import Movement
from edge_node.store.state import Mark, agreement_of
from edge_node.uplink.hub_link import LinkView
from gridmodel.clock import ClockTrust, UtilityClock
from gridmodel.event import AlarmKind
from gridmodel.identity import NodeId
from gridmodel.period import day_bounds, local_day
from hosting.supervision import TaskState
from protocols.authority.mandate import Mandate

CUTS_LISTED_MAX = 5_000
"""Operations of one day that are counted: five times the largest quota of a node."""
SOFTWARE = "tarmoq 0.1.0"
"""Told to the hub, so that a mixed fleet is seen."""


class StatusBoard:
    """Gathers the status of one running node, or (without link and tasks) of the store beside it."""

    def __init__(
        self,
        store: EdgeStore,
        *,
        node: NodeId,
        zone: str,
        clock: UtilityClock,
        link: Callable[[], LinkView] | None = None,
        tasks: Callable[[], Sequence[TaskState]] = tuple,
    ) -> None:
        self._store = store
        self._node = node
        self._zone = zone
        self._clock = clock
        self._link = link
        self._tasks = tasks

    async def full(self) -> dict[str, Any]:
        """Everything, for pages and the command."""
        store, now = self._store, self._clock.now()
        registry = store.registries.newest
        lanes = await store.outbox.backlog()
        marks = await store.state.get_all()
        return {
            "node": self._node,
            "at": now,
            "zone": self._zone,
            "software": SOFTWARE,
            "running": self._link is not None,
            "link": None if self._link is None else asdict(self._link()),
            "lanes": {lane.value: asdict(owed) for lane, owed in lanes.items()},
            "bundles": {
                "written": json.loads(marks.get(Mark.BUNDLE_WRITTEN, "null")),
                "applied": json.loads(marks.get(Mark.BUNDLE_APPLIED, "null")),
            },
            "completeness": json.loads(marks.get(Mark.COMPARED, "null")),
            "marks": {mark.value: value for mark, value in marks.items()},
            "down_offsets": {lane.value: offset for lane, offset in (await store.downlink.offsets()).items()},
            "refused_items": len(await store.downlink.refused()),
            "set_aside": len(await store.outbox.quarantined()),
            "reconciled": await store.state.reconciled(),
            "agreement": _agreement(marks),
            "clock_trusted": self._clock.trust().value == "trusted",
            "clock": await self._clock_told(),
            "registry_version": 0 if registry is None else registry.version,
            "usage_points": 0 if registry is None else len(registry.usage_points),
            "meters": 0 if registry is None else len(registry.meters),
            "meters_silent": await store.alarms.count(AlarmKind.METER_SILENT),
            "meters_absent": {reason.value: count for reason, count in (await store.absences.counts()).items()},
            "newest_reading_end": store.readings.newest_end,
            "gaps": {reason.value: count for reason, count in (await store.readings.gaps.counts()).items()},
            "meter_clocks": await store.meter_clocks.counts(),
            "reliability": await reliability(store, self._zone, now),
            "validation": await self._validation(now),
            "relays": {state.value: count for state, count in (await store.relays.counts()).items()},
            "cuts_today": await self._cuts_today(now),
            "stops": [asdict(stop) for stop in await store.control.read(store.records.stops)],
            "mandate": _mandate(await self._mandate()),
            "watermarks": dict(await store.ledger.watermarks()),
            "alarms": [asdict(row) for row in await store.alarms.standing(50)],
            "tasks": [
                {
                    "name": task.name,
                    "condition": task.condition.value,
                    "restarts": task.restarts,
                    "last_error": task.last_error,
                }
                for task in self._tasks()
            ],
        }

    async def brief(self) -> dict[str, Any]:
        """What the hub is told: figures only, well within a frame."""
        store, now = self._store, self._clock.now()
        registry = store.registries.newest
        lanes = await store.outbox.backlog()
        mandate = await self._mandate()
        stops = await store.control.read(store.records.stops)
        waiting = [owed.oldest_at for owed in lanes.values() if owed.oldest_at is not None]
        return {
            "at": now,
            "backlog": {lane.value: owed.records + owed.batches for lane, owed in lanes.items()},
            "oldest_waiting_at": min(waiting, default=None),
            "link_up": self._link is not None and self._link().up,
            "registry_version": 0 if registry is None else registry.version,
            "reconciled": await store.state.reconciled(),
            "agreement": agreement_of(await store.state.get_all())[0].value,
            "cuts_stopped": bool(stops),
            "cuts_today": await self._cuts_today(now),
            "clock_trusted": self._clock.trust().value == "trusted",
            "mandate_until": None if mandate is None else mandate.expires,
            "usage_points": 0 if registry is None else len(registry.usage_points),
            "meters": 0 if registry is None else len(registry.meters),
            "meters_silent": await store.alarms.count(AlarmKind.METER_SILENT),
            "newest_reading_end": store.readings.newest_end,
            "refused_items": len(await store.downlink.refused()),
            "registry_refused": await store.downlink.registry_refused(),
            "software": SOFTWARE,
        }

    async def _cuts_today(self, now: int) -> int:
        first, _ = day_bounds(local_day(now + 1, self._zone), self._zone)
        operations = await self._store.operations.since(first, CUTS_LISTED_MAX)
        return sum(operation.action is Movement.CUT for operation in operations)

    async def _validation(self, now: int) -> dict[str, dict[str, int]]:
        """How often each rule spoke today and yesterday (local days)."""
        counts, today = self._store.readings.rule_counts, local_day(now + 1, self._zone)
        yesterday = local_day(day_bounds(today, self._zone)[0], self._zone)
        return {"today": await counts.of_day(today), "yesterday": await counts.of_day(yesterday)}

    async def _clock_told(self) -> dict[str, Any]:
        """The present as an interval, what speaks against the clock, and what waits for the time."""
        bounds = self._clock.bounds()
        return {
            "earliest": bounds.earliest,
            "latest": bounds.latest,
            "time_known": self._clock.trust() is ClockTrust.TRUSTED,
            "confirmed": self._clock.confirmed(),
            "doubts": [doubt.value for doubt in self._clock.doubts()],
            "held_reads": await self._store.held_reads.count(),
        }

    async def _mandate(self) -> Mandate | None:
        bounds = self._clock.bounds()
        return await self._store.control.read(lambda conn: self._store.records.mandate_in_force(conn, bounds))


def _agreement(marks: Mapping[Mark, str]) -> dict[str, Any]:
    state, why = agreement_of(marks)
    return {"state": state.value, "why": why, "recalled": json.loads(marks.get(Mark.RECALLED, "null"))}


def _mandate(mandate: Mandate | None) -> dict[str, Any] | None:
    if mandate is None:
        return None
    return {
        "id": mandate.id,
        "not_before": mandate.not_before,
        "expires": mandate.expires,
        "quota_per_day": mandate.quota_per_day,
        "policy_version": mandate.policy_version,
    }
