"""Accounts: credit and debts do not depend on the order in which entries came."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridmodel.account import AccountFault, EntryKind, LedgerEntry, credit_tiyin, open_debts, overdue
from gridmodel.identity import AccountId, ChannelId, EntryId
from gridmodel.quantity import MONEY_TIYIN_MAX, QuantityFault

NOW = 1_776_000_000
DAY = 86_400


def entry(
    name: str, kind: EntryKind, amount: int, *, at: int = NOW, due: int | None = None, reverses: str | None = None
) -> LedgerEntry:
    return LedgerEntry(
        EntryId(name),
        AccountId("acc"),
        kind,
        amount,
        at,
        due,
        ChannelId("desk"),
        "cashier",
        None if reverses is None else EntryId(reverses),
    )


def charge(name: str, amount: int, due: int) -> LedgerEntry:
    return entry(name, EntryKind.CHARGE, -amount, due=due)


def payment(name: str, amount: int) -> LedgerEntry:
    return entry(name, EntryKind.PAYMENT, amount)


AMOUNT = st.integers(1, 10**9)
ENTRIES = st.lists(
    st.one_of(
        st.tuples(st.just("charge"), AMOUNT, st.integers(NOW - 99 * DAY, NOW + 30 * DAY)),
        st.tuples(st.just("payment"), AMOUNT, st.just(0)),
        st.tuples(st.just("adjust"), st.integers(-(10**6), 10**6).filter(bool), st.just(0)),
        st.tuples(st.just("opening"), st.integers(-(10**6), 10**6), st.just(0)),
        st.tuples(st.just("reversal"), AMOUNT, st.integers(NOW - 9 * DAY, NOW)),
    ),
    max_size=20,
).map(
    lambda rows: [
        charge(f"e{n}", amount, when)
        if kind == "charge"
        else payment(f"e{n}", amount)
        if kind == "payment"
        else entry(f"e{n}", EntryKind.ADJUSTMENT, amount)
        if kind == "adjust"
        else entry(f"e{n}", EntryKind.OPENING_BALANCE, amount)
        if kind == "opening"
        else entry(f"e{n}", EntryKind.REVERSAL, -amount, at=when, reverses="paid")
        for n, (kind, amount, when) in enumerate(rows)
    ]
)


@given(entries=ENTRIES, data=st.data())
def test_order_never_matters(entries: list[LedgerEntry], data: st.DataObject) -> None:
    other = data.draw(st.permutations(entries))
    assert credit_tiyin(entries) == credit_tiyin(other)
    assert open_debts(entries) == open_debts(other)
    assert overdue(entries, NOW) == overdue(other, NOW)


@given(entries=ENTRIES)
def test_open_debts_are_what_credit_lacks(entries: list[LedgerEntry]) -> None:
    owed = sum(debt.remaining_tiyin for debt in open_debts(entries))
    assert owed == max(0, owed)
    assert credit_tiyin(entries) >= -owed
    if owed:
        assert credit_tiyin(entries) == -owed, "nobody has credit and a debt at once"
    assert all(debt.remaining_tiyin > 0 for debt in open_debts(entries))
    assert [debt.due_at for debt in open_debts(entries)] == sorted(debt.due_at for debt in open_debts(entries))


@given(entries=ENTRIES, amount=AMOUNT)
def test_a_payment_never_makes_a_debt_older_or_larger(entries: list[LedgerEntry], amount: int) -> None:
    before, after = overdue(entries, NOW), overdue([*entries, payment("new", amount)], NOW)
    assert after.amount_tiyin <= before.amount_tiyin
    if after.oldest_due_at is not None:
        assert before.oldest_due_at is not None
        assert after.oldest_due_at >= before.oldest_due_at


def test_the_oldest_debt_is_paid_first() -> None:
    entries = [charge("b", 500, NOW - 10 * DAY), charge("a", 300, NOW - 40 * DAY), payment("p", 400)]
    assert [(debt.entry, debt.remaining_tiyin) for debt in open_debts(entries)] == [("b", 400)]
    assert overdue(entries, NOW).oldest_due_at == NOW - 10 * DAY


def test_a_reversed_payment_pays_nothing_and_names_its_moment() -> None:
    paid = [charge("a", 300, NOW - 40 * DAY), payment("p", 300)]
    assert overdue(paid, NOW).amount_tiyin == 0
    taken_back = [*paid, entry("r", EntryKind.REVERSAL, -300, at=NOW - DAY, reverses="p")]
    late = overdue(taken_back, NOW)
    assert (late.amount_tiyin, late.oldest_due_at, late.reversed_at) == (300, NOW - 40 * DAY, NOW - DAY)


def test_a_reversal_whose_payment_is_unknown_here_is_a_young_debt() -> None:
    late = overdue([entry("r", EntryKind.REVERSAL, -300, at=NOW - DAY, reverses="p")], NOW)
    assert (late.amount_tiyin, late.oldest_due_at) == (300, NOW - DAY)


def test_what_is_due_now_is_not_overdue() -> None:
    assert overdue([charge("a", 300, NOW)], NOW).amount_tiyin == 0
    assert overdue([charge("a", 300, NOW)], NOW + 1).amount_tiyin == 300


@pytest.mark.parametrize(
    ("kind", "amount", "due", "reverses"),
    [
        (EntryKind.CHARGE, 5, NOW, None),
        (EntryKind.CHARGE, 0, NOW, None),
        (EntryKind.CHARGE, -5, None, None),
        (EntryKind.PAYMENT, 0, None, None),
        (EntryKind.PAYMENT, -5, None, None),
        (EntryKind.REVERSAL, 5, None, "p"),
        (EntryKind.REVERSAL, -5, None, None),
        (EntryKind.ADJUSTMENT, 0, None, None),
    ],
)
def test_entries_that_cannot_be_are_refused(
    kind: EntryKind, amount: int, due: int | None, reverses: str | None
) -> None:
    with pytest.raises(AccountFault, match="TQ-AC-0"):
        entry("x", kind, amount, due=due, reverses=reverses)


@pytest.mark.parametrize("amount", [MONEY_TIYIN_MAX + 1, True, 1.5])
def test_amounts_that_cannot_be_are_refused(amount: int) -> None:
    with pytest.raises(QuantityFault, match="TQ-QT-02"):
        entry("x", EntryKind.PAYMENT, amount)
