"""Clocks of real DLMS meters: measured each day, moved a little, never over an interval's end, and lies are alarms."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edge_node.metering.clock_steps import (
    END_MARGIN_S,
    SENT_WITHIN_S,
    SHORTEST_INTERVAL_S,
    ClockRules,
    ClockVerdict,
    drift_ppm,
    judge,
    step_s,
)
from edge_node.store.meter_clocks import DAY_S, StepOutcome
from gridmodel.event import AlarmKind
from gridmodel.identity import MeterId
from protocols.driver import ClockReading
from tests.edge_node.metering.dlms_site import BORN, HOME, Site, quarterly, site

RULES = ClockRules()
ONE = MeterId("m-1")
LOOK = BORN + 300


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 60))


@given(st.integers(0, 10**9), st.integers(-400, 400), st.integers(0, 60), st.integers(1, 300))
def test_a_step_leads_towards_the_truth_within_the_days_allowance_and_the_interval(
    now: int, off_s: int, moved_s: int, most_s: int
) -> None:
    rules = replace(RULES, step_s_day_max=most_s)
    shift_s = step_s(now, off_s, rules, moved_s)
    assert abs(shift_s) <= max(0, most_s - moved_s)
    for late_s in range(SENT_WITHIN_S + 1):
        shown = now + off_s + late_s
        assert (shown + shift_s) // SHORTEST_INTERVAL_S == shown // SHORTEST_INTERVAL_S, "no row is twice or left out"
    shown = now + off_s
    if shift_s:
        assert abs(off_s + shift_s) < abs(off_s) <= rules.error_s_max
        assert END_MARGIN_S <= (shown + shift_s) % SHORTEST_INTERVAL_S <= SHORTEST_INTERVAL_S - END_MARGIN_S


@given(st.integers(-400, 400), st.integers(0, 120))
def test_the_way_of_an_answer_is_no_error_of_the_clock(off_s: int, way_s: int) -> None:
    judged = judge(ClockReading(BORN + off_s, BORN, BORN + way_s, doubtful=False), RULES)
    if 0 <= off_s <= way_s:
        assert (judged.verdict, judged.off_s) == (ClockVerdict.RIGHT, 0)
    assert abs(judged.off_s or 0) <= abs(off_s)


def test_drift_is_told_only_over_hours() -> None:
    assert drift_ppm(None, (BORN, 3)) is None
    assert drift_ppm((BORN, 0), (BORN + 3_600, 3)) is None
    assert drift_ppm((BORN, 0), (BORN + DAY_S, 9)) == 104


async def look(one: Site, at: int) -> None:
    one.clock.at = at
    await one.clock_keeping.tick()


async def wrong(one: Site) -> frozenset[str]:
    return await one.store.alarms.subjects(AlarmKind.METER_CLOCK_WRONG)


def test_drift_is_measured_and_taken_back_each_day(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            for meter in one.meters.values():
                meter.clock.be_wrong(LOOK, 0, 150.0)
            await look(one, LOOK)
            seen = await one.store.meter_clocks.seen()
            assert {meter: (clock.off_s, clock.drift_ppm) for meter, clock in seen.items()} == dict.fromkeys(
                one.meters, (0, None)
            )
            for day in range(1, 5):
                await look(one, LOOK + day * (DAY_S + 60))
                for name in ("m-1", "m-t1"):
                    assert abs(one.meters[name].clock.shown(one.clock.now()) - one.clock.now()) <= RULES.tolerance_s
            steps = await one.store.meter_clocks.steps(ONE)
            assert [outcome for _, outcome in steps] == [StepOutcome.DONE] * 4
            drift = (await one.store.meter_clocks.seen())[ONE].drift_ppm
            assert drift is not None
            assert 130 <= drift <= 160, "steps that were taken are no drift"
            assert await wrong(one) == frozenset()

    run(story)


def test_a_larger_error_is_taken_back_over_days(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            one.meters["m-1"].clock.error_s = 100
            errors = []
            for day in range(5):
                await look(one, LOOK + day * (DAY_S + 60))
                await look(one, one.clock.now() + 60)
                errors.append(one.meters["m-1"].clock.shown(one.clock.now()) - one.clock.now())
            assert errors == [70, 40, 10, 0, 0]

    run(story)


def test_a_clock_that_lies_is_an_alarm_and_is_not_touched(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            one.meters["m-1"].clock.error_s = 3_600
            await look(one, LOOK)
            assert await wrong(one) == {"m-1"}
            assert await one.store.meter_clocks.steps(ONE) == []
            assert one.meters["m-1"].clock.error_s == 3_600
            assert await one.store.meter_clocks.counts() == {"looked_at": 3, "wrong": 1}
            one.meters["m-1"].clock.error_s = 0
            await look(one, LOOK + DAY_S)
            assert await wrong(one) == frozenset()

    run(story)


def test_a_crash_between_intent_and_result_moves_no_clock_twice(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            one.meters["m-1"].clock.error_s = 100
            one.clock.at = LOOK
            permitted = await one.clock_door.open(ONE, 100)
            assert permitted is not None
            assert (permitted.step.shift_s, permitted.permit.shift_s_max) == (-30, 30)
        async with site(tmp_path, now=LOOK + 3_600) as again:
            again.meters["m-1"].clock.error_s = 100
            await look(again, LOOK + 3_600)
            assert again.meters["m-1"].clock.error_s == 100, "the day's seconds may have been used"
            assert [outcome for _, outcome in await again.store.meter_clocks.steps(ONE)] == [None]
            await look(again, LOOK + DAY_S + 3_600)
            assert again.meters["m-1"].clock.error_s == 70

    run(story)


def test_no_step_close_to_an_intervals_end(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path) as one:
            one.meters["m-1"].clock.error_s = 200
            await look(one, BORN + 690)  # the meter shows ten seconds before the end
            assert one.meters["m-1"].clock.error_s == 200
            await look(one, BORN + 900 + 690 - 100 + 600)
            assert one.meters["m-1"].clock.error_s == 170

    run(story)


def test_a_profile_that_allows_no_setting_is_asked_once(tmp_path: Path) -> None:
    async def story() -> None:
        profile = quarterly(HOME)
        deaf = replace(profile, writes_allowed=profile.writes_allowed[:2])
        async with site(tmp_path, profiles=[deaf]) as one:
            for meter in one.meters.values():
                meter.clock.error_s = 50
            await look(one, LOOK)
            await look(one, LOOK + DAY_S)
            steps = [*await one.store.meter_clocks.steps(ONE), *await one.store.meter_clocks.steps(MeterId("m-2"))]
            assert {outcome for _, outcome in steps} == {StepOutcome.REFUSED}
            assert 1 <= len(steps) <= 2, "not again the next day"
            assert one.meters["m-1"].clock.error_s == 50

    run(story)
