"""The thin host over the sync session: greet, push by lane, pull, acknowledge. Room: uplink; walk: link loss.

Theory of operation. `protocols.sync.session` says what to do next; this host does it: it reads sealed batches from the
outbox (which seals them, durably, as they are needed), exchanges bytes over the `Link`, and makes every effect durable
before it asks again. Between two pushes, when its time has come, it pulls. One exchange at a time: a slow line is never
shared by two of them. A lost link costs nothing but time; nobody else in the node waits for it.

A hub that speaks with another incarnation, or that lacks what it had acknowledged, has moved backwards; a lane that
forks says that this store may have. Either way the mark HUB_MOVED stands (nothing is cut while it does) until the hub
holds everything again, facts were compared by id (`recalling`) and a whole pull went through. Between a greeting and
the first push the node attests which copy of itself it is (`standing`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import assert_never

from edge_node.store.alarms import Alarms
from edge_node.store.batches import Outbox
from edge_node.store.downlink import Downlink
from edge_node.uplink.comparison import ComparisonRoom
from edge_node.uplink.recalling import RecallRoom
from edge_node.uplink.reconciliation import Reconciliation
from edge_node.uplink.standing import StandingRoom
from edge_node.uplink.taking import Taking
from edge_node.wakeups import Wakeups, rung_or_over
from gridmodel.clock import Entropy, Rng, UtilityClock
from gridmodel.identity import NodeId
from hosting.log import logger
from protocols.authority.signatures import Signer
from protocols.errors import ProtocolFault
from protocols.sync.effects import Fetch, Greet, Rest, Send, UplinkLimits
from protocols.sync.lanes import NONCE_BYTES, DownLane, fresh_mark
from protocols.sync.link import RETRY_AFTER_S_MAX, Link, LinkLost
from protocols.sync.messages import Hello, Push, PushReply, Welcome
from protocols.sync.pull import PULL_ITEMS_MAX, Pull, PullReply
from protocols.sync.seal import sign_hello, sign_pull
from protocols.sync.session import UplinkSession, stored
from protocols.sync.state import FIRST_EPOCH, LANES_BY_PRIORITY, LinkState

RETRY_S_MAX = 2 * RETRY_AFTER_S_MAX
"""No try is ever set further ahead than this: a later one was set by a clock that has stepped back since."""


@dataclass(frozen=True, slots=True)
class HubLinkLimits:
    """How often and how long."""

    pull_period_s: int = 20
    """Utility seconds between two pulls: how old a payment made elsewhere may be here while the link is up."""
    pull_items: int = 256
    """Items of one pull: one transaction of some 50 ms."""
    retry_refused_s: int = 900
    """How often what was refused on its way down is tried again: a clock that ran behind took a forecast for one of the
    future."""
    pulls_per_turn_max: int = 8
    """Pulls in a row while more lies ready; then facts go up again, so that neither way starves the other."""
    exchange_s_max: dict[str, float] = field(
        default_factory=lambda: {
            "hello": 90.0,
            "push": 660.0,
            "pull": 2400.0,
            "compare": 700.0,
            "attest": 90.0,
            "recall": 240.0,
        }
    )
    """Loop seconds of one exchange, a little above the link's own limits at its slowest rate: the last resort against
    a link that keeps its promise to raise LinkLost badly."""


@dataclass(frozen=True, slots=True)
class LinkView:
    """How the link stands, for status pages."""

    up: bool
    since: int
    """UTC seconds of the last change; 0 before the first attempt."""
    heard_at: int | None
    """UTC seconds of the last whole reply since the process started."""
    retry_at: int | None
    """When a lost link is tried again."""
    error: dict[str, str] | None
    """Code, what and hint of the last failure while the link is lost."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What is asked over the same link beside the session, an exchange at a time."""

    comparison: ComparisonRoom
    standing: StandingRoom
    recalling: RecallRoom


