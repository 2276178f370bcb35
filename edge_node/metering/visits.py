"""Visits: every meter asked for something beside its registers, now and then, between the polls. Room: metering.

On the reading walk: clocks and event logs. Due polls go first; few meters are asked at one time, one at each address,
and in the order in which they are polled, so that a district's evening is not everybody's visiting hour.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from edge_node.metering.backfill import free_from
from edge_node.metering.plans import Plans
from edge_node.metering.polling import PollPlan, PollTarget
from edge_node.store.registries import Registries
from gridmodel.clock import ClockTrust, Compute, UtilityClock
from gridmodel.identity import MeterId
from gridmodel.registry import Registry
from protocols.driver import MeterDriver

P = TypeVar("P")

AT_ONCE = 8
"""Meters asked at one time: at two seconds each 42,000 take three hours."""
VISITS_PER_ROUND = 200
"""Meters of one round: what they said is kept together."""
LOOK_S = 600
"""Utility seconds between looks for meters that are due."""
CALL_S_MAX = 60
"""Real seconds one call may take; see the collector's READ_S_MAX."""


@dataclass(frozen=True, slots=True)
class Visit(Generic[P]):
    """A meter that is due, and the driver that can ask it."""

    poll: PollTarget
    driver: P


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """What every room that visits meters works with."""

    registries: Registries
    drivers: Mapping[str, MeterDriver]
    plans: Plans
    clock: UtilityClock
    compute: Compute


class Visits(Generic[P]):
    """Rounds of visits to the meters whose driver can do something."""

    def __init__(self, grounds: Grounds, able: Callable[[object], P | None]) -> None:
        """`able` gives the driver as what it can do, or None."""
        self._grounds = grounds
        self._able = {name: found for name, driver in grounds.drivers.items() if (found := able(driver)) is not None}
        """By protocol, the drivers that can."""
        self._plan: PollPlan | None = None
        self._place = 0
        """Where among the targets the next choice begins: nobody is looked at twice before all were looked at once."""

    @property
    def meters(self) -> frozenset[str]:
        """All that hang somewhere, by the plan that was looked at last; empty before the first."""
        return frozenset() if self._plan is None else self._plan.meters

    async def tick(self, due_at: Callable[[MeterId], int], go: Callable[[Sequence[Visit[P]]], Awaitable[None]]) -> int:
        """Send `go` round after round while meters are due, until the next polls begin; gives when to look again.

        `due_at` tells when a meter is due, on a compute thread while no visit is under way; `go` has to move that on
        for every meter it was given.
        """
        grounds = self._grounds
        while True:
            now, registry = grounds.clock.now(), grounds.registries.newest
            if registry is None or grounds.clock.trust() is ClockTrust.DOUBTFUL:
                return now + LOOK_S
            free_at = free_from(now, registry.interval_minutes, grounds.plans.spread_s)
            if free_at > now:
                return free_at
            due = await self._due(registry, due_at, now)
            if not due:
                return now + LOOK_S
            await go(due)

    async def _due(self, registry: Registry, due_at: Callable[[MeterId], int], now: int) -> Sequence[Visit[P]]:
        grounds = self._grounds
        plan = await grounds.plans.of(registry, now)
        if plan is not self._plan:
            self._plan, self._place = plan, 0
        return await grounds.compute.run(self._choose, plan.targets, due_at, now)

    def _choose(self, targets: Sequence[PollTarget], due_at: Callable[[MeterId], int], now: int) -> Sequence[Visit[P]]:
        """Those due, from where the last choice ended: one for each address, at most VISITS_PER_ROUND."""
        found: dict[str, Visit[P]] = {}
        for n in range(len(targets)):
            poll = targets[(self._place + n) % len(targets)]
            driver = self._able.get(poll.protocol)
            if driver is not None and due_at(poll.target.meter) <= now:
                found.setdefault(poll.target.address, Visit(poll, driver))
                if len(found) >= VISITS_PER_ROUND:
                    self._place = (self._place + n + 1) % len(targets)
                    break
        return tuple(found.values())


async def at_once(visits: Sequence[Visit[P]], visit: Callable[[Visit[P]], Awaitable[None]]) -> None:
    """Every visit, AT_ONCE of them at a time; raises what one of them raises."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(given: Visit[P]) -> None:
        async with places:
            await visit(given)

    async with asyncio.TaskGroup() as group:
        for given in visits:
            group.create_task(one(given))
