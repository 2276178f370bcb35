"""Benchmark `edge_store`: readings a second into the segments, and whether the event loop stays free meanwhile.

A district of 42,000 usage points on real files: poll rounds through `Readings.book` (aiosqlite, WAL, FULL, a keyed hash
beside each row, last registers, touches), beside a bare `executemany` of the same rows with no hash and no registers.
Then an hour is closed and chunks are sealed with booking going on. All the while every callback of the loop is timed:
none may hold it longer than 20 ms. The garbage collector is told to leave what is permanent alone, as a node does.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiosqlite

from benchmarks.edge_rig import DAY, FIRST, MIDNIGHT, QUARTER, ZONE, Callbacks, opened, permanent
from benchmarks.edge_validation import measured
from benchmarks.figures import Figure, Report
from edge_node.metering.day_parts import day_parts, seal_part
from edge_node.metering.hour_close import close_hour
from edge_node.store.day_rows import day_rows
from edge_node.store.hours import Hours
from edge_node.store.reading_round import Booking
from edge_node.store.readings import Readings
from gridmodel.identity import DistrictId, FeederId, MeterId, NodeId, SubstationId, TransformerId, UsagePointId
from gridmodel.network import (
    ConsumerClass,
    Feeder,
    FeederLink,
    Installation,
    Meter,
    Substation,
    Transformer,
    TransformerLink,
    UsagePoint,
)
from gridmodel.period import HOUR_S, interval_ends
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel, IntervalReading, Quality
from gridmodel.registry import Registry
from gridmodel.vee import LastRegister
from hosting.compute import ThreadCompute
from hosting.database import CONNECTION_SETTINGS, open_database
from hosting.migrations import load_migrations

NAME = "edge_store"
POINTS, POINTS_SMOKE = 42_000, 2_000
POINTS_PER_TRANSFORMER = 80
ENDS, ENDS_SMOKE = 24, 4
ROUNDS = (1_000, 10_000)
"""Readings in one transaction: the limit of a collector's round, and larger ones of a backlog."""
MADE_PER_CALLBACK = 250
"""Bookings that the benchmark makes before it gives the loop back: its own work is not to be measured."""
CHUNKS_SEALED = 3
REPEATS = 2
"""Passes for each size of round, the better one counts: other programs take turns on the same disk."""
RATE_MIN = 200_000


