"""Clocks and dice of a simulated world, all drawn from one seed. Top floor.

Every node looks at a wall of its own, over the loop's virtual time, and so can be set wrong alone. Every stream of
chance is derived from the seed and a name, so that one more throw in one place shifts nothing in another.
"""

import asyncio
import hashlib
import math
import random
from dataclasses import dataclass

from gridmodel.clock import IoClock
from hosting.clocks import SLEEP_S_MAX, ScaledClock
from simulate.loop import VirtualLoop

DRIFTING_NAP_S_MAX = 300.0
"""One nap at most by a wall that drifts: its calendar and the loop's time part while one sleeps."""


@dataclass(slots=True)
class WallSpan:
    """A wall that was set wrong, from when to when.

    A process that starts then, without a link, stamps as far off as the step, and cannot know it.
    """

    begin: int
    """World time, UTC seconds."""
    over: int
    """When it is, or will be, set right; the first second after it."""
    step_s: float
    """Wall minus world: positive when it is ahead."""


class NodeWall:
    """A wall clock over virtual time that can be stepped and made to drift."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._offset_s = 0.0
        self._rate = 1.0
        self._since_s = loop.time()
        self._naps: dict[asyncio.Future[None], float] = {}
        """Who sleeps by this wall, and since when; a table, because a set would be walked in another order each run."""

    def read(self) -> float:
        """Seconds on this wall."""
        return self._since_s + self._offset_s + (self._loop.now_s - self._since_s) * self._rate

    def step(self, seconds: float) -> None:
        """Set it forward or back at once, as a careless `date` does."""
        self._offset_s += seconds
        self._stir()

    def drift(self, ppm: float) -> None:
        """From now on it runs fast (positive) or slow by so many parts in a million."""
        self._offset_s = self.read() - self._loop.time()
        self._since_s = self._loop.time()
        self._rate = 1.0 + ppm / 1e6
        self._stir()

    async def nap(self, seconds: float) -> None:
        """Wait for so many seconds of the loop, less when the wall is touched meanwhile.

        Production wakes every few seconds to look at the wall. Here nothing can be seen until somebody touches it, so
        nobody wakes; whoever sleeps then is woken when production's next look would be.
        """
        over: asyncio.Future[None] = self._loop.create_future()
        timer = self._loop.call_later(seconds if self._rate == 1.0 else min(seconds, DRIFTING_NAP_S_MAX), _wake, over)
        self._naps[over] = self._loop.time()
        try:
            await over
        finally:
            timer.cancel()
            del self._naps[over]

    def _stir(self) -> None:
        now_s = self._loop.time()
        for over, since_s in self._naps.items():
            self._loop.call_later(SLEEP_S_MAX - (now_s - since_s) % SLEEP_S_MAX, _wake, over)


def _wake(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


class VirtualIoClock:
    """`IoClock` over the loop: sockets and back-off wait in virtual time, on the same axis as everything."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def monotonic(self) -> float:
        """Seconds of the loop."""
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """Wait for so many virtual seconds."""
        await asyncio.sleep(seconds)


def node_clock(loop: VirtualLoop, wall: NodeWall, start_utility: int) -> ScaledClock:
    """The product's clock over a node's wall; it shows `start_utility` (UTC seconds) when the loop shows zero."""
    return ScaledClock(
        start_utility, 0.0, 1.0, wall=wall.read, monotonic=loop.time, sleep=wall.nap, sleep_s_max=math.inf
    )


def io_clock(loop: VirtualLoop) -> IoClock:
    """The loop's time as the I/O port."""
    return VirtualIoClock(loop)


def stream(seed: int, name: str) -> random.Random:
    """The stream of chance called `name` under `seed`; independent of all others."""
    return random.Random(hashlib.sha256(f"{seed}/{name}".encode()).digest())  # noqa: S311 — repeatable on purpose


class SeededEntropy:
    """`Entropy` that repeats itself: for the simulator alone, where identities must be the same in every run."""

    def __init__(self, seed: int, name: str) -> None:
        self._prefix = f"{seed}/{name}/"
        self._count = 0

    def token(self, size_bytes: int) -> bytes:
        """That many bytes, the next of this stream."""
        self._count += 1
        return hashlib.shake_256(f"{self._prefix}{self._count}".encode()).digest(size_bytes)
