"""The hub's side of "which of these facts do you lack?". Floor: central_sync/ingest; on the walk of link loss.

Answers `protocols.sync.recall` from rows as they stand: payments and debts of the node's accounts, movements of its
relays, its field works. Rows that are not what was hashed count as absent and are never given. The leaves of a node are
worked out once for a comparison and kept while its messages come; whoever lost them works them out anew.
"""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

from central_sync.ingest.refilling import node_refilled
from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows import FieldWorkRow, LedgerRow, OperationRow
from gridmodel.clock import Compute, UtilityClock
from gridmodel.identity import NodeId
from protocols.sync import facts, wire
from protocols.sync.facts import LEDGER_ENTRY, RELAY_OPERATION, RelayOperationFact, ledger_entry_to_body
from protocols.sync.field_works import FIELD_WORK
from protocols.sync.lanes import RECORD_LIMITS, Record
from protocols.sync.recall import PLACE_BYTES, Leaf, Leaves, Recall, RecallReply, fitting_reply, leaf_of

ROWS_AT_ONCE = 1_000
"""Read and hashed in one step: some 20 ms of the compute port."""
KEPT_MAX = 8
"""Comparisons whose leaves are in memory at one time: 10 MB each for 100,000 facts."""

Row = LedgerRow | OperationRow | FieldWorkRow
Named = tuple[str, str]
"""(kind, id)."""


class _Facts:
    """What one node's facts are, under one seed."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self.names: dict[Leaf, Named] = {}
        self.leaves = Leaves(())


class Recalling:
    """Answers recalls; the caller holds the node's turn."""

    def __init__(self, *, store: HubStore, clock: UtilityClock, compute: Compute) -> None:
        self._store = store
        self._clock = clock
        self._compute = compute
        self._kept: OrderedDict[NodeId, _Facts] = OrderedDict()

    def read(self, body: bytes) -> Recall:
        """The message; raises WireFault or MessageFault."""
        return Recall.from_bytes(body)

    async def answer(self, recall: Recall, incarnation: str) -> RecallReply:
        """The reply to one message of a node."""
        now = self._clock.now()
        if not recall.parts and recall.low == recall.high:
            self._kept.pop(recall.node, None)
            if recall.done:
                await self._store.write(partial(node_refilled, node=recall.node, now=now))
            return RecallReply(hub_incarnation=incarnation, hub_time=now)
        held = await self._facts(recall.node, recall.seed, anew=bool(recall.parts))
        if recall.parts:
            own = await self._compute.run(held.leaves.parts, recall.seed)
            differ = tuple(part for part, digest in enumerate(own) if digest != recall.parts[part])
            return RecallReply(hub_incarnation=incarnation, hub_time=now, differ=differ)
        told, mine = set(recall.leaves), held.leaves.between(recall.low, recall.high)
        beyond = [leaf for leaf in mine if leaf not in told]
        given = await self._store.read(partial(_given, node=recall.node, names=[held.names[leaf] for leaf in beyond]))
        upto = recall.high if len(given) == len(beyond) else int.from_bytes(beyond[len(given)][:PLACE_BYTES], "big")
        return RecallReply(
            hub_incarnation=incarnation,
            hub_time=now,
            lacking=tuple(sorted(told - set(mine))),
            given=tuple(given),
            upto=max(upto, recall.low),
        )

    async def _facts(self, node: NodeId, seed: bytes, *, anew: bool) -> _Facts:
        held = self._kept.get(node)
        if held is None or held.seed != seed or anew:
            held = self._kept[node] = _Facts(seed)
            for read in (_ledger, _operations, _field_works):
                after = ""
                while True:
                    rows = await self._store.read(partial(read, node=node, after=after))
                    held.names |= await self._compute.run(_leaves, rows)
                    if len(rows) < ROWS_AT_ONCE:
                        break
                    after = _named(rows[-1])[1]
            held.leaves = await self._compute.run(Leaves, held.names)
        self._kept.move_to_end(node)
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return held


async def _ledger(tx: HubTransaction, node: NodeId, after: str) -> Sequence[Row]:
    return await tx.ledger_of(node, after, ROWS_AT_ONCE)


async def _operations(tx: HubTransaction, node: NodeId, after: str) -> Sequence[Row]:
    return await tx.operations_of(node, after, ROWS_AT_ONCE)


async def _field_works(tx: HubTransaction, node: NodeId, after: str) -> Sequence[Row]:
    return await tx.field_works_of(node, after, ROWS_AT_ONCE)


async def _given(tx: HubTransaction, node: NodeId, names: Sequence[Named]) -> list[Record]:
    """The leading ones of these facts that fit one reply, each as it travels."""
    some = names[:512]
    rows: list[Row] = list((await tx.ledger_entries([name for kind, name in some if kind == LEDGER_ENTRY])).values())
    rows += await tx.operations_named(node, [name for kind, name in some if kind == RELAY_OPERATION])
    for work in [name for kind, name in some if kind == FIELD_WORK]:
        row = await tx.field_work(node, work)
        rows += [] if row is None else [row]
    found = {_named(row): _record(row) for row in rows}
    records = [found[name] for name in some if name in found]
    return records[: fitting_reply(records)]


def _leaves(rows: Sequence[Row]) -> dict[Leaf, Named]:
    """Pure."""
    return {leaf_of(_record(row)): _named(row) for row in rows if not isinstance(row, LedgerRow) or row.intact}


def _named(row: Row) -> Named:
    match row:
        case LedgerRow():
            return LEDGER_ENTRY, row.entry.id
        case OperationRow():
            return RELAY_OPERATION, row.id
        case FieldWorkRow():
            return FIELD_WORK, row.id


def _record(row: Row) -> Record:
    kind, name = _named(row)
    match row:
        case LedgerRow():
            return Record(kind, name, ledger_entry_to_body(row.entry))
        case FieldWorkRow():
            return Record(kind, name, wire.unpack(row.body, RECORD_LIMITS))
        case OperationRow():
            fact = RelayOperationFact(
                usage_point=row.usage_point,
                meter=row.meter,
                transformer=row.transformer,
                action=row.action,
                cause=row.cause,
                basis=wire.unpack(row.basis, facts.ITEM_LIMITS),
                mandate=row.mandate,
                intent_at=row.intent_at,
                sent_at=row.sent_at,
                result_at=row.result_at,
                outcome=row.outcome,
            )
            return Record(kind, name, fact.to_body())
