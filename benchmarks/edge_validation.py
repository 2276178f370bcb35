"""Part of benchmark `edge_store`: what validation and estimation cost a node, and how long they hold its loop.

Rounds of 500 answers with two channels, measurements and a clock go through `Rounds` on real files; then the same
meters come back after two days of silence with a week behind them, and every gap is shared out by its own past.
"""

import asyncio
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.edge_rig import FIRST, MIDNIGHT, QUARTER, Callbacks, opened, permanent
from edge_node.metering.polling import PollTarget
from edge_node.metering.rounds import ANSWERS_PER_ROUND_MAX, Answer, Rounds
from edge_node.store.alarms import Alarms
from edge_node.store.reading_round import Booking
from edge_node.store.readings import Readings
from edge_node.store.relays import Relays
from edge_node.wakeups import Wakeups
from gridmodel.identity import MeterId, NodeId
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel, IntervalReading, Quality, RegisterRead
from gridmodel.vee import LastRegister, VeeRules, validate
from hosting.clocks import ScaledClock
from hosting.compute import ThreadCompute
from hosting.database import open_database
from hosting.migrations import load_migrations
from protocols.driver import MeterTarget

RULES = VeeRules(interval_minutes=15, power_w_max=16_500, register_wh_wrap=None)
CHANNELS = (Channel.IMPORT, Channel.EXPORT)
MEASURED = {"voltage_l1_mv": 231_000, "current_l1_ma": 4_000, "power_w": 900}
READS = 100_000
ROUNDS, ROUNDS_SMOKE = 20, 3
WEEK, GAP = 672, 192
"""Intervals of history, and of silence."""
HISTORY_PER_ROUND = 10_000


def validation_us(reads: int) -> float:
    """Processor microseconds of `validate` for one read without anything to remark."""
    last: LastRegister | None = LastRegister(MeterId("m"), 0, 0, 0)
    made = [RegisterRead("p", MeterId("m"), Channel.IMPORT, n * QUARTER, n * 100) for n in range(1, reads + 1)]
    begun = time.process_time()
    for read in made:
        last = validate(last, read, RULES).last
    return (time.process_time() - begun) / reads * 1e6


def answers(polls: list[PollTarget], interval: int) -> Iterator[Answer]:
    """What the meters say for one interval."""
    at = MIDNIGHT + interval * QUARTER
    for poll in polls:
        registers = dict.fromkeys(CHANNELS, 10_000 + 100 * interval)
        yield Answer(poll, at, at + 60, registers, None, None, MEASURED, at + 61, at + 62)


def polls_of(count: int) -> list[PollTarget]:
    """So many meters, twenty under each transformer."""
    names = [f"up-{n:06}" for n in range(count)]
    return [
        PollTarget(
            target=MeterTarget(MeterId(f"m-{name}"), name, "sdm630", "10.0.0.1:502", 1),
            protocol="modbus",
            point=name,
            of_usage_point=True,
            channels=CHANNELS,
            multiplier=Multiplier(),
            rules=RULES,
            rebased_at=None,
            offset_s=0,
            neighbours=tuple(names[n // 20 * 20 : n // 20 * 20 + 20]),
        )
        for n, name in enumerate(names)
    ]


async def _history(readings: Readings, polls: list[PollTarget], first: int, count: int) -> None:
    """Measured intervals of both channels, straight into the store."""
    bookings: list[Booking] = []
    for poll, channel in product(polls, CHANNELS):
        ends = [MIDNIGHT + (first + n) * QUARTER for n in range(1, count + 1)]
        made = tuple(
            IntervalReading(poll.point, channel, end, 50 + end // QUARTER % 96, Quality.ACTUAL, None) for end in ends
        )
        last = LastRegister(poll.target.meter, ends[-1], 10_000 + 100 * (first + count), ends[-1])
        bookings.append(Booking(poll.point, channel, made, last))
        if len(bookings) * count >= HISTORY_PER_ROUND:
            await readings.book(bookings, FIRST)
            bookings = []
            await asyncio.sleep(0)
    await readings.book(bookings, FIRST)


async def _round(rounds: Rounds, polls: list[PollTarget], interval: int) -> tuple[float, float]:
    """Seconds by the clock and of the processor that one round takes."""
    for answer in answers(polls, interval):
        await rounds.add(answer)
    await asyncio.sleep(0)  # so that a watch that has just begun sees the work
    begun, worked = time.perf_counter(), time.process_time()
    await rounds.flush()
    return time.perf_counter() - begun, time.process_time() - worked


async def measured(callbacks: Callbacks, *, smoke: bool) -> dict[str, Any]:
    """One row of the benchmark."""
    polls = polls_of(ANSWERS_PER_ROUND_MAX)
    compute, clock = ThreadCompute(), ScaledClock()
    with TemporaryDirectory() as name:
        folder = Path(name)
        migrations = load_migrations("edge_node.store", "schema/control")
        control = await open_database(folder / "control.db", "control", migrations)
        async with opened(folder, compute) as readings:
            rounds = Rounds(
                control=control,
                readings=readings,
                alarms=Alarms(control, NodeId("node-a")),
                relays=Relays(control),
                clock=clock,
                wakeups=Wakeups(),
            )
            await rounds.load()
            count = ROUNDS_SMOKE if smoke else ROUNDS
            await _round(rounds, polls, 0)
            permanent()
            with callbacks.watched():
                took = [await _round(rounds, polls, interval) for interval in range(1, count + 1)]
            week = WEEK // 7 if smoke else WEEK
            await _history(readings, polls, count, week)
            with callbacks.watched():
                back_s, back_cpu_s = await _round(rounds, polls, count + week + GAP)
        await control.close()
    compute.close()
    answers_taken = len(took) * len(polls)
    return {
        "validate_us_per_read": round(validation_us(READS // 10 if smoke else READS), 2),
        "round_of_500_ms": round(sum(wall for wall, _ in took) / len(took) * 1000, 1),
        "cpu_us_per_answer_of_two_channels": round(sum(cpu for _, cpu in took) / answers_taken * 1e6, 1),
        "round_of_500_after_two_days_s": round(back_s, 2),
        "cpu_us_per_estimated_interval": round(back_cpu_s / (2 * GAP * len(polls)) * 1e6, 2),
    }
