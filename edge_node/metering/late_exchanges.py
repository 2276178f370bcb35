"""Registers on paper: what lies between two meters, before a first read and after a last one. Room: metering.

On the reading walk. A new meter is polled as soon as the registry names it; the fitter's registers may come days later,
or be mended after a slip of the pen; a meter may be gone before anybody read it. What the papers say is put against the
store (`papers`), and what is missing or differs is booked. Level-triggered: a story is gone through until it is told to
its end, and again when its papers change, so that the order in which papers and polls arrive does not matter.
"""

from collections import Counter
from collections.abc import Mapping

from edge_node.metering.papers import Mend, Story, mended, stories
from edge_node.store.history import Stored, stored_intervals
from edge_node.store.hours import Hours
from edge_node.store.reading_round import Booking
from edge_node.store.readings import Readings
from edge_node.store.registries import Registries
from edge_node.wakeups import Wakeups
from gridmodel.clock import ClockTrust, UtilityClock
from gridmodel.reading import Channel, Revision
from gridmodel.vee import LastRegister
from protocols.profile import MeterProfile

REACH_S = 45 * 86_400
"""Papers of longer ago are left: their hours are not closed again any more."""
BOOKED_S_MAX = 58 * 86_400
"""Nor are these: a meter may have been silent before it went (`backfill.REACH_S`)."""
LOOK_S = 300
"""Utility seconds between looks for another registry, and at stories whose end is still to come."""
ENDS_PER_LOOK = 672
"""Interval ends looked up at once: a week of quarter hours. A plan differs from what the crew did by less."""
REVISION, REVISION_MENDED = 1, 3
"""Of what nobody booked before, as polls book; and of what replaces it, above load profiles (2) as well."""


class LateExchanges:
    """Books what the registry tells after the fact. `run` for ever, or `tick` when a test says so."""

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
        self._known = (0, 0)
        """(version, field works) of the registry whose stories these are."""
        self._told: dict[tuple[str, Channel], Story] = {}
        """Booked to their end."""
        self._waiting: list[Story] = []

    async def run(self) -> None:
        """Go through every registry, for ever."""
        while True:
            await self.tick(self._clock.now())
            await self._clock.sleep(LOOK_S)

    async def tick(self, now: int) -> int:
        """Go through what is not told to its end; gives how many channels were booked."""
        registry = self._registries.newest
        if registry is None or self._clock.trust() is ClockTrust.DOUBTFUL:
            return 0
        if (registry.version, registry.works) != self._known:
            found = await self._readings.compute.run(stories, registry, self._profiles, now - REACH_S)
            told = {(one.point, one.channel): one for one in found}
            self._told = {key: one for key, one in self._told.items() if told.get(key) == one}
            self._waiting = [one for key, one in told.items() if key not in self._told]
            self._known = registry.version, registry.works
        booked, waiting = 0, list[Story]()
        for story in self._waiting:
            mends = await self._look(story, now)
            await self._book(story, mends)
            booked += bool(mends)
            if self._to_come(story, now):
                waiting.append(story)
            else:
                self._told[story.point, story.channel] = story
        self._waiting = waiting
        if booked:
            self._wakeups.hour.set()
        return booked

    def _to_come(self, story: Story, now: int) -> bool:
        """Whether a part of the story is not known yet: it lies ahead, or the meter that stands there is unread."""
        if any(at > now for at in story.moments(now - REACH_S)):
            return True
        newest, length = story.papers[-1], story.length
        latest = self._readings.last(story.point, story.channel)
        first = newest.began_at // length * length + length
        read = latest is not None and latest.meter == newest.meter and latest.at >= first
        return not read if newest.ended_at > now else -(-newest.ended_at // length) * length > now

    async def _look(self, story: Story, now: int) -> list[Mend]:
        """What of a story can be told by now and is not booked so."""
        if len(story.papers) == 1 and self._to_come(story, now):
            return []
        length = story.length
        latest = self._readings.last(story.point, story.channel)
        moments = [at for at in story.moments(now - REACH_S) if at <= now]
        if not moments:
            return []
        low, high = moments[0] // length * length, moments[-1] // length * length
        stored: dict[int, Stored] = {}
        first = await self._load(story, stored, low, max(now - BOOKED_S_MAX, story.papers[0].began_at), -length)
        last = await self._load(story, stored, high + length, now, length)
        if last < first:
            return []
        await self._load_all(story, stored, range(low + length, high + 1, length))
        window = range(first, last + 1, length)
        return await self._readings.compute.run(mended, story, stored, window, latest, now)

    async def _load(self, story: Story, stored: dict[int, Stored], begin: int, bound: int, step: int) -> int:
        """Read intervals from `begin` on by weeks until one has a register; gives the last end that was looked at."""
        reached = begin - step
        while (reached < bound) if step > 0 else (reached > bound):
            part = range(reached + step, reached + step * (ENDS_PER_LOOK + 1), step)
            ends = [end for end in part if (end <= bound if step > 0 else end > bound)]
            if not ends:
                break
            found = await self._load_all(story, stored, ends)
            reached = ends[-1]
            if found:
                break
        return reached

    async def _load_all(self, story: Story, stored: dict[int, Stored], ends: range | list[int]) -> bool:
        """Read these intervals; gives whether one of them has a register."""
        found = await stored_intervals(self._readings.segments, (story.point, int(story.channel)), sorted(ends))
        stored.update((one.end, one) for one in found)
        return any(one.register_wh is not None for one in found)

    async def _book(self, story: Story, mends: list[Mend]) -> None:
        """Durably, and touching the hours that it changes."""
        epoch = await self._hours.epoch()
        for mend in mends:
            last = mend.intervals[-1]
            register = LastRegister(story.papers[-1].meter, last.end, last.register_wh or 0, last.end)
            booking = Booking(story.point, story.channel, mend.intervals, register)
            number = REVISION_MENDED if mend.replaces else REVISION
            await self._readings.correct([booking], Revision(epoch, number))
        if mends:
            ended = mends[-1].intervals[-1].end
            await self._readings.rule_counts.add(self._readings.rule_counts.rows(ended, Counter({"exchange": 1})))
