"""SQL: tickets of nodes, and counters that never sink. Floor: central_sync/store; contracts in `port_recovery`."""

from central_sync.store.statements import Statements, replaced
from gridmodel.identity import NodeId
from protocols.sync.attest import Held, Tail, item_digest
from protocols.sync.lanes import DownLane
from protocols.sync.pull import DownItem

_ISSUED = "SELECT count(*) FROM issued WHERE node = ?1 AND kind"
_HEADS = (
    ("epoch", "SELECT epoch FROM node WHERE id = ?1"),
    ("policy", f"{_ISSUED} = 'mandate'"),
    ("revocations", f"{_ISSUED} LIKE '%revo%'"),
    ("issued", f"{_ISSUED} <> ''"),
    ("log", "SELECT count(*) FROM audit_head WHERE node = ?1"),
    *(
        (f"down-{lane.value}", f"SELECT max(number) FROM down_item WHERE node = ?1 AND lane = '{lane.value}'")
        for lane in DownLane
    ),
)


class SqlRecovery:
    """`RecoveryVerbs`."""

    _connection: Statements

    async def ticket(self, node: NodeId) -> Held | None:
        """See `port_recovery`."""
        row = await self._connection.fetch_one(
            "SELECT ticket, at, challenge, challenged_at FROM ticket WHERE node = ?", (node,)
        )
        return None if row is None else Held(bytes(row[0]), int(row[1]), bytes(row[2]), int(row[3]))

    async def put_ticket(self, node: NodeId, held: Held) -> None:
        """See `port_recovery`."""
        await self._connection.execute(
            replaced("ticket", "node, ticket, at, challenge, challenged_at", "node"),
            (node, held.ticket, held.at, held.challenge, held.challenged_at),
        )

    async def forget_tickets(self) -> None:
        """See `port_recovery`."""
        await self._connection.execute("DELETE FROM ticket")

    async def standing_heads(self, node: NodeId) -> dict[str, int]:
        """See `port_recovery`."""
        queries = ", ".join(f"({query})" for _, query in _HEADS)
        row = await self._connection.fetch_one(f"SELECT {queries}", (node,)) or ()
        return {name: int(count or 0) for (name, _), count in zip(_HEADS, row, strict=True)}

    async def down_tail(self, node: NodeId, lane: DownLane, offset: int) -> Tail | None:
        """See `port_recovery`."""
        row = await self._connection.fetch_one(
            "SELECT kind, id, body FROM down_item WHERE node = ? AND lane = ? AND number = ?",
            (node, lane.value, offset),
        )
        return None if row is None else (offset, item_digest(DownItem(lane, offset, row[0], row[1], bytes(row[2]))))
