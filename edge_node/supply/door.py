"""The one door to every relay: intent, command, result, each in a transaction of its own. Floor: edge_node/supply.

On the payment walk. Nothing moves a relay but a `WritePermit`, and permits are minted here alone, after the operation
is durable as sent. A cut passes three judgements in three transactions: when it is planned, when it is intended, and
when its command is about to leave; a payment that commits before the last one wins. A restore passes one. Afterwards
the contact is read back and `settle` books what was seen. A crash between any two of them is a state that
`edge_node.supply.enforcement` takes up again.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from edge_node.store.alarms import clear_alarm, raise_alarm, standing_among
from edge_node.store.operations import MINUTE_S, CutPlan, Movement, Operation, Outcome
from edge_node.store.relays import RelayRow, Sighting
from edge_node.supply.brakes import BRAKES, node_day_limit
from edge_node.supply.facts import (
    NO_METER,
    UNLINKED,
    Moment,
    Sources,
    all_protections_whole,
    basis,
    gather,
)
from edge_node.supply.judging import (
    ALARMS_OF_DARK,
    PAID_BUT_DARK_S,
    UNCONFIRMED_S,
    UNREAD,
    Judged,
    changes,
    judge_each,
    paid_since,
)
from edge_node.supply.place import Place
from edge_node.supply.seen import Seen, see
from gridmodel.clock import Entropy
from gridmodel.control import Cause, RelayEvent, RelayState, step
from gridmodel.event import AlarmKind
from gridmodel.identity import UsagePointId, new_id
from gridmodel.period import rfc3339
from gridmodel.policy import Action, Decision, Reason, decide, reasons_against_cut
from hosting.database import Connection
from protocols.driver import RelayCommand, WritePermit

T = TypeVar("T")

INTENT_AGE_S_MAX = 120
"""A late cut dies: between intent and command lies a queue, never more than this."""


@dataclass(frozen=True, slots=True)
class Permitted:
    """A command that may leave now, once."""

    operation: Operation
    permit: WritePermit


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing is to be sent: what is wanted waits for a person at the meter."""

    decision: Decision


def cut_delay_s(plan_id: str, delay_min_max: int) -> int:
    """The random delay of a plan in seconds: from its id alone, evenly between zero and the policy's longest."""
    dice = int.from_bytes(hashlib.blake2b(plan_id.encode(), digest_size=8, person=b"cut delay").digest())
    return dice % (delay_min_max * MINUTE_S + 1)


