"""The audit of balances: everything worked out anew and compared with what was moved. Floor: central_sync/balance.

On the reading walk. Twice, from two sources: the day and month aggregates from the hours in force of every place, and
those hours from the chunks as they were received. A balance that was moved right a million times and wrong once is
found here within a day; any difference is an alarm, never mended in silence.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np

from central_sync.balance.booking import place_day_of
from central_sync.balance.cells import (
    AREA_COLUMNS,
    CELL,
    FINAL,
    HOURS,
    KNOWN,
    CellsFault,
    Int64,
    empty_day,
    movement,
    unpack,
)
from central_sync.balance.hours import hours_of_chunk
from central_sync.balance.topology import RegistryShelf
from central_sync.store.port import AreaKey, HubStore, HubTransaction
from central_sync.store.rows import HUB, AlarmRow, PlaceDayRow
from gridmodel.clock import Compute
from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from gridmodel.period import day_bounds
from protocols.sync.chunk import decode_columns

ALARM_KIND = "balance_differs"
DIFFERENCES_MAX = 100
"""Differences named in one report; more have one cause."""
DAYS_RIGHT_MAX = 20_000
"""Days found right that are remembered, 0.2 kB each: 40 nights of 500 nodes."""


_Ground = tuple[str, str, int, int]
"""(chunk, day, registry's version, field works put over it): the same four make the same hours."""


@dataclass(slots=True)
class AuditReport:
    """What was looked at and what did not agree."""

    days: int = 0
    """(node, day) pairs."""
    places: int = 0
    """Places whose hours in force were added up."""
    chunks: int = 0
    """Chunks decoded anew."""
    differences: list[str] = field(default_factory=list)
    noted: int = 0
    """Differences found, those beyond the named ones included."""

    def note(self, what: str) -> None:
        """One more difference."""
        self.noted += 1
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(what)


class BalanceAudit:
    """Recomputes; reads snapshots day by day, so that it can run beside ingest."""

    def __init__(self, store: HubStore, shelf: RegistryShelf, compute: Compute) -> None:
        self._store = store
        self._shelf = shelf
        self._compute = compute
        self._right: dict[tuple[NodeId, str], tuple[bytes, set[_Ground]]] = {}
        """Of each day that this process found right: the digest of its rows, and under what its chunks were read."""

    async def run(self, now: int, since_day: str = "") -> AuditReport:
        """Look at every node's days from `since_day` on, and at their months; differences become alarms."""
        report = AuditReport()
        keys = await self._store.read(lambda tx: tx.place_day_keys())
        months: dict[tuple[NodeId, str], None] = {}
        for node, day in keys:
            if day >= since_day:
                await self._day(node, day, report)
                months[node, day[:7]] = None
        for node, month in months:
            await self._month(node, month, [day for one, day in keys if (one, day[:7]) == (node, month)], report)
        if report.differences:
            await self._alarm(report.differences, now)
        return report

    async def _day(self, node: NodeId, day: str, report: AuditReport) -> None:
        async def verb(tx: HubTransaction) -> tuple[list[PlaceDayRow], dict[AreaKey, bytes]]:
            return await tx.all_place_days(day, node), await tx.node_balances(node, day)

        rows, moved = await self._store.read(verb)
        report.days += 1
        report.places += len(rows)
        source = await self._compute.run(_source_of, rows, moved)
        held, grounds = self._right.pop((node, day), (b"", set[_Ground]()))
        if held != source:
            grounds = set()
        before = report.noted
        for what in () if held == source else await self._compute.run(_differences_of_day, rows, moved):
            report.note(f"{node} {day}: {what}")
        by_chunk: dict[str, list[PlaceDayRow]] = defaultdict(list)
        for row in rows:
            if row.chunk is not None:
                by_chunk[row.chunk].append(row)
        for chunk_id, some in by_chunk.items():
            await self._chunk(node, chunk_id, some, report, grounds)
        if report.noted == before:
            self._right[node, day] = source, grounds
            if len(self._right) > DAYS_RIGHT_MAX:
                del self._right[next(iter(self._right))]

    async def _chunk(
        self, node: NodeId, chunk_id: str, rows: list[PlaceDayRow], report: AuditReport, grounds: set[_Ground]
    ) -> None:
        """Compare rows with their chunk, unless these very rows agreed with it on one of `grounds`; adds its own."""
        chunk = await self._store.read(lambda tx: tx.chunk(chunk_id))
        where = f"{node} {rows[0].day}, chunk {chunk_id[:12]}"
        if chunk is None:
            report.note(f"{where}: it is not kept though hours come from it")
            return
        registry = await self._shelf.get(node, chunk.registry_version)
        if registry is None:
            report.note(f"{where}: registry {chunk.registry_version} is not kept")
            return
        report.chunks += 1
        if sha256(chunk.content).hexdigest() != chunk.id:
            report.note(f"{where}: the blob is not what was received")
            return
        ground = (chunk_id, chunk.day, chunk.registry_version, registry.registry.works)
        if ground in grounds:
            return
        grounds.add(ground)
        try:
            columns = await self._compute.run(decode_columns, chunk.content)
            _, end = day_bounds(chunk.day, registry.registry.zone)
            told = await self._compute.run(hours_of_chunk, columns, registry, end)
        except Fault as fault:
            report.note(f"{where}: {fault.code}: {fault.what}")
            return
        cells = {one.place: one.cells for one in told[chunk.day]}
        for row in rows:
            state = place_day_of(row).state
            final = state[:, KNOWN] == FINAL
            if row.place not in cells or not np.array_equal(state[final, :CELL], cells[row.place][final]):
                report.note(f"{where}: the hours of {row.place} are not those of its chunk")

    async def _month(self, node: NodeId, month: str, days: list[str], report: AuditReport) -> None:
        async def verb(tx: HubTransaction) -> tuple[dict[AreaKey, bytes], list[dict[AreaKey, bytes]]]:
            return await tx.node_balances(node, month), [await tx.node_balances(node, day) for day in days]

        moved, by_day = await self._store.read(verb)
        for what in await self._compute.run(_differences_of_month, moved, by_day):
            report.note(f"{node} {month}: {what}")

    async def _alarm(self, differences: list[str], now: int) -> None:
        told = "; ".join(differences[:3])
        alarm_id = "audit-" + sha256("\n".join(differences).encode("utf-8")).hexdigest()[:24]
        row = AlarmRow(HUB, alarm_id, ALARM_KIND, "balances", now, told[:400], None)
        await self._store.write(lambda tx: tx.put_alarms([row]))


def _source_of(rows: list[PlaceDayRow], moved: Mapping[AreaKey, bytes]) -> bytes:
    """Pure: a digest of all that a day is worked out from. A chunk is its own digest, and looked at again each time."""
    told = [(row.place, row.day, row.node, row.kind, bytes(row.state), row.booked, row.chunk) for row in rows]
    return sha256(repr((told, sorted((key, bytes(blob)) for key, blob in moved.items()))).encode()).digest()


def _differences_of_day(rows: list[PlaceDayRow], moved: Mapping[AreaKey, bytes]) -> list[str]:
    """Pure: the areas whose day is not the sum of its places."""
    worked_out: dict[AreaKey, Int64] = {}
    for row in rows:
        try:
            movement(worked_out, empty_day(row.kind), place_day_of(row))
        except CellsFault as fault:
            return [f"{row.place}: {fault.what}"]
    return _compared(worked_out, moved, HOURS)


def _differences_of_month(moved: Mapping[AreaKey, bytes], by_day: list[dict[AreaKey, bytes]]) -> list[str]:
    """Pure: the areas whose month is not the sum of its days."""
    worked_out: dict[AreaKey, Int64] = {}
    for day in by_day:
        for key, blob in day.items():
            total = unpack(blob, HOURS, AREA_COLUMNS).sum(axis=0, keepdims=True)
            worked_out[key] = worked_out[key] + total if key in worked_out else total
    return _compared(worked_out, moved, 1)


def _compared(worked_out: Mapping[AreaKey, Int64], moved: Mapping[AreaKey, bytes], rows: int) -> list[str]:
    nothing = np.zeros((rows, AREA_COLUMNS), np.int64)
    differences = []
    for level, area in sorted(worked_out.keys() | moved.keys()):
        blob = moved.get((level, area))
        try:
            stands = nothing if blob is None else unpack(blob, rows, AREA_COLUMNS)
        except CellsFault as fault:
            differences.append(f"{level} {area}: {fault.what}")
            continue
        if not np.array_equal(stands, worked_out.get((level, area), nothing)):
            differences.append(f"{level} {area}: the moved balance is not the sum of its parts")
    return differences
