"""The hub's embedded engine: SQLite behind `hosting.database`. Floor: central_sync/store; on all three walks.

One writer connection, WAL, FULL: what a verb wrote is durable before its caller hears of it. The one turn of the writer
is every node's lock.
"""

from pathlib import Path

from central_sync.store.port import T, Verb
from central_sync.store.sql_verbs import SqlTransaction, ledger_hasher
from gridmodel.identity import NodeId
from hosting.database import Database, DatabaseOpener, open_reader
from hosting.migrations import load_migrations

DATABASE_NAME = "the hub's database"


class SqliteHubStore:
    """`HubStore` over one SQLite database."""

    def __init__(self, database: Database, row_key: bytes) -> None:
        self.database = database
        self._hasher = ledger_hasher(row_key)
        self._moved_at = -1
        self.schema = len(load_migrations(__package__))
        """See HubStore."""

    async def write(self, verb: Verb[T]) -> T:
        """See HubStore."""
        return await self.database.write(lambda connection: verb(SqlTransaction(connection, self._hasher)))

    async def write_for(self, node: NodeId, verb: Verb[T]) -> T:  # noqa: ARG002 — one writer is every node's lock
        """See HubStore."""
        return await self.write(verb)

    async def read(self, verb: Verb[T]) -> T:
        """See HubStore."""
        return await self.database.read(lambda connection: verb(SqlTransaction(connection, self._hasher)))

    async def tidy(self) -> None:
        """See HubStore. Moves the write-ahead log into the file, unless nothing was written since."""
        written = self.database.commits
        if written != self._moved_at:
            await self.database.checkpoint()
            self._moved_at = written

    async def check(self) -> tuple[str, ...]:
        """See HubStore."""
        return await self.database.check()

    async def close(self) -> None:
        """See HubStore."""
        await self.database.close()


async def open_sqlite(path: Path, row_key: bytes, open_database: DatabaseOpener) -> SqliteHubStore:
    """Open or make the hub's database as its one writer; raises DatabaseFault or MigrationFault."""
    return SqliteHubStore(await open_database(path, DATABASE_NAME, load_migrations(__package__)), row_key)


async def open_sqlite_reader(path: Path, row_key: bytes) -> SqliteHubStore:
    """Open an existing database beside a running hub: `write` fails in it."""
    return SqliteHubStore(await open_reader(path, DATABASE_NAME, load_migrations(__package__)), row_key)
