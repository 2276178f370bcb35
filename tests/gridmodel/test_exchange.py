"""An exchange of the meter is routine: both meters' energy, to the watt-hour, in the intervals of their own time."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gridmodel.identity import MeterId
from gridmodel.reading import Channel, Mark, Quality, RegisterRead
from gridmodel.vee import Exchange, LastRegister, VeeRules, exchanged

QUARTER_S = 900
RULES = VeeRules(interval_minutes=15, power_w_max=40_000, register_wh_wrap=None)
OLD, NEW = MeterId("m-old"), MeterId("m-new")
LAST = LastRegister(OLD, 10 * QUARTER_S, 5_000_000, 10 * QUARTER_S)


def swap(at: int, final_wh: int, start_wh: int, rules: VeeRules = RULES) -> Exchange:
    return Exchange(OLD, at, final_wh, at, start_wh, rules)


def read(at: int, register_wh: int | None) -> RegisterRead:
    return RegisterRead("p-1", NEW, Channel.IMPORT, at * QUARTER_S, register_wh)


def test_the_interval_of_the_exchange_has_a_part_of_both_and_is_actual() -> None:
    made = exchanged(LAST, swap(10 * QUARTER_S + 400, 5_000_070, 12), read(11, 100), RULES)
    assert [(one.end, one.energy_wh, one.quality) for one in made.intervals] == [
        (11 * QUARTER_S, 70 + 88, Quality.ACTUAL)
    ]
    assert made.marks == (Mark.EXCHANGE,)
    assert made.last == LastRegister(NEW, 11 * QUARTER_S, 100, 11 * QUARTER_S)


def test_over_a_silence_each_part_lies_in_its_own_time() -> None:
    made = exchanged(LAST, swap(13 * QUARTER_S + 1, 5_000_400, 0), read(15, 200), RULES)
    assert [one.energy_wh for one in made.intervals] == [100, 100, 100, 100 + 100, 100]
    assert {one.quality for one in made.intervals} == {Quality.ESTIMATED}
    assert made.marks == (Mark.EXCHANGE, Mark.GAP)


def test_an_exchange_at_an_intervals_end_parts_there() -> None:
    made = exchanged(LAST, swap(11 * QUARTER_S, 5_000_070, 0), read(12, 30), RULES)
    assert [(one.energy_wh, one.quality) for one in made.intervals] == [(70, Quality.ACTUAL), (30, Quality.ACTUAL)]


def test_days_without_a_meter_have_no_intervals() -> None:
    away = replace(swap(11 * QUARTER_S + 5, 5_000_070, 0), began_at=20 * QUARTER_S + 5)
    made = exchanged(LAST, away, read(21, 30), RULES)
    assert [(one.end // QUARTER_S, one.energy_wh) for one in made.intervals] == [(11, 70), (21, 30)]


def test_a_final_register_in_whole_kilowatt_hours_is_no_reset() -> None:
    made = exchanged(LAST, swap(10 * QUARTER_S + 400, 4_999_000, 0), read(11, 100), RULES)
    assert [one.energy_wh for one in made.intervals] == [100]


def test_registers_that_fit_nothing_book_nothing_and_the_new_count_begins() -> None:
    for final_wh, start_wh, mark in (
        (1_000_000, 0, Mark.RESET),
        (9_000_000, 0, Mark.SPIKE),
        (5_000_070, 500, Mark.RESET),
    ):
        made = exchanged(LAST, swap(10 * QUARTER_S + 400, final_wh, start_wh), read(11, 100), RULES)
        assert made.intervals == ()
        assert made.marks == (Mark.EXCHANGE, mark)
        assert made.last == LastRegister(NEW, 11 * QUARTER_S, 100, 11 * QUARTER_S)


def test_the_old_meter_may_have_wrapped_since() -> None:
    rules = replace(RULES, register_wh_wrap=5_000_050)
    made = exchanged(LAST, swap(10 * QUARTER_S + 400, 20, 0, rules), read(11, 100), RULES)
    assert [one.energy_wh for one in made.intervals] == [50 + 20 + 100]


def test_the_new_meter_is_not_believed_before_it_was_placed() -> None:
    made = exchanged(LAST, swap(12 * QUARTER_S + 5, 5_000_070, 0), read(12, 30), RULES)
    assert (made.intervals, made.marks, made.last) == ((), (Mark.STALE,), LAST)


@given(
    st.integers(0, 200 * QUARTER_S),
    st.integers(0, 3 * QUARTER_S),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.integers(1, 100),
)
def test_the_sum_is_that_of_both_meters(away_s: int, hole_s: int, old_wh: int, new_wh: int, later: int) -> None:
    ended = LAST.at + away_s
    began = ended + hole_s
    first = -(-(began + 1) // QUARTER_S) + later
    exchange = replace(swap(ended, LAST.register_wh + old_wh, 7), began_at=began)
    made = exchanged(LAST, exchange, read(first, 7 + new_wh), RULES)
    if Mark.SPIKE in made.marks:
        assert made.intervals == ()
        return
    assert sum(one.energy_wh or 0 for one in made.intervals) == old_wh + new_wh
    ends = [one.end for one in made.intervals]
    assert ends == sorted(set(ends))
    assert LAST.at < ends[0]
    assert ends[-1] == first * QUARTER_S
    assert exchanged(LAST, exchange, read(first, 7 + new_wh), RULES) == made


def test_a_meter_read_under_the_old_ones_name_goes_on_counting() -> None:
    """A meter that tells no serial was read for hours before the registry knew of it: its count is not interrupted."""
    misnamed = replace(LAST, at=14 * QUARTER_S, register_wh=212, still_since=14 * QUARTER_S)
    made = exchanged(misnamed, swap(11 * QUARTER_S + 400, 5_000_070, 12), read(15, 250), RULES)
    assert [(one.end // QUARTER_S, one.energy_wh, one.quality) for one in made.intervals] == [(15, 38, Quality.ACTUAL)]
    assert made.last is not None
    assert made.last.meter == NEW


def test_at_the_very_end_of_an_interval_the_registers_say_which_meter_was_read() -> None:
    at_once = swap(14 * QUARTER_S, 5_000_070, 12)
    new_one = replace(LAST, at=14 * QUARTER_S, register_wh=12, still_since=14 * QUARTER_S)
    assert [one.energy_wh for one in exchanged(new_one, at_once, read(15, 50), RULES).intervals] == [38]
    old_one = replace(LAST, at=14 * QUARTER_S, register_wh=5_000_070, still_since=14 * QUARTER_S)
    assert [one.energy_wh for one in exchanged(old_one, at_once, read(15, 50), RULES).intervals] == [38]


def test_a_register_at_the_very_exchange_closes_the_old_meters_time() -> None:
    made = exchanged(LAST, swap(11 * QUARTER_S, 5_000_070, 12), read(11, 12), RULES)
    assert [(one.end // QUARTER_S, one.energy_wh, one.quality) for one in made.intervals] == [(11, 70, Quality.ACTUAL)]
    assert exchanged(
        replace(LAST, at=11 * QUARTER_S), swap(11 * QUARTER_S, 5_000_070, 12), read(11, 12), RULES
    ).marks == (Mark.STALE,)
