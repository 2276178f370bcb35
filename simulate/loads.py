"""What a consumer draws, interval by interval, from a seed. Floor: simulate; it feeds the reading walk.

Measured household series (SimBench, German) give the *noise* of a household; the day's shape is ours. Recipe: pick one
of five series, move it by up to three weeks on the same weekday and by up to 45 minutes, flatten its season, multiply
by (evening-peaked target ÷ mean of all that could have been picked), so that the sum over many consumers peaks at 19:30
at twice its mean. A month's energy is lognormal (median 170 kWh). Companies follow the measured commercial series as
they are. Everything is a pure function of (seed, consumer, day): no state, any day in any order.
"""

import gzip
import math
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SLOTS = 96
"""Quarter hours of a day."""
WEEKS_DAYS = 364
"""Whole weeks of the measured year, so that moving by weeks keeps the weekday."""
FIRST_WEEKDAY = 4
"""The measured year 2016 starts on a Friday (Monday is 0)."""
HOUSEHOLD_SERIES = ("H0-A_pload", "H0-B_pload", "H0-C_pload", "H0-G_pload", "H0-L_pload")
COMPANY_SERIES = ("G0-A_pload", "G1-A_pload", "G3-A_pload", "G4-A_pload", "G6-A_pload", "L0-A_pload")
SHIFT_WEEKS_MAX = 3
JITTER_SLOTS_MAX = 3
PEAK_HOUR = 19.5
PEAK_TO_MEAN = 2.0
HOUSEHOLD_KWH_MEDIAN = 170.0
HOUSEHOLD_SIGMA = 0.62
COMPANY_KWH_MEDIAN = 1_500.0
COMPANY_SIGMA = 0.8
MONTH_DAYS = 365.25 / 12
HOUSEHOLD_W_MAX = 11_000
"""A 50 A fuse: measured spikes times a large household would exceed what its connection carries."""


@dataclass(frozen=True, slots=True)
class Climate:
    """Mean outdoor temperature of a region through the year, and who heats and cools with electricity."""

    january_c: float
    """Mean of the coldest days."""
    july_c: float
    """Mean of the hottest days."""
    heating_share: float = 0.15
    """Part of the households that heat with electricity."""
    cooling_share: float = 0.4

    def temperature_c(self, day: date) -> float:
        """Mean of that day."""
        phase = math.cos(2 * math.pi * (day.timetuple().tm_yday - 15) / 365.25)
        return (self.january_c + self.july_c) / 2 + phase * (self.january_c - self.july_c) / 2


HEATING_BELOW_C = 15.0
HEATING_KWH_PER_DEGREE_DAY = 0.8
COOLING_ABOVE_C = 25.0
COOLING_KWH_PER_DEGREE_DAY = 0.7


@dataclass(frozen=True, slots=True)
class Consumers:
    """The fixed traits of a number of consumers, as columns."""

    household: NDArray[np.bool_]
    series: Ints
    """Row of the series table."""
    shift_days: Ints
    jitter_slots: Ints
    day_wh: Floats
    """Mean energy of a day."""
    heating: NDArray[np.bool_]
    cooling: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.series)


def draw_consumers(household: NDArray[np.bool_], seed: int, climate: Climate | None = None) -> Consumers:
    """Traits for each consumer, `household` telling which kind; the same seed gives the same consumers."""
    dice = np.random.Generator(np.random.PCG64([seed, 0x10AD5]))
    count = len(household)
    series = np.where(
        household,
        dice.integers(0, len(HOUSEHOLD_SERIES), count),
        len(HOUSEHOLD_SERIES) + dice.integers(0, len(COMPANY_SERIES), count),
    )
    shift = dice.integers(-SHIFT_WEEKS_MAX, SHIFT_WEEKS_MAX + 1, count) * 7
    jitter = dice.integers(-JITTER_SLOTS_MAX, JITTER_SLOTS_MAX + 1, count)
    normal = dice.standard_normal(count)
    month_kwh = np.where(
        household,
        HOUSEHOLD_KWH_MEDIAN * np.exp(HOUSEHOLD_SIGMA * normal),
        COMPANY_KWH_MEDIAN * np.exp(COMPANY_SIGMA * normal),
    )
    warm, cool = dice.random(count), dice.random(count)
    return Consumers(
        household=household,
        series=series.astype(np.int64),
        shift_days=shift.astype(np.int64),
        jitter_slots=np.where(household, jitter, 0).astype(np.int64),
        day_wh=month_kwh * 1000 / MONTH_DAYS,
        heating=household & (warm < (climate.heating_share if climate else 0.0)),
        cooling=household & (cool < (climate.cooling_share if climate else 0.0)),
    )


