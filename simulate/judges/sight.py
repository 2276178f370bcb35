"""How checkers look: committed rows only, through connections of their own, and the registry. Floor: simulate.

Apart from the product on purpose: nothing here goes through its store classes, so that a mistake in them is not shared
by the eye that judges them.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gridmodel.period import local_day, rfc3339
from gridmodel.policy_rules import PolicyRules
from gridmodel.reading import Channel
from simulate.clock import WallSpan
from simulate.faults import Faults
from simulate.grid import Grid
from simulate.truth import GridTruth

LOOK_BACK_S = 6 * 3_600
"""A reading older than this is too old for whatever it is asked for."""
ONE_PROCESS = "unix-excl"
"""How a rehearsal's files are locked (see `simulate.disk.connect`): in memory, between connections of this process."""
VIOLATIONS_MAX = 200
"""More say nothing new; the first ones matter."""


class Eye:
    """Reads one database file as a stranger: committed rows, at once, without turns of the loop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query; nothing while the database is not made yet."""
        if self._connection is None:
            if not self.path.is_file():
                return []
            self._connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=rw&vfs={ONE_PROCESS}", uri=True, isolation_level=None
            )
            self._connection.execute("PRAGMA query_only = ON")
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):  # the file is being made at this very moment
                return []
            raise

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """The first column of the first row, or None."""
        rows = self.rows(sql, parameters)
        return rows[0][0] if rows else None

    def close(self) -> None:
        """Give the file back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@dataclass(slots=True)
class NodeSight:
    """One node as the checkers see it."""

    node: str
    grid: Grid
    truth: GridTruth
    rules: PolicyRules
    control: Eye
    up_since: Callable[[], float | None]
    """Virtual second since when its process runs; None while it does not."""
    ill: Callable[[], frozenset[str]]
    """Meters that do not answer now."""
    well_since: dict[str, float]
    """Virtual second since when meters that were ill answer again."""
    link_clean_since: Callable[[], float | None]
    """Virtual second since when line and hub are without fault; None while they are not."""
    clock_spans: Callable[[], list[WallSpan]]
    """When its wall clock was wrong; the last one may still run."""
    folder: Path
    """Where its databases are."""
    hub_spans: Callable[[], list[WallSpan]] = list
    """When the hub's wall was wrong."""
    boot: Callable[[], str] = str
    """Which start of its machine this is."""
    command_s_max: int = 15
    """How long a command to open may be on its way: the longest race, and what the way itself takes."""
    never_read: frozenset[str] = frozenset()
    """Meters that were dead from the first day to the last."""
    answered_s: float = -1.0
    """Virtual second of the last whole reply of the hub."""
    polled_s: float = -1.0
    """Virtual second when a poll round was last committed."""
    point_of: dict[str, int] = field(default_factory=dict)
    """Every meter that stands there, stood or is to stand, to the index of its usage point."""
    points_at: Counter[int] = field(default_factory=Counter)
    """How many points hang on each transformer (index)."""
    measured: dict[str, str] = field(default_factory=dict)
    """Meter to the usage or supply point that it measures, as the node's registry has it."""
    _segments: dict[Path, Eye] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for index, point in enumerate(self.grid.points):
            self.point_of[point.meter] = index
            self.points_at[point.transformer] += 1
            self.measured[point.meter] = point.id
        self.measured |= {supply.meter: supply.id for supply in self.grid.supplies}

    def homes(self) -> list[tuple[str, int]]:
        """(meter, index) of every usage point, as the node's registry has it."""
        return [(meter, self.point_of[meter]) for meter in self.measured if meter in self.point_of]

    def exchanged(self, old: str, new: str) -> None:
        """The node knows by now that `new` stands where `old` did."""
        self.measured = {new if meter == old else meter: point for meter, point in self.measured.items()}

    def stamped_within(self, stamp: int, since: int, until: int) -> bool:
        """Whether its wall may have shown `stamp` at any world time from `since` to `until` (UTC seconds)."""
        if since <= stamp <= until:
            return True  # others may have told it the time, whatever its wall shows
        for span in self.clock_spans():
            if span.begin > until or span.over < since:
                continue
            low = span.shown(max(since, span.begin)) - span.behind_s
            high = span.shown(min(until, span.over))
            if low - 1 <= stamp <= max(high, until if span.behind_s else high) + 1:  # walls are read in whole seconds
                return True
        return False

    def segment(self, end: int) -> Eye:
        """The readings of the local month of the interval ending at `end`."""
        path = self.folder / f"readings-{local_day(end, self.grid.spec.zone)[:7]}.db"
        if path not in self._segments:
            self._segments[path] = Eye(path)
        return self._segments[path]

    def segments(self) -> list[Eye]:
        """The readings of every local month there is, the oldest first."""
        for path in sorted(self.folder.glob("readings-*.db")):
            self._segments.setdefault(path, Eye(path))
        return [self._segments[path] for path in sorted(self._segments)]

    def read_since(self, since: int) -> set[str]:
        """Points with a register read at an interval end after `since` (UTC seconds)."""
        now = self.truth.end
        return {
            row[0]
            for eye in dict.fromkeys((self.segment(since), self.segment(now)))
            for row in eye.rows(
                "SELECT DISTINCT p.point FROM reading AS r JOIN point AS p ON p.number = r.point"
                " WHERE r.end > ? AND r.register_wh IS NOT NULL",
                (since,),
            )
        }

    def latest_reading(self, point: str, at: int) -> tuple[int, int] | None:
        """(interval end, quality) of the last interval of a point's import that stands, around `at` (UTC seconds)."""
        rows = [
            row
            for eye in dict.fromkeys((self.segment(at - LOOK_BACK_S), self.segment(at)))
            for row in eye.rows(
                "SELECT r.end, r.quality FROM reading AS r JOIN point AS p ON p.number = r.point"
                " WHERE p.point = ? AND p.channel = ? AND r.end > ? ORDER BY r.end DESC LIMIT 1",
                (point, int(Channel.IMPORT), at - LOOK_BACK_S),
            )
        ]
        return max(rows, default=None)

    def close(self) -> None:
        """Give files back."""
        for eye in (self.control, *self._segments.values()):
            eye.close()


