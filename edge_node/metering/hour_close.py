"""Hour close: from readings to cells, hour by hour, whether anything was read or not. Room: metering; walk: reading.

Level-triggered: what is to be done is always worked out from the store. Every hour after the last closed one is closed
once its grace is over; hours that later readings touched are closed again under a higher revision, until their day is
closed and its chunks speak for it. Nothing is closed while the clock is doubtful: a clock a year ahead would close a
year of nothing.
"""

from edge_node.metering.cells import hour_cells
from edge_node.metering.waiting import until
from edge_node.store.hours import Hours
from edge_node.store.readings import Readings
from edge_node.store.registries import Registries
from edge_node.wakeups import Wakeups
from gridmodel.clock import ClockTrust, UtilityClock
from gridmodel.period import HOUR_S, hour_end, local_day
from gridmodel.registry import Registry

HOUR_GRACE_S = 600
"""How long late readings are waited for by default: spread, and three tries again."""
RECLOSE_S = 1_800
"""Utility seconds between two rounds of closing hours again: a district that comes back fills its gaps together."""
REGISTRY_LOOK_S = 60
"""Utility seconds between looks for the first registry, or for a clock that is trusted again."""


class HourClose:
    """Closes hours. `run` for ever, or `tick` when a test says so."""

    def __init__(
        self,
        *,
        readings: Readings,
        hours: Hours,
        registries: Registries,
        clock: UtilityClock,
        wakeups: Wakeups,
        grace_s: int = HOUR_GRACE_S,
    ) -> None:
        self._readings = readings
        self._hours = hours
        self._registries = registries
        self._clock = clock
        self._wakeups = wakeups
        self._grace_s = grace_s
        self._reclosed_at: int | None = None

    async def run(self) -> None:
        """Close whatever is due, for ever."""
        while True:
            self._wakeups.hour.clear()
            following = await self.tick(self._clock.now())
            await until(self._clock, following, self._wakeups.hour)

    async def tick(self, now: int) -> int:
        """Close what is due at `now`; gives when to look again at the latest."""
        registry = self._registries.newest
        if registry is None or self._clock.trust() is ClockTrust.DOUBTFUL:
            return now + REGISTRY_LOOK_S
        if again := await self._hours.to_close_again():
            await self._readings.touch(again)
            await self._hours.closed_again()
            self._reclosed_at = None
        due = await self._next_hour(registry)
        while due + self._grace_s <= now:
            touches = await self._readings.touched()
            await self._close(registry, due, now)
            if due in touches:
                await self._readings.settle({due: touches[due]})
            due += HOUR_S
        if self._reclosed_at is None or now >= self._reclosed_at + RECLOSE_S or now < self._reclosed_at:
            await self._close_again(registry, due, now)
            self._reclosed_at = now
        return min(due + self._grace_s, self._reclosed_at + RECLOSE_S)

    async def _next_hour(self, registry: Registry) -> int:
        """The end of the first hour that was never closed."""
        last = (await self._hours.closed()).last_hour
        if last is not None:
            return last.hour_end + HOUR_S
        known_since = await self._hours.first_registry_at() or 0
        placed_since = await self._readings.compute.run(first_installation, registry)
        return hour_end(max(known_since, placed_since)) + HOUR_S

    async def _close(self, registry: Registry, hour: int, now: int, *, told: bool = True) -> None:
        await close_hour(self._readings, self._hours, registry, hour, now, told=told)
        self._wakeups.outbox.set()

    async def _close_again(self, registry: Registry, due: int, now: int) -> None:
        """Hours that were touched after their close, of days that are still open."""
        again = {hour: count for hour, count in (await self._readings.touched()).items() if hour < due}
        if not again:
            return
        closed = await self._hours.closed()
        last_day = closed.last_day or ""
        first = closed.first_hour or due
        for hour in sorted(again):
            if hour < first:
                continue  # before this node's first hour nothing is told
            if local_day(hour, registry.zone) > last_day:
                await self._close(registry, hour, now)
            else:
                del again[hour]  # its day is sealed: day close takes it from here
        await self._readings.settle(again)


async def close_hour(readings: Readings, hours: Hours, registry: Registry, hour: int, now: int, *, told: bool) -> int:
    """Work the cells of one hour out of the store and write what changed; gives how many did."""
    values = await readings.values(hour - HOUR_S, hour, registry.interval_minutes)
    cells = await readings.compute.run(hour_cells, registry, hour, values.names, values.rows)
    return await hours.put_hour(hour, cells, now, told=told)


def first_installation(registry: Registry) -> int:
    """When the first meter of the registry was placed; the end of time when there is none."""
    return min((placed.valid_from for placed in registry.installations), default=2**40)
