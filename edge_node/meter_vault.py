"""The secrets of a node's meters, sealed in its control database and opened one by one. Above the rooms; reading walk.

Theory of operation. The database holds sealed secrets and the data key that opens them, wrapped under the node key (a
file named `keys.node`, made here at the first start) and for the offline recovery key (`keys.recovery`). The vault
keeps the data key and the sealed rows in memory and opens a meter's secrets when the driver asks. Without its node key
it is locked: the node runs, meters that need secrets are not read and say why.

A rotation makes both keys new. Its steps, and what a crash after each leaves:

1. the new node key is a file beside the old one (``NODEKEY.next``): nothing refers to it, it is removed;
2. one transaction replaces the wrapped key and every sealed row: the database asks for the new key;
3. the new file takes the old one's name: done. A crash before it is mended at the next opening, since the database
   names the key that it needs by its fingerprint.

Codes: TQ-MK-08 the node key is missing or another, 09 sealed secrets do not open, 10 no recovery key, 11 nothing is
sealed, 12 not the key that was asked for.
"""

import asyncio
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_node.meter_keys import KeyRows, MeterKeyFault, RowFault, read_rows
from edge_node.sealed_secrets import does_not_open, open_set, reseal_all, seal_set, unwrap_key, wrap_key
from edge_node.store.meter_secrets import EVERY_METER, MeterSecretRows, Sealed, SealedSet, WrappedKey
from gridmodel.clock import Compute, Entropy
from gridmodel.fault import Fault
from gridmodel.identity import MeterId
from hosting.compute import emptied
from hosting.files import publish
from hosting.keys import MISSING, KeyDomain, KeyFault, KeyKind
from hosting.keys_envelope import RecoveryPublic, SealingKey
from protocols.dlms.keys import MeterSecrets


