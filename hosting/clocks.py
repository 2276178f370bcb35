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
from dataclasses import dataclass
from pathlib import Path

from gridmodel.clock import Anchor, ClockDoubt, ClockFault, ClockTrust, SteadyMoment, TimeBounds
from hosting.clock_votes import Votes, settle

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
DRIFT_S_PER_S = 0.0001
"""A machine's quartz that nobody corrects: the present widens by 9 s a day since another source last agreed."""
UNKNOWN_S = 86_400
"""A wall that nobody confirmed may be behind by so much at least: a zone, a date."""
AGREEMENT_S_MAX = 120
"""Another source within so many seconds confirms the clock: a reply may be a minute old on a slow link."""
BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")
"""Linux names each start of a machine: the monotonic clock of one counts on for every process."""


@dataclass(frozen=True, slots=True)
class _Vote:
    """What somebody outside said of the time, on the axis of the steady clock."""

    claim: float
    wall: float
    """What our wall claimed then: once it jumps, the steady clock may have stood still, and the vote is void."""
    steady_s: float


class ScaledClock:
    """Utility time as ``origin_utility + (wall - origin_wall) * speed``; an implementation of `UtilityClock`.

    `wall` gives UTC seconds and may jump; `monotonic` gives seconds that never do; `sleep` waits for real seconds. The
    two are compared at every look, and with what hub and meters say (`hosting.clock_votes`): while two sources agree
    the time is known, and a wall that lies is not followed. `boot` names this boot of the machine,
    where it can be told.
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
        boot: str = "",
    ) -> None:
        if not (math.isfinite(speed) and speed > 0):
            raise ClockFault(
                "TQ-CL-02", f"a clock cannot run at speed {speed}", "give a speed above zero; 1 is real time"
            )
        self.speed = speed
        self._resumable = bool(boot)
        self.boot = boot or f"process since {monotonic()!r}"
        self._origin_utility = origin_utility
        self._origin_wall = origin_wall
        self._wall = wall
        self._monotonic = monotonic
        self._sleep = sleep
        self._sleep_s_max = sleep_s_max
        self._seen_at = monotonic()
        self._offset = wall() - self._seen_at
        self._anchored = True
        """The steady clock counts beside the wall: confirmed since the boot, or nothing durable to be wrong about."""
        self._confirmed_at: float | None = None
        """Monotonic second at which another source agreed last."""
        self._confirmed: float | None = None
        """What the steady clock claimed then, on its axis; since then the wall's drift is followed."""
        self._agreed = False
        self._hub: _Vote | None = None
        self._meters: _Vote | None = None
        self._floor: float | None = None
        """On the axis of the steady clock: it rises as time passes."""
        self._plain = True
        """Nothing but a jump of the wall could speak against it."""

    @property
    def calendar(self) -> str:
        """As `TARMOQ_CLOCK` has it."""
        return f"{self._origin_utility!r},{self._origin_wall!r},{self.speed!r}"

    def now(self) -> int:
        """UTC seconds of utility time: by the wall, unless two other sources agree on another time."""
        return math.floor(self._present())

    def trust(self) -> ClockTrust:
        """Whether two sources agree on the time."""
        if self._plain and abs(self._parted_s()) <= JUMP_S_MAX:
            return ClockTrust.TRUSTED
        return ClockTrust.DOUBTFUL if settle(self._votes()).claim is None else ClockTrust.TRUSTED

    def doubts(self) -> tuple[ClockDoubt, ...]:
        """What speaks against it."""
        return settle(self._votes()).doubts

    def confirmed(self) -> bool:
        """Whether the hub (`confirm`) has agreed since this object was made, and nothing speaks against it."""
        return self._agreed and not settle(self._votes()).doubts

    def bounds(self) -> TimeBounds:
        """The present as an interval. Not known, it covers what everybody shows, and begins at the floor."""
        votes, axis_s = self._votes(), self._monotonic() * self.speed
        claim = settle(votes).claim
        if claim is not None:
            earliest, latest = (claim - UNCERTAINTY_S - votes.drift_s_max, claim + UNCERTAINTY_S + votes.drift_s_max)
        else:
            said = [one for one in (votes.wall, votes.steady, votes.hub, votes.meters) if one is not None]
            earliest, latest = min(said) - UNCERTAINTY_S, max(said) + UNCERTAINTY_S
        if claim is None and not self._anchored:
            earliest = earliest if self._floor is None else self._floor
            latest = max(latest, earliest) + UNKNOWN_S
        if self._floor is not None:
            earliest = max(earliest, self._floor)
        begins = math.floor(earliest + axis_s)
        return TimeBounds(begins, max(begins, math.floor(latest + axis_s)))

    def raise_floor(self, at: int) -> None:
        """The present cannot be before `at` (UTC seconds, remembered from an earlier run); a floor never sinks.

        Whoever remembers something has something to be wrong about: from now on the wall alone is not believed.
        """
        floor = at - self._monotonic() * self.speed
        self._floor = floor if self._floor is None else max(self._floor, floor)
        self.doubt()

    def doubt(self) -> None:
        """Something is remembered that this clock may contradict: its wall alone is not believed.

        Until another source agrees, or one did in an earlier process of this boot.
        """
        self._anchored = self._confirmed_at is not None
        self._simplify()

    def resume(self, anchor: Anchor) -> bool:
        """Go on from what an earlier process of this boot knew."""
        passed_s = self._monotonic() - anchor.moment.steady_s
        if not self._resumable or anchor.moment.boot != self.boot or passed_s < 0:
            return False
        self._set_steady(anchor.at - anchor.moment.steady_s * self.speed, anchor.moment.steady_s)
        self._simplify()
        return True

    def anchor(self) -> Anchor | None:
        """What the next process of this boot may go on from."""
        claim, at = settle(self._votes()).claim, self._confirmed_at
        return None if claim is None or at is None else Anchor(SteadyMoment(self.boot, at), claim + at * self.speed)

    def moment(self) -> SteadyMoment:
        """This moment by the steady clock."""
        return SteadyMoment(self.boot, self._monotonic())

    def when(self, moment: SteadyMoment) -> int | None:
        """UTC seconds of `moment`, as it is known now."""
        claim = settle(self._votes()).claim
        if claim is None or moment.boot != self.boot:
            return None
        return math.floor(claim + moment.steady_s * self.speed)

    def confirm(self, other: int) -> ClockTrust:
        """The hub's reply shows `other` UTC seconds: one vote more.

        A wall that has jumped away from a steady clock which the hub confirms is in doubt for as long as it stays away,
        and nobody follows it meanwhile; when it comes back nobody needs to be asked.
        """
        self._hub = self._vote(other)
        self._agreed = self._agree(self._hub) or self._agreed
        return self.trust()

    def witness(self, other: int) -> ClockTrust:
        """Many witnesses that may have been set by us (the meters' clocks) show `other` UTC seconds.

        Enough to stamp by, together with a source that agrees; `confirmed` stays as it is.
        """
        self._meters = self._vote(other)
        self._agree(self._meters)
        return self.trust()

    async def sleep_until(self, at: int) -> None:
        """Wait until the calendar shows `at`; a jump is noticed within one capped sleep.

        A clock that is set back ends the wait: whoever worked `at` out works it out anew.
        """
        left_s = (at - self._present()) / self.speed
        while left_s > 0:
            over = self._monotonic() + left_s
            await self._sleep(min(max(left_s, SLEEP_S_MIN), self._sleep_s_max))
            left_s = (at - self._present()) / self.speed
            if left_s > over - self._monotonic() + JUMP_S_MAX:
                return

    async def sleep(self, seconds: float) -> None:
        """Wait for so many utility seconds by the monotonic clock, whatever the wall does meanwhile."""
        until = self._monotonic() + seconds / self.speed
        while (left := until - self._monotonic()) > 0:
            await self._sleep(min(max(left, SLEEP_S_MIN), self._sleep_s_max))

    def _present(self) -> float:
        if self._plain and abs(self._parted_s()) <= JUMP_S_MAX:
            return self._utility()
        votes, axis_s = self._votes(), self._monotonic() * self.speed
        claim = settle(votes).claim
        if claim is None and self._confirmed_at is not None:
            claim = votes.steady  # for waits and the times of payments: nothing is read off it
        if claim is None:
            claim = votes.wall if self._floor is None else max(votes.wall, self._floor)
        return claim + axis_s

    def _utility(self) -> float:
        return self._origin_utility + (self._wall() - self._origin_wall) * self.speed

    def _simplify(self) -> None:
        settled = settle(self._votes())
        self._plain = settled.claim is not None and not settled.doubts

    def _vote(self, other: int) -> _Vote:
        steady_s = self._monotonic()
        axis_s = steady_s * self.speed
        return _Vote(other - axis_s, self._utility() - axis_s, steady_s)

    def _agree(self, vote: _Vote) -> bool:
        """Whether `vote` is one of those that agree; then the steady clock is set by them."""
        claim = settle(self._votes()).claim
        agrees = claim is not None and abs(claim - vote.claim) <= self._agree_s_max
        if agrees and claim is not None:
            self._set_steady(claim, vote.steady_s)
        self._simplify()
        return agrees

    def _set_steady(self, claim: float, steady_s: float) -> None:
        """The time was known at that monotonic second."""
        at = claim + steady_s * self.speed
        self._offset = self._origin_wall + (at - self._origin_utility) / self.speed - steady_s
        self._confirmed_at = self._seen_at = steady_s
        self._confirmed = claim
        self._anchored = True

    @property
    def _agree_s_max(self) -> float:
        return AGREEMENT_S_MAX * max(1.0, self.speed)

    def _votes(self) -> Votes:
        parted_s, steady_s = self._parted_s(), self._monotonic()
        wall = self._utility() - steady_s * self.speed
        alone_s = 0.0 if self._confirmed_at is None else steady_s - self._confirmed_at
        return Votes(
            wall=wall,
            steady=wall - parted_s * self.speed,
            since=self._confirmed,
            anchored=self._anchored,
            hub=self._standing(self._hub, wall, steady_s),
            meters=self._standing(self._meters, wall, steady_s),
            floor=self._floor,
            apart_s_max=JUMP_S_MAX * self.speed,
            agree_s_max=self._agree_s_max,
            drift_s_max=alone_s * DRIFT_S_PER_S * self.speed,
        )

    def _standing(self, vote: _Vote | None, wall: float, steady_s: float) -> float | None:
        if vote is None:
            return None
        allowed_s = JUMP_S_MAX + (steady_s - vote.steady_s) * SLEW_S_PER_S_MAX
        return vote.claim if abs(wall - vote.wall) <= allowed_s * self.speed else None

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

    monotonic = staticmethod(time.monotonic)
    """Seconds of the machine's monotonic clock: itself, for it is asked at each request."""

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
    text, boot = environ.get(CLOCK_VARIABLE, "").strip(), _boot()
    if not text:
        return ScaledClock(boot=boot)
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
    return ScaledClock(origin_utility, origin_wall, speed, boot=boot)


def _boot() -> str:
    """Which start of the machine this is; empty where the system does not say."""
    try:
        return BOOT_FILE.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def clock_to_environment(origin_utility: float, origin_wall: float, speed: float) -> dict[str, str]:
    """The variable that `clock_from_environment` reads in the child processes of a rehearsal."""
    return {CLOCK_VARIABLE: ScaledClock(origin_utility, origin_wall, speed).calendar}
