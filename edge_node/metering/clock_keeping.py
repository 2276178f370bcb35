"""Clock keeping: each meter's clock is looked at once a day, and moved a little where it drifts. Room: metering.

On the reading walk: rows of a load profile stand where the meter's clock says. Drift is measured every day; a clock
that is off a little is moved through the door of `clock_door`, one that lies is an alarm and waits for a person. A step
is measured at the next look: nothing is believed because it was sent.
"""

import asyncio
from collections.abc import Callable, Sequence

from edge_node.metering.clock_door import ClockDoor, PermittedStep
from edge_node.metering.clock_steps import ClockRules, ClockVerdict, Judged, drift_ppm, judge
from edge_node.metering.visits import CALL_S_MAX, LOOK_S, Grounds, Visit, Visits, at_once
from edge_node.store.alarms import Alarms
from edge_node.store.meter_clocks import DAY_S, ClockSeen, MeterClocks, StepOutcome
from edge_node.wakeups import Wakeups
from gridmodel.event import AlarmKind
from gridmodel.identity import MeterId
from protocols.driver import ClockKeeper
from protocols.errors import Blame, Hope, ProtocolFault

SILENT_AGAIN_S = 3 * 3_600
"""A meter that did not answer is looked at again after so long."""


class ClockKeeping:
    """Keeps the clocks of meters. `run` for ever, or `tick` when a test says so."""

    def __init__(
        self,
        grounds: Grounds,
        *,
        clocks: MeterClocks,
        door: ClockDoor,
        alarms: Alarms,
        wakeups: Wakeups,
        rules: Callable[[], ClockRules],
    ) -> None:
        self._clock = grounds.clock
        self._visits = Visits(grounds, _keeper)
        self._clocks = clocks
        self._door = door
        self._alarms = alarms
        self._wakeups = wakeups
        self._rules = rules
        self._seen: dict[MeterId, ClockSeen] | None = None
        self._standing: frozenset[str] = frozenset()
        """Meters whose clock is known to be wrong."""
        self._again_at: dict[MeterId, int] = {}
        """Meters that wait for another look: they were silent, or no step was possible."""
        self._unsettable: set[str] = set()
        """Profiles that allow no setting; asked again after the next start, which reads the files anew."""

    async def run(self) -> None:
        """Look at whatever is due, for ever."""
        while True:
            await self._clock.sleep_until(await self.tick())

    async def tick(self) -> int:
        """Look at the clocks that are due until the next polls begin; gives when to look again."""
        if not self._clock.confirmed():
            return self._clock.now() + LOOK_S
        if self._seen is None:
            self._seen = await self._clocks.seen()
            self._standing = await self._alarms.subjects(AlarmKind.METER_CLOCK_WRONG)
        following = await self._visits.tick(self._due_at, self._round)
        if self._visits.meters:
            for meter in self._standing - self._visits.meters:  # it hangs no more
                await self._clear(meter)
        return following

    def _due_at(self, meter: MeterId) -> int:
        seen = (self._seen or {}).get(meter)
        due_at = 0 if seen is None or seen.looked_at > self._clock.now() else seen.looked_at + DAY_S
        return max(due_at, self._again_at.get(meter, 0))

    async def _round(self, visits: Sequence[Visit[ClockKeeper]]) -> None:
        seen: dict[MeterId, ClockSeen] = {}

        async def one(visit: Visit[ClockKeeper]) -> None:
            found = await self._look(visit)
            if found is not None:
                seen[found.meter] = found

        await at_once(visits, one)
        await self._clocks.put_seen(seen.values())
        self._seen = (self._seen or {}) | seen

    async def _look(self, visit: Visit[ClockKeeper]) -> ClockSeen | None:
        """One look, with a step where one is due; None when the meter has to be looked at again soon."""
        target, meter = visit.poll.target, visit.poll.target.meter
        try:
            async with asyncio.timeout(CALL_S_MAX):
                reading = await visit.driver.read_clock(target)
        except (ProtocolFault, TimeoutError) as fault:
            if isinstance(fault, ProtocolFault) and fault.hope is Hope.PERMANENT:
                return ClockSeen(meter, self._clock.now(), None, None, str(fault))
            self._again_at[meter] = self._clock.now() + SILENT_AGAIN_S
            return None
        judged = judge(reading, self._rules())
        drift = await self._drift(meter, judged, reading.answered_at)
        await self._tell(meter, judged)
        why = judged.why
        if judged.verdict is ClockVerdict.OFF and judged.off_s is not None and target.profile not in self._unsettable:
            permitted = await self._door.open(meter, judged.off_s)
            if permitted is None and self._rules().set_clocks:
                self._again_at[meter] = self._clock.now() + LOOK_S
                return None
            why = "" if permitted is None else await self._send(visit, permitted)
        self._again_at.pop(meter, None)
        return ClockSeen(meter, self._clock.now(), judged.off_s, drift, why)

    async def _drift(self, meter: MeterId, judged: Judged, now: int) -> int | None:
        """What the clock gained since the look before, but for the steps that it is known to have taken."""
        before = (self._seen or {}).get(meter)
        if before is None or before.off_s is None or judged.off_s is None:
            return None
        steps = await self._clocks.steps(meter, before.looked_at - 2 * CALL_S_MAX)
        sent = [(step, outcome) for step, outcome in steps if outcome is not StepOutcome.REFUSED]
        if any(outcome is not StepOutcome.DONE for _, outcome in sent):
            return before.drift_ppm
        left_s = before.off_s + sum(step.shift_s for step, _ in sent)
        return drift_ppm((before.looked_at, left_s), (now, judged.off_s))

    async def _send(self, visit: Visit[ClockKeeper], permitted: PermittedStep) -> str:
        """Send a step and keep what became of it; gives why it was refused, if it was."""
        outcome, detail = StepOutcome.DONE, ""
        try:
            async with asyncio.timeout(CALL_S_MAX):
                await visit.driver.set_clock(visit.poll.target, permitted.step.shift_s, permitted.permit)
        except ProtocolFault as fault:
            outcome, detail = StepOutcome.UNKNOWN, str(fault)
            if fault.hope is Hope.PERMANENT:
                outcome = StepOutcome.REFUSED
            if fault.hope is Hope.PERMANENT and fault.blame is Blame.LOCAL:
                self._unsettable.add(visit.poll.target.profile)
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
            self._wakeups.outbox.set()
        else:
            await self._clear(meter)

    async def _clear(self, meter: str) -> None:
        await self._alarms.clear(AlarmKind.METER_CLOCK_WRONG, meter, self._clock.now())
        self._standing -= {meter}
        self._wakeups.outbox.set()


def _keeper(driver: object) -> ClockKeeper | None:
    return driver if isinstance(driver, ClockKeeper) else None
