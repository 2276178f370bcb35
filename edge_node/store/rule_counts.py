"""How often each rule of validation spoke, by local day. Floor: edge_node/store; walk: reading.

A round's counts are written together with its readings; those of a round that booked nothing by themselves.
"""

from collections.abc import Mapping
from functools import partial

from edge_node.store.segments import Segments
from gridmodel.period import local_day
from hosting.database import Connection

_ADD = """
    INSERT INTO rule_count (day, rule, count) VALUES (?, ?, ?)
    ON CONFLICT (day, rule) DO UPDATE SET count = count + excluded.count"""

CountRow = tuple[str, str, int]
"""(local day, rule, how often)."""


class RuleCounts:
    """The counts of one node, kept in the month of their day."""

    def __init__(self, segments: Segments) -> None:
        self._segments = segments

    def rows(self, at: int, counts: Mapping[str, int]) -> list[CountRow]:
        """These counts as rows of the local day of the interval ending at `at`."""
        day = local_day(at, self._segments.zone)
        return [(day, str(rule), count) for rule, count in sorted(counts.items())]

    async def add(self, rows: list[CountRow]) -> None:
        """Count rows of one day; none is nothing to write."""
        if not rows:
            return
        async with self._segments.lease(counted_month(rows)) as segment:
            await segment.database.write(partial(add_counts, rows=rows))

    async def of_day(self, day: str) -> dict[str, int]:
        """The counts of a local day by the name of the rule; rules that were silent are left out."""
        if not self._segments.has(day[:7]):
            return {}
        async with self._segments.lease(day[:7]) as segment:
            return dict(await segment.database.read(partial(_of_day, day=day)))


def counted_month(rows: list[CountRow]) -> str:
    """The local month of a day's rows."""
    return rows[0][0][:7]


async def add_counts(conn: Connection, rows: list[CountRow]) -> None:
    """Count rows of a day of the segment's month, within the caller's transaction."""
    await conn.execute_many(_ADD, rows)


async def _of_day(conn: Connection, day: str) -> list[tuple[str, int]]:
    return await conn.fetch_all("SELECT rule, count FROM rule_count WHERE day = ? ORDER BY rule", (day,))
