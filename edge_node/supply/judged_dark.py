"""Which dark homes were judged and still owe, so that only what may have changed is judged again. Floor: supply.

On the payment walk. A dark home that owes gets light again by a payment (its account then owes nothing: it is urgent,
and no concern of this memory), by a protection, or by another registry or other rules. So a judgement holds as long as
its relay's row, the protections that came, the registry and the rules are what they were, and no protection has begun
or ended meanwhile. Nothing here outlives the process, and after an hour nothing is believed.
"""

from collections.abc import Iterable

from edge_node.store.relays import RelayRow
from edge_node.supply.place import Places
from gridmodel.clock import TimeBounds
from gridmodel.identity import UsagePointId
from gridmodel.policy_rules import PolicyRules

BELIEVED_S = 3_600
"""A row altered behind the program's back is named within this time."""


class JudgedDark:
    """The memory of one enforcement."""

    def __init__(self) -> None:
        self._rows: dict[UsagePointId, RelayRow] = {}
        self._protections: tuple[int, int] | None = None
        self._places: Places | None = None
        self._rules: PolicyRules | None = None
        self._whole_at = 0
        """When all of it was forgotten last."""
        self._reached: TimeBounds | None = None
        """The present up to which protections were looked for that began or ended."""

    def window(self, now: TimeBounds) -> tuple[int, int]:
        """Where a protection that begins or ends makes judgements void: since the last look."""
        since = now.earliest if self._reached is None else self._reached.earliest
        return min(now.earliest, since), now.latest

    def forget(self) -> None:
        """Judge everybody anew."""
        self._protections = None

    def look(
        self, protections: tuple[int, int], places: Places, rules: PolicyRules, now: TimeBounds, *, turned: bool
    ) -> None:
        """Compare with what a look began with; `turned`: a protection began or ended within `window` of this `now`."""
        same = protections == self._protections and places is self._places and rules is self._rules
        if turned or not same or not 0 <= now.earliest - self._whole_at < BELIEVED_S:
            self._rows.clear()
            self._protections, self._places, self._rules = protections, places, rules
            self._whole_at = now.earliest
        self._reached = now

    def due(self, rows: Iterable[RelayRow]) -> list[RelayRow]:
        """Those of `rows` without a judgement that still holds, in their order."""
        known = self._rows
        return [row for row in rows if known.get(row.usage_point) != row]

    def judged(self, row: RelayRow) -> None:
        """A home was judged that had this row."""
        self._rows[row.usage_point] = row

    def keep(self, points: Iterable[UsagePointId]) -> None:
        """Forget homes that are not dark any more."""
        dark = set(points)
        for gone in self._rows.keys() - dark:
            del self._rows[gone]
