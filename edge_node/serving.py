"""A node as a process: keys from files, real clocks and sockets, the door and the console around it. Above the rooms.

`__main__` runs this; the simulator never comes here, it calls `node.build` with its own ports. The order matters: the
lock first (one process per folder), then the store, then the faces, and only a node that can be reached starts to work.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from edge_node.config import NodeConfig
from edge_node.console.app import console_app, serve_console
from edge_node.console.office import Office
from edge_node.console.pages import add_pages
from edge_node.key_verbs import KeyVerbs
from edge_node.meter_keys import PLAIN, FileKeys, MeterKeyFault, load_meter_keys, own_title
from edge_node.meter_vault import MeterVault, VaultPlace
from edge_node.node import Node, build
from edge_node.policy_file import load_policy
from edge_node.store.opening import CONTROL_NAME, EdgeStore, StoreKeys, open_reader_store
from edge_node.store.state import Mark
from edge_node.uplink.bundles import NodeBundleKeys
from edge_node.uplink.identity import NodeIdentity, NodeTls
from edge_node.uplink.renewal import Renewal
from gridmodel.clock import Compute, Entropy
from gridmodel.policy_rules import PolicyRules
from hosting.clocks import ScaledClock, SystemIoClock, seeded_rng
from hosting.compute import ThreadCompute
from hosting.database import open_database
from hosting.door import serve_door
from hosting.instance import FreeSpaceGuard, InstanceLock, make_data_folder
from hosting.keys import MISSING, KeyDomain, KeyFault, create_row_key, load_row_key, load_signing_key
from hosting.keys_bundle import BundlePrivate, BundlePublic
from hosting.keys_envelope import RecoveryPublic
from hosting.letting_go import LettingGo
from hosting.process import leave_alone_what_lives, make_room_for_files, take_short_turns, walk_at_rest
from hosting.tls import TrustedTime
from protocols.authority.signatures import KeyRing, NamedKey, Role, Signer, key_from_text
from protocols.dlms.driver import DlmsDriver
from protocols.dlms.keys import MeterKeys
from protocols.modbus.driver import ModbusDriver
from protocols.profile import MeterProfile, load_profiles
from protocols.sync.link import HttpLink

FILES_SPARE = 400
"""Open files beside the meters': databases, pages, the link, and connections that Modbus meters keep."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A node that works and can be reached."""

    node: Node
    console: str
    """Address of the console."""


def key_domain(config: NodeConfig) -> KeyDomain:
    """Demo keys for a demo, production keys for production; never mixed."""
    return KeyDomain.DEMO if config.demo else KeyDomain.PRODUCTION


def load_signer(config: NodeConfig) -> Signer:
    """The node's signing key; raises KeyFault."""
    return Signer(load_signing_key(config.keys.signing, key_domain(config)), config.domain)


def load_bundle_keys(config: NodeConfig) -> NodeBundleKeys | None:
    """What bundles need; None when the configuration names none of it. Raises KeyFault."""
    given = (config.keys.bundle, config.hub.bundle_key, config.hub.signing_key)
    opening, sealing, signing = given
    if opening is None or sealing is None or signing is None:
        return None
    hub = NamedKey(key_from_text(signing), "hub", frozenset({Role.HUB}))
    return NodeBundleKeys(
        opening=BundlePrivate.read(opening, key_domain(config)),
        hub=BundlePublic.from_text(sealing),
        keyring=KeyRing([hub], config.domain),
    )


def plain_keys_of(config: NodeConfig) -> FileKeys | None:
    """The secrets of a demo's DLMS meters out of their plain file; None: they are sealed. Raises MeterKeyFault."""
    keys = config.keys
    if keys.meters is None:
        return None
    if not config.demo:
        raise MeterKeyFault(
            PLAIN,
            f"{keys.meters} holds the secrets of meters in clear: only a demo may work with that",
            "set keys.node and keys.recovery instead of keys.meters, start the node, then edge-node keys import FILE",
        )
    return load_meter_keys(keys.meters, node=config.node, demo=config.demo, title=keys.system_title)


def vault_place(config: NodeConfig) -> VaultPlace:
    """Where the keys of sealed secrets are."""
    keys = config.keys
    recovery = None if keys.recovery is None else RecoveryPublic.from_text(keys.recovery)
    return VaultPlace(keys.node, recovery, key_domain(config))


def row_key(config: NodeConfig, entropy: Entropy) -> bytes:
    """The row-hash key, made at the first start. With a store beside it a missing key is a fault: it cannot be new."""
    try:
        return load_row_key(config.keys.row, key_domain(config))
    except KeyFault as fault:
        if fault.code != MISSING or (config.data_dir / CONTROL_NAME).exists():
            raise
    return create_row_key(config.keys.row, entropy, key_domain(config))


