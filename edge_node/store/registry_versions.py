"""Rows of registries: versions, the parts of large ones, and what is let go again. Floor: edge_node/store.

On the reading walk. A version is a document, or a manifest whose parts stand beside it under their digests. Parts come
before their manifest and wait; the transaction that takes the manifest in says whose they are, and lets go what no
version has that is kept.

Codes: TQ-ST-03 one version with two contents, -05 a manifest whose parts are not all here.
"""

from gridmodel.fault import Fault
from gridmodel.registry_parts import PARTS_MAX
from hosting.database import Connection
from protocols.sync.chunk.registries import Manifest

VERSIONS_KEPT = 50
"""Earlier versions kept: a year of weekly changes, for explaining old days."""
PARTS_WAITING_MAX = 2 * PARTS_MAX
"""Parts without a manifest: those of a version on its way, and of one that was refused. More would fill the disk."""


class RegistryStoreFault(Fault):
    """A registry that this node does not have, or cannot take in."""


async def insert_registry(
    conn: Connection, version: int, document: bytes, now: int, manifest: Manifest | None = None
) -> bool:
    """Take a checked version in, within the caller's transaction; gives whether it is new.

    `document` is a whole one, or the bytes of `manifest`. Raises RegistryStoreFault: TQ-ST-03 when the same version is
    there with another content, -05 when a part is missing.
    """
    row = await conn.fetch_one("SELECT document FROM registry WHERE version = ?", (version,))
    if row is not None:
        if bytes(row[0]) != document:
            raise RegistryStoreFault(
                "TQ-ST-03",
                f"registry version {version} came again with another content",
                "the first stands; give the change a new version at the hub",
            )
        return False
    if manifest is not None:
        await all_here(conn, manifest)
        await conn.execute_many(
            "INSERT INTO registry_part_use (version, number, digest) VALUES (?, ?, ?)",
            [(version, number, digest) for number, digest in enumerate(manifest.parts)],
        )
    await conn.execute(
        "INSERT INTO registry (version, document, received_at) VALUES (?, ?, ?)", (version, document, now)
    )
    await conn.execute(
        "DELETE FROM registry WHERE version <= (SELECT max(version) FROM registry) - ?"
        " AND version NOT IN (SELECT version FROM registry ORDER BY version DESC LIMIT ?)",
        (VERSIONS_KEPT, VERSIONS_KEPT),
    )
    if version == await newest_version(conn):  # an older one that comes late must not take what a newer one waits for
        await conn.execute("DELETE FROM registry_part_use WHERE version NOT IN (SELECT version FROM registry)")
        await conn.execute("DELETE FROM registry_part WHERE digest NOT IN (SELECT digest FROM registry_part_use)")
    return True


async def all_here(conn: Connection, manifest: Manifest) -> None:
    """Raise RegistryStoreFault TQ-ST-05 unless every part of the manifest is here."""
    here = {bytes(row[0]) for row in await conn.fetch_all("SELECT digest FROM registry_part")}
    missing = [number for number, digest in enumerate(manifest.parts) if digest not in here]
    if missing:
        count = len(manifest.parts)
        raise RegistryStoreFault(
            "TQ-ST-05",
            f"{len(missing)} of {count} parts of registry version {manifest.version} are not here,"
            f" the first is part {missing[0] + 1}",
            "the version before goes on; import the registry again at the hub under a new version",
        )


async def put_part(conn: Connection, digest: bytes, packed: bytes, now: int) -> None:
    """Keep a checked part until its manifest comes, within the caller's transaction; twice is once, and the latest.

    What comes again takes the place of what was here: that may be damaged, or the next to be let go. Of parts that no
    version has the latest `PARTS_WAITING_MAX` are kept.
    """
    await conn.execute(
        "DELETE FROM registry_part WHERE rowid <= (SELECT max(rowid) FROM registry_part) - ?"
        " AND digest NOT IN (SELECT digest FROM registry_part_use)",
        (PARTS_WAITING_MAX,),
    )
    await conn.execute(
        "INSERT OR REPLACE INTO registry_part (digest, document, received_at) VALUES (?, ?, ?)", (digest, packed, now)
    )


async def part(conn: Connection, digest: bytes) -> bytes | None:
    """One packed part."""
    row = await conn.fetch_one("SELECT document FROM registry_part WHERE digest = ?", (digest,))
    return None if row is None else bytes(row[0])


async def document(conn: Connection, version: int) -> bytes | None:
    """What is kept of a version: its document, or the bytes of its manifest."""
    row = await conn.fetch_one("SELECT document FROM registry WHERE version = ?", (version,))
    return None if row is None else bytes(row[0])


async def newest_version(conn: Connection) -> int:
    """The highest version taken in; 0 before the first."""
    row = await conn.fetch_one("SELECT coalesce(max(version), 0) FROM registry")
    return 0 if row is None else int(row[0])
