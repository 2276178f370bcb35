"""Field works of this office: recorded once, durable with their record for the hub. Floor: edge_node/store.

On the reading walk. A work was checked against the registry before it comes here; the transaction that takes it in sees
that this very registry still holds, so that two people at two desks cannot both exchange one meter. One id, one
content: the first stands. A row that no longer is what was written counts for nothing, and until it is mended the
registry is not taken for whole: nobody is cut on it (`supply.facts`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from edge_node.store.outbox import append_record
from gridmodel.field_work import FieldWork, Photo, work_fault
from hosting.database import Connection, Database
from hosting.rowhash import RowHasher
from protocols.sync import wire
from protocols.sync.field_works import FIELD_WORK, work_from_body, work_to_body
from protocols.sync.lanes import RECORD_LIMITS, Lane

LISTED_MAX = 500
"""Works that one page or answer lists."""

Held = tuple[int, int]
"""Which registry holds: (version that the hub sent, works recorded over it)."""


@dataclass(frozen=True, slots=True)
class StoredWorks:
    """Every work that is whole, and the ids of the others."""

    works: tuple[FieldWork, ...]
    damaged: tuple[str, ...]


async def held_registry(conn: Connection) -> Held:
    """(version, works) of the registry that holds; (0, …) before the first version.

    Asked for every decision about supply: nothing is ever deleted, so that the last row's number is the count.
    """
    row = await conn.fetch_one(
        "SELECT (SELECT coalesce(max(version), 0) FROM registry), (SELECT coalesce(max(rowid), 0) FROM field_work)"
    )
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


class FieldWorks:
    """The works of one node."""

    def __init__(self, control: Database, row_key: bytes) -> None:
        self._control = control
        self._hasher = RowHasher(row_key, "field_work")

    async def put(self, work: FieldWork, held: Held, now: int) -> bool | None:
        """Record a work and its word to the hub in one transaction; gives whether it is new.

        None: the registry that holds is not `held` any more, and nothing was recorded. Raises FieldWorkFault (TQ-FW-10)
        when the id stands with another content.
        """
        packed = wire.pack(work_to_body(work), RECORD_LIMITS)

        async def verb(conn: Connection) -> bool | None:
            known = await self.find(conn, work.id)
            if known is not None:
                if replace(known, recorded_at=work.recorded_at) != work:
                    raise work_fault(
                        10, f"work {work.id} is recorded with another content", "give this one another name"
                    )
                return False
            if await held_registry(conn) != held:
                return None
            values = (work.id, work.at, packed, now)
            await conn.execute(
                "INSERT INTO field_work (id, at, body, recorded_at, hash) VALUES (?, ?, ?, ?, ?)",
                (*values, self._hasher.digest(*values)),
            )
            await append_record(conn, Lane.CONTROL, FIELD_WORK, work.id, work_to_body(work), now)
            return True

        return await self._control.write(verb)

    async def get(self, work: str) -> FieldWork | None:
        """One work; None where there is none, or a damaged one."""
        return await self._control.read(partial(self.find, work=work))

    async def find(self, conn: Connection, work: str) -> FieldWork | None:
        """`get` within the caller's transaction."""
        row = await conn.fetch_one("SELECT id, at, body, recorded_at, hash FROM field_work WHERE id = ?", (work,))
        return None if row is None else self._work(row)

    async def stored(self, conn: Connection, after: int = 0) -> list[tuple[Any, ...]]:
        """The rows after the first `after` as they are, for `read` on a compute thread."""
        return await conn.fetch_all(
            "SELECT id, at, body, recorded_at, hash FROM field_work WHERE rowid > ? ORDER BY rowid", (after,)
        )

    async def first(self, conn: Connection, count: int) -> list[tuple[Any, ...]]:
        """The rows of the first so many works that were recorded."""
        return await conn.fetch_all(
            "SELECT id, at, body, recorded_at, hash FROM field_work ORDER BY rowid LIMIT ?", (count,)
        )

    def read(self, rows: list[tuple[Any, ...]]) -> StoredWorks:
        """The works in these rows; pure."""
        works, damaged = list[FieldWork](), list[str]()
        for row in rows:
            work = self._work(row)
            if work is None:
                damaged.append(str(row[0]))
            else:
                works.append(work)
        return StoredWorks(tuple(works), tuple(damaged))

    async def page(self, conn: Connection, after: str, limit: int) -> list[tuple[str, FieldWork | None]]:
        """(id, work) by id after `after`; None for a row that is not what was written."""
        rows = await conn.fetch_all(
            "SELECT id, at, body, recorded_at, hash FROM field_work WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
        )
        return [(row[0], self._work(row)) for row in rows]

    async def take_back(self, conn: Connection, work: FieldWork, now: int) -> bool | None:
        """A work that the hub has and this store lost; gives whether it is new, None for another content."""
        known = await self.find(conn, work.id)
        if known is not None:
            return False if known == work else None
        values = (work.id, work.at, wire.pack(work_to_body(work), RECORD_LIMITS), now)
        await conn.execute(
            "INSERT OR REPLACE INTO field_work (id, at, body, recorded_at, hash) VALUES (?, ?, ?, ?, ?)",
            (*values, self._hasher.digest(*values)),
        )
        return True

    async def latest(self, limit: int = LISTED_MAX) -> list[FieldWork]:
        """The latest works, newest first."""
        rows = await self._control.read(
            lambda conn: conn.fetch_all(
                "SELECT id, at, body, recorded_at, hash FROM field_work ORDER BY recorded_at DESC, id LIMIT ?",
                (min(limit, LISTED_MAX),),
            )
        )
        return list(self.read(rows).works)

    async def told_since(self, works: Sequence[str]) -> dict[str, int]:
        """Of these works, since when the hub has each and the node the newest registry: the later time of both.

        Those that the hub does not have yet are left out.
        """
        wanted = json.dumps(list(works))
        rows = await self._control.read(
            lambda conn: conn.fetch_all(
                "SELECT r.id, max(b.acked_at, (SELECT coalesce(max(received_at), 0) FROM registry))"
                " FROM outbox_record AS r JOIN outbox_batch AS b USING (lane, epoch, seq)"
                " WHERE r.lane = ?1 AND r.kind = ?2 AND b.acked_at IS NOT NULL"
                " AND r.id IN (SELECT value FROM json_each(?3))",
                (Lane.CONTROL.value, FIELD_WORK, wanted),
            )
        )
        return {str(name): int(at) for name, at in rows}

    async def photos(self) -> dict[str, Photo]:
        """The pictures of every work that has one, by the work's id, for `doctor`."""
        works = self.read(await self._control.read(self.stored)).works
        return {work.id: work.photo for work in works if work.photo is not None}

    async def verify(self) -> tuple[str, ...]:
        """Ids of damaged works, for `doctor`."""
        return self.read(await self._control.read(self.stored)).damaged

    def _work(self, row: tuple[Any, ...]) -> FieldWork | None:
        if not self._hasher.verify(bytes(row[4]), *row[:4]):
            return None
        return work_from_body(wire.unpack(bytes(row[2]), RECORD_LIMITS))
