"""DLMS/COSEM behind the `MeterDriver` port, with profiles, clocks and event logs. Floor: protocols; reading, payment.

Each call is one association on a connection of its own: connect, associate with the security of the profile, ask,
release. One at a time goes to each ``host:port``, several to a concentrator, and every call is bounded by time and
size. Whoever answers proves which meter it is before anything of it counts: a poll that finds another serial number
gives that number and nothing else, so that the caller can say who stands there; every other call ends with a fault,
and a write is not sent.

What may be written is what the profile allows by name: the two ways of the relay, and the clock. A permit is needed for
either, and no other code path here writes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import TypeVar

from gridmodel.clock import Entropy, IoClock, Rng, UtilityClock
from protocols.dlms.apdu.parts import AttributeDescriptor
from protocols.dlms.associating import Associations, counters_for
from protocols.dlms.bus import Bus
from protocols.dlms.concentrators import ConcentratorTable, load_concentrators
from protocols.dlms.conversation import Conversation
from protocols.dlms.cosem import NO_PARAMETER, Clock, DisconnectControl
from protocols.dlms.cosem_time import encode_time
from protocols.dlms.counters import CounterStore
from protocols.dlms.data import Data, Tag, octets
from protocols.dlms.faults import DlmsFault, local_fault, remote_fault
from protocols.dlms.intervals import read_events, read_slice
from protocols.dlms.keys import MeterKeys
from protocols.dlms.place import Place
from protocols.dlms.polling import Poller, check_serial
from protocols.dlms.section import ClockPlan, DlmsPlan, RelayPlan, dlms_plan
from protocols.dlms.values import clock_of, data_of
from protocols.driver import (
    ClockPermit,
    ClockReading,
    Line,
    MeterEvent,
    MeterSnapshot,
    MeterTarget,
    ProfileSlice,
    RelayCommand,
    RelayReading,
    WritePermit,
)
from protocols.errors import Hope
from protocols.profile import MeterProfile
from protocols.turns import Priority, priority_of

T = TypeVar("T")
SHIFT_S_MAX = 900
"""What shift_time of a clock takes, either way (IEC 62056-6-2, class 8)."""
CALL_S_MAX = 60
"""What a poll of a single meter may take by the usual profile."""
PLACES_KEPT = 8_192
"""Parsed addresses of those who are asked at present: a poll looks twice, and all of a region would fill memory."""
QUEUED_S_MAX = 60
"""Beside the call itself: for the turns that others have before it."""
Work = Callable[[Conversation], Awaitable[T]]


class DlmsDriver:
    """All DLMS meters of one process: `MeterDriver`, `ProfileReader`, `ClockKeeper` and `EventReader`."""

    def __init__(
        self,
        profiles: Mapping[str, MeterProfile],
        *,
        keys: MeterKeys,
        counters: CounterStore,
        entropy: Entropy,
        clock: UtilityClock,
        io_clock: IoClock,
        rng: Rng,
        concentrators: Mapping[str, ConcentratorTable] | None = None,
    ) -> None:
        """Raises `ProfileFault` for a wrong section; profiles of other protocols are left to their drivers.

        `concentrators`: the models that addresses may name; those that are shipped unless given.
        """
        self._plans = {name: dlms_plan(one) for name, one in profiles.items() if one.protocol == "dlms"}
        self._associations = Associations(keys=keys, counters=counters, entropy=entropy, io_clock=io_clock)
        self._poller = Poller()
        self._clock = clock
        self._rng = rng
        self._concentrators = load_concentrators() if concentrators is None else concentrators
        self._buses: dict[tuple[str, int], Bus] = {}
        self._place = lru_cache(PLACES_KEPT)(self._placed)
        self._closed = False

    def line(self, target: MeterTarget) -> Line:
        """See `LineKeeper.line`."""
        bus = self._bus(target, self._place(target))
        call_s_max = CALL_S_MAX if bus.concentrator is None else bus.concentrator.timing.call_s_max
        return Line(bus.name, bus.width, call_s_max + QUEUED_S_MAX)

    def width(self, key: str) -> int:
        """See `LineKeeper.width`."""
        host, _, port = key.rpartition(":")
        bus = self._buses.get((host, int(port)))
        return 1 if bus is None else bus.width

    async def read(self, target: MeterTarget) -> MeterSnapshot:
        """See `MeterDriver.read`. Another serial number than the target's comes alone, without any value."""
        plan = self._plan(target)
        return await self._call(target, plan, lambda talk: self._poller.read(target, plan, talk), Priority.POLL)

    async def read_relay(self, target: MeterTarget) -> RelayReading:
        """See `MeterDriver.read_relay`; goes before polls. Raises TQ-DM-86 when another meter answers."""
        plan = self._plan(target)
        relay = _relay_of(target, plan)

        async def work(talk: Conversation) -> RelayReading:
            return await self._poller.read_relay(target, plan, relay, talk)

        return await self._call(target, plan, work, Priority.RELAY)

    async def control(self, target: MeterTarget, command: RelayCommand, permit: WritePermit) -> None:
        """See `MeterDriver.control`: identity first, then the one allowed method, before polls.

        Raises:
            DlmsFault: 96 the permit is for something else, 97 no relay, 90 not on the profile's allow-list, 86 another
                meter answers, 52 its control mode obeys nobody, 51 it refused.

        """
        plan = self._plan(target)
        relay = _relay_of(target, plan)
        if permit.action is not command:
            raise local_fault(
                "TQ-DM-96",
                f"permit {permit.intent_id} is for {permit.action.value}, not for {command.value}",
                "nothing was sent; report this fault",
            )
        move = relay.moves[command]
        _check_allowed(plan, move.name)

        async def work(talk: Conversation) -> None:
            await _prove_identity(target, plan, talk)
            if relay.reads_mode:
                await _check_mode(target, relay, talk)
            await talk.act(move.method, move.parameter)

        await self._call(target, plan, work, priority_of(command))

    async def read_profile(self, target: MeterTarget, first: int, last: int) -> ProfileSlice:
        """See `ProfileReader.read_profile`."""
        plan = self._plan(target)

        async def work(talk: Conversation) -> ProfileSlice:
            await _prove_identity(target, plan, talk)
            scales = await self._poller.column_scales(target, plan, talk)
            return await read_slice(plan, talk, scales, first=first, last=last, now=self._clock.now())

        return await self._call(target, plan, work, Priority.BACKFILL, dear=True)

    async def read_events(self, target: MeterTarget, since: int) -> tuple[MeterEvent, ...]:
        """See `EventReader.read_events`."""
        plan = self._plan(target)
        until = self._clock.now()

        async def work(talk: Conversation) -> tuple[MeterEvent, ...]:
            await _prove_identity(target, plan, talk)
            return await read_events(target, plan, talk, since, until)

        return await self._call(target, plan, work, Priority.BACKFILL, dear=True)

    async def read_clock(self, target: MeterTarget) -> ClockReading:
        """See `ClockKeeper.read_clock`."""
        plan = self._plan(target)
        clock = _clock_of(target, plan)

        async def work(talk: Conversation) -> ClockReading:
            await _prove_identity(target, plan, talk)
            attribute = AttributeDescriptor(8, clock.obis, Clock.TIME)
            asked_at = self._clock.now()
            result = await talk.get_one(attribute)
            time, doubtful = clock_of(plan, clock, attribute, result)
            return ClockReading(time, asked_at, self._clock.now(), doubtful)

        return await self._call(target, plan, work, Priority.BACKFILL)

    async def set_clock(self, target: MeterTarget, shift_s: int, permit: ClockPermit) -> None:
        """See `ClockKeeper.set_clock`; by shift_time or by writing the time, as the profile says.

        Raises:
            DlmsFault: 96 a larger step than the permit's or the standard's, 97 no clock, 90 not on the profile's
                allow-list, 86 another meter answers, 51 it refused.

        """
        plan = self._plan(target)
        clock = _clock_of(target, plan)
        if abs(shift_s) > min(permit.shift_s_max, SHIFT_S_MAX):
            raise local_fault(
                "TQ-DM-96",
                f"permit {permit.intent_id} allows steps of {permit.shift_s_max} s, not of {shift_s} s",
                "nothing was sent; move the clock in smaller steps",
            )
        _check_allowed(plan, clock.write or "the clock")

        async def work(talk: Conversation) -> None:
            await _prove_identity(target, plan, talk)
            await self._move_clock(plan, clock, talk, shift_s)

        await self._call(target, plan, work, Priority.BACKFILL)

    async def close(self) -> None:
        """See `MeterDriver.close`."""
        self._closed = True
        self._associations.close(_driver_closed())

    def suspended(self, target: MeterTarget) -> bool:
        """Whether the target is being left alone at this moment, for a status page."""
        place = self._place(target)
        return self._bus(target, place).suspended(place.device)

    async def _call(
        self, target: MeterTarget, plan: DlmsPlan, work: Work[T], priority: Priority, *, dear: bool = False
    ) -> T:
        """One association and what is asked in it."""
        place = self._place(target)
        bus = self._bus(target, place)
        way = bus.way(plan, place)
        seconds = way.timing.profile_s_max if dear else way.timing.call_s_max
        talk: Conversation | None = None
        async with bus.turn(place, priority):
            if self._closed:
                raise _driver_closed()
            try:
                async with asyncio.timeout(seconds):
                    talk = await self._associations.open(target, plan, way, counters_for(plan, dear=dear))
                    result = await work(talk)
            except TimeoutError as error:
                raise _endless(target, seconds) from error
            except DlmsFault:
                if talk is not None:
                    await talk.release()
                raise
            else:
                await talk.release()
                return result
            finally:
                if talk is not None:
                    self._associations.end(target, talk)

    async def _move_clock(self, plan: DlmsPlan, clock: ClockPlan, talk: Conversation, shift_s: int) -> None:
        view = Clock(clock.obis)
        if clock.set_by == "shift":
            parameter = NO_PARAMETER._replace(tag=Tag.LONG, value=shift_s)
            await talk.act(view.method(Clock.SHIFT_TIME), parameter)
            return
        attribute = view.attribute(Clock.TIME)
        asked_at = self._clock.now()
        result = await talk.get_one(attribute)
        way_s = max(0, self._clock.now() - asked_at)  # the answer's way back and the new time's way there
        time, _ = clock_of(plan, clock, attribute, result)
        if time is None:
            raise remote_fault("TQ-DM-65", "the meter's clock does not say which moment it is", hope=Hope.PERMANENT)
        raw = encode_time(
            time + way_s + shift_s,
            clock.offset_min,
            deviation=_carries_deviation(result),
            reversed_sign=plan.quirks.deviation_reversed,
        )
        await talk.write(
            attribute, octets(raw) if getattr(result, "tag", None) != Tag.DATE_TIME else Data(Tag.DATE_TIME, raw)
        )

    def _plan(self, target: MeterTarget) -> DlmsPlan:
        if self._closed:
            raise _driver_closed()
        plan = self._plans.get(target.profile)
        if plan is None:
            raise local_fault(
                "TQ-DM-92",
                f"meter {target.meter} has the profile {target.profile!r:.60}, which is no DLMS profile",
                "mend the registry, or add the profile to configs/meters",
            )
        return plan

    def _placed(self, target: MeterTarget) -> Place:
        return self._plan(target).place(target)

    def _bus(self, target: MeterTarget, place: Place) -> Bus:
        """Whose turns they are. Raises DlmsFault TQ-DM-99 for a concentrator that is not known, or not agreed upon."""
        concentrator = None if place.via is None else self._concentrators.get(place.via)
        if place.via is not None and concentrator is None:
            known = ", ".join(self._concentrators) or "none"
            raise local_fault(
                "TQ-DM-99",
                f"meter {target.meter} stands behind a concentrator {place.via!r:.40}, which nobody knows",
                f"known models: {known}; mend the registry, or add it to configs/concentrators",
            )
        bus = self._buses.get((place.host, place.port))
        if bus is None:
            bus = self._buses[place.host, place.port] = Bus(
                f"{place.host}:{place.port}", self._clock, self._rng, concentrator
            )
        elif bus.concentrator is not concentrator:
            raise local_fault(
                "TQ-DM-99",
                f"meter {target.meter} names {place.via or 'nobody'} before {place.host}:{place.port}, others do not",
                "all meters behind one address name one model: mend the registry; nothing was sent",
            )
        return bus


