"""Parts of the hub's wiring: what comes from outside, and rooms that take much of it. Above all rooms."""

from collections.abc import Mapping
from dataclasses import dataclass

from central_sync.config import HubConfig
from central_sync.identity.enrolment import Enrolments
from central_sync.ingest.attesting import Attesting
from central_sync.ingest.bundles import Bundles, HubBundleKeys
from central_sync.ingest.completeness import Completeness
from central_sync.ingest.recalling import Recalling
from central_sync.ingest.region_link import RegionLink
from central_sync.ingest.rooms import Room
from central_sync.situation.changes import Changes
from central_sync.store.port import HubStore
from gridmodel.clock import Compute, Entropy, IoClock, Rng, UtilityClock
from hosting.keys_certificates import CertificateAuthority
from protocols.authority.signatures import KeyRing


@dataclass(frozen=True, slots=True)
class Ports:
    """What comes from outside."""

    clock: UtilityClock
    io_clock: IoClock
    rng: Rng
    entropy: Entropy
    compute: Compute
    authority: CertificateAuthority | None
    """None: nobody is enrolled here."""


def enrolments_of(config: HubConfig, store: HubStore, ports: Ports, keyring: KeyRing, changes: Changes) -> Enrolments:
    """Who asks to be a node."""
    return Enrolments(
        config,
        store,
        authority=ports.authority,
        ring=keyring,
        clock=ports.clock,
        entropy=ports.entropy,
        changed=changes.ring,
    )


def bundles_of(
    link: RegionLink, store: HubStore, keyring: KeyRing, ports: Ports, *, keys: HubBundleKeys | None, incarnation: str
) -> Bundles:
    """What couriers bring."""
    return Bundles(
        link,
        store=store,
        keyring=keyring,
        keys=keys,
        incarnation=incarnation,
        clock=ports.clock,
        entropy=ports.entropy,
        compute=ports.compute,
    )


def rooms_beside(store: HubStore, ports: Ports, completeness: Completeness) -> Mapping[str, Room]:
    """Who answers what a node asks beside hello, push and pull."""
    return {
        "compare": completeness,
        "attest": Attesting(store=store, clock=ports.clock, entropy=ports.entropy),
        "recall": Recalling(store=store, clock=ports.clock, compute=ports.compute),
    }
