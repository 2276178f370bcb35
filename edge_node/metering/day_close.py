"""Day close: a local day becomes chunks, sealed once and again when late readings come. Room: metering; walk: reading.

A day is sealed when its hours are closed and its grace is over. Each chunk is stored in the segments first; then one
control transaction closes the day and offers them. A crash in between leaves the day open, and it is sealed again.
A closed day that readings touch is sealed again under a higher revision, at most once per `RESEAL_S`; only chunks that
say something else are offered.
"""

from edge_node.metering.day_parts import DayPart, day_parts, seal_part
from edge_node.metering.hour_close import close_hour
from edge_node.store.chunks import GIVEN_BACK_FROM, ChunkRow
from edge_node.store.day_rows import day_rows
from edge_node.store.hours import DayMark, Hours
from edge_node.store.readings import Readings
from edge_node.store.registries import Registries
from edge_node.store.upkeep import purge_readings
from edge_node.wakeups import Wakeups
from gridmodel.clock import ClockTrust, UtilityClock
from gridmodel.period import HOUR_S, day_bounds, interval_ends, local_day
from gridmodel.reading import Revision
from gridmodel.registry import Registry
from hosting.log import logger

DAY_GRACE_S = 7_200
"""How long after midnight late readings are waited for by default."""
RESEAL_S = 3_600
"""Utility seconds between two seals of one day: a meter that comes back after weeks fills all its days once."""
LOOK_S = 1_800
"""Utility seconds between two looks for closed days that were touched."""


class DayClose:
    """Closes days. `run` for ever, or `tick` when a test says so."""

    def __init__(
        self,
        *,
        readings: Readings,
        hours: Hours,
        registries: Registries,
        clock: UtilityClock,
        wakeups: Wakeups,
        grace_s: int = DAY_GRACE_S,
    ) -> None:
        self._readings = readings
        self._hours = hours
        self._registries = registries
        self._clock = clock
        self._wakeups = wakeups
        self._grace_s = grace_s
        self._log = logger("metering")

    async def run(self) -> None:
        """Seal whatever is due, for ever."""
        while True:
            await self._clock.sleep_until(await self.tick(self._clock.now()))

    async def tick(self, now: int) -> int:
        """Seal what is due at `now`; gives when to look again at the latest."""
        registry = self._registries.newest
        closed = await self._hours.closed()
        first = closed.first_hour
        if registry is None or first is None or self._clock.trust() is ClockTrust.DOUBTFUL:
            return now + LOOK_S
        due = self._next_day(registry, first, closed.last_day)
        while (ends_at := day_bounds(due, registry.zone)[1]) + self._grace_s <= now:
            if closed.last_hour is None or closed.last_hour.hour_end < ends_at:
                break  # its hours come first
            await self._seal(registry, due, first, now)
            await purge_readings(self._readings.segments, due)
            due = local_day(ends_at + 1, registry.zone)
        await self._seal_again(registry, due, first, now)
        return min(max(now + 1, day_bounds(due, registry.zone)[1] + self._grace_s), now + LOOK_S)

    def _next_day(self, registry: Registry, first_hour: int, last: str | None) -> str:
        """The first day that was never sealed."""
        if last is None:
            return local_day(first_hour, registry.zone)
        return local_day(day_bounds(last, registry.zone)[1] + 1, registry.zone)

    async def _seal_again(self, registry: Registry, due: str, first: int, now: int) -> None:
        """Closed days with touched hours, each no more often than its time."""
        touches = await self._readings.touched()
        days: dict[str, dict[int, int]] = {}
        for hour, count in touches.items():
            days.setdefault(local_day(hour, registry.zone), {})[hour] = count
        for day, touched in sorted(days.items()):
            if day >= due:
                continue
            mark = await self._hours.day_mark(day)
            if mark is not None and mark.closed_at <= now < mark.closed_at + RESEAL_S:
                continue
            if mark is not None and not await self._offered(day, mark):
                # What was sealed is gone with its segment, and so are the readings: a day made of what is left would
                # outrank the whole one that the hub has.
                self._log.warning("day_not_sealed_again", day=day)
            elif mark is not None:
                await self._seal(registry, day, first, now)
                for hour in sorted(touched):
                    if hour >= first:
                        await close_hour(self._readings, self._hours, registry, hour, now, told=False)
            await self._readings.settle(touched)

    async def _seal(self, registry: Registry, day: str, first_hour: int, now: int) -> None:
        mark = await self._hours.day_mark(day)
        revision = Revision(await self._hours.epoch(), 1 if mark is None else mark.revision + 1)
        offered = await self._offered(day, mark)
        sealed: list[ChunkRow] = []
        for part in await self._readings.compute.run(day_parts, registry, day, first_hour - HOUR_S):
            row = await self._seal_part(registry, part, revision, offered.get(part.number))
            if row is not None:
                sealed.append(row)
        await self._hours.put_day(day, revision.number, sealed, now)
        self._wakeups.outbox.set()

    async def _offered(self, day: str, mark: DayMark | None) -> dict[int, ChunkRow]:
        """The latest chunk of each number that the hub was offered."""
        if mark is None:
            return {}
        rows = await self._readings.chunks.of_day(day)
        return {
            row.number: row for row in rows if row.revision.number <= mark.revision and row.number < GIVEN_BACK_FROM
        }

    async def _seal_part(
        self, registry: Registry, part: DayPart, revision: Revision, before: ChunkRow | None
    ) -> ChunkRow | None:
        ends = interval_ends(part.day, registry.interval_minutes, registry.zone)
        begin = ends[0] - registry.interval_minutes * 60
        rows = await day_rows(self._readings.segments, part.channels(), begin, ends)
        chunk = await self._readings.compute.run(seal_part, registry, part, rows, revision, before)
        if chunk is None:
            return None
        await self._readings.chunks.put(chunk)
        return chunk.row
