"""The hub's side of sync, independent of how the bytes came: hello, push, pull. Floor: central_sync/ingest.

On the walks of reading, payment and link loss. `handle(kind, body)` takes a packed message and gives the packed reply;
HTTP and the simulator's link call it alike, and what couriers bring (`bundles`) goes the same ways. What cannot be read
or is not authentic raises a Fault and nothing is kept.

Theory of operation. A batch is decoded and held against its registry outside any transaction (heavy work goes through
the compute port), under its node's lock. Then one transaction judges it again by what is durable, applies its content
or sets it aside with the reason, logs it, moves the lane's mark. The acknowledgement is made from what was committed.
No content can stop a lane: every fault of a content leads to quarantine, and a quarantined batch is tried again when
its registry arrives. Epochs are minted here: 1 at the first hello, the next one for each fork.

Codes: TQ-HB-20 an unknown exchange, -21 a stranger, -22 a signature that does not count.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from central_sync.balance.hours import ContentFault
from central_sync.balance.topology import RegistryShelf
from central_sync.ingest.applying import apply_content
from central_sync.ingest.content import Content, batch_row, prepared_or_fault, unknown_fault
from central_sync.ingest.going_down import GoingDown, what_lies_after
from central_sync.ingest.rooms import Room
from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows import BatchRow
from gridmodel.clock import Compute, UtilityClock
from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from hosting.log import logger
from protocols.authority.signatures import KeyRing, Role, SignatureRefused
from protocols.errors import ProtocolFault
from protocols.sync.batch import Batch
from protocols.sync.lanes import AckOutcome, DownLane, Lane, LaneMark, fresh_mark
from protocols.sync.messages import Ack, Hello, Push, PushReply, Welcome
from protocols.sync.pull import Pull, PullReply
from protocols.sync.seal import Signed, check_signature
from protocols.sync.state import FIRST_EPOCH, Verdict, VerdictKind, judge, minted_epoch

SPAN_PAUSE_S_MAX = 900
"""Utility seconds without a word after which a link counts as lost: three times the longest back-off of a node."""
SEEN_S = 60
"""How often a mere pull writes last_seen: the states of nodes are told in minutes, a commit costs milliseconds."""
RETRIED_AT_ONCE_MAX = 16
"""Quarantined batches read at once to be tried again: each may hold a megabyte."""
RETRIED_CODES = ("TQ-HQ-01", "TQ-HQ-02", "TQ-HQ-03", "TQ-HQ-10")
"""What a registry, time itself or a newer hub can put right; other contents stay wrong until a person looks."""
ORDER_FREE = frozenset({Lane.LEDGER, Lane.INTERVAL})
"""Lanes whose facts are the same in any order: entries by their ids, days by their revisions."""
REASON_CHARACTERS_MAX = 400
Offsets = Mapping[DownLane, int]
"""How far a node has its lanes down."""


class LinkFault(Fault):
    """An exchange that is refused as a whole. `status` is the HTTP status it deserves."""

    def __init__(self, number: int, what: str, hint: str, status: int) -> None:
        super().__init__(f"TQ-HB-{number}", what, hint)
        self.status = status


class RegionLink:
    """Serves every node; one instance per process. `changed` hears of every commit that a page would show."""

    def __init__(
        self,
        *,
        store: HubStore,
        shelf: RegistryShelf,
        keyring: KeyRing,
        clock: UtilityClock,
        compute: Compute,
        incarnation: str,
        rooms: Mapping[str, Room],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._shelf = shelf
        self._keyring = keyring
        self._clock = clock
        self._compute = compute
        self._incarnation = incarnation
        self._rooms = rooms
        self._changed = changed
        self._locks: dict[NodeId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._log = logger("ingest")

    async def handle(self, kind: str, body: bytes) -> bytes:
        """The reply to one exchange; raises Fault when it is refused as a whole."""
        match kind:
            case "hello":
                return (await self._hello(Hello.from_bytes(body))).to_bytes()
            case "push":
                return (await self.push(Push.from_bytes(body))).to_bytes()
            case "pull":
                return await self._pull(Pull.from_bytes(body))
            case _:
                return await self._beside(kind, body)

    async def carried_hello(self, hello: Hello, known: Mapping[Lane, LaneMark], made_at: int) -> None:
        """A hello out of a bundle made at `made_at`, whose node knew these marks of the hub's lanes.

        It may be old: an epoch is minted only if its lane stands in the epoch that the node knew.
        """
        await self._hello(hello, made_at, known)

    async def carried_pull(self, pull: Pull) -> None:
        """What a node said in a bundle that it has; it may be old, so it is never taken for less than is known."""
        self._authentic(pull.node, pull)
        now = self._clock.now()

        async def verb(tx: HubTransaction) -> None:
            known = await tx.down_marks(pull.node)
            for lane, offset in pull.offsets.items():
                if offset > known[lane]:
                    await tx.put_down_mark(pull.node, lane, offset, now)

        await self._store.write_for(pull.node, verb)

    async def welcome(self, node: NodeId) -> Welcome:
        """How far each lane of a node is durable here; opens its first epoch. Raises LinkFault (TQ-HB-21)."""
        if not self._keyring.holds(Role.NODE, node):
            raise _stranger(node)
        now = self._clock.now()

        async def verb(tx: HubTransaction) -> Welcome:
            marks, epoch = await _opened(tx, node)
            return Welcome(hub_incarnation=self._incarnation, hub_time=now, lanes=marks, node_epoch=epoch)

        async with self._locks[node]:
            return await self._store.write_for(node, verb)

    async def down(self, node: NodeId, offsets: Mapping[DownLane, int], limit: int) -> PullReply:
        """What lies after these offsets, as a pull brings it; the node is not heard by it."""
        found = await self._store.read(lambda tx: what_lies_after(tx, node, offsets, limit))
        return self._pull_reply(found, self._clock.now())

    async def known_offsets(self, node: NodeId) -> dict[DownLane, int]:
        """How far the node said it has what goes down."""
        return await self._store.read(lambda tx: tx.down_marks(node))

    def node_lock(self, node: NodeId) -> asyncio.Lock:
        """The node's turn in this process; whoever prepares outside a transaction and writes in one holds it."""
        return self._locks[node]

    async def retry(self, node: NodeId | None) -> int:
        """Try again what may be judged otherwise by now, of one node or of all; gives how many were applied."""
        applied = 0
        last: BatchRow | None = None
        while True:

            async def verb(tx: HubTransaction, after: BatchRow | None = last) -> list[BatchRow]:
                return await tx.quarantined(node, RETRIED_AT_ONCE_MAX, codes=RETRIED_CODES, after=after, data=True)

            waiting = await self._store.read(verb)
            for row in waiting:
                async with self._locks[row.node]:
                    applied += await self._retry_one(row)
            if len(waiting) < RETRIED_AT_ONCE_MAX:
                break
            last = waiting[-1]
        if applied:
            self._changed()
        return applied

    async def _hello(
        self, hello: Hello, made_at: int | None = None, known: Mapping[Lane, LaneMark] | None = None
    ) -> Welcome:
        self._authentic(hello.node, hello)
        now, lane = self._clock.now(), hello.fork_lane

        async def verb(tx: HubTransaction) -> Welcome:
            await tx.seen(hello.node, _heard_at(now, made_at), SPAN_PAUSE_S_MAX)
            marks, epoch = await _opened(tx, hello.node)
            wished = lane is not None and (known is None or (lane in known and known[lane].epoch == marks[lane].epoch))
            if lane is not None and wished and await tx.fork_epoch(hello.node, lane, hello.nonce) is None:
                epoch = minted_epoch(epoch, hello)
                await tx.set_epoch(hello.node, epoch)
                await tx.put_fork(hello.node, lane, hello.nonce, epoch, now)
                marks[lane] = fresh_mark(epoch)
                await tx.set_mark(hello.node, lane, marks[lane])
            return Welcome(hub_incarnation=self._incarnation, hub_time=now, lanes=marks, node_epoch=epoch)

        async with self._locks[hello.node]:
            welcome = await self._store.write_for(hello.node, verb)
        if lane is not None:
            self._log.warning("new_epoch", node=hello.node, lane=lane.value, epoch=welcome.node_epoch)
        self._changed()
        return welcome

    async def push(self, push: Push, made_at: int | None = None) -> PushReply:
        """Judge and take in a push; `made_at` when it was carried here in a bundle of that time."""
        if not self._keyring.holds(Role.NODE, push.node):
            raise _stranger(push.node)
        async with self._locks[push.node]:
            acks = [await self._take(push.node, data, made_at) for data in push.batches]
        if any(ack.outcome in {AckOutcome.APPLIED, AckOutcome.QUARANTINED} for ack in acks):
            self._changed()
        return PushReply(hub_incarnation=self._incarnation, hub_time=self._clock.now(), acks=tuple(acks))

    async def _take(self, node: NodeId, data: bytes, made_at: int | None) -> Ack:
        """One batch from bytes to a committed acknowledgement; the node's lock is held."""
        try:
            batch = Batch.from_bytes(data)
        except ProtocolFault as fault:
            return _unreadable(f"{fault.code}: {fault.what}")
        now = self._clock.now()
        header = batch.header
        signature = check_signature(header, self._keyring, self._clock.bounds())

        async def verdict(tx: HubTransaction) -> Verdict:
            marks = await tx.marks(node)
            held = await tx.batch_digest(node, header.lane, header.epoch, header.seq)
            return judge(batch, node=node, have=marks.get(header.lane), held_digest=held, signature=signature)

        first = await self._store.read(verdict)
        if first.kind is not VerdictKind.APPLY:
            if first.kind is VerdictKind.DUPLICATE:
                await self._seen(node, _heard_at(now, made_at))
            if made_at is not None and header.lane in ORDER_FREE and first.kind in {VerdictKind.GAP, VerdictKind.FORK}:
                return await self._astray(first, batch, now)
            return first.ack(header)
        content = await self._content(batch, now)

        async def verb(tx: HubTransaction) -> Ack:
            again = await verdict(tx)
            if again.kind is not VerdictKind.APPLY:
                return again.ack(header)
            code, reason = await self._applied(tx, node, content, now)
            kept = data if code else None
            await tx.put_batch(batch_row(batch, now, code, reason, kept))
            await tx.set_mark(node, header.lane, again.have)
            await tx.seen(node, _heard_at(now, made_at), SPAN_PAUSE_S_MAX)
            if code:
                return again.ack(header, quarantined=f"{code}: {reason}"[:REASON_CHARACTERS_MAX])
            return Verdict(again.kind, reason, again.have).ack(header)

        ack = await self._store.write_for(node, verb)
        if ack.outcome is AckOutcome.QUARANTINED:
            self._log.warning("quarantined", node=node, lane=header.lane.value, seq=header.seq, reason=ack.reason)
        return ack

    async def _astray(self, verdict: Verdict, batch: Batch, now: int) -> Ack:
        """Out of a bundle, authentic and out of sequence: its store may be gone, so its facts count by their ids."""
        content = await self._content(batch, now)
        code, what = await self._store.write_for(
            batch.header.node, lambda tx: self._applied(tx, batch.header.node, content, now)
        )
        reason = f"{verdict.reason}; {f'{code}: {what}' if code else 'what it holds is taken in all the same'}"
        return replace(verdict, reason=reason).ack(batch.header)

    async def _content(self, batch: Batch, now: int) -> Content | Fault:
        known = None
        if batch.header.lane in {Lane.SUMMARY, Lane.INTERVAL}:
            known = await self._shelf.get(batch.header.node, batch.header.registry_version)
        if known is not None:  # its topology may have to be worked out: 0.1 s for 42,000 points
            return await self._compute.run(prepared_or_fault, batch, known, now)
        return prepared_or_fault(batch, known, now)

    async def _applied(self, tx: HubTransaction, node: NodeId, content: Content | Fault, now: int) -> tuple[str, str]:
        """(code, reason) of the quarantine, or ("", note) when it was applied."""
        if isinstance(content, Fault):
            return content.code, content.what
        try:
            note = await apply_content(tx, self._compute, node, content, now)
        except ContentFault as fault:
            return fault.code, fault.what
        unknown = unknown_fault(content)
        return ("", note) if unknown is None else (unknown.code, unknown.what)

    async def _retry_one(self, row: BatchRow) -> int:
        if row.data is None:
            return 0
        try:
            batch = Batch.from_bytes(row.data)
        except Fault as fault:  # damaged since it was set aside: what lies behind it goes on
            where = {"node": row.node, "lane": row.lane.value, "epoch": row.epoch, "seq": row.seq}
            self._log.error("batch_damaged", **where, code=fault.code)
            return 0
        now = self._clock.now()
        content = await self._content(batch, now)
        still = content if isinstance(content, Fault) else unknown_fault(content)
        if still is not None and (still.code, still.what) == (row.quarantine, row.reason):
            return 0

        async def verb(tx: HubTransaction) -> int:
            first = await tx.quarantined(row.node, 1, after=replace(row, seq=row.seq - 1))
            if [one.seq for one in first if (one.lane, one.epoch) == (row.lane, row.epoch)] != [row.seq]:
                return 0  # another hub process has applied it meanwhile
            code, reason = await self._applied(tx, row.node, content, now)
            if (code, reason) != (row.quarantine, row.reason):  # applied, or set aside for another reason by now
                await tx.put_batch(batch_row(batch, row.received_at, code, reason, row.data if code else None))
            return int(not code)

        return await self._store.write_for(row.node, verb)

    async def _pull(self, pull: Pull) -> bytes:
        self._authentic(pull.node, pull)
        now = self._clock.now()

        async def verb(tx: HubTransaction) -> tuple[GoingDown, Offsets | None]:
            row = await tx.node(pull.node)
            if row is None:
                raise _stranger(pull.node)
            marks = await tx.down_marks(pull.node)
            news = {lane: offset for lane, offset in pull.offsets.items() if marks[lane] != offset}
            stale = row.last_seen is None or now - row.last_seen >= SEEN_S
            found = await what_lies_after(tx, pull.node, pull.offsets, pull.limit)
            return found, news if news or stale else None

        found, news = await self._store.read(verb)
        if news is not None:
            await self._seen(pull.node, now, news)
        return self._pull_reply(found, now).to_bytes()

    def _pull_reply(self, found: GoingDown, now: int) -> PullReply:
        return PullReply(
            hub_incarnation=self._incarnation, hub_time=now, items=found.items, more=found.more, refetch=found.refetch
        )

    async def _seen(self, node: NodeId, now: int, offsets: Offsets = MappingProxyType({})) -> None:
        """The node spoke; `offsets` are those of its lanes down that are not what was known."""

        async def verb(tx: HubTransaction) -> None:
            await tx.seen(node, now, SPAN_PAUSE_S_MAX)
            for lane, offset in offsets.items():
                await tx.put_down_mark(node, lane, offset, now)

        await self._store.write_for(node, verb)

    async def _beside(self, kind: str, body: bytes) -> bytes:
        """An exchange that another room answers, in the node's turn."""
        room = self._rooms.get(kind)
        if room is None:
            raise LinkFault(20, f"there is no exchange {kind!r:.40}", "see docs/reference/sync-v1.md", 404)
        message = room.read(body)
        self._authentic(message.node, message)
        async with self._locks[message.node]:
            reply = await room.answer(message, self._incarnation)
        await self._seen(message.node, reply.hub_time)
        return reply.to_bytes()

    def _authentic(self, node: NodeId, message: Signed) -> None:
        if not self._keyring.holds(Role.NODE, node):
            raise _stranger(node)
        outcome = check_signature(message, self._keyring, self._clock.bounds())
        if isinstance(outcome, SignatureRefused):
            raise LinkFault(
                22,
                f"the signature of key {outcome.key_id} does not count for {node}: {outcome.reason.value}",
                "compare the node's public key with the hub's configuration",
                403,
            )


async def _opened(tx: HubTransaction, node: NodeId) -> tuple[dict[Lane, LaneMark], int]:
    """The node's marks and its highest epoch, the first of which is minted here."""
    row = await tx.node(node)
    if row is None:
        raise _stranger(node)
    epoch = row.epoch
    if epoch < FIRST_EPOCH:
        epoch = FIRST_EPOCH
        await tx.set_epoch(node, epoch)
    return {lane: fresh_mark(FIRST_EPOCH) for lane in Lane} | await tx.marks(node), epoch


def _heard_at(now: int, made_at: int | None) -> int:
    """When the node spoke: now, or when it made the bundle that was carried here."""
    return now if made_at is None else min(made_at, now)


def _stranger(node: NodeId) -> LinkFault:
    return LinkFault(
        21, f"no node {node:.64} is known here", "add it to [[nodes]] of the hub's configuration, or enrol it", 403
    )


def _unreadable(what: str) -> Ack:
    """The acknowledgement of bytes that are no batch: they name no lane, so the first one stands for them."""
    return Ack(
        lane=Lane.CONTROL,
        epoch=0,
        seq=0,
        outcome=AckOutcome.REFUSED,
        reason=what[:REASON_CHARACTERS_MAX],
        have=fresh_mark(0),
    )
