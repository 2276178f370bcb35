"""PostgreSQL away, refusing, newer, written under another key: faults by name, nothing half-applied, no secret told."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from central_sync.config import HubConfig
from central_sync.store import engines, postgres_sessions
from central_sync.store.engines import database_shown, open_store, open_store_reader
from central_sync.store.faults import StoreFault
from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.postgres import open_postgres, open_postgres_reader
from central_sync.store.postgres_schema import schema_steps
from central_sync.store.rows import HUB, AlarmRow
from gridmodel.fault import Fault
from hosting.config import ConfigFault, load_toml
from hosting.database import open_database
from hosting.migrations import MigrationFault, load_migrations
from tests.central_sync.hub_rig import END, ROW_KEY, A, SeededEntropy, hub_config
from tests.central_sync.race_rig import running
from tests.central_sync.test_hub_http import command
from tests.postgresql import GUARDED, PostgresServer, server

pytestmark = pytest.mark.postgresql
SECRET = "s3cret-w0rd"  # noqa: S105 — of a server that lives for this test


async def opened(url: str) -> HubStore:
    return await open_postgres(url, lambda _: ROW_KEY)


async def no_store(url: str) -> Fault:
    """Why it cannot be opened."""
    try:
        store = await opened(url)
    except Fault as fault:
        return fault
    await store.close()
    raise AssertionError(url)


def name_of(url: str) -> str:
    return url.partition("@/")[2].partition("?")[0]


def test_who_is_not_let_in_learns_why_and_no_secret_is_told(
    postgresql: PostgresServer, fresh_database: Callable[[], str]
) -> None:
    postgresql.ask(f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{SECRET}'")
    place = postgresql.address("x").partition("?")[2]
    name = name_of(fresh_database())
    wrong = {
        f"postgresql://{GUARDED}:not-{SECRET}@/{name}?{place}": "TQ-HB-03",
        f"postgresql://nobody-here:{SECRET}@/{name}?{place}": "TQ-HB-03",
        f"postgresql://hub:{SECRET}@/nothing?{place}": "TQ-HB-04",
        f"postgresql://{GUARDED}:{SECRET}@/{name}?{place}": "TQ-HB-07",
        f"postgresql://hub:{SECRET}@/{name}?host=/nowhere": "TQ-HB-02",
        f"postgresql://hub:{SECRET}@127.0.0.1:1/{name}": "TQ-HB-02",
        f"postgresql://hub:{SECRET}/x@db.example/hub": "TQ-HB-01",
        f"postgresql://hub:{SECRET}#x@db.example/hub": "TQ-HB-01",
        f"postgresql://hub:{SECRET}@db.example:port/hub": "TQ-HB-01",
        f"postgresql://hub:{SECRET}@[::1/hub": "TQ-HB-01",
        f"postgresql://hub:{SECRET}@127.0.0.1:1/hub?sslmode=perhaps": "TQ-HB-01",
    }
    try:
        for url, code in wrong.items():
            fault = asyncio.run(no_store(url))
            assert fault.code == code, fault.what
            assert "s3cret" not in f"{fault.what} {fault.hint} {fault!r}"
            assert fault.__cause__ is None or "s3cret" not in repr(fault.__cause__)
    finally:
        postgresql.ask(f"DROP ROLE {GUARDED}")


def test_a_newer_schema_is_refused_and_untouched_an_older_one_only_by_readers(
    postgresql: PostgresServer, fresh_database: Callable[[], str]
) -> None:
    url = fresh_database()
    name = name_of(url)

    async def story() -> None:
        with pytest.raises(MigrationFault, match="TQ-DB-06"):
            await open_postgres_reader(url, lambda _: ROW_KEY)
        stores = await asyncio.gather(*(opened(url) for _ in range(4)))
        assert {store.schema for store in stores} == {len(schema_steps())}
        for store in stores:
            await store.close()
        reader = await open_postgres_reader(url, lambda _: ROW_KEY)
        with pytest.raises(StoreFault, match="TQ-HB-07"):
            await reader.write(lambda tx: tx.set_hub_value("a", "b"))
        await reader.close()
        postgresql.ask("UPDATE hub_schema SET version = 99", name)
        for opener in (open_postgres, open_postgres_reader):
            with pytest.raises(MigrationFault, match="TQ-DB-05"):
                await opener(url, lambda _: ROW_KEY)
        assert postgresql.ask("SELECT version FROM hub_schema", name) == "99"

    asyncio.run(story())


def test_rows_of_another_key_are_not_called_damaged_but_the_key_wrong(
    tmp_path: Path, fresh_database: Callable[[], str]
) -> None:
    url = fresh_database()
    configs = [hub_config(tmp_path / name).model_copy(update={"database": url}) for name in "ab"]

    async def start(config: HubConfig) -> None:
        await (await open_store(config, SeededEntropy(len(config.data_dir.name)), open_database, None)).close()

    async def look(config: HubConfig) -> None:
        await (await open_store_reader(config)).close()

    for config in configs:
        config.data_dir.mkdir()
    asyncio.run(start(configs[0]))
    for opening in (start, look):
        with pytest.raises(Fault, match="TQ-KY-01"):
            asyncio.run(opening(configs[1]))
    key = configs[1].data_dir / engines.ROW_KEY_NAME
    assert not key.exists(), "none is made beside rows that stand"
    other = "row-hash-key:demo:" + "A" * 43 + "="
    key.write_text(other + "\n", "utf-8")
    key.chmod(0o600)
    for opening in (start, look):
        with pytest.raises(StoreFault, match="TQ-HB-06"):
            asyncio.run(opening(configs[1]))
    key.write_bytes((configs[0].data_dir / engines.ROW_KEY_NAME).read_bytes())
    asyncio.run(start(configs[1]))
    asyncio.run(look(configs[1]))


def test_a_server_that_goes_away_and_comes_back() -> None:
    """Its own server: what was committed stands, what was under way is refused by name, the hub goes on by itself."""
    with server() as own:
        url = own.fresh()

        async def story() -> None:
            store = await opened(url)
            await store.write(lambda tx: tx.enlist(A, "key", ("1703202",)))

            async def cut_off(tx: HubTransaction) -> None:
                await tx.set_epoch(A, 7)
                own.stop()
                await tx.set_epoch(A, 8)

            try:
                for verb in (cut_off, lambda tx: tx.set_epoch(A, 9)):
                    with pytest.raises(StoreFault) as told:
                        await store.write_for(A, verb)
                    assert (told.value.code, told.value.status) == ("TQ-HB-02", 503)
                own.start()
                row = await store.read(lambda tx: tx.node(A))
                assert row is not None
                assert row.epoch == 0
                await store.write_for(A, lambda tx: tx.set_epoch(A, 9))
            finally:
                await store.close()

        asyncio.run(story())


def test_a_connection_that_died_unnoticed_is_replaced(
    postgresql: PostgresServer, fresh_database: Callable[[], str]
) -> None:
    url = fresh_database()
    name = name_of(url)

    async def story() -> None:
        store = await opened(url)
        try:
            await store.write(lambda tx: tx.enlist(A, "key", ("1703202",)))
            # No turn of the loop in between: asyncpg has not read yet that the server closed it.
            postgresql.ask(
                f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
                " AND pid <> pg_backend_pid()"
            )
            await store.write_for(A, lambda tx: tx.set_epoch(A, 2))
            row = await store.read(lambda tx: tx.node(A))
            assert row is not None
            assert row.epoch == 2
        finally:
            await store.close()

    asyncio.run(story())


def test_who_holds_a_node_for_too_long_is_named_and_the_other_refused(
    fresh_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres_sessions.SETTINGS, "lock_timeout", "100ms")
    url = fresh_database()

    async def story() -> None:
        first, second = await opened(url), await opened(url)
        await first.write(lambda tx: tx.enlist(A, "key", ("1703202",)))

        async def hold(_: HubTransaction) -> None:
            for waiting in (second.write_for(A, lambda tx: tx.set_epoch(A, 5)), second.write(lambda tx: tx.nodes())):
                with pytest.raises(StoreFault, match="TQ-HB-08"):
                    await waiting

        await first.write_for(A, hold)
        await second.write_for(A, lambda tx: tx.set_epoch(A, 5))
        await first.close()
        await second.close()

    asyncio.run(story())


def test_a_text_with_nul_and_the_servers_settings(fresh_database: Callable[[], str]) -> None:
    async def story() -> None:
        store = await opened(fresh_database())
        row = AlarmRow(HUB, "a-1", "silent", "m-1", 5, "serial 17\0\0", None)
        await store.write(lambda tx: tx.put_alarms([row]))
        (told,) = await store.read(lambda tx: tx.alarms(HUB, 9, standing=True))
        assert told.detail == "serial 17␀␀"
        assert [one.partition(" ")[0] for one in await store.check()] == ["fsync"]
        await store.tidy()
        await store.close()

    asyncio.run(story())


TYPES = {"INTEGER": "bigint", "TEXT": "text", "BLOB": "bytea"}
COLUMNS = (
    "SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, -1) || ' ' || a.attnotnull"
    " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
    " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND c.relname <> 'hub_schema'"
)


def test_both_engines_have_the_same_tables(
    tmp_path: Path, postgresql: PostgresServer, fresh_database: Callable[[], str]
) -> None:
    url = fresh_database()
    asyncio.run(closed(opened(url)))
    told = postgresql.ask(COLUMNS, name_of(url)).splitlines()

    async def sqlite() -> list[str]:
        database = await open_database(tmp_path / "hub.db", "hub", load_migrations("central_sync.store"))
        rows = await database.read(
            lambda connection: connection.fetch_all(
                'SELECT m.name, c.name, c.type, c."notnull" OR c.pk > 0 FROM sqlite_master AS m,'
                " pragma_table_info(m.name) AS c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'"
            )
        )
        await database.close()
        return [f"{row[0]}.{row[1]} {TYPES[row[2]]} {'true' if row[3] else 'false'}" for row in rows]

    assert sorted(told) == sorted(asyncio.run(sqlite()))


async def closed(opening: Awaitable[HubStore]) -> None:
    await (await opening).close()


CONFIG = """
data_dir = "data"
demo = true
{0}
"""


def test_an_address_comes_from_the_file_the_environment_or_a_secret_file(tmp_path: Path) -> None:
    file, secret = tmp_path / "hub.toml", tmp_path / "address"
    url = f"postgresql://hub:{SECRET}@db.example:5433/tarmoq"
    file.write_text(CONFIG.format('database_file = "address"'), "utf-8")
    config = load_toml(file, HubConfig, {})
    with pytest.raises(ConfigFault, match="TQ-CF-07"):
        database_shown(config)
    secret.write_text(url + "\n", "utf-8")
    secret.chmod(0o600)
    with pytest.raises(ConfigFault, match="TQ-CF-05"):
        load_toml(file, HubConfig, {"TARMOQ_DATABASE": url})
    file.write_text(CONFIG.format(""), "utf-8")
    for one in (config, load_toml(file, HubConfig, {"TARMOQ_DATABASE": url})):
        assert one.database_url() == url
        assert database_shown(one) == "database tarmoq at db.example:5433"
        assert "s3cret" not in f"{one!r} {one}"


@pytest.mark.slow
def test_commands_look_into_it_beside_a_running_hub(
    tmp_path: Path, fresh_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = fresh_database()

    async def story() -> None:
        async with running(tmp_path, url, END + 3_600, count=1) as (hub,):
            monkeypatch.setenv("TARMOQ_DATABASE", url)
            base = ("--config", str(hub.file), "--json")
            code, told = await asyncio.to_thread(command, "doctor", *base)
            checks = {one["name"]: one for one in told["checks"]}
            assert (code, checks["database"]["health"]) == (1, "fail")
            assert checks["database"]["what"].startswith("fsync is off")
            assert checks["ledger"]["health"] == "ok"
            code, told = await asyncio.to_thread(command, "status", *base)
            assert (code, told["nodes"]) == (0, {"never_seen": 2})
            code, told = await asyncio.to_thread(command, "check-config", *base)
            assert (code, told["database"].partition(" at ")[0]) == (0, f"database {name_of(url)}")

    asyncio.run(story())
