"""What rows of a load profile may say about a gap: property tests of the pure part of backfill."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.metering.backfill import AGAIN_S_MAX, again_at, free_from
from edge_node.metering.gap_filling import LATE_SHARE, Filled, clock_lies, fill, shares, still
from edge_node.store.gaps import Gap, GapReason
from gridmodel.identity import MeterId
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel, Quality
from gridmodel.vee import VeeRules
from protocols.driver import ClockReading, ProfileRow, ProfileSlice, ProfileValues

QUARTER = 900
NOON = 1_780_000_200 // QUARTER * QUARTER
DIRECT = Multiplier()
RULES = VeeRules(15, 20_000, 2**32)
FULL_WH = RULES.power_w_max // 4


def gap_of(energies: Sequence[int], first_wh: int = 10_000, *, late: tuple[int, int] = (0, 0)) -> Gap:
    """The gap over these true energies; `late`: how much had flowed past each end when its register was read."""
    start_wh = first_wh + late[0]
    end_wh = first_wh + sum(energies) + late[1]
    end = NOON + len(energies) * QUARTER
    return Gap("up-1", Channel.IMPORT, MeterId("m-1"), NOON, end, QUARTER, start_wh, end_wh, end_wh - start_wh)


def rows_of(
    energies: Sequence[int],
    *,
    first_wh: int = 10_000,
    values: ProfileValues = ProfileValues.REGISTERS,
    but: dict[int, ProfileRow | None] | None = None,
    step_wh: int = 1,
    after_wh: int = 0,
) -> ProfileSlice:
    """The meter's rows over a gap with the row before it and the one after; `but` replaces some by their number."""
    rows: list[ProfileRow] = []
    register = first_wh
    for n, energy in enumerate([0, *energies, after_wh]):
        register += energy
        told = (register if values is ProfileValues.REGISTERS else energy) // step_wh * step_wh
        row: ProfileRow | None = ProfileRow(NOON + n * QUARTER, {Channel.IMPORT: told}, 0, doubtful=False)
        if but is not None and n in but:
            row = but[n]
        if row is not None:
            rows.append(row)
    return ProfileSlice(values, QUARTER, tuple(rows), 0, {Channel.IMPORT: step_wh})


def booked(filled: Filled) -> list[int]:
    return [one.energy_wh or 0 for one in filled.intervals]


def reasons(filled: Filled) -> list[GapReason]:
    return [one.reason for one in filled.left]


ENERGIES = st.lists(st.integers(0, 3_000), min_size=2, max_size=40)


@given(ENERGIES, st.sampled_from(ProfileValues))
def test_a_whole_profile_tells_every_interval(energies: list[int], values: ProfileValues) -> None:
    filled = fill(gap_of(energies), rows_of(energies, values=values), DIRECT, RULES)
    assert booked(filled) == energies
    assert {one.quality for one in filled.intervals} == {Quality.ACTUAL}
    assert filled.intervals[-1].register_wh == 10_000 + sum(energies)
    assert filled.left == ()


@given(ENERGIES, st.data())
def test_what_is_absent_stays_a_gap_between_registers_that_are_known(energies: list[int], data: st.DataObject) -> None:
    absent = data.draw(st.sets(st.integers(0, len(energies) + 1)))
    doubtful = data.draw(st.sets(st.integers(1, len(energies))))
    wild = {Channel.IMPORT: 4_000_000_000}
    but = {n: ProfileRow(NOON + n * QUARTER, wild, 4, doubtful=True) for n in doubtful} | dict.fromkeys(absent)
    told = rows_of(energies, but=but)
    gap = gap_of(energies)
    filled = fill(gap, told, DIRECT, RULES)
    if filled.intervals:
        assert sum(booked(filled)) == gap.energy_wh, "the sum between two registers stays true"
        assert [one.end for one in filled.intervals] == list(gap.ends)
    left = {end for one in filled.left for end in one.ends}
    actual = {one.end: one.energy_wh for one in filled.intervals if one.quality is Quality.ACTUAL}
    assert not left & set(actual)
    assert left | set(actual) == set(gap.ends), "each interval is told, or on the list with its reason"
    truth = dict(zip(gap.ends, energies, strict=True))
    assert actual == {end: truth[end] for end in actual}
    for one in filled.left:
        assert one.reason is not GapReason.WAITING
        assert one.detail
        assert one.energy_wh == sum(truth[end] for end in one.ends) == one.end_register_wh - one.start_register_wh


