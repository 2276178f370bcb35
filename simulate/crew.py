"""Crews that exchange meters, and what the office writes down of it, sooner or later. Floor: simulate; reading.

A crew takes a meter off with its final registers and puts another one in with registers of its own; the office brings
the registry's next version to the hub. Between the two the node knows the wrong meter at the place. What came of it is
for `judges.exchanges` to say.
"""

import asyncio
import dataclasses
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from gridmodel.identity import MeterId
from gridmodel.network import FAR_FUTURE, Installation
from gridmodel.period import HOUR_S
from gridmodel.reading import Channel
from gridmodel.registry import Registry
from simulate.clock import stream
from simulate.grid import RELAY_PROFILE
from simulate.judges.exchanges import MeterExchange
from simulate.network import cut_for
from simulate.site import DLMS_PROFILE, Site
from simulate.truth import Registers

if TYPE_CHECKING:
    from simulate.world import Rehearsal

AGAIN_S = 30.0
"""How often it is asked whether the node knows by now."""
USED_WH = (20_000_000, 60_000_000)
"""What a used meter has counted: more than a connection carries in the longest wait for the registry."""
NEW_WH_MAX = 900
"""What a new one has from its test."""
USED_PART = 0.4
LATE_S = HOUR_S
"""A late entry is later than this."""
AT_THE_HOUR_PART = 0.3
"""Of those that are entered late."""
AT_WORK_S = (60.0, 880.0)
"""Within an interval: not before it was read."""
INTERVAL_S = 900
FOR_EVER_S = 1e7


class Told(StrEnum):
    """When the registry learns of an exchange; each names a "sometimes" counter."""

    AT_THE_HOUR = "exchange_at_the_hour"
    """The meter is exchanged at an hour's end and entered at once."""
    LATE = "exchange_entered_late"
    """It is entered hours later."""
    LINK_LOST = "exchange_while_offline"
    """It is entered at once, and the node's line is down."""
    BEFORE = "exchange_entered_before"
    """The registry has the new meter before the crew comes; when it came is entered afterwards."""


