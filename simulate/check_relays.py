"""Was that relay allowed to move? Recomputed from the meters' own log and the world's papers. Floor: simulate; payment.

Called at the instant a contact moves. Brakes are counted over what the meters did, not over what the product wrote
down; debts, notices, protections and watermarks are read as committed rows and judged by formulas of this page's own.
Knowledge counts when it was durable at the node `RACE_S` before the contact moved: a payment that commits while a
command is on the wire could not stop it, is counted as a race, and must restore at once.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from gridmodel.period import local_time
from gridmodel.quantity import percent_rounded_up
from simulate.book import Book
from simulate.sight import NodeSight, Verdicts

RACE_S = 10
"""Utility seconds between the last judgement and the contact: one exchange with a slow meter."""
SLACK_S = 30
"""How much narrower windows of contacts are than windows of intents: two commands need not take equally long."""
HOUR_S, DAY_S = 3_600, 86_400
NOTICE_EVIDENCE = frozenset({"sms_delivered", "app_read", "signed_list"})


@dataclass(slots=True)
class _Opened:
    at: int
    point: int
    transformer: int


class RelayChecker:
    """Judges every opening, keeps count of movements, and of commands on the wire."""

    def __init__(self, sights: dict[str, NodeSight], book: Book, verdicts: Verdicts) -> None:
        self._sights = sights
        self._book = book
        self._verdicts = verdicts
        self._opened: dict[str, list[_Opened]] = defaultdict(list)
        self._moved_at: dict[tuple[str, int], int] = {}
        self._flying: dict[tuple[str, str], int] = defaultdict(int)
        self.exposed: set[tuple[str, str, int]] = set()
        """(node, usage point, at): cut though paid or protected elsewhere, which the node could not know."""
        self.on_opened: list[Callable[[str, int, int], None]] = []
        """Told of every opening: node, index of the point, world time."""

    def command_begins(self, node: str, meter: str) -> None:
        """A relay command leaves for `meter`."""
        self._flying[node, meter] += 1
        if self._flying[node, meter] > 1:
            self._verdicts.against("one_operation_per_point", node, meter, "two relay commands are on the wire at once")

    def command_ends(self, node: str, meter: str) -> None:
        """Its outcome is known, or given up."""
        self._flying[node, meter] -= 1

    def node_died(self, node: str) -> None:
        """Commands of a dead process are nobody's any more."""
        for key in [key for key in self._flying if key[0] == node]:
            del self._flying[key]

    def moved(self, node: str, meter: str, *, closed: bool, at: int) -> None:
        """A contact moved at `at` (world time, UTC seconds)."""
        sight = self._sights[node]
        index = sight.point_of[meter]
        if not closed:
            self._judge(sight, index, at)
            for listener in self.on_opened:
                listener(node, index, at)
        elif sight.link_clean_since() is None:
            self._verdicts.happened("restore_while_offline")
        self._moved_at[node, index] = at

    def openings_since(self, node: str, since: int) -> int:
        """How many contacts this node opened after `since` (world time, UTC seconds)."""
        return sum(1 for one in self._opened[node] if one.at > since)

    def _judge(self, sight: NodeSight, index: int, at: int) -> None:
        point = sight.grid.points[index]
        if sight.link_clean_since() is None:
            self._verdicts.happened("cut_while_offline")
        self._verdicts.happened("cut")
        self._authority(sight, str(point.id), at)
        self._calendar(sight, str(point.id), at)
        self._debt(sight, str(point.id), str(point.account), at)
        self._protection(sight, str(point.id), at)
        self._brakes(sight, index, at)

    def _authority(self, sight: NodeSight, point: str, at: int) -> None:
        """A durable intent, and a mandate in force that is durable here."""
        accuse = self._verdicts.against
        row = sight.control.rows(
            "SELECT id, sent_at, result_at FROM relay_operation WHERE usage_point = ? AND action = 'cut'"
            " ORDER BY intent_at DESC, id LIMIT 1",
            (point,),
        )
        if not row or row[0][1] is None:
            accuse("no_cut_without_intent", sight.node, point, "it was opened without a durable intent that was sent")
        standing = sight.control.value(
            "SELECT count(*) FROM mandate WHERE refused IS NULL AND not_before <= ? AND expires > ?", (at, at)
        )
        if not standing:
            accuse("no_cut_without_mandate", sight.node, point, "no mandate that is in force is known here")
        if sight.control.value(
            "SELECT count(*) FROM cuts_stopped WHERE lifted_at IS NULL AND stopped_at <= ?", (at - RACE_S,)
        ):
            accuse("no_cut_when_stopped", sight.node, point, "a person had stopped all cuts")

    def _calendar(self, sight: NodeSight, point: str, at: int) -> None:
        local = local_time(at, sight.grid.spec.zone)
        rules = sight.rules
        minute = local.hour * 60 + local.minute
        inside = any(opens <= minute < closes for opens, closes in rules.allowed_minutes)
        late_by_race = any(opens <= minute - 1 < closes for opens, closes in rules.allowed_minutes)
        if not (inside or late_by_race):
            self._verdicts.against("allowed_hours", sight.node, point, f"opened at {local:%H:%M} local time")
        if local.weekday() in rules.no_cut_weekdays or local.date().isoformat() in rules.no_cut_days:
            self._verdicts.against("allowed_hours", sight.node, point, f"opened on {local:%a %Y-%m-%d}, a no-cut day")

    def _debt(self, sight: NodeSight, point: str, account: str, at: int) -> None:
        """Nobody knowably paid-up, nobody past the watermark, nobody without a notice that fits."""
        accuse, rules = self._verdicts.against, sight.rules
        marks = dict(sight.control.rows("SELECT channel, complete_up_to FROM watermark"))
        oldest = min(marks.values(), default=None)
        if oldest is None or at - oldest > rules.fresh_balance_max_age_h * HOUR_S + RACE_S:
            accuse("watermark", sight.node, point, f"the oldest watermark is {oldest}, it is {at}")
        rows = sight.control.rows(
            "SELECT id, amount_tiyin, due_at, received_at FROM ledger_entry WHERE account = ?", (account,)
        )
        known = {row[0] for row in rows if row[3] <= at - RACE_S}
        if any(row[1] > 0 and row[3] > at - RACE_S for row in rows):
            self._verdicts.happened("payment_raced_a_cut")
        due = -sum(row[1] for row in rows if row[1] < 0 and row[2] is not None and row[2] < at)
        paid = sum(row[1] for row in rows if row[1] > 0 and row[0] in known)
        elsewhere = [
            one
            for one in self._book.payments.get(account, ())
            if one.at <= at and one.entry not in known and one.id not in known
        ]
        racing = {row[0] for row in rows} - known  # it came with its watermark while the command was on its way
        vouched = sum(
            one.amount_tiyin for one in elsewhere if one.at <= marks.get(one.channel, 0) and one.entry not in racing
        )
        if due - paid <= 0:
            accuse("no_paid_up_cut", sight.node, point, f"{paid} of {due} tiyin due were paid and durable here")
        elif due - paid - vouched <= 0:
            accuse("no_paid_up_cut", sight.node, point, "the payment is older than its channel's watermark here")
        elif due - paid - sum(one.amount_tiyin for one in elsewhere if one.at <= at - RACE_S) <= 0:
            self.exposed.add((sight.node, point, at))
            self._verdicts.happened("exposed")
        age_s = at - min((row[2] for row in rows if row[1] < 0 and row[2] is not None), default=at)
        if due - paid < (rules.min_debt_tiyin or 0) or age_s < (rules.min_debt_age_days or 0) * DAY_S:
            accuse("no_cut_without_debt", sight.node, point, f"{due - paid} tiyin overdue since {age_s} s")
        self._notice(sight, point, account, due - paid, at)

    def _notice(self, sight: NodeSight, point: str, account: str, owed: int, at: int) -> None:
        rules = sight.rules
        fitting = [
            row
            for row in sight.control.rows(
                "SELECT amount_tiyin, evidence, delivered_at FROM notice WHERE account = ?", (account,)
            )
            if row[1] in NOTICE_EVIDENCE
            and row[2] is not None
            and rules.notice_days * DAY_S <= at - row[2] <= rules.notice_expiry_days * DAY_S + RACE_S
            and row[0] >= owed
        ]
        if not fitting:
            self._verdicts.against("notice", sight.node, point, f"no proven notice covers {owed} tiyin")

    def _protection(self, sight: NodeSight, point: str, at: int) -> None:
        here = sight.control.value(
            "SELECT count(*) FROM protection AS p WHERE p.usage_point = ? AND p.valid_from <= ? AND p.valid_to > ?"
            " AND p.received_at <= ? AND NOT EXISTS (SELECT 1 FROM protection_revoked AS r WHERE r.id = p.id)",
            (point, at, at, at - RACE_S),
        )
        if here:
            self._verdicts.against("no_protected_cut", sight.node, point, "a protection stood and was durable here")
        elif self._book.shielded(point, at - RACE_S):
            self.exposed.add((sight.node, point, at))
            self._verdicts.happened("exposed")

    def _brakes(self, sight: NodeSight, index: int, at: int) -> None:
        """Every sliding window that ends now."""
        rules, log = sight.rules, self._opened[sight.node]
        transformer = sight.grid.points[index].transformer
        log.append(_Opened(at, index, transformer))
        name = str(sight.grid.points[index].id)
        points = sight.points_at[transformer]
        windows = (
            ("10 minutes", 600, rules.max_cuts_per_node_10min, lambda _: True),
            ("node and day", DAY_S, percent_rounded_up(len(sight.grid.points), rules.max_cuts_per_node_day_pct), None),
            (
                "transformer and hour",
                HOUR_S,
                rules.max_cuts_per_transformer_hour,
                lambda one: one.transformer == transformer,
            ),
            (
                "transformer and day",
                DAY_S,
                percent_rounded_up(points, rules.max_cuts_per_transformer_day_pct),
                lambda one: one.transformer == transformer,
            ),
            ("meter and day", DAY_S, rules.max_cuts_per_meter_day, lambda one: one.point == index),
        )
        for what, length_s, limit, counts in windows:
            since = at - length_s + SLACK_S
            count = sum(1 for one in log if one.at > since and (counts is None or counts(one)))
            if count > limit:
                self._verdicts.against("brakes", sight.node, name, f"{count} cuts per {what}, {limit} allowed")
        moved_at = self._moved_at.get((sight.node, index))
        if moved_at is not None and at - moved_at < rules.min_minutes_between_switchings * 60 - SLACK_S:
            self._verdicts.against("brakes", sight.node, name, f"switched again after {at - moved_at} s")
