"""The node's side of sync as a machine without input or output. Floor: protocols; on the walk of link loss.

Theory of operation. A host asks `next(now)` what to do and does exactly that:

    Greet    build and sign a hello with the marks of its store, exchange it, then read `local` for the welcome's marks
             from the store and call `welcomed`
    Fetch    read stored batches after a mark and call `offer` (with none when there are none)
    Send     exchange a push of these bytes, then call `replied`
    Rest     nothing to do until a time, or until `stored` tells of new batches

and calls `lost` when an exchange raises LinkLost. What is offered was stored before: the machine never sees a fact that
is not durable. What it hands back are *effects* to be persisted before `next` is asked again. It keeps nothing that
may not be forgotten: after a crash a new machine greets and the marks tell the rest.

Order: lanes by priority, each in sequence, small lanes share a frame; a chunk travels alone. Back-off: doubling with
jitter, longer when the hub asks for it. Limits are in `UplinkLimits`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from gridmodel.clock import Rng
from protocols.sync.batch import Batch
from protocols.sync.effects import (
    Acknowledged,
    Effect,
    Fetch,
    Forked,
    Greet,
    Held,
    HubChanged,
    HubRolledBack,
    NewEpoch,
    Rest,
    Send,
    Step,
    UplinkLimits,
)
from protocols.sync.lanes import ADVANCING, AckOutcome, Lane, LaneMark, fresh_mark
from protocols.sync.messages import BATCHES_PER_PUSH_MAX, Ack, PushReply, Welcome
from protocols.sync.state import (
    FIRST_EPOCH,
    LANES_BY_PRIORITY,
    NEVER_SEALED,
    LinkEvent,
    LinkState,
    LocalLane,
    SessionFault,
    Standing,
    compare,
    fell_behind,
    step,
)


@dataclass(frozen=True, slots=True)
class Stored:
    """One stored batch as the machine needs it: its mark, its predecessor's hash, its bytes."""

    mark: LaneMark
    previous: bytes
    data: bytes


def stored(data: bytes) -> Stored:
    """From the bytes alone; raises WireFault or MessageFault when the store gives back something else."""
    header = Batch.from_bytes(data).header
    return Stored(header.mark(), header.previous, data)


@dataclass(slots=True)
class _LaneState:
    cursor: LaneMark = field(default_factory=lambda: fresh_mark(0))
    """The hub holds everything up to here."""
    taken: LaneMark = field(default_factory=lambda: fresh_mark(0))
    """Offered for the push that is being put together, up to here."""
    empty: bool = False
    """Nothing stored after `taken`, until `stored` says otherwise."""
    full: bool = False
    """Its next batch waits for the next push."""
    held_until: int = 0
    gaps: int = 0
    """Gaps in a row without progress."""
    forked: bool = False
    fork_after: int = 0
    """The next new epoch is asked for no earlier."""

    def start_from(self, mark: LaneMark) -> None:
        """Send what follows `mark`."""
        self.cursor = self.taken = mark
        self.empty = self.full = self.forked = False
        self.gaps = 0


