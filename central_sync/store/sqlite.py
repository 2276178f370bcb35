"""The hub's embedded engine: SQLite behind `hosting.database`. Floor: central_sync/store; on all three walks.

One writer connection, WAL, FULL: what a verb wrote is durable before its caller hears of it. The one turn of the writer
is every node's lock. Topics stand in the sibling modules; here they become one transaction.
"""

from pathlib import Path

from central_sync.store.port import T, Verb
from central_sync.store.sqlite_down import SqliteDown
from central_sync.store.sqlite_energy import SqliteEnergy
from central_sync.store.sqlite_field_works import SqliteFieldWorks
from central_sync.store.sqlite_lanes import SqliteLanes
from central_sync.store.sqlite_money import SqliteMoney
from central_sync.store.sqlite_reports import SqliteReports
from gridmodel.clock import Entropy
from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from hosting.database import Connection, Database, DatabaseOpener, open_reader
from hosting.keys import KeyDomain, create_row_key, load_row_key
from hosting.migrations import load_migrations
from hosting.rowhash import RowHasher

DATABASE_NAME = "the hub's database"
SCHEME = "sqlite:///"
FILE_NAME = "hub.db"
ROW_KEY_NAME = "row.key"


class StoreFault(Fault):
    """A store that cannot be opened."""


class SqliteTransaction(SqliteLanes, SqliteEnergy, SqliteMoney, SqliteReports, SqliteFieldWorks, SqliteDown):
    """`HubTransaction` over one connection, for the length of one verb."""

    def __init__(self, connection: Connection, hasher: RowHasher) -> None:
        self._connection = connection
        self._hasher = hasher


class SqliteHubStore:
    """`HubStore` over one SQLite database."""

    def __init__(self, database: Database, row_key: bytes) -> None:
        self.database = database
        self._hasher = RowHasher(row_key, "hub_ledger")

    async def write(self, verb: Verb[T]) -> T:
        """See HubStore."""
        return await self.database.write(lambda connection: verb(SqliteTransaction(connection, self._hasher)))

    async def write_for(self, node: NodeId, verb: Verb[T]) -> T:  # noqa: ARG002 — one writer is every node's lock
        """See HubStore."""
        return await self.write(verb)

    async def read(self, verb: Verb[T]) -> T:
        """See HubStore."""
        return await self.database.read(lambda connection: verb(SqliteTransaction(connection, self._hasher)))

    async def close(self) -> None:
        """See HubStore."""
        await self.database.close()


def database_path(url: str) -> Path:
    """The file that ``sqlite:///PATH`` names; raises StoreFault (TQ-HB-01) for other engines and other texts."""
    if url.startswith(("postgresql://", "postgres://")):
        raise StoreFault(
            "TQ-HB-01",
            "PostgreSQL comes with a later version behind the same store port",
            "use --database sqlite:///PATH; chunks and rows move over unchanged later",
        )
    if not url.startswith(SCHEME) or len(url) == len(SCHEME):
        raise StoreFault(
            "TQ-HB-01", f"{url!r:.80} names no database", "write sqlite:///hub.db or sqlite:////var/hub.db"
        )
    return Path(url[len(SCHEME) :])


def row_key_of(folder: Path, database: Path, entropy: Entropy, domain: KeyDomain) -> bytes:
    """The key of this database's row hashes: in its folder, made with the first start.

    Raises KeyFault (TQ-KY-01) when rows stand and their key is gone: under a new one all of them would seem damaged.
    """
    path = folder / ROW_KEY_NAME
    if path.exists() or database.exists():
        return load_row_key(path, domain)
    return create_row_key(path, entropy, domain)


async def open_sqlite(path: Path, row_key: bytes, open_database: DatabaseOpener) -> SqliteHubStore:
    """Open or make the hub's database as its one writer; raises DatabaseFault or MigrationFault."""
    return SqliteHubStore(await open_database(path, DATABASE_NAME, load_migrations(__package__)), row_key)


async def open_sqlite_reader(path: Path, row_key: bytes) -> SqliteHubStore:
    """Open an existing database beside a running hub: `write` fails in it."""
    return SqliteHubStore(await open_reader(path, DATABASE_NAME, load_migrations(__package__)), row_key)
