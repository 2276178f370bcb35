"""Small marks of a node: who this store is, which hub it knows, whether it is reconciled. Floor: edge_node/store.

On the walk of a link loss. Each mark is one text under one name; the functions take the connection of a transaction, so
that a mark moves together with the fact it speaks of.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum

from hosting.database import Connection, Database


class Mark(StrEnum):
    """What is remembered."""

    STORE_INCARNATION = "store_incarnation"
    """Made with the database: another one means that the store was rebuilt."""
    HUB_INCARNATION = "hub_incarnation"
    """The hub that acknowledged last."""
    HUB_MOVED = "hub_moved"
    """The incarnation of a hub that answered and is not the one we knew; nothing is cut while it stands."""
    RECONCILED_AT = "reconciled_at"
    """UTC seconds since when marks of node and hub agree; absent in a new or rebuilt store."""
    CLOCK_FLOOR = "clock_floor"
    """UTC seconds: the present was never before it."""
    COMPARE_WANTED = "compare_wanted"
    """The comparison of days that the hub asked for and that is not done yet: JSON {id, first, last}."""
    COMPARED = "compared"
    """How the latest comparison of days went: JSON, for status."""
    CHUNKS_KEPT_FROM = "chunks_kept_from"
    """Chunks of earlier local days were let go by rule; absent while all are kept."""
    CLOCK_DOUBTED = "clock_doubted"
    """UTC seconds as the clock showed them when it was last in doubt; absent once another source has confirmed it."""
    LINKS_TOLD = "links_told"
    """Version and field works of the registry under which hours were closed or are to be closed again."""

    HUB_TOLD_AT = "hub_told_at"
    """The hub's time of its newest acknowledgement, epoch or bundle: an older word found on a drive is told by it."""
    HUB_WORD = "hub_word"
    """How far the lanes were durable by the newest bundle, as JSON: the next one goes on from there."""


async def read_mark(conn: Connection, mark: Mark) -> str | None:
    """The mark's text, or None when it was never set."""
    row = await conn.fetch_one("SELECT value FROM node_state WHERE key = ?", (mark.value,))
    return None if row is None else str(row[0])


async def write_mark(conn: Connection, mark: Mark, value: str) -> None:
    """Set the mark within the caller's transaction."""
    await conn.execute(
        "INSERT INTO node_state (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (mark.value, value),
    )


async def raise_mark(conn: Connection, mark: Mark, number: int) -> None:
    """Set a mark that is a number within the caller's transaction, unless it is as high already."""
    await conn.execute(
        "INSERT INTO node_state (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        " WHERE CAST(node_state.value AS INTEGER) < CAST(excluded.value AS INTEGER)",
        (mark.value, str(number)),
    )


async def forget_mark(conn: Connection, mark: Mark) -> None:
    """Take the mark away within the caller's transaction."""
    await conn.execute("DELETE FROM node_state WHERE key = ?", (mark.value,))


async def read_marks(conn: Connection, marks: Sequence[Mark]) -> dict[Mark, str]:
    """The texts of those marks that are set, in one statement."""
    rows = await conn.fetch_all(
        f"SELECT key, value FROM node_state WHERE key IN ({', '.join('?' for _ in marks)})",
        [mark.value for mark in marks],
    )
    return {Mark(key): value for key, value in rows}


async def is_reconciled(conn: Connection) -> bool:
    """Whether this store has heard its hub since it was made or rebuilt, and the hub has not moved since."""
    marks = await read_marks(conn, (Mark.RECONCILED_AT, Mark.HUB_MOVED))
    return Mark.RECONCILED_AT in marks and Mark.HUB_MOVED not in marks


class NodeState:
    """The marks as verbs of their own."""

    def __init__(self, control: Database) -> None:
        self._control = control

    async def get(self, mark: Mark) -> str | None:
        """The mark's text, or None."""
        return await self._control.read(lambda conn: read_mark(conn, mark))

    async def get_all(self) -> dict[Mark, str]:
        """Every mark that is set."""

        async def verb(conn: Connection) -> Iterable[tuple[str, str]]:
            return await conn.fetch_all("SELECT key, value FROM node_state ORDER BY key")

        known = {mark.value for mark in Mark}
        return {Mark(key): value for key, value in await self._control.read(verb) if key in known}

    async def put(self, mark: Mark, value: str) -> None:
        """Set the mark, durably."""
        await self._control.write(lambda conn: write_mark(conn, mark, value))

    async def reconciled(self) -> bool:
        """See `is_reconciled`."""
        return await self._control.read(is_reconciled)
