"""Facts compared by id after a backup was put back: what is here, told again, taken back. Floor: edge_node/store.

On the walk of link loss. The facts are entries of the ledger, movements of relays and field works
(`protocols.sync.recall.RECALLED`). What the hub lacks goes into its lane once more; what the hub gives is taken in like
any other item, each fact by its own rule: of one id with two contents the first stands and the second is kept and
named, a movement's later result counts. After movements came back, what is believed of their relays is put right: a
home that this node darkened before it forgot so is dark for debt, and a payment gives it light.

Code: TQ-RV-01 a movement that this program cannot read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from edge_node.store.alarms import clear_alarm, raise_alarm
from edge_node.store.field_works import FieldWorks
from edge_node.store.ledger import Inserted, Ledger, Origin
from edge_node.store.operations import Movement, Operation, Operations, Outcome, fact_of
from edge_node.store.outbox import append_record
from edge_node.store.relays import RelayRow, Relays
from gridmodel.control import Cause, RelayState
from gridmodel.event import AlarmKind
from gridmodel.fault import Fault
from gridmodel.identity import ChannelId, MeterId, TransformerId, UsagePointId
from hosting.database import Connection, Database
from protocols.sync import wire
from protocols.sync.facts import (
    LEDGER_ENTRY,
    LEDGER_RETURNED,
    RELAY_OPERATION,
    RelayOperationFact,
    ledger_entry_from_body,
    ledger_entry_to_body,
)
from protocols.sync.field_works import FIELD_WORK, work_from_body, work_to_body
from protocols.sync.lanes import Lane, Record
from protocols.sync.recall import RECALLED, Leaf, leaf_of

ROWS_AT_ONCE = 250
"""Read, packed and hashed in one step: some 8 ms of the event loop."""
FACTS_PER_TRANSACTION = 100
"""Told again or taken back in one transaction, so that a payment waits for some 50 ms at most."""

Named = tuple[str, str]
"""(kind, id)."""
_UNDER_WAY = (
    "SELECT kind, id FROM outbox_record WHERE lane IN ('control', 'ledger') AND seq IS NULL"
    " UNION SELECT r.kind, r.id FROM outbox_batch AS b JOIN outbox_record AS r USING (lane, epoch, seq)"
    " WHERE b.acked_at IS NULL AND b.lane IN ('control', 'ledger')"
)


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What became of facts that the hub gave."""

    new: int = 0
    conflicts: tuple[Named, ...] = ()
    """One id with two contents: both are kept, the first stands."""
    refused: tuple[Named, ...] = ()
    """Not what such a fact must be: nothing of it was taken in."""


