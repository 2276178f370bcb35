"""The schema's versions on PostgreSQL. Floor: central_sync/store; part of the PostgreSQL door.

As `hosting.migrations` for SQLite: forward only, steps only expand, a newer database is refused. All missing steps are
one transaction under one lock, so that hub processes which start together take them once, and an interrupted upgrade is
simply not there. A process of the version before goes on beside it.
"""

from collections.abc import Sequence
from typing import Any

from central_sync.store.postgres_sessions import Sessions
from hosting.migrations import load_migrations, refuse_newer, refuse_older

_TURN = 0x7461726D6F71
"""Of those who change the schema: an advisory lock's number, "tarmoq" in ASCII."""


def schema_steps() -> tuple[str, ...]:
    """The steps, each a script."""
    return load_migrations(__package__, "schema/postgres")


async def migrate(sessions: Sessions, steps: Sequence[str]) -> None:
    """Take the missing steps; raises MigrationFault (TQ-DB-05) when the database is newer, StoreFault."""
    async with sessions.raw() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _TURN)
        version = await _version(connection)
        refuse_newer(sessions.name, version, len(steps))
        if version == len(steps):
            return
        for step in steps[version:]:
            await connection.execute(step)
        await connection.execute("CREATE TABLE IF NOT EXISTS hub_schema (version BIGINT NOT NULL)")
        await connection.execute("DELETE FROM hub_schema")
        await connection.execute("INSERT INTO hub_schema (version) VALUES ($1)", len(steps))


async def check_version(sessions: Sessions, steps: Sequence[str]) -> None:
    """For readers: exactly this program's version; raises MigrationFault (TQ-DB-05, TQ-DB-06), StoreFault."""
    async with sessions.raw() as connection:
        version = await _version(connection)
    refuse_newer(sessions.name, version, len(steps))
    refuse_older(sessions.name, version, len(steps))


async def complaints(sessions: Sessions) -> tuple[str, ...]:
    """Settings of the server under which acknowledged rows may be lost."""
    async with sessions.raw() as connection:
        rows = await connection.fetch(
            "SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY name"
        )
    return tuple(f"{row[0]} is off at the PostgreSQL server: a power cut may lose or damage rows" for row in rows)


async def _version(connection: Any) -> int:
    if await connection.fetchval("SELECT to_regclass('hub_schema')") is None:
        return 0
    return int(await connection.fetchval("SELECT max(version)::bigint FROM hub_schema") or 0)
