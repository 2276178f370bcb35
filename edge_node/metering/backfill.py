"""Backfill: what an outage hid is read out of the meters' own memory. Room: metering; walk: reading.

Level-triggered from the gap list: after an outage of a node, a concentrator or a link, after a start, after a crash.
It asks between the polls, few meters at a time and one at each address; what it learns is booked above the estimates,
so that hours and days are closed again by those who close them; and the gap leaves the list, or the list says why not.
Readings are corrected first and the gap is settled afterwards: whatever a crash tears apart is asked and booked again.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from edge_node.metering.gap_filling import Filled, clock_lies, fill, still
from edge_node.metering.polling import SPREAD_S, rules_of
from edge_node.store.gaps import Gap, GapReason, Settled
from edge_node.store.hours import Hours
from edge_node.store.reading_round import Booking
from edge_node.store.readings import Readings
from edge_node.store.registries import Registries
from edge_node.wakeups import Wakeups
from gridmodel.clock import ClockTrust, Compute, UtilityClock
from gridmodel.identity import MeterId
from gridmodel.period import HOUR_S, interval_end
from gridmodel.quantity import Multiplier
from gridmodel.reading import Revision
from gridmodel.registry import Registry, Topology
from gridmodel.vee import LastRegister, VeeRules
from protocols.driver import ClockKeeper, MeterDriver, MeterTarget, ProfileReader, ProfileSlice
from protocols.errors import Blame, Hope, ProtocolFault
from protocols.profile import MeterProfile

REVISION = 2
"""Of what a load profile told: above every estimate, which polls book as 1. Asked again it tells the same."""
AT_ONCE = 16
"""Addresses asked at one time: a district of 42,000 behind concentrators that take three seconds for each meter is
filled within three hours, and less than a tenth of what polls may use is taken."""
IN_TURN = 8
"""Meters asked at one address in one go."""
GAPS_PER_LOOK = 200
"""Gaps looked at in one go."""
CALL_S_MAX = 600
"""Real seconds that one meter may take in all; see the collector's READ_S_MAX."""
PART_S = 30 * 86_400
"""A longer gap is read in parts: 2,880 quarters, less than every driver takes at once."""
REACH_S = 58 * 86_400
"""Gaps that begin earlier are left: three local months are closed again, and that is the least they can be."""
LOOK_S = 300
"""Utility seconds between looks while there is nothing to do."""
AGAIN_S, AGAIN_S_MAX = 900, 6 * HOUR_S
"""Before a meter that did not answer is asked once more: doubled each time, up to four times a day."""
DAY_S = 86_400

_PERSONS = (
    GapReason.NO_MEMORY,
    GapReason.COLUMN_MISSING,
    GapReason.PERIOD_UNFIT,
    GapReason.METER_REFUSES,
    GapReason.CLOCK_WRONG,
)
"""What a person can mend in a profile file: looked at again when the node starts, for then the files are read."""
_DAILY = frozenset({GapReason.METER_REFUSES, GapReason.CLOCK_WRONG})
"""What may be mended at the meter, or by the registry."""


@dataclass(frozen=True, slots=True)
class _Place:
    """How the meter of a gap is reached, and how it counts."""

    target: MeterTarget
    driver: ProfileReader
    multiplier: Multiplier
    rules: VeeRules


class _Round:
    """What is learnt in one go: written together, readings before the list."""

    def __init__(self, now: int) -> None:
        self._now = now
        self.bookings: list[Booking] = []
        self.settled: list[Settled] = []

    def take(self, gap: Gap, filled: Filled) -> None:
        """A gap was looked at."""
        if filled.intervals:
            last = LastRegister(gap.meter, gap.end, gap.end_register_wh, gap.end)
            self.bookings.append(Booking(gap.point, gap.channel, filled.intervals, last))
        left = tuple(replace(one, tries=gap.tries + 1, due_at=again_at(one, self._now)) for one in filled.left)
        self.settled.append(Settled(gap, left))

    def keep(self, gaps: Iterable[Gap], reason: GapReason, detail: str) -> None:
        """These stay as they are, and this is why."""
        for gap in gaps:
            self.take(gap, Filled((), (replace(gap, reason=reason, detail=detail),)))


