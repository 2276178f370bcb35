"""Closed hours and days: what a node has told of its energy. Floor: edge_node/store; walk: reading.

A close writes the cells that changed, each with its record for the hub, and the mark of the hour in the same control
transaction. A cell is always the full new value under a higher revision; one that did not change is not told again, so
that a close repeated after a crash tells only what is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_node.store.chunks import ChunkRow
from edge_node.store.outbox import ChunkRef, append_chunk, append_record
from edge_node.store.restamping import hour_name
from edge_node.store.state import Mark, forget_mark, read_mark
from gridmodel.balance import NO_ENERGY, HourCell
from gridmodel.network import SupplyPointKind
from gridmodel.reading import Revision
from hosting.database import Connection, Database
from protocols.sync import wire
from protocols.sync.facts import SUPPLY_HOUR, TRANSFORMER_HOUR, PlaceHour
from protocols.sync.lanes import Lane

CELLS_PER_TRANSACTION_MAX = 500
"""Half a district's transformers: the control database is given back within some 50 ms, a payment waits no longer."""
FIRST_EPOCH = 1
"""Of revisions before the hub minted a higher one."""


@dataclass(frozen=True, slots=True)
class PlaceCell:
    """The cell of one place in one hour."""

    place: str
    """TransformerId, or SupplyPointId of a point that is no transformer meter."""
    kind: SupplyPointKind
    cell: HourCell


@dataclass(frozen=True, slots=True)
class HourMark:
    """A closed hour."""

    hour_end: int
    revision: int
    """Of the latest close, from 1."""


@dataclass(frozen=True, slots=True)
class Closed:
    """How far hours and days are closed; None before the first of each."""

    first_hour: int | None
    """The end of the first hour that was ever closed here."""
    last_hour: HourMark | None
    """The latest closed hour; hours before it, from the first on, are all closed."""
    last_day: str | None
    """The latest closed local day; days before it are all closed."""


@dataclass(frozen=True, slots=True)
class DayMark:
    """The latest seal of a day."""

    revision: int
    closed_at: int
    """UTC seconds."""


async def revision_epoch(conn: Connection) -> int:
    """The epoch of revisions made now: the highest that the hub minted for any lane of this node."""
    row = await conn.fetch_one("SELECT coalesce(max(epoch), 0) FROM lane")
    return max(FIRST_EPOCH, 0 if row is None else int(row[0]))


class Hours:
    """The closed hours and days of one node."""

    def __init__(self, control: Database) -> None:
        self._control = control

    async def epoch(self) -> int:
        """See `revision_epoch`."""
        return await self._control.read(revision_epoch)

    async def first_registry_at(self) -> int | None:
        """When this node took in its first registry (the oldest it still has); None before."""

        async def verb(conn: Connection) -> int | None:
            row = await conn.fetch_one("SELECT min(received_at) FROM registry")
            return None if row is None else row[0]

        return await self._control.read(verb)

    async def closed(self) -> Closed:
        """How far closing got, as of one moment."""

        async def verb(conn: Connection) -> Closed:
            row = await conn.fetch_one(
                "SELECT hour_end, revision, (SELECT min(hour_end) FROM hour_closed), (SELECT max(day) FROM day_closed)"
                " FROM hour_closed ORDER BY hour_end DESC LIMIT 1"
            )
            if row is None:
                return Closed(None, None, None)
            return Closed(first_hour=row[2], last_hour=HourMark(row[0], row[1]), last_day=row[3])

        return await self._control.read(verb)

    async def to_close_again(self) -> list[int]:
        """Closed hours that have to be closed again since a lane forked; none once `closed_again` was told."""

        async def verb(conn: Connection) -> list[int]:
            since = await read_mark(conn, Mark.CLOSE_AGAIN_FROM)
            if since is None:
                return []
            rows = await conn.fetch_all(
                "SELECT hour_end FROM hour_closed WHERE hour_end > ? ORDER BY hour_end", (int(since),)
            )
            return [int(end) for (end,) in rows]

        return await self._control.read(verb)

    async def closed_again(self) -> None:
        """They are touched, durably: whoever closes hours takes them from here."""
        await self._control.write(lambda conn: forget_mark(conn, Mark.CLOSE_AGAIN_FROM))

    async def put_hour(self, hour_end: int, cells: Sequence[PlaceCell], now: int, *, told: bool = True) -> int:
        """Close an hour, or close it again; gives how many cells were new or changed.

        With `told` each of them becomes a summary record; without, the day's chunks tell it (a day closed before).
        """
        places = frozenset(one.place for one in cells)
        changed = 0
        for start in range(0, max(1, len(cells)), CELLS_PER_TRANSACTION_MAX):
            part = cells[start : start + CELLS_PER_TRANSACTION_MAX]
            last = start + CELLS_PER_TRANSACTION_MAX >= len(cells)
            writer = _HourPart(hour_end, part, now, told=told, all_places=places if last else None)
            changed += await self._control.write(writer.write)
        return changed

    async def cells(self, hour_end: int) -> dict[str, HourCell]:
        """The cells of a closed hour by place."""

        async def verb(conn: Connection) -> list[tuple[str, bytes]]:
            return await conn.fetch_all(
                "SELECT place, cell FROM hour_cell WHERE hour_end = ? ORDER BY place", (hour_end,)
            )

        return {place: unpack_cell(cell) for place, cell in await self._control.read(verb)}

    # Days -------------------------------------------------------------------------------------------------------------

    async def day_mark(self, day: str) -> DayMark | None:
        """The latest seal of a day; None when it was never sealed."""

        async def verb(conn: Connection) -> DayMark | None:
            row = await conn.fetch_one("SELECT revision, closed_at FROM day_closed WHERE day = ?", (day,))
            return None if row is None else DayMark(*row)

        return await self._control.read(verb)

    async def put_day(self, day: str, revision: int, chunks: Sequence[ChunkRow], now: int) -> None:
        """Close a day (again): its mark and a record for each chunk, which must be durable in the segments."""

        async def verb(conn: Connection) -> None:
            for chunk in chunks:
                await append_chunk(conn, ChunkRef(day, chunk.id, chunk.registry_version), now)
            await conn.execute(
                "INSERT INTO day_closed (day, revision, closed_at) VALUES (?, ?, ?)"
                " ON CONFLICT (day) DO UPDATE SET revision = excluded.revision, closed_at = excluded.closed_at",
                (day, revision, now),
            )

        await self._control.write(verb)


