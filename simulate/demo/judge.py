"""Was every relay allowed to move, and did every payer get supply back? Judged by the meters alone. Floor: simulate.

On the payment walk. Pure: the moves that the meters wrote down, the story's own papers, the lines' cuts and the rules
come in; accusations come out. Nothing that the product wrote is believed. *Knowable* is what an office could have had:
its own desk's payments at once, the hub's as soon as the line had been whole for long enough.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gridmodel.period import local_time
from gridmodel.policy_rules import PolicyRules
from gridmodel.quantity import percent_rounded_up
from gridmodel.record import NoticeEvidence
from simulate.book import Book, Payment
from simulate.demo.cast import Cast, Consumer
from simulate.demo.files import PULL_PERIOD_S, QUOTA_PER_DAY
from simulate.demo.line import Cut
from simulate.demo.plan import ZONE
from simulate.relay_memory import RelayMove

RACE_S = 60
"""Utility seconds: a payment that commits while a command is on the wire cannot stop it any more."""
RESTORE_S_MAX = 15 * 60
"""From knowable payment to supply: the policy's target."""
IO_S_MAX = 2.0
"""Real seconds of sockets and processes, which do not run faster when the calendar does."""
SLACK_S = 60
"""Moves of two meters need not take equally long: windows are so much narrower than those of intents."""
DAY_S, HOUR_S = 86_400, 3_600


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that was broken; the report's fields."""

    checker: str
    at: int
    node: str
    what: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"checker": self.checker, "at": self.at, "node": self.node, "what": self.what}


@dataclass(slots=True)
class Verdict:
    """What the moves say."""

    violations: list[Violation] = field(default_factory=list)
    exposed: list[tuple[str, int]] = field(default_factory=list)
    """(meter, at): cut though paid where the office could not know."""
    cut_while_offline: int = 0
    restored_while_offline: int = 0


@dataclass(frozen=True, slots=True)
class Papers:
    """What moves are judged by."""

    cast: Cast
    book: Book
    rules: PolicyRules
    cuts: Mapping[str, Sequence[Cut]]
    """Of each office's line."""
    speed: float
    until: int
    """The end of the story, UTC seconds: duties that run beyond it are not judged."""

    def dark_line(self, node: str, at: int) -> bool:
        """Whether the office's line was cut at that moment."""
        return any(one.since <= at and (one.until is None or at < one.until) for one in self.cuts.get(node, ()))

    def knowable_at(self, payment: Payment) -> int | None:
        """From when the account's office could have the payment; None while it cannot."""
        if payment.channel.startswith("desk-"):
            return payment.at
        known = payment.acknowledged_at if payment.acknowledged_at is not None else payment.at
        grace_s = int(2 * PULL_PERIOD_S + IO_S_MAX * self.speed)
        for cut in sorted(self.cuts.get(payment.node, ()), key=lambda one: one.since):
            if cut.since <= known + grace_s and (cut.until is None or known < cut.until):
                if cut.until is None:
                    return None
                known = cut.until
        return known + grace_s


def judge(papers: Papers, moves: Mapping[str, Sequence[RelayMove]]) -> Verdict:
    """Every move of every office's meters, in order."""
    verdict = Verdict()
    for node, found in moves.items():
        ordered = sorted(found, key=lambda one: one.at)
        for number, move in enumerate(ordered):
            consumer = papers.cast.by_meter[move.meter]
            if papers.dark_line(node, move.at):
                verdict.restored_while_offline += move.closed
                verdict.cut_while_offline += not move.closed
            if move.closed:
                _judge_restore(papers, consumer, move, verdict)
            else:
                _judge_cut(papers, consumer, move, verdict)
                _judge_brakes(papers, node, ordered[: number + 1], verdict)
        _judge_duties(papers, node, ordered, verdict)
    return verdict


def _judge_cut(papers: Papers, consumer: Consumer, move: RelayMove, verdict: Verdict) -> None:
    at, rules, account = move.at, papers.rules, str(consumer.point.account)

    def accuse(checker: str, what: str) -> None:
        verdict.violations.append(Violation(checker, at, consumer.node, f"{consumer.point.id}: {what}"))

    local = local_time(at, ZONE)
    minute = local.hour * 60 + local.minute
    if not any(opens <= minute < closes for opens, closes in rules.allowed_minutes):
        accuse("allowed_hours", f"cut at {local:%H:%M}")
    if local.weekday() in rules.no_cut_weekdays or local.date().isoformat() in rules.no_cut_days:
        accuse("allowed_hours", f"cut on {local:%a %Y-%m-%d}")
    if papers.book.shielded(str(consumer.point.id), at):
        accuse("no_protected_cut", "a protection stood")
    due_tiyin = sum(one.amount_tiyin for one in papers.book.debits.get(account, ()) if one.due_at < at)
    payments = [one for one in papers.book.payments.get(account, ()) if one.at <= at]
    known = [one for one in payments if (knowable := papers.knowable_at(one)) is not None and knowable + RACE_S <= at]
    owed_tiyin = due_tiyin - sum(one.amount_tiyin for one in known)
    if due_tiyin and owed_tiyin <= 0:
        accuse("no_paid_up_cut", "everything due was paid, and the office could know")
    elif owed_tiyin < (rules.min_debt_tiyin or 0) or not due_tiyin:
        accuse("no_cut_without_debt", f"{owed_tiyin} tiyin overdue")
    elif due_tiyin - sum(one.amount_tiyin for one in payments) <= 0:
        verdict.exposed.append((move.meter, at))
    if at - consumer.due_at < (rules.min_debt_age_days or 0) * DAY_S:
        accuse("no_cut_without_debt", "the debt is too young")
    told = consumer.told
    if told is None or told.evidence is NoticeEvidence.NONE or told.amount_tiyin < owed_tiyin:
        accuse("notice", "no proven notice of that sum")
    elif not rules.notice_days * DAY_S <= at - told.delivered_at <= rules.notice_expiry_days * DAY_S:
        accuse("notice", f"the notice was delivered {(at - told.delivered_at) / DAY_S:.2f} days before")