@dataclass(frozen=True, slots=True)
class Opening:
    """A contact that opened."""

    sight: NodeSight
    index: int
    """Of the usage point."""
    at: int
    """World time, UTC seconds."""

    @property
    def point(self) -> str:
        """The usage point's id."""
        return str(self.sight.grid.points[self.index].id)

    @property
    def account(self) -> str:
        """Who lives there."""
        return str(self.sight.grid.points[self.index].account)

    @property
    def district(self) -> str:
        """Where it stands."""
        return str(self.sight.grid.points[self.index].district)


@dataclass(frozen=True, slots=True)
class Violation:
    """A law that did not hold."""

    checker: str
    at: int
    """World time, UTC seconds."""
    node: str
    what: str

    def as_dict(self) -> dict[str, str]:
        """As reports tell it."""
        return {"checker": self.checker, "at": rfc3339(self.at), "node": self.node, "what": self.what}


class Verdicts:
    """Collects violations; the same one of the same thing counts once."""

    def __init__(self, now: Callable[[], int], faults: Faults) -> None:
        self.now = now
        self.faults = faults
        self.found: list[Violation] = []
        self._known: set[tuple[str, str, str]] = set()
        self.forgetful: set[str] = set()
        """Nodes, or "hub": a backup was put back, and what is lost has not been told yet."""
        self.restored: set[str] = set()
        """The same, for the rest of the run."""

    def against(self, checker: str, node: str, about: str, what: str) -> None:
        """`checker` found that `what` is wrong with `about`."""
        key = (checker, node, about)
        if key not in self._known and len(self.found) < VIOLATIONS_MAX:
            self._known.add(key)
            self.found.append(Violation(checker, self.now(), node, f"{about}: {what}"))

    def happened(self, what: str) -> None:
        """A "sometimes" counter."""
        self.faults.happened(what)
