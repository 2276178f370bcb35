"""Parts of the hub's wiring: what comes from outside, and rooms that take much of it. Above all rooms."""

from dataclasses import dataclass

from central_sync.config import HubConfig
from central_sync.identity.enrolment import Enrolments
from central_sync.ingest.bundles import Bundles, HubBundleKeys
from central_sync.ingest.region_link import RegionLink
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
    link: RegionLink, keyring: KeyRing, keys: HubBundleKeys | None, incarnation: str, ports: Ports
) -> Bundles:
    """What couriers bring."""
    return Bundles(
        link,
        keyring=keyring,
        keys=keys,
        incarnation=incarnation,
        clock=ports.clock,
        entropy=ports.entropy,
        compute=ports.compute,
    )
