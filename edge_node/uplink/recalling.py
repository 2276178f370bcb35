"""Asking the hub which facts it lacks and which this store lost, step by step. Room: uplink; walk: link loss.

Wanted (a durable mark) as soon as node or hub is known to have gone back, and done before anybody is cut again. A step
is one exchange, between two pushes, so that a payment waits for one of them at most. What the hub lacks is put into its
lane again; what it gives is taken in at once. When all that was told again has been confirmed, everything is compared
once more, until nothing is left but ids with two contents, which both sides keep and name.
"""

import json
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, replace

from edge_node.store.recovery import Named, Recovery
from edge_node.store.state import Mark, forget_mark, read_mark, write_mark
from edge_node.wakeups import Wakeups
from gridmodel.clock import Compute, Entropy, UtilityClock
from gridmodel.identity import NodeId
from hosting.database import Connection, Database
from hosting.log import logger
from protocols.authority.signatures import Signer
from protocols.sync.lanes import NONCE_BYTES
from protocols.sync.link import LinkLost
from protocols.sync.recall import Leaf, Leaves, Recall, RecallReply
from protocols.sync.seal import sign_recall

AGAIN_S = 20
"""Utility seconds between two looks whether the hub has confirmed what was told again."""
LATER_S = 3_600
"""After `ROUNDS_MAX` rounds that each found something new: something else is wrong, and shown."""
ROUNDS_MAX = 8
STEPS_MAX = 50_000
"""Exchanges of one round: 25 million facts, a hundred times what a node ever has."""

