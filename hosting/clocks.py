"""The real clocks and dice: the only product module that may ask the machine for time or chance. Floor: hosting.

On every walk: `__main__` makes a clock here and hands it to `node.build` or `hub.build`; nobody below asks the machine
again. Utility time may be scaled, so that a rehearsal lives a day in minutes; several processes share one scaled
calendar through ``TARMOQ_CLOCK``. The simulator reuses `ScaledClock` over its virtual loop.
"""

import asyncio
import math
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping

from gridmodel.clock import ClockFault, ClockTrust, TimeBounds

CLOCK_VARIABLE = "TARMOQ_CLOCK"
"""Environment variable ``origin_utility,origin_wall,speed`` that gives several processes one scaled calendar."""
SLEEP_S_MAX = 5.0
"""One real sleep at most: a wall clock set forward by an hour wakes a waiter within this time, not an hour late."""
SLEEP_S_MIN = 0.001
"""One real sleep at least, so that rounding at the very end of a wait cannot spin."""
JUMP_S_MAX = 2.0
"""Wall and monotonic clock may part by this much at once before the wall clock counts as having jumped. NTP slews, and
steps only above 0.128 s; a busy virtual machine may stand still for a second between our two looks."""
SLEW_S_PER_S_MAX = 0.001
"""Honest drift that is followed: twice the 500 ppm at which NTP slews."""
UNCERTAINTY_S = 2
"""Half-width of the present while the clock is trusted (utility seconds): an NTP client holds well under one second."""
UNCONFIRMED_S_MAX = 4 * 3_600
"""A process that begins further than this after what an earlier one was certain of believes its wall only when another
source agrees: restarts and short power cuts fit in, a hardware clock in local time is five hours ahead."""
AGREEMENT_S_MAX = 120
"""Another source within so many seconds confirms the clock: a reply may be a minute old on a slow link."""


class ScaledClock:
    """Utility time as ``origin_utility + (wall - origin_wall) * speed``; an implementation of `UtilityClock`.

    `wall` gives UTC seconds and may jump; `monotonic` gives seconds that never do; `sleep` waits for real seconds. The
    two are compared at every look: when they part by more than `JUMP_S_MAX` the clock is doubtful, until the wall comes
    back or another source confirms it (`confirm`). `sleep_until` follows the wall, `sleep` follows the monotonic clock.
    """

    def __init__(
        self,
        origin_utility: float = 0.0,
        origin_wall: float = 0.0,
        speed: float = 1.0,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        sleep_s_max: float = SLEEP_S_MAX,
    ) -> None:
        if not (math.isfinite(speed) and speed > 0):
            raise ClockFault(
                "TQ-CL-02", f"a clock cannot run at speed {speed}", "give a speed above zero; 1 is real time"
            )
        self.speed = speed
        self._origin_utility = origin_utility
        self._origin_wall = origin_wall
        self._wall = wall
        self._monotonic = monotonic
        self._sleep = sleep
        self._sleep_s_max = sleep_s_max
        self._seen_at = monotonic()
        self._offset = wall() - self._seen_at
        self._confirmed = True
        self._agreed = False
        self._witnessed = False
        self._begun_in_doubt = False
        self._began_late = False
        self._floor: int | None = None

    @property
    def calendar(self) -> str:
        """As `TARMOQ_CLOCK` has it."""
        return f"{self._origin_utility!r},{self._origin_wall!r},{self.speed!r}"

    def now(self) -> int:
        """UTC seconds of utility time, from the wall clock as it is, trusted or not."""
        return math.floor(self._origin_utility + (self._wall() - self._origin_wall) * self.speed)

    def trust(self) -> ClockTrust:
        """Doubtful after a jump or contradiction, below the persisted floor, or begun in doubt and nobody agrees."""
        parted_s = self._parted_s()
        if abs(parted_s) > JUMP_S_MAX or not self._confirmed:
            return ClockTrust.DOUBTFUL
        if self._floor is not None and self.now() < self._floor:
            return ClockTrust.DOUBTFUL
        if (self._began_late or self._begun_in_doubt) and not (self._agreed or self._witnessed):
            return ClockTrust.DOUBTFUL
        return ClockTrust.TRUSTED

    def confirmed(self) -> bool:
        """Whether another source (`confirm`) has agreed since this object was made."""
        return self._agreed

    def bounds(self) -> TimeBounds:
        """The present as an interval; when wall and monotonic clock disagree it covers both, and never the past."""
        wall_says = self._utility()
        steady_says = wall_says - self._parted_s() * self.speed
        earliest = math.floor(min(wall_says, steady_says)) - UNCERTAINTY_S
        latest = math.floor(max(wall_says, steady_says)) + UNCERTAINTY_S
        if self._floor is not None:
            earliest = max(earliest, self._floor)
            latest = max(latest, earliest)
        return TimeBounds(earliest, latest)

    def raise_floor(self, at: int) -> None:
        """The present cannot be before `at` (UTC seconds, remembered from an earlier run); a floor never sinks."""
        self._floor = at if self._floor is None else max(self._floor, at)
        self._began_late = self.now() > self._floor + UNCONFIRMED_S_MAX * max(1.0, self.speed)

    def doubt(self) -> None:
        """An earlier run ended in doubt: a restart alone clears nothing, another source must agree."""
        self._begun_in_doubt = True

    def confirm(self, other: int) -> ClockTrust:
        """Another source (the hub's replies) shows `other` UTC seconds: agree and trust, or differ and doubt.

        A wall that has jumped away from a steady clock which the other source confirms is in doubt for as long as it
        stays away: when it comes back nobody needs to be asked, for whoever could be asked may be out of reach by then.
        """
        allowed_s = AGREEMENT_S_MAX * max(1.0, self.speed)
        wall_says = self._utility()
        steady_says = wall_says - self._parted_s() * self.speed
        agrees = abs(wall_says - other) <= allowed_s
        self._confirmed = agrees or abs(steady_says - other) <= allowed_s
        self._agreed = self._agreed or self._confirmed
        if agrees:
            self._seen_at = self._monotonic()
            self._offset = self._wall() - self._seen_at
        return self.trust()

    def witness(self, other: int) -> ClockTrust:
        """Many witnesses that may have been set by us (the meters' clocks) show `other` UTC seconds.

        When they agree, a process that began in doubt, or long after its floor, is believed; they contradict nobody,
        and `confirmed` stays as it is.
        """
        if abs(self._utility() - other) <= AGREEMENT_S_MAX * max(1.0, self.speed):
            self._witnessed = True
        return self.trust()

    async def sleep_until(self, at: int) -> None:
        """Wait until the wall-based calendar shows `at`; a jump of the wall is noticed within one capped sleep.

        A wall that is set back ends the wait: whoever worked `at` out works it out anew.
        """
        left_s = (at - self._utility()) / self.speed
        while left_s > 0:
            over = self._monotonic() + left_s
            await self._sleep(min(max(left_s, SLEEP_S_MIN), self._sleep_s_max))
            left_s = (at - self._utility()) / self.speed
            if left_s > over - self._monotonic() + JUMP_S_MAX:
                return

    async def sleep(self, seconds: float) -> None:
        """Wait for so many utility seconds by the monotonic clock, whatever the wall does meanwhile."""
        until = self._monotonic() + seconds / self.speed
        while (left := until - self._monotonic()) > 0:
            await self._sleep(min(max(left, SLEEP_S_MIN), self._sleep_s_max))

    def _utility(self) -> float:
        return self._origin_utility + (self._wall() - self._origin_wall) * self.speed

    def _parted_s(self) -> float:
        """How far wall and monotonic clock have parted (real seconds; positive: wall ahead), honest drift followed."""
        steady = self._monotonic()
        parted_s = self._wall() - steady - self._offset
        if not parted_s:  # always so in virtual time
            self._seen_at = steady
            return 0.0
        drift_s_max = (steady - self._seen_at) * SLEW_S_PER_S_MAX
        drift_s = max(-drift_s_max, min(drift_s_max, parted_s))
        if abs(parted_s - drift_s) <= JUMP_S_MAX:  # never by a doubtful clock: it would follow its own jump
            self._offset += drift_s
            parted_s -= drift_s
        self._seen_at = steady
        return parted_s


