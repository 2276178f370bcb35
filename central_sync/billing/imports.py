"""Payments and debts from a file, whole or not at all, on to the nodes they concern. Floor: billing; payment walk.

One file is one payment channel or billing run. Its entries join the union of ledgers by id (the same file twice changes
nothing) and go down to the node that owns each account; then, in the same transaction and after them in every node's
lane, the channel's watermark "complete up to T". A file with mistakes applies nothing; with `skip_bad` the good rows
are applied and the watermark stays where it was: a skipped row may be the payment that keeps somebody's light on.

Codes: TQ-IM-10 a wrong value, -11 an unknown account, -12 an id with two contents, -13 a watermark that cannot be.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from central_sync.billing.tables import Mistake, Row, Table, TableFault, read_table
from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows import LedgerRow, OwnerRow
from gridmodel.account import EntryKind, LedgerEntry
from gridmodel.clock import Compute, UtilityClock
from gridmodel.identity import AccountId, ChannelId, EntryId, NodeId, checked_id
from gridmodel.period import day_bounds, parse_rfc3339
from gridmodel.quantity import parse_som
from protocols.sync import wire
from protocols.sync.facts import ITEM_LIMITS, LEDGER_ENTRY, ledger_entry_to_body
from protocols.sync.lanes import DownLane

REQUIRED = ("entry_id", "account", "kind", "amount", "at")
OPTIONAL = ("due_at", "reverses")
AHEAD_S_MAX = 300
"""A watermark or entry from beyond the clocks' difference is a mistake in a date."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What a file did, or would do."""

    read: int
    """Rows that make sense."""
    applied: int
    """Entries that are new here and went down to their nodes (would, in a dry run)."""
    known: int
    """Entries that were here already with the same content."""
    mistakes: tuple[Mistake, ...]
    watermark: int | None
    """What the channel is complete up to now; None when this file did not say or could not move it."""
    nodes: tuple[str, ...]
    """The nodes that get something."""
    done: bool
    """False in a dry run, and when mistakes held everything back."""

    def as_dict(self) -> dict[str, object]:
        """For JSON faces; mistakes as a count and the first ones."""
        return {
            "read": self.read,
            "applied": self.applied,
            "known": self.known,
            "mistakes": len(self.mistakes),
            "first_mistakes": [
                {"line": one.line, "code": one.code, "what": one.what, "hint": one.hint} for one in self.mistakes[:20]
            ],
            "watermark": self.watermark,
            "nodes": list(self.nodes),
            "done": self.done,
        }


def _fault(number: int, what: str, hint: str) -> TableFault:
    return TableFault(f"TQ-IM-{number}", what, hint)


def moment(text: str, zone: str) -> int:
    """RFC 3339, or a local date, which stands for its end (24:00); raises PeriodFault."""
    return day_bounds(text, zone)[1] if len(text) == 10 else parse_rfc3339(text)


def _entry(row: Row, channel: str, zone: str, now: int) -> LedgerEntry:
    try:
        kind = EntryKind(row["kind"])
    except ValueError as error:
        raise _fault(10, f"{row['kind']!r:.40} is no kind of entry", f"use {', '.join(EntryKind)}") from error
    due, reverses = row.get("due_at", ""), row.get("reverses", "")
    at = parse_rfc3339(row["at"]) if len(row["at"]) != 10 else day_bounds(row["at"], zone)[0]
    if at > now + AHEAD_S_MAX:
        raise _fault(10, f"{row['at']} lies in the future", "mend the date")
    return LedgerEntry(
        id=EntryId(checked_id("entry", row["entry_id"])),
        account=AccountId(checked_id("account", row["account"])),
        kind=kind,
        amount_tiyin=parse_som(row["amount"]),
        at=at,
        due_at=moment(due, zone) if due else None,
        channel=ChannelId(channel),
        recorded_by=channel,
        reverses=EntryId(checked_id("entry", reverses)) if reverses else None,
    )


def read_ledger(data: bytes, channel: str, zone: str, now: int) -> Table[LedgerEntry]:
    """The entries in a file; pure, heavy for a large one. Raises TableFault or IdentityFault."""
    name = checked_id("channel", channel)
    return read_table(data, REQUIRED, OPTIONAL, lambda row: _entry(row, name, zone, now))


@dataclass(frozen=True, slots=True)
class _Sorted:
    new: tuple[tuple[NodeId, LedgerEntry], ...]
    known: int
    mistakes: tuple[Mistake, ...]