class Recovery:
    """The facts of one node, as the hub is asked about them."""

    def __init__(
        self,
        control: Database,
        ledger: Ledger,
        operations: Operations,
        field_works: FieldWorks,
        relays: Relays,
        *,
        desk: ChannelId,
    ) -> None:
        """`desk` is the channel of this office: the node speaks for its payments, and returns all others."""
        self._control = control
        self._ledger = ledger
        self._operations = operations
        self._field_works = field_works
        self._relays = relays
        self._desk = desk

    async def facts(self) -> dict[Leaf, Named]:
        """The leaf of every fact that is whole, with its name. A damaged one counts as lost."""
        found: dict[Leaf, Named] = {}
        for kind in RECALLED:
            after = ""
            while True:
                names, records = await self._control.read(partial(self._page, kind=kind, after=after))
                found |= {leaf_of(record): (record.kind, record.id) for record in records}
                if len(names) < ROWS_AT_ONCE:
                    break
                after = names[-1]
        return found

    async def under_way(self) -> set[Named]:
        """Facts that wait for the hub, or for its word that it has them."""
        rows = await self._control.read(lambda conn: conn.fetch_all(_UNDER_WAY))
        return {(LEDGER_ENTRY if kind == LEDGER_RETURNED else kind, name) for kind, name in rows}

    async def tell_again(self, names: Iterable[Named], now: int) -> int:
        """Put these facts into their lanes once more, unless they are under way; gives how many."""
        waiting = await self.under_way()
        wanted = sorted(set(names) - waiting)
        for start in range(0, len(wanted), FACTS_PER_TRANSACTION):
            some = wanted[start : start + FACTS_PER_TRANSACTION]
            await self._control.write(partial(self._tell, names=some, now=now))
        return len(wanted)

    async def take_back(self, records: Sequence[Record], now: int) -> TakenBack:
        """Take in what the hub gave, a part in each transaction; the relays of movements are believed anew."""
        whole = TakenBack()
        for start in range(0, len(records), FACTS_PER_TRANSACTION):
            some = records[start : start + FACTS_PER_TRANSACTION]
            part = await self._control.write(partial(self._take_some, records=some, now=now))
            whole = TakenBack(whole.new + part.new, whole.conflicts + part.conflicts, whole.refused + part.refused)
        return whole

    async def _take_some(self, conn: Connection, records: Sequence[Record], now: int) -> TakenBack:
        new, conflicts, refused = 0, list[Named](), list[Named]()
        points: set[UsagePointId] = set()
        for record in records:
            try:
                taken = await self._take(conn, record, points, now)
            except Fault:
                refused.append((record.kind, record.id))
                continue
            if taken is None:
                conflicts.append((record.kind, record.id))
            new += bool(taken)
        for point in sorted(points):
            await self._believe(conn, point, now)
        return TakenBack(new, tuple(conflicts), tuple(refused))

    async def _page(self, conn: Connection, kind: str, after: str) -> tuple[list[str], list[Record]]:
        if kind == LEDGER_ENTRY:
            entries = await self._ledger.page(conn, after, ROWS_AT_ONCE)
            told = [(name, None if one is None else ledger_entry_to_body(one)) for name, one in entries]
        elif kind == RELAY_OPERATION:
            operations = await self._operations.page(conn, after, ROWS_AT_ONCE)
            told = [(one.id, fact_of(one).to_body() if one.sound else None) for one in operations]
        else:
            works = await self._field_works.page(conn, after, ROWS_AT_ONCE)
            told = [(name, None if work is None else work_to_body(work)) for name, work in works]
        return [name for name, _ in told], [Record(kind, name, body) for name, body in told if body is not None]

    async def _tell(self, conn: Connection, names: Sequence[Named], now: int) -> None:
        for kind, name in names:
            body = await self._body(conn, kind, name)
            if body is None:
                continue
            if kind == LEDGER_ENTRY and body["channel"] != self._desk:
                await append_record(conn, Lane.CONTROL, LEDGER_RETURNED, name, body, now)
            else:
                await append_record(conn, RECALLED[kind], kind, name, body, now)

    async def _body(self, conn: Connection, kind: str, name: str) -> Mapping[str, Any] | None:
        """The fact as it travels; None where it is gone or damaged."""
        if kind == LEDGER_ENTRY:
            entry = await self._ledger.find(conn, name)
            return None if entry is None else ledger_entry_to_body(entry)
        if kind == FIELD_WORK:
            work = await self._field_works.find(conn, name)
            return None if work is None else work_to_body(work)
        operation = await self._operations.get(conn, name)
        return fact_of(operation).to_body() if operation is not None and operation.sound else None

    async def _take(self, conn: Connection, record: Record, points: set[UsagePointId], now: int) -> bool | None:
        """Whether the fact is new; None for one id with two contents. Raises Fault for what it must not be."""
        if record.kind == LEDGER_ENTRY:
            entry = ledger_entry_from_body(record.body)
            origin = Origin.DESK if entry.channel == self._desk else Origin.HUB
            inserted = await self._ledger.insert_entry(conn, entry, origin, now)
            return None if inserted is Inserted.CONFLICT else inserted is Inserted.NEW
        if record.kind == FIELD_WORK:
            taken = await self._field_works.take_back(conn, work_from_body(record.body), now)
            if taken is None:
                await _note_conflict(conn, record, now)
            return taken
        operation = _operation(record)
        points.add(operation.usage_point)
        return await self._take_operation(conn, operation, record, now)

    async def _take_operation(self, conn: Connection, given: Operation, record: Record, now: int) -> bool | None:
        known = await self._operations.get(conn, given.id)
        if known is not None and known.sound:
            if _intent(known) != _intent(given):
                await _note_conflict(conn, record, now)
                return None
            later = (given.result_at or -1) > (known.result_at or -1)
            merged = given if later else known
            sent_at = known.sent_at if known.sent_at is not None else given.sent_at
            if replace(merged, sent_at=sent_at) == known:
                return False
            await self._operations.put(conn, replace(merged, sent_at=sent_at), now, told=False)
            return True
        await self._operations.put(conn, given, now, told=False)
        if given.result_at is None:  # whoever could have said what became of it is gone
            await self._operations.finish(conn, given, Outcome.UNCONFIRMED, now)
        return True

    async def _believe(self, conn: Connection, point: UsagePointId, now: int) -> None:
        """What is believed of a relay, after movements of it came back; what was seen since stands."""
        last, row = await self._operations.last_of(conn, point), await self._relays.row(conn, point)
        if last is None or not last.sound or last.outcome is Outcome.WITHHELD:
            return
        if row is not None and (row.meter != last.meter or row.operation == last.id):
            return
        moved_at = last.sent_at if last.sent_at is not None else last.intent_at
        seen_since = row is not None and row.seen_at is not None and row.seen_at >= moved_at
        state = row.state if row is not None and seen_since else _state_after(last)
        supplied = state is RelayState.CONNECTED
        cut = last.action is Movement.CUT
        believed = RelayRow(
            usage_point=point,
            meter=last.meter,
            state=state,
            cause=None if supplied else last.cause if cut or row is None else row.cause,
            since=row.since if row is not None and seen_since else moved_at,
            seen_at=None if row is None else row.seen_at,
            load_w=None if row is None else row.load_w,
            operation=last.id,
            paid_at=None if row is None or supplied else row.paid_at,
        )
        await self._relays.put(conn, [believed])
        if cut and not supplied:
            await clear_alarm(conn, AlarmKind.RELAY_MOVED_WITHOUT_INTENT, point, now)


