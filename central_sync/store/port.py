"""The store port: what every engine behind the hub must do. Floor: central_sync/store; on all three walks.

`HubStore.write` and `read` run a verb over `HubTransaction`, which is cut into topics below. A verb is one transaction:
it commits when the verb returns and leaves nothing when it raises; `read` sees one consistent snapshot. `write_for`
holds the node's lock as well (SQLite: the one writer's turn; PostgreSQL: the node's row FOR UPDATE): whatever is read
in it about the node stays true until it commits, so offsets, epochs and marks have no races. During `write` nobody else
writes at all. A verb may run more than once, when another process crossed it: it has no effect but through its
transaction. The suite for engines is tests/contracts/test_hub_store_contract.py. Limits are the caller's: every list
takes one.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from central_sync.store.port_identity import IdentityVerbs
from central_sync.store.port_recovery import RecoveryVerbs
from central_sync.store.port_reports import FieldWorkVerbs, ReportVerbs
from central_sync.store.rows import (
    BalanceRow,
    BatchRow,
    ChunkRow,
    ConflictRow,
    IssuedRow,
    LedgerRow,
    LinkSpan,
    NodeRow,
    OwnerRow,
    PlaceDayRow,
)
from gridmodel.account import LedgerEntry
from gridmodel.identity import NodeId
from protocols.sync.lanes import DownLane, Lane, LaneMark
from protocols.sync.pull import DownItem

T = TypeVar("T")
AreaKey = tuple[str, str]
"""(level, area)."""


class LaneVerbs(Protocol):
    """Nodes, marks, the batch log."""

    async def hub_value(self, key: str) -> str | None:
        """A small mark of the hub itself."""
        ...

    async def set_hub_value(self, key: str, value: str) -> None:
        """Set such a mark."""
        ...

    async def enlist(self, node: NodeId, public_key: str, districts: Sequence[str]) -> None:
        """Know a node: its key and districts as configured; what it has proven stays."""
        ...

    async def node(self, node: NodeId) -> NodeRow | None:
        """One node."""
        ...

    async def nodes(self) -> list[NodeRow]:
        """All nodes by id."""
        ...

    async def set_epoch(self, node: NodeId, epoch: int) -> None:
        """The highest epoch minted for the node."""
        ...

    async def marks(self, node: NodeId) -> dict[Lane, LaneMark]:
        """How far each lane is durable; lanes never opened are absent."""
        ...

    async def set_mark(self, node: NodeId, lane: Lane, mark: LaneMark) -> None:
        """Move a lane's mark."""
        ...

    async def fork_epoch(self, node: NodeId, lane: Lane, nonce: bytes) -> int | None:
        """The epoch minted for this very request, if it was answered before."""
        ...

    async def put_fork(self, node: NodeId, lane: Lane, nonce: bytes, epoch: int, now: int) -> None:
        """Remember the answer to a request for an epoch."""
        ...

    async def batch_digest(self, node: NodeId, lane: Lane, epoch: int, seq: int) -> bytes | None:
        """The digest of the batch held under this number."""
        ...

    async def put_batch(self, row: BatchRow) -> None:
        """Log a batch; replaces the row under the same number (a quarantined one that was tried again)."""
        ...

    async def quarantined(
        self,
        node: NodeId | None,
        limit: int,
        *,
        codes: Sequence[str] = (),
        after: BatchRow | None = None,
        data: bool = False,
    ) -> list[BatchRow]:
        """Quarantined batches in order of arrival: of one node or of all, of some codes or of all.

        With their data, a megabyte each, only when asked.
        """
        ...

    async def quarantined_digests(self, node: NodeId, digests: Sequence[bytes]) -> set[bytes]:
        """Those payloads of lane interval that are set aside."""
        ...

    async def count_quarantined(self) -> dict[NodeId, int]:
        """How many batches of each node are quarantined."""
        ...

    async def seen(self, node: NodeId, now: int, pause_s_max: int) -> None:
        """The node spoke: last_seen rises, and its link span is prolonged, or begun anew after a longer pause."""
        ...

    async def link_spans(self, node: NodeId, limit: int) -> list[LinkSpan]:
        """Spans of contact, newest first."""
        ...


