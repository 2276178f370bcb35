"""Relays as they are believed, and what polls saw of them. Floor: edge_node/store; on the payment walk.

Metering writes sightings, supply handles them and owns the relay rows: the two rooms meet here. A sighting that tells
nothing new (settled, same contact, no load past an open relay) is not even stored: forty thousand homes that stay
connected cost no write.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gridmodel.control import Cause, RelayState
from gridmodel.identity import MeterId, UsagePointId
from hosting.database import Connection, Database

POINTS_PER_QUERY = 500
"""Parameters of one statement; SQLite's oldest limit is 999."""
DARK_LISTED_MAX = 5_000
"""Points that are not connected, listed on pages."""
DARK_PER_READ = 500
"""Rows read in one step: some 4 ms of the event loop."""
LOAD_OPEN_W_MIN = 25
"""Power through an open contact that is no noise: above the starting current of a meter of class 1."""

_COLUMNS = "usage_point, meter, state, cause, since, seen_at, load_w, operation, paid_at"
_SETTLED = {"closed": RelayState.CONNECTED, "open": RelayState.DISCONNECTED, "ready": RelayState.READY_FOR_RECONNECTION}
_STATES = {state.value: state for state in RelayState}
_CAUSES = {cause.value: cause for cause in Cause}
CONTACTS = frozenset(_SETTLED)
"""What a sighting may say; a contact that is not known is no sighting."""


