"""Sealing and opening the secrets of meters, wrapping the key they are sealed under. Above the rooms; reading walk.

Pure but for the entropy that is handed in. What a secret belongs to is sealed with it: the meter, the kind, the version
and which other kinds the meter has, so that rows cannot be swapped between meters, kinds or versions, and none can be
left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from edge_node.meter_keys import MeterKeyFault
from edge_node.store.meter_secrets import Sealed, SealedSet, WrappedKey
from gridmodel.clock import Entropy
from gridmodel.fault import Fault
from hosting.keys_envelope import RecoveryPrivate, RecoveryPublic, SealingKey, bound
from protocols.dlms.keys import MeterSecrets

UNOPENED = "TQ-MK-09"
"""Code of the fault for secrets that do not open."""
COUNTER_SIZE_BYTES = 4
NAMED_MAX = 20
"""Damaged meters named in one fault; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What became of the sealed sets of a store."""

    secrets: Mapping[str, MeterSecrets]
    """By meter."""
    damaged: tuple[str, ...]
    """Meters whose secrets do not open."""


def seal_set(
    key: SealingKey, meter: str, version: int, secrets: MeterSecrets, *, written_at: int, entropy: Entropy
) -> SealedSet:
    """The secrets of one meter, each kind sealed by itself."""
    kinds = _kinds_of(secrets)
    sealed = {
        kind: key.seal(value, _belongs(meter, kind, version, kinds), entropy) for kind, value in sorted(kinds.items())
    }
    return SealedSet(version, written_at, sealed)


def open_set(key: SealingKey, meter: str, held: SealedSet) -> MeterSecrets:
    """The secrets of one meter; raises MeterKeyFault TQ-MK-09 when one of them does not open."""
    sealed = held.sealed
    try:
        kinds = {kind: key.open(blob, _belongs(meter, kind, held.version, sealed)) for kind, blob in sealed.items()}
    except Fault:
        raise does_not_open(meter) from None
    counter = kinds.get("invocation_counter")
    return MeterSecrets(
        password=kinds.get("password"),
        block_key=kinds.get("block_key"),
        authentication_key=kinds.get("authentication_key"),
        hls_secret=kinds.get("hls_secret"),
        meter_title=kinds.get("meter_title"),
        counter_least=1 if counter is None else int.from_bytes(counter, "big"),
    )


def open_all(key: SealingKey, sealed: Sealed) -> Opened:
    """Every set; heavy for a district: hand it to `compute`."""
    secrets: dict[str, MeterSecrets] = {}
    damaged = list(sealed.torn)
    for meter, held in sealed.sets.items():
        try:
            secrets[meter] = open_set(key, meter, held)
        except MeterKeyFault:
            damaged.append(meter)
    return Opened(secrets, tuple(sorted(damaged)))


def reseal_all(old: SealingKey, new: SealingKey, sealed: Sealed, entropy: Entropy) -> dict[str, SealedSet]:
    """Everything under another key, versions and ages as they were; heavy. Raises MeterKeyFault TQ-MK-09 with names."""
    sets, damaged = dict[str, SealedSet](), list(sealed.torn)
    for meter, held in sealed.sets.items():
        try:
            secrets = open_set(old, meter, held)
        except MeterKeyFault:
            damaged.append(meter)
        else:
            sets[meter] = seal_set(new, meter, held.version, secrets, written_at=held.written_at, entropy=entropy)
    if damaged:
        raise does_not_open(*sorted(damaged))
    return sets


def wrap_key(
    data: SealingKey, node_key: SealingKey, recovery: RecoveryPublic | None, created_at: int, entropy: Entropy
) -> WrappedKey:
    """The data key for the database: under the node key, and for the recovery key where there is one."""
    return WrappedKey(
        id=data.id,
        node_key=node_key.id,
        wrapped=node_key.wrap(data, _key_belongs(data.id), entropy),
        recovery_key=None if recovery is None else recovery.id,
        recovery=None if recovery is None else recovery.wrap(data, _key_belongs(data.id), entropy),
        created_at=created_at,
    )


def unwrap_key(key: WrappedKey, node_key: SealingKey) -> SealingKey:
    """The data key, by the node key; raises KeyFault TQ-KY-07."""
    return node_key.unwrap(key.wrapped, _key_belongs(key.id))


def recover_key(key: WrappedKey, private: RecoveryPrivate) -> SealingKey:
    """The data key, by the private half of the recovery key; raises KeyFault TQ-KY-07."""
    return private.unwrap(key.recovery or b"", _key_belongs(key.id))


def does_not_open(*meters: str) -> MeterKeyFault:
    """The fault for meters whose sealed secrets do not open."""
    named = ", ".join(meters[:NAMED_MAX]) + (f" and {len(meters) - NAMED_MAX} more" if len(meters) > NAMED_MAX else "")
    return MeterKeyFault(
        UNOPENED,
        f"the sealed secrets of {named} do not open: they were altered, or belong to another store",
        "import the keys of these meters again; find out who edits the database",
    )


def _kinds_of(secrets: MeterSecrets) -> dict[str, bytes]:
    kinds = secrets.secrets()
    if secrets.meter_title is not None:
        kinds["meter_title"] = secrets.meter_title
    if secrets.counter_least > 1:
        kinds["invocation_counter"] = secrets.counter_least.to_bytes(COUNTER_SIZE_BYTES, "big")
    return kinds


def _belongs(meter: str, kind: str, version: int, kinds: Mapping[str, bytes]) -> bytes:
    return bound("tarmoq meter secret 1", meter, kind, version, *sorted(kinds))


def _key_belongs(data_key: str) -> bytes:
    return bound("tarmoq data key 1", data_key)
