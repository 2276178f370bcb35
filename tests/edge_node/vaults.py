"""Vaults for tests: a folder with a control database, a node key and a recovery key in its safe."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from edge_node.meter_vault import MeterVault, VaultPlace
from edge_node.store.meter_secrets import MeterSecretRows
from hosting.clocks import SystemEntropy
from hosting.compute import InlineCompute
from hosting.database import Database, DatabaseOpener, open_database
from hosting.keys import KeyDomain
from hosting.keys_envelope import RecoveryPrivate
from hosting.migrations import load_migrations
from protocols.dlms.keys import MeterSecrets
from tests.edge_node.test_meter_keys import AK, EK, written

ENTROPY = SystemEntropy()
STEPS = load_migrations("edge_node.store", "schema/control")
NOW = 1_763_956_800
TITLE = b"TMQ\x00\x00\x00\x00\x07"
OTHER = "19B3C55E0D7742AA8F60E1D4337A2C9B"
TEXT = f"""
password = "6F2D77A1"
[meters."m-1"]
block_key = "{EK}"
authentication_key = "{AK}"
meter_title = "544D510000000701"
invocation_counter = 5000
[meters."m-2"]
block_key = "{OTHER}"
authentication_key = "{AK}"
"""
FIRST = MeterSecrets(None, bytes.fromhex(EK), bytes.fromhex(AK), None, b"TMQ\x00\x00\x00\x07\x01", 5_000)


class Office:
    """A folder with a control database, a node key and a recovery key in its safe."""

    def __init__(self, place: Path, *, recovery: bool = True, domain: KeyDomain = KeyDomain.PRODUCTION) -> None:
        self.folder, self.control_path, self.key_path = place, place / "control.db", place / "meter.key"
        safe = folder(place / "safe")
        self.private = safe / "recovery.key"
        pair = RecoveryPrivate.create(self.private, ENTROPY, domain)
        self.place = VaultPlace(self.key_path, pair.public if recovery else None, domain)

    @asynccontextmanager
    async def opened(self, opener: DatabaseOpener = open_database) -> AsyncIterator[tuple[MeterVault, Database]]:
        """The control database and a vault over it, as after a start of the node."""
        control = await opener(self.control_path, "control", STEPS)
        try:
            vault = MeterVault(self.place, TITLE, now=lambda: NOW, entropy=ENTROPY, compute=InlineCompute())
            await vault.open(rows_of(control))
            yield vault, control
        finally:
            await control.close()

    def file(self, text: str = TEXT) -> Path:
        return written(self.folder, text)


def told(story: Callable[[MeterVault, Database], Awaitable[None]], office: Office) -> None:
    async def run() -> None:
        async with office.opened() as (vault, control):
            await story(vault, control)

    asyncio.run(asyncio.wait_for(run(), 60))


def edit(office: Office, *statements: str) -> None:
    """Somebody with an editor for SQLite."""
    with sqlite3.connect(office.control_path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def folder(path: Path) -> Path:
    """A new folder."""
    path.mkdir()
    return path


def rows_of(control: Database) -> MeterSecretRows:
    """The sealed rows of a database."""
    return MeterSecretRows(control, InlineCompute())