class _HourPart:
    """One transaction of an hour's close; the last one is told all places, and closes the hour."""

    def __init__(
        self,
        hour_end: int,
        cells: Sequence[PlaceCell],
        now: int,
        *,
        told: bool,
        all_places: frozenset[str] | None,
    ) -> None:
        self._hour_end = hour_end
        self._cells = cells
        self._now = now
        self._told = told
        self._all_places = all_places

    async def write(self, conn: Connection) -> int:
        """Write what changed, under a revision above all earlier ones of the hour; gives how many cells did."""
        rows = await conn.fetch_all(
            "SELECT place, kind, cell, revision FROM hour_cell WHERE hour_end = ? ORDER BY place", (self._hour_end,)
        )
        mark = await conn.fetch_one("SELECT revision FROM hour_closed WHERE hour_end = ?", (self._hour_end,))
        highest = max([0 if mark is None else int(mark[0]), *(int(row[3]) for row in rows)])
        revision = Revision(await revision_epoch(conn), highest + 1)
        cells = [*self._cells, *self._gone(rows)]
        held = {place: bytes(cell) for place, _, cell, _ in rows}
        packed = [(one, wire.pack(list(one.cell.as_tuple()))) for one in cells]
        changed = [(one, cell) for one, cell in packed if held.get(one.place) != cell]
        await conn.execute_many(
            "INSERT OR REPLACE INTO hour_cell (place, hour_end, kind, cell, revision) VALUES (?, ?, ?, ?, ?)",
            [(one.place, self._hour_end, one.kind.value, cell, revision.number) for one, cell in changed],
        )
        if self._told:
            for one, _ in changed:
                await self._tell(conn, one, revision)
        if self._all_places is not None and (mark is None or changed):
            await conn.execute(
                "INSERT INTO hour_closed (hour_end, revision, closed_at) VALUES (?, ?, ?) ON CONFLICT (hour_end)"
                " DO UPDATE SET revision = excluded.revision, closed_at = excluded.closed_at",
                (self._hour_end, revision.number, self._now),
            )
        return len(changed)

    def _gone(self, rows: Sequence[tuple[Any, ...]]) -> list[PlaceCell]:
        """Places that an earlier close knew and the registry of this one does not: they have nothing any more."""
        if self._all_places is None:
            return []
        return [
            PlaceCell(place, SupplyPointKind(kind), NO_ENERGY)
            for place, kind, _, _ in rows
            if place not in self._all_places
        ]

    async def _tell(self, conn: Connection, one: PlaceCell, revision: Revision) -> None:
        kind = TRANSFORMER_HOUR if one.kind is SupplyPointKind.TRANSFORMER else SUPPLY_HOUR
        record_id = hour_name(self._hour_end, revision, one.place)
        body = PlaceHour(one.place, self._hour_end, one.cell, revision).to_body()
        await append_record(conn, Lane.SUMMARY, kind, record_id, body, self._now)


def unpack_cell(packed: bytes) -> HourCell:
    """A cell as it is stored: its nine values in the order of CELL_FIELDS."""
    return HourCell(*wire.unpack(bytes(packed)))
