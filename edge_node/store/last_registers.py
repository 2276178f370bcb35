"""Last registers: what the next read of each channel is measured against. Floor: edge_node/store; walk: reading.

They are not rewritten at each read. A *plain* read (same meter, no doubt, the one interval after the last) says all of
it in its own row; the others write theirs with their readings, every few hours all that moved are written (a fold), and
a start folds the rest. Measured: writing each one every time would cost a third of the throughput.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, cast

from edge_node.store.segments import Segment
from gridmodel.identity import MeterId
from gridmodel.reading import IntervalReading, Quality
from gridmodel.vee import Baseline, LastRegister
from hosting.database import Connection
from hosting.rowhash import RowField, RowHasher

FOLD_S = 6 * 3600
"""How often all last registers are written: 3 % of the work of booking, and a start folds a million rows at most
(42,000 meters at quarter hours: two seconds)."""
ROWS_PER_READ = 5_000
"""Rows taken in at once where the event loop itself works through them: a few milliseconds."""

Known = tuple[str, int, int, int, int | None, int | None, int | None]
"""(meter, at, register_wh, still_since, doubt_at, doubt_register_wh, quality of the interval that ended at `at`): a row
of `last_register`. A plain tuple on purpose: the garbage collector forgets those, while as many objects would make it
stop the loop for longer than 20 ms."""
Row = tuple[RowField, ...]
_NUMBERS = [int(one) for one in sorted(Quality)]

PUT_LAST = """
    INSERT OR REPLACE INTO last_register
    (point, meter, at, register_wh, still_since, doubt_at, doubt_register_wh, quality, hash)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""


def as_last(known: Known) -> LastRegister:
    """In the words of validation."""
    meter, at, register_wh, still_since, doubt_at, doubt_wh, _ = known
    doubt = None if doubt_at is None or doubt_wh is None else Baseline(doubt_at, doubt_wh)
    return LastRegister(MeterId(meter), at, register_wh, still_since, doubt)


def carried(
    before: Known | None, last: LastRegister, intervals: tuple[IntervalReading, ...], folded_to: int
) -> tuple[Known, bool]:
    """What is known once these intervals and this register are durable, and whether the read is plain.

    Plain: the one interval's own row says all of it, given `before`, so that a start finds it again.
    """
    meter, at, register_wh, still_since = last.meter, last.at, last.register_wh, last.still_since
    if last.doubt is not None:
        quality = None if before is None else before[6]
        return (meter, at, register_wh, still_since, last.doubt.at, last.doubt.register_wh, quality), False
    if not intervals:
        return (meter, at, register_wh, still_since, None, None, None), False
    only = intervals[-1]
    after = (meter, at, register_wh, still_since, None, None, _NUMBERS[only.quality])
    plain = (
        before is not None
        and len(intervals) == 1
        and only.end == at
        and at > folded_to
        and only.register_wh == register_wh
        and before[4] is None
        and before[0] == meter
        and still_since == (at if only.energy_wh else before[3])
    )
    return after, plain


def last_rows(known: Iterable[tuple[int, Known]], hasher: RowHasher) -> Iterator[Row]:
    """Rows of `last_register` with their hashes, from (number, known)."""
    rows: list[Row] = [(number, *one) for number, one in known]
    for row, digest in zip(rows, hasher.digest_rows(rows), strict=True):
        yield (*row, digest)


async def read_last(segment: Segment) -> list[Known | None]:
    """Every last register of the newest segment by number, the plain reads since the last fold included."""
    found: list[Known | None] = [None] * len(segment.names)
    after = 0
    while True:
        rows = await segment.database.read(partial(_last_page, after=after))
        for row in rows:
            found[row[0]] = cast("Known", row[1:])
        if len(rows) < ROWS_PER_READ:
            break
        after = rows[-1][0]
    place = (segment.folded_to, 2**62)
    while True:
        plain = await segment.database.read(partial(_plain_page, end=place[0], number=place[1]))
        for end, number, energy_wh, quality, register_wh in plain:
            known = found[number]
            if known is not None and end > known[1] and known[4] is None:
                found[number] = (known[0], end, register_wh, end if energy_wh else known[3], None, None, quality)
        if len(plain) < ROWS_PER_READ:
            return found
        place = plain[-1][:2]


async def _last_page(conn: Connection, after: int) -> list[tuple[Any, ...]]:
    return await conn.fetch_all(
        "SELECT point, meter, at, register_wh, still_since, doubt_at, doubt_register_wh, quality"
        " FROM last_register WHERE point > ? ORDER BY point LIMIT ?",
        (after, ROWS_PER_READ),
    )


async def _plain_page(conn: Connection, end: int, number: int) -> list[tuple[int, int, int, int, int]]:
    return await conn.fetch_all(
        "SELECT end, point, energy_wh, quality, register_wh FROM reading"
        " WHERE (end, point) > (?, ?) AND register_wh IS NOT NULL ORDER BY end, point LIMIT ?",
        (end, number, ROWS_PER_READ),
    )
