"""Meters behind a concentrator on real sockets: nobody's answer for another's, and no more at once than it takes."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from gridmodel.reading import Channel
from protocols.dlms.connection import Connection
from protocols.dlms.pace import WIDTH_AT_FIRST
from protocols.dlms.terms import Outcome
from protocols.driver import LineKeeper, MeterTarget, RelayCommand, WritePermit
from protocols.errors import Blame, Hope, ProtocolFault
from protocols.resting import SUSPENSION_S
from simulate.concentrator import ConcentratorShape, Weather
from tests.protocols.dlms.bench_rig import fault_of
from tests.simulate.concentrator_rig import EVENING, FAIR, TIMEOUT_S, Behind, behind

CLOSE = WritePermit("intent-close", RelayCommand.CLOSE)


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 60))


async def read(made: Behind, target: MeterTarget) -> int | str:
    """The import register, or the code of the fault."""
    try:
        return (await made.driver.read(target)).registers[Channel.IMPORT] or 0
    except ProtocolFault as fault:
        return fault.code


def test_all_meters_are_read_several_at_once_and_each_shows_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    under_way: set[int] = set()
    most: list[int] = []
    begin, hang_up = Connection.begin, Connection.hang_up

    def begun(one: Connection) -> asyncio.Future[Outcome]:
        under_way.add(id(one))
        most.append(len(under_way))
        return begin(one)

    def hung_up(one: Connection) -> None:
        under_way.discard(id(one))
        hang_up(one)

    monkeypatch.setattr(Connection, "begin", begun)
    monkeypatch.setattr(Connection, "hang_up", hung_up)

    async def story() -> None:
        async with behind(24, 24) as made:
            seen = await asyncio.gather(*(read(made, target) for target in made.targets))
            assert seen == [made.truth_wh(index) for index in range(24)]
            assert len(set(seen)) == 24
            assert made.fleet.concentrators[0].counts["carried"] >= 24 * 4
            assert 2 <= max(most) <= 6, "as the driver counts: to the concentrator one may still be closing"

    run(story())


def test_a_meter_has_one_association_at_a_time_whatever_the_width() -> None:
    async def story() -> None:
        async with behind() as made:
            seen = await asyncio.gather(*(read(made, made.targets[0]) for _ in range(6)))
            assert set(seen) == {made.truth_wh(0)}, "its counters came in order: it refused none"
            assert made.fleet.concentrators[0].most_connected <= 2, "the last one may still be closing"

    run(story())


def test_late_answers_are_never_taken_for_anothers() -> None:
    """Half of the answers come after the timeout, while others are asked through the same concentrator."""

    async def story() -> None:
        shape = ConcentratorShape(weather=Weather(0.3, 0.9, 0.0, 0.0), connections_max=6, round_s=0, lanes=6)
        async with behind(12, 12, shape=shape) as made:
            read_right = late = 0
            for _ in range(2):
                seen = await asyncio.gather(*(read(made, target) for target in made.targets))
                for index, value in enumerate(seen):
                    assert value == made.truth_wh(index) or value in {"TQ-DM-81", "TQ-DM-89", "TQ-DM-95"}, value
                    read_right += isinstance(value, int)
                    late += value == "TQ-DM-81"
                made.clock.at += SUSPENSION_S + 1
            assert late > 5, "the story is about late answers"

    run(story())


def test_a_lost_answer_is_a_fault_to_retry_and_the_next_try_succeeds() -> None:
    async def story() -> None:
        shape = ConcentratorShape(weather=FAIR, connections_max=6, round_s=0)
        async with behind(6, 6, shape=shape, now=EVENING) as made:
            codes: set[int | str] = set()
            got: dict[int, int | str] = {}
            for _ in range(40):
                for index, target in enumerate(made.targets):
                    if isinstance(value := await read(made, target), int):
                        got[index] = value
                    else:
                        codes.add(value)
                if len(got) == 6 and codes:
                    break
                made.clock.at += 45
            assert got == {index: made.truth_wh(index) for index in range(6)}
            assert codes <= {"TQ-DM-81", "TQ-DM-89"}
            assert made.fleet.concentrators[0].counts["lost"] > 0

    run(story())


def test_a_dead_meter_costs_its_neighbours_one_timeout_at_most() -> None:
    async def story() -> None:
        async with behind(associations_max=1) as made:
            loop = asyncio.get_running_loop()
            assert isinstance(await read(made, made.targets[1]), int)
            begun = loop.time()
            await read(made, made.targets[1])
            usual_s = loop.time() - begun
            made.fleet.silent.add(0)
            begun = loop.time()
            dead = [asyncio.create_task(read(made, made.targets[0])) for _ in range(5)]
            await asyncio.sleep(0)
            assert await read(made, made.targets[1]) == made.truth_wh(1)
            assert loop.time() - begun < TIMEOUT_S + usual_s + 0.25, "one of the five, not all of them"
            assert await asyncio.gather(*dead) == ["TQ-DM-81"] * 3 + ["TQ-DM-89"] * 2
            begun = loop.time()
            assert isinstance(await read(made, made.targets[1]), int)
            assert loop.time() - begun < TIMEOUT_S, "a suspended one costs nothing"
            made.clock.at += SUSPENSION_S + 1
            made.fleet.silent.clear()
            assert await read(made, made.targets[0]) == made.truth_wh(0), "the probe of the minute"

    run(story())


def test_the_width_grows_while_answers_come_in_time_and_falls_when_they_get_lost() -> None:
    async def story() -> None:
        async with behind(24, 24, associations_max=6) as made:
            assert isinstance(made.driver, LineKeeper)
            assert made.driver.line(made.targets[0]).width == WIDTH_AT_FIRST
            for _ in range(4):
                await asyncio.gather(*(read(made, target) for target in made.targets))
            assert made.driver.line(made.targets[0]).width == 5, "one of the six is kept for restores"
            assert made.driver.line(made.targets[0]).key == made.driver.line(made.targets[7]).key
            made.fleet.silent.update(range(24))
            while made.driver.line(made.targets[0]).width > 2:
                await asyncio.gather(*(read(made, target) for target in made.targets))
                made.clock.at += SUSPENSION_S + 1
            made.fleet.silent.clear()
            made.clock.at += SUSPENSION_S + 1
            assert await read(made, made.targets[5]) == made.truth_wh(5)

    run(story())


def test_the_width_grows_as_well_under_a_caller_that_asks_no_more_than_it_says() -> None:
    """As the collector does: nobody ever waits for a turn then."""

    async def story() -> None:
        async with behind(24, 24, associations_max=6) as made:
            rest = made.targets * 3
            under_way: set[asyncio.Task[int | str]] = set()
            while rest:
                while rest and len(under_way) < made.driver.width(made.driver.line(rest[-1]).key):
                    under_way.add(asyncio.create_task(read(made, rest.pop())))
                done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                assert all(isinstance(task.result(), int) for task in done)
            await asyncio.wait(under_way)
            assert made.driver.line(made.targets[0]).width == 5

    run(story())


def test_a_concentrator_that_takes_fewer_connections_than_its_model_says_is_read_all_the_same() -> None:
    async def story() -> None:
        shape = ConcentratorShape(weather=FAIR, connections_max=2, round_s=0)
        async with behind(24, 24, shape=shape) as made:
            for _ in range(8):
                seen = await asyncio.gather(*(read(made, target) for target in made.targets))
                right = [value for index, value in enumerate(seen) if value == made.truth_wh(index)]
                assert len(right) >= 12, "what was turned away is asked again by whoever polls"
                assert set(seen) - set(right) <= {"TQ-DM-80", "TQ-DM-82"}
            assert made.fleet.concentrators[0].counts["refused_connections"] > 0
            assert made.driver.line(made.targets[0]).width <= 3

    run(story())


def test_a_restore_does_not_wait_for_slow_polls() -> None:
    async def story() -> None:
        shape = ConcentratorShape(weather=FAIR, connections_max=3, round_s=0)
        async with behind(12, 12, shape=shape, associations_max=3, timing={"timeout_ms": 3_000}) as made:
            made.fleet.silent.update(range(11))
            polls = [asyncio.create_task(read(made, target)) for target in made.targets[:11]]
            await asyncio.sleep(0.05)
            assert not any(poll.done() for poll in polls)
            await asyncio.wait_for(made.driver.control(made.targets[11], RelayCommand.CLOSE, CLOSE), 1.0)
            assert not any(poll.done() for poll in polls)
            for poll in polls:
                poll.cancel()
            await asyncio.gather(*polls, return_exceptions=True)

    run(story())


def test_an_unreachable_concentrator_is_one_fault_and_left_alone_for_a_while() -> None:
    async def story() -> None:
        async with behind() as made:
            made.fleet.close()
            await asyncio.sleep(0)
            fault = await fault_of(made.driver.read(made.targets[0]))
            assert (fault.code, fault.blame, fault.hope) == ("TQ-DM-80", Blame.REMOTE, Hope.RETRY)
            assert (await fault_of(made.driver.read(made.targets[5]))).code == "TQ-DM-88"

    run(story())


def test_a_model_that_nobody_knows_and_one_that_others_deny_are_our_faults() -> None:
    async def story() -> None:
        async with behind() as made:
            target = made.targets[0]
            strange = replace(target, address=target.address.replace("via=bench", "via=nobody"))
            assert isinstance(await read(made, target), int)
            for wrong in (strange, replace(target, address=target.address.replace("&via=bench", ""))):
                fault = await fault_of(made.driver.read(wrong))
                assert (fault.code, fault.blame, fault.hope) == ("TQ-DM-99", Blame.LOCAL, Hope.PERMANENT)

    run(story())
