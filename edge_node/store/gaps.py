"""The gap list: intervals that were estimated, and why they still are. Floor: edge_node/store; walk: reading.

A gap lies between two registers of one channel. It is noted in the transaction that books its estimate
(`reading_round`) and belongs to the segment of its last interval. `metering` asks the meter's own memory, books what it
tells, and then settles the gap here: a crash in between asks the meter once more and books the same.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from edge_node.store.segments import PointChannel, Segment, Segments
from gridmodel.identity import MeterId
from gridmodel.reading import Channel, IntervalReading
from gridmodel.vee import LastRegister
from hosting.database import Connection

MONTHS_LOOKED_AT = 3
"""Local months that hold gaps worth asking for: hours older than that are not closed again."""
DETAIL_CHARACTERS_MAX = 300
"""A fault with its hint."""
NEVER = 2**60
"""A time that no clock reaches."""
GAPS_LISTED_MAX = 500
"""Rows of one page."""


class GapReason(StrEnum):
    """Why a gap is still there."""

    WAITING = "waiting"
    """Nobody has asked the meter yet."""
    NO_MEMORY = "no_memory"
    """The meter keeps no load profile, or its profile file names none."""
    OUTSIDE_MEMORY = "outside_memory"
    """Older than what the meter still keeps."""
    TOO_OLD = "too_old"
    """Its hours are not closed again any more."""
    ROW_MISSING = "row_missing"
    """The meter has rows before and after, none for these intervals."""
    ROW_EMPTY = "row_empty"
    """The rows say that there is no value."""
    ROW_DOUBTFUL = "row_doubtful"
    """The meter, or its profile file, says that these rows are not to be trusted."""
    COLUMN_MISSING = "column_missing"
    """The load profile does not hold this channel."""
    PERIOD_UNFIT = "period_unfit"
    """The load profile has longer intervals than the node, or others."""
    REGISTER_DISAGREES = "register_disagrees"
    """The rows contradict the registers on both sides."""
    CLOCK_WRONG = "clock_wrong"
    """The meter's clock lies: its rows stand at other times than they say."""
    METER_SILENT = "meter_silent"
    """No answer, or a broken one."""
    METER_REFUSES = "meter_refuses"
    """Another meter answers, its columns are others, or it will not tell."""
    METER_EXCHANGED = "meter_exchanged"
    """The meter no longer stands there: its memory left with it."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Intervals of one channel between two registers, booked as estimates."""

    point: str
    channel: Channel
    meter: MeterId
    start: int
    """Interval end at which the register before them stands, UTC seconds."""
    end: int
    """That of the last of them."""
    interval_s: int
    start_register_wh: int
    """Primary Wh."""
    end_register_wh: int
    energy_wh: int
    """Between the two registers, past the end of the register where it wrapped."""
    reason: GapReason = GapReason.WAITING
    detail: str = ""
    tries: int = 0
    due_at: int | None = None
    """When its meter is asked next; None: nobody asks again."""
    month: str = ""
    """Local month of the segment that lists it; empty before it is listed."""

    @property
    def ends(self) -> range:
        """Its interval ends, in order."""
        return range(self.start + self.interval_s, self.end + 1, self.interval_s)


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a gap."""

    gap: Gap
    left: tuple[Gap, ...]
    """What of it stays in the list; empty when it is filled."""


def noticed(
    point: str,
    channel: Channel,
    intervals: Sequence[IntervalReading],
    last: LastRegister,
    registers: Iterable[tuple[int | None, int | None]],
) -> Gap | None:
    """The gap that these booked intervals close, if they are more than one.

    `registers` are the (time, register) from which they may have been counted: the last one and the one in doubt. None
    when neither stands at their beginning.
    """
    if len(intervals) < 2:
        return None
    length = intervals[1].end - intervals[0].end
    start = intervals[0].end - length
    before = next((wh for at, wh in registers if at == start), None)
    if before is None:
        return None
    energy_wh = sum(one.energy_wh or 0 for one in intervals)
    end = intervals[-1].end
    return Gap(point, channel, last.meter, start, end, length, before, last.register_wh, energy_wh, due_at=end + length)


async def put_gaps(conn: Connection, gaps: Iterable[tuple[int, Gap]]) -> None:
    """Note gaps by the number of their channel in the segment, within the caller's transaction."""
    await conn.execute_many(
        "INSERT OR REPLACE INTO gap (point, end, start, interval_s, meter, start_register_wh, end_register_wh,"
        " energy_wh, reason, detail, tries, due_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                number,
                gap.end,
                gap.start,
                gap.interval_s,
                gap.meter,
                gap.start_register_wh,
                gap.end_register_wh,
                gap.energy_wh,
                gap.reason.value,
                gap.detail[:DETAIL_CHARACTERS_MAX],
                gap.tries,
                gap.due_at,
            )
            for number, gap in gaps
        ],
    )


