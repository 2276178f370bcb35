"""The hub, wired: the same object in production, in tests and in virtual time. Above all rooms of central_sync.

On all three walks. `build` takes every outside thing as an argument; `Hub.handle` answers the exchanges of sync,
`Hub.verbs` the local door, the rooms in its fields the API and the pages. `Hub.run` keeps the background work alive:
quarantined batches tried again, the nightly audit, the database's log moved into its file.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from central_sync.authority.mandates import MandateOffice
from central_sync.balance.audit import AuditReport, BalanceAudit
from central_sync.balance.gap_list import Coverage
from central_sync.balance.reading import BalanceReader, question
from central_sync.balance.restoring import DayRestore
from central_sync.balance.topology import RegistryShelf
from central_sync.billing.field_works import FieldWorkMerge, RegistryUnreadable, WorksReport
from central_sync.billing.imports import ImportReport, LedgerImport, read_ledger
from central_sync.billing.records import RecordImport, RecordKind, read_records
from central_sync.billing.registries import ReadRegistry, RegistryImport, RegistryReport
from central_sync.config import HubConfig
from central_sync.door_verbs import Verb, door_verbs
from central_sync.hub_parts import Ports, bundles_of, enrolments_of, rooms_beside
from central_sync.identity.enrolment import Enrolments
from central_sync.identity.gate import Gate
from central_sync.identity.verbs import enrolment_verbs
from central_sync.ingest.bundles import Bundles, HubBundleKeys
from central_sync.ingest.completeness import Completeness
from central_sync.ingest.refilling import INCARNATION, refilling
from central_sync.ingest.region_link import RegionLink
from central_sync.situation.changes import Changes
from central_sync.situation.consumers import Consumers
from central_sync.situation.nodes import Situation
from central_sync.store.engines import open_store, open_store_reader
from central_sync.store.port import HubStore, HubTransaction
from central_sync.verifying import Verifying
from gridmodel.clock import Compute, Entropy, IoClock, Rng, UtilityClock
from gridmodel.fault import Fault
from gridmodel.identity import NodeId, new_id
from gridmodel.period import HOUR_S, day_bounds, days_between, local_day, rfc3339
from hosting.database import DatabaseOpener
from hosting.keys_certificates import CertificateAuthority
from hosting.log import logger
from hosting.supervision import Supervisor, TaskCondition, TaskState

AUDITED = "audited"
SWEEP_S = 900
"""Utility seconds between two tries of what is quarantined: hours that were not over are by then."""
MERGE_S = 300
"""Utility seconds between two looks for field works to put into registries: a day's exchanges become a few versions."""
TIDY_S = 900
"""Real seconds between two moves of SQLite's whole write-ahead log into the file, beside its own at 16 MB."""
AUDIT_DAYS = 40
"""The nightly audit works out so many days anew, more than late data reach back; `central-sync verify` takes all."""


