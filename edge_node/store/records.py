"""Records that stand between a consumer and a cut: notices, protections, weather, stops. Floor: edge_node/store.

On the payment walk. Notices and protections are keyed unions: one id, one content, the first stands. Protections are an
observed-remove set in two tables: a revocation names the assertions that it saw and may arrive before them, so that an
assertion nobody saw stands (gridmodel.replicated, held to it by a test). Every row that permits or forbids a cut is
hashed: a damaged revocation revokes nothing, a damaged protection protects and locks until a person has looked.

Codes: TQ-RC-01 a kind of item that is none, -02 a record that contradicts itself, -03 a stamp from the future,
-04 a lifting that must be done at the office.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from edge_node.store.alarms import clear_alarm, raise_alarm
from edge_node.store.mandates import MandateChecker, MandateRow, mandate_in_force, mandate_rows, put_mandate
from edge_node.store.record_items import (
    comparison_from_body,
    notice_from_body,
    protection_from_body,
    record_fault,
    revocation_from_body,
    stop_from_body,
    weather_from_body,
)
from edge_node.store.state import Mark, write_mark
from gridmodel.clock import TimeBounds
from gridmodel.event import AlarmKind
from gridmodel.identity import AccountId, DistrictId, NodeId, UsagePointId
from gridmodel.network import FAR_FUTURE
from gridmodel.record import Notice, NoticeEvidence, Protection, ProtectionKind, WeatherForecast
from gridmodel.replicated import FUTURE_S_MAX
from hosting.database import Connection, Database
from hosting.rowhash import RowHasher
from protocols.authority.mandate import Mandate, MandateOutcome
from protocols.sync.fields import Fields

PROTECTIONS_MAX = 100
"""Assertions looked at for one point: one that stands is enough; revoked ones come last, locks first."""
ROWS_PER_LOOK = 1_000
"""Protections verified in one go: some 3 ms of the event loop."""
ROWS_VERIFIED_MAX = 50_000
"""Rows `verify` looks at in each table: far above a district's notices and protections of a month."""

_NOTICE = "id, account, amount_tiyin, evidence, delivered_at, received_at"
_PROTECTION = "id, kind, usage_point, district, valid_from, valid_to, asserted_by, received_at"


@dataclass(frozen=True, slots=True)
class Stop:
    """One person at one office stopped all cuts."""

    id: str
    stopped_at: int
    stopped_by: str
    why: str
    lifted_at: int | None
    lifted_by: str | None


async def stop_cuts(  # noqa: PLR0917
    conn: Connection, node: NodeId, stop_id: str, by: str, why: str, at: int
) -> bool:
    """Stop every cut of `node`, within the caller's transaction; gives whether the stop is new."""
    made = await conn.execute(
        "INSERT OR IGNORE INTO cuts_stopped (id, stopped_at, stopped_by, why) VALUES (?, ?, ?, ?)",
        (stop_id, at, by, why),
    )
    await raise_alarm(conn, AlarmKind.CUTS_STOPPED, node, f"{by}: {why}", at)
    return bool(made)


async def stop_cuts_once(conn: Connection, node: NodeId, by: str, why: str, at: int) -> bool:
    """`stop_cuts` unless one by `by` stands already; gives whether it is new."""
    standing = "SELECT 1 FROM cuts_stopped WHERE stopped_by = ? AND lifted_at IS NULL"
    if await conn.fetch_one(standing, (by,)) is not None:
        return False
    return await stop_cuts(conn, node, f"stop-{by}-{at}", by, why, at)


