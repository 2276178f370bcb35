"""From answers to readings: validation, alarms and one transaction per round. Room: metering; walk: reading.

Workers hand in what meters said, in the order they said it; one writer validates each register against the last one in
the store, raises and clears alarms, books the round, and tells supply what was seen of relays. Alarms go before the
readings: a crash in between raises them again at the next read, the other way round one could be lost.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from edge_node.metering.clock_witnesses import ClockWitnesses
from edge_node.metering.estimating import Estimator, Sum
from edge_node.metering.freshness import Freshness
from edge_node.metering.holding import Holding, Placed
from edge_node.metering.plausibility import COMPARED, clock_is_off, implausible_energies, implausible_values
from edge_node.metering.polling import PollTarget
from edge_node.metering.takeovers import exchange_between, of_old_multiplier
from edge_node.metering.waiting import others_first, until
from edge_node.store.absences import Absences
from edge_node.store.alarms import Alarms, clear_alarm, raise_alarm
from edge_node.store.hours import revision_epoch
from edge_node.store.reading_round import Booking
from edge_node.store.readings import Readings
from edge_node.store.relays import Relays, Sighting
from edge_node.wakeups import Wakeups
from gridmodel.absence import Absence
from gridmodel.clock import ClockTrust, SteadyMoment, UtilityClock
from gridmodel.event import AlarmKind
from gridmodel.identity import UsagePointId
from gridmodel.reading import Channel, IntervalReading, Mark, RegisterRead, Revision
from gridmodel.vee import RULES, LastRegister, exchanged, validate
from hosting.database import Connection, Database
from protocols.driver import RelayContact, RelayReading

ANSWERS_PER_ROUND_MAX = 500
"""One transaction, at most 1,000 readings of two channels."""
ANSWERS_AT_ONCE_MAX = 100
"""Validated before others have their turn on the event loop: a whole round held it for 27 ms on a busy machine."""
READINGS_PER_ROUND_MAX = 1_000
"""Of meters with more than two channels fewer answers are taken."""
INTERVALS_PER_ROUND_MAX = 3_000
"""After a silence an answer is many intervals: rounds of some 10 ms on the event loop."""
ROUND_S_MAX = 120
"""Utility seconds that an answer waits for others: a small fleet's whole spread is one transaction. What a power cut
takes with it is spread over a gap by the next read; no watt-hour is lost."""
ANSWERS_WAITING_MAX = 20_000
"""Answers kept while the disk is slow; beyond it workers wait, and so do the meters behind them."""
ALARMS_PER_TRANSACTION_MAX = 100
"""A district that went dark raises thousands: the control database is given back within some 20 ms."""

_ALARMS = {mark: rule.alarm for mark, rule in RULES.items() if rule.alarm is not None}
_UNJUDGED = frozenset({Mark.NULL, Mark.STALE, Mark.AHEAD})
"""Such a read says nothing about the alarms that stand."""
_TEXTS = {
    AlarmKind.REGISTER_RESET: "the register fell; nothing is booked until a second read agrees",
    AlarmKind.REGISTER_SPIKE: "the register rose by more than the connection can carry; held back or suspect",
    AlarmKind.REGISTER_STUCK: "not one watt-hour for longer than is normal",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What one meter said in one poll."""

    poll: PollTarget
    at: int
    """The interval end for which it stands."""
    asked_at: int
    registers: Mapping[Channel, int | None]
    """Meter-side Wh; None where the meter had no value."""
    relay: RelayReading | None
    serial: str | None
    measurements: Mapping[str, int | None] = field(default_factory=dict)
    """Instantaneous values, meter-side."""
    meter_time: int | None = None
    """The meter's own clock."""
    answered_at: int | None = None
    """When the answer was whole; None: at once."""
    unstamped: Mapping[Channel, int | None] = field(default_factory=dict)
    """Registers of a time that is not known: they wait for it, and `registers` is empty."""
    moment: SteadyMoment | None = None
    """When they were read, by the clock that never jumps."""


