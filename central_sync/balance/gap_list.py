"""The gap list: which intervals of a node's points are not known by measurement, and why. Floor: central_sync/balance.

On the reading walk. Worked out from the chunks in force and from when the node was in touch; nothing of it is stored.
A reason is what the hub can know: that a meter was silent while its neighbours spoke, that nobody spoke, that the link
was lost. Why an office's meter was silent is in that office's own list (`edge-node status`).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from hashlib import sha256
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows import ChunkRow, LinkSpan
from gridmodel.clock import Compute
from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from gridmodel.period import day_bounds, days_between, rfc3339
from gridmodel.reading import Channel, Quality
from protocols.sync.chunk import NOT_EXPECTED, ChunkColumns, decode_columns

CHUNKS_AT_ONCE = 8
LISTED_MAX = 500
"""Rows of one list; the counts are of everything."""
SPANS_READ_MAX = 5_000
"""Spans of contact of a node: some years of a line that is lost daily."""
DAYS_MAX = 400
CLOSE_S = 6 * 3_600
"""A day is expected here so long after its end: the node's grace, its sealing and a slow line."""


class GapReason(StrEnum):
    """Why an interval is not known by measurement."""

    METER_UNREACHABLE = "meter_unreachable"
    """This point is missing while others of the node were read."""
    NODE_DOWN = "node_down"
    """No point of the node was read; or the node was in touch after the day's end and told nothing of it."""
    LINK_LOSS = "link_loss"
    """The node has not been in touch since: what it knows is still to come."""
    ESTIMATED = "estimated"
    """Booked as an estimate between two registers."""
    NEVER_INSTALLED = "never_installed"
    """No meter stood there, or the node was not yet there."""
    NOT_CLOSED = "not_closed"
    """The day is not over, or not sealed yet."""
    BLOB_UNREADABLE = "blob_unreadable"
    """The hub's own copy is damaged: `central-sync verify --repair` fetches it."""


@dataclass(slots=True)
class GapList:
    """What was found."""

    intervals: Counter[str] = field(default_factory=Counter)
    """How many intervals of import, by reason; of days without a chunk: days."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    points_seen: int = 0

    def note(self, reason: GapReason, count: int, row: dict[str, Any]) -> None:
        """One more gap."""
        self.intervals[reason.value] += count
        if len(self.rows) < LISTED_MAX:
            self.rows.append({"reason": reason.value, "intervals": count} | row)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "intervals": dict(sorted(self.intervals.items())),
            "listed": self.rows,
            "usage_points": self.points_seen,
        }


@dataclass(frozen=True, slots=True)
class _Import:
    """Of a chunk: how its import is known; a region's day has a thousand of them in memory."""

    rank: tuple[int, int]
    """(epoch, revision)."""
    ends: range
    keys: tuple[tuple[str, str], ...]
    """[S] (point, transformer or nothing)."""
    quality: NDArray[np.uint8]
    """[S, n]"""


class Coverage:
    """Works out gap lists."""

    def __init__(self, store: HubStore, compute: Compute, zone: str) -> None:
        self._store = store
        self._compute = compute
        self._zone = zone

    async def gaps(
        self, node: NodeId, first: str, last: str, now: int, points: tuple[str, str] = ("", "~")
    ) -> dict[str, Any]:
        """The gaps of the local days `first` to `last`, of the points with ids in `points` (both included)."""
        days = days_between(first, last)
        if len(days) > DAYS_MAX:
            raise Fault("TQ-HB-61", f"{len(days)} days in one gap list", f"ask for at most {DAYS_MAX}")

        async def verb(tx: HubTransaction) -> tuple[dict[str, int], list[LinkSpan]]:
            return dict(await tx.chunk_days(node)), await tx.link_spans(node, SPANS_READ_MAX)

        counts, spans = await self._store.read(verb)
        found = GapList()
        for day in days:
            if day in counts:
                await self._of_day(node, day, points, found)
            else:
                self._absent(day, spans, now, found, begun=bool(counts) and day >= min(counts))
        return found.as_dict()

    def _absent(self, day: str, spans: Sequence[LinkSpan], now: int, found: GapList, *, begun: bool) -> None:
        """A day of which no chunk is here."""
        start, end = day_bounds(day, self._zone)
        heard = max((span.last_at for span in spans), default=0)
        if end + CLOSE_S > now:
            reason = GapReason.NOT_CLOSED
        elif not begun and not any(span.began_at < end for span in spans):
            reason = GapReason.NEVER_INSTALLED
        elif heard < end + CLOSE_S:
            reason = GapReason.LINK_LOSS
        else:
            reason = GapReason.NODE_DOWN
        found.note(reason, 1, {"point": None, "day": day, "from": rfc3339(start), "to": rfc3339(end)})

    async def _of_day(self, node: NodeId, day: str, points: tuple[str, str], found: GapList) -> None:
        chunks: list[_Import] = []
        unreadable, after = 0, ""
        while True:
            rows = await self._store.read(partial(_page, node=node, day=day, after=after))
            decoded = await self._compute.run(_decoded, rows)
            chunks += [one for one in decoded if one is not None]
            unreadable += sum(one is None for one in decoded)
            if len(rows) < CHUNKS_AT_ONCE:
                break
            after = rows[-1].id
        if unreadable:
            row = {"point": None, "day": day, "from": None, "to": None}
            found.note(GapReason.BLOB_UNREADABLE, unreadable, row)
        await self._compute.run(_note_day, chunks, day, points, found)


