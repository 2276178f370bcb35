"""Clocks that lie: walls of nodes and of the hub, meters' clocks, machines that start anew. Floor: simulate; link loss.

A lie that begins at any moment rarely meets the one that matters: a node's midnight, the close of its hour, a command
to open on its way, a batch on its way. So most of them wait for such a moment. One wall tells one lie at a time, and
all of them end.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING

from gridmodel.period import HOUR_S, day_bounds, local_day
from simulate.clock import NodeWall, WallSpan
from simulate.scenario import InTime
from simulate.site import ZONE, Site

if TYPE_CHECKING:
    from simulate.world import Rehearsal

Strike = Callable[[float], Awaitable[None]]

MINUTES_OFF_S = 1_800.0
"""A wall is mostly wrong by less than this, either way: a careless hand."""
HOURS_OFF_S = (3_600.0, 12 * 3_600.0)
"""Sometimes by hours: a hardware clock in local time, a wrong zone."""
DAY_OFF_S = 86_400.0
"""Sometimes it is a day ahead, and then right: a wrong date, mended by whoever sees it."""
HOURS_OFF, DAY_OFF = 0.2, 0.15
"""Parts of all wrong walls."""
YEAR_S = 365 * DAY_OFF_S
YEARS_OFF = (1.0, 12.0)
BACK_S = (3_600.0, 50 * 3_600.0)
DRIFTED_S = (150.0, 1_200.0)
"""How far off a wall that drifts is in the end, either way."""
HUB_OFF_S = (200.0, 20_000.0)
METERS_OFF_S = (600, 7_200)
LOCAL_TIME_S = 5 * 3_600.0
"""A hardware clock in local time, read as UTC."""
FLOOR_AGE_S = 3_600.0
"""The floor of a node is no older when its machine stops, but for one that stopped in doubt."""
CLOSE_GRACE_S = 600
"""About when the hour before is closed."""
WAIT_S_MAX = 4 * 3_600.0
"""For a command or a batch to wait for: after it the lie begins all the same."""


class WrongClocks:
    """Makes clocks lie, and right again."""

    def __init__(self, world: "Rehearsal", dice: Random) -> None:
        self._world = world
        self._dice = dice

    def strikes(self, site: Site) -> dict[InTime, Strike]:
        """What may befall the clocks of a site."""
        return {
            InTime.CLOCK_STEP: lambda seconds: self._step(site, seconds, self._careless_s()),
            InTime.CLOCK_YEARS: lambda seconds: self._at_its_moment(site, self._years, seconds),
            InTime.CLOCK_BACK: lambda seconds: self._at_its_moment(site, self._back, seconds),
            InTime.CLOCK_DRIFT: lambda seconds: self._at_its_moment(site, self._drift, seconds),
            InTime.CLOCK_STANDS: lambda seconds: self._at_its_moment(site, self._stands, seconds),
            InTime.MACHINE_REBOOT: lambda seconds: self._at_its_moment(site, self._reboot, seconds),
            InTime.METER_CLOCKS: lambda seconds: self._meters(site, seconds),
        }

    async def hub(self, seconds: float) -> None:
        """The hub's wall is wrong."""
        world = self._world
        step_s = float(round(self._dice.choice((-1, 1)) * self._dice.uniform(*HUB_OFF_S)))
        await self._lie(world.hub_wall, world.hub_wrong, WallSpan(0, 0, step_s), seconds)

    async def _years(self, site: Site, seconds: float) -> None:
        await self._step(site, seconds, float(round(self._dice.uniform(*YEARS_OFF) * YEAR_S)))

    async def _back(self, site: Site, seconds: float) -> None:
        await self._step(site, seconds, -float(round(self._dice.uniform(*BACK_S))))

    async def _step(self, site: Site, seconds: float, step_s: float) -> None:
        await self._lie(site.wall, site.wall_wrong, WallSpan(0, 0, step_s), seconds)

    async def _drift(self, site: Site, seconds: float) -> None:
        off_s = self._dice.choice((-1, 1)) * self._dice.uniform(*DRIFTED_S)
        await self._lie(site.wall, site.wall_wrong, WallSpan(0, 0, 0.0, drift_s=off_s), seconds)

    async def _stands(self, site: Site, seconds: float) -> None:
        await self._lie(site.wall, site.wall_wrong, WallSpan(0, 0, 0.0, drift_s=-seconds), seconds)

    async def _reboot(self, site: Site, seconds: float) -> None:
        """Without current for minutes, then up with what the hardware clock shows, until somebody sets it."""
        world, process = self._world, self._world.nodes[site.node]
        down_s = self._dice.uniform(60.0, 7_200.0)
        shows = self._dice.choice(("1970", "local time", "behind", "right"))
        step_s = {"1970": -float(world.now()), "local time": LOCAL_TIME_S, "behind": -down_s, "right": 0.0}[shows]
        world.faults.happened(f"rebooted_by_{shows.replace(' ', '_')}")
        span = WallSpan(0, 0, float(round(step_s)), behind_s=down_s + FLOOR_AGE_S)

        async def dark() -> None:
            site.boots += 1
            await process.keep_down(down_s)

        going = asyncio.ensure_future(dark())
        try:
            await asyncio.sleep(0)
            await self._lie(site.wall, site.wall_wrong, span, down_s + seconds)
        finally:
            going.cancel()
            await asyncio.wait({going})

    async def _meters(self, site: Site, seconds: float) -> None:
        if site.bytes is None:
            return
        error_s = self._dice.choice((-1, 1)) * self._dice.randrange(*METERS_OFF_S)
        site.bytes.set_clocks(error_s)
        try:
            await asyncio.sleep(seconds)
        finally:
            site.bytes.set_clocks(0)

    async def _lie(self, wall: NodeWall, spans: list[WallSpan], span: WallSpan, seconds: float) -> None:
        """The wall lies for so long, unless it does already."""
        now = self._world.now()
        if spans and spans[-1].over > now:
            return
        span.begin, span.over = now, now + int(seconds) + 1
        spans.append(span)
        wall.step(span.step_s)
        if span.drift_s:
            wall.drift(1e6 * max(-1.0, span.drift_s / seconds))
        try:
            await asyncio.sleep(seconds)
        finally:
            wall.set_right()
            span.over = self._world.now() + 1

    async def _at_its_moment(self, site: Site, lie: Callable[[Site, float], Awaitable[None]], seconds: float) -> None:
        moment = self._dice.choice(("any", "midnight", "hour close", "a cut", "a batch", "a commit"))
        now = self._world.now()
        beside_s = self._dice.uniform(-20.0, 20.0)
        if moment == "midnight":
            await asyncio.sleep(max(0.0, day_bounds(local_day(now + 1, ZONE), ZONE)[1] - now + beside_s))
        elif moment == "hour close":
            await asyncio.sleep(HOUR_S - now % HOUR_S + CLOSE_GRACE_S + beside_s)
        elif moment != "any":
            kind = {"a cut": ("command", "open "), "a batch": ("send", "push"), "a commit": ("commit", "readings")}
            await self._event(site.node, *kind[moment])
        self._world.faults.happened(f"clock_lied_at_{moment.split()[-1]}")
        await lie(site, seconds)

    async def _event(self, node: str, kind: str, detail: str) -> None:
        """Until it happens to the node; after WAIT_S_MAX anyhow."""
        met = asyncio.Event()

        def heard(what: str, who: str, told: str) -> None:
            if (what, who) == (kind, node) and told.startswith(detail):
                met.set()

        listeners = self._world.trace.heard
        listeners.append(heard)
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                await met.wait()
        except TimeoutError:
            pass
        finally:
            listeners.remove(heard)

    def _careless_s(self) -> float:
        odds = self._dice.random()
        if odds < DAY_OFF:
            return DAY_OFF_S
        if odds < DAY_OFF + HOURS_OFF:
            return self._dice.choice((-1, 1)) * self._dice.uniform(*HOURS_OFF_S)
        return self._dice.uniform(-MINUTES_OFF_S, MINUTES_OFF_S)
