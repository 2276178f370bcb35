"""Rooms of the uplink over a store, beside a running node's other rooms or alone. Above the rooms; link loss."""

from collections.abc import Callable

from edge_node.store.completeness import SealedDays
from edge_node.store.opening import EdgeStore
from edge_node.uplink.bundles import Bundles, NodeBundleKeys
from edge_node.uplink.comparison import ComparisonRoom
from edge_node.uplink.reconciliation import Reconciliation
from edge_node.uplink.taking import Taking
from edge_node.wakeups import Wakeups
from gridmodel.clock import Compute, Entropy, Rng, UtilityClock
from gridmodel.identity import NodeId
from protocols.authority.signatures import Signer


def bundles_of(
    node: NodeId,
    store: EdgeStore,
    reconciliation: Reconciliation,
    *,
    keys: NodeBundleKeys | None,
    signer: Signer,
    clock: UtilityClock,
    rng: Rng,
    entropy: Entropy,
    compute: Compute,
    wakeups: Wakeups,
    changed: Callable[[], None] = lambda: None,
) -> Bundles:
    """What couriers take and bring; also beside a stopped node."""
    return Bundles(
        node=node,
        outbox=store.outbox,
        downlink=store.downlink,
        state=store.state,
        reconciliation=reconciliation,
        taking=Taking(
            outbox=store.outbox,
            downlink=store.downlink,
            alarms=store.alarms,
            reconciliation=reconciliation,
            clock=clock,
            wakeups=wakeups,
        ),
        keys=keys,
        signer=signer,
        clock=clock,
        rng=rng,
        entropy=entropy,
        compute=compute,
        changed=changed,
    )


def comparison_of(
    node: NodeId,
    store: EdgeStore,
    *,
    signer: Signer,
    clock: UtilityClock,
    rng: Rng,
    entropy: Entropy,
    compute: Compute,
) -> ComparisonRoom:
    """What compares the node's days with the hub's."""
    return ComparisonRoom(
        node=node,
        days=SealedDays(store.control, store.readings.segments, node, compute),
        compute=compute,
        clock=clock,
        rng=rng,
        entropy=entropy,
        signer=signer,
    )
