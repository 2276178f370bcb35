"""Versions of what is installed where; the highest holds, with the field works of this office. Floor: edge_node/store.

On the reading walk. A registry comes down from the hub as a whole document, is checked whole, and stands beside the
earlier ones: batches name the version they were made under. The newest is kept parsed in memory; parsing 120,000 points
is work for `compute` and happens before the transaction that takes the version in. Field works (`field_works`) are put
over whatever version came last (`gridmodel.field_merge`): what a fitter did holds here at once, and survives a version
without it.

Codes: TQ-ST-01 no registry yet, -02 for another node, -03 one version with two contents.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from edge_node.store.field_works import FieldWorks, Held, held_registry
from gridmodel.clock import Compute
from gridmodel.fault import Fault
from gridmodel.field_merge import Merged, Outcome, WorkState, merged
from gridmodel.field_work import FieldWork
from gridmodel.identity import NodeId
from gridmodel.registry import Registry
from gridmodel.registry_document import registry_from_document, registry_to_document
from hosting.database import Connection, Database
from protocols.sync.chunk import document as documents

VERSIONS_KEPT = 50
"""Earlier versions kept: a year of weekly changes, for explaining old days."""


NOTHING: Mapping[str, Outcome] = MappingProxyType({})
"""What became of no work."""


class RegistryStoreFault(Fault):
    """A registry that this node does not have, or cannot take in."""


def read_document(packed: bytes) -> Registry:
    """The registry in a packed document; pure and heavy: hand it to `compute`. Raises WireFault or RegistryFault."""
    return registry_from_document(documents.unpack_document(packed))


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


def read_item(body: bytes) -> tuple[Registry, bytes]:
    """The registry in the body of an item down, ``{"document": …}``, and its packed document; pure and heavy.

    Packed anew, so that equal documents have equal bytes. Raises WireFault, RegistryFault or RegistryStoreFault.
    """
    read = documents.unpack_document(body)
    document = read.get("document") if isinstance(read, dict) else None
    registry = registry_from_document(document)
    return registry, documents.pack_document(document)


def pack_document(registry: Registry) -> bytes:
    """The packed document of a registry."""
    return documents.pack_document(registry_to_document(registry))


async def insert_registry(conn: Connection, version: int, packed: bytes, now: int) -> bool:
    """Take a checked version in, within the caller's transaction; gives whether it is new.

    Raises RegistryStoreFault (TQ-ST-03) when the same version is there with another content.
    """
    row = await conn.fetch_one("SELECT document FROM registry WHERE version = ?", (version,))
    if row is not None:
        if bytes(row[0]) != packed:
            raise RegistryStoreFault(
                "TQ-ST-03",
                f"registry version {version} came again with another content",
                "the first stands; give the change a new version at the hub",
            )
        return False
    await conn.execute("INSERT INTO registry (version, document, received_at) VALUES (?, ?, ?)", (version, packed, now))
    await conn.execute(
        "DELETE FROM registry WHERE version <= (SELECT max(version) FROM registry) - ?"
        " AND version NOT IN (SELECT version FROM registry ORDER BY version DESC LIMIT ?)",
        (VERSIONS_KEPT, VERSIONS_KEPT),
    )
    return True


async def newest_version(conn: Connection) -> int:
    """The highest version taken in; 0 before the first."""
    row = await conn.fetch_one("SELECT coalesce(max(version), 0) FROM registry")
    return 0 if row is None else int(row[0])


class Registries:
    """The registry versions of one node. `load` is called at opening and after every new version."""

    def __init__(self, control: Database, node: NodeId, compute: Compute, works: FieldWorks) -> None:
        self._control = control
        self._node = node
        self._compute = compute
        self._works = works
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
            return await self._load()

    async def _load(self) -> Registry | None:
        known = self._over

        async def verb(conn: Connection) -> tuple[Held, bytes | None, list[tuple[Any, ...]]] | None:
            held = await held_registry(conn)
            if held[0] == 0 or held == self._held:
                return None
            if known is not None and known.base.version == held[0]:
                return held, None, await self._works.stored(conn, known.rows)
            row = await conn.fetch_one("SELECT document FROM registry WHERE version = ?", held[:1])
            return held, None if row is None else bytes(row[0]), await self._works.stored(conn)

        found = await self._control.read(verb)
        if found is not None:
            held, document, rows = found
            if document is not None:
                base = await self._compute.run(read_document, document)
                known = _Over(base, base, NOTHING)
            if known is not None:
                self._over, self._held = await self._compute.run(_over, known, self._works, rows), held
        return self.newest

    async def earlier(self, version: int, works: int) -> Registry | None:
        """An earlier version with the first so many field works over it; None when it is no longer kept. Heavy."""

        async def verb(conn: Connection) -> tuple[bytes, list[tuple[Any, ...]]] | None:
            row = await conn.fetch_one("SELECT document FROM registry WHERE version = ?", (version,))
            return None if row is None else (bytes(row[0]), await self._works.first(conn, works))

        found = await self._control.read(verb)
        if found is None:
            return None
        base = await self._compute.run(read_document, found[0])
        return (await self._compute.run(_tried, _Over(base, base, NOTHING), self._works, found[1], ())).registry

    async def tried(self, works: tuple[FieldWork, ...]) -> tuple[Held, Merged]:
        """What would become of `works` over everything that holds; nothing is written. Raises TQ-ST-01.

        Works that the hub's version holds already have no outcome here: nothing can change theirs.
        """
        held, over = self._held, self._current()
        rows = await self._control.read(lambda conn: self._works.stored(conn, over.rows))
        return held, await self._compute.run(_tried, over, self._works, rows, works)

    async def from_item(self, body: bytes) -> tuple[Registry, bytes]:
        """The registry in an item down, and its document; raises its faults, or TQ-ST-02 for another node's."""
        registry, packed = await self._compute.run(read_item, body)
        self._check_node(registry)
        return registry, packed

    async def put(self, document: Mapping[str, Any], now: int) -> Registry:
        """Take in a document that did not come by the downlink (an import, a test); gives the registry that holds."""
        packed = await self._compute.run(documents.pack_document, dict(document))
        registry = await self._compute.run(read_document, packed)
        self._check_node(registry)
        await self._control.write(lambda conn: insert_registry(conn, registry.version, packed, now))
        await self.load()
        return self.current()

    def _check_node(self, registry: Registry) -> None:
        if registry.node != self._node:
            raise RegistryStoreFault(
                "TQ-ST-02",
                f"a registry for {registry.node} came to {self._node}",
                "nothing was taken in; check the hub's import and this node's id",
            )
