"""Field works put into the registry of their node, and the next version sent down. Floor: central_sync/billing.

On the reading walk. The district owns what is installed where: what an office recorded is a fact, and an import made
without it is the older paper. So works are put over whatever registry is the newest, by the very function that the
office uses (`gridmodel.field_merge`), again after each import. Those that changed something become one new version;
those that the registry contradicts are kept, refused by name.

A meter of another node is for people to sort out; until they have, its owner cuts nobody where its registry believes it
to be, since whoever went dark would live elsewhere: the hub issues a protection of that point.

A version is a whole document (of a large node the few parts that changed), so works are gathered for a while (`MERGE_S`
in `hub`) before one is made.

Codes: TQ-FW-40 a meter of another node.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any, TypeVar

from central_sync.billing.records import IssuedRecord, RecordKind, issue
from central_sync.billing.registries import ReadRegistry, packed_registry, send_down
from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows import HUB, MERGED, REFUSED, WAITING, AlarmRow, FieldWorkRow, OwnerRow
from gridmodel.clock import Compute, UtilityClock
from gridmodel.event import AlarmKind
from gridmodel.fault import Fault
from gridmodel.field_merge import Outcome, merged
from gridmodel.identity import NodeId, UsagePointId
from gridmodel.record import Protection, ProtectionKind
from protocols.sync.chunk.registries import registry_of

T = TypeVar("T")
FOREIGN = "TQ-FW-40"
DOUBT_S = 60 * 86_400
"""How long the point stays protected: people have an alarm, and a move between offices is entered within days."""
ASSERTED_BY = "field-works"
"""Who says so, in the protection."""


@dataclass(frozen=True, slots=True)
class WorksReport:
    """What one merge did."""

    node: NodeId
    version: int | None
    """The new one; None when nothing changed the registry."""
    merged: int
    refused: int


@dataclass(frozen=True, slots=True)
class _Ground:
    """What a merge starts from."""

    version: int
    document: bytes
    parts: tuple[bytes, ...]
    rows: tuple[FieldWorkRow, ...]
    """Those that the version does not hold."""
    count: int
    """Of all."""
    foreign: Mapping[str, str]
    """Meters of other nodes among the works, and whose they are."""


@dataclass(frozen=True, slots=True)
class _Worked:
    read: ReadRegistry | None
    outcomes: Mapping[str, Outcome]


class RegistryUnreadable(Fault):
    """What is kept of a registry is damaged, or what came of it cannot travel: its node's works wait."""


class FieldWorkMerge:
    """Merges the works of nodes. The caller holds the node's turn (`RegionLink.node_lock`)."""

    def __init__(self, store: HubStore, clock: UtilityClock, compute: Compute) -> None:
        self._store = store
        self._clock = clock
        self._compute = compute

    async def waiting(self) -> list[NodeId]:
        """Nodes whose works are to be judged."""
        return await self._store.read(lambda tx: tx.nodes_with_field_works())

    async def merge(self, node: NodeId) -> WorksReport | None:
        """Judge every work of the node that its registry does not hold, and issue what comes of it.

        None when its registry is not here, or changed. Raises RegistryUnreadable with the code of what is wrong.
        """
        ground = await self._store.read(lambda tx: _ground(tx, node))
        if ground is None:
            return None
        worked = await self._heavy(_work_out, ground)
        now = self._clock.now()
        for row in ground.rows:
            if row.meter in ground.foreign and row.code != FOREIGN:
                await self._protect_where_believed(row, NodeId(ground.foreign[row.meter]), now)

        async def verb(tx: HubTransaction) -> WorksReport | None:
            versions, count = await tx.registry_versions(), await tx.count_field_works(node)
            if (versions.get(node), count) != (ground.version, ground.count):
                return None  # judged again at the next look
            version = ground.version
            if worked.read is not None:
                version += 1
                read = worked.read
                await tx.put_registry(node, version, read.document, read.owners, now)
                await send_down(tx, read, now)
            judged = [_judged(row, ground, worked.outcomes.get(row.id), version) for row in ground.rows]
            changed = [(before, after) for before, after in zip(ground.rows, judged, strict=True) if before != after]
            await tx.put_field_works([after for _, after in changed])
            await tx.put_alarms([alarm for before, after in changed for alarm in _alarms(before, after, now)])
            refused = sum(row.state == REFUSED for row in judged)
            return WorksReport(node, version if worked.read else None, len(judged) - refused, refused)

        return await self._store.write_for(node, verb)

    async def _heavy(self, work: Callable[..., T], *given: Any) -> T:
        try:
            return await self._compute.run(work, *given)
        except Fault as fault:
            raise RegistryUnreadable(fault.code, fault.what, fault.hint) from fault

    async def _protect_where_believed(self, row: FieldWorkRow, owner: NodeId, now: int) -> None:
        """Nobody is cut at the point where the owner's registry has the meter; done twice it is done once."""
        found = await self._store.read(lambda tx: _newest_document(tx, owner))
        point = None if found is None else await self._heavy(_believed_at, found, row.meter, row.at)
        if point is None:
            return
        name = "field-work-" + sha256(f"{row.node}\0{row.id}".encode()).hexdigest()[:24]
        doubt = Protection(name, ProtectionKind.DISPUTE, point, None, now, now + DOUBT_S, ASSERTED_BY)
        record = IssuedRecord(RecordKind.PROTECTION, name, "usage_point", point, asdict(doubt))

        async def verb(tx: HubTransaction) -> None:
            if not await tx.issued(RecordKind.PROTECTION.value, [name]):
                await issue(tx, [([owner], record)], now)

        await self._store.write(verb)