class Records:
    """The records of one node. Methods that take `conn` run in the caller's transaction."""

    def __init__(self, control: Database, row_key: bytes, node: NodeId, check_mandate: MandateChecker) -> None:
        self._control = control
        self._node = node
        self._check_mandate = check_mandate
        self._notices = RowHasher(row_key, "notice")
        self._protections = RowHasher(row_key, "protection")
        self._revocations = RowHasher(row_key, "revocation")
        self._weather = RowHasher(row_key, "weather")

    async def add_notice(self, conn: Connection, notice: Notice, now: int) -> bool:
        """Put a notice in; gives whether it is new. Another content under the id is an alarm, and the first stands."""
        content = (notice.id, notice.account, notice.amount_tiyin, notice.evidence.value, notice.delivered_at)
        return await self._put(conn, "notice", _NOTICE, (*content, now), self._notices, now)

    async def latest_notice(self, conn: Connection, account: AccountId) -> tuple[Notice | None, tuple[str, ...]]:
        """The notice delivered last (or, when none was, the last), and ids of damaged ones."""
        row = await conn.fetch_one(
            f"SELECT {_NOTICE}, hash FROM notice WHERE account = ?"
            " ORDER BY delivered_at IS NULL, delivered_at DESC, received_at DESC, id LIMIT 1",
            (account,),
        )
        if row is None:
            return None, ()
        if not self._notices.verify(bytes(row[6]), *row[:6]):
            return None, (str(row[0]),)
        return Notice(row[0], AccountId(row[1]), row[2], NoticeEvidence(row[3]), row[4]), ()

    async def add_protection(self, conn: Connection, protection: Protection, now: int) -> bool:
        """Assert one protection; gives whether it is new. It may be revoked already."""
        content = (
            protection.id,
            protection.kind.value,
            protection.usage_point,
            protection.district,
            protection.valid_from,
            protection.valid_to,
            protection.asserted_by,
        )
        return await self._put(conn, "protection", _PROTECTION, (*content, now), self._protections, now)

    async def revoke_protections(self, conn: Connection, ids: Collection[str], revoked_by: str, now: int) -> None:
        """Revoke these assertions and no others, also those that have not arrived yet."""
        for one in sorted(ids):
            values = (one, revoked_by, now)
            row = await conn.fetch_one(
                "SELECT revoked_by, received_at, hash FROM protection_revoked WHERE id = ?", (one,)
            )
            if row is None or not self._revocations.verify(bytes(row[2]), one, row[0], row[1]):
                await conn.execute(
                    "INSERT OR REPLACE INTO protection_revoked (id, revoked_by, received_at, hash) VALUES (?, ?, ?, ?)",
                    (*values, self._revocations.digest(*values)),
                )

    async def standing_protections(
        self, conn: Connection, point: UsagePointId, district: DistrictId
    ) -> tuple[tuple[Protection, ...], tuple[str, ...]]:
        """Unrevoked assertions for the point, its district or all, ended ones too, and ids of damaged rows.

        A damaged row comes back as a safety lock from the beginning to the end of time: it forbids either movement.
        """
        columns = ", ".join(f"p.{name}" for name in _PROTECTION.split(", "))
        rows = await conn.fetch_all(
            f"SELECT {columns}, p.hash, r.revoked_by, r.received_at, r.hash"
            " FROM protection AS p LEFT JOIN protection_revoked AS r ON r.id = p.id"
            " WHERE (p.usage_point = ? OR (p.usage_point IS NULL AND (p.district = ? OR p.district IS NULL)))"
            " ORDER BY r.id IS NOT NULL, p.kind = 'safety_lock' DESC, p.valid_to DESC, p.id LIMIT ?",
            (point, district, PROTECTIONS_MAX),
        )
        standing: list[Protection] = []
        damaged: list[str] = []
        for row in rows:
            if row[11] is not None:
                if self._revocations.verify(bytes(row[11]), row[0], row[9], row[10]):
                    continue
                damaged.append(str(row[0]))
            if self._protections.verify(bytes(row[8]), *row[:8]):
                standing.append(Protection(row[0], ProtectionKind(row[1]), *row[2:7]))
            else:
                damaged.append(str(row[0]))
                lock = ProtectionKind.SAFETY_LOCK
                standing.append(Protection(str(row[0]), lock, point, None, 0, FAR_FUTURE, "damaged-row"))
        return tuple(standing), tuple(dict.fromkeys(damaged))

    async def protections_stamp(self, conn: Connection, since: int, until: int) -> tuple[tuple[int, int], bool]:
        """What changes whenever a protection or a revocation comes, and whether one began or ended in [since, until].

        Nothing is ever deleted, so that the last rows' numbers rise with each that is written, by whomever.
        """
        row = await conn.fetch_one(
            "SELECT (SELECT coalesce(max(rowid), 0) FROM protection),"
            " (SELECT coalesce(max(rowid), 0) FROM protection_revoked),"
            " EXISTS (SELECT 1 FROM protection WHERE valid_from BETWEEN ?1 AND ?2 OR valid_to BETWEEN ?1 AND ?2)",
            (since, until),
        )
        if row is None:
            raise RuntimeError("a question gave no answer")
        return (int(row[0]), int(row[1])), bool(row[2])

    async def torn_protections(self, conn: Connection) -> tuple[str, ...]:
        """Ids of altered rows among all protections: one that names another point now is found by no point's query.

        Some 3 ms for a thousand; asked before a cut only.
        """
        torn, after = list[str](), -1
        while True:
            rows = await conn.fetch_all(
                f"SELECT {_PROTECTION}, hash, rowid FROM protection WHERE rowid > ? ORDER BY rowid LIMIT ?",
                (after, ROWS_PER_LOOK),
            )
            torn += [str(row[0]) for row in rows if not self._protections.verify(bytes(row[8]), *row[:8])]
            if len(rows) < ROWS_PER_LOOK:
                return tuple(torn)
            after = rows[-1][9]

    async def set_weather(self, conn: Connection, forecast: WeatherForecast, now: int) -> bool:
        """Keep the later forecast of a district; gives whether this one is it. Raises RecordFault (TQ-RC-03)."""
        if forecast.issued_at > now + FUTURE_S_MAX:
            raise record_fault("03", f"a forecast for {forecast.district} is issued in the future")
        row = await conn.fetch_one(
            "SELECT issued_at, min_c, max_c, hash FROM weather WHERE district = ?", (forecast.district,)
        )
        if row is not None and self._weather_sound(forecast.district, row) and row[0] >= forecast.issued_at:
            return False
        values = (forecast.district, forecast.issued_at, float(forecast.min_c), float(forecast.max_c))
        await conn.execute(
            "INSERT OR REPLACE INTO weather (district, issued_at, min_c, max_c, hash) VALUES (?, ?, ?, ?, ?)",
            (*values, self._weather.digest(values[0], values[1], repr(values[2]), repr(values[3]))),
        )
        return True

    async def weather_of(self, conn: Connection, district: DistrictId) -> WeatherForecast | None:
        """The district's latest forecast; None when there is none that is whole, which counts as frost."""
        row = await conn.fetch_one("SELECT issued_at, min_c, max_c, hash FROM weather WHERE district = ?", (district,))
        if row is None or not self._weather_sound(district, row):
            return None
        return WeatherForecast(district, row[0], row[1], row[2])

    async def put_mandate(self, conn: Connection, document: bytes, now: int, bounds: TimeBounds) -> MandateOutcome:
        """Take a signed mandate in; see `store.mandates.put_mandate`."""
        return await put_mandate(conn, self._check_mandate, document, now, bounds)

    async def mandate_in_force(self, conn: Connection, bounds: TimeBounds) -> Mandate | None:
        """The mandate that permits something now, judged anew; see `store.mandates.mandate_in_force`."""
        return await mandate_in_force(conn, self._check_mandate, bounds)

    async def mandates(self) -> list[MandateRow]:
        """The latest mandates, for status pages."""
        return await self._control.read(mandate_rows)

    async def stop_cuts(self, conn: Connection, stop_id: str, by: str, why: str, at: int) -> bool:
        """Stop every cut of this node; gives whether the stop is new."""
        return await stop_cuts(conn, self._node, stop_id, by, why, at)

    async def lift_stops(self, conn: Connection, by: str, at: int) -> int:
        """Lift every standing stop; gives how many. Only the office's own command line may ask this."""
        lifted = await conn.execute(
            "UPDATE cuts_stopped SET lifted_at = ?, lifted_by = ? WHERE lifted_at IS NULL", (at, by)
        )
        await clear_alarm(conn, AlarmKind.CUTS_STOPPED, self._node, at)
        return lifted

    async def stops(self, conn: Connection) -> tuple[Stop, ...]:
        """The stops that stand."""
        rows = await conn.fetch_all(
            "SELECT id, stopped_at, stopped_by, why, lifted_at, lifted_by FROM cuts_stopped"
            " WHERE lifted_at IS NULL ORDER BY stopped_at, id LIMIT 100"
        )
        return tuple(Stop(*row) for row in rows)

    async def cuts_are_stopped(self, conn: Connection) -> bool:
        """Whether a stop stands, or its alarm does: the two are raised and lifted together, so one vouches for both."""
        row = await conn.fetch_one(
            "SELECT EXISTS (SELECT 1 FROM cuts_stopped WHERE lifted_at IS NULL)"
            " OR EXISTS (SELECT 1 FROM alarm WHERE kind = ? AND subject = ? AND cleared_at IS NULL)",
            (AlarmKind.CUTS_STOPPED.value, self._node),
        )
        return row is None or bool(row[0])

    async def put_stop(self, stop_id: str, by: str, why: str, at: int) -> bool:
        """`stop_cuts` as a verb of its own."""
        return await self._control.write(lambda conn: self.stop_cuts(conn, stop_id, by, why, at))

    async def put_lift(self, by: str, at: int) -> int:
        """`lift_stops` as a verb of its own."""
        return await self._control.write(lambda conn: self.lift_stops(conn, by, at))

    async def put_protection(self, protection: Protection, now: int) -> bool:
        """`add_protection` as a verb of its own, for the office."""
        return await self._control.write(lambda conn: self.add_protection(conn, protection, now))

    async def apply_record_item(
        self, conn: Connection, kind: str, item_id: str, body: Mapping[str, Any], now: int
    ) -> None:
        """Take in one item of the downlink's lane `authority`; raises a Fault before anything is written.

        A mandate that permits nothing is kept with the reason and raises nothing.
        """
        match kind:
            case "notice":
                await self.add_notice(conn, notice_from_body(body), now)
            case "protection":
                await self.add_protection(conn, protection_from_body(body), now)
            case "protection_revoked":
                ids, by = revocation_from_body(body)
                await self.revoke_protections(conn, ids, by, now)
            case "weather":
                await self.set_weather(conn, weather_from_body(body), now)
            case "mandate":
                document = Fields("mandate item", dict(body), ("document",)).blob("document", 8_192)
                await self.put_mandate(conn, document, now, TimeBounds(now, now))
            case "stop_cuts":
                await self.stop_cuts(conn, *stop_from_body(body))
            case "lift_stop":
                raise record_fault("04", "the hub cannot lift a stop: a person does it at the office")
            case "compare":
                await write_mark(conn, Mark.COMPARE_WANTED, json.dumps(comparison_from_body(body), sort_keys=True))
            case _:
                raise record_fault("01", f"item {item_id} of kind {kind!r:.40} is no record")

    async def verify(self) -> tuple[str, ...]:
        """``table id`` of damaged rows, for `doctor`."""

        async def verb(conn: Connection) -> tuple[str, ...]:
            damaged = []
            for table, columns, hasher in (
                ("notice", _NOTICE, self._notices),
                ("protection", _PROTECTION, self._protections),
                ("protection_revoked", "id, revoked_by, received_at", self._revocations),
            ):
                rows = await conn.fetch_all(f"SELECT {columns}, hash FROM {table} LIMIT ?", (ROWS_VERIFIED_MAX,))
                damaged += [f"{table} {row[0]}" for row in rows if not hasher.verify(bytes(row[-1]), *row[:-1])]
            return tuple(damaged)

        return await self._control.read(verb)

    async def _put(  # noqa: PLR0917
        self, conn: Connection, table: str, columns: str, values: tuple[Any, ...], hasher: RowHasher, now: int
    ) -> bool:
        """One row of a keyed union; the last value is the time of its arrival and no part of its content."""
        known = await conn.fetch_one(f"SELECT {columns}, hash FROM {table} WHERE id = ?", (values[0],))
        if known is not None and hasher.verify(bytes(known[-1]), *known[:-1]):
            if known[:-2] != values[:-1]:
                detail = f"{table} {values[0]} came again with another content; the first stands"
                await raise_alarm(conn, AlarmKind.LEDGER_CONFLICT, values[0], detail, now)
            return False
        marks = ", ".join("?" for _ in range(len(values) + 1))
        await conn.execute(
            f"INSERT OR REPLACE INTO {table} ({columns}, hash) VALUES ({marks})", (*values, hasher.digest(*values))
        )
        return True

    def _weather_sound(self, district: str, row: tuple[Any, ...]) -> bool:
        return self._weather.verify(bytes(row[3]), district, row[0], repr(row[1]), repr(row[2]))
