"""Readings: one poll round is one transaction. Floor: edge_node/store; walk: reading.

`metering` validates registers and books what they became; hour and day close read it back. Rules of this store:

* A point has one value per interval. A later value with an equal or higher (epoch, revision) replaces, a lower one is
  ignored; nothing is ever added to a value, so a round that is done twice after a crash is booked once.
* The last register moves only in the transaction that books what it bounds (`last_registers`). A round over a month's
  end goes to the older segment first, its last registers to the newest alone: a crash in between leaves intervals that
  the next read of the same meter replaces, since it is measured against the register that did not move.
* What may change closed hours leaves a count in `touched_hour` in the same transaction.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from edge_node.store.chunks import Chunks
from edge_node.store.last_registers import (
    FOLD_S,
    PUT_LAST,
    Known,
    Row,
    as_last,
    is_plain,
    known_after,
    last_rows,
    read_last,
)
from edge_node.store.segments import PointChannel, Segment, Segments, insert_points, put_mark
from gridmodel.clock import Compute
from gridmodel.period import hour_end, local_day
from gridmodel.reading import Channel, IntervalReading, Quality, Revision
from gridmodel.vee import LastRegister
from hosting.database import Connection
from hosting.rowhash import RowField, RowHasher

BOOKINGS_PER_ROUND_MAX = 10_000
"""One transaction: some 50 ms on the database's thread; what a power cut can undo is read again from the meters."""
ROWS_PER_STATEMENT = 50
"""Fewer steps of SQLite, and fewer hand-overs of the interpreter's lock: 1.7 instead of 2.5 µs a row."""
TOUCHED_MONTHS = 3
"""Late readings reach back 45 days at most (`VeeRules.gap_intervals_max`): three local months."""
TOUCHED_HOURS_MAX = 1_000
"""Hours given at once; the caller comes again for the rest."""

_INSERT = "INSERT INTO reading (end, point, energy_wh, quality, register_wh, epoch, revision, hash) VALUES "
_PLACES = "(?, ?, ?, ?, ?, ?, ?, ?)"
_REPLACE = """
    ON CONFLICT DO UPDATE SET energy_wh = excluded.energy_wh, quality = excluded.quality,
        register_wh = excluded.register_wh, epoch = excluded.epoch, revision = excluded.revision, hash = excluded.hash
    WHERE (excluded.epoch, excluded.revision) >= (epoch, revision)"""
_PUT_READING = _INSERT + _PLACES + _REPLACE
_PUT_READINGS = _INSERT + ", ".join([_PLACES] * ROWS_PER_STATEMENT) + _REPLACE
_TOUCH = """
    INSERT INTO touched_hour (hour_end, touches) VALUES (?, 1)
    ON CONFLICT (hour_end) DO UPDATE SET touches = touches + 1"""


@dataclass(frozen=True, slots=True)
class Booking:
    """What one accepted register read became: the intervals to book and what the next read is measured against."""

    point: str
    channel: Channel
    intervals: tuple[IntervalReading, ...]
    """In order of time; empty when the read only begins a count or is in doubt. None of them is MISSING."""
    last: LastRegister

    @property
    def at(self) -> int:
        """The interval end that the read stood for."""
        return self.last.doubt.at if self.last.doubt else self.last.at


@dataclass(frozen=True, slots=True)
class Latest:
    """How far a channel is known, for those who decide on it."""

    end: int
    """The last interval end with an accepted register."""
    quality: Quality
    """Of the interval that ended there; SUSPECT while the meter is in doubt, MISSING when there was none."""


@dataclass(frozen=True, slots=True)
class IntervalValues:
    """Values of all points over some interval ends, as they lie in one segment."""

    names: Sequence[PointChannel]
    """(point, channel) by number; grows at its end while others book."""
    rows: list[tuple[int, int, int, int]]
    """(end, number, energy_wh, quality), in order of end and number."""


