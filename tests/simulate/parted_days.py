"""A node's store and link beside a real hub over HTTP, some days sealed and acknowledged: the rig of comparisons."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from central_sync.api.app import hub_app, serve_hub
from central_sync.hub import Hub
from central_sync.store.sqlite import SqliteHubStore
from edge_node.store.chunks import sealed_chunk
from edge_node.store.completeness import SealedDays
from edge_node.store.opening import EdgeStore, StoreKeys, open_store
from edge_node.store.state import Mark
from edge_node.uplink.comparison import ComparisonRoom
from edge_node.uplink.hub_link import HubLink
from edge_node.uplink.reconciliation import Reconciliation
from edge_node.uplink_wiring import beside_of
from edge_node.wakeups import Wakeups
from gridmodel.identity import ChannelId
from gridmodel.reading import Revision
from hosting.clocks import ScaledClock, SystemIoClock
from hosting.compute import InlineCompute
from hosting.database import Connection, open_database
from protocols.authority.canonical import Domain
from protocols.authority.signatures import KeyRing
from protocols.sync.link import HttpLink, Link
from tests.central_sync.hub_rig import (
    END,
    ROW_KEY,
    SIGNERS,
    ZONE,
    A,
    HandClock,
    SeededEntropy,
    chunk_bytes,
    import_registry,
    open_hub,
    registry_of,
)
from tests.edge_node.uplink.courier_bench import RoomPorts

DAYS = ("2026-05-03", "2026-05-04", "2026-05-05")
FIRST, LAST = DAYS[0], DAYS[-1]
NOW = END + 3 * 86_400
SPEED = 300.0
ANSWER_S = 30
"""Real seconds that a comparison may take here at most; it takes two."""
LOOKS_MAX = 600


@dataclass
class Parted:
    """Both sides of one node's days."""

    hub: Hub
    store: EdgeStore
    room: ComparisonRoom
    uplink: HubLink
    wakeups: Wakeups
    exchanged: list[tuple[str, int, int]]
    """(kind, bytes asked, bytes answered) of every exchange."""

    async def verify(self, *, repair: bool = True, wait_s: int = ANSWER_S) -> dict[str, Any]:
        return await self.hub.verify_node(A, FIRST, LAST, repair=repair, wait_s=wait_s)

    async def at_hub(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        store = self.hub.store
        assert isinstance(store, SqliteHubStore)
        return await store.database.write(lambda conn: _run(conn, query, values))

    async def in_segment(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        async with self.store.readings.segments.lease("2026-05") as segment:
            return await segment.database.write(lambda conn: _run(conn, query, values))

    async def energy(self) -> tuple[Any, ...]:
        """Everything that the hub's balances say, in order."""
        return (
            await self.at_hub("SELECT place, day, kind, booked, chunk FROM place_day ORDER BY place, day"),
            *[
                {
                    (one["id"], one["supplied_wh"], one["delivered_wh"], one["points_missing"])
                    for one in (await self.hub.balance(level, "day", day))["areas"]
                }
                for level in ("transformer", "district")
                for day in DAYS
            ],
            {
                (one["id"], one["supplied_wh"], one["delivered_wh"])
                for one in (await self.hub.balance("district", "month", "2026-05"))["areas"]
            },
        )

    async def compared(self) -> dict[str, Any]:
        """What the node remembers of its latest comparison."""
        return dict(json.loads(await self.store.state.get(Mark.COMPARED) or "{}"))


async def _run(conn: Connection, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
    return await conn.fetch_all(query, values)


class Counted:
    """A link that remembers sizes; `refuse` stands for a hub of the version before."""

    def __init__(self, link: Link, exchanged: list[tuple[str, int, int]]) -> None:
        self._link = link
        self._exchanged = exchanged

    async def exchange(self, kind: str, body: bytes) -> bytes:
        reply = await self._link.exchange(kind, body)
        self._exchanged.append((kind, len(body), len(reply)))
        return reply

    async def close(self) -> None:
        await self._link.close()


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    for _ in range(LOOKS_MAX):
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"never came about: {what}")


@asynccontextmanager
async def parted(folder: Path, link_over: Callable[[Link], Link] = lambda link: link) -> AsyncIterator[Parted]:
    """Three days of one node, durable on both sides; the node has compared once."""
    (folder / "hub").mkdir()
    (folder / "node").mkdir(mode=0o700)
    hub = await open_hub(folder / "hub", HandClock(NOW))
    hub.verifying = replace(hub.verifying, io_clock=SystemIoClock())
    registry = registry_of(A)
    await import_registry(hub, registry)
    store = await open_store(
        folder / "node",
        open_database,
        node=A,
        zone=ZONE,
        keys=StoreKeys(ROW_KEY, SIGNERS[A], KeyRing([], Domain.DEMO)),
        compute=InlineCompute(),
        entropy=SeededEntropy(3),
        now=NOW,
    )
    for n, day in enumerate(DAYS):
        chunk = sealed_chunk(day, 0, Revision(1, 1), 1, chunk_bytes(registry, Random(n), day=day))
        await store.readings.chunks.put(chunk)
        await store.hours.put_day(day, 1, [chunk.row], NOW)
    try:
        async with (
            serve_hub(hub_app(hub, SeededEntropy()), "127.0.0.1:0") as address,
            _linked(hub, store, address, link_over) as both,
        ):
            yield both
    finally:
        await store.close()
        await hub.close()


@asynccontextmanager
async def _linked(hub: Hub, store: EdgeStore, url: str, link_over: Callable[[Link], Link]) -> AsyncIterator[Parted]:
    clock, wakeups, exchanged = ScaledClock(NOW, ScaledClock().now(), SPEED), Wakeups(), list[tuple[str, int, int]]()
    link = Counted(link_over(HttpLink(url)), exchanged)
    days = SealedDays(store.control, store.readings.segments, A, InlineCompute())
    room = ComparisonRoom(
        node=A,
        days=days,
        compute=InlineCompute(),
        clock=clock,
        rng=Random(2),
        entropy=SeededEntropy(4),
        signer=SIGNERS[A],
        period_s=30,
    )
    reconciliation = Reconciliation(store.control, A, wakeups)
    ports = RoomPorts(clock, Random(2), SeededEntropy(4), InlineCompute(), SIGNERS[A])
    uplink = HubLink(
        node=A,
        outbox=store.outbox,
        downlink=store.downlink,
        alarms=store.alarms,
        reconciliation=reconciliation,
        beside=replace(beside_of(A, ChannelId("desk"), store, reconciliation, ports, wakeups), comparison=room),
        link=link,
        clock=clock,
        rng=Random(1),
        entropy=SeededEntropy(5),
        signer=SIGNERS[A],
        wakeups=wakeups,
    )
    both = Parted(hub, store, room, uplink, wakeups, exchanged)
    task = asyncio.create_task(uplink.run())

    async def ready() -> bool:
        if task.done():
            task.result()
        told = await both.compared()
        return (bool(told) and told["under_way"] == 0 and told["chunks"] == len(DAYS)) or told.get(
            "state"
        ) == "unsupported"

    try:
        await until(ready, "three days acknowledged and compared")
        room._period_s = 10**6  # from here on a comparison has to be asked for
        room._due_at = None
        yield both
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await link.close()
