"""Validation and estimation: sums that hold, and energy that is never invented."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridmodel.identity import MeterId
from gridmodel.reading import Channel, IntervalReading, Mark, Quality, RegisterRead
from gridmodel.vee import OVERLOAD_TIMES_MAX, LastRegister, Validated, VeeRules, validate
from gridmodel.vee import RULES as RULES_OF_ALL

QUARTER_S = 900
RULES = VeeRules(interval_minutes=15, power_w_max=40_000, register_wh_wrap=None)
METER = MeterId("m-1")


def read(at: int, register_wh: int | None, meter: MeterId = METER) -> RegisterRead:
    return RegisterRead("p-1", meter, Channel.IMPORT, at * QUARTER_S, register_wh)


def follow(reads: list[RegisterRead], rules: VeeRules = RULES) -> tuple[list[IntervalReading], list[Mark]]:
    last: LastRegister | None = None
    intervals: list[IntervalReading] = []
    marks: list[Mark] = []
    for one in reads:
        validated = validate(last, one, rules)
        last = validated.last
        intervals.extend(validated.intervals)
        marks.extend(validated.marks)
    return intervals, marks


def energy_of(intervals: list[IntervalReading]) -> int:
    return sum(one.energy_wh or 0 for one in intervals)


def test_the_first_read_books_nothing() -> None:
    assert validate(None, read(4, 1_000), RULES) == Validated((), (), LastRegister(METER, 3_600, 1_000, 3_600))


def test_the_next_quarter_is_actual() -> None:
    intervals, marks = follow([read(1, 1_000), read(2, 1_250)])
    assert [(one.end, one.energy_wh, one.quality) for one in intervals] == [(1_800, 250, Quality.ACTUAL)]
    assert intervals[0].register_wh == 1_250
    assert marks == []


def test_a_gap_is_spread_to_the_watt_hour_and_marked() -> None:
    intervals, marks = follow([read(1, 0), read(5, 1_003)])
    assert [one.energy_wh for one in intervals] == [250, 251, 251, 251]
    assert {one.quality for one in intervals} == {Quality.ESTIMATED}
    assert [one.register_wh for one in intervals] == [None, None, None, 1_003]
    assert marks == [Mark.GAP]


def test_zero_and_back_books_only_what_was_used() -> None:
    intervals, marks = follow([read(1, 15_500_000), read(2, 0), read(3, 15_500_200), read(4, 15_500_300)])
    assert energy_of(intervals) == 300
    assert Mark.RESET in marks


def test_a_small_counter_that_goes_to_zero_and_back_does_not_book_the_way_up() -> None:
    intervals, _ = follow([read(1, 500), read(2, 0), read(3, 510)])
    assert energy_of(intervals) == 10


def test_an_erased_counter_counts_on_once_a_second_read_agrees() -> None:
    intervals, marks = follow([read(1, 9_000_000), read(2, 5), read(3, 105), read(4, 205)])
    assert energy_of(intervals) == 200
    assert marks == [Mark.RESET]


def test_a_spike_is_held_back_and_the_truth_goes_on() -> None:
    intervals, marks = follow([read(1, 1_000), read(2, 900_000_000), read(3, 1_200), read(4, 1_300)])
    assert energy_of(intervals) == 300
    assert Mark.SPIKE in marks


def test_a_load_that_stays_above_the_limit_is_booked_as_suspect_and_nothing_of_it_is_lost() -> None:
    registers = [0, 5_000, 17_000, 30_000, 42_000, 55_000, 56_000, 57_000]
    intervals, marks = follow([read(n + 1, wh) for n, wh in enumerate(registers)])
    assert [one.energy_wh for one in intervals] == [5_000, 12_000, 13_000, 12_000, 13_000, 1_000, 1_000]
    assert [one.register_wh for one in intervals] == registers[1:]
    assert [one.quality for one in intervals] == [Quality.ACTUAL] + 4 * [Quality.SUSPECT] + 2 * [Quality.ACTUAL]
    assert marks == [Mark.SPIKE, *3 * [Mark.OVERLOAD]]
    assert RULES_OF_ALL[Mark.OVERLOAD].alarm is RULES_OF_ALL[Mark.SPIKE].alarm


def test_an_overload_of_which_reads_are_missing_is_suspect_as_well() -> None:
    intervals, marks = follow([read(1, 0), read(4, 36_000), read(6, 60_000), read(8, 84_000), read(9, 97_000)])
    assert [one.energy_wh for one in intervals] == [*5 * [12_000], *2 * [12_000], 13_000]
    assert {one.quality for one in intervals} == {Quality.SUSPECT}
    assert marks == [Mark.SPIKE, Mark.OVERLOAD, Mark.SPIKE, Mark.OVERLOAD]


def test_more_than_wires_carry_is_held_back_however_often_it_is_read() -> None:
    intervals, marks = follow([read(n, n * 41_000) for n in range(8)])
    assert (intervals, marks) == ([], 7 * [Mark.SPIKE])


@given(st.lists(st.integers(10_001, 20_000), min_size=2, max_size=20), st.integers(0, 2_000))
def test_a_steady_overload_loses_no_watt_hour(overload: list[int], usual_wh: int) -> None:
    registers = list(accumulate([1_000, usual_wh, *overload, usual_wh, usual_wh]))
    intervals, _ = follow([read(n + 1, wh) for n, wh in enumerate(registers)])
    assert energy_of(intervals) == registers[-1] - registers[0]
    assert [one.end for one in intervals] == [(n + 2) * QUARTER_S for n in range(len(registers) - 1)]


def test_a_wrap_is_booked_and_doubted() -> None:
    rules = VeeRules(interval_minutes=15, power_w_max=40_000, register_wh_wrap=10_000_000)
    intervals, marks = follow([read(1, 9_999_900), read(2, 150)], rules)
    assert [(one.energy_wh, one.quality) for one in intervals] == [(250, Quality.SUSPECT)]
    assert marks == [Mark.WRAP]


def test_an_exchanged_meter_starts_anew() -> None:
    intervals, marks = follow([read(1, 9_000), read(2, 3, MeterId("m-2")), read(3, 53, MeterId("m-2"))])
    assert energy_of(intervals) == 50
    assert marks == []


def test_a_null_is_no_reading() -> None:
    intervals, marks = follow([read(1, 100), read(2, None), read(3, 300)])
    assert energy_of(intervals) == 200
    assert marks == [Mark.NULL, Mark.GAP]


@pytest.mark.parametrize("at", [3, 2])
def test_a_read_that_is_not_later_is_stale(at: int) -> None:
    intervals, marks = follow([read(1, 100), read(3, 300), read(at, 350)])
    assert energy_of(intervals) == 200
    assert Mark.STALE in marks


def test_a_register_from_a_wrong_future_blinds_the_meter_for_no_longer_than_a_day() -> None:
    intervals, marks = follow([read(96 * 40, 100), read(10, 300), read(11, 350)])
    assert [(one.end, one.energy_wh) for one in intervals] == [(11 * QUARTER_S, 50)]
    assert marks == [Mark.AHEAD]


def test_a_silent_flat_is_marked_only_after_two_weeks() -> None:
    _, marks = follow([read(n, 100) for n in range(1, 96 * 14 + 1)])
    assert marks == []
    _, marks = follow([read(n, 100) for n in range(1, 96 * 14 + 2)])
    assert marks == [Mark.STUCK]


def test_a_silence_beyond_the_limit_is_not_filled() -> None:
    intervals, marks = follow([read(1, 100), read(96 * 45 + 2, 500)])
    assert intervals == []
    assert marks == [Mark.GAP]


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(0, 2_000)), min_size=1, max_size=40),
    st.integers(0, 2**40),
)
def test_intervals_sum_to_the_registers_and_tile_time(steps: list[tuple[int, int]], start_wh: int) -> None:
    at, register_wh = 1, start_wh
    reads = [read(at, register_wh)]
    for gap, energy_wh in steps:
        at, register_wh = at + gap, register_wh + energy_wh
        reads.append(read(at, register_wh))
    intervals, _ = follow(reads)
    assert energy_of(intervals) == register_wh - start_wh
    assert [one.end for one in intervals] == [n * QUARTER_S for n in range(2, at + 1)]


@given(st.lists(st.integers(0, 60_000), min_size=2, max_size=60))
def test_whatever_a_meter_serves_what_is_beyond_the_line_is_suspect_and_has_its_own_limit(registers: list[int]) -> None:
    intervals, _ = follow([read(n + 1, register_wh) for n, register_wh in enumerate(registers)])
    carried_wh = RULES.power_w_max // 4
    for one in intervals:
        times = OVERLOAD_TIMES_MAX if one.quality is Quality.SUSPECT else 1
        assert 0 <= (one.energy_wh or 0) <= times * carried_wh
    assert len({one.end for one in intervals}) == len(intervals)


@given(st.lists(st.integers(0, 60_000), min_size=2, max_size=30))
def test_a_read_repeated_changes_nothing(registers: list[int]) -> None:
    once = [read(n + 1, register_wh) for n, register_wh in enumerate(registers)]
    twice = [one for pair in zip(once, once, strict=True) for one in pair]
    assert follow(once)[0] == follow(twice)[0]


@pytest.mark.parametrize("register_wh", [-1, 2**53 + 1, 10**41])
def test_a_register_that_none_can_show_is_no_reading(register_wh: int) -> None:
    """As the first read of a meter it was a start: SQLite refused the whole round, or the chunk its whole day."""
    assert validate(None, read(4, register_wh), RULES) == Validated((), (Mark.NULL,), None)
