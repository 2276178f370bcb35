"""Accounts: immutable ledger entries, the credit derived from them, the age of a debt. Ground floor; payment walk.

Credit is never stored and never replicated: it is the sum of the entries one knows, in any order. Payments are
allocated to the oldest debt first, so that the age of a debt is defined. All amounts are integer tiyin; a positive
amount raises credit.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from gridmodel.fault import Fault
from gridmodel.identity import AccountId, ChannelId, EntryId
from gridmodel.quantity import checked_money


class AccountFault(Fault):
    """A ledger entry that cannot be one."""


class EntryKind(StrEnum):
    """What an entry records."""

    OPENING_BALANCE = "opening_balance"
    """Credit (+) or debt (−) carried over from before."""
    CHARGE = "charge"
    """Consumption or a fee (−), due at `due_at`."""
    PAYMENT = "payment"
    """Money received (+)."""
    ADJUSTMENT = "adjustment"
    """A correction with a reason, either sign."""
    REVERSAL = "reversal"
    """A payment taken back (−); names the entry that it reverses."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One immutable line of an account, named and stored by its owner before any send."""

    id: EntryId
    account: AccountId
    kind: EntryKind
    amount_tiyin: int
    """Positive raises credit."""
    at: int
    """When it happened, UTC seconds."""
    due_at: int | None
    """Of a debt: when it had to be paid; None otherwise."""
    channel: ChannelId
    """The payment channel, desk or billing run that owns the entry."""
    recorded_by: str
    """The cashier or system that recorded it, as an opaque id."""
    reverses: EntryId | None = None

    def __post_init__(self) -> None:
        checked_money(self.amount_tiyin)
        fits = {
            EntryKind.OPENING_BALANCE: True,
            EntryKind.CHARGE: self.amount_tiyin < 0,
            EntryKind.PAYMENT: self.amount_tiyin > 0,
            EntryKind.ADJUSTMENT: self.amount_tiyin != 0,
            EntryKind.REVERSAL: self.amount_tiyin < 0 and self.reverses is not None,
        }[self.kind]
        if not fits:
            raise AccountFault(
                "TQ-AC-01",
                f"entry {self.id} of kind {self.kind} cannot carry {self.amount_tiyin} tiyin",
                "payments are above zero; charges and reversals below; a reversal names what it reverses",
            )
        if self.kind is EntryKind.CHARGE and self.due_at is None:
            raise AccountFault(
                "TQ-AC-02", f"charge {self.id} has no due date", "give the day by which it is to be paid"
            )


@dataclass(frozen=True, slots=True)
class Debt:
    """What is left of one debit after all payments were allocated, oldest debt first."""

    entry: EntryId
    remaining_tiyin: int
    due_at: int


@dataclass(frozen=True, slots=True)
class Overdue:
    """The part of the debts whose due date has passed."""

    amount_tiyin: int
    oldest_due_at: int | None
    """None when nothing is overdue."""
    reversed_at: int | None = None
    """When the latest reversal took a payment back: notices from before it no longer count."""


def credit_tiyin(entries: Iterable[LedgerEntry]) -> int:
    """The account's credit: negative is debt. The order of entries does not matter."""
    return sum(entry.amount_tiyin for entry in entries)


def open_debts(entries: Iterable[LedgerEntry]) -> tuple[Debt, ...]:
    """Debts left after allocation, oldest first. A reversed payment no longer pays anything."""
    paid_tiyin = 0
    debits: list[Debt] = []
    reversed_at = 0
    for entry in entries:
        if entry.amount_tiyin > 0 or entry.kind is EntryKind.REVERSAL:
            paid_tiyin += entry.amount_tiyin
            reversed_at = max(reversed_at, entry.at if entry.kind is EntryKind.REVERSAL else 0)
        else:
            due_at = entry.at if entry.due_at is None else entry.due_at
            debits.append(Debt(entry.id, -entry.amount_tiyin, due_at))
    if paid_tiyin < 0:  # a reversal whose payment is not known here: what it took back is a debt of its own day
        debits.append(Debt(EntryId("reversed"), -paid_tiyin, reversed_at))
        paid_tiyin = 0
    left: list[Debt] = []
    for debit in sorted(debits, key=lambda one: (one.due_at, one.entry)):
        covered = min(paid_tiyin, debit.remaining_tiyin)
        paid_tiyin -= covered
        if covered < debit.remaining_tiyin:
            left.append(Debt(debit.entry, debit.remaining_tiyin - covered, debit.due_at))
    return tuple(left)


def overdue(entries: Iterable[LedgerEntry], now: int) -> Overdue:
    """What should have been paid before `now`, and since when."""
    known = tuple(entries)
    late = [debt for debt in open_debts(known) if debt.due_at < now]
    reversals = [entry.at for entry in known if entry.kind is EntryKind.REVERSAL]
    return Overdue(
        sum(debt.remaining_tiyin for debt in late),
        late[0].due_at if late else None,
        max(reversals) if reversals else None,
    )
