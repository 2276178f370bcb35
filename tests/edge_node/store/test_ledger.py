"""The ledger in SQL: a keyed union whose debts never depend on order, repetition or origin."""

import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.store.ledger import Inserted, Ledger, LedgerFault, Origin
from gridmodel.account import EntryKind, LedgerEntry, credit_tiyin, open_debts
from gridmodel.identity import AccountId, ChannelId, EntryId
from hosting.database import Connection, Database
from hosting.migrations import load_migrations
from protocols.sync.facts import ledger_entry_to_body
from protocols.sync.fields import MessageFault
from simulate.disk import SimDisk

NOW = 1_776_000_000
DAY = 86_400
ACCOUNT = AccountId("acc")
Story = Callable[[Database, Ledger], Awaitable[None]]


def told(folder: Path, story: Story) -> None:
    async def whole() -> None:
        disk = SimDisk(random.Random(1))
        control = await disk(folder / "c.db", "control", load_migrations("edge_node.store", "schema/control"))
        await story(control, Ledger(control, b"k" * 32))
        await control.close()

    asyncio.run(whole())


def entry(name: str, amount: int, *, due: int | None = None, account: str = "acc") -> LedgerEntry:
    kind = EntryKind.PAYMENT if amount > 0 else EntryKind.CHARGE
    due_at = (NOW - DAY if due is None else due) if amount < 0 else None
    return LedgerEntry(EntryId(name), AccountId(account), kind, amount, NOW - DAY, due_at, ChannelId("bank"), "billing")


async def debt(control: Database) -> tuple[Any, ...] | None:
    return await control.read(
        lambda conn: conn.fetch_one(
            "SELECT credit_tiyin, owed_tiyin, first_due_at FROM account_debt WHERE account = 'acc'"
        )
    )


async def put(control: Database, ledger: Ledger, one: LedgerEntry, origin: Origin = Origin.HUB) -> Inserted:
    return await control.write(lambda conn: ledger.insert_entry(conn, one, origin, NOW))


AMOUNTS = st.lists(
    st.tuples(st.integers(-(10**6), 10**6).filter(bool), st.integers(NOW - 90 * DAY, NOW + 9 * DAY)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(amounts=AMOUNTS, data=st.data())
def test_order_repetition_and_origin_do_not_matter(amounts: list[tuple[int, int]], data: st.DataObject) -> None:
    entries = [entry(f"e{n}", amount, due=due) for n, (amount, due) in enumerate(amounts)]
    told_in = data.draw(st.permutations(entries + entries))
    origins = data.draw(st.lists(st.sampled_from(Origin), min_size=len(told_in), max_size=len(told_in)))
    debts = open_debts(entries)

    async def story(control: Database, ledger: Ledger) -> None:
        for one, origin in zip(told_in, origins, strict=True):
            await put(control, ledger, one, origin)
        assert await debt(control) == (
            credit_tiyin(entries),
            sum(one.remaining_tiyin for one in debts),
            debts[0].due_at if debts else None,
        )
        assert set((await ledger.statement(ACCOUNT)).entries) == set(entries)
        assert await ledger.verify() == ()

    with tempfile.TemporaryDirectory() as folder:
        told(Path(folder), story)


def test_one_id_with_two_contents_is_a_named_conflict_and_the_first_stands(tmp_path: Path) -> None:
    async def story(control: Database, ledger: Ledger) -> None:
        assert await put(control, ledger, entry("e", -500)) is Inserted.NEW
        assert await put(control, ledger, entry("e", -500), Origin.DESK) is Inserted.KNOWN
        assert await put(control, ledger, entry("e", -900)) is Inserted.CONFLICT
        assert await put(control, ledger, entry("e", -900)) is Inserted.CONFLICT
        assert await debt(control) == (-500, 500, NOW - DAY)
        kept = await control.read(lambda conn: conn.fetch_all("SELECT id FROM ledger_conflict"))
        raised = await control.read(lambda conn: conn.fetch_all("SELECT kind, subject FROM alarm"))
        assert kept == [("e",)]
        assert raised == [("ledger_conflict", "e")]

    told(tmp_path, story)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ledger_entry SET amount_tiyin = -1000 WHERE id = 'e'",
        "UPDATE ledger_entry SET due_at = due_at - 86400 WHERE id = 'e'",
        "UPDATE ledger_entry SET kind = 'nonsense' WHERE id = 'e'",
        "UPDATE ledger_entry SET hash = x'0000000000000000' WHERE id = 'e'",
    ],
)
def test_a_damaged_debit_is_no_debt_and_gives_way_to_a_whole_one(tmp_path: Path, change: str) -> None:
    async def story(control: Database, ledger: Ledger) -> None:
        await put(control, ledger, entry("e", -500))
        await control.write(lambda conn: conn.execute(change))
        state = await ledger.statement(ACCOUNT)
        assert (state.entries, state.damaged) == ((), ("e",))
        assert await ledger.verify() == ("e",)
        assert await put(control, ledger, entry("e", -500)) is Inserted.NEW
        assert (await ledger.statement(ACCOUNT)).damaged == ()
        assert await debt(control) == (-500, 500, NOW - DAY)

    told(tmp_path, story)


