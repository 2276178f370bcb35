"""Bundles at the hub: what couriers bring is taken in as if it came over the link. Floor: central_sync/ingest.

On the walk of link loss. A bundle of a node is first checked from end to end (whose it is, for whom, whole, unaltered);
only then each message is handed to `RegionLink`, which judges every batch as ever: known ones are duplicates, so a
bundle that comes twice, late, or after the link came back changes nothing. The answer is a bundle as well: how far each
lane is durable here, and what the node has not got yet.

Codes: TQ-BN-30 no keys for bundles here, 31 a node without a bundle key.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from central_sync.ingest.region_link import RegionLink
from central_sync.store.port import HubStore
from central_sync.store.rows import bundle_mark
from gridmodel.clock import Compute, Entropy, UtilityClock
from gridmodel.fault import Fault
from gridmodel.identity import NodeId, new_id
from gridmodel.period import rfc3339
from hosting.carried import carried, drafted
from hosting.keys_bundle import BundlePrivate, BundlePublic
from hosting.log import logger
from protocols.authority.signatures import (
    KeyRing,
    RefusalReason,
    Role,
    Signature,
    SignatureRefused,
    Signer,
    Verification,
    Verified,
)
from protocols.sync.bundle import (
    Box,
    BundleHead,
    BundleWriter,
    Direction,
    FrameKind,
    for_another,
)
from protocols.sync.bundle_reading import check_bundle, unsealed
from protocols.sync.lanes import ADVANCING, AckOutcome, DownLane
from protocols.sync.messages import Hello, Push
from protocols.sync.pull import PULL_ITEMS_MAX, PULL_REPLY_BYTES_MAX, Pull


@dataclass(frozen=True, slots=True)
class HubBundleKeys:
    """What the hub needs for bundles."""

    signer: Signer
    """Signs what goes down."""
    opening: BundlePrivate
    """Opens what comes up."""
    nodes: Mapping[NodeId, BundlePublic]
    """For whom what goes down is sealed."""


@dataclass(slots=True)
class _Taken:
    """What became of a bundle's messages."""

    outcomes: Counter[str] = field(default_factory=Counter)
    stopped: dict[str, str] = field(default_factory=dict)
    """Lanes that do not go on, with the reason."""
    offsets: Mapping[DownLane, int] | None = None