@dataclass(slots=True)
class _Work:
    """One round being worked out."""

    bookings: list[Booking] = field(default_factory=list)
    gaps: dict[int, Sum] = field(default_factory=dict)
    """By place in `bookings`: those that wait for a shape."""
    last: dict[tuple[str, Channel], LastRegister] = field(default_factory=dict)
    raised: dict[tuple[AlarmKind, str], str] = field(default_factory=dict)
    cleared: set[tuple[AlarmKind, str]] = field(default_factory=set)
    sightings: list[Sighting] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """How often each rule spoke, and each method of estimation."""
    at: int = 0
    """The latest interval end in it."""
    intervals: int = 0

    @property
    def room(self) -> bool:
        """Whether another answer may come."""
        return len(self.bookings) < READINGS_PER_ROUND_MAX and self.intervals < INTERVALS_PER_ROUND_MAX


class Rounds:
    """The one writer of readings. `add` from any worker, `run` once."""

    def __init__(
        self,
        *,
        control: Database,
        readings: Readings,
        alarms: Alarms,
        relays: Relays,
        clock: UtilityClock,
        wakeups: Wakeups,
        time_witnessed: Callable[[int], object] | None = None,
        holding: Holding | None = None,
    ) -> None:
        """`time_witnessed` is told the time that enough meters agree on, while the clock is in doubt.

        `holding` keeps what is read meanwhile; without it the next register with a stamp books the energy.
        """
        self._control = control
        self._readings = readings
        self._estimator = Estimator(readings)
        self._alarms = alarms
        self._relays = relays
        self._clock = clock
        self._wakeups = wakeups
        self._waiting: deque[Answer] = deque()
        self._some = asyncio.Event()
        self._many = asyncio.Event()
        self._room = asyncio.Semaphore(ANSWERS_WAITING_MAX)
        self._standing: set[tuple[AlarmKind, str]] = set()
        self._witnesses = ClockWitnesses()
        self._time_witnessed = time_witnessed
        self._holding = holding
        self._freshness = Freshness(Absences(control))

    async def load(self) -> None:
        """Take the last registers and the standing alarms from the store, as they are after a start or a failure."""
        await self._readings.load()
        await self._freshness.load()
        kinds = (*_ALARMS.values(), AlarmKind.WRONG_METER, AlarmKind.METER_SILENT)
        self._standing = {(kind, subject) for kind in kinds for subject in await self._alarms.subjects(kind)}

    async def add(self, answer: Answer) -> None:
        """Hand in an answer; it is durable after the next round."""
        if answer.unstamped and self._holding is not None:
            answer = replace(answer, moment=self._holding.moment())
        await self._room.acquire()
        self._waiting.append(answer)
        self._some.set()
        if len(self._waiting) >= ANSWERS_PER_ROUND_MAX:
            self._many.set()

    def was_read(self, poll: PollTarget) -> bool:
        """Whether anything was ever read for its point."""
        return any(self._readings.last(poll.point, channel) is not None for channel in poll.channels)

    def absent(self, meter: str, reason: Absence, end: int, detail: str) -> None:
        """A try to read it failed: it has no fresh reading for the interval ending at `end` so far, and this is why."""
        self._freshness.absent(meter, reason, end, detail)
        self._some.set()

    async def all_absent(self, missing: Iterable[tuple[str, str]], reason: Absence, end: int) -> None:
        """The same for many (meter, detail), written at once in parts."""
        await self._freshness.all_absent(missing, reason, end)

    async def polled(self, meters: Container[str]) -> None:
        """These meters are polled from now on, and no others: nothing is missing of others, and no alarm stands."""
        await self._freshness.keep_only(meters)
        await self._put_alarms({}, {(kind, meter) for kind, meter in self._standing if meter not in meters})

    async def silent(self, missing: Sequence[tuple[str, str]]) -> None:
        """Raise METER_SILENT for these (meter, why), where it does not stand yet."""
        fresh = [(meter, why) for meter, why in missing if (AlarmKind.METER_SILENT, meter) not in self._standing]
        if fresh:
            await self._put_alarms({(AlarmKind.METER_SILENT, meter): why for meter, why in fresh}, set())

    async def run(self) -> None:
        """Book round after round, for ever."""
        while True:
            await self._some.wait()
            self._many.clear()
            if len(self._waiting) < ANSWERS_PER_ROUND_MAX:
                await until(self._clock, self._clock.now() + ROUND_S_MAX, self._many)
            await self.flush()

    async def flush(self) -> None:
        """Book what waits, in rounds."""
        self._some.clear()
        await self._bring_back()
        await self._book_all(self._waiting, self._room.release)
        if self._holding is not None:
            await self._holding.flush(self._clock.doubts())
        self._ask_witnesses()
        await self._freshness.flush()

    async def _book_all(self, waiting: deque[Answer], taken_one: Callable[[], object]) -> None:
        while waiting:
            work = _Work()
            taken = 0
            while waiting and taken < ANSWERS_PER_ROUND_MAX and work.room and self._take(waiting[0], work):
                waiting.popleft()
                taken_one()
                taken += 1
                if taken % ANSWERS_AT_ONCE_MAX == 0:
                    await others_first()
            await self._book(work)

    async def _bring_back(self) -> None:
        """Stamp and book what was read before the time was known: before anything later, in the order of reading."""
        while self._holding is not None and (row := await self._holding.next_row()) is not None:
            placed = await self._holding.placed(row)
            await self._book_all(deque(map(_brought_back, placed)), lambda: None)
            counts = self._readings.rule_counts.rows(self._clock.now(), {"rebased": len(placed)} if placed else {})
            await self._readings.rule_counts.add(counts)
            await self._holding.forget(row)

    def _ask_witnesses(self) -> None:
        now = self._clock.now()
        if self._clock.trust() is ClockTrust.TRUSTED:
            self._witnesses.forget()
        elif self._time_witnessed is not None and (shift_s := self._witnesses.shift_s(now)) is not None:
            self._time_witnessed(now + shift_s)

    def _take(self, answer: Answer, work: _Work) -> bool:
        """Work one answer into the round; False when it has to wait for the next, since its meter is in this one."""
        poll, meter = answer.poll, answer.poll.target.meter
        work.at = max(work.at, answer.at)
        if any((poll.point, channel) in work.last for channel in poll.channels):
            return False
        self._clear(work, AlarmKind.METER_SILENT, meter)
        if answer.serial is not None and answer.serial.strip() != poll.target.serial.strip():
            why = f"{answer.serial!r:.40} answered at {poll.target.address} instead of {poll.target.serial!r:.40}"
            work.raised[AlarmKind.WRONG_METER, meter] = f"{why}; nothing is booked"
            self._freshness.absent(meter, Absence.WRONG_METER, answer.at, why)
            return True
        self._clear(work, AlarmKind.WRONG_METER, meter)
        if answer.meter_time is not None and self._time_witnessed is not None:
            self._witnesses.heard(meter, answer.meter_time, answer.asked_at, answer.answered_at or answer.asked_at)
        if answer.moment is not None and self._holding is not None:
            self._holding.keep(poll, answer.moment, answer.unstamped)
        judged = self._judge_all(answer, work)
        self._sight(answer, work)
        if judged:
            self._freshness.fresh(meter)
        elif answer.registers:
            self._freshness.absent(meter, Absence.NO_VALUE, answer.at, "it answered without a register to be booked")
        else:
            self._freshness.absent(meter, Absence.CLOCK_DOUBTFUL, answer.at, "read while the node's clock is in doubt")
        return True

    def _judge_all(self, answer: Answer, work: _Work) -> bool:
        """Every channel by itself, then against each other; alarms of what was found. Whether any could be judged."""
        poll, meter = answer.poll, answer.poll.target.meter
        found: dict[AlarmKind, str] = {}
        judged = False
        booked: dict[Channel, tuple[IntervalReading, ...]] = {}
        for channel in poll.channels:
            marks, booked[channel] = self._judge(answer, channel, work)
            judged = judged or _UNJUDGED.isdisjoint(marks)
            for mark in marks:
                work.counts[mark] += 1
                if mark in _ALARMS and (mark is not Mark.STUCK or channel is Channel.IMPORT):
                    found[_ALARMS[mark]] = f"channel {channel.name.lower()}"
        if not COMPARED.isdisjoint(poll.channels):
            for mark in implausible_energies(booked, poll.rules):
                work.counts[mark] += 1
        if answer.measurements:
            for mark in implausible_values(answer.measurements, poll.multiplier, poll.rules):
                work.counts[mark] += 1
        stamped = bool(answer.registers)  # a clock of ours in doubt judges nobody's
        if stamped and clock_is_off(
            answer.meter_time, answer.asked_at, answer.answered_at or answer.asked_at, poll.rules
        ):
            work.counts[Mark.CLOCK] += 1
        for kind, where in found.items():
            work.raised[kind, meter] = f"{where} at {poll.point}: {_TEXTS[kind]}"
        if judged and self._standing:
            for kind in _ALARMS.values():
                if kind not in found:
                    self._clear(work, kind, meter)
        return judged

    def _judge(
        self, answer: Answer, channel: Channel, work: _Work
    ) -> tuple[tuple[Mark, ...], tuple[IntervalReading, ...]]:
        """Validate one register against the last one and book it into the round; its marks and intervals."""
        poll = answer.poll
        register = answer.registers.get(channel)
        base = last = self._readings.last(poll.point, channel)
        wh = None if register is None else poll.multiplier.apply(register)
        read = RegisterRead(poll.point, poll.target.meter, channel, answer.at, wh)
        if last is not None and poll.rebased_at is not None and last.at <= poll.rebased_at < answer.at:
            base = None
        elif last is not None and of_old_multiplier(poll, channel, last, read):
            base = None  # the paper came after it: `late_exchanges` books what was taken times the wrong number
        exchange = exchange_between(poll, channel, last, answer.at)
        if last is not None and exchange is not None:
            result = exchanged(last, exchange, read, poll.rules)
        else:
            result = validate(base, read, poll.rules)
        if result.last is not None and result.last != last:
            work.last[poll.point, channel] = result.last
            work.intervals += len(result.intervals)
            booking = Booking(poll.point, channel, result.intervals, result.last)
            if len(result.intervals) > 1 and result.intervals[0].method and exchange is None:
                carried_wh_max = poll.rules.power_w_max * poll.rules.interval_minutes // 60
                work.gaps[len(work.bookings)] = Sum(booking, carried_wh_max, poll.neighbours)
            work.bookings.append(booking)
        return result.marks, result.intervals

    def _sight(self, answer: Answer, work: _Work) -> None:
        relay = answer.relay
        if relay is None or relay.state is RelayContact.UNKNOWN or not answer.poll.of_usage_point:
            return
        point = UsagePointId(answer.poll.point)
        work.sightings.append(
            Sighting(point, answer.poll.target.meter, relay.state.value, relay.load_w, answer.asked_at)
        )

    def _clear(self, work: _Work, kind: AlarmKind, meter: str) -> None:
        if self._standing and (kind, meter) in self._standing:
            work.cleared.add((kind, meter))

    async def _book(self, work: _Work) -> None:
        raised = {key: why for key, why in work.raised.items() if key not in self._standing}
        cleared = {key for key in work.cleared if key not in work.raised}
        await self._put_alarms(raised, cleared)
        if work.gaps:
            await self._estimate(work)
        counts = self._readings.rule_counts.rows(work.at, work.counts)
        if not work.bookings and not work.sightings:
            await self._readings.rule_counts.add(counts)
            return

        async def look(conn: Connection) -> tuple[int, list[Sighting]]:
            return await revision_epoch(conn), await self._relays.telling(conn, work.sightings)

        epoch, telling = await self._control.read(look)
        if work.bookings or counts:
            await self._readings.book(work.bookings, Revision(epoch, 1), counts)
        if telling:
            await self._relays.record_sightings(telling)
            self._wakeups.enforcement.set()

    async def _estimate(self, work: _Work) -> None:
        """Give the round's gaps the best shape that is known, and count by which method."""
        shaped = await self._estimator.shaped(list(work.gaps.values()), work.bookings)
        for place, booking in zip(work.gaps, shaped, strict=True):
            work.bookings[place] = booking
            method = booking.intervals[0].method
            work.counts[f"estimated_{method.name.lower()}"] += len(booking.intervals)

    async def _put_alarms(self, raised: dict[tuple[AlarmKind, str], str], cleared: set[tuple[AlarmKind, str]]) -> None:
        if not raised and not cleared:
            return
        changes = [*raised.items(), *((key, None) for key in sorted(cleared))]
        for start in range(0, len(changes), ALARMS_PER_TRANSACTION_MAX):
            part = changes[start : start + ALARMS_PER_TRANSACTION_MAX]
            await self._control.write(partial(_alarms_verb, part, self._clock.now()))
        self._standing.update(raised)
        self._standing -= cleared
        self._wakeups.outbox.set()


def _brought_back(placed: Placed) -> Answer:
    return Answer(placed.poll, placed.end, placed.at, placed.registers, None, None)


async def _alarms_verb(changes: Sequence[tuple[tuple[AlarmKind, str], str | None]], now: int, conn: Connection) -> None:
    """Raise those with a text, clear the others."""
    for (kind, subject), why in changes:
        if why is None:
            await clear_alarm(conn, kind, subject, now)
        else:
            await raise_alarm(conn, kind, subject, why, now)
