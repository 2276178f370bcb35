"""The calendar: intervals by their ends, days that own their midnight."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridmodel.fault import Fault
from gridmodel.period import (
    HOUR_S,
    Period,
    day_bounds,
    days_between,
    days_of_month,
    hour_end,
    interval_end,
    interval_ends,
    local_day,
    month_bounds,
    parse_at,
    parse_day,
    parse_rfc3339,
    rfc3339,
    year_bounds,
)

ZONE = "Asia/Tashkent"
MIDNIGHT = parse_rfc3339("2026-05-05T00:00:00+05:00")


def test_midnight_belongs_to_the_day_before() -> None:
    assert local_day(MIDNIGHT, ZONE) == "2026-05-04"
    assert local_day(MIDNIGHT + 1, ZONE) == "2026-05-05"
    assert interval_ends("2026-05-04", 15, ZONE)[-1] == MIDNIGHT


@given(st.integers(1_000_000_000, 4_000_000_000), st.sampled_from([15, 30, 60]))
def test_every_interval_lies_in_its_hour_and_day(at: int, minutes: int) -> None:
    end = interval_end(at, minutes)
    assert end <= at < end + minutes * 60
    assert end <= hour_end(end) < end + HOUR_S
    start, stop = day_bounds(local_day(end, ZONE), ZONE)
    assert start < end <= stop
    assert end in interval_ends(local_day(end, ZONE), minutes, ZONE)


@given(st.dates(min_value=parse_day("2001-01-01"), max_value=parse_day("2150-12-31")))
def test_days_months_and_years_tile_time(day: object) -> None:
    text = str(day)
    start, end = day_bounds(text, ZONE)
    month_start, month_end = month_bounds(text[:7], ZONE)
    year_start, year_end = year_bounds(text[:4], ZONE)
    assert year_start <= month_start <= start < end <= month_end <= year_end
    days = days_of_month(text[:7])
    assert day_bounds(days[0], ZONE)[0] == month_start
    assert day_bounds(days[-1], ZONE)[1] == month_end
    assert sum(day_bounds(one, ZONE)[1] - day_bounds(one, ZONE)[0] for one in days) == month_end - month_start


def test_days_between_counts_both_ends() -> None:
    assert days_between("2026-02-27", "2026-03-01") == ["2026-02-27", "2026-02-28", "2026-03-01"]
    assert days_between("2026-03-01", "2026-02-27") == []


@pytest.mark.parametrize(
    ("period", "text", "span_s"),
    [
        (Period.HOUR, "2026-05-04T10:00:00+05:00", HOUR_S),
        (Period.DAY, "2026-05-04", 24 * HOUR_S),
        (Period.MONTH, "2026-05", 31 * 24 * HOUR_S),
        (Period.MONTH, "2026-05-04", 31 * 24 * HOUR_S),
        (Period.YEAR, "2026", 365 * 24 * HOUR_S),
    ],
)
def test_at_names_a_span(period: Period, text: str, span_s: int) -> None:
    start, end = parse_at(period, text, ZONE)
    assert end - start == span_s


@pytest.mark.parametrize(
    ("period", "text"),
    [
        (Period.HOUR, "2026-05-04"),
        (Period.HOUR, "2026-05-04T10:30:00+05:00"),
        (Period.DAY, "2026-13-01"),
        (Period.DAY, "20260504"),
        (Period.DAY, "1999-12-31"),
        (Period.MONTH, "05-2026"),
        (Period.YEAR, "last"),
        (Period.YEAR, ""),
    ],
)
def test_what_names_no_span_is_refused(period: Period, text: str) -> None:
    with pytest.raises(Fault, match="TQ-PD"):
        parse_at(period, text, ZONE)


def test_times_travel_as_rfc_3339() -> None:
    assert rfc3339(MIDNIGHT) == "2026-05-04T19:00:00Z"
    assert parse_rfc3339(rfc3339(MIDNIGHT)) == MIDNIGHT


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(Fault, match="TQ-PD-01"):
        day_bounds("2026-05-04", "Europe/Paris")


@pytest.mark.parametrize("text", ["2026-W19-1", "20260504", "2026-5-04", "２026-05-04", "2026-05-04 ", "2026-05-04T00"])
def test_a_day_has_one_spelling(text: str) -> None:
    """Days are keys: an ISO week would book the same hours under a second one, where no balance looks."""
    with pytest.raises(Fault, match="TQ-PD-02"):
        parse_day(text)


@pytest.mark.parametrize(
    ("period", "text"), [(Period.MONTH, "2026-05zzz"), (Period.MONTH, "2026-W19"), (Period.YEAR, "2026 or so")]
)
def test_what_follows_a_month_or_year_is_not_overlooked(period: Period, text: str) -> None:
    with pytest.raises(Fault, match="TQ-PD-02"):
        parse_at(period, text, ZONE)
    assert parse_at(period, "2026-05-04", ZONE) == parse_at(
        period, "2026-05" if period is Period.MONTH else "2026", ZONE
    )
