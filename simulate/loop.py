"""An event loop on virtual time: it never sleeps, it jumps to the next timer. Top floor; under every simulated walk.

The product's own coroutines run on it unchanged, in one thread, in an order that depends on nothing but what they do:
tasks hash by the order of their making (a plain task hashes by its address, and sets of tasks — a task group's, a
wait's — would be walked in another order in every process), work for threads is done inline, and anything from outside
(foreign threads, sockets) is refused by name. When nothing is ready and no timer is set, no event can ever come: that
is a deadlock, and it is told with the places where the tasks wait.
"""

import asyncio
import contextlib
import gc
import heapq
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from contextvars import Context, copy_context
from typing import Any, NoReturn, TypeVar, TypeVarTuple

from simulate.crash import SimulatedCrash

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

ProtocolFactory = Callable[[], asyncio.BaseProtocol]
Connector = Callable[
    [ProtocolFactory, str, int], Coroutine[Any, Any, tuple[asyncio.BaseTransport, asyncio.BaseProtocol]]
]
"""Connects (factory, host, port) as `create_connection` does."""
TURNS_AT_ONE_INSTANT_MAX = 1_000_000
"""Rounds without time passing after which something spins; a busy instant of a large world takes a few thousand."""
SLOW_CALLBACK_S = 0.020
"""The house's limit for one callback (real seconds), counted when asked."""
CANCELLED_ROUNDS_MAX = 4
"""How often what is left at the end of a run is cancelled."""
WAITING_TASKS_SHOWN_MAX = 12
"""Tasks named in a deadlock: a screenful."""
RESOLUTION_S = 1e-6
"""Timers nearer to each other than this fire together: floats hold a century of seconds to that."""
CANCELLED_TIMERS_MIN = 100
"""From so many cancelled timers on, and when they are the larger half, the heap is rebuilt without them."""


class VirtualDeadlock(Exception):
    """Nothing is ready and no timer is set, yet tasks wait."""


class VirtualLivelock(Exception):
    """Callbacks follow one another without time ever passing."""


class VirtualTrouble(Exception):
    """Errors that nobody awaited: in production they would be a line in a log."""


class RefusedInVirtualTime(Exception):
    """A thread or a socket: what it does next is decided outside the seed."""


class OrderedTask(asyncio.Task[Any]):
    """A task that hashes by the order of its making, so that a set of tasks is walked alike in every process."""

    def __init__(self, coro: Coroutine[Any, Any, Any], *, number: int, **options: Any) -> None:
        self.number = number  # first of all: the constructor below puts the task into a set
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class LightHandle(asyncio.Handle):
    """A handle without the look whether the loop is debugged: `VirtualLoop.call_soon` makes one for every step."""

    __slots__ = ()

    def cancel(self) -> None:
        """See `asyncio.Handle.cancel`."""
        self._cancelled = True
        self._callback, self._args = _nothing, ()

    def __repr__(self) -> str:
        return f"<{'cancelled ' if self._cancelled else ''}{self._callback!r}>"


