"""No task dies silently: bounded restarts, then the whole process ends and names the task. Floor: hosting.

On all walks: a node or hub starts its rooms here. A task that raises is started again after a pause, a few times within
a window; beyond that, and when a task simply returns, the group is cancelled and `SupervisionFault` names it, so that
the service manager restarts the process from its durable state. A half-dead process that looks alive is the worst case.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Self

from gridmodel.clock import IoClock
from gridmodel.fault import Fault

TASKS_MAX = 256
"""Supervised tasks in one process: one per room and bus; more means that somebody supervises single requests."""
ERROR_TEXT_LENGTH_MAX = 300
"""`doctor` shows an error on one or two lines."""


class SupervisionFault(Fault):
    """A task that failed too often, or ended though it should not: the process ends."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How often a failing task is started again."""

    restarts_max: int = 5
    """Restarts within the window; a fault that repeats faster will not heal by restarting."""
    window_s: float = 300.0
    """Real seconds after which a failure is forgotten."""
    delay_s_first: float = 0.5
    """Pause before the first restart; it doubles."""
    delay_s_max: float = 30.0
    """Longest pause: an operator who has repaired the cause should not wait longer."""


NEVER = RestartPolicy(restarts_max=0)
"""For tasks whose failure leaves a state that only a new process puts right."""


class TaskCondition(StrEnum):
    """Where a supervised task is in its life."""

    RUNNING = "running"
    """It works."""
    PAUSED = "paused"
    """It failed and waits to be started again."""
    ENDED = "ended"
    """It was allowed to end, and did."""
    STOPPED = "stopped"
    """It was cancelled with the group."""
    FAILED = "failed"
    """It brought the process down."""


@dataclass(slots=True)
class TaskState:
    """What `doctor` and a status page tell of one task."""

    name: str
    condition: TaskCondition = TaskCondition.RUNNING
    restarts: int = 0
    """Since the process started."""
    last_error: str | None = None
    """Kind and text of the latest failure."""
    failures: deque[float] = field(default_factory=deque, repr=False)
    """Monotonic times of failures within the window."""


class Supervisor:
    """A task group with restarts: ``async with Supervisor(io_clock) as group: group.start(...)``.

    Leaving the block cancels every task and waits for it. When a task fails for good, the block is cancelled and
    `SupervisionFault` comes out of it. An exception that is no `Exception` (a simulated crash, an interrupt) is never
    restarted: it ends the group at once and comes out as it is. `report` hears of each failure (for the log).
    """

    def __init__(self, io_clock: IoClock, *, report: Callable[[TaskState], None] | None = None) -> None:
        self._io_clock = io_clock
        self._report = report
        self._group = asyncio.TaskGroup()
        self._states: dict[str, TaskState] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        for task in self._tasks.values():
            task.cancel()
        gravest: BaseException | None = None
        try:
            await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            gravest = _gravest(group)
        if gravest is not None and gravest is not error:
            raise gravest  # outside the handler, so that its own cause stays

    def start(
        self,
        name: str,
        run: Callable[[], Awaitable[None]],
        *,
        policy: RestartPolicy = RestartPolicy(),
        may_end: bool = False,
    ) -> None:
        """Run `run()` under `name` until the block ends. With `may_end` a plain return is the task's good end.

        Raises `SupervisionFault` ``TQ-SV-03`` for a name in use or too many tasks.
        """
        if name in self._tasks or len(self._tasks) >= TASKS_MAX:
            raise SupervisionFault(
                "TQ-SV-03", f"the task {name} cannot be started beside its like", "report this fault"
            )
        state = self._states[name] = TaskState(name)
        self._tasks[name] = self._group.create_task(self._guard(state, run, policy, may_end=may_end), name=name)

    def states(self) -> tuple[TaskState, ...]:
        """Every task in the order of starting; the objects are live, read them only."""
        return tuple(self._states.values())

    async def _guard(
        self, state: TaskState, run: Callable[[], Awaitable[None]], policy: RestartPolicy, *, may_end: bool
    ) -> None:
        while True:
            state.condition = TaskCondition.RUNNING
            try:
                await run()
            except asyncio.CancelledError as error:
                if self._stopping or _asked_to_stop():
                    state.condition = TaskCondition.STOPPED
                    raise
                # A library let its own cancellation leak: to a task group that would look like a peaceful end.
                await self._pause(state, error, policy)
            except Exception as error:  # noqa: BLE001 — counted, reported, and fatal beyond the limit
                await self._pause(state, error, policy)
            else:
                if may_end:
                    state.condition = TaskCondition.ENDED
                    return
                state.condition = TaskCondition.FAILED
                raise SupervisionFault(
                    "TQ-SV-01", f"the task {state.name} ended though it should run on", "restart; report it"
                )

    async def _pause(self, state: TaskState, error: BaseException, policy: RestartPolicy) -> None:
        now = self._io_clock.monotonic()
        while state.failures and now - state.failures[0] > policy.window_s:
            state.failures.popleft()
        state.failures.append(now)
        state.last_error = f"{type(error).__name__}: {error}"[:ERROR_TEXT_LENGTH_MAX]
        hopeless = len(state.failures) > policy.restarts_max
        state.condition = TaskCondition.FAILED if hopeless else TaskCondition.PAUSED
        if self._report is not None:
            self._report(state)
        if hopeless:
            raise SupervisionFault(
                "TQ-SV-02",
                f"the task {state.name} failed {len(state.failures)} times within {policy.window_s:.0f} s: "
                f"{state.last_error}",
                "repair the cause it names; what was acknowledged is safe",
            ) from error
        state.restarts += 1
        await self._io_clock.sleep(min(policy.delay_s_max, policy.delay_s_first * 2 ** (len(state.failures) - 1)))


def _asked_to_stop() -> bool:
    """Whether somebody cancelled this very task, rather than an error inside it wearing the same name."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _gravest(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """One exception for the whole group: what is no `Exception` first, then the supervisor's fault, then any."""
    leaves: list[BaseException] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending.extend(error.exceptions)
        else:
            leaves.append(error)
    return min(leaves, key=lambda leaf: (isinstance(leaf, Exception), not isinstance(leaf, SupervisionFault)))
