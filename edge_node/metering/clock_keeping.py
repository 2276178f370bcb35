"""Clock keeping: each meter's clock is looked at once a day, and moved a little where it drifts. Room: metering.

On the reading walk: rows of a load profile stand where the meter's clock says. Drift is measured every day, between the
polls and few meters at a time; a clock that is off a little is moved through the door of `clock_door`, one that lies is
an alarm and waits for a person. A step is measured at the next look: nothing is believed because it was sent.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edge_node.metering.backfill import free_from
from edge_node.metering.clock_door import ClockDoor, PermittedStep
from edge_node.metering.clock_steps import ClockRules, ClockVerdict, Judged, drift_ppm, judge
from edge_node.metering.polling import SPREAD_S, PollPlan, PollTarget, plan_of
from edge_node.store.alarms import Alarms
from edge_node.store.meter_clocks import DAY_S, ClockSeen, MeterClocks, StepOutcome
from edge_node.store.registries import Registries
from edge_node.wakeups import Wakeups
from gridmodel.clock import ClockTrust, Compute, UtilityClock
from gridmodel.event import AlarmKind
from gridmodel.identity import MeterId
from gridmodel.registry import Registry, Topology
from protocols.driver import ClockKeeper, MeterDriver
from protocols.errors import Blame, Hope, ProtocolFault
from protocols.profile import MeterProfile

AT_ONCE = 8
"""Meters looked at at one time: 42,000 take three hours of a day at two seconds each."""
LOOK_S = 600
"""Utility seconds between looks for meters that are due."""
LOOKS_PER_ROUND = 200
"""Meters of one round; their looks are one transaction."""
CALL_S_MAX = 60
"""Real seconds one call may take; see the collector's READ_S_MAX."""
SILENT_AGAIN_S = 3 * 3_600
"""A meter that did not answer is looked at again after so long."""


@dataclass(frozen=True, slots=True)
class _Look:
    """A meter that is due."""

    poll: PollTarget
    driver: ClockKeeper
    before: ClockSeen | None


