"""SQL: the per-node logs down, and the parts of registries in them. Floor: central_sync/store; contracts in `port`.

On the walk of link loss.
"""

from collections.abc import Sequence

from central_sync.store.statements import Statements, inserted, marks_of, replaced, slices
from gridmodel.identity import NodeId
from protocols.sync.chunk.registries import ZSTD_MAGIC, Manifest
from protocols.sync.lanes import DownLane
from protocols.sync.pull import DownItem

_HEADS = "SELECT " + ", ".join(
    f"(SELECT max(number) FROM down_item WHERE node = ?1 AND lane = '{lane.value}')" for lane in DownLane
)
"""The last number of every lane, each by one step down the primary key: a log of years costs no more than a day's."""


class SqlDown:
    """`DownVerbs`."""

    _connection: Statements

    async def append_down(
        self, node: NodeId, lane: DownLane, items: Sequence[tuple[str, str, bytes]], now: int
    ) -> None:
        """See `port`."""
        head = await self._connection.fetch_one(
            "SELECT max(number) FROM down_item WHERE node = ? AND lane = ?", (node, lane.value)
        )
        first = 1 + int((head and head[0]) or 0)
        await self._connection.execute_many(
            inserted("down_item", "node, lane, number, kind, id, body, created_at"),
            (
                (node, lane.value, number, kind, item_id, body, now)
                for number, (kind, item_id, body) in enumerate(items, start=first)
            ),
        )

    async def down_items(self, node: NodeId, lane: DownLane, after: int, limit: int, bytes_max: int) -> list[DownItem]:
        """See `port`."""
        sizes = await self._connection.fetch_all(
            "SELECT number, length(body) FROM down_item WHERE node = ? AND lane = ? AND number > ?"
            " ORDER BY number LIMIT ?",
            (node, lane.value, after, limit),
        )
        last, total = after, 0
        for number, size in sizes:
            if last > after and total + size > bytes_max:
                break
            last, total = number, total + size
        rows = await self._connection.fetch_all(
            "SELECT number, kind, id, body FROM down_item WHERE node = ? AND lane = ? AND number > ? AND number <= ?"
            " ORDER BY number",
            (node, lane.value, after, last),
        )
        return [DownItem(lane, number, kind, item_id, bytes(body)) for number, kind, item_id, body in rows]

    async def down_bodies(self, node: NodeId, lane: DownLane, ids: Sequence[str]) -> dict[str, bytes]:
        """See `port`."""
        found: dict[str, bytes] = {}
        for some in slices(ids):
            rows = await self._connection.fetch_all(
                "SELECT id, body FROM down_item WHERE number IN (SELECT max(number) FROM down_item WHERE node = ?"
                f" AND lane = ? AND id IN ({marks_of(len(some))}) GROUP BY id) AND node = ? AND lane = ?",
                (node, lane.value, *some, node, lane.value),
            )
            found.update((name, bytes(body)) for name, body in rows)
        return found

    async def registry_parts(self, node: NodeId, version: int) -> tuple[bytes, ...]:
        """See `port`."""
        row = await self._connection.fetch_one(
            "SELECT document FROM registry WHERE node = ? AND version = ? AND substr(document, 1, 4) <> ?",
            (node, version, ZSTD_MAGIC),
        )
        names = [] if row is None else [digest.hex() for digest in Manifest.from_bytes(bytes(row[0])).parts]
        bodies = await self.down_bodies(node, DownLane.REGISTRY, names)
        return tuple(bodies[name] for name in names if name in bodies)

    async def down_heads(self, node: NodeId) -> dict[DownLane, int]:
        """See `port`."""
        heads = await self._connection.fetch_one(_HEADS, (node,)) or ()
        return {lane: int(head or 0) for lane, head in zip(DownLane, heads, strict=True)}

    async def down_marks(self, node: NodeId) -> dict[DownLane, int]:
        """See `port`."""
        rows = dict(await self._connection.fetch_all("SELECT lane, number FROM down_mark WHERE node = ?", (node,)))
        return {lane: int(rows.get(lane.value, 0)) for lane in DownLane}

    async def put_down_mark(self, node: NodeId, lane: DownLane, offset: int, now: int) -> None:
        """See `port`."""
        await self._connection.execute(
            replaced("down_mark", "node, lane, number, heard_at", "node, lane"),
            (node, lane.value, offset, now),
        )
