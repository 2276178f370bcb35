"""The ledger: immutable entries, debts worked out from them, payment channels' promises. Floor: edge_node/store.

On the payment walk. An entry comes from this office's desk or down from the hub; either way it is a keyed union: the
same id with another content is a named conflict, and the first stands. `account_debt` is worked out anew from all
entries of the account in the same transaction, so that it can never drift; it only finds candidates, a decision reads
the entries. Every row carries a keyed hash; a damaged one is named and nobody is cut on it.

Codes: TQ-LE-01 a kind of item that is none, -02 a promise from the future, -03 an entry that cannot be read.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from edge_node.store.alarms import raise_alarm
from edge_node.store.outbox import append_record
from edge_node.store.stamping import Stamp, keep_stamp
from gridmodel.account import AccountFault, EntryKind, LedgerEntry, credit_tiyin, open_debts
from gridmodel.event import AlarmKind
from gridmodel.fault import Fault
from gridmodel.identity import AccountId, ChannelId, EntryId, checked_id
from gridmodel.quantity import QuantityFault
from gridmodel.replicated import FUTURE_S_MAX
from hosting.database import Connection, Database
from hosting.rowhash import RowHasher
from protocols.sync import wire
from protocols.sync.facts import LEDGER_ENTRY, ledger_entry_from_body, ledger_entry_to_body
from protocols.sync.fields import Fields
from protocols.sync.lanes import Lane

CANDIDATES_MAX = 500
"""Accounts looked at in one tick at most: each costs a dozen small queries."""
DAMAGED_LISTED_MAX = 100
"""Damaged rows named at once: the first of them tell the operator enough."""
VERIFIED_PER_READ = 2_000
"""Rows verified in one step, so that no callback is long."""

_COLUMNS = "id, account, kind, amount_tiyin, at, due_at, channel, recorded_by, reverses, origin, received_at"


class LedgerFault(Fault):
    """An item for the ledger that cannot enter it."""


class Origin(StrEnum):
    """Who put an entry in."""

    DESK = "desk"
    HUB = "hub"


class Inserted(StrEnum):
    """What became of an entry."""

    NEW = "new"
    KNOWN = "known"
    CONFLICT = "conflict"
    """The same id stands with another content, which holds."""


@dataclass(frozen=True, slots=True)
class AccountState:
    """All that is known of one account."""

    entries: tuple[LedgerEntry, ...]
    """Readable entries; a damaged debit is left out, so that no doubt adds to a debt."""
    damaged: tuple[str, ...]
    """Ids of entries whose row is not what was written."""
    credited_at: int | None
    """When the latest credit became durable here."""


@dataclass(frozen=True, slots=True)
class WatermarkState:
    """How far the payment channels vouch for themselves."""

    oldest_at: int | None
    """None when a channel never did."""
    damaged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An account that owes; whether it may be cut is decided elsewhere."""

    account: AccountId
    owed_tiyin: int
    first_due_at: int


@dataclass(frozen=True, slots=True)
class PaymentTaken:
    """The payment is durable, now or since an earlier request of the same name."""

    entry: LedgerEntry
    credit_tiyin: int
    repeated: bool


@dataclass(frozen=True, slots=True)
class RequestConflict:
    """The request's name was used for another payment; nothing was recorded."""

    entry: LedgerEntry


