"""Upkeep of the segments: finding altered rows, giving back room. Floor: edge_node/store; walk: reading.

SQLite's own check finds few flipped bits; the keyed hash beside each row finds all, and whoever edits the file as well.
Raw readings of closed days go after a while, the chunks that were made of them stay.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

from edge_node.store.readings import Readings
from edge_node.store.segments import Segments
from gridmodel.period import day_bounds, days_between, parse_day
from hosting.database import Connection
from hosting.rowhash import RowHasher

RAW_DAYS_KEPT = 100
"""Raw readings of so many days stay behind the latest closed one: a late meter reaches back 45, a dispute a quarter."""
DAY_S = 86_400
ROWS_PER_CHECK = 5_000
"""Rows checked in one go: some 10 ms of a compute thread, and the segment is free in between."""
FINDINGS_MAX = 100
"""A damaged file alters thousands of rows; the first ones tell where."""
ENDS_PER_PURGE = 96
"""Interval ends purged at one close: as many as a day brings."""
ROWS_PER_PURGE = 1_000
"""Rows of the control database deleted in one transaction: some 10 ms."""
PAGES_PER_PURGE = 4_000
"""Free pages given back in one transaction: 16 MB."""

_Digests = Callable[[list[tuple[Any, ...]]], list[bytes]]


@dataclass(frozen=True, slots=True)
class RowsChecked:
    """What a check of row hashes found."""

    rows: int
    """How many were looked at."""
    altered: tuple[str, ...]
    """Those that are not what was written, at most FINDINGS_MAX: month, table and key."""


async def verify_readings(readings: Readings) -> RowsChecked:
    """Check every row of every segment against its hash. Long: minutes for months of a district."""
    rows, altered = 0, list[str]()
    for month in readings.segments.months():
        async with readings.segments.lease(month) as segment:
            for name, page, width, digests_of in _tables(readings):
                place: tuple[int, ...] = (-1,) * width
                while True:
                    found = await segment.database.read(partial(page, place=place))
                    wrong = await readings.compute.run(_altered, digests_of, found)
                    rows += len(found)
                    altered += [f"{month} {name} {row[:width]}" for row in wrong]
                    if len(found) < ROWS_PER_CHECK or len(altered) >= FINDINGS_MAX:
                        break
                    place = tuple(found[-1][:width])
        rows += await _verify_chunks(readings, month, altered)
    return RowsChecked(rows, tuple(altered[:FINDINGS_MAX]))


def _tables(readings: Readings) -> Sequence[tuple[str, Any, int, _Digests]]:
    """(name, page, columns of the key, how its rows are hashed)."""
    hashers = readings.hashers
    return (
        ("reading", _readings_page, 2, partial(_reading_digests, hashers.reading)),
        ("point", _points_page, 1, hashers.point.digest_rows),
        ("last_register", _last_page, 1, hashers.last.digest_rows),
    )


def _reading_digests(hasher: RowHasher, rows: list[tuple[Any, ...]]) -> list[bytes]:
    return hasher.digest_integers([(*row[-2:], *row[:-2]) for row in rows])


def _altered(digests_of: _Digests, rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    digests = digests_of([row[:-1] for row in rows])
    return [row for row, digest in zip(rows, digests, strict=True) if bytes(row[-1]) != digest]


async def _readings_page(conn: Connection, place: tuple[int, int]) -> list[tuple[Any, ...]]:
    return await conn.fetch_all(
        "SELECT end, point, energy_wh, quality, register_wh, epoch, revision, hash FROM reading"
        " WHERE (end, point) > (?, ?) ORDER BY end, point LIMIT ?",
        (*place, ROWS_PER_CHECK),
    )


async def _points_page(conn: Connection, place: tuple[int]) -> list[tuple[Any, ...]]:
    return await conn.fetch_all(
        "SELECT number, point, channel, hash FROM point WHERE number > ? ORDER BY number LIMIT ?",
        (*place, ROWS_PER_CHECK),
    )


async def _last_page(conn: Connection, place: tuple[int]) -> list[tuple[Any, ...]]:
    return await conn.fetch_all(
        "SELECT point, meter, at, register_wh, still_since, doubt_at, doubt_register_wh, quality, hash"
        " FROM last_register WHERE point > ? ORDER BY point LIMIT ?",
        (*place, ROWS_PER_CHECK),
    )


async def _verify_chunks(readings: Readings, month: str, altered: list[str]) -> int:
    async with readings.segments.lease(month) as segment:
        ids = await segment.database.read(lambda conn: conn.fetch_all("SELECT id FROM chunk ORDER BY id"))
        for (chunk_id,) in ids:
            row = await segment.database.read(partial(_chunk_row, chunk_id=chunk_id))
            if row is None or await readings.compute.run(_digest, row[0]) != bytes(row[1]):
                altered.append(f"{month} chunk {chunk_id}")
    return len(ids)


async def _chunk_row(conn: Connection, chunk_id: str) -> tuple[Any, ...] | None:
    return await conn.fetch_one("SELECT payload, digest FROM chunk WHERE id = ?", (chunk_id,))


def _digest(payload: bytes) -> bytes:
    return sha256(payload).digest()


async def purge_readings(segments: Segments, closed_day: str, days_kept: int = RAW_DAYS_KEPT) -> int:
    """Delete raw readings more than `days_kept` days before a closed day, a bounded number; gives how many."""
    if (parse_day(closed_day) - parse_day("2000-01-01")).days <= days_kept:
        return 0
    oldest = _days_before(closed_day, days_kept)
    before = day_bounds(oldest, segments.zone)[0]
    purged = 0
    for month in segments.months():
        if month > oldest[:7]:
            break
        async with segments.lease(month) as segment:
            await segment.database.write(partial(_purge_gaps, before=before))
            await segment.database.write(partial(_purge_estimates, before=before))
            for _ in range(ENDS_PER_PURGE):
                gone = await segment.database.write(partial(_purge_end, before=before))
                purged += gone
                if not gone:
                    break
            else:
                await segment.database.write(_give_back)
    return purged


async def purge_control(conn: Connection, now: int) -> int:
    """Delete alarms that ended and cells of hours more than RAW_DAYS_KEPT ago, a bounded number; gives how many.

    The hub has both, and no hour is closed again so late.
    """
    before = now - RAW_DAYS_KEPT * DAY_S
    return await conn.execute(
        "DELETE FROM alarm WHERE rowid IN (SELECT rowid FROM alarm WHERE cleared_at < ? LIMIT ?)",
        (before, ROWS_PER_PURGE),
    ) + await conn.execute(
        "DELETE FROM hour_cell WHERE (hour_end, place) IN"
        " (SELECT hour_end, place FROM hour_cell WHERE hour_end < ? ORDER BY hour_end, place LIMIT ?)",
        (before, ROWS_PER_PURGE),
    )


def _days_before(day: str, count: int) -> str:
    year = parse_day(day).year
    return days_between(f"{year - 1 - count // 365}-01-01", day)[-1 - count]


async def _purge_end(conn: Connection, before: int) -> int:
    return await conn.execute("DELETE FROM reading WHERE end <= ? AND end = (SELECT min(end) FROM reading)", (before,))


async def _purge_gaps(conn: Connection, before: int) -> None:
    await conn.execute("DELETE FROM gap WHERE end <= ?", (before,))


async def _purge_estimates(conn: Connection, before: int) -> None:
    await conn.execute("DELETE FROM estimate WHERE end <= ?", (before,))


async def _give_back(conn: Connection) -> None:
    await conn.fetch_all(f"PRAGMA incremental_vacuum({PAGES_PER_PURGE})")