class Readings:
    """The readings of one node. `load` first; `book` is done by one task, the rest by any."""

    def __init__(self, segments: Segments, row_key: bytes, compute: Compute) -> None:
        self.segments = segments
        self.compute = compute
        self.chunks = Chunks(segments)
        self.hasher = RowHasher(row_key, "reading")
        self.point_hasher = RowHasher(row_key, "reading_point")
        self.last_hasher = RowHasher(row_key, "last_register")
        self._known: dict[PointChannel, Known] = {}
        self._newest: str | None = None
        self._newest_end: int | None = None
        self._turn = asyncio.Lock()

    async def load(self) -> None:
        """Find the newest segment and work out every last register from it; again after a round that failed."""
        async with self._turn:
            for month in reversed(self.segments.months()):
                async with self.segments.lease(month) as segment:
                    if segment.begun:
                        self._known, self._newest = await read_last(segment), month
                        self._newest_end = max((known[1] for known in self._known.values()), default=None)
                        return
            self._known, self._newest, self._newest_end = {}, None, None

    # What is known ----------------------------------------------------------------------------------------------------

    def last(self, point: str, channel: Channel) -> LastRegister | None:
        """What the next read of the channel is measured against; from memory, as it is in the store."""
        known = self._known.get((point, channel))
        return None if known is None else as_last(known)

    def latest(self, point: str, channel: Channel = Channel.IMPORT) -> Latest | None:
        """How far the channel is known and how well; None when no register of it was ever accepted."""
        known = self._known.get((point, channel))
        if known is None:
            return None
        _, at, _, _, doubt_at, _, quality = known
        if doubt_at is not None:
            return Latest(at, Quality.SUSPECT)
        return Latest(at, Quality.MISSING if quality is None else Quality(quality))

    @property
    def newest_end(self) -> int | None:
        """The latest interval end with an accepted register, of all channels; None before the first."""
        return self._newest_end

    def known(self) -> dict[PointChannel, Known]:
        """A copy of all last registers, as they are in the store."""
        return dict(self._known)

    # One poll round ---------------------------------------------------------------------------------------------------

    async def book(self, bookings: Sequence[Booking], revision: Revision) -> None:
        """Book one round, durably; at most one booking of a channel, each worked out from `last` as it is now.

        Raises DatabaseFault (nothing, or only intervals of an older month were booked: doing the round again is
        harmless), ValueError for a round that is too large.
        """
        if len(bookings) > BOOKINGS_PER_ROUND_MAX:
            raise ValueError(f"{len(bookings)} bookings in one round, {BOOKINGS_PER_ROUND_MAX} allowed")
        if not bookings:
            return
        async with self._turn:
            for month, part in self._by_month(bookings):
                await self._book_in(month, part, revision)

    def _by_month(self, bookings: Sequence[Booking]) -> list[tuple[str, Sequence[Booking]]]:
        """The round by the month in which each read is kept: that of its time, never one before the newest segment."""
        times = [booking.at for booking in bookings]
        first, last = self.month_of(min(times)), self.month_of(max(times))
        newest = self._newest or first
        if last <= newest or first == last:
            return [(max(last, newest), bookings)]
        parts: dict[str, list[Booking]] = {}
        for booking in bookings:
            parts.setdefault(max(self.month_of(booking.at), newest), []).append(booking)
        return sorted(parts.items())

    def month_of(self, end: int) -> str:
        """The local month (``2026-05``) whose segment keeps the interval ending at `end`."""
        return local_day(end, self.segments.zone)[:7]

    async def _book_in(self, month: str, bookings: Sequence[Booking], revision: Revision) -> None:
        async with self.segments.lease(month) as segment:
            if month != self._newest:
                await self._begin(segment)
                self._newest = month
            older = {
                self.month_of(one.end)
                for b in bookings
                if b.intervals and b.intervals[0].end <= segment.first
                for one in b.intervals
                if one.end <= segment.first
            }
            for past in sorted(older):
                async with self.segments.lease(past) as past_segment:
                    await _Round(self, past_segment, bookings, revision).write()
            self._known.update(await _Round(self, segment, bookings, revision, known=self._known).write())
            self._newest_end = max(self._newest_end or 0, *(booking.last.at for booking in bookings))

    async def _begin(self, segment: Segment) -> None:
        """Copy the last registers on into a new month, in one transaction with the mark that says so."""
        if segment.begun:
            return
        known = self.known()
        fresh = [key for key in known if key not in segment.numbers]
        numbers = segment.numbers | {key: n for n, key in enumerate(fresh, start=len(segment.names))}

        async def verb(conn: Connection) -> None:
            await insert_points(conn, len(segment.names), fresh, self.point_hasher)
            rows = last_rows(((numbers[key], one) for key, one in known.items()), self.last_hasher)
            await conn.execute_many(PUT_LAST, rows)
            await put_mark(conn, "folded_to", str(segment.first))
            await put_mark(conn, "begun", self._newest or "first")

        await segment.database.write(verb)
        segment.adopt(fresh)
        segment.folded_to, segment.begun = segment.first, True

    # For hour close ---------------------------------------------------------------------------------------------------

    async def values(self, first: int, last: int, interval_minutes: int) -> IntervalValues:
        """All values of the interval ends in (first, last], which must lie in one local month (an hour does)."""
        month = self.month_of(last)
        if not self.segments.has(month):
            return IntervalValues((("", 0),), [])
        found: list[tuple[int, int, int, int]] = []
        async with self.segments.lease(month) as segment:
            for end in range(first + interval_minutes * 60, last + 1, interval_minutes * 60):
                found += await segment.database.read(partial(_values_of, end=end))
            return IntervalValues(segment.names, found)

    async def touched(self) -> dict[int, int]:
        """Hours touched since a close last saw them, with the count to give back to `settle`; bounded, oldest first."""
        found: dict[int, int] = {}
        for month in self.segments.months()[-TOUCHED_MONTHS:]:
            async with self.segments.lease(month) as segment:
                rows = await segment.database.read(
                    lambda conn: conn.fetch_all(
                        "SELECT hour_end, touches FROM touched_hour ORDER BY hour_end LIMIT ?", (TOUCHED_HOURS_MAX,)
                    )
                )
            found.update((hour, touches) for hour, touches in rows)
            if len(found) >= TOUCHED_HOURS_MAX:
                break
        return found

    async def settle(self, hours: Mapping[int, int]) -> None:
        """Forget touches that a close has seen: those whose count is still what it was when they were read."""
        months: dict[str, list[tuple[int, int]]] = {}
        for end, touches in hours.items():
            months.setdefault(self.month_of(end), []).append((end, touches))
        for month, pairs in months.items():
            if not self.segments.has(month):
                continue
            async with self.segments.lease(month) as segment:
                await segment.database.write(partial(_forget_touches, pairs=pairs))

    async def close(self) -> None:
        """Give every file back."""
        async with self._turn:
            await self.segments.close()


