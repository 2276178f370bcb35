"""Bundles at the office: what a courier takes to the hub in place of the link, and what comes back. Room: uplink.

On the walk of link loss. A bundle up holds a hello, every batch that the hub has not acknowledged, and a pull; a bundle
down holds a welcome and items. Both are what the link would have carried, and what is taken in goes through the code of
the link (`taking`, `protocols.sync.session`).

A courier may bring things twice, in the wrong order, or late. So a bundle down that was made before the hub's newest
word to this store can only add: where it says that less is durable it is old, and not the hub that went back. Items go
on exactly from what is here, or the bundle is refused. Another hub than the one this store agreed with is a matter for
a person.

Codes: TQ-BN-20 no keys for bundles here, 21 it goes on from what is not here, 22 of another hub, 23 of the future, 24
this copy waits.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from edge_node.store.batches import Outbox
from edge_node.store.downlink import Downlink
from edge_node.store.state import Mark, NodeState
from edge_node.uplink.hub_word import HubWord, going_on
from edge_node.uplink.reconciliation import Reconciliation
from edge_node.uplink.taking import AHEAD_S_MAX, Taking
from gridmodel.clock import ClockTrust, Compute, Entropy, Rng, UtilityClock
from gridmodel.fault import Fault
from gridmodel.identity import NodeId, new_id
from gridmodel.period import rfc3339
from hosting.carried import carried, drafted
from hosting.keys_bundle import BundlePrivate, BundlePublic
from hosting.log import logger
from protocols.authority.signatures import KeyRing, Role, Signature, Signer, Verification
from protocols.sync.batch import Batch
from protocols.sync.bundle import (
    BUNDLE_BYTES_MAX,
    Box,
    BundleHead,
    BundleWriter,
    Direction,
    FrameKind,
    for_another,
)
from protocols.sync.bundle_reading import check_bundle, unsealed
from protocols.sync.effects import Acknowledged, Forked
from protocols.sync.lanes import NONCE_BYTES, AckOutcome, DownLane, Lane, LaneMark, fresh_mark
from protocols.sync.messages import BATCHES_PER_PUSH_MAX, PUSH_BYTES_MAX, Hello, Push, Welcome
from protocols.sync.pull import PULL_ITEMS_MAX, Pull, PullReply
from protocols.sync.seal import sign_hello, sign_pull
from protocols.sync.session import UplinkSession
from protocols.sync.state import FIRST_EPOCH, LANES_BY_PRIORITY, NEVER_SEALED, Standing, compare

PUSH_ROOM_BYTES = PUSH_BYTES_MAX - 4_096
"""Batches of one push, leaving room for what is around them."""
SETTLES_S_MAX = 24 * 3_600
"""A bundle older than that settles nothing: where node and hub disagreed, nobody is cut by yesterday's word."""


@dataclass(frozen=True, slots=True)
class NodeBundleKeys:
    """What a node needs for bundles, beside its signing key."""

    opening: BundlePrivate
    """Opens what comes down."""
    hub: BundlePublic
    """For whom what goes up is sealed."""
    keyring: KeyRing
    """The hub's signing key."""


@dataclass(slots=True)
class _Found:
    """What a bundle down brought."""

    fresh: bool
    """It is the hub's newest word."""
    acknowledged: dict[str, int] = field(default_factory=dict)
    forked: list[str] = field(default_factory=list)
    applied: int = 0
    refused: int = 0
    more: bool = False
    held: Mapping[Lane, LaneMark] = field(default_factory=dict)