@dataclass(slots=True)
class Hub:
    """A hub at work. Build it with `build`; `run` it until cancelled; `close` it."""

    config: HubConfig
    store: HubStore
    incarnation: str
    clock: UtilityClock
    io_clock: IoClock
    rng: Rng
    compute: Compute
    link: RegionLink
    bundles: Bundles
    shelf: RegistryShelf
    balances: BalanceReader
    audit: BalanceAudit
    situation: Situation
    consumers: Consumers
    mandates: MandateOffice
    enrolments: Enrolments
    gate: Gate
    changes: Changes
    _ledger: LedgerImport
    _records: RecordImport
    _registries: RegistryImport
    _field_works: FieldWorkMerge
    verifying: Verifying
    companions: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    """More background work, by name; set before `run`."""
    _tasks: tuple[TaskState, ...] = ()
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, kind: str, body: bytes) -> bytes:
        """One exchange of sync; see `RegionLink.handle`."""
        return await self.link.handle(kind, body)

    async def run(self) -> None:
        """Background work until `stop` is called; raises SupervisionFault when a task cannot be kept alive."""
        async with Supervisor(self.io_clock, report=self._report) as group:
            group.start("quarantine", self._sweep)
            group.start("field works", self._merge_field_works)
            group.start("audit", self._audit_nightly)
            group.start("tidy", self._tidy)
            for name, work in self.companions.items():
                group.start(name, work)
            self._tasks = group.states()
            await self._stopping.wait()

    def ready(self) -> tuple[bool, str]:
        """Whether background work runs, and what is missing."""
        failing = [task.name for task in self._tasks if task.condition is not TaskCondition.RUNNING]
        if not self._tasks:
            return False, "the hub is starting"
        return not failing, f"not running: {', '.join(failing)}" if failing else ""

    def stop(self) -> None:
        """Let `run` return."""
        self._stopping.set()

    async def close(self) -> None:
        """Give the database back."""
        await self.store.close()

    async def status(self) -> dict[str, Any]:
        """What `central-sync status` and /readyz tell."""

        async def verb(tx: HubTransaction) -> dict[str, Any]:
            return {
                "watermarks": {channel: rfc3339(at) for channel, at in (await tx.watermarks()).items()},
                "quarantined": sum((await tx.count_quarantined()).values()),
                "conflicts": len(await tx.conflicts(500)),
                "audited": await tx.hub_value(AUDITED),
                "refilling": await refilling(tx),
            }

        nodes = await self.situation.nodes()
        states: dict[str, int] = {}
        for node in nodes:
            states[node["state"]] = states.get(node["state"], 0) + 1
        told = await self.store.read(verb)
        return {
            "incarnation": self.incarnation,
            "now": rfc3339(self.clock.now()),
            "clock": self.clock.trust().value,
            "nodes": states,
            "tasks": {task.name: task.condition.value for task in self._tasks},
        } | told

    async def balance(self, level: str, period: str, at: str, area: str | None = None) -> dict[str, Any]:
        """DESIGN §4 `balance`."""
        return await self.balances.balance(question(level, period, at, area, self.config.zone), self.clock.now())

    async def import_ledger(
        self,
        data: bytes,
        channel: str,
        *,
        complete_up_to: int | None = None,
        dry_run: bool = False,
        skip_bad: bool = False,
    ) -> ImportReport:
        """Take in a file of payments and debts of one channel; see `billing.imports`."""
        table = await self.compute.run(read_ledger, data, channel, self.config.zone, self.clock.now())
        report = await self._ledger.apply(table, channel, complete_up_to, dry_run=dry_run, skip_bad=skip_bad)
        self._changed(done=report.done)
        return report

    async def import_records(
        self, kind: str, data: bytes, *, dry_run: bool = False, skip_bad: bool = False
    ) -> ImportReport:
        """Take in a file of notices, protections or forecasts; see `billing.records`."""
        if kind not in set(RecordKind):
            raise Fault("TQ-HB-60", f"there is no import of {kind!r:.40}", f"there are {', '.join(RecordKind)}")
        table = await self.compute.run(read_records, RecordKind(kind), data, self.config.zone, self.clock.now())
        report = await self._records.apply(table, dry_run=dry_run, skip_bad=skip_bad)
        self._changed(done=report.done)
        return report

    async def import_registry(self, read: bytes | ReadRegistry, *, dry_run: bool = False) -> RegistryReport:
        """Take in a node's new registry and try again what waited for it; see `billing.registries`."""
        known = read if isinstance(read, ReadRegistry) else await self._registries.read(read)
        async with self.link.node_lock(known.registry.node):
            report = await self._registries.apply(known, dry_run=dry_run)
        if report.done:
            await self.link.retry(report.node)
            self._changed(done=True)
        return report

    async def merge_field_works(self) -> list[WorksReport]:
        """Put what offices recorded of meters into their registries, and send those down; see `billing.field_works`."""
        reports = []
        for node in await self._field_works.waiting():
            try:
                async with self.link.node_lock(node):
                    report = await self._field_works.merge(node)
            except RegistryUnreadable as fault:  # of one office: the works of others go on
                logger("registry").error("field_works_not_merged", node=node, code=fault.code, what=fault.what)
                continue
            if report is not None:
                reports.append(report)
                await self.link.retry(node)
                self._changed(done=True)
        return reports

    async def publish_mandate(self, document: bytes) -> dict[str, Any]:
        """Carry a signed mandate to its node; see `authority.mandates`."""
        told = await self.mandates.publish(document)
        self._changed(done=True)
        return told

    async def write_bundle(self, node: NodeId, place: Path, *, whole: bool) -> dict[str, Any]:
        """A bundle for a courier to a node; see `ingest.bundles`."""
        return await self.bundles.write(node, place, whole=whole)

    async def apply_bundle(self, path: Path, answer: Path) -> dict[str, Any]:
        """Take in what a courier brought from a node, and write the answer; see `ingest.bundles`."""
        return await self.bundles.apply(path, answer)

    async def verify(self, since_day: str = "") -> AuditReport:
        """Work balances out anew from `since_day` on and compare; see `balance.audit`."""
        now = self.clock.now()
        report = await self.audit.run(now, since_day)
        told = f"{rfc3339(now)} {len(report.differences)} differences in {report.days} days"
        await self.store.write(lambda tx: tx.set_hub_value(AUDITED, told))
        if report.differences:
            logger("balance").error("balance_differs", differences=report.differences[:5])
        return report

    async def verify_node(self, node: str, first: str, last: str, *, repair: bool, wait_s: int) -> dict[str, Any]:
        """Hold a node's days against the node; see `verifying`."""
        told = await self.verifying.verify(NodeId(node), first, last, repair=repair, wait_s=wait_s)
        self._changed(done=bool(told["restored"]))
        return told

    def verbs(self) -> Mapping[str, Verb]:
        """The verbs of the local door; see `door_verbs`."""
        return {**door_verbs(self), **enrolment_verbs(self.enrolments)}

    def _changed(self, *, done: bool) -> None:
        if done:
            self.changes.ring()

    def _report(self, task: TaskState) -> None:
        logger("hub").error("task_failed", task=task.name, condition=task.condition.value, error=task.last_error)

    async def _sweep(self) -> None:
        while True:
            await self.clock.sleep(SWEEP_S * self.rng.uniform(0.9, 1.1))
            await self.link.retry(None)

    async def _merge_field_works(self) -> None:
        while True:
            await self.clock.sleep(MERGE_S * self.rng.uniform(0.9, 1.1))
            for report in await self.merge_field_works():
                if report.refused:
                    logger("registry").warning("field_works_refused", node=report.node, count=report.refused)

    async def _audit_nightly(self) -> None:
        while True:
            now = self.clock.now()
            start, _ = day_bounds(local_day(now + 1, self.config.zone), self.config.zone)
            due = start + self.config.audit_hour * HOUR_S
            await self.clock.sleep_until(due if due > now else due + 24 * HOUR_S)
            today = local_day(self.clock.now(), self.config.zone)
            first = days_between(local_day(self.clock.now() - AUDIT_DAYS * 24 * HOUR_S, self.config.zone), today)[0]
            await self.verify(first)

    async def _tidy(self) -> None:
        while True:
            await self.io_clock.sleep(TIDY_S)
            await self.store.tidy()