async def serve(
    config: NodeConfig,
    stop: asyncio.Event,
    *,
    clock: ScaledClock,
    entropy: Entropy,
    ready: Callable[[Serving], None],
) -> None:
    """Run the node until `stop` is set; raises the fault that ended it otherwise."""
    make_data_folder(config.data_dir)
    with ExitStack() as held:
        held.enter_context(InstanceLock(config.data_dir))
        FreeSpaceGuard(config.data_dir).check()
        make_room_for_files(config.polling.reads_at_once + FILES_SPARE)
        take_short_turns()
        leave_alone_what_lives()  # walks over a registry that is being read cost more than to read it
        io_clock, rng, compute, letting_go = SystemIoClock(), seeded_rng(), ThreadCompute(), LettingGo()
        own = own_tls(config, TrustedTime(clock))
        held.callback(letting_go.close)
        held.callback(compute.close)
        profiles, rules = load_profiles(), load_policy(config.supply.policy, clock.now(), config.zone)
        vault = _vault(config, clock, entropy, compute)
        modbus, make_dlms = _drivers(profiles, clock, entropy, plain_keys_of(config) or vault)
        node = await build(
            config,
            clock=clock,
            io_clock=io_clock,
            rng=rng,
            entropy=entropy,
            open_database=open_database,
            drivers={"modbus": modbus},
            link=HttpLink(config.hub.url, tls=None if own is None else own.context),
            compute=compute,
            signer=load_signer(config),
            keyring=config.keyring(),
            rules=rules,
            row_key=row_key(config, entropy),
            profiles=profiles,
            drivers_over=lambda store: {"dlms": make_dlms(counters=store.meter_counters)},
            told_clock=clock,
            bundle_keys=load_bundle_keys(config),
            settled=leave_alone_what_lives,  # a plan of 42,000 meters lives as long as its registry
            let_go=letting_go.watch,
            at_rest=walk_at_rest,
        )
        gc.collect()
        leave_alone_what_lives()  # the registry does: walking 42,000 points held the loop up to 100 ms
        try:
            await vault.open(node.store.meter_secrets)
            await _accompany(node, own, clock)
            application = console_app(node, config.console, entropy)
            add_pages(application, _office(node, rules, clock, entropy, compute))
            async with (
                serve_door(config.door, {**node.verbs, **KeyVerbs(vault, node).mapping()}),
                serve_console(application, config.console.listen) as address,
            ):
                ready(Serving(node, address))
                await _until(stop, node)
        finally:
            await node.close()


def own_tls(config: NodeConfig, time: TrustedTime) -> NodeTls | None:
    """What the node shows to its hub; None where it speaks without TLS."""
    if not config.hub.tls:
        return None
    return NodeTls(NodeIdentity(config.identity_dir, config.node_id, key_domain(config)), time)


async def _accompany(node: Node, own: NodeTls | None, clock: ScaledClock) -> None:
    """Let the node renew its certificate; the time cannot be before what an earlier run was certain of."""
    if own is None:
        return
    floor = await node.store.state.get(Mark.CLOCK_FLOOR)
    own.time.raise_floor(0 if floor is None else int(floor))
    renewal = Renewal(node.config.hub.url, own, clock=clock, wakeups=node.wakeups)
    node.accompany("certificate", renewal.run, renewal.told)


def _vault(config: NodeConfig, clock: ScaledClock, entropy: Entropy, compute: Compute) -> MeterVault:
    title = own_title(config.node, config.keys.system_title)
    return MeterVault(vault_place(config), title, now=clock.now, entropy=entropy, compute=compute)


def _office(node: Node, rules: PolicyRules, clock: ScaledClock, entropy: Entropy, compute: ThreadCompute) -> Office:
    return Office(
        node=node,
        name=node.config.node_id,
        store=node.store,
        rules=rules,
        clock=clock,
        io_clock=SystemIoClock(),
        entropy=entropy,
        compute=compute,
        language=node.config.language,
    )


def _drivers(
    profiles: Mapping[str, MeterProfile], clock: ScaledClock, entropy: Entropy, keys: MeterKeys
) -> tuple[ModbusDriver, Callable[..., DlmsDriver]]:
    """The Modbus driver, and the DLMS driver but for its invocation counters: they live in the store.

    Raises ProfileFault for a profile that cannot be used.
    """
    io_clock, rng = SystemIoClock(), seeded_rng()
    dlms = partial(DlmsDriver, profiles, keys=keys, entropy=entropy, clock=clock, io_clock=io_clock, rng=rng)
    return ModbusDriver(profiles, clock=clock, io_clock=io_clock, rng=rng), dlms


async def _until(stop: asyncio.Event, node: Node) -> None:
    """Run until asked to stop, or until the node ends by itself, which it does only with a fault."""
    running = asyncio.create_task(node.run(), name="node")
    asked = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        asked.cancel()
        node.stop()
        await running


@asynccontextmanager
async def reader_store(config: NodeConfig) -> AsyncIterator[EdgeStore]:
    """The store of a node that is not running, for reading; raises DatabaseFault (TQ-DB-02) when there is none yet."""
    keys = StoreKeys(load_row_key(config.keys.row, key_domain(config)), load_signer(config), config.keyring())
    compute = ThreadCompute()
    try:
        store = await open_reader_store(
            config.data_dir, node=config.node_id, zone=config.zone, keys=keys, compute=compute
        )
        try:
            yield store
        finally:
            await store.close()
    finally:
        compute.close()
