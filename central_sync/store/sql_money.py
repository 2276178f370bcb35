"""SQL: the union of ledgers, watermarks, issued records. Floor: central_sync/store; contracts in `port`."""

from collections.abc import Sequence
from typing import Any

from central_sync.store.rows import ConflictRow, IssuedRow, LedgerRow
from central_sync.store.statements import Statements, inserted, inserted_once, marks_of, slices
from gridmodel.account import EntryKind, LedgerEntry
from gridmodel.identity import AccountId, ChannelId, EntryId, NodeId
from hosting.rowhash import RowHasher

_ENTRY = "id, account, kind, amount_tiyin, at, due_at, channel, recorded_by, reverses, node, origin, received_at, hash"
_ISSUED = "kind, id, node, subject, content, issued_at"


class SqlMoney:
    """`MoneyVerbs`."""

    _connection: Statements
    _hasher: RowHasher

    async def ledger_entries(self, ids: Sequence[str]) -> dict[str, LedgerRow]:
        """See `port`."""
        found: dict[str, LedgerRow] = {}
        for some in slices(ids):
            rows = await self._connection.fetch_all(
                f"SELECT {_ENTRY} FROM ledger_entry WHERE id IN ({marks_of(len(some))})", tuple(some)
            )
            found.update((row[0], self._entry(row)) for row in rows)
        return found

    async def put_ledger_entries(self, entries: Sequence[LedgerEntry], node: NodeId, origin: str, now: int) -> None:
        """See `port`."""
        rows = (
            (
                *(entry.id, entry.account, entry.kind.value, entry.amount_tiyin, entry.at, entry.due_at),
                *(entry.channel, entry.recorded_by, entry.reverses, node, origin, now),
            )
            for entry in entries
        )
        await self._connection.execute_many(  # iterated, and so hashed, on the connection's thread
            inserted("ledger_entry", _ENTRY),
            ((*row, self._hasher.digest(*row)) for row in rows),
        )

    async def credits(self, usage_points: Sequence[str]) -> dict[str, int]:
        """See `port`."""
        rows = await self._connection.fetch_all(
            "SELECT o.usage_point, sum(e.amount_tiyin) FROM owner AS o JOIN ledger_entry AS e ON e.account = o.id"
            f" WHERE o.kind = 'account' AND o.usage_point IN ({marks_of(len(usage_points))}) GROUP BY o.usage_point",
            list(usage_points),
        )
        return {str(row[0]): int(row[1]) for row in rows}

    async def account_entries(self, account: str, limit: int) -> list[LedgerRow]:
        """See `port`."""
        rows = await self._connection.fetch_all(
            f"SELECT {_ENTRY} FROM ledger_entry WHERE account = ? ORDER BY at DESC, id LIMIT ?", (account, limit)
        )
        return [self._entry(row) for row in rows]

    async def ledger_of(self, node: NodeId, after: str, limit: int) -> list[LedgerRow]:
        """See `port_recovery`."""
        rows = await self._connection.fetch_all(
            f"SELECT {_ENTRY} FROM ledger_entry WHERE node = ? AND id > ? ORDER BY id LIMIT ?",
            (node, after, limit),
        )
        return [self._entry(row) for row in rows]

    async def damaged_entries(self, limit: int) -> list[str]:
        """See `port`."""
        damaged: list[str] = []
        after = ""
        while True:
            rows = await self._connection.fetch_all(
                f"SELECT {_ENTRY} FROM ledger_entry WHERE id > ? ORDER BY id LIMIT 1000", (after,)
            )
            damaged += [row[0] for row in rows if not self._hasher.verify(row[-1], *row[:-1])]
            if len(rows) < 1000 or len(damaged) >= limit:
                return damaged[:limit]
            after = rows[-1][0]

    async def put_conflict(self, row: ConflictRow) -> None:
        """See `port`."""
        await self._connection.execute(
            inserted_once("ledger_conflict", "id, content, node, seen_at"),
            (row.id, row.content, row.node, row.seen_at),
        )

    async def conflicts(self, limit: int) -> list[ConflictRow]:
        """See `port`."""
        rows = await self._connection.fetch_all(
            "SELECT id, content, node, seen_at FROM ledger_conflict ORDER BY seen_at DESC, id, content LIMIT ?",
            (limit,),
        )
        return [ConflictRow(*row) for row in rows]

    async def imported_channels(self, channels: Sequence[str]) -> frozenset[str]:
        """See `port`."""
        found: set[str] = set()
        for some in slices(channels):
            rows = await self._connection.fetch_all(
                f"SELECT channel FROM watermark WHERE channel IN ({marks_of(len(some))})", tuple(some)
            )
            found.update(str(row[0]) for row in rows)
        return frozenset(found)

    async def watermarks(self) -> dict[str, int]:
        """See `port`."""
        rows = await self._connection.fetch_all("SELECT channel, complete_up_to FROM watermark ORDER BY channel")
        return {str(channel): int(at) for channel, at in rows}

    async def put_watermark(self, channel: str, complete_up_to: int, now: int) -> None:
        """See `port`."""
        await self._connection.execute(
            f"{inserted('watermark', 'channel, complete_up_to, received_at')} ON CONFLICT (channel) DO UPDATE SET"
            " complete_up_to = CASE WHEN excluded.complete_up_to > watermark.complete_up_to"
            " THEN excluded.complete_up_to ELSE watermark.complete_up_to END, received_at = excluded.received_at",
            (channel, complete_up_to, now),
        )

    async def issued(self, kind: str, ids: Sequence[str]) -> list[IssuedRow]:
        """See `port`."""
        found: list[IssuedRow] = []
        for some in slices(ids):
            rows = await self._connection.fetch_all(
                f"SELECT {_ISSUED} FROM issued WHERE kind = ? AND id IN ({marks_of(len(some))}) ORDER BY id, node",
                (kind, *some),
            )
            found += [IssuedRow(*row) for row in rows]
        return found

    async def issued_about(self, kind: str, subject: str, limit: int) -> list[IssuedRow]:
        """See `port`."""
        rows = await self._connection.fetch_all(
            f"SELECT {_ISSUED} FROM issued WHERE kind = ? AND subject = ? ORDER BY issued_at DESC, id, node LIMIT ?",
            (kind, subject, limit),
        )
        return [IssuedRow(*row) for row in rows]

    async def issued_to(self, kind: str, node: NodeId, limit: int) -> list[IssuedRow]:
        """See `port`."""
        rows = await self._connection.fetch_all(
            f"SELECT {_ISSUED} FROM issued WHERE kind = ? AND node = ? ORDER BY issued_at DESC, id LIMIT ?",
            (kind, node, limit),
        )
        return [IssuedRow(*row) for row in rows]

    async def put_issued(self, rows: Sequence[IssuedRow]) -> None:
        """See `port`."""
        await self._connection.execute_many(
            inserted_once("issued", _ISSUED),
            [(row.kind, row.id, row.node, row.subject, row.content, row.issued_at) for row in rows],
        )

    def _entry(self, row: tuple[Any, ...]) -> LedgerRow:
        entry = LedgerEntry(
            id=EntryId(row[0]),
            account=AccountId(row[1]),
            kind=EntryKind(row[2]),
            amount_tiyin=row[3],
            at=row[4],
            due_at=row[5],
            channel=ChannelId(row[6]),
            recorded_by=row[7],
            reverses=None if row[8] is None else EntryId(row[8]),
        )
        return LedgerRow(entry, NodeId(row[9]), row[10], row[11], self._hasher.verify(row[12], *row[:12]))