@dataclass(frozen=True, slots=True)
class RelayRow:
    """What this node believes of one relay."""

    usage_point: UsagePointId
    meter: MeterId
    state: RelayState
    cause: Cause | None
    """Why it is dark."""
    since: int
    """When it came into this state."""
    seen_at: int | None
    """When the contact was last read and told something new."""
    load_w: int | None
    operation: str | None
    """The operation in progress, or the last one."""
    paid_at: int | None
    """Since when it is paid and dark."""
    sound: bool = True
    """False when the stored row names a state or cause that is none."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one poll saw of a relay."""

    usage_point: UsagePointId
    meter: MeterId
    contact: str
    """closed, open or ready."""
    load_w: int | None
    asked_at: int
    """When the read began."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """Whether anything of a kind waits for the supply room."""

    sightings: bool
    operations: bool
    """Without a result."""
    plans: bool


async def awaited(conn: Connection) -> Awaited:
    """One step into an index or a small table for each."""
    row = await conn.fetch_one(
        "SELECT EXISTS (SELECT 1 FROM relay_sighting), EXISTS (SELECT 1 FROM relay_operation WHERE result_at IS NULL),"
        " EXISTS (SELECT 1 FROM cut_plan)"
    )
    if row is None:
        raise RuntimeError("a question gave no answer")
    return Awaited(*map(bool, row))


class Relays:
    """The relays of one node. Methods that take `conn` run in the caller's transaction."""

    def __init__(self, control: Database) -> None:
        self._control = control

    async def telling(self, conn: Connection, sightings: Sequence[Sighting]) -> list[Sighting]:
        """Those that tell something new of relays as they are believed now."""
        usable = [one for one in sightings if one.contact in CONTACTS]
        found: list[Sighting] = []
        for start in range(0, len(usable), POINTS_PER_QUERY):
            part = usable[start : start + POINTS_PER_QUERY]
            marks = ", ".join("?" for _ in part)
            rows = await conn.fetch_all(
                f"SELECT usage_point, meter, state, load_w FROM relay WHERE usage_point IN ({marks})",
                [one.usage_point for one in part],
            )
            known = {point: (meter, state, load_w) for point, meter, state, load_w in rows}
            found += [one for one in part if tells_something(known.get(one.usage_point), one)]
        return found

    async def record_sightings(self, telling: Sequence[Sighting]) -> None:
        """Keep these for the supply room (then wake it), in one transaction; a later one of the same point stays."""
        await self._control.write(
            lambda conn: conn.execute_many(
                "INSERT INTO relay_sighting (usage_point, meter, contact, load_w, asked_at) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (usage_point) DO UPDATE SET meter = excluded.meter, contact = excluded.contact,"
                " load_w = excluded.load_w, asked_at = excluded.asked_at WHERE excluded.asked_at >= asked_at",
                [(one.usage_point, one.meter, one.contact, one.load_w, one.asked_at) for one in telling],
            )
        )

    async def sightings(self, conn: Connection, busy: Collection[str], limit: int) -> list[Sighting]:
        """Sightings that wait to be handled, oldest first, but for points with an operation under way."""
        rows = await conn.fetch_all(
            "SELECT usage_point, meter, contact, load_w, asked_at FROM relay_sighting"
            " WHERE contact IN ('closed', 'open', 'ready') ORDER BY asked_at, usage_point LIMIT ?",
            (limit + len(busy),),
        )
        waiting = [Sighting(UsagePointId(row[0]), MeterId(row[1]), *row[2:]) for row in rows if row[0] not in busy]
        return waiting[:limit]

    async def forget_sightings(self, conn: Connection, handled: Iterable[Sighting]) -> None:
        """Take these sightings away, but not a later one of the same point."""
        await conn.execute_many(
            "DELETE FROM relay_sighting WHERE usage_point = ? AND asked_at <= ?",
            [(one.usage_point, one.asked_at) for one in handled],
        )

    async def row(self, conn: Connection, point: UsagePointId) -> RelayRow | None:
        """The relay of one point; None before it was ever seen."""
        return (await self.rows(conn, [point])).get(point)

    async def rows(self, conn: Connection, points: Sequence[UsagePointId]) -> dict[UsagePointId, RelayRow]:
        """The relays of at most POINTS_PER_QUERY points."""
        marks = ", ".join("?" for _ in points)
        found = await conn.fetch_all(f"SELECT {_COLUMNS} FROM relay WHERE usage_point IN ({marks})", points)
        return {row.usage_point: row for row in map(_row, found)}

    async def put(self, conn: Connection, rows: Iterable[RelayRow]) -> None:
        """Write these rows as they are."""
        await conn.execute_many(
            f"INSERT OR REPLACE INTO relay ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    row.usage_point,
                    row.meter,
                    row.state.value,
                    None if row.cause is None else row.cause.value,
                    row.since,
                    row.seen_at,
                    row.load_w,
                    row.operation,
                    row.paid_at,
                )
                for row in rows
            ],
        )

    async def dark(self, conn: Connection, limit: int = DARK_LISTED_MAX) -> list[RelayRow]:
        """Points that are not connected and were seen before; the paid ones first, longest dark first."""
        rows = await conn.fetch_all(
            f"SELECT {_COLUMNS} FROM relay WHERE state <> 'connected' AND state <> 'unknown'"
            " ORDER BY paid_at IS NULL, paid_at, since, usage_point LIMIT ?",
            (limit,),
        )
        return [_row(row) for row in rows]

    async def dark_by_us(self, conn: Connection, after: str, limit: int = DARK_PER_READ) -> list[RelayRow]:
        """Points that we may have darkened, in the order of their ids after `after`; others no payment gives back."""
        rows = await conn.fetch_all(
            f"SELECT {_COLUMNS} FROM relay WHERE state <> 'connected' AND usage_point > ? AND state <> 'unknown'"
            " AND (cause = 'debt' OR paid_at IS NOT NULL OR state NOT IN ('disconnected', 'ready_for_reconnection'))"
            " ORDER BY usage_point LIMIT ?",
            (after, limit),
        )
        return [_row(row) for row in rows]

    async def cut_elsewhere(self, conn: Connection, meter: MeterId, point: UsagePointId) -> bool:
        """Whether we cut this very meter for debt where it hung before it came to `point`."""
        found = await conn.fetch_all(
            "SELECT 1 FROM relay WHERE state <> 'connected' AND meter = ? AND usage_point <> ? AND cause = ? LIMIT 1",
            (meter, point, Cause.DEBT.value),
        )
        return bool(found)

    async def get(self, point: UsagePointId) -> RelayRow | None:
        """`row` as a verb of its own."""
        return await self._control.read(lambda conn: self.row(conn, point))

    async def list_dark(self) -> list[RelayRow]:
        """`dark` as a verb of its own, for pages."""
        return await self._control.read(self.dark)

    async def counts(self) -> dict[RelayState, int]:
        """How many relays are in each state, for status."""

        async def verb(conn: Connection) -> dict[RelayState, int]:
            rows = await conn.fetch_all(
                "SELECT state, count(*) FROM relay WHERE state <> 'connected' GROUP BY state ORDER BY state"
            )
            found = {RelayState(state): int(count) for state, count in rows}
            whole = await conn.fetch_one("SELECT count(*) FROM relay")  # of the index alone: 110 ms less at 120,000
            connected = 0 if whole is None else int(whole[0]) - sum(found.values())
            return found if connected == 0 else {RelayState.CONNECTED: connected, **found}

        return await self._control.read(verb)


def tells_something(known: tuple[str, str, int | None] | None, seen: Sighting) -> bool:
    """Whether a sighting may change what is believed: another contact, another meter, a load that came or went.

    `known` is the relay's row as plain values, (meter, state, load in W): asked of every relay at every poll.
    """
    if known is None:
        return True
    meter, state, load_w = known
    if meter != seen.meter or state != _SETTLED[seen.contact]:
        return True
    return seen.contact != "closed" and loaded(load_w) != loaded(seen.load_w)


def loaded(load_w: int | None) -> bool:
    """Whether energy flows, in either direction."""
    return load_w is not None and abs(load_w) >= LOAD_OPEN_W_MIN


def _row(row: tuple[Any, ...]) -> RelayRow:
    """What a row says. A state that is none is not known, until the next poll; a cause that is none is not money's."""
    state, cause = row[2], row[3]
    return RelayRow(
        UsagePointId(row[0]),
        MeterId(row[1]),
        _STATES.get(state, RelayState.UNKNOWN),
        None if cause is None else _CAUSES.get(cause, Cause.SAFETY),
        since=row[4],
        seen_at=row[5],
        load_w=row[6],
        operation=row[7],
        paid_at=row[8],
        sound=state in _STATES and (cause is None or cause in _CAUSES),
    )
