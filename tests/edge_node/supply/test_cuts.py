"""Cuts: brakes, delay, stops, and what a restart does with an intent."""

import asyncio
from pathlib import Path

import pytest

from edge_node.store.operations import Movement, Outcome
from edge_node.supply.door import cut_delay_s
from gridmodel.control import RelayState
from gridmodel.event import AlarmKind
from tests.edge_node.supply.network import meter_id, point_id, registry
from tests.edge_node.supply.office import Office, alarms, opened, rules, told
from tests.edge_node.supply.ports import HandClock, Meters


def test_a_cut_that_never_arrived_is_not_told_twice(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick()
        office.meters.silent.add(meter_id(3))
        await office.tick()
        assert (await office.row(3)).state is RelayState.CUT_UNCONFIRMED
        for _ in range(10):
            office.clock.at += 120
            await office.tick()
        office.meters.silent.clear()
        office.clock.at += 300
        await office.tick()
        assert (await office.row(3)).state is RelayState.CONNECTED
        assert [one.outcome for one in await office.operations(3)] == [Outcome.FAILED]
        assert office.meters.moved == []

    told(tmp_path, story)


def test_a_cut_that_came_to_nothing_waits_its_pause_however_unsure_the_present_is(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        assert (await office.tick()).planned == 1
        office.clock.at += 7_200
        office.clock.unsure_s = 3_600  # a wall that differs from the steady clock by an hour
        office.enforcement.room.patience.failed(point_id(3), Movement.CUT, office.clock.now())
        assert (await office.tick()).cuts == 0
        office.clock.at += 120
        assert (await office.tick()).cuts == 1

    told(tmp_path, story)


def test_nobody_is_cut_twice_a_day_and_brakes_count_over_a_restart(tmp_path: Path) -> None:
    async def whole() -> None:
        clock = HandClock()
        meters = Meters(clock)
        async with opened(tmp_path, clock=clock, meters=meters) as office:
            await office.permissions()
            await office.see_all()
            for number in range(20):
                await office.debtor(number)
            for _ in range(10):
                await office.tick()
                clock.at += 60
            first = len(meters.moved)
        async with opened(tmp_path, clock=clock, meters=meters) as office:
            for _ in range(10):
                await office.tick()
                clock.at += 60
            assert len(meters.moved) == first == 5, "25 % of 20 points a day"
            assert len({one[1] for one in meters.moved}) == 5

    asyncio.run(whole())


def test_58217_debtors_at_once_are_a_handful_of_cuts(tmp_path: Path) -> None:
    """The mass cut of 2020-09-16 in small: everybody is a debtor in every respect, the brakes alone hold."""

    async def story(office: Office) -> None:
        for number in range(300):
            await office.debtor(number)
        for _ in range(60):
            await office.tick()
            office.clock.at += 120
        times = sorted(one[0] for one in office.meters.moved)
        assert 1 <= len(times) <= 1, "0.1 % of 300 points a day, rounded up"

    told(
        tmp_path,
        story,
        network=registry(300),
        policy=rules(max_cuts_per_node_day_pct=0.1, max_cuts_per_transformer_day_pct=5),
    )


def test_ten_minutes_and_transformer_hours_slide(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        for number in range(40):
            await office.debtor(number)
        for _ in range(110):
            await office.tick()
            office.clock.at += 60
        opened_at = sorted((at, int(meter[2:]) % 2) for at, meter, closed, _ in office.meters.moved if not closed)
        assert len(opened_at) > 3
        for at, transformer in opened_at:
            assert sum(at - 590 < other <= at for other, _ in opened_at) <= 2
            assert sum(at - 3590 < other <= at and which == transformer for other, which in opened_at) <= 3

    policy = rules(max_cuts_per_node_10min=2, max_cuts_per_node_day_pct=100, max_cuts_per_transformer_day_pct=100)
    told(tmp_path, story, network=registry(40), policy=policy)


def test_the_delay_comes_from_the_plan_and_is_judged_again(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick()
        plan = await office.control.read(lambda conn: office.sources.operations.plan(conn, point_id(3)))
        assert plan is not None
        assert plan.not_before == plan.planned_at + cut_delay_s(f"{point_id(3)}:{plan.planned_at}", 30)
        assert plan.not_before - plan.planned_at > 10
        await office.tick()
        assert office.meters.moved == []
        office.clock.at = plan.not_before + 3
        await office.sources.records.put_stop("stop-1", "dispatcher", "a rumour", office.clock.at)
        await office.tick()
        assert office.meters.moved == []
        assert (await office.operations(3)) == []

    told(tmp_path, story, policy=rules(cut_delay_max_min=30))
    assert {cut_delay_s(str(n), 30) for n in range(2000)} <= set(range(1801))
    assert len({cut_delay_s(str(n), 30) // 60 for n in range(2000)}) >= 30


@pytest.mark.parametrize("cuts", [1, 3])
def test_cuts_stopped_by_one_person_stay_stopped_and_restores_go_on(tmp_path: Path, cuts: int) -> None:
    async def story(office: Office) -> None:
        for number in range(cuts):
            await office.debtor(number)
        await office.tick_twice()
        await office.tick()
        done = len(office.meters.moved)
        assert done >= 1
        await office.debtor(10)
        await office.sources.records.put_stop("stop-1", "dispatcher", "a rumour", office.clock.at)
        for number in range(cuts):
            await office.pay(number)
        for _ in range(5):
            office.clock.at += 60
            await office.tick()
        assert sum(one[2] for one in office.meters.moved) == done
        assert (await office.row(10)).state is RelayState.CONNECTED
        assert (AlarmKind.CUTS_STOPPED.value, "node-a") in await alarms(office)
        assert await office.sources.records.put_lift("chief", office.clock.at) == 1
        assert await alarms(office) == set()

    told(tmp_path, story)


def test_a_restart_withholds_intents_whose_command_never_left(tmp_path: Path) -> None:
    async def whole() -> None:
        clock = HandClock()
        meters = Meters(clock)
        async with opened(tmp_path, clock=clock, meters=meters) as office:
            await office.permissions()
            await office.see_all()
            await office.debtor(3)
            await office.tick()
            places = office.enforcement.places()
            assert places is not None
            clock.at += 5
            place = places.at(point_id(3), clock.at)
            assert place is not None
            await office.enforcement.door.intend_cut(place)
            assert (await office.row(3)).state is RelayState.CUT_INTENDED
        async with opened(tmp_path, clock=clock, meters=meters) as office:
            assert (await office.tick()).withheld == 1
            row = await office.row(3)
            assert (row.state, row.cause) == (RelayState.CONNECTED, None)
            assert (await office.operations(3))[0].outcome is Outcome.WITHHELD
            assert meters.moved == []

    asyncio.run(whole())


def test_a_cut_is_never_told_before_it_is_durable_as_sent(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        seen: list[object] = []

        def look(meter: object, command: object) -> None:
            seen.append(office)

        office.meters.before_command = look
        await office.debtor(3)
        await office.tick_twice()
        cut = (await office.operations(3))[0]
        assert seen
        assert cut.sent_at is not None
        assert cut.intent_at <= cut.sent_at
        assert cut.action is Movement.CUT

    told(tmp_path, story)