async def build(
    config: HubConfig,
    *,
    clock: UtilityClock,
    io_clock: IoClock,
    rng: Rng,
    entropy: Entropy,
    open_database: DatabaseOpener,
    compute: Compute,
    row_key: bytes | None = None,
    bundle_keys: HubBundleKeys | None = None,
    authority: CertificateAuthority | None = None,
) -> Hub:
    """A hub over its database, its nodes enlisted. Raises StoreFault, DatabaseFault, KeyFault.

    `row_key` is read from (or made in) the data directory unless it is given, as the simulator does. Without
    `bundle_keys` the hub takes no bundles, without `authority` it enrols nobody.
    """
    store = await open_store(config, entropy, open_database, row_key)
    try:
        fresh = new_id("hub", entropy)

        async def verb(tx: HubTransaction) -> str:
            for node in config.nodes:
                await tx.enlist(NodeId(node.id), node.public_key or "", node.districts)
            known = await tx.hub_value(INCARNATION)
            if known is None:
                await tx.set_hub_value(INCARNATION, fresh)
            return fresh if known is None else known

        incarnation = await store.write(verb)
    except BaseException:
        await store.close()
        raise
    hub = _wired(config, store, incarnation, Ports(clock, io_clock, rng, entropy, compute, authority), bundle_keys)
    await hub.enrolments.learn()
    return hub


async def build_reader(
    config: HubConfig, *, clock: UtilityClock, io_clock: IoClock, rng: Rng, entropy: Entropy, compute: Compute
) -> Hub:
    """The same rooms over the database opened for reading only, beside a running hub: for commands that only look."""
    store = await open_store_reader(config)
    incarnation = await store.read(lambda tx: tx.hub_value(INCARNATION))
    return _wired(config, store, incarnation or "", Ports(clock, io_clock, rng, entropy, compute, None), None)


def _wired(
    config: HubConfig, store: HubStore, incarnation: str, ports: Ports, bundle_keys: HubBundleKeys | None
) -> Hub:
    clock, compute = ports.clock, ports.compute
    keyring = config.keyring()
    changes = Changes()
    enrolments = enrolments_of(config, store, ports, keyring, changes)
    shelf = RegistryShelf(store, compute)
    restore = DayRestore(store, shelf, compute)
    completeness = Completeness(store=store, restore=restore, clock=clock, compute=compute)
    link = RegionLink(
        store=store,
        shelf=shelf,
        keyring=keyring,
        clock=clock,
        compute=compute,
        incarnation=incarnation,
        rooms=rooms_beside(store, ports, completeness),
        changed=changes.ring,
    )
    return Hub(
        config=config,
        store=store,
        incarnation=incarnation,
        clock=clock,
        io_clock=ports.io_clock,
        rng=ports.rng,
        compute=compute,
        link=link,
        bundles=bundles_of(link, store, keyring, ports, keys=bundle_keys, incarnation=incarnation),
        shelf=shelf,
        balances=BalanceReader(store, shelf, compute, config.zone),
        audit=BalanceAudit(store, shelf, compute),
        situation=Situation(store, clock, config.situation),
        consumers=Consumers(store, clock, compute),
        mandates=MandateOffice(store, clock, keyring),
        enrolments=enrolments,
        gate=Gate(config, store, enrolments, clock),
        changes=changes,
        _ledger=LedgerImport(store, clock, compute),
        _records=RecordImport(store, clock, config.node_of_district()),
        _registries=RegistryImport(store, clock, compute),
        _field_works=FieldWorkMerge(store, clock, compute),
        verifying=Verifying(
            store=store,
            restore=restore,
            completeness=completeness,
            link=link,
            coverage=Coverage(store, compute, config.zone),
            clock=clock,
            io_clock=ports.io_clock,
            entropy=ports.entropy,
        ),
    )
