"""Was that relay allowed to move? Recomputed from the meters' own log and the world's papers. Floor: simulate; payment.

Called as a command leaves and at the instant a contact moves. Brakes are counted here, over what the meters did, not
over what the product wrote down; by what right it was is judged in `permits`, whether it was owed in
`debts`.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from gridmodel.period import local_day
from gridmodel.quantity import percent_rounded_up
from protocols.driver import RelayCommand
from simulate.book import Book
from simulate.judges.debts import DAY_S, DebtChecker
from simulate.judges.exchanges import ExchangeChecker
from simulate.judges.permits import HOUR_S, PermitChecker
from simulate.judges.sight import NodeSight, Opening, Verdicts

SLACK_S = 30
"""How much narrower windows of contacts are than windows of intents: two commands need not take equally long."""


@dataclass(frozen=True, slots=True)
class _Opened:
    at: int
    point: int
    transformer: int


class RelayChecker:
    """Judges every opening, keeps count of movements, and of commands on the wire."""

    def __init__(
        self,
        sights: dict[str, NodeSight],
        book: Book,
        verdicts: Verdicts,
        time_s: Callable[[], float],
        exchanges: ExchangeChecker | None = None,
    ) -> None:
        """`time_s` gives virtual seconds."""
        self._sights = sights
        self._verdicts = verdicts
        self._exchanges = ExchangeChecker(sights, verdicts) if exchanges is None else exchanges
        self._time_s = time_s
        self._permits = PermitChecker(verdicts)
        self._debts = DebtChecker(book, verdicts)
        self._opened: dict[str, list[_Opened]] = defaultdict(list)
        self._moved_at: dict[tuple[str, int], int] = {}
        self._flying: dict[tuple[str, str], set[int]] = defaultdict(set)
        """By node and meter, the commands on the wire."""
        self._commands = 0
        self.on_opened: list[Callable[[str, int, int], None]] = []
        """Told of every opening: node, index of the point, world time."""

    @property
    def exposed(self) -> set[tuple[str, str, int]]:
        """(node, usage point, at): cut though paid or protected elsewhere, which the node could not know."""
        return self._debts.exposed

    def command_begins(self, node: str, meter: str, command: RelayCommand, intent: str) -> int:
        """A relay command leaves for `meter` on the operation `intent`; gives its number."""
        self._commands += 1
        flying = self._flying[node, meter]
        flying.add(self._commands)
        if len(flying) > 1:
            self._verdicts.against("one_operation_per_point", node, meter, "two relay commands are on the wire at once")
        self._exchanges.command_begins(node, meter)
        if command is RelayCommand.OPEN:
            self._permits.command(self._sights[node], meter, intent)
        return self._commands

    def command_ends(self, node: str, meter: str, number: int) -> None:
        """Its outcome is known, or given up; of a process that has died meanwhile it was nobody's already."""
        self._flying[node, meter].discard(number)

    def node_died(self, node: str) -> None:
        """Commands of a dead process are nobody's any more."""
        for key in [key for key in self._flying if key[0] == node]:
            del self._flying[key]

    def moved(self, node: str, meter: str, *, closed: bool, at: int) -> None:
        """A contact moved at `at` (world time, UTC seconds)."""
        sight = self._sights[node]
        index = sight.point_of[meter]
        flying = {one for (whose, one), numbers in self._flying.items() if whose == node and numbers}
        self._exchanges.moved(node, index, {one for one in flying if sight.point_of[one] == index})
        if not closed:
            self._judge(Opening(sight, index, at))
            for listener in self.on_opened:
                listener(node, index, at)
        elif sight.link_clean_since() is None:
            self._verdicts.happened("restore_while_offline")
        self._moved_at[node, index] = at

    def openings_since(self, node: str, since: int) -> int:
        """How many contacts this node opened after `since` (world time, UTC seconds)."""
        return sum(1 for one in self._opened[node] if one.at > since)

    def openings_today(self, sight: NodeSight, at: int) -> int:
        """How many contacts this node opened in the local day of `at`."""
        zone = sight.grid.spec.zone
        day = local_day(at, zone)
        return sum(1 for one in self._opened[sight.node] if at - one.at < DAY_S and local_day(one.at, zone) == day)

    def _judge(self, opening: Opening) -> None:
        sight = opening.sight
        if sight.link_clean_since() is None:
            self._verdicts.happened("cut_while_offline")
        self._verdicts.happened("cut")
        transformer = sight.grid.points[opening.index].transformer
        self._opened[sight.node].append(_Opened(opening.at, opening.index, transformer))
        self._permits.judge(opening, self.openings_today(sight, opening.at), self._time_s())
        self._debts.judge(opening)
        self._brakes(opening, transformer)

    def _brakes(self, opening: Opening, transformer: int) -> None:
        """Every sliding window that ends now."""
        sight, at, name = opening.sight, opening.at, opening.point
        rules, log = sight.rules, self._opened[sight.node]
        points = sight.points_at[transformer]
        windows: tuple[tuple[str, int, int, Callable[[_Opened], bool] | None], ...] = (
            ("10 minutes", 600, rules.max_cuts_per_node_10min, None),
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
            ("meter and day", DAY_S, rules.max_cuts_per_meter_day, lambda one: one.point == opening.index),
        )
        for what, length_s, limit, counts in windows:
            since = at - length_s + SLACK_S
            count = sum(1 for one in log if one.at > since and (counts is None or counts(one)))
            if count > limit:
                self._verdicts.against("brakes", sight.node, name, f"{count} cuts per {what}, {limit} allowed")
        moved_at = self._moved_at.get((sight.node, opening.index))
        if moved_at is not None and at - moved_at < rules.min_minutes_between_switchings * 60 - SLACK_S:
            self._verdicts.against("brakes", sight.node, name, f"switched again after {at - moved_at} s")
