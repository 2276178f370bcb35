"""Opening a node's store: one control database, monthly segments, and every class over them. Floor: edge_node/store.

On every walk. `open_store` is the only way in: it makes the databases at the first start, gives the store its
incarnation, loads the registry that holds and the last registers, and tries again what an earlier program refused.
`open_reader_store` serves commands beside a running node: it reads and never writes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_node.store.absences import Absences
from edge_node.store.alarms import Alarms
from edge_node.store.batches import Outbox
from edge_node.store.downlink import Downlink
from edge_node.store.field_works import FieldWorks
from edge_node.store.held_reads import HeldReads
from edge_node.store.hours import Hours
from edge_node.store.ledger import Ledger
from edge_node.store.mandates import mandate_checker
from edge_node.store.meter_clocks import MeterClocks
from edge_node.store.meter_counters import MeterCounters
from edge_node.store.meter_events import MeterEvents
from edge_node.store.meter_secrets import MeterSecretRows, Sealed
from edge_node.store.operations import Operations
from edge_node.store.outages import Outages
from edge_node.store.readings import Readings
from edge_node.store.records import Records
from edge_node.store.registries import LetGo, Registries
from edge_node.store.relays import Relays
from edge_node.store.segments import Segments
from edge_node.store.state import Mark, NodeState, read_mark, write_mark
from gridmodel.clock import Compute, Entropy
from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from hosting.compute import InlineCompute
from hosting.database import Connection, Database, DatabaseOpener, open_database, open_reader
from hosting.migrations import load_migrations
from protocols.authority.signatures import KeyRing, Signer
from protocols.sync.lanes import DownLane

CONTROL_NAME = "control.db"
"""In the data folder, beside the segments."""
INCARNATION_BYTES = 8
"""Enough that no two stores of a node are ever alike."""


class StoreFault(Fault):
    """A store that is not there."""


@dataclass(frozen=True)
class EdgeStore:
    """Everything durable of one node; rooms share it and nothing else."""

    control: Database
    state: NodeState
    registries: Registries
    field_works: FieldWorks
    outbox: Outbox
    downlink: Downlink
    alarms: Alarms
    ledger: Ledger
    records: Records
    relays: Relays
    operations: Operations
    hours: Hours
    readings: Readings
    meter_counters: MeterCounters
    meter_secrets: MeterSecretRows
    meter_clocks: MeterClocks
    meter_events: MeterEvents
    outages: Outages
    absences: Absences
    held_reads: HeldReads
    fresh: bool
    """Made by this very opening: an empty machine, or a lost disk."""

    async def close(self) -> None:
        """Wait for the verbs in progress and give the files back."""
        await self.readings.close()
        await self.control.close()


@dataclass(frozen=True, slots=True)
class StoreKeys:
    """The keys a store needs."""

    row: bytes
    """32 bytes for the row hashes."""
    signer: Signer
    """Seals batches."""
    keyring: KeyRing
    """Whose signatures count under mandates."""


@dataclass(frozen=True, slots=True)
class _Place:
    directory: Path
    open_database: DatabaseOpener
    node: NodeId
    zone: str


async def open_store(
    directory: Path,
    open_database: DatabaseOpener,
    *,
    node: NodeId,
    zone: str,
    keys: StoreKeys,
    compute: Compute,
    entropy: Entropy,
    now: int,
    let_go: LetGo | None = None,
    settled: Callable[[], object] | None = None,
) -> EdgeStore:
    """Open the store in `directory` as its one writer; raises DatabaseFault or MigrationFault.

    `let_go` is told each registry that holds no longer, `settled` when rows were read that stay.
    """
    control = await open_database(directory / CONTROL_NAME, "control", _steps())
    try:
        fresh = await control.write(lambda conn: _name_store(conn, entropy, now))
        place = _Place(directory, open_database, node, zone)
        store = _composed(control, place, keys, compute, fresh=fresh, let_go=let_go, settled=settled)
        await store.registries.load()
        await store.readings.load()
        await store.downlink.retry_refused(now)
    except BaseException:
        await control.close()
        raise
    return store


async def open_reader_store(
    directory: Path, *, node: NodeId, zone: str, keys: StoreKeys, compute: Compute
) -> EdgeStore:
    """The store for reading only, beside a running node or without one; raises DatabaseFault (TQ-DB-02: none yet)."""
    control = await open_reader(directory / CONTROL_NAME, "control", _steps())
    try:
        store = _composed(control, _Place(directory, open_reader_of, node, zone), keys, compute, fresh=False)
        await store.registries.load()
    except BaseException:
        await control.close()
        raise
    return store


async def open_reader_of(path: Path, name: str, migrations: Sequence[str]) -> Database:
    """`open_reader` in the form of a DatabaseOpener: segments opened for reading."""
    return await open_reader(path, name, migrations)


async def sealed_in(path: Path) -> Sealed:
    """The sealed secrets in a control database or a copy of one, which is only read; raises DatabaseFault."""
    control = await open_reader(path, "control", _steps())
    try:
        return await MeterSecretRows(control, InlineCompute()).load()
    finally:
        await control.close()


async def leap_counters(directory: Path) -> int:
    """Skip invocation counters of every key: for whoever put a copy in place of a stopped node's control database.

    To be called before the node is started again; the folder's lock is the caller's. Gives the count of keys. Raises
    StoreFault TQ-ST-04 when there is no store, DatabaseFault for one that cannot be opened.
    """
    path = directory / CONTROL_NAME
    if not path.is_file():
        raise no_store(path, "put the copy in its place first, or correct data_dir")
    control = await open_database(path, "control", _steps())
    try:
        return await MeterCounters(control).leap()
    finally:
        await control.close()


def no_store(path: Path, hint: str) -> StoreFault:
    """The fault for a control database that is not there (TQ-ST-04)."""
    return StoreFault("TQ-ST-04", f"there is no {path}", hint)


def _steps() -> tuple[str, ...]:
    return load_migrations("edge_node.store", "schema/control")


async def _name_store(conn: Connection, entropy: Entropy, now: int) -> bool:
    if await read_mark(conn, Mark.STORE_INCARNATION) is not None:
        return False
    await write_mark(conn, Mark.STORE_INCARNATION, entropy.token(INCARNATION_BYTES).hex())
    await write_mark(conn, Mark.STORE_MADE_AT, str(now))
    return True


def _composed(
    control: Database,
    place: _Place,
    keys: StoreKeys,
    compute: Compute,
    *,
    fresh: bool,
    let_go: LetGo | None = None,
    settled: Callable[[], object] | None = None,
) -> EdgeStore:
    node = place.node
    field_works = FieldWorks(control, keys.row)
    registries = Registries(control, node, compute, field_works, let_go=let_go, settled=settled)
    ledger = Ledger(control, keys.row)
    records = Records(control, keys.row, node, mandate_checker(keys.keyring, node))
    readings = Readings(Segments(place.directory, place.open_database, place.zone), keys.row, compute)

    return EdgeStore(
        control=control,
        state=NodeState(control),
        registries=registries,
        field_works=field_works,
        outbox=Outbox(control, node=node, signer=keys.signer, compute=compute, chunks=readings.chunks),
        downlink=Downlink(
            control,
            registries=registries,
            appliers={DownLane.LEDGER: ledger.apply_ledger_item, DownLane.AUTHORITY: records.apply_record_item},
        ),
        alarms=Alarms(control, node),
        ledger=ledger,
        records=records,
        relays=Relays(control),
        operations=Operations(control, keys.row),
        hours=Hours(control),
        readings=readings,
        meter_counters=MeterCounters(control),
        meter_secrets=MeterSecretRows(control, compute),
        meter_clocks=MeterClocks(control),
        meter_events=MeterEvents(control),
        outages=Outages(control),
        absences=Absences(control),
        held_reads=HeldReads(control),
        fresh=fresh,
    )
