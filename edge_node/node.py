"""The node: every room over one store, under one supervisor. Above the rooms; on all walks.

`build` is called by `serving` with real clocks, files and sockets and by the simulator with its own: the simulator runs
the product's code. Nothing here asks the machine for time, chance or a file. Rooms meet in the store alone; `Wakeups`
only tell them to look now. `edge_node.rooms` shows the wiring.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from edge_node.bundle_verbs import BundleVerbs
from edge_node.clock_memory import remind
from edge_node.compare_verbs import CompareVerbs
from edge_node.config import NodeConfig
from edge_node.console.areas import hour_areas
from edge_node.console.people import People
from edge_node.doctor import Doctor
from edge_node.field_verbs import FieldVerbs
from edge_node.rooms import Ports, Rooms, build_rooms
from edge_node.store.opening import EdgeStore, StoreKeys, open_store
from edge_node.store.photos import Photos
from edge_node.store.registries import LetGo
from edge_node.supply.explain import explain
from edge_node.supply.preview import preview
from edge_node.uplink.bundles import NodeBundleKeys
from edge_node.uplink.hub_link import LinkView
from edge_node.verbs import Verbs
from edge_node.wakeups import Wakeups
from gridmodel.clock import Compute, Entropy, IoClock, Rng, ToldClock, UtilityClock
from gridmodel.identity import AccountId, ChannelId, UsagePointId, new_id
from gridmodel.policy_rules import PolicyRules
from hosting.checkup import as_report
from hosting.database import DatabaseOpener
from hosting.door import Verb
from hosting.log import logger
from hosting.supervision import Supervisor, TaskCondition, TaskState
from protocols.authority.signatures import KeyRing, Signer
from protocols.driver import MeterDriver
from protocols.profile import MeterProfile, load_profiles
from protocols.sync.link import Link


class Node:
    """One node. `run` works until `stop`; `close` gives everything back. Also the face of pages and verbs."""

    def __init__(self, config: NodeConfig, ports: Ports, store: EdgeStore) -> None:
        self.config = config
        self.store = store
        self.wakeups = Wakeups()
        self._ports = ports
        self._stopping = asyncio.Event()
        self._group: Supervisor | None = None
        self._companions: dict[str, Callable[[], Awaitable[None]]] = {}
        self._identity: Callable[[], dict[str, Any]] | None = None
        self.rooms: Rooms = build_rooms(config, ports, store, self.wakeups, self.tasks)
        self._field_verbs = FieldVerbs(
            self.rooms.field_desk,
            self.rooms.people,
            works=store.field_works,
            registries=store.registries,
            photos=Photos(config.data_dir),
            entropy=ports.entropy,
            compute=ports.compute,
        )

    @property
    def people(self) -> People:
        """Who may do what."""
        return self.rooms.people

    @property
    def zone(self) -> str:
        """Local time of the office."""
        return self.config.zone

    @property
    def channels(self) -> tuple[ChannelId, ...]:
        """Payment channels that must vouch for themselves."""
        return self.rooms.sources.channels

    def link(self) -> LinkView:
        """How the link to the hub stands."""
        return self.rooms.hub_link.view()

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """For the local door: those of `Verbs`, of field works, of bundles, and compare."""
        return {
            **Verbs(self, entropy=self._ports.entropy).mapping(),
            **self._field_verbs.mapping(),
            **BundleVerbs(self.rooms.bundles, self.people).mapping(),
            **CompareVerbs(self.rooms.hub_link).mapping(),
        }

    def accompany(self, name: str, work: Callable[[], Awaitable[None]], identity: Callable[[], dict[str, Any]]) -> None:
        """Before `run`: one more task beside the rooms, and what the status tells of the node's certificate."""
        self._companions[name] = work
        self._identity = identity

    async def field_work(self, verb: str, body: dict[str, Any], photo: bytes | None) -> dict[str, Any]:
        """What a fitter asks by a page; see field_verbs."""
        return await self._field_verbs.ask(verb, body, photo)

    async def run(self) -> None:
        """Run every room until `stop`; raises SupervisionFault when one of them cannot be kept alive."""
        log = logger("node")

        def report(task: TaskState) -> None:
            log.error("task_failed", task=task.name, condition=task.condition.value, error=task.last_error)

        try:
            async with Supervisor(self._ports.io_clock, report=report) as group:
                self._group = group
                for name, work in (*self.rooms.tasks(), *self._companions.items()):
                    group.start(name, work)
                await self._stopping.wait()
        finally:
            self._group = None

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stopping.set()

    async def close(self) -> None:
        """Give sockets and files back, once `run` has ended."""
        await self._ports.link.close()
        for driver in self._ports.drivers.values():
            await driver.close()
        await self.store.close()

    def tasks(self) -> tuple[TaskState, ...]:
        """How each room fares; empty while `run` is not on."""
        return () if self._group is None else self._group.states()

    def ready(self) -> tuple[bool, str]:
        """Whether it does its work, and what is missing if not."""
        if self._group is None:
            return False, "the rooms do not run"
        ill = [task.name for task in self.tasks() if task.condition is not TaskCondition.RUNNING]
        if ill:
            return False, f"{ill[0]} does not run"
        if self.store.registries.newest is None:
            return False, "no registry yet: nothing is polled"
        return True, ""

    async def status(self) -> dict[str, Any]:
        """See console.status."""
        return await self.rooms.board.full() | {"identity": None if self._identity is None else self._identity()}

    async def doctor(self) -> dict[str, Any]:
        """See doctor."""
        doctor = Doctor(
            self.store,
            directory=self.config.data_dir,
            clock=self._ports.clock,
            rules=self._ports.rules,
            link=self.rooms.hub_link.view,
            tasks=self.tasks,
        )
        return as_report(await doctor.look())

    async def explain(self, point: UsagePointId) -> dict[str, Any]:
        """Why a point is on or off; see supply.explain."""
        return await explain(self.rooms.enforcement, self.rooms.sources, point)

    async def preview(self, limit: int) -> dict[str, Any]:
        """What the node will do by itself next; see supply.preview."""
        return await preview(self.rooms.enforcement, self.rooms.sources, limit)

    async def points(self, after: str, limit: int, state: str) -> dict[str, Any]:
        """A page of usage points; see console.points."""
        return await self.rooms.points.page(after, limit, state)

    async def areas(self, level: str, end: int) -> dict[str, Any]:
        """Balances of one closed hour; see console.areas."""
        return await hour_areas(self.store, level, end)

    async def pay(self, account: AccountId, amount_tiyin: int, cashier: str, request: str) -> dict[str, Any]:
        """Take a payment of a cashier who has proven who they are; the same request is taken once."""
        taken = await self.rooms.desk.take(account, amount_tiyin, cashier, request)
        entry = taken.entry
        return {
            "entry": entry.id,
            "account": entry.account,
            "amount_tiyin": entry.amount_tiyin,
            "at": entry.at,
            "cashier": entry.recorded_by,
            "credit_tiyin": taken.credit_tiyin,
            "request": request,
            "repeated": taken.repeated,
        }

    async def stop_cuts(self, by: str, why: str) -> dict[str, Any]:
        """Stop every cut of this node, at once."""
        now = self._ports.clock.now()
        stop_id = new_id("stop", self._ports.entropy)
        await self.store.records.put_stop(stop_id, by, why, now)
        self.wakeups.outbox.set()
        self.wakeups.enforcement.set()
        return {"stopped": True, "stop": stop_id, "by": by, "why": why, "at": now}

    async def lift_stop(self, by: str) -> dict[str, Any]:
        """Lift every standing stop."""
        now = self._ports.clock.now()
        lifted = await self.store.records.put_lift(by, now)
        self.wakeups.outbox.set()
        self.wakeups.enforcement.set()
        return {"lifted": lifted, "by": by, "at": now}


