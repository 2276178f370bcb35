"""The collector against meters that are slow, silent, hung or behind one gateway, on virtual time."""

from pathlib import Path

import pytest

from edge_node.metering.collector import READ_S_MAX, RESTLESS_MAX, SILENT_POLLS
from edge_node.metering.polling import (
    RETRIES_MAX,
    RETRY_DELAY_S,
    SPREAD_S,
    offset_s,
    plan_of,
    retry_delay_s,
)
from edge_node.store.absences import Absences
from gridmodel.absence import Absence
from gridmodel.clock import ClockTrust
from gridmodel.event import AlarmKind
from gridmodel.identity import MeterId
from gridmodel.period import HOUR_S
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel, Quality
from protocols.dlms.faults import DlmsFault
from protocols.errors import Blame, Hope
from simulate.loop import run_virtual
from tests.edge_node.metering.small_grid import (
    MIDNIGHT,
    PROFILES,
    QUARTER,
    Office,
    at_version,
    grid,
    link,
    office,
    placed,
)

POINTS = [f"up-{n}" for n in range(1, 7)]
LINKS = [link(point, "t-1") for point in POINTS]
PLACED = [placed(f"m-{n}", f"up-{n}") for n in range(1, 7)]
APART = grid(LINKS, PLACED)
ONE_GATEWAY = grid(LINKS, PLACED, address=lambda _: "10.0.0.9:502")