def energies_wh(consumers: Consumers, day: date, climate: Climate | None = None) -> Ints:
    """Energy of each consumer in each quarter hour of a local day: shape (consumers, 96), whole Wh.

    Rounding is carried from slot to slot, so that a day's sum is within one Wh of the exact one.
    """
    slots = np.arange(SLOTS)
    start = (_like_day(day) + consumers.shift_days) * SLOTS + consumers.jitter_slots
    at = (start[:, None] + slots[None, :]) % (WEEKS_DAYS * SLOTS)
    shape = _table()[consumers.series[:, None], at]
    shape = np.where(consumers.household[:, None], shape * _weights(_like_day(day))[None, :], shape)
    exact = shape * (consumers.day_wh[:, None] / SLOTS)
    if climate is not None:
        exact += _weather_wh(consumers, day, climate)
    exact = np.where(consumers.household[:, None], np.minimum(exact, HOUSEHOLD_W_MAX / 4), exact)
    whole = np.floor(np.cumsum(exact, axis=1)).astype(np.int64)
    steps: Ints = np.diff(whole, axis=1, prepend=0)
    return steps


def solar_shape(day: date) -> Floats:
    """Output of a clear-sky plant in each quarter hour as a part of its peak power, 96 values."""
    season = math.cos(2 * math.pi * (day.timetuple().tm_yday - 172) / 365.25)
    half_day_h = 6.0 + 1.4 * season
    hours = (np.arange(SLOTS) + 0.5) / 4
    angle = np.clip((hours - 12.75) / half_day_h, -1.0, 1.0) * (math.pi / 2)
    return np.cos(angle) ** 1.3 * (0.75 + 0.25 * season)


def _weather_wh(consumers: Consumers, day: date, climate: Climate) -> Floats:
    mean_c = climate.temperature_c(day)
    heating_wh = max(0.0, HEATING_BELOW_C - mean_c) * HEATING_KWH_PER_DEGREE_DAY * 1000
    cooling_wh = max(0.0, mean_c - COOLING_ABOVE_C) * COOLING_KWH_PER_DEGREE_DAY * 1000
    extra = np.zeros((len(consumers), SLOTS))
    extra[consumers.heating] += heating_wh * _target() / SLOTS
    afternoon = np.where(np.arange(SLOTS) >= SLOTS // 2, 2.0, 0.0)
    extra[consumers.cooling] += cooling_wh * afternoon / SLOTS
    return extra


def _like_day(day: date) -> int:
    """The day of the measured year with the same weekday and the same season."""
    ordinal = min(day.timetuple().tm_yday - 1, WEEKS_DAYS + 1)
    apart = (day.weekday() - FIRST_WEEKDAY - ordinal) % 7
    return (ordinal + (apart if apart <= 3 else apart - 7)) % WEEKS_DAYS


def _target() -> Floats:
    """The day's shape of a neighbourhood: mean one, twice that at 19:30, a small hump in the morning."""
    hours = (np.arange(SLOTS) + 0.5) / 4

    def hump(centre: float, width_h: float) -> Floats:
        apart = (hours - centre + 12) % 24 - 12
        return np.exp(-0.5 * (apart / width_h) ** 2)

    base = 1.0 + 0.35 * hump(7.5, 1.4) - 0.35 * hump(3.5, 2.5)
    evening = hump(PEAK_HOUR, 2.0)
    at_peak = int(np.argmax(evening))
    height = (PEAK_TO_MEAN * base.mean() - base[at_peak]) / (1.0 - PEAK_TO_MEAN * evening.mean())
    shape = base + height * evening
    even: Floats = shape / shape.mean()
    return even


@lru_cache(maxsize=1)
def _table() -> Floats:
    """(series, slot of the measured weeks), each flattened to a mean of one over every four weeks."""
    path = files("configs").joinpath("load", "simbench_profiles_15min_2016.csv.gz")
    with path.open("rb") as packed, gzip.open(packed, "rt", encoding="utf-8") as text:
        names = text.readline().strip().split(",")
        columns = [names.index(name) for name in (*HOUSEHOLD_SERIES, *COMPANY_SERIES)]
        raw = np.loadtxt(text, delimiter=",", usecols=columns, max_rows=WEEKS_DAYS * SLOTS).T
    return np.stack([_flattened(series) for series in raw])


def _flattened(series: Floats) -> Floats:
    """The series divided by its mean over the four weeks around each moment: the season is the climate's business."""
    span = 28 * SLOTS
    wrapped = np.concatenate([series[-span // 2 :], series, series[: span // 2]])
    sums = np.concatenate([[0.0], np.cumsum(wrapped)])
    means = (sums[span:] - sums[:-span])[: len(series)] / span
    return np.asarray(series / means, dtype=np.float64)


@lru_cache(maxsize=512)
def _weights(like_day: int) -> Floats:
    """Target ÷ mean of every household that could have been picked for that day, 96 values."""
    days = (like_day + 7 * np.arange(-SHIFT_WEEKS_MAX, SHIFT_WEEKS_MAX + 1)) * SLOTS
    moves = np.arange(-JITTER_SLOTS_MAX, JITTER_SLOTS_MAX + 1)
    at = (days[:, None, None] + moves[None, :, None] + np.arange(SLOTS)) % (WEEKS_DAYS * SLOTS)
    picked: Floats = _table()[: len(HOUSEHOLD_SERIES)][:, at].mean(axis=(0, 1, 2))
    return _target() / picked
