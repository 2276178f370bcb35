"""Two hub processes' stores on one PostgreSQL: who comes second sees the first, and nothing is counted twice."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg
import pytest

from central_sync.store import postgres_sessions
from central_sync.store.faults import StoreFault
from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.postgres import PostgresHubStore, open_postgres
from central_sync.store.rows import HUB, AlarmRow, OwnerRow
from gridmodel.account import EntryKind, LedgerEntry
from gridmodel.identity import AccountId, ChannelId, EntryId, NodeId
from protocols.sync.lanes import DownLane
from tests.central_sync.hub_rig import ROW_KEY, A, B

pytestmark = pytest.mark.postgresql
Story = Callable[[PostgresHubStore, PostgresHubStore], Awaitable[None]]
Run = Callable[[Story], None]


@pytest.fixture
def run(fresh_database: Callable[[], str]) -> Run:
    """Runs a story over two stores on one database, as two processes have them."""
    url = fresh_database()

    async def whole(story: Story) -> None:
        first, second = [await open_postgres(url, lambda _: ROW_KEY) for _ in range(2)]
        try:
            for node in (A, B):
                await first.write(lambda tx, node=node: tx.enlist(node, f"key-{node}", ("1703202",)))  # type: ignore[misc]
            await story(first, second)
        finally:
            await first.close()
            await second.close()

    return lambda story: asyncio.run(whole(story))


class Meeting:
    """Lets the first try of each verb go on only when all of them have looked."""

    def __init__(self, count: int) -> None:
        self._barrier = asyncio.Barrier(count)
        self._been: set[str] = set()
        self.tries = 0

    async def looked(self, who: str) -> None:
        self.tries += 1
        if who not in self._been:
            self._been.add(who)
            await self._barrier.wait()


def entry(amount: int) -> LedgerEntry:
    channel = ChannelId("desk")
    return LedgerEntry(EntryId("e-1"), AccountId("acc-1"), EntryKind.PAYMENT, amount, 5, None, channel, "cashier")


def alarm(name: str) -> AlarmRow:
    return AlarmRow(HUB, name, "audit", "balances", 5, "", None)


def test_offsets_have_no_gap_and_no_twin(run: Run) -> None:
    async def story(first: HubStore, second: HubStore) -> None:
        async def append(tx: HubTransaction) -> int:
            head = (await tx.down_heads(A))[DownLane.LEDGER]
            await tx.append_down(A, DownLane.LEDGER, [("k", f"i-{head}", b""), ("k", f"j-{head}", b"")], 1)
            return head

        def turn(number: int) -> Awaitable[int]:
            store = (first, second)[number % 2]
            return store.write(append) if number % 5 == 0 else store.write_for(A, append)

        heads = await asyncio.gather(*(turn(number) for number in range(40)))
        assert sorted(heads) == list(range(0, 80, 2))
        items = await second.read(lambda tx: tx.down_items(A, DownLane.LEDGER, 0, 500, 10**6))
        assert [item.offset for item in items] == list(range(1, 81))

    run(story)


def test_nodes_do_not_wait_for_each_other_and_an_import_waits_for_all(run: Run) -> None:
    async def story(first: HubStore, second: HubStore) -> None:
        held, let_go = asyncio.Event(), asyncio.Event()

        async def hold(tx: HubTransaction) -> None:
            await tx.set_epoch(A, 2)
            held.set()
            await let_go.wait()

        holding = asyncio.create_task(first.write_for(A, hold))
        await held.wait()
        await second.write_for(B, lambda tx: tx.set_epoch(B, 3))
        same = asyncio.create_task(second.write_for(A, lambda tx: tx.node(A)))
        alone = asyncio.create_task(second.write(lambda tx: tx.node(A)))
        row = await second.read(lambda tx: tx.node(A))
        assert row is not None
        assert row.epoch == 0, "a reader waits for nobody and sees what is committed"
        assert not same.done()
        assert not alone.done()
        let_go.set()
        await holding
        for waited in (await same, await alone):
            assert waited is not None
            assert waited.epoch == 2, "who waited sees what was committed meanwhile"

    run(story)


def test_one_entry_from_two_nodes_at_once_is_one(run: Run) -> None:
    async def story(first: HubStore, second: HubStore) -> None:
        meeting = Meeting(2)

        async def take(tx: HubTransaction, node: NodeId, amount: int) -> str:
            held = await tx.ledger_entries(["e-1"])
            await meeting.looked(node)
            if held:
                return "conflict" if held["e-1"].entry != entry(amount) else "known"
            await tx.put_ledger_entries([entry(amount)], node, "node", 5)
            return "new"

        told = await asyncio.gather(
            first.write_for(A, lambda tx: take(tx, A, 100)), second.write_for(B, lambda tx: take(tx, B, 200))
        )
        assert sorted(told) == ["conflict", "new"]
        assert meeting.tries == 3
        rows = await first.read(lambda tx: tx.ledger_entries(["e-1"]))
        assert (rows["e-1"].entry.amount_tiyin, rows["e-1"].intact) == ((100, 200)[told.index("new")], True)

    run(story)


def test_a_thing_claimed_by_two_registries_at_once_has_one_owner(run: Run) -> None:
    async def story(first: HubStore, second: HubStore) -> None:
        meeting = Meeting(2)

        async def claim(tx: HubTransaction, node: NodeId) -> bool:
            held = await tx.owners("meter", ["m-1"])
            await meeting.looked(node)
            if held and held["m-1"].node != node:
                return False
            await tx.put_registry(node, 1, b"document", [OwnerRow("meter", "m-1", node)], 5)
            return True

        told = await asyncio.gather(
            first.write_for(A, lambda tx: claim(tx, A)), second.write_for(B, lambda tx: claim(tx, B))
        )
        assert sorted(told) == [False, True]
        owner = (A, B)[told.index(True)]
        assert (await first.read(lambda tx: tx.owners("meter", ["m-1"])))["m-1"].node == owner
        assert await first.read(lambda tx: tx.registry_versions()) == {owner: 1}

    run(story)


def test_verbs_that_lock_each_other_out_both_come_through(run: Run) -> None:
    async def story(first: HubStore, second: HubStore) -> None:
        meeting = Meeting(2)

        async def alarms(tx: HubTransaction, names: str) -> None:
            await tx.put_alarms([alarm(names[0])])
            await meeting.looked(names)
            await tx.put_alarms([alarm(names[1])])

        await asyncio.gather(
            first.write_for(A, lambda tx: alarms(tx, "xy")), second.write_for(B, lambda tx: alarms(tx, "yx"))
        )
        assert meeting.tries > 2, "one of the two ran again at least"
        assert len(await first.read(lambda tx: tx.alarms(HUB, 9, standing=True))) == 2

    run(story)


def test_a_verb_that_is_crossed_again_and_again_is_given_up_by_name(run: Run) -> None:
    async def story(first: HubStore, _: HubStore) -> None:
        tries = 0

        async def crossed(tx: HubTransaction) -> None:
            nonlocal tries
            tries += 1
            await tx.set_epoch(A, tries)
            raise asyncpg.SerializationError("could not serialize access")

        with pytest.raises(StoreFault) as told:
            await first.write_for(A, crossed)
        assert (told.value.code, told.value.status, tries) == ("TQ-HB-12", 503, postgres_sessions.TRIES_MAX)
        row = await first.read(lambda tx: tx.node(A))
        assert row is not None
        assert row.epoch == 0

    run(story)


def test_a_verb_that_goes_on_after_a_failed_statement_has_committed_nothing(run: Run) -> None:
    async def story(first: HubStore, _: HubStore) -> None:
        async def careless(tx: HubTransaction) -> None:
            await tx.put_registry(A, 1, b"one", [], 5)
            with suppress(asyncpg.UniqueViolationError):
                await tx.put_registry(A, 1, b"two", [], 5)

        with pytest.raises(RuntimeError, match="nothing was committed"):
            await first.write_for(A, careless)
        assert await first.read(lambda tx: tx.registry_versions()) == {}

    run(story)


def test_a_caller_who_leaves_does_not_break_off_its_transaction(run: Run) -> None:
    async def story(first: HubStore, second: HubStore) -> None:
        begun, let_go = asyncio.Event(), asyncio.Event()

        async def verb(tx: HubTransaction) -> None:
            await tx.set_epoch(A, 5)
            begun.set()
            await let_go.wait()

        leaving = asyncio.create_task(first.write_for(A, verb))
        await begun.wait()
        leaving.cancel()
        waiting = asyncio.create_task(second.write_for(A, lambda tx: tx.node(A)))
        let_go.set()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        row = await waiting
        assert row is not None
        assert row.epoch == 5

    run(story)
