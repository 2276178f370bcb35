"""`central-sync doctor`: everything that can be wrong at the hub, one line each, with what to do. Above the rooms.

Works beside a running hub and without one: it opens the database for reading only. A line is ok, warn (the hub goes on)
or fail (something must be done).
"""

from collections.abc import Sequence

from central_sync.hub import AUDITED, Hub
from central_sync.ingest.refilling import refilling
from central_sync.situation.nodes import NodeState
from central_sync.store.port import HubTransaction
from gridmodel.clock import ClockTrust
from gridmodel.fault import Fault
from gridmodel.period import rfc3339
from hosting.checkup import Check, Health
from hosting.instance import FreeSpaceGuard

NAMED_MAX = 5


async def examine(hub: Hub) -> list[Check]:
    """All checks, over rooms that read."""
    return [
        _space(hub),
        _clock(hub),
        await _database(hub),
        await _ledger(hub),
        await _nodes(hub),
        await _refilling(hub),
        await _registries(hub),
        await _quarantine(hub),
        await _audit(hub),
    ]


def failed(fault: Fault) -> list[Check]:
    """The report when nothing could be opened."""
    return [Check("database", Health.FAIL, f"{fault.code}: {fault.what}", fault.hint)]


def _space(hub: Hub) -> Check:
    try:
        free = FreeSpaceGuard(hub.config.data_dir).check()
    except Fault as fault:
        return Check("disk", Health.FAIL, fault.what, fault.hint)
    return Check("disk", Health.OK, f"{free // 2**20} MB free")


def _clock(hub: Hub) -> Check:
    if hub.clock.trust() is ClockTrust.TRUSTED:
        return Check("clock", Health.OK, "trusted")
    return Check("clock", Health.FAIL, "the clock jumped or has no second source", "start NTP, then restart the hub")


async def _database(hub: Hub) -> Check:
    complaints = await hub.store.check()
    if complaints:
        return Check("database", Health.FAIL, complaints[0], "stop the hub, keep the file, restore the newest copy")
    return Check("database", Health.OK, f"schema {hub.store.schema}")


async def _refilling(hub: Hub) -> Check:
    told = await hub.store.read(refilling)
    if told["went_back"] is not None:
        what = f"nodes have seen more of this hub than it holds: {told['went_back']}"
        return Check("restored", Health.FAIL, what, "stop the hub, run central-sync restored, start it again")
    if told["restored_at"] is None:
        return Check("restored", Health.OK, "no backup waits to be refilled")
    what = f"put back from a backup at {rfc3339(told['restored_at'])}; to be refilled by"
    hint = "they do by themselves once their links are up, and cut nobody before; bring files imported since then again"
    return Check("restored", Health.WARN, f"{what} {', '.join(told['nodes_to_refill'][:NAMED_MAX])}", hint)


async def _ledger(hub: Hub) -> Check:
    async def verb(tx: HubTransaction) -> tuple[list[str], int]:
        return await tx.damaged_entries(NAMED_MAX), len(await tx.conflicts(500))

    damaged, conflicts = await hub.store.read(verb)
    if damaged:
        what = f"entries that are not what was written: {', '.join(damaged)}"
        return Check("ledger", Health.FAIL, what, "restore the newest copy; the nodes send again what it lacks")
    if conflicts:
        return Check("ledger", Health.WARN, f"{conflicts} ids with two contents", "ask the desks which one is true")
    return Check("ledger", Health.OK, "every row is what was written")


async def _nodes(hub: Hub) -> Check:
    nodes = await hub.situation.nodes()
    lost = [node["id"] for node in nodes if node["state"] in {NodeState.OFFLINE.value, NodeState.NEVER_SEEN.value}]
    if not nodes:
        return Check("nodes", Health.FAIL, "no node is configured", "add [[nodes]] to the configuration")
    return _named("nodes", lost, f"{len(nodes)} heard", "are not heard", "their offices go on; look at their lines")


async def _registries(hub: Hub) -> Check:
    versions = await hub.store.read(lambda tx: tx.registry_versions())
    bare = [node.id for node in hub.config.nodes if node.id not in versions]
    return _named("registries", bare, f"{len(versions)} nodes have one", "have none", "central-sync import registry")


async def _quarantine(hub: Hub) -> Check:
    counts = await hub.store.read(lambda tx: tx.count_quarantined())
    waiting = [f"{node} ({count})" for node, count in counts.items()]
    return _named(
        "quarantine", waiting, "nothing is set aside", "have batches set aside", "central-sync nodes --node ID"
    )


async def _audit(hub: Hub) -> Check:
    told = await hub.store.read(lambda tx: tx.hub_value(AUDITED))
    if told is None:
        return Check("audit", Health.WARN, "balances were never worked out anew", "central-sync verify")
    if " 0 differences" not in told:
        return Check("audit", Health.FAIL, told, "central-sync verify names them; report it")
    return Check("audit", Health.OK, told)


def _named(name: str, found: Sequence[str], good: str, bad: str, hint: str) -> Check:
    if not found:
        return Check(name, Health.OK, good)
    more = f" and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else ""
    return Check(name, Health.WARN, f"{', '.join(found[:NAMED_MAX])}{more} {bad}", hint)
