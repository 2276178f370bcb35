"""What points took at given times: the past that an estimate takes its shape from. Floor: edge_node/store.

On the reading walk. Rows lie by time first, so that a point's past is one look-up for each interval; they come back
folded, one row for each point, so that neither the event loop nor the garbage collector sees each value.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from edge_node.store.segments import PointChannel, Segments
from gridmodel.period import local_day
from gridmodel.reading import Quality
from hosting.database import Connection

LOOKUPS_PER_READ = 4_000
"""Some 10 ms of the database's turn; booking goes in between."""

ENDS_PER_LOOK = 672
"""A week of quarter hours."""

Folded = tuple[int, str, str]
"""(index of the channel, its ends, its energies in Wh), both as JSON lists of the same length."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One interval as it lies in the store."""

    end: int
    energy_wh: int
    quality: Quality
    register_wh: int | None


async def stored_intervals(segments: Segments, channel: PointChannel, ends: Sequence[int]) -> list[Stored]:
    """What is booked of one channel at `ends`, in order of time; what is missing is absent."""
    found: list[Stored] = []
    for month, part in _months(segments, ends).items():
        async with segments.lease(month) as segment:
            number = segment.numbers.get(channel, 0)
            for start in range(0, len(part), LOOKUPS_PER_READ):
                wanted = json.dumps(part[start : start + LOOKUPS_PER_READ])
                rows = await segment.database.read(partial(_stored, number=number, ends=wanted))
                found += [Stored(end, wh, Quality(quality), register) for end, wh, quality, register in rows]
    return sorted(found, key=lambda one: one.end)


async def register_before(
    segments: Segments, channel: PointChannel, at: int, interval_s: int, reach_s: int
) -> Stored | None:
    """The last interval with a register that ended at `at` or earlier, as far as `reach_s` before it."""
    latest = at // interval_s * interval_s
    for end in range(latest, at - reach_s, -interval_s * ENDS_PER_LOOK):
        first = max(end - interval_s * (ENDS_PER_LOOK - 1), at - reach_s)
        ends = range(end, first - 1, -interval_s)
        for one in reversed(await stored_intervals(segments, channel, ends)):
            if one.register_wh is not None:
                return one
    return None


def _months(segments: Segments, ends: Sequence[int]) -> Mapping[str, list[int]]:
    months: dict[str, list[int]] = {}
    for end in ends:
        months.setdefault(local_day(end, segments.zone)[:7], []).append(end)
    return {month: part for month, part in months.items() if segments.has(month)}


async def measured_energies(segments: Segments, channels: Sequence[PointChannel], ends: Sequence[int]) -> list[Folded]:
    """The measured (ACTUAL) energies of `channels` at `ends`; a channel may come in several rows, or in none."""
    found: list[Folded] = []
    for month, part in _months(segments, ends).items():
        async with segments.lease(month) as segment:
            wanted = json.dumps(part)
            size = max(1, LOOKUPS_PER_READ // len(part))
            for start in range(0, len(channels), size):
                numbers = {
                    str(index): segment.numbers.get(channels[index], 0)
                    for index in range(start, min(start + size, len(channels)))
                }
                points = json.dumps(numbers)
                found += await segment.database.read(partial(_of_points, points=points, ends=wanted))
    return found


async def measured_means(
    segments: Segments, channels: Sequence[PointChannel], ends: Sequence[int], points_min: int
) -> dict[int, int]:
    """The mean measured energy (Wh) over `channels` at each of `ends` where at least `points_min` were measured."""
    found: dict[int, int] = {}
    for month, part in _months(segments, ends).items():
        async with segments.lease(month) as segment:
            points = json.dumps([segment.numbers[key] for key in channels if key in segment.numbers])
            size = max(1, LOOKUPS_PER_READ // max(1, len(channels)))
            for start in range(0, len(part), size):
                wanted = json.dumps(part[start : start + size])
                found |= await segment.database.read(partial(_means, points=points, ends=wanted, points_min=points_min))
    return found


async def _stored(conn: Connection, number: int, ends: str) -> list[tuple[int, int, int, int | None]]:
    return await conn.fetch_all(
        "SELECT r.end, r.energy_wh, r.quality, r.register_wh FROM json_each(?) AS e"
        " CROSS JOIN reading AS r ON r.end = e.value AND r.point = ?",
        (ends, number),
    )


async def _of_points(conn: Connection, points: str, ends: str) -> list[Folded]:
    return await conn.fetch_all(
        "SELECT CAST(p.key AS INTEGER), json_group_array(r.end), json_group_array(r.energy_wh)"
        " FROM json_each(?) AS p CROSS JOIN json_each(?) AS e"
        " CROSS JOIN reading AS r ON r.end = e.value AND r.point = p.value"
        " WHERE r.quality = ? GROUP BY p.key",
        (points, ends, int(Quality.ACTUAL)),
    )


async def _means(conn: Connection, points: str, ends: str, points_min: int) -> dict[int, int]:
    rows = await conn.fetch_all(
        "SELECT r.end, sum(r.energy_wh) / count(*) FROM json_each(?) AS e CROSS JOIN json_each(?) AS p"
        " CROSS JOIN reading AS r ON r.end = e.value AND r.point = p.value"
        " WHERE r.quality = ? GROUP BY r.end HAVING count(*) >= ?",
        (ends, points, int(Quality.ACTUAL), points_min),
    )
    return dict(rows)
