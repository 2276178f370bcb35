"""Transactions on PostgreSQL through asyncpg. Floor: central_sync/store; in the PostgreSQL door, on all three walks.

Theory of operation (docs/adr/0017-postgresql.md). Writers run READ COMMITTED under a lock, so that each statement sees
what was committed before the lock was given: `for_node` holds the node's row FOR UPDATE, `alone` holds table `node`
against every other writer, in this process or another. Readers have one snapshot (REPEATABLE READ) and wait for nobody.
What two nodes may both claim (an entry's id, an owner) is held by keys and constraints: who comes second is undone and
runs its verb again, which then sees the first. A verb may therefore run more than once; it has no effect but through
its transaction. Nothing is tried again once a connection broke in the middle: whether the commit came through is then
unknown, and the node that asked sends its batch again. A server that says nothing more is a broken connection, too.
"""

import asyncio
import re
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import lru_cache, partial
from itertools import count, islice
from typing import Any, TypeVar

import asyncpg

from central_sync.store.addresses import shown_address, unreadable
from central_sync.store.faults import StoreFault
from central_sync.store.postgres_faults import CROSSED, LOST, away, fault_of, held_up, opening, unusable
from central_sync.store.statements import Statements
from gridmodel.identity import NodeId

T = TypeVar("T")
Work = Callable[[Statements], Awaitable[T]]
Lock = Callable[[Any], Awaitable[None]]

SERVER_VERSION_MIN = 13
CONNECTIONS_MAX = 8
"""Of one hub process. A server's own limit is 100 by default."""
FOR_READERS = 2
"""Of these, never taken by writers: they may all wait for an import of another process."""
TURN_S_MAX = 20.0
"""For which a verb waits for others of its process, and again for other processes; a node waits 30 s for an answer."""
CONNECT_S_MAX = 10.0
"""To make a connection, to begin on one that stands, or to give up what was begun: nothing waits for a lock there."""
ANSWER_S_MAX = 300.0
"""For which one statement is waited; then the server is taken for lost. As long may a hung process keep its node."""
ROWS_AT_ONCE = 16_384
"""Of one statement that runs for many rows: a second's work, however many there are."""
TRIES_MAX = 6
"""Of one verb that others cross. Who crosses has committed, so that the second try nearly always stands alone."""
STATEMENTS_CACHED = 512
"""Prepared statements kept by each connection: those of all verbs, IN lists of common lengths among them."""
STATEMENT_CHARACTERS_MAX = 16_384
"""Longer ones are not kept; an IN list of 500 has 3,000."""
SETTINGS = {
    "application_name": "tarmoq-hub",
    "synchronous_commit": "on",  # what is acknowledged is on the disk, whatever the server's default is
    "client_encoding": "UTF8",  # whatever the address says
    "statement_timeout": f"{ANSWER_S_MAX:.0f}s",  # nor is a limit meant for people's queries one of ours
    "lock_timeout": f"{TURN_S_MAX:.0f}s",
    "idle_in_transaction_session_timeout": "300s",  # a process that hangs lets go of its node
    "tcp_keepalives_idle": "30",  # so does one whose machine lost its power
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "jit": "off",
}
"""Of every connection."""
NUL, NUL_SHOWN = "\0", "\N{SYMBOL FOR NULL}"
"""A text of PostgreSQL holds no NUL: a meter's name padded with it, in an alarm, is kept with its picture."""

KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}
"""Of this side of a connection, in seconds, but the last in milliseconds: a minute until a dead machine is noticed."""

_WRITING = "BEGIN ISOLATION LEVEL READ COMMITTED"
_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_NODE = "SELECT 1 FROM node WHERE id = $1 FOR UPDATE"
_EVERY_NODE = "LOCK TABLE node IN EXCLUSIVE MODE"


@lru_cache(maxsize=4096)
def numbered(sql: str) -> str:
    """``?`` and ``?1`` as ``$1``."""
    counter = count(1)
    return re.sub(r"\?(\d*)", lambda found: f"${found[1] or next(counter)}", sql)


def kept(parameters: Sequence[Any]) -> Sequence[Any]:
    """The parameters as PostgreSQL can keep them."""
    for one in parameters:
        if isinstance(one, str) and NUL in one:
            return [one.replace(NUL, NUL_SHOWN) if isinstance(one, str) else one for one in parameters]
    return parameters