class Ledger:
    """Entries, debts and watermarks of one node. Methods that take `conn` run in the caller's transaction."""

    def __init__(self, control: Database, row_key: bytes) -> None:
        self._control = control
        self._hasher = RowHasher(row_key, "ledger_entry")
        self._mark_hasher = RowHasher(row_key, "watermark")

    async def insert_entry(self, conn: Connection, entry: LedgerEntry, origin: Origin, now: int) -> Inserted:
        """Put one entry in and work its account's debts out anew; a conflict is kept, shown and raised as an alarm."""
        row = await conn.fetch_one(f"SELECT {_COLUMNS}, hash FROM ledger_entry WHERE id = ?", (entry.id,))
        content = _content(entry)
        if row is not None and self._hasher.verify(bytes(row[11]), *row[:11]):
            if row[:9] == content:
                return Inserted.KNOWN
            await conn.execute(
                "INSERT OR IGNORE INTO ledger_conflict (id, content, seen_at) VALUES (?, ?, ?)",
                (entry.id, wire.pack(ledger_entry_to_body(entry)), now),
            )
            detail = f"entry {entry.id} came again with another content ({entry.amount_tiyin} tiyin); the first stands"
            await raise_alarm(conn, AlarmKind.LEDGER_CONFLICT, entry.id, detail, now)
            return Inserted.CONFLICT
        values = (*content, origin.value, now)
        await conn.execute(  # a damaged row gives way to a whole one of the same id
            f"INSERT OR REPLACE INTO ledger_entry ({_COLUMNS}, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, self._hasher.digest(*values)),
        )
        await self._work_out(conn, entry.account, entry.amount_tiyin if row is None else 0)
        if row is not None and row[1] != entry.account:
            await self._work_out(conn, AccountId(row[1]), 0)
        return Inserted.NEW

    async def take_payment(self, entry: LedgerEntry, request: str, stamp: Stamp) -> PaymentTaken | RequestConflict:
        """Make a desk's payment durable together with its record for the hub; a repeated request gives the first."""
        now = stamp.at

        async def verb(conn: Connection) -> PaymentTaken | RequestConflict:
            asked = await conn.fetch_one("SELECT entry FROM payment_request WHERE request = ?", (request,))
            if asked is None:  # taken in a life that this store lost, and given back by the hub
                asked = await conn.fetch_one("SELECT id FROM ledger_entry WHERE id = ?", (entry.id,))
            if asked is not None:
                first = await self._entry(conn, asked[0])
                if (first.account, first.amount_tiyin, first.recorded_by) != (
                    entry.account,
                    entry.amount_tiyin,
                    entry.recorded_by,
                ):
                    return RequestConflict(first)
                state = await self.account_state(conn, first.account)
                return PaymentTaken(first, credit_tiyin(state.entries), repeated=True)
            if await self.insert_entry(conn, entry, Origin.DESK, now) is not Inserted.NEW:
                raise RuntimeError(f"the fresh entry id {entry.id} is in use")
            await conn.execute("INSERT INTO payment_request (request, entry) VALUES (?, ?)", (request, entry.id))
            await append_record(conn, Lane.LEDGER, LEDGER_ENTRY, entry.id, ledger_entry_to_body(entry), now)
            await keep_stamp(conn, entry.id, stamp)
            state = await self.account_state(conn, entry.account)
            return PaymentTaken(entry, credit_tiyin(state.entries), repeated=False)

        return await self._control.write(verb)

    async def account_state(self, conn: Connection, account: AccountId) -> AccountState:
        """Every entry of the account, each row checked."""
        return (await self.account_states(conn, [account]))[account]

    async def account_states(self, conn: Connection, accounts: Collection[AccountId]) -> dict[AccountId, AccountState]:
        """`account_state` of some accounts (CANDIDATES_MAX at most), in two statements however many they are."""
        marks = ", ".join("?" for _ in accounts)
        rows: dict[str, list[tuple[Any, ...]]] = {account: [] for account in accounts}
        for row in await conn.fetch_all(
            f"SELECT {_COLUMNS}, hash FROM ledger_entry WHERE account IN ({marks}) ORDER BY id", tuple(accounts)
        ):
            rows[row[1]].append(row)
        written = dict(
            await conn.fetch_all(
                f"SELECT account, credit_tiyin FROM account_debt WHERE account IN ({marks})", tuple(accounts)
            )
        )
        return {account: self._state(account, rows[account], written.get(account, 0)) for account in accounts}

    def _state(self, account: AccountId, rows: Sequence[tuple[Any, ...]], written_tiyin: int) -> AccountState:
        entries: list[LedgerEntry] = []
        damaged: list[str] = []
        credited_at: int | None = None
        for row in rows:
            sound = self._hasher.verify(bytes(row[11]), *row[:11])
            if not sound:
                damaged.append(str(row[0]))
            entry = _entry(row)
            if entry is None or (not sound and entry.amount_tiyin < 0):
                continue
            entries.append(entry)
            if entry.amount_tiyin > 0:
                credited_at = max(credited_at or 0, int(row[10]))
        if not damaged and written_tiyin != credit_tiyin(entries):
            damaged.append(f"account {account}")  # an entry of it is under another account now, or gone
        return AccountState(tuple(entries), tuple(damaged), credited_at)

    async def known_account(self, account: AccountId) -> bool:
        """Whether any entry names the account."""

        async def verb(conn: Connection) -> bool:
            return await conn.fetch_one("SELECT 1 FROM account_debt WHERE account = ?", (account,)) is not None

        return await self._control.read(verb)

    async def statement(self, account: AccountId) -> AccountState:
        """`account_state` as a verb of its own."""
        return await self._control.read(lambda conn: self.account_state(conn, account))

    async def candidates(
        self,
        conn: Connection,
        due_before: int,
        owed_tiyin_min: int,
        after: tuple[int, str],
        limit: int,
        *,
        told: bool = False,
    ) -> list[Candidate]:
        """Accounts that owe at least so much since before `due_before`, oldest debt first, after (first_due_at, id).

        With `told` only those that were ever given a notice: without one nobody is cut.
        """
        noticed = " AND EXISTS (SELECT 1 FROM notice WHERE notice.account = account_debt.account AND delivered_at >= 0)"
        rows = await conn.fetch_all(
            "SELECT account, owed_tiyin, first_due_at FROM account_debt"
            " WHERE owed_tiyin > 0 AND owed_tiyin >= ? AND first_due_at <= ? AND (first_due_at, account) > (?, ?)"
            f"{noticed if told else ''} ORDER BY first_due_at, account LIMIT ?",
            (owed_tiyin_min, due_before, *after, min(limit, CANDIDATES_MAX)),
        )
        return [Candidate(AccountId(row[0]), row[1], row[2]) for row in rows]

    async def overdue_accounts(self, conn: Connection, accounts: Collection[AccountId], now: int) -> set[AccountId]:
        """Which of `accounts` (at most CANDIDATES_MAX) have an open debt that was due before `now`."""
        marks = ", ".join("?" for _ in accounts)
        rows = await conn.fetch_all(
            f"SELECT account FROM account_debt WHERE owed_tiyin > 0 AND first_due_at < ? AND account IN ({marks})",
            (now, *accounts),
        )
        return {AccountId(row[0]) for row in rows}

    async def set_watermark(self, conn: Connection, channel: ChannelId, complete_up_to: int, now: int) -> bool:
        """Move a channel's promise forward; gives whether it moved. Raises LedgerFault (TQ-LE-02) for the future."""
        if complete_up_to > now + FUTURE_S_MAX:
            raise LedgerFault(
                "TQ-LE-02",
                f"channel {channel} promises payments up to {complete_up_to - now} s from now",
                "nothing was taken in; check the clock of the channel's billing run",
            )
        row = await conn.fetch_one(
            "SELECT complete_up_to, received_at, hash FROM watermark WHERE channel = ?", (channel,)
        )
        sound = row is not None and self._mark_hasher.verify(bytes(row[2]), channel, row[0], row[1])
        if row is not None and sound and row[0] >= complete_up_to:
            return False
        values = (channel, complete_up_to, now)
        await conn.execute(
            "INSERT OR REPLACE INTO watermark (channel, complete_up_to, received_at, hash) VALUES (?, ?, ?, ?)",
            (*values, self._mark_hasher.digest(*values)),
        )
        return True

    async def watermark_state(self, conn: Connection, channels: Collection[ChannelId]) -> WatermarkState:
        """The oldest promise of all `channels` and of every other channel that ever made one."""
        rows = await conn.fetch_all("SELECT channel, complete_up_to, received_at, hash FROM watermark ORDER BY channel")
        sound = {row[0]: row[1] for row in rows if self._mark_hasher.verify(bytes(row[3]), *row[:3])}
        damaged = tuple(row[0] for row in rows if row[0] not in sound)
        vouched = bool(sound) and not damaged and all(channel in sound for channel in channels)
        return WatermarkState(min(sound.values()) if vouched else None, damaged)

    async def watermarks(self) -> dict[ChannelId, int]:
        """Every channel's promise, for status pages."""

        async def verb(conn: Connection) -> dict[ChannelId, int]:
            rows = await conn.fetch_all("SELECT channel, complete_up_to FROM watermark ORDER BY channel")
            return {ChannelId(row[0]): row[1] for row in rows}

        return await self._control.read(verb)

    async def apply_ledger_item(
        self, conn: Connection, kind: str, item_id: str, body: Mapping[str, Any], now: int
    ) -> None:
        """Take in one item of the downlink's lane `ledger`; raises a Fault before anything is written."""
        if kind == LEDGER_ENTRY:
            await self.insert_entry(conn, ledger_entry_from_body(body), Origin.HUB, now)
        elif kind == "watermark":
            read = Fields("watermark", dict(body), ("channel", "complete_up_to"))
            await self.set_watermark(conn, ChannelId(read.identity("channel")), read.time("complete_up_to"), now)
        else:
            raise LedgerFault(
                "TQ-LE-01", f"item {item_id} of kind {kind!r:.40} is none of the ledger", "nothing was taken in"
            )

    async def find(self, conn: Connection, entry_id: str) -> LedgerEntry | None:
        """One entry; None where there is none, or a damaged one."""
        row = await conn.fetch_one(f"SELECT {_COLUMNS}, hash FROM ledger_entry WHERE id = ?", (entry_id,))
        return None if row is None or not self._hasher.verify(bytes(row[11]), *row[:11]) else _entry(row)

    async def page(self, conn: Connection, after: str, limit: int) -> list[tuple[str, LedgerEntry | None]]:
        """(id, entry) by id after `after`; None for a row that is not what was written."""
        rows = await conn.fetch_all(
            f"SELECT {_COLUMNS}, hash FROM ledger_entry WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
        )
        return [(row[0], _entry(row) if self._hasher.verify(bytes(row[11]), *row[:11]) else None) for row in rows]

    async def verify(self) -> tuple[str, ...]:
        """Ids of damaged entries, at most DAMAGED_LISTED_MAX, for `doctor`."""
        damaged: list[str] = []
        after = ""
        while len(damaged) < DAMAGED_LISTED_MAX:
            rows = await self._control.read(
                lambda conn, start=after: conn.fetch_all(  # type: ignore[misc]
                    f"SELECT {_COLUMNS}, hash FROM ledger_entry WHERE id > ? ORDER BY id LIMIT ?",
                    (start, VERIFIED_PER_READ),
                )
            )
            damaged += [str(row[0]) for row in rows if not self._hasher.verify(bytes(row[11]), *row[:11])]
            if len(rows) < VERIFIED_PER_READ:
                break
            after = rows[-1][0]
        return tuple(damaged[:DAMAGED_LISTED_MAX])

    async def _entry(self, conn: Connection, entry_id: str) -> LedgerEntry:
        row = await conn.fetch_one(f"SELECT {_COLUMNS} FROM ledger_entry WHERE id = ?", (entry_id,))
        entry = None if row is None else _entry(row)
        if entry is None:
            raise LedgerFault(
                "TQ-LE-03", f"the entry {entry_id} cannot be read", "run edge-node doctor; take no second"
            )
        return entry

    async def _work_out(self, conn: Connection, account: AccountId, added_tiyin: int) -> None:
        """Work the account's debts out anew, when `added_tiyin` joined it.

        Its credit is counted on from what it was, not from the rows: where those do not add up to it, one is damaged.
        """
        written = await _credit_written(conn, account)
        state = await self.account_state(conn, account)
        debts = open_debts(state.entries)
        await conn.execute(
            "INSERT OR REPLACE INTO account_debt (account, credit_tiyin, owed_tiyin, first_due_at) VALUES (?, ?, ?, ?)",
            (
                account,
                credit_tiyin(state.entries) if written is None else written + added_tiyin,
                sum(debt.remaining_tiyin for debt in debts),
                debts[0].due_at if debts else None,
            ),
        )


async def _credit_written(conn: Connection, account: AccountId) -> int | None:
    """The account's credit as it was counted entry by entry; None before the first."""
    row = await conn.fetch_one("SELECT credit_tiyin FROM account_debt WHERE account = ?", (account,))
    return None if row is None else int(row[0])


def _content(entry: LedgerEntry) -> tuple[Any, ...]:
    return (
        checked_id("entry", entry.id),
        entry.account,
        entry.kind.value,
        entry.amount_tiyin,
        entry.at,
        entry.due_at,
        entry.channel,
        entry.recorded_by,
        entry.reverses,
    )


def _entry(row: tuple[Any, ...]) -> LedgerEntry | None:
    """The entry in a row, or None when the row no longer makes one."""
    try:
        return LedgerEntry(
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
    except (AccountFault, QuantityFault, ValueError):
        return None