class Bundles:
    """Writes and applies bundles of one node; one at a time. `changed` hears when lanes stand anew."""

    def __init__(
        self,
        *,
        node: NodeId,
        outbox: Outbox,
        downlink: Downlink,
        state: NodeState,
        reconciliation: Reconciliation,
        taking: Taking,
        keys: NodeBundleKeys | None,
        signer: Signer,
        clock: UtilityClock,
        rng: Rng,
        entropy: Entropy,
        compute: Compute,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._node = node
        self._outbox = outbox
        self._downlink = downlink
        self._state = state
        self._reconciliation = reconciliation
        self._taking = taking
        self._keys = keys
        self._signer = signer
        self._clock = clock
        self._rng = rng
        self._entropy = entropy
        self._compute = compute
        self._changed = changed
        self._turn = asyncio.Lock()
        self._log = logger("bundles")

    async def write(self, place: Path, *, bytes_max: int = BUNDLE_BYTES_MAX) -> dict[str, Any]:
        """Everything the hub has not acknowledged, into a bundle at `place` (a file, or a folder).

        Raises Fault TQ-BN-20, 23, CarriedFault; then there is no file.
        """
        async with self._turn:
            keys, now = self._keys_or_fault(), self._clock.now()
            if await self._state.get(Mark.FENCED) is not None:
                hint = "switch off the copy that is not to go on; see docs/operating/restored.md"
                raise Fault("TQ-BN-24", "another copy of this node goes on, this one sends nothing", hint)
            going, offsets = await going_on(self._state, self._outbox, now), await self._downlink.offsets()
            bundle = new_id("bundle", self._entropy)
            wrapped, box = keys.hub.box(bundle, self._entropy)
            head = BundleHead(
                direction=Direction.UP,
                node=self._node,
                bundle=bundle,
                made_at=now,
                hub_incarnation=await self._reconciliation.hub_known(),
                lanes=going.after | going.forked,
                offsets=offsets,
                wrapped=wrapped,
                for_key=keys.hub.id,
                key_id=self._signer.key_id,
            )
            name = f"tarmoq-{self._node}-up-{now}-{bundle[-6:]}.bundle"
            async with drafted(self._compute, place, name) as draft:
                make = partial(BundleWriter, draft.file, head, box, self._signer, bytes_max=bytes_max)
                writer = await self._compute.run(make)
                for lane in (None, *going.forked):
                    await self._add(writer, FrameKind.HELLO, (await self._hello(lane, now)).to_bytes())
                counts, whole = await self._add_batches(writer, going.after, now)
                await self._add(writer, FrameKind.PULL, self._pull(offsets, now).to_bytes())
                await self._compute.run(partial(writer.finish, whole=whole))
            told = {
                "ok": True,
                "file": str(draft.path),
                "bundle": bundle,
                "bytes": writer.size,
                "batches": counts,
                "whole": whole,
                "forked": sorted(lane.value for lane in going.forked),
                "next": "carry it to the hub: central-sync bundle apply FILE; bring back the answer",
            }
            await self._remember(Mark.BUNDLE_WRITTEN, told, now)
            return told

    async def apply(self, path: Path, *, new_hub: bool = False) -> dict[str, Any]:
        """Take in a bundle of the hub. `new_hub`: a person says that the hub was rebuilt or replaced.

        Raises BundleFault, Fault TQ-BN-20 to 22, CarriedFault; then nothing of it was applied.
        """
        async with self._turn, carried(self._compute, path) as source:
            bundle = await check_bundle(source, self._compute, self._box, self._verify)
            head, now = bundle.head, self._clock.now()
            self._of_our_time(head, now)
            anew = await self._another_hub(head, new_hub=new_hub)
            await self._goes_on_here(head, anew=anew)
            await self._reconciliation.met(str(head.hub_incarnation), now)
            if anew:
                await self._taking.begin_anew(frozenset(DownLane), now)
            found = _Found(fresh=await self._is_newest(head))
            async for kind, message in bundle.messages():
                match kind:
                    case FrameKind.WELCOME:
                        await self._welcomed(Welcome.from_bytes(message), head, found)
                    case FrameKind.PULL_REPLY:
                        await self._pulled(PullReply.from_bytes(message), found)
                    case _:
                        continue
            await self._taking.retry_refused(now)
            settled = await self._settled(head, found)
            if found.fresh:  # last of all: what a crash cuts short is applied again as the newest word that it is
                await self._state.put(Mark.HUB_WORD, HubWord(head.made_at, found.held).to_text())
                await self._state.put(Mark.HUB_TOLD_AT, str(head.made_at))
            self._changed()
            told = {
                "ok": not found.forked,
                "bundle": head.bundle,
                "made_at": rfc3339(head.made_at),
                "newest": found.fresh,
                "acknowledged": found.acknowledged,
                "forked": found.forked,
                "items": found.applied,
                "refused": found.refused,
                "whole": not found.more,
                "settled": settled,
            }
            self._log.info("bundle_applied", **told)
            await self._remember(Mark.BUNDLE_APPLIED, told, now)
            return told

    async def _remember(self, mark: Mark, told: Mapping[str, Any], now: int) -> None:
        """For status: when, which, and whether another trip is needed."""
        kept = {name: told[name] for name in ("bundle", "whole", "forked")}
        await self._state.put(mark, json.dumps({"at": now} | kept, sort_keys=True))

    async def _add_batches(
        self, writer: BundleWriter, going: Mapping[Lane, LaneMark], now: int
    ) -> tuple[dict[str, int], bool]:
        """Lanes in their order, each to its end or to the file's; gives counts, and whether all is in."""
        counts: dict[str, int] = {}
        for lane, start in going.items():
            after, waiting = start, -1
            while True:
                if not writer.has_room(PUSH_BYTES_MAX):
                    return counts, False
                found = await self._outbox.following(lane, after, PUSH_ROOM_BYTES, BATCHES_PER_PUSH_MAX, now)
                if not found:  # nothing more, or what came next could not be read and was set aside
                    still = (await self._outbox.backlog())[lane].records
                    if still in {0, waiting}:
                        break
                    waiting = still
                    continue
                await self._add(writer, FrameKind.PUSH, Push(node=self._node, batches=tuple(found)).to_bytes())
                counts[lane.value] = counts.get(lane.value, 0) + len(found)
                after = Batch.from_bytes(found[-1]).header.mark()
        return counts, True

    async def _add(self, writer: BundleWriter, kind: FrameKind, message: bytes) -> None:
        await self._compute.run(writer.add, kind, message)

    async def _hello(self, fork_lane: Lane | None, now: int) -> Hello:
        hello = Hello(
            node=self._node,
            hub_incarnation=await self._reconciliation.hub_known(),
            lanes=await self._outbox.marks(),
            signed_at=now,
            nonce=self._entropy.token(NONCE_BYTES),
            key_id=self._signer.key_id,
            fork_lane=fork_lane,
        )
        return sign_hello(hello, self._signer)

    def _pull(self, offsets: Mapping[DownLane, int], now: int) -> Pull:
        pull = Pull(
            node=self._node,
            offsets=offsets,
            limit=PULL_ITEMS_MAX,
            signed_at=now,
            nonce=self._entropy.token(NONCE_BYTES),
            key_id=self._signer.key_id,
        )
        return sign_pull(pull, self._signer)

    def _of_our_time(self, head: BundleHead, now: int) -> None:
        """Raises Fault TQ-BN-23 for a word of the future: every later one would look old beside it."""
        if self._clock.trust() is ClockTrust.TRUSTED and head.made_at > now + AHEAD_S_MAX:
            raise Fault(
                "TQ-BN-23",
                f"the bundle was made at {rfc3339(head.made_at)}, here it is {rfc3339(now)}",
                "nothing was applied; set the clock right that is wrong (hub or this node), and write it again",
            )

    async def _is_newest(self, head: BundleHead) -> bool:
        return head.made_at > int(await self._state.get(Mark.HUB_TOLD_AT) or 0)

    async def _another_hub(self, head: BundleHead, *, new_hub: bool) -> bool:
        """Whether another hub made it than the one this store speaks with; a person must have said so."""
        expected = await self._reconciliation.hub_expected()
        if expected in {None, head.hub_incarnation}:
            return False
        if not new_hub:
            raise Fault(
                "TQ-BN-22",
                f"the bundle is of hub {head.hub_incarnation}, this store speaks with hub {expected}",
                "nothing was applied; if the hub was rebuilt: apply it again with --new-hub",
            )
        return True

    async def _goes_on_here(self, head: BundleHead, *, anew: bool) -> None:
        """Raises Fault TQ-BN-21 unless its items follow, without a gap, what is here."""
        here = dict.fromkeys(DownLane, 0) if anew else await self._downlink.offsets()
        for lane, after in head.offsets.items():
            if after > here[lane]:
                raise Fault(
                    "TQ-BN-21",
                    f"the bundle goes on in lane {lane.value} from {after}, here it stands at {here[lane]}",
                    "nothing was applied; apply the earlier bundle first, or carry a bundle up and bring its answer;"
                    " of another hub: central-sync bundle write --whole",
                )

    async def _welcomed(self, welcome: Welcome, head: BundleHead, found: _Found) -> None:
        marks = {lane: welcome.lanes.get(lane, fresh_mark(FIRST_EPOCH)) for lane in LANES_BY_PRIORITY}
        local = await self._outbox.local(marks)
        found.fresh = found.fresh and await self._is_newest(head)  # the link may have spoken meanwhile
        if not found.fresh:
            for lane, mark in marks.items():
                ours = local.get(lane, NEVER_SEALED).acknowledged
                if (mark.epoch, mark.seq) < (ours.epoch, ours.seq):
                    marks[lane] = ours
            local = await self._outbox.local(marks)
        session = UplinkSession(rng=self._rng)
        session.next(self._clock.now())
        effects = session.welcomed(replace(welcome, lanes=marks), local)
        if found.fresh:  # batches of a hub that went back are owed again though the lane once got further
            known = {one.lane for one in effects if isinstance(one, Acknowledged)}
            held = {lane: mark for lane, mark in marks.items() if mark.seq and lane in local and lane not in known}
            steps = [lane for lane, mark in held.items() if compare(local[lane], mark) is Standing.IN_STEP]
            effects += tuple(Acknowledged(lane, held[lane], AckOutcome.DUPLICATE, "") for lane in steps)
        await self._taking.persist(effects, welcome.hub_time - 1)  # a crash leaves it the newest word that it is
        found.acknowledged = {one.lane.value: one.mark.seq for one in effects if isinstance(one, Acknowledged)}
        found.forked = [one.lane.value for one in effects if isinstance(one, Forked)]
        found.held = marks

    async def _pulled(self, reply: PullReply, found: _Found) -> None:
        if reply.refetch and found.fresh:
            await self._taking.begin_anew(frozenset(reply.refetch), self._clock.now())
        if reply.items:
            result = await self._taking.items(reply.items, self._clock.now(), gapless=True)
            found.applied += result.applied
            found.refused += result.refused
        found.more = reply.more

    async def _settled(self, head: BundleHead, found: _Found) -> bool:
        """Whether node and hub agree, by what the link would ask for: all held, all pulled, nothing forked.

        A word from before this store was made says nothing of what the store before it told the hub since.
        """
        now = self._clock.now()
        young = self._clock.trust() is ClockTrust.TRUSTED and abs(now - head.made_at) <= SETTLES_S_MAX
        young = young and head.made_at >= int(await self._state.get(Mark.STORE_MADE_AT) or 0)
        if found.fresh and young and not found.forked and not found.more:
            await self._reconciliation.settle(found.held, await self._outbox.local({}), now)
        return self._reconciliation.settled

    def _box(self, head: BundleHead) -> Box:
        keys = self._keys_or_fault()
        if head.direction is not Direction.DOWN:
            raise for_another("the bundle goes up to the hub", "carry it there: central-sync bundle apply FILE")
        if head.node != self._node:
            raise for_another(f"the bundle is for {head.node}, this is {self._node}", "carry it to that office")
        return unsealed(
            head,
            keys.opening.public.id,
            partial(keys.opening.box, entropy=self._entropy),
            mine="node",
            theirs="put the public half of keys.bundle into bundle_key of this node at the hub",
        )

    def _verify(self, _: BundleHead, statement: bytes, signature: Signature) -> Verification:
        return self._keys_or_fault().keyring.verify(Role.HUB, statement, signature, self._clock.bounds())

    def _keys_or_fault(self) -> NodeBundleKeys:
        if self._keys is None:
            raise Fault(
                "TQ-BN-20",
                "this node has no keys for bundles",
                "edge-node bundle make-key; set keys.bundle, hub.bundle_key and hub.signing_key",
            )
        return self._keys
