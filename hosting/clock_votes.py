"""Which time it is, when clocks disagree: one of four may lie. Pure. Floor: hosting; docs/adr/0022.

Four voters: the wall of this machine, its steady clock since it was last confirmed, the hub's latest reply, the clocks
of meters where enough of them agree. Each is a number on the axis of the steady clock: the utility time that it claims
less that clock's seconds, so that a vote stays as it is while time passes. The time is known when two agree.

Wall and steady clock live in one machine: agreeing with each other they are two only if the steady clock was confirmed
by somebody else before, and against the hub they need the meters beside them. A voter that claims a time before what is
durable has lost its vote.
"""

from dataclasses import dataclass

from gridmodel.clock import ClockDoubt


@dataclass(frozen=True, slots=True)
class Votes:
    """What each claims, utility seconds on the axis of the steady clock; None: it says nothing."""

    wall: float
    steady: float
    """Where the steady clock, honest drift of the wall followed, has come to."""
    since: float | None
    """Where it was when another source agreed last; None: none has since the machine started, or since our process."""
    anchored: bool
    """Somebody else confirmed the steady clock since the machine started."""
    hub: float | None
    meters: float | None
    floor: float | None
    """The time cannot be before it."""
    apart_s_max: float
    """Wall and steady clock agree within it."""
    agree_s_max: float
    """Any other two agree within it."""
    drift_s_max: float
    """What both clocks of this machine may have gained or lost together since another source agreed last."""

    @property
    def together(self) -> bool:
        """Wall and steady clock agree."""
        return abs(self.wall - self.steady) <= self.apart_s_max

    def near(self, one: float | None, other: float | None) -> bool:
        """Whether two claims are one, and possible."""
        if one is None or other is None:
            return False
        return abs(one - other) <= self.agree_s_max and self.possible(one) and self.possible(other)

    def possible(self, claim: float) -> bool:
        """Whether it is not before what is durable."""
        return self.floor is None or claim >= self.floor - self.apart_s_max


@dataclass(frozen=True, slots=True)
class Settled:
    """What the votes come to."""

    claim: float | None
    """The time on the axis of the steady clock; None: it is not known."""
    doubts: tuple[ClockDoubt, ...]


def settle(votes: Votes) -> Settled:
    """Count the votes."""
    claim = _claim(votes)
    beside = votes.steady if claim is None else claim
    doubts: list[ClockDoubt] = []
    if not votes.possible(votes.wall):
        doubts.append(ClockDoubt.BELOW_FLOOR)
    elif abs(votes.wall - beside) > votes.apart_s_max:
        doubts.append(ClockDoubt.AHEAD if votes.wall > beside else ClockDoubt.BEHIND)
    if votes.hub is not None and not votes.near(votes.hub, votes.wall if claim is None else claim):
        doubts.append(ClockDoubt.HUB_DISAGREES)
    if claim is None and not doubts:
        doubts.append(ClockDoubt.UNCONFIRMED)
    return Settled(claim, tuple(doubts))


def _claim(votes: Votes) -> float | None:
    near, hub = votes.near, votes.hub
    own = [votes.wall, votes.steady, *([] if votes.since is None else [votes.since])]
    agreeing = [claim for claim in own if near(hub, claim)]
    if hub is not None and agreeing:
        return min(agreeing, key=lambda claim: abs(claim - hub))
    together = votes.together and votes.anchored and votes.possible(votes.wall)
    drifted = together and hub is not None and abs(hub - votes.wall) <= votes.agree_s_max + votes.drift_s_max
    if drifted or near(hub, votes.meters):
        return hub
    if (together and hub is None) or near(votes.meters, votes.wall):
        return votes.wall
    return votes.steady if near(votes.meters, votes.steady) else None
