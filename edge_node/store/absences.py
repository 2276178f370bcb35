"""Why meters have no fresh reading: the present reason of each, kept until it is read again. Floor: edge_node/store.

On the reading walk. Metering writes (`put`, in parts so that the control database is soon given back); status, pages
and uplink read. What is durable here is what a person is told, and what a start goes on from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gridmodel.absence import Absence
from gridmodel.identity import MeterId
from hosting.database import Connection, Database

DETAIL_LENGTH_MAX = 300
"""As of an alarm: one or two sentences."""
ROWS_PER_READ = 5_000


@dataclass(frozen=True, slots=True)
class Missing:
    """One meter without a fresh reading."""

    reason: Absence
    since: int
    """The first interval end that it missed in a row, UTC seconds."""
    detail: str
    """What the latest try found."""


class Absences:
    """The reasons as verbs of their own."""

    def __init__(self, control: Database) -> None:
        self._control = control

    async def put(self, changes: Sequence[tuple[str, Missing | None]]) -> None:
        """Set the reason of some meters, or take it away (None); one transaction. `since` stays while one stands."""

        async def verb(conn: Connection) -> None:
            gone = [(meter,) for meter, missing in changes if missing is None]
            rows = [
                (meter, one.reason.value, one.since, one.detail[:DETAIL_LENGTH_MAX])
                for meter, one in changes
                if one is not None
            ]
            if gone:
                await conn.execute_many("DELETE FROM absence WHERE meter = ?", gone)
            if rows:
                await conn.execute_many(
                    "INSERT INTO absence (meter, reason, since, detail) VALUES (?, ?, ?, ?) ON CONFLICT (meter)"
                    " DO UPDATE SET reason = excluded.reason, detail = excluded.detail",
                    rows,
                )

        await self._control.write(verb)

    async def reasons(self) -> dict[str, Absence]:
        """The present reason of every meter that has one."""
        found: dict[str, Absence] = {}
        after = ""
        while True:
            page = await self._control.read(
                lambda conn, after=after: conn.fetch_all(  # type: ignore[misc]
                    "SELECT meter, reason FROM absence WHERE meter > ? ORDER BY meter LIMIT ?", (after, ROWS_PER_READ)
                )
            )
            found.update((meter, Absence(reason)) for meter, reason in page)
            if len(page) < ROWS_PER_READ:
                return found
            after = page[-1][0]

    async def of(self, meter: MeterId) -> Missing | None:
        """Why that meter has no fresh reading; None where nothing stands against it."""
        row = await self._control.read(
            lambda conn: conn.fetch_one("SELECT reason, since, detail FROM absence WHERE meter = ?", (meter,))
        )
        return None if row is None else Missing(Absence(row[0]), row[1], row[2])

    async def counts(self) -> Mapping[Absence, int]:
        """How many meters have each reason; those with none are left out."""
        rows = await self._control.read(
            lambda conn: conn.fetch_all("SELECT reason, count(*) FROM absence GROUP BY reason ORDER BY reason")
        )
        return {Absence(reason): count for reason, count in rows}
