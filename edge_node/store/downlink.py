"""What came down from the hub: an offset per lane, items applied together with it. Floor: edge_node/store.

On the walks of payment and link loss. A pull's items are applied in one transaction with their offsets, so that a
repeat is harmless and a crash leaves neither half. An item that this program cannot take in stops nothing: it is kept
whole in `downlink_refused` under a named alarm, and tried again now and then. It is never skipped unseen.

Heavy work (parsing a registry) is done before the transaction. A registry that could not be applied is not used at all;
its parts wait in the store for the manifest that makes them hold, which is read once they are durable.
While something stands refused that may have been a payment, a protection or a change of the network, nobody is cut.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from edge_node.store.alarms import clear_alarm, raise_alarm
from edge_node.store.registries import Registries, Taken
from edge_node.store.registry_versions import insert_registry, put_part
from gridmodel.event import AlarmKind
from gridmodel.fault import Fault
from hosting.database import Connection, Database
from protocols.sync import wire
from protocols.sync.attest import Tail, item_digest
from protocols.sync.chunk.registries import RegistryKind
from protocols.sync.facts import ITEM_LIMITS
from protocols.sync.lanes import DownLane
from protocols.sync.pull import DownItem

REFUSED_LISTED_MAX = 100
"""Rows a page shows; more have one cause, which the first ones name."""
REFUSED_RETRIED_MAX = 1_000
"""Refused items tried again at a start; the rest stays for the next one."""

ONLY_PERMITS = {
    DownLane.LEDGER: frozenset({"watermark"}),
    DownLane.AUTHORITY: frozenset({"mandate", "notice", "weather", "lift_stop", "compare"}),
    DownLane.REGISTRY: frozenset[str](),
}
"""Kinds whose absence can only forbid a cut. Whatever else was refused may have been a reason against one."""

_NAMED_VERSION = "CASE WHEN r.id GLOB 'registry-[0-9]*' THEN CAST(substr(r.id, 10) AS INTEGER) END"
"""The version that an item of the lane `registry` names in its id, whatever its kind; else NULL."""

ItemApplier = Callable[[Connection, str, str, Mapping[str, Any], int], Awaitable[None]]
"""Applies (conn, kind, id, body, now) within the transaction; raises Fault for what cannot be taken in."""


@dataclass(frozen=True, slots=True)
class RefusedItem:
    """An item that could not be taken in."""

    lane: str
    offset: int
    kind: str
    id: str
    code: str
    what: str
    refused_at: int


@dataclass(frozen=True, slots=True)
class Applied:
    """What a pull brought."""

    applied: int
    refused: int
    lanes: frozenset[DownLane]
    """The lanes that brought something new."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    item: DownItem
    fault: Fault | None = None
    body: Mapping[str, Any] | None = None
    registry: Taken | None = None
    part: bytes | None = None
    """The digest of the part of a registry that the item is."""


