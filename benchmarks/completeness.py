"""Benchmark `completeness`: a node and a hub compare a million usage-point-days that differ in one chunk.

Real stores on real files on both sides, the product's own rooms in between; bodies go from one to the other without a
socket. 42 chunks of 1,000 usage points a day (a district of 42,000 points) over 24 days. First equal sides, then a
chunk is deleted at the hub. Beside each: the same by asking about every chunk by name, as a list of digests.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.edge_rig import Callbacks
from benchmarks.figures import Figure, Report
from benchmarks.sync import day_of_chunks
from central_sync.balance.restoring import DayRestore
from central_sync.balance.topology import RegistryShelf
from central_sync.ingest.completeness import Completeness
from central_sync.ingest.region_link import RegionLink
from central_sync.store.port import HubTransaction
from central_sync.store.rows import ChunkRow
from central_sync.store.sqlite import SqliteHubStore, open_sqlite
from edge_node.store.chunks import SealedChunk, sealed_chunk
from edge_node.store.completeness import SealedDays
from edge_node.store.opening import EdgeStore, StoreKeys, open_store
from edge_node.store.state import Mark
from edge_node.uplink.comparison import ComparisonRoom
from gridmodel.identity import NodeId
from gridmodel.period import day_bounds, days_between
from gridmodel.reading import Revision
from hosting.clocks import ScaledClock, SystemEntropy
from hosting.compute import ThreadCompute
from hosting.database import Connection, open_database
from hosting.log import LogForm, configure_log
from protocols.authority.canonical import Domain
from protocols.authority.signatures import KeyRing, NamedKey, Role, Signer
from protocols.sync.chunk import encode_chunk
from protocols.sync.completeness import LEAF_BYTES

NAME = "completeness"
NODE = NodeId("node-1726264")
ZONE = "Asia/Tashkent"
POINTS = 1_000
SIGNER = Signer.from_seed(bytes(range(32)), Domain.DEMO)
ROW_KEY = bytes(range(32))
LIMIT_BYTES, LIMIT_S = 100_000, 2.0


@dataclass
class Sides:
    """Both, and what went between them."""

    store: EdgeStore
    hub: SqliteHubStore
    link: RegionLink
    room: ComparisonRoom
    chunks: int
    bytes_moved: int = 0
    messages: int = 0

    async def exchange(self, kind: str, body: bytes) -> bytes:
        """As a link does, counting."""
        reply = await self.link.handle(kind, body)
        self.bytes_moved += len(body) + len(reply)
        self.messages += 1
        return reply

    async def compare(self) -> dict[str, Any]:
        """One whole comparison; its cost as a row."""
        self.bytes_moved = self.messages = 0
        await self.store.state.put(Mark.COMPARE_WANTED, '{"first": "2026-05-01", "id": "bench", "last": "2026-05-31"}')
        await self.store.state.put(Mark.COMPARED, "null")
        callbacks = Callbacks()
        began, cpu = time.perf_counter(), time.process_time()
        with callbacks.watched():
            while await self.store.state.get(Mark.COMPARED) == "null":
                await self.room.step(self.exchange)
        return {
            "seconds": round(time.perf_counter() - began, 3),
            "cpu_s": round(time.process_time() - cpu, 3),
            "bytes": self.bytes_moved,
            "messages": self.messages,
            "list_of_digests_bytes": self.chunks * LEAF_BYTES,
            "longest_callback_ms": round(callbacks.longest_s * 1_000, 1),
        }


def run(*, smoke: bool) -> Report:
    """See the module."""
    per_day, days = (2, 3) if smoke else (42, 24)
    with TemporaryDirectory() as folder:
        equal, differs, found = asyncio.run(_measured(Path(folder), per_day, days))
    name = f"{per_day * days * POINTS:,} usage-point-days"
    rows = ({"case": "equal", **equal}, {"case": "one chunk deleted at the hub", **differs, "found": found})
    figures = (
        Figure(
            "completeness.bytes", f"{name}, one difference: bytes both ways", differs["bytes"], "B", "<=", LIMIT_BYTES
        ),
        Figure(
            "completeness.seconds", f"{name}, one difference: both sides' time", differs["seconds"], "s", "<=", LIMIT_S
        ),
        Figure("completeness.equal_bytes", f"{name}, equal: bytes both ways", equal["bytes"], "B", "<=", 4_000),
    )
    return Report(rows, figures)


async def _measured(folder: Path, per_day: int, days: int) -> tuple[dict[str, Any], dict[str, Any], int]:
    clock, compute = ScaledClock(day_bounds("2026-06-02", ZONE)[1], ScaledClock().now(), 1.0), ThreadCompute(1)
    configure_log(LogForm.CONSOLE, clock.now)
    (folder / "node").mkdir(mode=0o700)
    keyring = KeyRing([NamedKey(SIGNER.public, NODE, frozenset({Role.NODE}))], Domain.DEMO)
    hub = await open_sqlite(folder / "hub.db", ROW_KEY, open_database)
    store = await open_store(
        folder / "node", open_database, node=NODE, zone=ZONE, keys=StoreKeys(ROW_KEY, SIGNER, keyring),
        compute=compute, entropy=SystemEntropy(), now=clock.now(),
    )  # fmt: skip
    try:
        await _fill(store, hub, per_day, days)
        restore = DayRestore(hub, RegistryShelf(hub, compute), compute)
        link = RegionLink(
            store=hub, shelf=RegistryShelf(hub, compute), keyring=keyring, clock=clock, compute=compute,
            incarnation="hub-bench",
            rooms={"compare": Completeness(store=hub, restore=restore, clock=clock, compute=compute)},
        )  # fmt: skip
        room = ComparisonRoom(
            node=NODE, days=SealedDays(store.control, store.readings.segments, NODE, compute), compute=compute,
            clock=clock, rng=Random(1), entropy=SystemEntropy(), signer=SIGNER,
        )  # fmt: skip
        sides = Sides(store, hub, link, room, per_day * days)
        await sides.compare()  # files in memory, code warm
        equal = await sides.compare()
        await hub.database.write(
            lambda conn: conn.execute(
                "DELETE FROM chunk WHERE id = (SELECT min(id) FROM chunk WHERE day = '2026-05-02')"
            )
        )
        differs = await sides.compare()
        owed = await store.outbox.backlog()
        return equal, differs, sum(one.records for one in owed.values())
    finally:
        await store.close()
        await hub.close()
        compute.close()


async def _fill(store: EdgeStore, hub: SqliteHubStore, per_day: int, days: int) -> None:
    """The same chunks on both sides. Their bytes differ at the end only: nothing of a comparison reads inside."""
    payload = encode_chunk(day_of_chunks(points=POINTS, interval_minutes=60))
    await hub.write(lambda tx: tx.enlist(NODE, "key", ("1726264",)))
    for day in days_between("2026-05-01", "2026-05-31")[:days]:
        sealed = [
            sealed_chunk(day, number, Revision(1, 1), 7, payload + f"{day}.{number:06}".encode())
            for number in range(per_day)
        ]
        async with store.readings.segments.lease(day[:7]) as segment:

            async def seal(conn: Connection, some: list[SealedChunk] = sealed) -> None:
                await conn.execute_many(
                    "INSERT INTO chunk (id, day, number, epoch, revision, registry_version, payload, digest)"
                    " VALUES (?, ?, ?, 1, 1, 7, ?, ?)",
                    [(one.row.id, one.row.day, one.row.number, one.payload, one.row.digest) for one in some],
                )

            await segment.database.write(seal)
        await store.hours.put_day(day, 1, [], 0)

        async def keep(tx: HubTransaction, some: list[SealedChunk] = sealed) -> None:
            for one in some:
                await tx.put_chunk(ChunkRow(one.row.digest.hex(), NODE, one.row.day, 1, 1, 7, 0, one.payload))

        await hub.write(keep)