def _state_after(operation: Operation) -> RelayState:
    if operation.action is Movement.CUT:
        return RelayState.DISCONNECTED if operation.outcome is Outcome.CONFIRMED else RelayState.CUT_UNCONFIRMED
    return RelayState.CONNECTED if operation.outcome is Outcome.CONFIRMED else RelayState.RESTORE_UNCONFIRMED


def _operation(record: Record) -> Operation:
    fact = RelayOperationFact.from_body(record.body)
    if fact.cause not in set(Cause) or (fact.outcome is not None and fact.outcome not in set(Outcome)):
        raise Fault("TQ-RV-01", f"operation {record.id} has a cause or outcome that is none", "update this program")
    return Operation(
        id=record.id,
        usage_point=UsagePointId(fact.usage_point),
        meter=MeterId(fact.meter),
        transformer=TransformerId(fact.transformer),
        action=Movement(fact.action),
        cause=Cause(fact.cause),
        basis=fact.basis,
        mandate=fact.mandate,
        intent_at=fact.intent_at,
        sent_at=fact.sent_at,
        result_at=fact.result_at,
        outcome=None if fact.outcome is None else Outcome(fact.outcome),
    )


def _intent(operation: Operation) -> tuple[object, ...]:
    """What no later word on an operation may change."""
    one = operation
    return one.usage_point, one.meter, one.transformer, one.action, one.cause, one.mandate, one.intent_at


async def _note_conflict(conn: Connection, record: Record, now: int) -> None:
    """Keep the second content of an id and name it; the first stands."""
    await conn.execute(
        "INSERT OR IGNORE INTO ledger_conflict (id, content, seen_at) VALUES (?, ?, ?)",
        (record.id, wire.pack([record.kind, record.id, record.body]), now),
    )
    detail = f"{record.kind} {record.id} stands at the hub with another content; each side keeps its first"
    await raise_alarm(conn, AlarmKind.LEDGER_CONFLICT, record.id, detail, now)
