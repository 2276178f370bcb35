"""Small marks of a node: who this store is, which hub it knows, whether it is reconciled. Floor: edge_node/store.

On the walk of a link loss. Each mark is one text under one name; the functions take the connection of a transaction, so
that a mark moves together with the fact it speaks of.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from hosting.database import Connection, Database


class Mark(StrEnum):
    """What is remembered."""

    STORE_INCARNATION = "store_incarnation"
    """Made with the database: another one means that the store was rebuilt."""
    STORE_MADE_AT = "store_made_at"
    """UTC seconds of that, as the clock showed them."""
    HUB_INCARNATION = "hub_incarnation"
    """The hub that acknowledged last."""
    HUB_MOVED = "hub_moved"
    """The incarnation of a hub that answered and is not the one we knew; nothing is cut while it stands."""
    HUB_ROLLED_BACK = "hub_rolled_back"
    """Why the hub is known to have gone back; absent once it holds again what it had confirmed."""
    HUB_HEADS = "hub_heads"
    """The highest that the hub ever told of each of its counters, as JSON; counted anew once node and hub agree."""
    TICKET = "ticket"
    """The ticket that the hub confirmed last, hexadecimal."""
    NEXT_TICKET = "next_ticket"
    """The one drawn to follow it: durable before it is shown."""
    FENCED = "fenced"
    """Another copy of this node speaks with the hub: JSON {since, wait_s, challenge}. This one waits, cuts nobody."""
    RECALL_WANTED = "recall_wanted"
    """Why facts are to be compared with the hub by id; nobody is cut before that is done."""
    RECALLED = "recalled"
    """How the latest comparison of facts went: JSON, for status."""
    CLOSE_AGAIN_FROM = "close_again_from"
    """The end of the first hour that is to be closed again from its readings: this store may have gone back."""
    RECONCILED_AT = "reconciled_at"
    """UTC seconds since when marks of node and hub agree; absent in a new or rebuilt store."""
    CLOCK_FLOOR = "clock_floor"
    """UTC seconds: the present was never before it."""
    CLOCK_ANCHOR = "clock_anchor"
    """What the next process of this boot may go on from: JSON {boot, steady_s, at}."""
    COMPARE_WANTED = "compare_wanted"
    """The comparison of days that was asked for (by the hub or here) and is not done yet: JSON {id, first, last}."""
    COMPARED = "compared"
    """How the latest comparison of days went: JSON, for status."""
    CHUNKS_KEPT_FROM = "chunks_kept_from"
    """Chunks of earlier local days were let go by rule; absent while all are kept."""
    CLOCK_DOUBTED = "clock_doubted"
    """UTC seconds as the clock showed them when it was last in doubt; absent once another source has confirmed it."""
    LINKS_TOLD = "links_told"
    """Version and field works of the registry under which hours were closed or are to be closed again."""

    HUB_TOLD_AT = "hub_told_at"
    """The hub's time of its newest word (greeting, acknowledgement, epoch, bundle): bundles are held to it."""
    HUB_WORD = "hub_word"
    """How far the lanes were durable by the newest bundle or greeting, as JSON: the next bundle goes on from there."""
    BUNDLE_WRITTEN = "bundle_written"
    """The latest bundle written here, for status: JSON {at, bundle, whole, forked}."""
    BUNDLE_APPLIED = "bundle_applied"
    """The latest one applied here, in the same form."""


class Agreement(StrEnum):
    """How a store stands to its hub, for people; nobody is cut unless it is AGREED."""

    AGREED = "agreed"
    NEVER = "never"
    """It has not heard its hub since it was made or rebuilt."""
    FENCED = "fenced"
    """Another copy of this node goes on: this one waits."""
    HUB_ROLLED_BACK = "hub_rolled_back"
    """The hub was put back from a backup, and is being refilled."""
    RECALLING = "recalling"
    """Something moved: node and hub ask each other what they lack."""


def agreement_of(marks: Mapping[Mark, str]) -> tuple[Agreement, str]:
    """The state and why it is so, out of a store's marks."""
    if (fenced := marks.get(Mark.FENCED)) is not None:
        told = json.loads(fenced)
        return (
            Agreement.FENCED,
            f"another copy speaks with the hub; this one may go on after {told['wait_s']} s of silence",
        )
    if (why := marks.get(Mark.HUB_ROLLED_BACK)) is not None:
        return Agreement.HUB_ROLLED_BACK, why
    if Mark.HUB_MOVED in marks:
        return Agreement.RECALLING, marks.get(Mark.RECALL_WANTED, "the hub moved")
    if Mark.RECONCILED_AT not in marks:
        return Agreement.NEVER, "this store has not heard its hub yet"
    return Agreement.AGREED, ""


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
    """Whether this store has heard its hub since it was made or rebuilt, and neither moved since or was copied."""
    row = await conn.fetch_one(
        "SELECT count(*) FILTER (WHERE key = ?), count(*) FILTER (WHERE key <> ?) FROM node_state"
        " WHERE key IN (?, ?, ?)",
        (Mark.RECONCILED_AT, Mark.RECONCILED_AT, Mark.RECONCILED_AT, Mark.HUB_MOVED, Mark.FENCED),
    )
    return row == (1, 0)


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
