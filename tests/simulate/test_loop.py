import asyncio
import hashlib
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from hosting.clocks import SLEEP_S_MAX
from simulate.clock import NodeWall, SeededEntropy, io_clock, node_clock, stream
from simulate.crash import SimulatedCrash
from simulate.loop import (
    RefusedInVirtualTime,
    VirtualDeadlock,
    VirtualLivelock,
    VirtualLoop,
    VirtualTrouble,
    run_virtual,
)
from simulate.patches import repeatable_libraries
from simulate.scenario import load_scenario, scenario_names

DAY_S = 86_400


def test_a_year_passes_in_no_time_and_timers_fire_in_order() -> None:
    async def main() -> list[tuple[str, float]]:
        told: list[tuple[str, float]] = []
        loop = asyncio.get_running_loop()

        async def wait(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            told.append((name, loop.time()))

        await asyncio.gather(wait("year", 365 * DAY_S), wait("hour", 3600), wait("also an hour", 3600), wait("now", 0))
        return told

    assert run_virtual(main(), 100.0) == [
        ("now", 100.0),
        ("hour", 3700.0),
        ("also an hour", 3700.0),
        ("year", 100.0 + 365 * DAY_S),
    ]


def test_late_in_a_century_time_still_moves() -> None:
    async def main() -> float:
        for _ in range(100):
            await asyncio.sleep(0.1)
        return asyncio.get_running_loop().time()

    assert run_virtual(main(), 3e9) == pytest.approx(3e9 + 10, abs=0.01)


def test_a_deadlock_is_told_with_the_place() -> None:
    async def waits_for_ever() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(waits_for_ever(), name="lonely")

    with pytest.raises(VirtualDeadlock, match=r"lonely waits in Event\.wait line"):
        run_virtual(main())


def test_spinning_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulate.loop.TURNS_AT_ONE_INSTANT_MAX", 1000)

    async def main() -> None:
        for _ in itertools.count():
            await asyncio.sleep(0)

    with pytest.raises(VirtualLivelock):
        run_virtual(main())


def test_work_for_threads_is_done_inline_and_foreign_threads_are_refused() -> None:
    refused: list[BaseException] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await asyncio.to_thread(threading.get_ident) == threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 // 0)

        def foreign() -> None:
            try:
                loop.call_soon_threadsafe(print)
            except RefusedInVirtualTime as error:
                refused.append(error)

        thread = threading.Thread(target=foreign)
        thread.start()
        thread.join()

    run_virtual(main())
    assert len(refused) == 1


def test_the_real_network_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(RefusedInVirtualTime):
            await asyncio.open_connection("127.0.0.1", 9)
        with pytest.raises(RefusedInVirtualTime):
            await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)

    run_virtual(main())


