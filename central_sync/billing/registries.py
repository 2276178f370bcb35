"""A node's new registry: checked whole, kept as a version, sent down. Floor: billing; on the reading walk.

The registry office writes one file per node (`registry_file`). A version is newer than the one before, stays within the
node's districts and claims nothing that another node speaks for; then it goes into the node's registry lane, in parts
where it is large, and batches that waited for it in quarantine are tried again (the hub wires that).

Codes beside those of `registry_file`: TQ-IM-21 an unknown node, -22 not newer, -23 a district or thing of another node,
-24 too large.
"""

from dataclasses import dataclass

from central_sync.billing.registry_file import import_fault, registry_from_file
from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows import OwnerRow
from gridmodel.clock import Compute, UtilityClock
from gridmodel.identity import NodeId
from gridmodel.network import SupplyPointKind
from gridmodel.registry import Registry, RegistryFault
from gridmodel.registry_document import registry_to_document
from protocols.sync import wire
from protocols.sync.chunk import document as documents
from protocols.sync.chunk.registries import PackedParts, RegistryKind, packed_parts, parts_named_in, travels_whole
from protocols.sync.facts import ITEM_LIMITS
from protocols.sync.lanes import ITEM_BYTES_MAX, DownLane

IDS_SHOWN_MAX = 5
CLAIMS_AT_ONCE = 8_192
"""Things of a registry that are held against the other nodes' in one step: a millisecond between two queries."""


@dataclass(frozen=True, slots=True)
class ReadRegistry:
    """A registry from a file, and its packed forms."""

    registry: Registry
    document: bytes
    """For the store: the document, or the manifest; parts are kept in the lane down."""
    item: bytes
    """For the way down: {document}; empty where it goes in parts."""
    parts: PackedParts | None
    owners: tuple[OwnerRow, ...]


def read_registry(data: bytes) -> ReadRegistry:
    """The registry in a file; pure and heavy. Raises RegistryImportFault, RegistryFault or IdentityFault."""
    return packed_registry(registry_from_file(data))


def packed_registry(registry: Registry) -> ReadRegistry:
    """The forms of a registry; raises RegistryImportFault (TQ-IM-24) when it is too large to travel.

    Whole where that fits, as nodes of the version before know it; else in parts.
    """
    owners = tuple(_owners(registry))
    item = _whole_item(registry)
    if item is not None:
        return ReadRegistry(registry, documents.pack_document(registry_to_document(registry)), item, None, owners)
    try:
        parts = packed_parts(registry)
    except (RegistryFault, wire.WireFault) as fault:
        raise import_fault(
            24, f"the registry is too large to travel: {fault.what}", "split the node's scope"
        ) from fault
    return ReadRegistry(registry, parts.manifest.to_bytes(), b"", parts, owners)


def _whole_item(registry: Registry) -> bytes | None:
    if not travels_whole(registry):
        return None
    try:
        item = documents.pack_document({"document": registry_to_document(registry)})
    except wire.WireFault:
        return None
    return item if len(item) <= ITEM_BYTES_MAX else None


def _owners(registry: Registry) -> list[OwnerRow]:
    node = registry.node
    return [
        *(OwnerRow("transformer", one.id, node) for one in registry.transformers),
        *(
            OwnerRow("supply_point", one.id, node)
            for one in registry.supply_points
            if one.kind is not SupplyPointKind.TRANSFORMER
        ),
        *(OwnerRow("usage_point", one.id, node) for one in registry.usage_points),
        *(OwnerRow("meter", one.id, node) for one in registry.meters),
        *(OwnerRow("account", one.id, node, one.usage_point) for one in registry.accounts),
    ]


@dataclass(frozen=True, slots=True)
class RegistryReport:
    """What came in."""

    node: NodeId
    version: int
    before: int | None
    usage_points: int
    transformers: int
    meters: int
    done: bool


class RegistryImport:
    """Applies registries."""

    def __init__(self, store: HubStore, clock: UtilityClock, compute: Compute) -> None:
        self._store = store
        self._clock = clock
        self._compute = compute

    async def apply(self, read: ReadRegistry, *, dry_run: bool = False) -> RegistryReport:
        """Keep the version and send it down, in one transaction. The same document twice changes nothing."""
        now = self._clock.now()
        registry = read.registry
        node = registry.node

        async def verb(tx: HubTransaction) -> RegistryReport:
            row = await tx.node(node)
            if row is None:
                raise import_fault(
                    21, f"no node {node} is known here", "add it to [[nodes]] of the hub's configuration"
                )
            foreign = sorted(set(registry.districts) - set(row.districts))
            if foreign:
                raise import_fault(
                    23, f"district {foreign[0]} is not in the scope of {node}", "mend the registry or [[nodes]]"
                )
            before = (await tx.registry_versions()).get(node)
            repeated = before == registry.version and await tx.registry_document(node, before) == read.document
            newest = before or 0  # version 0 is what a node without any has
            if registry.version <= newest and not repeated:
                raise import_fault(22, f"version {registry.version} is not above {newest}", "give it the next number")
            await _claims(tx, node, read.owners)
            if not dry_run and not repeated:
                await tx.put_registry(node, registry.version, read.document, read.owners, now)
                await send_down(tx, read, now)
                await tx.rejudge_field_works(node)
            return RegistryReport(
                node,
                registry.version,
                before,
                len(registry.usage_points),
                len(registry.transformers),
                len(registry.meters),
                not dry_run,
            )

        return await (self._store.read(verb) if dry_run else self._store.write_for(node, verb))

    async def read(self, data: bytes) -> ReadRegistry:
        """`read_registry` off the event loop."""
        return await self._compute.run(read_registry, data)


async def send_down(tx: HubTransaction, read: ReadRegistry, now: int) -> None:
    """Put a kept version into the lane of its node: whole, or the parts that the node lacks and then the manifest.

    What a node has is what its last status says: of a version that never came to hold there all parts go again. A node
    that lacks one all the same sets the version aside and says so: the next one goes whole, and the one before holds
    till then.
    """
    node, name = read.registry.node, f"registry-{read.registry.version}"
    if read.parts is None:
        await tx.append_down(node, DownLane.REGISTRY, [(RegistryKind.WHOLE, name, read.item)], now)
        return
    row = await tx.node(node)
    status = {} if row is None or row.status is None else wire.unpack(row.status, ITEM_LIMITS)
    said = 0 if status.get("registry_refused") else status.get("registry_version") or 0
    held = await tx.registry_document(node, said)
    known = frozenset(() if held is None else parts_named_in(held))
    parts = [(RegistryKind.PART, digest.hex(), part) for digest, part in read.parts.besides(known)]
    await tx.append_down(node, DownLane.REGISTRY, [*parts, (RegistryKind.MANIFEST, name, read.document)], now)


async def _claims(tx: HubTransaction, node: NodeId, owners: tuple[OwnerRow, ...]) -> None:
    """Nothing in the registry belongs to another node. By pieces: all of a region at once would hold the event loop."""
    for start in range(0, len(owners), CLAIMS_AT_ONCE):
        ids: dict[str, list[str]] = {}
        for one in owners[start : start + CLAIMS_AT_ONCE]:
            ids.setdefault(one.kind, []).append(one.id)
        for kind, some in ids.items():
            held = await tx.owners(kind, some)
            taken = sorted(one.id for one in held.values() if one.node != node)
            if taken:
                raise import_fault(
                    23,
                    f"{kind} {', '.join(taken[:IDS_SHOWN_MAX])} belongs to {held[taken[0]].node}",
                    "every place, meter and account has one node; moves between nodes come with a later version",
                )
