"""What a batch says, read and held against the registry; nothing is written here. Floor: central_sync/ingest.

On the walks of reading and link loss. `prepare` is pure and total over whatever bytes a valid signature covers: it
gives content that can be applied, or raises ContentFault, WireFault, MessageFault or ChunkFault, and the batch is set
aside.

Codes beside those of `balance.hours`: TQ-HQ-01 the registry it names is not here, -09 a channel that is not the node's
to speak for, -10 a kind of record that its lane does not carry (of lane control the other records count all the same).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from central_sync.balance.cells import NewHours
from central_sync.balance.hours import ContentFault, content_fault, hours_of_chunk, hours_of_facts
from central_sync.balance.topology import KnownRegistry
from central_sync.store.rows import WAITING, AlarmRow, BatchRow, ChunkRow, FieldWorkRow, OperationRow
from gridmodel.account import LedgerEntry
from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from protocols.sync import facts, field_works, wire
from protocols.sync.batch import Batch
from protocols.sync.chunk import ChunkHead, decode_columns
from protocols.sync.lanes import RECORD_LIMITS, Lane, Record, records_from_payload

CREATED_AHEAD_S_MAX = 24 * 3_600
"""A batch from beyond a day ahead comes from a broken clock: set aside, and tried again when its time is near."""
AHEAD_S_MAX = 24 * 3_600
"""A payment, an alarm or a relay's movement from beyond a day ahead has a wrong date: it waits in quarantine. Shown, it
would stand above everything else, or lie outside the calendar and break the page."""
CALENDAR_FROM = 946_684_800
"""The year 2000, where the calendar of files and pages begins: what happened earlier was told by a broken clock."""
DUE_AHEAD_S_MAX = 20 * 366 * 24 * 3_600
"""A debt may fall due that much later: instalments run for some years."""
CLEARED = ".cleared"
"""The suffix of the record that tells that an alarm ended."""


@dataclass(frozen=True, slots=True)
class ControlContent:
    """Of lane control."""

    alarms: tuple[AlarmRow, ...] = ()
    operations: tuple[OperationRow, ...] = ()
    statuses: tuple[tuple[int, bytes], ...] = ()
    """(at, packed)."""
    heads: tuple[tuple[str, int, bytes], ...] = ()
    """(id, at, packed)."""
    works: tuple[FieldWorkRow, ...] = ()
    returned: tuple[LedgerEntry, ...] = ()
    """Entries that this hub sent down and may have lost."""
    unknown: tuple[str, ...] = ()
    """Kinds of records that this hub does not know: they wait in quarantine for a newer one, the others count."""


@dataclass(frozen=True, slots=True)
class LedgerContent:
    """Of lane ledger."""

    entries: tuple[LedgerEntry, ...]


@dataclass(frozen=True, slots=True)
class EnergyContent:
    """Of lanes summary and interval."""

    days: Mapping[str, tuple[NewHours, ...]]
    chunk: ChunkRow | None


Content = ControlContent | LedgerContent | EnergyContent


def prepare(batch: Batch, known: KnownRegistry | None, now: int) -> Content:
    """The content of an authentic batch. `known` is the registry version it names, None when that is not here."""
    header = batch.header
    if header.created_at > now + CREATED_AHEAD_S_MAX:
        raise content_fault(3, "it was made more than a day in the future: check the clock of the node")
    match header.lane:
        case Lane.CONTROL:
            return _control(header.node, records_from_payload(batch.payload), now)
        case Lane.LEDGER:
            return _ledger(records_from_payload(batch.payload), now)
        case Lane.SUMMARY:
            return _summary(records_from_payload(batch.payload), _needed(known, header.registry_version), now)
        case Lane.INTERVAL:
            return _interval(batch, _needed(known, header.registry_version), now)


def _needed(known: KnownRegistry | None, version: int) -> KnownRegistry:
    if known is None:
        raise content_fault(1, f"registry version {version} is not here yet")
    return known


def _control(node: NodeId, records: tuple[Record, ...], now: int) -> ControlContent:
    alarms: list[AlarmRow] = []
    operations: list[OperationRow] = []
    statuses: list[tuple[int, bytes]] = []
    heads: list[tuple[str, int, bytes]] = []
    works: list[FieldWorkRow] = []
    returned: list[LedgerEntry] = []
    unknown: set[str] = set()
    for record in records:
        match record.kind:
            case facts.ALARM:
                alarm = facts.AlarmFact.from_body(record.body)
                _dated(record, now, alarm.at, alarm.cleared_at)
                name = record.id.removesuffix(CLEARED)
                alarms.append(AlarmRow(node, name, alarm.kind, alarm.subject, alarm.at, alarm.detail, alarm.cleared_at))
            case facts.RELAY_OPERATION:
                operation = _operation(node, record.id, record.body)
                _dated(record, now, operation.intent_at, operation.sent_at, operation.result_at)
                operations.append(operation)
            case facts.NODE_STATUS:
                at, status = facts.status_from_body(record.body)
                _dated(record, now, at, status.get("newest_reading_end"), status.get("oldest_waiting_at"))
                _dated(record, now + DUE_AHEAD_S_MAX, status.get("mandate_until"))
                statuses.append((at, wire.pack(dict(status), facts.ITEM_LIMITS)))
            case facts.AUDIT_HEAD:
                at, head = facts.head_from_body(record.body)
                _dated(record, now, at)
                heads.append((record.id, at, wire.pack(dict(head), facts.ITEM_LIMITS)))
            case field_works.FIELD_WORK:
                works.append(_field_work(node, record, now))
            case facts.LEDGER_RETURNED:
                returned.append(_entry(record, now))
            case _:
                unknown.add(record.kind)
    return ControlContent(
        tuple(alarms),
        tuple(operations),
        tuple(statuses),
        tuple(heads),
        tuple(works),
        tuple(returned),
        tuple(sorted(unknown)),
    )


def _field_work(node: NodeId, record: Record, now: int) -> FieldWorkRow:
    work = field_works.work_from_body(record.body)
    if work.id != record.id:
        raise content_fault(6, f"the record {record.id} holds the work {work.id}")
    _dated(record, now, work.at, work.recorded_at)
    body = wire.pack(field_works.work_to_body(work), RECORD_LIMITS)
    return FieldWorkRow(node, work.id, work.at, work.meter, body, now, WAITING, "", "", None)


def unknown_fault(content: Content) -> ContentFault | None:
    """Why a batch whose content was applied is kept all the same: a newer hub will read the rest of it."""
    if not isinstance(content, ControlContent) or not content.unknown:
        return None
    kinds = ", ".join(content.unknown)
    return content_fault(10, f"this hub knows no {kinds}; the other records of the batch are applied")


def _dated(record: Record, now: int, *moments: int | None) -> None:
    """Nothing that is told lies outside the calendar, or later than the clocks allow."""
    if any(moment is not None and not CALENDAR_FROM <= moment <= now + AHEAD_S_MAX for moment in moments):
        raise content_fault(3, f"{record.kind} {record.id} has a date that cannot be: see the clock of the node")


def _operation(node: NodeId, name: str, body: Mapping[str, Any]) -> OperationRow:
    fact = facts.RelayOperationFact.from_body(body)
    return OperationRow(
        node=node,
        id=name,
        usage_point=fact.usage_point,
        meter=fact.meter,
        transformer=fact.transformer,
        action=fact.action,
        cause=fact.cause,
        basis=wire.pack(dict(fact.basis), facts.ITEM_LIMITS),
        mandate=fact.mandate,
        intent_at=fact.intent_at,
        sent_at=fact.sent_at,
        result_at=fact.result_at,
        outcome=fact.outcome,
    )


def _ledger(records: tuple[Record, ...], now: int) -> LedgerContent:
    entries = []
    for record in records:
        if record.kind != facts.LEDGER_ENTRY:
            raise content_fault(10, f"lane ledger carries no {record.kind}")
        entries.append(_entry(record, now))
    return LedgerContent(tuple(entries))


def _entry(record: Record, now: int) -> LedgerEntry:
    entry = facts.ledger_entry_from_body(record.body)
    if entry.id != record.id:
        raise content_fault(6, f"the record {record.id} holds the entry {entry.id}")
    _dated(record, now, entry.at)
    _dated(record, now + DUE_AHEAD_S_MAX, entry.due_at)
    return entry


def _summary(records: tuple[Record, ...], known: KnownRegistry, now: int) -> EnergyContent:
    told = []
    for record in records:
        if record.kind not in {facts.TRANSFORMER_HOUR, facts.SUPPLY_HOUR}:
            raise content_fault(10, f"lane summary carries no {record.kind}")
        told.append((record.kind, facts.PlaceHour.from_body(record.body)))
    return EnergyContent(hours_of_facts(told, known, now), None)


def _interval(batch: Batch, known: KnownRegistry, now: int) -> EnergyContent:
    header = batch.header
    columns = decode_columns(batch.payload)
    head: ChunkHead = columns.head
    if (head.node, head.registry_version) != (header.node, header.registry_version):
        raise content_fault(8, f"the chunk is of {head.node} under registry {head.registry_version}, its header is not")
    chunk = ChunkRow(
        id=sha256(batch.payload).hexdigest(),
        node=header.node,
        day=head.day,
        epoch=head.revision.epoch,
        number=head.revision.number,
        registry_version=head.registry_version,
        received_at=now,
        content=batch.payload,
    )
    return EnergyContent(hours_of_chunk(columns, known, now), chunk)


def prepared_or_fault(batch: Batch, known: KnownRegistry | None, now: int) -> Content | Fault:
    """`prepare` as a value, for the compute port. A period or identity that cannot be is the content's fault, too."""
    try:
        return prepare(batch, known, now)
    except Fault as fault:
        return fault


def batch_row(batch: Batch, now: int, code: str, reason: str, data: bytes | None) -> BatchRow:
    """The batch as the log keeps it; `code` is empty when its content was applied."""
    header = batch.header
    return BatchRow(
        node=header.node,
        lane=header.lane,
        epoch=header.epoch,
        seq=header.seq,
        digest=header.digest,
        registry_version=header.registry_version,
        created_at=header.created_at,
        received_at=now,
        quarantine=code,
        reason=reason,
        data=data,
    )
