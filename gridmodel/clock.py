"""Time, chance and work as arguments: the ports that let the product run in virtual time. Ground floor.

Cores take ``now`` as an integer; hosts own the waiting. Two clocks are kept apart on purpose. *Utility time* is the
calendar of meters, tariffs and permissions: UTC seconds, and it may be scaled for a demo or a rehearsal. *I/O time* is
how long a socket may stay silent: never scaled. Chance is split as well: an `Rng` that may be seeded (jitter, delays)
and `Entropy` that may not (identities, keys).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from gridmodel.fault import Fault

T = TypeVar("T")


class ClockFault(Fault):
    """Time that cannot be: an interval that ends before it starts."""


class ClockTrust(StrEnum):
    """Whether the time is known well enough to stamp what is read."""

    TRUSTED = "trusted"
    """Two sources agree on it."""
    DOUBTFUL = "doubtful"
    """They do not: nothing is stamped, nobody is cut."""


class ClockDoubt(StrEnum):
    """What speaks against a clock. While any of them stands nobody is cut."""

    UNCONFIRMED = "unconfirmed"
    """The machine started anew, and no other source has agreed with its wall yet."""
    AHEAD = "ahead"
    """The wall shows a later time than the clock that never jumps, or than two sources that agree."""
    BEHIND = "behind"
    """The wall shows an earlier time than they do."""
    BELOW_FLOOR = "below_floor"
    """The wall shows a time before something that is durable already: 1970, or a day gone by."""
    HUB_DISAGREES = "hub_disagrees"
    """The hub shows another time than this machine."""


@dataclass(frozen=True, slots=True)
class SteadyMoment:
    """A moment of one boot of one machine, by the clock that never jumps. It lies in time once the time is known."""

    boot: str
    """Of the machine; empty where that cannot be told."""
    steady_s: float
    """Real seconds of the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a confirmed clock hands on to the next process of the same boot."""

    moment: SteadyMoment
    at: float
    """Utility seconds at that moment."""


@dataclass(frozen=True, slots=True)
class TimeBounds:
    """The present as an interval of UTC seconds: permissions end at `latest`, protections at `earliest`."""

    earliest: int
    latest: int

    def __post_init__(self) -> None:
        if self.latest < self.earliest:
            raise ClockFault(
                "TQ-CL-01",
                f"the present ends at {self.latest} before it starts at {self.earliest}",
                "report this fault",
            )


class UtilityClock(Protocol):
    """The calendar of the utility, possibly scaled."""

    def now(self) -> int:
        """UTC seconds."""
        ...

    def trust(self) -> ClockTrust:
        """Whether what is read may be stamped by it."""
        ...

    def doubts(self) -> tuple[ClockDoubt, ...]:
        """What speaks against it; some of them leave the time known."""
        ...

    def confirmed(self) -> bool:
        """Whether the hub has agreed since this process began, and nothing speaks against it: permissions need both."""
        ...

    def bounds(self) -> TimeBounds:
        """The present as an interval."""
        ...

    async def sleep_until(self, at: int) -> None:
        """Wait until the clock shows `at` (UTC seconds); returns at once when that has passed.

        It returns early when the clock is set back: look again at what is due, nobody waits for days gone by.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for so many utility seconds."""
        ...


class ToldClock(Protocol):
    """A clock that can be told what others know; `hosting.clocks.ScaledClock` is one."""

    def confirm(self, other: int) -> ClockTrust:
        """Another source (the hub's replies) shows `other` UTC seconds: agree and trust, or differ and doubt."""
        ...

    def witness(self, other: int) -> ClockTrust:
        """Meters' own clocks agree on `other` UTC seconds: enough to believe a beginning, never to cut by."""
        ...

    def raise_floor(self, at: int) -> None:
        """An earlier run was certain that it was `at` (UTC seconds) or later."""
        ...

    def resume(self, anchor: Anchor) -> bool:
        """What an earlier process of this boot knew; False, and nothing is changed, when the machine booted since."""
        ...

    def anchor(self) -> Anchor | None:
        """For the next process; None while the time is not known, or was never confirmed."""
        ...

    def moment(self) -> SteadyMoment:
        """This moment, whatever the wall shows."""
        ...

    def when(self, moment: SteadyMoment) -> int | None:
        """UTC seconds of a moment; None while the time is not known, and of another boot for ever."""
        ...


class IoClock(Protocol):
    """Real time for sockets and retries, never scaled."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never stepping back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for so many real seconds."""
        ...


class Rng(Protocol):
    """Seedable chance for jitter and delays; `random.Random` fits. Never for identities or keys."""

    def random(self) -> float:
        """A float in [0, 1)."""
        ...

    def uniform(self, a: float, b: float) -> float:
        """A float between `a` and `b`."""
        ...

    def randrange(self, start: int, stop: int) -> int:
        """An integer in [start, stop)."""
        ...


class Entropy(Protocol):
    """Unguessable bytes for identities and keys. Seeded in the simulator only."""

    def token(self, size_bytes: int) -> bytes:
        """That many fresh bytes."""
        ...


class Compute(Protocol):
    """Heavy pure work (compression, columns, batches of hashes) kept off the event loop: no callback over 20 ms."""

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Run `function(*arguments)` elsewhere and give its result; what it raises is raised here."""
        ...
