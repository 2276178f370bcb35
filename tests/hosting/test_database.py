import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest

from hosting.database import CONNECTION_SETTINGS, Connection, Database, open_database, open_reader
from hosting.database_faults import DatabaseFault, fault_of
from hosting.migrations import MigrationFault, load_migrations, statements

STEPS = ("CREATE TABLE fact (id TEXT PRIMARY KEY) STRICT;",)


async def put(connection: Connection, name: str) -> None:
    await connection.execute("INSERT INTO fact VALUES (?)", (name,))


async def names(database: Database) -> list[str]:
    rows = await database.read(lambda connection: connection.fetch_all("SELECT id FROM fact ORDER BY id"))
    return [row[0] for row in rows]


def test_the_settings_that_were_measured_hold(tmp_path: Path) -> None:
    async def whole() -> None:
        database = await open_database(tmp_path / "n.db", "n", STEPS)

        async def settings(connection: Connection) -> dict[str, object]:
            found = {}
            for line in CONNECTION_SETTINGS:
                name = line.split()[1]
                row = await connection.fetch_one(f"PRAGMA {name}")
                assert row is not None
                found[name] = row[0]
            return found

        assert await database.read(settings) == {
            "auto_vacuum": 2,
            "journal_mode": "wal",
            "synchronous": 2,
            "busy_timeout": 5000,
            "foreign_keys": 1,
            "cell_size_check": 1,
            "trusted_schema": 0,
            "temp_store": 2,
            "wal_autocheckpoint": 4000,
            "journal_size_limit": 64 * 2**20,
        }
        await database.write(lambda connection: put(connection, "a"))
        in_wal, moved = await database.checkpoint()
        assert in_wal == moved
        assert await database.check() == ()
        await database.close()

    asyncio.run(whole())


def test_a_reader_sees_a_running_writer_and_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "n.db"

    async def whole() -> None:
        writer = await open_database(path, "n", STEPS)
        await writer.write(lambda connection: put(connection, "a"))
        reader = await open_reader(path, "n", STEPS)
        assert await names(reader) == ["a"]
        with pytest.raises(DatabaseFault, match="TQ-DB-12"):
            await reader.write(lambda connection: put(connection, "b"))
        await writer.write(lambda connection: put(connection, "c"))
        assert await names(reader) == ["a", "c"]
        await reader.close()
        await writer.close()
        alone = await open_reader(path, "n", STEPS)
        assert await names(alone) == ["a", "c"]
        await alone.close()

    asyncio.run(whole())


def test_a_reader_sees_what_a_killed_writer_left_in_its_wal(tmp_path: Path) -> None:
    path, left = tmp_path / "n.db", tmp_path / "left.db"

    async def whole() -> None:
        writer = await open_database(path, "n", STEPS)
        await writer.write(lambda connection: put(connection, "a"))
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{left}{suffix}")
        await writer.close()
        reader = await open_reader(left, "n", STEPS)
        assert await names(reader) == ["a"]
        with pytest.raises(DatabaseFault, match="TQ-DB-12"):
            await reader.write(lambda connection: put(connection, "b"))
        await reader.close()

    asyncio.run(whole())


def test_trouble_at_opening_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hosting.database.BUSY_TIMEOUT_MS", 10)
    (tmp_path / "letter.db").write_text("no database at all, only a letter to the next engineer", encoding="utf-8")
    good = tmp_path / "good.db"

    async def whole() -> None:
        with pytest.raises(DatabaseFault, match="TQ-DB-01"):
            await open_database(tmp_path / "none" / "n.db", "n", STEPS)
        with pytest.raises(DatabaseFault, match="TQ-DB-02"):
            await open_reader(tmp_path / "none.db", "n", STEPS)
        for opened in (open_database, open_reader):
            with pytest.raises(DatabaseFault, match="TQ-DB-03"):
                await opened(tmp_path / "letter.db", "n", STEPS)
        await (await open_database(good, "n", STEPS)).close()
        with pytest.raises(MigrationFault, match="TQ-DB-05"):
            await open_reader(good, "n", ())
        with pytest.raises(MigrationFault, match="TQ-DB-06"):
            await open_reader(good, "n", (*STEPS, "CREATE TABLE more (id TEXT) STRICT;"))
        holder = sqlite3.connect(good, isolation_level=None)
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseFault, match="TQ-DB-04"):
            await open_reader(good, "n", STEPS)
        holder.close()

    asyncio.run(whole())


