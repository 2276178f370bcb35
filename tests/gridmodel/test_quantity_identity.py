"""Amounts and names: exact, bounded, refused with a code."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridmodel.fault import Fault
from gridmodel.identity import checked_id, checked_soato, new_id
from gridmodel.quantity import MONEY_TIYIN_MAX, Multiplier, parse_som, percent_rounded_up


class FixedEntropy:
    def token(self, size_bytes: int) -> bytes:
        return bytes(range(size_bytes))


@pytest.mark.parametrize(
    ("text", "tiyin"),
    [("12500", 1_250_000), ("12 500,50", 1_250_050), ("0.05", 5), ("-7,5", -750), ("1 000", 100_000), ("0", 0)],
)
def test_som_is_read_as_people_write_it(text: str, tiyin: int) -> None:
    assert parse_som(text) == tiyin


@pytest.mark.parametrize("text", ["", "abc", "1.234", "1e5", "--1", "١٢", "NaN", "9" * 15, "1,2,3", "0x10"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(Fault) as refused:
        parse_som(text)
    assert refused.value.code.startswith("TQ-QT")


def test_an_amount_no_account_can_hold_is_refused() -> None:
    assert parse_som("9999999999999") < MONEY_TIYIN_MAX
    with pytest.raises(Fault, match="TQ-QT-02"):
        parse_som("99999999999999")


@given(st.integers(1, 10**7), st.fractions(min_value=Fraction(1, 1000), max_value=100))
def test_a_percentage_is_rounded_up_and_at_least_one(count: int, percent: Fraction) -> None:
    share = percent_rounded_up(count, percent)
    assert share >= 1
    assert share * 100 >= count * percent
    assert share == 1 or (share - 1) * 100 < count * percent


def test_a_tenth_of_a_percent_of_the_reference_office() -> None:
    assert percent_rounded_up(42_000, Fraction("0.1")) == 42
    assert percent_rounded_up(400, Fraction("0.1")) == 1
    assert percent_rounded_up(0, Fraction("0.1")) == 0


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=50), st.integers(1, 5000), st.integers(1, 100))
def test_multiplied_registers_lose_nothing_over_many_reads(steps: list[int], numerator: int, denominator: int) -> None:
    ratio = Multiplier(numerator, denominator)
    registers = [sum(steps[:n]) for n in range(len(steps) + 1)]
    primary = [ratio.apply(register) for register in registers]
    energies = [later - earlier for earlier, later in pairwise(primary)]
    assert sum(energies) == ratio.apply(registers[-1])


@pytest.mark.parametrize("parts", [(0, 1), (1, 0), (-1, 1), (10**8, 1)])
def test_an_impossible_multiplier_is_refused(parts: tuple[int, int]) -> None:
    with pytest.raises(Fault, match="TQ-QT-03"):
        Multiplier(*parts)


@pytest.mark.parametrize("text", ["", "a b", "-x", "ж", "x" * 65, None, 7, "a\n", "a/b"])
def test_what_cannot_name_a_thing(text: object) -> None:
    with pytest.raises(Fault, match="TQ-ID-01"):
        checked_id("meter", text)


@pytest.mark.parametrize("text", ["1703202", "1726269"])
def test_a_district_has_its_soato_code(text: str) -> None:
    assert checked_soato("district", text) == text


@pytest.mark.parametrize("text", ["170320", "1803202", "17o3202", "", None, 1703202])
def test_what_is_no_district(text: object) -> None:
    with pytest.raises(Fault, match="TQ-ID-02"):
        checked_soato("district", text)


def test_a_new_name_can_be_checked() -> None:
    name = new_id("pay", FixedEntropy())
    assert checked_id("entry", name) == name
