"""Meters' clocks as they were seen, and every step meant for one. Floor: edge_node/store; walk: reading.

A step is durable before a permit for it exists, and from then on it counts against the day's allowance of its meter,
whatever became of it: a crash between the two moves no clock twice.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from gridmodel.identity import MeterId
from hosting.database import Connection, Database, Verb

T = TypeVar("T")
DAY_S = 86_400
STEPS_KEPT_S = 400 * DAY_S
"""A year of steps tells which meters need a battery."""
DETAIL_CHARACTERS_MAX = 300


class StepOutcome(StrEnum):
    """What became of a step."""

    DONE = "done"
    """The meter took it."""
    REFUSED = "refused"
    """It was not sent, or the meter would not."""
    UNKNOWN = "unknown"
    """No answer: it may have been done. The next look tells."""


@dataclass(frozen=True, slots=True)
class ClockSeen:
    """A meter's clock at its last look."""

    meter: MeterId
    looked_at: int
    off_s: int | None
    """How far it is fast, seconds; None when it does not say which moment it is."""
    drift_ppm: int | None
    """How much faster than time it ran between the last two looks; None when it was seen once."""
    detail: str = ""
    """Why it is not believed or was not set; empty when all is well."""


@dataclass(frozen=True, slots=True)
class ClockStep:
    """One movement of one clock."""

    id: str
    meter: MeterId
    shift_s: int
    """Forward when positive."""
    off_s: int
    """How far it was fast before."""
    intent_at: int


class MeterClocks:
    """The clocks of one node's meters. Methods that take `conn` run in the caller's transaction."""

    def __init__(self, control: Database) -> None:
        self._control = control

    async def seen(self) -> dict[MeterId, ClockSeen]:
        """The last look at each meter."""
        rows = await self._rows("SELECT meter, looked_at, off_s, drift_ppm, detail FROM meter_clock ORDER BY meter", ())
        return {MeterId(row[0]): ClockSeen(MeterId(row[0]), *row[1:]) for row in rows}

    async def put_seen(self, seen: Collection[ClockSeen]) -> None:
        """Keep these looks, in one transaction."""
        rows = [
            (one.meter, one.looked_at, one.off_s, one.drift_ppm, one.detail[:DETAIL_CHARACTERS_MAX]) for one in seen
        ]

        async def verb(conn: Connection) -> None:
            await conn.execute_many(
                "INSERT OR REPLACE INTO meter_clock (meter, looked_at, off_s, drift_ppm, detail)"
                " VALUES (?, ?, ?, ?, ?)",
                rows,
            )

        await self._control.write(verb)

    async def moved_s(self, conn: Connection, meter: MeterId, now: int) -> int:
        """By how many seconds the meter's clock may have been moved in the last day, either way; later stamps count."""
        row = await conn.fetch_one(
            "SELECT coalesce(sum(abs(shift_s)), 0) FROM clock_step WHERE meter = ? AND intent_at > ?"
            " AND (outcome IS NULL OR outcome <> 'refused')",
            (meter, now - DAY_S),
        )
        return 0 if row is None else int(row[0])

    async def put_step(self, conn: Connection, step: ClockStep) -> None:
        """The intent of a step, within the caller's transaction."""
        await conn.execute("DELETE FROM clock_step WHERE intent_at < ?", (step.intent_at - STEPS_KEPT_S,))
        await conn.execute(
            "INSERT INTO clock_step (id, meter, shift_s, off_s, intent_at, detail) VALUES (?, ?, ?, ?, ?, '')",
            (step.id, step.meter, step.shift_s, step.off_s, step.intent_at),
        )

    async def finish(self, step_id: str, outcome: StepOutcome, detail: str, now: int) -> None:
        """The result of a step."""

        async def verb(conn: Connection) -> None:
            await conn.execute(
                "UPDATE clock_step SET outcome = ?, detail = ?, result_at = ? WHERE id = ? AND outcome IS NULL",
                (outcome.value, detail[:DETAIL_CHARACTERS_MAX], now, step_id),
            )

        await self._control.write(verb)

    async def steps(self, meter: MeterId, since: int = 0) -> list[tuple[ClockStep, StepOutcome | None]]:
        """The steps meant for a meter since then, oldest first, each with what became of it."""
        rows = await self._rows(
            "SELECT id, meter, shift_s, off_s, intent_at, outcome FROM clock_step WHERE meter = ? AND intent_at >= ?"
            " ORDER BY intent_at, id",
            (meter, since),
        )
        return [(ClockStep(*row[:5]), None if row[5] is None else StepOutcome(row[5])) for row in rows]

    async def write(self, verb: Verb[T]) -> T:
        """A verb of the clocks' door, in one transaction."""
        return await self._control.write(verb)

    async def counts(self) -> dict[str, int]:
        """For status: clocks looked at, and those among them that are not believed or cannot be set."""
        rows = await self._rows("SELECT count(*), coalesce(sum(detail <> ''), 0) FROM meter_clock", ())
        return {"looked_at": int(rows[0][0]), "wrong": int(rows[0][1])}

    async def _rows(self, query: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        return await self._control.read(lambda conn: conn.fetch_all(query, parameters))
