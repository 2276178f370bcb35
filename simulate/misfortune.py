"""What lasts: lines cut, hub down, meters silent, feeds dead, clocks wrong; begun at random, mended in the end.

Floor: simulate; walk: link loss. Each fault takes hold of a count and lets go of it again, so that two that overlap do
not mend one another.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from simulate.clock import stream
from simulate.network import cut_for
from simulate.scenario import InTime
from simulate.site import DLMS_PROFILE, Site
from simulate.wrong_clocks import WrongClocks

if TYPE_CHECKING:
    from simulate.world import Rehearsal

Strike = Callable[[float], Awaitable[None]]

FLAP_S = (3.0, 240.0)
"""How long a flapping line is up or down at a time."""
SLOW_S = (1.0, 20.0)
"""What a slow line adds to each way."""
SLOW_METER_S = 0.9
"""An exchange with a slow meter, just below what a driver waits."""
GATEWAY_LATE_S = (1.5, 6.0)
"""One way to a slow gateway: no driver waits that long, and every answer still comes."""
SILENT_PART = 0.3
"""Part of a node's meters that fall silent together: a gateway died."""
HUNG_PART = 0.1


class Misfortune:
    """Lets the scenario's lasting faults befall a rehearsal."""

    def __init__(self, world: "Rehearsal") -> None:
        self._world = world
        self._dice = stream(world.spec.seed, "misfortune")
        self._clocks = WrongClocks(world, self._dice)
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> list[asyncio.Task[None]]:
        """Start every stream of misfortune; gives their tasks."""
        world = self._world
        for node, site in world.sites.items():
            for kind, strike in self._strikes(node, site).items():
                self._task(world.faults.befall(kind, node, strike))
            if world.spec.scenario.dead_part:
                self._task(self._dead(site))
        self._task(world.faults.befall(InTime.HUB_DOWN, "hub", world.hub.keep_down))
        self._task(world.faults.befall(InTime.HUB_PUT_BACK, "hub", world.backups.strike_hub))
        self._task(world.faults.befall(InTime.FEED_DEAD, "feed", self._feed_dead))
        self._task(world.faults.befall(InTime.HUB_CLOCK, "hub", self._clocks.hub))
        return self._tasks

    async def mend(self) -> None:
        """Everything that lasts ends now: lines up, processes started, meters answering, clocks right."""
        self._world.crew.hurry()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        self._world.hub.start()
        for process in self._world.nodes.values():
            process.start()
        self._world.note_lines()

    def _task(self, work: Awaitable[None]) -> None:
        self._tasks.append(asyncio.ensure_future(_over(work)))

    def _strikes(self, node: str, site: Site) -> dict[InTime, Strike]:
        line = site.line

        def stands(name: str) -> Strike:
            return lambda seconds: self._noted(cut_for(line, name, seconds, asyncio.sleep))

        return {
            InTime.LINK_CUT: stands("down"),
            InTime.LINK_ONE_WAY: stands("replies_vanish"),
            InTime.LINK_HALF_OPEN: stands("half_open"),
            InTime.LINK_FLAPPING: lambda seconds: self._flap(site, seconds),
            InTime.LINK_SLOW: lambda seconds: self._slow(site, seconds),
            InTime.NODE_PUT_BACK: lambda seconds: self._world.backups.strike_node(site, seconds),
            InTime.NODE_CRASH: self._world.nodes[node].keep_down,
            InTime.START_TWICE: lambda _: self._twice(node),
            InTime.METER_SILENT: lambda seconds: self._silent(site, seconds),
            InTime.METER_HUNG: lambda seconds: self._hung(site, seconds),
            InTime.METER_SLOW: lambda seconds: self._slow_meters(site, seconds),
            InTime.GATEWAY_SLOW: lambda seconds: self._slow_gateway(site, seconds),
            InTime.METERS_SWAPPED: lambda seconds: self._swapped(site, seconds),
            InTime.METER_EXCHANGED: lambda seconds: self._world.crew.strike(site, seconds),
            InTime.COURIER: lambda seconds: self._world.couriers.strike(site, seconds),
            **self._clocks.strikes(site),
        }

    async def _noted(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(_over(work))
        try:
            await asyncio.sleep(0)
            self._world.note_lines()
            await task
        finally:
            task.cancel()
            await asyncio.wait({task})
            self._world.note_lines()

    async def _flap(self, site: Site, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until:
            await self._noted(cut_for(site.line, "down", self._dice.uniform(*FLAP_S), asyncio.sleep))
            await asyncio.sleep(self._dice.uniform(*FLAP_S))

    async def _slow(self, site: Site, seconds: float) -> None:
        added = self._dice.uniform(*SLOW_S)
        site.line.slow_s += added
        try:
            self._world.note_lines()
            await asyncio.sleep(seconds)
        finally:
            site.line.slow_s = max(0.0, site.line.slow_s - added)
            self._world.note_lines()

    async def _twice(self, node: str) -> None:
        self._world.nodes[node].second_start()

    async def _silent(self, site: Site, seconds: float) -> None:
        chosen = self._neighbours(site, SILENT_PART) - site.ill()
        site.fall_silent(chosen)
        try:
            await asyncio.sleep(seconds)
        finally:
            site.answer_again(chosen)
            self._well(site, chosen)

    async def _hung(self, site: Site, seconds: float) -> None:
        chosen = self._neighbours(site, HUNG_PART) - site.ill()
        site.hung |= chosen
        try:
            await asyncio.sleep(seconds)
        finally:
            site.hung -= chosen
            self._well(site, chosen)

    def _neighbours(self, site: Site, part: float) -> frozenset[str]:
        """Meters that stand together."""
        meters = [str(meter) for meter in site.grid.meters]
        first = self._dice.randrange(len(meters))
        return frozenset(meters[(first + n) % len(meters)] for n in range(max(1, round(len(meters) * part))))

    def _well(self, site: Site, meters: frozenset[str]) -> None:
        now_s = asyncio.get_running_loop().time()
        now_there = {str(site.truth.meter_at(site.truth.index(meter))) for meter in meters}
        site.well_since |= dict.fromkeys(sorted(meters | now_there), now_s)

    async def _slow_meters(self, site: Site, seconds: float) -> None:
        site.meters.latency_s += SLOW_METER_S
        try:
            await asyncio.sleep(seconds)
        finally:
            site.meters.latency_s -= SLOW_METER_S

    async def _slow_gateway(self, site: Site, seconds: float) -> None:
        if site.bytes is None:
            return
        meter = self._dice.choice(site.grid.meters)
        behind = site.bytes.neighbours(str(meter)) - site.out_of_reach
        site.bytes.delay(str(meter), self._dice.uniform(*GATEWAY_LATE_S))
        site.out_of_reach |= behind
        try:
            await asyncio.sleep(seconds)
        finally:
            site.bytes.delay(str(meter), 0.0)
            site.out_of_reach -= behind
            self._well(site, behind)

    async def _swapped(self, site: Site, seconds: float) -> None:
        """Two homes of one model: whoever cuts the one would darken the other."""
        well = [
            str(one.meter) for one in site.grid.points if one.profile == DLMS_PROFILE and one.meter not in site.ill()
        ]
        if len(well) < 2 or site.bytes is None:
            return
        one, other = pair = self._dice.sample(well, 2)
        site.bytes.swap(one, other)
        site.out_of_reach |= set(pair)
        try:
            await asyncio.sleep(seconds)
            self._world.court.places.swapped(site.node, frozenset(pair), seconds)
        finally:
            site.bytes.swap(one, other)
            site.out_of_reach -= set(pair)
            self._well(site, frozenset(pair))

    async def _dead(self, site: Site) -> None:
        """Some are dead from the first moment to the last of all faults."""
        meters = [str(meter) for meter in site.grid.meters]
        chosen = frozenset(self._dice.sample(meters, round(len(meters) * self._world.spec.scenario.dead_part)))
        site.fall_silent(chosen)
        self._world.court.sights[site.node].never_read = chosen
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            site.answer_again(chosen)
            self._well(site, chosen)

    async def _feed_dead(self, seconds: float) -> None:
        self._world.office.feed_dead += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._world.office.feed_dead -= 1


async def _over(work: Awaitable[None]) -> None:
    await work