class PostgresStatements:
    """`Statements` over one connection; a reader's refuses to write by name, as SQLite's does."""

    def __init__(self, connection: Any, *, writes: bool) -> None:
        self._connection = connection
        self._writes = writes

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """See `Statements`."""
        self._must_write(sql)
        told = await self._connection.execute(numbered(sql), *kept(parameters))
        return int(told.rpartition(" ")[2])

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """See `Statements`."""
        self._must_write(sql)
        given = map(kept, rows)
        while some := list(islice(given, ROWS_AT_ONCE)):
            await self._connection.executemany(numbered(sql), some)

    async def fetch_all(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `Statements`."""
        return [tuple(row) for row in await self._connection.fetch(numbered(sql), *kept(parameters))]

    async def fetch_one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """See `Statements`."""
        row = await self._connection.fetchrow(numbered(sql), *kept(parameters))
        return None if row is None else tuple(row)

    def _must_write(self, sql: str) -> None:
        if not self._writes:
            raise RuntimeError(f"a read verb of the hub's database tried to write: {sql[:80]}")


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """Notices a dead machine at its other end. Back in the pool as it was: verbs leave nothing in a session."""

    def __init__(self, protocol: Any, transport: asyncio.Transport, *arguments: Any, **more: Any) -> None:
        super().__init__(protocol, transport, *arguments, **more)
        known = transport.get_extra_info("socket")
        if known is not None and known.family != socket.AF_UNIX:
            known.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in KEEPALIVE.items():
                if hasattr(socket, name):
                    known.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def get_reset_query(self) -> str:
        """See asyncpg."""
        return ""


class Sessions:
    """The connections of one process to one database, and the only ways to a transaction."""

    def __init__(self, pool: Any, name: str) -> None:
        self.name = name
        self._pool = pool
        self._turns: dict[NodeId | None, asyncio.Lock] = defaultdict(asyncio.Lock)
        """Of verbs of this process: who would wait for a lock of the server anyway takes no connection meanwhile."""
        self._writers = asyncio.Semaphore(CONNECTIONS_MAX - FOR_READERS)

    async def alone(self, work: Work[T]) -> T:
        """Run `work` while no other writer runs."""
        async with self._turn(None):
            return await self._done(_WRITING, work, _lock_all)

    async def for_node(self, node: NodeId, work: Work[T]) -> T:
        """Run `work` while no other writer about `node` runs."""
        async with self._turn(node):
            return await self._done(_WRITING, work, partial(_lock_node, node))

    async def snapshot(self, work: Work[T]) -> T:
        """Run `work` on one snapshot; it may only read."""
        return await self._done(_READING, work, None)

    @asynccontextmanager
    async def _turn(self, node: NodeId | None) -> AsyncIterator[None]:
        """The turn of a writer of this process; raises StoreFault (TQ-HB-08) when it does not come in time."""
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(TURN_S_MAX):
                    await held.enter_async_context(self._turns[node])
                    await held.enter_async_context(self._writers)
            except TimeoutError:
                raise held_up(f"no turn within {TURN_S_MAX:.0f} s", self.name) from None
            yield

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[Any]:
        """A connection outside any transaction, for the schema and the checkup."""
        with named(self.name):
            async with self._pool.acquire() as connection:
                yield connection

    async def close(self) -> None:
        """Wait for the writers in progress, then let go of the server, whether it answers or not."""
        for _ in range(CONNECTIONS_MAX - FOR_READERS):
            await self._writers.acquire()
        with suppress(*LOST):
            async with asyncio.timeout(CONNECT_S_MAX):
                await self._pool.close()
        for _ in range(CONNECTIONS_MAX - FOR_READERS):
            self._writers.release()

    async def _done(self, begin: str, work: Work[T], lock: Lock | None) -> T:
        with named(self.name):
            return await finished(self._again(begin, work, lock))

    async def _again(self, begin: str, work: Work[T], lock: Lock | None) -> T:
        """Whoever was crossed runs once more; the last error stands when that does not help."""
        for _ in range(TRIES_MAX - 1):
            with suppress(*CROSSED):
                return await self._once(begin, work, lock)
        return await self._once(begin, work, lock)

    async def _once(self, begin: str, work: Work[T], lock: Lock | None) -> T:
        connection = await self._begun(begin)
        try:
            if lock is not None:
                await lock(connection)
            result = await work(PostgresStatements(connection, writes=lock is not None))
            _must_be_committed(await connection.execute("COMMIT"), self.name)
        except BaseException as error:
            if not _gone(connection):
                await _given_up(connection, silent=isinstance(error, TimeoutError))
            elif isinstance(error, asyncpg.InterfaceError):
                raise away(error, self.name) from error
            raise
        finally:
            await self._pool.release(connection)
        return result

    async def _begun(self, begin: str) -> Any:
        """A connection in a new transaction. One that died unnoticed in the pool is replaced: nothing was lost."""
        for last in (False, True):
            connection = await self._pool.acquire()
            try:
                await connection.execute(begin, timeout=CONNECT_S_MAX)
            except BaseException as error:
                if isinstance(error, TimeoutError):
                    connection.terminate()
                await self._pool.release(connection)
                if last or not isinstance(error, (*LOST, asyncpg.InterfaceError)):
                    raise
                await self._pool.expire_connections()
            else:
                return connection
        raise RuntimeError("the second time either gives a connection or raises")


def _gone(connection: Any) -> bool:
    """Whether the connection broke; the pool may have taken it back by then."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True


async def _given_up(connection: Any, *, silent: bool) -> None:
    """Nothing of the transaction stands. A connection that does not say so is closed, and the server finds it out."""
    try:
        if not silent:
            await connection.execute("ROLLBACK", timeout=CONNECT_S_MAX)
            return
    except (*LOST, asyncpg.PostgresError, asyncpg.InterfaceError):
        pass
    connection.terminate()


async def _lock_all(connection: Any) -> None:
    await connection.execute(_EVERY_NODE)


async def _lock_node(node: NodeId, connection: Any) -> None:
    if await connection.fetchval(_NODE, node) is None:
        await _lock_all(connection)  # no row to hold: nobody may write beside us


def _must_be_committed(told: str, name: str) -> None:
    if told != "COMMIT":
        raise RuntimeError(f"a verb of {name} went on after a statement had failed: nothing was committed")


@contextmanager
def named(name: str) -> Iterator[None]:
    """Turns trouble with the server into its fault."""
    try:
        yield
    except BaseException as error:
        fault = None if isinstance(error, StoreFault) else fault_of(error, name)
        if fault is None:
            raise
        raise fault from (None if fault.code == "TQ-HB-01" else error)  # there a secret may stand in it


async def finished(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which comes to its end even when the caller is cancelled: no commit is half known."""
    task = asyncio.ensure_future(work)
    interrupted: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted from (None if task.cancelled() else task.exception())
    return task.result()


async def open_sessions(url: str, *, read_only: bool = False) -> Sessions:
    """Connect; raises StoreFault by name when that cannot be, TQ-HB-14 for too old a server or another encoding."""
    name = f"the hub's {shown_address(url)}"
    settings = SETTINGS | ({"default_transaction_read_only": "on"} if read_only else {})
    try:
        pool = await asyncpg.create_pool(
            url,
            min_size=0,  # else it would call a server that is away by itself, and complain in words of its own
            max_size=CONNECTIONS_MAX,
            timeout=CONNECT_S_MAX,
            command_timeout=ANSWER_S_MAX,
            connection_class=_Connection,
            statement_cache_size=STATEMENTS_CACHED,
            max_cacheable_statement_size=STATEMENT_CHARACTERS_MAX,
            server_settings=settings,
        )
        sessions = Sessions(pool, name)
        with opening(name):
            async with sessions.raw() as connection:
                encoding, version = connection.get_settings().server_encoding, connection.get_server_version().major
    except ValueError:
        raise unreadable() from None
    if encoding == "UTF8" and version >= SERVER_VERSION_MIN:
        return sessions
    await sessions.close()
    raise unusable(f"its encoding is {encoding} (UTF8 is needed), its version {version} ({SERVER_VERSION_MIN})", name)
