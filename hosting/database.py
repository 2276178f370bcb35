"""One SQLite connection per database and the discipline around it. Floor: hosting; on all three walks.

On a shared connection one task's rollback erases another task's rows. So every store verb is under one lock, shielded,
and one transaction (but docs/adr/0015-reads-without-a-transaction.md): a cancelled caller leaves none half-known.
The settings are measured ones: WAL with ``synchronous=FULL`` (NORMAL lost acknowledged rows at power loss), one writer
connection that alone checkpoints (SQLite before 3.51.3 can corrupt a WAL reset otherwise), others read-only.

Rooms hand verbs to `Database.write` and `Database.read`; they see `Connection`, a port with a twin in the simulator.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import aiosqlite

from hosting import migrations as migrations_
from hosting.database_faults import DatabaseFault, fault_of, fresh_partial, must_exist
from hosting.files import publish

T = TypeVar("T")

BUSY_TIMEOUT_MS = 5000
"""How long SQLite waits for another process's lock: a reader's checkpoint or copy ends within a second."""
WAL_PAGES_BEFORE_CHECKPOINT = 4000
"""16 MB of WAL: larger than one poll round's commit, small enough to replay in well under a second after a crash."""
WAL_SIZE_BYTES_MAX = 64 * 1024 * 1024
"""A WAL that grew under a long reader is cut back to this after the next checkpoint."""
STATEMENTS_CACHED = 256
"""Prepared statements kept: more than one node's verbs use."""
COMPLAINTS_MAX = 20
"""A damaged file names thousands of pages; the first lines tell the operator enough."""

CONNECTION_SETTINGS = (
    "PRAGMA auto_vacuum = INCREMENTAL",  # first of all: it cannot be set once a table stands
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cell_size_check = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA temp_store = MEMORY",
    f"PRAGMA wal_autocheckpoint = {WAL_PAGES_BEFORE_CHECKPOINT}",
    f"PRAGMA journal_size_limit = {WAL_SIZE_BYTES_MAX}",
)
"""What every writer connection is set to, in this order."""