class UplinkSession:
    """The sending side; one per hub link. `lanes` may be a part of all, so that two hosts share a slow line."""

    def __init__(
        self, *, rng: Rng, limits: UplinkLimits | None = None, lanes: Sequence[Lane] = LANES_BY_PRIORITY
    ) -> None:
        self._rng = rng
        self._limits = limits if limits is not None else UplinkLimits()
        self._lanes = {lane: _LaneState() for lane in LANES_BY_PRIORITY if lane in lanes}
        self._state = LinkState.LOST
        self._incarnation: str | None = None
        self._retry_at = 0
        self._failures = 0
        self._fork_asked: Lane | None = None
        self._gathered: list[tuple[Lane, Stored]] = []
        self._in_flight: list[tuple[Lane, Stored]] = []

    @property
    def state(self) -> LinkState:
        """How the link stands."""
        return self._state

    @property
    def retry_at(self) -> int:
        """When a lost link is tried again, UTC seconds."""
        return self._retry_at

    @property
    def forked(self) -> bool:
        """Whether a lane contradicts the hub and waits for its new epoch."""
        return any(state.forked for state in self._lanes.values())

    def cursor(self, lane: Lane) -> LaneMark:
        """What the hub holds of `lane` as far as this session knows."""
        return self._lanes[lane].cursor

    def next(self, now: int) -> Step:
        """What to do now. Greet and Send are given once; then `welcomed`, `replied` or `lost` must follow."""
        match self._state:
            case LinkState.LOST:
                return self._greet(None) if now >= self._retry_at else Rest(self._retry_at)
            case LinkState.GREETING:
                return Rest(None)
            case LinkState.LIVE:
                return Rest(None) if self._in_flight else self._gather(now)
            case _:
                assert_never(self._state)

    def stored(self, lane: Lane) -> None:
        """New batches of `lane` are durable at the node."""
        if lane in self._lanes:
            self._lanes[lane].empty = False

    def offer(self, lane: Lane, batches: Sequence[Stored]) -> tuple[Effect, ...]:
        """The stored batches that follow the mark of the last Fetch, in order; none when there are none.

        Those beyond the frame's budget are asked for again later. A broken chain in the node's own store is a fork.
        """
        state = self._lanes[lane]
        if not batches:
            state.empty = True
        for batch in batches:
            after = state.taken
            if (batch.mark.epoch, batch.mark.seq, batch.previous) != (after.epoch, after.seq + 1, after.hash):
                what = f"the node's own batch {batch.mark.seq} does not follow {after.seq}"
                return self._fork(lane, what, own_gap=True)
            if self._gathered and len(batch.data) > self._room():
                state.full = True
                break
            self._gathered.append((lane, batch))
            state.taken = batch.mark
        return ()

    def welcomed(self, welcome: Welcome, local: Mapping[Lane, LocalLane]) -> tuple[Effect, ...]:
        """A welcome came. `local` is what the node holds durably of each lane (see LocalLane)."""
        self._state = step(self._state, LinkEvent.AGREED)
        self._fork_asked = None
        self._failures = 0
        effects: list[Effect] = list(self._heard(welcome.hub_incarnation))
        for lane in self._lanes:
            hub = welcome.lanes.get(lane, fresh_mark(FIRST_EPOCH))
            effects.extend(self._stand(lane, local.get(lane, NEVER_SEALED), hub))
        return tuple(effects)

    def replied(self, reply: PushReply, now: int) -> tuple[Effect, ...]:
        """A push reply came. Raises SessionFault, and the link counts as lost, when it does not answer the push."""
        sent, self._in_flight = self._in_flight, []
        asked = [(lane, batch.mark.epoch, batch.mark.seq) for lane, batch in sent]
        if not sent or [(ack.lane, ack.epoch, ack.seq) for ack in reply.acks] != asked:
            self.lost(now)
            raise SessionFault("the reply does not acknowledge the batches of the push")
        self._failures = 0
        effects: list[Effect] = []
        stopped: set[Lane] = set()
        for (lane, batch), ack in zip(sent, reply.acks, strict=True):
            if lane in stopped:
                continue
            effects.extend(self._take(lane, batch, ack, now))
            if ack.outcome not in ADVANCING or self._lanes[lane].forked:
                stopped.add(lane)
        for state in self._lanes.values():
            state.taken = state.cursor
        changed = self._heard(reply.hub_incarnation)
        if changed:
            self._state = step(self._state, LinkEvent.HUB_CHANGED)
            self._retry_at = now
        return (*effects, *changed)

    def lost(self, now: int, retry_after_s: int | None = None) -> None:
        """An exchange raised LinkLost (with what the hub asked for), or its reply could not be read."""
        self._state = step(self._state, LinkEvent.FAILED)
        self._in_flight.clear()
        self._drop_gathered()
        if self._fork_asked is not None:
            self._lanes[self._fork_asked].fork_after = 0
            self._fork_asked = None
        self._failures += 1
        limits = self._limits
        wait_s = min(limits.backoff_s_max, limits.backoff_s_min * 2 ** min(self._failures - 1, 20))
        jittered_s = wait_s * self._rng.uniform(0.5, 1.0)
        if retry_after_s is not None:
            jittered_s = max(jittered_s, retry_after_s * self._rng.uniform(1.0, 1.25))
        self._retry_at = now + max(1, round(jittered_s))

    def _greet(self, fork_lane: Lane | None) -> Greet:
        self._state = step(self._state, LinkEvent.HELLO_SENT)
        self._fork_asked = fork_lane
        return Greet(fork_lane)

    def _gather(self, now: int) -> Step:
        waits: list[int] = []
        for lane, state in self._lanes.items():
            if state.forked and now >= state.fork_after and not self._gathered:
                state.fork_after = now + self._limits.fork_pause_s
                return self._greet(lane)
            ready_at = max(state.held_until, state.fork_after if state.forked else 0)
            if now < ready_at:
                waits.append(ready_at)
                continue
            places = BATCHES_PER_PUSH_MAX - len(self._gathered)
            if not (state.forked or state.empty or state.full) and places > 0 and self._room() > 0:
                return Fetch(lane, state.taken, self._room(), places)
        if not self._gathered:
            return Rest(min(waits, default=None))
        self._in_flight, self._gathered = self._gathered, []
        for state in self._lanes.values():
            state.full = False
        return Send(tuple(batch.data for _, batch in self._in_flight))

    def _room(self) -> int:
        return self._limits.frame_bytes_max - sum(len(batch.data) for _, batch in self._gathered)

    def _drop_gathered(self) -> None:
        self._gathered.clear()
        for state in self._lanes.values():
            state.taken = state.cursor
            state.empty = state.full = False

    def _heard(self, incarnation: str) -> tuple[HubChanged, ...]:
        before, self._incarnation = self._incarnation, incarnation
        return () if before in {None, incarnation} else (HubChanged(before, incarnation),)

    def _stand(self, lane: Lane, local: LocalLane, hub: LaneMark) -> list[Effect]:
        effects: list[Effect] = []
        state = self._lanes[lane]
        if fell_behind(local, hub):
            effects.append(HubRolledBack(lane, hub, local.acknowledged))
        match compare(local, hub):
            case Standing.IN_STEP:
                state.start_from(hub)
                if (hub.epoch, hub.seq) > (local.acknowledged.epoch, local.acknowledged.seq):
                    effects.append(Acknowledged(lane, hub, AckOutcome.DUPLICATE, ""))
            case Standing.NEW_EPOCH:
                state.start_from(hub)
                effects.append(NewEpoch(lane, hub))
            case Standing.FORKED:
                effects.extend(
                    self._fork(lane, f"the hub holds number {hub.seq} of epoch {hub.epoch}, the node does not")
                )
        return effects

    def _fork(self, lane: Lane, reason: str, *, own_gap: bool = False) -> tuple[Forked]:
        self._drop_gathered()
        self._lanes[lane].forked = True
        return (Forked(lane, reason, own_gap),)

    def _take(self, lane: Lane, batch: Stored, ack: Ack, now: int) -> tuple[Effect, ...]:
        state = self._lanes[lane]
        match ack.outcome:
            case AckOutcome.APPLIED | AckOutcome.QUARANTINED | AckOutcome.DUPLICATE:
                if not _confirms(ack, batch.mark):
                    return self._fork(lane, f"the hub holds another number {batch.mark.seq}")
                state.cursor = batch.mark
                state.gaps = 0
                return (Acknowledged(lane, batch.mark, ack.outcome, ack.reason),)
            case AckOutcome.GAP:
                state.gaps += 1
                if state.gaps > self._limits.gaps_max or not _precedes(ack.have, batch.mark):
                    return self._hold(lane, f"the hub asks for what it has: {ack.reason}", now)
                state.cursor = ack.have
                state.empty = False
                return ()
            case AckOutcome.FORK:
                return self._fork(lane, ack.reason)
            case AckOutcome.REFUSED:
                return self._hold(lane, ack.reason, now)
            case _:
                assert_never(ack.outcome)

    def _hold(self, lane: Lane, reason: str, now: int) -> tuple[Held]:
        state = self._lanes[lane]
        state.gaps = 0
        state.empty = False
        state.held_until = now + self._limits.hold_s
        return (Held(lane, reason, state.held_until),)


def _confirms(ack: Ack, mark: LaneMark) -> bool:
    """Whether the hub's mark is this batch, or one after it in the same epoch."""
    return ack.have == mark or (ack.have.epoch == mark.epoch and ack.have.seq > mark.seq)


def _precedes(have: LaneMark, mark: LaneMark) -> bool:
    return have.epoch == mark.epoch and have.seq < mark.seq