class HubLink:
    """Talks to the hub until it is cancelled; see the module."""

    def __init__(
        self,
        *,
        node: NodeId,
        outbox: Outbox,
        downlink: Downlink,
        alarms: Alarms,
        reconciliation: Reconciliation,
        beside: Beside,
        link: Link,
        clock: UtilityClock,
        rng: Rng,
        entropy: Entropy,
        signer: Signer,
        wakeups: Wakeups,
        time_heard: Callable[[int], object] | None = None,
        limits: HubLinkLimits | None = None,
        uplink_limits: UplinkLimits | None = None,
    ) -> None:
        self._node = node
        self._outbox = outbox
        self._downlink = downlink
        self._reconciliation = reconciliation
        self._comparison = beside.comparison
        self._standing = beside.standing
        self._recalling = beside.recalling
        self._compared_last = self._attested_last = False
        self._link = link
        self._clock = clock
        self._rng = rng
        self._entropy = entropy
        self._signer = signer
        self._wakeups = wakeups
        self._time_heard = time_heard
        self._limits = limits if limits is not None else HubLinkLimits()
        self._uplink_limits = uplink_limits
        self._session = UplinkSession(rng=rng, limits=uplink_limits)
        self._pull_at = 0
        self._pulled_whole = False
        self._up_first = False
        self._retry_refused_at = 0
        self._refetched: frozenset[DownLane] = frozenset()
        self._taking = Taking(
            outbox=outbox, downlink=downlink, alarms=alarms, reconciliation=reconciliation, clock=clock, wakeups=wakeups
        )
        self._told_at = 0
        """The hub's time of its last reply."""
        self._greets_anew = False
        self._view = LinkView(up=False, since=0, heard_at=None, retry_at=None, error=None)
        self._log = logger("uplink")

    def view(self) -> LinkView:
        """How the link stands now."""
        return self._view

    def greet_anew(self) -> None:
        """The store was changed by another way than the link: greet before anything else is sent."""
        self._greets_anew = True
        self._wakeups.outbox.set()

    async def compare(self, first: str, last: str) -> str:
        """Somebody here wants these local days compared; see `ComparisonRoom.ask`."""
        request = await self._comparison.ask(first, last)
        self._wakeups.outbox.set()
        return request

    async def run(self) -> None:
        """Work until cancelled. A restart begins with a new session: the store's marks tell the rest."""
        self._session = UplinkSession(rng=self._rng, limits=self._uplink_limits)
        self._pull_at = 0
        await self._reconciliation.begin()
        await self._comparison.look()
        while True:
            await self._turn()

    async def _turn(self) -> None:
        """One step of the session, or a pull that is due."""
        now = self._clock.now()
        if self._greets_anew:
            self._greets_anew = False
            self._session = UplinkSession(rng=self._rng, limits=self._uplink_limits)
            await self._comparison.look()  # a courier may have brought the wish for one
        if self._attests(now):
            await self._guarded(self._attest)
            return
        # due; or the clock stepped back behind the last one
        pull_due = self._session.state is LinkState.LIVE and not now < self._pull_at <= now + self._limits.pull_period_s
        if pull_due and not self._up_first:
            await self._guarded(self._pull)
            await self._look_for_owed()
            self._up_first = True  # something goes up between two bursts: neither way starves the other
            return
        if await self._beside(now):
            return
        if self._session.state is LinkState.LOST and self._session.retry_at > now + RETRY_S_MAX:
            self._session = UplinkSession(rng=self._rng, limits=self._uplink_limits)  # the clock stepped back
        match step := self._session.next(now):
            case Greet():
                self._up_first = False
                await self._guarded(lambda: self._greet(step))
            case Fetch():
                await self._fetch(step)
            case Send():
                self._up_first = False
                await self._guarded(lambda: self._push(step))
            case Rest():
                self._up_first = False
                if not pull_due and not self._compare_due(now):
                    await self._rest(step.until)
            case _:
                assert_never(step)

    def _attests(self, now: int) -> bool:
        """Whether to attest now; what goes up has its turn between two, however fast the calendar runs."""
        due = self._session.state is LinkState.LIVE and self._standing.due(now)
        self._attested_last = due and (self._standing.holds_back or not self._attested_last)
        return self._attested_last

    async def _beside(self, now: int) -> bool:
        """Between two steps of the session: nothing goes up from a copy that waits; a comparison takes its turn."""
        if self._session.state is not LinkState.LIVE:
            return False
        if self._standing.holds_back:
            self._up_first = False
            wait_s = min(self._standing.due_at - now, self._limits.pull_period_s)
            await self._sleep_or_fact(max(1, wait_s))
            return True
        if self._compared_last:
            self._compared_last = False
            return False
        room: RecallRoom | ComparisonRoom
        if not self._reconciliation.settled and await self._recalling.due(now):
            room = self._recalling
        elif self._comparison.due(now):
            room = self._comparison
        else:
            return False
        self._compared_last = True
        await self._guarded(lambda: room.step(self._exchange))
        await self._look_for_owed()
        return True

    def _compare_due(self, now: int) -> bool:
        return self._session.state is LinkState.LIVE and self._comparison.due(now)

    async def _attest(self) -> None:
        reply = await self._standing.step(self._exchange)
        if reply is None:
            return
        self._heard(reply.hub_time)
        now = self._clock.now()
        if await self._reconciliation.met(reply.hub_incarnation, now):
            raise LinkLost(52, "another hub answered than the one greeted", "the node greets it by itself")
        if reply.refetch:
            await self._taking.begin_anew(frozenset(reply.refetch), now)
            self._pull_at = 0

    async def _guarded(self, exchange: Callable[[], Awaitable[object]]) -> None:
        """An exchange whose failure is the loss of the link: shown, and tried again later."""
        try:
            await exchange()
        except ProtocolFault as fault:
            now = self._clock.now()
            self._pulled_whole = False
            self._comparison.lost()
            self._recalling.lost()
            if self._session.state is not LinkState.LOST:
                self._session.lost(now, fault.retry_after_s if isinstance(fault, LinkLost) else None)
            if self._view.up or self._view.since == 0:
                self._log.warning("link_lost", code=fault.code, what=fault.what, retry_at=self._session.retry_at)
            since = now if self._view.up or self._view.since == 0 else self._view.since
            self._view = LinkView(
                up=False,
                since=since,
                heard_at=self._view.heard_at,
                retry_at=self._session.retry_at,
                error=fault.as_dict(),
            )

    async def _exchange(self, kind: str, body: bytes) -> bytes:
        try:
            async with asyncio.timeout(self._limits.exchange_s_max[kind]):
                return await self._link.exchange(kind, body)
        except TimeoutError as error:
            raise LinkLost(51, f"the link gave no answer to a {kind}", "the node tries again by itself") from error

    async def _greet(self, step: Greet) -> None:
        hello = Hello(
            node=self._node,
            hub_incarnation=await self._reconciliation.hub_known(),
            lanes=await self._outbox.marks(),
            signed_at=self._clock.now(),
            nonce=self._entropy.token(NONCE_BYTES),
            key_id=self._signer.key_id,
            fork_lane=step.fork_lane,
        )
        welcome = Welcome.from_bytes(await self._exchange("hello", sign_hello(hello, self._signer).to_bytes()))
        self._heard(welcome.hub_time)
        await self._reconciliation.met(welcome.hub_incarnation, self._clock.now())
        local = await self._outbox.local(welcome.lanes)
        effects = self._session.welcomed(welcome, local)
        self._pulled_whole = False
        self._refetched = frozenset()
        self._pull_at = 0
        self._standing.greeted()
        await self._taking.persist(effects, self._told_at)
        await self._taking.greeted(
            {lane: welcome.lanes.get(lane, fresh_mark(FIRST_EPOCH)) for lane in LANES_BY_PRIORITY}, self._told_at
        )

    async def _fetch(self, step: Fetch) -> None:
        now = self._clock.now()
        found = await self._outbox.following(step.lane, step.after, step.bytes_max, step.batches_max, now)
        await self._taking.persist(self._session.offer(step.lane, [stored(data) for data in found]), self._told_at)

    async def _push(self, step: Send) -> None:
        push = Push(node=self._node, batches=step.batches)
        reply = PushReply.from_bytes(await self._exchange("push", push.to_bytes()))
        self._heard(reply.hub_time)
        await self._reconciliation.met(reply.hub_incarnation, self._clock.now())
        await self._taking.persist(self._session.replied(reply, self._clock.now()), self._told_at)

    async def _pull(self) -> None:
        for _ in range(self._limits.pulls_per_turn_max):
            pull = Pull(
                node=self._node,
                offsets=await self._downlink.offsets(),
                limit=min(self._limits.pull_items, PULL_ITEMS_MAX),
                signed_at=self._clock.now(),
                nonce=self._entropy.token(NONCE_BYTES),
                key_id=self._signer.key_id,
            )
            reply = PullReply.from_bytes(await self._exchange("pull", sign_pull(pull, self._signer).to_bytes()))
            self._heard(reply.hub_time)
            now = self._clock.now()
            if await self._reconciliation.met(reply.hub_incarnation, now):
                raise LinkLost(52, "another hub answered a pull than the one greeted", "the node greets it by itself")
            if await self._refetch(reply, now):
                continue
            if reply.items:
                result = await self._taking.items(reply.items, now)
                if DownLane.AUTHORITY in result.lanes:
                    await self._comparison.look()
            if not reply.more or not reply.items:  # "more" with nothing in hand is not asked about at once
                self._pulled_whole = not reply.more
                self._pull_at = now + self._limits.pull_period_s
                if not now < self._retry_refused_at <= now + self._limits.retry_refused_s:
                    self._retry_refused_at = now + self._limits.retry_refused_s
                    await self._taking.retry_refused(now)
                return
        self._pull_at = 0

    async def _refetch(self, reply: PullReply, now: int) -> bool:
        """The hub numbers some lanes anew: start them over, once per greeting."""
        lanes = frozenset(reply.refetch)
        if not lanes:
            return False
        if lanes & self._refetched:
            raise LinkLost(52, "the hub asks twice to begin a lane anew", "report this with the hub's log")
        self._refetched |= lanes
        await self._taking.begin_anew(lanes, now)
        return True

    async def _rest(self, until: int | None) -> None:
        """Wait for a time or, while the link is up, for a fact to be written or a pull to be due."""
        now = self._clock.now()
        if self._session.state is not LinkState.LIVE:
            await self._clock.sleep(1 if until is None else until - now)
            return
        due_at = min(self._pull_at, self._standing.due_at, self._pull_at if until is None else until)
        if self._pulled_whole and not self._reconciliation.settled and not self._session.forked:
            if await self._recalling.wanted():
                due_at = min(due_at, max(now + 1, self._recalling.due_at))
            else:
                held = {lane: self._session.cursor(lane) for lane in LANES_BY_PRIORITY}
                await self._reconciliation.settle(held, await self._outbox.local({}), now)
        await self._sleep_or_fact(min(due_at - now, self._limits.pull_period_s))  # the wall may just have been set back
        await self._look_for_owed()

    async def _look_for_owed(self) -> None:
        for lane in await self._outbox.owing():
            self._session.stored(lane)

    async def _sleep_or_fact(self, seconds: int) -> None:
        """By the steady clock: a wall that is set back makes nobody wait for days."""
        await rung_or_over(self._wakeups.outbox, self._clock.sleep(seconds))
        self._wakeups.outbox.clear()

    def _heard(self, hub_time: int) -> None:
        now = self._clock.now()
        self._told_at = hub_time
        if self._time_heard is not None:
            self._time_heard(hub_time)
        if not self._view.up:
            self._log.info("link_up", after_s=now - self._view.since if self._view.since else 0)
        self._view = LinkView(
            up=True, since=self._view.since if self._view.up else now, heard_at=now, retry_at=None, error=None
        )
