"""Lines of meters' event logs, each once, and how far each log was read. Floor: edge_node/store; walk: reading.

A meter gives a line again whenever it is asked from that second on, and after its clock was set back: a line is known
by its meter, log, time and code. Marks and lines are one transaction with the alarms that they raise, so that a crash
neither loses an alarm nor raises it twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gridmodel.identity import MeterId
from hosting.database import Connection, Database
from protocols.driver import MeterEvent, MeterEventKind

DAY_S = 86_400
KEPT_S = 400 * DAY_S
"""A year of lines, for whoever judges a bypass."""
KNOWN_MAX = 100_000
"""Lines of one meter that are compared at once: no memory of a meter holds so many."""
LISTED_MAX = 500
"""Lines of one meter on a page."""
KINDS = {kind.value: kind for kind in MeterEventKind}


@dataclass(frozen=True, slots=True)
class LogsRead:
    """How far a meter's logs are known."""

    read_at: int
    """When they were last read, UTC seconds of our clock."""
    newest_at: int
    """The latest line of all its logs, by the meter's clock; 0 when there is none."""


class MeterEvents:
    """The event logs of one node's meters. Methods that take `conn` run in the caller's transaction."""

    def __init__(self, control: Database) -> None:
        self._control = control

    async def reads(self) -> dict[MeterId, LogsRead]:
        """How far the logs of every meter are known."""

        async def verb(conn: Connection) -> dict[MeterId, LogsRead]:
            rows = await conn.fetch_all(
                "SELECT r.meter, r.read_at, coalesce(max(m.newest_at), 0) FROM meter_log_read AS r"
                " LEFT JOIN meter_log_mark AS m ON m.meter = r.meter GROUP BY r.meter ORDER BY r.meter"
            )
            return {MeterId(meter): LogsRead(read_at, newest_at) for meter, read_at, newest_at in rows}

        return await self._control.read(verb)

    async def put_reads(self, reads: Mapping[MeterId, int]) -> None:
        """Keep when the logs of these meters were read, and forget what is too old."""

        async def verb(conn: Connection) -> None:
            await conn.execute_many(
                "INSERT OR REPLACE INTO meter_log_read (meter, read_at) VALUES (?, ?)", list(reads.items())
            )
            oldest = max(reads.values(), default=0) - KEPT_S
            await conn.execute("DELETE FROM meter_event WHERE seen_at < ?", (oldest,))

        await self._control.write(verb)

    async def take(self, conn: Connection, meter: MeterId, events: Sequence[MeterEvent], now: int) -> list[MeterEvent]:
        """Keep these lines and move the marks; gives those that were not known, in their order."""
        ats = [one.at for one in events]
        rows = await conn.fetch_all(
            "SELECT log, at, code, seen_at FROM meter_event WHERE meter = ? AND at BETWEEN ? AND ? LIMIT ?",
            (meter, min(ats, default=0), max(ats, default=0), KNOWN_MAX),
        )
        seen_at = {(log, at, code): seen for log, at, code, seen in rows}
        fresh: list[MeterEvent] = []
        kept: list[tuple[int, MeterId, str, int, int]] = []
        for one in events:
            line = (one.log, one.at, one.code)
            if line not in seen_at:
                seen_at[line] = now
                fresh.append(one)
            elif (
                seen_at[line] < now - KEPT_S // 2
            ):  # what the meter still gives is not forgotten: it would come back as news
                kept.append((now, meter, one.log, one.at, one.code))
        await conn.execute_many(
            "INSERT OR IGNORE INTO meter_event (meter, log, at, code, kind, seen_at) VALUES (?, ?, ?, ?, ?, ?)",
            [(meter, one.log, one.at, one.code, one.kind.value, now) for one in fresh],
        )
        await conn.execute_many(
            "UPDATE meter_event SET seen_at = ? WHERE meter = ? AND log = ? AND at = ? AND code = ?", kept
        )
        newest: dict[str, int] = {}
        for one in events:
            newest[one.log] = max(newest.get(one.log, 0), one.at)
        await conn.execute_many(
            "INSERT INTO meter_log_mark (meter, log, newest_at) VALUES (?, ?, ?) ON CONFLICT (meter, log)"
            " DO UPDATE SET newest_at = max(newest_at, excluded.newest_at)",
            [(meter, log, at) for log, at in sorted(newest.items())],
        )
        return fresh

    async def known(
        self, conn: Connection, meter: MeterId, kinds: Iterable[MeterEventKind], since: int
    ) -> list[MeterEvent]:
        """The lines of these kinds from `since` on, by the meter's clock, oldest first."""
        wanted = [kind.value for kind in kinds]
        marks = ", ".join("?" for _ in wanted)
        rows = await conn.fetch_all(
            f"SELECT log, at, code, kind FROM meter_event WHERE meter = ? AND at >= ? AND kind IN ({marks})"
            " ORDER BY at, log, code LIMIT ?",
            (meter, since, *wanted, LISTED_MAX),
        )
        return [MeterEvent(log, at, code, KINDS.get(kind, MeterEventKind.OTHER)) for log, at, code, kind in rows]

    async def of_meter(self, meter: MeterId, since: int = 0) -> list[MeterEvent]:
        """`known` of all kinds, as a verb of its own."""
        return await self._control.read(lambda conn: self.known(conn, meter, MeterEventKind, since))
