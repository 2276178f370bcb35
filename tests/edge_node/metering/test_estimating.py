"""Estimates keep the sum of their registers, take the best shape that is known, and go when the truth comes."""

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.metering.hour_close import close_hour
from edge_node.metering.shapes import WEEKS_MAX, like_ends, like_weights, reshaped, shared
from edge_node.store.listing import Listing
from edge_node.store.reading_round import Booking, Round
from gridmodel.balance import LossUnknown, loss_of, why_unknown
from gridmodel.identity import MeterId
from gridmodel.network import Installation
from gridmodel.period import HOUR_S
from gridmodel.reading import Channel, Estimation, IntervalReading, Quality, Revision
from gridmodel.vee import LastRegister
from simulate.loop import run_virtual
from tests.edge_node.metering.small_grid import MIDNIGHT, QUARTER, Office, grid, link, office, placed

WEEK = 7 * 86_400
SINCE = MIDNIGHT - 2 * WEEK
IMPORT = int(Channel.IMPORT)


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=200).filter(any))
def test_shares_add_up_and_follow_the_weights(energy_wh: int, weights: list[int]) -> None:
    shares = shared(energy_wh, weights)
    assert sum(shares) == energy_wh
    assert all(
        abs(share * sum(weights) - energy_wh * weight) <= sum(weights)
        for share, weight in zip(shares, weights, strict=True)
    )


@given(st.integers(0, 2_000), st.integers(2, 4_320))
def test_like_times_lie_before_the_gap_at_the_same_time_of_the_week(start: int, count: int) -> None:
    begin = MIDNIGHT + start * QUARTER
    like = like_ends(begin, begin + count * QUARTER, QUARTER)
    assert len(like) == count
    for end, ends in like.items():
        assert len(ends) == WEEKS_MAX
        assert max(ends) <= begin
        assert all((end - one) % WEEK == 0 for one in ends)
    assert len({one for ends in like.values() for one in ends}) <= WEEKS_MAX * 672


def test_a_profile_that_says_too_little_is_refused() -> None:
    like = {end: [end - 100] for end in range(4)}
    assert like_weights(like, {-100: 5, -99: 5}) is None
    assert like_weights(like, dict.fromkeys(range(-100, -96), 0)) is None
    assert like_weights(like, {-100: 1, -99: 2, -98: 3}) == [12, 24, 36, 24]


def test_no_interval_gets_more_than_it_can_carry() -> None:
    flat = tuple(IntervalReading("p", Channel.IMPORT, n, 10, Quality.ESTIMATED, None) for n in range(4))
    assert reshaped(flat, [1, 0, 0, 0], Estimation.OWN_PROFILE, 39) is None
    shaped = reshaped(flat, [1, 0, 0, 1], Estimation.OWN_PROFILE, 39)
    assert shaped is not None
    assert [one.energy_wh for one in shaped] == [20, 0, 0, 20]


def evening(one: Office, meter: str, *, wh: int = 800) -> None:
    """A meter that counts `wh` in every quarter from 18:00 to 22:00 local time and 100 in the others."""

    def at(now: int) -> dict[Channel, int | None]:
        days, rest = divmod(now - MIDNIGHT + 2 * WEEK, 86_400)
        quarters = rest // QUARTER
        inside = min(max(quarters - 72, 0), 16)
        return {Channel.IMPORT: 10_000 + (16 * wh + 80 * 100) * days + inside * wh + (quarters - inside) * 100}

    one.meters.registers[meter] = at


def installations(points: Sequence[str]) -> list[Installation]:
    return [placed(f"m-{point}", point) for point in points]


async def methods(one: Office, month: str = "2026-05") -> list[tuple[str, int, int, int]]:
    """(point, first end, last end, method) of every estimate."""
    async with one.readings.segments.lease(month) as segment:
        return await segment.database.read(
            lambda conn: conn.fetch_all(
                "SELECT p.point, e.first, e.end, e.method FROM estimate AS e JOIN point AS p ON p.number = e.point"
                " ORDER BY p.point, e.end"
            )
        )