class Gaps:
    """The gap list of one node."""

    def __init__(self, segments: Segments) -> None:
        self._segments = segments

    async def due(self, now: int, limit: int) -> list[Gap]:
        """Gaps whose meters may be asked at `now`, the longest waiting first; at most `limit` of each month."""
        found: list[Gap] = []
        for month in self._months():
            async with self._segments.lease(month) as segment:
                if segment.gaps_from is not None and now < segment.gaps_from:
                    continue
                part = await self._of_month(segment, "due_at <= ? ORDER BY due_at, end, point", now, limit)
                if not part:
                    await segment.database.read(partial(_look_ahead, segment=segment))
                found += part
        return found

    async def standing(self, limit: int = GAPS_LISTED_MAX) -> list[Gap]:
        """The list for a person, newest first; at most `limit` of each month."""
        return (await self._listed("end > ? ORDER BY end DESC, point", 0, limit))[::-1][:limit]

    async def next_due_at(self) -> int | None:
        """When the next meter may be asked; None when nobody waits."""
        found = [
            row[0]
            for month in self._months()
            for row in await self._rows(month, "SELECT min(due_at) FROM gap WHERE due_at IS NOT NULL")
            if row[0] is not None
        ]
        return min(found, default=None)

    async def counts(self) -> dict[GapReason, int]:
        """How many intervals of how many channels are still estimated, by reason; those without any are left out."""
        found: Counter[GapReason] = Counter()
        for month in self._months():
            for reason, intervals in await self._rows(
                month, "SELECT reason, sum((end - start) / interval_s) FROM gap GROUP BY reason ORDER BY reason"
            ):
                found[GapReason(reason)] += int(intervals)
        return dict(found)

    async def look_again(self, reasons: Iterable[GapReason], now: int) -> int:
        """Ask once more about gaps that were given up for one of these reasons; gives how many."""
        wanted = [reason.value for reason in reasons]
        marks = ", ".join("?" for _ in wanted)

        async def verb(conn: Connection, segment: Segment) -> int:
            segment.gaps_from = None
            return await conn.execute(
                f"UPDATE gap SET due_at = ? WHERE due_at IS NULL AND reason IN ({marks})", (now, *wanted)
            )

        again = 0
        for month in self._months():
            async with self._segments.lease(month) as segment:
                again += await segment.database.write(partial(verb, segment=segment))
        return again

    async def settle(self, settled: Sequence[Settled]) -> None:
        """Take what was filled off the list and keep what is left, one transaction in each month."""
        months: dict[str, list[Settled]] = {}
        for one in settled:
            months.setdefault(one.gap.month, []).append(one)
        for month, part in months.items():
            async with self._segments.lease(month) as segment:
                await segment.database.write(partial(_settle, segment=segment, settled=part))

    def _months(self) -> list[str]:
        return self._segments.months()[-MONTHS_LOOKED_AT:]

    async def _listed(self, condition: str, value: int, limit: int) -> list[Gap]:
        found: list[Gap] = []
        for month in self._months():
            async with self._segments.lease(month) as segment:
                found += await self._of_month(segment, condition, value, limit)
        return found

    async def _of_month(self, segment: Segment, condition: str, value: int, limit: int) -> list[Gap]:
        rows = await segment.database.read(
            lambda conn: conn.fetch_all(
                "SELECT point, meter, start, end, interval_s, start_register_wh, end_register_wh, energy_wh,"
                f" reason, detail, tries, due_at FROM gap WHERE {condition} LIMIT ?",
                (value, limit),
            )
        )
        return [_gap(segment.month, segment.names[row[0]], row) for row in rows]

    async def _rows(self, month: str, query: str) -> list[tuple[Any, ...]]:
        async with self._segments.lease(month) as segment:
            return await segment.database.read(lambda conn: conn.fetch_all(query))


def _gap(month: str, name: PointChannel, row: tuple[Any, ...]) -> Gap:
    _, meter, start, end, interval_s, start_wh, end_wh, energy_wh, reason, detail, tries, due_at = row
    return Gap(
        name[0],
        Channel(name[1]),
        MeterId(meter),
        start,
        end,
        interval_s,
        start_wh,
        end_wh,
        energy_wh,
        GapReason(reason),
        detail,
        tries,
        due_at,
        month,
    )


async def _look_ahead(conn: Connection, segment: Segment) -> None:
    """Remember when the month's next gap is due: most looks of a node find none, and need no look at the file."""
    row = await conn.fetch_one("SELECT min(due_at) FROM gap WHERE due_at IS NOT NULL")
    segment.gaps_from = NEVER if row is None or row[0] is None else int(row[0])


async def _settle(conn: Connection, segment: Segment, settled: Sequence[Settled]) -> None:
    segment.gaps_from = None
    numbers: Mapping[PointChannel, int] = segment.numbers
    keys = [(numbers[one.gap.point, int(one.gap.channel)], one) for one in settled]
    await conn.execute_many(
        "DELETE FROM gap WHERE point = ? AND end = ?", [(number, one.gap.end) for number, one in keys]
    )
    await put_gaps(conn, ((number, gap) for number, one in keys for gap in one.left))
