"""Exchanges whose registers came late: what lies between two meters is booked afterwards. Room: metering.

On the reading walk. A new meter is polled as soon as the registry names it; the fitter's registers may come days later,
or be mended after a slip of the pen. Then the hole between the old meter's last register and the new one's first is
still empty, and both can be read out of the store. Level-triggered: each registry version is gone through once, and
what is booked already is left alone, so that the order in which papers and polls arrive does not matter.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from edge_node.metering.polling import exchanges_of, rules_of, stays_of
from edge_node.store.history import Stored, stored_intervals
from edge_node.store.hours import Hours
from edge_node.store.reading_round import Booking
from edge_node.store.readings import Readings
from edge_node.store.registries import Registries
from edge_node.wakeups import Wakeups
from gridmodel.clock import ClockTrust, UtilityClock
from gridmodel.network import Installation
from gridmodel.reading import Channel, Quality, RegisterRead, Revision
from gridmodel.registry import Registry
from gridmodel.vee import Baseline, Exchange, LastRegister, VeeRules, exchanged
from protocols.profile import MeterProfile

REACH_S = 45 * 86_400
"""Exchanges longer ago are left: their hours are not closed again any more."""
LOOK_S = 300
"""Utility seconds between looks for another registry version."""
ENDS_PER_LOOK = 672
"""Interval ends looked up at once on the way to a register: a week of quarter hours."""


@dataclass(frozen=True, slots=True)
class _Hole:
    """One channel of one exchange."""

    placed: Installation
    channel: Channel
    exchange: Exchange
    rules: VeeRules
    since: int
    """Since when the old meter stood there."""
    first: int
    """The end of the interval that is looked for: that of the exchange, or the old meter's last one."""

    @property
    def length(self) -> int:
        return self.rules.interval_minutes * 60


class LateExchanges:
    """Books exchanges that the registry tells after the fact. `run` for ever, or `tick` when a test says so."""

    def __init__(
        self,
        *,
        readings: Readings,
        hours: Hours,
        registries: Registries,
        profiles: Mapping[str, MeterProfile],
        clock: UtilityClock,
        wakeups: Wakeups,
    ) -> None:
        self._readings = readings
        self._hours = hours
        self._registries = registries
        self._profiles = profiles
        self._clock = clock
        self._wakeups = wakeups
        self._seen = (0, 0)
        """(version, field works) of the registry gone through last."""

    async def run(self) -> None:
        """Go through every registry version, for ever."""
        while True:
            await self.tick(self._clock.now())
            await self._clock.sleep(LOOK_S)

    async def tick(self, now: int) -> int:
        """Go through the newest registry unless that was done to the end; gives how many channels were booked."""
        registry = self._registries.newest
        if (
            registry is None
            or (registry.version, registry.works) == self._seen
            or self._clock.trust() is ClockTrust.DOUBTFUL
        ):
            return 0
        holes = await self._readings.compute.run(_holes, registry, self._profiles, now)
        bookings = [booking for hole in holes if (booking := await self._booking(hole, now)) is not None]
        if bookings:
            await self._readings.correct(bookings, Revision(await self._hours.epoch(), 1))
            counts = Counter({"exchange": len(bookings)})
            rows = self._readings.rule_counts.rows(max(one.intervals[-1].end for one in bookings), counts)
            await self._readings.rule_counts.add(rows)
            self._wakeups.hour.set()
        if all(hole.first <= now for hole in holes):  # the interval of an exchange told at once is still to come
            self._seen = (registry.version, registry.works)
        return len(bookings)

    async def _booking(self, hole: _Hole, now: int) -> Booking | None:
        """What lies between the two meters; None when it is booked already or a register is not in the store."""
        channel = (hole.placed.point, int(hole.channel))
        if now < hole.first:
            return None
        if await stored_intervals(self._readings.segments, channel, [hole.first]):
            ended = hole.first - hole.length
            if ended != hole.exchange.began_at or await stored_intervals(self._readings.segments, channel, [ended]):
                return None
            hole = replace(hole, first=ended)  # at its very end the new meter was read under the old one's name
        before, after = await self._before(hole), await self._after(hole, now)
        if before is None or after is None:
            return None
        last = LastRegister(hole.exchange.old_meter, before.at, before.register_wh, before.at)
        read = RegisterRead(hole.placed.point, hole.placed.meter, hole.channel, after.at, after.register_wh)
        made = exchanged(last, hole.exchange, read, hole.rules)
        if not made.intervals or made.last is None:
            return None
        return Booking(hole.placed.point, hole.channel, made.intervals, made.last)

    async def _before(self, hole: _Hole) -> Baseline | None:
        """The old meter's last register."""
        channel = (hole.placed.point, int(hole.channel))
        oldest = max(hole.since, hole.exchange.ended_at - REACH_S)
        for ends in _steps(hole.first - hole.length, oldest, -hole.length):
            for one in reversed(await stored_intervals(self._readings.segments, channel, ends)):
                if one.register_wh is not None:
                    return Baseline(one.end, one.register_wh)
        return None

    async def _after(self, hole: _Hole, now: int) -> Baseline | None:
        """The new meter's first register: that of its first stored intervals less what they counted, or its last."""
        channel = (hole.placed.point, int(hole.channel))
        known: list[Stored] = []
        for ends in _steps(hole.first + hole.length, min(now, hole.placed.valid_to), hole.length):
            for one in await stored_intervals(self._readings.segments, channel, ends):
                known.append(one)
                if one.quality is Quality.SUSPECT:
                    return None  # it wrapped: the difference is not its own
                if one.register_wh is not None:
                    counted_wh = sum(interval.energy_wh for interval in known)
                    return Baseline(known[0].end - hole.length, one.register_wh - counted_wh)
        last = self._readings.last(hole.placed.point, hole.channel)
        if last is None or last.meter != hole.placed.meter or last.at < hole.first:
            return None
        return Baseline(last.at, last.register_wh)


def _steps(first: int, last: int, step: int) -> Iterator[range]:
    """The interval ends from `first` up to and including `last` (or down to it, itself left out), some at a time."""
    ends = range(first, last + 1 if step > 0 else last, step)
    for begin in range(0, len(ends), ENDS_PER_LOOK):
        yield ends[begin : begin + ENDS_PER_LOOK]


def _holes(registry: Registry, profiles: Mapping[str, MeterProfile], now: int) -> list[_Hole]:
    """Every channel of every exchange within reach whose registers are both known. Heavy: a task for `compute`."""
    stays = stays_of(registry)
    found: list[_Hole] = []
    for placed in (one for of_point in stays.values() for one in of_point):
        profile = profiles.get(registry.meter[placed.meter].profile)
        if profile is None or not now - REACH_S < placed.valid_from <= now:
            continue
        rules = rules_of(profile, placed.multiplier, registry.interval_minutes)
        for channel, exchange in exchanges_of(registry, placed, stays, profiles).items():
            since = max(one.valid_from for one in stays[placed.point] if one.valid_to <= placed.valid_from)
            length = registry.interval_minutes * 60
            first = exchange.began_at // length * length + length
            found.append(_Hole(placed, channel, exchange, rules, since, first))
    return found
