"""Which consumers stand on a page: node by node in the order a person counts, all or those with something the matter.

Room: situation; payment walk. A page goes on after the id it ended with, so that lines never come twice while others
are added. The order of one node's points is worked out once for each of its registries.

Codes: TQ-HB-53 a place to go on from that is not known, -54 a list that there is not.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from enum import StrEnum

from central_sync.situation.nodes import NodeFault
from central_sync.store.port import HubStore
from gridmodel.clock import Compute
from gridmodel.identity import NodeId, counted

OWNERS_PER_READ = 5_000
"""Usage points taken in at once: a few milliseconds of the event loop."""
CREDITS_PER_READ = 500
"""Accounts summed in one read: some 25,000 entries."""
SCANNED_MAX = 5_000
"""Points looked through for one page of those that owe; a page may come short and still have a next one."""
NODES_ORDERED_MAX = 32
"""Nodes whose order is kept: 42,000 ids each."""

Place = tuple[NodeId, str]
"""A usage point and who speaks for it."""


class Matter(StrEnum):
    """What is the matter with the consumers that are listed."""

    ALL = "all"
    CUT = "cut"
    """Without supply, as their node last told, or not confirmed."""
    OWING = "owing"


def matter_of(text: str) -> Matter:
    """The list that a page or program asks for; raises NodeFault (TQ-HB-54)."""
    try:
        return Matter(text)
    except ValueError as error:
        raise _WrongList("TQ-HB-54", f"there is no list {text!r:.40}", f"use one of {', '.join(Matter)}") from error


class _WrongList(NodeFault):
    status = 400


CONNECTED = "connected"


def supply_after(action: str, outcome: str | None) -> str:
    """What a relay operation leaves behind: connected, disconnected, or unconfirmed."""
    if outcome == "withheld":
        return CONNECTED if action == "cut" else "disconnected"
    if outcome != "confirmed":
        return "unconfirmed"
    return "disconnected" if action == "cut" else CONNECTED


class Finding:
    """Pages of usage points."""

    def __init__(self, store: HubStore, compute: Compute) -> None:
        self._store = store
        self._compute = compute
        self._kept: OrderedDict[NodeId, tuple[int, list[str]]] = OrderedDict()

    async def page(self, node: NodeId | None, after: str, size: int, matter: Matter) -> tuple[list[Place], str | None]:
        """At most `size` places after the usage point `after` ("": from the first), and after which the next begins."""
        versions = await self._store.read(lambda tx: tx.registry_versions())
        nodes = sorted((one for one in versions if node in {None, one}), key=counted)
        begin = await self._owner_of(after) if after else None
        if matter is Matter.CUT:
            return await self._dark(nodes, begin, after, size)
        found: list[Place] = []
        scanned = 0
        for one in nodes:
            if begin is not None and counted(one) < counted(begin):
                continue
            ids = await self._ordered(one, versions[one])
            start = bisect_right(ids, counted(after), key=counted) if one == begin else 0
            for low in range(start, len(ids), CREDITS_PER_READ):
                part: Sequence[str] = ids[low : low + CREDITS_PER_READ]
                owing = await self._owing(part) if matter is Matter.OWING else part
                found += [(one, point) for point in part if point in owing]
                scanned += len(part)
                if len(found) > size:
                    return found[:size], found[size - 1][1]
                if scanned >= SCANNED_MAX and part[-1] != ids[-1]:
                    return found, part[-1]
        return found, None

    async def _owner_of(self, point: str) -> NodeId:
        owner = (await self._store.read(lambda tx: tx.owners("usage_point", [point]))).get(point)
        if owner is None:
            raise NodeFault("TQ-HB-53", f"no usage point {point!r:.70} to go on from", "begin with the first page")
        return owner.node

    async def _ordered(self, node: NodeId, version: int) -> list[str]:
        """The usage points of a node as a person counts them."""
        kept = self._kept.get(node)
        if kept is None or kept[0] != version:
            ids: list[str] = []
            while True:
                last = ids[-1] if ids else ""
                rows = await self._store.read(
                    lambda tx, last=last: tx.owned("usage_point", node, last, OWNERS_PER_READ)  # type: ignore[misc]
                )
                ids += [row.id for row in rows]
                if len(rows) < OWNERS_PER_READ:
                    break
            kept = self._kept[node] = (version, await self._compute.run(_in_order, ids))
        self._kept.move_to_end(node)
        while len(self._kept) > NODES_ORDERED_MAX:
            self._kept.popitem(last=False)
        return kept[1]

    async def _owing(self, points: Sequence[str]) -> frozenset[str]:
        credits_tiyin = await self._store.read(lambda tx: tx.credits(points))
        return frozenset(point for point, amount_tiyin in credits_tiyin.items() if amount_tiyin < 0)

    async def _dark(
        self, nodes: Sequence[NodeId], begin: NodeId | None, after: str, size: int
    ) -> tuple[list[Place], str | None]:
        """Few enough to be read at once: those whose last movement left them without supply, or in doubt."""
        found: list[Place] = []
        for one in nodes:
            if begin is not None and counted(one) < counted(begin):
                continue
            moved = await self._store.read(lambda tx, one=one: tx.last_movements(one))  # type: ignore[misc]
            without = [point for point, action, outcome in moved if supply_after(action, outcome) != CONNECTED]
            dark = await self._compute.run(_in_order, without)
            found += [(one, point) for point in dark if one != begin or counted(point) > counted(after)]
            if len(found) > size:
                return found[:size], found[size - 1][1]
        return found, None


def _in_order(ids: list[str]) -> list[str]:
    """Pure; 42,000 ids are 100 ms, so off the event loop."""
    return sorted(ids, key=counted)
