"""Readings of some channels over a whole day, for its chunks. Floor: edge_node/store; walk: reading.

A chunk's thousand points are looked up by (end, point), some ends at a time, so that booking gets its turn in between.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from edge_node.store.segments import PointChannel, Segments
from gridmodel.period import local_day
from hosting.database import Connection

ENDS_PER_READ = 4
"""An hour of quarter hours for a thousand points with two channels: 8,000 rows, some 20 ms of the database's turn."""


@dataclass(frozen=True, slots=True)
class DayRows:
    """What is known of some channels over some interval ends."""

    rows: list[tuple[int, int, int, int]]
    """(end, index of the channel, energy_wh, quality)."""
    start_register_wh: dict[int, int]
    """By index of the channel: the register at the beginning, where it was read."""


async def day_rows(segments: Segments, channels: Sequence[PointChannel], begin: int, ends: Sequence[int]) -> DayRows:
    """Values of `channels` at `ends` (one local day), and their registers at `begin` (its midnight)."""
    found: list[tuple[int, int, int, int]] = []
    registers: dict[int, int] = {}
    month, before = (local_day(end, segments.zone)[:7] for end in (ends[0], begin))
    if segments.has(before):
        async with segments.lease(before) as segment:
            wanted = json.dumps([segment.numbers.get(key, 0) for key in channels])
            registers = dict(await segment.database.read(partial(_registers, wanted=wanted, end=begin)))
    if segments.has(month):
        async with segments.lease(month) as segment:
            wanted = json.dumps([segment.numbers.get(key, 0) for key in channels])
            for start in range(0, len(ends), ENDS_PER_READ):
                part = json.dumps(list(ends[start : start + ENDS_PER_READ]))
                found += await segment.database.read(partial(_values, wanted=wanted, ends=part))
    return DayRows(found, registers)


async def _registers(conn: Connection, wanted: str, end: int) -> list[tuple[int, int]]:
    return await conn.fetch_all(
        "SELECT k.key, r.register_wh FROM json_each(?) AS k JOIN reading AS r ON r.end = ? AND r.point = k.value"
        " WHERE r.register_wh IS NOT NULL",
        (wanted, end),
    )


async def _values(conn: Connection, wanted: str, ends: str) -> list[tuple[int, int, int, int]]:
    return await conn.fetch_all(
        "SELECT r.end, k.key, r.energy_wh, r.quality FROM json_each(?) AS e CROSS JOIN json_each(?) AS k"
        " CROSS JOIN reading AS r ON r.end = e.value AND r.point = k.value",
        (ends, wanted),
    )
