"""The collector: asks every meter once per interval and hands in what it says. Room: metering; walk: reading.

Each line (a bus, a concentrator) is read as wide as its driver says, so many in all; due times from `polling`. A
register read at t stands for the interval end before t. A read over an interval's end stands for neither. Whoever has
no fresh reading has a reason by name (`gridmodel.absence`). Polling knows nothing of the hub: it goes on whatever the
link does.
"""

import asyncio
import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge_node.metering.lines import Lines
from edge_node.metering.plans import Plans
from edge_node.metering.polling import PollPlan, PollTarget, retry_delay_s
from edge_node.metering.rounds import Answer, Rounds
from edge_node.metering.waiting import until
from edge_node.store.registries import Registries
from gridmodel.absence import Absence
from gridmodel.clock import ClockTrust, Compute, UtilityClock
from gridmodel.period import interval_end
from gridmodel.registry import Registry
from protocols.driver import Line, LineKeeper, MeterDriver
from protocols.errors import Hope, ProtocolFault

READS_AT_ONCE_MAX = 200
"""Reads at once unless the configuration says more: each holds a socket, and this is a fifth of the usual 1,024 open
files."""
READ_S_MAX = 60
"""Real seconds one read may take in all, above a driver's own timeouts and tries (a driver may say more for a line of
its own): a hung driver gives its place back."""
REGISTRY_LOOK_S = 10
"""Utility seconds between looks for the first registry."""
BEGUN_AT_ONCE_MAX = 32
"""Reads begun, second tries among them, before the event loop goes on: a second's reads of a region held it for 20 ms,
and those of a stall for 51."""
RESTLESS_MAX = 8
"""Intervals of a quarter of an hour: two hours of an overloaded line."""
NOT_REACHED = "it was not reached within the interval"
SILENT_POLLS = 3
"""Intervals without an answer before a meter is called silent: one can be a busy line, three are not."""


@dataclass(frozen=True, slots=True)
class _Try:
    """One read to be done."""

    poll: PollTarget
    end: int
    """The interval end for which it is to stand."""
    tries: int
    """Those before it."""


