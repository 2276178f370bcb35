"""The world's own papers: who owes, who paid where and when, who is protected. Floor: simulate; payment walk.

Written by the people of the rehearsal, read by the checkers. The product never sees it: what it knows came through its
own doors, and may have come late or not at all. The difference between the two is what the checkers are about.
"""

from collections import defaultdict
from dataclasses import dataclass, field


@dataclass(slots=True)
class Payment:
    """Money that changed hands."""

    id: str
    """The ledger entry's id (by app) or the request of the desk."""
    node: str
    account: str
    amount_tiyin: int
    channel: str
    at: int
    """World time, UTC seconds."""
    acknowledged_at: int | None = None
    """When the desk's receipt or the hub's import said that it is kept; None while nobody said so."""
    entry: str | None = None
    """The ledger entry it became, once known."""


@dataclass(frozen=True, slots=True)
class Debit:
    """What an account owes."""

    entry: str
    account: str
    amount_tiyin: int
    """Above zero."""
    due_at: int


@dataclass(frozen=True, slots=True)
class Shield:
    """A protection that stands in the world."""

    id: str
    point: str | None
    """None together with `district`: everybody there; with neither: everybody."""
    valid_from: int
    valid_to: int
    asserted_at: int
    district: str | None = None


@dataclass(slots=True)
class Book:
    """Everything on paper."""

    debits: dict[str, list[Debit]] = field(default_factory=lambda: defaultdict(list))
    """By account."""
    payments: dict[str, list[Payment]] = field(default_factory=lambda: defaultdict(list))
    """By account, in order of time."""
    shields: dict[str, list[Shield]] = field(default_factory=lambda: defaultdict(list))
    """By usage point."""
    moratoria: list[Shield] = field(default_factory=list)
    """Of districts and of everybody."""

    def all_payments(self) -> list[Payment]:
        """Every payment, by account."""
        return [payment for account in sorted(self.payments) for payment in self.payments[account]]

    def overdue_tiyin(self, account: str, at: int) -> int:
        """What is really overdue at `at` (UTC seconds), with all money that anybody holds by then."""
        paid = sum(one.amount_tiyin for one in self.payments.get(account, ()) if one.at <= at)
        return max(0, sum(one.amount_tiyin for one in self.debits.get(account, ()) if one.due_at < at) - paid)

    def shielded(self, point: str, at: int, district: str | None = None) -> bool:
        """Whether a protection of the point, its district or everybody stands at `at`, known to whomever."""
        wide = [one for one in self.moratoria if one.district is None or one.district == district]
        return any(
            one.asserted_at <= at and one.valid_from <= at < one.valid_to
            for one in (*self.shields.get(point, ()), *wide)
        )
