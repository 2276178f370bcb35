"""Rows of sealed batches: how a header is kept, and how its batch comes back byte for byte. Floor: edge_node/store.

On the walk of link loss; `batches.py` has the verbs that use it. A header is stored as the bytes of a batch without
payload, so that the same parser reads it back that reads the wire.
"""

from typing import Any

from edge_node.store.alarms import raise_alarm
from edge_node.store.outbox import OutboxFault
from gridmodel.event import AlarmKind
from gridmodel.fault import Fault
from hosting.database import Connection
from protocols.errors import ProtocolFault
from protocols.sync.batch import Batch, BatchHeader
from protocols.sync.lanes import Lane, LaneMark

LANES_QUERY = "SELECT lane, epoch, sealed_seq, sealed_hash, acked_seq, acked_hash FROM lane ORDER BY lane"


_WAITING = "SELECT " + ", ".join(
    f"EXISTS (SELECT 1 FROM outbox_record WHERE lane = '{lane.value}' AND seq IS NULL)" for lane in Lane
)
"""One step into the index for each lane, however much waits."""


_OWING = "SELECT " + ", ".join(
    f"EXISTS (SELECT 1 FROM outbox_record WHERE lane = '{lane.value}' AND seq IS NULL) OR EXISTS"
    f" (SELECT 1 FROM outbox_batch INDEXED BY outbox_batch_unacked WHERE lane = '{lane.value}' AND acked_at IS NULL)"
    for lane in Lane
)


async def waiting_lanes(conn: Connection) -> frozenset[Lane]:
    """The lanes with records to be sealed."""
    waiting = await conn.fetch_one(_WAITING) or ()
    return frozenset({lane for lane, waits in zip(Lane, waiting, strict=True) if waits})


async def owing_lanes(conn: Connection) -> frozenset[Lane]:
    """The lanes with records to be sealed or batches to be acknowledged."""
    owing = await conn.fetch_one(_OWING) or ()
    return frozenset({lane for lane, owes in zip(Lane, owing, strict=True) if owes})


async def rows_after(conn: Connection, lane: Lane, after: LaneMark, limit: int) -> tuple[list[tuple[Any, ...]], bool]:
    """At most `limit` sealed batches of `lane` after `after`, and whether records wait when there is none.

    A row is (seq, header, payload or None, day of its chunk, id of its chunk).
    """
    rows = await conn.fetch_all(
        "SELECT seq, header, payload, chunk_day, chunk_id FROM outbox_batch"
        " WHERE lane = ? AND epoch = ? AND seq > ? ORDER BY seq LIMIT ?",
        (lane.value, after.epoch, after.seq, limit),
    )
    return rows, not rows and lane in await waiting_lanes(conn)


async def sealed_mark(conn: Connection, lane: Lane) -> LaneMark | None:
    """The last sealed batch; None before the hub opened the first epoch, when nothing can be sealed yet."""
    row = await conn.fetch_one("SELECT epoch, sealed_seq, sealed_hash FROM lane WHERE lane = ?", (lane.value,))
    return None if row is None else LaneMark(row[0], row[1], bytes(row[2]))


async def header_at(conn: Connection, lane: Lane, epoch: int, seq: int) -> BatchHeader | None:
    """The header of a stored batch, or None when it is not here (any more) or no longer one."""
    row = await conn.fetch_one(
        "SELECT header FROM outbox_batch WHERE lane = ? AND epoch = ? AND seq = ?", (lane.value, epoch, seq)
    )
    try:
        return None if row is None else Batch.from_bytes(bytes(row[0])).header
    except ProtocolFault:
        return None


async def keep_batch(
    conn: Connection,
    batch: Batch,
    numbers: list[int],
    *,
    payload: bytes | None,
    chunk: tuple[str, str] | tuple[None, None] = (None, None),
) -> None:
    """Store a sealed batch, give its records their number, move the lane's mark: all or nothing."""
    header = batch.header
    lane = header.lane.value
    await conn.execute(
        "INSERT INTO outbox_batch (lane, epoch, seq, header, payload, chunk_day, chunk_id, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (lane, header.epoch, header.seq, Batch(header, b"").to_bytes(), payload, *chunk, header.created_at),
    )
    await conn.execute_many(
        "UPDATE outbox_record SET epoch = ?, seq = ? WHERE number = ?",
        [(header.epoch, header.seq, number) for number in numbers],
    )
    await conn.execute(
        "UPDATE lane SET sealed_seq = ?, sealed_hash = ? WHERE lane = ? AND epoch = ?",
        (header.seq, header.hash(), lane, header.epoch),
    )


def assembled(header: bytes, payload: bytes) -> bytes:
    """The bytes of a batch as they were sealed; raises OutboxFault (TQ-OB-02) when the payload is another one."""
    batch = Batch(Batch.from_bytes(bytes(header)).header, bytes(payload))
    if not batch.digest_matches():
        raise OutboxFault(
            "TQ-OB-02",
            f"batch {batch.header.seq} of lane {batch.header.lane.value} is not what was sealed",
            "check the data disk; the rest goes on",
        )
    return batch.to_bytes()


async def reopen_damaged(conn: Connection, *, lane: Lane, at: LaneMark, fault: Fault, now: int) -> None:
    """A sealed batch of records is not what was sealed: its records wait again, an alarm names it.

    The gap it leaves in the chain is a fork: the hub mints an epoch, and they travel there.
    """
    key = (lane.value, at.epoch, at.seq)
    await conn.execute(
        "UPDATE outbox_record SET epoch = NULL, seq = NULL WHERE lane = ? AND epoch = ? AND seq = ?", key
    )
    await conn.execute("DELETE FROM outbox_batch WHERE lane = ? AND epoch = ? AND seq = ?", key)
    subject = f"{lane.value}-{at.epoch}-{at.seq}"
    await raise_alarm(conn, AlarmKind.ROW_DAMAGED, subject, f"{fault.code}: {fault.what}", now)


async def set_damaged_aside(conn: Connection, number: int, fault: Fault, now: int) -> None:
    """A waiting record that cannot be read stops nothing: it gets number 0, an alarm names it, the lane goes on."""
    await conn.execute("UPDATE outbox_record SET epoch = 0, seq = 0 WHERE number = ?", (number,))
    await raise_alarm(conn, AlarmKind.ROW_DAMAGED, f"record-{number}", f"{fault.code}: {fault.what}", now)


async def set_chunk_aside(
    conn: Connection, *, sealed: LaneMark | None, chunk_id: str, fault: Fault, now: int, number: int | None
) -> None:
    """A chunk that cannot be read stops nothing: its record gets number 0, an alarm names it, the lane goes on.

    When it had been sealed, the gap in the chain is a fork: the hub mints an epoch and the rest is offered there.
    """
    if sealed is not None:
        at = (Lane.INTERVAL.value, sealed.epoch, sealed.seq)
        await conn.execute("UPDATE outbox_record SET epoch = 0, seq = 0 WHERE lane = ? AND epoch = ? AND seq = ?", at)
        await conn.execute("DELETE FROM outbox_batch WHERE lane = ? AND epoch = ? AND seq = ?", at)
    else:
        await conn.execute("UPDATE outbox_record SET epoch = 0, seq = 0 WHERE number = ?", (number,))
    await raise_alarm(conn, AlarmKind.CHUNK_UNREADABLE, chunk_id, f"{fault.code}: {fault.what}", now)