def test_it_is_at_rest_between_intervals_and_after_some_busy_ones_all_the_same(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            for n in range(1, 7):
                one.meters.steady(f"m-{n}")
            await one.take(ONE_GATEWAY)
            await one.live(MIDNIGHT + 3 * QUARTER + 1)
            assert one.rests == [MIDNIGHT + n * QUARTER for n in (1, 2, 3)]
            one.rests.clear()
            one.meters.latency_s = 500  # the gateway never comes to an end
            await one.live(MIDNIGHT + (RESTLESS_MAX + 6) * QUARTER)
            assert len(one.rests) == 1

    run_virtual(story())


def test_places_within_the_spread_are_stable_and_spread() -> None:
    places = [offset_s(f"m-{n}", SPREAD_S) for n in range(2_000)]
    assert places == [offset_s(f"m-{n}", SPREAD_S) for n in range(2_000)]
    assert min(places) == 0
    assert max(places) == SPREAD_S
    assert max(places.count(one) for one in set(places)) < 60
    assert offset_s("m-1", 0) == 0


def test_tries_are_bounded_and_end_within_the_shortest_interval() -> None:
    delays = [retry_delay_s(tries) for tries in range(1, RETRIES_MAX + 2)]
    assert delays == [RETRY_DELAY_S, 2 * RETRY_DELAY_S, 4 * RETRY_DELAY_S, None]
    assert SPREAD_S + sum(one for one in delays if one) < QUARTER


def test_a_plan_knows_channels_limits_and_who_cannot_be_read() -> None:
    registry = grid(LINKS, [placed("m-1", "up-1", multiplier=Multiplier(40)), *PLACED[1:]])
    _, plan = plan_of(registry, MIDNIGHT, PROFILES)
    first = next(one for one in plan.targets if one.target.meter == "m-1")
    assert first.rules.power_w_max == 40 * PROFILES["sdm630"].power_w_max
    assert (first.of_usage_point, first.rebased_at) == (True, None)
    assert [one.offset_s for one in plan.targets] == sorted(one.offset_s for one in plan.targets)
    _, nothing = plan_of(grid(LINKS, PLACED, profile="sdm631"), MIDNIGHT, PROFILES)
    assert nothing.targets == ()
    assert "sdm631" in nothing.unreadable[0][1]


@pytest.mark.parametrize("latency_s", [0.2, 3.0])
def test_every_meter_is_read_once_per_interval_and_one_gateway_is_asked_one_at_a_time(
    tmp_path: Path, latency_s: float
) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            for n in range(1, 7):
                one.meters.steady(f"m-{n}", wh=n)
            one.meters.latency_s = latency_s
            await one.take(ONE_GATEWAY)
            await one.live(MIDNIGHT + 4 * QUARTER - 1)
            for reads in one.meters.reads.values():
                assert [at // QUARTER for at in reads] == [MIDNIGHT // QUARTER + k for k in range(4)]
            assert one.meters.most_at_once == 1
            assert all(len(line) == 3 for line in (await one.booked()).values())

    run_virtual(story())


def test_a_failed_read_is_tried_again_within_its_interval(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            one.meters.steady("m-1")
            one.meters.silent = {"m-1"}
            await one.take(grid(LINKS, PLACED[:1]))
            await one.live(MIDNIGHT + QUARTER - 1)
            assert len(one.meters.reads["m-1"]) == 1 + RETRIES_MAX
            assert not await one.alarms.standing()
            first = one.meters.reads["m-1"][0]
            assert one.meters.reads["m-1"][-1] - first >= 7 * RETRY_DELAY_S

    run_virtual(story())


def test_a_meter_is_called_silent_after_several_intervals_with_the_reason_and_cleared_by_its_answer(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            for n in range(1, 7):
                one.meters.steady(f"m-{n}")
            one.meters.silent = {"m-2"}
            await one.take(APART)
            await one.live(MIDNIGHT + SILENT_POLLS * QUARTER - 10)
            assert not await one.alarms.standing()
            await one.live(MIDNIGHT + (2 * SILENT_POLLS + 1) * QUARTER)
            standing = await one.alarms.standing()
            assert [(a.kind, a.subject) for a in standing] == [(AlarmKind.METER_SILENT, "m-2")]
            assert "TQ-XX-01: no reply (look at the line)" in standing[0].detail
        async with office(tmp_path, now=MIDNIGHT + 3 * HOUR_S) as one:
            for n in range(1, 7):
                one.meters.steady(f"m-{n}")
            await one.live(MIDNIGHT + 3 * HOUR_S + QUARTER)
            assert not await one.alarms.standing(), "known to stand after a restart, and cleared"

    run_virtual(story())


def test_an_unreadable_meter_is_told_and_the_others_are_polled(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            await one.take(grid(LINKS, PLACED[:1], profile="dlms_of_tomorrow"))
            await one.live(MIDNIGHT + QUARTER)
            assert [(a.kind, a.subject) for a in await one.alarms.standing()] == [(AlarmKind.METER_SILENT, "m-1")]

    run_virtual(story())


def test_a_hung_driver_holds_up_its_own_address_only_and_not_for_ever(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            for n in range(1, 7):
                one.meters.steady(f"m-{n}")
            one.meters.hung = {"m-3"}
            await one.take(APART)
            await one.live(MIDNIGHT + QUARTER + SPREAD_S + 200)
            tries = one.meters.reads["m-3"]
            assert tries[1] - tries[0] >= READ_S_MAX
            assert {point for point, _ in await one.booked()} == set(POINTS) - {"up-3"}

    run_virtual(story())


def test_a_read_over_an_intervals_end_stands_for_neither(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path, now=MIDNIGHT + QUARTER - 30) as one:
            one.meters.steady("m-1", wh=100)
            one.meters.latency_s = 40.0
            await one.take(grid(LINKS, PLACED[:1]))
            await one.live(MIDNIGHT + 3 * QUARTER)
            line = (await one.booked())["up-1", Channel.IMPORT]
            assert line == {MIDNIGHT + 2 * QUARTER: (100, Quality.ACTUAL)}, "the count begins with the next interval"

    run_virtual(story())


def test_a_doubtful_clock_stamps_no_register_and_no_energy_is_lost(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path, now=MIDNIGHT) as one:
            one.meters.steady("m-1", wh=100)
            await one.take(grid(LINKS, PLACED[:1]))
            await one.live(MIDNIGHT + QUARTER + 300)
            one.clock.doubt()
            await one.live(MIDNIGHT + 3 * QUARTER + 300)
            assert (await one.booked())["up-1", Channel.IMPORT] == {MIDNIGHT + QUARTER: (100, Quality.ACTUAL)}
            one.clock.confirm(one.clock.now())
            await one.live(MIDNIGHT + 4 * QUARTER + 300)
            line = (await one.booked())["up-1", Channel.IMPORT]
            assert [line[MIDNIGHT + n * QUARTER] for n in (2, 3)] == [(100, Quality.ESTIMATED)] * 2
            assert line[MIDNIGHT + 4 * QUARTER] == (100, Quality.ACTUAL)

    run_virtual(story())


def test_meters_that_agree_are_believed_where_nobody_else_can_be_asked(tmp_path: Path) -> None:
    """A night without current, and the line is down: the office stamps again when its meters' clocks say the same."""

    async def story() -> None:
        async with office(tmp_path, now=MIDNIGHT) as one:
            for n in range(1, 7):
                one.meters.steady(f"m-{n}", wh=100)
                one.meters.times[f"m-{n}"] = n
            await one.take(APART)
            one.clock.raise_floor(MIDNIGHT - 9 * 3_600)
            assert one.clock.trust() is ClockTrust.DOUBTFUL
            await one.live(MIDNIGHT + 2 * QUARTER)
            assert one.clock.trust() is ClockTrust.TRUSTED
            assert not one.clock.confirmed(), "nobody is cut by what meters say"
            await one.live(MIDNIGHT + 4 * QUARTER)
            assert (await one.booked())["up-1", Channel.IMPORT]

    run_virtual(story())


def test_meters_that_show_another_time_leave_the_doubt(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path, now=MIDNIGHT) as one:
            for n in range(1, 7):
                one.meters.steady(f"m-{n}")
                one.meters.times[f"m-{n}"] = -5 * 3_600
            await one.take(APART)
            one.clock.raise_floor(MIDNIGHT - 9 * 3_600)
            await one.live(MIDNIGHT + 3 * QUARTER)
            assert one.clock.trust() is ClockTrust.DOUBTFUL
            assert await one.booked() == {}

    run_virtual(story())


def test_a_start_in_mid_interval_polls_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path, now=MIDNIGHT + 400) as one:
            for n in range(1, 7):
                one.meters.steady(f"m-{n}")
            await one.take(APART)
            await one.live(MIDNIGHT + 400 + SPREAD_S + 10)
            assert len(one.meters.reads) == 6

    run_virtual(story())


def test_a_line_is_read_as_wide_as_its_driver_says(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            one.meters.lines = {f"10.0.0.{n}:502": ("concentrator", 4) for n in range(1, 200)}
            for n in range(1, 7):
                one.meters.steady(f"m-{n}", wh=n)
            one.meters.latency_s = 200.0
            await one.take(APART)
            await one.live(MIDNIGHT + 2 * QUARTER - 1)
            assert one.meters.most_under_way == 4
            assert all(len(line) == 1 for line in (await one.booked()).values()), "none was refused by its bus"

    run_virtual(story())


async def absent(one: Office) -> dict[str, Absence]:
    return await Absences(one.control).reasons()


def test_every_meter_without_a_fresh_reading_has_a_reason_by_name_until_it_answers(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            for n in range(1, 7):
                one.meters.steady(f"m-{n}")
            one.meters.silent = {"m-2"}
            one.meters.faults = {
                "m-3": DlmsFault("TQ-DM-88", "no connection", "look", blame=Blame.REMOTE, hope=Hope.RETRY),
                "m-4": DlmsFault("TQ-DM-30", "not our keys", "look", blame=Blame.REMOTE, hope=Hope.PERMANENT),
            }
            one.meters.serials = {"m-5": "SOMEBODY-ELSE"}
            one.meters.registers["m-6"] = lambda _: {Channel.IMPORT: None}
            await one.take(APART)
            await one.live(MIDNIGHT + QUARTER + 10)
            assert await absent(one) == {
                "m-2": Absence.NOT_UNDERSTOOD,
                "m-3": Absence.UNREACHABLE,
                "m-4": Absence.SECURITY,
                "m-5": Absence.WRONG_METER,
                "m-6": Absence.NO_VALUE,
            }
            missing = await Absences(one.control).of(MeterId("m-3"))
            assert missing is not None
            assert (missing.since, "TQ-DM-88: no connection (look)" in missing.detail) == (MIDNIGHT, True)
            assert await Absences(one.control).counts() == dict.fromkeys(
                sorted(set((await absent(one)).values()), key=str), 1
            )
            one.meters.silent, one.meters.faults, one.meters.serials = set(), {}, {}
            one.meters.steady("m-6")
            await one.live(MIDNIGHT + QUARTER + SPREAD_S + 200)
            assert await absent(one) == {}, "told within a round of the answer"

    run_virtual(story())


def test_the_reason_of_a_meter_outlives_the_process_and_keeps_its_beginning(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            one.meters.steady("m-1")
            one.meters.silent = {"m-1"}
            await one.take(grid(LINKS, PLACED[:1]))
            await one.live(MIDNIGHT + QUARTER)
        async with office(tmp_path, now=MIDNIGHT + QUARTER + 1) as one:
            one.meters.steady("m-1")
            one.meters.faults = {"m-1": DlmsFault("TQ-DM-81", "mute", "look", blame=Blame.REMOTE, hope=Hope.RETRY)}
            await one.live(MIDNIGHT + 3 * QUARTER)
            missing = await Absences(one.control).of(MeterId("m-1"))
            assert missing is not None
            assert (missing.reason, missing.since) == (Absence.SILENT, MIDNIGHT)

    run_virtual(story())


def test_a_meter_whose_turn_does_not_come_is_told_apart_from_one_that_never_was_asked(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            for n in range(1, 7):
                one.meters.steady(f"m-{n}")
            await one.take(grid(LINKS[:3], PLACED[:3], address=lambda _: "10.0.0.9:502"))
            await one.live(MIDNIGHT + QUARTER - 1)
            one.meters.latency_s = 500.0
            await one.take(at_version(grid(LINKS, PLACED, address=lambda _: "10.0.0.9:502"), 2))
            await one.live(MIDNIGHT + 2 * QUARTER + 10)
            found = await absent(one)
            asked = {meter for meter, reads in one.meters.reads.items() if reads[-1] >= MIDNIGHT + QUARTER}
            assert {found[meter] for meter in {"m-1", "m-2", "m-3"} - asked} <= {Absence.INTERVAL_OVER}
            assert {found[meter] for meter in {"m-4", "m-5", "m-6"} - asked} <= {Absence.NEVER_ASKED}
            assert {Absence.INTERVAL_OVER, Absence.NEVER_ASKED} <= set(found.values())

    run_virtual(story())


def test_a_meter_without_a_profile_and_a_doubtful_clock_are_reasons(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            await one.take(grid(LINKS, PLACED[:1], profile="dlms_of_tomorrow"))
            await one.live(MIDNIGHT + 10)
            assert await absent(one) == {"m-1": Absence.NO_PROFILE}
        async with office(tmp_path / "other") as one:
            one.meters.steady("m-1")
            await one.take(grid(LINKS, PLACED[:1]))
            await one.live(MIDNIGHT + QUARTER)
            one.clock.doubt()
            await one.live(MIDNIGHT + 2 * QUARTER)
            assert await absent(one) == {"m-1": Absence.CLOCK_DOUBTFUL}

    (tmp_path / "other").mkdir()
    run_virtual(story())


def test_nothing_is_missing_of_a_meter_that_is_polled_no_more(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            for n in (1, 2):
                one.meters.steady(f"m-{n}")
            one.meters.silent = {"m-1", "m-2"}
            await one.take(grid(LINKS, PLACED[:2]))
            await one.live(MIDNIGHT + QUARTER)
            assert set(await absent(one)) == {"m-1", "m-2"}
            await one.take(at_version(grid(LINKS, PLACED[1:2]), 2))
            await one.live(MIDNIGHT + 2 * QUARTER)
            assert set(await absent(one)) == {"m-2"}

    run_virtual(story())
