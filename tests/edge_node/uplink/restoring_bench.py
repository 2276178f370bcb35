"""A node and a hub whose stores are put back from backups: real stores, the link whole, a clock that jumps."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from central_sync.balance.cells import EPOCH, PLACE_COLUMNS, unpack
from central_sync.hub import Hub
from edge_node.money.payments import Desk as CashDesk
from edge_node.store.chunks import sealed_chunk
from edge_node.store.operations import Movement, Operation, Outcome
from edge_node.store.stamping import stamp_of
from edge_node.store.state import Mark
from edge_node.uplink.hub_link import HubLink
from gridmodel.control import Cause
from gridmodel.event import AlarmKind
from gridmodel.field_work import FieldWork
from gridmodel.identity import ChannelId, MeterId, TransformerId, UsagePointId
from gridmodel.reading import Revision
from protocols.sync.lanes import Lane
from tests.central_sync.hub_rig import (
    DAY,
    END,
    A,
    chunk_bytes,
    hour_record,
    payment,
    registry_of,
    transformer_cell,
)
from tests.edge_node.uplink.courier_bench import Desk, DirectLink, centre, desk, uplink
from tests.edge_node.uplink.paper_hub import JumpClock

LOOKS_MAX = 100_000
"""Looks at a condition before a test gives up: a busy disk makes a store slow, and looks quick."""


class SharedClock(JumpClock):
    """One time for node and hub; `at` as the hub's rig has it."""

    @property
    def at(self) -> int:
        return self._now

    @at.setter
    def at(self, at: int) -> None:
        self._now = at


