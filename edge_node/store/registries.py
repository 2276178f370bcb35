"""Versions of what is installed where; the highest holds, with the field works of this office. Floor: edge_node/store.

On the reading walk. A registry comes down from the hub as a whole document or in parts (`registry_versions`), is
checked whole, and stands beside the earlier ones: batches name the version they were made under. The newest is kept
parsed in memory; parsing is work for `compute`, part by part, and happens before the transaction that takes the version
in. Parts that the version before had are not read again: their rows stand in both. Field works (`field_works`) are put
over whatever version came last (`gridmodel.field_merge`): what a fitter did holds here at once, and survives a version
without it.

Codes: TQ-ST-01 no registry yet, -02 for another node, -06 damaged since it was taken in.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

from edge_node.store import registry_versions as versions
from edge_node.store.field_works import FieldWorks, Held, held_registry
from edge_node.store.registry_versions import RegistryStoreFault, insert_registry
from gridmodel.clock import Compute
from gridmodel.fault import Fault
from gridmodel.field_merge import Merged, Outcome, WorkState, merged
from gridmodel.field_work import FieldWork
from gridmodel.identity import NodeId
from gridmodel.registry import Registry
from gridmodel.registry_document import registry_from_document, registry_to_document
from gridmodel.registry_parts import ReadPart
from hosting.database import Connection, Database
from hosting.database_faults import DatabaseFault
from protocols.sync.chunk import document as documents
from protocols.sync.chunk.registries import Manifest, PackedParts, PartsReader, is_whole, part_digest, registry_of

LetGo = Callable[[object], object]
"""Told an object that nobody will ask for again; whoever reads it still does so."""


NOTHING: Mapping[str, Outcome] = MappingProxyType({})
"""What became of no work."""


@dataclass(frozen=True)
class Taken:
    """A version that was read and checked, and is not stored yet."""

    registry: Registry
    document: bytes
    """What is stored of it: its whole document, or its manifest."""
    manifest: Manifest | None = None
    parts: tuple[ReadPart, ...] = field(default=(), repr=False)
    """Its rows by the parts they stand in, in the order of the manifest."""

    def part(self, number: int, digest: bytes, count: int) -> ReadPart | None:
        """The rows of that part at that place, if it is one of this version."""
        ours = () if self.manifest is None else self.manifest.parts
        return self.parts[number] if len(ours) == count and ours[number] == digest else None


@dataclass(frozen=True, slots=True)
class _Over:
    """A version from the hub with the works of this office over it."""

    base: Registry
    registry: Registry
    outcomes: Mapping[str, Outcome]
    open: tuple[FieldWork, ...] = ()
    """Works that `base` does not hold: those it holds change nothing, and are not looked at again."""
    included: int = 0
    """How many it holds."""
    rows: int = 0
    """Rows of works that were looked at."""


def _over(before: _Over, works: FieldWorks, rows: list[tuple[Any, ...]]) -> _Over:
    """The same with the works of these further rows, indexed; heavy."""
    known = (*before.open, *works.read(rows).works)
    told = merged(before.base, known, before.included)
    told.registry.indexed()
    still = tuple(one for one in known if told.outcomes[one.id].state is not WorkState.INCLUDED)
    included, looked_at = before.included + len(known) - len(still), before.rows + len(rows)
    return _Over(before.base, told.registry, {**before.outcomes, **told.outcomes}, still, included, looked_at)


def _tried(before: _Over, works: FieldWorks, rows: list[tuple[Any, ...]], tried: tuple[FieldWork, ...]) -> Merged:
    """The same with works that are not stored, and not indexed; heavy."""
    return merged(before.base, (*before.open, *works.read(rows).works, *tried), before.included)


def read_item(body: bytes) -> Taken:
    """The registry in the body of an item down, ``{"document": …}``; pure and heavy.

    Packed anew, so that equal documents have equal bytes. Raises WireFault, RegistryFault or RegistryStoreFault.
    """
    read = documents.unpack_folded(body)
    document = read.get("document") if isinstance(read, dict) else None
    registry = registry_from_document(document)
    return Taken(registry, documents.pack_folded(document))


def pack_document(registry: Registry) -> bytes:
    """The packed document of a registry."""
    return documents.pack_document(registry_to_document(registry))


async def insert_parts(conn: Connection, packed: PackedParts, now: int) -> None:
    """Take in all parts of a registry and its manifest at once: a folder that is prepared without a hub."""
    for digest, one in packed.besides(frozenset()):
        await versions.put_part(conn, digest, one, now)
    manifest = packed.manifest
    await insert_registry(conn, manifest.version, manifest.to_bytes(), now, manifest)


def _damaged(version: int, fault: Fault) -> RegistryStoreFault:
    """It was whole when it was taken in."""
    return RegistryStoreFault(
        "TQ-ST-06",
        f"registry version {version} is damaged in this node's store: {fault.code}: {fault.what}",
        "look after the disk; restore the node's control database from its copy: the hub sends what came since",
    )


class Registries:
    """The registry versions of one node. `load` is called at opening and after every new version."""

    def __init__(
        self,
        control: Database,
        node: NodeId,
        compute: Compute,
        works: FieldWorks,
        *,
        let_go: LetGo | None = None,
        settled: Callable[[], object] | None = None,
    ) -> None:
        """`settled` hears of rows that were read and stay, part by part.

        `let_go` is told each registry that holds no longer: the last of its readers lets it go some time later.
        """
        self._control = control
        self._node = node
        self._compute = compute
        self._works = works
        self._let_go = let_go
        self._settled = settled
        self._base: Taken | None = None
        """The newest version as the hub sent it."""
        self._ready: Taken | None = None
        """What was read last, on its way through the transaction that takes it in."""
        self._over: _Over | None = None
        self._held: Held = (0, 0)
        self._turn = asyncio.Lock()
        """One load after the other: the earlier one's work may take longer, and must not come last."""

    @property
    def newest(self) -> Registry | None:
        """The registry that holds, or None before the first came. Immutable; shared by all rooms."""
        return None if self._over is None else self._over.registry

    @property
    def outcomes(self) -> Mapping[str, Outcome]:
        """What became of each field work in the registry that holds, by the work's id."""
        return NOTHING if self._over is None else self._over.outcomes

    def current(self) -> Registry:
        """The registry that holds; raises RegistryStoreFault (TQ-ST-01) before the first came."""
        return self._current().registry

    def _current(self) -> _Over:
        if self._over is None:
            raise RegistryStoreFault(
                "TQ-ST-01", "this node has no registry yet", "import one at the hub; it comes down with the link"
            )
        return self._over

    async def load(self) -> Registry | None:
        """Parse the newest stored version and put the field works over it, unless that is in memory; gives it."""
        async with self._turn:
            try:
                return await self._load()
            finally:
                self._ready = None

    async def _load(self) -> Registry | None:
        known = self._over

        async def verb(conn: Connection) -> tuple[Held, bytes | None, list[tuple[Any, ...]]] | None:
            held = await held_registry(conn)
            if held[0] == 0 or held == self._held:
                return None
            if known is not None and known.base.version == held[0]:
                return held, None, await self._works.stored(conn, known.rows)
            return held, await versions.document(conn, held[0]), await self._works.stored(conn)

        found = await self._control.read(verb)
        if found is not None:
            held, document, rows = found
            if document is not None:
                try:
                    taken = await self._stored(document)
                except DatabaseFault:
                    raise
                except Fault as fault:
                    raise _damaged(held[0], fault) from fault
                self._leave(self._base)
                self._base = taken
                known = _Over(taken.registry, taken.registry, NOTHING)
            if known is not None:
                over = await self._compute.run(_over, known, self._works, rows)
                self._leave(self.newest)
                self._over, self._held = over, held
                self._stay()
        return self.newest

    async def earlier(self, version: int, works: int) -> Registry | None:
        """An earlier version with the first so many field works over it; None when it is no longer kept. Heavy."""

        async def verb(conn: Connection) -> tuple[bytes, list[tuple[Any, ...]]] | None:
            document = await versions.document(conn, version)
            return None if document is None else (document, await self._works.first(conn, works))

        found = await self._control.read(verb)
        if found is None:
            return None
        base = (await self._stored(found[0])).registry
        return (await self._compute.run(_tried, _Over(base, base, NOTHING), self._works, found[1], ())).registry

    def _stay(self) -> None:
        if self._settled is not None:
            self._settled()

    def _leave(self, former: Taken | Registry | None) -> None:
        if former is not None and self._let_go is not None:
            self._let_go(former)

    async def _stored(self, document: bytes) -> Taken:
        """A stored version, unless it was just read."""
        ready = self._ready
        if ready is not None and ready.document == document:
            return ready
        if is_whole(document):
            return Taken(await self._compute.run(registry_of, document), document)
        return await self._from_parts(Manifest.from_bytes(document))

    async def _from_parts(self, manifest: Manifest) -> Taken:
        """The registry of the parts that are stored; raises WireFault, RegistryFault, IdentityFault or PeriodFault."""
        reader, before = PartsReader(manifest), self._base
        parts: list[ReadPart] = []
        for number, digest in enumerate(manifest.parts):
            one = None if before is None else before.part(number, digest, len(manifest.parts))
            if one is None:
                packed = await self._control.read(partial(versions.part, digest=digest))
                one = await self._compute.run(reader.read, number, packed)
                self._stay()
            parts.append(one)
        registry = await self._compute.run(reader.whole, parts)
        self._stay()
        return Taken(registry, manifest.to_bytes(), manifest, tuple(parts))

    async def tried(self, works: tuple[FieldWork, ...]) -> tuple[Held, Merged]:
        """What would become of `works` over everything that holds; nothing is written. Raises TQ-ST-01.

        Works that the hub's version holds already have no outcome here: nothing can change theirs.
        """
        held, over = self._held, self._current()
        rows = await self._control.read(lambda conn: self._works.stored(conn, over.rows))
        return held, await self._compute.run(_tried, over, self._works, rows, works)

    async def from_item(self, body: bytes) -> Taken:
        """The registry in an item down; raises its faults, or TQ-ST-02 for another node's."""
        return self._checked(await self._compute.run(read_item, body))

    async def part_of(self, name: str, body: bytes) -> bytes:
        """The digest of a part that came under `name`; raises WireFault TQ-SY-70."""
        return await self._compute.run(part_digest, name, body)

    async def from_manifest(self, body: bytes) -> Taken:
        """The registry whose manifest this item down is, of parts that came before it.

        Raises the faults of manifest and parts, TQ-ST-02 for another node's, TQ-ST-05 where parts are missing.
        """
        manifest = Manifest.from_bytes(body)
        self._check_node(manifest.node)
        await self._control.read(partial(versions.all_here, manifest=manifest))
        return self._checked(await self._from_parts(manifest))

    async def put(self, document: Mapping[str, Any], now: int) -> Registry:
        """Take in a document that did not come by the downlink (an import, a test); gives the registry that holds."""
        packed = await self._compute.run(documents.pack_document, dict(document))
        taken = self._checked(Taken(await self._compute.run(registry_of, packed), packed))
        await self._control.write(lambda conn: insert_registry(conn, taken.registry.version, packed, now))
        await self.load()
        return self.current()

    def _checked(self, taken: Taken) -> Taken:
        """Kept until it is stored, so that it is not read twice."""
        self._check_node(taken.registry.node)
        self._ready = taken
        return taken

    def _check_node(self, node: NodeId) -> None:
        if node != self._node:
            raise RegistryStoreFault(
                "TQ-ST-02",
                f"a registry for {node} came to {self._node}",
                "nothing was taken in; check the hub's import and this node's id",
            )
