"""Simulated processes: built by the product's own `build`, killed without a farewell, started again. Floor: simulate.

A crash is a power cut for one process: its databases lose what was not committed, its tasks are cancelled and find
nothing under them any more, its lock is freed as the kernel would free it. A restart opens the same files. What a
process does when it ends by itself is told to the checkers: a product that gives up is not alive.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar

from hosting.instance import InstanceFault, InstanceLock
from simulate.clock import stream
from simulate.crash import SimulatedCrash
from simulate.disk import SimDisk
from simulate.faults import Faults
from simulate.judges.sight import Verdicts
from simulate.loop import VirtualLoop
from simulate.scenario import AtEvent
from simulate.trace import Trace


class Running(Protocol):
    """What `node.build` and `hub.build` give."""

    async def run(self) -> None:
        """Work until cancelled."""
        ...


R = TypeVar("R", bound=Running)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all processes of a rehearsal share."""

    loop: VirtualLoop
    seed: int
    faults: Faults
    trace: Trace
    verdicts: Verdicts


class Process(Generic[R]):
    """One process that can die and come again. `build(disk, incarnation)` makes the product over a fresh disk."""

    def __init__(
        self,
        name: str,
        folder: Path,
        build: Callable[[SimDisk, int], Awaitable[R]],
        surroundings: Surroundings,
        crash_events: tuple[AtEvent, AtEvent],
    ) -> None:
        """`crash_events` are what may strike before and after its commits."""
        self.name = name
        self.folder = folder
        self._build = build
        self._loop = surroundings.loop
        self._seed = surroundings.seed
        self._faults = surroundings.faults
        self._trace = surroundings.trace
        self._verdicts = surroundings.verdicts
        self._crash_events = crash_events
        self.incarnation = 0
        self.up_since: float | None = None
        """Virtual second of the last whole start; None while it is down."""
        self.on_commit: list[Callable[[str], None]] = []
        """Told of the name of every database that has committed."""
        self.on_crash: list[Callable[[], None]] = []
        self.on_start: list[Callable[[], None]] = []
        self.commits = 0
        self._product: R | None = None
        self._disk: SimDisk | None = None
        self._lock: InstanceLock | None = None
        self._task: asyncio.Task[None] | None = None
        self._doomed: Literal["before", "after"] | None = None
        self._kept_down = 0
        self._comes_back: asyncio.TimerHandle | None = None

    @property
    def product(self) -> R | None:
        """The running product, or None."""
        return self._product if self.up_since is not None else None

    def start(self) -> None:
        """Start it now; it is up when its build is done."""
        self._comes_back = None
        if self._task is None and not self._kept_down:
            self.incarnation += 1
            self._task = asyncio.ensure_future(self._live(self.incarnation))

    def crash(self, where: str) -> SimulatedCrash:
        """Kill it at once and plan its restart; gives the crash for whoever is in the middle of something."""
        crash = SimulatedCrash(self.name, where)
        task, disk = self._task, self._disk
        if task is None:
            return crash
        self._trace.add("crash", self.name, where)
        self._down()
        if disk is not None:
            disk.crash(crash)
        if task is not asyncio.current_task():
            self._loop.call_soon(task.cancel)
        for listener in self.on_crash:
            listener()
        low, high = self._faults.scenario.restart_minutes
        self._later(self._faults.between(f"restart/{self.name}", low, high) * 60)
        return crash

    async def keep_down(self, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Down for so long, then up again; `meanwhile` is done to its files as soon as it is down."""
        self._kept_down += 1
        self.crash("and stays down")
        try:
            meanwhile()
            await asyncio.sleep(seconds)
        finally:
            self._kept_down -= 1
            self.start()

    def doom(self, *, after: bool) -> None:
        """It dies at its next commit, just before or just after."""
        self._doomed = "after" if after else "before"

    def second_start(self) -> None:
        """Someone starts the program beside the running one: the folder's lock must refuse it."""
        if self.up_since is None:
            return
        try:
            with InstanceLock(self.folder):
                self._verdicts.against("one_process_per_folder", self.name, self.name, "a second process got in")
        except InstanceFault:
            self._trace.add("twice", self.name, "refused")
            self._faults.happened("started_twice_refused")

    def before_commit(self, name: str) -> None:
        """See `CommitHooks`."""
        if self._doomed == "before" or self._faults.strikes(self._crash_events[0]):
            self._faults.happened("crash_before_commit")
            raise self.crash(f"before the commit of {name}")

    def after_commit(self, name: str) -> None:
        """See `CommitHooks`."""
        self.commits += 1
        self._trace.add("commit", self.name, name)
        for listener in self.on_commit:
            listener(name)
        if self._doomed == "after" or self._faults.strikes(self._crash_events[1]):
            self._faults.happened("crash_after_commit")
            raise self.crash(f"after the commit of {name}")

    async def _live(self, incarnation: int) -> None:
        """One life, from the lock to its end."""
        lock, disk = InstanceLock(self.folder), SimDisk(stream(self._seed, f"disk/{self.name}/{incarnation}"), self)
        self._lock, self._disk = lock, disk
        try:
            lock.acquire()
            self._product = await self._build(disk, incarnation)
            self.up_since = self._loop.time()
            self._trace.add("start", self.name, f"incarnation {incarnation}")
            for listener in self.on_start:
                listener()
            await self._product.run()
            self._ended(incarnation, "it returned")
        except SimulatedCrash:
            pass
        except asyncio.CancelledError:
            if incarnation == self.incarnation and self._task is not None:
                raise
        except Exception as error:  # noqa: BLE001 — the end of a process, whatever it is, is told
            self._ended(incarnation, f"{type(error).__name__}: {error}")
        finally:
            lock.release()

    def _ended(self, incarnation: int, why: str) -> None:
        if incarnation != self.incarnation or self._task is None:
            return  # it was killed already: what it says on its way down does not count
        self._verdicts.against("process_alive", self.name, self.name, f"the process ended by itself: {why}"[:300])
        self.crash("by itself")

    def _down(self) -> None:
        self._task = self._disk = self._product = self._doomed = None
        self.up_since = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _later(self, seconds: float) -> None:
        if self._comes_back is None and not self._kept_down:
            self._comes_back = self._loop.call_later(seconds, self.start)
