"""Monthly databases of readings, opened when they are asked for. Floor: edge_node/store; walk: reading.

A month's segment begins with the first reading of that local month and then only grows by late ones, so that a damaged
or a purged month never touches the others. Few are open at once, the least recently used one is closed; a segment is
leased while a verb works on it. Opening is done in a task of its own: a caller that is cancelled leaves no half-open
file behind.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gridmodel.fault import Fault
from gridmodel.period import month_bounds
from hosting.database import Connection, Database, DatabaseOpener
from hosting.migrations import load_migrations
from hosting.rowhash import RowHasher

SEGMENTS_OPEN_MAX = 4
"""The month that runs, the one before (late readings, closing days) and two for corrections or a page that asks."""
DICTIONARY_ROWS_PER_READ = 5_000
"""Dictionary rows taken in at once: some milliseconds of the event loop."""
FILE_PATTERN = "readings-????-??.db"

PointChannel = tuple[str, int]
"""A usage or supply point and the number of a channel."""


class SegmentFault(Fault):
    """A segment that contradicts itself, or something that is not in it. Codes TQ-SG-nn."""


class Segment:
    """One month: its database, its dictionary in memory and its marks."""

    def __init__(self, month: str, zone: str, database: Database) -> None:
        self.month = month
        """Local month, ``2026-05``."""
        self.database = database
        self.first, self.last = month_bounds(month, zone)
        """Interval ends in (first, last] belong here."""
        self.numbers: dict[PointChannel, int] = {}
        self.names: list[PointChannel] = [("", 0)]
        """By number; grows at the end only, so that another thread may read it."""
        self.begun = False
        """Whether the last registers were copied here: only then it may be the newest segment."""
        self.folded_to = 0
        """Plain readings up to this end are in `last_register` already."""
        self.gaps_from: int | None = None
        """No gap is due before this time; None while nobody looked."""

    async def load(self) -> None:
        """Read dictionary and marks, page by page."""

        async def marks(conn: Connection) -> dict[str, str]:
            return dict(await conn.fetch_all("SELECT key, value FROM segment"))

        found = await self.database.read(marks)
        self.begun = "begun" in found
        self.folded_to = int(found.get("folded_to", self.first))
        while True:
            rows = await self.database.read(self._page)
            if [number for number, _, _ in rows] != list(range(len(self.names), len(self.names) + len(rows))):
                raise SegmentFault(
                    "TQ-SG-01",
                    f"the dictionary of the readings of {self.month} has holes",
                    "stop the node, set the file aside, restore the newest copy",
                )
            self.adopt([(point, channel) for _, point, channel in rows])
            if len(rows) < DICTIONARY_ROWS_PER_READ:
                return

    async def _page(self, conn: Connection) -> list[tuple[int, str, int]]:
        rows = await conn.fetch_all(
            "SELECT number, point, channel FROM point WHERE number >= ? ORDER BY number LIMIT ?",
            (len(self.names), DICTIONARY_ROWS_PER_READ),
        )
        return [(number, point, channel) for number, point, channel in rows]

    def adopt(self, fresh: list[PointChannel]) -> None:
        """Take in points whose numbers are durable: they follow the known ones without a gap."""
        for key in fresh:
            self.numbers[key] = len(self.names)
            self.names.append(key)


async def insert_points(conn: Connection, first_number: int, fresh: list[PointChannel], hasher: RowHasher) -> None:
    """Write dictionary rows from `first_number` on, within the caller's transaction."""
    rows = [(number, *key) for number, key in enumerate(fresh, start=first_number)]
    await conn.execute_many(
        "INSERT INTO point (number, point, channel, hash) VALUES (?, ?, ?, ?)",
        ((*row, digest) for row, digest in zip(rows, hasher.digest_rows(rows), strict=True)),
    )


async def put_mark(conn: Connection, key: str, value: str) -> None:
    """Set a mark of a segment, within the caller's transaction."""
    await conn.execute(
        "INSERT INTO segment (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )


class Segments:
    """The segments of one node, by local month; `lease` is the only way to one."""

    def __init__(self, directory: Path, open_database: DatabaseOpener, zone: str) -> None:
        self.zone = zone
        self._directory = directory
        self._open_database = open_database
        self._migrations = load_migrations("edge_node.store", "schema/readings")
        self._open: dict[str, asyncio.Task[Segment]] = {}
        """In order of use, the latest last."""
        self._leases: dict[str, int] = {}
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._files: set[str] | None = None
        """Months that have a file: looked for once, for nobody else makes or takes them while the node runs."""

    def months(self) -> list[str]:
        """Every month that has a file, in order."""
        if self._files is None:
            found = self._directory.glob(FILE_PATTERN)
            self._files = {path.name.removeprefix("readings-").removesuffix(".db") for path in found}
        self._files.update(self._open)
        return sorted(self._files)

    def has(self, month: str) -> bool:
        """Whether the month has a file."""
        return month in self._open or self._path(month).is_file()

    def _path(self, month: str) -> Path:
        return self._directory / f"readings-{month}.db"

    @asynccontextmanager
    async def lease(self, month: str) -> AsyncIterator[Segment]:
        """The month's segment, kept open until the block ends; made when it is not there. Raises DatabaseFault."""
        self._leases[month] = self._leases.get(month, 0) + 1
        try:
            yield await self._segment(month)
        finally:
            self._leases[month] -= 1
            if not self._leases[month]:
                del self._leases[month]
            await self._close_surplus()

    async def _segment(self, month: str) -> Segment:
        task = self._open.pop(month, None)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = asyncio.ensure_future(self._opened(month))
        self._open[month] = task
        return await asyncio.shield(task)

    async def _opened(self, month: str) -> Segment:
        if (closing := self._closing.get(month)) is not None:
            await closing  # never two writers on one file
        database = await self._open_database(self._path(month), f"readings of {month}", self._migrations)
        segment = Segment(month, self.zone, database)
        try:
            await segment.load()
        except BaseException:
            await database.close()
            raise
        return segment

    async def _close_surplus(self) -> None:
        idle = [month for month, task in self._open.items() if month not in self._leases and task.done()]
        for month in idle[: max(0, len(self._open) - SEGMENTS_OPEN_MAX)]:
            await self._close_one(month)

    async def _close_one(self, month: str) -> None:
        opened = self._open.pop(month)

        async def closed() -> None:
            await asyncio.wait({opened})
            if not opened.cancelled() and opened.exception() is None:
                await opened.result().database.close()
            self._closing.pop(month, None)

        self._closing[month] = asyncio.ensure_future(closed())
        await asyncio.shield(self._closing[month])

    async def close(self) -> None:
        """Give every file back; what is being opened or closed is finished first. No lease may be out."""
        for closing in list(self._closing.values()):
            await closing
        while self._open:
            await self._close_one(next(iter(self._open)))
