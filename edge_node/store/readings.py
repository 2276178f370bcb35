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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from edge_node.store.chunks import Chunks
from edge_node.store.day_rows import day_rows
from edge_node.store.gaps import Gap, Gaps
from edge_node.store.last_registers import PUT_LAST, Known, as_last, last_rows, read_last
from edge_node.store.reading_round import TOUCH, Booking, Hashers, Round
from edge_node.store.rule_counts import CountRow, RuleCounts, counted_month
from edge_node.store.segments import PointChannel, Segment, Segments, insert_points, put_mark
from gridmodel.clock import Compute
from gridmodel.period import local_day
from gridmodel.reading import Channel, Quality, Revision
from gridmodel.vee import LastRegister
from hosting.database import Connection
from hosting.rowhash import RowHasher

BOOKINGS_PER_ROUND_MAX = 10_000
"""One transaction: some 50 ms on the database's thread; what a power cut can undo is read again from the meters."""
INTERVALS_PER_CORRECTION = 10_000
"""After so many a correction ends its transaction: as many as a poll round, and polls get their turn in between."""
TOUCHED_MONTHS = 3
"""Late readings reach back 45 days at most (`VeeRules.gap_days_max`): three local months."""
TOUCHED_HOURS_MAX = 1_000
"""Hours given at once; the caller comes again for the rest."""


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
        self.gaps = Gaps(segments)
        self.rule_counts = RuleCounts(segments)
        self.hashers = Hashers(
            reading=RowHasher(row_key, "reading"),
            point=RowHasher(row_key, "reading_point"),
            last=RowHasher(row_key, "last_register"),
        )
        self._numbers: Mapping[PointChannel, int] = {}
        """The dictionary of the newest segment."""
        self._known: list[Known | None] = []
        """By number in that dictionary."""
        self._newest: str | None = None
        self._newest_end: int | None = None
        self._turn = asyncio.Lock()

    async def load(self) -> None:
        """Find the newest segment and work out every last register from it; again after a round that failed."""
        async with self._turn:
            for month in reversed(self.segments.months()):
                async with self.segments.lease(month) as segment:
                    if segment.begun:
                        known = await read_last(segment)
                        self._numbers, self._known, self._newest = segment.numbers, known, month
                        self._newest_end = max((one[1] for one in known if one is not None), default=None)
                        return
            self._numbers, self._known, self._newest, self._newest_end = {}, [], None, None

    # What is known ----------------------------------------------------------------------------------------------------

    def last(self, point: str, channel: Channel) -> LastRegister | None:
        """What the next read of the channel is measured against; from memory, as it is in the store."""
        known = self._of(point, channel)
        return None if known is None else as_last(known)

    def latest(self, point: str, channel: Channel = Channel.IMPORT) -> Latest | None:
        """How far the channel is known and how well; None when no register of it was ever accepted."""
        known = self._of(point, channel)
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
        known = self._known
        return {key: one for key, n in self._numbers.items() if n < len(known) and (one := known[n]) is not None}

    async def heard(self, channel: Channel = Channel.IMPORT) -> dict[str, int]:
        """By point, the last interval end for which its meter gave this register, believed or in doubt."""
        return await self.compute.run(_heard, dict(self._numbers), list(self._known), int(channel))

    def _of(self, point: str, channel: Channel) -> Known | None:
        number = self._numbers.get((point, channel), len(self._known))
        return self._known[number] if number < len(self._known) else None

    # One poll round ---------------------------------------------------------------------------------------------------

    async def book(self, bookings: Sequence[Booking], revision: Revision, counts: list[CountRow] | None = None) -> None:
        """Book one round, durably; at most one booking of a channel, each worked out from `last` as it is now.

        `counts` say how often each rule spoke in it, for one local day.

        Raises DatabaseFault (nothing, or only intervals of an older month were booked: doing the round again is
        harmless), ValueError for a round that is too large.
        """
        if len(bookings) > BOOKINGS_PER_ROUND_MAX:
            raise ValueError(f"{len(bookings)} bookings in one round, {BOOKINGS_PER_ROUND_MAX} allowed")
        counts = counts or []
        async with self._turn:
            for month, part, last_at in self._by_month(bookings):
                told = counts if counts and counted_month(counts) == month else []
                await self._book_in(month, part, last_at, revision, told)
                self._newest_end = max(self._newest_end or 0, last_at)
                counts = [] if told else counts
            await self.rule_counts.add(counts)

    def _by_month(self, bookings: Sequence[Booking]) -> list[tuple[str, Sequence[Booking], int]]:
        """(month, its part of the round, its latest time): each read is kept in the month of its time.

        Only not in one before the newest segment, where the last registers are.
        """
        if not bookings:
            return []
        times = [booking.last.at for booking in bookings]
        first, last = self.month_of(min(times)), self.month_of(max(times))
        newest = self._newest or first
        if last <= newest or first == last:
            return [(max(last, newest), bookings, max(times))]
        parts: dict[str, list[Booking]] = {}
        for at, booking in zip(times, bookings, strict=True):
            parts.setdefault(max(self.month_of(at), newest), []).append(booking)
        return [(month, part, max(b.last.at for b in part)) for month, part in sorted(parts.items())]

    def month_of(self, end: int) -> str:
        """The local month (``2026-05``) whose segment keeps the interval ending at `end`."""
        return local_day(end, self.segments.zone)[:7]

    async def _book_in(
        self, month: str, bookings: Sequence[Booking], last_at: int, revision: Revision, counts: list[CountRow]
    ) -> None:
        async with self.segments.lease(month) as segment:
            if month != self._newest:
                await self._begin(segment)
                self._newest = month
            self._numbers = segment.numbers  # a segment that was closed meanwhile has another
            over = [b for b in bookings if b.intervals and b.intervals[0].end <= segment.first]
            for past in sorted({self.month_of(one.end) for b in over for one in b.intervals}):
                if past < month:
                    async with self.segments.lease(past) as past_segment:
                        await Round(past_segment, over, revision, self.hashers).write(last_at)
            await Round(segment, bookings, revision, self.hashers, self._known).write(last_at, counts)

    async def _begin(self, segment: Segment) -> None:
        """Copy the last registers on into a new month, in one transaction with the mark that says so."""
        known = self.known()
        if not segment.begun:
            fresh = [key for key in known if key not in segment.numbers]
            numbers = segment.numbers | {key: n for n, key in enumerate(fresh, start=len(segment.names))}

            async def verb(conn: Connection) -> None:
                await insert_points(conn, len(segment.names), fresh, self.hashers.point)
                rows = last_rows(((numbers[key], one) for key, one in known.items()), self.hashers.last)
                await conn.execute_many(PUT_LAST, rows)
                await put_mark(conn, "folded_to", str(segment.first))
                await put_mark(conn, "begun", self._newest or "first")

            await segment.database.write(verb)
            segment.adopt(fresh)
            segment.folded_to, segment.begun = segment.first, True
        self._numbers, self._known = segment.numbers, [known.get(key) for key in segment.names]

    # Filling gaps -----------------------------------------------------------------------------------------------------

    async def correct(self, bookings: Sequence[Booking], revision: Revision) -> None:
        """Replace intervals by what the meter's own memory told, durably; no last register moves.

        Some transactions, each of whole bookings in one month: whoever does it again after a crash books the same.
        Raises DatabaseFault.
        """
        for part in _parts(bookings):
            async with self._turn:
                for month in sorted({self.month_of(one.end) for booking in part for one in booking.intervals}):
                    async with self.segments.lease(month) as segment:
                        await Round(segment, part, revision, self.hashers).write(0)

    async def estimates(self, gap: Gap) -> dict[int, int]:
        """The energies (Wh) that are booked over a gap, by interval end."""
        months: dict[str, list[int]] = {}
        for end in gap.ends:
            months.setdefault(self.month_of(end), []).append(end)
        channels = [(gap.point, int(gap.channel))]
        parts = [await day_rows(self.segments, channels, gap.start, ends) for ends in months.values()]
        return {end: energy_wh for part in parts for end, _, energy_wh, _ in part.rows}

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

    async def touch(self, hours: Iterable[int]) -> None:
        """Have these hours (their ends) closed again, durably; those of months that are not kept are left."""
        months: dict[str, list[tuple[int]]] = {}
        for end in hours:
            months.setdefault(self.month_of(end), []).append((end,))
        for month, ends in months.items():
            if self.segments.has(month):
                async with self.segments.lease(month) as segment:
                    await segment.database.write(lambda conn, ends=ends: conn.execute_many(TOUCH, ends))  # type: ignore[misc]

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


def _heard(numbers: Mapping[PointChannel, int], known: Sequence[Known | None], wanted: int) -> dict[str, int]:
    found = {}
    for (point, channel), number in numbers.items():
        one = known[number] if channel == wanted and number < len(known) else None
        if one is not None:
            _, at, _, _, doubt_at, _, _ = one
            found[point] = max(at, doubt_at or 0)
    return found


def _parts(bookings: Sequence[Booking]) -> Iterator[list[Booking]]:
    """The same bookings in order, in parts of about INTERVALS_PER_CORRECTION."""
    part, size = list[Booking](), 0
    for booking in bookings:
        part.append(booking)
        size += len(booking.intervals)
        if size >= INTERVALS_PER_CORRECTION:
            yield part
            part, size = [], 0
    if part:
        yield part


async def _values_of(conn: Connection, end: int) -> list[tuple[int, int, int, int]]:
    return await conn.fetch_all(
        "SELECT end, point, energy_wh, quality FROM reading WHERE end = ? ORDER BY point", (end,)
    )


async def _forget_touches(conn: Connection, pairs: list[tuple[int, int]]) -> None:
    await conn.execute_many("DELETE FROM touched_hour WHERE hour_end = ? AND touches = ?", pairs)