class Backfill:
    """Fills gaps. `run` for ever, or `tick` when a test says so."""

    def __init__(
        self,
        *,
        readings: Readings,
        hours: Hours,
        registries: Registries,
        drivers: Mapping[str, MeterDriver],
        profiles: Mapping[str, MeterProfile],
        clock: UtilityClock,
        compute: Compute,
        wakeups: Wakeups,
        spread_s: int = SPREAD_S,
    ) -> None:
        self._readings = readings
        self._hours = hours
        self._registries = registries
        self._drivers = drivers
        self._profiles = profiles
        self._clock = clock
        self._compute = compute
        self._wakeups = wakeups
        self._spread_s = spread_s

    async def run(self) -> None:
        """Fill whatever is due, for ever."""
        await self._readings.gaps.look_again(_PERSONS, self._clock.now())
        while True:
            await self._clock.sleep_until(await self.tick())

    async def tick(self) -> int:
        """Fill what is due until the next polls begin; gives when to look again."""
        while True:
            now, registry = self._clock.now(), self._registries.newest
            if registry is None or self._clock.trust() is ClockTrust.DOUBTFUL:
                return now + LOOK_S
            free_at = free_from(now, registry.interval_minutes, self._spread_s)
            if free_at > now:
                return free_at
            due = await self._readings.gaps.due(now, GAPS_PER_LOOK)
            if not due:
                return now + LOOK_S
            await self._fill(registry, due, now)

    async def _fill(self, registry: Registry, due: Sequence[Gap], now: int) -> None:
        """Ask as many meters as may be asked in one go; the others are still due afterwards."""
        work = _Round(now)
        here = await self._compute.run(registry.topology, now)
        asked: dict[str, list[tuple[_Place, list[Gap]]]] = {}
        reached = [gap for gap in due if gap.start >= now - REACH_S]
        work.keep(
            (gap for gap in due if gap.start < now - REACH_S),
            GapReason.TOO_OLD,
            "its first hours are not closed again any more",
        )
        for gap in reached:
            if gap.energy_wh == 0:
                work.take(gap, still(gap))
        for gaps in _by_meter(gap for gap in reached if gap.energy_wh):
            then = await self._compute.run(registry.topology, gaps[0].end)
            place = self._place(registry, (then, here), gaps[0])
            if not isinstance(place, _Place):
                work.keep(gaps, *place)
            elif place.target.address in asked or len(asked) < AT_ONCE:
                asked.setdefault(place.target.address, []).append((place, gaps))
        async with asyncio.TaskGroup() as group:
            for line in asked.values():
                group.create_task(self._ask_in_turn(line[:IN_TURN], work))
        if work.bookings:
            await self._readings.correct(work.bookings, Revision(await self._hours.epoch(), REVISION))
            self._wakeups.hour.set()
        await self._readings.gaps.settle(work.settled)

    def _place(
        self, registry: Registry, topologies: tuple[Topology, Topology], gap: Gap
    ) -> _Place | tuple[GapReason, str]:
        """The gap's meter as it is reached now, if it still stands where it stood; else why it is not asked."""
        then, here = (one.installation_at.get(gap.point) for one in topologies)
        if then is None or here is None or {then.meter, here.meter} != {gap.meter}:
            return GapReason.METER_EXCHANGED, f"meter {gap.meter} no longer stands at {gap.point}"
        meter = registry.meter[gap.meter]
        profile = self._profiles.get(meter.profile)
        if profile is None:
            return GapReason.NO_MEMORY, f"there is no meter profile {meter.profile!r:.60}"
        driver: object = self._drivers.get(profile.protocol)
        if not isinstance(driver, ProfileReader):
            return GapReason.NO_MEMORY, f"meters of {profile.protocol} keep no load profile"
        target = MeterTarget(meter.id, meter.serial, meter.profile, meter.address, meter.unit)
        rules = rules_of(profile, then.multiplier, registry.interval_minutes)
        return _Place(target, driver, then.multiplier, rules)

    async def _ask_in_turn(self, line: Sequence[tuple[_Place, list[Gap]]], work: _Round) -> None:
        """The meters of one address, one after the other; a silent one ends it, the others are still due."""
        for place, gaps in line:
            if not await self._ask(place, gaps, work):
                return

    async def _ask(self, place: _Place, gaps: Sequence[Gap], work: _Round) -> bool:
        """Ask one meter about the channels of one span; gives whether it answered."""
        first = gaps[0]
        try:
            async with asyncio.timeout(CALL_S_MAX):
                why = await _clock_lies(place, first.interval_s)
                if why is not None:
                    work.keep(gaps, GapReason.CLOCK_WRONG, why)
                    return True
                told = await _rows(place, first.start, min(first.end + first.interval_s, self._clock.now()))
        except ProtocolFault as fault:
            work.keep(gaps, _reason(fault), f"{fault.code}: {fault.what} ({fault.hint})")
            return fault.hope is not Hope.RETRY
        except TimeoutError:
            work.keep(gaps, GapReason.METER_SILENT, f"no answer within {CALL_S_MAX} s")
            return False
        for gap in gaps:
            filled = await self._compute.run(fill, gap, told, place.multiplier, place.rules)
            if filled.intervals and filled.left:  # the rest keeps the shape of its estimate
                estimates = await self._readings.estimates(gap)
                filled = await self._compute.run(fill, gap, told, place.multiplier, place.rules, estimates)
            work.take(gap, filled)
        return True