async def build(
    config: NodeConfig,
    *,
    clock: UtilityClock,
    io_clock: IoClock,
    rng: Rng,
    entropy: Entropy,
    open_database: DatabaseOpener,
    drivers: Mapping[str, MeterDriver],
    link: Link,
    compute: Compute,
    signer: Signer,
    keyring: KeyRing,
    rules: PolicyRules,
    row_key: bytes,
    profiles: Mapping[str, MeterProfile] | None = None,
    drivers_over: Callable[[EdgeStore], Mapping[str, MeterDriver]] | None = None,
    told_clock: ToldClock | None = None,
    bundle_keys: NodeBundleKeys | None = None,
    settled: Callable[[], object] | None = None,
    let_go: LetGo | None = None,
    at_rest: Callable[[], object] | None = None,
) -> Node:
    """Open the store in `config.data_dir` (which must exist) and wire the rooms; nothing runs until `Node.run`.

    `drivers` by protocol name, and those that `drivers_over` makes over the open store; `profiles` are the shipped ones
    unless given; `told_clock` (`clock` itself, where it listens) is told what hub, meters and an earlier run know of
    the time; `settled` hears of objects that live as long as a registry, `let_go` of those that did, `at_rest` of quiet
    moments. On a fault nothing stays open but what was handed in: link and drivers are the caller's until then.
    """
    ports = Ports(
        clock=clock,
        io_clock=io_clock,
        rng=rng,
        entropy=entropy,
        open_database=open_database,
        drivers=drivers,
        link=link,
        compute=compute,
        signer=signer,
        keyring=keyring,
        rules=rules,
        row_key=row_key,
        profiles=load_profiles() if profiles is None else profiles,
        told_clock=told_clock,
        bundle_keys=bundle_keys,
        settled=settled,
        let_go=let_go,
        at_rest=at_rest,
    )
    store = await _open(config, ports)
    try:
        if drivers_over is not None:
            ports = replace(ports, drivers={**drivers, **drivers_over(store)})
        if told_clock is not None:
            await remind(told_clock, store)
        return Node(config, ports, store)
    except BaseException:
        await store.close()
        raise


async def _open(config: NodeConfig, ports: Ports) -> EdgeStore:
    return await open_store(
        config.data_dir,
        ports.open_database,
        node=config.node_id,
        zone=config.zone,
        keys=StoreKeys(ports.row_key, ports.signer, ports.keyring),
        compute=ports.compute,
        entropy=ports.entropy,
        now=ports.clock.now(),
        let_go=ports.let_go,
        settled=ports.settled,
    )
