"""The hub's side of a comparison: digests of what it holds, worked out from the bytes. Floor: central_sync/ingest.

On the walk of link loss. A node tells summaries of its days; this room answers what differs, names the chunks that the
hub lacks (the node offers them again by its interval lane) and gives back what the node has lost. Nothing is remembered
but how the latest comparison went; the digests are worked out anew each time, a few chunks in memory at once.

Before chunks come a second time, the areas of their days are added up from the hours in force: rows may have been
deleted without the sums above them, and what is booked next must move from a true sum.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256

from central_sync.balance.restoring import DayRestore
from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows import ChunkRow
from gridmodel.clock import Compute, Entropy, UtilityClock
from gridmodel.fault import Fault
from gridmodel.identity import NodeId, new_id
from protocols.sync import wire
from protocols.sync.completeness import LEAVES_PER_MESSAGE_MAX, ROOT, Compare, CompareReply, DigestTree, Leaf
from protocols.sync.facts import ITEM_LIMITS
from protocols.sync.lanes import DownLane

CHUNKS_AT_ONCE = 32
"""Read and hashed at once: some 1 MB of usual chunks, 32 MiB of the largest. Each round is two changes of thread."""
LEAVES_MAX = 400_000
"""Chunks of one comparison: a region of a million points for a year."""
KIND = "compare"
"""Of the item down by which a comparison is asked for."""
KEPT_FROM = "chunks_kept_from"
"""The hub's mark: chunks of earlier local days were let go by rule."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a node's latest comparison went, as far as the hub has seen it."""

    at: int
    request: str
    first: str
    last: str
    node_kept_from: str
    hub_kept_from: str
    equal: bool
    """Every summary was the same."""
    done: bool
    """The node has said that nothing is left to ask."""
    chunks: int
    """Held here in the days compared."""
    lacking: int = 0
    """The hub lacked them; the node offers them again."""
    given_back: int = 0
    """The node lacked them; they were given back."""
    aside: int = 0
    """Set aside at the hub with a reason."""
    unasked: int = 0
    """Ranges that differ and that the node has not asked about."""
    beyond: int = 0
    """The hub told that it has them and the node has not; those that were given back are none of them."""


class Completeness:
    """Answers comparisons; the caller holds the node's turn."""

    def __init__(self, *, store: HubStore, restore: DayRestore, clock: UtilityClock, compute: Compute) -> None:
        self._store = store
        self._restore = restore
        self._clock = clock
        self._compute = compute

    def read(self, body: bytes) -> Compare:
        """The message; raises WireFault or MessageFault."""
        return Compare.from_bytes(body)

    async def answer(self, compare: Compare, incarnation: str) -> CompareReply:
        """The reply to one message of a node; raises Fault (TQ-HB-23) when too much is asked for at once."""
        now, node = self._clock.now(), compare.node
        kept_from = await self._store.read(lambda tx: tx.hub_value(KEPT_FROM)) or ""
        paths = [*compare.parents, *compare.leaves]
        leaves = await self._leaves(compare, kept_from, paths)
        tree = await self._compute.run(DigestTree, leaves, compare.seed)
        differ = await self._compute.run(tree.differing, compare.parents, compare.children)
        reply = CompareReply(hub_incarnation=incarnation, hub_time=now, kept_from=kept_from, differ=differ)
        if compare.leaves:
            reply = await self._told(compare, tree, reply)
        if compare.fetch:
            reply = replace(reply, chunk=await self._chunk(node, compare.fetch))
        await self._note(compare, reply, len(tree), now)
        return reply

    async def ask(self, node: NodeId, first: str, last: str, entropy: Entropy) -> str | None:
        """Ask the node for a comparison of these days; gives the request's name.

        None when the node never compared: its version may not know how, and would refuse the item for ever.
        """
        if await self.latest(node) is None:
            return None
        request, now = new_id("compare", entropy), self._clock.now()
        body = wire.pack({"id": request, "first": first, "last": last}, ITEM_LIMITS)
        await self._store.write_for(
            node, lambda tx: tx.append_down(node, DownLane.AUTHORITY, [(KIND, request, body)], now)
        )
        return request

    async def latest(self, node: NodeId) -> Comparison | None:
        """How the node's latest comparison went; None when there was none."""
        text = await self._store.read(lambda tx: tx.hub_value(_name(node)))
        return None if text is None else Comparison(**json.loads(text))

    async def _leaves(self, compare: Compare, kept_from: str, paths: Sequence[str]) -> list[Leaf]:
        """The sound chunks of the days that the paths lie in."""
        first = max(compare.first, compare.kept_from, kept_from)
        days = [
            (day, count)
            for day, count in await self._store.read(lambda tx: tx.chunk_days(compare.node))
            if first <= day <= compare.last and _asked(day, paths)
        ]
        if sum(count for _, count in days) > LEAVES_MAX:
            raise Fault("TQ-HB-23", f"more than {LEAVES_MAX} chunks in one comparison", "compare fewer days at a time")
        found: list[Leaf] = []
        for day, _ in days:
            found += await self._leaves_of(compare.node, day)
        return found

    async def _leaves_of(self, node: NodeId, day: str) -> list[Leaf]:
        found: list[Leaf] = []
        after = ""
        while True:
            rows = await self._store.read(partial(_page, node=node, day=day, after=after))
            found += await self._compute.run(_sound, rows)
            if len(rows) < CHUNKS_AT_ONCE:
                return found
            after = rows[-1].id

    async def _told(self, compare: Compare, tree: DigestTree, reply: CompareReply) -> CompareReply:
        """Leaf by leaf: what the hub lacks and what it has beyond."""
        told = {(path[:10], digest) for path, digests in compare.leaves.items() for digest in digests}
        own = {leaf for path in compare.leaves for leaf in tree.leaves(path)}
        lacking = sorted((day, digest) for day, digest in told - own if day >= reply.kept_from)
        digests = [digest for _, digest in lacking]
        aside = await self._store.read(lambda tx: tx.quarantined_digests(compare.node, digests))
        lacking = [leaf for leaf in lacking if leaf[1] not in aside]
        for day in sorted({day for day, _ in lacking}):
            await self._restore.mend_areas(compare.node, day)
        extra = tuple(sorted(own - told)[:LEAVES_PER_MESSAGE_MAX])
        return replace(reply, lacking=tuple(digest for _, digest in lacking), aside=len(aside), extra=extra)

    async def _chunk(self, node: NodeId, digest: bytes) -> bytes:
        row = await self._store.read(lambda tx: tx.chunk(digest.hex()))
        if row is None or row.node != node or not await self._compute.run(_sound, [row]):
            return b""
        return row.content

    async def _note(self, compare: Compare, reply: CompareReply, chunks: int, now: int) -> None:
        begun = compare.parents == (ROOT,)
        held = None if begun else await self.latest(compare.node)
        if held is None:
            held = Comparison(
                now, compare.request, compare.first, compare.last, compare.kept_from, reply.kept_from,
                equal=begun and not reply.differ, done=begun and not reply.differ, chunks=chunks,
            )  # fmt: skip
        asked = compare.parents or compare.leaves or compare.fetch
        noted = replace(
            held,
            at=now,
            done=held.done or not asked,
            lacking=held.lacking + len(reply.lacking),
            given_back=held.given_back + bool(reply.chunk),
            aside=held.aside + reply.aside,
            unasked=held.unasked + len(reply.differ) - len(compare.leaves) - (0 if begun else len(compare.parents)),
            beyond=held.beyond + len(reply.extra) - bool(reply.chunk),
        )
        text = json.dumps(asdict(noted), sort_keys=True)
        await self._store.write_for(compare.node, lambda tx: tx.set_hub_value(_name(compare.node), text))


def _name(node: NodeId) -> str:
    return f"comparison.{node}"


def _asked(day: str, paths: Iterable[str]) -> bool:
    return any(day.startswith(path[:10]) for path in paths)


async def _page(tx: HubTransaction, node: NodeId, day: str, after: str) -> list[ChunkRow]:
    return await tx.chunks_of(node, day, after, CHUNKS_AT_ONCE)


def _sound(rows: Sequence[ChunkRow]) -> list[Leaf]:
    """Pure: the leaves of rows whose bytes are what was received; an altered one counts as absent."""
    digests = [(row, sha256(row.content)) for row in rows]
    return [(row.day, digest.digest()) for row, digest in digests if digest.hexdigest() == row.id]
