"""One suite for every `Connection`: the product's over aiosqlite and the simulator's twin. Each must keep them all."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from hosting.database import Connection, Database, DatabaseOpener, open_database
from hosting.database_faults import DatabaseFault
from hosting.migrations import MigrationFault
from simulate.clock import stream
from simulate.disk import SimDisk
from simulate.loop import run_virtual

STEPS = ("CREATE TABLE fact (id TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;",)

Story = Callable[[Database], Awaitable[None]]


def run_product(path: Path, story: Story, steps: tuple[str, ...] = STEPS) -> None:
    async def whole() -> None:
        opener: DatabaseOpener = open_database
        database = await opener(path, "contract", steps)
        try:
            await story(database)
        finally:
            await database.close()

    asyncio.run(whole())


def run_twin(path: Path, story: Story, steps: tuple[str, ...] = STEPS) -> None:
    async def whole() -> None:
        opener: DatabaseOpener = SimDisk(stream(len(path.name), "disk"))
        database = await opener(path, "contract", steps)
        try:
            await story(database)
        finally:
            await database.close()

    run_virtual(whole())


RUNNERS: dict[str, Callable[..., None]] = {"aiosqlite": run_product, "twin": run_twin}


@pytest.fixture(params=list(RUNNERS))
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    runner = RUNNERS[request.param]
    return lambda story, steps=STEPS: runner(tmp_path / "fact.db", story, steps)


async def values(database: Database) -> dict[str, int]:
    return dict(await database.read(lambda connection: connection.fetch_all("SELECT id, value FROM fact")))


async def put(connection: Connection, *names: str) -> None:
    for value, name in enumerate(names):
        await connection.execute("INSERT INTO fact VALUES (?, ?)", (name, value))


class Broken(Exception):
    pass


def test_calls_give_counts_rows_and_none(run: Callable[[Story], None]) -> None:
    async def story(database: Database) -> None:
        async def verb(connection: Connection) -> None:
            assert await connection.execute("INSERT INTO fact VALUES ('a', 1)") == 1
            await connection.execute_many("INSERT INTO fact VALUES (?, ?)", [("b", 2), ("c", 3)])
            assert await connection.execute("UPDATE fact SET value = value + 1") == 3
            assert await connection.execute("INSERT OR IGNORE INTO fact VALUES ('a', 9)") == 0
            assert await connection.fetch_all("SELECT id, value FROM fact WHERE value > ? ORDER BY id", (2,)) == [
                ("b", 3),
                ("c", 4),
            ]
            assert await connection.fetch_one("SELECT value FROM fact WHERE id = 'a'") == (2,)
            assert await connection.fetch_one("SELECT value FROM fact WHERE id = 'z'") is None
            assert await connection.fetch_all("DELETE FROM fact WHERE id = 'c' RETURNING value") == [(4,)]

        await database.write(verb)
        assert await values(database) == {"a": 2, "b": 3}

    run(story)


def test_a_verb_that_fails_leaves_nothing(run: Callable[[Story], None]) -> None:
    async def story(database: Database) -> None:
        async def verb(connection: Connection) -> None:
            await put(connection, "a")
            raise Broken

        with pytest.raises(Broken):
            await database.write(verb)
        assert await values(database) == {}
        await database.write(lambda connection: put(connection, "b"))
        assert await values(database) == {"b": 0}

    run(story)


def test_a_mistake_in_a_statement_stays_what_it_is_and_leaves_nothing(run: Callable[[Story], None]) -> None:
    async def story(database: Database) -> None:
        with pytest.raises(sqlite3.IntegrityError):
            await database.write(lambda connection: put(connection, "a", "a"))
        assert await values(database) == {}

    run(story)


def test_a_caller_cancelled_inside_its_verb_hears_of_it_after_the_commit(run: Callable[[Story], None]) -> None:
    async def story(database: Database) -> None:
        inside, go = asyncio.Event(), asyncio.Event()

        async def verb(connection: Connection) -> None:
            await put(connection, "a")
            inside.set()
            await go.wait()
            await put(connection, "b")

        caller = asyncio.ensure_future(database.write(verb))
        await inside.wait()
        caller.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        assert not caller.done()
        caller.cancel()  # once more: impatience changes nothing
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert await values(database) == {"a": 0, "b": 0}

    run(story)


def test_a_caller_cancelled_while_it_waits_its_turn_begins_nothing(run: Callable[[Story], None]) -> None:
    async def story(database: Database) -> None:
        inside, go = asyncio.Event(), asyncio.Event()

        async def slow(connection: Connection) -> None:
            await put(connection, "slow")
            inside.set()
            await go.wait()

        first = asyncio.ensure_future(database.write(slow))
        await inside.wait()
        second = asyncio.ensure_future(database.write(lambda connection: put(connection, "never")))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        go.set()
        await first
        assert await values(database) == {"slow": 0}

    run(story)


def test_a_failure_of_a_cancelled_verb_is_named_as_the_cause(run: Callable[[Story], None]) -> None:
    async def story(database: Database) -> None:
        inside, go = asyncio.Event(), asyncio.Event()

        async def verb(connection: Connection) -> None:
            await put(connection, "a")
            inside.set()
            await go.wait()
            raise Broken

        caller = asyncio.ensure_future(database.write(verb))
        await inside.wait()
        caller.cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError) as caught:
            await caller
        assert isinstance(caught.value.__cause__, Broken)
        assert await values(database) == {}

    run(story)


async def two_verbs_at_once(database: Database) -> list[object]:
    """One verb fails half-way while another is half-way too: the other must not lose its first row."""
    half_way, failed = asyncio.Event(), asyncio.Event()
    failure = asyncio.ensure_future(failed.wait())

    async def steady(connection: Connection) -> None:
        await put(connection, "first")
        half_way.set()
        await asyncio.wait([failure], timeout=0.05)
        await connection.execute("INSERT INTO fact VALUES ('second', 1)")

    async def failing(connection: Connection) -> None:
        await put(connection, "gone")
        raise Broken

    async def second() -> None:
        await half_way.wait()
        try:
            await database.write(failing)
        finally:
            failed.set()

    return list(await asyncio.gather(database.write(steady), second(), return_exceptions=True))


def test_a_failing_verb_takes_no_rows_of_another(run: Callable[[Story], None]) -> None:
    async def story(database: Database) -> None:
        outcomes = await two_verbs_at_once(database)
        assert outcomes[0] is None
        assert isinstance(outcomes[1], Broken)
        assert await values(database) == {"first": 0, "second": 1}

    run(story)


def test_without_its_lock_a_verb_loses_rows(run: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows that the suite can see what the lock is for."""

    def nobody_waits(_: Database) -> AbstractAsyncContextManager[None]:
        return contextlib.nullcontext()

    monkeypatch.setattr(Database, "turn", nobody_waits)

    async def story(database: Database) -> None:
        await two_verbs_at_once(database)
        assert "first" not in await values(database)

    run(story)


