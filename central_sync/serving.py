"""The hub as a process: real clocks and sockets, the lock, the door and the HTTP face around it. Above the rooms.

`__main__` runs this; the simulator never comes here, it calls `hub.build` with its own ports.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass

from central_sync.api.app import hub_app, serve_hub
from central_sync.api.nodes_app import nodes_app
from central_sync.config import HubConfig
from central_sync.hub import Hub, build, build_reader
from central_sync.identity.own_certificate import OwnCertificate
from central_sync.ingest.bundles import HubBundleKeys
from central_sync.store.engines import database_shown
from central_sync.web.pages import add_pages
from gridmodel.clock import Entropy
from gridmodel.identity import NodeId
from hosting.clocks import ScaledClock, SystemEntropy, SystemIoClock, seeded_rng
from hosting.compute import ThreadCompute
from hosting.database import open_database
from hosting.door import CALENDAR, calendar_verb, serve_door
from hosting.instance import FreeSpaceGuard, InstanceLock, make_data_folder
from hosting.keys import load_signing_key
from hosting.keys_bundle import BundlePrivate, BundlePublic
from hosting.keys_certificates import CertificateAuthority
from protocols.authority.signatures import Signer


@dataclass(frozen=True, slots=True)
class Serving:
    """A hub that works and can be reached."""

    hub: Hub
    address: str
    """Of API and pages, and of sync without [tls]."""
    nodes: str | None = None
    """Where nodes speak, with [tls]."""


async def serve(
    config: HubConfig,
    stop: asyncio.Event,
    *,
    clock: ScaledClock,
    entropy: Entropy,
    ready: Callable[[Serving], None],
) -> None:
    """Run the hub until `stop` is set; raises the fault that ended it otherwise."""
    database_shown(config)  # an address that makes no sense is refused before anything is made
    make_data_folder(config.data_dir)
    with ExitStack() as held:
        held.enter_context(InstanceLock(config.data_dir))
        FreeSpaceGuard(config.data_dir).check()
        hub = await _built(config, held, clock, entropy)
        try:
            application = hub_app(hub, entropy)
            add_pages(application, hub)
            async with AsyncExitStack() as faces:
                door = serve_door(config.door, {**hub.verbs(), CALENDAR: calendar_verb(clock.calendar)})
                await faces.enter_async_context(door)
                address = await faces.enter_async_context(serve_hub(application, config.listen))
                nodes = await _serve_nodes(hub, faces, entropy)
                ready(Serving(hub, address, nodes))
                await _until(stop, hub)
        finally:
            await hub.close()


async def _serve_nodes(hub: Hub, faces: AsyncExitStack, entropy: Entropy) -> str | None:
    """The nodes' interface, where the configuration has one; gives its address."""
    tls, authority = hub.config.tls, hub.enrolments.authority
    if tls is None or authority is None:
        return None
    own = OwnCertificate(tls, authority, hub.clock, entropy)
    hub.companions["certificate"] = own.run
    return await faces.enter_async_context(serve_hub(nodes_app(hub, entropy), tls.listen, own.context))


def load_authority(config: HubConfig) -> CertificateAuthority | None:
    """The authority that the configuration names, if any; raises CertificateFault."""
    return None if config.tls is None else CertificateAuthority.read(config.tls.ca, config.key_domain)


async def _built(config: HubConfig, held: ExitStack, clock: ScaledClock, entropy: Entropy) -> Hub:
    """The hub over real clocks and its database; its threads end with `held`."""
    compute = ThreadCompute()
    held.callback(compute.close)
    return await build(
        config,
        clock=clock,
        io_clock=SystemIoClock(),
        rng=seeded_rng(),
        entropy=entropy,
        open_database=open_database,
        compute=compute,
        bundle_keys=load_bundle_keys(config),
        authority=load_authority(config),
    )


def load_bundle_keys(config: HubConfig) -> HubBundleKeys | None:
    """What bundles need; None when the configuration names no keys. Raises KeyFault."""
    signing, opening = config.keys.signing, config.keys.bundle
    if signing is None or opening is None:
        return None
    nodes = {NodeId(one.id): BundlePublic.from_text(one.bundle_key) for one in config.nodes if one.bundle_key}
    return HubBundleKeys(
        signer=Signer(load_signing_key(signing, config.key_domain), config.domain),
        opening=BundlePrivate.read(opening, config.key_domain),
        nodes=nodes,
    )


@asynccontextmanager
async def resting(config: HubConfig, *, clock: ScaledClock, entropy: Entropy) -> AsyncIterator[Hub]:
    """A hub that does not run, for a verb that writes: under the folder's lock. Raises InstanceFault, DatabaseFault."""
    make_data_folder(config.data_dir)
    with ExitStack() as held:
        held.enter_context(InstanceLock(config.data_dir))
        hub = await _built(config, held, clock, entropy)
        try:
            yield hub
        finally:
            await hub.close()


async def _until(stop: asyncio.Event, hub: Hub) -> None:
    """Run until asked to stop, or until the hub ends by itself, which it does only with a fault."""
    running = asyncio.create_task(hub.run(), name="hub")
    asked = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        asked.cancel()
        hub.stop()
        await running


@asynccontextmanager
async def reading(config: HubConfig, *, clock: ScaledClock) -> AsyncIterator[Hub]:
    """The rooms over the database for looking only, beside a running hub or without one; raises DatabaseFault."""
    compute = ThreadCompute()
    try:
        hub = await build_reader(
            config,
            clock=clock,
            io_clock=SystemIoClock(),
            rng=seeded_rng(),
            entropy=SystemEntropy(),
            compute=compute,
        )
        try:
            yield hub
        finally:
            await hub.close()
    finally:
        compute.close()