@given(ENERGIES, st.integers(1, 3_000), st.floats(0, 1), st.floats(0, 1), st.sampled_from(ProfileValues))
def test_registers_read_late_within_the_next_interval_agree(
    energies: list[int], after_wh: int, early: float, late: float, values: ProfileValues
) -> None:
    share = 1 if values is ProfileValues.REGISTERS else LATE_SHARE
    gap = gap_of(energies, late=(int(energies[0] * early / share), int(after_wh * late / share)))
    if gap.energy_wh <= 0:
        return
    filled = fill(gap, rows_of(energies, values=values, after_wh=after_wh), DIRECT, RULES)
    assert sum(booked(filled)) == gap.energy_wh
    assert filled.left == ()


@given(ENERGIES, st.sampled_from([10, 100, 1_000]), st.sampled_from(ProfileValues))
def test_a_coarse_profile_agrees_within_its_rounding(energies: list[int], step_wh: int, values: ProfileValues) -> None:
    gap = gap_of(energies)
    filled = fill(gap, rows_of(energies, values=values, step_wh=step_wh), DIRECT, RULES)
    assert sum(booked(filled)) == gap.energy_wh
    assert filled.left == ()
    wrong_wh = [abs(told - true) for told, true in zip(booked(filled), energies, strict=True)]
    assert max(wrong_wh) <= step_wh * (1 if values is ProfileValues.INTERVALS else 2)


@given(ENERGIES, st.sampled_from(ProfileValues), st.sampled_from([10, 1_000]))
def test_a_profile_in_another_scale_is_never_booked(energies: list[int], values: ProfileValues, factor: int) -> None:
    energies = [one + 10 for one in (*energies, 0, 0)]
    told = rows_of([one * factor for one in energies], first_wh=10_000 * factor, values=values)
    filled = fill(gap_of(energies), told, DIRECT, RULES)
    assert filled.intervals == ()
    assert reasons(filled) == [GapReason.REGISTER_DISAGREES]


@pytest.mark.parametrize("values", list(ProfileValues))
@pytest.mark.parametrize("wrong_wh", [-50_000, -5, 50_000])
def test_a_row_that_cannot_be_is_never_booked(values: ProfileValues, wrong_wh: int) -> None:
    energies = [100, 200, 300, 400]
    row = ProfileRow(NOON + 2 * QUARTER, {Channel.IMPORT: wrong_wh}, 0, doubtful=False)
    filled = fill(gap_of(energies), rows_of(energies, values=values, but={2: row}), DIRECT, RULES)
    assert filled.intervals == ()
    assert reasons(filled) == [GapReason.REGISTER_DISAGREES]


def test_an_outage_of_supply_leaves_no_rows_and_no_energy() -> None:
    energies = [100, 0, 0, 0, 250]
    filled = fill(gap_of(energies), rows_of(energies, but={2: None, 3: None}), DIRECT, RULES)
    assert booked(filled) == energies, "the register did not move between the rows that are there"
    absent: dict[int, ProfileRow | None] = {2: None, 3: None, 4: None}
    filled = fill(gap_of(energies), rows_of(energies, values=ProfileValues.INTERVALS, but=absent), DIRECT, RULES)
    assert booked(filled) == energies, "the sum proves that nothing flowed in between"


def test_absent_rows_of_intervals_are_no_nothing_while_energy_lacks() -> None:
    energies = [100, 200, 300, 400]
    told = rows_of(energies, values=ProfileValues.INTERVALS, but={3: None}, after_wh=900)
    filled = fill(gap_of(energies), told, DIRECT, RULES)
    assert (filled.intervals, reasons(filled)) == ((), [GapReason.ROW_MISSING])


def test_a_gap_says_why_it_stays() -> None:
    energies = [100, 200, 300, 400]
    gap = gap_of(energies)
    empty = ProfileSlice(ProfileValues.REGISTERS, QUARTER, (), 0)
    assert reasons(fill(gap, empty, DIRECT, RULES)) == [GapReason.OUTSIDE_MEMORY]
    hourly = ProfileSlice(ProfileValues.REGISTERS, 3_600, rows_of(energies).rows, 0)
    assert reasons(fill(gap, hourly, DIRECT, RULES)) == [GapReason.PERIOD_UNFIT]
    other = ProfileRow(NOON, {Channel.EXPORT: 1}, 0, doubtful=False)
    exports = ProfileSlice(ProfileValues.REGISTERS, QUARTER, (other,), 0)
    assert reasons(fill(gap, exports, DIRECT, RULES)) == [GapReason.COLUMN_MISSING]
    early: dict[int, ProfileRow | None] = {0: None, 1: None, 2: None}
    forgotten = fill(gap, rows_of(energies, but=early), DIRECT, RULES)
    assert (booked(forgotten)[-1], reasons(forgotten)) == (400, [GapReason.OUTSIDE_MEMORY])
    nothing = dict.fromkeys((2, 3), ProfileRow(NOON + 2 * QUARTER, {Channel.IMPORT: None}, 0, doubtful=False))
    assert reasons(fill(gap, rows_of(energies, but={**nothing}), DIRECT, RULES)) == [GapReason.ROW_EMPTY]