async def _page(tx: HubTransaction, node: NodeId, day: str, after: str) -> list[ChunkRow]:
    return await tx.chunks_of(node, day, after, CHUNKS_AT_ONCE)


def _decoded(rows: Sequence[ChunkRow]) -> list[_Import | None]:
    """Pure: the import of chunks, None for one whose bytes are not what was received."""
    found: list[_Import | None] = []
    for row in rows:
        try:
            sound = sha256(row.content).hexdigest() == row.id
            found.append(_import_of(decode_columns(row.content)) if sound else None)
        except Fault:
            found.append(None)
    return found


def _import_of(columns: ChunkColumns) -> _Import:
    rows = np.flatnonzero(columns.channel == Channel.IMPORT)
    owners = columns.transformer[rows].tolist()
    keys = tuple(
        (columns.points[index], columns.transformers[owner] if owner >= 0 else "")
        for index, owner in zip(rows.tolist(), owners, strict=True)
    )
    revision = columns.head.revision
    return _Import((revision.epoch, revision.number), columns.head.ends(), keys, columns.quality[rows].copy())


def _note_day(chunks: Iterable[_Import], day: str, points: tuple[str, str], found: GapList) -> None:
    """Pure but for `found`: the runs of one day that are not known by measurement."""
    in_force: dict[tuple[str, str], NDArray[np.uint8]] = {}
    ends = range(0)
    for chunk in sorted(chunks, key=lambda one: one.rank):
        ends = chunk.ends
        in_force.update(zip(chunk.keys, chunk.quality, strict=True))
    by_point: dict[str, NDArray[np.uint8]] = {}
    for (point, _), quality in in_force.items():
        by_point[point] = np.minimum(by_point[point], quality) if point in by_point else quality
    if not by_point:
        return
    silent = np.ones(len(ends), np.bool_)
    for quality in by_point.values():
        silent &= quality >= Quality.MISSING
    found.points_seen = max(found.points_seen, len(by_point))
    length = ends.step
    for point in sorted(by_point):
        if not points[0] <= point <= points[1]:
            continue
        for reason, first, count in _runs(by_point[point], silent):
            row = {"point": point, "day": day, "from": rfc3339(ends[first] - length)}
            found.note(reason, count, row | {"to": rfc3339(ends[first + count - 1])})


def _runs(quality: NDArray[np.uint8], silent: NDArray[np.bool_]) -> list[tuple[GapReason, int, int]]:
    """(reason, index of the first interval, intervals) of a day's gaps."""
    if not np.any(quality != Quality.ACTUAL):
        return []
    reasons = [_reason(int(one), bool(all_)) for one, all_ in zip(quality, silent, strict=True)]
    runs: list[tuple[GapReason, int, int]] = []
    at = 0
    for reason, some in groupby(reasons):
        count = sum(1 for _ in some)
        if reason is not None:
            runs.append((reason, at, count))
        at += count
    return runs


def _reason(quality: int, silent: bool) -> GapReason | None:
    if quality == Quality.ESTIMATED:
        return GapReason.ESTIMATED
    if quality == NOT_EXPECTED:
        return GapReason.NEVER_INSTALLED
    if quality == Quality.MISSING:
        return GapReason.NODE_DOWN if silent else GapReason.METER_UNREACHABLE
    return None
