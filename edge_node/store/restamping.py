"""Hours and days that were never confirmed, told under the epoch that the hub has just minted. Floor: edge_node/store.

On the walks of reading and link loss. A store that went back closes hours and days under revisions that the hub may
hold already, with other content, from the life that was lost. Revisions are ordered by (epoch, number): whatever waits
when a lane forks is told under the new epoch, and so are the hours of the last days, which the lost life may have
corrected. So what this store says wins over what it said before, and never the other way. These hours are closed again
from their readings, too: a control database that was put back alone has older cells than the readings beside it.
"""

from dataclasses import replace
from hashlib import sha256

from edge_node.store.chunks import SealedChunk, sealed_chunk
from edge_node.store.outbox import append_record
from edge_node.store.state import Mark, write_mark
from gridmodel.network import SupplyPointKind
from gridmodel.period import HOUR_S
from gridmodel.reading import Revision
from hosting.database import Connection
from protocols.errors import ProtocolFault
from protocols.sync import wire
from protocols.sync.chunk import decode_chunk, encode_chunk
from protocols.sync.facts import SUPPLY_HOUR, TRANSFORMER_HOUR, PlaceHour
from protocols.sync.lanes import RECORD_LIMITS, Lane

RETOLD_S = 36 * HOUR_S
"""Hours that are told once more: those of days without a chunk at the hub, and a margin."""
RETOLD_MAX = 20_000
"""Cells told once more at most: 36 hours of 500 transformers; a fork is rare, a payment waits half a second for it."""
PLACE_IN_ID_CHARACTERS = 24
"""96 bits of the place's digest in a record's id, which has no room for two identifiers."""


def hour_name(hour_end: int, revision: Revision, place: str) -> str:
    """The id of an hour's record."""
    digest = sha256(place.encode()).hexdigest()[:PLACE_IN_ID_CHARACTERS]
    return f"{hour_end}.{revision.epoch}-{revision.number}.{digest}"


async def restamp_hours(conn: Connection, epoch: int, now: int) -> None:
    """Lane `summary` goes on in `epoch`: what waits is of it from now on, and the latest hours are told again."""
    told: set[tuple[int, str]] = set()
    waiting = await conn.fetch_all(
        "SELECT number, body FROM outbox_record WHERE lane = ? AND seq IS NULL ORDER BY number", (Lane.SUMMARY.value,)
    )
    for number, packed in waiting:
        try:
            waits = PlaceHour.from_body(wire.unpack(bytes(packed), RECORD_LIMITS))
        except ProtocolFault:
            continue  # whoever seals it sets it aside by name
        told.add((waits.end, waits.place))
        if waits.revision.epoch >= epoch:
            continue
        revision = Revision(epoch, waits.revision.number)
        body = wire.pack(replace(waits, revision=revision).to_body(), RECORD_LIMITS)
        await conn.execute(
            "UPDATE outbox_record SET id = ?, body = ? WHERE number = ?",
            (hour_name(waits.end, revision, waits.place), body, number),
        )
    last = await conn.fetch_one("SELECT coalesce(max(hour_end), 0) FROM hour_closed")
    since = (0 if last is None else int(last[0])) - RETOLD_S
    await write_mark(conn, Mark.CLOSE_AGAIN_FROM, str(since))  # their readings may be younger than this database
    cells = await conn.fetch_all(
        "SELECT hour_end, place, kind, cell, revision FROM hour_cell"
        " WHERE hour_end > ? ORDER BY hour_end, place LIMIT ?",
        (since, RETOLD_MAX),
    )
    for hour_end, place, kind, cell, number in cells:
        if (hour_end, place) in told:
            continue
        revision = Revision(epoch, number)
        hour = {"place": place, "end": hour_end, "cell": wire.unpack(bytes(cell)), "revision": [epoch, number]}
        name = TRANSFORMER_HOUR if kind == SupplyPointKind.TRANSFORMER.value else SUPPLY_HOUR
        await append_record(conn, Lane.SUMMARY, name, hour_name(hour_end, revision, place), hour, now)


async def mark_chunks(conn: Connection, epoch: int) -> None:
    """Lane `interval` goes on in `epoch`: chunks that wait are to be of it, see `restamped`."""
    rows = await conn.fetch_all(
        "SELECT number, body FROM outbox_record WHERE lane = ? AND seq IS NULL", (Lane.INTERVAL.value,)
    )
    for number, packed in rows:
        body = wire.pack({**wire.unpack(bytes(packed), RECORD_LIMITS), "epoch": epoch}, RECORD_LIMITS)
        await conn.execute("UPDATE outbox_record SET body = ? WHERE number = ?", (body, number))


def restamped(payload: bytes, chunk_id: str, epoch: int) -> SealedChunk | None:
    """The chunk under `epoch`; None when it is of it already, or no chunk at all. Heavy: a chunk is packed anew."""
    try:
        content = decode_chunk(payload)
    except ProtocolFault:
        return None  # told as it is, the hub sets it aside by name
    if content.revision.epoch >= epoch:
        return None
    revision = Revision(epoch, content.revision.number)
    data = encode_chunk(replace(content, revision=revision))
    return sealed_chunk(content.day, int(chunk_id.split(".")[1]), revision, content.registry_version, data)
