"""The metering rooms of one node over real files, before DLMS meters on real sockets; a test moves time by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_node.metering.backfill import Backfill
from edge_node.metering.clock_door import ClockDoor
from edge_node.metering.clock_keeping import ClockKeeping
from edge_node.metering.clock_steps import ClockRules
from edge_node.metering.day_close import DayClose
from edge_node.metering.event_reading import EventReading
from edge_node.metering.hour_close import HourClose
from edge_node.metering.outage_watch import OutageWatch
from edge_node.metering.plans import Plans
from edge_node.metering.polling import PollTarget, plan_of
from edge_node.metering.rounds import Answer, Rounds
from edge_node.metering.visits import Grounds
from edge_node.store.opening import EdgeStore, StoreKeys, open_store
from edge_node.wakeups import Wakeups
from gridmodel.period import interval_end
from gridmodel.registry import Registry
from gridmodel.registry_document import registry_to_document
from hosting.clocks import SystemIoClock, seeded_rng
from hosting.compute import InlineCompute
from hosting.database import DatabaseOpener, open_database
from protocols.authority.canonical import Domain
from protocols.authority.signatures import KeyRing, Signer
from protocols.dlms.cosem_time import encode_time
from protocols.dlms.data import Data, Tag, octets
from protocols.dlms.driver import DlmsDriver
from protocols.dlms.meter_side.objects import Row
from protocols.dlms.section import dlms_plan
from protocols.errors import ProtocolFault
from protocols.profile import MeterProfile
from tests.edge_node.metering.small_grid import MIDNIGHT, NODE, QUARTER, ROW_KEY, ZONE, grid, link, placed
from tests.protocols.dlms.bench_rig import fast
from tests.protocols.dlms.parties import CountingEntropy
from tests.protocols.dlms.recording import MemoryCounters
from tests.protocols.dlms.served import ServedMeter, Wire, served
from tests.protocols.dlms.table_keys import TableKeys
from tests.protocols.modbus.scripted import HandClock

POINTS = {"m-1": "up-1", "m-2": "up-2", "m-t1": "sp-t-1"}
"""Which meter stands where unless a test says otherwise; all hang on transformer t-1."""
HOME, THREE = "dlms_hls_single", "dlms_lls_three"
BORN = MIDNIGHT + 10 * 3_600


def usage(meter: str, number: int) -> int:
    """What a meter's home draws in its n-th quarter since midnight: never the same twice in a row."""
    return 100 + 37 * (number % 7) + 11 * (len(meter) + ord(meter[-1])) % 50


