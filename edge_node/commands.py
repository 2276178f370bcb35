"""The commands of ``edge-node`` as functions: through the door while the node runs, on its files while not. Above all.

`__main__` only parses and prints. Each gives plain values; what cannot be done is a Fault with a hint.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_node.config import NodeConfig
from edge_node.console.status import StatusBoard
from edge_node.doctor import Doctor
from edge_node.key_commands import check_meter_keys
from edge_node.meter_keys import own_title
from edge_node.policy_file import load_policy
from edge_node.rooms import enforcement_of, sources_of
from edge_node.serving import key_domain, load_signer, own_tls, plain_keys_of, reader_store
from edge_node.supply.explain import explain as explain_
from edge_node.uplink.identity import IdentityState
from edge_node.wakeups import Wakeups
from gridmodel.clock import Entropy
from gridmodel.fault import Fault
from gridmodel.identity import UsagePointId, checked_id
from hosting.checkup import Check, Health, as_report
from hosting.clocks import ScaledClock, SystemEntropy
from hosting.door import ANSWER_S_MAX, NOBODY_HOME, DoorFault, call_door
from hosting.keys import KeyDomain, create_signing_key
from hosting.tls import TrustedTime
from protocols.authority.canonical import Domain
from protocols.authority.signatures import Signer, key_to_text
from protocols.profile import load_profile, load_profiles


async def through_door(
    config: NodeConfig, verb: str, body: Mapping[str, Any], *, answer_s_max: float = ANSWER_S_MAX
) -> dict[str, Any]:
    """Ask the running node; raises DoorFault with the verb's own code, or TQ-DR-01 when it does not run."""
    return await call_door(config.door, verb, body, answer_s_max=answer_s_max)


async def status(config: NodeConfig, clock: ScaledClock | None = None) -> dict[str, Any]:
    """The status of the running node, or what its files tell."""
    try:
        return await through_door(config, "status", {})
    except DoorFault as fault:
        if fault.code != NOBODY_HOME:
            raise
    async with reader_store(config) as store:
        board = StatusBoard(store, node=config.node_id, zone=config.zone, clock=clock or ScaledClock())
        own = own_tls(config, TrustedTime(clock or ScaledClock()))
        return await board.full() | {"identity": None if own is None else own.told()}


async def doctor(config: NodeConfig, clock: ScaledClock | None = None) -> dict[str, Any]:
    """The doctor's report from inside the running node, or from its files."""
    try:
        found = await through_door(config, "doctor", {})
        return as_report(
            [
                *_keys(config),
                _identity(config, clock),
                await check_meter_keys(config),
                *(Check.from_plain(one) for one in found["checks"]),
            ]
        )
    except DoorFault as fault:
        if fault.code != NOBODY_HOME:
            raise
    checks = [*_keys(config), _identity(config, clock), await check_meter_keys(config)]
    try:
        async with reader_store(config) as store:
            at = clock or ScaledClock()
            rules = load_policy(config.supply.policy, at.now(), config.zone)
            looker = Doctor(store, directory=config.data_dir, clock=at, rules=rules)
            return as_report([*checks, *await looker.look()])
    except Fault as fault:
        return as_report([*checks, Check("store", Health.FAIL, f"{fault.code}: {fault.what}", fault.hint)])


async def explain(config: NodeConfig, usage_point: str, clock: ScaledClock | None = None) -> dict[str, Any]:
    """Why a point is on or off; from the files while the node does not run."""
    point = UsagePointId(checked_id("usage point", usage_point))
    try:
        return await through_door(config, "explain", {"usage_point": point})
    except DoorFault as fault:
        if fault.code != NOBODY_HOME:
            raise
    async with reader_store(config) as store:
        at = clock or ScaledClock()
        sources = sources_of(config, store)
        room = enforcement_of(
            config,
            store,
            sources,
            clock=at,
            entropy=SystemEntropy(),
            wakeups=Wakeups(),
            rules=load_policy(config.supply.policy, at.now(), config.zone),
            profiles=load_profiles(),
            drivers={},
        )
        return await explain_(room, sources, point)


def check_config(config: NodeConfig) -> dict[str, Any]:
    """What the file and the files it names say; raises the first fault."""
    rules = load_policy(config.supply.policy, ScaledClock().now(), config.zone)
    profiles = load_profiles()
    for name in config.supply.remote_cut_profiles:
        load_profile(name)
    signer = load_signer(config)
    plain = plain_keys_of(config)
    return {
        "ok": True,
        "node": config.node,
        "data_dir": str(config.data_dir),
        "hub": config.hub.url,
        "public_key": key_to_text(signer.public),
        "domain": config.domain.value,
        "policy": rules.version,
        "policy_lacks": list(rules.missing()),
        "approvers": len(config.keyring().keys()),
        "people": len(config.people),
        "profiles": sorted(profiles),
        "remote_cut_profiles": list(config.supply.remote_cut_profiles),
        "meter_keys": "sealed" if plain is None else "plain",
        "system_title": own_title(config.node, config.keys.system_title).hex().upper(),
    }


def make_key(out: Path, entropy: Entropy, *, demo: bool) -> dict[str, Any]:
    """Make a signing key file and give its public half."""
    domain = KeyDomain.DEMO if demo else KeyDomain.PRODUCTION
    signer = Signer(create_signing_key(out, entropy, domain), Domain.DEMO if demo else Domain.PRODUCTION)
    return {"ok": True, "file": str(out), "public": key_to_text(signer.public), "key_id": signer.key_id}


def _identity(config: NodeConfig, clock: ScaledClock | None) -> Check:
    """The certificate that the node shows to its hub."""
    own = own_tls(config, TrustedTime(clock or ScaledClock()))
    if own is None:
        return Check("certificate", Health.WARN, "the link is plain HTTP: no certificate", "hub.url = https://…")
    told = own.told()
    if told["state"] == IdentityState.VALID:
        return Check("certificate", Health.OK, f"valid until {told['not_after']}")
    if told["state"] in {IdentityState.DUE, IdentityState.ENDED}:
        return Check("certificate", Health.WARN, f"{told['state']}, {told['not_after']}", "it renews over the link")
    return Check("certificate", Health.FAIL, f"{told['state']}", "edge-node enrol --config FILE --token …")


def _keys(config: NodeConfig) -> list[Check]:
    """The configuration was loaded; its keys and policy may still be missing."""
    checks = [Check("config", Health.OK, f"node {config.node}, data in {config.data_dir}")]
    try:
        signer = load_signer(config)
        checks.append(Check("keys", Health.OK, f"signing key {signer.key_id}, domain {key_domain(config).value}"))
    except Fault as fault:
        checks.append(Check("keys", Health.FAIL, f"{fault.code}: {fault.what}", fault.hint))
    return checks
