"""The database twin: the same SQLite without a thread, interleaved by the seed, dying at chosen commits. Top floor.

`SimDisk` is a `DatabaseOpener` like `hosting.database.open_database` and shares its settings and migrations. What it
changes: statements run inline; before each await's result the loop takes a seeded number of turns, so that other tasks
come in between in every order a seed can make; a commit may be met by a `SimulatedCrash` just before or just after it
is durable; nothing is flushed (losing power is tried elsewhere, on real files).
"""

import asyncio
import sqlite3
from collections.abc import Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gridmodel.clock import Rng
from hosting.database import CONNECTION_SETTINGS, STATEMENTS_CACHED, Database, prepare
from hosting.database_faults import DatabaseFault, fault_of
from simulate.crash import SimulatedCrash

T = TypeVar("T")

TURNS_BEFORE_ANSWER_MAX = 2
"""Turns of the loop before a statement runs, at most: three orders for each pair of awaits, and campaigns multiply."""
_OWN_SETTINGS = {"synchronous": "PRAGMA synchronous = OFF", "busy_timeout": "PRAGMA busy_timeout = 0"}
TWIN_SETTINGS = tuple(_OWN_SETTINGS.get(setting.split()[1], setting) for setting in CONNECTION_SETTINGS)
"""What differs from production: no flushing, and no real waiting for a lock."""


class CommitHooks(Protocol):
    """Where the world listens to commits; either may raise `SimulatedCrash`."""

    def before_commit(self, name: str) -> None:
        """The database `name` is about to commit: a crash now loses the transaction."""
        ...

    def after_commit(self, name: str) -> None:
        """It has committed, and nobody knows yet: a crash now keeps the transaction."""
        ...


class NoHooks:
    """Nothing happens at commits."""

    def before_commit(self, name: str) -> None:
        """See `CommitHooks`."""

    def after_commit(self, name: str) -> None:
        """See `CommitHooks`."""


class SimConnection:
    """`hosting.database.Connection` over an inline SQLite connection."""

    def __init__(self, connection: sqlite3.Connection, name: str, rng: Rng, hooks: CommitHooks) -> None:
        self.name = name
        self.statements = 0
        """Statements run, for reports."""
        self._connection = connection
        self._rng = rng
        self._hooks = hooks
        self._dead: SimulatedCrash | None = None
        self._interrupted: asyncio.CancelledError | None = None

    @property
    def total_changes(self) -> int:
        """See `Connection.total_changes`."""
        return 0 if self._dead is not None else self._connection.total_changes

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """See `Connection.execute`."""
        await self._turns()
        return self._connection.execute(sql, parameters).rowcount

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """See `Connection.execute_many`."""
        await self._turns()
        self._connection.executemany(sql, rows)

    async def fetch_all(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `Connection.fetch_all`."""
        await self._turns()
        return self._connection.execute(sql, parameters).fetchall()

    async def fetch_one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """See `Connection.fetch_one`."""
        rows = await self.fetch_all(sql, parameters)
        return rows[0] if rows else None

    async def commit(self) -> None:
        """See `Connection.commit`; the hooks are asked on both sides of it."""
        await self._turns()
        try:
            self._hooks.before_commit(self.name)
            self._connection.execute("COMMIT")
            self._hooks.after_commit(self.name)
        except SimulatedCrash as crash:
            self.die(crash)
            raise

    async def rollback(self) -> None:
        """See `Connection.rollback`; a dead process has rolled back already."""
        if self._dead is None:
            await self._turns()
        if self._dead is None:
            self._connection.rollback()

    async def close(self) -> None:
        """See `Connection.close`."""
        if self._dead is None:
            self._dead = SimulatedCrash(self.name, "after its connection was closed")
            self._connection.rollback()
            self._connection.close()

    def die(self, crash: SimulatedCrash) -> None:
        """The process is gone: what is not committed is lost, and whoever still asks dies of the same crash."""
        if self._dead is None:
            self._dead = crash
            self._connection.rollback()
            self._connection.close()

    @property
    def is_open(self) -> bool:
        """Neither closed nor dead."""
        return self._dead is None

    def interruption(self) -> asyncio.CancelledError | None:
        """Whether the caller was cancelled since this was last asked: its transaction ended first."""
        interrupted, self._interrupted = self._interrupted, None
        return interrupted

    async def _turns(self) -> None:
        """Let others come in between, a seeded number of times; when nobody is ready there is no order to choose."""
        ready = getattr(asyncio.get_running_loop(), "_ready", True)
        if ready:
            for _ in range(int(self._rng.random() * (TURNS_BEFORE_ANSWER_MAX + 1))):
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError as error:
                    self._interrupted = error
        if self._dead is not None:
            raise self._dead
        self.statements += 1


class SimDatabase(Database):
    """A verb runs in its caller's task: production's own task for each of them is half of a rehearsal's time.

    What that task is for holds here as well, for a verb that awaits nothing but its connection: a caller cancelled in
    the middle is told when the transaction has ended.
    """

    def __init__(self, connection: SimConnection, name: str) -> None:
        super().__init__(connection, name)
        self._twin = connection

    async def _finished(self, work: Coroutine[Any, Any, T]) -> T:
        self._holder = asyncio.current_task()
        try:
            result = await work
        except BaseException as error:
            if (interrupted := self._twin.interruption()) is not None:
                raise interrupted from error
            raise
        finally:
            self._holder = None
        if (interrupted := self._twin.interruption()) is not None:
            raise interrupted
        return result


class SimDisk:
    """A `DatabaseOpener` for one simulated node or hub; remembers what is open so that all of it can die at once.

    Files are real (put `path` on a memory-backed folder), so that a restarted node finds what was committed.
    """

    def __init__(self, rng: Rng, hooks: CommitHooks | None = None) -> None:
        self._rng = rng
        self._hooks: CommitHooks = hooks or NoHooks()
        self._connections: list[SimConnection] = []

    async def __call__(self, path: Path, name: str, migrations: Sequence[str]) -> Database:
        """Open (or make) the database at `path`; see `hosting.database.open_database`."""
        if not path.parent.is_dir():
            raise DatabaseFault("TQ-DB-01", f"the folder {path.parent} for {name} is missing", "make it first")
        inner = sqlite3.connect(path, timeout=0, isolation_level=None, cached_statements=STATEMENTS_CACHED)
        connection = SimConnection(inner, name, self._rng, self._hooks)
        try:
            await prepare(connection, name, migrations, TWIN_SETTINGS)
        except BaseException as error:
            await connection.close()
            if isinstance(error, sqlite3.Error) and (fault := fault_of(error, name)) is not None:
                raise fault from error
            raise
        self._connections = [each for each in self._connections if each.is_open]
        self._connections.append(connection)
        return SimDatabase(connection, name)

    def crash(self, crash: SimulatedCrash) -> None:
        """Kill every open connection of this node, in the order of their opening."""
        for connection in self._connections:
            connection.die(crash)
        self._connections.clear()

    @property
    def statements(self) -> int:
        """Statements run on the open connections."""
        return sum(connection.statements for connection in self._connections)


def committed_rows(path: Path, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """What a stranger sees in a database now: committed rows only. For checkers, at once and without turns."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        return connection.execute(sql, parameters).fetchall()
    finally:
        connection.close()
