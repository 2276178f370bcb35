"""The database twin: the same SQLite without a thread, interleaved by the seed, dying at chosen commits. Top floor.

`SimDisk` is a `DatabaseOpener` like `hosting.database.open_database` and shares its settings and migrations. What it
changes: statements run inline; before each await's result the loop takes a seeded number of turns, so that other tasks
come in between in every order a seed can make; a commit may be met by a `SimulatedCrash` just before or just after it
is durable; nothing is flushed (losing power is tried elsewhere, on real files).
"""

import asyncio
import sqlite3
import types
from collections.abc import Coroutine, Generator, Iterable, Sequence, Sized
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gridmodel.clock import Rng
from hosting.database import CONNECTION_SETTINGS, STATEMENTS_CACHED, Database, prepare
from hosting.database_faults import DatabaseFault, fault_of
from simulate.crash import SimulatedCrash

T = TypeVar("T")

TURNS_BEFORE_ANSWER_MAX = 2
"""Turns of the loop before a statement runs, at most: three orders for each pair of awaits, and campaigns multiply."""
PAGE_BYTES = 1024
"""A commit of a rehearsal touches a few rows; four times the page is four times the bytes to sum up and to write."""
_OWN_SETTINGS = {"synchronous": "PRAGMA synchronous = OFF", "busy_timeout": "PRAGMA busy_timeout = 0"}
TWIN_SETTINGS = tuple(_OWN_SETTINGS.get(setting.split()[1], setting) for setting in CONNECTION_SETTINGS)
"""What differs from production: no flushing, no real waiting for a lock, small pages."""


def connect(path: Path, mode: str = "rwc") -> sqlite3.Connection:
    """A connection to a file that this process alone uses: locks as ever, but kept in memory.

    Every connection of a rehearsal is opened so, those of its judges as well: each asks the others, and none asks the
    kernel, which at every statement was asked twice. Another process finds such a file locked.
    """
    uri = f"{path.absolute().as_uri()}?mode={mode}&vfs=unix-excl"
    return sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None, cached_statements=STATEMENTS_CACHED)


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
        self._connection = connection
        self._rng = rng
        self._hooks = hooks
        self._dead: SimulatedCrash | None = None
        self._ready: Sized = getattr(asyncio.get_running_loop(), "_ready", ("unknown",))
        """Whoever else could go on now, as the loop keeps them: looked at before each statement."""

    @property
    def total_changes(self) -> int:
        """See `Connection.total_changes`."""
        return 0 if self._dead is not None else self._connection.total_changes

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """See `Connection.execute`."""
        if self._ready or self._dead is not None:
            await self._turns()
        return self._connection.execute(sql, parameters).rowcount

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """See `Connection.execute_many`."""
        if self._ready or self._dead is not None:
            await self._turns()
        self._connection.executemany(sql, rows)

    async def fetch_all(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `Connection.fetch_all`."""
        if self._ready or self._dead is not None:
            await self._turns()
        return self._connection.execute(sql, parameters).fetchall()

    async def fetch_one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """See `Connection.fetch_one`."""
        if self._ready or self._dead is not None:
            await self._turns()
        rows = self._connection.execute(sql, parameters).fetchall()
        return rows[0] if rows else None

    async def commit(self) -> None:
        """See `Connection.commit`; the hooks are asked on both sides of it."""
        if self._ready or self._dead is not None:
            await self._turns()
        try:
            self._hooks.before_commit(self.name)
            self._connection.execute("COMMIT")
            self._hooks.after_commit(self.name)
        except SimulatedCrash as crash:
            self.die(crash)
            raise
        if self._ready:  # what a commit set off may queue up behind it before its caller goes on
            await self._turns()

    async def rollback(self) -> None:
        """See `Connection.rollback`; a dead process has rolled back already."""
        if self._ready and self._dead is None:
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

    async def _turns(self) -> None:
        """Let others come in between, a seeded number of times. Who has nobody beside him has no order to choose."""
        if self._ready:
            for _ in range(int(self._rng.random() * (TURNS_BEFORE_ANSWER_MAX + 1))):
                await _one_turn()
        if self._dead is not None:
            raise self._dead


class SimDatabase(Database):
    """A verb runs in its caller's task: production's own task for each of them is half of a rehearsal's time.

    What that task is for holds here as well: a caller cancelled in the middle is told when the transaction has ended.
    So a verb sets itself no time limit here (it would cancel its caller); no verb of the product does.
    """

    def __init__(self, connection: SimConnection, name: str) -> None:
        super().__init__(connection, name)
        self._loop = asyncio.get_running_loop()

    async def _finished(self, work: Coroutine[Any, Any, T]) -> T:
        interruptions: list[asyncio.CancelledError] = []
        self._holder = asyncio.current_task(self._loop)
        try:
            result = await _to_its_end(work, interruptions)
        except BaseException as error:
            if interruptions:
                raise interruptions[-1] from error
            raise
        finally:
            self._holder = None
        if interruptions:
            raise interruptions[-1]
        return result


@types.coroutine
def _one_turn() -> Generator[None, None, None]:
    """As `asyncio.sleep(0)`, without the coroutine around it."""
    yield


@types.coroutine
def _to_its_end(work: Coroutine[Any, Any, T], interruptions: list[asyncio.CancelledError]) -> Generator[Any, Any, T]:
    """Await `work`, which never hears that its task is cancelled: that is only noted."""
    while True:
        try:
            waited = work.send(None)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if waited is None:
            try:
                yield
            except asyncio.CancelledError as error:
                interruptions.append(error)
            continue
        waited._asyncio_future_blocking = False  # noqa: SLF001 — not this future is waited for, but one beside it
        while not waited.done():
            over = waited.get_loop().create_future()
            waited.add_done_callback(lambda _, over=over: over.done() or over.set_result(None))
            try:
                yield from over
            except asyncio.CancelledError as error:
                interruptions.append(error)


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
        inner = connect(path)
        connection = SimConnection(inner, name, self._rng, self._hooks)
        try:
            inner.execute(f"PRAGMA page_size = {PAGE_BYTES}")
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


def committed_rows(path: Path, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """What a stranger sees in a database now: committed rows only. For checkers, at once and without turns."""
    connection = connect(path, "ro")
    try:
        return connection.execute(sql, parameters).fetchall()
    finally:
        connection.close()
