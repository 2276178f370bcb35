"""`simulate demo`: a small country living through a link cut, told with real processes and sockets. Floor: simulate.

On all walks. The director lays out a folder, lets a prologue play two days earlier (one debtor is cut by the office in
the hours when that is allowed), stops everything, starts it again on the story's day, as a power cut would, and follows
the table in `simulate/demo/story.py`. Utility time is scaled and shared through ``TARMOQ_CLOCK``. At the end the report
is worked out while everything still runs; then every process is stopped, whatever happened.

Codes: TQ-SM-30 options, -31 ports, -33 a late process, -34 a dead process, -35, -36 a command that failed, -37 the
prologue.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from gridmodel.period import HOUR_S, local_time
from hosting.clocks import SystemEntropy
from simulate.demo import acts
from simulate.demo.cast import book_of, choose_cast
from simulate.demo.enrolling import enrol_all
from simulate.demo.files import lay_out
from simulate.demo.judge import Violation
from simulate.demo.plan import PROLOGUE_DAY, ZONE, DemoFault, DemoOptions, moment, plan_demo
from simulate.demo.processes import Processes
from simulate.demo.report import Told, build_report
from simulate.demo.stage import Stage
from simulate.demo.story import story_of
from simulate.demo.words import Narrator, words_of

T = TypeVar("T")

PROLOGUE_FROM, PROLOGUE_BY = "08:10", "13:45"
PROLOGUE_SPEED_MIN, PROLOGUE_SPEED_MAX = 300.0, 1_200.0
"""At the highest, five seconds for an hour and a half: a reading, another one, and the random delay of a cut."""
READS_PER_S = 200
"""What the prologue asks of a machine: all meters are read within an hour of its calendar."""
WARM_UP_FACTOR = 1.5
"""How much longer than in the prologue a start may take: its files are cached by then, but more is read at once."""
WARM_UP_S_MIN = 2.0
DRAIN_S_MAX = 30.0
"""Wall seconds after ``--for`` in which what is under way may arrive."""
LOOK_S = 0.1
"""Wall seconds between two looks at a condition."""


async def run_demo(options: DemoOptions, stop: asyncio.Event, narrator: Narrator) -> dict[str, Any] | None:
    """Tell the story until ``--for`` is over or `stop` is set; gives the report, None when stopped before the story.

    Raises DemoFault, or the Fault of what could not be made. No process is left behind.
    """
    plan = plan_demo(options)
    root = Path(tempfile.mkdtemp(prefix="tarmoq-demo-"))
    cast = choose_cast(plan)
    narrator.opening(plan, str(root))
    files = lay_out(root, plan, SystemEntropy())
    await enrol_all(files, plan, SystemEntropy())
    stage = Stage(plan, files, cast, book_of(cast), Processes(files.log), time.time)
    try:
        await stage.open_lines()
        report = await _until_stopped(stage, stop, narrator)
    finally:
        await stage.processes.stop()
        await stage.close_lines()
    if report is not None:
        at = stage.clock.now()
        report["violations"] += [Violation("ends_in_order", at, "", what).as_dict() for what in stage.processes.unclean]
    return report


async def _until_stopped(stage: Stage, stop: asyncio.Event, narrator: Narrator) -> dict[str, Any] | None:
    told = Told()
    started = await _watched(stage, stop, _prologue_and_curtain(stage, narrator))
    if started is None:
        return None
    await _watched(stage, stop, _story(stage, narrator, told))
    if not stop.is_set():
        await _watched(stage, stop, _linger(stage, narrator))
    told.until = stage.clock.now()
    return await _watched(stage, asyncio.Event(), build_report(stage, told))


async def _watched(stage: Stage, stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`; None when `stop` is set first. Raises DemoFault as soon as a process dies."""
    working = asyncio.ensure_future(work)
    asked = asyncio.ensure_future(stop.wait())
    try:
        either = asyncio.ensure_future(asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED))
        await stage.processes.unless_dead(either)
        return working.result() if working.done() else None
    finally:
        for one in (working, asked):
            one.cancel()
        await asyncio.gather(working, asked, return_exceptions=True)


async def _prologue_and_curtain(stage: Stage, narrator: Narrator) -> bool:
    """Two days earlier one debtor is cut; then everything stops and starts again for the story."""
    narrator.say("Prologue, two days earlier: debts and notices come in, and the office cuts its first debtor.")
    began = stage.wall()
    speed = min(PROLOGUE_SPEED_MAX, max(PROLOGUE_SPEED_MIN, HOUR_S * READS_PER_S / stage.plan.options.meters))
    await stage.raise_curtain(moment(PROLOGUE_FROM, PROLOGUE_DAY), 0.0, speed, stage.plan.nodes)
    start_s = stage.wall() - began
    await stage.import_registries()
    await stage.import_papers()
    await stage.import_weather()
    await stage.publish_mandates(PROLOGUE_DAY)
    await stage.import_watermarks()
    by = moment(PROLOGUE_BY, PROLOGUE_DAY)
    if not await _came(stage, acts.prologue_debtor_is_dark, by):
        raise DemoFault("TQ-SM-37", "nobody was cut in the prologue", f"look into {stage.files.root}/log")
    narrator.say(f"Cut at {_clock(stage)}. Everything is switched off for the night, and started again on Wednesday.")
    await stage.processes.stop()
    warm_up_s = WARM_UP_S_MIN + WARM_UP_FACTOR * start_s
    options = stage.plan.options
    await stage.raise_curtain(stage.plan.story_from, warm_up_s, options.speed, stage.plan.nodes)
    await stage.clock.sleep_until(stage.plan.story_from)
    return True


async def _story(stage: Stage, narrator: Narrator, told: Told) -> None:
    """Every step in its time. Steps that were not reached are missing from the start and taken off as they come."""
    steps = story_of(len(stage.plan.nodes))
    told.missing[:] = [step.name for step in steps]
    words = words_of(stage.plan, stage.cast)
    for_s, speed = stage.plan.options.for_s, stage.clock.speed
    end = None if for_s is None else int(stage.plan.story_from + for_s * speed)
    for step in steps:
        if end is not None and step.begins_at > end:
            return
        await stage.clock.sleep_until(step.begins_at)
        narrator.step(step, stage.clock.now(), words)
        await step.act(stage)
        by = step.ends_at if end is None or step.ends_at < end else end + int(DRAIN_S_MAX * speed)
        if step.until is None or await _came(stage, step.until, by):
            told.missing.remove(step.name)
            narrator.came(step, stage.clock.now())
        else:
            narrator.missed(step, stage.clock.now())


async def _linger(stage: Stage, narrator: Narrator) -> None:
    """The story is told: until ``--for`` is over, or for ever."""
    for_s = stage.plan.options.for_s
    if for_s is not None:
        await stage.clock.sleep_until(int(stage.plan.story_from + for_s * stage.clock.speed))
        return
    narrator.say("The story is told; the pages stay live. Ctrl-C ends it and prints the report.")
    await asyncio.Event().wait()


async def _came(stage: Stage, condition: Callable[[Stage], Awaitable[bool]], by: int) -> bool:
    """Whether the condition holds at some look until `by` (UTC seconds of utility time)."""
    while not await condition(stage):
        if stage.clock.now() >= by:
            return False
        await asyncio.sleep(LOOK_S)
    return True


def _clock(stage: Stage) -> str:
    return f"{local_time(stage.clock.now(), ZONE):%H:%M}"