def test_a_database_that_cannot_undo_takes_no_more_verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def whole() -> None:
        database = await open_database(tmp_path / "n.db", "n", STEPS)

        async def no_rollback(_: object) -> None:
            raise sqlite3.OperationalError("gone")

        with monkeypatch.context() as patch:
            patch.setattr("hosting.database.AioConnection.rollback", no_rollback)
            with pytest.raises(sqlite3.OperationalError, match="gone"):
                await database.write(lambda connection: put(connection, None))  # type: ignore[arg-type]
        with pytest.raises(DatabaseFault, match="TQ-DB-09"):
            await database.write(lambda connection: put(connection, "a"))
        await database.close()

    asyncio.run(whole())


def test_a_full_disk_is_named_and_loses_nothing(tmp_path: Path) -> None:
    async def whole() -> None:
        database = await open_database(tmp_path / "n.db", "n", STEPS)
        await database.write(lambda connection: put(connection, "a"))

        async def too_much(connection: Connection) -> None:
            await connection.fetch_all("PRAGMA max_page_count = 8")
            await connection.execute_many("INSERT INTO fact VALUES (?)", ((f"{n:0100}",) for n in range(10_000)))

        with pytest.raises(DatabaseFault, match="TQ-DB-07") as told:
            await database.write(too_much)
        assert told.value.status == 503, "a node comes again"
        assert await names(database) == ["a"]
        await database.close()

    asyncio.run(whole())


def test_a_mistake_in_a_statement_is_no_fault_of_the_file() -> None:
    assert fault_of(sqlite3.IntegrityError("x"), "n") is None
    assert fault_of(sqlite3.ProgrammingError("x"), "n") is None


def test_statements_are_split_where_sqlite_ends_them() -> None:
    script = """
    -- a note; with a semicolon
    CREATE TABLE a (x TEXT DEFAULT ';') STRICT;
    CREATE TRIGGER t AFTER INSERT ON a BEGIN
      UPDATE a SET x = 'y;'; DELETE FROM a;
    END;
    -- the end
    """
    found = statements(script)
    assert len(found) == 2
    with sqlite3.connect(":memory:") as connection:
        for statement in found:
            connection.execute(statement)
    connection.close()
    with pytest.raises(MigrationFault, match="TQ-DB-14"):
        statements("CREATE TABLE a (x TEXT); CREATE TABLE")


def test_schema_steps_come_in_order_without_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = "stored_for_test"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MigrationFault, match="TQ-DB-15"):
        load_migrations(package)
    folder = tmp_path / package / "schema"
    folder.mkdir()
    (folder / "0002_more.sql").write_text("B;", encoding="utf-8")
    with pytest.raises(MigrationFault, match="TQ-DB-15"):
        load_migrations(package)
    (folder / "0001_first.sql").write_text("A;", encoding="utf-8")
    (folder / "notes.md").write_text("no step", encoding="utf-8")
    assert load_migrations(package) == ("A;", "B;")


def test_a_read_that_writes_by_a_fetch_is_told_aloud(tmp_path: Path) -> None:
    async def whole() -> None:
        database = await open_database(tmp_path / "n.db", "n", STEPS)
        with pytest.raises(RuntimeError, match="has written"):
            await database.read(lambda conn: conn.fetch_all("INSERT INTO fact VALUES ('a') RETURNING id"))
        assert await names(database) == ["a"], "the mistake is in the program: it is told, not hidden"
        await database.close()

    asyncio.run(whole())