def registry_of(points: int) -> Registry:
    """A district: one feeder, transformers of 80 usage points, a meter at each."""
    district, feeder = DistrictId("1726269"), FeederId("f-1")
    transformers = [TransformerId(f"t-{n:04}") for n in range(-(-points // POINTS_PER_TRANSFORMER))]
    names = [UsagePointId(f"up-{n:06}") for n in range(points)]
    return Registry(
        node=NodeId("node-a"),
        version=1,
        zone=ZONE,
        interval_minutes=15,
        districts=(district,),
        substations=(Substation(SubstationId("ss"), district, "S"),),
        feeders=(Feeder(feeder, SubstationId("ss"), "F"),),
        transformers=tuple(Transformer(one, district, one, 250) for one in transformers),
        usage_points=tuple(UsagePoint(one, district, ConsumerClass.HOUSEHOLD, None, "street") for one in names),
        supply_points=(),
        accounts=(),
        meters=tuple(Meter(MeterId(f"m-{one}"), one, "sdm630", "10.0.0.1:502", 1) for one in names),
        installations=tuple(
            Installation(MeterId(f"m-{one}"), one, (Channel.IMPORT,), Multiplier(), 0) for one in names
        ),
        transformer_links=tuple(
            TransformerLink(one, transformers[n // POINTS_PER_TRANSFORMER], 0) for n, one in enumerate(names)
        ),
        feeder_links=tuple(FeederLink(one, feeder, 0) for one in transformers),
    )


Fleet = list[tuple[str, MeterId]]
"""(point, meter): the same texts in every round, as a collector's plan holds them."""


def fleet_of(points: int) -> Fleet:
    """So many points and their meters."""
    return [(f"up-{n:06}", MeterId(f"m-up-{n:06}")) for n in range(points)]


async def rounds_of(fleet: Fleet, interval: int, size: int) -> AsyncIterator[list[Booking]]:
    """The rounds of one interval (0 begins the counts), made slice by slice so that the loop stays free."""
    end = MIDNIGHT + interval * QUARTER
    register_wh = 10_000 + 100 * interval
    for start in range(0, len(fleet), size):
        made: list[Booking] = []
        for number, (point, meter) in enumerate(fleet[start : start + size]):
            one = IntervalReading(point, Channel.IMPORT, end, 100, Quality.ACTUAL, register_wh)
            last = LastRegister(meter, end, register_wh, end)
            made.append(Booking(point, Channel.IMPORT, (one,) if interval else (), last))
            if number % MADE_PER_CALLBACK == 0:
                await asyncio.sleep(0)
        yield made


async def book(readings: Readings, fleet: Fleet, intervals: range, size: int) -> tuple[float, float]:
    """Book these intervals; gives the seconds that the store took, and its processor seconds."""
    took = worked = 0.0
    for interval in intervals:
        async for made in rounds_of(fleet, interval, size):
            begun, before = time.perf_counter(), time.process_time()
            await readings.book(made, FIRST)
            took += time.perf_counter() - begun
            worked += time.process_time() - before
    return took, worked


async def booking(points: int, ends: int, size: int, callbacks: Callbacks) -> tuple[float, float]:
    """Readings a second in rounds of `size`, and processor microseconds for each."""
    fleet = fleet_of(points)
    with TemporaryDirectory() as name:
        async with opened(Path(name), ThreadCompute()) as readings:
            await book(readings, fleet, range(1), size)
            permanent()
            with callbacks.watched():
                took, worked = await book(readings, fleet, range(1, ends + 1), size)
    gc.unfreeze()
    return points * ends / took, worked / (points * ends) * 1e6


async def bare(points: int, ends: int, size: int) -> float:
    """The peer: rows a second by a bare executemany in the same rounds, no hash, no registers."""
    with TemporaryDirectory() as name:
        connection = await aiosqlite.connect(Path(name) / "bare.db", isolation_level=None)
        for setting in CONNECTION_SETTINGS:
            await connection.execute_fetchall(setting)
        await connection.execute(
            "CREATE TABLE reading (end INTEGER, point INTEGER, energy_wh INTEGER, quality INTEGER, register_wh INTEGER,"
            " PRIMARY KEY (end, point)) STRICT, WITHOUT ROWID"
        )
        took = 0.0
        for interval in range(ends):
            for start in range(0, points, size):
                part = range(start, min(start + size, points))
                rows = [(MIDNIGHT + interval * QUARTER, n, 100, 0, 10_000 + 100 * interval) for n in part]
                begun = time.perf_counter()
                await connection.execute("BEGIN IMMEDIATE")
                await connection.executemany("INSERT INTO reading VALUES (?, ?, ?, ?, ?)", rows)
                await connection.execute("COMMIT")
                took += time.perf_counter() - begun
        await connection.close()
    return points * ends / took


async def closing(points: int, callbacks: Callbacks) -> dict[str, float]:
    """Close an hour and seal chunks of a full district while the next interval is booked."""
    registry, fleet = registry_of(points), fleet_of(points)
    compute = ThreadCompute()
    with TemporaryDirectory() as name:
        folder = Path(name)
        control = await open_database(
            folder / "control.db", "control", load_migrations("edge_node.store", "schema/control")
        )
        async with opened(folder, compute) as readings:
            await book(readings, fleet, range(5), 5_000)
            hours = Hours(control)
            parts = await compute.run(day_parts, registry, DAY, MIDNIGHT)
            permanent()
            with callbacks.watched():
                next_interval = asyncio.ensure_future(book(readings, fleet, range(5, 6), 1_000))
                begun = time.perf_counter()
                await close_hour(readings, hours, registry, MIDNIGHT + HOUR_S, MIDNIGHT + 2 * HOUR_S, told=True)
                hour_s = time.perf_counter() - begun
                begun = time.perf_counter()
                ends = interval_ends(DAY, 15, ZONE)
                for part in parts[:CHUNKS_SEALED]:
                    rows = await day_rows(readings.segments, part.channels(), MIDNIGHT, ends)
                    chunk = await compute.run(seal_part, registry, part, rows, FIRST, None)
                    if chunk is not None:
                        await readings.chunks.put(chunk)
                chunk_s = (time.perf_counter() - begun) / min(CHUNKS_SEALED, len(parts))
                await next_interval
        await control.close()
    gc.unfreeze()
    compute.close()
    return {"hour_close_s": hour_s, "chunk_seal_s": chunk_s, "chunks_of_the_day": float(len(parts))}


def run(*, smoke: bool) -> Report:
    """Measure; see the module."""
    points, ends = (POINTS_SMOKE, ENDS_SMOKE) if smoke else (POINTS, ENDS)
    sizes = ROUNDS[:1] if smoke else ROUNDS
    callbacks = Callbacks()
    rows: list[dict[str, Any]] = []
    rates: list[float] = []
    for size in sizes:
        passes = range(1 if smoke else REPEATS)
        rate, cpu_us = max(asyncio.run(booking(points, ends, size, callbacks)) for _ in passes)
        peer = max(asyncio.run(bare(points, ends, size)) for _ in passes)
        rates.append(rate)
        rows.append(
            {
                "readings_per_round": size,
                "readings_per_s": round(rate),
                "cpu_us_per_reading": round(cpu_us, 2),
                "bare_rows_per_s": round(peer),
            }
        )
    closed = asyncio.run(closing(points, callbacks))
    rows.append({key: round(value, 3) for key, value in closed.items()})
    rows.append(asyncio.run(measured(callbacks, smoke=smoke)))
    rows.append(
        {"longest_callback_ms": round(callbacks.longest_s * 1000, 1), "callbacks_over_20_ms": callbacks.names[:5]}
    )
    return Report(
        tuple(rows),
        (
            Figure(
                "edge_store.readings_per_s",
                "readings a second through aiosqlite, FULL, with row hashes, in the best size of round",
                round(max(rates)),
                "1/s",
                ">=",
                RATE_MIN,
            ),
            Figure(
                "edge_store.callbacks_over_20_ms",
                "callbacks of the loop over 20 ms while booking, closing, sealing, and judging rounds of 500 answers",
                callbacks.slow,
                "",
                "<=",
                0,
            ),
        ),
    )
