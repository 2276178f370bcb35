"""A PostgreSQL that cannot be this hub's: refused by name when it is opened, with a hint, and left as it was."""

import asyncio
from collections.abc import Callable

import pytest

from central_sync.store import postgres_sessions
from central_sync.store.faults import StoreFault
from central_sync.store.postgres import open_postgres, open_postgres_reader
from central_sync.store.rows import HUB, AlarmRow
from tests.central_sync.hub_rig import ROW_KEY
from tests.postgresql import OWNER, PostgresServer

pytestmark = pytest.mark.postgresql
TABLES = (
    "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind IN ('r', 'v') AND relnamespace = 2200"
)


def name_of(url: str) -> str:
    return url.partition("@/")[2].partition("?")[0]


async def refused(url: str) -> StoreFault:
    with pytest.raises(StoreFault) as told:
        await open_postgres(url, lambda _: ROW_KEY)
    return told.value


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_keep_every_letter_is_refused(postgresql: PostgresServer, encoding: str) -> None:
    """Else the first Cyrillic address would stop its node's lane."""
    name = f"of_{encoding.lower()}"
    order = "LC_COLLATE 'C' LC_CTYPE 'C'" + (" LOCALE_PROVIDER libc" if postgresql.major >= 15 else "")
    postgresql.ask(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE template0 ENCODING '{encoding}' {order}")
    url = postgresql.address(name)
    try:
        fault = asyncio.run(refused(url))
        assert (fault.code, encoding in fault.what, "UTF8" in fault.hint) == ("TQ-HB-14", True, True)
        assert postgresql.ask(TABLES, name) == ""
        with pytest.raises(StoreFault, match="TQ-HB-14"):
            asyncio.run(open_postgres_reader(url, lambda _: ROW_KEY))
    finally:
        postgresql.drop(url)


@pytest.mark.parametrize(
    "strange",
    [
        "CREATE TABLE node (colour text)",
        "CREATE TABLE hub_schema (colour text)",
        "CREATE VIEW hub_schema AS SELECT 'seven'::text AS version",
        "CREATE TABLE hub_schema (version bigint); INSERT INTO hub_schema VALUES (2)",
        "DROP SCHEMA public",
    ],
)
def test_a_database_of_something_else_is_named_and_untouched(
    postgresql: PostgresServer, fresh_database: Callable[[], str], strange: str
) -> None:
    url = fresh_database()
    postgresql.ask(strange, name_of(url))
    before = postgresql.ask(TABLES, name_of(url))
    fault = asyncio.run(refused(url))
    assert (fault.code, "createdb" in fault.hint) == ("TQ-HB-14", True), fault.what
    assert postgresql.ask(TABLES, name_of(url)) == before


def test_a_server_that_is_too_old_is_refused(
    postgresql: PostgresServer, fresh_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_sessions, "SERVER_VERSION_MIN", postgresql.major + 1)
    fault = asyncio.run(refused(fresh_database()))
    assert (fault.code, f"its version {postgresql.major}" in fault.what) == ("TQ-HB-14", True)


def test_what_an_address_sets_and_a_server_does_not_know_is_named(fresh_database: Callable[[], str]) -> None:
    url = fresh_database()
    assert asyncio.run(refused(f"{url}&statement_cache_size=0")).code == "TQ-HB-14"
    assert asyncio.run(refused(f"{url}&target_session_attrs=standby")).code == "TQ-HB-07"


def test_settings_of_a_database_do_not_spoil_the_hubs(
    postgresql: PostgresServer, fresh_database: Callable[[], str]
) -> None:
    """Neither how texts travel, nor a limit meant for people's queries."""
    url = fresh_database()
    postgresql.ask(f"ALTER DATABASE {name_of(url)} SET statement_timeout = '1ms'")
    row = AlarmRow(HUB, "a-1", "silent", "m-1", 5, "Қўқон шаҳри, «Янги» кўчаси", None)

    async def story() -> None:
        store = await open_postgres(f"{url}&client_encoding=latin1", lambda _: ROW_KEY)
        await store.write(lambda tx: tx.put_alarms([row]))
        assert await store.read(lambda tx: tx.alarms(HUB, 9, standing=True)) == [row]
        await store.close()

    asyncio.run(story())