Exchange = Callable[[str, bytes], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class RecallView:
    """How the latest comparison of facts went; what `edge-node status` shows."""

    at: int
    state: str
    """running, healing (to be compared once more), equal, differs, unsupported."""
    why: str
    facts: int
    told_again: int = 0
    """The hub lacked them."""
    given_back: int = 0
    """This store lacked them."""
    conflicts: int = 0
    """One id with two contents, or set aside at the hub: a person has to look."""
    refused: int = 0
    """Given by the hub, and not what such a fact must be."""
    rounds: int = 1


@dataclass(slots=True)
class _Round:
    """One comparison on its way."""

    names: dict[Leaf, Named]
    leaves: Leaves
    seed: bytes
    ranges: deque[tuple[int, int]] = field(default_factory=deque)
    begun: bool = False
    lacking: set[Named] = field(default_factory=set)
    new: int = 0
    refused: set[Named] = field(default_factory=set)
    steps: int = 0


class RecallRoom:
    """One node's comparisons of facts; the host of the link asks `due` and takes a `step`."""

    def __init__(
        self,
        *,
        node: NodeId,
        control: Database,
        recovery: Recovery,
        compute: Compute,
        clock: UtilityClock,
        entropy: Entropy,
        signer: Signer,
        wakeups: Wakeups,
    ) -> None:
        self._node = node
        self._control = control
        self._recovery = recovery
        self._compute = compute
        self._clock = clock
        self._entropy = entropy
        self._signer = signer
        self._wakeups = wakeups
        self._due_at = 0
        self._round: _Round | None = None
        self._told: set[Named] = set()
        """Told again in this comparison: what is lacking after that was set aside, or stands with another content."""
        self._view: RecallView | None = None
        self._log = logger("uplink")

    @property
    def due_at(self) -> int:
        """When the next step may be taken, UTC seconds."""
        return self._due_at

    async def wanted(self) -> bool:
        """Whether node and hub may lack facts of each other."""
        return await self._control.read(lambda conn: read_mark(conn, Mark.RECALL_WANTED)) is not None

    async def due(self, now: int) -> bool:
        """Whether there is a step to take."""
        return not now < self._due_at <= now + LATER_S and await self.wanted()

    def lost(self) -> None:
        """The link is lost: the round begins anew when it is back."""
        self._round = None

    async def step(self, exchange: Exchange) -> bool:
        """Begin a round or carry it on by one exchange; True when facts were told again."""
        now = self._clock.now()
        if self._round is None and not await self._begin(now):
            return False
        current, view = self._round, self._view
        if current is None or view is None:
            return False
        recall = await self._asked(current, now)
        try:
            reply = RecallReply.from_bytes(await exchange("recall", sign_recall(recall, self._signer).to_bytes()))
        except LinkLost as fault:
            self._round = None
            if not fault.unknown_kind:
                raise
            await self._end(replace(view, state="unsupported"))
            return False
        current.steps += 1
        if recall.low == recall.high and not recall.parts:
            return await self._finish(current, view, now)
        for part in reply.differ:
            current.ranges.extend(current.leaves.ranges(part))
        await self._take(current, recall, reply, now)
        if current.steps > STEPS_MAX:
            await self._later(replace(view, state="differs"), now)
        return False

    async def _begin(self, now: int) -> bool:
        if self._told & await self._recovery.under_way():
            self._due_at = now + AGAIN_S
            return False
        names = await self._recovery.facts()
        leaves = await self._compute.run(Leaves, names)
        self._round = _Round(names, leaves, self._entropy.token(NONCE_BYTES))
        before = self._view if self._view is not None and self._view.state == "healing" else None
        why = await self._control.read(lambda conn: read_mark(conn, Mark.RECALL_WANTED)) or ""
        fresh = RecallView(now, "running", why, len(names))
        if before is None:
            self._told = set()
            self._view = fresh
        else:
            self._view = replace(before, at=now, state="running", facts=len(names), rounds=before.rounds + 1)
        return True

    async def _asked(self, current: _Round, now: int) -> Recall:
        """The next message: all parts first, then ranges of those that differ; at last one that ends the round."""
        parts: tuple[bytes, ...] = ()
        low = high = 0
        if not current.begun:
            current.begun = True
            parts = await self._compute.run(current.leaves.parts, current.seed)
        elif current.ranges:
            low, high = current.ranges.popleft()
        done = not (parts or high) and not self._mended(current) and not current.refused
        return Recall(
            node=self._node,
            seed=current.seed,
            parts=parts,
            low=low,
            high=high,
            leaves=tuple(current.leaves.between(low, high)),
            done=done,
            signed_at=now,
            nonce=self._entropy.token(NONCE_BYTES),
            key_id=self._signer.key_id,
        )

    def _mended(self, current: _Round) -> bool:
        """Whether the round found anything that was not told or taken before."""
        return current.new > 0 or bool(current.lacking - self._told)

    async def _take(self, current: _Round, recall: Recall, reply: RecallReply, now: int) -> None:
        current.lacking |= {current.names[leaf] for leaf in reply.lacking if leaf in current.names}
        if reply.given:
            taken = await self._recovery.take_back(reply.given, now)
            current.new += taken.new
            current.refused |= set(taken.refused)
            if taken.new:
                self._wakeups.enforcement.set()
                self._wakeups.outbox.set()
        if recall.low < reply.upto < recall.high:
            current.ranges.appendleft((reply.upto, recall.high))

    async def _finish(self, current: _Round, view: RecallView, now: int) -> bool:
        """The round is over: tell what is lacking and compare again, or be done."""
        self._round = None
        fresh = current.lacking - self._told
        told = await self._recovery.tell_again(fresh, now) if fresh else 0
        counted = replace(
            view,
            at=now,
            told_again=view.told_again + told,
            given_back=view.given_back + current.new,
            conflicts=len(current.lacking & self._told),
            refused=len(current.refused),
        )
        self._told |= fresh
        if not fresh and not current.new and not current.refused:
            await self._end(replace(counted, state="equal"))
        elif counted.rounds >= ROUNDS_MAX or not (fresh or current.new):
            await self._later(replace(counted, state="differs"), now)
        else:
            self._view = replace(counted, state="healing")
            self._due_at = now + 1
        if told:
            self._log.warning("facts_told_again", count=told)
            self._wakeups.outbox.set()
        return told > 0

    async def _later(self, view: RecallView, now: int) -> None:
        self._round = None
        self._view, self._told, self._due_at = view, set(), now + LATER_S
        self._log.warning("facts_differ", refused=view.refused, rounds=view.rounds)
        await self._control.write(lambda conn: _keep(conn, view))

    async def _end(self, view: RecallView) -> None:
        self._round = None
        self._view, self._told, self._due_at = view, set(), 0

        async def verb(conn: Connection) -> None:
            await _keep(conn, view)
            await forget_mark(conn, Mark.RECALL_WANTED)

        await self._control.write(verb)


async def _keep(conn: Connection, view: RecallView) -> None:
    await write_mark(conn, Mark.RECALLED, json.dumps(asdict(view), sort_keys=True))
