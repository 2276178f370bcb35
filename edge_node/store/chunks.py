"""Sealed days in the segments: the outbox payload of the interval lane. Floor: edge_node/store; walk: reading.

A chunk is stored here first and named in the control database afterwards: between the two a crash leaves a chunk that
nobody was told of, and the next seal of its day takes its place. A chunk that was offered keeps its bytes for ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from edge_node.store.segments import SegmentFault, Segments
from gridmodel.reading import Revision
from hosting.database import Connection

DIGEST_IN_ID_CHARACTERS = 16
"""64 bits of the digest in a chunk's name: one name, one content."""
GIVEN_BACK_FROM = 1_000_000
"""Numbers of chunks that the hub gave back begin here; a day sealed here has a few hundred at most."""


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A sealed chunk without its payload."""

    id: str
    """``2026-05-04.3.1-2.0f…``: day, number, revision, digest."""
    day: str
    number: int
    """Of the day's chunks, from 0."""
    revision: Revision
    registry_version: int
    digest: bytes
    """SHA-256 of the payload."""


@dataclass(frozen=True, slots=True)
class SealedChunk:
    """A chunk to store."""

    row: ChunkRow
    payload: bytes


def sealed_chunk(day: str, number: int, revision: Revision, registry_version: int, payload: bytes) -> SealedChunk:
    """Name a payload; hashes up to 1 MiB, so call it where heavy work is done."""
    digest = sha256(payload).digest()
    name = f"{day}.{number}.{revision.epoch}-{revision.number}.{digest.hex()[:DIGEST_IN_ID_CHARACTERS]}"
    return SealedChunk(ChunkRow(name, day, number, revision, registry_version, digest), payload)


class ChunkSource(Protocol):
    """Where payloads of the interval lane lie: the segments."""

    async def payload(self, day: str, chunk_id: str) -> bytes:
        """The chunk's bytes; raises Fault when it is not there or damaged."""
        ...

    async def put(self, chunk: SealedChunk) -> None:
        """Store another one, durably."""
        ...

    async def drop(self, day: str, chunk_id: str) -> None:
        """Forget one."""
        ...


class Chunks:
    """The chunks of one node, by local day."""

    def __init__(self, segments: Segments) -> None:
        self._segments = segments

    async def put(self, chunk: SealedChunk) -> None:
        """Store a chunk, durably; one of the same day, number and revision that was never offered gives way."""
        row = chunk.row

        async def verb(conn: Connection) -> None:
            await conn.execute(
                "DELETE FROM chunk WHERE day = ? AND number = ? AND epoch = ? AND revision = ? AND id <> ?",
                (row.day, row.number, row.revision.epoch, row.revision.number, row.id),
            )
            await conn.execute(
                "INSERT OR IGNORE INTO chunk (id, day, number, epoch, revision, registry_version, payload, digest)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    row.id,
                    row.day,
                    row.number,
                    row.revision.epoch,
                    row.revision.number,
                    row.registry_version,
                    chunk.payload,
                    row.digest,
                ),
            )

        async with self._segments.lease(row.day[:7]) as segment:
            await segment.database.write(verb)

    async def drop(self, day: str, chunk_id: str) -> None:
        """Forget a chunk that another one has taken the place of before the hub ever had it."""
        async with self._segments.lease(day[:7]) as segment:
            await segment.database.write(lambda conn: conn.execute("DELETE FROM chunk WHERE id = ?", (chunk_id,)))

    async def of_day(self, day: str) -> Sequence[ChunkRow]:
        """All chunks of a day, in order of number and revision; empty for a month without a segment."""
        if not self._segments.has(day[:7]):
            return []
        async with self._segments.lease(day[:7]) as segment:
            rows = await segment.database.read(
                lambda conn: conn.fetch_all(
                    "SELECT id, day, number, epoch, revision, registry_version, digest FROM chunk"
                    " WHERE day = ? ORDER BY number, epoch, revision",
                    (day,),
                )
            )
        return [
            ChunkRow(one, day_, number, Revision(epoch, revision), version, bytes(digest))
            for one, day_, number, epoch, revision, version, digest in rows
        ]

    async def payload(self, day: str, chunk_id: str) -> bytes:
        """The chunk's bytes. Raises SegmentFault: ``TQ-SG-02`` not there, ``TQ-SG-03`` damaged."""
        row = None
        if self._segments.has(day[:7]):
            async with self._segments.lease(day[:7]) as segment:
                row = await segment.database.read(
                    lambda conn: conn.fetch_one("SELECT payload, digest FROM chunk WHERE id = ?", (chunk_id,))
                )
        if row is None:
            raise SegmentFault(
                "TQ-SG-02", f"chunk {chunk_id} of {day} is not in the segments", "seal the day again from its readings"
            )
        payload, digest = bytes(row[0]), bytes(row[1])
        if sha256(payload).digest() != digest:
            raise SegmentFault(
                "TQ-SG-03",
                f"chunk {chunk_id} of {day} is not what was sealed",
                "restore the newest copy of the month's segment, or seal the day again from its readings",
            )
        return payload
