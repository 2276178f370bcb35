"""Who is polled, worked out once for each span and shared by all who ask meters. Room: metering; walk: reading.

The plan of a region is a hundred megabytes and seconds of a processor: polls, clocks and event logs have one between
them. Two spans are kept, since around a change of the registry an interval's polls belong to the next one already.
"""

import asyncio
from collections.abc import Mapping

from edge_node.metering.polling import SPREAD_S, PollPlan, plan_of
from edge_node.store.registries import LetGo
from gridmodel.clock import Compute
from gridmodel.registry import Registry, Topology
from protocols.profile import MeterProfile

SPANS_KEPT = 2


class Plans:
    """The plans of one node."""

    def __init__(
        self,
        profiles: Mapping[str, MeterProfile],
        compute: Compute,
        spread_s: int = SPREAD_S,
        let_go: LetGo | None = None,
    ) -> None:
        """`let_go` is told each plan that nobody will ask for again."""
        self.spread_s = spread_s
        """Utility seconds over which the first reads of an interval are spread."""
        self._profiles = profiles
        self._compute = compute
        self._let_go = let_go
        self._made: list[tuple[Registry, Topology, PollPlan]] = []
        """The latest last; all of one registry."""
        self._turn = asyncio.Lock()

    async def of(self, registry: Registry, at: int) -> PollPlan:
        """The plan of the span that `at` (UTC seconds) lies in: the same object until registry or span changes."""
        async with self._turn:
            topology = await self._compute.run(registry.topology, at)
            for of_registry, span, plan in self._made:
                if of_registry is registry and span is topology:
                    return plan
            self._forget([one for one in self._made if one[0] is registry][-(SPANS_KEPT - 1) :])
            span, plan = await self._compute.run(plan_of, registry, at, self._profiles, self.spread_s)
            self._made.append((registry, span, plan))
            return plan

    def _forget(self, kept: list[tuple[Registry, Topology, PollPlan]]) -> None:
        """All but these."""
        former, self._made = self._made, kept
        for _, _, plan in former:
            if self._let_go is not None and all(plan is not one for _, _, one in kept):
                self._let_go(plan)
