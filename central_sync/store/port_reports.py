"""What nodes reported, as verbs of a transaction: a part of `port`. Floor: central_sync/store."""

from collections.abc import Sequence
from typing import Protocol

from central_sync.store.rows import AlarmRow, FieldWorkRow, OperationRow
from gridmodel.identity import NodeId


class ReportVerbs(Protocol):
    """What nodes report of themselves."""

    async def put_operations(self, rows: Sequence[OperationRow], now: int) -> None:
        """Keep relay operations: what was unknown of one (sent, result, outcome) is filled in, nothing is unset."""
        ...

    async def last_movements(self, node: NodeId) -> list[tuple[str, str, str | None]]:
        """(usage point, action, outcome) of the latest relay operation of every point of the node that had one."""
        ...

    async def operations(self, node: NodeId | None, usage_point: str | None, limit: int) -> list[OperationRow]:
        """Relay operations, newest intent first."""
        ...

    async def put_alarms(self, rows: Sequence[AlarmRow]) -> None:
        """Keep alarms; a clearing stays whatever order the two came in."""
        ...

    async def alarms(self, node: NodeId | None, limit: int, *, standing: bool) -> list[AlarmRow]:
        """Alarms, newest first."""
        ...

    async def put_status(self, node: NodeId, status: bytes, at: int) -> None:
        """The node's latest status; an older one is ignored."""
        ...

    async def put_audit_head(self, node: NodeId, head_id: str, at: int, content: bytes) -> None:
        """Keep the head of a node's audit chain."""
        ...


class FieldWorkVerbs(Protocol):
    """What offices recorded of meters."""

    async def put_field_works(self, rows: Sequence[FieldWorkRow]) -> None:
        """Keep works, or what became of them; the caller has looked for conflicts in the same transaction."""
        ...

    async def field_work(self, node: NodeId, work: str) -> FieldWorkRow | None:
        """One work."""
        ...

    async def field_works(self, node: NodeId, version: int) -> list[FieldWorkRow]:
        """The works of a node that its registry `version` does not hold, by id."""
        ...

    async def recent_field_works(self, node: NodeId | None, limit: int) -> list[FieldWorkRow]:
        """The latest to arrive, newest first."""
        ...

    async def count_field_works(self, node: NodeId) -> int:
        """How many there are of a node."""
        ...

    async def nodes_with_field_works(self) -> list[NodeId]:
        """Nodes that have works which wait to be judged."""
        ...

    async def rejudge_field_works(self, node: NodeId) -> None:
        """Let every work of the node wait again: its registry changed."""
        ...
