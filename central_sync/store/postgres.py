"""The hub's engine when one machine is outgrown: PostgreSQL. Floor: central_sync/store; contracts in `port`.

Any number of hub processes work on one database; `postgres_sessions` keeps them apart. The verbs' SQL is SQLite's.
"""

from collections.abc import Callable

from central_sync.store.faults import StoreFault
from central_sync.store.port import HubTransaction, T, Verb
from central_sync.store.postgres_faults import opening
from central_sync.store.postgres_schema import check_version, complaints, migrate, schema_steps
from central_sync.store.postgres_sessions import Sessions, open_sessions
from central_sync.store.sql_verbs import SqlTransaction, ledger_hasher
from gridmodel.identity import NodeId
from hosting.rowhash import RowHasher

ROW_KEY_MARK = "row_key"
"""Among the hub's values: what the row key hashes a known text to. Another key would call every row damaged."""


class PostgresHubStore:
    """`HubStore` over one PostgreSQL database."""

    def __init__(self, sessions: Sessions, row_key: bytes) -> None:
        self._sessions = sessions
        self._hasher = ledger_hasher(row_key)
        self.schema = len(schema_steps())
        """See HubStore."""

    async def write(self, verb: Verb[T]) -> T:
        """See HubStore."""
        return await self._sessions.alone(lambda connection: verb(SqlTransaction(connection, self._hasher)))

    async def write_for(self, node: NodeId, verb: Verb[T]) -> T:
        """See HubStore."""
        return await self._sessions.for_node(node, lambda connection: verb(SqlTransaction(connection, self._hasher)))

    async def read(self, verb: Verb[T]) -> T:
        """See HubStore."""
        return await self._sessions.snapshot(lambda connection: verb(SqlTransaction(connection, self._hasher)))

    async def tidy(self) -> None:
        """See HubStore. The server does it by itself."""

    async def check(self) -> tuple[str, ...]:
        """See HubStore."""
        return await complaints(self._sessions)

    async def close(self) -> None:
        """See HubStore."""
        await self._sessions.close()


async def open_postgres(url: str, row_key: Callable[[bool], bytes]) -> PostgresHubStore:
    """Open the database and bring it to this program's version; raises StoreFault or MigrationFault.

    `row_key` gives the key of row hashes; it is told whether rows stand already. Every process needs the same one.
    """
    sessions = await open_sessions(url)
    try:
        with opening(sessions.name):
            await migrate(sessions, schema_steps())
            store = PostgresHubStore(sessions, bytes(32))
            mark = await store.read(lambda tx: tx.hub_value(ROW_KEY_MARK))
        key = row_key(mark is not None)
        store = PostgresHubStore(sessions, key)
        if mark is None:
            mark = await store.write(lambda tx: _marked(tx, key))
        _must_be_the_key(mark, key, sessions.name)
    except BaseException:
        await sessions.close()
        raise
    return store


async def open_postgres_reader(url: str, row_key: Callable[[bool], bytes]) -> PostgresHubStore:
    """Open an existing database for reading only: `write` fails in it. Raises StoreFault or MigrationFault."""
    sessions = await open_sessions(url, read_only=True)
    try:
        with opening(sessions.name):
            await check_version(sessions, schema_steps())
            mark = await PostgresHubStore(sessions, bytes(32)).read(lambda tx: tx.hub_value(ROW_KEY_MARK))
        key = row_key(True)
        store = PostgresHubStore(sessions, key)
        _must_be_the_key(mark, key, sessions.name)
    except BaseException:
        await sessions.close()
        raise
    return store


async def _marked(tx: HubTransaction, key: bytes) -> str:
    """The mark of who came first."""
    mark = await tx.hub_value(ROW_KEY_MARK)
    if mark is None:
        mark = _mark(key)
        await tx.set_hub_value(ROW_KEY_MARK, mark)
    return mark


def _mark(key: bytes) -> str:
    return RowHasher(key, ROW_KEY_MARK).digest(ROW_KEY_MARK).hex()


def _must_be_the_key(mark: str | None, key: bytes, name: str) -> None:
    if mark is not None and mark != _mark(key):
        raise StoreFault(
            "TQ-HB-06",
            f"the row key in the data directory is not the one under which {name} was written",
            "copy row.key from the data directory of the hub that made it; under another key every row seems damaged",
        )
