"""The commands about meters' keys that need no running node: look, recover, leap. Above the rooms; reading walk.

They read rows and key files beside a running node or without one. `recover` works on a machine that has nothing but a
copy of the control database and the offline private key.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_node.config import NodeConfig
from edge_node.meter_keys import MeterKeyFault
from edge_node.sealed_secrets import open_all, recover_key
from edge_node.serving import key_domain, plain_keys_of
from edge_node.store.meter_secrets import Sealed
from edge_node.store.opening import CONTROL_NAME, leap_counters, sealed_in
from gridmodel.clock import Entropy
from gridmodel.fault import Fault
from hosting.checkup import Check, Health
from hosting.instance import InstanceLock
from hosting.keys import KeyDomain, KeyKind
from hosting.keys_envelope import RecoveryPrivate, RecoveryPublic, SealingKey

LISTED_MAX = 10_000
"""Meters in one list; the next page begins after the last of them."""
_DAY_S = 86_400


def new_recovery_pair(out: Path, entropy: Entropy, *, demo: bool) -> dict[str, Any]:
    """Make a recovery key: its private half goes to a file for the safe, its public half is printed."""
    pair = RecoveryPrivate.create(out, entropy, _domain(demo))
    return {
        "ok": True,
        "file": str(out),
        "public": pair.public.text,
        "key_id": pair.public.id,
        "next": f"keep {out} offline, twice, in two safes; keys.recovery of every node gets the public half",
    }


async def key_list(config: NodeConfig, after: str, limit: int, now: int) -> dict[str, Any]:
    """Which meters have sealed secrets: versions and ages, no secrets; and how the keys stand that open them."""
    sealed = await sealed_in(config.data_dir / CONTROL_NAME)
    names = sorted({*sealed.sets, *sealed.torn})
    later = [name for name in names if name > after]
    return {
        "ok": _node_key_state(config, sealed) in {"fits", "unused"},
        "node": config.node,
        "node_key": {
            "file": None if config.keys.node is None else str(config.keys.node),
            "state": _node_key_state(config, sealed),
            "wanted": None if sealed.key is None else sealed.key.node_key,
        },
        "data_key": _data_key(sealed, now),
        "recovery": _recovery(config, sealed),
        "total": len(names),
        "meters": [_row(name, sealed, now) for name in later[:limit]],
        "after": later[limit - 1] if len(later) > limit else None,
    }


async def recover(copy: Path, private: Path, out: Path, *, demo: bool) -> dict[str, Any]:
    """Unwrap the data key in a copy of a control database, and prove that it opens what is there.

    Writes it to the file `out` for the office. Raises MeterKeyFault TQ-MK-11 and 12, KeyFault, DatabaseFault.
    """
    sealed = await sealed_in(copy)
    if sealed.key is None:
        raise MeterKeyFault("TQ-MK-11", f"nothing is sealed in {copy}", "give a later copy of the control database")
    pair = RecoveryPrivate.read(private, _domain(demo))
    if pair.public.id != sealed.key.recovery_key:
        raise MeterKeyFault(
            "TQ-MK-12",
            f"{copy} was sealed for recovery key {sealed.key.recovery_key}, {private} is {pair.public.id}",
            "look for the private half of that one in the safe",
        )
    data = recover_key(sealed.key, pair)
    opened = open_all(data, sealed)
    data.write(out, KeyKind.DATA, _domain(demo))
    return {
        "ok": not opened.damaged,
        "file": str(out),
        "data_key": data.id,
        "opened": len(opened.secrets),
        "damaged": list(opened.damaged),
        "next": f"at the office: edge-node keys rotate-node-key --recovered FILE; then destroy {out}: shred -u {out}",
    }


async def leap(config: NodeConfig) -> dict[str, Any]:
    """Skip invocation counters after a restore; the node must be stopped, else InstanceFault TQ-IN-01."""
    with InstanceLock(config.data_dir):
        return {"ok": True, "keys": await leap_counters(config.data_dir), "next": "start the node"}


async def check_meter_keys(config: NodeConfig) -> Check:
    """The doctor's line."""
    name = "meter keys"
    try:
        if plain_keys_of(config) is not None:
            return Check(name, Health.OK, f"in clear in {config.keys.meters}: a demo")
        sealed = await sealed_in(config.data_dir / CONTROL_NAME)
    except Fault as fault:
        return Check(name, Health.FAIL, f"{fault.code}: {fault.what}", fault.hint)
    if sealed.key is None:
        return Check(name, Health.OK, "none sealed: meters without security only")
    state = _node_key_state(config, sealed)
    if state != "fits":
        hint = "restore the node key from its safe, or: edge-node keys recover, then rotate-node-key --recovered"
        return Check(name, Health.FAIL, f"the node key {state}: meters with secrets are not read", hint)
    if sealed.torn:
        hint = "import the keys of these meters again"
        return Check(name, Health.FAIL, f"{len(sealed.torn)} meters have rows that do not belong together", hint)
    if not _recovery(config, sealed)["fits"]:
        hint = "edge-node keys rotate-node-key wraps them for the recovery key of the configuration"
        return Check(name, Health.WARN, "sealed for another recovery key than keys.recovery", hint)
    return Check(name, Health.OK, f"{len(sealed.sets)} meters, sealed")


def _node_key_state(config: NodeConfig, sealed: Sealed) -> str:
    """``fits``, ``unused`` (nothing is sealed), ``is not named``, ``is another``, or what its file suffers from."""
    if sealed.key is None:
        return "unused"
    if config.keys.node is None:
        return "is not named"
    fault_of_file = ""
    for path in (config.keys.node, config.keys.node.with_name(f"{config.keys.node.name}.next")):
        try:
            if SealingKey.read(path, KeyKind.NODE, key_domain(config)).id == sealed.key.node_key:
                return "fits"
        except Fault as fault:
            fault_of_file = fault_of_file or f"cannot be used ({fault.code})"
        else:
            fault_of_file = fault_of_file or "is another"
    return fault_of_file


def _data_key(sealed: Sealed, now: int) -> dict[str, Any] | None:
    key = sealed.key
    return None if key is None else {"id": key.id, "created_at": key.created_at, "age_days": _age(key.created_at, now)}


def _recovery(config: NodeConfig, sealed: Sealed) -> dict[str, Any]:
    wanted = None if config.keys.recovery is None else RecoveryPublic.from_text(config.keys.recovery).id
    wrapped = None if sealed.key is None else sealed.key.recovery_key
    return {"configured": wanted, "wrapped_for": wrapped, "fits": sealed.key is None or wanted == wrapped}


def _row(name: str, sealed: Sealed, now: int) -> Mapping[str, Any]:
    held = sealed.sets.get(name)
    if held is None:
        return {"meter": name, "version": None, "kinds": [], "written_at": None, "age_days": None}
    return {
        "meter": name,
        "version": held.version,
        "kinds": sorted(held.sealed),
        "written_at": held.written_at,
        "age_days": _age(held.written_at, now),
    }


def _age(at: int, now: int) -> int:
    return max(0, now - at) // _DAY_S


def _domain(demo: bool) -> KeyDomain:
    return KeyDomain.DEMO if demo else KeyDomain.PRODUCTION
