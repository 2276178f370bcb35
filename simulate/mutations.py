"""The planted bugs themselves: each a context in which one piece of the product is replaced. Floor: simulate.

They are written as somebody would write them by mistake, not as vandalism: a reply sent a moment too early, a row
deleted when it was sent, a lock left out because everything seems to run in one task.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from central_sync.balance import booking
from central_sync.balance.cells import NewHours, PlaceDay, Revised, empty_day, movement, revise
from central_sync.ingest import region_link
from central_sync.ingest.region_link import RegionLink
from central_sync.store.sqlite import SqliteHubStore
from edge_node.metering import collector, late_exchanges, rounds
from edge_node.metering.papers import Story
from edge_node.store.batches import Outbox
from edge_node.store.operations import Movement
from edge_node.supply.place import Place
from edge_node.supply.relay import RelayRoom
from gridmodel import policy, vee
from gridmodel.clock import TimeBounds
from gridmodel.policy import Action, Decision, Facts, Reason
from gridmodel.policy_rules import PolicyRules
from gridmodel.vee import Exchange, LastRegister, Validated
from hosting.database import Connection, Database
from protocols.driver import RelayCommand, WritePermit
from protocols.errors import ProtocolFault
from protocols.sync.batch import Batch
from protocols.sync.lanes import Lane, LaneMark
from protocols.sync.state import Verdict, VerdictKind, judge

COMMITS_LATER_S = 0.7
"""How much later than its answer the mutant's commit comes."""


_taking: ContextVar[bool] = ContextVar("taking", default=False)
_counting: ContextVar[bool] = ContextVar("counting", default=False)


class _NotYet(Exception):
    """Carries a verb's result out of a transaction that is undone."""

    def __init__(self, result: Any) -> None:
        super().__init__("not yet")
        self.result = result


@contextmanager
def acknowledge_before_commit() -> Iterator[None]:
    """The hub answers with what it is about to write, and writes it a moment later."""
    original, take = SqliteHubStore.write_for, RegionLink._take  # noqa: SLF001

    async def takes(self: RegionLink, node: Any, data: bytes, made_at: int | None) -> Any:
        _taking.set(True)
        try:
            return await take(self, node, data, made_at)
        finally:
            _taking.set(False)

    async def write_for(self: SqliteHubStore, node: Any, verb: Any) -> Any:
        if not _taking.get():
            return await original(self, node, verb)

        async def probing(tx: Any) -> Any:
            raise _NotYet(await verb(tx))

        async def later() -> None:
            await asyncio.sleep(COMMITS_LATER_S)
            await original(self, node, verb)

        try:
            await self.write(probing)
        except _NotYet as told:
            task = asyncio.ensure_future(later())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            return told.result
        raise RuntimeError("a probing verb always raises")

    with patch.object(SqliteHubStore, "write_for", write_for), patch.object(RegionLink, "_take", takes):
        yield


@contextmanager
def count_a_duplicate() -> Iterator[None]:
    """A batch that is known already is booked once more on top."""

    def judges(batch: Batch, **facts: Any) -> Verdict:
        verdict = judge(batch, **facts)
        again = verdict.kind is VerdictKind.DUPLICATE
        _counting.set(again)
        return Verdict(VerdictKind.APPLY, "", verdict.have) if again else verdict

    def revises(old: PlaceDay, new: NewHours) -> Revised:
        revised = revise(old, new)
        return Revised(revised.day, changed=True, contradiction=None) if _counting.get() else revised

    def moves(days: Any, old: PlaceDay, new: PlaceDay) -> None:
        movement(days, empty_day(old.kind) if _counting.get() else old, new)

    with (
        patch.object(region_link, "judge", judges),
        patch.object(booking, "revise", revises),
        patch.object(booking, "movement", moves),
    ):
        yield


@contextmanager
def delete_before_acknowledged() -> Iterator[None]:
    """A batch is deleted when it goes out; its reply will surely come."""
    original = Outbox.following

    async def following(  # noqa: PLR0917 — the signature is the product's
        self: Outbox, lane: Lane, after: LaneMark, bytes_max: int, batches_max: int, now: int
    ) -> list[bytes]:
        found = await original(self, lane, after, bytes_max, batches_max, now)
        sent = [Batch.from_bytes(data).header for data in found]

        async def forget(conn: Connection) -> None:
            rows = [(lane.value, header.epoch, header.seq) for header in sent]
            await conn.execute_many("DELETE FROM outbox_batch WHERE lane = ? AND epoch = ? AND seq = ?", rows)
            await conn.execute_many("DELETE FROM outbox_record WHERE lane = ? AND epoch = ? AND seq = ?", rows)

        await self._control.write(forget)
        return found

    with patch.object(Outbox, "following", following):
        yield


