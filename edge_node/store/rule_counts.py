"""How often each rule of validation spoke, by local day. Floor: edge_node/store; walk: reading.

A statistic for people: a round that a crash tears apart between this and its readings may be counted twice.
"""

from collections.abc import Mapping
from functools import partial

from edge_node.store.segments import Segments
from gridmodel.period import local_day
from hosting.database import Connection

_ADD = """
    INSERT INTO rule_count (day, rule, count) VALUES (?, ?, ?)
    ON CONFLICT (day, rule) DO UPDATE SET count = count + excluded.count"""


class RuleCounts:
    """The counts of one node, kept in the month of their day."""

    def __init__(self, segments: Segments) -> None:
        self._segments = segments

    async def add(self, at: int, counts: Mapping[str, int]) -> None:
        """Count these rules for the local day of the interval ending at `at`; none is nothing to write."""
        if not counts:
            return
        day = local_day(at, self._segments.zone)
        rows = [(day, str(rule), count) for rule, count in sorted(counts.items())]
        async with self._segments.lease(day[:7]) as segment:
            await segment.database.write(partial(_add, rows=rows))

    async def of_day(self, day: str) -> dict[str, int]:
        """The counts of a local day by the name of the rule; rules that were silent are left out."""
        if not self._segments.has(day[:7]):
            return {}
        async with self._segments.lease(day[:7]) as segment:
            return dict(await segment.database.read(partial(_of_day, day=day)))


async def _add(conn: Connection, rows: list[tuple[str, str, int]]) -> None:
    await conn.execute_many(_ADD, rows)


async def _of_day(conn: Connection, day: str) -> list[tuple[str, int]]:
    return await conn.fetch_all("SELECT rule, count FROM rule_count WHERE day = ? ORDER BY rule", (day,))