def test_a_gap_over_an_evening_takes_the_points_own_shape(tmp_path: Path) -> None:
    """Two weeks of history, then two days of silence: the estimate is what the meter really counted."""

    async def story() -> None:
        async with office(tmp_path, now=SINCE) as one:
            evening(one, "m-up-1")
            await one.take(grid([link("up-1", "t-1")], installations(["up-1"])))
            await one.live(MIDNIGHT + 600)
            one.meters.silent = {"m-up-1"}
            await one.live(MIDNIGHT + 2 * 86_400 + 600)
            one.meters.silent = set()
            await one.live(MIDNIGHT + 2 * 86_400 + HOUR_S + 600)
            booked = (await one.booked())["up-1", IMPORT]
            end = MIDNIGHT + 2 * 86_400
            told = [booked[at] for at in range(MIDNIGHT + QUARTER, end + 1, QUARTER)]
            assert {quality for _, quality in told} == {Quality.ESTIMATED}
            assert [wh for wh, _ in told] == 2 * ([100] * 72 + [800] * 16 + [100] * 8)
            assert await methods(one) == [("up-1", MIDNIGHT + QUARTER, end, Estimation.OWN_PROFILE)]
            counts = await one.readings.rule_counts.of_day("2026-05-06")
            assert counts == {"gap": 1, "estimated_own_profile": 2 * 96}
            listing = Listing(one.control, one.readings.segments)
            ends = [MIDNIGHT, MIDNIGHT + QUARTER, end, end + QUARTER]
            listed = await listing.readings("up-1", ends)
            own, none = Estimation.OWN_PROFILE, Estimation.NONE
            assert [listed[at].method for at in ends] == [none, own, own, none]

    run_virtual(story())


def test_a_point_without_a_past_takes_the_shape_of_its_neighbours(tmp_path: Path) -> None:
    points = ["up-1", "up-2", "up-3", "up-4"]

    async def story() -> None:
        async with office(tmp_path, now=MIDNIGHT + 17 * HOUR_S) as one:
            for point in points:
                evening(one, f"m-{point}", wh=400 if point == "up-1" else 700)
            await one.take(grid([link(point, "t-1") for point in points], installations(points)))
            await one.live(MIDNIGHT + 17 * HOUR_S + 1_500)
            one.meters.silent = {"m-up-1"}
            await one.live(MIDNIGHT + 19 * HOUR_S + 600)
            one.meters.silent = set()
            await one.live(MIDNIGHT + 20 * HOUR_S)
            booked = (await one.booked())["up-1", IMPORT]
            gap = [booked[end] for end in sorted(booked) if booked[end][1] == Quality.ESTIMATED]
            quiet, busy = 3, len(gap) - 3
            assert sum(wh for wh, _ in gap) == quiet * 100 + busy * 400
            total, weight = quiet * 100 + busy * 400, quiet * 100 + busy * 700
            exact = [total * 100 / weight] * quiet + [total * 700 / weight] * busy
            assert all(abs(wh - share) < 1 for (wh, _), share in zip(gap, exact, strict=True)), "as next door"
            assert {method for *_, method in await methods(one)} == {Estimation.NEIGHBOURS}

    run_virtual(story())


