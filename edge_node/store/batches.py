"""Lanes: waiting records become signed batches, durably, before anything is sent. Floor: edge_node/store; link loss.

A batch is sealed once: its header (and for the small lanes its payload) is stored in the transaction that gives its
records their number, so that after any crash the same bytes are sent again. Sealing is lazy: only as much as the link
can take, so that a record written now is not stuck behind thousands of sealed frames of its own lane.

What the hub acknowledged is kept for `KEPT_S` (a hub restored from a backup is refilled from here) and then pruned.
Nothing that waits or is unacknowledged ever expires. A new epoch, minted by the hub, makes every unacknowledged record
wait again.

Codes: TQ-OB-02 a chunk that is not in the segments as it was sealed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from edge_node.store.batch_rows import (
    LANES_QUERY,
    assembled,
    header_at,
    keep_batch,
    owing_lanes,
    reopen_damaged,
    rows_after,
    sealed_mark,
    set_chunk_aside,
    set_damaged_aside,
)
from edge_node.store.chunks import ChunkSource
from edge_node.store.outbox import chunk_ref
from edge_node.store.registry_versions import newest_version
from edge_node.store.restamping import mark_chunks, restamp_hours, restamped
from edge_node.store.state import Mark, raise_mark, write_mark
from gridmodel.clock import Compute
from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from hosting.database import Connection, Database
from hosting.database_faults import DatabaseFault
from protocols.authority.signatures import Signer
from protocols.errors import ProtocolFault
from protocols.sync import wire
from protocols.sync.batch import Batch
from protocols.sync.lanes import (
    RECORD_LIMITS,
    RECORD_PAYLOAD_BYTES_MAX,
    AckOutcome,
    Lane,
    LaneMark,
    Record,
    records_to_payload,
)
from protocols.sync.seal import fitting, seal
from protocols.sync.state import LocalLane

RECORDS_READ_MAX = 256
"""Waiting records looked at for one batch: a frame of 7 kB holds some 40 to 150 of them."""
SEALED_PER_TURN_MAX = 8
"""Batches sealed in one transaction: 64 kB, a few milliseconds of the database's turn."""
KEPT_S = 35 * 24 * 3600
"""How long acknowledged batches stay: longer than a hub's oldest backup is allowed to be."""
PRUNED_PER_TURN_MAX = 500
"""Rows deleted in one transaction, so that pruning never holds up a payment."""
CHUNKS_PER_FETCH_MAX = 1
"""A chunk travels alone."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a lane still owes the hub."""

    records: int
    """Waiting to be sealed."""
    batches: int
    """Sealed and not acknowledged."""
    oldest_at: int | None
    """When the oldest of both was written, UTC seconds; None when nothing is owed."""