def free_from(now: int, interval_minutes: int, spread_s: int) -> int:
    """When the polls of the running interval have been asked: `now` itself, or later. The last tenth is theirs too."""
    length = interval_minutes * 60
    begun = interval_end(now, interval_minutes)
    spread_s = min(spread_s, length // 2)
    if now < begun + spread_s:
        return begun + spread_s
    return now if now < begun + length - length // 10 else begun + length + spread_s


def again_at(gap: Gap, now: int) -> int | None:
    """When the meter of a gap that was not filled is asked once more; None: never by itself."""
    if gap.reason is GapReason.METER_SILENT:
        return now + min(AGAIN_S << min(gap.tries, 10), AGAIN_S_MAX)
    return now + DAY_S if gap.reason in _DAILY else None


def _by_meter(gaps: Iterable[Gap]) -> list[list[Gap]]:
    """The channels of one meter over the same span are read together."""
    found: dict[tuple[MeterId, int, int], list[Gap]] = {}
    for gap in gaps:
        found.setdefault((gap.meter, gap.start, gap.end), []).append(gap)
    return list(found.values())


async def _clock_lies(place: _Place, interval_s: int) -> str | None:
    """Why the rows of this meter cannot be believed; None when they can, and for meters without a clock to read."""
    if not isinstance(place.driver, ClockKeeper):
        return None
    return clock_lies(await place.driver.read_clock(place.target), interval_s)


async def _rows(place: _Place, first: int, last: int) -> ProfileSlice:
    """The rows from `first` to `last`, read in parts that a driver takes."""
    parts = [
        await place.driver.read_profile(place.target, at, min(last, at + PART_S - 1))
        for at in range(first, last + 1, PART_S)
    ]
    whole = parts[0]
    return replace(
        whole, rows=tuple(row for part in parts for row in part.rows), odd_rows=sum(part.odd_rows for part in parts)
    )


def _reason(fault: ProtocolFault) -> GapReason:
    if fault.hope is Hope.RETRY:
        return GapReason.METER_SILENT
    return GapReason.NO_MEMORY if fault.blame is Blame.LOCAL else GapReason.METER_REFUSES
