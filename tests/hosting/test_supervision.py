import asyncio
from collections.abc import Awaitable, Callable

import pytest

from hosting.supervision import NEVER, RestartPolicy, SupervisionFault, Supervisor, TaskCondition, TaskState


class InstantClock:
    """I/O time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)


class Crash(BaseException):
    pass


async def for_ever() -> None:
    await asyncio.Event().wait()


def failing(
    times: int, error: BaseException, then: Callable[[], Awaitable[None]] = for_ever
) -> Callable[[], Awaitable[None]]:
    left = [times]

    async def run() -> None:
        if left[0]:
            left[0] -= 1
            raise error
        await then()

    return run


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_failing_task_is_started_again_with_growing_pauses_and_reported() -> None:
    clock = InstantClock()
    heard: list[tuple[str, TaskCondition]] = []

    async def whole() -> None:
        async with Supervisor(clock, report=lambda state: heard.append((state.name, state.condition))) as group:
            group.start("collector", failing(3, ValueError("bus")))
            await turns()
            (state,) = group.states()
            assert (state.condition, state.restarts, state.last_error) == (TaskCondition.RUNNING, 3, "ValueError: bus")
        assert state.condition is TaskCondition.STOPPED

    asyncio.run(whole())
    assert clock.slept == [0.5, 1.0, 2.0]
    assert heard == [("collector", TaskCondition.PAUSED)] * 3


def test_beyond_the_limit_the_process_ends_and_names_the_task() -> None:
    others: list[TaskState] = []

    async def whole() -> None:
        async with Supervisor(InstantClock()) as group:
            group.start("steady", for_ever)
            group.start("collector", failing(99, ValueError("bus")), policy=RestartPolicy(restarts_max=2))
            others.extend(group.states())
            await for_ever()

    with pytest.raises(SupervisionFault, match="TQ-SV-02: the task collector failed 3 times") as caught:
        asyncio.run(whole())
    assert isinstance(caught.value.__cause__, ValueError)
    assert [state.condition for state in others] == [TaskCondition.STOPPED, TaskCondition.FAILED]


def test_old_failures_are_forgotten() -> None:
    clock = InstantClock()

    async def now_and_then() -> None:
        await clock.sleep(400)
        raise ValueError

    async def whole() -> None:
        async with Supervisor(clock) as group:
            group.start("rare", now_and_then, policy=RestartPolicy(restarts_max=1, window_s=300))
            await turns(100)
            assert group.states()[0].restarts > 10

    asyncio.run(whole())


def test_a_task_that_simply_ends_ends_the_process() -> None:
    async def ends() -> None:
        pass

    async def whole(*, may_end: bool) -> None:
        async with Supervisor(InstantClock()) as group:
            group.start("loader", ends, may_end=may_end)
            await turns()
            assert group.states()[0].condition is TaskCondition.ENDED

    with pytest.raises(SupervisionFault, match=r"TQ-SV-01.*loader"):
        asyncio.run(whole(may_end=False))
    asyncio.run(whole(may_end=True))


def test_a_leaked_cancellation_is_a_failure_not_a_silent_end() -> None:
    async def whole() -> None:
        async with Supervisor(InstantClock()) as group:
            group.start("leaky", failing(1, asyncio.CancelledError()))
            await turns()
            assert group.states()[0].restarts == 1
            assert group.states()[0].condition is TaskCondition.RUNNING

    asyncio.run(whole())


def test_a_crash_is_never_restarted() -> None:
    async def whole() -> None:
        async with Supervisor(InstantClock()) as group:
            group.start("store", failing(1, Crash()))
            await for_ever()

    with pytest.raises(Crash):
        asyncio.run(whole())


def test_an_error_of_the_block_comes_out_as_it_is_and_stops_the_tasks() -> None:
    states: list[TaskState] = []

    async def whole() -> None:
        async with Supervisor(InstantClock()) as group:
            group.start("steady", for_ever)
            states.extend(group.states())
            await turns(2)
            raise KeyError("wrong")

    with pytest.raises(KeyError):
        asyncio.run(whole())
    assert states[0].condition is TaskCondition.STOPPED


def test_cancelling_the_block_stops_everything() -> None:
    async def whole() -> None:
        async def block() -> None:
            async with Supervisor(InstantClock()) as group:
                group.start("steady", for_ever)
                await for_ever()

        task = asyncio.ensure_future(block())
        await turns(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(whole())


def test_a_name_is_given_once_and_no_restart_means_none() -> None:
    async def whole() -> None:
        async with Supervisor(InstantClock()) as group:
            group.start("one", for_ever, policy=NEVER)
            with pytest.raises(SupervisionFault, match="TQ-SV-03"):
                group.start("one", for_ever)

    asyncio.run(whole())
