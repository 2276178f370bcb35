"""SQL: what nodes report of themselves. Floor: central_sync/store; contracts in `port`."""

from collections.abc import Sequence

from central_sync.store.rows import AlarmRow, OperationRow
from central_sync.store.statements import Statements, inserted, inserted_once, marks_of, slices
from gridmodel.identity import NodeId

_ALARM = "node, id, kind, subject, at, detail, cleared_at"
_OPERATION = (
    "node, id, usage_point, meter, transformer, action, cause, basis, mandate, intent_at, sent_at, result_at, outcome"
)
_LATER = "coalesce(excluded.result_at, -1) > coalesce(relay_operation.result_at, -1)"
_PUT_OPERATION = (
    f"{inserted('relay_operation', f'{_OPERATION}, received_at')} ON CONFLICT (node, id) DO UPDATE SET"
    " sent_at = coalesce(relay_operation.sent_at, excluded.sent_at), "
    + "".join(
        f"{name} = CASE WHEN {_LATER} THEN excluded.{name} ELSE relay_operation.{name} END, "
        for name in ("basis", "outcome", "result_at")
    )
    + "received_at = excluded.received_at"
)


class SqlReports:
    """`ReportVerbs`."""

    _connection: Statements

    async def put_operations(self, rows: Sequence[OperationRow], now: int) -> None:
        """See `port`."""
        await self._connection.execute_many(
            _PUT_OPERATION,
            [
                (
                    *(row.node, row.id, row.usage_point, row.meter, row.transformer, row.action, row.cause),
                    *(row.basis, row.mandate, row.intent_at, row.sent_at, row.result_at, row.outcome, now),
                )
                for row in rows
            ],
        )

    async def operations(self, node: NodeId | None, usage_point: str | None, limit: int) -> list[OperationRow]:
        """See `port`."""
        rows = await self._connection.fetch_all(
            f"SELECT {_OPERATION} FROM relay_operation WHERE (node = ?1 OR ?1 IS NULL)"
            " AND (usage_point = ?2 OR ?2 IS NULL) ORDER BY intent_at DESC, node, id LIMIT ?3",
            (node, usage_point, limit),
        )
        return [OperationRow(*row) for row in rows]

    async def operations_of(self, node: NodeId, after: str, limit: int) -> list[OperationRow]:
        """See `port_recovery`."""
        rows = await self._connection.fetch_all(
            f"SELECT {_OPERATION} FROM relay_operation WHERE node = ? AND id > ? ORDER BY id LIMIT ?",
            (node, after, limit),
        )
        return [OperationRow(*row) for row in rows]

    async def operations_named(self, node: NodeId, ids: Sequence[str]) -> list[OperationRow]:
        """See `port_recovery`."""
        found: list[OperationRow] = []
        for some in slices(ids):
            rows = await self._connection.fetch_all(
                f"SELECT {_OPERATION} FROM relay_operation WHERE node = ? AND id IN ({marks_of(len(some))})"
                " ORDER BY id",
                (node, *some),
            )
            found += [OperationRow(*row) for row in rows]
        return found

    async def last_movements(self, node: NodeId) -> list[tuple[str, str, str | None]]:
        """See `port`."""
        rows = await self._connection.fetch_all(
            "SELECT usage_point, action, outcome FROM (SELECT usage_point, action, outcome, row_number() OVER"
            " (PARTITION BY usage_point ORDER BY intent_at DESC, id) AS place FROM relay_operation WHERE node = ?)"
            " AS ranked WHERE place = 1",
            (node,),
        )
        return [(row[0], row[1], row[2]) for row in rows]

    async def put_alarms(self, rows: Sequence[AlarmRow]) -> None:
        """See `port`."""
        await self._connection.execute_many(
            f"{inserted('alarm', _ALARM)} ON CONFLICT (node, id)"
            " DO UPDATE SET cleared_at = coalesce(alarm.cleared_at, excluded.cleared_at)",
            [(row.node, row.id, row.kind, row.subject, row.at, row.detail, row.cleared_at) for row in rows],
        )

    async def alarms(self, node: NodeId | None, limit: int, *, standing: bool) -> list[AlarmRow]:
        """See `port`."""
        only = " AND cleared_at IS NULL" if standing else ""
        rows = await self._connection.fetch_all(
            f"SELECT {_ALARM} FROM alarm WHERE (node = ?1 OR ?1 IS NULL){only} ORDER BY at DESC, node, id LIMIT ?2",
            (node, limit),
        )
        return [AlarmRow(*row) for row in rows]

    async def put_status(self, node: NodeId, status: bytes, at: int) -> None:
        """See `port`."""
        await self._connection.execute(
            "UPDATE node SET status = ?, status_at = ? WHERE id = ? AND coalesce(status_at, -1) <= ?",
            (status, at, node, at),
        )

    async def put_audit_head(self, node: NodeId, head_id: str, at: int, content: bytes) -> None:
        """See `port`."""
        await self._connection.execute(
            inserted_once("audit_head", "node, id, at, content"), (node, head_id, at, content)
        )
