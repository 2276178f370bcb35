"""Sealed secrets of meters and the wrapped key that opens them: rows only, no cipher. Floor: edge_node/store; reading.

Nothing here is in clear, and nothing here can open it: `edge_node/meter_vault` does, with the node key out of its file.
Whatever changes more than one row changes them in one transaction, the wrapped key with the rows it opens.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gridmodel.clock import Compute
from hosting.database import Connection, Database

EVERY_METER = "*"
"""In place of a meter's id: secrets of meters that have none of their own. No meter can be called so."""

_Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """The data key as the database has it."""

    id: str
    """Its fingerprint."""
    node_key: str
    """Fingerprint of the node key that unwraps it."""
    wrapped: bytes
    """Under the node key."""
    recovery_key: str | None
    """Fingerprint of the recovery key that unwraps `recovery`."""
    recovery: bytes | None
    """For the recovery key."""
    created_at: int
    """UTC seconds."""


@dataclass(frozen=True, slots=True)
class SealedSet:
    """All secrets of one meter."""

    version: int
    """From 1; of all its secrets."""
    written_at: int
    """UTC seconds."""
    sealed: Mapping[str, bytes]
    """By kind."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """All there is."""

    key: WrappedKey | None
    """None before the first secret."""
    sets: dict[str, SealedSet]
    """By meter, in the order of their ids."""
    torn: tuple[str, ...] = ()
    """Meters whose rows do not belong together: somebody edited them. They have no set."""


class MeterSecretRows:
    """The two tables."""

    def __init__(self, control: Database, compute: Compute) -> None:
        self._control = control
        self._compute = compute

    async def load(self) -> Sealed:
        """Everything, in one snapshot."""
        return await self._compute.run(_sorted, *await self._control.read(_load))

    async def put(self, key: WrappedKey, sets: Mapping[str, SealedSet]) -> None:
        """Take in those sets, each in place of the meter's earlier one, under the data key that stands or is new."""
        await self._control.write(lambda conn: _put(conn, key, sets))

    async def replace_all(self, key: WrappedKey, sets: Mapping[str, SealedSet]) -> None:
        """Another data key, and everything sealed under it: all of it or nothing."""

        async def verb(conn: Connection) -> None:
            await conn.execute("DELETE FROM meter_secret")
            await conn.execute("DELETE FROM data_key")
            await _put(conn, key, sets)

        await self._control.write(verb)


async def _load(conn: Connection) -> tuple[_Row | None, list[_Row]]:
    key = await conn.fetch_one("SELECT id, node_key, wrapped, recovery_key, recovery, created_at FROM data_key")
    rows = await conn.fetch_all(
        "SELECT meter, kind, version, sealed, written_at FROM meter_secret ORDER BY meter, kind"
    )
    return key, rows


def _sorted(key: _Row | None, rows: list[_Row]) -> Sealed:
    """Rows by meter: a quarter of a second for a district of 42,000, so not on the loop. Empties `rows`."""
    stamps: dict[str, set[tuple[int, int]]] = {}
    blobs: dict[str, dict[str, bytes]] = {}
    rows.reverse()
    while rows:
        meter, kind, version, sealed, written_at = rows.pop()
        stamps.setdefault(meter, set()).add((version, written_at))
        blobs.setdefault(meter, {})[kind] = sealed
    sets = {meter: SealedSet(*min(stamps[meter]), blobs[meter]) for meter in blobs if len(stamps[meter]) == 1}
    torn = tuple(meter for meter in blobs if meter not in sets)
    return Sealed(None if key is None else WrappedKey(*key), sets, torn)


async def _put(conn: Connection, key: WrappedKey, sets: Mapping[str, SealedSet]) -> None:
    await conn.execute(
        "INSERT INTO data_key (id, node_key, wrapped, recovery_key, recovery, created_at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO NOTHING",
        (key.id, key.node_key, key.wrapped, key.recovery_key, key.recovery, key.created_at),
    )
    await conn.execute_many("DELETE FROM meter_secret WHERE meter = ?", [(meter,) for meter in sets])
    await conn.execute_many(
        "INSERT INTO meter_secret (meter, kind, version, sealed, written_at) VALUES (?, ?, ?, ?, ?)", _rows(sets)
    )


def _rows(sets: Mapping[str, SealedSet]) -> Iterable[tuple[str, str, int, bytes, int]]:
    for meter, held in sets.items():
        for kind, sealed in held.sealed.items():
            yield meter, kind, held.version, sealed, held.written_at
