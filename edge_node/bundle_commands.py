"""The commands about bundles: through the door while the node runs, on its store while not. Above the rooms.

On the walk of link loss. Beside a stopped node the folder's lock is held, and the person proves who they are as ever.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edge_node.bundle_verbs import BundleVerbs
from edge_node.clock_memory import remind
from edge_node.commands import through_door
from edge_node.config import NodeConfig
from edge_node.console.people import People
from edge_node.serving import key_domain, load_bundle_keys, load_signer
from edge_node.store.opening import CONTROL_NAME, StoreKeys, no_store, open_store
from edge_node.uplink.reconciliation import Reconciliation
from edge_node.uplink_wiring import bundles_of
from edge_node.wakeups import Wakeups
from gridmodel.clock import Entropy
from hosting.clocks import ScaledClock, seeded_rng
from hosting.compute import ThreadCompute
from hosting.database import open_database
from hosting.door import NOBODY_HOME, DoorFault
from hosting.instance import InstanceLock
from hosting.keys import KeyDomain, load_row_key
from hosting.keys_bundle import BundlePrivate

ANSWER_S_MAX = 3_600.0
"""A slow drive takes a minute for each hundred megabytes."""


async def ask(
    config: NodeConfig, verb: str, body: Mapping[str, Any], *, clock: ScaledClock, entropy: Entropy
) -> dict[str, Any]:
    """`bundle-write` or `bundle-apply`, whether the node runs or not."""
    try:
        return await through_door(config, verb, body, answer_s_max=ANSWER_S_MAX)
    except DoorFault as fault:
        if fault.code != NOBODY_HOME:
            raise
    async with _resting(config, clock, entropy) as verbs:
        return await verbs.mapping()[verb](dict(body))


def make_key(out: Path, entropy: Entropy, *, demo: bool) -> dict[str, Any]:
    """Make the node's bundle key and give its public half."""
    pair = BundlePrivate.create(out, entropy, KeyDomain.DEMO if demo else KeyDomain.PRODUCTION)
    return {"ok": True, "file": str(out), "public": pair.public.text, "key_id": pair.public.id}


@asynccontextmanager
async def _resting(config: NodeConfig, clock: ScaledClock, entropy: Entropy) -> AsyncIterator[BundleVerbs]:
    """The verbs over the store of a node that does not run; raises InstanceFault when one runs after all."""
    if not (config.data_dir / CONTROL_NAME).is_file():
        raise no_store(config.data_dir / CONTROL_NAME, "start the node once, or correct data_dir")
    with InstanceLock(config.data_dir):
        compute = ThreadCompute()
        try:
            signer = load_signer(config)
            store = await open_store(
                config.data_dir,
                open_database,
                node=config.node_id,
                zone=config.zone,
                keys=StoreKeys(load_row_key(config.keys.row, key_domain(config)), signer, config.keyring()),
                compute=compute,
                entropy=entropy,
                now=clock.now(),
            )
            try:
                await remind(clock, store)
                wakeups = Wakeups()
                bundles = bundles_of(
                    config.node_id,
                    store,
                    Reconciliation(store.control, config.node_id, wakeups),
                    keys=load_bundle_keys(config),
                    signer=signer,
                    clock=clock,
                    rng=seeded_rng(),
                    entropy=entropy,
                    compute=compute,
                    wakeups=wakeups,
                )
                yield BundleVerbs(bundles, People(config.people, compute=compute, clock=clock))
            finally:
                await store.close()
        finally:
            compute.close()
