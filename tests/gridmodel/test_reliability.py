"""SAIDI, SAIFI and CAIDI against a worked example and their own laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridmodel.identity import DistrictId, TransformerId
from gridmodel.reliability import MOMENTARY_S, Interruption, indices

HOUR = 3_600
T, D = TransformerId("t-1"), DistrictId("1718203")


def out(begin: int, end: int | None, customers: int) -> Interruption:
    return Interruption(T, D, begin, end, customers)


def test_a_worked_example() -> None:
    interruptions = [out(10 * HOUR, 12 * HOUR, 200), out(30 * HOUR, 30 * HOUR + 1_800, 600), out(40 * HOUR, None, 100)]
    found = indices(interruptions, 1_000, 0, 41 * HOUR)
    assert found.interruptions == 3
    assert found.saifi == pytest.approx((200 + 600 + 100) / 1_000)
    assert found.saidi_min == pytest.approx((200 * 120 + 600 * 30 + 100 * 60) / 1_000)
    assert found.caidi_min == pytest.approx(48_000 / 900)


def test_five_minutes_are_momentary() -> None:
    assert indices([out(100, 100 + MOMENTARY_S, 50)], 100, 0, HOUR).customer_s == 0
    assert indices([out(100, 101 + MOMENTARY_S, 50)], 100, 0, HOUR).customer_interruptions == 50


def test_nobody_and_nothing_divide_nothing() -> None:
    nobody = indices([out(0, HOUR, 5)], 0, 0, HOUR)
    assert (nobody.saifi, nobody.saidi_min) == (None, None)
    quiet = indices([], 10, 0, HOUR)
    assert (quiet.saifi, quiet.saidi_min, quiet.caidi_min) == (0, 0, None)


@given(
    st.lists(st.tuples(st.integers(1, 1_000), st.integers(0, 500), st.integers(1, 50)), max_size=20),
    st.integers(1, 1_499),
)
def test_a_period_is_the_sum_of_its_parts(spans: list[tuple[int, int, int]], cut: int) -> None:
    interruptions = [out(begin * 60, (begin + length) * 60, customers) for begin, length, customers in spans]
    whole = indices(interruptions, 100, 0, 1_500 * 60)
    parts = [indices(interruptions, 100, first * 60, last * 60) for first, last in ((0, cut), (cut, 1_500))]
    assert whole.customer_s == sum(part.customer_s for part in parts)
    assert whole.customer_interruptions == sum(part.customer_interruptions for part in parts)
