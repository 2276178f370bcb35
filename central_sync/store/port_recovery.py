"""What is compared after a backup was put back, as verbs of a transaction: a part of `port`. Floor: central_sync/store.

On the walk of link loss.
"""

from collections.abc import Sequence
from typing import Protocol

from central_sync.store.rows import FieldWorkRow, LedgerRow, OperationRow
from gridmodel.identity import NodeId
from protocols.sync.attest import Held, Tail
from protocols.sync.lanes import DownLane


class RecoveryVerbs(Protocol):
    """Tickets of nodes, counters that never sink, and facts of one node page by page."""

    async def ticket(self, node: NodeId) -> Held | None:
        """What is remembered of the node's tickets; None before its first attestation."""
        ...

    async def put_ticket(self, node: NodeId, held: Held) -> None:
        """Remember that."""
        ...

    async def forget_tickets(self) -> None:
        """Forget all of them: whoever attests next goes on."""
        ...

    async def standing_heads(self, node: NodeId) -> dict[str, int]:
        """Counters of what was minted for the node or issued to it; none of them ever sinks in one life of the hub."""
        ...

    async def down_tail(self, node: NodeId, lane: DownLane, offset: int) -> Tail | None:
        """(offset, digest) of the item under this number; None where there is none."""
        ...

    async def ledger_of(self, node: NodeId, after: str, limit: int) -> list[LedgerRow]:
        """Entries about the node's accounts, by id after `after`."""
        ...

    async def operations_of(self, node: NodeId, after: str, limit: int) -> list[OperationRow]:
        """Relay operations of the node, by id after `after`."""
        ...

    async def operations_named(self, node: NodeId, ids: Sequence[str]) -> list[OperationRow]:
        """These relay operations of the node, by id."""
        ...

    async def field_works_of(self, node: NodeId, after: str, limit: int) -> list[FieldWorkRow]:
        """Field works of the node, by id after `after`."""
        ...
