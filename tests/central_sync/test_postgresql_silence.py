"""A server that falls silent, more writers than connections: whoever waits is told, and the hub goes on by itself."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from central_sync.store import postgres_sessions
from central_sync.store.faults import StoreFault
from central_sync.store.port import HubTransaction
from central_sync.store.postgres import PostgresHubStore, open_postgres
from central_sync.store.postgres_sessions import open_sessions
from gridmodel.identity import NodeId
from tests.central_sync.hub_rig import ROW_KEY, A, B
from tests.postgresql import OWNER

pytestmark = pytest.mark.postgresql
WAIT_S = 30


class Line:
    """A line to a server's socket that can be made to swallow what is said on it, as a lost network does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        """From now on nothing arrives, and nobody is told."""
        self._open.clear()

    def mend(self) -> None:
        """New connections get through; the old ones stay dead."""
        self._stop()
        self._open.set()

    async def close(self) -> None:
        self._stop()
        self._server.close()

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._path)
        for pair in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._carry(*pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(65_536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


def over_a_line(url: str, story: Callable[[str, Line], Awaitable[None]]) -> None:
    """Runs a story with the address of the same database behind a line."""
    name, _, folder = url.partition("@/")[2].partition("?host=")

    async def whole() -> None:
        line = Line(Path(folder) / ".s.PGSQL.5432")
        port = await line.start()
        try:
            await asyncio.wait_for(story(f"postgresql://{OWNER}@127.0.0.1:{port}/{name}", line), WAIT_S)
        finally:
            await line.close()

    asyncio.run(whole())


@pytest.mark.parametrize("when", ["before", "within", "at its end"])
def test_a_line_that_is_lost_without_a_word_holds_nobody_for_ever(
    fresh_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr(postgres_sessions, "ANSWER_S_MAX", 0.3)
    monkeypatch.setattr(postgres_sessions, "CONNECT_S_MAX", 0.3)

    async def story(url: str, line: Line) -> None:
        store = await open_postgres(url, lambda _: ROW_KEY)
        await store.write(lambda tx: tx.enlist(A, "key", ("1703202",)))

        async def verb(tx: HubTransaction) -> None:
            if when == "within":
                line.cut()
            await tx.set_epoch(A, 7)
            if when == "at its end":
                line.cut()

        if when == "before":
            line.cut()
        told = await asyncio.gather(store.write_for(A, verb), store.write_for(A, verb), return_exceptions=True)
        assert [isinstance(one, StoreFault) and one.code for one in told] == ["TQ-HB-02"] * 2
        line.mend()
        await store.write_for(A, lambda tx: tx.set_epoch(A, 9))
        row = await store.read(lambda tx: tx.node(A))
        assert row is not None
        assert row.epoch == 9
        await store.close()

    over_a_line(fresh_database(), story)


def test_a_hub_ends_though_its_server_says_nothing(
    fresh_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_sessions, "CONNECT_S_MAX", 0.3)

    async def story(url: str, line: Line) -> None:
        store = await open_postgres(url, lambda _: ROW_KEY)
        line.cut()
        await store.close()
        await store.close()

    over_a_line(fresh_database(), story)


def test_a_dead_machine_is_noticed_by_the_connection_itself(fresh_database: Callable[[], str]) -> None:
    async def story(url: str, _: Line) -> None:
        sessions = await open_sessions(url)
        async with sessions.raw() as connection:
            known = connection._transport.get_extra_info("socket")
            assert known.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert known.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 60
        await sessions.close()

    over_a_line(fresh_database(), story)


def test_writers_that_wait_leave_connections_to_readers(fresh_database: Callable[[], str]) -> None:
    """An import holds every node; more nodes than there are connections wait for it, and pages are still answered."""
    url = fresh_database()
    nodes = [NodeId(f"node-{number}") for number in range(2 * postgres_sessions.CONNECTIONS_MAX)]

    async def story() -> None:
        importing, serving = [await open_postgres(url, lambda _: ROW_KEY) for _ in range(2)]
        for node in nodes:
            await importing.write(lambda tx, node=node: tx.enlist(node, "key", ()))  # type: ignore[misc]
        held, let_go = asyncio.Event(), asyncio.Event()

        async def hold(tx: HubTransaction) -> None:
            await tx.set_epoch(nodes[0], 1)
            held.set()
            await let_go.wait()

        holding = asyncio.create_task(importing.write(hold))
        await held.wait()
        waiting = [asyncio.create_task(_seen(serving, node)) for node in nodes]
        while len(await _waiting(importing)) < postgres_sessions.CONNECTIONS_MAX - postgres_sessions.FOR_READERS:
            pass
        row = await asyncio.wait_for(serving.read(lambda tx: tx.node(B)), 10)
        assert row is None
        let_go.set()
        await asyncio.gather(holding, *waiting)
        await importing.close()
        await serving.close()

    asyncio.run(asyncio.wait_for(story(), WAIT_S))


def test_who_waits_too_long_for_a_turn_is_told_to_come_again(
    fresh_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wait: else those whose nodes have long hung up would pile up in the hub's memory."""
    monkeypatch.setattr(postgres_sessions, "TURN_S_MAX", 0.2, raising=False)
    url = fresh_database()
    nodes = [NodeId(f"node-{number}") for number in range(2 * postgres_sessions.CONNECTIONS_MAX)]

    async def story() -> None:
        importing, serving = [await open_postgres(url, lambda _: ROW_KEY) for _ in range(2)]
        for node in nodes:
            await importing.write(lambda tx, node=node: tx.enlist(node, "key", ()))  # type: ignore[misc]

        async def hold(_: HubTransaction) -> None:
            tasks = [asyncio.create_task(_seen(serving, node)) for node in nodes]
            told, waiting = await asyncio.wait(tasks, timeout=WAIT_S / 2, return_when=asyncio.FIRST_EXCEPTION)
            assert {getattr(one.exception(), "code", None) for one in told} == {"TQ-HB-08"}
            going.extend(waiting)

        going: list[asyncio.Task[None]] = []
        await importing.write(hold)
        assert any(one is None for one in await asyncio.gather(*going, return_exceptions=True))
        await importing.close()
        await serving.close()

    asyncio.run(asyncio.wait_for(story(), WAIT_S))


async def _seen(store: PostgresHubStore, node: NodeId) -> None:
    await store.write_for(node, lambda tx: tx.set_epoch(node, 2))


async def _waiting(store: PostgresHubStore) -> list[int]:
    """The server's processes that wait for a lock."""
    async with store._sessions.raw() as connection:
        rows = await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    return [row[0] for row in rows]
