"""Estimates keep the sum of their registers, take the best shape that is known, and go when the truth comes."""

from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edge_node.metering.shapes import like_ends, like_weights, reshaped, shared
from gridmodel.network import Installation
from gridmodel.period import HOUR_S
from gridmodel.reading import Channel, Estimation, IntervalReading, Quality
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


@given(st.integers(0, 2_000), st.integers(2, 4_320), st.integers(1, 4), st.booleans())
def test_like_times_lie_before_the_gap_at_the_same_time_of_the_week(
    start: int, count: int, weeks: int, hourly: bool
) -> None:
    begin = MIDNIGHT + start * QUARTER
    like = like_ends(begin, begin + count * QUARTER, QUARTER, weeks, hourly=hourly)
    assert len(like) == count
    for end, ends in like.items():
        assert len(ends) == weeks
        assert max(ends) <= begin
        assert all((end - one) % WEEK == 0 or (hourly and one % HOUR_S == 0) for one in ends)
        assert all(0 <= (one - end) % WEEK < HOUR_S for one in ends)
    distinct = {one for ends in like.values() for one in ends}
    assert len(distinct) <= weeks * 672, "a year's gap looks up no more than its weeks"


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