class RegistryVerbs(Protocol):
    """Registries and who speaks for what."""

    async def registry_versions(self) -> dict[NodeId, int]:
        """The newest version of each node that has one."""
        ...

    async def registry_document(self, node: NodeId, version: int) -> bytes | None:
        """One version as it is kept: its packed document, or the manifest of its parts."""
        ...

    async def registry_parts(self, node: NodeId, version: int) -> tuple[bytes, ...]:
        """The packed parts of a version that is kept as a manifest, in order; those that are not there are left out.

        They are kept once, in the lane down that brought them.
        """
        ...

    async def put_registry(
        self, node: NodeId, version: int, document: bytes, owners: Iterable[OwnerRow], now: int
    ) -> None:
        """Keep a new version; `owners` become the node's (nothing is taken from it: energy of old places stays)."""
        ...

    async def owners(self, kind: str, ids: Sequence[str]) -> dict[str, OwnerRow]:
        """Who speaks for these things; unknown ones are absent."""
        ...

    async def owned(self, kind: str, node: NodeId | None, after: str, limit: int) -> list[OwnerRow]:
        """Things of a kind, of one node or of all, by id after `after`."""
        ...

    async def account_at(self, usage_point: str) -> str | None:
        """The account at a usage point."""
        ...


class EnergyVerbs(Protocol):
    """Chunks, hours in force, moved balances. All blobs belong to the balance room."""

    async def put_chunk(self, row: ChunkRow) -> None:
        """Keep a chunk; the same id is the same content, and mends a row that was altered here."""
        ...

    async def chunk(self, chunk_id: str) -> ChunkRow | None:
        """One chunk."""
        ...

    async def chunks_of(self, node: NodeId, day: str, after: str, limit: int) -> list[ChunkRow]:
        """A node's chunks of one day, by id after `after`."""
        ...

    async def chunk_days(self, node: NodeId) -> list[tuple[str, int]]:
        """(day, chunks) of a node, in order."""
        ...

    async def place_days(self, day: str, places: Sequence[str]) -> dict[str, PlaceDayRow]:
        """The hours in force of these places on one day; absent where nothing came yet."""
        ...

    async def put_place_days(self, rows: Sequence[PlaceDayRow]) -> None:
        """Set them."""
        ...

    async def all_place_days(self, day: str, node: NodeId) -> list[PlaceDayRow]:
        """Everything of one node and day, for the audit."""
        ...

    async def place_day_keys(self) -> list[tuple[NodeId, str]]:
        """Every (node, day) that has hours, in order."""
        ...

    async def balance_days(self, node: NodeId, day: str, keys: Sequence[AreaKey]) -> dict[AreaKey, bytes]:
        """The node's part of these areas' day."""
        ...

    async def put_balance_days(self, node: NodeId, day: str, states: Mapping[AreaKey, bytes]) -> None:
        """Set them."""
        ...

    async def balance_months(self, node: NodeId, month: str, keys: Sequence[AreaKey]) -> dict[AreaKey, bytes]:
        """The node's part of these areas' month."""
        ...

    async def put_balance_months(self, node: NodeId, month: str, states: Mapping[AreaKey, bytes]) -> None:
        """Set them."""
        ...

    async def node_balances(self, node: NodeId, period: str) -> dict[AreaKey, bytes]:
        """All areas of one node on a day (``2026-05-04``) or in a month (``2026-05``), for the audit."""
        ...

    async def area_days(self, level: str, day: str, area: str | None) -> list[BalanceRow]:
        """A level's day, each node's part apart, by area and node."""
        ...

    async def area_months(self, level: str, month: str, area: str | None) -> list[BalanceRow]:
        """A level's month likewise."""
        ...


