"""Couriers with flash drives: bundles there and back, now and then old, altered, or twice. Floor: simulate; link loss.

A trip takes an office's bundle to the hub and the answer home, beside whatever the line does. On the way a drive is
what drives are: it still has the files of earlier trips, and some are brought before the new ones, or once more. An
altered file must be refused by name; all else must be harmless, which the judges of everything else see.
"""

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from central_sync.ingest.bundles import HubBundleKeys
from edge_node.store.state import Mark
from edge_node.uplink.bundles import NodeBundleKeys
from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from hosting.keys_bundle import BundlePrivate
from protocols.authority.canonical import Domain
from protocols.authority.signatures import KeyRing, NamedKey, Role, Signer
from simulate.clock import stream
from simulate.crash import SimulatedCrash

if TYPE_CHECKING:
    from simulate.site import Site
    from simulate.world import Rehearsal

AGAIN_S = 300.0
"""A courier before a process that does not run waits so long, and asks again."""
TRIES_MAX = 40
"""Then he goes home with what he has."""
OLD_PART, TWICE_PART, ALTERED_PART = 0.15, 0.2, 0.2
"""Parts of all visits at which an older file, the same file again, an altered file comes first."""
GAP = "TQ-BN-21"
"""An answer that goes on from what is not here: the node was restored, or a file in between is missing."""


def hub_keys(seed: int, nodes: list[str]) -> HubBundleKeys:
    """The hub's keys for bundles."""
    publics = {NodeId(node): _opening(seed, node).public for node in nodes}
    return HubBundleKeys(_hub_signer(seed), _opening(seed, "hub"), publics)


def node_keys(seed: int, node: str) -> NodeBundleKeys:
    """A node's."""
    hub = NamedKey(_hub_signer(seed).public, "hub", frozenset({Role.HUB}))
    return NodeBundleKeys(_opening(seed, node), _opening(seed, "hub").public, KeyRing([hub], Domain.DEMO))


class Couriers:
    """All couriers of a rehearsal; each office has a drive of its own."""

    def __init__(self, world: "Rehearsal") -> None:
        self._world = world
        self._dice = stream(world.spec.seed, "couriers")
        self._ups: dict[str, list[Path]] = {}
        self._downs: dict[str, list[Path]] = {}

    async def strike(self, site: "Site", seconds: float) -> None:
        """One trip; each way takes half of `seconds`."""
        drive = self._world.folder / f"drive-{site.node}"
        drive.mkdir(exist_ok=True)
        ups, downs = self._ups.setdefault(site.node, []), self._downs.setdefault(site.node, [])
        written = await self._visit(site.node, lambda: self._written(site.node, drive))
        if written is None:
            return
        ups.append(Path(written["file"]))
        await asyncio.sleep(seconds / 2)
        for path in self._carried(ups):
            told = await self._visit("hub", lambda one=path: self._applied_at_hub(one, drive))  # type: ignore[misc]
            if told is not None:
                downs.append(Path(told["reply"]["file"]))
        if not downs:
            return
        await asyncio.sleep(seconds / 2)
        for path in self._carried(downs):
            told = await self._visit(site.node, lambda one=path: self._applied_at(site.node, one))  # type: ignore[misc]
            if told is not None and not told["newest"]:
                self._world.faults.happened("courier_brought_an_old_word")
        self._world.faults.happened("courier_trip")

    def _carried(self, files: list[Path]) -> list[Path]:
        """What is brought to a door: the newest file, with whatever else lies on the drive before it or again."""
        found = [files[-1]]
        if self._dice.random() < OLD_PART:
            found.insert(0, self._dice.choice(files))
        if self._dice.random() < TWICE_PART:
            found.append(self._dice.choice(files))
        if self._dice.random() < ALTERED_PART:
            found.insert(0, self._altered(files[-1]))
        return found

    def _altered(self, path: Path) -> Path:
        data = bytearray(path.read_bytes())
        data[self._dice.randrange(len(data))] ^= 1 << self._dice.randrange(8)
        other = path.with_suffix(".altered")
        other.write_bytes(data)
        return other

    async def _visit(self, name: str, work: Callable[[], Awaitable[dict[str, Any] | None]]) -> dict[str, Any] | None:
        """Try until a running process has done it; a process that dies under it is asked again."""
        for _ in range(TRIES_MAX):
            try:
                if (told := await work()) is not None:
                    self._world.trace.add("courier", name, str(told["bundle"]))
                    return told
            except SimulatedCrash:
                self._world.faults.happened("courier_interrupted")
            except Refused:
                return None
            await asyncio.sleep(AGAIN_S)
        return None

    async def _written(self, node: str, drive: Path) -> dict[str, Any] | None:
        product = self._world.nodes[node].product
        return None if product is None else await product.rooms.bundles.write(drive)

    async def _applied_at_hub(self, path: Path, drive: Path) -> dict[str, Any] | None:
        hub = self._world.hub.product
        return None if hub is None else await self._judged("hub", path, hub.apply_bundle(path, drive))

    async def _applied_at(self, node: str, path: Path) -> dict[str, Any] | None:
        product = self._world.nodes[node].product
        if product is None:
            return None
        told = await self._judged(node, path, product.rooms.bundles.apply(path))
        if (moved := await product.store.state.get(Mark.HUB_MOVED)) is not None:  # no hub goes back in this world
            self._world.verdicts.against("hub_moved_with_cause", node, path.name, f"hub {moved} is said to have moved")
        return told

    async def _judged(self, name: str, path: Path, work: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        """An altered file is refused, and nothing else but a gap is."""
        altered = path.suffix == ".altered"
        try:
            told = await work
        except Fault as fault:
            if not altered and fault.code != GAP:
                self._world.verdicts.against("bundle_taken", name, path.name, f"{fault.code}: {fault.what}")
            self._world.faults.happened("altered_bundle_refused" if altered else "bundle_beyond_a_gap_refused")
            raise Refused from fault
        if altered:
            self._world.verdicts.against("altered_bundle_refused", name, path.name, "it was taken in")
        return told


class Refused(Exception):
    """A bundle was refused by name."""


def _hub_signer(seed: int) -> Signer:
    return Signer.from_seed(sha256(f"{seed}/bundle/signing".encode()).digest(), Domain.DEMO)


def _opening(seed: int, name: str) -> BundlePrivate:
    return BundlePrivate(sha256(f"{seed}/bundle/{name}".encode()).digest())
