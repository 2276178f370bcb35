"""Outage watch: after each interval's polls, which transformers are without supply. Room: metering; walk: reading.

Level-triggered from what the readings say of every meter: a start in the middle of an outage finds it again. What
silence alone began and ended is refined by the meters' power events, once their logs were read; a suspicion that they
do not confirm was the gateway's own silence, and goes.
"""

from dataclasses import replace

from edge_node.metering.silence import (
    EVENT_REACH_S,
    Verdict,
    all_heard,
    evidence_of,
    heard_again,
    last_heard,
    refined,
    verdicts,
    witnesses,
)
from edge_node.metering.visits import LOOK_S
from edge_node.store.absences import Absences
from edge_node.store.outages import Evidence, Outage, Outages, outage_id
from edge_node.store.readings import Readings
from edge_node.store.registries import Registries
from edge_node.wakeups import Wakeups
from gridmodel.clock import ClockTrust, Compute, UtilityClock
from gridmodel.identity import TransformerId
from gridmodel.period import interval_end
from gridmodel.registry import Registry, Topology

BOOKED_S = 180
"""What was heard is booked two minutes later at the latest."""
JUDGED_AFTER_S = 13 * 3_600
"""Power events are waited for so long: logs are read four times a day, and a silent meter is asked once more."""


class OutageWatch:
    """Watches supply. `run` for ever, or `tick` when a test says so."""

    def __init__(
        self,
        *,
        outages: Outages,
        absences: Absences,
        readings: Readings,
        registries: Registries,
        clock: UtilityClock,
        compute: Compute,
        wakeups: Wakeups,
    ) -> None:
        self._outages = outages
        self._absences = absences
        self._readings = readings
        self._registries = registries
        self._clock = clock
        self._compute = compute
        self._wakeups = wakeups
        self._ready_at: int | None = None

    async def run(self) -> None:
        """Look after every interval, for ever."""
        while True:
            await self._clock.sleep_until(await self.tick())

    async def tick(self) -> int:
        """Judge the interval whose polls are surely over, the one before the last; gives when to look again."""
        now, registry = self._clock.now(), self._registries.newest
        if registry is None or self._clock.trust() is ClockTrust.DOUBTFUL:
            return now + LOOK_S
        length = registry.interval_minutes * 60
        begun = interval_end(now, registry.interval_minutes)
        following = begun + BOOKED_S if now < begun + BOOKED_S else begun + length + BOOKED_S
        if self._ready_at is None:  # an earlier run may have died in the middle of its polls
            self._ready_at = begun + length + BOOKED_S
        end, newest = begun - length, self._readings.newest_end
        if now < max(self._ready_at, begun + BOOKED_S) or newest is None or newest < end:
            return following  # of the last: nobody was heard, it is this node's own line
        await self._judge(registry, end, now)
        return following

    async def _judge(self, registry: Registry, end: int, now: int) -> None:
        topology = await self._compute.run(registry.topology, end)
        heard = await self._readings.heard()
        running = await self._outages.running()
        if not running and await self._compute.run(all_heard, registry, topology, heard, end):
            await self._refine(topology, now)
            return
        reasons = await self._absences.reasons()
        given = await self._compute.run(witnesses, registry, topology, heard, reasons, end)
        found = await self._compute.run(verdicts, given, end, tuple(running))
        changed = [
            *(
                replace(one, ended_at=max(end, one.began_at))
                for transformer, one in running.items()
                if not topology.points_of.get(transformer)  # its consumers hang elsewhere by now
            ),
            *(
                replace(running[one], ended_at=max(heard_again(given, one, end), running[one].began_at))
                for one, verdict in found.items()
                if verdict is Verdict.SUPPLIED and one in running
            ),
            *(
                _begun(
                    registry,
                    transformer,
                    customers=len(topology.points_of[transformer]),
                    evidence=evidence_of(verdict),
                    began_at=last_heard(given, transformer, end),
                    now=now,
                )
                for transformer, verdict in found.items()
                if verdict in {Verdict.DARK, Verdict.SUSPECT} and transformer not in running
            ),
            *(
                replace(running[one], evidence=Evidence.METERS_SILENT)
                for one, verdict in found.items()
                if verdict is Verdict.DARK and one in running and running[one].evidence is Evidence.GATEWAY_SILENT
            ),
        ]
        if changed:
            await self._outages.put(changed, now)
            self._wakeups.outbox.set()
        await self._refine(topology, now)

    async def _refine(self, topology: Topology, now: int) -> None:
        """Look for the power events of outages that ended."""
        for one in await self._outages.unjudged():
            if one.ended_at is None:
                continue
            placed = topology.installation_at
            meters = [placed[p].meter for p in topology.points_of.get(one.transformer, ()) if p in placed]
            reach = (one.began_at - EVENT_REACH_S, one.ended_at + EVENT_REACH_S)
            events = await self._outages.power_events(meters, *reach)
            times = refined(one.began_at, one.ended_at, len(meters), events)
            if times is not None:
                begin, end = times
                better = replace(one, began_at=begin, ended_at=end, evidence=Evidence.POWER_EVENTS)
                await self._outages.judge(better, now)
            elif now >= one.ended_at + JUDGED_AFTER_S:
                await self._outages.judge(one, now)


def _begun(
    registry: Registry, transformer: TransformerId, *, customers: int, evidence: Evidence, began_at: int, now: int
) -> Outage:
    return Outage(
        outage_id(transformer, now),
        transformer,
        registry.transformer[transformer].district,
        began_at,
        None,
        customers,
        evidence,
        noticed_at=now,
    )