def test_a_damaged_payment_still_counts_for_the_consumer(tmp_path: Path) -> None:
    async def story(control: Database, ledger: Ledger) -> None:
        await put(control, ledger, entry("p", 500))
        await control.write(lambda conn: conn.execute("UPDATE ledger_entry SET at = at + 1"))
        state = await ledger.statement(ACCOUNT)
        assert (credit_tiyin(state.entries), state.damaged) == (500, ("p",))

    told(tmp_path, story)


def test_watermarks_only_move_forward_and_all_channels_count(tmp_path: Path) -> None:
    async def story(control: Database, ledger: Ledger) -> None:
        bank, app = ChannelId("bank"), ChannelId("app")

        async def oldest(*channels: ChannelId) -> int | None:
            return (await control.read(lambda conn: ledger.watermark_state(conn, channels))).oldest_at

        async def move(channel: ChannelId, at: int) -> bool:
            return await control.write(lambda conn: ledger.set_watermark(conn, channel, at, NOW))

        assert await oldest() is None
        assert await move(bank, NOW - 60)
        assert not await move(bank, NOW - 90)
        assert not await move(bank, NOW - 60)
        assert await oldest() == await oldest(bank) == NOW - 60
        assert await oldest(bank, app) is None, "a channel that never vouched"
        assert await move(app, NOW - 500)
        assert await oldest(bank) == NOW - 500, "a channel that once vouched counts for ever"
        with pytest.raises(LedgerFault, match="TQ-LE-02"):
            await move(app, NOW + 301)
        await control.write(lambda conn: conn.execute("UPDATE watermark SET complete_up_to = complete_up_to + 9"))
        state = await control.read(lambda conn: ledger.watermark_state(conn, (bank,)))
        assert (state.oldest_at, state.damaged) == (None, ("app", "bank"))
        assert await move(bank, NOW - 70), "a damaged row gives way"
        assert await ledger.watermarks() == {"app": NOW - 491, "bank": NOW - 70}

    told(tmp_path, story)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("ledger_entry", {}),
        ("ledger_entry", {**ledger_entry_to_body(entry("e", 5)), "amount_tiyin": -5}),
        ("ledger_entry", {**ledger_entry_to_body(entry("e", 5)), "amount_tiyin": 10**16}),
        ("ledger_entry", {**ledger_entry_to_body(entry("e", 5)), "amount_tiyin": "5"}),
        ("ledger_entry", {**ledger_entry_to_body(entry("e", 5)), "kind": "gift"}),
        ("ledger_entry", {**ledger_entry_to_body(entry("e", 5)), "extra": 1}),
        ("watermark", {"channel": "bank"}),
        ("watermark", {"channel": "", "complete_up_to": 5}),
        ("watermark", {"channel": "bank", "complete_up_to": -5}),
        ("watermark", {"channel": "bank", "complete_up_to": NOW + 10**6}),
        ("present", {}),
    ],
)
def test_an_item_that_cannot_be_leaves_nothing(tmp_path: Path, kind: str, body: dict[str, Any]) -> None:
    async def story(control: Database, ledger: Ledger) -> None:
        with pytest.raises((LedgerFault, MessageFault)):
            await control.write(lambda conn: ledger.apply_ledger_item(conn, kind, "item", body, NOW))
        for table in ("ledger_entry", "account_debt", "watermark", "outbox_record"):
            assert await control.read(lambda conn, name=table: conn.fetch_all(f"SELECT * FROM {name}")) == []  # type: ignore[misc]

    told(tmp_path, story)


def test_candidates_come_oldest_first_and_in_turns(tmp_path: Path) -> None:
    async def story(control: Database, ledger: Ledger) -> None:
        for number in range(6):
            await put(
                control,
                ledger,
                entry(f"e{number}", -100 * (number + 1), due=NOW - (9 - number) * DAY, account=f"a{number}"),
            )
        await put(control, ledger, entry("p", 600, account="a5"))

        async def page(conn: Connection) -> list[str]:
            first = await ledger.candidates(conn, NOW - 4 * DAY, 200, (-1, ""), 2)
            rest = await ledger.candidates(conn, NOW - 4 * DAY, 200, (first[-1].first_due_at, first[-1].account), 2)
            return [one.account for one in [*first, *rest]]

        assert await control.read(page) == ["a1", "a2", "a3", "a4"]
        late = await control.read(
            lambda conn: ledger.overdue_accounts(conn, [AccountId("a0"), AccountId("a5"), AccountId("zz")], NOW)
        )
        assert late == {"a0"}

    told(tmp_path, story)
