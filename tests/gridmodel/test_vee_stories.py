"""Whole lives of a point: meters that wrap, are exchanged and fall silent. What is booked is what they counted."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridmodel.identity import MeterId
from gridmodel.reading import Channel, IntervalReading, Mark, Quality, RegisterRead
from gridmodel.vee import RULES, Exchange, LastRegister, VeeRules, exchanged, validate

QUARTER_S = 900
WRAP_WH = 100_000
RULES_HERE = VeeRules(interval_minutes=15, power_w_max=40_000, register_wh_wrap=WRAP_WH)
CHANNEL = Channel.IMPORT


@dataclass(frozen=True)
class Step:
    """Some quarters in which the point takes energy, and what happens at their end."""

    energies: tuple[int, ...]
    """One per quarter, Wh."""
    polled: bool
    """Whether the read at their end succeeds."""
    exchange_s: int | None
    """So many seconds into the next quarter the meter is exchanged; None: it stays."""
    before_wh: int
    """Taken in that quarter before the exchange, Wh."""


STEPS = st.lists(
    st.builds(
        Step,
        energies=st.lists(st.integers(0, 8_000), min_size=1, max_size=3).map(tuple),
        polled=st.booleans(),
        exchange_s=st.none() | st.none() | st.integers(1, QUARTER_S - 1),
        before_wh=st.integers(0, 1_000),
    ),
    min_size=1,
    max_size=20,
)


@dataclass
class Life:
    """A point's meter as it counts, and the books beside it."""

    number: int = 0
    register_wh: int = 99_000
    at: int = 0
    truth: dict[int, int] = field(default_factory=dict)
    """By interval end."""
    exchange: Exchange | None = None
    last: LastRegister | None = None
    booked: dict[int, IntervalReading] = field(default_factory=dict)
    silent: int = 0
    """Quarters since the last read that succeeded."""

    @property
    def meter(self) -> MeterId:
        return MeterId(f"m-{self.number}")

    def count(self, wh: int, end: int) -> None:
        self.register_wh = (self.register_wh + wh) % WRAP_WH
        self.truth[end] = self.truth.get(end, 0) + wh

    def live(self, step: Step) -> None:
        for wh in step.energies:
            self.at += QUARTER_S
            self.count(wh, self.at)
            self.silent += 1
        # A register that may have gone round twice says nothing: after so long a silence the read succeeds.
        if step.polled or self.silent > 6 or self.exchange is not None:
            self.read()
        if step.exchange_s is not None:
            self.count(step.before_wh, self.at + QUARTER_S)
            old, final_wh = self.meter, self.register_wh
            self.number, self.register_wh = self.number + 1, 17 * self.number
            moment = self.at + step.exchange_s
            self.exchange = Exchange(old, moment, final_wh, moment, self.register_wh, RULES_HERE)
            self.at += QUARTER_S
            self.silent += 1
            self.count(500, self.at)

    def read(self) -> None:
        read = RegisterRead("p", self.meter, CHANNEL, self.at, self.register_wh)
        if self.exchange is not None and self.last is not None:
            made = exchanged(self.last, self.exchange, read, RULES_HERE)
            assert made == exchanged(self.last, self.exchange, read, RULES_HERE)
        else:
            made = validate(self.last, read, RULES_HERE)
            assert made == validate(self.last, read, RULES_HERE)
        assert not set(made.marks) & {Mark.RESET, Mark.SPIKE}
        assert not {one.end for one in made.intervals} & set(self.booked), "nothing is booked twice"
        self.booked |= {one.end: one for one in made.intervals}
        self.last, self.exchange, self.silent = made.last, None, 0
        assert made.last is not None
        again = validate(made.last, read, RULES_HERE)
        assert (again.intervals, again.last) == ((), made.last), "a read that is repeated says nothing new"


@given(STEPS)
def test_what_is_booked_is_what_the_meters_counted(steps: list[Step]) -> None:
    life = Life()
    life.read()
    for step in steps:
        life.live(step)
    assert life.last is not None
    known = {end: wh for end, wh in life.truth.items() if end <= life.last.at}
    assert sorted(life.booked) == sorted(known)
    assert sum(one.energy_wh or 0 for one in life.booked.values()) == sum(known.values())
    for end, one in life.booked.items():
        if one.quality is Quality.ACTUAL:
            assert one.energy_wh == known[end]
        assert bool(one.method) == (one.quality is Quality.ESTIMATED)


def test_a_years_gap_is_no_work() -> None:
    last = LastRegister(MeterId("m"), 0, 1_000, 0)
    year = RegisterRead("p", MeterId("m"), CHANNEL, 365 * 86_400, 900_000)
    made = validate(last, year, RULES_HERE)
    assert (made.intervals, made.marks) == ((), (Mark.GAP,))
    longest = replace(year, at=RULES_HERE.gap_days_max * 86_400, register_wh=9_000)
    assert len(validate(last, longest, RULES_HERE).intervals) == RULES_HERE.gap_days_max * 96


@pytest.mark.parametrize("minutes", [15, 30, 60])
def test_a_gap_is_as_many_days_and_a_meter_as_long_stuck_whatever_the_interval(minutes: int) -> None:
    rules, length = VeeRules(minutes, 40_000, None), minutes * 60
    last = LastRegister(MeterId("m"), 0, 1_000, 0)
    filled = validate(last, RegisterRead("p", MeterId("m"), CHANNEL, 45 * 86_400, 1_000), rules)
    assert (len(filled.intervals), filled.marks) == (45 * 86_400 // length, (Mark.STUCK, Mark.GAP))
    beyond = validate(last, RegisterRead("p", MeterId("m"), CHANNEL, 45 * 86_400 + length, 1_000), rules)
    assert (beyond.intervals, beyond.marks) == ((), (Mark.GAP,))
    still = replace(last, at=14 * 86_400 - length)
    assert validate(still, RegisterRead("p", MeterId("m"), CHANNEL, 14 * 86_400, 1_000), rules).marks == (Mark.STUCK,)
    still = replace(last, at=14 * 86_400 - 2 * length)
    assert validate(still, RegisterRead("p", MeterId("m"), CHANNEL, still.at + length, 1_000), rules).marks == ()


def test_every_rule_has_its_row_and_every_threshold_its_field() -> None:
    assert set(RULES) == set(Mark)
    assert {rule.threshold for rule in RULES.values()} - {None} <= set(VeeRules.__slots__)
    page = (Path(__file__).parents[2] / "docs" / "reference" / "vee.md").read_text("utf-8")
    for mark, rule in RULES.items():
        assert f"| `{mark.value}` | {rule.checks} |" in page


def test_a_small_fall_counts_as_standing_still_and_a_large_one_as_a_reset() -> None:
    rules = replace(RULES_HERE, register_wh_wrap=None, decrease_wh_max=16)
    last = LastRegister(MeterId("m"), 0, 1_000, 0)
    small = validate(last, RegisterRead("p", MeterId("m"), CHANNEL, QUARTER_S, 990), rules)
    assert [(one.energy_wh, one.quality, one.register_wh) for one in small.intervals] == [(0, Quality.ACTUAL, 1_000)]
    assert small.marks == (Mark.DECREASE,)
    assert small.last is not None
    risen = validate(small.last, RegisterRead("p", MeterId("m"), CHANNEL, 2 * QUARTER_S, 1_008), rules)
    assert [one.energy_wh for one in risen.intervals] == [8], "what it fell by is not counted once more"
    large = validate(last, RegisterRead("p", MeterId("m"), CHANNEL, QUARTER_S, 983), rules)
    assert (large.intervals, large.marks) == ((), (Mark.RESET,))