class ClockKeeping:
    """Keeps the clocks of meters. `run` for ever, or `tick` when a test says so."""

    def __init__(
        self,
        *,
        clocks: MeterClocks,
        door: ClockDoor,
        alarms: Alarms,
        registries: Registries,
        drivers: Mapping[str, MeterDriver],
        profiles: Mapping[str, MeterProfile],
        clock: UtilityClock,
        compute: Compute,
        wakeups: Wakeups,
        rules: Callable[[], ClockRules],
        spread_s: int = SPREAD_S,
    ) -> None:
        self._clocks = clocks
        self._door = door
        self._alarms = alarms
        self._registries = registries
        self._drivers = drivers
        self._profiles = profiles
        self._clock = clock
        self._compute = compute
        self._wakeups = wakeups
        self._rules = rules
        self._spread_s = spread_s
        self._seen: dict[MeterId, ClockSeen] | None = None
        self._standing: frozenset[str] = frozenset()
        """Meters whose clock is known to be wrong."""
        self._again_at: dict[MeterId, int] = {}
        """Meters that wait for another look: they were silent, or no step was possible."""
        self._unsettable: set[str] = set()
        """Profiles that allow no setting; asked again after the next start, which reads the files anew."""
        self._plan: tuple[Topology, PollPlan] | None = None

    async def run(self) -> None:
        """Look at whatever is due, for ever."""
        while True:
            await self._clock.sleep_until(await self.tick())

    async def tick(self) -> int:
        """Look at the clocks that are due until the next polls begin; gives when to look again."""
        while True:
            now, registry = self._clock.now(), self._registries.newest
            if registry is None or self._clock.trust() is ClockTrust.DOUBTFUL or not self._clock.confirmed():
                return now + LOOK_S
            free_at = free_from(now, registry.interval_minutes, self._spread_s)
            if free_at > now:
                return free_at
            due = await self._due(registry, now)
            if not due:
                return now + LOOK_S
            await self._look_at(due)

    async def _due(self, registry: Registry, now: int) -> Sequence[_Look]:
        """Meters not looked at for a day, one for each address, at most LOOKS_PER_ROUND."""
        topology = await self._compute.run(registry.topology, now)
        if self._plan is None or self._plan[0] is not topology:
            self._plan = await self._compute.run(plan_of, registry, now, self._profiles)
        if self._seen is None:
            self._seen = await self._clocks.seen()
            self._standing = await self._alarms.subjects(AlarmKind.METER_CLOCK_WRONG)
        found: dict[str, _Look] = {}
        for poll in self._plan[1].targets:
            meter = poll.target.meter
            driver: object = self._drivers.get(poll.protocol)
            before = self._seen.get(meter)
            fresh = before is not None and before.looked_at <= now < before.looked_at + DAY_S
            if fresh or not isinstance(driver, ClockKeeper) or now < self._again_at.get(meter, 0):
                continue
            found.setdefault(poll.target.address, _Look(poll, driver, before))
            if len(found) >= LOOKS_PER_ROUND:
                break
        return tuple(found.values())

    async def _look_at(self, due: Sequence[_Look]) -> None:
        places, seen = asyncio.Semaphore(AT_ONCE), dict[MeterId, ClockSeen]()

        async def one(look: _Look) -> None:
            async with places:
                found = await self._look(look)
            if found is not None:
                seen[found.meter] = found

        async with asyncio.TaskGroup() as group:
            for look in due:
                group.create_task(one(look))
        await self._clocks.put_seen(seen.values())
        self._seen = (self._seen or {}) | seen

    async def _look(self, look: _Look) -> ClockSeen | None:
        """One look, with a step where one is due; None when the meter has to be looked at again soon."""
        target, meter = look.poll.target, look.poll.target.meter
        try:
            async with asyncio.timeout(CALL_S_MAX):
                reading = await look.driver.read_clock(target)
        except (ProtocolFault, TimeoutError) as fault:
            if isinstance(fault, ProtocolFault) and fault.hope is Hope.PERMANENT:
                return ClockSeen(meter, self._clock.now(), None, None, str(fault))
            self._again_at[meter] = self._clock.now() + SILENT_AGAIN_S
            return None
        judged = judge(reading, self._rules())
        drift = await self._drift(look, judged, reading.answered_at)
        await self._tell(meter, judged)
        why = judged.why
        if judged.verdict is ClockVerdict.OFF and judged.off_s is not None and target.profile not in self._unsettable:
            permitted = await self._door.open(meter, judged.off_s)
            if permitted is None and self._rules().set_clocks:
                self._again_at[meter] = self._clock.now() + LOOK_S
                return None
            why = "" if permitted is None else await self._send(look, permitted)
        self._again_at.pop(meter, None)
        return ClockSeen(meter, self._clock.now(), judged.off_s, drift, why)

    async def _drift(self, look: _Look, judged: Judged, now: int) -> int | None:
        """What the clock gained since the look before, but for the steps that it is known to have taken."""
        before = look.before
        if before is None or before.off_s is None or judged.off_s is None:
            return None
        steps = await self._clocks.steps(before.meter, before.looked_at - 2 * CALL_S_MAX)
        sent = [(step, outcome) for step, outcome in steps if outcome is not StepOutcome.REFUSED]
        if any(outcome is not StepOutcome.DONE for _, outcome in sent):
            return before.drift_ppm
        left_s = before.off_s + sum(step.shift_s for step, _ in sent)
        return drift_ppm((before.looked_at, left_s), (now, judged.off_s))

    async def _send(self, look: _Look, permitted: PermittedStep) -> str:
        """Send a step and keep what became of it; gives why it was refused, if it was."""
        outcome, detail = StepOutcome.DONE, ""
        try:
            async with asyncio.timeout(CALL_S_MAX):
                await look.driver.set_clock(look.poll.target, permitted.step.shift_s, permitted.permit)
        except ProtocolFault as fault:
            outcome, detail = StepOutcome.UNKNOWN, str(fault)
            if fault.hope is Hope.PERMANENT:
                outcome = StepOutcome.REFUSED
            if fault.hope is Hope.PERMANENT and fault.blame is Blame.LOCAL:
                self._unsettable.add(look.poll.target.profile)
        except TimeoutError:
            outcome, detail = StepOutcome.UNKNOWN, f"no answer within {CALL_S_MAX} s"
        await self._clocks.finish(permitted.step.id, outcome, detail, self._clock.now())
        return detail if outcome is StepOutcome.REFUSED else ""

    async def _tell(self, meter: MeterId, judged: Judged) -> None:
        wrong = judged.verdict is ClockVerdict.WRONG
        if wrong == (meter in self._standing):
            return
        if wrong:
            await self._alarms.put(AlarmKind.METER_CLOCK_WRONG, meter, judged.why, self._clock.now())
            self._standing |= {meter}
        else:
            await self._alarms.clear(AlarmKind.METER_CLOCK_WRONG, meter, self._clock.now())
            self._standing -= {meter}
        self._wakeups.outbox.set()