def _judge_brakes(papers: Papers, node: str, moves: Sequence[RelayMove], verdict: Verdict) -> None:
    """Every window that ends with the last of these moves, which is a cut."""
    last, rules = moves[-1], papers.rules
    consumer = papers.cast.by_meter[last.meter]
    mine = [one.point.transformer for one in papers.cast.consumers if one.node == node]
    transformer = consumer.point.transformer
    cuts = [(one, papers.cast.by_meter[one.meter].point.transformer) for one in moves if not one.closed]
    windows = (
        ("10 minutes", 600, rules.max_cuts_per_node_10min, cuts),
        ("node and day", DAY_S, percent_rounded_up(len(mine), rules.max_cuts_per_node_day_pct), cuts),
        ("mandate and day", DAY_S, QUOTA_PER_DAY, cuts),
        ("transformer and hour", HOUR_S, rules.max_cuts_per_transformer_hour, _at(cuts, transformer)),
        (
            "transformer and day",
            DAY_S,
            percent_rounded_up(mine.count(transformer), rules.max_cuts_per_transformer_day_pct),
            _at(cuts, transformer),
        ),
        ("meter and day", DAY_S, rules.max_cuts_per_meter_day, [one for one in cuts if one[0].meter == last.meter]),
    )
    for what, length_s, limit, counted in windows:
        count = sum(1 for one, _ in counted if one.at > last.at - length_s + SLACK_S)
        if count > limit:
            verdict.violations.append(
                Violation("brakes", last.at, node, f"{count} cuts per {what}, {limit} allowed: {consumer.point.id}")
            )
    before = [one.at for one in moves[:-1] if one.meter == last.meter]
    if before and last.at - before[-1] < rules.min_minutes_between_switchings * 60 - SLACK_S:
        verdict.violations.append(
            Violation("brakes", last.at, node, f"{consumer.point.id} switched again after {last.at - before[-1]} s")
        )


def _at(cuts: Sequence[tuple[RelayMove, int]], transformer: int) -> list[tuple[RelayMove, int]]:
    return [one for one in cuts if one[1] == transformer]


def _judge_restore(papers: Papers, consumer: Consumer, move: RelayMove, verdict: Verdict) -> None:
    """Nobody gets supply back before the debt is cleared: in this story no other reason gives it."""
    if papers.book.overdue_tiyin(str(consumer.point.account), move.at) > 0:
        verdict.violations.append(
            Violation("no_restore_without_payment", move.at, consumer.node, f"{consumer.point.id} still owes")
        )


def _judge_duties(papers: Papers, node: str, moves: Sequence[RelayMove], verdict: Verdict) -> None:
    """Who is dark and has knowably paid gets supply back within the promised time."""
    for meter in sorted({one.meter for one in moves}):
        consumer = papers.cast.by_meter[meter]
        mine = [one for one in moves if one.meter == meter]
        for number, move in enumerate(mine):
            if move.closed:
                continue
            closed = next((one.at for one in mine[number + 1 :] if one.closed), None)
            known = _cleared_at(papers, consumer)
            if known is None:
                continue
            duty = max(known, move.at) + RESTORE_S_MAX + int(IO_S_MAX * papers.speed)
            if (closed is None and duty < papers.until) or (closed is not None and closed > duty):
                dark_s = (papers.until if closed is None else closed) - max(known, move.at)
                verdict.violations.append(
                    Violation("restored_in_time", duty, node, f"{consumer.point.id} paid and was dark for {dark_s} s")
                )


def _cleared_at(papers: Papers, consumer: Consumer) -> int | None:
    """From when the office could know that nothing is owed; None when that moment has not come."""
    account = str(consumer.point.account)
    known = [(papers.knowable_at(one), one.amount_tiyin) for one in papers.book.payments.get(account, ())]
    left = sum(one.amount_tiyin for one in papers.book.debits.get(account, ()))
    for at, tiyin in sorted((at, tiyin) for at, tiyin in known if at is not None):
        left -= tiyin
        if left <= 0:
            return at
    return None
