"""How fine a register is, against what floats really do, and what validation makes of coarse ones."""

import struct
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridmodel.identity import MeterId
from gridmodel.quantity import Multiplier, Resolution
from gridmodel.reading import Channel, Mark, Quality, RegisterRead
from gridmodel.vee import LastRegister, Validated, VeeRules, validate

QUARTER_S = 900
KWH_FLOAT = Resolution(1, 24, 1000, 1)
COARSE = VeeRules(15, 76_000, None, resolution=KWH_FLOAT)


def step_of_float32(kwh: float) -> Fraction:
    """From the float that shows it to the next one, in Wh."""
    bits = struct.unpack(">I", struct.pack(">f", kwh))[0]
    here, beyond = (Fraction(struct.unpack(">f", (bits + more).to_bytes(4, "big"))[0]) for more in (0, 1))
    return (beyond - here) * 1000


def shown_wh(register_wh: int) -> int:
    """What a reader makes of a 32-bit float of kWh."""
    shown: float = struct.unpack(">f", struct.pack(">f", register_wh / 1000))[0]
    return round(Fraction(shown) * 1000)


def read(number: int, register_wh: int) -> RegisterRead:
    return RegisterRead("p-1", MeterId("m-1"), Channel.IMPORT, number * QUARTER_S, register_wh)


def follow(registers: list[int], rules: VeeRules) -> list[Validated]:
    last: LastRegister | None = None
    made = []
    for number, register_wh in enumerate(registers, start=1):
        made.append(validate(last, read(number, register_wh), rules))
        last = made[-1].last
    return made


@given(st.integers(1, 4_000_000_000))
def test_the_step_is_that_of_the_real_float(register_wh: int) -> None:
    """The float nearest to the register may lie just above a doubling of the step; then the finer step is right too."""
    nearest = step_of_float32(register_wh / 1000)
    assert KWH_FLOAT.at(register_wh) in {max(1, ceil(nearest)), max(1, ceil(nearest / 2))}


@pytest.mark.parametrize(
    ("register_wh", "step_wh"),
    [
        (0, 1),
        (16_383_999, 1),
        (16_384_000, 2),
        (16_777_216, 2),
        (65_536_000, 8),
        (100_000_000, 8),
        (131_071_990, 8),
        (131_072_000, 16),
        (1_000_000_000, 63),
    ],
)
def test_the_steps_of_a_kwh_float_that_people_should_know(register_wh: int, step_wh: int) -> None:
    assert KWH_FLOAT.at(register_wh) == step_wh
    assert step_wh == max(1, ceil(step_of_float32(register_wh / 1000)))


def test_multipliers_make_registers_coarser() -> None:
    primary = KWH_FLOAT.times(Multiplier(40))
    assert primary.at(40 * 131_072_000) == 625, "15.625 Wh times 40"
    assert Resolution(10).times(Multiplier(40)).at(5) == 400
    assert Resolution(10).times(Multiplier(1, 3)).at(5) == 4
    assert Resolution(1, 53).at(2**53) == 2
    assert Resolution(1, 53).at(2**53 - 1) == 1


@pytest.mark.parametrize("start_kwh", [16_777.216, 131_072.0])
@pytest.mark.parametrize("load_w", [40, 300])
def test_a_day_on_a_float_register_books_to_the_register_and_says_that_it_is_coarse(
    start_kwh: float, load_w: int
) -> None:
    """Across the step's own doubling: the exact register is cut to the float at every quarter of an hour."""
    start_wh = round(start_kwh * 1000) - load_w * 12
    served = [shown_wh(start_wh + load_w * quarter // 4) for quarter in range(97)]
    made = follow(served, COARSE)
    booked = [one for validated in made for one in validated.intervals]
    assert sum(one.energy_wh or 0 for one in booked) == served[-1] - served[0]
    assert {one.quality for one in booked} == {Quality.ACTUAL}
    marks = {mark for validated in made for mark in validated.marks}
    coarse_expected = KWH_FLOAT.at(served[0]) * 100 > load_w // 4 * 10
    assert marks == ({Mark.COARSE} if coarse_expected else set())
    assert all(abs((one.energy_wh or 0) - load_w / 4) <= KWH_FLOAT.at(served[-1]) for one in booked)


def test_one_step_is_no_spike_and_two_are() -> None:
    rules = VeeRules(15, 300, None, resolution=Resolution(100))
    assert [one.energy_wh for one in follow([0, 100], rules)[1].intervals] == [100], "75 Wh can flow, 100 Wh are shown"
    assert follow([0, 200], rules)[1].marks == (Mark.SPIKE,)
    assert follow([0, 100], replace(rules, resolution=Resolution()))[1].marks == (Mark.SPIKE,)


def test_a_coarse_register_may_stand_still_until_one_watt_had_moved_it() -> None:
    """A CT meter at 131,072 kWh times 40 steps by 625 Wh: 625 hours of one watt."""
    rules = replace(COARSE, resolution=KWH_FLOAT.times(Multiplier(40)))
    register_wh = 40 * 131_072_000
    last = LastRegister(MeterId("m-1"), 0, register_wh, 0)
    for quarters, marks in ((rules.stuck_days * 96, ()), (625 * 4 - 1, ()), (625 * 4, (Mark.STUCK,))):
        still = replace(last, at=(quarters - 1) * QUARTER_S)
        assert validate(still, read(quarters, register_wh), rules).marks == marks
    fine = replace(rules, resolution=Resolution())
    still = replace(last, at=(fine.stuck_days * 96 - 1) * QUARTER_S)
    assert validate(still, read(fine.stuck_days * 96, register_wh), fine).marks == (Mark.STUCK,)


def test_shown_values_lie_one_step_apart_than_any_pair_of_shown_values() -> None:
    """Floats between two powers of two: neighbours really lie one step apart, and nothing lies between."""
    for kwh in (16_384.0, 65_536.0, 131_072.0):
        values = sorted({shown_wh(round(kwh * 1000) + more) for more in range(200)})
        assert max(b - a for a, b in pairwise(values)) <= KWH_FLOAT.at(round(kwh * 1000))
