"""Comparing the node's sealed days with the hub's, step by step between pushes. Room: uplink; walk: link loss.

One step is one exchange, so that a payment waits for one of them at most. A comparison starts with the months; where a
summary differs it goes down to days, parts of days, chunks. What the hub lacks is put into the interval lane again;
what the node has lost is fetched. Afterwards, once the lane has nothing under way, the days are compared once more, so
that what is told as equal was seen to be equal. A comparison that was asked for lives in a mark until it is done.

Codes: TQ-CM-10 days that do not fit, 20 another comparison is asked for and not done.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from edge_node.store.completeness import SealedDays
from edge_node.store.state import Mark
from gridmodel.clock import Compute, Entropy, Rng, UtilityClock
from gridmodel.fault import Fault
from gridmodel.identity import NodeId, new_id
from gridmodel.period import days_between, parse_day
from hosting.log import logger
from protocols.authority.signatures import Signer
from protocols.sync.completeness import (
    DAY_CHARACTERS,
    LEAVES_PER_MESSAGE_MAX,
    LEAVES_TOLD_MAX,
    PARENTS_PER_MESSAGE_MAX,
    ROOT,
    Compare,
    CompareReply,
    DigestTree,
    Leaf,
    Summary,
    check_answer,
)
from protocols.sync.lanes import NONCE_BYTES
from protocols.sync.link import LinkLost
from protocols.sync.seal import sign_compare

PERIOD_S = 24 * 3_600
"""Utility seconds between two comparisons that nobody asked for."""
DAYS_COMPARED = 40
"""Of such a comparison: more than late data reach back. A person asks for longer ones."""
DAYS_ASKED_MAX = 400
"""Of one that a person here asks for, as at the hub."""
ROUNDS_MAX = 3
"""Comparisons in a row after something was sent again; then the difference is told and left for a person."""
AGAIN_S = 60
"""Utility seconds between two looks whether the lane has taken up what was offered again."""
STEPS_MAX = 50_000
"""Exchanges of one comparison: a node that lost all of a year fetches some 16,000 chunks, one an exchange."""
RANGES_MAX = 100_000
"""Ranges and chunks that wait to be asked about: a hub that names ever more has something else wrong."""
NOBODY = "node"
"""Asked for the comparison by itself."""

Exchange = Callable[[str, bytes], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class ComparisonView:
    """How the latest comparison went; what `edge-node status` shows."""

    at: int
    """UTC seconds of its last word."""
    request: str
    first: str
    last: str
    state: str
    """running, equal, healing (sent again or fetched, to be compared once more), differs, unsupported."""
    chunks: int
    """Sealed and offered, in the days compared."""
    under_way: int
    damaged: int
    lacking: int = 0
    """The hub lacked them: offered again."""
    given_back: int = 0
    """Lost here: fetched from the hub."""
    aside: int = 0
    """Set aside at the hub with a reason."""
    retained_here: int = 0
    """Let go at the hub by rule, still here: no loss."""
    rounds: int = 1


@dataclass(slots=True)
class _Running:
    """A comparison on its way."""

    tree: DigestTree
    seed: bytes
    kept_from: str
    parents: list[str]
    told: list[str]
    """Ranges to be told leaf by leaf."""
    fetch: list[Leaf]
    unreadable: frozenset[str]
    """Months whose file is damaged here."""
    steps: int = 0

    @property
    def endless(self) -> bool:
        """Whether it has gone on for longer, or has more to ask, than the hub's answers can be true for."""
        waiting = len(self.parents) + len(self.told) + len(self.fetch)
        return self.steps > STEPS_MAX or waiting > RANGES_MAX


