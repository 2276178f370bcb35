"""Values of one answer against each other: what does not fit is marked and counted, and books what it books."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.metering.plausibility import clock_is_off, implausible_energies, implausible_values
from edge_node.metering.polling import PollTarget, plan_of
from edge_node.metering.rounds import Answer
from gridmodel.event import AlarmKind
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel, IntervalReading, Mark, Quality
from gridmodel.vee import VeeRules
from protocols.profile import ProfileFault, load_profile, parse_profile
from simulate.loop import run_virtual
from tests.edge_node.metering.small_grid import MIDNIGHT, PROFILES, QUARTER, grid, link, office, placed
from tests.protocols.test_profiles import GOOD

RULES = VeeRules(interval_minutes=15, power_w_max=40_000, register_wh_wrap=None)
DIRECT = Multiplier()
SOUND = {"voltage_l1_mv": 231_000, "current_l1_ma": 10_000, "power_w": 2_250}


@pytest.mark.parametrize(
    ("changed", "marks"),
    [
        pytest.param({}, set(), id="sound"),
        pytest.param({"voltage_l1_mv": None, "current_l1_ma": None}, set(), id="what is absent says nothing"),
        pytest.param({"power_w": -2_250}, set(), id="feeding in"),
        pytest.param({"voltage_l1_mv": 0, "power_w": 0}, {Mark.VOLTAGE}, id="a phase is lost"),
        pytest.param({"voltage_l2_mv": 400_000}, {Mark.VOLTAGE}, id="the neutral is lost"),
        pytest.param({"power_w": 22_500}, {Mark.POWER}, id="a scaler is ten times wrong"),
        pytest.param({"power_w": 41_000, "current_l1_ma": None}, {Mark.POWER}, id="more than the meter carries"),
        pytest.param({"power_w": 480, "current_l1_ma": 1_000}, set(), id="rounded currents of small loads"),
    ],
)
def test_instantaneous_values(changed: Mapping[str, int | None], marks: set[Mark]) -> None:
    assert set(implausible_values({**SOUND, **changed}, DIRECT, RULES)) == marks


def test_primary_power_is_held_against_the_primary_limit() -> None:
    assert list(implausible_values({"power_w": 2_000}, Multiplier(40), RULES)) == [Mark.POWER]


def booked(**energies: int) -> dict[Channel, tuple[IntervalReading, ...]]:
    return {
        channel: (IntervalReading("p", channel, 900, wh, Quality.ACTUAL, None),)
        for channel, wh in ((Channel[name.upper()], wh) for name, wh in energies.items())
    }


@pytest.mark.parametrize(
    ("energies", "marks"),
    [
        pytest.param({"import": 1_000, "t1": 600, "t2": 400}, [], id="tariffs add up"),
        pytest.param({"import": 1_000, "t1": 600, "t2": 301}, [], id="within the steps of the registers"),
        pytest.param({"import": 1_000, "t1": 600, "t2": 299}, [Mark.SUM_CHECK], id="they do not"),
        pytest.param({"import": 1_000, "t1": 600}, [], id="one tariff alone is no sum"),
        pytest.param({"t1": 600, "t2": 400}, [], id="no total"),
        pytest.param({"import": 1_000, "reactive_import": 4_900}, [], id="a poor power factor"),
        pytest.param({"import": 1_000, "reactive_import": 5_100}, [Mark.REACTIVE_CHECK], id="an impossible one"),
        pytest.param({"import": 0, "reactive_export": 400}, [], id="a capacitor alone"),
    ],
)
def test_channels_against_each_other(energies: Mapping[str, int], marks: list[Mark]) -> None:
    assert list(implausible_energies(booked(**energies), RULES)) == marks


def test_channels_that_counted_over_other_times_are_not_compared() -> None:
    found = booked(**{"import": 1_000, "t1": 600})
    found[Channel.T2] = (IntervalReading("p", Channel.T2, 1_800, 9_000, Quality.ACTUAL, None),)
    assert list(implausible_energies(found, RULES)) == []


@given(st.integers(-10_000, 10_000), st.integers(0, 60))
def test_a_clock_is_off_beyond_the_tolerance_on_either_side(off_s: int, call_s: int) -> None:
    assert clock_is_off(50_000 + off_s, 50_000, 50_000 + call_s, RULES) == (off_s < -180 or off_s > call_s + 180)
    assert not clock_is_off(None, 50_000, 50_000, RULES)


def test_a_profile_names_its_own_thresholds() -> None:
    table = "[vee]\nstuck_days = 3\ndecrease_wh_max = 16\nvoltage_mv_min = 40_000\n"
    profile = parse_profile("x", GOOD.replace("[modbus]\n", table + "[modbus]\n", 1))
    registry = grid([link("up-1", "t-1")], [placed("m-1", "up-1", multiplier=Multiplier(40))], profile="x")
    _, plan = plan_of(registry, MIDNIGHT, {"x": profile})
    rules = plan.targets[0].rules
    assert (rules.stuck_days, rules.decrease_wh_max, rules.voltage_mv_min) == (3, 16 * 40, 40_000)
    assert rules.sum_wh_max == 100 * 40
    assert rules.resolution.at(1) == 10 * 40
    assert load_profile("sdm630").vee.stuck_days == 14
    with pytest.raises(ProfileFault, match=r"vee\.stuck_day"):
        parse_profile("x", GOOD.replace("[modbus]\n", "[vee]\nstuck_day = 3\n[modbus]\n", 1))


def test_marks_are_counted_by_day(tmp_path: Path) -> None:
    registry = grid([link("up-1", "t-1")], [placed("m-1", "up-1")])

    async def story() -> None:
        async with office(tmp_path) as one:
            poll: PollTarget = plan_of(registry, MIDNIGHT + QUARTER, PROFILES)[1].targets[0]
            for number, (wh, measurements) in enumerate(
                [(1_000, SOUND), (1_100, SOUND | {"voltage_l1_mv": 0}), (900_000, SOUND), (None, SOUND), (1_300, SOUND)]
            ):
                at = MIDNIGHT + number * QUARTER
                registers = {Channel.IMPORT: wh}
                await one.rounds.add(
                    Answer(poll, at, at + 60, registers, None, None, measurements, at + 1_000, at + 61)
                )
                await one.rounds.flush()
            counts = await one.readings.rule_counts.of_day("2026-05-05")
            assert counts == {
                "clock": 4,
                "estimated_interpolation": 3,
                "gap": 1,
                "null": 1,
                "power": 1,
                "spike": 1,
                "voltage": 1,
            }
            assert (await one.booked())["up-1", int(Channel.IMPORT)].keys() == {
                MIDNIGHT + n * QUARTER for n in range(1, 5)
            }
            assert (await one.readings.rule_counts.of_day("2026-05-04"))["clock"] == 1, "midnight is the day before"
            assert await one.alarms.count(AlarmKind.REGISTER_SPIKE) == 0, "cleared by the last read"

    run_virtual(story())
