"""Reads of a time that is not known: held, and stamped when it is. Room: metering; walk: reading; docs/adr/0022.

A register is true whatever the clock shows; only its hour is not known. So it is kept with the moment of the steady
clock, and once hub, wall or meters have told which time that clock shows, it is placed at the interval end that it was
read behind, before any later read is booked. What another boot of the machine read can never be placed: it goes, and
the first register with a stamp books its energy over the gap.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from edge_node.metering.polling import PollPlan, PollTarget
from edge_node.store.held_reads import HeldRead, HeldReads, HeldRow
from gridmodel.clock import SteadyMoment, ToldClock
from gridmodel.period import interval_end
from gridmodel.reading import Channel


@dataclass(frozen=True, slots=True)
class Placed:
    """A held read whose time is known."""

    poll: PollTarget
    end: int
    """The interval end for which it stands."""
    at: int
    """When it was read, UTC seconds."""
    registers: Mapping[Channel, int | None]


class Holding:
    """The reads that wait for the time. `plan_at` gives who stands where at a time; None while there is no registry."""

    def __init__(self, held: HeldReads, clock: ToldClock, plan_at: Callable[[int], Awaitable[PollPlan | None]]) -> None:
        self._held = held
        self._clock = clock
        self._plan_at = plan_at
        self._fresh: dict[str, list[HeldRead]] = {}
        self._any: bool | None = None
        """Whether rows are kept; None: not looked yet."""
        self._of_plan: tuple[PollPlan, Mapping[str, PollTarget]] | None = None

    def moment(self) -> SteadyMoment:
        """Now, for a read that just ended."""
        return self._clock.moment()

    def keep(self, poll: PollTarget, moment: SteadyMoment, registers: Mapping[Channel, int | None]) -> None:
        """Hold a read; `flush` makes it durable."""
        known = {int(channel): wh for channel, wh in registers.items() if wh is not None}
        if known:
            read = HeldRead(poll.target.meter, poll.point, round(moment.steady_s * 1_000), known)
            self._fresh.setdefault(moment.boot, []).append(read)

    async def flush(self, doubts: tuple[str, ...]) -> None:
        """Make durable what was kept; in a full table the newest go, and a later register books their energy."""
        fresh, self._fresh = self._fresh, {}
        for boot, reads in fresh.items():
            self._any = await self._held.put(boot, doubts, reads) or self._any

    async def next_row(self) -> HeldRow | None:
        """The oldest row, once its time is known or never will be; None: nothing to do."""
        if self._any is False or self._clock.when(self._clock.moment()) is None:
            return None
        row = await self._held.first()
        self._any = row is not None
        return row

    async def placed(self, row: HeldRow) -> list[Placed]:
        """Those of a row that can be placed, in the order of reading."""
        found: list[Placed] = []
        for read in row.reads:
            at = self._clock.when(SteadyMoment(row.boot, read.steady_ms / 1_000))
            poll = None if at is None else (await self._polls(at)).get(read.meter)
            if at is not None and poll is not None and poll.point == read.point:
                registers = {Channel(channel): wh for channel, wh in read.registers.items()}
                found.append(Placed(poll, interval_end(at, poll.rules.interval_minutes), at, registers))
        return found

    async def forget(self, row: HeldRow) -> None:
        """All of it is booked."""
        await self._held.forget(row.number)

    async def _polls(self, at: int) -> Mapping[str, PollTarget]:
        plan = await self._plan_at(at)
        if plan is None:
            return {}
        if self._of_plan is None or self._of_plan[0] is not plan:
            self._of_plan = plan, {poll.target.meter: poll for poll in plan.targets}
        return self._of_plan[1]
