"""The desk of field works: what a fitter did is checked, made durable, and holds at once. Room: metering; reading walk.

Works with the link lost. A *draft* is what the paper says; here it becomes a work against the registry that holds, its
final registers are held against what was read of the old meter, and only then is it recorded. The rooms find the new
registry as they find one from the hub: the meter is polled from the next interval on, `late_exchanges` books what lies
between two meters. `commission` reads the meter itself: its serial number proves it.

Codes beside those of `gridmodel.field_work` and `.field_merge`: TQ-FW-20 a time ahead, -21 too long ago, -22 an unknown
profile, -23 a final register below what was read, -24 or beyond what can have flowed, -25 the old meter was read after
its end, -26 a meter that tells no serial number, -27 no answer, -28 the registry changed all the while, -29 it is on
record, -33 another meter stands at the address, -34 the centre does
not take it over.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from edge_node.metering.field_drafts import (
    Draft,
    check_alone,
    check_final,
    fitted_of,
    same,
    standing_at,
    stay_of,
    taken_of,
    tells_serial,
)
from edge_node.metering.polling import rules_of
from edge_node.store.alarms import Alarms
from edge_node.store.field_works import FieldWorks
from edge_node.store.history import register_before
from edge_node.store.readings import Readings
from edge_node.store.registries import Registries
from edge_node.wakeups import Wakeups
from gridmodel.clock import UtilityClock
from gridmodel.event import AlarmKind
from gridmodel.field_merge import WorkState
from gridmodel.field_work import FieldWork, Proof, WorkKind, work_fault
from gridmodel.identity import MeterId, PersonId
from gridmodel.network import Meter
from gridmodel.period import rfc3339
from gridmodel.vee import Baseline
from protocols.driver import LineKeeper, MeterDriver, MeterTarget
from protocols.profile import MeterProfile

AGE_S_MAX = 45 * 86_400
"""Hours longer ago are not closed again (`late_exchanges`): what was done then is for the centre to enter."""
READ_S_MAX = 60
"""Real seconds for the read that proves a meter; see the collector's."""
TRIES_MAX = 5
"""Somebody else recorded a work, or a registry came, between check and commit: so often in a row is a fault of ours."""
LOOK_S = 300
"""Utility seconds between looks for works that a new registry contradicts."""
TAKEN_OVER_S = 2 * 3_600
"""Within so long the centre has put a work into a version, and a slow line has brought it: minutes, as a rule."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A work that is durable here."""

    work: FieldWork
    new: bool
    """False when this very work was recorded before."""


