"""Event logs of real DLMS meters: read on from where they are known, each line once, tampering and moves as alarms."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_node.metering.event_alarms import DAY_S, conditions, unexplained_move
from edge_node.metering.event_reading import OVERLAP_S, PERIOD_S
from edge_node.store.operations import Movement, Operation
from gridmodel.control import Cause
from gridmodel.event import AlarmKind
from gridmodel.identity import MeterId, TransformerId, UsagePointId
from gridmodel.registry_document import registry_to_document
from protocols.dlms.cosem_time import encode_time
from protocols.dlms.data import Data, Tag, octets
from protocols.driver import MeterEvent, MeterEventKind
from tests.edge_node.metering.dlms_site import BORN, Site, site

ONE = MeterId("m-1")
LOOK = BORN + 300


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 60))


async def look(one: Site, at: int) -> None:
    one.clock.at = at
    await one.event_reading.tick()


async def standing(one: Site) -> set[tuple[str, str]]:
    return {(row.kind, row.subject) for row in await one.store.alarms.standing()}


async def history(one: Site) -> list[str]:
    """Kinds of all alarms that ever were, in order."""
    return [row.kind for row in reversed(await one.store.alarms.recent())]


def log(one: Site, **events: list[tuple[int, int]]) -> None:
    one.meters["m-1"].events = events


def moved(action: Movement, sent_at: int | None) -> Operation:
    return Operation(
        "op-1", UsagePointId("up-1"), ONE, TransformerId("t-1"), action, Cause.DEBT, {}, None, BORN, sent_at=sent_at
    )


def test_a_cover_is_an_alarm_until_it_is_closed(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            await look(one, LOOK)
            assert await standing(one) == set()
            opened = (LOOK + 60, 40)
            log(one, fraud=[opened, (LOOK + 90, 42)])
            await look(one, LOOK + PERIOD_S)
            assert await standing(one) == {("terminal_cover_open", "m-1"), ("magnetic_field", "m-1")}
            log(one, fraud=[opened, (LOOK + 90, 42), (LOOK + PERIOD_S + 60, 41)])
            await look(one, LOOK + 2 * PERIOD_S)
            assert await standing(one) == {("magnetic_field", "m-1")}
            for n in range(3, 6):
                await look(one, LOOK + n * PERIOD_S)
            assert await history(one) == ["magnetic_field", "terminal_cover_open"], "each once"
            assert len(await one.store.meter_events.of_meter(ONE)) == 3

    run(story)


def test_what_was_before_the_first_read_is_history(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            log(one, fraud=[(1_000_000_000, 46), (1_100_000_000, 44)], switch=[(1_200_000_000, 62)])
            await look(one, LOOK)
            assert await standing(one) == {("meter_cover_open", "m-1")}
            assert len(await one.store.meter_events.of_meter(ONE)) == 3

    run(story)


def test_logs_are_read_on_from_their_marks_also_after_a_start(tmp_path: Path) -> None:
    async def story() -> None:
        old = [(BORN - n * DAY_S, 1 + n % 2) for n in range(30, 3, -1)]
        async with site(tmp_path) as one:
            log(one, standard=old)
            await look(one, LOOK)
            (read,) = [read for meter, read in (await one.store.meter_events.reads()).items() if meter == ONE]
            assert (read.read_at, read.newest_at) == (LOOK, old[-1][0])
        async with site(tmp_path, now=LOOK + PERIOD_S) as again:
            asked: list[int] = []
            read_events = again.driver.read_events

            async def seen(target: Any, since: int) -> Any:
                if target.meter == ONE:
                    asked.append(since)
                return await read_events(target, since)

            again.driver.read_events = seen  # type: ignore[method-assign]
            log(again, standard=[*old, (LOOK + 60, 1), (LOOK + 100, 2)])
            await look(again, LOOK + PERIOD_S)
            assert asked == [old[-1][0] - OVERLAP_S], "not its whole memory again"
            assert len(await again.store.meter_events.of_meter(ONE)) == len(old) + 2
            assert await standing(again) == set(), "one loss of power is no alarm"

    run(story)


def test_a_code_that_no_store_can_hold_stops_nobody(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            await look(one, LOOK)
            huge = Data(Tag.LONG64_UNSIGNED, 2**64 - 1)
            vars(one.meters["m-1"])["_lines"] = lambda name: [(octets(encode_time(LOOK + 60, 300)), huge)]
            one.meters["m-2"].events = {"fraud": [(LOOK + 60, 40)]}
            await look(one, LOOK + PERIOD_S)
            assert await standing(one) == {("terminal_cover_open", "m-2")}
            assert await one.store.meter_events.of_meter(ONE) == []

    run(story)


def test_a_failed_login_and_a_loose_contact_are_told_and_fade(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            await look(one, LOOK)
            losses = [(LOOK + n * 1_000, code) for n, code in enumerate([1, 2, 1, 2, 1, 2])]
            log(one, fraud=[(LOOK + 60, 46)], standard=losses)
            await look(one, LOOK + PERIOD_S)
            wanted = {("meter_login_failed", "m-1"), ("meter_power_unstable", "m-1")}
            assert await standing(one) == wanted
            await look(one, LOOK + 2 * PERIOD_S)
            assert await standing(one) == wanted
            await look(one, LOOK + PERIOD_S + DAY_S)
            assert await standing(one) == set()
            assert len(await history(one)) == 2

    run(story)


def test_a_relay_that_moved_between_two_polls_without_a_command_is_told(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            await look(one, LOOK)
            log(one, switch=[(LOOK + 600, 62), (LOOK + 700, 63)])
            await look(one, LOOK + PERIOD_S)
            assert await standing(one) == {("relay_moved_without_intent", "up-1")}

    run(story)


def test_a_relay_that_moved_as_it_was_told_is_not(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            await look(one, LOOK)
            operation = moved(Movement.CUT, LOOK + 590)
            await one.store.control.write(lambda conn: one.store.operations.put(conn, operation, LOOK + 590))
            log(one, switch=[(LOOK + 600, 62)])
            await look(one, LOOK + PERIOD_S)
            assert await standing(one) == set()

    run(story)


def test_a_crash_loses_no_alarm_and_raises_none_twice(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            await look(one, LOOK)
            log(one, fraud=[(LOOK + 60, 40)])

            async def die(reads: object) -> None:
                raise RuntimeError("the power goes")

            one.store.meter_events.put_reads = die  # type: ignore[method-assign]
            with pytest.raises(RuntimeError):
                await look(one, LOOK + PERIOD_S)
        async with site(tmp_path, now=LOOK + PERIOD_S + 60) as again:
            log(again, fraud=[(LOOK + 60, 40)])
            await look(again, LOOK + PERIOD_S + 60)
            assert await history(again) == ["terminal_cover_open"]
            assert len(await again.store.meter_events.of_meter(ONE)) == 1

    run(story)


def test_a_meter_whose_clock_lies_is_read_whole(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            log(one, standard=[(LOOK, 2)])
            await look(one, LOOK)
            await one.store.alarms.put(AlarmKind.METER_CLOCK_WRONG, "m-1", "it begins anew in 2000", LOOK)
            log(one, standard=[(LOOK, 2)], fraud=[(946_700_000, 40)])
            await look(one, LOOK + PERIOD_S)
            assert ("terminal_cover_open", "m-1") in await standing(one)

    run(story)


def test_what_another_meter_answered_first_makes_no_news_of_history(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            right, one.meters["m-1"].serial = one.meters["m-1"].serial, "SOMEBODY-ELSE"
            log(one, fraud=[(1_000_000_000, 46)], switch=[(1_200_000_000, 62)])
            await look(one, LOOK)
            one.meters["m-1"].serial = right
            await look(one, LOOK + PERIOD_S)
            assert await standing(one) == set()
            assert len(await one.store.meter_events.of_meter(ONE)) == 2

    run(story)


def test_a_line_from_the_future_hides_none_of_those_days_in_which_nobody_came(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            early = (LOOK + 10 * DAY_S, 2)
            log(one, standard=[early])
            await one.store.alarms.put(AlarmKind.METER_CLOCK_WRONG, "m-1", "it is ahead by days", LOOK)
            await look(one, LOOK)
            await one.store.alarms.clear(AlarmKind.METER_CLOCK_WRONG, "m-1", LOOK)
            log(one, standard=[early], fraud=[(LOOK + DAY_S, 40)])
            await look(one, LOOK + 4 * DAY_S)
            assert ("terminal_cover_open", "m-1") in await standing(one)

    run(story)


def test_a_clock_that_leapt_and_was_set_again_hides_no_line(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            log(one, standard=[(LOOK, 2)])
            await look(one, LOOK)
            lost = [(946_700_000, 2), (946_700_100, 4)]
            log(one, standard=[(LOOK, 2), *lost, (LOOK + 900, 5)], fraud=[(946_700_050, 44)])
            await look(one, LOOK + PERIOD_S)
            assert ("meter_cover_open", "m-1") in await standing(one)

    run(story)


def test_a_line_that_a_meter_keeps_for_years_stays_old(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            await look(one, LOOK)
            log(one, fraud=[(LOOK + 60, 46)])
            for days in (1, 300, 402, 800):
                await look(one, LOOK + days * DAY_S)
            assert (await history(one)).count("meter_login_failed") == 1

    run(story)


def test_alarms_of_a_meter_that_hangs_no_more_end(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            await look(one, LOOK)
            log(one, fraud=[(LOOK + 60, 40)])
            one.meters["m-1"].clock.error_s = 3_600
            await look(one, LOOK + PERIOD_S)
            await one.clock_keeping.tick()
            assert await standing(one) == {("terminal_cover_open", "m-1"), ("meter_clock_wrong", "m-1")}
            stays = tuple(stay for stay in one.registry.installations if stay.meter != ONE)
            registry = replace(one.registry, version=one.registry.version + 1, installations=stays)
            await one.store.registries.put(registry_to_document(registry), one.clock.now())
            await look(one, LOOK + 2 * PERIOD_S)
            await one.clock_keeping.tick()
            assert await standing(one) == set()

    run(story)


def event(kind: MeterEventKind, at: int) -> MeterEvent:
    return MeterEvent("switch", at, 1, kind)


@pytest.mark.parametrize(
    ("kind", "action", "sent_at", "explained"),
    [
        (MeterEventKind.RELAY_OPENED, Movement.CUT, BORN - 10, True),
        (MeterEventKind.RELAY_OPENED, Movement.CUT, BORN + 200, True),
        (MeterEventKind.RELAY_OPENED, Movement.CUT, BORN - 3_700, False),
        (MeterEventKind.RELAY_OPENED, Movement.CUT, BORN + 400, False),
        (MeterEventKind.RELAY_OPENED, Movement.CUT, None, False),
        (MeterEventKind.RELAY_OPENED, Movement.RESTORE, BORN - 10, False),
        (MeterEventKind.RELAY_CLOSED, Movement.RESTORE, BORN - 10, True),
        (MeterEventKind.RELAY_CLOSED, Movement.RESTORE, BORN - 50_000, True),
        (MeterEventKind.RELAY_CLOSED, Movement.CUT, BORN - 10, False),
        (MeterEventKind.RELAY_READY, Movement.RESTORE, BORN - 10, True),
        (MeterEventKind.POWER_DOWN, Movement.CUT, None, True),
    ],
)
def test_a_move_is_explained_by_a_command_of_its_time(
    kind: MeterEventKind, action: Movement, sent_at: int | None, *, explained: bool
) -> None:
    assert (unexplained_move([event(kind, BORN)], [moved(action, sent_at)]) is None) == explained


def test_what_begins_and_ends_in_one_read_is_told_in_order() -> None:
    opened, closed = MeterEventKind.METER_COVER_OPENED, MeterEventKind.METER_COVER_CLOSED
    changes = conditions([event(opened, BORN), event(closed, BORN + 5), event(opened, BORN + 9)])
    assert [change.text is not None for change in changes] == [True, False, True]
