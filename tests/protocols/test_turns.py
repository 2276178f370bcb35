"""Turns: who goes first, who waits, who is turned away."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from protocols.driver import RelayCommand
from protocols.errors import Blame, Hope, ProtocolFault
from protocols.turns import BACKFILL_WAITING_MAX, WAITING_MAX, Priority, Turns, priority_of


def full(waiting: int) -> ProtocolFault:
    return ProtocolFault("TQ-XX-40", f"{waiting} wait", "wait", blame=Blame.LOCAL, hope=Hope.RETRY)


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 10))


async def served(turns: Turns[int], calls: list[tuple[int, Priority]]) -> list[tuple[int, Priority]]:
    """In which order calls get their turn that come while meter 0 has one."""
    order: list[tuple[int, Priority]] = []

    async def call(meter: int, priority: Priority) -> None:
        await turns.take(meter, priority)
        order.append((meter, priority))
        await asyncio.sleep(0)
        turns.give(meter)

    assert turns.take_free(0, Priority.POLL)
    tasks = [asyncio.create_task(call(*one)) for one in calls]
    await asyncio.sleep(0)
    assert turns.waiting == len(calls)
    turns.give(0)
    await asyncio.gather(*tasks)
    assert (turns.waiting, turns.held) == (0, 0)
    return order


def test_graver_calls_go_first() -> None:
    async def story() -> None:
        calls = [(n, priority) for n, priority in enumerate(reversed(Priority), 1)]
        assert await served(Turns(full), calls) == list(reversed(calls))

    run(story())


def test_a_restore_is_graver_than_a_cut() -> None:
    assert priority_of(RelayCommand.CLOSE) < priority_of(RelayCommand.OPEN) < Priority.POLL


def test_meters_take_turns_within_a_priority() -> None:
    async def story() -> None:
        calls = [(meter, Priority.POLL) for meter in (7, 7, 7, 0, 8)]
        assert [meter for meter, _ in await served(Turns(full), calls)] == [7, 8, 0, 7, 7], "0 had its turn already"

    run(story())


def test_a_meter_has_one_turn_whatever_the_width() -> None:
    async def story() -> None:
        turns = Turns[int](full, width=3, width_max=3)
        assert turns.take_free(1, Priority.POLL)
        assert not turns.take_free(1, Priority.SAFETY)
        assert turns.take_free(2, Priority.POLL)
        waiting = asyncio.create_task(turns.take(1, Priority.SAFETY))
        await asyncio.sleep(0)
        assert turns.take_free(3, Priority.BACKFILL), "a free turn is not kept for a meter that has one"
        assert not waiting.done()
        turns.give(1)
        await waiting
        assert turns.held == 3

    run(story())


def test_what_is_urgent_goes_beyond_the_present_width_and_no_further_than_the_limit() -> None:
    async def story() -> None:
        turns = Turns[int](full, width=1, width_max=2)
        assert turns.take_free(1, Priority.POLL)
        assert not turns.take_free(2, Priority.POLL)
        assert turns.take_free(2, Priority.RELAY)
        assert not turns.take_free(3, Priority.SAFETY)

    run(story())


def test_a_wider_bus_wakes_those_who_wait_and_a_narrower_one_calls_nobody_back() -> None:
    async def story() -> None:
        turns = Turns[int](full, width=1, width_max=8)
        assert turns.take_free(0, Priority.POLL)
        tasks = [asyncio.create_task(turns.take(meter, Priority.POLL)) for meter in (1, 2, 3)]
        await asyncio.sleep(0)
        turns.widen(3)
        await asyncio.gather(*tasks[:2])
        assert turns.held == 3
        turns.widen(1)
        for meter in (0, 1):
            turns.give(meter)
            await asyncio.sleep(0)
            assert not tasks[2].done()
        turns.give(2)
        await tasks[2]
        turns.give(3)
        assert turns.held == 0

    run(story())


def test_queues_have_ends_but_not_for_what_is_urgent() -> None:
    async def story() -> None:
        turns = Turns[int](full)
        assert turns.take_free(0, Priority.POLL)
        tasks = [asyncio.create_task(turns.take(n, Priority.BACKFILL)) for n in range(1, BACKFILL_WAITING_MAX + 1)]
        await asyncio.sleep(0)
        with pytest.raises(ProtocolFault, match="64 wait"):
            await turns.take(1, Priority.BACKFILL)
        tasks += [asyncio.create_task(turns.take(n, Priority.POLL)) for n in range(1, WAITING_MAX + 1)]
        await asyncio.sleep(0)
        with pytest.raises(ProtocolFault, match="512 wait"):
            await turns.take(1, Priority.POLL)
        tasks.append(asyncio.create_task(turns.take(1, Priority.SAFETY)))
        await asyncio.sleep(0)
        assert turns.waiting == BACKFILL_WAITING_MAX + WAITING_MAX + 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert turns.waiting == 0

    run(story())


def test_a_call_that_is_given_up_gives_its_turn_on() -> None:
    async def story() -> None:
        turns = Turns[int](full)
        assert turns.take_free(0, Priority.POLL)
        first, second = (asyncio.create_task(turns.take(meter, Priority.POLL)) for meter in (1, 2))
        await asyncio.sleep(0)
        turns.give(0)
        first.cancel()  # in the very moment in which it has its turn
        await asyncio.gather(first, return_exceptions=True)
        await second
        turns.give(2)
        assert (turns.held, turns.waiting) == (0, 0)

    run(story())
