"""A small grid with scripted meters, its store on real files and its closing rooms, on virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_node.metering.collector import READ_S_MAX, Collector
from edge_node.metering.day_close import DayClose
from edge_node.metering.holding import Holding
from edge_node.metering.hour_close import HourClose
from edge_node.metering.plans import Plans
from edge_node.metering.polling import PollPlan
from edge_node.metering.rounds import Rounds
from edge_node.store.alarms import Alarms
from edge_node.store.field_works import FieldWorks
from edge_node.store.held_reads import HeldReads
from edge_node.store.hours import Hours
from edge_node.store.readings import Readings
from edge_node.store.registries import Registries, pack_document
from edge_node.store.registry_versions import insert_registry
from edge_node.store.relays import Relays
from edge_node.store.segments import Segments
from edge_node.wakeups import Wakeups
from gridmodel.balance import HourCell
from gridmodel.identity import (
    DistrictId,
    FeederId,
    MeterId,
    NodeId,
    SubstationId,
    SupplyPointId,
    TransformerId,
    UsagePointId,
)
from gridmodel.network import (
    FAR_FUTURE,
    ConsumerClass,
    Feeder,
    FeederLink,
    Installation,
    Meter,
    Substation,
    SupplyPoint,
    SupplyPointKind,
    Transformer,
    TransformerLink,
    UsagePoint,
)
from gridmodel.period import day_bounds
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel
from gridmodel.registry import Registry
from hosting.clocks import ScaledClock, seeded_rng
from hosting.compute import InlineCompute
from hosting.database import Database, DatabaseOpener
from hosting.migrations import load_migrations
from protocols.driver import Line, MeterSnapshot, MeterTarget, RelayCommand, RelayContact, RelayReading, WritePermit
from protocols.errors import Blame, Hope, ProtocolFault
from protocols.profile import load_profiles
from simulate.disk import CommitHooks, SimDisk

NODE = NodeId("node-a")
DISTRICT = DistrictId("1726269")
ZONE = "Asia/Tashkent"
MIDNIGHT = day_bounds("2026-05-05", ZONE)[0]
QUARTER = 900
ROW_KEY = bytes(range(32))
PROFILES = load_profiles()
DIRECT = Multiplier()
BOTH = (Channel.IMPORT, Channel.EXPORT)


def link(point: str, transformer: str, since: int = 0, until: int = FAR_FUTURE) -> TransformerLink:
    return TransformerLink(UsagePointId(point), TransformerId(transformer), since, until)


def placed(
    meter: str,
    point: str,
    channels: tuple[Channel, ...] = (Channel.IMPORT,),
    *,
    multiplier: Multiplier = DIRECT,
    since: int = 0,
    until: int = FAR_FUTURE,
) -> Installation:
    return Installation(MeterId(meter), point, channels, multiplier, since, until)


def grid(
    links: Sequence[TransformerLink],
    installations: Sequence[Installation],
    *,
    version: int = 1,
    feeder_links: Sequence[FeederLink] | None = None,
    profile: str = "sdm630",
    address: Callable[[int], str] = lambda n: f"10.0.0.{n}:502",
) -> Registry:
    """Transformers t-1 and t-2, each with its own meter point; a feeder head; the points that `links` name."""
    transformers = [TransformerId("t-1"), TransformerId("t-2")]
    points = sorted({one.usage_point for one in links})
    meters = sorted({one.meter for one in installations})
    return Registry(
        node=NODE,
        version=version,
        zone=ZONE,
        interval_minutes=15,
        districts=(DISTRICT,),
        substations=(Substation(SubstationId("ss"), DISTRICT, "S"),),
        feeders=(Feeder(FeederId("f-1"), SubstationId("ss"), "F1"), Feeder(FeederId("f-2"), SubstationId("ss"), "F2")),
        transformers=tuple(Transformer(one, DISTRICT, one, 250) for one in transformers),
        usage_points=tuple(UsagePoint(one, DISTRICT, ConsumerClass.HOUSEHOLD, None, "street") for one in points),
        supply_points=(
            *(
                SupplyPoint(SupplyPointId(f"sp-{one}"), SupplyPointKind.TRANSFORMER, DISTRICT, transformer=one)
                for one in transformers
            ),
            SupplyPoint(SupplyPointId("sp-head"), SupplyPointKind.FEEDER_HEAD, DISTRICT, feeder=FeederId("f-1")),
        ),
        accounts=(),
        meters=tuple(Meter(one, f"serial-{one}", profile, address(n), 1) for n, one in enumerate(meters, start=1)),
        installations=tuple(installations),
        transformer_links=tuple(links),
        feeder_links=tuple(
            feeder_links
            if feeder_links is not None
            else (FeederLink(transformers[0], FeederId("f-1"), 0), FeederLink(transformers[1], FeederId("f-1"), 0))
        ),
    )


@dataclass
class ScriptedMeters:
    """A driver whose registers are functions of the interval that runs; meters can be silent, slow or another."""

    clock: ScaledClock
    registers: dict[str, Callable[[int], Mapping[Channel, int | None]]] = field(default_factory=dict)
    """By meter: registers in Wh at a time, stepping at interval ends."""
    times: dict[str, int] = field(default_factory=dict)
    """By meter: how far its own clock is ahead of the world; those that are not in it tell no time."""
    silent: set[str] = field(default_factory=set)
    latency_s: float = 0.5
    serials: dict[str, str] = field(default_factory=dict)
    contacts: dict[str, RelayContact] = field(default_factory=dict)
    hung: set[str] = field(default_factory=set)
    reads: dict[str, list[int]] = field(default_factory=dict)
    at_once: dict[str, int] = field(default_factory=dict)
    most_at_once: int = 0
    lines: dict[str, tuple[str, int]] = field(default_factory=dict)
    """By address: the line it belongs to, and how wide that is."""
    under_way: int = 0
    most_under_way: int = 0
    faults: dict[str, ProtocolFault] = field(default_factory=dict)
    """What a meter's reads raise."""

    def line(self, target: MeterTarget) -> Line:
        key, width = self.lines.get(target.address, (target.address, 1))
        return Line(key, width, READ_S_MAX if self.latency_s < READ_S_MAX else 2 * int(self.latency_s))

    def width(self, key: str) -> int:
        return next((width for name, width in self.lines.values() if name == key), 1)

    def steady(self, meter: str, *, wh: int = 250, start: int = 10_000, export_wh: int | None = None) -> None:
        """A meter that counts `wh` in every interval."""

        def at(now: int) -> Mapping[Channel, int | None]:
            count = (now - MIDNIGHT) // QUARTER
            read: dict[Channel, int | None] = {Channel.IMPORT: start + wh * count}
            if export_wh is not None:
                read[Channel.EXPORT] = start + export_wh * count
            return read

        self.registers[meter] = at

    async def read(self, target: MeterTarget) -> MeterSnapshot:
        meter, now = str(target.meter), self.clock.now()
        self.reads.setdefault(meter, []).append(now)
        self.at_once[target.address] = self.at_once.get(target.address, 0) + 1
        self.most_at_once = max(self.most_at_once, self.at_once[target.address])
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if meter in self.hung:
                await asyncio.Event().wait()
            await asyncio.sleep(self.latency_s)
        finally:
            self.at_once[target.address] -= 1
            self.under_way -= 1
        if meter in self.faults:
            raise self.faults[meter]
        if meter in self.silent:
            raise ProtocolFault("TQ-XX-01", "no reply", "look at the line", blame=Blame.REMOTE, hope=Hope.RETRY)
        contact = self.contacts.get(meter)
        return MeterSnapshot(
            serial=self.serials.get(meter, target.serial),
            meter_time=now + self.times[meter] if meter in self.times else None,
            relay=None if contact is None else RelayReading(contact, 0),
            registers=self.registers[meter](now),
            measurements={},
            raw={},
        )

    async def control(self, target: MeterTarget, command: RelayCommand, permit: WritePermit) -> None:
        raise NotImplementedError("metering moves no relay")

    async def read_relay(self, target: MeterTarget) -> RelayReading:
        raise NotImplementedError("metering reads the relay with the registers")

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Office:
    """The metering rooms of one node over its files."""

    control: Database
    readings: Readings
    hours: Hours
    alarms: Alarms
    registries: Registries
    relays: Relays
    clock: ScaledClock
    wakeups: Wakeups
    meters: ScriptedMeters
    rounds: Rounds
    collector: Collector
    hour_close: HourClose
    day_close: DayClose
    rests: list[int]
    """When the collector was at rest."""

    async def take(self, registry: Registry) -> None:
        """A registry came."""
        packed = pack_document(registry)
        await self.control.write(lambda conn: insert_registry(conn, registry.version, packed, self.clock.now()))
        await self.registries.load()

    async def live(self, until: int) -> None:
        """All three rooms run until the clock shows `until`."""
        rooms = [asyncio.ensure_future(one.run()) for one in (self.collector, self.hour_close, self.day_close)]
        waiting = asyncio.ensure_future(self.clock.sleep_until(until))
        await asyncio.wait({*rooms, waiting}, return_when=asyncio.FIRST_COMPLETED)
        for task in (*rooms, waiting):
            task.cancel()
        results = await asyncio.gather(*rooms, waiting, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    async def records(self, kind: str) -> list[tuple[str, bytes]]:
        """(id, packed body) of every record of a kind in the outbox, in order."""
        return await self.control.read(
            lambda conn: conn.fetch_all("SELECT id, body FROM outbox_record WHERE kind = ? ORDER BY number", (kind,))
        )

    async def all_cells(self) -> dict[int, dict[str, HourCell]]:
        """The cells of every closed hour."""
        rows = await self.control.read(
            lambda conn: conn.fetch_all("SELECT hour_end FROM hour_closed ORDER BY hour_end")
        )
        return {hour: await self.hours.cells(hour) for (hour,) in rows}

    async def unseen(self) -> dict[int, int]:
        """Touches of closed hours that no close has seen."""
        last = (await self.hours.closed()).last_hour
        return {hour: n for hour, n in (await self.readings.touched()).items() if last and hour <= last.hour_end}

    async def booked(self) -> dict[tuple[str, int], dict[int, tuple[int, int]]]:
        """Every stored reading: {(point, channel): {end: (energy_wh, quality)}}."""
        found: dict[tuple[str, int], dict[int, tuple[int, int]]] = {}
        for month in self.readings.segments.months():
            async with self.readings.segments.lease(month) as segment:
                rows = await segment.database.read(
                    lambda conn: conn.fetch_all(
                        "SELECT p.point, p.channel, r.end, r.energy_wh, r.quality FROM reading AS r"
                        " JOIN point AS p ON p.number = r.point ORDER BY r.end"
                    )
                )
            for point, channel, end, energy_wh, quality in rows:
                found.setdefault((point, channel), {})[end] = (energy_wh, quality)
        return found


def _holding(control: Database, registries: Registries, plans: Plans, clock: ScaledClock | None) -> Holding | None:
    async def plan_at(at: int) -> PollPlan | None:
        return None if registries.newest is None else await plans.of(registries.newest, at)

    return None if clock is None else Holding(HeldReads(control), clock, plan_at)


@asynccontextmanager
async def office(
    folder: Path,
    *,
    now: int = MIDNIGHT,
    hooks: CommitHooks | None = None,
    opener: DatabaseOpener | None = None,
    day_grace_s: int = 3_600,
    holds: ScaledClock | None = None,
) -> AsyncIterator[Office]:
    """A node's metering as a process finds it at utility time `now`; by the clock `holds` reads are held in doubt."""
    loop = asyncio.get_running_loop()
    clock = holds or ScaledClock(
        now, loop.time(), 1.0, wall=loop.time, monotonic=loop.time, sleep=asyncio.sleep, sleep_s_max=600
    )
    open_database = opener or SimDisk(seeded_rng(1), hooks)
    control = await open_database(
        folder / "control.db", "control", load_migrations("edge_node.store", "schema/control")
    )
    compute, wakeups, meters = InlineCompute(), Wakeups(), ScriptedMeters(clock)
    readings = Readings(Segments(folder, open_database, ZONE), ROW_KEY, compute)
    hours, alarms, relays = Hours(control), Alarms(control, NODE), Relays(control)
    registries = Registries(control, NODE, compute, FieldWorks(control, ROW_KEY))
    await registries.load()
    await readings.load()
    plans = Plans(PROFILES, compute)
    holding = _holding(control, registries, plans, holds)
    common = {"clock": clock, "wakeups": wakeups, "time_witnessed": clock.witness, "holding": holding}
    rounds = Rounds(control=control, readings=readings, alarms=alarms, relays=relays, **common)  # type: ignore[arg-type]
    rests: list[int] = []
    closing = {"readings": readings, "hours": hours, "registries": registries, "clock": clock, "wakeups": wakeups}
    try:
        yield Office(
            control,
            readings,
            hours,
            alarms,
            registries,
            relays,
            clock,
            wakeups,
            meters,
            rounds,
            Collector(
                rounds,
                registries,
                drivers={"modbus": meters},
                plans=plans,
                clock=clock,
                compute=compute,
                at_rest=lambda: rests.append(clock.now()),
            ),
            HourClose(**closing),  # type: ignore[arg-type]
            DayClose(**closing, grace_s=day_grace_s),  # type: ignore[arg-type]
            rests,
        )
    finally:
        await readings.close()
        await control.close()


def at_version(registry: Registry, version: int) -> Registry:
    """The same network under another version."""
    return replace(registry, version=version)