class Downlink:
    """The lanes down of one node. `appliers` names who takes the items of each lane but the registry's."""

    def __init__(self, control: Database, *, registries: Registries, appliers: Mapping[DownLane, ItemApplier]) -> None:
        self._control = control
        self._registries = registries
        self._appliers = dict(appliers)
        self._some_refused = True
        """Something may stand refused: this object is the only writer."""

    async def offsets(self) -> dict[DownLane, int]:
        """The last durable offset of every lane; 0 before the first item."""
        rows = await self._control.read(
            lambda conn: conn.fetch_all("SELECT lane, next_offset FROM downlink ORDER BY lane")
        )
        known = {lane: int(offset) - 1 for lane, offset in rows}
        return {lane: known.get(lane.value, 0) for lane in DownLane}

    async def apply(self, items: Sequence[DownItem], now: int, *, gapless: bool = False) -> Applied:
        """Apply the items in their order, each in one transaction with how far its lane got.

        `gapless`: raises Fault TQ-DL-02, and nothing is applied, unless each item follows what is here by then. Over
        the link the hub was asked for just these; what a courier brings was asked for long ago.
        """
        if gapless:
            _must_follow(items, await self.offsets())
        result = Applied(0, 0, frozenset())
        for some in _manifests_apart(items):
            one = await self._applied([await self._prepare(item) for item in some], now, gapless=gapless)
            result = Applied(result.applied + one.applied, result.refused + one.refused, result.lanes | one.lanes)
        if DownLane.REGISTRY in result.lanes:
            await self._registries.load()
        return result

    async def _applied(self, prepared: Sequence[_Prepared], now: int, *, gapless: bool) -> Applied:
        async def verb(conn: Connection) -> Applied:
            applied = refused = 0
            lanes: set[DownLane] = set()
            for one in prepared:
                due = await _next_offset(conn, one.item.lane)
                if one.item.offset < due:
                    continue
                if gapless and one.item.offset > due:
                    raise _beyond(one.item, due)
                lanes.add(one.item.lane)
                fault = await self._apply_one(conn, one, now)
                if fault is None:
                    applied += 1
                    await _forget_mended(conn, one.item, now)
                else:
                    refused += 1
                    self._some_refused = True
                    await _refuse(conn, one.item, fault, now)
                await _advance(conn, one.item)
            return Applied(applied, refused, frozenset(lanes))

        return await self._control.write(verb)

    async def refetch(self, lanes: Iterable[DownLane]) -> None:
        """Start these lanes at their beginning: the hub numbers anew. Nothing that is here is taken away meanwhile."""
        chosen = [(lane.value,) for lane in lanes]
        await self._control.write(
            lambda conn: conn.execute_many("UPDATE downlink SET next_offset = 1, digest = NULL WHERE lane = ?", chosen)
        )

    async def tails(self) -> dict[DownLane, Tail]:
        """The last item that was taken from each lane, where it is known: what an attestation tells."""
        rows = await self._control.read(
            lambda conn: conn.fetch_all(
                "SELECT lane, next_offset, digest FROM downlink WHERE digest IS NOT NULL AND next_offset > 1"
            )
        )
        return {DownLane(lane): (int(after) - 1, bytes(digest)) for lane, after, digest in rows}

    async def retry_refused(self, now: int) -> int:
        """Try again what could not be taken in (a newer program, a clock set right); gives how many are applied now."""
        if not self._some_refused:
            return 0
        self._some_refused = False
        count, after = 0, ("", 0)
        while rows := await self._control.read(partial(_refused_after, after=after)):
            self._some_refused = True
            after = (rows[-1][0], rows[-1][1])
            items = [
                DownItem(DownLane(lane), offset, kind, id_, bytes(body))
                for lane, offset, kind, id_, body in rows
                if lane in set(DownLane)
            ]
            for some in _manifests_apart(items):
                count += await self._retried([await self._prepare(item) for item in some], now)
        if count:
            await self._registries.load()
        return count

    async def _retried(self, prepared: Sequence[_Prepared], now: int) -> int:
        async def verb(conn: Connection) -> int:
            applied = 0
            for one in prepared:
                if await self._apply_one(conn, one, now) is None:
                    applied += 1
                    await _forget_refused(conn, one.item, now)
            return applied

        return await self._control.write(verb)

    async def refused(self, limit: int = REFUSED_LISTED_MAX) -> list[RefusedItem]:
        """What could not be taken in, newest first."""
        rows = await self._control.read(
            lambda conn: conn.fetch_all(
                "SELECT lane, offset, kind, id, code, what, refused_at FROM downlink_refused"
                " ORDER BY refused_at DESC, lane, offset LIMIT ?",
                (min(limit, REFUSED_LISTED_MAX),),
            )
        )
        return [RefusedItem(*row) for row in rows]

    async def registry_refused(self) -> bool:
        """Whether a registry stands refused that none which holds makes moot."""
        rows = await self._control.read(_refused_that_counts)
        return any(lane == DownLane.REGISTRY for lane, _ in rows)

    async def _prepare(self, item: DownItem) -> _Prepared:
        try:
            if item.lane is not DownLane.REGISTRY:
                body = wire.unpack(item.body, ITEM_LIMITS)
                if not isinstance(body, dict):
                    raise _unfit(item, "its body is no map")
                return _Prepared(item, body=body)
            match item.kind:
                case RegistryKind.WHOLE:
                    return _Prepared(item, registry=await self._registries.from_item(item.body))
                case RegistryKind.MANIFEST:
                    return _Prepared(item, registry=await self._registries.from_manifest(item.body))
                case RegistryKind.PART:
                    return _Prepared(item, part=await self._registries.part_of(item.id, item.body))
                case _:
                    raise _unfit(item, "it holds no registry")
        except Fault as fault:
            return _Prepared(item, fault)

    async def _apply_one(self, conn: Connection, one: _Prepared, now: int) -> Fault | None:
        """Apply one item whole or not at all; gives why not."""
        if one.fault is not None:
            return one.fault
        await conn.execute("SAVEPOINT item")
        try:
            if one.registry is not None:
                taken = one.registry
                await insert_registry(conn, taken.registry.version, taken.document, now, taken.manifest)
                await _forget_moot(conn, one.item, now)
            elif one.part is not None:
                await put_part(conn, one.part, one.item.body, now)
            else:
                applier = self._appliers.get(one.item.lane)
                if applier is None or one.body is None:
                    raise _unfit(one.item, "this program takes nothing of that lane")
                await applier(conn, one.item.kind, one.item.id, one.body, now)
        except Fault as fault:
            await conn.execute("ROLLBACK TO item")
            await conn.execute("RELEASE item")
            return fault
        await conn.execute("RELEASE item")
        return None


def _manifests_apart(items: Sequence[DownItem]) -> Iterator[list[DownItem]]:
    """The items in their order, cut before each manifest: to be read it needs its parts in the store."""
    some: list[DownItem] = []
    for item in items:
        if some and item.kind == RegistryKind.MANIFEST:
            yield some
            some = []
        some.append(item)
    if some:
        yield some