class Connection(Protocol):
    """What a store verb may do. The verb never begins, commits or rolls back: `Database` does."""

    @property
    def total_changes(self) -> int:
        """Rows changed through this connection since it was opened, whether committed or undone."""
        ...

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run one statement; gives the count of changed rows (-1 where SQLite has none to tell)."""
        ...

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each row, in one step: the fast way to insert."""
        ...

    async def fetch_all(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Every row of a query (or of a statement with RETURNING). The query bounds itself with LIMIT."""
        ...

    async def fetch_one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row, or None. For queries that yield at most one row."""
        ...

    async def commit(self) -> None:
        """End the transaction, durably. Raises when none is open."""
        ...

    async def rollback(self) -> None:
        """Undo the open transaction; nothing happens when none is open."""
        ...

    async def close(self) -> None:
        """Give the file back."""
        ...


Verb = Callable[[Connection], Awaitable[T]]
"""A store verb: runs inside one transaction."""


class Database:
    """A connection with its lock: `write` and `read` are the only ways in, each one transaction.

    Not re-entrant: a verb that calls `write` or `read` of its own database is refused by name instead of waiting for
    itself for ever. `name` appears in faults.
    """

    def __init__(self, connection: Connection, name: str, *, beside_a_writer: bool = False) -> None:
        """`beside_a_writer`: another process writes the file while this connection reads it."""
        self.name = name
        self._beside_a_writer = beside_a_writer
        self.commits = 0
        """Transactions through this object that changed something. Who finds it unchanged need not look again."""
        self._connection = connection
        self._view = _ReadOnly(connection, name)
        self._lock = asyncio.Lock()
        self._holder: asyncio.Task[Any] | None = None
        self._broken: BaseException | None = None

    def turn(self) -> AbstractAsyncContextManager[None]:
        """The right to use the connection: first come, first served. One place, so that its absence can be tried."""
        return self._lock

    async def write(self, verb: Verb[T]) -> T:
        """Run `verb` in one durable transaction: COMMIT when it returns, ROLLBACK when anything is raised.

        A caller cancelled while it waits for its turn has begun nothing; cancelled later, the transaction ends first
        and `CancelledError` comes after. Raises what the verb raises; trouble with the file as `DatabaseFault`.
        """
        return await self._alone(self._transaction(verb))

    async def read(self, verb: Verb[T]) -> T:
        """Run `verb` on one consistent snapshot. `execute` and `execute_many` are refused inside.

        Whoever has the turn on the file's one writer connection is alone with it: what he reads is a snapshot without a
        transaction, and two statements (on production's connection two changes of thread) are saved.
        """
        return await self._alone(self._snapshot(verb))

    async def checkpoint(self) -> tuple[int, int]:
        """Move the WAL into the file and cut it to nothing; gives (pages in the WAL, pages moved)."""

        async def verb() -> tuple[int, int]:
            row = await self._connection.fetch_one("PRAGMA wal_checkpoint(TRUNCATE)")
            return (0, 0) if row is None else (int(row[1]), int(row[2]))

        return await self._alone(verb())

    async def copy_to(self, path: Path) -> None:
        """Write a compact, consistent copy (`VACUUM INTO`), whole under its name or not there at all.

        Raises `DatabaseFault` ``TQ-DB-10`` when `path` exists.
        """
        partial = fresh_partial(path, self.name)

        async def verb() -> None:
            await self._connection.execute("VACUUM INTO ?", (str(partial),))

        await self._alone(verb())
        await asyncio.get_running_loop().run_in_executor(None, publish, partial, path)

    async def check(self) -> tuple[str, ...]:
        """The complaints of SQLite's quick check; empty when it finds none (which row hashes must confirm)."""

        async def verb() -> tuple[str, ...]:
            rows = await self._connection.fetch_all(f"PRAGMA quick_check({COMPLAINTS_MAX})")
            return tuple(str(row[0]) for row in rows if row[0] != "ok")

        return await self._alone(verb())

    async def close(self) -> None:
        """Wait for the verb in progress, then give the file back."""
        await self._alone(self._connection.close())

    async def _alone(self, work: Coroutine[Any, Any, T]) -> T:
        """One at a time, and finished even when the caller is cancelled."""
        if self._holder is not None and self._holder is asyncio.current_task():
            work.close()
            raise RuntimeError(f"a verb of {self.name} called its own database: it would wait for itself")
        try:
            async with self.turn():
                return await self._finished(work)
        finally:
            work.close()

    async def _finished(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(work)
        self._holder = task
        interrupted: asyncio.CancelledError | None = None
        loop = asyncio.get_running_loop()
        while not task.done():
            over = loop.create_future()  # half the cost of `asyncio.wait`, at every transaction of the house
            task.add_done_callback(lambda _, over=over: over.done() or over.set_result(None))  # type: ignore[misc]
            try:
                await over
            except asyncio.CancelledError as error:
                interrupted = error
        if self._holder is task:
            self._holder = None
        if interrupted is not None:
            raise interrupted from (None if task.cancelled() else task.exception())
        return task.result()

    async def _snapshot(self, verb: Verb[T]) -> T:
        self._must_be_whole()
        try:
            changes = self._connection.total_changes
            if self._beside_a_writer:
                await self._connection.execute("BEGIN DEFERRED")
            result = await verb(self._view)
            if self._beside_a_writer:
                await self._connection.rollback()
        except BaseException as error:
            await self._failed(error)
            raise
        if self._connection.total_changes != changes:
            raise RuntimeError(f"a read verb of {self.name} has written")
        return result

    async def _transaction(self, verb: Verb[T]) -> T:
        self._must_be_whole()
        try:
            changes = self._connection.total_changes
            await self._connection.execute("BEGIN IMMEDIATE")
            result = await verb(self._connection)
            await self._connection.commit()
            self.commits += self._connection.total_changes != changes
        except BaseException as error:
            await self._failed(error)
            raise
        return result

    def _must_be_whole(self) -> None:
        if self._broken is not None:
            raise DatabaseFault(
                "TQ-DB-09",
                f"{self.name} could not undo a transaction earlier",
                "restart the process; what was acknowledged is safe",
            ) from self._broken

    async def _failed(self, error: BaseException) -> None:
        """Undo what is open; raises the fault that `error` of SQLite means, if it means one."""
        await self._undo()
        if isinstance(error, sqlite3.Error) and (fault := fault_of(error, self.name)) is not None:
            raise fault from error

    async def _undo(self) -> None:
        try:
            await self._connection.rollback()
        except BaseException as error:
            self._broken = error
            raise


class DatabaseOpener(Protocol):
    """How `node.build` and `hub.build` open a database: `open_database` in production, a twin in the simulator."""

    async def __call__(self, path: Path, name: str, migrations: Sequence[str]) -> Database:
        """Open (or make) `path`, bring it to the newest version, and give it; raises `DatabaseFault`."""
        ...


class AioConnection:
    """`Connection` over aiosqlite: one thread per connection, one hop per call (about 85 µs)."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    @property
    def total_changes(self) -> int:
        """See `Connection.total_changes`."""
        return self._connection.total_changes

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """See `Connection.execute`."""
        return (await self._connection.execute(sql, parameters)).rowcount

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """See `Connection.execute_many`; `rows` is iterated on the connection's thread."""
        await self._connection.executemany(sql, rows)

    async def fetch_all(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `Connection.fetch_all`."""
        rows = await self._connection.execute_fetchall(sql, parameters)
        return cast("list[tuple[Any, ...]]", rows)

    async def fetch_one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """See `Connection.fetch_one`."""
        rows = await self.fetch_all(sql, parameters)
        return rows[0] if rows else None

    async def commit(self) -> None:
        """See `Connection.commit`. A statement: the library's own commit stays silent when nothing is open."""
        await self._connection.execute("COMMIT")

    async def rollback(self) -> None:
        """See `Connection.rollback`."""
        await self._connection.rollback()

    async def close(self) -> None:
        """See `Connection.close`."""
        await self._connection.close()


class _ReadOnly:
    """The view a read verb gets: a write in it would be rolled back in silence, so it is refused aloud."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._name = name
        self._connection = connection
        self.fetch_all = connection.fetch_all
        self.fetch_one = connection.fetch_one

    @property
    def total_changes(self) -> int:
        return self._connection.total_changes

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:  # noqa: ARG002
        raise self._refusal(sql)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:  # noqa: ARG002
        raise self._refusal(sql)

    async def commit(self) -> None:
        raise self._refusal("COMMIT")

    async def rollback(self) -> None:
        raise self._refusal("ROLLBACK")

    async def close(self) -> None:
        raise self._refusal("close")

    def _refusal(self, sql: str) -> RuntimeError:
        return RuntimeError(f"a read verb of {self._name} tried to write: {sql[:80]}")


async def open_database(path: Path, name: str, migrations: Sequence[str]) -> Database:
    """Open or make the database at `path` as its one writer; the production `DatabaseOpener`.

    Raises `DatabaseFault` when the folder is missing, the file is no database, or it is newer than this program.
    """
    if not path.parent.is_dir():
        raise DatabaseFault(
            "TQ-DB-01", f"the folder {path.parent} for {name} is missing", "make it, or correct the path"
        )
    connection = await _opened(
        name,
        lambda: aiosqlite.connect(path, isolation_level=None, cached_statements=STATEMENTS_CACHED),
        lambda connection: prepare(connection, name, migrations),
    )
    return Database(connection, name)


async def open_reader(path: Path, name: str, migrations: Sequence[str]) -> Database:
    """Open an existing database for reading only, beside a running writer: `write` fails in it.

    Raises `DatabaseFault`: ``TQ-DB-02`` missing, ``TQ-DB-03`` no database, ``TQ-DB-04`` locked, ``TQ-DB-05`` newer than
    this program, ``TQ-DB-06`` older than this program.
    """
    must_exist(path, name)

    async def settle(connection: Connection) -> None:
        await connection.execute("PRAGMA query_only = ON")
        await connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        await connection.execute("PRAGMA trusted_schema = OFF")
        await migrations_.check(connection, name, migrations)

    def opener(mode: str) -> Callable[[], aiosqlite.Connection]:
        uri = f"{path.absolute().as_uri()}?mode={mode}"
        return lambda: aiosqlite.connect(uri, uri=True, isolation_level=None, cached_statements=STATEMENTS_CACHED)

    try:
        connection = await _opened(name, opener("ro"), settle)
    except DatabaseFault as fault:
        if fault.code != "TQ-DB-11":
            raise
        # A WAL database whose writer is not running needs its shared index made anew, which mode=ro may not do.
        connection = await _opened(name, opener("rw"), settle)
    return Database(connection, name, beside_a_writer=True)


async def prepare(
    connection: Connection, name: str, migrations: Sequence[str], settings: Sequence[str] = CONNECTION_SETTINGS
) -> None:
    """Put a fresh writer connection on its settings and the file on the newest version (shared with the twin)."""
    for setting in settings:
        await connection.fetch_all(setting)
    await migrations_.apply(connection, name, migrations)


async def _opened(
    name: str,
    connect: Callable[[], aiosqlite.Connection],
    settle: Callable[[Connection], Awaitable[None]],
) -> AioConnection:
    try:
        connection = AioConnection(await connect())
    except sqlite3.Error as error:
        raise fault_of(error, name) or error from error
    try:
        await settle(connection)
    except BaseException as error:
        with suppress(sqlite3.Error):
            await connection.close()
        if isinstance(error, sqlite3.Error) and (fault := fault_of(error, name)) is not None:
            raise fault from error
        raise
    return connection
