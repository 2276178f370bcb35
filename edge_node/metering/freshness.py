"""Which meters have no fresh reading, and why: gathered at every try, written in parts. Room: metering; walk: reading.

Rounds and collector say what each try came to; only what differs from the store is written. The latest word counts: a
meter that was silent at first and answered at the second try was never absent to anybody who looks a minute later.
"""

from collections.abc import Container, Iterable
from itertools import islice

from edge_node.store.absences import Absences, Missing
from gridmodel.absence import Absence

ROWS_PER_TRANSACTION_MAX = 500
"""A district that went dark changes all its meters at once: the control database is given back within some 10 ms."""


class Freshness:
    """The reasons of all meters that have one. `load` first; `flush` makes durable what was said."""

    def __init__(self, absences: Absences) -> None:
        self._absences = absences
        self._known: dict[str, Absence] = {}
        self._changes: dict[str, Missing | None] = {}

    async def load(self) -> None:
        """Take the reasons from the store, as they are after a start or a failure."""
        self._changes.clear()
        self._known = await self._absences.reasons()

    def fresh(self, meter: str) -> None:
        """The meter has a fresh reading."""
        if meter in self._known:
            self._changes[meter] = None
        elif self._changes:
            self._changes.pop(meter, None)

    def absent(self, meter: str, reason: Absence, end: int, detail: str) -> None:
        """It has none for the interval ending at `end` (UTC seconds)."""
        if self._known.get(meter) is reason:
            self._changes.pop(meter, None)
        else:
            self._changes[meter] = Missing(reason, end, detail)

    async def all_absent(self, meters: Iterable[tuple[str, str]], reason: Absence, end: int) -> None:
        """The same for many (meter, detail), a part at a time."""
        rest = iter(meters)
        while part := list(islice(rest, ROWS_PER_TRANSACTION_MAX)):
            for meter, detail in part:
                self.absent(meter, reason, end, detail)
            await self.flush()

    async def keep_only(self, meters: Container[str]) -> None:
        """Forget those that are polled no more: exchanged, moved away, taken down."""
        for meter in self._known:
            if meter not in meters:
                self._changes[meter] = None
        await self.flush()

    async def flush(self) -> None:
        """Write what changed."""
        while self._changes:
            part = list(islice(self._changes.items(), ROWS_PER_TRANSACTION_MAX))
            for meter, missing in part:
                del self._changes[meter]
                if missing is None:
                    self._known.pop(meter, None)
                else:
                    self._known[meter] = missing.reason
            await self._absences.put(part)
