"""What a comparison with the hub reads and writes of the sealed days. Floor: edge_node/store; walk: link loss.

The leaves are worked out from the chunks' bytes each time. A chunk still on its way up is no part of them: the hub is
not asked about what it was never offered. What the hub gives back keeps a number of its own, so that nobody takes it
for a chunk sealed here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

from edge_node.store.chunks import GIVEN_BACK_FROM
from edge_node.store.outbox import ChunkRef, append_chunk
from edge_node.store.segments import Segments
from edge_node.store.state import Mark, forget_mark, read_mark, write_mark
from gridmodel.clock import Compute
from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from hosting.database import Connection, Database
from hosting.database_faults import DatabaseFault
from hosting.log import logger
from protocols.sync.chunk import decode_columns
from protocols.sync.completeness import Leaf

CHUNKS_PER_READ = 32
"""Read and hashed at once: some 1 MB of usual chunks and 32 MiB of the largest."""


@dataclass(frozen=True, slots=True)
class Held:
    """The sealed days of a range."""

    leaves: tuple[Leaf, ...]
    under_way: int
    """Chunks that wait for the hub or were not acknowledged yet; no leaves."""
    damaged: int
    """Chunks whose bytes are not what was sealed, and months whose file is damaged; no leaves."""
    unreadable: frozenset[str]
    """Those months: nothing can be told of their days, nor be put among them."""


class SealedDays:
    """The chunks of one node as a comparison sees them."""

    def __init__(self, control: Database, segments: Segments, node: NodeId, compute: Compute) -> None:
        self._control = control
        self._segments = segments
        self._node = node
        self._compute = compute
        self._log = logger("completeness")

    async def held(self, first: str, last: str) -> Held:
        """The chunks of the days from `first` to `last` that were offered, by the digest of their bytes."""
        marks = dict(await self._control.read(partial(_marks, first=first, last=last)))
        found: list[tuple[str, Leaf | None]] = []
        unreadable: set[str] = set()
        for month in self._segments.months():
            if not first[:7] <= month <= last[:7]:
                continue
            try:
                found += await self._of_month(month, first, last, marks)
            except Fault as fault:
                if isinstance(fault, DatabaseFault) and not fault.lasting:
                    raise
                self._log.error("month_unreadable", month=month, code=fault.code, what=fault.what)
                unreadable.add(month)
        waiting = await self._control.read(_under_way)
        sound = [(chunk_id, leaf) for chunk_id, leaf in found if leaf is not None]
        return Held(
            tuple(sorted({leaf for chunk_id, leaf in sound if chunk_id not in waiting})),
            sum(chunk_id in waiting for chunk_id, _ in sound),
            len(found) - len(sound) + len(unreadable),
            frozenset(unreadable),
        )

    async def _of_month(
        self, month: str, first: str, last: str, marks: dict[str, int]
    ) -> list[tuple[str, Leaf | None]]:
        found: list[tuple[str, Leaf | None]] = []
        after = ""
        while True:
            async with self._segments.lease(month) as segment:
                rows = await segment.database.read(partial(_page, first=first, last=last, after=after))
            found += await self._compute.run(_hashed, rows, marks)
            if len(rows) < CHUNKS_PER_READ:
                return found
            after = rows[-1][0]

    async def offer_again(self, leaves: Sequence[Leaf], now: int) -> int:
        """Put chunks into the interval lane once more, unless they wait there; gives how many."""
        refs: list[ChunkRef] = []
        for day, digest in leaves:
            async with self._segments.lease(day[:7]) as segment:
                row = await segment.database.read(partial(_named, day=day, digest=digest))
            if row is not None:
                refs.append(ChunkRef(day, row[0], row[1]))

        async def verb(conn: Connection) -> int:
            waiting = await _under_way(conn)
            fresh = [ref for ref in refs if ref.chunk_id not in waiting]
            for ref in fresh:
                await append_chunk(conn, ref, now)
            return len(fresh)

        return await self._control.write(verb)

    async def has(self, day: str, digest: bytes) -> bool:
        """Whether a sound chunk of these bytes is here, on its way up or not."""
        if not self._segments.has(day[:7]):
            return False
        async with self._segments.lease(day[:7]) as segment:
            row = await segment.database.read(partial(_payload, day=day, digest=digest))
        return row is not None and await self._compute.run(_is, bytes(row[0]), digest)

    async def take_back(self, day: str, digest: bytes, payload: bytes) -> bool:
        """Store a chunk that the hub gave back; False when it is not the one that was asked for.

        A damaged chunk of that digest gets its bytes again. Another node's, or of another day, is refused.
        """
        head = await self._compute.run(_checked, payload, digest, self._node, day)
        if head is None:
            return False
        epoch, revision, version = head
        number = GIVEN_BACK_FROM + int.from_bytes(digest[:4], "big")
        name = f"{day}.{number}.{epoch}-{revision}.{digest.hex()[:16]}"

        async def verb(conn: Connection) -> None:
            if not await conn.execute(
                "UPDATE chunk SET payload = ? WHERE day = ? AND digest = ?", (payload, day, digest)
            ):
                await conn.execute(
                    "INSERT OR REPLACE INTO chunk (id, day, number, epoch, revision, registry_version, payload, digest)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (name, day, number, epoch, revision, version, payload, digest),
                )

        async with self._segments.lease(day[:7]) as segment:
            await segment.database.write(verb)
        return True

    async def waiting(self) -> bool:
        """Whether chunks are on their way up."""
        return bool(await self._control.read(_under_way))

    async def mark(self, mark: Mark) -> str | None:
        """A mark of the node."""
        return await self._control.read(lambda conn: read_mark(conn, mark))

    async def put_mark(self, mark: Mark, value: str | None) -> None:
        """Set it, or take it away."""
        await self._control.write(
            lambda conn: forget_mark(conn, mark) if value is None else write_mark(conn, mark, value)
        )

    async def want(self, text: str) -> bool:
        """Set the mark of a comparison that is asked for; False while there is one."""

        async def verb(conn: Connection) -> bool:
            if await read_mark(conn, Mark.COMPARE_WANTED) is not None:
                return False
            await write_mark(conn, Mark.COMPARE_WANTED, text)
            return True

        return await self._control.write(verb)

    async def last_closed(self) -> str | None:
        """The latest local day that was sealed."""
        row = await self._control.read(lambda conn: conn.fetch_one("SELECT max(day) FROM day_closed"))
        return None if row is None or row[0] is None else str(row[0])


async def _marks(conn: Connection, first: str, last: str) -> list[tuple[str, int]]:
    return await conn.fetch_all(
        "SELECT day, revision FROM day_closed WHERE day BETWEEN ? AND ? ORDER BY day", (first, last)
    )


async def _page(conn: Connection, first: str, last: str, after: str) -> list[tuple[Any, ...]]:
    return await conn.fetch_all(
        "SELECT id, day, number, revision, payload, digest FROM chunk WHERE id IN (SELECT id FROM chunk"
        " WHERE day BETWEEN ? AND ? AND id > ? ORDER BY id LIMIT ?) ORDER BY id",
        (first, last, after, CHUNKS_PER_READ),
    )


async def _under_way(conn: Connection) -> set[str]:
    rows = await conn.fetch_all(
        "SELECT id FROM outbox_record WHERE lane = 'interval' AND seq IS NULL"
        " UNION SELECT chunk_id FROM outbox_batch WHERE lane = 'interval' AND acked_at IS NULL"
    )
    return {str(chunk_id) for (chunk_id,) in rows}


async def _named(conn: Connection, day: str, digest: bytes) -> tuple[Any, ...] | None:
    return await conn.fetch_one("SELECT id, registry_version FROM chunk WHERE day = ? AND digest = ?", (day, digest))


async def _payload(conn: Connection, day: str, digest: bytes) -> tuple[Any, ...] | None:
    return await conn.fetch_one("SELECT payload FROM chunk WHERE day = ? AND digest = ?", (day, digest))


def _hashed(rows: Sequence[tuple[Any, ...]], marks: dict[str, int]) -> list[tuple[str, Leaf | None]]:
    """Pure: (chunk, its leaf, None when it is damaged) of those that were offered, or given back."""
    found: list[tuple[str, Leaf | None]] = []
    for chunk_id, day, number, revision, payload, digest in rows:
        if number < GIVEN_BACK_FROM and revision > marks.get(day, 0):
            continue
        actual = sha256(payload).digest()
        found.append((chunk_id, (day, actual) if actual == bytes(digest) else None))
    return found


def _is(payload: bytes, digest: bytes) -> bool:
    return sha256(payload).digest() == digest


def _checked(payload: bytes, digest: bytes, node: NodeId, day: str) -> tuple[int, int, int] | None:
    """Pure: (epoch, revision, registry version) of a chunk that is what it is said to be."""
    if not _is(payload, digest):
        return None
    try:
        head = decode_columns(payload).head
    except Fault:
        return None
    if (head.node, head.day) != (node, day):
        return None
    return head.revision.epoch, head.revision.number, head.registry_version
