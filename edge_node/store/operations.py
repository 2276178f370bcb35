"""Relay operations: intent before, result after; counts for the brakes; cuts that wait. Floor: edge_node/store.

On the payment walk. An operation is durable before its command leaves, and from then on it counts for every brake,
whatever became of it. The hub hears of it twice under one id: when it is intended and with its result. A damaged row
still counts, but nothing is sent on it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from edge_node.store.outbox import append_record
from gridmodel.control import Cause
from gridmodel.identity import MeterId, TransformerId, UsagePointId
from hosting.database import Connection, Database
from hosting.rowhash import RowHasher
from protocols.sync import wire
from protocols.sync.facts import RELAY_OPERATION, RelayOperationFact
from protocols.sync.lanes import Lane

MINUTE_S = 60
HOUR_S = 3_600
DAY_S = 24 * HOUR_S
OPEN_LISTED_MAX = 1_000
"""Operations under way at one time: far above what the brakes let begin in a day."""
LISTED_MAX = 50
"""Operations of one point that a page shows."""
ROWS_VERIFIED_MAX = 100_000
"""Rows `verify` looks at: years of cuts within the brakes."""
BASIS_LIMITS = wire.Limits(bytes_max=4_096)
"""The basis travels to the hub inside a frame."""

_COLUMNS = "id, usage_point, meter, transformer, action, cause, basis, mandate, intent_at, sent_at, result_at, outcome"


class Movement(StrEnum):
    """What an operation does to a relay."""

    CUT = "cut"
    RESTORE = "restore"


class Outcome(StrEnum):
    """What became of an operation."""

    CONFIRMED = "confirmed"
    """The contact was read back as wanted."""
    UNCONFIRMED = "unconfirmed"
    """Superseded before the contact could be read."""
    WITHHELD = "withheld"
    """No command left."""
    FAILED = "failed"
    """The contact was read back and is not as wanted."""
    READY = "ready"
    """The meter waits for its button."""


_MOVEMENTS = {movement.value: movement for movement in Movement}
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_CAUSES = {cause.value: cause for cause in Cause}


@dataclass(frozen=True, slots=True)
class Operation:
    """One movement of one relay."""

    id: str
    usage_point: UsagePointId
    meter: MeterId
    transformer: TransformerId
    action: Movement
    cause: Cause
    basis: Mapping[str, Any]
    """Reasons, facts, rules version: plain values."""
    mandate: str | None
    intent_at: int
    sent_at: int | None = None
    result_at: int | None = None
    outcome: Outcome | None = None
    sound: bool = True
    """False when the stored row is not what was written."""


@dataclass(frozen=True, slots=True)
class CutCounts:
    """Cut intents within sliding windows that end now; one stamped in the future counts as now."""

    node_10min: int
    node_day: int
    transformer_hour: int
    transformer_day: int
    meter_day: int
    meter_moved_at: int | None
    """When a switching of the meter, either way, was last intended."""


@dataclass(frozen=True, slots=True)
class CutPlan:
    """A cut that is wanted and waits for its random delay."""

    usage_point: UsagePointId
    planned_at: int
    not_before: int


class Operations:
    """The operations of one node. Methods that take `conn` run in the caller's transaction."""

    def __init__(self, control: Database, row_key: bytes) -> None:
        self._control = control
        self._hasher = RowHasher(row_key, "relay_operation")

    async def put(self, conn: Connection, operation: Operation, now: int, *, told: bool = True) -> None:
        """Write the operation as it is now; at its intent and at its result the hub is told, unless it told us."""
        values = (
            operation.id,
            operation.usage_point,
            operation.meter,
            operation.transformer,
            operation.action.value,
            operation.cause.value,
            wire.pack(dict(operation.basis), BASIS_LIMITS),
            operation.mandate,
            operation.intent_at,
            operation.sent_at,
            operation.result_at,
            None if operation.outcome is None else operation.outcome.value,
        )
        known = await conn.fetch_one("SELECT result_at FROM relay_operation WHERE id = ?", (operation.id,))
        await conn.execute(
            f"INSERT OR REPLACE INTO relay_operation ({_COLUMNS}, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, self._hasher.digest(*values)),
        )
        if told and (known is None or (operation.result_at is not None and known[0] is None)):
            body = fact_of(operation).to_body()
            await append_record(conn, Lane.CONTROL, RELAY_OPERATION, operation.id, body, now)

    async def finish(self, conn: Connection, operation: Operation, outcome: Outcome, now: int) -> Operation:
        """Write the operation's result."""
        told = operation.basis if operation.sound else {**operation.basis, "damaged": True}
        done = replace(operation, basis=told, result_at=now, outcome=outcome)
        await self.put(conn, done, now)
        return done

    async def get(self, conn: Connection, operation_id: str) -> Operation | None:
        """One operation."""
        row = await conn.fetch_one(f"SELECT {_COLUMNS}, hash FROM relay_operation WHERE id = ?", (operation_id,))
        return None if row is None else self._operation(row)

    async def page(self, conn: Connection, after: str, limit: int) -> list[Operation]:
        """Operations by id after `after`."""
        rows = await conn.fetch_all(
            f"SELECT {_COLUMNS}, hash FROM relay_operation WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
        )
        return [self._operation(row) for row in rows]

    async def last_of(self, conn: Connection, point: UsagePointId) -> Operation | None:
        """The latest operation of a point, by its intent."""
        row = await conn.fetch_one(
            f"SELECT {_COLUMNS}, hash FROM relay_operation WHERE usage_point = ?"
            " ORDER BY intent_at DESC, id DESC LIMIT 1",
            (point,),
        )
        return None if row is None else self._operation(row)

    async def last_cut(self, conn: Connection, point: UsagePointId) -> Operation | None:
        """The latest cut of a point whose command was sent, however long ago."""
        row = await conn.fetch_one(
            f"SELECT {_COLUMNS}, hash FROM relay_operation WHERE usage_point = ? AND action = 'cut'"
            " AND sent_at IS NOT NULL ORDER BY intent_at DESC, id DESC LIMIT 1",
            (point,),
        )
        return None if row is None else self._operation(row)

    async def under_way(self, conn: Connection) -> list[Operation]:
        """Operations without a result, oldest first."""
        rows = await conn.fetch_all(
            f"SELECT {_COLUMNS}, hash FROM relay_operation WHERE result_at IS NULL ORDER BY intent_at, id LIMIT ?",
            (OPEN_LISTED_MAX,),
        )
        return [self._operation(row) for row in rows]

    async def of_point(self, point: UsagePointId, limit: int = 10) -> list[Operation]:
        """The latest operations of a point, newest first."""
        rows = await self._control.read(
            lambda conn: conn.fetch_all(
                f"SELECT {_COLUMNS}, hash FROM relay_operation WHERE usage_point = ?"
                " ORDER BY intent_at DESC, id DESC LIMIT ?",
                (point, min(limit, LISTED_MAX)),
            )
        )
        return [self._operation(row) for row in rows]

    async def since(self, at: int, limit: int = 1_000) -> list[Operation]:
        """Operations intended after `at`, newest first: what was done, and by what right."""
        rows = await self._control.read(
            lambda conn: conn.fetch_all(
                f"SELECT {_COLUMNS}, hash FROM relay_operation WHERE intent_at > ?"
                " ORDER BY intent_at DESC, id DESC LIMIT ?",
                (at, min(limit, OPEN_LISTED_MAX)),
            )
        )
        return [self._operation(row) for row in rows]

    async def cut_counts(  # noqa: PLR0917
        self, conn: Connection, point: UsagePointId, meter: MeterId, transformer: TransformerId, earliest: int, but: str
    ) -> CutCounts:
        """What the brakes count at `earliest` (the present's beginning), the operation `but` left out."""
        row = await conn.fetch_one(
            "SELECT coalesce(sum(intent_at > ?1), 0), count(*), coalesce(sum(transformer = ?2 AND intent_at > ?3), 0),"
            " coalesce(sum(transformer = ?2), 0), coalesce(sum(meter = ?4 OR usage_point = ?5), 0),"
            " (SELECT max(max(intent_at, coalesce(sent_at, intent_at))) FROM relay_operation"
            "  WHERE usage_point = ?5 AND id <> ?7)"
            " FROM relay_operation WHERE action = 'cut' AND intent_at > ?6 AND id <> ?7",
            (earliest - 10 * MINUTE_S, transformer, earliest - HOUR_S, meter, point, earliest - DAY_S, but),
        )
        if row is None:
            raise RuntimeError("an aggregate gave no row")
        return CutCounts(*row)

    async def plan(self, conn: Connection, point: UsagePointId) -> CutPlan | None:
        """The point's plan."""
        return (await self.plans_of(conn, [point])).get(point)

    async def plans_of(self, conn: Connection, points: Collection[UsagePointId]) -> dict[UsagePointId, CutPlan]:
        """The plans of some points."""
        rows = await conn.fetch_all(
            "SELECT usage_point, planned_at, not_before FROM cut_plan"
            f" WHERE usage_point IN ({', '.join('?' for _ in points)})",
            tuple(points),
        )
        return {UsagePointId(row[0]): CutPlan(UsagePointId(row[0]), row[1], row[2]) for row in rows}

    async def put_plan(self, conn: Connection, plan: CutPlan) -> None:
        """Keep a plan in place of the point's earlier one."""
        await conn.execute(
            "INSERT OR REPLACE INTO cut_plan (usage_point, planned_at, not_before) VALUES (?, ?, ?)",
            (plan.usage_point, plan.planned_at, plan.not_before),
        )

    async def drop_plan(self, conn: Connection, point: UsagePointId) -> None:
        """Forget the point's plan."""
        await conn.execute("DELETE FROM cut_plan WHERE usage_point = ?", (point,))

    async def plans(self, conn: Connection, limit: int = OPEN_LISTED_MAX) -> list[CutPlan]:
        """Every plan, the next one first."""
        rows = await conn.fetch_all(
            "SELECT usage_point, planned_at, not_before FROM cut_plan ORDER BY not_before, usage_point LIMIT ?",
            (limit,),
        )
        return [CutPlan(UsagePointId(row[0]), row[1], row[2]) for row in rows]

    async def verify(self) -> tuple[str, ...]:
        """Ids of damaged operations, for `doctor`."""
        rows = await self._control.read(
            lambda conn: conn.fetch_all(f"SELECT {_COLUMNS}, hash FROM relay_operation LIMIT ?", (ROWS_VERIFIED_MAX,))
        )
        return tuple(str(row[0]) for row in rows if not self._hasher.verify(bytes(row[12]), *row[:12]))

    def _operation(self, row: tuple[Any, ...]) -> Operation:
        sound = self._hasher.verify(bytes(row[12]), *row[:12])
        try:
            basis: Mapping[str, Any] = wire.unpack(bytes(row[6]), BASIS_LIMITS)
        except wire.WireFault:
            basis = {}
        return Operation(
            id=row[0],
            usage_point=UsagePointId(row[1]),
            meter=MeterId(row[2]),
            transformer=TransformerId(row[3]),
            action=_MOVEMENTS.get(row[4], Movement.CUT),  # unsound then: it moves nothing
            cause=_CAUSES.get(row[5], Cause.SAFETY),
            basis=basis,
            mandate=row[7],
            intent_at=row[8],
            sent_at=row[9],
            result_at=row[10],
            outcome=_OUTCOMES.get(row[11]),
            sound=sound,
        )


def fact_of(operation: Operation) -> RelayOperationFact:
    """The operation as it travels."""
    return RelayOperationFact(
        usage_point=operation.usage_point,
        meter=operation.meter,
        transformer=operation.transformer,
        action=operation.action.value,
        cause=operation.cause.value,
        basis=dict(operation.basis),
        mandate=operation.mandate,
        intent_at=operation.intent_at,
        sent_at=operation.sent_at,
        result_at=operation.result_at,
        outcome=None if operation.outcome is None else operation.outcome.value,
    )
