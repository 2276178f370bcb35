"""Schema versions on ``PRAGMA user_version``: each step one transaction, forward only. Floor: hosting.

Steps only expand (new tables, new nullable columns), so that a database one version older is read by the same code the
moment its step is done, and an interrupted step is simply not there. A database newer than the program is refused: an
older program would write rows that the newer one has to guess at.

A store keeps its steps as files ``schema/0001_first.sql``, ``schema/0002_….sql`` in its package, never changed once
they have shipped.
"""

import importlib.resources
import re
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gridmodel.fault import Fault

if TYPE_CHECKING:
    from hosting.database import Connection

_STEP_FILE = re.compile(r"(\d{4})_[a-z0-9_]+\.sql\Z")


class MigrationFault(Fault):
    """A database of another version than this program, or schema files that do not form a sequence."""


async def version_of(connection: "Connection") -> int:
    """The count of steps the database has taken."""
    row = await connection.fetch_one("PRAGMA user_version")
    return 0 if row is None else int(row[0])


async def apply(connection: "Connection", name: str, migrations: Sequence[str]) -> int:
    """Take the missing steps, each in one transaction; gives their count.

    Raises `MigrationFault` ``TQ-DB-05`` when the database is newer. A step that fails leaves the version before it.
    """
    version = await version_of(connection)
    refuse_newer(name, version, len(migrations))
    for number, script in enumerate(migrations[version:], start=version + 1):
        await connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements(script):
                await connection.execute(statement)
            await connection.execute(f"PRAGMA user_version = {number}")
            await connection.commit()
        except BaseException:
            await connection.rollback()
            raise
    return len(migrations) - version


async def check(connection: "Connection", name: str, migrations: Sequence[str]) -> None:
    """For readers: the database must be exactly of this program's version, ``TQ-DB-05`` or ``TQ-DB-06`` otherwise."""
    version = await version_of(connection)
    refuse_newer(name, version, len(migrations))
    refuse_older(name, version, len(migrations))


def refuse_older(name: str, version: int, known: int) -> None:
    """Raise ``TQ-DB-06`` when the database has taken fewer steps than this program knows."""
    if version < known:
        raise MigrationFault(
            "TQ-DB-06",
            f"{name} has schema version {version}, this program reads version {known}",
            "start the process of this program once: it brings the database forward",
        )


def refuse_newer(name: str, version: int, known: int) -> None:
    """Raise ``TQ-DB-05`` when the database has taken more steps than this program knows."""
    if version > known:
        raise MigrationFault(
            "TQ-DB-05",
            f"{name} has schema version {version}, this program knows {known}",
            "install the newer program; the database is untouched",
        )


def statements(script: str) -> list[str]:
    """The statements of a script, split where SQLite itself says one is complete (triggers keep their semicolons)."""
    found: list[str] = []
    pending = ""
    for piece in re.split(r"(?<=;)", script):
        pending += piece
        if sqlite3.complete_statement(pending):
            found.append(pending.strip())
            pending = ""
    rest = "\n".join(line for line in pending.splitlines() if not line.strip().startswith("--")).strip()
    if rest:
        raise MigrationFault("TQ-DB-14", f"a schema step ends in the middle of {rest[:60]!r}", "report this fault")
    return found


def load_migrations(package: str, schema: str = "schema") -> tuple[str, ...]:
    """The steps of a store package in order, from its folder ``schema`` (a store of two databases: ``schema/control``).

    Raises `MigrationFault` ``TQ-DB-15`` when the numbers do not run 0001, 0002, … without a gap.
    """
    folder = importlib.resources.files(package).joinpath(*schema.split("/"))
    names = sorted(entry.name for entry in folder.iterdir() if _STEP_FILE.match(entry.name)) if folder.is_dir() else []
    if not names or [int(name[:4]) for name in names] != list(range(1, len(names) + 1)):
        raise MigrationFault("TQ-DB-15", f"the schema steps of {package} are {names}", "install the program again")
    return tuple((folder / name).read_text(encoding="utf-8") for name in names)