class Outbox:
    """The lanes of one node."""

    def __init__(
        self, control: Database, *, node: NodeId, signer: Signer, compute: Compute, chunks: ChunkSource
    ) -> None:
        self._control = control
        self._node = node
        self._signer = signer
        self._compute = compute
        self._chunks = chunks

    async def marks(self) -> dict[Lane, LaneMark]:
        """The last sealed batch of each lane that was ever begun: what a hello tells."""
        rows = await self._control.read(lambda conn: conn.fetch_all(LANES_QUERY))
        return {Lane(lane): LaneMark(epoch, seq, bytes(hash_)) for lane, epoch, seq, hash_, _, _ in rows}

    async def local(self, hub: Mapping[Lane, LaneMark]) -> dict[Lane, LocalLane]:
        """What is durable here of each lane, beside the hub's marks of a welcome."""

        async def verb(conn: Connection) -> dict[Lane, LocalLane]:
            found: dict[Lane, LocalLane] = {}
            for name, epoch, seq, hash_, acked_seq, acked_hash in await conn.fetch_all(LANES_QUERY):
                lane = Lane(name)
                mark = hub.get(lane)
                header = None if mark is None else await header_at(conn, lane, mark.epoch, mark.seq)
                found[lane] = LocalLane(
                    sealed=LaneMark(epoch, seq, bytes(hash_)),
                    acknowledged=LaneMark(epoch, acked_seq, bytes(acked_hash)),
                    at_hub=None if header is None else header.hash(),
                )
            return found

        return await self._control.read(verb)

    async def following(self, lane: Lane, after: LaneMark, bytes_max: int, batches_max: int, now: int) -> list[bytes]:
        """The batches of `lane` after `after` (at least one if there is one), sealing waiting records as needed."""
        limit = CHUNKS_PER_FETCH_MAX if lane is Lane.INTERVAL else batches_max
        rows, waiting = await self._control.read(partial(rows_after, lane=lane, after=after, limit=limit))
        found = await self._told(lane, after, rows, bytes_max, now)
        if not found and waiting and await self._seal(lane, now):
            rows, _ = await self._control.read(partial(rows_after, lane=lane, after=after, limit=limit))
            found = await self._told(lane, after, rows, bytes_max, now)
        return found

    async def owing(self) -> frozenset[Lane]:
        """The lanes with anything waiting or unacknowledged: one cheap look."""
        return await self._control.read(owing_lanes)

    async def acknowledge(
        self, lane: Lane, mark: LaneMark, outcome: AckOutcome, reason: str, now: int, *, told_at: int = 0
    ) -> None:
        """Everything of `lane` up to `mark` is durable at the hub, which said so at its time `told_at`.

        Older marks than the one known change nothing.
        """

        async def verb(conn: Connection) -> None:
            await conn.execute(
                "UPDATE outbox_batch SET acked_at = ?, outcome = ?, reason = ?"
                " WHERE lane = ? AND epoch = ? AND seq = ? AND acked_at IS NULL",
                (now, outcome.value, reason, lane.value, mark.epoch, mark.seq),
            )
            await conn.execute(
                "UPDATE outbox_batch SET acked_at = ?, outcome = ?"
                " WHERE lane = ? AND epoch = ? AND seq < ? AND acked_at IS NULL",
                (now, AckOutcome.DUPLICATE.value, lane.value, mark.epoch, mark.seq),
            )
            await conn.execute(
                "UPDATE lane SET acked_seq = ?, acked_hash = ?"
                " WHERE lane = ? AND epoch = ? AND acked_seq < ? AND sealed_seq >= ?",
                (mark.seq, mark.hash, lane.value, mark.epoch, mark.seq, mark.seq),
            )
            await raise_mark(conn, Mark.HUB_TOLD_AT, told_at)

        await self._control.write(verb)

    async def heard(self, told_at: int, word: str) -> None:
        """The hub said at its time `told_at` where its lanes stand: `word`, as bundles go on from it."""

        async def verb(conn: Connection) -> None:
            await raise_mark(conn, Mark.HUB_TOLD_AT, told_at)
            await write_mark(conn, Mark.HUB_WORD, word)

        await self._control.write(verb)

    async def new_epoch(self, lane: Lane, mark: LaneMark, told_at: int = 0) -> bool:
        """The hub opened an epoch: go on from there, everything unacknowledged waits again. False when known."""

        async def verb(conn: Connection) -> bool:
            row = await conn.fetch_one("SELECT epoch FROM lane WHERE lane = ?", (lane.value,))
            if row is not None and row[0] >= mark.epoch:
                return False
            await conn.execute(
                "UPDATE outbox_record SET epoch = NULL, seq = NULL WHERE lane = ?1 AND (epoch, seq) IN"
                " (SELECT epoch, seq FROM outbox_batch WHERE lane = ?1 AND acked_at IS NULL)",
                (lane.value,),
            )
            await conn.execute("DELETE FROM outbox_batch WHERE lane = ? AND acked_at IS NULL", (lane.value,))
            await conn.execute(
                "INSERT INTO lane (lane, epoch, sealed_seq, sealed_hash, acked_seq, acked_hash)"
                " VALUES (?1, ?2, ?3, ?4, ?3, ?4) ON CONFLICT (lane) DO UPDATE SET epoch = excluded.epoch,"
                " sealed_seq = excluded.sealed_seq, sealed_hash = excluded.sealed_hash,"
                " acked_seq = excluded.acked_seq, acked_hash = excluded.acked_hash",
                (lane.value, mark.epoch, mark.seq, mark.hash),
            )
            if row is not None and lane is Lane.SUMMARY:
                await restamp_hours(conn, mark.epoch, told_at)
            elif row is not None and lane is Lane.INTERVAL:
                await mark_chunks(conn, mark.epoch)
            await raise_mark(conn, Mark.HUB_TOLD_AT, told_at)
            return True

        return await self._control.write(verb)

    async def reopen(self, lane: Lane, have: LaneMark) -> None:
        """The hub went back to `have`: what it had acknowledged after that and is still kept here is owed again.

        Where the chain goes on from `have` the same batches are sent; where it forks, their records travel anew.
        """
        await self._control.write(
            lambda conn: conn.execute(
                "UPDATE outbox_batch SET acked_at = NULL, outcome = NULL, reason = NULL"
                " WHERE lane = ? AND (epoch, seq) > (?, ?) AND acked_at IS NOT NULL",
                (lane.value, have.epoch, have.seq),
            )
        )

    async def backlog(self) -> dict[Lane, Backlog]:
        """What each lane still owes."""

        async def verb(conn: Connection) -> dict[Lane, Backlog]:
            found = {}
            for lane in Lane:
                waiting = await conn.fetch_one(
                    "SELECT count(*), min(created_at) FROM outbox_record WHERE lane = ? AND seq IS NULL", (lane.value,)
                )
                sealed = await conn.fetch_one(
                    "SELECT count(*), min(created_at) FROM outbox_batch INDEXED BY outbox_batch_unacked"
                    " WHERE lane = ? AND acked_at IS NULL",
                    (lane.value,),
                )
                records, waits_since = waiting or (0, None)
                batches, sealed_at = sealed or (0, None)
                since = [moment for moment in (waits_since, sealed_at) if moment is not None]
                found[lane] = Backlog(records, batches, min(since, default=None))
            return found

        return await self._control.read(verb)

    async def quarantined(self, limit: int = 50) -> list[tuple[str, int, int, str]]:
        """The newest batches that the hub set aside: (lane, epoch, seq, reason)."""
        rows = await self._control.read(
            lambda conn: conn.fetch_all(
                "SELECT lane, epoch, seq, reason FROM outbox_batch WHERE outcome = 'quarantined'"
                " ORDER BY acked_at DESC LIMIT ?",
                (limit,),
            )
        )
        return [(lane, epoch, seq, reason or "") for lane, epoch, seq, reason in rows]

    async def prune(self, now: int) -> int:
        """Delete some of what was acknowledged longer than `KEPT_S` ago; gives how many batches went."""

        async def verb(conn: Connection) -> int:
            old = await conn.fetch_all(
                "SELECT lane, epoch, seq FROM outbox_batch WHERE acked_at < ? LIMIT ?",
                (now - KEPT_S, PRUNED_PER_TURN_MAX),
            )
            await conn.execute_many("DELETE FROM outbox_record WHERE lane = ? AND epoch = ? AND seq = ?", old)
            await conn.execute_many("DELETE FROM outbox_batch WHERE lane = ? AND epoch = ? AND seq = ?", old)
            return len(old)

        return await self._control.write(verb)

    async def _told(
        self, lane: Lane, after: LaneMark, rows: Sequence[tuple[Any, ...]], bytes_max: int, now: int
    ) -> list[bytes]:
        """The batches in these rows, up to the first that is damaged; at most `bytes_max` beyond the first."""
        found: list[bytes] = []
        size = 0
        for seq, header, payload, day, chunk_id in rows:
            try:
                if payload is None:
                    data = await self._compute.run(assembled, header, await self._chunks.payload(day, chunk_id))
                else:
                    data = assembled(header, payload)
            except Fault as fault:
                if _passes(fault):
                    raise
                at = LaneMark(after.epoch, seq, after.hash)
                if payload is None:
                    await self._set_aside(at, chunk_id, fault, now)
                else:
                    await self._control.write(partial(reopen_damaged, lane=lane, at=at, fault=fault, now=now))
                break
            size += len(data)
            if found and size > bytes_max:
                break
            found.append(data)
        return found

    async def _seal(self, lane: Lane, now: int) -> int:
        if lane is Lane.INTERVAL:
            return await self._seal_chunk(now)

        async def verb(conn: Connection) -> int:
            sealed = 0
            while sealed < SEALED_PER_TURN_MAX and await self._seal_records(conn, lane, now):
                sealed += 1
            return sealed

        return await self._control.write(verb)

    async def _seal_records(self, conn: Connection, lane: Lane, now: int) -> bool:
        after = await sealed_mark(conn, lane)
        rows = await conn.fetch_all(
            "SELECT number, kind, id, body FROM outbox_record WHERE lane = ? AND seq IS NULL ORDER BY number LIMIT ?",
            (lane.value, RECORDS_READ_MAX),
        )
        if after is None or not rows:
            return False
        read: list[tuple[int, Record]] = []
        size = 0
        for number, kind, id_, body in rows:
            size += len(body)
            if read and size > RECORD_PAYLOAD_BYTES_MAX:
                break
            try:
                read.append((number, Record(kind, id_, wire.unpack(bytes(body), RECORD_LIMITS))))
            except ProtocolFault as fault:
                await set_damaged_aside(conn, number, fault, now)
        if not read:
            return True
        count = fitting([record for _, record in read])
        batch = seal(
            records_to_payload([record for _, record in read[:count]]),
            node=self._node,
            lane=lane,
            after=after,
            registry_version=await newest_version(conn),
            now=now,
            signer=self._signer,
        )
        await keep_batch(conn, batch, [number for number, _ in read[:count]], payload=batch.payload)
        return True

    async def _seal_chunk(self, now: int) -> int:
        """One chunk, one batch. The payload lies in other files: it is read between two transactions."""

        async def first(conn: Connection) -> tuple[LaneMark | None, tuple[int, bytes] | None]:
            row = await conn.fetch_one(
                "SELECT number, body FROM outbox_record WHERE lane = ? AND seq IS NULL ORDER BY number LIMIT 1",
                (Lane.INTERVAL.value,),
            )
            return await sealed_mark(conn, Lane.INTERVAL), None if row is None else (int(row[0]), bytes(row[1]))

        after, waiting = await self._control.read(first)
        if after is None or waiting is None:
            return 0
        number, ref = waiting[0], chunk_ref(waiting[1])
        try:
            payload, chunk_id = await self._chunks.payload(ref.day, ref.chunk_id), ref.chunk_id
            other = await self._compute.run(restamped, payload, chunk_id, ref.epoch) if ref.epoch else None
            if other is not None:
                await self._chunks.put(other)
                payload, chunk_id = other.payload, other.row.id
            make = partial(
                seal,
                node=self._node,
                lane=Lane.INTERVAL,
                after=after,
                registry_version=ref.registry_version,
                now=now,
                signer=self._signer,
            )
            batch: Batch = await self._compute.run(make, payload)
        except Fault as fault:
            if _passes(fault):
                raise
            await self._set_aside(None, ref.chunk_id, fault, now, number=number)
            return 1

        async def keep(conn: Connection) -> int:
            if await sealed_mark(conn, Lane.INTERVAL) != after:
                return 0
            await keep_batch(conn, batch, [number], payload=None, chunk=(ref.day, chunk_id))
            return 1

        kept = await self._control.write(keep)
        if kept and chunk_id != ref.chunk_id:
            await self._chunks.drop(ref.day, ref.chunk_id)
        return kept

    async def _set_aside(
        self, sealed: LaneMark | None, chunk_id: str, fault: Fault, now: int, *, number: int | None = None
    ) -> None:
        await self._control.write(
            partial(set_chunk_aside, sealed=sealed, chunk_id=chunk_id, fault=fault, now=now, number=number)
        )


def _passes(fault: Fault) -> bool:
    """Whether it is trouble of the moment: then nothing is set aside, the task fails by name and is started again."""
    return isinstance(fault, DatabaseFault) and not fault.lasting
