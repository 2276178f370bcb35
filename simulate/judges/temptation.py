"""When somebody would have been cut but for one reason: the proof that the reason was needed. Floor: simulate; payment.

A rule that never held anything back was never tried. Looked at every few virtual minutes in the hours of cuts, by
formulas of this page's own; it feeds the "sometimes" counters and judges nothing.
"""

from collections.abc import Callable, Mapping

from gridmodel.period import local_time
from gridmodel.quantity import percent_rounded_up
from simulate.book import Book
from simulate.judges.debts import DAY_S, NOTICE_EVIDENCE
from simulate.judges.permits import HOUR_S, mandates_in_force, weather_against, why_doubtful
from simulate.judges.relays import RelayChecker
from simulate.judges.sight import NodeSight, Verdicts

NOTICED = (
    "SELECT EXISTS (SELECT 1 FROM relay WHERE state IN ('cut_unconfirmed', 'restore_unconfirmed')),"
    " (SELECT count(*) FROM day_closed)"
)


class Temptations:
    """Counts what held cuts back."""

    def __init__(
        self,
        sights: Mapping[str, NodeSight],
        book: Book,
        relays: RelayChecker,
        verdicts: Verdicts,
        time_s: Callable[[], float],
    ) -> None:
        self._sights = sights
        self._time_s = time_s
        self._book = book
        self._relays = relays
        self._verdicts = verdicts
        self._days_closed: dict[str, int] = {}

    def look(self) -> None:
        """One look at every node."""
        now = self._verdicts.now()
        for node, sight in sorted(self._sights.items()):
            self._noticed(node, sight)
            local = local_time(now, sight.grid.spec.zone)
            minute = local.hour * 60 + local.minute
            if sight.up_since() is None or local.weekday() in sight.rules.no_cut_weekdays:
                continue
            if any(opens <= minute < closes for opens, closes in sight.rules.allowed_minutes):
                self._tempted(sight, now)

    def _noticed(self, node: str, sight: NodeSight) -> None:
        for unconfirmed, days in sight.control.rows(NOTICED):
            if unconfirmed:
                self._verdicts.happened("relay_unconfirmed")
            if days > self._days_closed.get(node, 0) and sight.link_clean_since() is None:
                self._verdicts.happened("day_closed_while_dark")
            self._days_closed[node] = days

    def _tempted(self, sight: NodeSight, now: int) -> None:
        marks = [row[0] for row in sight.control.rows("SELECT complete_up_to FROM watermark")]
        stale = bool(marks) and now - min(marks) > sight.rules.fresh_balance_max_age_h * HOUR_S
        opened_today = self._relays.openings_since(sight.node, now - DAY_S)
        quota = max((one["quota_per_day"] for one in mandates_in_force(sight, now)), default=None)
        spent = quota is not None and self._relays.openings_today(sight, now) >= quota
        unsure = why_doubtful(sight, now, self._time_s())
        full = opened_today >= percent_rounded_up(len(sight.grid.points), sight.rules.max_cuts_per_node_day_pct)
        for meter, index in sight.homes():
            point = sight.grid.points[index]
            account = str(point.account)
            if account not in self._book.debits or meter in sight.ill() or not sight.truth.connected(index):
                continue
            if self._book.overdue_tiyin(account, now) < (sight.rules.min_debt_tiyin or 0):
                continue
            if not self._noticed_of(sight, account, now):
                continue
            if self._book.shielded(str(point.id), now, str(point.district)):
                self._verdicts.happened("protection_held_a_cut")
            elif unsure:
                self._verdicts.happened("clock_doubt_held_a_cut")
            elif weather_against(sight, str(point.district), now):
                self._verdicts.happened("weather_held_a_cut")
            elif stale:
                self._verdicts.happened("stale_watermark_held_a_cut")
            elif spent:
                self._verdicts.happened("quota_held_a_cut")
            elif full:
                self._verdicts.happened("brake_held_a_cut")

    def _noticed_of(self, sight: NodeSight, account: str, now: int) -> bool:
        rows = sight.control.rows("SELECT evidence, delivered_at FROM notice WHERE account = ?", (account,))
        return any(
            evidence in NOTICE_EVIDENCE
            and delivered_at is not None
            and now - delivered_at >= sight.rules.notice_days * DAY_S
            for evidence, delivered_at in rows
        )
