"""Alarms: raised once when a condition begins, cleared when it ends, both told to the hub. Floor: edge_node/store.

On the reading and payment walks. A standing alarm is one row per (kind, subject); raising it again changes nothing, so
a room may raise at every poll what it sees at every poll. Its id is worked out, so that no dice are needed in a verb.
"""

from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256

from edge_node.store.outbox import append_record
from gridmodel.event import Alarm, AlarmKind
from gridmodel.identity import NodeId, checked_id
from hosting.database import Connection, Database
from protocols.sync.lanes import Lane

DETAIL_LENGTH_MAX = 300
"""One or two sentences; the rest is in the log."""
LISTED_MAX = 500
"""Rows one page shows; a node with more standing alarms has one cause behind most of them."""


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """An alarm as it is kept."""

    id: str
    kind: str
    subject: str
    """A meter, point or account; the node itself when none."""
    at: int
    detail: str
    cleared_at: int | None


async def raise_alarm(conn: Connection, kind: AlarmKind, subject: str, detail: str, now: int) -> bool:
    """Raise unless it stands already, within the caller's transaction; gives whether it is new."""
    checked_id("subject of an alarm", subject)
    if await alarm_stands(conn, kind, subject):
        return False
    told = detail[:DETAIL_LENGTH_MAX]
    name, alarm_id, made = f"{kind.value}\0{subject}\0{now}", "", 0
    while not made:  # one that ended within this very second has the name already
        alarm_id = "alarm-" + sha256(name.encode()).hexdigest()[:24]
        made = await conn.execute(
            "INSERT OR IGNORE INTO alarm (id, kind, subject, at, detail) VALUES (?, ?, ?, ?, ?)",
            (alarm_id, kind.value, subject, now, told),
        )
        name += "\0again"
    await append_record(conn, Lane.CONTROL, "alarm", alarm_id, _body(kind, subject, now, told, None), now)
    return True


async def alarm_stands(conn: Connection, kind: AlarmKind, subject: str) -> bool:
    """Whether it was raised and not cleared."""
    standing = "SELECT 1 FROM alarm WHERE kind = ? AND subject = ? AND cleared_at IS NULL"
    return await conn.fetch_one(standing, (kind.value, subject)) is not None


async def standing_among(
    conn: Connection, kinds: Collection[AlarmKind], subjects: Collection[str]
) -> frozenset[tuple[str, str]]:
    """(kind, subject) of those of `kinds` that stand about `subjects` (some hundreds at most)."""
    rows = await conn.fetch_all(
        f"SELECT kind, subject FROM alarm WHERE kind IN ({', '.join('?' for _ in kinds)})"
        f" AND subject IN ({', '.join('?' for _ in subjects)}) AND cleared_at IS NULL",
        (*(kind.value for kind in kinds), *subjects),
    )
    return frozenset((kind, subject) for kind, subject in rows)


async def clear_alarm(conn: Connection, kind: AlarmKind, subject: str, now: int) -> bool:
    """Clear it if it stands, within the caller's transaction; gives whether it stood.

    The hub hears of it as a record of its own, named after the alarm with ``.cleared``.
    """
    rows = await conn.fetch_all(
        "UPDATE alarm SET cleared_at = ? WHERE kind = ? AND subject = ? AND cleared_at IS NULL"
        " RETURNING id, at, detail",
        (now, kind.value, subject),
    )
    for alarm_id, at, detail in rows:
        body = _body(kind, subject, at, detail, now)
        await append_record(conn, Lane.CONTROL, "alarm", f"{alarm_id}.cleared", body, now)
    return bool(rows)


def _body(kind: AlarmKind, subject: str, at: int, detail: str, cleared_at: int | None) -> dict[str, object]:
    return {"kind": kind.value, "subject": subject, "at": at, "detail": detail, "cleared_at": cleared_at}


class Alarms:
    """The alarms as verbs of their own."""

    def __init__(self, control: Database, node: NodeId) -> None:
        self._control = control
        self._node = node

    async def put(self, kind: AlarmKind, subject: str, detail: str, now: int) -> bool:
        """Raise it in a transaction of its own; see `raise_alarm`."""
        return await self._control.write(lambda conn: raise_alarm(conn, kind, subject, detail, now))

    async def clear(self, kind: AlarmKind, subject: str, now: int) -> bool:
        """Clear it in a transaction of its own; see `clear_alarm`."""
        return await self._control.write(lambda conn: clear_alarm(conn, kind, subject, now))

    async def standing(self, limit: int = LISTED_MAX) -> list[AlarmRow]:
        """Those not cleared, newest first."""
        return await self._rows("cleared_at IS NULL", limit)

    async def recent(self, limit: int = LISTED_MAX) -> list[AlarmRow]:
        """All, newest first."""
        return await self._rows("TRUE", limit)

    async def subjects(self, kind: AlarmKind) -> frozenset[str]:
        """Of whom `kind` stands, all of them: for the room that raises and clears it."""

        async def verb(conn: Connection) -> frozenset[str]:
            rows = await conn.fetch_all(
                "SELECT subject FROM alarm WHERE kind = ? AND cleared_at IS NULL", (kind.value,)
            )
            return frozenset(row[0] for row in rows)

        return await self._control.read(verb)

    async def count(self, kind: AlarmKind) -> int:
        """How many of `kind` stand."""

        async def verb(conn: Connection) -> int:
            row = await conn.fetch_one(
                "SELECT count(*) FROM alarm WHERE kind = ? AND cleared_at IS NULL", (kind.value,)
            )
            return 0 if row is None else int(row[0])

        return await self._control.read(verb)

    async def as_events(self) -> list[Alarm]:
        """The standing ones in the utility's words."""
        return [
            Alarm(row.id, AlarmKind(row.kind), self._node, row.subject, row.at, row.detail)
            for row in await self.standing()
        ]

    async def _rows(self, condition: str, limit: int) -> list[AlarmRow]:
        async def verb(conn: Connection) -> list[AlarmRow]:
            rows = await conn.fetch_all(
                f"SELECT id, kind, subject, at, detail, cleared_at FROM alarm WHERE {condition}"
                " ORDER BY at DESC, id LIMIT ?",
                (min(limit, LISTED_MAX),),
            )
            return [AlarmRow(*row) for row in rows]

        return await self._control.read(verb)
