"""The collector: asks every meter once per interval and hands in what it says. Room: metering; walk: reading.

One worker per bus address, so that two requests never meet on a wire; a bounded number of workers; due times from
`polling`. A register read at t stands for the interval end before t. A read over an interval's end stands for neither.
Polling knows nothing of the hub: it goes on whatever the link does.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from edge_node.metering.polling import SPREAD_S, PollPlan, PollTarget, plan_of, retry_delay_s
from edge_node.metering.rounds import Answer, Rounds
from edge_node.metering.waiting import until
from edge_node.store.registries import Registries
from gridmodel.clock import ClockTrust, Compute, UtilityClock
from gridmodel.period import interval_end
from gridmodel.registry import Registry, Topology
from protocols.driver import MeterDriver
from protocols.errors import Hope, ProtocolFault
from protocols.profile import MeterProfile

WORKERS_MAX = 200
"""Bus addresses asked at once: sockets of one process, and a fifth of the usual 1,024 descriptors."""
READ_S_MAX = 60
"""Real seconds one read may take in all, above every driver's own timeouts and tries: a hung driver gives its place
back."""
REGISTRY_LOOK_S = 10
"""Utility seconds between looks for the first registry."""
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
        profiles: Mapping[str, MeterProfile],
        clock: UtilityClock,
        compute: Compute,
        spread_s: int = SPREAD_S,
    ) -> None:
        self._rounds = rounds
        self._registries = registries
        self._drivers = drivers
        self._profiles = profiles
        self._clock = clock
        self._compute = compute
        self._spread_s = spread_s
        self._plan: tuple[Registry, Topology, PollPlan] | None = None
        self._queues: dict[str, deque[_Try]] = {}
        """Of the addresses that a worker serves at this moment."""
        self._places = asyncio.Semaphore(WORKERS_MAX)
        self._again: list[tuple[int, int, _Try]] = []
        self._again_count = 0
        self._word = asyncio.Event()
        self._answered: set[str] = set()
        self._reasons: dict[str, str] = {}
        self._missed: dict[str, int] = {}

    async def run(self) -> None:
        """Poll for ever."""
        await self._rounds.load()
        self._queues.clear()
        self._places = asyncio.Semaphore(WORKERS_MAX)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._rounds.run())
                while True:
                    await self._interval(group)
        except BaseExceptionGroup as failures:
            grave = [one for one in failures.exceptions if not isinstance(one, Exception)]
            raise (grave or failures.exceptions)[0] from failures

    async def _interval(self, group: asyncio.TaskGroup) -> None:
        """One interval, from its beginning (or from now) to its end."""
        registry = self._registries.newest
        if registry is None:
            await self._clock.sleep(REGISTRY_LOOK_S)
            return
        length = registry.interval_minutes * 60
        end = interval_end(self._clock.now(), registry.interval_minutes)
        plan = await self._plan_for(registry, end if self._trusted() else max(end, self._clock.bounds().latest))
        await self._rounds.silent(plan.unreadable)
        self._answered, self._again = set(), []
        begun = end if self._clock.now() <= end + self._spread_s else self._clock.now()
        position = 0
        while end <= (now := self._clock.now()) < end + length:
            self._word.clear()
            while position < len(plan.targets) and begun + plan.targets[position].offset_s <= now:
                await self._dispatch(_Try(plan.targets[position], end, 0), group)
                position += 1
            while self._again and self._again[0][0] <= now:
                await self._dispatch(heapq.heappop(self._again)[2], group)
            following = [end + length]
            if position < len(plan.targets):
                following.append(begun + plan.targets[position].offset_s)
            if self._again:
                following.append(self._again[0][0])
            await until(self._clock, min(following), self._word)
        await self._judge_silence(plan)

    def _trusted(self) -> bool:
        return self._clock.trust() is ClockTrust.TRUSTED

    async def _plan_for(self, registry: Registry, at: int) -> PollPlan:
        """The plan of the span that `at` lies in; worked out anew only when registry or span changes.

        A wall that shows a time before the first meter was placed stops no polling: `at` is then the latest that it can
        be.
        """
        topology = await self._compute.run(registry.topology, at)
        if self._plan is None or self._plan[0] is not registry or self._plan[1] is not topology:
            found, plan = await self._compute.run(plan_of, registry, at, self._profiles, self._spread_s)
            self._plan = (registry, found, plan)
        return self._plan[2]

    async def _dispatch(self, one: _Try, group: asyncio.TaskGroup) -> None:
        address = one.poll.target.address
        queue = self._queues.get(address)
        if queue is not None:
            queue.append(one)
            return
        await self._places.acquire()
        self._queues[address] = deque([one])
        group.create_task(self._serve(address))

    async def _serve(self, address: str) -> None:
        """Read the queue of one address, one meter after the other."""
        queue = self._queues[address]
        try:
            while queue:
                await self._read(queue.popleft())
        finally:
            del self._queues[address]
            self._places.release()

    async def _read(self, one: _Try) -> None:
        poll, length = one.poll, one.poll.rules.interval_minutes
        asked_at = self._clock.now()
        if interval_end(asked_at, length) != one.end:
            return  # its interval is over: the next one asks again
        driver = self._drivers.get(poll.protocol)
        if driver is None:
            self._failed(one, f"no driver speaks {poll.protocol}", may_retry=False)
            return
        try:
            async with asyncio.timeout(READ_S_MAX):
                snapshot = await driver.read(poll.target)
        except ProtocolFault as fault:
            self._failed(one, f"{fault.code}: {fault.what} ({fault.hint})", may_retry=fault.hope is Hope.RETRY)
            return
        except TimeoutError:
            self._failed(one, f"no answer within {READ_S_MAX} s", may_retry=True)
            return
        if interval_end(self._clock.now(), length) != one.end:
            self._failed(one, "the interval ended during the read", may_retry=False)
            return
        self._answered.add(poll.target.meter)
        # A doubtful clock stamps no register: the next trusted read spreads the same energy over its true hours.
        registers = snapshot.registers if self._trusted() else {}
        await self._rounds.add(
            Answer(
                poll,
                one.end,
                asked_at,
                registers,
                snapshot.relay,
                snapshot.serial,
                snapshot.measurements,
                snapshot.meter_time,
                self._clock.now(),
            )
        )

    def _failed(self, one: _Try, why: str, *, may_retry: bool) -> None:
        self._reasons[one.poll.target.meter] = why
        delay_s = retry_delay_s(one.tries + 1) if may_retry else None
        if delay_s is None:
            return
        self._again_count += 1
        due = self._clock.now() + delay_s
        heapq.heappush(self._again, (due, self._again_count, _Try(one.poll, one.end, one.tries + 1)))
        self._word.set()

    async def _judge_silence(self, plan: PollPlan) -> None:
        """Count the interval that ended for those who did not answer in it."""
        silent: list[tuple[str, str]] = []
        for poll in plan.targets:
            meter = poll.target.meter
            if meter in self._answered:
                if self._missed.pop(meter, 0):
                    self._reasons.pop(meter, None)
                continue
            self._missed[meter] = self._missed.get(meter, 0) + 1
            if self._missed[meter] >= SILENT_POLLS:
                silent.append((meter, self._reasons.get(meter, "it was not reached within the interval")))
        await self._rounds.silent(silent)