def test_what_stays_estimated_keeps_the_shape_of_its_estimate() -> None:
    energies = [100, 200, 300, 400]
    gap = gap_of(energies)
    told = rows_of(energies, but={2: None, 3: None})
    shape = dict(zip(gap.ends, [0, 10, 20, 70], strict=True))
    assert booked(fill(gap, told, DIRECT, RULES, shape)) == [100, 90, 180, 630]
    assert booked(fill(gap, told, DIRECT, RULES)) == [100, 300, 300, 300]


def test_quarters_make_an_hour_and_a_transformer_ratio_counts_once() -> None:
    energies = [100, 200, 300, 401, 50, 50, 50, 50]
    end = NOON + 8 * QUARTER
    for values in ProfileValues:
        told = rows_of(energies, values=values)
        gap = Gap("up-1", Channel.IMPORT, MeterId("m-1"), NOON, end, 3_600, 400_000, 448_040, 1_201 * 40)
        filled = fill(gap, told, Multiplier(40), VeeRules(60, 20_000 * 40, None))
        assert booked(filled) == [1_001 * 40, 200 * 40]


def test_a_register_that_starts_again_at_zero_is_followed_and_doubted() -> None:
    energies = [300, 400, 500]
    gap = Gap("up-1", Channel.IMPORT, MeterId("m-1"), NOON, NOON + 3 * QUARTER, QUARTER, 2**32 - 500, 700, 1_200)
    values = [2**32 - 500, 2**32 - 200, 200, 700]
    rows = tuple(ProfileRow(NOON + n * QUARTER, {Channel.IMPORT: wh}, 0, doubtful=False) for n, wh in enumerate(values))
    filled = fill(gap, ProfileSlice(ProfileValues.REGISTERS, QUARTER, rows, 0), DIRECT, RULES)
    assert booked(filled) == energies
    assert [one.quality for one in filled.intervals] == [Quality.ACTUAL, Quality.SUSPECT, Quality.ACTUAL]
    assert [one.register_wh for one in filled.intervals] == [2**32 - 200, 200, 700]


def test_an_empty_flat_needs_no_memory() -> None:
    filled = still(gap_of([0, 0, 0]))
    assert (booked(filled), filled.left) == ([0, 0, 0], ())
    assert {one.quality for one in filled.intervals} == {Quality.ACTUAL}


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=50))
def test_shares_add_up_and_none_is_negative(total: int, weights: list[int]) -> None:
    parts = shares(total, weights)
    assert sum(parts) == total
    assert min(parts) >= 0


def test_a_clock_lies_when_its_rows_would() -> None:
    assert clock_lies(ClockReading(NOON, NOON - 3, NOON + 3, doubtful=False), QUARTER) is None
    assert clock_lies(ClockReading(NOON + 90, NOON - 3, NOON, doubtful=False), QUARTER) is None
    for wrong in (
        ClockReading(None, NOON, NOON, doubtful=False),
        ClockReading(NOON, NOON, NOON, doubtful=True),
        ClockReading(NOON + 100, NOON, NOON + 1, doubtful=False),
        ClockReading(NOON - 3_600, NOON, NOON + 1, doubtful=False),
    ):
        assert clock_lies(wrong, QUARTER)


def test_polls_go_first() -> None:
    assert free_from(NOON, 15, 120) == NOON + 120
    assert free_from(NOON + 120, 15, 120) == NOON + 120
    assert free_from(NOON + 809, 15, 120) == NOON + 809
    assert free_from(NOON + 810, 15, 120) == NOON + QUARTER + 120
    assert free_from(NOON, 15, 1_800) == NOON + 450, "a spread longer than the interval leaves half of it"


def test_a_silent_meter_is_asked_ever_less_often() -> None:
    gap = gap_of([1, 2])
    waits = []
    for tries in range(7):
        silent = replace(gap, reason=GapReason.METER_SILENT, tries=tries)
        waits.append((again_at(silent, NOON) or 0) - NOON)
    assert waits[0] == QUARTER
    assert waits == sorted(waits)
    assert waits[-1] == AGAIN_S_MAX
