"""Calendar of intervals: ends, hours, local days, months, years. Ground floor; on the reading walk.

An interval is stamped by its END. The interval ending 00:00 local time belongs to the day before. Hours, days, months
and years are half-open on the left: (from, to].
"""

import re
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

from gridmodel.fault import Fault

HOUR_S = 3_600
INTERVAL_MINUTES = (15, 30, 60)
"""The lengths of interval that the house knows."""
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MONTH = re.compile(r"\d{4}-\d{2}", re.ASCII)
_YEAR = re.compile(r"\d{4}", re.ASCII)
ZONES = ("Asia/Tashkent", "Asia/Samarkand")


class PeriodFault(Fault):
    """A time or period that cannot be read."""


class Period(StrEnum):
    """The periods of a balance."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    YEAR = "year"


@lru_cache(maxsize=8)
def zone(name: str) -> ZoneInfo:
    """The zone by its name; raises PeriodFault (TQ-PD-01) for one that no region uses."""
    if name not in ZONES:
        raise PeriodFault("TQ-PD-01", f"{name!r:.40} is no time zone of this network", f"use one of {', '.join(ZONES)}")
    return ZoneInfo(name)


def interval_end(at: int, minutes: int) -> int:
    """The latest interval end at or before `at` (UTC seconds)."""
    length = minutes * 60
    return at - at % length


def hour_end(end: int) -> int:
    """The end of the hour that holds the interval ending at `end`."""
    return -(-end // HOUR_S) * HOUR_S


@lru_cache(maxsize=4096)
def _local_day(moment: int, zone_name: str) -> str:
    return datetime.fromtimestamp(moment, zone(zone_name)).date().isoformat()


def local_day(end: int, zone_name: str) -> str:
    """The local day (``2026-05-04``) of the interval ending at `end`: the end 00:00 belongs to the day before."""
    return _local_day(end - 1, zone_name)


@lru_cache(maxsize=4096)
def day_bounds(day: str, zone_name: str) -> tuple[int, int]:
    """(from, to] of a local day as UTC seconds."""
    first = parse_day(day)
    return _midnight(first, zone_name), _midnight(first + timedelta(days=1), zone_name)


def month_bounds(month: str, zone_name: str) -> tuple[int, int]:
    """(from, to] of a local month (``2026-05``) as UTC seconds."""
    first = parse_day(f"{month}-01")
    after = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    return _midnight(first, zone_name), _midnight(after, zone_name)


def year_bounds(year: str, zone_name: str) -> tuple[int, int]:
    """(from, to] of a local year (``2026``) as UTC seconds."""
    first = parse_day(f"{year}-01-01")
    return _midnight(first, zone_name), _midnight(date(first.year + 1, 1, 1), zone_name)


def days_between(first: str, last: str) -> list[str]:
    """The local days from `first` to `last`, both included, in order; empty when `last` is earlier."""
    start, count = parse_day(first), (parse_day(last) - parse_day(first)).days + 1
    return [(start + timedelta(days=n)).isoformat() for n in range(count)]


def days_of_month(month: str) -> list[str]:
    """The local days of a month (``2026-05``)."""
    first = parse_day(f"{month}-01")
    after = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    return days_between(first.isoformat(), (after - timedelta(days=1)).isoformat())


def interval_ends(day: str, minutes: int, zone_name: str) -> range:
    """The interval ends of a local day, in order: 96 of 15 minutes, the last one being midnight."""
    start, end = day_bounds(day, zone_name)
    return range(start + minutes * 60, end + 1, minutes * 60)


def local_time(at: int, zone_name: str) -> datetime:
    """`at` on the wall of an office."""
    return datetime.fromtimestamp(at, zone(zone_name))


def parse_day(text: str) -> date:
    """A local date of 2000 to 2199, where no arithmetic leaves the calendar; raises PeriodFault (TQ-PD-02).

    One day has one spelling: days are keys, and ISO weeks (``2026-W19-1``) would make a second one.
    """
    try:
        day = date.fromisoformat(text if _DAY.fullmatch(text) else "")
    except ValueError as error:
        raise PeriodFault("TQ-PD-02", f"{text!r:.40} is not a date", "write YYYY-MM-DD") from error
    if not 2000 <= day.year < 2200:
        raise PeriodFault("TQ-PD-02", f"{text!r:.40} is not a date of this network", "write YYYY-MM-DD, from 2000 on")
    return day


def parse_at(period: Period, text: str, zone_name: str) -> tuple[int, int]:
    """``--at`` as (from, to]: RFC 3339 (the end) for hours, else a local date, month or year; raises PeriodFault."""
    match period:
        case Period.HOUR:
            end = parse_rfc3339(text)
            if end % HOUR_S:
                raise PeriodFault("TQ-PD-04", f"{text} is not the end of an hour", "give the full hour that ends it")
            return end - HOUR_S, end
        case Period.DAY:
            return day_bounds(text, zone_name)
        case Period.MONTH:
            return month_bounds(_shortened(text, _MONTH, 7), zone_name)
        case Period.YEAR:
            return year_bounds(_shortened(text, _YEAR, 4), zone_name)


def _shortened(text: str, form: re.Pattern[str], length: int) -> str:
    """A month or a year as it is, or the one of a date; raises PeriodFault (TQ-PD-02)."""
    if not form.fullmatch(text):
        parse_day(text)
    return text[:length]


def parse_rfc3339(text: str) -> int:
    """UTC seconds; raises PeriodFault (TQ-PD-03) when the text has no offset or no sense."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise PeriodFault("TQ-PD-03", f"{text!r:.40} is not a time", "write 2026-05-04T10:00:00+05:00") from error
    if moment.tzinfo is None or not 2000 <= moment.year < 2200:
        raise PeriodFault("TQ-PD-03", f"{text!r:.40} has no offset from UTC", "write 2026-05-04T10:00:00+05:00 or …Z")
    return int(moment.timestamp())


def parse_local(text: str, zone_name: str) -> int:
    """UTC seconds of ``2026-05-04T10:30`` in local time, or with its own offset; raises PeriodFault (TQ-PD-03)."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise PeriodFault("TQ-PD-03", f"{text!r:.40} is not a time", "write 2026-05-04T10:30") from error
    if not 2000 <= moment.year < 2200:
        raise PeriodFault("TQ-PD-03", f"{text!r:.40} is not a time of this network", "write 2026-05-04T10:30")
    return int((moment if moment.tzinfo else moment.replace(tzinfo=zone(zone_name))).timestamp())


def rfc3339(at: int) -> str:
    """``2026-05-04T05:00:00Z``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _midnight(day: date, zone_name: str) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone(zone_name)).timestamp())