_Packed = tuple[bytes, tuple[bytes, ...]]
"""A registry's document, or its manifest and the parts."""


async def _newest_document(tx: HubTransaction, node: NodeId) -> _Packed | None:
    version = (await tx.registry_versions()).get(node)
    document = None if version is None else await tx.registry_document(node, version)
    return None if version is None or document is None else (document, await tx.registry_parts(node, version))


def _believed_at(packed: _Packed, meter: str, at: int) -> UsagePointId | None:
    """The usage point where a registry has a meter after `at`. Heavy for a large node."""
    registry = registry_of(*packed)
    for placed in registry.installations:
        point = UsagePointId(placed.point)
        if placed.meter == meter and placed.valid_to > at and point in registry.usage_point:
            return point
    return None


async def _ground(tx: HubTransaction, node: NodeId) -> _Ground | None:
    version = (await tx.registry_versions()).get(node)
    document = None if version is None else await tx.registry_document(node, version)
    if version is None or document is None:
        return None
    rows = await tx.field_works(node, version)
    owners: Mapping[str, OwnerRow] = await tx.owners("meter", sorted({row.meter for row in rows}))
    foreign = {one.id: str(one.node) for one in owners.values() if one.node != node}
    count = await tx.count_field_works(node)
    return _Ground(version, document, await tx.registry_parts(node, version), tuple(rows), count, foreign)


def _work_out(ground: _Ground) -> _Worked:
    """Heavy for a large node."""
    registry = registry_of(ground.document, ground.parts)
    told = merged(registry, [row.work() for row in ground.rows if row.meter not in ground.foreign])
    if not told.applied:
        return _Worked(None, told.outcomes)
    return _Worked(packed_registry(replace(told.registry, version=ground.version + 1)), told.outcomes)


def _judged(row: FieldWorkRow, ground: _Ground, outcome: Outcome | None, version: int) -> FieldWorkRow:
    if outcome is None:
        owner = ground.foreign.get(row.meter, "another node")
        why = f"meter {row.meter} belongs to {owner}: a move between nodes waits for leases"
        return replace(row, state=REFUSED, code=FOREIGN, reason=why, version=None)
    if outcome.fault is not None:
        return replace(row, state=REFUSED, code=outcome.fault.code, reason=outcome.fault.what, version=None)
    return replace(row, state=MERGED, code="", reason="", version=row.version if row.state != WAITING else version)


def _alarms(before: FieldWorkRow, after: FieldWorkRow, now: int) -> Iterator[AlarmRow]:
    """What people are told when a work is refused, and when it is refused no more."""
    if before.code and before.code != after.code:
        yield _alarm(before, now, now)
    if after.code and before.code != after.code:
        yield _alarm(after, now, None)


def _alarm(row: FieldWorkRow, at: int, cleared_at: int | None) -> AlarmRow:
    name = "field-work-" + sha256(f"{row.node}\0{row.id}\0{row.code}".encode()).hexdigest()[:24]
    detail = f"{row.code}: work {row.id} of {row.node}: {row.reason}"
    return AlarmRow(HUB, name, AlarmKind.FIELD_WORK_REFUSED.value, row.meter, at, detail, cleared_at)
