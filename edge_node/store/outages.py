"""Outages of supply, each once, from its beginning to what power events made of it. Floor: edge_node/store; reading.

A running outage is one row per transformer. Its alarm is raised and cleared in the transaction that opens and ends it.
A suspected one (its gateway is silent, and nobody can tell why) raises nothing and counts nowhere, until its meters'
own power events confirm it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from typing import Any

from edge_node.store.alarms import clear_alarm, raise_alarm
from gridmodel.event import AlarmKind
from gridmodel.identity import DistrictId, MeterId, TransformerId
from gridmodel.period import rfc3339
from gridmodel.reliability import Interruption
from hosting.database import Connection, Database
from protocols.driver import MeterEventKind

KEPT_S = 800 * 86_400
"""Two years: this one is compared with the last."""
LISTED_MAX = 50_000
"""Outages of one period: a hundred a day and a year and a half of them."""
METERS_PER_QUERY = 500
"""Parameters of one statement; SQLite's oldest limit is 999."""
_COLUMNS = "id, transformer, district, began_at, ended_at, customers, evidence, noticed_at, judged_at"


class Evidence(StrEnum):
    """Why an outage is believed."""

    GATEWAY_SILENT = "gateway_silent"
    """Suspected only: the gateway behind which its meters stand is silent itself."""
    METERS_SILENT = "meters_silent"
    """Its meters are silent, their gateways and other transformers answer."""
    POWER_EVENTS = "power_events"
    """Its meters wrote down that their power went and came back."""


@dataclass(frozen=True, slots=True)
class Outage:
    """One outage of one transformer."""

    id: str
    transformer: TransformerId
    district: DistrictId
    began_at: int
    ended_at: int | None
    """None while it lasts."""
    customers: int
    evidence: Evidence
    noticed_at: int
    judged_at: int | None = None
    """When power events were looked through for the last time."""

    def as_interruption(self) -> Interruption:
        """In the words of the indices."""
        return Interruption(self.transformer, self.district, self.began_at, self.ended_at, self.customers)


def outage_id(transformer: TransformerId, noticed_at: int) -> str:
    """Worked out, so that no dice are needed in a verb: a transformer goes dark once at a time."""
    return "outage-" + sha256(f"{transformer}\0{noticed_at}".encode()).hexdigest()[:24]


class Outages:
    """The outages of one node."""

    def __init__(self, control: Database) -> None:
        self._control = control

    async def running(self) -> dict[TransformerId, Outage]:
        """Those that last, by transformer."""
        rows = await self._rows("WHERE ended_at IS NULL ORDER BY transformer", ())
        return {one.transformer: one for one in rows}

    async def unjudged(self) -> list[Outage]:
        """Those that ended and whose power events may still come."""
        return await self._rows("WHERE judged_at IS NULL AND ended_at IS NOT NULL ORDER BY ended_at, id", ())

    async def since(self, first: int) -> list[Outage]:
        """Those that are believed and reach beyond `first`, in order of their beginning."""
        return await self._rows(
            "WHERE (ended_at IS NULL OR ended_at > ?) AND evidence <> 'gateway_silent' ORDER BY began_at, id", (first,)
        )

    async def put(self, outages: Sequence[Outage], now: int) -> None:
        """Keep these as they are, with their alarms, in one transaction."""

        async def verb(conn: Connection) -> None:
            for one in outages:
                await conn.execute(
                    f"INSERT OR REPLACE INTO supply_outage ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        one.id,
                        one.transformer,
                        one.district,
                        one.began_at,
                        one.ended_at,
                        one.customers,
                        one.evidence.value,
                        one.noticed_at,
                        one.judged_at,
                    ),
                )
                if one.ended_at is not None:
                    await clear_alarm(conn, AlarmKind.SUPPLY_OUTAGE, one.transformer, now)
                elif one.evidence is not Evidence.GATEWAY_SILENT:
                    detail = f"{one.customers} usage points without supply since {rfc3339(one.began_at)}"
                    await raise_alarm(conn, AlarmKind.SUPPLY_OUTAGE, one.transformer, detail, now)
            await conn.execute("DELETE FROM supply_outage WHERE ended_at < ?", (now - KEPT_S,))

        await self._control.write(verb)

    async def judge(self, outage: Outage, now: int) -> None:
        """Nothing more is expected about this one; a suspicion that nothing confirmed goes."""

        async def verb(conn: Connection) -> None:
            if outage.evidence is Evidence.GATEWAY_SILENT:
                await conn.execute("DELETE FROM supply_outage WHERE id = ?", (outage.id,))
            else:
                judged = replace(outage, judged_at=now)
                await conn.execute(
                    "UPDATE supply_outage SET began_at = ?, ended_at = ?, evidence = ?, judged_at = ? WHERE id = ?",
                    (judged.began_at, judged.ended_at, judged.evidence.value, judged.judged_at, judged.id),
                )

        await self._control.write(verb)

    async def power_events(
        self, meters: Sequence[MeterId], first: int, last: int
    ) -> list[tuple[MeterId, int, MeterEventKind]]:
        """(meter, time by its clock, kind) of losses and returns of power within [first, last]."""
        found: list[tuple[MeterId, int, MeterEventKind]] = []
        for start in range(0, len(meters), METERS_PER_QUERY):
            part = meters[start : start + METERS_PER_QUERY]
            marks = ", ".join("?" for _ in part)
            query = (
                f"SELECT meter, at, kind FROM meter_event WHERE meter IN ({marks}) AND at BETWEEN ? AND ?"
                " AND kind IN ('power_down', 'power_up') ORDER BY meter, at"
            )
            rows = await self._fetch(query, (*part, first, last))
            found += [(MeterId(meter), at, MeterEventKind(kind)) for meter, at, kind in rows]
        return found

    async def _rows(self, condition: str, parameters: Sequence[Any]) -> list[Outage]:
        rows = await self._fetch(f"SELECT {_COLUMNS} FROM supply_outage {condition} LIMIT ?", (*parameters, LISTED_MAX))
        return [
            Outage(
                row[0],
                TransformerId(row[1]),
                DistrictId(row[2]),
                began_at=row[3],
                ended_at=row[4],
                customers=row[5],
                evidence=Evidence(row[6]),
                noticed_at=row[7],
                judged_at=row[8],
            )
            for row in rows
        ]

    async def _fetch(self, query: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        return await self._control.read(lambda conn: conn.fetch_all(query, parameters))
