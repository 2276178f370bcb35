"""The desk: a payment is taken once, by a person who may, for an account that is, of an amount that can be."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from edge_node.money.payments import LOCKED_S, PAYMENT_TIYIN_MAX, WRONG_SECRETS_MAX, PaymentFault
from edge_node.store.state import Mark, NodeState
from gridmodel.identity import AccountId
from tests.edge_node.supply.network import account_id
from tests.edge_node.supply.office import Office, opened

RIGHT = "right"
Story = Callable[[Office], Awaitable[None]]


def told(tmp_path: Path, story: Story) -> None:
    async def whole() -> None:
        async with opened(tmp_path) as office:
            await story(office)

    asyncio.run(whole())


async def count(office: Office, table: str) -> int:
    row = await office.control.read(lambda conn: conn.fetch_one(f"SELECT count(*) FROM {table}"))
    assert row is not None
    return int(row[0])


def test_a_payment_is_durable_told_to_the_hub_and_wakes_supply(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.charge(1, 500)
        taken = await office.desk.pay(account_id(1), 30_000, "cashier-1", "req-1", secret=RIGHT)
        assert (taken.credit_tiyin, taken.repeated) == (-20_000, False)
        assert (taken.entry.channel, taken.entry.recorded_by) == ("desk", "cashier-1")
        assert office.wakeups.enforcement.is_set()
        assert office.wakeups.outbox.is_set()
        rows = await office.control.read(lambda conn: conn.fetch_all("SELECT lane, kind, id FROM outbox_record"))
        assert rows == [("ledger", "ledger_entry", taken.entry.id)]

    told(tmp_path, story)


def test_a_payment_of_an_unknown_time_is_taken_and_keeps_its_interval(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        office.clock.doubtful = True
        taken = await office.desk.take(account_id(1), 30_000, "cashier-1", "req-1")
        bounds = office.clock.bounds()
        rows = await office.control.read(lambda conn: conn.fetch_all("SELECT * FROM payment_time"))
        assert rows == [(taken.entry.id, bounds.earliest, bounds.latest, "unconfirmed")]
        assert taken.entry.at == bounds.earliest, "never of the future, whatever the wall shows"
        assert await NodeState(office.control).get(Mark.CLOCK_FLOOR) is None

    told(tmp_path, story)


def test_a_payment_holds_every_later_clock_to_its_time(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.desk.take(account_id(1), 30_000, "cashier-1", "req-1")
        assert await NodeState(office.control).get(Mark.CLOCK_FLOOR) == str(office.clock.bounds().earliest)
        assert await count(office, "payment_time") == 0

    told(tmp_path, story)


def test_the_same_request_gives_the_first_entry(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        first = await office.desk.take(account_id(1), 30_000, "cashier-1", "req-1")
        again = await office.desk.take(account_id(1), 30_000, "cashier-1", "req-1")
        assert (again.entry, again.repeated) == (first.entry, True)
        assert await count(office, "ledger_entry") == 1
        assert await count(office, "outbox_record") == 1
        for account, amount in ((account_id(1), 40_000), (account_id(2), 30_000)):
            with pytest.raises(PaymentFault, match="TQ-PY-05"):
                await office.desk.take(account, amount, "cashier-1", "req-1")
        assert await count(office, "ledger_entry") == 1

    told(tmp_path, story)


def test_many_at_once_under_one_name_are_one(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        taken = await asyncio.gather(*(office.desk.take(account_id(1), 30_000, "cashier-1", "req-1") for _ in range(8)))
        assert len({one.entry.id for one in taken}) == 1
        assert sum(not one.repeated for one in taken) == 1
        assert await count(office, "ledger_entry") == 1

    told(tmp_path, story)


@pytest.mark.parametrize(
    ("account", "amount", "cashier", "request_id", "code"),
    [
        ("nobody", 100, "cashier-1", "r", "TQ-PY-01"),
        ("acc-001", 0, "cashier-1", "r", "TQ-PY-02"),
        ("acc-001", -100, "cashier-1", "r", "TQ-PY-02"),
        ("acc-001", PAYMENT_TIYIN_MAX + 1, "cashier-1", "r", "TQ-PY-02"),
        ("acc-001", True, "cashier-1", "r", "TQ-PY-02"),
        ("acc-001", 10.5, "cashier-1", "r", "TQ-PY-02"),
        ("acc-001", 100, "stranger", "r", "TQ-PY-03"),
        ("acc-001", 100, "cashier-1", "", "TQ-PY-06"),
        ("acc-001", 100, "cashier-1", "a b", "TQ-PY-06"),
        ("a'; --", 100, "cashier-1", "r", "TQ-PY-06"),
    ],
)
def test_what_cannot_be_is_named_and_leaves_nothing(  # noqa: PLR0917
    tmp_path: Path, account: str, amount: int, cashier: str, request_id: str, code: str
) -> None:
    async def story(office: Office) -> None:
        with pytest.raises(PaymentFault, match=code):
            await office.desk.take(AccountId(account), amount, cashier, request_id)
        assert await count(office, "ledger_entry") == 0
        assert await count(office, "outbox_record") == 0
        assert not office.wakeups.enforcement.is_set()

    told(tmp_path, story)


def test_guessing_a_secret_is_stopped_and_the_right_one_works_later(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        async def attempt(secret: str) -> None:
            await office.desk.pay(account_id(1), 100, "cashier-1", f"r-{next(office.numbers)}", secret=secret)

        for _ in range(WRONG_SECRETS_MAX):
            with pytest.raises(PaymentFault, match="TQ-PY-03"):
                await attempt("wrong")
        with pytest.raises(PaymentFault, match="TQ-PY-04"):
            await attempt("right")
        office.clock.at += LOCKED_S
        await attempt("right")
        assert await count(office, "ledger_entry") == 1

    told(tmp_path, story)
