"""The one door to every meter's clock: intent, permit, result. Room: metering; walk: reading; docs/adr/0012.

`ClockPermit`s are minted here alone, after the step is durable. The transaction of the intent counts what the last day
has used and works out the step: however often a meter is looked at, a day's steps never add up to more than the policy.
"""

from collections.abc import Callable
from dataclasses import dataclass

from edge_node.metering.clock_steps import ClockRules, step_s
from edge_node.store.meter_clocks import ClockStep, MeterClocks
from gridmodel.clock import ClockTrust, Entropy, UtilityClock
from gridmodel.identity import MeterId, new_id
from hosting.database import Connection
from protocols.driver import ClockPermit


@dataclass(frozen=True, slots=True)
class PermittedStep:
    """A step that may be sent now, once."""

    step: ClockStep
    permit: ClockPermit


class ClockDoor:
    """The only minter of clock permits."""

    def __init__(
        self, clocks: MeterClocks, entropy: Entropy, clock: UtilityClock, rules: Callable[[], ClockRules]
    ) -> None:
        self._clocks = clocks
        self._entropy = entropy
        self._clock = clock
        self._rules = rules

    async def open(self, meter: MeterId, off_s: int) -> PermittedStep | None:
        """A step towards the truth and its permit, once the intent is durable; None when none is possible now.

        `off_s`: how far the meter's clock was fast a moment ago.
        """
        step_id, rules = new_id("step", self._entropy), self._rules()

        async def verb(conn: Connection) -> ClockStep | None:
            now = self._clock.now()
            if self._clock.trust() is not ClockTrust.TRUSTED or not self._clock.confirmed():
                return None
            shift_s = step_s(now, off_s, rules, await self._clocks.moved_s(conn, meter, now))
            if shift_s == 0:
                return None
            step = ClockStep(step_id, meter, shift_s, off_s, now)
            await self._clocks.put_step(conn, step)
            return step

        step = await self._clocks.write(verb)
        return None if step is None else PermittedStep(step, ClockPermit(step.id, abs(step.shift_s)))
