"""Booking: new hours of places move the areas above them, in the caller's transaction. Floor: central_sync/balance.

On the reading walk. Ingest calls `book` inside the transaction that also logs the batch and moves its lane's mark, so
that a balance never counts a batch that is not acknowledged, nor misses one that is. The rows of one (node, day) have
one writer, the node's lock; the areas above (region, republic) are sums at reading.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from central_sync.balance.cells import (
    AREA_COLUMNS,
    FINAL,
    HOURS,
    PLACE_COLUMNS,
    Int64,
    NewHours,
    PlaceDay,
    booked_from_text,
    booked_to_text,
    empty_day,
    movement,
    pack,
    revise,
    unpack,
)
from central_sync.store.port import AreaKey, HubTransaction
from central_sync.store.rows import PlaceDayRow
from gridmodel.clock import Compute
from gridmodel.identity import NodeId

INLINE_PLACES_MAX = 16
"""So many places are revised in about 5 ms; more go through the compute port, off the event loop."""
INLINE_AREAS_MAX = 64
"""So many areas are added to in about 5 ms."""


@dataclass(frozen=True, slots=True)
class Booked:
    """What `book` did."""

    places: int
    """Places whose hours changed."""
    contradiction: str
    """A place whose hour came with a revision that is held with another value; then nothing was booked."""


@dataclass(frozen=True, slots=True)
class _Moved:
    rows: tuple[PlaceDayRow, ...]
    days: dict[AreaKey, Int64]
    contradiction: str


async def book(
    tx: HubTransaction,
    compute: Compute,
    node: NodeId,
    days: Mapping[str, Sequence[NewHours]],
    *,
    chunk: str | None = None,
) -> Booked:
    """Book new hours by local day. With a contradiction nothing at all is booked and the caller sets the batch aside.

    `chunk` names the blob from which final hours come.
    """
    moves: dict[str, _Moved] = {}
    for day, new in days.items():
        held = await tx.place_days(day, sorted({one.place for one in new}))
        if len(new) > INLINE_PLACES_MAX:
            moved = await compute.run(_move, node, day, held, new, chunk)
        else:
            moved = _move(node, day, held, new, chunk)
        if moved.contradiction:
            return Booked(0, moved.contradiction)
        moves[day] = moved
    for day, moved in moves.items():
        if moved.rows:
            await _write(tx, compute, node, day, moved)
    return Booked(sum(len(moved.rows) for moved in moves.values()), "")


async def _write(tx: HubTransaction, compute: Compute, node: NodeId, day: str, moved: _Moved) -> None:
    keys = list(moved.days)
    days = await tx.balance_days(node, day, keys)
    months = await tx.balance_months(node, day[:7], keys)
    if len(keys) > INLINE_AREAS_MAX:
        new = await compute.run(_added, moved.days, days, months)
    else:
        new = _added(moved.days, days, months)
    await tx.put_place_days(moved.rows)
    await tx.put_balance_days(node, day, new[0])
    await tx.put_balance_months(node, day[:7], new[1])


def _move(node: NodeId, day: str, held: dict[str, PlaceDayRow], new: Sequence[NewHours], chunk: str | None) -> _Moved:
    """Pure: the rows to write and what they move."""
    rows: dict[str, PlaceDayRow] = {}
    days: dict[AreaKey, Int64] = {}
    for one in new:
        row = rows.get(one.place, held.get(one.place))
        if row is not None and row.node != node:
            return _Moved((), {}, f"{one.place} on {day}, which {row.node} reported")
        old = empty_day(one.kind) if row is None else place_day_of(row)
        revised = revise(old, one)
        if revised.contradiction is not None:
            return _Moved((), {}, f"{one.place}, hour {revised.contradiction + 1} of {day}")
        if not revised.changed:
            continue
        movement(days, old, revised.day)
        origin = chunk if one.known == FINAL else (None if row is None else row.chunk)
        rows[one.place] = PlaceDayRow(
            one.place, day, node, one.kind, pack(revised.day.state), booked_to_text(revised.day.booked), origin
        )
    return _Moved(tuple(rows.values()), {key: moved for key, moved in days.items() if np.any(moved)}, "")


def place_day_of(row: PlaceDayRow) -> PlaceDay:
    """A stored place and day as the core knows it."""
    return PlaceDay(row.kind, unpack(row.state, HOURS, PLACE_COLUMNS), booked_from_text(row.booked))


def _added(
    moved: Mapping[AreaKey, Int64], days: Mapping[AreaKey, bytes], months: Mapping[AreaKey, bytes]
) -> tuple[dict[AreaKey, bytes], dict[AreaKey, bytes]]:
    """Pure: the new days and months of the moved areas."""
    return (
        {key: _plus(days.get(key), one) for key, one in moved.items()},
        {key: _plus(months.get(key), one.sum(axis=0, keepdims=True)) for key, one in moved.items()},
    )


def _plus(blob: bytes | None, moved: Int64) -> bytes:
    return pack(moved if blob is None else unpack(blob, len(moved), AREA_COLUMNS) + moved)
