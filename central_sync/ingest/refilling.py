"""A hub put back from a backup: its new incarnation, and who has refilled it. Floor: central_sync/ingest; link loss.

Whoever restores a hub's database says so by `central-sync restored`. From then on the hub has another name, which every
node notices; each compares its facts with the hub by id and offers again what the hub lacks. An alarm of the hub stands
until every node that ever spoke has said that nothing is left.
"""

from typing import Any

from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows import HUB, AlarmRow
from gridmodel.clock import Entropy, UtilityClock
from gridmodel.event import AlarmKind
from gridmodel.identity import NodeId, new_id

INCARNATION = "incarnation"
RESTORED_AT = "restored_at"
"""The hub's mark: when it was last said to be put back from a backup, UTC seconds; empty once it is refilled."""
_SUBJECT = "hub"


async def restored(store: HubStore, clock: UtilityClock, entropy: Entropy) -> dict[str, Any]:
    """Give the hub a new incarnation; nobody but the commander of a stopped hub calls this."""
    now, fresh = clock.now(), new_id("hub", entropy)

    async def verb(tx: HubTransaction) -> dict[str, Any]:
        before = await tx.hub_value(INCARNATION)
        await tx.set_hub_value(INCARNATION, fresh)
        await tx.set_hub_value(RESTORED_AT, str(now))
        await tx.forget_tickets()
        await tx.put_alarms([_alarm(now, None)])
        nodes = await _to_refill(tx)
        return {"incarnation": fresh, "before": before, "restored_at": now, "nodes_to_refill": nodes}

    return await store.write(verb)


async def node_refilled(tx: HubTransaction, node: NodeId, now: int) -> None:
    """A node said that nothing is left to tell; ends the alarm with the last of them."""
    await tx.set_hub_value(_mark(node), str(now))
    at = await tx.hub_value(RESTORED_AT)
    if at and not await _to_refill(tx):
        await tx.set_hub_value(RESTORED_AT, "")
        await tx.put_alarms([_alarm(int(at), now)])


async def refilling(tx: HubTransaction) -> dict[str, Any]:
    """When the hub was put back, and which nodes have not refilled it since; both empty when nothing is left."""
    at = await tx.hub_value(RESTORED_AT)
    return {"restored_at": int(at) if at else None, "nodes_to_refill": await _to_refill(tx) if at else []}


async def _to_refill(tx: HubTransaction) -> list[str]:
    """Nodes that ever spoke and have said nothing of their facts since the hub was put back."""
    since = int(await tx.hub_value(RESTORED_AT) or 0)
    return [
        str(row.id)
        for row in await tx.nodes()
        if row.last_seen is not None and int(await tx.hub_value(_mark(row.id)) or -1) < since
    ]


def _mark(node: NodeId) -> str:
    return f"refilled.{node}"


def _alarm(at: int, cleared_at: int | None) -> AlarmRow:
    detail = "this hub was put back from a backup; its nodes refill it, and cut nobody before they have"
    return AlarmRow(HUB, f"restored-{at}", AlarmKind.HUB_ROLLED_BACK.value, _SUBJECT, at, detail, cleared_at)
