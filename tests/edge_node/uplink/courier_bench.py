"""An office and a hub that never speak: real stores on real files, and a folder that a courier carries between them."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from central_sync.hub import Hub
from central_sync.ingest.bundles import HubBundleKeys
from edge_node.store.chunks import sealed_chunk
from edge_node.store.opening import EdgeStore, StoreKeys, open_store
from edge_node.store.outbox import append_record
from edge_node.uplink.bundles import Bundles, NodeBundleKeys
from edge_node.uplink.hub_link import HubLink
from edge_node.uplink.reconciliation import Reconciliation
from edge_node.uplink_wiring import beside_of, bundles_of
from edge_node.wakeups import Wakeups
from gridmodel.clock import UtilityClock
from gridmodel.identity import ChannelId
from gridmodel.reading import Revision
from hosting.compute import InlineCompute
from hosting.database import open_database
from hosting.keys_bundle import BundlePrivate
from protocols.authority.canonical import Domain
from protocols.authority.signatures import KeyRing, NamedKey, Role, Signer
from protocols.sync.lanes import Lane, Record
from protocols.sync.link import LinkLost
from tests.central_sync.hub_rig import (
    DAY,
    END,
    SIGNERS,
    ZONE,
    A,
    HandClock,
    SeededEntropy,
    chunk_bytes,
    entry_record,
    hour_record,
    import_registry,
    open_hub,
    payment,
    registry_of,
    transformer_cell,
)

HUB_SIGNER = Signer.from_seed(b"H" * 32, Domain.DEMO)
HUB_OPENING, NODE_OPENING = BundlePrivate(b"h" * 32), BundlePrivate(b"n" * 32)
HUB_RING = KeyRing([NamedKey(HUB_SIGNER.public, "hub", frozenset({Role.HUB}))], Domain.DEMO)
REGISTRY = registry_of(A)


@dataclass
class Desk:
    """A node's store and what stands over it for a courier."""

    store: EdgeStore
    bundles: Bundles
    reconciliation: Reconciliation
    wakeups: Wakeups
    clock: HandClock

    async def write(self, lane: Lane, *records: Record) -> None:
        async def verb(conn: Any) -> None:
            for record in records:
                await append_record(conn, lane, record.kind, record.id, record.body, self.clock.at)

        await self.store.control.write(verb)

    async def take(self, *numbers: int) -> None:
        """Payments at the desk."""
        await self.write(Lane.LEDGER, *(entry_record(payment(A, number)) for number in numbers))

    async def close_hours(self, hours: int, number: int = 1) -> None:
        """Hours of the day under that revision: one revision has one content."""
        rng = Random(number)
        cells = [hour_record("t-a0", END - n * 3600, transformer_cell(rng), number) for n in range(hours)]
        await self.write(Lane.SUMMARY, *cells)

    async def close_day(self, number: int = 1) -> None:
        """Seal the day's chunk."""
        chunk = sealed_chunk(DAY, 0, Revision(1, number), 1, chunk_bytes(REGISTRY, Random(number), number=number))
        await self.store.readings.chunks.put(chunk)
        await self.store.hours.put_day(DAY, number, [chunk.row], self.clock.at)

    async def drained(self) -> bool:
        owed = await self.store.outbox.backlog()
        return all(one.records + one.batches == 0 for one in owed.values())

    async def payments_known(self) -> set[str]:
        rows = await self.store.control.read(lambda conn: conn.fetch_all("SELECT id FROM ledger_entry"))
        return {row[0] for row in rows}


@asynccontextmanager
async def desk(folder: Path, clock: HandClock, *, keys: NodeBundleKeys | None = None) -> AsyncIterator[Desk]:
    """The office as a process finds it."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240 — a folder of the test
    entropy, compute = SeededEntropy(3), InlineCompute()
    store = await open_store(
        folder,
        open_database,
        node=A,
        zone=ZONE,
        keys=StoreKeys(b"r" * 32, SIGNERS[A], KeyRing([], Domain.DEMO)),
        compute=compute,
        entropy=entropy,
        now=clock.at,
    )
    try:
        wakeups = Wakeups()
        reconciliation = Reconciliation(store.control, A, wakeups)
        bundles = bundles_of(
            A,
            store,
            reconciliation,
            keys=NodeBundleKeys(NODE_OPENING, HUB_OPENING.public, HUB_RING) if keys is None else keys,
            signer=SIGNERS[A],
            clock=clock,
            rng=Random(1),
            entropy=entropy,
            compute=compute,
            wakeups=wakeups,
        )
        yield Desk(store, bundles, reconciliation, wakeups, clock)
    finally:
        await store.close()


@asynccontextmanager
async def centre(folder: Path, clock: HandClock, *, registry: bool = True) -> AsyncIterator[Hub]:
    """The hub, which knows the office's registry unless told otherwise."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240 — a folder of the test
    hub = await open_hub(folder, clock, HubBundleKeys(HUB_SIGNER, HUB_OPENING, {A: NODE_OPENING.public}))
    try:
        if registry:
            await import_registry(hub, REGISTRY)
        yield hub
    finally:
        await hub.close()