class LedgerImport:
    """Applies tables of ledger entries; what a million rows cost goes through the compute port."""

    def __init__(self, store: HubStore, clock: UtilityClock, compute: Compute) -> None:
        self._store = store
        self._clock = clock
        self._compute = compute

    async def apply(
        self,
        table: Table[LedgerEntry],
        channel: str,
        complete_up_to: int | None,
        *,
        dry_run: bool = False,
        skip_bad: bool = False,
    ) -> ImportReport:
        """Apply a table in one transaction. Raises TableFault (TQ-IM-13) for a watermark in the future."""
        now = self._clock.now()
        if complete_up_to is not None and complete_up_to > now + AHEAD_S_MAX:
            raise _fault(13, "a channel cannot be complete up to a time that has not come", "mend --complete-up-to")

        async def verb(tx: HubTransaction) -> ImportReport:
            found = await _sorted(tx, self._compute, table)
            wrong = (*table.mistakes, *found.mistakes)
            mark = None if wrong else complete_up_to
            held_back = bool(wrong) and not skip_bad
            done = not dry_run and not held_back
            nodes = [row.id for row in await tx.nodes()] if mark is not None else []
            touched = sorted({node for node, _ in found.new} | set(nodes))
            if done:
                await _write(tx, self._compute, found.new, channel, mark=mark, nodes=touched, now=now)
            return ImportReport(
                read=len(table.rows),
                applied=0 if held_back else len(found.new),
                known=found.known,
                mistakes=tuple(sorted(wrong, key=lambda one: one.line)),
                watermark=mark,
                nodes=tuple(touched) if not held_back else (),
                done=done,
            )

        return await (self._store.read(verb) if dry_run else self._store.write(verb))


async def _sorted(tx: HubTransaction, compute: Compute, table: Table[LedgerEntry]) -> _Sorted:
    """Which entries are new, which are here, which cannot be: judged in the transaction that will write them."""
    accounts, ids = await compute.run(_named, table)
    owners = await tx.owners("account", accounts)
    held = await tx.ledger_entries(ids)
    return await compute.run(_judged, table, owners, held)


def _named(table: Table[LedgerEntry]) -> tuple[list[str], list[str]]:
    """Pure: the accounts and the entries of a table."""
    return sorted({entry.account for _, entry in table.rows}), sorted({entry.id for _, entry in table.rows})


def _judged(table: Table[LedgerEntry], owners: Mapping[str, OwnerRow], held: Mapping[str, LedgerRow]) -> _Sorted:
    """Pure: `_sorted`, once the rows of the store are here."""
    standing: dict[str, LedgerEntry] = {entry_id: row.entry for entry_id, row in held.items()}
    new: list[tuple[NodeId, LedgerEntry]] = []
    mistakes: list[Mistake] = []
    known = 0
    for line, entry in table.rows:
        owner = owners.get(entry.account)
        if owner is None:
            mistakes.append(
                _mistake(line, 11, f"account {entry.account} is in no registry", "import its registry first", entry)
            )
        elif (other := standing.get(entry.id)) is None:
            standing[entry.id] = entry
            new.append((owner.node, entry))
        elif other == entry:
            known += 1
        else:
            mistakes.append(
                _mistake(
                    line, 12, f"entry {entry.id} stands with another content", "give a new id to a new fact", entry
                )
            )
    return _Sorted(tuple(new), known, tuple(mistakes))


def _mistake(line: int, number: int, what: str, hint: str, entry: LedgerEntry) -> Mistake:
    return Mistake(line, f"TQ-IM-{number}", what, hint, f"{entry.id};{entry.account};{entry.kind}")


async def _write(
    tx: HubTransaction,
    compute: Compute,
    new: Sequence[tuple[NodeId, LedgerEntry]],
    channel: str,
    *,
    mark: int | None,
    nodes: Sequence[NodeId],
    now: int,
) -> None:
    by_node = await compute.run(_parted, new)
    body = None
    if mark is not None:
        await tx.put_watermark(channel, mark, now)
        complete = (await tx.watermarks())[channel]
        body = wire.pack({"channel": channel, "complete_up_to": complete}, ITEM_LIMITS)
    for node in nodes:
        entries = by_node.get(node, [])
        await tx.put_ledger_entries(entries, node, "import", now)
        items = await compute.run(_items, entries)
        if body is not None:
            items.append(("watermark", channel, body))
        await tx.append_down(node, DownLane.LEDGER, items, now)


def _parted(new: Sequence[tuple[NodeId, LedgerEntry]]) -> dict[NodeId, list[LedgerEntry]]:
    """Pure: the new entries of each node."""
    by_node: dict[NodeId, list[LedgerEntry]] = defaultdict(list)
    for node, entry in new:
        by_node[node].append(entry)
    return by_node


def _items(entries: Sequence[LedgerEntry]) -> list[tuple[str, str, bytes]]:
    """Pure: what goes down to a node."""
    return [(LEDGER_ENTRY, str(entry.id), wire.pack(ledger_entry_to_body(entry), ITEM_LIMITS)) for entry in entries]
