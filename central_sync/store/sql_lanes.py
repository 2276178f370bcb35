"""SQL: nodes, lanes, the batch log, registries. Floor: central_sync/store; contracts in `port`."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from central_sync.store.rows import BatchRow, LinkSpan, NodeRow, OwnerRow
from central_sync.store.statements import Statements, inserted, inserted_once, marks_of, replaced, slices
from gridmodel.identity import NodeId
from protocols.sync.lanes import Lane, LaneMark

_BATCH = "node, lane, epoch, seq, digest, registry_version, created_at, received_at, code, reason, data"


class SqlLanes:
    """`LaneVerbs` and `RegistryVerbs`."""

    _connection: Statements

    async def hub_value(self, key: str) -> str | None:
        """See `port`."""
        row = await self._connection.fetch_one("SELECT value FROM hub_state WHERE key = ?", (key,))
        return None if row is None else str(row[0])

    async def set_hub_value(self, key: str, value: str) -> None:
        """See `port`."""
        await self._connection.execute(replaced("hub_state", "key, value", "key"), (key, value))

    async def enlist(self, node: NodeId, public_key: str, districts: Sequence[str]) -> None:
        """See `port`."""
        await self._connection.execute(
            "INSERT INTO node (id, public_key, districts, epoch) VALUES (?, ?, ?, 0)"
            " ON CONFLICT (id) DO UPDATE SET public_key = excluded.public_key, districts = excluded.districts",
            (node, public_key, json.dumps(list(districts))),
        )

    async def node(self, node: NodeId) -> NodeRow | None:
        """See `port`."""
        row = await self._connection.fetch_one(
            "SELECT id, public_key, districts, epoch, last_seen, status, status_at FROM node WHERE id = ?", (node,)
        )
        return None if row is None else _node(row)

    async def nodes(self) -> list[NodeRow]:
        """See `port`."""
        rows = await self._connection.fetch_all(
            "SELECT id, public_key, districts, epoch, last_seen, status, status_at FROM node ORDER BY id"
        )
        return [_node(row) for row in rows]

    async def set_epoch(self, node: NodeId, epoch: int) -> None:
        """See `port`."""
        await self._connection.execute("UPDATE node SET epoch = ? WHERE id = ?", (epoch, node))

    async def marks(self, node: NodeId) -> dict[Lane, LaneMark]:
        """See `port`."""
        rows = await self._connection.fetch_all("SELECT lane, epoch, seq, hash FROM lane WHERE node = ?", (node,))
        return {Lane(lane): LaneMark(epoch, seq, bytes(digest)) for lane, epoch, seq, digest in rows}

    async def set_mark(self, node: NodeId, lane: Lane, mark: LaneMark) -> None:
        """See `port`."""
        await self._connection.execute(
            replaced("lane", "node, lane, epoch, seq, hash", "node, lane"),
            (node, lane.value, mark.epoch, mark.seq, mark.hash),
        )

    async def fork_epoch(self, node: NodeId, lane: Lane, nonce: bytes) -> int | None:
        """See `port`."""
        row = await self._connection.fetch_one(
            "SELECT epoch FROM fork_request WHERE node = ? AND lane = ? AND nonce = ?", (node, lane.value, nonce)
        )
        return None if row is None else int(row[0])

    async def put_fork(self, node: NodeId, lane: Lane, nonce: bytes, epoch: int, now: int) -> None:
        """See `port`."""
        await self._connection.execute(
            inserted("fork_request", "node, lane, nonce, epoch, minted_at"),
            (node, lane.value, nonce, epoch, now),
        )

    async def batch_digest(self, node: NodeId, lane: Lane, epoch: int, seq: int) -> bytes | None:
        """See `port`."""
        row = await self._connection.fetch_one(
            "SELECT digest FROM batch WHERE node = ? AND lane = ? AND epoch = ? AND seq = ?",
            (node, lane.value, epoch, seq),
        )
        return None if row is None else bytes(row[0])

    async def put_batch(self, row: BatchRow) -> None:
        """See `port`."""
        await self._connection.execute(
            replaced("batch", f"{_BATCH}, outcome", "node, lane, epoch, seq"),
            (
                *(row.node, row.lane.value, row.epoch, row.seq, row.digest, row.registry_version),
                *(row.created_at, row.received_at, row.quarantine, row.reason, row.data),
                "quarantined" if row.quarantine else "applied",
            ),
        )

    async def quarantined(
        self,
        node: NodeId | None,
        limit: int,
        *,
        codes: Sequence[str] = (),
        after: BatchRow | None = None,
        data: bool = False,
    ) -> list[BatchRow]:
        """See `port`."""
        columns = _BATCH if data else _BATCH.removesuffix("data") + "NULL"
        where, parameters = "outcome = 'quarantined'", list[Any]()
        if node is not None:
            where, parameters = f"{where} AND node = ?", [*parameters, node]
        if codes:
            where, parameters = f"{where} AND code IN ({marks_of(len(codes))})", [*parameters, *codes]
        if after is not None:
            where = f"{where} AND (received_at, node, lane, epoch, seq) > (?, ?, ?, ?, ?)"
            parameters += [after.received_at, after.node, after.lane.value, after.epoch, after.seq]
        rows = await self._connection.fetch_all(
            f"SELECT {columns} FROM batch WHERE {where} ORDER BY received_at, node, lane, epoch, seq LIMIT ?",
            (*parameters, limit),
        )
        return [BatchRow(row[0], Lane(row[1]), *row[2:]) for row in rows]

    async def quarantined_digests(self, node: NodeId, digests: Sequence[bytes]) -> set[bytes]:
        """See `port`."""
        if not digests:
            return set()
        rows = await self._connection.fetch_all(
            "SELECT digest FROM batch WHERE node = ? AND outcome = 'quarantined' AND lane = ?"
            f" AND digest IN ({marks_of(len(digests))})",
            (node, Lane.INTERVAL.value, *digests),
        )
        return {bytes(digest) for (digest,) in rows}

    async def count_quarantined(self) -> dict[NodeId, int]:
        """See `port`."""
        rows = await self._connection.fetch_all(
            "SELECT node, count(*) FROM batch WHERE outcome = 'quarantined' GROUP BY node ORDER BY node"
        )
        return {NodeId(node): int(count) for node, count in rows}

    async def seen(self, node: NodeId, now: int, pause_s_max: int) -> None:
        """See `port`."""
        row = await self._connection.fetch_one("SELECT last_seen FROM node WHERE id = ?", (node,))
        last = None if row is None else row[0]
        if last is None or now > last:
            await self._connection.execute("UPDATE node SET last_seen = ? WHERE id = ?", (now, node))
        if last is None or now - last > pause_s_max:
            await self._connection.execute(inserted_once("link_span", "node, began_at, last_at"), (node, now, now))
        else:
            await self._connection.execute(
                "UPDATE link_span SET last_at = ?1 WHERE last_at < ?1 AND node = ?2"
                " AND began_at = (SELECT max(began_at) FROM link_span WHERE node = ?2)",
                (now, node),
            )

    async def link_spans(self, node: NodeId, limit: int) -> list[LinkSpan]:
        """See `port`."""
        rows = await self._connection.fetch_all(
            "SELECT began_at, last_at FROM link_span WHERE node = ? ORDER BY began_at DESC LIMIT ?", (node, limit)
        )
        return [LinkSpan(*row) for row in rows]

    async def registry_versions(self) -> dict[NodeId, int]:
        """See `port`."""
        rows = await self._connection.fetch_all("SELECT node, max(version) FROM registry GROUP BY node ORDER BY node")
        return {NodeId(node): int(version) for node, version in rows}

    async def registry_document(self, node: NodeId, version: int) -> bytes | None:
        """See `port`."""
        row = await self._connection.fetch_one(
            "SELECT document FROM registry WHERE node = ? AND version = ?", (node, version)
        )
        return None if row is None else bytes(row[0])

    async def put_registry(
        self, node: NodeId, version: int, document: bytes, owners: Iterable[OwnerRow], now: int
    ) -> None:
        """See `port`."""
        await self._connection.execute(
            inserted("registry", "node, version, document, received_at"), (node, version, document, now)
        )
        await self._connection.execute_many(
            # Whose it is never changes here: another node's becomes a NULL, which is refused.
            f"{inserted('owner', 'kind, id, node, usage_point')} ON CONFLICT (kind, id) DO UPDATE SET"
            " usage_point = excluded.usage_point, node = CASE WHEN owner.node = excluded.node THEN owner.node END",
            ((owner.kind, owner.id, owner.node, owner.usage_point) for owner in owners),
        )

    async def owners(self, kind: str, ids: Sequence[str]) -> dict[str, OwnerRow]:
        """See `port`."""
        found: dict[str, OwnerRow] = {}
        for some in slices(ids):
            rows = await self._connection.fetch_all(
                f"SELECT kind, id, node, usage_point FROM owner WHERE kind = ? AND id IN ({marks_of(len(some))})",
                (kind, *some),
            )
            found.update((row[1], OwnerRow(*row)) for row in rows)
        return found

    async def owned(self, kind: str, node: NodeId | None, after: str, limit: int) -> list[OwnerRow]:
        """See `port`."""
        rows = await self._connection.fetch_all(
            "SELECT kind, id, node, usage_point FROM owner WHERE kind = ?1 AND (node = ?2 OR ?2 IS NULL) AND id > ?3"
            " ORDER BY id LIMIT ?4",
            (kind, node, after, limit),
        )
        return [OwnerRow(*row) for row in rows]

    async def account_at(self, usage_point: str) -> str | None:
        """See `port`."""
        row = await self._connection.fetch_one(
            "SELECT id FROM owner WHERE kind = 'account' AND usage_point = ?", (usage_point,)
        )
        return None if row is None else str(row[0])


def _node(row: tuple[Any, ...]) -> NodeRow:
    return NodeRow(
        id=NodeId(row[0]),
        public_key=row[1],
        districts=tuple(json.loads(row[2])),
        epoch=row[3],
        last_seen=row[4],
        status=row[5],
        status_at=row[6],
    )