class MoneyVerbs(Protocol):
    """The union of ledgers, watermarks, records that were issued."""

    async def ledger_entries(self, ids: Sequence[str]) -> dict[str, LedgerRow]:
        """Entries by id."""
        ...

    async def put_ledger_entries(self, entries: Sequence[LedgerEntry], node: NodeId, origin: str, now: int) -> None:
        """Keep new entries, hashed. The caller has looked for conflicts in the same transaction."""
        ...

    async def credits(self, usage_points: Sequence[str]) -> dict[str, int]:
        """The sum of all entries (tiyin) of the accounts at these points, at most 500; without any entry: absent."""
        ...

    async def account_entries(self, account: str, limit: int) -> list[LedgerRow]:
        """An account's entries, newest first."""
        ...

    async def damaged_entries(self, limit: int) -> list[str]:
        """Entries whose row is not what was hashed."""
        ...

    async def put_conflict(self, row: ConflictRow) -> None:
        """Name a conflict; the same one twice is one."""
        ...

    async def conflicts(self, limit: int) -> list[ConflictRow]:
        """Conflicts, newest first."""
        ...

    async def imported_channels(self, channels: Sequence[str]) -> frozenset[str]:
        """Those of `channels` whose entries come from files at the centre: no node may speak for them."""
        ...

    async def watermarks(self) -> dict[str, int]:
        """Complete up to, by channel."""
        ...

    async def put_watermark(self, channel: str, complete_up_to: int, now: int) -> None:
        """Set a channel's watermark; it never sinks."""
        ...

    async def issued(self, kind: str, ids: Sequence[str]) -> list[IssuedRow]:
        """What was issued under these ids, to whichever nodes."""
        ...

    async def issued_about(self, kind: str, subject: str, limit: int) -> list[IssuedRow]:
        """What was issued about one account, usage point or district, newest first."""
        ...

    async def issued_to(self, kind: str, node: NodeId, limit: int) -> list[IssuedRow]:
        """What one node was sent, newest first."""
        ...

    async def put_issued(self, rows: Sequence[IssuedRow]) -> None:
        """Keep what was issued; the same (kind, id, node) twice is one."""
        ...


class DownVerbs(Protocol):
    """The per-node logs down."""

    async def append_down(
        self, node: NodeId, lane: DownLane, items: Sequence[tuple[str, str, bytes]], now: int
    ) -> None:
        """Append (kind, id, body), numbering on without a gap; under the node's lock or the only writer's turn."""
        ...

    async def down_items(self, node: NodeId, lane: DownLane, after: int, limit: int, bytes_max: int) -> list[DownItem]:
        """What lies after an offset, in order: at least one if there is one, then within `bytes_max` of bodies."""
        ...

    async def down_bodies(self, node: NodeId, lane: DownLane, ids: Sequence[str]) -> dict[str, bytes]:
        """The bodies of these items of a lane, by id; one of them where an item went down more than once."""
        ...

    async def down_heads(self, node: NodeId) -> dict[DownLane, int]:
        """The last offset assigned in each lane; 0 where nothing was."""
        ...

    async def down_marks(self, node: NodeId) -> dict[DownLane, int]:
        """How far the node said it has durably."""
        ...

    async def put_down_mark(self, node: NodeId, lane: DownLane, offset: int, now: int) -> None:
        """What the node says it has; a node restored from a backup may say less than before."""
        ...


class HubTransaction(
    LaneVerbs,
    RegistryVerbs,
    EnergyVerbs,
    MoneyVerbs,
    ReportVerbs,
    FieldWorkVerbs,
    DownVerbs,
    RecoveryVerbs,
    IdentityVerbs,
    Protocol,
):
    """Everything a verb may do."""


Verb = Callable[[HubTransaction], Awaitable[T]]


class HubStore(Protocol):
    """One engine."""

    schema: int
    """The version of the schema, which is this program's."""

    async def write(self, verb: Verb[T]) -> T:
        """Run `verb` in one durable transaction while no other one writes, in this process or another."""
        ...

    async def write_for(self, node: NodeId, verb: Verb[T]) -> T:
        """The same while no other transaction about `node` can run, in this process or another."""
        ...

    async def read(self, verb: Verb[T]) -> T:
        """Run `verb` on one consistent snapshot; it may only read."""
        ...

    async def tidy(self) -> None:
        """What the engine wants done now and then; every quarter of an hour in a running hub."""
        ...

    async def check(self) -> tuple[str, ...]:
        """The engine's complaints of itself; empty when it has none."""
        ...

    async def close(self) -> None:
        """Let go of the engine."""
        ...
