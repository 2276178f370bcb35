"""Whether a meter that stands where another one should is noticed. Floor: simulate; walks: reading, payment.

What must not happen meanwhile (its energy booked for the other, its relay moved for the other) is found by the checkers
of energy and relays, which know nothing of this page.
"""

from collections.abc import Callable
from dataclasses import dataclass

from gridmodel.event import AlarmKind
from simulate.judges.sight import NodeSight, Verdicts

NOTICED_S_MAX = 45 * 60
"""Two polls, a hung call, and the round that books what they said."""


@dataclass(frozen=True, slots=True)
class PlaceChecker:
    """Asked when two meters have been in each other's place for a while."""

    sights: dict[str, NodeSight]
    verdicts: Verdicts
    time_s: Callable[[], float]
    """Virtual seconds."""

    def swapped(self, node: str, meters: frozenset[str], seconds: float) -> None:
        """They have stood there for so long: a node that could read them all along has raised an alarm for each."""
        sight = self.sights[node]
        up_since = sight.up_since()
        if up_since is None or min(seconds, self.time_s() - up_since) < NOTICED_S_MAX:
            return
        since = self.verdicts.now() - seconds
        for meter in sorted(meters):
            raised = sight.control.value(
                "SELECT count(*) FROM alarm WHERE kind = ? AND subject = ? AND coalesce(cleared_at, ?) >= ?",
                (AlarmKind.WRONG_METER.value, meter, self.verdicts.now(), since),
            )
            if raised:
                self.verdicts.happened("wrong_meter_found")
            else:
                self.verdicts.against("wrong_meter", node, meter, f"another one stood in its place for {seconds:.0f} s")
