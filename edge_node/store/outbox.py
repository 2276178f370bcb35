"""The outbox: facts for the hub, written in the transaction that made them. Floor: edge_node/store; walk: link loss.

A room appends a record beside its own rows (`append_record`, or `append_chunk` for a chunk in the segments): no fact
without its record, no record without its fact. `lanes.py` seals waiting records into batches, durably, before anything
is sent; what the hub acknowledged is kept for a while and then pruned. Nothing waiting ever expires.

Codes: TQ-OB-01 a record too large to travel.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gridmodel.fault import Fault
from gridmodel.identity import checked_id
from hosting.database import Connection
from protocols.sync import wire
from protocols.sync.lanes import RECORD_LIMITS, RECORD_PAYLOAD_BYTES_MAX, Lane

CHUNK_KIND = "chunk"
"""Kind of an interval record: its body names a chunk in the segments."""
RECORD_HEAD_BYTES = 160
"""What kind, id and arrays add to a record's body in a payload, at most."""
_MEASURED = replace(RECORD_LIMITS, bytes_max=1_048_576)
"""A body is packed before it is judged, so that the fault can say how large it was."""


class OutboxFault(Fault):
    """A fact that cannot travel, or an outbox that contradicts itself."""


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """Where a chunk's payload lies in the segments, and under which registry it was made."""

    day: str
    """Local day, ``YYYY-MM-DD``."""
    chunk_id: str
    """Names one content for ever: a corrected chunk has another id."""
    registry_version: int
    epoch: int = 0
    """It is to be told under this epoch; 0: as it was sealed."""


async def append_record(  # noqa: PLR0917
    conn: Connection,
    lane: Lane,
    kind: str,
    id: str,  # noqa: A002
    body: Mapping[str, Any],
    now: int,
) -> None:
    """Put one fact into `lane`, within the caller's transaction; set `wakeups.outbox` once that is committed.

    `kind` and `id` are identifiers; `body` holds plain values (`protocols.sync.wire`). Raises OutboxFault (TQ-OB-01)
    when it could never travel in a frame, WireFault for a value that is not plain.
    """
    packed = wire.pack(dict(body), _MEASURED)
    if len(packed) > RECORD_PAYLOAD_BYTES_MAX - RECORD_HEAD_BYTES:
        raise OutboxFault(
            "TQ-OB-01",
            f"a {kind} of {len(packed)} bytes does not fit a frame of lane {lane.value}",
            "nothing was recorded; report this fault",
        )
    await conn.execute(
        "INSERT INTO outbox_record (lane, kind, id, body, created_at) VALUES (?, ?, ?, ?, ?)",
        (lane.value, checked_id("record kind", kind), checked_id("record", id), packed, now),
    )


async def append_latest(conn: Connection, kind: str, id: str, body: Mapping[str, Any], now: int) -> None:  # noqa: A002
    """Put a snapshot into the control lane in place of an earlier one of its kind that still waits to be sealed.

    For what supersedes itself (a node's status): a month without a link leaves one of them, not three thousand.
    """
    await conn.execute(
        "DELETE FROM outbox_record WHERE lane = ? AND kind = ? AND seq IS NULL", (Lane.CONTROL.value, kind)
    )
    await append_record(conn, Lane.CONTROL, kind, id, body, now)


async def append_chunk(conn: Connection, ref: ChunkRef, now: int) -> None:
    """Put a chunk into the interval lane; its payload must be durable in the segments already."""
    body = {"day": ref.day, "chunk_id": ref.chunk_id, "registry_version": ref.registry_version}
    await append_record(conn, Lane.INTERVAL, CHUNK_KIND, ref.chunk_id, body, now)


def chunk_ref(body: bytes) -> ChunkRef:
    """The reference in the packed body of a chunk record."""
    read = wire.unpack(body, RECORD_LIMITS)
    return ChunkRef(read["day"], read["chunk_id"], read["registry_version"], read.get("epoch", 0))