async def _prove_identity(target: MeterTarget, plan: DlmsPlan, talk: Conversation) -> None:
    """Read who answers. Raises DlmsFault TQ-DM-86 unless it is the target."""
    if plan.serial is None:
        raise local_fault(
            "TQ-DM-85", f"profile {plan.profile} does not say where its serial number is", "give it [dlms.identity]"
        )
    check_serial(target, plan, await talk.get_one(plan.serial))


async def _check_mode(target: MeterTarget, relay: RelayPlan, talk: Conversation) -> None:
    view = DisconnectControl(relay.obis)
    attribute = view.attribute(DisconnectControl.CONTROL_MODE)
    mode = data_of(attribute, await talk.get_one(attribute)).value
    if mode == 0:
        raise remote_fault(
            "TQ-DM-52",
            f"the relay of meter {target.meter} is in control mode 0 and obeys nobody",
            "nothing was sent: somebody must set its control mode on the spot",
            Hope.PERMANENT,
        )


def _carries_deviation(result: object) -> bool:
    """Whether the meter's own time says its deviation; a time is written back in the form it was read."""
    return isinstance(result, Data) and isinstance(result.value, bytes) and result.value[9:11] != b"\x80\x00"


def _relay_of(target: MeterTarget, plan: DlmsPlan) -> RelayPlan:
    if plan.relay is None:
        raise local_fault(
            "TQ-DM-97", f"meter {target.meter} ({plan.profile}) has no relay", "nothing was sent; mend the registry"
        )
    return plan.relay


def _clock_of(target: MeterTarget, plan: DlmsPlan) -> ClockPlan:
    if plan.clock is None:
        raise local_fault(
            "TQ-DM-97", f"meter {target.meter} ({plan.profile}) has no clock", "nothing was sent; mend its profile"
        )
    return plan.clock


def _check_allowed(plan: DlmsPlan, name: str) -> None:
    if name not in plan.writes_allowed:
        raise local_fault(
            "TQ-DM-90",
            f"meter profile {plan.profile} does not allow {name}",
            "nothing was sent; only what stands in writes_allowed may ever be written",
        )


def _driver_closed() -> DlmsFault:
    return local_fault("TQ-DM-91", "the DLMS driver is closed", "the node is stopping; start it again")


def _endless(target: MeterTarget, seconds: int) -> DlmsFault:
    return remote_fault(
        "TQ-DM-83",
        f"meter {target.meter} answered and came to no end within {seconds} s",
        "ask for less at once, or give the profile more time (call_s_max, profile_s_max)",
    )