class LightTimer(asyncio.TimerHandle):
    """A timer without those looks; most are cancelled, because every sleep cancels its own at its end."""

    __slots__ = ()

    def __init__(
        self, when: float, callback: Callable[..., object], args: Sequence[Any], loop: Any, context: Context | None
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._when = when
        self._scheduled = True

    def __repr__(self) -> str:
        return f"<{'cancelled ' if self._cancelled else ''}{self._callback!r} at {self._when}>"

    def cancel(self) -> None:
        """See `asyncio.TimerHandle.cancel`."""
        if not self._cancelled:
            self._cancelled = True
            self._callback, self._args = _nothing, ()
            if self._scheduled:
                self._loop._timer_cancelled_count += 1  # noqa: SLF001


_new_handle = LightHandle.__new__
"""Making one without a call of its `__init__`."""


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module. `start_s` is where its monotonic time begins; with `measure` slow callbacks are counted."""

    _ready: deque[asyncio.Handle]
    _stopping: bool
    _timer_cancelled_count: int
    _check_closed: Callable[[], None]

    def __init__(self, start_s: float = 0.0, *, measure: bool = False) -> None:
        super().__init__()
        self.now_s = start_s
        """Virtual seconds, for those who ask ten thousand times a day; only the loop moves them."""
        self._thread = threading.get_ident()
        self._turns_at_this_instant = 0
        self._measure = measure
        self._timers: list[tuple[float, int, LightTimer]] = []
        """A heap in place of the base's list: tuples compare without a call."""
        self._timers_made = 0
        self.turns = 0
        """Rounds run."""
        self.slow_callbacks = 0
        """Callbacks over `SLOW_CALLBACK_S` of real time, when measured."""
        self.slowest_callback_s = 0.0
        self.troubles: list[str] = []
        """Errors that reached nobody."""
        self._tasks_made = 0
        self.connector: Connector | None = None
        """Whoever makes connections in memory; without one they are refused."""
        self.set_exception_handler(_note_trouble)

    def create_task(  # type: ignore[override]  # typeshed's coroutine type is private
        self, coro: Coroutine[Any, Any, T], *, name: object = None, context: Context | None = None, **options: Any
    ) -> asyncio.Task[T]:
        """A task numbered, and unless named called, by the order of its making in this loop."""
        self._check_closed()
        self._tasks_made += 1
        number = self._tasks_made
        called = str(name) if name is not None else f"task-{number}"
        return OrderedTask(coro, number=number, loop=self, name=called, context=context, **options)

    def forget_spinning(self) -> None:
        """Count the rounds of this instant anew: its end needs some, too."""
        self._turns_at_this_instant = 0

    def time(self) -> float:
        """Virtual seconds; they pass only when nothing is left to do."""
        return self.now_s

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As `call_soon`, from this thread only."""
        if threading.get_ident() != self._thread:
            raise RefusedInVirtualTime(f"a foreign thread calls {callback!r}: its moment is not in the seed")
        return self.call_soon(callback, *args, context=context)

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As the base's, without its checks: half of a rehearsal's time is spent in here."""
        handle = _new_handle(LightHandle)
        handle._context = copy_context() if context is None else context  # type: ignore[attr-defined]  # noqa: SLF001
        handle._loop = self  # type: ignore[attr-defined]  # noqa: SLF001
        handle._callback = callback  # type: ignore[assignment]  # noqa: SLF001
        handle._args = args  # noqa: SLF001
        handle._cancelled = False  # noqa: SLF001
        self._ready.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As the base's, without its checks."""
        timer = LightTimer(when, callback, args, self, context)
        self._timers_made += 1
        heapq.heappush(self._timers, (when, self._timers_made, timer))
        return timer

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As the base's, without its checks."""
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def run_in_executor(  # type: ignore[override]  # typeshed gives it a Future of its own type variable
        self,
        executor: Executor | None,  # noqa: ARG002
        func: Callable[..., T],
        *args: Any,
    ) -> asyncio.Future[T]:
        """Work for a thread, done now; its result is seen on the next turn."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 — delivered to whoever awaits it
            future.set_exception(error)
        return future

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> NoReturn:
        """Refused: the network is the simulator's."""
        raise RefusedInVirtualTime(f"a real connection to {host}:{port}")

    async def create_connection(  # type: ignore[override]  # typeshed wants transports of sockets
        self, protocol_factory: ProtocolFactory, host: str = "", port: int = 0, **options: Any
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """In memory, through the `connector`; a real one is refused: the network is the simulator's."""
        if self.connector is None or options:
            raise RefusedInVirtualTime(f"a real connection to {host}:{port}")
        return await self.connector(protocol_factory, host, port)

    async def create_server(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: the network is the simulator's."""
        raise RefusedInVirtualTime("a real listening socket")

    async def create_unix_server(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: the network is the simulator's."""
        raise RefusedInVirtualTime("a real listening socket")

    def _run_once(self) -> None:
        ready, timers = self._ready, self._timers
        if not ready and not self._stopping:
            self._drop_cancelled_timers()
            if not timers:
                raise VirtualDeadlock(f"no event can ever come; {_waiting(self)}")
            self.now_s = max(self.now_s, timers[0][0])
            self._turns_at_this_instant = 0
        self.turns += 1
        self._turns_at_this_instant += 1
        if self._turns_at_this_instant > TURNS_AT_ONE_INSTANT_MAX:
            raise VirtualLivelock(f"time stands at {self.now_s}; {_waiting(self)}")
        due = self.now_s + RESOLUTION_S
        while timers and timers[0][0] < due:
            timer = heapq.heappop(timers)[2]
            timer._scheduled = False  # noqa: SLF001
            ready.append(timer)
        if self._measure:
            for _ in range(len(ready)):
                handle = ready.popleft()
                if not handle._cancelled:  # noqa: SLF001
                    self._run_measured(handle)
            return
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:  # noqa: SLF001
                try:
                    handle._context.run(handle._callback, *handle._args)  # type: ignore[attr-defined]  # noqa: SLF001
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001 — as `Handle._run` does
                    self.call_exception_handler(
                        {"message": f"Exception in callback {handle!r}", "exception": error, "handle": handle}
                    )

    def _drop_cancelled_timers(self) -> None:
        timers = self._timers
        if self._timer_cancelled_count > CANCELLED_TIMERS_MIN and self._timer_cancelled_count * 2 > len(timers):
            kept = []
            for entry in timers:
                if entry[2]._cancelled:  # noqa: SLF001
                    entry[2]._scheduled = False  # noqa: SLF001
                else:
                    kept.append(entry)
            heapq.heapify(kept)
            timers[:] = kept
            self._timer_cancelled_count = 0
        while timers and timers[0][2]._cancelled:  # noqa: SLF001
            self._timer_cancelled_count -= 1
            heapq.heappop(timers)[2]._scheduled = False  # noqa: SLF001

    def _run_measured(self, handle: asyncio.Handle) -> None:
        before = time.perf_counter()
        handle._run()  # noqa: SLF001
        taken_s = time.perf_counter() - before
        self.slowest_callback_s = max(self.slowest_callback_s, taken_s)
        if taken_s > SLOW_CALLBACK_S:
            self.slow_callbacks += 1

    def _process_events(self, event_list: list[Any]) -> None:
        """Nothing comes from outside."""

    def _write_to_self(self) -> None:
        """Nobody has to be woken."""


def run_virtual(main: Coroutine[Any, Any, T], start_s: float = 0.0, *, loop: VirtualLoop | None = None) -> T:
    """Run `main` on a fresh virtual loop (or on `loop`) to its end, then cancel what is left, oldest first.

    Raises what `main` raises, `VirtualDeadlock`, `VirtualLivelock`, or `VirtualTrouble` when errors reached nobody (a
    simulated crash left behind by a dead node does not count).
    """
    loop = loop or VirtualLoop(start_s)
    try:
        asyncio.set_event_loop(loop)
        result = loop.run_until_complete(main)
        _cancel_rest(loop)
        gc.collect()  # a failed task tells that nobody awaited it only when it is collected
    except BaseException:
        _cancel_rest(loop)
        raise
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    if loop.troubles:
        raise VirtualTrouble("; ".join(loop.troubles))
    return result


def _nothing() -> None:
    """What a cancelled timer would do; it lets go of what it held."""


def _note_trouble(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if isinstance(loop, VirtualLoop) and not isinstance(error, SimulatedCrash):
        loop.troubles.append(f"{context['message']}: {error!r}")


def _tasks_of(loop: VirtualLoop) -> list[OrderedTask]:
    tasks = (task for task in asyncio.all_tasks(loop) if isinstance(task, OrderedTask))
    return sorted(tasks, key=lambda task: task.number)


def _cancel_rest(loop: VirtualLoop) -> None:
    loop.forget_spinning()
    for _ in range(CANCELLED_ROUNDS_MAX):  # one that ends may have begun another: a process that is being started
        rest = _tasks_of(loop)
        if not rest:
            break
        for task in rest:
            task.cancel()
        # Those that refuse to go stay: the error that ended the run is the one to tell.
        with contextlib.suppress(VirtualDeadlock, VirtualLivelock):
            loop.run_until_complete(asyncio.wait(rest))
    loop.run_until_complete(loop.shutdown_asyncgens())
    for task in _tasks_of(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001


def _waiting(loop: VirtualLoop) -> str:
    tasks = _tasks_of(loop)
    told = [f"{task.get_name()} waits in {_place(task.get_coro())}" for task in tasks[:WAITING_TASKS_SHOWN_MAX]]
    if len(tasks) > WAITING_TASKS_SHOWN_MAX:
        told.append(f"and {len(tasks) - WAITING_TASKS_SHOWN_MAX} more")
    return "; ".join(told) or "no task is left"


def _place(coro: Any) -> str:
    """The innermost line of ours at which a coroutine stands."""
    place = "?"
    while inspect.iscoroutine(coro):
        if coro.cr_frame is not None:
            place = f"{coro.__qualname__} line {coro.cr_frame.f_lineno}"
        coro = coro.cr_await
    return place