@dataclass
class Node:
    """An office whose link runs."""

    office: Desk
    hub_link: HubLink
    link: DirectLink
    task: "asyncio.Task[None]"

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str = "") -> None:
        for _ in range(LOOKS_MAX):
            if self.task.done():
                self.task.result()
            if await condition():
                return
            await self.office.store.outbox.owing()
        raise AssertionError(f"never came about: {what} {self.hub_link.view()} {await self.marks()}")

    async def stop(self) -> None:
        """The link's task ends; the store stays open."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    def start(self) -> None:
        """As after a restart, over the same store."""
        self.hub_link = uplink(self.office, self.link)
        self.task = asyncio.create_task(self.hub_link.run())

    async def marks(self) -> dict[str, str]:
        return {mark.value: value for mark, value in (await self.office.store.state.get_all()).items()}

    async def agreed(self) -> bool:
        wanted = await self.office.store.state.get(Mark.RECALL_WANTED)
        return wanted is None and await self.office.store.state.reconciled() and await self.office.drained()

    async def pay(self, number: int, **changes: Any) -> None:
        entry = payment(A, number, **changes)
        await self.office.store.ledger.take_payment(entry, f"request-{number}", stamp_of(self.office.clock))
        self.office.wakeups.outbox.set()

    async def move(self, number: int, movement: Movement = Movement.CUT, outcome: Outcome | None = None) -> Operation:
        at = self.office.clock.at
        operation = Operation(
            id=f"op-{number}",
            usage_point=UsagePointId("up-t-a0-0"),
            meter=MeterId("m-up-t-a0-0"),
            transformer=TransformerId("t-a0"),
            action=movement,
            cause=Cause.DEBT,
            basis={"reasons": ["debt"]},
            mandate=None,
            intent_at=at,
            sent_at=at,
            result_at=None if outcome is None else at + 5,
            outcome=outcome,
        )
        operations = self.office.store.operations
        await self.office.store.control.write(lambda conn: operations.put(conn, operation, at))
        self.office.wakeups.outbox.set()
        return operation

    async def work(self, work: FieldWork) -> None:
        held = (self.office.store.registries.newest.version if self.office.store.registries.newest else 0, 0)
        assert await self.office.store.field_works.put(work, held, self.office.clock.at)
        self.office.wakeups.outbox.set()

    def desk(self) -> CashDesk:
        """The office's own desk, whose channel is the link's."""

        async def any_secret(_cashier: str, _secret: str) -> bool:
            return True

        return CashDesk(
            self.office.store.ledger,
            self.office.store.registries,
            channel=ChannelId(f"desk-{A}"),
            cashiers=("cashier",),
            check_secret=any_secret,
            clock=self.office.clock,
            wakeups=self.office.wakeups,
        )

    async def close(self, seed: int) -> None:
        """Hours and then the day, under the first revisions there are, with content by the seed."""
        rng = Random(seed)
        at, store = self.office.clock.at, self.office.store
        cells = [hour_record("t-a0", END - n * 3600, transformer_cell(rng)) for n in range(3)]
        await self.office.write(Lane.SUMMARY, *cells)
        chunk = sealed_chunk(DAY, 0, Revision(1, 1), 1, chunk_bytes(registry_of(A), Random(seed)))
        await store.readings.chunks.put(chunk)
        await store.hours.put_day(DAY, 1, [chunk.row], at)
        self.office.wakeups.outbox.set()

    async def epochs(self) -> dict[str, int]:
        return {lane.value: mark.epoch for lane, mark in (await self.office.store.outbox.marks()).items()}

    async def operations(self) -> list[Operation]:
        store = self.office.store
        return await store.control.read(lambda conn: store.operations.page(conn, "", 100))

    async def alarms(self) -> set[str]:
        return {row.kind for row in await self.office.store.alarms.standing()}

    async def ever(self) -> set[str]:
        return {row.kind for row in await self.office.store.alarms.recent()}

    async def stops(self) -> list[str]:
        return [one.why for one in await self.office.store.control.read(self.office.store.records.stops)]


@asynccontextmanager
async def running(folder: Path, hub: Hub, clock: SharedClock) -> AsyncIterator[Node]:
    """The office at work; its folder is whole again when it ends."""
    async with desk(folder, clock) as office:  # type: ignore[arg-type]
        link = DirectLink(hub)
        hub_link = uplink(office, link)
        node = Node(office, hub_link, link, asyncio.create_task(hub_link.run()))
        try:
            yield node
        finally:
            await node.stop()


@asynccontextmanager
async def hub_in(folder: Path, clock: SharedClock) -> AsyncIterator[Hub]:
    known = (folder / "hub.db").is_file()
    async with centre(folder, clock, registry=not known) as hub:  # type: ignore[arg-type]
        yield hub


def clock_at() -> SharedClock:
    return SharedClock(END + 3_600)


async def copied(node: Node, to: Path) -> Path:
    """A backup of the control database, taken while the node works."""
    to.mkdir()  # noqa: ASYNC240 — a folder of the test
    await node.office.store.control.copy_to(to / "control.db")
    return to


def put_back(backup: Path, folder: Path) -> None:
    """A stopped store gives way to its backup."""
    shutil.rmtree(folder)
    shutil.copytree(backup, folder)


async def hub_ledger(hub: Hub) -> dict[str, int]:
    rows = await hub.store.read(lambda tx: tx.ledger_of(A, "", 10_000))
    return {str(row.entry.id): row.entry.amount_tiyin for row in rows}


async def hub_operations(hub: Hub) -> dict[str, str | None]:
    rows = await hub.store.read(lambda tx: tx.operations_of(A, "", 10_000))
    return {row.id: row.outcome for row in rows}


async def hub_alarms(hub: Hub) -> set[tuple[str | None, str]]:
    rows = await hub.store.read(lambda tx: tx.alarms(None, 500, standing=True))
    return {(row.node or None, row.kind) for row in rows}


async def hub_hours(hub: Hub) -> list[tuple[bytes, int]]:
    """The hours in force of a transformer, and under which epoch they are."""
    row = (await hub.store.read(lambda tx: tx.place_days(DAY, ["t-a0"])))["t-a0"]
    state = unpack(row.state, 24, PLACE_COLUMNS)
    return [(state[hour].tobytes(), int(state[hour, EPOCH])) for hour in range(24)]


AGREES_NOT = {AlarmKind.HUB_MOVED, AlarmKind.HUB_ROLLED_BACK, AlarmKind.LANE_FORKED, AlarmKind.NODE_COPIED}