def test_a_read_sees_one_snapshot_and_may_not_write(run: Callable[[Story], None]) -> None:
    async def story(database: Database) -> None:
        await database.write(lambda connection: put(connection, "a"))
        with pytest.raises(RuntimeError, match="read verb"):
            await database.read(lambda connection: put(connection, "b"))
        assert await values(database) == {"a": 0}

    run(story)


def test_a_verb_inside_a_verb_is_refused_rather_than_waiting_for_ever(run: Callable[[Story], None]) -> None:
    async def story(database: Database) -> None:
        async def outer(connection: Connection) -> None:
            await put(connection, "outer")
            await database.write(lambda inner: put(inner, "inner"))

        with pytest.raises(RuntimeError, match="its own database"):
            await database.write(outer)
        assert await values(database) == {}

    run(story)


def test_a_commit_inside_a_verb_is_found_out(run: Callable[[Story], None]) -> None:
    async def story(database: Database) -> None:
        with pytest.raises(sqlite3.OperationalError, match="no transaction"):
            await database.write(lambda connection: connection.commit())

    run(story)


def test_copy_is_whole_and_never_overwrites(run: Callable[[Story], None], tmp_path: Path) -> None:
    async def story(database: Database) -> None:
        await database.write(lambda connection: put(connection, "a", "b"))
        copy = tmp_path / "copy.db"
        await database.copy_to(copy)
        with contextlib.closing(sqlite3.connect(copy)) as other:
            assert other.execute("SELECT count(*) FROM fact").fetchone() == (2,)
            assert other.execute("PRAGMA user_version").fetchone() == (1,)
        assert not Path(f"{copy}.partial").exists()  # noqa: ASYNC240 — the test is alone on its loop
        with pytest.raises(DatabaseFault, match="TQ-DB-10"):
            await database.copy_to(copy)
        assert await database.check() == ()
        assert await values(database) == {"a": 0, "b": 1}

    run(story)


def test_steps_are_taken_once_and_data_stays(run: Callable[..., None]) -> None:
    async def first(database: Database) -> None:
        await database.write(lambda connection: put(connection, "a"))

    async def second(database: Database) -> None:
        rows = await database.read(lambda connection: connection.fetch_all("SELECT id, value, note FROM fact"))
        assert rows == [("a", 0, None)]

    run(first)
    run(second, (*STEPS, "ALTER TABLE fact ADD COLUMN note TEXT;"))
    with pytest.raises(MigrationFault, match="TQ-DB-05"):
        run(first)


def test_a_step_that_fails_is_not_there_at_all(run: Callable[..., None]) -> None:
    async def unreached(_: Database) -> None:
        raise AssertionError

    async def look(database: Database) -> None:
        await put_one(database)
        tables = await database.read(lambda connection: connection.fetch_all("SELECT name FROM sqlite_schema"))
        assert ("half",) not in tables

    async def put_one(database: Database) -> None:
        await database.write(lambda connection: put(connection, "a"))

    with pytest.raises(sqlite3.OperationalError, match="nonsense"):
        run(unreached, (*STEPS, "CREATE TABLE half (id TEXT) STRICT; nonsense;"))
    run(look)