class ComparisonRoom:
    """One node's comparisons; the host of the link asks `due` and takes a `step`."""

    def __init__(
        self,
        *,
        node: NodeId,
        days: SealedDays,
        compute: Compute,
        clock: UtilityClock,
        rng: Rng,
        entropy: Entropy,
        signer: Signer,
        period_s: int = PERIOD_S,
    ) -> None:
        self._node = node
        self._days = days
        self._compute = compute
        self._clock = clock
        self._rng = rng
        self._entropy = entropy
        self._signer = signer
        self._period_s = period_s
        self._due_at: int | None = None
        self._running: _Running | None = None
        self._view: ComparisonView | None = None
        self._known_before = (0, 0)
        """Lacking and given back, as they stood when this round began."""
        self._failures = 0
        """Tries in a row that a fault ended."""
        self._postponed: str | None = None
        """The request that these tries were for."""
        self._log = logger("completeness")

    async def look(self) -> None:
        """See whether the hub asked for a comparison; at a start and when authority items came."""
        now = self._clock.now()
        wanted = _wanted(await self._days.mark(Mark.COMPARE_WANTED))
        if wanted is not None and wanted["id"] != self._postponed:
            self._due_at = now
        elif self._due_at is None:
            self._due_at = now + round(self._period_s * self._rng.uniform(0.1, 1.0))

    async def ask(self, first: str, last: str) -> str:
        """A person here wants these local days compared, both included; gives the request's name.

        Raises PeriodFault, Fault TQ-CM-10 for days that do not fit, TQ-CM-20 while another one is asked for.
        """
        first, last = parse_day(first).isoformat(), parse_day(last).isoformat()
        if not first <= last or len(days_between(first, last)) > DAYS_ASKED_MAX:
            raise Fault("TQ-CM-10", "the days do not fit", f"at most {DAYS_ASKED_MAX} days, the first first")
        request = new_id("compare", self._entropy)
        text = json.dumps({"id": request, "first": first, "last": last}, sort_keys=True)
        if not await self._days.want(text):
            raise Fault("TQ-CM-20", "a comparison is asked for and not done", "wait for it: edge-node status")
        self._due_at = self._clock.now()
        return request

    def due(self, now: int) -> bool:
        """Whether there is a step to take."""
        return self._due_at is not None and not now < self._due_at <= now + self._period_s

    def lost(self) -> None:
        """The link is lost: a comparison on its way begins anew once facts have had their time."""
        if self._running is not None:
            self._running = None
            self._due_at = self._clock.now() + min(self._period_s, AGAIN_S)

    async def step(self, exchange: Exchange) -> bool:
        """Begin a comparison or carry it on by one exchange; True when chunks were offered again.

        A fault passes, and puts off the next try for longer each time: facts go up meanwhile.
        """
        try:
            return await self._step(exchange)
        except Fault:
            await self._postpone()
            raise

    async def _postpone(self) -> None:
        wait_s = min(self._period_s, AGAIN_S * 2 ** min(self._failures, 20))
        wanted = _wanted(await self._days.mark(Mark.COMPARE_WANTED))
        self._running = None
        self._failures += 1
        self._postponed = None if wanted is None else wanted["id"]
        self._due_at = self._clock.now() + wait_s

    async def _step(self, exchange: Exchange) -> bool:
        now = self._clock.now()
        if self._running is None:
            await self._begin(now)
        running, view = self._running, self._view
        if running is None or view is None:
            return False
        compare = await self._asked(running, view, now)
        try:
            data = await exchange("compare", sign_compare(compare, self._signer).to_bytes())
        except LinkLost as fault:
            self._running = None
            if not fault.unknown_kind:
                raise
            await self._end(replace(view, state="unsupported"), now + self._period_s)
            return False
        reply = CompareReply.from_bytes(data)
        check_answer(compare, reply)
        for path, count in reply.differ.items():
            few = max(count, running.tree.count(path)) <= LEAVES_TOLD_MAX
            (running.told if few and len(path) >= DAY_CHARACTERS else running.parents).append(path)
        self._view = view = await self._counted(compare, reply, running, view)
        offered = await self._offer(reply, running, now)
        running.steps += 1
        if running.endless:
            self._log.warning("comparison_without_end", request=view.request, steps=running.steps)
            await self._end(replace(view, state="differs"), now + self._period_s)
        elif not (compare.parents or compare.leaves or compare.fetch):
            await self._finish(view, now)
        elif compare.parents == (ROOT,) and not reply.differ:
            await self._end(replace(view, state="equal"), now + self._period_s)
        return offered

    async def _begin(self, now: int) -> None:
        wanted = _wanted(await self._days.mark(Mark.COMPARE_WANTED))
        last = await self._days.last_closed()
        if wanted is None and last is None:
            self._due_at = now + self._period_s
            return
        if wanted is not None:
            request, first, last = wanted["id"], wanted["first"], wanted["last"]
        else:
            request, first = NOBODY, _days_before(str(last), DAYS_COMPARED)
        kept_from = await self._days.mark(Mark.CHUNKS_KEPT_FROM) or ""
        before = self._view
        again = before is not None and before.state == "healing" and before.request == request
        if again and await self._days.waiting():
            self._due_at = now + AGAIN_S
            return
        held = await self._days.held(max(first, kept_from), str(last))
        seed = self._entropy.token(NONCE_BYTES)
        tree = await self._compute.run(DigestTree, held.leaves, seed)
        self._running = _Running(tree, seed, kept_from, [ROOT], [], [], held.unreadable)
        self._view = ComparisonView(
            at=now,
            request=request,
            first=first,
            last=str(last),
            state="running",
            chunks=len(held.leaves),
            under_way=held.under_way,
            damaged=held.damaged,
            lacking=before.lacking if again and before is not None else 0,
            given_back=before.given_back if again and before is not None else 0,
            rounds=before.rounds + 1 if again and before is not None else 1,
        )
        self._known_before = (self._view.lacking, self._view.given_back)

    async def _asked(self, running: _Running, view: ComparisonView, now: int) -> Compare:
        """The next message: the root alone first, then ranges, leaves, chunks; at last one that asks nothing."""
        parents: tuple[str, ...] = ()
        children: dict[str, Summary] = {}
        leaves: dict[str, tuple[bytes, ...]] = {}
        fetch = b""
        if running.parents:
            parents = tuple(running.parents[:PARENTS_PER_MESSAGE_MAX])
            del running.parents[: len(parents)]
            children = await self._compute.run(_children, running.tree, parents)
        elif running.told:
            room = LEAVES_PER_MESSAGE_MAX
            while running.told and room >= LEAVES_TOLD_MAX:
                path = running.told.pop()
                leaves[path] = tuple(digest for _, digest in running.tree.leaves(path))
                room -= LEAVES_TOLD_MAX
        elif running.fetch:
            fetch = running.fetch[0][1]
        return Compare(
            node=self._node,
            request=view.request,
            first=view.first,
            last=view.last,
            kept_from=running.kept_from,
            seed=running.seed,
            parents=parents,
            children=children,
            leaves=leaves,
            fetch=fetch,
            signed_at=now,
            nonce=self._entropy.token(NONCE_BYTES),
            key_id=self._signer.key_id,
        )

    async def _counted(
        self, compare: Compare, reply: CompareReply, running: _Running, view: ComparisonView
    ) -> ComparisonView:
        """Take in what the hub has beyond, and the chunk that it gives back."""
        for day, digest in reply.extra:
            if day[:7] in running.unreadable or day < running.kept_from:
                continue
            if not await self._days.has(day, digest):
                running.fetch.append((day, digest))
        back = 0
        if compare.fetch:
            day, digest = running.fetch.pop(0)
            back = int(bool(reply.chunk) and await self._days.take_back(day, digest, reply.chunk))
            if not back:
                self._log.warning("chunk_not_given_back", day=day, chunk=digest.hex()[:16])
        told = [(path[:10], digest) for path, digests in compare.leaves.items() for digest in digests]
        retained = sum(day < reply.kept_from for day, _ in told)
        return replace(
            view,
            lacking=view.lacking + len(reply.lacking),
            given_back=view.given_back + back,
            aside=view.aside + reply.aside,
            retained_here=view.retained_here + retained,
        )

    async def _offer(self, reply: CompareReply, running: _Running, now: int) -> bool:
        if not reply.lacking:
            return False
        wanted = set(reply.lacking)
        leaves = [leaf for leaf in running.tree.leaves(ROOT) if leaf[1] in wanted]
        count = await self._days.offer_again(leaves, now)
        self._log.warning("chunks_offered_again", count=count, days=sorted({day for day, _ in leaves})[:5])
        return count > 0

    async def _finish(self, view: ComparisonView, now: int) -> None:
        """Everything was asked: equal but for what stands aside, or mended and to be compared once more."""
        self._running = None
        if view.rounds <= ROUNDS_MAX and self._mended(view):
            await self._end(replace(view, state="healing"), now + AGAIN_S, done=False)
        else:
            nothing = not (self._mended(view) or view.damaged or view.aside)
            await self._end(replace(view, state="equal" if nothing else "differs"), now + self._period_s)

    def _mended(self, view: ComparisonView) -> bool:
        """Whether this round found anything to mend."""
        return (view.lacking, view.given_back) != self._known_before

    async def _end(self, view: ComparisonView, due_at: int, *, done: bool = True) -> None:
        self._running = None
        self._failures, self._postponed = 0, None
        self._view = replace(view, at=self._clock.now())
        self._due_at = due_at
        await self._days.put_mark(Mark.COMPARED, json.dumps(asdict(self._view), sort_keys=True))
        wanted = _wanted(await self._days.mark(Mark.COMPARE_WANTED))
        if wanted is not None and wanted["id"] != view.request:
            self._due_at = self._clock.now()  # asked for while this one was on its way
        elif wanted is not None and done:
            await self._days.put_mark(Mark.COMPARE_WANTED, None)


def _children(tree: DigestTree, parents: Sequence[str]) -> dict[str, Summary]:
    return {path: one for parent in parents for path, one in tree.children(parent).items()}


def _wanted(text: str | None) -> Mapping[str, Any] | None:
    """{id, first, last} of the comparison that the hub asked for."""
    return None if text is None else dict(json.loads(text))


def _days_before(day: str, count: int) -> str:
    year = parse_day(day).year
    return days_between(f"{year - 1}-01-01", day)[-count]