async def _refused_after(conn: Connection, after: tuple[str, int]) -> list[tuple[Any, ...]]:
    return await conn.fetch_all(
        "SELECT lane, offset, kind, id, body FROM downlink_refused WHERE (lane, offset) > (?, ?)"
        " ORDER BY lane, offset LIMIT ?",
        (*after, REFUSED_RETRIED_MAX),
    )


async def may_lack_protection(conn: Connection) -> bool:
    """Whether an item stands refused that may have been a reason against a cut.

    Of registries those count that are not below the version that holds, and the lane's latest item: parts of the next
    one permit nothing. A program one version behind its hub must not cut whom it cannot read about, though watermarks
    vouch for the lane.
    """
    rows = await _refused_that_counts(conn)
    return any(lane not in set(DownLane) or kind not in ONLY_PERMITS[DownLane(lane)] for lane, kind in rows)


async def _refused_that_counts(conn: Connection) -> list[tuple[str, str]]:
    """(lane, kind) of what stands refused and is not moot."""
    rows = await conn.fetch_all(
        "SELECT DISTINCT r.lane, r.kind FROM downlink_refused AS r LEFT JOIN downlink AS d ON d.lane = r.lane"
        " WHERE r.lane <> ? OR d.next_offset IS NULL OR r.offset >= d.next_offset - 1"
        f" OR {_NAMED_VERSION} >= (SELECT max(version) FROM registry)",
        (DownLane.REGISTRY.value,),
    )
    return [(str(lane), str(kind)) for lane, kind in rows]


def _unfit(item: DownItem, why: str) -> Fault:
    return Fault(
        "TQ-DL-01",
        f"item {item.offset} of lane {item.lane.value} (kind {item.kind:.40}) cannot be taken in: {why}",
        "it is kept and tried again after an update of this program; the lane goes on",
    )


def _must_follow(items: Sequence[DownItem], offsets: Mapping[DownLane, int]) -> None:
    """Raises TQ-DL-02 for the first item that leaves one out."""
    due = {lane: offset + 1 for lane, offset in offsets.items()}
    for item in items:
        if item.offset > due[item.lane]:
            raise _beyond(item, due[item.lane])
        due[item.lane] = max(due[item.lane], item.offset + 1)


def _beyond(item: DownItem, due: int) -> Fault:
    return Fault(
        "TQ-DL-02",
        f"item {item.offset} of lane {item.lane.value} came where {due} is due",
        "the link began the lane anew meanwhile: nothing is lost, apply the bundle again or let the link go on",
    )


def _subject(item: DownItem) -> str:
    return f"{item.lane.value}-{item.offset}"


async def _next_offset(conn: Connection, lane: DownLane) -> int:
    row = await conn.fetch_one("SELECT next_offset FROM downlink WHERE lane = ?", (lane.value,))
    return 1 if row is None else int(row[0])


async def _advance(conn: Connection, item: DownItem) -> None:
    await conn.execute(
        "INSERT INTO downlink (lane, next_offset, digest) VALUES (?, ?, ?) ON CONFLICT (lane)"
        " DO UPDATE SET next_offset = excluded.next_offset, digest = excluded.digest",
        (item.lane.value, item.offset + 1, item_digest(item)),
    )


async def _refuse(conn: Connection, item: DownItem, fault: Fault, now: int) -> None:
    await conn.execute(
        "INSERT INTO downlink_refused (lane, offset, kind, id, body, code, what, refused_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (lane, offset) DO UPDATE SET kind = excluded.kind,"
        " id = excluded.id, body = excluded.body, code = excluded.code, what = excluded.what,"
        " refused_at = excluded.refused_at",
        (item.lane.value, item.offset, item.kind, item.id, item.body, fault.code, fault.what, now),
    )
    await raise_alarm(conn, AlarmKind.DOWNLINK_REFUSED, _subject(item), f"{fault.code}: {fault.what}", now)


async def _forget_refused(conn: Connection, item: DownItem, now: int) -> None:
    await conn.execute("DELETE FROM downlink_refused WHERE lane = ? AND offset = ?", (item.lane.value, item.offset))
    await clear_alarm(conn, AlarmKind.DOWNLINK_REFUSED, _subject(item), now)


async def _forget_moot(conn: Connection, item: DownItem, now: int) -> None:
    """A registry holds: what was refused of earlier ones, and parts that came before it, matter no more."""
    rows = await conn.fetch_all(
        "SELECT offset FROM downlink_refused AS r WHERE lane = ? AND (kind = ? AND offset < ?"
        f" OR {_NAMED_VERSION} < (SELECT max(version) FROM registry))",
        (DownLane.REGISTRY.value, RegistryKind.PART.value, item.offset),
    )
    for (offset,) in rows:
        await _forget_refused(conn, replace(item, offset=offset), now)


async def _forget_mended(conn: Connection, item: DownItem, now: int) -> None:
    """The hub sent a readable item of the same name: what was refused under it is settled."""
    rows = await conn.fetch_all(
        "SELECT offset FROM downlink_refused WHERE lane = ? AND kind = ? AND id = ?",
        (item.lane.value, item.kind, item.id),
    )
    for (offset,) in rows:
        await _forget_refused(conn, replace(item, offset=offset), now)
