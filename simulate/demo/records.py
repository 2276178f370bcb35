"""What offices and hub have durably, looked up beside the running processes for the report. Floor: simulate; all walks.

Read-only and by queries of this page's own: the report must not believe what the product says about itself. The one
exception are the hub's balances, which are asked exactly as `central-sync balance` asks them.
"""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from central_sync.config import HubConfig
from central_sync.hub import Hub
from central_sync.serving import reading
from gridmodel.reading import Channel
from hosting.config import load_toml
from protocols.sync.batch import Batch
from protocols.sync.chunk.codec import decode_chunk
from protocols.sync.chunk.content import SeriesKind
from simulate.demo.stage import Stage

BUSY_S = 5.0
"""How long a look waits for a writer."""
Row = tuple[Any, ...]
BatchKey = tuple[str, str, int, int]
"""Node, lane, epoch, seq."""
ReadingKey = tuple[str, int]
"""Usage point, interval end."""


def rows(path: Path, query: str, values: Sequence[Any] = ()) -> list[Row]:
    """What a query finds in a database file; nothing when there is no file yet."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_S)) as connection:
        return list(connection.execute(query, values))


def control_of(data: Path) -> Path:
    """The control database in an office's data folder."""
    return data / "control.db"


def hub_of(data: Path) -> Path:
    """The database in the hub's data folder."""
    return data / "hub.db"


def day_closed(data: Path, day: str) -> bool:
    """Whether the office has closed that local day."""
    return bool(rows(control_of(data), "SELECT 1 FROM day_closed WHERE day = ?", (day,)))


def days_closed(data: Path, since: str) -> set[str]:
    """The local days from `since` on that the office has closed."""
    return {day for (day,) in rows(control_of(data), "SELECT day FROM day_closed WHERE day >= ?", (since,))}


def hours_closed(data: Path, since: int) -> set[int]:
    """The ends of the hours after `since` that the office has closed."""
    return {end for (end,) in rows(control_of(data), "SELECT hour_end FROM hour_closed WHERE hour_end > ?", (since,))}


def edge_payments(data: Path) -> list[Row]:
    """(id, account, amount in tiyin) of every payment at an office."""
    return rows(control_of(data), "SELECT id, account, amount_tiyin FROM ledger_entry WHERE kind = 'payment'")


def desk_payments(data: Path) -> list[Row]:
    """(id, account, amount in tiyin, channel, when it was received) of every payment at an office's own desk."""
    return rows(
        control_of(data),
        "SELECT id, account, amount_tiyin, channel, received_at FROM ledger_entry"
        " WHERE kind = 'payment' AND channel LIKE 'desk-%' ORDER BY id",
    )


def hub_payments(data: Path) -> list[Row]:
    """(id, account, amount in tiyin) of every payment at the hub."""
    return rows(hub_of(data), "SELECT id, account, amount_tiyin FROM ledger_entry WHERE kind = 'payment'")


def edge_batches(node: str, data: Path) -> list[tuple[BatchKey, str]]:
    """Batches that the hub acknowledged to an office, with their digest; oldest first."""
    found = rows(control_of(data), "SELECT header FROM outbox_batch WHERE acked_at IS NOT NULL")
    headers = [Batch.from_bytes(header).header for (header,) in found]
    return [((node, one.lane.value, one.epoch, one.seq), one.digest.hex()) for one in headers]


def edge_sealed(node: str, data: Path) -> set[BatchKey]:
    """Every batch that an office ever sealed."""
    found = rows(control_of(data), "SELECT lane, epoch, seq FROM outbox_batch")
    return {(node, *key) for key in found}


def hub_batches(data: Path) -> list[tuple[BatchKey, str, str]]:
    """Batches at the hub: key, digest, outcome."""
    found = rows(hub_of(data), "SELECT node, lane, epoch, seq, digest, outcome FROM batch")
    return [((node, lane, epoch, seq), digest.hex(), outcome) for node, lane, epoch, seq, digest, outcome in found]


def edge_readings(data: Path, since: int, until: int) -> list[tuple[ReadingKey, int]]:
    """Import of every usage and supply point in (since, until], in Wh by interval end, from every month's segment."""
    found: list[tuple[ReadingKey, int]] = []
    for segment in sorted(data.glob("readings-*.db")):
        query = (
            "SELECT p.point, r.end, r.energy_wh FROM reading AS r JOIN point AS p ON p.number = r.point"
            " WHERE p.channel = ? AND r.end > ? AND r.end <= ?"
        )
        found += [((point, end), wh) for point, end, wh in rows(segment, query, (int(Channel.IMPORT), since, until))]
    return found


def hub_readings(data: Path, day: str, since: int) -> list[tuple[ReadingKey, int]]:
    """Import of every usage point after `since` in the chunks that are in force at the hub for a local day."""
    places = rows(hub_of(data), "SELECT place, chunk FROM place_day WHERE day = ? AND kind = 'transformer'", (day,))
    chunk_of: dict[str, str | None] = dict(places)
    found: list[tuple[ReadingKey, int]] = []
    for chunk in sorted({chunk for chunk in chunk_of.values() if chunk is not None}):
        for (blob,) in rows(hub_of(data), "SELECT content FROM chunk WHERE id = ?", (chunk,)):
            content = decode_chunk(blob)
            ends = content.ends()
            for series in content.series:
                if series.kind is not SeriesKind.USAGE or series.channel is not Channel.IMPORT:
                    continue
                if chunk_of.get(series.transformer) != chunk:
                    continue
                found += [
                    ((series.point, end), wh)
                    for n, (end, wh) in enumerate(zip(ends, series.energy_wh, strict=True))
                    if end > since and series.known(n)
                ]
    return found


@asynccontextmanager
async def hub_reader(stage: Stage) -> AsyncIterator[Hub]:
    """The hub's rooms over its database for looking only, as `central-sync balance` opens them."""
    config = load_toml(stage.files.hub, HubConfig, {})
    async with reading(config, clock=stage.clock) as hub:
        yield hub


async def hub_day_final(stage: Stage, day: str) -> bool:
    """Whether that local day is final at the hub for every office's district."""
    async with hub_reader(stage) as hub:
        told = await hub.balance("district", "day", day)
    final = {area["id"] for area in told["areas"] if area["final"]}
    return {node.district for node in stage.plan.nodes} <= final
