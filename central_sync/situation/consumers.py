"""One consumer as the hub knows it: ledger, notices, protections, what its node did. Room: situation; payment walk.

The node decides and explains; the hub shows what it was told and says how old that is. Credit is derived here as
everywhere, from the entries known here.
"""

import json
from typing import Any

from central_sync.situation.finding import CONNECTED, Finding, Matter, supply_after
from central_sync.situation.nodes import NodeFault, operation_told
from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows import IssuedRow, LedgerRow, OperationRow
from gridmodel.account import credit_tiyin, overdue
from gridmodel.clock import Compute, UtilityClock
from gridmodel.identity import NodeId
from gridmodel.period import rfc3339

ENTRIES_MAX = 5_000
"""Entries of one account: forty years of monthly charges and payments are 1,000."""
SHOWN_MAX = 100


class Consumers:
    """Answers about single accounts."""

    def __init__(self, store: HubStore, clock: UtilityClock, compute: Compute) -> None:
        self._store = store
        self._clock = clock
        self._finding = Finding(store, compute)

    async def ledger(self, account: str) -> dict[str, Any]:
        """An account's entries, newest first, with the credit and what is overdue; raises NodeFault (TQ-HB-51)."""
        now = self._clock.now()

        async def verb(tx: HubTransaction) -> tuple[NodeId, list[LedgerRow]]:
            owner = (await tx.owners("account", [account])).get(account)
            if owner is None:
                raise NodeFault("TQ-HB-51", f"no account {account!r:.70} is known here", "import its registry")
            return owner.node, await tx.account_entries(account, ENTRIES_MAX)

        node, rows = await self._store.read(verb)
        return {"account": account, "node": node} | _ledger(rows, now)

    async def page(self, node: str | None, after: str, limit: int, matter: Matter = Matter.ALL) -> dict[str, Any]:
        """Usage points after `after`, in the order a person counts: account, credit, supply as the node last told.

        `next` continues. Raises NodeFault (TQ-HB-53).
        """
        wanted = None if node is None else NodeId(node)
        places, following = await self._finding.page(wanted, after, min(limit, SHOWN_MAX), matter)

        async def verb(tx: HubTransaction) -> list[dict[str, Any]]:
            found = []
            for owner, point in places:
                account = await tx.account_at(point)
                entries = [] if account is None else await tx.account_entries(account, ENTRIES_MAX)
                operations = await tx.operations(owner, point, 1)
                found.append(
                    {
                        "usage_point": point,
                        "node": owner,
                        "account": account,
                        "credit_tiyin": credit_tiyin(row.entry for row in entries),
                        "supply": _supply(operations[0] if operations else None),
                        "since": rfc3339(operations[0].intent_at) if operations else None,
                    }
                )
            return found

        return {"consumers": await self._store.read(verb), "next": following}

    async def point_of(self, name: str) -> str:
        """The usage point that `name` is, or whose account it is; raises NodeFault (TQ-HB-52)."""

        async def verb(tx: HubTransaction) -> str | None:
            if (await tx.owners("usage_point", [name])).get(name) is not None:
                return name
            owner = (await tx.owners("account", [name])).get(name)
            return None if owner is None else owner.usage_point

        found = await self._store.read(verb)
        if found is None:
            raise NodeFault("TQ-HB-52", f"no account or usage point {name!r:.70} is known here", "check the number")
        return found

    async def explain(self, usage_point: str) -> dict[str, Any]:
        """Why a usage point is on or off, as far as the hub was told; raises NodeFault (TQ-HB-52)."""
        now = self._clock.now()

        async def verb(tx: HubTransaction) -> dict[str, Any]:
            owner = (await tx.owners("usage_point", [usage_point])).get(usage_point)
            if owner is None:
                raise NodeFault("TQ-HB-52", f"no usage point {usage_point!r:.70} is known here", "import its registry")
            account = await tx.account_at(usage_point)
            node = await tx.node(owner.node)
            entries = [] if account is None else await tx.account_entries(account, ENTRIES_MAX)
            notices = [] if account is None else await tx.issued_about("notice", account, SHOWN_MAX)
            operations = await tx.operations(owner.node, usage_point, SHOWN_MAX)
            return {
                "usage_point": usage_point,
                "node": owner.node,
                "told_at": None if node is None or node.last_seen is None else rfc3339(node.last_seen),
                "account": account,
                "supply": _supply(operations[0] if operations else None),
                "operations": [operation_told(row) for row in operations],
                "notices": [_issued(row) for row in notices],
                "protections": [_issued(row) for row in await tx.issued_about("protection", usage_point, SHOWN_MAX)],
                "ledger": _ledger(entries, now),
            }

        return await self._store.read(verb)


def _supply(last: OperationRow | None) -> str:
    """What the latest relay operation left behind; a point that was never moved counts as connected."""
    return CONNECTED if last is None else supply_after(last.action, last.outcome)


def _ledger(rows: list[LedgerRow], now: int) -> dict[str, Any]:
    entries = [row.entry for row in rows]
    late = overdue(entries, now)
    return {
        "credit_tiyin": credit_tiyin(entries),
        "overdue_tiyin": late.amount_tiyin,
        "oldest_due_at": None if late.oldest_due_at is None else rfc3339(late.oldest_due_at),
        "entries": [
            {
                "id": row.entry.id,
                "kind": row.entry.kind.value,
                "amount_tiyin": row.entry.amount_tiyin,
                "at": rfc3339(row.entry.at),
                "due_at": None if row.entry.due_at is None else rfc3339(row.entry.due_at),
                "channel": row.entry.channel,
                "origin": row.origin,
                "intact": row.intact,
            }
            for row in rows[:SHOWN_MAX]
        ],
    }


def _issued(row: IssuedRow) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(row.content)
    return content | {"issued_at": rfc3339(row.issued_at)}
