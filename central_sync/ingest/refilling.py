"""A hub put back from a backup: its new incarnation, and who has refilled it. Floor: central_sync/ingest; link loss.

Whoever restores a hub's database says so by `central-sync restored`. From then on the hub has another name, which every
node notices; each compares its facts with the hub by id and offers again what the hub lacks. An alarm of the hub stands
until every node that ever spoke has said that nothing is left. Who does not say so is found out: nodes have seen
counters of the hub that are higher than they are now.
"""

from collections.abc import Sequence
from typing import Any

from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows import HUB, AlarmRow
from gridmodel.clock import Entropy, UtilityClock
from gridmodel.event import AlarmKind
from gridmodel.identity import NodeId, new_id

INCARNATION = "incarnation"
RESTORED_AT = "restored_at"
"""The hub's mark: when it was last said to be put back from a backup, UTC seconds; empty once it is refilled."""
WENT_BACK = "went_back"
"""What nodes said of a hub that was put back and nobody said so: "TIME node counters"; empty otherwise."""
_SUBJECT = "hub"


async def restored(store: HubStore, clock: UtilityClock, entropy: Entropy) -> dict[str, Any]:
    """Give the hub a new incarnation; nobody but the commander of a stopped hub calls this."""
    now, fresh = clock.now(), new_id("hub", entropy)

    async def verb(tx: HubTransaction) -> dict[str, Any]:
        before = await tx.hub_value(INCARNATION)
        if (noted := await tx.hub_value(WENT_BACK)) and before is not None:
            await tx.put_alarms([_went_back(before, noted, now)])
        await tx.set_hub_value(INCARNATION, fresh)
        await tx.set_hub_value(RESTORED_AT, str(now))
        await tx.set_hub_value(WENT_BACK, "")
        await tx.forget_tickets()
        await tx.put_alarms([_alarm(now, None)])
        nodes = await _to_refill(tx)
        return {"incarnation": fresh, "before": before, "restored_at": now, "nodes_to_refill": nodes}

    return await store.write(verb)


async def note_went_back(tx: HubTransaction, incarnation: str, node: NodeId, sunk: Sequence[str], now: int) -> None:
    """A node has seen counters of this hub higher than they are: unless it is known, an alarm asks for `restored`."""
    if await tx.hub_value(RESTORED_AT) or await tx.hub_value(WENT_BACK):
        return
    noted = f"{now} {node}: {', '.join(sunk)}"
    await tx.set_hub_value(WENT_BACK, noted)
    await tx.put_alarms([_went_back(incarnation, noted, None)])


async def node_refilled(tx: HubTransaction, node: NodeId, now: int) -> None:
    """A node said that nothing is left to tell; ends the alarm with the last of them."""
    await tx.set_hub_value(_mark(node), str(now))
    at = await tx.hub_value(RESTORED_AT)
    if at and not await _to_refill(tx):
        await tx.set_hub_value(RESTORED_AT, "")
        await tx.put_alarms([_alarm(int(at), now)])


async def refilling(tx: HubTransaction) -> dict[str, Any]:
    """When the hub was put back, which nodes have not refilled it since, what nodes say that nobody else has said."""
    at = await tx.hub_value(RESTORED_AT)
    return {
        "restored_at": int(at) if at else None,
        "nodes_to_refill": await _to_refill(tx) if at else [],
        "went_back": await tx.hub_value(WENT_BACK) or None,
    }


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


def _went_back(incarnation: str, noted: str, cleared_at: int | None) -> AlarmRow:
    at, _, who = noted.partition(" ")
    detail = f"nodes have seen more of this hub than it holds ({who}): stop it and run central-sync restored"
    kind = AlarmKind.HUB_ROLLED_BACK.value
    return AlarmRow(HUB, f"went-back-{incarnation}-{at}", kind, _SUBJECT, int(at), detail[:300], cleared_at)


def _alarm(at: int, cleared_at: int | None) -> AlarmRow:
    detail = "this hub was put back from a backup; its nodes refill it, and cut nobody before they have"
    return AlarmRow(HUB, f"restored-{at}", AlarmKind.HUB_ROLLED_BACK.value, _SUBJECT, at, detail, cleared_at)
