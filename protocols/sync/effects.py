"""What the session asks of its host (steps) and tells it (effects). Floor: protocols; on the walk of link loss."""

from dataclasses import dataclass

from protocols.sync.batch import FRAME_BYTES_MAX
from protocols.sync.lanes import AckOutcome, Lane, LaneMark


@dataclass(frozen=True, slots=True)
class UplinkLimits:
    """How much, how often."""

    frame_bytes_max: int = FRAME_BYTES_MAX
    """One push, unless a single batch is larger: a second on a slow link. A fast link may take more."""
    backoff_s_min: int = 2
    """After the first failure."""
    backoff_s_max: int = 300
    """A healed link is noticed within five minutes, and 206 nodes ask less than once a second."""
    hold_s: int = 300
    """How long a lane rests after the hub refused it."""
    gaps_max: int = 3
    """Gaps in a row without progress before the lane rests."""
    fork_pause_s: int = 600
    """Between two new epochs of one lane: two copies of a node must not mint epochs in a race."""


@dataclass(frozen=True, slots=True)
class Greet:
    """Exchange a signed hello; with `fork_lane`, ask for a new epoch of that lane."""

    fork_lane: Lane | None


@dataclass(frozen=True, slots=True)
class Fetch:
    """Offer the stored batches of `lane` that follow `after`: at least one if there is one, then within the limits."""

    lane: Lane
    after: LaneMark
    bytes_max: int
    batches_max: int


@dataclass(frozen=True, slots=True)
class Send:
    """Exchange a push of these batches."""

    batches: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do until then (UTC seconds); None: until something is stored or comes back."""

    until: int | None


Step = Greet | Fetch | Send | Rest


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Everything of `lane` up to `mark` is durable at the hub. Persist it; keep the batches until a hub backup."""

    lane: Lane
    mark: LaneMark
    outcome: AckOutcome
    reason: str
    """Why the hub set the last one aside, if it did."""


@dataclass(frozen=True, slots=True)
class NewEpoch:
    """`lane` goes on from `mark`, number 0 of a new epoch.

    Persist it and seal anew, from there, every record that was not acknowledged; older epochs are not sent any more.
    """

    lane: Lane
    mark: LaneMark


@dataclass(frozen=True, slots=True)
class Forked:
    """`lane` contradicts the hub; a new epoch will be asked for. Shown to people: a backup was restored somewhere."""

    lane: Lane
    reason: str
    own_gap: bool = False
    """The node's own chain has a gap (let go, damaged): the hub holds nothing that the node does not."""


@dataclass(frozen=True, slots=True)
class Held:
    """The hub refuses `lane` for `reason`; it is tried again at `until`."""

    lane: Lane
    reason: str
    until: int


@dataclass(frozen=True, slots=True)
class HubChanged:
    """The hub speaks with another incarnation than before (None: never known)."""

    before: str | None
    after: str


@dataclass(frozen=True, slots=True)
class HubRolledBack:
    """The hub lacks what it had acknowledged: nothing is cut until it is refilled (it is, by itself)."""

    lane: Lane
    have: LaneMark
    acknowledged: LaneMark


Effect = Acknowledged | NewEpoch | Forked | Held | HubChanged | HubRolledBack
