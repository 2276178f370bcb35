"""What pages list: open debts, protected points, closed hours, how many cuts. Floor: edge_node/store; on all walks.

Read only, short and bounded. Nothing is decided on these figures: a decision gathers its own facts in one transaction
and checks every row (edge_node/supply/facts).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edge_node.store.hours import unpack_cell
from edge_node.store.segments import Segments
from gridmodel.balance import HourCell
from gridmodel.identity import AccountId, UsagePointId
from gridmodel.period import HOUR_S, local_day
from gridmodel.reading import Channel, Estimation, Quality
from gridmodel.record import ProtectionKind
from hosting.database import Connection, Database

ACCOUNTS_PER_QUERY = 500
"""Parameters of one statement; SQLite's oldest limit is 999."""
OWING_PER_READ = 5_000
"""Accounts taken in at once: a few milliseconds of the event loop."""
PROTECTIONS_MAX = 50_000
"""Standing assertions of one node: above the largest office's vulnerable households."""
INTERVALS_MAX = 96
"""Readings of one point shown at once: a day of quarter hours."""


@dataclass(frozen=True, slots=True)
class Closing:
    """How far the node's books are closed."""

    hour_end: int | None
    """The latest closed hour; None before the first."""
    hours: int
    """Closed hours since the time that was asked about."""
    day: str | None
    """The latest closed local day."""
    day_closed_at: int | None


@dataclass(frozen=True, slots=True)
class CutCount:
    """Cut intents of the node within sliding windows."""

    last_10min: int
    last_day: int


@dataclass(frozen=True, slots=True)
class Owed:
    """What an account's ledger came to when it last changed."""

    credit_tiyin: int
    owed_tiyin: int
    first_due_at: int | None


@dataclass(frozen=True, slots=True)
class HourPlace:
    """The cell of one transformer or supply point in one closed hour."""

    hour_end: int
    place: str
    kind: str
    """transformer, feeder_head, boundary, generator."""
    cell: HourCell


_INTERVALS = """
    SELECT r.end, r.energy_wh, r.quality, r.register_wh, (
        SELECT CASE WHEN e.first <= r.end THEN e.method END FROM estimate AS e
        WHERE e.point = r.point AND e.end >= r.end ORDER BY e.end LIMIT 1)
    FROM reading AS r"""
"""With the method of the estimate that an interval belongs to, whether it is still estimated or not."""


@dataclass(frozen=True, slots=True)
class PointReading:
    """One interval of one channel of a point."""

    end: int
    energy_wh: int
    quality: Quality
    register_wh: int | None
    method: Estimation = Estimation.NONE
    """Of an estimated interval."""


