"""Putting a day right again from what it was made of: hours from chunks, areas from hours. Floor: central_sync/balance.

On the reading walk. A person asks for it after rows were deleted or altered (`central-sync verify --repair`); ingest
asks for the areas alone before chunks come a second time, so that booking them moves from a true sum. The caller holds
the node's turn. Looking and mending are one piece of code: what `look` tells is what `mend` would write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from central_sync.balance.booking import place_day_of
from central_sync.balance.cells import (
    AREA_COLUMNS,
    EPOCH,
    FINAL,
    HOURS,
    KNOWN,
    NUMBER,
    CellsFault,
    Int64,
    NewHours,
    PlaceDay,
    booked_to_text,
    empty_day,
    movement,
    pack,
    revise,
    unpack,
)
from central_sync.balance.hours import hours_of_chunk
from central_sync.balance.topology import KnownRegistry, RegistryShelf
from central_sync.store.port import AreaKey, HubStore, HubTransaction
from central_sync.store.rows import ChunkRow, PlaceDayRow
from gridmodel.clock import Compute
from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from gridmodel.period import day_bounds, days_of_month
from protocols.sync.chunk import decode_columns

CHUNKS_AT_ONCE = 8
"""Read at once: up to 8 MiB."""
TOLD_MAX = 100
"""Things named in one report; more have one cause."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a day lacks of what it should be."""

    places: tuple[PlaceDayRow, ...]
    days: Mapping[AreaKey, bytes]
    told: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Told:
    """The hours that one chunk gives one place."""

    hours: NewHours
    chunk: str


class DayRestore:
    """Looks at days and puts them right; see the module."""

    def __init__(self, store: HubStore, shelf: RegistryShelf, compute: Compute) -> None:
        self._store = store
        self._shelf = shelf
        self._compute = compute

    async def look(self, node: NodeId, day: str) -> list[str]:
        """What of the day is not what its chunks and hours say; nothing is changed."""
        told, wrong = await self._chunk_hours(node, day)

        async def verb(tx: HubTransaction) -> list[str]:
            plan = await self._plan(tx, node, day, told)
            return [*wrong, *plan.told, *(await self._month(tx, node, day, plan.days))[1]]

        return (await self._store.read(verb))[:TOLD_MAX]

    async def mend(self, node: NodeId, day: str) -> list[str]:
        """Write what `look` tells, in one transaction; gives what was written."""
        told, _ = await self._chunk_hours(node, day)
        return await self._store.write_for(node, lambda tx: self._write(tx, node, day, told))

    async def mend_areas(self, node: NodeId, day: str) -> list[str]:
        """Only add the day's areas and its month up anew from the hours in force."""
        return await self._store.write_for(node, lambda tx: self._write(tx, node, day, {}))

    async def _write(self, tx: HubTransaction, node: NodeId, day: str, told: Mapping[str, list[_Told]]) -> list[str]:
        plan = await self._plan(tx, node, day, told)
        months, of_month = await self._month(tx, node, day, plan.days)
        if plan.places:
            await tx.put_place_days(plan.places)
        if plan.days:
            await tx.put_balance_days(node, day, plan.days)
        if months:
            await tx.put_balance_months(node, day[:7], months)
        return [*plan.told, *of_month][:TOLD_MAX]

    async def _chunk_hours(self, node: NodeId, day: str) -> tuple[dict[str, list[_Told]], list[str]]:
        """What the day's sound chunks say, by place, lowest revision first; and the chunks that are not sound."""
        found: list[tuple[int, int, _Told]] = []
        wrong: list[str] = []
        after = ""
        while rows := await self._store.read(lambda tx, last=after: tx.chunks_of(node, day, last, CHUNKS_AT_ONCE)):  # type: ignore[misc]
            after = rows[-1].id
            for row in rows:
                known = await self._shelf.get(node, row.registry_version)
                if known is None:
                    wrong.append(f"chunk {row.id[:12]}: registry {row.registry_version} is not kept")
                    continue
                try:
                    hours = await self._compute.run(_hours, row, known)
                except Fault as fault:
                    wrong.append(f"chunk {row.id[:12]}: {fault.code}: {fault.what}")
                    continue
                found += [(row.epoch, row.number, _Told(one, row.id)) for one in hours]
        by_place: dict[str, list[_Told]] = {}
        for _, _, one in sorted(found, key=lambda item: (item[0], item[1], item[2].chunk)):
            by_place.setdefault(one.hours.place, []).append(one)
        return by_place, wrong

    async def _plan(self, tx: HubTransaction, node: NodeId, day: str, told: Mapping[str, list[_Told]]) -> _Plan:
        held = await tx.all_place_days(day, node)
        moved = await tx.node_balances(node, day)
        others = {place for place, row in (await tx.place_days(day, sorted(told))).items() if row.node != node}
        told = {place: some for place, some in told.items() if place not in others}
        return await self._compute.run(_planned, node, day, held, moved, told)

    async def _month(
        self, tx: HubTransaction, node: NodeId, day: str, changed: Mapping[AreaKey, bytes]
    ) -> tuple[dict[AreaKey, bytes], list[str]]:
        """The month's areas that are not the sum of its days, once `changed` stands for `day`."""
        month = day[:7]
        days = []
        for one in days_of_month(month):
            stored = await tx.node_balances(node, one)
            days.append({**stored, **changed} if one == day else stored)
        return await self._compute.run(_month_planned, month, await tx.node_balances(node, month), days)