@contextmanager
def no_read_timeout() -> Iterator[None]:
    """Whoever reads a meter waits until it answers."""
    with patch.object(collector, "READ_S_MAX", None):
        yield


@contextmanager
def store_verb_without_lock() -> Iterator[None]:
    """Transactions begin when none is open, and whoever is ready first ends the one that is."""

    async def alone(self: Database, work: Coroutine[Any, Any, Any]) -> Any:
        del self
        return await work

    async def snapshot(self: Database, verb: Callable[[Connection], Awaitable[Any]]) -> Any:
        return await verb(self._view)

    async def transaction(self: Database, verb: Callable[[Connection], Awaitable[Any]]) -> Any:
        connection = self._connection
        open_already = getattr(connection, "_connection").in_transaction  # noqa: B009
        try:
            if not open_already:
                await connection.execute("BEGIN IMMEDIATE")
            result = await verb(connection)
            if getattr(connection, "_connection").in_transaction:  # noqa: B009
                await connection.commit()
        except BaseException:
            await connection.rollback()
            raise
        return result

    with patch.multiple(Database, _alone=alone, _snapshot=snapshot, _transaction=transaction):
        yield


@contextmanager
def stale_watermark_ignored() -> Iterator[None]:
    """What the node cannot know is taken for "has not paid"."""
    with _without("_against_by_knowledge", Reason.WATERMARK_STALE):
        yield


@contextmanager
def mandate_quota_ignored() -> Iterator[None]:
    """The brakes are taken for enough: what the mandate allows in a day is not counted."""
    with _without("_against_by_rules", Reason.QUOTA_SPENT):
        yield


@contextmanager
def frost_ignored() -> Iterator[None]:
    """A forecast only has to be fresh; nobody looks at its degrees."""
    with _without("_against_by_calendar", Reason.FROST):
        yield


@contextmanager
def clock_doubt_ignored() -> Iterator[None]:
    """A clock that is in doubt is believed all the same."""
    with _without("_against_by_rules", Reason.CLOCK_DOUBTFUL):
        yield


@contextmanager
def protected_stays_dark() -> Iterator[None]:
    """Money alone brings light back: a protection that comes after the cut is no reason."""
    original = policy._dark  # noqa: SLF001

    def dark(facts: Facts, rules: PolicyRules, now: TimeBounds) -> Decision:
        decision = original(facts, rules, now)
        if decision.reasons == (Reason.PROTECTED_NOW,):
            return Decision(Action.NONE, (Reason.ALREADY_CUT, Reason.STILL_OWED), decision.rules_version)
        return decision

    with patch.object(policy, "_dark", dark):
        yield


@contextmanager
def cut_told_again() -> Iterator[None]:
    """A cut that cannot be read back is told to the meter once more, as a restore is."""
    original = RelayRoom.look

    async def look(self: RelayRoom, place: Place, movement: Movement) -> None:
        row = await self._door.judge(place)
        reach = self._reach(place)
        if movement is Movement.CUT and reach is not None and row.gathered.row is not None:
            driver, target = reach
            permit = WritePermit(str(row.gathered.row.operation), RelayCommand.OPEN)
            with suppress(ProtocolFault):
                await driver.control(target, RelayCommand.OPEN, permit)
        await original(self, place, movement)

    with patch.object(RelayRoom, "look", look):
        yield


def _no_papers(*_: object) -> list[Story]:
    """Nobody puts the papers against the store afterwards: it would find what is booked wrongly."""
    return []


@contextmanager
def start_register_ignored() -> Iterator[None]:
    """A new meter is taken to have come with zero on its register."""
    original = vee.exchanged

    def books(last: LastRegister, exchange: Exchange, *given: Any) -> Validated:
        return original(last, replace(exchange, start_register_wh=0), *given)

    with patch.object(rounds, "exchanged", books), patch.object(late_exchanges, "stories", _no_papers):
        yield


@contextmanager
def final_register_ignored() -> Iterator[None]:
    """The old meter is taken to have stood still since its last read, whatever its final register says."""
    original = vee.exchanged

    def books(last: LastRegister, exchange: Exchange, *given: Any) -> Validated:
        return original(last, replace(exchange, final_register_wh=last.register_wh), *given)

    with patch.object(rounds, "exchanged", books), patch.object(late_exchanges, "stories", _no_papers):
        yield


@contextmanager
def _without(part: str, reason: Reason) -> Iterator[None]:
    """One part of the policy no longer names `reason`."""
    original = getattr(policy, part)

    def against(*facts: Any) -> tuple[Reason, ...]:
        return tuple(one for one in original(*facts) if one is not reason)

    with patch.object(policy, part, against):
        yield