class Listing:
    """Reads for pages over one node's databases."""

    def __init__(self, control: Database, segments: Segments) -> None:
        self._control = control
        self._segments = segments

    async def closing(self, since: int) -> Closing:
        """How far hours and days are closed; `hours` counts those that end after `since`."""

        async def verb(conn: Connection) -> Closing:
            hour = await conn.fetch_one("SELECT max(hour_end) FROM hour_closed")
            count = await conn.fetch_one("SELECT count(*) FROM hour_closed WHERE hour_end > ?", (since,))
            day = await conn.fetch_one("SELECT day, closed_at FROM day_closed ORDER BY day DESC LIMIT 1")
            return Closing(
                None if hour is None else hour[0],
                0 if count is None else count[0],
                None if day is None else day[0],
                None if day is None else day[1],
            )

        return await self._control.read(verb)

    async def cuts(self, now: int) -> CutCount:
        """How many cuts were intended within ten minutes and within a day before `now`."""

        async def verb(conn: Connection) -> CutCount:
            row = await conn.fetch_one(
                "SELECT coalesce(sum(intent_at > ?), 0), count(*) FROM relay_operation"
                " WHERE action = 'cut' AND intent_at > ?",
                (now - 600, now - 86_400),
            )
            return CutCount(0, 0) if row is None else CutCount(row[0], row[1])

        return await self._control.read(verb)

    async def owed(self, accounts: Sequence[AccountId]) -> dict[AccountId, Owed]:
        """What these accounts owe; those without any entry are absent."""
        found: dict[AccountId, Owed] = {}
        for start in range(0, len(accounts), ACCOUNTS_PER_QUERY):
            part = accounts[start : start + ACCOUNTS_PER_QUERY]
            marks = ", ".join("?" for _ in part)
            rows = await self._control.read(
                lambda conn, part=part, marks=marks: conn.fetch_all(  # type: ignore[misc]
                    "SELECT account, credit_tiyin, owed_tiyin, first_due_at FROM account_debt"
                    f" WHERE account IN ({marks})",
                    part,
                )
            )
            found |= {AccountId(row[0]): Owed(*row[1:]) for row in rows}
        return found

    async def owing(self, due_before: int) -> set[AccountId]:
        """Every account with an open debt that was due before then."""
        found: set[AccountId] = set()
        place = (-1, "")
        while True:
            rows = await self._control.read(
                lambda conn, place=place: conn.fetch_all(  # type: ignore[misc]
                    "SELECT first_due_at, account FROM account_debt WHERE owed_tiyin > 0 AND first_due_at < ?"
                    " AND (first_due_at, account) > (?, ?) ORDER BY first_due_at, account LIMIT ?",
                    (due_before, *place, OWING_PER_READ),
                )
            )
            found |= {AccountId(row[1]) for row in rows}
            if len(rows) < OWING_PER_READ:
                return found
            place = (rows[-1][0], rows[-1][1])

    async def protected(self, now: int) -> dict[UsagePointId, set[ProtectionKind]]:
        """Points with a protection of their own that stands at `now` (district-wide ones are not among them)."""
        rows = await self._control.read(
            lambda conn: conn.fetch_all(
                "SELECT usage_point, kind FROM protection AS p WHERE usage_point IS NOT NULL AND valid_from <= ?1"
                " AND valid_to > ?1 AND NOT EXISTS (SELECT 1 FROM protection_revoked AS r WHERE r.id = p.id)"
                " ORDER BY usage_point LIMIT ?2",
                (now, PROTECTIONS_MAX),
            )
        )
        found: dict[UsagePointId, set[ProtectionKind]] = {}
        for point, kind in rows:
            found.setdefault(UsagePointId(point), set()).add(ProtectionKind(kind))
        return found

    async def entry(self, entry_id: str) -> tuple[str, int, int, str] | None:
        """(account, amount_tiyin, at, recorded_by) of one payment taken at this desk; None when it is none."""
        row = await self._control.read(
            lambda conn: conn.fetch_one(
                "SELECT account, amount_tiyin, at, recorded_by FROM ledger_entry"
                " WHERE id = ? AND origin = 'desk' AND kind = 'payment'",
                (entry_id,),
            )
        )
        return None if row is None else (row[0], row[1], row[2], row[3])

    async def cells(self, first: int, last: int) -> list[HourPlace]:
        """Every cell of the hours that end in (first, last], hour by hour so that no read is long."""
        found: list[HourPlace] = []
        for end in range(first + HOUR_S, last + 1, HOUR_S):
            rows = await self._control.read(
                lambda conn, end=end: conn.fetch_all(  # type: ignore[misc]
                    "SELECT place, kind, cell FROM hour_cell WHERE hour_end = ? ORDER BY place", (end,)
                )
            )
            found += [HourPlace(end, place, kind, unpack_cell(bytes(cell))) for place, kind, cell in rows]
        return found

    async def readings(
        self, point: str, ends: Sequence[int], channel: Channel = Channel.IMPORT
    ) -> dict[int, PointReading]:
        """The point's intervals with these ends, at most `INTERVALS_MAX`; what is missing is absent."""
        months: dict[str, list[int]] = {}
        for end in ends[:INTERVALS_MAX]:
            months.setdefault(local_day(end, self._segments.zone)[:7], []).append(end)
        found: dict[int, PointReading] = {}
        for month, part in months.items():
            if not self._segments.has(month):
                continue
            async with self._segments.lease(month) as segment:
                number = segment.numbers.get((point, int(channel)))
                marks = ", ".join("?" for _ in part)
                rows = await segment.database.read(
                    lambda conn, number=number, part=part, marks=marks: conn.fetch_all(  # type: ignore[misc]
                        f"{_INTERVALS} WHERE r.end IN ({marks}) AND r.point = ?",
                        (*part, number),
                    )
                )
            found |= {row[0]: _point_reading(*row) for row in rows}
        return found


def _point_reading(end: int, energy_wh: int, quality: int, register_wh: int | None, method: int | None) -> PointReading:
    how = Estimation.NONE if method is None or quality != Quality.ESTIMATED else Estimation(method)
    return PointReading(end, energy_wh, Quality(quality), register_wh, how)