def _hours(row: ChunkRow, known: KnownRegistry) -> tuple[NewHours, ...]:
    """Pure: what a chunk gives; raises Fault when its bytes or its content are not what they were."""
    if sha256(row.content).hexdigest() != row.id:
        raise CellsFault("TQ-HB-12", "the blob is not what was received", "central-sync verify --repair fetches it")
    columns = decode_columns(row.content)
    _, end = day_bounds(row.day, known.registry.zone)
    return hours_of_chunk(columns, known, end).get(row.day, ())


def _planned(
    node: NodeId, day: str, held: Sequence[PlaceDayRow], moved: Mapping[AreaKey, bytes], told: Mapping[str, list[_Told]]
) -> _Plan:
    """Pure: the rows of places and areas that are to be written."""
    rows = {row.place: row for row in held}
    fresh: dict[str, PlaceDayRow] = {}
    lines: list[str] = []
    for place, some in told.items():
        row = _restored(node, day, rows.get(place), some)
        if row is not None and row != rows.get(place):
            lines.append(f"{place}: its hours are {'not there' if place not in rows else 'not those of its chunks'}")
            fresh[place] = row
    worked_out: dict[AreaKey, Int64] = {}
    for row in (rows | fresh).values():
        movement(worked_out, empty_day(row.kind), place_day_of(row))
    days: dict[AreaKey, bytes] = {}
    nothing = np.zeros((HOURS, AREA_COLUMNS), np.int64)
    for key in sorted(worked_out.keys() | moved.keys()):
        right = worked_out.get(key, nothing)
        if not np.array_equal(_unpacked(moved.get(key), HOURS), right):
            days[key] = pack(right)
            if key not in moved or not fresh:
                lines.append(f"{key[0]} {key[1]}: the balance of {day} is not the sum of its parts")
    return _Plan(tuple(fresh.values()), days, tuple(lines))


def _restored(node: NodeId, day: str, row: PlaceDayRow | None, told: Sequence[_Told]) -> PlaceDayRow | None:
    """A place's row with every hour that its chunks tell taken from them; hours of other origin stay."""
    kind = told[0].hours.kind
    try:
        old = empty_day(kind) if row is None else place_day_of(row)
    except CellsFault:
        old = empty_day(kind)
    state = old.state.copy()
    known = {(one.hours.epoch, one.hours.number) for one in told}
    for hour in range(HOURS):
        if state[hour, KNOWN] == FINAL and (int(state[hour, EPOCH]), int(state[hour, NUMBER])) in known:
            state[hour] = 0
    current, chunk = PlaceDay(kind, state, old.booked), None if row is None else row.chunk
    for one in told:
        revised = revise(current, one.hours)
        if revised.changed:
            current, chunk = revised.day, one.chunk
    if row is not None and np.array_equal(current.state, old.state) and booked_to_text(current.booked) == row.booked:
        return row
    return PlaceDayRow(told[0].hours.place, day, node, kind, pack(current.state), booked_to_text(current.booked), chunk)


def _month_planned(
    month: str, moved: Mapping[AreaKey, bytes], by_day: Sequence[Mapping[AreaKey, bytes]]
) -> tuple[dict[AreaKey, bytes], list[str]]:
    """Pure: the month's areas to be written, and what they are."""
    worked_out: dict[AreaKey, Int64] = {}
    for day in by_day:
        for key, blob in day.items():
            total = _unpacked(blob, HOURS).sum(axis=0, keepdims=True)
            worked_out[key] = worked_out[key] + total if key in worked_out else total
    nothing = np.zeros((1, AREA_COLUMNS), np.int64)
    right = {
        key: worked_out.get(key, nothing)
        for key in sorted(worked_out.keys() | moved.keys())
        if not np.array_equal(_unpacked(moved.get(key), 1), worked_out.get(key, nothing))
    }
    lines = [f"{level} {area}: the balance of {month} is not the sum of its days" for level, area in right]
    return {key: pack(one) for key, one in right.items()}, lines


def _unpacked(blob: bytes | None, rows: int) -> Int64:
    """A stored balance; one that is damaged or absent counts for nothing, and so differs from what it should be."""
    if blob is None:
        return np.zeros((rows, AREA_COLUMNS), np.int64)
    try:
        return unpack(blob, rows, AREA_COLUMNS)
    except CellsFault:
        return np.full((rows, AREA_COLUMNS), -1, np.int64)