class Bundles:
    """Writes and applies bundles of every node; one at a time."""

    def __init__(
        self,
        link: RegionLink,
        *,
        store: HubStore,
        keyring: KeyRing,
        keys: HubBundleKeys | None,
        incarnation: str,
        clock: UtilityClock,
        entropy: Entropy,
        compute: Compute,
    ) -> None:
        self._link = link
        self._store = store
        self._keyring = keyring
        self._keys = keys
        self._incarnation = incarnation
        self._clock = clock
        self._entropy = entropy
        self._compute = compute
        self._turn = asyncio.Lock()
        self._log = logger("bundles")

    async def write(self, node: NodeId, place: Path, *, whole: bool = False) -> dict[str, Any]:
        """A bundle for `node` at `place` (a file, or a folder): what it said it has not got; everything when `whole`.

        Raises BundleFault, CarriedFault, LinkFault (TQ-HB-21: no such node); then there is no file.
        """
        async with self._turn:
            offsets = dict.fromkeys(DownLane, 0) if whole else await self._link.known_offsets(node)
            return await self._write(node, place, offsets)

    async def apply(self, path: Path, reply: Path) -> dict[str, Any]:
        """Take in a bundle of a node, and write the answer at `reply` (a file, or a folder).

        Raises BundleFault, CarriedFault; nothing is applied then but when the answer alone could not be written.
        """
        async with self._turn:
            async with carried(self._compute, path) as source:
                head, taken = await self._take(source)
            told = {
                "ok": not taken.stopped,
                "node": head.node,
                "bundle": head.bundle,
                "made_at": rfc3339(head.made_at),
                "batches": dict(sorted(taken.outcomes.items())),
                "stopped": taken.stopped,
            }
            self._log.info("bundle_applied", **told)
            await self._remember(head.node, "applied", head.bundle, whole=not taken.stopped)
            offsets = taken.offsets if taken.offsets is not None else await self._link.known_offsets(head.node)
            return told | {"reply": await self._write(head.node, reply, offsets)}

    async def _take(self, source: BinaryIO) -> tuple[BundleHead, _Taken]:
        bundle = await check_bundle(source, self._compute, self._box, self._verify)
        self._recipient(bundle.head.node)
        taken = _Taken()
        async for kind, message in bundle.messages():
            await self._hand_on(bundle.head, kind, message, taken)
        return bundle.head, taken

    async def _hand_on(self, head: BundleHead, kind: FrameKind, message: bytes, taken: _Taken) -> None:
        match kind:
            case FrameKind.HELLO:
                await self._link.carried_hello(Hello.from_bytes(message), head.lanes, head.made_at)
            case FrameKind.PUSH:
                reply = await self._link.push(Push.from_bytes(message), head.made_at)
                for ack in reply.acks:
                    taken.outcomes[ack.outcome.value] += 1
                    if ack.outcome not in ADVANCING:
                        taken.stopped.setdefault(ack.lane.value, _why(ack.outcome, ack.reason))
            case FrameKind.PULL:
                pull = Pull.from_bytes(message)
                await self._link.carried_pull(pull)
                taken.offsets = pull.offsets
            case _:
                return

    async def _write(self, node: NodeId, place: Path, offsets: Mapping[DownLane, int]) -> dict[str, Any]:
        keys = self._keys_or_fault()
        welcome = await self._link.welcome(node)
        recipient = self._recipient(node)
        bundle = new_id("bundle", self._entropy)
        first = await self._link.down(node, offsets, PULL_ITEMS_MAX)
        after = {lane: 0 if lane in first.refetch else offset for lane, offset in offsets.items()}
        wrapped, box = recipient.box(bundle, self._entropy)
        head = BundleHead(
            direction=Direction.DOWN,
            node=node,
            bundle=bundle,
            made_at=welcome.hub_time,
            hub_incarnation=self._incarnation,
            lanes=welcome.lanes,
            offsets=after,
            wrapped=wrapped,
            for_key=recipient.id,
            key_id=keys.signer.key_id,
        )
        name = f"tarmoq-{node}-down-{head.made_at}-{bundle[-6:]}.bundle"
        async with drafted(self._compute, place, name) as draft:
            writer = await self._compute.run(BundleWriter, draft.file, head, box, keys.signer)
            await self._compute.run(writer.add, FrameKind.WELCOME, welcome.to_bytes())
            items, whole = await self._write_items(writer, node, after, first.refetch)
            await self._compute.run(partial(writer.finish, whole=whole))
        await self._remember(node, "written", bundle, whole=whole)
        return {"ok": True, "file": str(draft.path), "bundle": bundle, "node": node, "bytes": writer.size} | {
            "after": {lane.value: offset for lane, offset in after.items()},
            "items": items,
            "whole": whole,
            "next": "carry it to the office: edge-node bundle apply FILE",
        }

    async def _remember(self, node: NodeId, what: str, bundle: str, *, whole: bool) -> None:
        """For `nodes --node`: the latest of its kind."""
        text = json.dumps({"at": rfc3339(self._clock.now()), "bundle": bundle, "whole": whole}, sort_keys=True)
        await self._store.write_for(node, lambda tx: tx.set_hub_value(bundle_mark(node, what), text))

    async def _write_items(
        self, writer: BundleWriter, node: NodeId, after: Mapping[DownLane, int], refetch: tuple[DownLane, ...]
    ) -> tuple[int, bool]:
        """Pull replies until nothing lies ready; gives the count of items, and whether all of them are in."""
        at, items = dict(after), 0
        while writer.has_room(PULL_REPLY_BYTES_MAX):
            reply = await self._link.down(node, at, PULL_ITEMS_MAX)
            message = replace(reply, refetch=refetch).to_bytes()
            await self._compute.run(writer.add, FrameKind.PULL_REPLY, message)
            refetch = ()
            items += len(reply.items)
            at |= {item.lane: item.offset for item in reply.items}
            if not reply.more or not reply.items:
                return items, not reply.more
        return items, False

    def _box(self, head: BundleHead) -> Box:
        keys = self._keys_or_fault()
        if head.direction is not Direction.UP:
            raise for_another(f"the bundle goes down to {head.node}", "carry it to that office: edge-node bundle apply")
        return unsealed(
            head,
            keys.opening.public.id,
            partial(keys.opening.box, entropy=self._entropy),
            mine="hub",
            theirs="put the public half of keys.bundle of this hub into hub.bundle_key of the node",
        )

    def _recipient(self, node: NodeId) -> BundlePublic:
        """For whom an answer to `node` is sealed; raises Fault TQ-BN-31."""
        recipient = self._keys_or_fault().nodes.get(node)
        if recipient is None:
            raise Fault(
                "TQ-BN-31",
                f"node {node} has no bundle key here",
                "edge-node bundle make-key at the office; add bundle_key to its [[nodes]] here",
            )
        return recipient

    def _verify(self, head: BundleHead, statement: bytes, signature: Signature) -> Verification:
        outcome = self._keyring.verify(Role.NODE, statement, signature, self._clock.bounds())
        if isinstance(outcome, Verified) and outcome.name != head.node:
            return SignatureRefused(RefusalReason.WRONG_ROLE, outcome.key_id)
        return outcome

    def _keys_or_fault(self) -> HubBundleKeys:
        if self._keys is None:
            raise Fault(
                "TQ-BN-30",
                "this hub has no keys for bundles",
                "central-sync bundle make-keys, then name the files in [keys] of its configuration",
            )
        return self._keys


def _why(outcome: AckOutcome, reason: str) -> str:
    match outcome:
        case AckOutcome.GAP:
            return f"{reason}: apply the earlier bundle first, or bring the node the answer and write another"
        case AckOutcome.FORK:
            return f"{reason}: bring the node the answer, its next bundle mends it"
        case _:
            return reason