class SystemIoClock:
    """Real time for sockets and retries; an implementation of `IoClock`."""

    def monotonic(self) -> float:
        """Seconds of the machine's monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait for so many real seconds."""
        await asyncio.sleep(seconds)


class SystemEntropy:
    """The operating system's entropy; an implementation of `Entropy`."""

    def token(self, size_bytes: int) -> bytes:
        """That many fresh bytes, fit for keys."""
        return secrets.token_bytes(size_bytes)


def seeded_rng(seed: int | str | bytes | None = None) -> random.Random:
    """Chance for jitter and delays, never for keys: reproducible with a seed, fresh from the system without one."""
    return random.Random(seed)  # noqa: S311 — the port says so: never for identities or keys


def clock_from_environment(environ: Mapping[str, str]) -> ScaledClock:
    """The clock that `TARMOQ_CLOCK` describes, or the real one; `ClockFault` ``TQ-CL-03`` for a malformed text."""
    text = environ.get(CLOCK_VARIABLE, "").strip()
    if not text:
        return ScaledClock()
    try:
        origin_utility, origin_wall, speed = (float(part) for part in text.split(","))
    except ValueError:
        origin_utility = origin_wall = speed = math.nan
    if not all(map(math.isfinite, (origin_utility, origin_wall, speed))):
        raise ClockFault(
            "TQ-CL-03",
            f"{CLOCK_VARIABLE} is {text!r}",
            "give origin_utility,origin_wall,speed as three numbers, or unset it for real time",
        )
    return ScaledClock(origin_utility, origin_wall, speed)


def clock_to_environment(origin_utility: float, origin_wall: float, speed: float) -> dict[str, str]:
    """The variable that `clock_from_environment` reads in the child processes of a rehearsal."""
    return {CLOCK_VARIABLE: ScaledClock(origin_utility, origin_wall, speed).calendar}