class Collector:
    """Polls all meters of one node. `run` ends only by cancellation or a fault that supervision restarts it for."""

    def __init__(
        self,
        rounds: Rounds,
        registries: Registries,
        *,
        drivers: Mapping[str, MeterDriver],
        plans: Plans,
        clock: UtilityClock,
        compute: Compute,
        at_once_max: int = READS_AT_ONCE_MAX,
        settled: Callable[[], object] | None = None,
        at_rest: Callable[[], object] | None = None,
    ) -> None:
        """`settled` is called when a new plan stands, which lives as long as its registry; `at_rest` between intervals.

        Or, where reads are under way at the end of each, after RESTLESS_MAX of them all the same.
        """
        self._rounds = rounds
        self._registries = registries
        self._drivers = drivers
        self._keepers = {name: driver for name, driver in drivers.items() if isinstance(driver, LineKeeper)}
        self._plans = plans
        self._clock = clock
        self._compute = compute
        self._plan: PollPlan | None = None
        self._at_once_max = at_once_max
        self._settled = settled
        self._at_rest = at_rest
        self._restless = 0
        """Intervals since it last was at rest."""
        self._again: list[tuple[int, int, _Try]] = []
        self._again_count = 0
        self._word = asyncio.Event()
        self._answered: set[str] = set()
        self._tried: set[str] = set()
        """In this interval, without an answer."""
        self._reasons: dict[str, str] = {}
        self._missed: dict[str, int] = {}

    async def run(self) -> None:
        """Poll for ever."""
        await self._rounds.load()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._rounds.run())
                lines = Lines(group, self._line_of, self._width_of, self._read, self._at_once_max)
                while True:
                    await self._interval(lines)
        except BaseExceptionGroup as failures:
            grave = [one for one in failures.exceptions if not isinstance(one, Exception)]
            raise (grave or failures.exceptions)[0] from failures

    async def _interval(self, lines: Lines[_Try]) -> None:
        """One interval, from its beginning (or from now) to its end."""
        registry = self._registries.newest
        if registry is None:
            await self._clock.sleep(REGISTRY_LOOK_S)
            return
        length = registry.interval_minutes * 60
        end = interval_end(self._clock.now(), registry.interval_minutes)
        plan = await self._plan_for(registry, end if self._trusted() else max(end, self._clock.bounds().latest))
        await self._rounds.silent(plan.unreadable)
        await self._rounds.all_absent(plan.unreadable, Absence.NO_PROFILE, end)
        self._answered, self._tried, self._again = set(), set(), []
        begun = end if self._clock.now() <= end + self._plans.spread_s else self._clock.now()
        position = 0
        while end <= (now := self._clock.now()) < end + length:
            self._word.clear()
            for _ in range(BEGUN_AT_ONCE_MAX):
                if position < len(plan.targets) and begun + plan.targets[position].offset_s <= now:
                    lines.put(_Try(plan.targets[position], end, 0))
                    position += 1
                elif self._again and self._again[0][0] <= now:
                    lines.put(heapq.heappop(self._again)[2])
                else:
                    break
            following = [end + length]
            if position < len(plan.targets):
                following.append(begun + plan.targets[position].offset_s)
            if self._again:
                following.append(self._again[0][0])
            await until(self._clock, min(following), self._word)  # at once, where more is due: others had their turn
        await self._judge_silence(plan, end)
        self._rest(busy=lines.known > 0)

    def _rest(self, *, busy: bool) -> None:
        self._restless += 1
        if self._at_rest is not None and (not busy or self._restless > RESTLESS_MAX):
            self._restless = 0
            self._at_rest()

    def _trusted(self) -> bool:
        return self._clock.trust() is ClockTrust.TRUSTED

    async def _plan_for(self, registry: Registry, at: int) -> PollPlan:
        """The plan of the span that `at` lies in, and of a new one a word to all who keep something for its meters.

        A wall that shows a time before the first meter was placed stops no polling: `at` is then the latest that it can
        be.
        """
        plan = await self._plans.of(registry, at)
        if plan is not self._plan:
            self._plan = plan
            await self._rounds.polled(plan.meters)
            if self._settled is not None:
                self._settled()
        return plan

    def _line_of(self, one: _Try) -> Line:
        """What the meter shares with others; without a word from its driver its address, one at a time."""
        target, keeper = one.poll.target, self._keepers.get(one.poll.protocol)
        try:
            if keeper is not None:
                return keeper.line(target)
        except ProtocolFault:
            pass  # the read itself says why
        return Line(target.address, 1, READ_S_MAX)

    def _width_of(self, one: _Try, key: str) -> int:
        keeper = self._keepers.get(one.poll.protocol)
        return 1 if keeper is None else keeper.width(key)

    async def _read(self, one: _Try, line: Line) -> None:
        poll, length = one.poll, one.poll.rules.interval_minutes
        asked_at = self._clock.now()
        if interval_end(asked_at, length) != one.end:
            return  # its interval is over: the next one asks again, and `_judge_silence` has said why
        driver = self._drivers.get(poll.protocol)
        if driver is None:
            self._failed(one, Absence.NO_PROFILE, f"no driver speaks {poll.protocol}", may_retry=False)
            return
        try:
            async with asyncio.timeout(line.read_s_max):
                snapshot = await driver.read(poll.target)
        except ProtocolFault as fault:
            why = f"{fault.code}: {fault.what} ({fault.hint})"
            self._failed(one, fault.absence, why, may_retry=fault.hope is Hope.RETRY)
            return
        except TimeoutError:
            self._failed(one, Absence.SILENT, f"no answer within {line.read_s_max} s", may_retry=True)
            return
        if interval_end(self._clock.now(), length) != one.end:
            self._failed(one, Absence.INTERVAL_OVER, "the interval ended during the read", may_retry=False)
            return
        self._answered.add(poll.target.meter)
        # A doubtful clock stamps no register: it waits for the time, or the next trusted read spreads its energy.
        stamped = self._trusted()
        await self._rounds.add(
            Answer(
                poll,
                one.end,
                asked_at,
                snapshot.registers if stamped else {},
                snapshot.relay,
                snapshot.serial,
                snapshot.measurements,
                snapshot.meter_time,
                self._clock.now(),
                unstamped={} if stamped else snapshot.registers,
            )
        )

    def _failed(self, one: _Try, absence: Absence, why: str, *, may_retry: bool) -> None:
        meter = one.poll.target.meter
        self._reasons[meter] = why
        self._tried.add(meter)
        self._rounds.absent(meter, absence, one.end, why)
        delay_s = retry_delay_s(one.tries + 1) if may_retry else None
        if delay_s is None:
            return
        self._again_count += 1
        due = self._clock.now() + delay_s
        heapq.heappush(self._again, (due, self._again_count, _Try(one.poll, one.end, one.tries + 1)))
        self._word.set()

    async def _judge_silence(self, plan: PollPlan, end: int) -> None:
        """Count the interval that ended for those who did not answer in it, and name why of whom nobody was told."""
        silent, unread, untried = await self._compute.run(self._judged, plan, frozenset(self._tried))
        await self._rounds.silent(silent)
        await self._rounds.all_absent(unread, Absence.INTERVAL_OVER, end)
        await self._rounds.all_absent(untried, Absence.NEVER_ASKED, end)

    def _judged(
        self, plan: PollPlan, tried: frozenset[str]
    ) -> tuple[list[tuple[str, str]], list[tuple[str, str]], list[tuple[str, str]]]:
        """Who is silent, whose turn did not come, and whose never came yet; (meter, why) each. Heavy: for `compute`."""
        silent: list[tuple[str, str]] = []
        unread: list[tuple[str, str]] = []
        untried: list[tuple[str, str]] = []
        for poll in plan.targets:
            meter = poll.target.meter
            if meter in self._answered:
                if self._missed.pop(meter, 0):
                    self._reasons.pop(meter, None)
                continue
            self._missed[meter] = self._missed.get(meter, 0) + 1
            if self._missed[meter] >= SILENT_POLLS:
                silent.append((meter, self._reasons.get(meter, NOT_REACHED)))
            if meter not in tried:
                (unread if self._rounds.was_read(poll) else untried).append((meter, NOT_REACHED))
        return silent, unread, untried
