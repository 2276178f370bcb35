"""SQL that both engines run, and what its verbs need of a connection. Floor: central_sync/store; contracts in `port`.

One text serves SQLite and PostgreSQL, so that no feature can rest on one of them. It keeps to what both know: ``?`` and
``?1`` as parameters (`postgres_session` numbers them), ON CONFLICT instead of OR REPLACE, CASE instead of a max of two
values, columns of the standing row named with their table, and ``column = ?1 OR ?1 IS NULL`` in that order: PostgreSQL
takes a parameter's type from its first use.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

IDS_PER_QUERY = 500
"""Parameters of one IN list; SQLite's oldest limit is 999."""


class Statements(Protocol):
    """What a verb's SQL runs on, for the length of one transaction."""

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run one statement; gives the count of changed rows."""
        ...

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each row, in one step."""
        ...

    async def fetch_all(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Every row of a query."""
        ...

    async def fetch_one(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row, or None."""
        ...


def marks_of(count: int) -> str:
    """``?, ?, ?`` for an IN list or a row."""
    return ", ".join("?" * count)


def slices(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    """The ids in pieces that fit one query."""
    return (ids[start : start + IDS_PER_QUERY] for start in range(0, len(ids), IDS_PER_QUERY))


def inserted(table: str, columns: str) -> str:
    """``INSERT INTO table (columns) VALUES (?, …)``; `columns` are separated by ``, ``."""
    return f"INSERT INTO {table} ({columns}) VALUES ({marks_of(len(columns.split(', ')))})"


def inserted_once(table: str, columns: str) -> str:
    """The same; a row that stands stays as it is."""
    return f"{inserted(table, columns)} ON CONFLICT DO NOTHING"


def replaced(table: str, columns: str, key: str) -> str:
    """The same; of a row that stands under `key` every other column is set anew."""
    names = set(key.split(", "))
    new = ", ".join(f"{name} = excluded.{name}" for name in columns.split(", ") if name not in names)
    return f"{inserted(table, columns)} ON CONFLICT ({key}) DO UPDATE SET {new}"