def test_timeouts_and_many_cancelled_timers() -> None:
    async def main() -> float:
        for _ in range(1000):
            async with asyncio.timeout(DAY_S):
                await asyncio.sleep(1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(10)
        return asyncio.get_running_loop().time()

    loop = VirtualLoop()
    assert run_virtual(main(), loop=loop) == 1005.0


def test_an_error_nobody_awaited_is_an_error_but_a_crash_is_not() -> None:
    async def fails(error: BaseException) -> None:
        raise error

    async def main(error: BaseException) -> None:
        task = asyncio.ensure_future(fails(error))
        await asyncio.sleep(1)
        assert task.done()

    with pytest.raises(VirtualTrouble, match="never retrieved"):
        run_virtual(main(ValueError("lost")))
    run_virtual(main(SimulatedCrash("n-1", "at a commit")))


def test_what_is_left_is_cancelled_oldest_first() -> None:
    gone: list[int] = []

    async def stays(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            gone.append(number)

    async def main() -> list[asyncio.Task[None]]:
        tasks = [asyncio.ensure_future(stays(number)) for number in range(50)]
        await asyncio.sleep(1)
        return tasks

    run_virtual(main())
    assert gone == list(range(50))


def test_slow_callbacks_are_counted_on_request() -> None:
    async def main() -> None:
        threading.Event().wait(0.03)

    loop = VirtualLoop(measure=True)
    run_virtual(main(), loop=loop)
    assert loop.slow_callbacks == 1
    assert loop.slowest_callback_s >= 0.03


def trace() -> str:
    """A busy crowd whose order of events is the trace: sets of tasks, aborted groups, timers at one instant, chance."""
    told: list[str] = []
    rng = stream(7, "crowd")

    async def member(name: str) -> None:
        try:
            for _ in range(int(rng.random() * 4)):
                await asyncio.sleep(rng.choice((0, 0, 1, 1, 2)))
                told.append(f"{name}@{asyncio.get_running_loop().time()}")
            await asyncio.Event().wait()
        finally:
            told.append(f"{name} ends")

    async def failing() -> None:
        await asyncio.sleep(3)
        raise ValueError

    async def main() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(40):
                    group.create_task(member(f"m{number}"))
                group.create_task(failing())
        except* ValueError:
            told.append("aborted")
        waiting: set[Coroutine[Any, Any, None]] = {asyncio.sleep(number % 3) for number in range(3)}
        tasks = {asyncio.ensure_future(member(f"w{number}")) for number in range(20)}
        for coroutine in waiting:
            coroutine.close()
        _, pending = await asyncio.wait(tasks, timeout=2)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        with repeatable_libraries(7):
            import random
            import uuid

            told.append(f"{random.random()} {uuid.uuid4()} {SeededEntropy(7, 'x').token(4).hex()}")

    run_virtual(main())
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def test_the_order_is_the_same_in_every_process_whatever_its_hash_seed() -> None:
    code = (
        "import importlib.util, sys\n"
        "junk = [object() for _ in range(int(sys.argv[2]))]\n"  # other addresses
        "spec = importlib.util.spec_from_file_location('crowd', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "print(module.trace())\n"
    )
    traces = {
        subprocess.run(  # noqa: S603 — our own interpreter
            [sys.executable, "-c", code, __file__, junk],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed, junk in (("1", "0"), ("2", "12345"))
    }
    assert traces == {trace()}


def test_each_node_has_a_wall_of_its_own_that_can_be_wrong() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        good, bad = NodeWall(loop), NodeWall(loop)
        clock, wrong = node_clock(loop, good, 1_763_956_800), node_clock(loop, bad, 1_763_956_800)
        await clock.sleep_until(1_763_956_800 + 900)
        assert loop.time() == 900
        assert clock.now() == wrong.now() == 1_763_957_700
        bad.step(7200)
        assert wrong.now() == clock.now() + 7200
        assert (clock.trust(), wrong.trust()) == ("trusted", "doubtful")
        bad.step(-7200)
        bad.drift(100)
        before = loop.time()
        await wrong.sleep_until(wrong.now() + 100_000)
        assert loop.time() - before == pytest.approx(100_000 - 10, abs=1)
        assert wrong.trust() == "trusted"
        await io_clock(loop).sleep(5)

    run_virtual(main())


def test_streams_are_independent_and_repeat() -> None:
    assert stream(1, "a").random() == stream(1, "a").random()
    assert stream(1, "a").random() != stream(1, "b").random()
    one, two = SeededEntropy(1, "a"), SeededEntropy(1, "a")
    assert [one.token(8), one.token(8)] == [two.token(8), two.token(8)]
    assert one.token(8) != one.token(8)


def test_who_sleeps_by_a_wall_that_may_lie_looks_at_it_and_by_one_that_cannot_does_not() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        honest, wall = NodeWall(loop, may_lie=False), NodeWall(loop)
        turns = loop.turns
        await node_clock(loop, honest, 1_763_956_800).sleep_until(1_763_956_800 + 50_000)
        assert loop.turns - turns < 10
        waiting = asyncio.ensure_future(node_clock(loop, wall, 1_763_956_800).sleep_until(1_763_956_800 + 86_400))
        await asyncio.sleep(1_000)
        wall.step(-7_200)  # set back: whoever worked a moment out works it out anew
        await waiting
        assert loop.time() - 51_000 <= SLEEP_S_MAX

    run_virtual(main())


@pytest.mark.parametrize("name", scenario_names())
def test_a_scenario_with_wrong_clocks_says_so(name: str) -> None:
    told = {fault.value for fault in load_scenario(name).in_time}
    wrong = {fault for fault in told if "clock" in fault or "reboot" in fault}
    assert load_scenario(name).clocks_lie is bool(wrong)