def test_alone_and_without_a_past_the_line_is_straight(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            one.meters.steady("m-up-1", wh=101)
            await one.take(grid([link("up-1", "t-1")], installations(["up-1"])))
            await one.live(MIDNIGHT + 600)
            one.meters.silent = {"m-up-1"}
            await one.live(MIDNIGHT + HOUR_S + 1_000)
            one.meters.silent = set()
            await one.live(MIDNIGHT + 2 * HOUR_S)
            assert {method for *_, method in await methods(one)} == {Estimation.INTERPOLATION}
            booked = (await one.booked())["up-1", IMPORT]
            assert {wh for wh, _ in booked.values()} == {101}

    run_virtual(story())


GAP_ENDS = range(MIDNIGHT + QUARTER, MIDNIGHT + 2 * HOUR_S + 1, QUARTER)
TRUTH = {end: 50 * n for n, end in enumerate(GAP_ENDS)}


def values(ends: Sequence[int], energies: Sequence[int], quality: Quality, method: Estimation) -> Booking:
    intervals = tuple(
        IntervalReading("up-1", Channel.IMPORT, end, wh, quality, None, method)
        for end, wh in zip(ends, energies, strict=True)
    )
    last = LastRegister(MeterId("m-up-1"), GAP_ENDS[-1], 10_000 + sum(TRUTH.values()), GAP_ENDS[-1])
    return Booking("up-1", Channel.IMPORT, intervals, last)


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_no_estimate_survives_the_truth_in_whatever_order_they_come(tmp_path: Path, order: tuple[int, ...]) -> None:
    """The estimate, the same once more after a crash, and the meter's own memory in two parts."""
    estimate = values(GAP_ENDS, shared(sum(TRUTH.values()), [1] * 8), Quality.ESTIMATED, Estimation.INTERPOLATION)
    halves = [
        values(part, [TRUTH[end] for end in part], Quality.ACTUAL, Estimation.NONE)
        for part in (GAP_ENDS[:3], GAP_ENDS[3:])
    ]

    async def story() -> None:
        async with office(tmp_path) as one:

            async def truth(half: Booking) -> None:
                async with one.readings.segments.lease("2026-05") as segment:
                    await Round(segment, [half], Revision(1, 2), one.readings.hashers).write(0)

            acts = [
                lambda: one.readings.book([estimate], Revision(1, 1)),
                lambda: one.readings.book([estimate], Revision(1, 1)),
                lambda: truth(halves[0]),
                lambda: truth(halves[1]),
            ]
            for number in order:
                await acts[number]()
            booked = (await one.booked())["up-1", IMPORT]
            assert booked == {end: (wh, Quality.ACTUAL) for end, wh in TRUTH.items()}
            registry = grid([link("up-1", "t-1")], installations(["up-1"]))
            for hour in (MIDNIGHT + HOUR_S, MIDNIGHT + 2 * HOUR_S):
                await close_hour(one.readings, one.hours, registry, hour, hour + 600, told=True)
                cell = (await one.hours.cells(hour))["t-1"]
                assert (cell.points_actual, cell.points_estimated, cell.points_missing) == (4, 0, 0)
                assert cell.delivered_wh == sum(TRUTH[end] for end in GAP_ENDS if hour - HOUR_S < end <= hour)

    run_virtual(story())


def test_a_meter_that_stays_silent_is_missing_and_its_loss_is_not_told(tmp_path: Path) -> None:
    """No register closes the gap: nothing is invented, and the hour says what it does not know."""
    points = ["up-1", "up-2"]

    async def story() -> None:
        async with office(tmp_path) as one:
            for point in points:
                one.meters.steady(f"m-{point}", wh=100)
            one.meters.steady("m-t1", wh=230)
            everything = [*installations(points), placed("m-t1", "sp-t-1")]
            await one.take(grid([link(point, "t-1") for point in points], everything))
            await one.live(MIDNIGHT + HOUR_S + 600)
            one.meters.silent = {"m-up-1"}
            await one.live(MIDNIGHT + 2 * HOUR_S + 1_200)
            silent = (await one.all_cells())[MIDNIGHT + 2 * HOUR_S]["t-1"]
            assert (silent.delivered_wh, silent.points_missing) == (400, 4)
            assert (loss_of(silent), why_unknown(silent)) == (None, LossUnknown.READINGS_MISSING)
            one.meters.silent = set()
            await one.live(MIDNIGHT + 4 * HOUR_S)
            later = (await one.all_cells())[MIDNIGHT + 2 * HOUR_S]["t-1"]
            assert (later.delivered_wh, later.points_missing, later.points_estimated) == (800, 0, 4)
            loss = loss_of(later)
            assert loss is not None
            assert loss.loss_wh == 120

    run_virtual(story())