@dataclass(frozen=True, slots=True)
class VaultPlace:
    """Where the vault's keys are."""

    node_key: Path | None
    """File of the node key; None: the configuration names none."""
    recovery: RecoveryPublic | None
    """For whom the data key is wrapped as well."""
    domain: KeyDomain
    """Of the node key's file; in production a recovery key is a must and well-known keys are refused."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What an import did, or would do."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: int = 0
    faults: tuple[RowFault, ...] = ()
    """If there is one, nothing was taken in."""


class MeterVault:
    """An implementation of `protocols.dlms.keys.MeterKeys`. Locked until `open`."""

    def __init__(
        self, place: VaultPlace, title: bytes, *, now: Callable[[], int], entropy: Entropy, compute: Compute
    ) -> None:
        self._place = place
        self._title = title
        self._now = now
        self._entropy = entropy
        self._compute = compute
        self._turn = asyncio.Lock()
        self._rows: MeterSecretRows | None = None
        self._sealed = Sealed(None, {})
        self._data: SealingKey | None = None
        self._locked: MeterKeyFault | None = None

    @property
    def locked(self) -> MeterKeyFault | None:
        """Why nothing can be opened; None when all is well."""
        return self._locked

    def client_title(self) -> bytes:
        """See `MeterKeys`."""
        return self._title

    def secrets_of(self, meter: MeterId) -> MeterSecrets:
        """See `MeterKeys`. Raises MeterKeyFault: why the vault is locked, or TQ-MK-09 for this meter's secrets."""
        if meter in self._sealed.torn:
            raise does_not_open(meter)
        name = meter if meter in self._sealed.sets else EVERY_METER
        held = self._sealed.sets.get(name)
        if held is None:
            return MeterSecrets()
        if self._data is None:
            raise self._locked or does_not_open(name)
        return open_set(self._data, name, held)

    async def open(self, rows: MeterSecretRows) -> None:
        """Take the sealed rows and find the key that opens them; without it the vault is locked, and says why."""
        self._rows = rows
        async with self._turn:
            await self._reload()

    async def take(self, path: Path, *, dry_run: bool) -> Taken:
        """Seal the secrets in a plain key file: all of its rows, or none when one of them is wrong.

        Raises MeterKeyFault: TQ-MK-01 to 03 for the file, why the vault is locked, TQ-MK-10 without a recovery key.
        """
        demo = self._place.domain is KeyDomain.DEMO
        read = await self._compute.run(_read, path, demo)
        async with self._turn:
            node_key = await self._unlocked()
            if self._place.recovery is None and not demo:
                raise MeterKeyFault(
                    "TQ-MK-10",
                    "keys.recovery is not set: with the node key lost, every meter would have to be visited",
                    "edge-node keys new-recovery-pair on an offline machine, then keys.recovery in the configuration",
                )
            key, data = self._sealed.key, self._data
            if key is None or data is None:
                data = SealingKey.fresh(self._entropy)
                key = wrap_key(data, node_key, self._place.recovery, self._now(), self._entropy)
            before = self._sealed
            sets, taken = await self._compute.run(_plan, read, before, data, self._now(), self._entropy)
            if sets and not dry_run and not taken.faults:
                joined = await self._compute.run(_joined, key, before, sets)
                await self._store.put(key, sets)
                await self._hold(joined, data)
            await self._compute.run(emptied, read.by_meter, sets)
            return taken

    async def rotate(self, recovered: Path | None = None) -> WrappedKey:
        """Make node key and data key new and seal everything again, atomically; gives the new wrapped key.

        `recovered` is the file of a data key that `keys recover` unwrapped, for when the node key is lost. Raises
        MeterKeyFault: why the vault is locked, TQ-MK-09 with names when something does not open, TQ-MK-10, 11, 12.
        """
        async with self._turn:
            await self._reload()
            sealed, path = self._sealed, self._place.node_key
            if path is None:
                raise _no_node_key()
            if sealed.key is None:
                raise MeterKeyFault("TQ-MK-11", "nothing is sealed yet", "edge-node keys import FILE")
            if sealed.key.recovery is not None and self._place.recovery is None:
                raise MeterKeyFault(
                    "TQ-MK-10", "keys.recovery is not set, and the present key is wrapped for one", "set keys.recovery"
                )
            old = self._old_key(sealed.key, path, recovered)
            node_key, data = SealingKey.fresh(self._entropy), SealingKey.fresh(self._entropy)
            sets = await self._compute.run(reseal_all, old, data, sealed, self._entropy)
            key = wrap_key(data, node_key, self._place.recovery, self._now(), self._entropy)
            await self._compute.run(_write_next, path, node_key, self._place.domain)
            await self._store.replace_all(key, sets)
            await self._hold(Sealed(key, sets), data)
            await self._compute.run(publish, _next(path), path)
            return key

    @property
    def _store(self) -> MeterSecretRows:
        if self._rows is None:
            raise RuntimeError("the vault was not opened")
        return self._rows

    async def _hold(self, sealed: Sealed, data: SealingKey | None, locked: MeterKeyFault | None = None) -> None:
        """Both at once: nothing is awaited between the rows and their key. What was held dies off the event loop."""
        before, self._sealed, self._data, self._locked = self._sealed, sealed, data, locked
        await self._compute.run(emptied, before.sets)

    async def _reload(self) -> None:
        sealed = await self._store.load()
        try:
            node_key = await self._compute.run(_settled, self._place, sealed.key, self._entropy)
            data = None if sealed.key is None or node_key is None else unwrap_key(sealed.key, node_key)
        except MeterKeyFault as fault:
            await self._hold(sealed, None, fault)
        except Fault as fault:
            await self._hold(sealed, None, MeterKeyFault(fault.code, fault.what, fault.hint))
        else:
            await self._hold(sealed, data)

    async def _unlocked(self) -> SealingKey:
        """The node key, with the rows as they are now; raises MeterKeyFault when it is not the right one."""
        await self._reload()
        if self._locked is not None:
            raise self._locked
        node_key = await self._compute.run(_settled, self._place, self._sealed.key, self._entropy)
        if node_key is None:
            raise _no_node_key()
        return node_key

    def _old_key(self, key: WrappedKey, path: Path, recovered: Path | None) -> SealingKey:
        if self._data is not None:
            return self._data
        if recovered is None:
            raise self._locked or _no_node_key()
        if path.exists():
            raise MeterKeyFault(
                "TQ-MK-08",
                f"{path} holds another key than the store was sealed under, and would be replaced",
                "move that file away first; it may belong to another node",
            )
        data = SealingKey.read(recovered, KeyKind.DATA, self._place.domain)
        if not hmac.compare_digest(data.id, key.id):
            raise MeterKeyFault(
                "TQ-MK-12",
                f"{recovered} holds data key {data.id}, the store was sealed under {key.id}",
                "recover it from a copy of this very store: edge-node keys recover --copy FILE",
            )
        return data


