"""SQL: field works as offices recorded them. Floor: central_sync/store; contracts in `port`; reading walk."""

from collections.abc import Sequence

from central_sync.store.rows import FieldWorkRow
from central_sync.store.statements import Statements, replaced
from gridmodel.identity import NodeId

_COLUMNS = "node, id, at, meter, body, received_at, state, code, reason, version"


class SqlFieldWorks:
    """`FieldWorkVerbs`."""

    _connection: Statements

    async def put_field_works(self, rows: Sequence[FieldWorkRow]) -> None:
        """See `port`."""
        await self._connection.execute_many(
            replaced("field_work", _COLUMNS, "node, id"),
            [
                (
                    *(row.node, row.id, row.at, row.meter, row.body, row.received_at),
                    *(row.state, row.code, row.reason, row.version),
                )
                for row in rows
            ],
        )

    async def field_work(self, node: NodeId, work: str) -> FieldWorkRow | None:
        """See `port`."""
        row = await self._connection.fetch_one(
            f"SELECT {_COLUMNS} FROM field_work WHERE node = ? AND id = ?", (node, work)
        )
        return None if row is None else FieldWorkRow(*row)

    async def field_works(self, node: NodeId, version: int) -> list[FieldWorkRow]:
        """See `port`."""
        rows = await self._connection.fetch_all(
            f"SELECT {_COLUMNS} FROM field_work WHERE node = ? AND (state <> 'merged' OR version > ?) ORDER BY id",
            (node, version),
        )
        return [FieldWorkRow(*row) for row in rows]

    async def field_works_of(self, node: NodeId, after: str, limit: int) -> list[FieldWorkRow]:
        """See `port_recovery`."""
        rows = await self._connection.fetch_all(
            f"SELECT {_COLUMNS} FROM field_work WHERE node = ? AND id > ? ORDER BY id LIMIT ?",
            (node, after, limit),
        )
        return [FieldWorkRow(*row) for row in rows]

    async def recent_field_works(self, node: NodeId | None, limit: int) -> list[FieldWorkRow]:
        """See `port`."""
        rows = await self._connection.fetch_all(
            f"SELECT {_COLUMNS} FROM field_work WHERE (node = ?1 OR ?1 IS NULL)"
            " ORDER BY received_at DESC, node, id LIMIT ?2",
            (node, limit),
        )
        return [FieldWorkRow(*row) for row in rows]

    async def count_field_works(self, node: NodeId) -> int:
        """See `port`."""
        row = await self._connection.fetch_one("SELECT count(*) FROM field_work WHERE node = ?", (node,))
        return 0 if row is None else int(row[0])

    async def nodes_with_field_works(self) -> list[NodeId]:
        """See `port`."""
        rows = await self._connection.fetch_all(
            "SELECT DISTINCT node FROM field_work WHERE state = 'waiting' ORDER BY node"
        )
        return [NodeId(row[0]) for row in rows]

    async def rejudge_field_works(self, node: NodeId) -> None:
        """See `port`."""
        await self._connection.execute(
            "UPDATE field_work SET state = 'waiting', version = NULL WHERE node = ?", (node,)
        )