@dataclass
class Courier:
    """Carries files; keeps every one it ever had."""

    desk: Desk
    hub: Hub
    drive: Path
    clock: HandClock

    async def up(self) -> Path:
        self.clock.at += 60
        return Path((await self.desk.bundles.write(self.drive))["file"])

    async def give(self, path: Path) -> tuple[dict[str, Any], Path]:
        """To the hub; its report and its answer."""
        self.clock.at += 60
        told = await self.hub.apply_bundle(path, self.drive)
        return told, Path(told["reply"]["file"])

    async def down(self, *, whole: bool = False) -> Path:
        self.clock.at += 60
        return Path((await self.hub.write_bundle(A, self.drive, whole=whole))["file"])

    async def bring(self, path: Path, *, new_hub: bool = False) -> dict[str, Any]:
        self.clock.at += 60
        return await self.desk.bundles.apply(path, new_hub=new_hub)

    async def trip(self) -> dict[str, Any]:
        """There and back; the office's report."""
        _, answer = await self.give(await self.up())
        return await self.bring(answer)


@asynccontextmanager
async def courier(folder: Path, *, at: int = END + 3600) -> AsyncIterator[Courier]:
    """Office, hub and drive; the hub's first bundle was brought, so the office has its registry and its epochs."""
    clock, drive = HandClock(at), folder / "drive"
    drive.mkdir(exist_ok=True)
    async with desk(folder / "office", clock) as office, centre(folder / "hub", clock) as hub:
        carrier = Courier(office, hub, drive, clock)
        await carrier.bring(await carrier.down())
        yield carrier


def with_courier(folder: Path, story: Callable[[Courier], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with courier(folder) as carrier:
            await story(carrier)

    asyncio.run(whole())


class DirectLink:
    """The link, whole, to a hub in this process."""

    def __init__(self, hub: Hub) -> None:
        self.hub: Hub | None = hub

    async def exchange(self, kind: str, body: bytes) -> bytes:
        if self.hub is None:
            raise LinkLost(50, f"the line is cut: no {kind}", "wait")
        return await self.hub.handle(kind, body)

    async def close(self) -> None:
        return


@dataclass(frozen=True)
class RoomPorts:
    """Ports of the rooms beside the session."""

    clock: UtilityClock
    rng: Random
    entropy: SeededEntropy
    compute: InlineCompute
    signer: Signer


def uplink(office: Desk, link: DirectLink) -> HubLink:
    """The office's link to the hub, to be run by the test."""
    return HubLink(
        node=A,
        outbox=office.store.outbox,
        downlink=office.store.downlink,
        alarms=office.store.alarms,
        reconciliation=office.reconciliation,
        beside=beside_of(
            A,
            ChannelId(f"desk-{A}"),
            office.store,
            office.reconciliation,
            RoomPorts(office.clock, Random(2), SeededEntropy(8), InlineCompute(), SIGNERS[A]),
            office.wakeups,
        ),
        link=link,
        clock=office.clock,
        rng=Random(1),
        entropy=SeededEntropy(9),
        signer=SIGNERS[A],
        wakeups=office.wakeups,
    )


HOW_IT_CAME = {"batch", "lane", "ticket", "down_mark", "node", "fork_request", "hub_state", "link_span"}
"""Tables that tell how facts arrived, not which."""
WHEN_IT_CAME = {"received_at", "seen_at", "created_at", "issued_at", "hash"}


def holdings(folder: Path) -> dict[str, list[str]]:
    """What a hub's database holds of the world, table by table."""
    found: dict[str, list[str]] = {}
    with closing(sqlite3.connect(folder / "hub.db")) as conn:
        tables = [row[0] for row in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        for table in [name for name in tables if name not in HOW_IT_CAME]:
            columns = [row[1] for row in conn.execute(f"PRAGMA table_info({table})")]
            wanted = [name for name in columns if name not in WHEN_IT_CAME]
            rows = conn.execute(f"SELECT {', '.join(wanted)} FROM {table}").fetchall()
            found[table] = sorted(repr(row) for row in rows)
    return found