def _read(path: Path, demo: bool) -> KeyRows:
    return read_rows(path, demo=demo)


def _joined(key: WrappedKey, before: Sealed, sets: Mapping[str, SealedSet]) -> Sealed:
    return Sealed(key, {**before.sets, **sets}, tuple(meter for meter in before.torn if meter not in sets))


def _plan(
    read: KeyRows, before: Sealed, data: SealingKey, now: int, entropy: Entropy
) -> tuple[dict[str, SealedSet], Taken]:
    """What has to be written, and how it is told; pure and heavy."""
    wanted = dict(read.by_meter)
    if read.every_meter != MeterSecrets():
        wanted[EVERY_METER] = read.every_meter
    sets, added, changed = dict[str, SealedSet](), list[str](), list[str]()
    for meter, secrets in wanted.items():
        held = before.sets.get(meter)
        if held is not None and _is_same(data, meter, held, secrets):
            continue
        (added if held is None and meter not in before.torn else changed).append(meter)
        version = 1 if held is None else held.version + 1
        sets[meter] = seal_set(data, meter, version, secrets, written_at=now, entropy=entropy)
    return sets, Taken(tuple(sorted(added)), tuple(sorted(changed)), len(wanted) - len(sets), read.faults)


def _is_same(data: SealingKey, meter: str, held: SealedSet, secrets: MeterSecrets) -> bool:
    try:
        known = open_set(data, meter, held)
    except MeterKeyFault:
        return False  # it is sealed anew
    names = known.secrets().keys() | secrets.secrets().keys()
    same = [hmac.compare_digest(known.secrets().get(name, b""), secrets.secrets().get(name, b"")) for name in names]
    public = (known.meter_title, known.counter_least) == (secrets.meter_title, secrets.counter_least)
    return all(same) and public and known.secrets().keys() == secrets.secrets().keys()


def _settled(place: VaultPlace, key: WrappedKey | None, entropy: Entropy) -> SealingKey | None:
    """The node key that the database asks for, its file mended after a crash; makes one for an empty store.

    None when there is neither. Raises KeyFault or MeterKeyFault when it is not there, exposed, or another.
    """
    path = place.node_key
    if path is None:
        if key is not None:
            raise _no_node_key()
        return None
    for stray in path.parent.glob(f".{path.name}*.partial"):
        stray.unlink(missing_ok=True)
    try:
        found: SealingKey | None = SealingKey.read(path, KeyKind.NODE, place.domain)
    except KeyFault as fault:
        if fault.code != MISSING:
            raise
        found = None
    if key is None:
        if found is None:
            found = SealingKey.fresh(entropy)
            found.write(path, KeyKind.NODE, place.domain)
        return found
    if found is not None and found.id == key.node_key:
        _next(path).unlink(missing_ok=True)
        return found
    if _next(path).exists():
        fresh = SealingKey.read(_next(path), KeyKind.NODE, place.domain)
        if fresh.id == key.node_key:
            publish(_next(path), path)
            return fresh
    raise MeterKeyFault(
        "TQ-MK-08",
        f"{path} {'is missing' if found is None else 'is another node key'}: the store was sealed under {key.node_key}",
        "restore that file from its safe; if it is lost: edge-node keys recover, then keys rotate-node-key --recovered",
    )


def _write_next(path: Path, node_key: SealingKey, domain: KeyDomain) -> None:
    _next(path).unlink(missing_ok=True)  # whoever is here has the key that opens the store: nothing refers to that one
    node_key.write(_next(path), KeyKind.NODE, domain)


def _next(path: Path) -> Path:
    return path.with_name(f"{path.name}.next")


def _no_node_key() -> MeterKeyFault:
    return MeterKeyFault(
        "TQ-MK-08", "keys.node is not set: sealed secrets have no key", "name a file in the configuration: keys.node"
    )
