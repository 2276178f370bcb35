"""A node's uplink at work on a real store, against whatever hub a test writes on paper."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_node.store.alarms import Alarms
from edge_node.store.batches import Outbox
from edge_node.store.completeness import SealedDays
from edge_node.store.downlink import Downlink
from edge_node.store.field_works import FieldWorks
from edge_node.store.ledger import Ledger
from edge_node.store.operations import Operations
from edge_node.store.recovery import Recovery
from edge_node.store.registries import Registries
from edge_node.store.relays import Relays
from edge_node.store.segments import Segments
from edge_node.store.state import NodeState
from edge_node.uplink.comparison import ComparisonRoom
from edge_node.uplink.hub_link import Beside, HubLink
from edge_node.uplink.recalling import RecallRoom
from edge_node.uplink.reconciliation import Reconciliation
from edge_node.uplink.standing import StandingRoom
from edge_node.wakeups import Wakeups
from gridmodel.fault import Fault
from gridmodel.identity import ChannelId
from hosting.compute import InlineCompute
from hosting.database import Connection, Database, open_database
from protocols.sync import wire
from protocols.sync.lanes import DownLane, Lane
from protocols.sync.pull import DownItem
from tests.edge_node.store.outbox_bench import NODE, SIGNER, opened, put
from tests.edge_node.uplink.paper_hub import JumpClock, PaperHub

TURNS_MAX = 4_000
"""Looks at the condition before a test gives up."""


class CountedEntropy:
    def __init__(self) -> None:
        self._count = 0

    def token(self, size_bytes: int) -> bytes:
        self._count += 1
        return self._count.to_bytes(size_bytes, "big")


@dataclass
class Office:
    """A node's uplink at work."""

    control: Database
    outbox: Outbox
    alarms: Alarms
    state: NodeState
    downlink: Downlink
    hub_link: HubLink
    wakeups: Wakeups
    taken: list[tuple[str, str]]
    task: "asyncio.Task[None]"

    async def write(self, lane: Lane, *ids: str) -> None:
        await put(self.control, lane, *ids)
        self.wakeups.outbox.set()

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        for _ in range(TURNS_MAX):
            if self.task.done():
                self.task.result()
            if await condition():
                return
            await self.outbox.owing()  # a turn of the database: the link's own verbs come between
        raise AssertionError(f"never came about: {self.hub_link.view()}, {await self.alarms.standing()}")

    async def drained(self) -> bool:
        owed = await self.outbox.backlog()
        return all(one.records + one.batches == 0 for one in owed.values())

    async def settled(self) -> bool:
        return await self.state.reconciled() and await self.drained()


def beside(  # noqa: PLR0917
    control: Database,
    segments: Segments,
    downlink: Downlink,
    reconciliation: Reconciliation,
    clock: JumpClock,
    wakeups: Wakeups,
) -> Beside:
    """What a paper hub knows nothing of."""
    row_key, compute, entropy = bytes(32), InlineCompute(), CountedEntropy()
    recovery = Recovery(
        control,
        Ledger(control, row_key),
        Operations(control, row_key),
        FieldWorks(control, row_key),
        Relays(control),
        desk=ChannelId("desk"),
    )
    return Beside(
        comparison=ComparisonRoom(
            node=NODE,
            days=SealedDays(control, segments, NODE, compute),
            compute=compute,
            clock=clock,
            rng=random.Random(2),
            entropy=entropy,
            signer=SIGNER,
        ),
        standing=StandingRoom(
            node=NODE,
            control=control,
            downlink=downlink,
            reconciliation=reconciliation,
            clock=clock,
            entropy=entropy,
            signer=SIGNER,
        ),
        recalling=RecallRoom(
            node=NODE,
            control=control,
            recovery=recovery,
            compute=compute,
            clock=clock,
            entropy=entropy,
            signer=SIGNER,
            wakeups=wakeups,
        ),
    )


@asynccontextmanager
async def office(folder: Path, hub: PaperHub, clock: JumpClock) -> AsyncIterator[Office]:
    async with opened(folder) as (control, outbox):
        taken: list[tuple[str, str]] = []

        async def take(conn: Connection, kind: str, item_id: str, body: Mapping[str, Any], now: int) -> None:
            if body.get("broken") or body.get("from", 0) > now:
                await conn.execute("INSERT INTO node_state (key, value) VALUES (?, '')", (item_id,))
                raise Fault("TQ-XX-01", "a test says so", "none")
            taken.append((kind, item_id))

        wakeups, alarms = Wakeups(), Alarms(control, NODE)
        segments = Segments(folder, open_database, "Asia/Tashkent")
        registries = Registries(control, NODE, InlineCompute(), FieldWorks(control, bytes(32)))
        appliers = {DownLane.LEDGER: take, DownLane.AUTHORITY: take}
        downlink = Downlink(control, registries=registries, appliers=appliers)
        hub.now = clock.now
        reconciliation = Reconciliation(control, NODE, wakeups)
        hub_link = HubLink(
            node=NODE,
            outbox=outbox,
            downlink=downlink,
            alarms=alarms,
            reconciliation=reconciliation,
            beside=beside(control, segments, downlink, reconciliation, clock, wakeups),
            link=hub,
            clock=clock,
            rng=random.Random(1),
            entropy=CountedEntropy(),
            signer=SIGNER,
            wakeups=wakeups,
        )
        task = asyncio.create_task(hub_link.run())
        try:
            yield Office(control, outbox, alarms, NodeState(control), downlink, hub_link, wakeups, taken, task)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await segments.close()


def item(lane: DownLane, offset: int, **body: object) -> DownItem:
    return DownItem(lane, offset, "ledger_entry", f"item-{offset}", wire.pack(body))
