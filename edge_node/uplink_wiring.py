"""Rooms of the uplink over a store, beside a running node's other rooms or alone. Above the rooms; link loss."""

from collections.abc import Callable
from typing import Protocol

from edge_node.store.completeness import SealedDays
from edge_node.store.opening import EdgeStore
from edge_node.store.recovery import Recovery
from edge_node.uplink.bundles import Bundles, NodeBundleKeys
from edge_node.uplink.comparison import ComparisonRoom
from edge_node.uplink.hub_link import Beside
from edge_node.uplink.recalling import RecallRoom
from edge_node.uplink.reconciliation import Reconciliation
from edge_node.uplink.standing import StandingRoom
from edge_node.uplink.taking import Taking
from edge_node.wakeups import Wakeups
from gridmodel.clock import Compute, Entropy, Rng, UtilityClock
from gridmodel.identity import ChannelId, NodeId
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


class LinkPorts(Protocol):
    """What of a node's ports the rooms beside the session need; `edge_node.rooms.Ports` has them."""

    @property
    def clock(self) -> UtilityClock:
        """Utility time."""
        ...

    @property
    def rng(self) -> Rng:
        """Jitter."""
        ...

    @property
    def entropy(self) -> Entropy:
        """Seeds and tickets."""
        ...

    @property
    def compute(self) -> Compute:
        """Hashing."""
        ...

    @property
    def signer(self) -> Signer:
        """The node's key."""
        ...


def beside_of(  # noqa: PLR0917
    node: NodeId, desk: ChannelId, store: EdgeStore, reconciliation: Reconciliation, ports: LinkPorts, wakeups: Wakeups
) -> Beside:
    """What asks the hub for more than the session does: days, facts by id, which copy this is."""
    clock, compute, entropy, signer = ports.clock, ports.compute, ports.entropy, ports.signer
    return Beside(
        comparison=ComparisonRoom(
            node=node,
            days=SealedDays(store.control, store.readings.segments, node, compute),
            compute=compute,
            clock=clock,
            rng=ports.rng,
            entropy=entropy,
            signer=signer,
        ),
        standing=StandingRoom(
            node=node,
            control=store.control,
            downlink=store.downlink,
            reconciliation=reconciliation,
            clock=clock,
            entropy=entropy,
            signer=signer,
        ),
        recalling=RecallRoom(
            node=node,
            control=store.control,
            recovery=Recovery(
                store.control, store.ledger, store.operations, store.field_works, store.relays, desk=desk
            ),
            compute=compute,
            clock=clock,
            entropy=entropy,
            signer=signer,
            wakeups=wakeups,
        ),
    )