class Door:
    """The only minter of permits. Every method is one transaction on the control database."""

    def __init__(
        self, sources: Sources, entropy: Entropy, moment: Callable[[], Moment], told: Callable[[], None]
    ) -> None:
        """`moment` gives the present, asked when a transaction has begun: a wait for the lock makes no judgement old.

        `told` is called after a commit that may have put a record into the outbox.
        """
        self._sources = sources
        self._entropy = entropy
        self._moment = moment
        self._told = told

    async def judge(self, place: Place) -> Judged:
        """What is wanted of a point now, and why; writes nothing."""

        async def verb(conn: Connection) -> Judged:
            moment = self._moment()
            gathered = await gather(conn, self._sources, place, moment)
            return Judged(gathered, decide(gathered.facts, moment.rules, moment.bounds))

        return await self._sources.control.read(verb)

    async def judge_all(self, places: Sequence[Place]) -> list[Judged]:
        """`judge` for some at once, in one snapshot: it holds the database, so a few at a time."""
        return await self._sources.control.read(lambda conn: judge_each(conn, self._sources, places, self._moment()))

    async def plan_cut(self, place: Place) -> Decision:
        """Judge a connected point; a cut that every reason permits is planned, not done."""
        sources, point = self._sources, place.point.id

        async def verb(conn: Connection) -> Decision:
            moment = self._moment()
            judged = await self._judge(conn, place, moment)
            if judged.decision.action is not Action.CUT or judged.gathered.plan is not None:
                return judged.decision
            standing = len(await sources.operations.plans(conn))
            if judged.gathered.cuts_day + standing >= node_day_limit(moment.rules, place.counts):
                return Decision(Action.NONE, (Reason.BRAKE_NODE_DAY,), judged.decision.rules_version)
            delay_s = cut_delay_s(f"{point}:{moment.now}", moment.rules.cut_delay_max_min)
            await sources.operations.put_plan(conn, CutPlan(point, moment.now, moment.now + delay_s))
            return judged.decision

        return await sources.control.write(verb)

    async def intend_cut(self, place: Place) -> Operation | Decision:
        """The durable intent of a planned cut, or the decision against it. No command may leave on it yet."""
        operation_id = new_id("op", self._entropy)
        sources = self._sources

        async def verb(conn: Connection) -> Operation | Decision:
            moment = self._moment()
            judged = await self._judge(conn, place, moment)
            decision, row, plan = judged.decision, judged.gathered.row, judged.gathered.plan
            if decision.action is not Action.CUT or row is None or place.meter is None or place.transformer is None:
                if not set(decision.reasons) <= BRAKES:
                    await sources.operations.drop_plan(conn, place.point.id)
                return decision
            if plan is None or plan.not_before > moment.bounds.earliest:
                if plan is not None and plan.planned_at > moment.bounds.latest:  # the clock stepped back behind it
                    await sources.operations.drop_plan(conn, place.point.id)
                return Decision(Action.NONE, (Reason.CUT_DELAY_RUNNING,), decision.rules_version)
            operation = Operation(
                id=operation_id,
                usage_point=place.point.id,
                meter=place.meter.id,
                transformer=place.transformer,
                action=Movement.CUT,
                cause=Cause.DEBT,
                basis={**basis(judged.gathered, place, decision, moment), "planned_at": plan.planned_at},
                mandate=None if judged.gathered.mandate is None else judged.gathered.mandate.id,
                intent_at=moment.now,
            )
            await sources.operations.put(conn, operation, moment.now)
            await sources.relays.put(
                conn, [_moved(row, RelayEvent.INTEND_CUT, moment.now, operation=operation_id, cause=Cause.DEBT)]
            )
            await sources.operations.drop_plan(conn, place.point.id)
            return operation

        return await self._told_after(verb)

    async def release_cut(self, operation: Operation, place: Place) -> Permitted | None:
        """Judge once more and mark the cut as sent, or withhold it: then None, and the relay is left as it was."""
        sources = self._sources

        async def verb(conn: Connection) -> Permitted | None:
            moment = self._moment()
            known = await sources.operations.get(conn, operation.id)
            row = await sources.relays.row(conn, operation.usage_point)
            if known is None or row is None or known.result_at is not None or row.operation != known.id:
                return None
            if row.state is not RelayState.CUT_INTENDED:  # a poll saw something meanwhile
                await sources.operations.finish(conn, known, Outcome.WITHHELD, moment.now)
                return None
            gathered = await gather(conn, sources, place, moment, but=known.id)
            gathered = await all_protections_whole(conn, sources, gathered)
            against = reasons_against_cut(gathered.facts, moment.rules, moment.bounds)
            fresh = 0 <= moment.now - known.intent_at <= INTENT_AGE_S_MAX
            same = place.meter is not None and place.meter.id == known.meter
            if against or not (fresh and same and known.sound and known.sent_at is None):
                await self._withhold(conn, known, row, against, moment.now)
                return None
            sent = replace(known, sent_at=moment.now)
            await sources.operations.put(conn, sent, moment.now)
            await sources.relays.put(conn, [_moved(row, RelayEvent.COMMAND_SENT, moment.now)])
            return Permitted(sent, WritePermit(sent.id, RelayCommand.OPEN))

        return await self._told_after(verb)

    async def withhold_orphans(self, busy: Sequence[UsagePointId]) -> int:
        """Drop cut intents whose command never left and that nobody is carrying out: the process was restarted."""
        sources = self._sources

        async def verb(conn: Connection) -> int:
            dropped, now = 0, self._moment().now
            for operation in await sources.operations.under_way(conn):
                if operation.sent_at is not None or operation.usage_point in busy:
                    continue
                row = await sources.relays.row(conn, operation.usage_point)
                if row is not None and row.operation == operation.id and row.state is RelayState.CUT_INTENDED:
                    await self._withhold(conn, operation, row, (), now)
                else:
                    await sources.operations.finish(conn, operation, Outcome.WITHHELD, now)
                dropped += 1
            return dropped

        return await self._told_after(verb)

    async def begin_restore(self, place: Place) -> Permitted | Waiting | Decision:
        """Intent and command of a restore in one transaction, if one reason asks for it. It knows no brake."""
        operation_id = new_id("op", self._entropy)
        sources = self._sources

        async def verb(conn: Connection) -> Permitted | Waiting | Decision:
            moment = self._moment()
            judged = await self._judge(conn, place, moment)
            decision, row = judged.decision, judged.gathered.row
            if decision.action is not Action.RESTORE or row is None:
                return decision
            before = None if row.operation is None else await sources.operations.get(conn, row.operation)
            if row.state is RelayState.READY_FOR_RECONNECTION and (
                before is not None and before.action is Movement.RESTORE
            ):
                return Waiting(decision)
            under_way = before is not None and before.result_at is None
            if before is not None and under_way and before.action is Movement.RESTORE and before.sound:
                operation = replace(before, sent_at=moment.now)  # the same wish, told to the meter once more
            else:
                if before is not None and under_way:
                    await sources.operations.finish(conn, before, Outcome.UNCONFIRMED, moment.now)
                operation = Operation(
                    id=operation_id,
                    usage_point=place.point.id,
                    meter=NO_METER if place.meter is None else place.meter.id,
                    transformer=place.transformer or UNLINKED,
                    action=Movement.RESTORE,
                    cause=row.cause or Cause.DEBT,
                    basis=basis(judged.gathered, place, decision, moment),
                    mandate=None,
                    intent_at=moment.now,
                    sent_at=moment.now,
                )
            await sources.operations.put(conn, operation, moment.now)
            intended = _moved(row, RelayEvent.INTEND_RESTORE, moment.now, operation=operation.id)
            sent = _moved(intended, RelayEvent.COMMAND_SENT, moment.now)
            since = (
                row.since if row.state is sent.state else moment.now
            )  # told again: it is unread since the first time
            paid_at = paid_since(row, judged.gathered, moment.now)
            await sources.relays.put(conn, [replace(sent, since=since, paid_at=paid_at)])
            return Permitted(operation, WritePermit(operation.id, RelayCommand.CLOSE))

        return await self._told_after(verb)

    async def settle(self, looks: Sequence[Sighting], *, read_back: bool) -> list[Seen]:
        """Book what was seen in one transaction (rows, results, alarms); gives what proved something."""
        sources = self._sources

        async def verb(conn: Connection) -> list[Seen]:
            proved: list[Seen] = []
            now = self._moment().now
            for look in looks:
                row = await sources.relays.row(conn, look.usage_point)
                operation = None
                if row is not None and row.operation is not None:
                    operation = await sources.operations.get(conn, row.operation)
                last_cut = operation
                if operation is not None and operation.action is not Movement.CUT and look.contact != "closed":
                    last_cut = await sources.operations.last_cut(conn, look.usage_point)
                brought = look.contact != "closed" and (row is None or row.meter != look.meter)
                brought = brought and await sources.relays.cut_elsewhere(conn, look.meter, look.usage_point)
                seen = see(row, look, operation, now, read_back=read_back, last_cut=last_cut, brought_open=brought)
                if seen is not None:
                    await self._book(conn, seen, operation, now)
                    proved.append(seen)
            await sources.relays.forget_sightings(conn, looks)
            return proved

        return await self._told_after(verb)

    async def look_at_dark(self, places: Sequence[Place]) -> list[Judged]:
        """Judge points that are not connected, in one snapshot; a few at a time, for it holds the database.

        The paid-but-dark clock and its alarms are kept on the way: where they change, in a transaction of the point.
        """
        sources = self._sources

        async def verb(conn: Connection) -> list[tuple[Judged, bool]]:
            moment = self._moment()
            standing = await standing_among(conn, ALARMS_OF_DARK, [place.point.id for place in places])
            judged = await judge_each(conn, self._sources, places, moment)
            return [(one, changes(one, standing, moment.now)) for one in judged]

        looked = await sources.control.read(verb)
        return [
            await self._keep_dark(place) if changes else judged
            for place, (judged, changes) in zip(places, looked, strict=True)
        ]

    async def _keep_dark(self, place: Place) -> Judged:
        """Judge anew and write what changes: since when it is paid, and the alarms of a dark point."""
        sources = self._sources

        async def verb(conn: Connection) -> Judged:
            moment = self._moment()
            now = moment.now
            judged = await self._judge(conn, place, moment)
            row = judged.gathered.row
            if row is None or row.state in {RelayState.CONNECTED, RelayState.UNKNOWN}:
                return judged
            paid_at = paid_since(row, judged.gathered, now)
            if paid_at != row.paid_at:
                await sources.relays.put(conn, [replace(row, paid_at=paid_at)])
            subject = row.usage_point
            if paid_at is None:
                await clear_alarm(conn, AlarmKind.PAID_BUT_DARK, subject, now)
            elif now - paid_at >= PAID_BUT_DARK_S:
                why = ", ".join(reason.value for reason in judged.decision.reasons)
                detail = f"paid at {rfc3339(paid_at)}, relay {row.state.value}: {why}"
                await raise_alarm(conn, AlarmKind.PAID_BUT_DARK, subject, detail, now)
            if row.state in UNREAD and now - row.since >= UNCONFIRMED_S:
                detail = f"{row.state.value} since {rfc3339(row.since)}: the meter does not answer"
                await raise_alarm(conn, AlarmKind.RELAY_UNCONFIRMED, subject, detail, now)
            return judged

        return await sources.control.write(verb)

    async def _judge(self, conn: Connection, place: Place, moment: Moment) -> Judged:
        gathered = await gather(conn, self._sources, place, moment)
        decision = decide(gathered.facts, moment.rules, moment.bounds)
        if decision.action is Action.CUT:
            gathered = await all_protections_whole(conn, self._sources, gathered)
            decision = decide(gathered.facts, moment.rules, moment.bounds)
        if gathered.damaged:
            detail = f"stored rows are not what was written: {', '.join(gathered.damaged)}"
            await raise_alarm(conn, AlarmKind.ROW_DAMAGED, place.point.id, detail, moment.now)
        return Judged(gathered, decision)

    async def _withhold(
        self, conn: Connection, operation: Operation, row: RelayRow, against: Sequence[Reason], now: int
    ) -> None:
        why = {**operation.basis, "withheld": [reason.value for reason in against]}
        await self._sources.operations.finish(conn, replace(operation, basis=why), Outcome.WITHHELD, now)
        back = _moved(row, RelayEvent.COMMAND_WITHHELD, now)
        await self._sources.relays.put(conn, [replace(back, cause=None)])

    async def _book(self, conn: Connection, seen: Seen, operation: Operation | None, now: int) -> None:
        await self._sources.relays.put(conn, [seen.row])
        if seen.outcome is not None and operation is not None:
            await self._sources.operations.finish(conn, operation, seen.outcome, now)
        for kind, detail in seen.raised:
            if kind is AlarmKind.RELAY_MOVED_WITHOUT_INTENT:  # an event: one that still stands must not hide the next
                await clear_alarm(conn, kind, seen.row.usage_point, now)
            await raise_alarm(conn, kind, seen.row.usage_point, detail, now)
        for kind in seen.cleared:
            await clear_alarm(conn, kind, seen.row.usage_point, now)

    async def _told_after(self, verb: Callable[[Connection], Awaitable[T]]) -> T:
        result = await self._sources.control.write(verb)
        if result:
            self._told()
        return result


def _moved(
    row: RelayRow, event: RelayEvent, now: int, *, operation: str | None = None, cause: Cause | None = None
) -> RelayRow:
    return replace(
        row,
        state=step(row.state, event).state,
        since=now,
        operation=operation or row.operation,
        cause=cause or row.cause,
    )
