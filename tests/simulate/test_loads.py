"""The made consumers behave like a neighbourhood: evening peak, its height, a month's energy, one seed one story."""

from datetime import date, timedelta

import numpy as np
import pytest

from simulate.loads import Climate, draw_consumers, energies_wh, solar_shape

COUNT = 2_000
HOUSEHOLDS = np.ones(COUNT, dtype=np.bool_)
WORKDAY = date(2026, 5, 5)


@pytest.mark.parametrize("day", [WORKDAY, date(2026, 1, 24), date(2026, 9, 13)])
def test_the_sum_peaks_in_the_evening_at_twice_its_mean(day: date) -> None:
    total = energies_wh(draw_consumers(HOUSEHOLDS, 1), day).sum(axis=0)
    assert 19.0 <= int(total.argmax()) / 4 <= 20.0
    assert total.max() / total.mean() == pytest.approx(2.0, abs=0.15)


def test_a_month_is_what_a_household_uses() -> None:
    consumers = draw_consumers(HOUSEHOLDS, 2)
    month = np.sum([energies_wh(consumers, date(2026, 4, 1) + timedelta(n)).sum(axis=1) for n in range(30)], axis=0)
    assert float(np.median(month)) / 1000 == pytest.approx(170, rel=0.08)
    assert float(month.mean()) / 1000 == pytest.approx(206, rel=0.08)


def test_one_seed_one_story_and_any_day_in_any_order() -> None:
    first, again, other = (draw_consumers(HOUSEHOLDS[:50], seed) for seed in (7, 7, 8))
    later = energies_wh(first, WORKDAY + timedelta(1))
    today = energies_wh(first, WORKDAY)
    assert np.array_equal(today, energies_wh(again, WORKDAY))
    assert np.array_equal(later, energies_wh(again, WORKDAY + timedelta(1)))
    assert not np.array_equal(today, energies_wh(other, WORKDAY))
    assert today.dtype == np.int64
    assert (today >= 0).all()


def test_companies_work_by_day() -> None:
    total = energies_wh(draw_consumers(np.zeros(400, dtype=np.bool_), 3), WORKDAY).sum(axis=0)
    assert total[9 * 4 : 17 * 4].mean() > 1.3 * total[: 5 * 4].mean()


def test_cold_heats_and_heat_cools() -> None:
    climate = Climate(january_c=-3, july_c=31)
    consumers = draw_consumers(HOUSEHOLDS, 4, climate)
    assert 0.1 < consumers.heating.mean() < 0.2
    winter, spring, summer = (
        energies_wh(consumers, day, climate).sum() for day in (date(2026, 1, 15), date(2026, 4, 20), date(2026, 7, 15))
    )
    assert winter > 1.1 * spring
    assert summer > 1.1 * spring


def test_the_sun_shines_by_day_and_longer_in_summer() -> None:
    june, december = solar_shape(date(2026, 6, 21)), solar_shape(date(2026, 12, 21))
    assert june[:16].max() < 1e-9
    assert june.sum() > 1.4 * december.sum()
    assert june.max() <= 1.0
