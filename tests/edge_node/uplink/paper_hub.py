"""A hub on paper behind the `Link` port: it judges by the product's own rules and misbehaves on demand."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gridmodel.clock import ClockDoubt, ClockTrust, TimeBounds
from gridmodel.identity import NodeId
from protocols.authority.canonical import Domain
from protocols.authority.signatures import KeyRing, NamedKey, Role, Verified
from protocols.sync.batch import Batch
from protocols.sync.lanes import DownLane, Lane, LaneMark, Record, fresh_mark, records_from_payload
from protocols.sync.link import LinkLost
from protocols.sync.messages import Ack, Hello, Push, PushReply, Welcome
from protocols.sync.pull import DownItem, Pull, PullReply
from protocols.sync.seal import check_signature
from protocols.sync.state import FIRST_EPOCH, VerdictKind, judge, minted_epoch
from tests.edge_node.store.outbox_bench import NODE, NOW, SIGNER


class JumpClock:
    """Utility time that jumps to whatever is waited for: no test waits for time."""

    def __init__(self, now: int = NOW) -> None:
        self._now = now

    def now(self) -> int:
        return self._now

    def confirmed(self) -> bool:
        return True

    def doubts(self) -> tuple[ClockDoubt, ...]:
        return ()

    def trust(self) -> ClockTrust:
        return ClockTrust.TRUSTED

    def bounds(self) -> TimeBounds:
        return TimeBounds(self._now, self._now)

    async def sleep_until(self, at: int) -> None:
        await asyncio.sleep(0)
        self._now = max(self._now, at)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self._now += max(1, round(seconds))

    def step_back(self, seconds: int) -> None:
        self._now -= seconds


@dataclass
class PaperHub:
    """What the hub holds, and what goes wrong on the way."""

    node: NodeId = NODE
    incarnation: str = "hub-1"
    batches: dict[Lane, dict[tuple[int, int], bytes]] = field(default_factory=dict)
    marks: dict[Lane, LaneMark] = field(default_factory=dict)
    epoch: int = FIRST_EPOCH
    items: list[DownItem] = field(default_factory=list)
    refetch: set[DownLane] = field(default_factory=set)
    refused_lanes: set[Lane] = field(default_factory=set)
    quarantine: dict[Lane, str] = field(default_factory=dict)
    before: Callable[[str], Awaitable[None]] | None = None
    """Runs before an exchange is heard; may raise LinkLost."""
    after: Callable[[str], Awaitable[None]] | None = None
    """Runs when everything is durable at the hub and before the reply leaves; may raise LinkLost."""
    now: Callable[[], int] = lambda: NOW
    duplicates: int = 0
    seen: list[str] = field(default_factory=list)
    pushed_lanes: list[list[Lane]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._keys = KeyRing([NamedKey(SIGNER.public, self.node, frozenset({Role.NODE}))], Domain.DEMO)

    async def close(self) -> None:
        return

    async def exchange(self, kind: str, body: bytes) -> bytes:
        self.seen.append(kind)
        if self.before is not None:
            await self.before(kind)
        answers = {"hello": self._hello, "push": self._push, "pull": self._pull}
        if kind not in answers:
            raise LinkLost(56, f"a paper hub knows no {kind}", "none", unknown_kind=True)
        reply = answers[kind](body)
        if self.after is not None:
            await self.after(kind)
        return reply

    def records(self, lane: Lane) -> list[Record]:
        """Every record applied, in the order of the chain, as often as it was applied."""
        return [
            record
            for key in sorted(self.batches.get(lane, {}))
            for record in records_from_payload(Batch.from_bytes(self.batches[lane][key]).payload)
        ]

    def forget_after(self, lane: Lane, seq: int) -> None:
        """A backup of the hub was restored."""
        kept = {key: data for key, data in self.batches[lane].items() if key[1] <= seq}
        self.batches[lane] = kept
        last = kept.get((self.epoch, seq))
        self.marks[lane] = Batch.from_bytes(last).header.mark() if last else fresh_mark(self.epoch)

    def _hello(self, body: bytes) -> bytes:
        hello = Hello.from_bytes(body)
        if not isinstance(check_signature(hello, self._keys, TimeBounds(NOW, NOW)), Verified):
            raise LinkLost(56, "a stranger", "enrol")
        if hello.fork_lane is not None:
            self.epoch = minted_epoch(self.epoch, hello)
            self.marks[hello.fork_lane] = fresh_mark(self.epoch)
        return Welcome(
            hub_incarnation=self.incarnation,
            hub_time=self.now(),
            lanes={lane: self.marks.get(lane, fresh_mark(FIRST_EPOCH)) for lane in Lane},
            node_epoch=self.epoch,
        ).to_bytes()

    def _push(self, body: bytes) -> bytes:
        push = Push.from_bytes(body)
        batches = [Batch.from_bytes(data) for data in push.batches]
        self.pushed_lanes.append([batch.header.lane for batch in batches])
        acks = tuple(self._ack(push.node, batch, data) for batch, data in zip(batches, push.batches, strict=True))
        return PushReply(hub_incarnation=self.incarnation, hub_time=self.now(), acks=acks).to_bytes()

    def _ack(self, node: NodeId, batch: Batch, data: bytes) -> Ack:
        header = batch.header
        held = self.batches.setdefault(header.lane, {})
        there = held.get((header.epoch, header.seq))
        keys = KeyRing([], Domain.DEMO) if header.lane in self.refused_lanes else self._keys
        verdict = judge(
            batch,
            node=node,
            have=self.marks.get(header.lane),
            held_digest=None if there is None else Batch.from_bytes(there).header.digest,
            signature=check_signature(header, keys, TimeBounds(NOW, NOW)),
        )
        if verdict.kind is VerdictKind.APPLY:
            held[header.epoch, header.seq] = data
            self.marks[header.lane] = verdict.have
        elif verdict.kind is VerdictKind.DUPLICATE:
            self.duplicates += 1
        return verdict.ack(header, quarantined=self.quarantine.get(header.lane, ""))

    def _pull(self, body: bytes) -> bytes:
        pull = Pull.from_bytes(body)
        ready = [item for item in self.items if item.offset > pull.offsets[item.lane]]
        refetch = tuple(lane for lane in sorted(self.refetch) if pull.offsets[lane] > 0)
        return PullReply(
            hub_incarnation=self.incarnation,
            hub_time=self.now(),
            items=() if refetch else tuple(ready[: pull.limit]),
            more=not refetch and len(ready) > pull.limit,
            refetch=refetch,
        ).to_bytes()


def lossy(chance: random.Random, share: float) -> Callable[[str], Awaitable[None]]:
    """Loses this share of what passes."""

    async def lose(kind: str) -> None:
        if chance.random() < share:
            raise LinkLost(52, f"a {kind} was lost on paper", "nothing to do")

    return lose