class Crew:
    """All crews of a rehearsal."""

    def __init__(self, world: "Rehearsal") -> None:
        self._world = world
        self._dice = stream(world.spec.seed, "crew")
        self._registry: dict[str, Registry] = {node: site.registry for node, site in world.sites.items()}
        self._locks = {node: asyncio.Lock() for node in world.sites}
        self._kinds: dict[str, list[Told]] = {}
        self._count = 0
        self._under_way: set[asyncio.Task[None]] = set()
        self._hurry = asyncio.Event()

    @property
    def busy(self) -> int:
        """Exchanges that the node has not heard the last word of."""
        return len(self._under_way)

    def hurry(self) -> None:
        """Whoever waits goes on at once: the faults have ceased."""
        self._hurry.set()

    def stop(self) -> None:
        """The run is over."""
        for task in self._under_way:
            task.cancel()

    async def strike(self, site: Site, seconds: float) -> None:
        """Exchange one meter of the site; `seconds` lie between crew and registry. What has begun comes to its end."""
        homes = self._homes(site)
        if homes and not self._hurry.is_set():
            index = self._dice.choice(homes)
            task = asyncio.ensure_future(self._exchange(site, index, self._next(site, index), seconds))
            self._under_way.add(task)
            task.add_done_callback(self._over)
            await asyncio.wait({task})

    def _homes(self, site: Site) -> list[int]:
        """Homes whose meter answers and has not been exchanged."""
        ill, truth = site.ill(), site.truth
        return [
            index
            for index, point in enumerate(site.grid.points)
            if point.profile in {RELAY_PROFILE, DLMS_PROFILE}
            and truth.meter_at(index) == point.meter
            and str(point.meter) not in ill
        ]

    def _next(self, site: Site, index: int) -> Told:
        """Each kind in its turn; a meter that tells no serial cannot be told from the one to come."""
        kinds = self._kinds.setdefault(site.node, [])
        if not kinds:
            kinds += self._dice.sample(list(Told), len(Told))
        kind = kinds.pop()
        return Told.LATE if kind is Told.BEFORE and not _tells_serial(site, index) else kind

    async def _exchange(self, site: Site, index: int, told: Told, seconds: float) -> None:
        self._count += 1
        one = MeterExchange(
            node=site.node,
            index=index,
            point=str(site.grid.points[index].id),
            old=str(site.grid.points[index].meter),
            new=f"{site.node}-x{self._count}",
            tells_serial=_tells_serial(site, index),
        )
        serial = str(70_000_000 + self._world.spec.seed % 97 * 100_000 + self._count)
        court = self._world.court
        court.exchanges.begun.append(one)
        site.truth.announce(index, MeterId(one.new))
        court.sights[site.node].point_of[one.new] = index
        self._world.trace.add("crew", site.node, f"{told.value} at {one.point}: {one.old} to {one.new}")
        match told:
            case Told.AT_THE_HOUR:
                await self._pause_to_the_hour()
                self._move(site, one, serial)
                await self._enter(site, one, serial)
            case Told.LATE:
                await (
                    self._pause_to_the_hour()
                    if self._dice.random() < AT_THE_HOUR_PART
                    else self._pause_within_interval()
                )
                self._move(site, one, serial)
                await self._pause(max(seconds, LATE_S))
                await self._enter(site, one, serial)
            case Told.LINK_LOST:
                await self._without_line(site, one, serial, seconds)
            case Told.BEFORE:
                await self._pause_within_interval()
                self._part(site, one)
                await self._enter(site, one, serial)
                await self._pause(seconds)
                await self._pause_within_interval()
                self._move(site, one, serial)
                await self._enter(site, one, serial)
        await self._known(site, one)
        self._world.faults.happened(told.value)

    async def _without_line(self, site: Site, one: MeterExchange, serial: str, seconds: float) -> None:
        """The hub learns of it at once, the node when its line is back."""
        world = self._world
        await self._pause_within_interval()
        cut = asyncio.ensure_future(cut_for(site.line, "down", FOR_EVER_S, asyncio.sleep))
        try:
            await asyncio.sleep(0)
            world.note_lines()
            self._move(site, one, serial)
            await self._enter(site, one, serial)
            await self._pause(seconds)
        finally:
            cut.cancel()
            await asyncio.wait({cut})
            world.note_lines()

    def _part(self, site: Site, one: MeterExchange) -> None:
        """From now on the node may know another meter than the one that stands there."""
        if one.tells_serial:
            site.out_of_reach |= {one.old, one.new}

    def _move(self, site: Site, one: MeterExchange, serial: str) -> None:
        """The crew does it now."""
        truth, now = site.truth, self._world.now()
        self._part(site, one)
        used = self._dice.random() < USED_PART
        start_wh = self._dice.randint(*USED_WH) if used else self._dice.randint(0, NEW_WH_MAX)
        given_wh = self._dice.randint(0, NEW_WH_MAX) if site.grid.points[one.index].solar_w else 0
        one.final = truth.shown_at(one.index, now)
        stay = truth.exchange(one.index, MeterId(one.new), serial, Registers(start_wh, given_wh), now)
        one.start, one.moved_at = stay.start, now
        if site.bytes is not None:
            site.bytes.renewed(one.index)
        self._world.trace.add("crew", site.node, f"{one.new} stands at {one.point}")

    async def _enter(self, site: Site, one: MeterExchange, serial: str) -> None:
        """The next version of the registry, as the office brings it to the hub."""
        async with self._locks[site.node]:
            registry = entered(self._registry[site.node], one, serial, one.moved_at or self._world.now())
            self._registry[site.node] = registry
            one.version = registry.version
            await self._world.office.bring_registry(registry)

    async def _known(self, site: Site, one: MeterExchange) -> None:
        """Wait until the node has the version that tells all of it."""
        sight = self._world.court.sights[site.node]
        while (sight.control.value("SELECT max(version) FROM registry") or 0) < one.version:  # noqa: ASYNC110 — an eye
            await asyncio.sleep(AGAIN_S)
        one.known_at = self._world.now()
        sight.exchanged(one.old, one.new)
        site.well_since |= dict.fromkeys((one.old, one.new), asyncio.get_running_loop().time())
        site.out_of_reach -= {one.old, one.new}

    async def _pause_to_the_hour(self) -> None:
        await self._pause(HOUR_S - self._world.now() % HOUR_S)

    async def _pause_within_interval(self) -> None:
        wait_s = INTERVAL_S - self._world.now() % INTERVAL_S
        await self._pause(wait_s + self._dice.uniform(*AT_WORK_S))

    async def _pause(self, seconds: float) -> None:
        """So many virtual seconds, or until all hurry."""
        waiting = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({waiting}, timeout=seconds)
        waiting.cancel()

    def _over(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._world.verdicts.against("crew", "world", "crew", f"{type(error).__name__}: {error}")


def entered(registry: Registry, one: MeterExchange, serial: str, at: int) -> Registry:
    """The registry's next version with the exchange at `at`; with both registers once the crew has been there."""
    old = next(stay for stay in registry.installations if stay.meter == one.old and stay.point == one.point)
    ended = dataclasses.replace(old, valid_to=at, final_registers_wh=_wh(old.channels, one.final))
    begun = dataclasses.replace(
        old,
        meter=MeterId(one.new),
        valid_from=at,
        valid_to=FAR_FUTURE,
        start_registers_wh=_wh(old.channels, one.start),
        final_registers_wh=(),
    )
    others: list[Installation] = [stay for stay in registry.installations if stay.point != one.point]
    meter = dataclasses.replace(registry.meter[old.meter], id=begun.meter, serial=serial)
    meters = registry.meters if begun.meter in registry.meter else (*registry.meters, meter)
    return dataclasses.replace(
        registry, version=registry.version + 1, meters=meters, installations=(*others, ended, begun)
    )


def _wh(channels: Sequence[Channel], shown: Registers | None) -> tuple[int, ...]:
    if shown is None:
        return ()
    return tuple(shown.import_wh if channel is Channel.IMPORT else shown.export_wh for channel in channels)


def _tells_serial(site: Site, index: int) -> bool:
    """Whether a read of that meter tells who it is."""
    profile = site.profiles[site.grid.profile_of(index)]
    return profile.protocol == "dlms" or site.faces.image_of(index).tells_serial