def register_at(meter: str, at: int) -> int:
    """The meter's import register in Wh at the latest quarter's end up to `at`."""
    weeks, rest = divmod((at - MIDNIGHT) // QUARTER, 7)
    return 50_000 + weeks * sum(usage(meter, n) for n in range(7)) + sum(usage(meter, n) for n in range(1, rest + 1))


def energy_in(meter: str, end: int) -> int:
    """What truly flowed in the quarter that ended at `end`."""
    return usage(meter, (end - MIDNIGHT) // QUARTER)


@dataclass
class Memory:
    """What one meter keeps of its past, and what is wrong with that."""

    meter: str
    rows_kept: int = 1_000
    but: Callable[[int, Row], Row | None] = lambda _, row: row
    """Changes the row that ends at a time, or drops it."""

    def rows(self, now: int) -> Sequence[Row]:
        newest = interval_end(now, 15)
        ends = range(max(MIDNIGHT, newest - (self.rows_kept - 1) * QUARTER), newest + 1, QUARTER)
        made = ((end, self._row(end)) for end in ends)
        return [row for end, plain in made if (row := self.but(end, plain)) is not None]

    def _row(self, end: int) -> Row:
        status, none = Data(Tag.UNSIGNED, 0), Data(Tag.DOUBLE_LONG_UNSIGNED, 0)
        return (
            octets(encode_time(end, 300)),
            status,
            Data(Tag.DOUBLE_LONG_UNSIGNED, register_at(self.meter, end)),
            none,
        )


@dataclass
class Site:
    """A node's metering as a process finds it, and the meters before it."""

    store: EdgeStore
    clock: HandClock
    driver: DlmsDriver
    registry: Registry
    profiles: dict[str, MeterProfile]
    meters: dict[str, ServedMeter]
    memories: dict[str, Memory]
    wires: dict[str, Wire]
    rounds: Rounds
    backfill: Backfill
    clock_keeping: ClockKeeping
    clock_door: ClockDoor
    event_reading: EventReading
    outage_watch: OutageWatch
    hour_close: HourClose
    day_close: DayClose
    wakeups: Wakeups

    async def poll(self) -> None:
        """One poll of every meter, as the collector does it, at this moment."""
        now = self.clock.now()

        async def ask(one: PollTarget) -> None:
            try:
                snapshot = await self.driver.read(one.target)
            except ProtocolFault:
                return
            answer = Answer(one, interval_end(now, 15), now, snapshot.registers, snapshot.relay, snapshot.serial)
            await self.rounds.add(answer)

        await asyncio.gather(*map(ask, self.targets()))
        await self.rounds.flush()

    def targets(self) -> tuple[PollTarget, ...]:
        return plan_of(self.registry, self.clock.now(), self.profiles, 0)[1].targets

    async def polls(self, first: int, last: int) -> None:
        """A poll a minute after each interval's end from `first` to `last`."""
        for end in range(first, last + 1, QUARTER):
            self.clock.at = end + 60
            await self.poll()
            await self.hour_close.tick(self.clock.now())

    def hush(self, *meters: str, silent: bool = True) -> None:
        """These meters hang up on whoever asks, or no longer do: silence without its waiting."""
        for meter in meters:
            self.wires[meter].mangle = (lambda _out, _count: b"") if silent else None

    async def fill(self, at: int) -> None:
        """Backfill at that time, until nothing is due."""
        self.clock.at = at
        await self.backfill.tick()

    async def booked(self, point: str) -> dict[int, tuple[int, int]]:
        """{end: (energy_wh, quality)} of a point's import."""
        found: dict[int, tuple[int, int]] = {}
        for month in self.store.readings.segments.months():
            async with self.store.readings.segments.lease(month) as segment:
                rows = await segment.database.read(
                    lambda conn: conn.fetch_all(
                        "SELECT r.end, r.energy_wh, r.quality FROM reading AS r JOIN point AS p ON p.number = r.point"
                        " WHERE p.point = ? AND p.channel = 1 ORDER BY r.end",
                        (point,),
                    )
                )
            found |= {end: (energy, quality) for end, energy, quality in rows}
        return found


def quarterly(name: str) -> MeterProfile:
    """A shipped profile with a load profile of quarters and no repetitions."""
    timing = {"timeout_ms": 5_000, "connect_timeout_ms": 5_000, "retries": 0}
    profile = fast(name, load_profile={"period_s": QUARTER})
    return replace(profile, section={**profile.section, "timing": timing})


@asynccontextmanager
async def site(
    folder: Path,
    *,
    now: int = BORN,
    profiles: Sequence[MeterProfile] = (),
    opener: DatabaseOpener = open_database,
    points: Mapping[str, str] = POINTS,
    far: Collection[str] = (),
) -> AsyncIterator[Site]:
    """The site at utility time `now`; leaving the block is the process's end, coming again its next start.

    The points named in `far` hang on transformer t-2.
    """
    clock = HandClock(now)
    known = {one.name: one for one in (quarterly(HOME), quarterly(THREE), *profiles)}
    keys, memories = TableKeys(), {meter: Memory(meter) for meter in points}
    driver = DlmsDriver(
        known,
        keys=keys,
        counters=MemoryCounters(),
        entropy=CountingEntropy(1_000_000),
        clock=clock,
        io_clock=SystemIoClock(),
        rng=seeded_rng(1),
    )
    async with AsyncExitStack() as stack:
        links = [link(one, "t-2" if one in far else "t-1") for one in points.values() if one.startswith("up-")]
        bare = grid(links, [placed(meter, point) for meter, point in points.items()])
        meters: dict[str, ServedMeter] = {}
        wires: dict[str, Wire] = {}
        registered = list(bare.meters)
        for index, meter in enumerate(bare.meters):
            name = THREE if meter.id == "m-t1" else HOME
            secrets, title = keys.secrets_of(meter.id), keys.title_of(meter.id)
            meters[meter.id] = ServedMeter(
                dlms_plan(known[name]),
                meter.serial,
                _shows(meter.id),
                unit=17,
                secrets=secrets,
                title=title,
                rows=memories[meter.id].rows,
            )
            wires[meter.id] = await stack.enter_async_context(served(meters[meter.id], clock.now))
            registered[index] = replace(meter, profile=name, address=wires[meter.id].address, unit=17)
        store = await _store(folder, now, opener)
        stack.push_async_callback(store.close)
        stack.push_async_callback(driver.close)
        before = store.registries.newest
        version = 1 if before is None else before.version + 1
        registry = replace(bare, version=version, meters=tuple(registered))
        await store.registries.put(registry_to_document(registry), now)
        yield Site(
            store, clock, driver, registry, known, meters, memories, wires, **_rooms(store, clock, driver, known)
        )
        await asyncio.sleep(0)


def _rooms(store: EdgeStore, clock: HandClock, driver: DlmsDriver, profiles: dict[str, MeterProfile]) -> dict[str, Any]:
    wakeups = Wakeups()
    shared: dict[str, Any] = {"clock": clock, "wakeups": wakeups, "readings": store.readings}
    closing: dict[str, Any] = {"hours": store.hours, "registries": store.registries, **shared}
    filling: dict[str, Any] = {"drivers": {"dlms": driver}, "profiles": profiles, "compute": InlineCompute()}
    door = ClockDoor(store.meter_clocks, CountingEntropy(3), clock, ClockRules)
    grounds = Grounds(
        registries=store.registries,
        drivers=filling["drivers"],
        plans=Plans(profiles, InlineCompute()),
        clock=clock,
        compute=InlineCompute(),
    )
    return {
        "clock_door": door,
        "clock_keeping": ClockKeeping(
            grounds, clocks=store.meter_clocks, door=door, alarms=store.alarms, wakeups=wakeups, rules=ClockRules
        ),
        "event_reading": EventReading(
            grounds,
            control=store.control,
            events=store.meter_events,
            operations=store.operations,
            alarms=store.alarms,
            wakeups=wakeups,
        ),
        "outage_watch": OutageWatch(
            outages=store.outages,
            absences=store.absences,
            registries=store.registries,
            compute=InlineCompute(),
            **shared,
        ),
        "rounds": Rounds(control=store.control, alarms=store.alarms, relays=store.relays, **shared),
        "backfill": Backfill(spread_s=120, **filling, **closing),
        "hour_close": HourClose(**closing),
        "day_close": DayClose(grace_s=3_600, **closing),
        "wakeups": wakeups,
    }


def _shows(meter: str) -> Callable[[str, int], int | None]:
    def source(key: str, now: int) -> int | None:
        shown = {"import": register_at(meter, now), "export": 0, "power_w": 800}
        return shown[key] if key in shown else 230_000 if key.startswith("voltage") else 50_000

    return source


async def _store(folder: Path, now: int, opener: DatabaseOpener) -> EdgeStore:
    return await open_store(
        folder,
        opener,
        node=NODE,
        zone=ZONE,
        keys=StoreKeys(ROW_KEY, Signer.from_seed(bytes(32), Domain.DEMO), KeyRing((), Domain.DEMO)),
        compute=InlineCompute(),
        entropy=CountingEntropy(7),
        now=now,
    )


def ends_between(first: int, last: int) -> Iterator[int]:
    """Interval ends in (first, last]."""
    yield from range(first + QUARTER, last + 1, QUARTER)