async def _values_of(conn: Connection, end: int) -> list[tuple[int, int, int, int]]:
    return await conn.fetch_all(
        "SELECT end, point, energy_wh, quality FROM reading WHERE end = ? ORDER BY point", (end,)
    )


async def _forget_touches(conn: Connection, pairs: list[tuple[int, int]]) -> None:
    await conn.execute_many("DELETE FROM touched_hour WHERE hour_end = ? AND touches = ?", pairs)


class _Round:
    """The transaction of one round in one segment. Rows are worked out on the database's thread, hashes with them.

    `known` are the last registers before the round; without them the segment is not the newest, and only the intervals
    that belong to its month are booked.
    """

    def __init__(
        self,
        readings: Readings,
        segment: Segment,
        bookings: Sequence[Booking],
        revision: Revision,
        *,
        known: Mapping[PointChannel, Known] | None = None,
    ) -> None:
        self._readings = readings
        self._segment = segment
        self._bookings = bookings
        self._revision = revision
        self._before = known
        self._rows: list[Row] = []
        self._after: dict[PointChannel, Known] = {}
        self._moved: list[tuple[int, Known]] = []
        numbers = segment.numbers
        self._fresh = list(dict.fromkeys(key for b in bookings if (key := (b.point, int(b.channel))) not in numbers))
        overlay = {key: n for n, key in enumerate(self._fresh, start=len(segment.names))}
        self._numbers = numbers | overlay if overlay else numbers

    async def write(self) -> dict[PointChannel, Known]:
        """Readings, last registers and touches together; gives what is known of the channels from now on."""
        segment, readings = self._segment, self._readings
        last_at = max(b.last.at for b in self._bookings)
        fold = self._before is not None and last_at >= segment.folded_to + FOLD_S

        async def verb(conn: Connection) -> None:
            if self._fresh:
                await insert_points(conn, len(segment.names), self._fresh, readings.point_hasher)
            await conn.execute_many(_PUT_READINGS, self._whole_statements(fold=fold))
            await conn.execute_many(_PUT_READING, self._rest())
            if self._moved:
                await conn.execute_many(PUT_LAST, last_rows(self._moved, readings.last_hasher))
            await conn.execute_many(_TOUCH, self._touches())
            if fold:
                await put_mark(conn, "folded_to", str(last_at))

        await segment.database.write(verb)
        segment.adopt(self._fresh)
        if fold:
            segment.folded_to = last_at
        return self._after

    def _whole_statements(self, *, fold: bool) -> Iterator[list[RowField]]:
        """The parameters of statements of many rows; all rows are worked out before the first."""
        self._work_out(fold=fold)
        rows, digest_rows = self._rows, self._readings.hasher.digest_rows
        for start in range(0, len(rows) - len(rows) % ROWS_PER_STATEMENT, ROWS_PER_STATEMENT):
            block = rows[start : start + ROWS_PER_STATEMENT]
            flat: list[RowField] = []
            for row, digest in zip(block, digest_rows(block), strict=True):
                flat += row
                flat.append(digest)
            yield flat

    def _rest(self) -> Iterator[Row]:
        rows = self._rows[len(self._rows) - len(self._rows) % ROWS_PER_STATEMENT :]
        for row, digest in zip(rows, self._readings.hasher.digest_rows(rows), strict=True):
            yield (*row, digest)

    def _work_out(self, *, fold: bool) -> None:
        first, last, folded_to = self._segment.first, self._segment.last, self._segment.folded_to
        epoch, revision = self._revision.epoch, self._revision.number
        numbers, known, rows = self._numbers, self._before, self._rows
        for booking in self._bookings:
            key = (booking.point, int(booking.channel))
            number, intervals = numbers[key], booking.intervals
            for one in intervals:
                if first < one.end <= last:
                    row = (one.end, number, one.energy_wh, int(one.quality), one.register_wh, epoch, revision)
                    rows.append(row)
            if known is not None:
                before = known.get(key)
                after = self._after[key] = known_after(before, booking.last, intervals)
                if fold or not is_plain(before, after, intervals, folded_to):
                    self._moved.append((number, after))
        if fold and known is not None:
            self._moved += [
                (numbers[key], one) for key, one in known.items() if one[1] > folded_to and key not in self._after
            ]

    def _touches(self) -> list[tuple[int]]:
        ends = {row[0] for row in self._rows}
        return [(hour,) for hour in sorted({hour_end(end) for end in ends if isinstance(end, int)})]
