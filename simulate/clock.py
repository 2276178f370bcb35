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
    """Wall minus world when it went wrong: positive when it is ahead."""
    drift_s: float = 0.0
    """How much further it goes off until `over`: it drifts, or stands still."""
    behind_s: float = 0.0
    """How far behind the world a process may stamp that knows no better than its floor."""

    @property
    def low_s(self) -> float:
        """Wall minus world at its lowest."""
        return min(self.step_s, self.step_s + self.drift_s)

    @property
    def high_s(self) -> float:
        """Wall minus world at its highest."""
        return max(self.step_s, self.step_s + self.drift_s)

    def shown(self, at: float) -> float:
        """What the wall shows at a world time within the span."""
        part = (at - self.begin) / max(1, self.over - self.begin)
        return at + self.step_s + self.drift_s * min(1.0, max(0.0, part))


class NodeWall:
    """A wall clock over virtual time that can be stepped and made to drift."""

    def __init__(self, loop: VirtualLoop, *, may_lie: bool = True) -> None:
        """`may_lie`: whether it, or another that is asked, can be wrong in this run; else nobody wakes to look."""
        self._loop = loop
        self.may_lie = may_lie
        self._offset_s = 0.0
        self._rate = 1.0
        self._since_s = loop.time()

    def read(self) -> float:
        """Seconds on this wall."""
        return self._since_s + self._offset_s + (self._loop.now_s - self._since_s) * self._rate

    def step(self, seconds: float) -> None:
        """Set it forward or back at once, as a careless `date` does."""
        self._offset_s += seconds

    def set_right(self) -> None:
        """It shows the world's time again, and runs as it should."""
        self._offset_s, self._rate = 0.0, 1.0

    def drift(self, ppm: float) -> None:
        """From now on it runs fast (positive) or slow by so many parts in a million."""
        self._offset_s = self.read() - self._loop.time()
        self._since_s = self._loop.time()
        self._rate = 1.0 + ppm / 1e6


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


def node_clock(loop: VirtualLoop, wall: NodeWall, start_utility: int, boot: str = "") -> ScaledClock:
    """The product's clock over a node's wall; it shows `start_utility` (UTC seconds) when the loop shows zero."""
    return ScaledClock(
        start_utility,
        0.0,
        1.0,
        wall=wall.read,
        monotonic=loop.time,
        sleep=asyncio.sleep,
        sleep_s_max=SLEEP_S_MAX if wall.may_lie else math.inf,
        boot=boot,
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
