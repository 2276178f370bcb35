"""Writing prepared content, inside the transaction that acknowledges its batch. Floor: central_sync/ingest.

On all three walks. First everything that could forbid is read, then everything is written: content goes in whole, or a
ContentFault leaves nothing and the batch is set aside in the same transaction. One id with two contents in the ledger
is no reason to set a payment aside: the first stands, the second is named as a conflict, the rest of the batch counts.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import assert_never

from central_sync.balance.booking import book
from central_sync.balance.hours import content_fault
from central_sync.ingest.content import Content, ControlContent, EnergyContent, LedgerContent
from central_sync.ingest.refilling import RESTORED_AT
from central_sync.store.port import HubTransaction
from central_sync.store.rows import HUB, AlarmRow, ConflictRow, FieldWorkRow
from gridmodel.account import LedgerEntry
from gridmodel.clock import Compute
from gridmodel.event import AlarmKind
from gridmodel.identity import NodeId
from protocols.sync.facts import ledger_entry_to_body
from protocols.sync.field_works import work_to_body

DESK = "desk-"
"""With a node's id behind it, the channel of that node's own desk."""


async def apply_content(tx: HubTransaction, compute: Compute, node: NodeId, content: Content, now: int) -> str:
    """Apply it; gives a note for the acknowledgement (empty when there is nothing to say). Raises ContentFault."""
    match content:
        case ControlContent():
            return await _control(tx, node, content, now)
        case LedgerContent():
            return await _ledger(tx, node, content.entries, now)
        case EnergyContent():
            await _energy(tx, compute, node, content)
            return ""
        case _:
            assert_never(content)


async def _control(tx: HubTransaction, node: NodeId, content: ControlContent, now: int) -> str:
    await _own(tx, node, "usage_point", [one.usage_point for one in content.operations])
    await _returned(tx, node, content.returned, now)
    await tx.put_operations(content.operations, now)
    await tx.put_alarms(content.alarms)
    for at, status in content.statuses:
        await tx.put_status(node, status, at)
    for head_id, at, head in content.heads:
        await tx.put_audit_head(node, head_id, at, head)
    return await _field_works(tx, node, content.works, now)


async def _returned(tx: HubTransaction, node: NodeId, entries: Sequence[LedgerEntry], now: int) -> None:
    """Take back what this hub once sent down and lost with its database; at any other time no node speaks for it."""
    if not entries or not await tx.hub_value(RESTORED_AT):
        return
    await _own(tx, node, "account", [entry.account for entry in entries])
    held = await tx.ledger_entries([entry.id for entry in entries])
    for entry in entries:
        if entry.id in held and held[entry.id].entry != entry:
            await note_conflict(tx, node, entry, now)
    lost = {entry.id: entry for entry in entries if entry.id not in held}
    await tx.put_ledger_entries(list(lost.values()), node, "import", now)


async def _field_works(tx: HubTransaction, node: NodeId, works: Sequence[FieldWorkRow], now: int) -> str:
    """Keep them to be judged by `billing.field_works`; the first content of an id stands, another is a conflict."""
    conflicts = 0
    for row in works:
        held = await tx.field_work(node, row.id)
        if held is None:
            await tx.put_field_works([row])
        elif held.body != row.body:
            conflicts += 1
            content = json.dumps(work_to_body(row.work()), sort_keys=True, ensure_ascii=False)
            await _note(tx, node, row.id, content, f"field work {row.id} of meter {row.meter}", row.meter, now)
    return f"{conflicts} field works stand with another content: see the conflicts" if conflicts else ""


async def _energy(tx: HubTransaction, compute: Compute, node: NodeId, content: EnergyContent) -> None:
    chunk = content.chunk
    booked = await book(tx, compute, node, content.days, chunk=None if chunk is None else chunk.id)
    if booked.contradiction:
        raise content_fault(6, f"one revision with two contents: {booked.contradiction}")
    if chunk is not None:
        await tx.put_chunk(chunk)


async def _ledger(tx: HubTransaction, node: NodeId, entries: Sequence[LedgerEntry], now: int) -> str:
    await _own(tx, node, "account", [entry.account for entry in entries])
    channels = sorted({entry.channel for entry in entries})
    for channel in channels:
        desk_of = channel.removeprefix(DESK)
        if desk_of not in {channel, node} and await tx.node(NodeId(desk_of)) is not None:
            raise content_fault(9, f"channel {channel} is the desk of another node")
    foreign = await tx.imported_channels(channels)
    if foreign:
        raise content_fault(9, f"channel {min(foreign)} reports to the centre, no node speaks for it")
    held = await tx.ledger_entries([entry.id for entry in entries])
    known: dict[str, LedgerEntry] = {entry_id: row.entry for entry_id, row in held.items()}
    new: list[LedgerEntry] = []
    conflicts = 0
    for entry in entries:
        standing = known.setdefault(entry.id, entry)
        if standing is entry:
            new.append(entry)
        elif standing != entry:
            conflicts += 1
            await note_conflict(tx, node, entry, now)
    await tx.put_ledger_entries(new, node, "node", now)
    return f"{conflicts} entries stand with another content: see the conflicts" if conflicts else ""


async def note_conflict(tx: HubTransaction, node: NodeId, entry: LedgerEntry, now: int) -> None:
    """Keep the second content of an id, and alarm: somebody has to find out which of the two is true."""
    content = json.dumps(ledger_entry_to_body(entry), sort_keys=True, ensure_ascii=False)
    await _note(tx, node, entry.id, content, f"entry {entry.id} of account {entry.account}", entry.account, now)


async def _note(  # noqa: PLR0917
    tx: HubTransaction, node: NodeId, name: str, content: str, what: str, subject: str, now: int
) -> None:
    await tx.put_conflict(ConflictRow(name, content, node, now))
    alarm_id = "conflict-" + sha256(content.encode("utf-8")).hexdigest()[:24]
    detail = f"{what} came with two contents; the first stands"
    await tx.put_alarms([AlarmRow(HUB, alarm_id, AlarmKind.LEDGER_CONFLICT.value, subject, now, detail, None)])


async def _own(tx: HubTransaction, node: NodeId, kind: str, ids: Sequence[str]) -> None:
    """A node speaks for its own points and accounts only."""
    owners = await tx.owners(kind, sorted(set(ids)))
    for one in ids:
        owner = owners.get(one)
        if owner is None or owner.node != node:
            raise content_fault(2, f"{kind} {one} is not of this node")
