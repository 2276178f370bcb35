"""Did that home owe, had it been told, did nothing protect it? As far as the node could know. Floor: simulate; payment.

Knowledge counts when it was durable at the node `RACE_S` before the contact moved: what commits while a command is on
the wire could not stop it, is counted as a race, and must restore at once. Money that a cashier gave a receipt for is
known from that moment on, whatever the node has written down.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from simulate.book import Book, Payment
from simulate.judges.permits import HOUR_S, RACE_S, mandates_in_force
from simulate.judges.sight import NodeSight, Opening, Verdicts
from simulate.people import APP, BILLING

DAY_S = 86_400
NOTICE_EVIDENCE = frozenset({"sms_delivered", "app_read", "signed_list"})
CHANNELS = (APP, BILLING)
"""Those that must have vouched for themselves before anybody is cut."""
SAFETY_LOCK = "safety_lock"
"""The protection that keeps a home dark."""

LedgerRow = tuple[str, int, int | None, int]
"""(id, amount in tiyin, due_at, received_at)."""


def standing_kinds(sight: NodeSight, point: str, district: str, at: int, known_at: int) -> set[str]:
    """Kinds of protections (of the point, its district or everybody) that stand at `at`, durable since `known_at`."""
    rows = sight.control.rows(
        "SELECT p.kind, p.received_at FROM protection AS p WHERE p.valid_from <= ? AND p.valid_to > ?"
        " AND (p.usage_point = ? OR (p.usage_point IS NULL AND (p.district = ? OR p.district IS NULL)))"
        " AND NOT EXISTS (SELECT 1 FROM protection_revoked AS r WHERE r.id = p.id)",
        (at, at, point, district),
    )
    return {kind for kind, received_at in rows if known_at >= at or not sight.stamped_within(received_at, known_at, at)}


def open_overdue(debits: Iterable[tuple[int, int]], paid_tiyin: int, at: int) -> tuple[int, int | None]:
    """(tiyin overdue, since when) of debits as (due_at, tiyin), the oldest paid first."""
    owed, oldest = 0, None
    for due_at, tiyin in sorted(debits):
        left = tiyin - min(tiyin, paid_tiyin)
        paid_tiyin -= tiyin - left
        if left > 0 and due_at < at:
            owed += left
            oldest = due_at if oldest is None else oldest
    return owed, oldest


@dataclass(slots=True)
class DebtChecker:
    """Judges every opening by money, notices and protections."""

    book: Book
    verdicts: Verdicts
    exposed: set[tuple[str, str, int]] = field(default_factory=set)
    """(node, usage point, at): cut though paid or protected elsewhere, which the node could not know."""

    def judge(self, opening: Opening) -> None:
        """A contact opened."""
        marks = self._watermarks(opening)
        self._debt(opening, marks)
        self._protection(opening)

    def _watermarks(self, opening: Opening) -> dict[str, int]:
        """Every channel that must vouch has, and none of them too long ago, by the rules and by the mandate."""
        sight, at = opening.sight, opening.at
        marks: dict[str, int] = dict(sight.control.rows("SELECT channel, complete_up_to FROM watermark"))
        silent = [channel for channel in CHANNELS if channel not in marks]
        if silent:
            self._against("watermark", opening, f"{silent[0]} never vouched for its payments here")
            return marks
        mandates = [one["watermark_age_h_max"] for one in mandates_in_force(sight, at)]
        allowed_h = min(max(mandates, default=sight.rules.fresh_balance_max_age_h), sight.rules.fresh_balance_max_age_h)
        age_s = at - min(marks.values())
        if age_s > allowed_h * HOUR_S + RACE_S:
            self._against("watermark", opening, f"the oldest watermark is {age_s} s old")
        return marks

    def _debt(self, opening: Opening, marks: dict[str, int]) -> None:
        """Nobody knowably paid-up, nobody past the watermark, nobody without a notice that fits."""
        sight, at, rules = opening.sight, opening.at, opening.sight.rules
        rows: list[LedgerRow] = sight.control.rows(
            "SELECT id, amount_tiyin, due_at, received_at FROM ledger_entry WHERE account = ?", (opening.account,)
        )
        payments = self.book.payments.get(opening.account, [])
        given = {one.entry: one.amount_tiyin for one in payments if _receipt_given(one, at - RACE_S)}
        racing = {row[0] for row in rows if sight.stamped_within(row[3], at - RACE_S, at)} - set(given)
        if any(row[1] > 0 for row in rows if row[0] in racing):
            self.verdicts.happened("payment_raced_a_cut")
        known = given | {row[0]: row[1] for row in rows if row[1] > 0 and row[0] not in racing}
        debits = [(row[2], -row[1]) for row in rows if row[1] < 0 and row[2] is not None]
        owed, oldest = open_overdue(debits, sum(known.values()), at)
        elsewhere = [one for one in payments if one.at <= at and not {one.entry, one.id} & set(known)]
        vouched = [one for one in elsewhere if one.at <= marks.get(one.channel, 0) and one.entry not in racing]
        if owed <= 0:
            self._against("no_paid_up_cut", opening, f"{sum(known.values())} tiyin were paid and durable here")
        elif owed <= _sum(vouched):
            self._against("no_paid_up_cut", opening, "the payment is older than its channel's watermark here")
        elif owed <= _sum([one for one in elsewhere if one.at <= at - RACE_S]):
            self._exposed(opening)
        age_s = 0 if oldest is None else at - oldest
        if owed < (rules.min_debt_tiyin or 0) or age_s < (rules.min_debt_age_days or 0) * DAY_S:
            self._against("no_cut_without_debt", opening, f"{owed} tiyin overdue since {age_s} s")
        self._notice(opening, owed)

    def _notice(self, opening: Opening, owed: int) -> None:
        rules, at = opening.sight.rules, opening.at
        rows = opening.sight.control.rows(
            "SELECT amount_tiyin, evidence, delivered_at FROM notice WHERE account = ?", (opening.account,)
        )
        fitting = any(
            evidence in NOTICE_EVIDENCE
            and delivered_at is not None
            and rules.notice_days * DAY_S <= at - delivered_at <= rules.notice_expiry_days * DAY_S + RACE_S
            and amount >= owed
            for amount, evidence, delivered_at in rows
        )
        if not fitting:
            self._against("notice", opening, f"no proven notice covers {owed} tiyin")

    def _protection(self, opening: Opening) -> None:
        kinds = standing_kinds(opening.sight, opening.point, opening.district, opening.at, opening.at - RACE_S)
        if kinds:
            what = f"a protection ({', '.join(sorted(kinds))}) stood and was durable here"
            self._against("no_protected_cut", opening, what)
        elif self.book.shielded(opening.point, opening.at - RACE_S, opening.district):
            self._exposed(opening)

    def _exposed(self, opening: Opening) -> None:
        self.exposed.add((opening.sight.node, opening.point, opening.at))
        self.verdicts.happened("exposed")

    def _against(self, checker: str, opening: Opening, what: str) -> None:
        self.verdicts.against(checker, opening.sight.node, opening.point, what)


def _receipt_given(payment: Payment, by: int) -> bool:
    """Whether the node's own desk gave its receipt by then. An app's payment is acknowledged by the hub."""
    return payment.channel != APP and payment.acknowledged_at is not None and payment.acknowledged_at <= by


def _sum(payments: Sequence[Payment]) -> int:
    return sum(one.amount_tiyin for one in payments)
