"""Field works at the desk: recorded with the link lost, in force at once, booked to the watt-hour, refused by name."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_node.metering.field_desk import AGE_S_MAX, FieldDesk
from edge_node.metering.field_drafts import Draft
from edge_node.metering.late_exchanges import LateExchanges
from edge_node.store.field_works import FieldWorks, held_registry
from gridmodel.event import AlarmKind
from gridmodel.fault import Fault
from gridmodel.field_merge import WorkState
from gridmodel.field_work import FieldWorkFault, Photo, WorkKind
from gridmodel.identity import MeterId, PersonId
from gridmodel.network import Meter
from gridmodel.period import HOUR_S
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel, Quality
from gridmodel.registry import Registry
from hosting.database import Connection
from protocols.sync import wire
from protocols.sync.field_works import FIELD_WORK, work_from_body
from protocols.sync.lanes import RECORD_LIMITS
from simulate.crash import SimulatedCrash
from simulate.loop import run_virtual
from tests.edge_node.metering.small_grid import PROFILES, QUARTER, ROW_KEY, Office, grid, link, office, placed
from tests.edge_node.metering.test_close_crashes import CrashAt
from tests.edge_node.metering.test_exchanges import (
    BEGUN_WH,
    DAY_END,
    FINAL_WH,
    IMPORT,
    NEW_WH,
    NOON,
    OLD_WH,
    SWAP,
    exchanged,
    play,
)

PHOTO = Photo("ab" * 32, 2_000_000)
NEW = Meter(MeterId("m-new"), "serial-m-new", "sdm630", "10.0.0.9:502", 1)
TOTAL_WH = 48 * OLD_WH + 70 + 90 + 47 * NEW_WH


def before() -> Registry:
    """m-old at up-1, m-2 at up-2, nothing at up-3."""
    links = [link(f"up-{n}", "t-1") for n in (1, 2, 3)]
    return grid(links, [placed("m-old", "up-1"), placed("m-2", "up-2")])


def desk_of(one: Office) -> FieldDesk:
    return FieldDesk(
        works=FieldWorks(one.control, ROW_KEY),
        registries=one.registries,
        readings=one.readings,
        alarms=one.alarms,
        drivers={"modbus": one.meters},
        profiles=PROFILES,
        clock=one.clock,
        wakeups=one.wakeups,
    )


def draft(kind: WorkKind = WorkKind.EXCHANGED, **changes: Any) -> Draft:
    exchange = Draft(
        id="work-1",
        kind=kind,
        at=SWAP,
        by=PersonId("p-fitter"),
        point="up-1",
        new=NEW,
        final_wh={Channel.IMPORT: FINAL_WH},
        start_wh={Channel.IMPORT: BEGUN_WH},
        seals=("A-100", "A-101"),
        photo=PHOTO,
    )
    return replace(exchange, **changes)


def installed(**changes: Any) -> Draft:
    return draft(WorkKind.INSTALLED, **{"id": "work-2", "point": "up-3", "final_wh": {}, **changes})


async def total_wh(one: Office) -> int:
    booked = (await one.booked())["up-1", IMPORT]
    return sum(wh for end, (wh, _) in booked.items() if end <= DAY_END)


def test_an_exchange_recorded_at_the_office_is_booked_as_one_from_the_hub(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            await one.take(before())
            await one.live(NOON + 600)
            recorded = await desk_of(one).record(draft())
            assert recorded.new
            assert one.registries.current().topology(NOON + QUARTER).installation_at["up-1"].meter == "m-new"
            await one.live(DAY_END + 2 * HOUR_S)
            booked = (await one.booked())["up-1", IMPORT]
            assert booked[NOON + QUARTER] == (70 + 90, Quality.ACTUAL)
            assert await total_wh(one) == TOTAL_WH
            ((name, body),) = await one.records(FIELD_WORK)
            assert (name, work_from_body(wire.unpack(body, RECORD_LIMITS))) == ("work-1", recorded.work)

    run_virtual(story())


def test_papers_of_the_evening_and_a_version_with_the_work_in_it_book_nothing_twice(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            await one.take(before())
            await one.live(NOON + 200)
            one.meters.silent = {"m-old"}  # it hangs no more
            await one.live(NOON + 4 * HOUR_S + 600)
            await desk_of(one).record(draft())
            await one.live(NOON + 6 * HOUR_S)
            late = LateExchanges(
                readings=one.readings,
                hours=one.hours,
                registries=one.registries,
                profiles=PROFILES,
                clock=one.clock,
                wakeups=one.wakeups,
            )
            await late.tick(one.clock.now())
            told = one.registries.current()
            await one.take(replace(told, version=2))
            assert {outcome.state for outcome in one.registries.outcomes.values()} == {WorkState.INCLUDED}
            assert one.registries.current().installations == told.installations
            assert await late.tick(one.clock.now()) == 0
            await one.live(DAY_END + 2 * HOUR_S)
            assert await total_wh(one) == TOTAL_WH

    run_virtual(story())


def test_a_meter_is_proven_by_reading_it_and_by_nothing_else(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            desk = desk_of(one)
            await one.take(before())
            await one.live(NOON + 600)
            await desk.record(draft())
            assert unproven(one) == ["m-new"]
            for serial, silent, code in (("77", False, "TQ-FW-18"), (" ", False, "TQ-FW-26"), ("", True, "TQ-XX-01")):
                one.meters.serials["m-new"] = serial
                one.meters.silent = {"m-new"} if silent else set()
                assert await refusal(desk.commission(MeterId("m-new"), PersonId("p-fitter"), "work-9")) == code
            assert unproven(one) == ["m-new"]
            one.meters.silent, one.meters.serials = set(), {"m-new": "serial-m-new "}
            proven = await desk.commission(MeterId("m-new"), PersonId("p-fitter"), "work-9")
            assert proven.new
            assert proven.work.proof is not None
            assert proven.work.proof.serial == "serial-m-new"
            assert unproven(one) == []
            assert not (await desk.commission(MeterId("m-new"), PersonId("p-fitter"), "work-9")).new
            assert await refusal(desk.commission(MeterId("m-9"), PersonId("p-fitter"), "work-10")) == "TQ-FW-12"

    run_virtual(story())


def unproven(one: Office) -> list[str]:
    return [placed.meter for placed in one.registries.current().installations if placed.unproven]


async def refusal(asked: Any) -> str:
    with pytest.raises(Fault) as caught:
        await asked
    return caught.value.code


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (lambda: draft(at=NOON + 3_600), "TQ-FW-20"),
        (lambda: draft(at=NOON - AGE_S_MAX), "TQ-FW-21"),
        (lambda: draft(new=replace(NEW, profile="none_such")), "TQ-FW-22"),
        (lambda: draft(final_wh={Channel.IMPORT: FINAL_WH - 2_000}), "TQ-FW-23"),
        (lambda: draft(final_wh={Channel.IMPORT: FINAL_WH * 10}), "TQ-FW-24"),
        (lambda: draft(final_wh={}), "TQ-FW-04"),
        (lambda: draft(photo=None), "TQ-FW-04"),
        (lambda: draft(seals=()), "TQ-FW-03"),
        (lambda: draft(final_wh={Channel.EXPORT: 5}), "TQ-FW-17"),
        (lambda: draft(start_wh={}), "TQ-FW-02"),
        (lambda: draft(point="up-9"), "TQ-FW-12"),
        (lambda: draft(old=MeterId("m-2")), "TQ-FW-12"),
        (lambda: draft(new=replace(NEW, id=MeterId("m-2"), serial="serial-m-2")), "TQ-FW-14"),
        (lambda: draft(new=replace(NEW, id=MeterId("m-old"))), "TQ-FW-01"),
        (lambda: draft(new=replace(NEW, serial=" ")), "TQ-FW-05"),
        (lambda: draft(new=replace(NEW, serial="serial-m-2")), "TQ-FW-15"),
        (lambda: installed(point="up-2"), "TQ-FW-13"),
        (lambda: installed(point="up-of-another-node"), "TQ-FW-11"),
        (lambda: installed(new=None), "TQ-FW-01"),
        (lambda: draft(WorkKind.MOVED, new=None, to_point="up-2"), "TQ-FW-13"),
        (lambda: draft(id="two words"), "TQ-ID-01"),
    ],
)
def test_a_work_that_cannot_be_is_named_and_nothing_is_recorded(
    tmp_path: Path, given: Callable[[], Draft], code: str
) -> None:
    async def story() -> None:
        async with office(tmp_path, now=NOON - 2 * HOUR_S) as one:
            play(one)
            await one.take(before())
            await one.live(NOON + 600)
            assert await refusal(desk_of(one).record(given())) == code
            assert not await one.records(FIELD_WORK)
            assert one.registries.current().works == 0

    run_virtual(story())


def test_the_same_work_twice_is_one_and_another_under_its_name_is_none(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path, now=NOON) as one:
            desk = desk_of(one)
            await one.take(before())
            await one.clock.sleep_until(NOON + 600)
            assert (await desk.record(draft())).new
            assert not (await desk.record(draft())).new
            assert await refusal(desk.record(draft(start_wh={Channel.IMPORT: 8}))) == "TQ-FW-10"
            assert await refusal(desk.record(draft(id="work-7", old=MeterId("m-old")))) == "TQ-FW-29"
            other = draft(id="work-7", old=MeterId("m-old"), new=replace(NEW, id=MeterId("m-3"), serial="3"))
            assert await refusal(desk.record(other)) == "TQ-FW-13", "m-new stands there"
            assert len(await one.records(FIELD_WORK)) == 1

    run_virtual(story())


def test_install_move_and_remove_in_the_order_of_their_times(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path, now=NOON) as one:
            desk = desk_of(one)
            await one.take(before())
            await one.clock.sleep_until(NOON + 2_000)
            await desk.record(installed(multiplier=Multiplier(40)))
            leave = draft(WorkKind.REMOVED, id="work-3", point="up-2", at=NOON + 900, final_wh={Channel.IMPORT: 9})
            await desk.record(replace(leave, seals=(), new=None))
            move = draft(WorkKind.MOVED, id="work-4", point="up-3", to_point="up-2", at=NOON + 1_000)
            await desk.record(replace(move, new=None, start_wh={}, final_wh={Channel.IMPORT: 20_000}))
            stays = {(str(stay.meter), stay.point): stay for stay in one.registries.current().installations}
            assert stays["m-2", "up-2"].final_registers_wh == (9,)
            assert (stays["m-new", "up-3"].valid_to, stays["m-new", "up-3"].multiplier) == (
                NOON + 1_000,
                Multiplier(40),
            )
            assert stays["m-new", "up-2"].start_registers_wh == (20_000,)
            early = installed(id="work-5", at=NOON + 500, new=replace(NEW, id=MeterId("m-3"), serial="3"), point="up-2")
            assert await refusal(desk.record(early)) == "TQ-FW-13"

    run_virtual(story())


def test_alarms_of_a_meter_that_hangs_no_more_are_cleared_with_its_exchange(tmp_path: Path) -> None:
    """The fitter was there at noon, the paper came at two: till then another serial number answered there."""

    async def story() -> None:
        async with office(tmp_path, now=NOON - HOUR_S) as one:
            play(one)
            await one.take(before())
            await one.live(NOON + 200)
            one.meters.serials["m-old"] = "serial-m-new"
            await one.live(NOON + 2 * HOUR_S)
            assert await one.alarms.subjects(AlarmKind.WRONG_METER) == {"m-old"}
            await desk_of(one).record(draft(new=replace(NEW, address="10.0.0.2:502")))
            await one.live(NOON + 3 * HOUR_S)
            assert await one.alarms.subjects(AlarmKind.WRONG_METER) == frozenset()
            one.meters.serials["m-new"] = "another"
            await one.live(NOON + 4 * HOUR_S)
            assert await one.alarms.subjects(AlarmKind.WRONG_METER) == {"m-new"}

    run_virtual(story())


def test_two_desks_do_not_exchange_one_meter_twice(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path, now=NOON) as one:
            await one.take(before())
            await one.clock.sleep_until(NOON + 600)
            desks = [desk_of(one), desk_of(one)]
            other = draft(id="work-2", new=replace(NEW, id=MeterId("m-3"), serial="3"))
            told = await asyncio.gather(desks[0].record(draft()), desks[1].record(other), return_exceptions=True)
            faults = [each for each in told if isinstance(each, FieldWorkFault)]
            assert [fault.code for fault in faults] == ["TQ-FW-13"]
            assert len(await one.records(FIELD_WORK)) == 1

    run_virtual(story())


def test_a_work_that_a_later_version_contradicts_is_an_alarm_until_one_fits_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path, now=NOON) as one:
            desk = desk_of(one)
            await one.take(before())
            await one.clock.sleep_until(NOON + 600)
            await desk.record(draft())
            assert await desk.look(one.clock.now()) == 0
            other = grid([link("up-1", "t-1")], [placed("m-other", "up-1")], version=2)
            await one.take(other)
            assert one.registries.current() == other
            assert await desk.look(one.clock.now()) == 1
            assert await one.alarms.subjects(AlarmKind.FIELD_WORK_REFUSED) == {"work-1"}
            await one.take(replace(exchanged(version=3)))
            assert await desk.look(one.clock.now()) == 0
            assert not await one.alarms.subjects(AlarmKind.FIELD_WORK_REFUSED)

    run_virtual(story())


def test_a_damaged_work_counts_for_nothing_and_is_told(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path, now=NOON) as one:
            await one.take(before())
            await one.clock.sleep_until(NOON + 600)
            await desk_of(one).record(draft())
            await one.control.write(lambda conn: conn.execute("UPDATE field_work SET at = at + 1"))
        async with office(tmp_path, now=NOON) as one:
            assert one.registries.current().installations == before().installations
            assert await FieldWorks(one.control, ROW_KEY).verify() == ("work-1",)
            held = await one.control.read(held_registry)
            assert held != (one.registries.current().version, one.registries.current().works), "nobody is cut on it"

    run_virtual(story())


@pytest.mark.parametrize("before_commit", [True, False])
def test_a_crash_leaves_the_work_with_its_record_or_neither(tmp_path: Path, before_commit: bool) -> None:
    async def story() -> None:
        hooks = CrashAt("none yet", 1, before=before_commit)
        with pytest.raises(SimulatedCrash):
            async with office(tmp_path, now=NOON, hooks=hooks) as one:
                await one.take(before())
                await one.clock.sleep_until(NOON + 600)
                hooks.name = "control"
                await desk_of(one).record(draft())
        async with office(tmp_path, now=NOON + 700) as one:
            count = await one.control.read(_works)
            assert count == len(await one.records(FIELD_WORK)) == (0 if before_commit else 1)
            assert (await desk_of(one).record(draft())).new is before_commit
            assert len(await one.records(FIELD_WORK)) == 1
            assert one.registries.current().topology(NOON + QUARTER).installation_at["up-1"].meter == "m-new"

    run_virtual(story())


async def _works(conn: Connection) -> int:
    return (await held_registry(conn))[1]
