"""The same suite for every engine of the hub's store port: tickets, counters, and facts of one node page by page."""

from dataclasses import replace

import pytest

from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows import WAITING, FieldWorkRow, IssuedRow, OperationRow
from gridmodel.account import EntryKind, LedgerEntry
from gridmodel.identity import AccountId, ChannelId, EntryId
from protocols.sync.attest import Held, item_digest
from protocols.sync.lanes import DownLane
from protocols.sync.pull import DownItem
from tests.contracts.hub_engines import ENGINES, A, B, Runner, runner


@pytest.fixture(params=ENGINES)
def run(request: pytest.FixtureRequest) -> Runner:
    return runner(request)


def test_tickets_are_kept_for_each_node_and_forgotten_all_at_once(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        first, second = Held(b"1" * 16, 50), Held(b"2" * 16, 60, b"c" * 16)

        async def verb(tx: HubTransaction) -> None:
            await tx.put_ticket(A, first)
            await tx.put_ticket(B, first)
            await tx.put_ticket(A, second)

        await store.write(verb)

        async def look(tx: HubTransaction) -> None:
            assert await tx.ticket(A) == second
            assert await tx.ticket(B) == first

        await store.read(look)
        await store.write(lambda tx: tx.forget_tickets())
        assert await store.read(lambda tx: tx.ticket(A)) is None

    run(story)


def test_counters_rise_with_what_is_minted_and_issued(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        before = await store.read(lambda tx: tx.standing_heads(A))
        assert set(before.values()) == {0}

        async def verb(tx: HubTransaction) -> None:
            await tx.set_epoch(A, 3)
            await tx.put_issued(
                [
                    IssuedRow("mandate", "m-1", A, "node-a", "{}", 5),
                    IssuedRow("revoke_protection", "r-1", A, "up-1", "{}", 5),
                    IssuedRow("mandate", "m-2", B, "node-b", "{}", 5),
                ]
            )
            await tx.put_audit_head(A, "h-1", 5, b"head")
            await tx.append_down(A, DownLane.LEDGER, [("k", "i", b"1"), ("k", "j", b"2")], 5)

        await store.write(verb)
        assert await store.read(lambda tx: tx.standing_heads(A)) == {
            "epoch": 3,
            "policy": 1,
            "revocations": 1,
            "issued": 2,
            "log": 1,
            "down-authority": 0,
            "down-ledger": 2,
            "down-registry": 0,
        }

    run(story)


def test_a_tail_is_the_digest_of_the_item_under_its_number(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        await store.write(lambda tx: tx.append_down(A, DownLane.AUTHORITY, [("notice", "n-1", b"body")], 5))
        told = await store.read(lambda tx: tx.down_tail(A, DownLane.AUTHORITY, 1))
        assert told == (1, item_digest(DownItem(DownLane.AUTHORITY, 1, "notice", "n-1", b"body")))
        assert told is not None
        assert told[1] != item_digest(DownItem(DownLane.AUTHORITY, 1, "notice", "n-1", b"other"))
        for node, lane, offset in ((A, DownLane.AUTHORITY, 2), (A, DownLane.LEDGER, 1), (B, DownLane.AUTHORITY, 1)):
            assert await store.read(lambda tx, a=node, b=lane, c=offset: tx.down_tail(a, b, c)) is None  # type: ignore[misc]

    run(story)


def test_facts_of_one_node_come_page_by_page(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        operation = OperationRow(A, "op-1", "up-1", "m", "t", "cut", "debt", b"basis", None, 5, None, None, None)
        work = FieldWorkRow(A, "work-1", 50, "m-1", b"body", 60, WAITING, "", "", None)

        async def verb(tx: HubTransaction) -> None:
            for node in (A, B):
                names = [f"pay-{node}-{number}" for number in range(5)]
                await tx.put_ledger_entries([_entry(name) for name in names], node, "node", 9)
                await tx.put_operations([replace(operation, node=node, id=f"op-{number}") for number in range(3)], 9)
                await tx.put_field_works([replace(work, node=node, id=f"work-{number}") for number in range(3)])

        await store.write(verb)

        async def look(tx: HubTransaction) -> None:
            rows = await tx.ledger_of(A, "", 3)
            rows += await tx.ledger_of(A, rows[-1].entry.id, 3)
            assert [row.entry.id for row in rows] == [f"pay-{A}-{number}" for number in range(5)]
            assert all(row.intact and row.node == A for row in rows)
            assert await tx.ledger_of(A, rows[-1].entry.id, 3) == []
            assert [row.id for row in await tx.operations_of(A, "op-0", 9)] == ["op-1", "op-2"]
            assert await tx.operations_named(B, ["op-2", "op-9", "op-0"]) == [
                replace(operation, node=B, id="op-0"),
                replace(operation, node=B, id="op-2"),
            ]
            assert [row.id for row in await tx.field_works_of(A, "", 2)] == ["work-0", "work-1"]

        await store.read(look)

    run(story)


def _entry(name: str) -> LedgerEntry:
    return LedgerEntry(
        id=EntryId(name),
        account=AccountId("acc-1"),
        kind=EntryKind.PAYMENT,
        amount_tiyin=100,
        at=5,
        due_at=None,
        channel=ChannelId("desk"),
        recorded_by="cashier",
    )
