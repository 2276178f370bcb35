"""Event reading: meters' logs are read on from where they are known, and become alarms. Room: metering; walk: reading.

Four times a day, between the polls. Lines, marks and alarms are one transaction. What a log held before its meter was
first read is history: it is kept, and only a cover that is still open is told.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence

from edge_node.metering.event_alarms import OF_METERS, RECENT, Change, conditions, moments, unexplained_move
from edge_node.metering.visits import CALL_S_MAX, Grounds, Visit, Visits, at_once
from edge_node.store.alarms import Alarms, clear_alarm, raise_alarm
from edge_node.store.meter_events import DAY_S, LogsRead, MeterEvents
from edge_node.store.operations import Operations
from edge_node.wakeups import Wakeups
from gridmodel.event import AlarmKind
from gridmodel.identity import MeterId, UsagePointId
from hosting.database import Connection, Database
from protocols.driver import EventReader, MeterEvent, MeterEventKind
from protocols.errors import Hope, ProtocolFault

PERIOD_S = 6 * 3_600
"""Between two reads of one meter's logs."""
SILENT_AGAIN_S = 3_600
"""A meter that did not answer is asked again after so long."""
OVERLAP_S = DAY_S
"""Lines are asked for from so long before the latest one: a clock that was set back writes them behind it."""
OPERATIONS_LOOKED_AT = 20
"""Of one point: more than a day's brakes and tries let happen."""


class EventReading:
    """Reads event logs. `run` for ever, or `tick` when a test says so."""

    def __init__(
        self,
        grounds: Grounds,
        *,
        control: Database,
        events: MeterEvents,
        operations: Operations,
        alarms: Alarms,
        wakeups: Wakeups,
    ) -> None:
        self._clock = grounds.clock
        self._visits = Visits(grounds, _reader)
        self._control = control
        self._events = events
        self._operations = operations
        self._alarms = alarms
        self._wakeups = wakeups
        self._known: dict[MeterId, LogsRead] | None = None
        self._again_at: dict[MeterId, int] = {}
        self._alarmed: set[str] = set()
        """Meters about which an alarm of ours stands."""

    async def run(self) -> None:
        """Read whatever is due, for ever."""
        while True:
            await self._clock.sleep_until(await self.tick())

    async def tick(self) -> int:
        """Read the logs that are due until the next polls begin; gives when to look again."""
        if self._known is None:
            self._known = await self._events.reads()
            self._alarmed = {meter for kind in OF_METERS for meter in await self._alarms.subjects(kind)}
        following = await self._visits.tick(self._due_at, self._round)
        if self._visits.meters and (gone := self._alarmed - self._visits.meters):
            await self._control.write(lambda conn: _clear_all(conn, gone, self._clock.now()))
            self._alarmed -= gone
            self._wakeups.outbox.set()
        return following

    def _due_at(self, meter: MeterId) -> int:
        known = (self._known or {}).get(meter)
        due_at = 0 if known is None or known.read_at > self._clock.now() else known.read_at + PERIOD_S
        return max(due_at, self._again_at.get(meter, 0))

    async def _round(self, visits: Sequence[Visit[EventReader]]) -> None:
        lying = await self._alarms.subjects(AlarmKind.METER_CLOCK_WRONG)
        reads: dict[MeterId, LogsRead] = {}

        async def one(visit: Visit[EventReader]) -> None:
            meter = visit.poll.target.meter
            found = await self._read(visit, whole=meter in lying)
            if found is not None:
                reads[meter] = found

        await at_once(visits, one)
        await self._events.put_reads({meter: read.read_at for meter, read in reads.items()})
        self._known = (self._known or {}) | reads

    async def _read(self, visit: Visit[EventReader], *, whole: bool) -> LogsRead | None:
        """One meter's logs; None when it has to be asked again soon.

        `whole`: its clock lies, so that nobody knows behind which line a new one stands.
        """
        meter, before = visit.poll.target.meter, (self._known or {}).get(visit.poll.target.meter)
        newest_at, read_at = (0, 0) if before is None else (before.newest_at, before.read_at)
        since = 0 if whole else max(0, min(newest_at, read_at, self._clock.now()) - OVERLAP_S)
        try:
            events = await _events(visit, since)
            if since and _clock_leapt(events, newest_at):
                events = await _events(visit, 0)
        except (ProtocolFault, TimeoutError) as fault:
            lasting = isinstance(fault, ProtocolFault) and fault.hope is Hope.PERMANENT  # no logs, or another meter
            self._again_at[meter] = self._clock.now() + (PERIOD_S if lasting else SILENT_AGAIN_S)
            return None
        self._again_at.pop(meter, None)
        if events or meter in self._alarmed:
            await self._keep(visit, events, first=before is None)
        return LogsRead(self._clock.now(), max([newest_at, *(one.at for one in events)]))

    async def _keep(self, visit: Visit[EventReader], events: Sequence[MeterEvent], *, first: bool) -> None:
        meter, point = visit.poll.target.meter, visit.poll.point
        operations = []
        if visit.poll.of_usage_point and not first:
            operations = await self._operations.of_point(UsagePointId(point), OPERATIONS_LOOKED_AT)

        async def verb(conn: Connection) -> bool:
            now = self._clock.now()
            fresh = await self._events.take(conn, meter, events, now)
            changes = conditions(fresh)
            if not first:
                recent = await self._events.known(conn, meter, RECENT, now - DAY_S)
                changes += moments(fresh, recent, now)
                moved = unexplained_move(fresh, operations)
                if moved is not None and visit.poll.of_usage_point:
                    await raise_alarm(conn, AlarmKind.RELAY_MOVED_WITHOUT_INTENT, point, moved, now)
            return await _put(conn, meter, changes, now)

        if await self._control.write(verb):
            self._alarmed.add(meter)
        self._wakeups.outbox.set()


async def _clear_all(conn: Connection, gone: Iterable[str], now: int) -> None:
    """What stands about meters that hang no more."""
    for meter in sorted(gone):
        for kind in sorted(OF_METERS):
            await clear_alarm(conn, kind, meter, now)


async def _events(visit: Visit[EventReader], since: int) -> Sequence[MeterEvent]:
    async with asyncio.timeout(CALL_S_MAX):
        return await visit.driver.read_events(visit.poll.target, since)


def _clock_leapt(events: Sequence[MeterEvent], newest_at: int) -> bool:
    """Whether a new line says that the clock was set, and none near it from when: others may stand as far away."""
    kinds = Counter(one.kind for one in events if one.at > newest_at)
    return kinds[MeterEventKind.CLOCK_NEW] > kinds[MeterEventKind.CLOCK_OLD]


async def _put(conn: Connection, meter: MeterId, changes: Sequence[Change], now: int) -> bool:
    """Raise and clear in order; gives whether any of them was raised."""
    raised = False
    for change in changes:
        if change.text is None:
            await clear_alarm(conn, change.kind, meter, now)
        else:
            raised = await raise_alarm(conn, change.kind, meter, change.text, now) or raised
    return raised


def _reader(driver: object) -> EventReader | None:
    return driver if isinstance(driver, EventReader) else None