class FieldDesk:
    """Records field works of one office. `run` names those that a later registry contradicts."""

    def __init__(
        self,
        *,
        works: FieldWorks,
        registries: Registries,
        readings: Readings,
        alarms: Alarms,
        drivers: Mapping[str, MeterDriver],
        profiles: Mapping[str, MeterProfile],
        clock: UtilityClock,
        wakeups: Wakeups,
    ) -> None:
        self._works = works
        self._registries = registries
        self._readings = readings
        self._alarms = alarms
        self._drivers = drivers
        self._keepers = {name: driver for name, driver in drivers.items() if isinstance(driver, LineKeeper)}
        self._profiles = profiles
        self._clock = clock
        self._wakeups = wakeups
        self._judged: Mapping[str, str] | None = None

    async def run(self) -> None:
        """Look after works for ever."""
        while True:
            await self.look(self._clock.now())
            await self._clock.sleep(LOOK_S)

    async def look(self, now: int) -> int:
        """Raise an alarm for each work that is contradicted, or not taken over; clear the others; give how many stand.

        The registry contradicts it, or the centre has had it for long and its versions lack it.
        """
        outcomes = self._registries.outcomes
        refused = {
            name: f"{one.fault.code}: {one.fault.what}" for name, one in outcomes.items() if one.fault is not None
        }
        applied = [name for name, one in outcomes.items() if one.state is WorkState.APPLIED]
        told = await self._works.told_since(applied) if applied else {}
        for name, since in told.items():
            if now - since > TAKEN_OVER_S:
                why = f"the centre has it since {rfc3339(since)}, and its registry lacks it: ask there for the reason"
                refused[name] = f"TQ-FW-34: {why}"
        if refused == self._judged:
            return len(refused)
        for name, why in refused.items():
            await self._alarms.put(AlarmKind.FIELD_WORK_REFUSED, name, why, now)
        for name in await self._alarms.subjects(AlarmKind.FIELD_WORK_REFUSED):
            if name not in refused:
                await self._alarms.clear(AlarmKind.FIELD_WORK_REFUSED, name, now)
        self._judged = refused
        return len(refused)

    async def record(self, draft: Draft) -> Recorded:
        """Check a draft and make it durable; raises FieldWorkFault, IdentityFault or ProtocolFault, nothing done."""
        now = self._clock.now()
        known = await self._works.get(draft.id)
        at = now if draft.at is None else draft.at
        if at > now:
            raise work_fault(20, f"{at - now} s in the future", "give the time at which it was done")
        if now - at > AGE_S_MAX:
            raise work_fault(
                21, f"more than {AGE_S_MAX // 86_400} days ago", "let the centre enter it: those hours are closed here"
            )
        if known is not None:
            if not await self._readings.compute.run(same, known, draft, self._registries.current()):
                raise work_fault(10, f"work {draft.id} is recorded with another content", "give this one another name")
            return Recorded(known, new=False)
        work = await self._readings.compute.run(self._checked, draft, at, now)
        self._check_address(work)
        await self._check_finals(work)
        return await self._put(work)

    async def commission(self, meter: MeterId, by: PersonId, name: str) -> Recorded:
        """Read the meter and record that it is the one that was entered; raises FieldWorkFault or ProtocolFault."""
        registry = self._registries.current()
        known = await self._works.get(name)
        if known is not None and known.proof is not None and known.proof.meter == meter:
            return Recorded(known, new=False)
        placed = next((one for one in standing_at(registry, self._clock.now()) if one.meter == meter), None)
        if placed is None:
            raise work_fault(12, f"meter {meter} stands nowhere", "record its installation first")
        serial = await self._serial_of(registry.meter[meter])
        read_at = self._clock.now()
        proof = Proof(meter, serial.strip(), read_at)
        return await self._put(FieldWork(name, WorkKind.COMMISSIONED, read_at, by, read_at, proof=proof))

    async def _serial_of(self, meter: Meter) -> str:
        profile = self._profile(meter.profile)
        driver = self._drivers.get(profile.protocol)
        if driver is None:
            raise work_fault(27, f"nothing here speaks {profile.protocol}", "start the node with that driver")
        try:
            async with asyncio.timeout(READ_S_MAX):
                snapshot = await driver.read(_target(meter))
        except TimeoutError as error:
            raise work_fault(
                27, f"no answer within {READ_S_MAX} s", "look at the meter and its line; try again"
            ) from error
        if snapshot.serial is None or not snapshot.serial.strip():
            raise work_fault(
                26,
                f"a meter of profile {profile.name} tells no serial number: nobody can prove by reading which it is",
                "it is polled and booked; its relay is not moved from here until the centre vouches for it",
            )
        return snapshot.serial

    async def _put(self, work: FieldWork) -> Recorded:
        for _ in range(TRIES_MAX):
            held, told = await self._registries.tried((work,))
            outcome = told.outcomes[work.id]
            if outcome.fault is not None:
                raise outcome.fault
            if outcome.state is WorkState.INCLUDED:
                raise work_fault(29, "the registry says so already", "nothing more is to be recorded")
            spoilt = [
                name for name, one in told.outcomes.items() if one.state is WorkState.REFUSED and self._stands(name)
            ]
            if spoilt:
                raise work_fault(
                    16,
                    f"work {min(spoilt)} of a later time would no longer fit",
                    "enter works in the order of their times",
                )
            await self._readings.compute.run(check_alone, work, told.registry)
            new = await self._works.put(work, held, self._clock.now())
            if new is not None:
                await self._registries.load()
                for bell in (self._wakeups.outbox, self._wakeups.hour, self._wakeups.enforcement):
                    bell.set()
                return Recorded(work, new)
            await self._registries.load()
        raise work_fault(28, "the registry changed all the while", "try again")

    def _stands(self, work: str) -> bool:
        known = self._registries.outcomes.get(work)
        return known is not None and known.fault is None

    def _checked(self, draft: Draft, at: int, now: int) -> FieldWork:
        """The draft as a work that the registry and the readings do not contradict. Walks over all meters: heavy."""
        work = self._work(draft, at, now)
        self._check_new(work)
        return work

    def _work(self, draft: Draft, at: int, now: int) -> FieldWork:
        """The draft as a work, with what the registry knows filled in."""
        registry = self._registries.current()
        standing = next(
            (one for one in standing_at(registry, at) if one.point == draft.point and draft.old in {None, one.meter}),
            None,
        )
        taken = fitted = None
        if draft.kind is not WorkKind.INSTALLED:
            taken = taken_of(draft, standing)
        if draft.kind is not WorkKind.REMOVED:
            new = draft.new
            if draft.kind is WorkKind.MOVED and taken is not None:
                new = registry.meter.get(taken.meter)
            if new is None:
                raise work_fault(1, "no meter is named", "give the meter that was put up")
            fitted = fitted_of(draft, new, standing)
        return FieldWork(draft.id, draft.kind, at, draft.by, now, taken, fitted, photo=draft.photo)

    def _check_new(self, work: FieldWork) -> None:
        """The new meter's profile is known, and its serial number is nobody else's."""
        if work.fitted is None:
            return
        meter = work.fitted.meter
        self._profile(meter.profile)
        for one in self._registries.current().meters:
            if one.serial.strip() == meter.serial and one.profile == meter.profile and one.id != meter.id:
                raise work_fault(15, f"serial number {one.serial:.64} is that of meter {one.id}", "name that one")

    def _check_address(self, work: FieldWork) -> None:
        """The new meter's address is one that its driver can read."""
        if work.fitted is not None:
            meter = work.fitted.meter
            keeper = self._keepers.get(self._profile(meter.profile).protocol)
            if keeper is not None:
                keeper.line(_target(meter))

    def _profile(self, name: str) -> MeterProfile:
        profile = self._profiles.get(name)
        if profile is None:
            raise work_fault(
                22, f"there is no meter profile {name!r:.60}", f"known profiles: {', '.join(sorted(self._profiles))}"
            )
        return profile

    async def _check_finals(self, work: FieldWork) -> None:
        """Final registers lie where the old meter can have counted to since it was read last."""
        registry, taken = self._registries.current(), work.taken
        stay = None if taken is None else await self._readings.compute.run(stay_of, registry, taken, work.at)
        if taken is None or stay is None or len(taken.final_registers_wh) != len(stay.channels):
            return  # merging says what is wrong
        profile = self._profile(registry.meter[taken.meter].profile)
        rules = rules_of(profile, stay.multiplier, registry.interval_minutes)
        for channel, register_wh in zip(stay.channels, taken.final_registers_wh, strict=True):
            last = self._readings.last(taken.point, channel)
            if last is None or last.meter != taken.meter:
                continue
            base: Baseline | None = Baseline(last.at, last.register_wh)
            if last.at > work.at:
                if tells_serial(profile) and work.kind is not WorkKind.MOVED:
                    raise work_fault(
                        25,
                        f"{taken.meter} was still read at {last.at} (UTC seconds)",
                        "give the time at which it went off",
                    )
                known = await register_before(
                    self._readings.segments,
                    (taken.point, int(channel)),
                    work.at,
                    rules.interval_minutes * 60,
                    AGE_S_MAX,
                )
                base = None if known is None else Baseline(known.end, known.register_wh or 0)
            if base is not None:
                check_final(channel, base, stay.multiplier.apply(register_wh), work.at, rules)


def _target(meter: Meter) -> MeterTarget:
    return MeterTarget(meter.id, meter.serial, meter.profile, meter.address, meter.unit)
