"""A node as checkers see it, with rows written by hand: everything permits one cut, and tests take one thing away."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from gridmodel.period import day_bounds
from gridmodel.reading import Channel
from protocols.profile import load_profiles
from simulate.book import Book
from simulate.clock import WallSpan
from simulate.faults import Faults
from simulate.grid import RELAY_PROFILE, Grid, GridSpec, build_grid
from simulate.judges.relays import RelayChecker
from simulate.judges.sight import Eye, NodeSight, Verdicts
from simulate.scenario import load_scenario
from simulate.site import ZONE, districts_of, rules_of
from simulate.truth import GridTruth

MIDNIGHT = day_bounds("2026-05-12", ZONE)[0]
"""Of a Tuesday on which cuts are allowed."""
TEN = MIDNIGHT + 10 * 3_600
DAY_S = 86_400
OWED = 10_000_000
EVERYDAY = load_scenario("everyday")
RULES = rules_of(EVERYDAY)


PROFILES = load_profiles()


@lru_cache
def grid_of(points: int) -> Grid:
    """Two districts; from 160 points on they have a transformer that hangs on the other one's feeder."""
    return build_grid(GridSpec("n1", ZONE, districts_of(0), points, 1, MIDNIGHT, interval_minutes=15))


@dataclass
class Scene:
    """One node. `now` is the world's time."""

    folder: Path
    points: int = 40
    now: int = TEN
    up_since: float | None = 1.0
    walls: list[WallSpan] = field(default_factory=list)
    book: Book = field(default_factory=Book)

    def __post_init__(self) -> None:
        self.rows = sqlite3.connect(self.folder / "control.db", isolation_level=None)
        self.rows.execute("PRAGMA synchronous = OFF")
        schema = files("edge_node").joinpath("store", "schema", "control", "0001_control.sql")
        self.rows.executescript(schema.read_text(encoding="utf-8"))
        grid = grid_of(self.points)
        self.readings = sqlite3.connect(self.folder / "readings-2026-05.db", isolation_level=None)
        schema = files("edge_node").joinpath("store", "schema", "readings", "0001_readings.sql")
        self.readings.executescript("PRAGMA synchronous = OFF;" + schema.read_text(encoding="utf-8"))
        self.faults = Faults(EVERYDAY, 1)
        self.verdicts = Verdicts(lambda: self.now, self.faults)
        self.sight = NodeSight(
            node="n1",
            grid=grid,
            truth=GridTruth(grid, PROFILES),
            rules=RULES,
            control=Eye(self.folder / "control.db"),
            up_since=lambda: self.up_since,
            ill=frozenset,
            well_since={},
            link_clean_since=lambda: None,
            clock_spans=lambda: self.walls,
            folder=self.folder,
            answered_s=2.0,
        )
        self.index = next(n for n, one in enumerate(grid.points) if one.profile == RELAY_PROFILE and one.household)
        self.point = grid.points[self.index]
        self.relays = RelayChecker({"n1": self.sight}, self.book, self.verdicts, self.time_s)

    def time_s(self) -> float:
        """Virtual seconds: zero at midnight."""
        return float(self.now - MIDNIGHT)

    def permit(self) -> None:
        """Write down everything that a cut of `point` at `now` needs."""
        at = self.now
        self.sql("INSERT INTO registry VALUES (1, x'00', ?)", MIDNIGHT)
        self.sql("INSERT INTO weather VALUES (?, ?, 5.0, 25.0, x'00')", self.point.district, at - 3_600)
        for channel in ("app", "billing"):
            self.sql("INSERT INTO watermark VALUES (?, ?, ?, x'00')", channel, at - 1_800, at - 1_700)
        self.mandate(1)
        self.entry("bill", -OWED, due_at=at - 40 * DAY_S, received_at=MIDNIGHT)
        self.sql("INSERT INTO notice VALUES ('told', ?, ?, 'sms_delivered', ?, ?, x'00')", self.point.account, OWED,
                 at - 10 * DAY_S, MIDNIGHT)  # fmt: skip
        self.operation("op-1", sent_at=at - 1)
        self.readings.execute("INSERT INTO point VALUES (1, ?, ?, x'00')", (self.point.id, int(Channel.IMPORT)))
        self.reading(at - 900)

    def reading(self, end: int, quality: int = 0) -> None:
        """An interval of the point."""
        self.readings.execute("INSERT INTO reading VALUES (?, 1, 5, ?, 5, 1, 1, x'00')", (end, quality))

    def mandate(
        self, counter: int, *, quota: int = 5, policy: str = RULES.version, received_at: int = MIDNIGHT
    ) -> None:
        """One that holds all day."""
        told = {
            "node": "n1",
            "not_before": MIDNIGHT,
            "expires": MIDNIGHT + DAY_S,
            "policy_version": policy,
            "quota_per_day": quota,
            "watermark_age_h_max": 24,
            "account_classes": ["household", "company"],
            "counter": counter,
        }
        document = json.dumps({"mandate": told, "signatures": []}).encode()
        self.sql("INSERT INTO mandate VALUES (?, ?, ?, ?, ?, ?, NULL)", f"mandate-{counter}", counter, document,
                 MIDNIGHT, MIDNIGHT + DAY_S, received_at)  # fmt: skip

    def entry(self, name: str, tiyin: int, *, received_at: int, due_at: int | None = None) -> None:
        """One entry of the account's ledger."""
        kind = "charge" if tiyin < 0 else "payment"
        self.sql("INSERT INTO ledger_entry VALUES (?, ?, ?, ?, ?, ?, 'app', 'x', NULL, 'hub', ?, x'00')", name,
                 self.point.account, kind, tiyin, received_at, due_at, received_at)  # fmt: skip

    def operation(self, name: str, *, sent_at: int | None) -> None:
        """A cut of the point that is under way."""
        values = (name, self.point.id, self.point.meter, self.now - 2, sent_at)
        self.sql(
            "INSERT INTO relay_operation (id, usage_point, meter, transformer, action, cause, basis, intent_at,"
            " sent_at, hash) VALUES (?, ?, ?, 't', 'cut', 'debt', x'00', ?, ?, x'00')",
            *values,
        )

    def protect(self, *, point: str | None = None, district: str | None = None, kind: str = "medical") -> None:
        """A protection that stands today, here since midnight."""
        self.sql("INSERT INTO protection VALUES ('p', ?, ?, ?, ?, ?, 'x', ?, x'00')", kind, point, district, MIDNIGHT,
                 MIDNIGHT + DAY_S, MIDNIGHT)  # fmt: skip

    def sql(self, statement: str, *values: object) -> None:
        """Change a row."""
        self.rows.execute(statement, values)

    def opens(self) -> None:
        """The contact of `point` opens now."""
        self.relays.moved("n1", str(self.point.meter), closed=False, at=self.now)

    def found(self) -> set[str]:
        """Names of the checkers that spoke."""
        return {one.checker for one in self.verdicts.found}


@contextmanager
def scene(folder: Path, points: int = 40) -> Iterator[Scene]:
    """A node of which a cut is permitted in every respect."""
    one = Scene(folder, points)
    one.permit()
    try:
        yield one
    finally:
        one.sight.close()
        one.rows.close()
        one.readings.close()
