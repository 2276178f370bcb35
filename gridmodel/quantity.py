"""Amounts: integer Wh and tiyin, exact multipliers, percentages that round up. Ground floor; on every walk.

Floats never hold money or energy. Faces and files alone turn tiyin into soʻm and Wh into kWh.
"""

import re
from dataclasses import dataclass
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from math import ceil

from gridmodel.fault import Fault

TIYIN_PER_SOM = 100
WH_PER_KWH = 1_000

MONEY_TIYIN_MAX = 10**15
"""Ten trillion soʻm: above every real account, far below 2**63."""
REGISTER_WH_MAX = 2**53
"""Nine petawatt-hours: the largest integer that also survives a float64 register."""
POWER_W_MAX = 2_000_000_000
"""Two gigawatts: above the largest boundary line of the model country."""

_SOM = re.compile(r"(-?)(\d{1,14})(?:[.,](\d{1,2}))?\Z", re.ASCII)
_KWH = re.compile(r"(\d{1,13})(?:[.,](\d{1,3}))?\Z", re.ASCII)
_SPACES = {ord(space): None for space in " \u00a0\u202f'"}


class QuantityFault(Fault):
    """An amount that cannot be one."""


def parse_som(text: str) -> int:
    """``12 500,50`` or ``12500.5`` in soʻm as tiyin (1,250,050); raises QuantityFault (TQ-QT-01)."""
    match = _SOM.match(text.strip().translate(_SPACES))
    if match is None:
        raise QuantityFault(
            "TQ-QT-01", f"{text!r:.40} is not an amount in soʻm", "write digits with at most two decimals: 12500.50"
        )
    sign, whole, cents = match.groups()
    tiyin = int(whole) * TIYIN_PER_SOM + int((cents or "0").ljust(2, "0"))
    return checked_money(-tiyin if sign else tiyin)


def parse_kwh(text: str) -> int:
    """A meter's display, ``12 345,678`` or ``12345.6`` in kWh, as Wh; raises QuantityFault (TQ-QT-04)."""
    match = _KWH.match(text.strip().translate(_SPACES))
    register_wh = -1 if match is None else int(match[1]) * WH_PER_KWH + int((match[2] or "").ljust(3, "0"))
    if not 0 <= register_wh <= REGISTER_WH_MAX:
        raise QuantityFault(
            "TQ-QT-04", f"{text!r:.40} is no register in kWh", "copy the display: digits with at most three decimals"
        )
    return register_wh


def checked_money(tiyin: object) -> int:
    """`tiyin` if it is an amount an account can hold; raises QuantityFault (TQ-QT-02)."""
    if not isinstance(tiyin, int) or isinstance(tiyin, bool) or abs(tiyin) > MONEY_TIYIN_MAX:
        raise QuantityFault(
            "TQ-QT-02", f"{tiyin!r:.40} tiyin is no possible amount", "check the amount and its unit (tiyin, not soʻm)"
        )
    return tiyin


def percent_rounded_up(count: int, percent: Fraction) -> int:
    """`percent` of `count`, rounded up, at least 1 when `count` is positive: how every brake and quota is counted."""
    if count <= 0:
        return 0
    return max(1, -(-count * percent.numerator // (100 * percent.denominator)))


def rounded(value: float, digits: int, *, down: bool = False) -> Decimal:
    """A share or percentage as people see it. Pages, commands and reports all round here, once, from the exact value.

    Half goes to the even digit; `down` never says more than there is (99.96 % of the readings are not all of them).
    """
    exact = Decimal(repr(float(value)))
    return exact.quantize(Decimal(1).scaleb(-digits), ROUND_FLOOR if down else ROUND_HALF_EVEN) + 0  # never -0.0


@dataclass(frozen=True, slots=True)
class Multiplier:
    """CT ratio × VT ratio between the meter's register and the energy in the line, exact."""

    numerator: int = 1
    denominator: int = 1

    def __post_init__(self) -> None:
        if not (0 < self.numerator <= 10**7 and 0 < self.denominator <= 10**7):
            raise QuantityFault(
                "TQ-QT-03",
                f"{self.numerator}/{self.denominator} is no possible CT × VT multiplier",
                "both parts are whole numbers from 1 to 10,000,000",
            )

    def apply(self, register_wh: int) -> int:
        """The primary register for the meter's. Registers are multiplied, never differences: no rounding adds up."""
        return register_wh * self.numerator // self.denominator


@dataclass(frozen=True, slots=True)
class Resolution:
    """How fine an energy register can be: its smallest step, which in a binary float grows with what it shows.

    A 32-bit float of kWh steps by 1 Wh up to 16,384 kWh, by 8 Wh at 100,000 kWh and by 16 Wh from 131,072 kWh on: no
    energy is lost by it, but an interval is only known to one step.
    """

    step_wh: int = 1
    """Of a register of whole numbers, rounded up."""
    float_bits: int = 0
    """Digits of a float's mantissa, the hidden one included: 24 or 53 (IEEE 754); 0 for whole numbers."""
    float_numerator: int = 1
    """The energy of 1.0 in a float register, Wh, as a fraction: 1000/1 for kWh."""
    float_denominator: int = 1

    @classmethod
    def of(cls, one_wh: Fraction, float_bits: int = 0) -> "Resolution":
        """Of a register in which 1 stands for `one_wh` Wh: a whole number, or a float of so many digits."""
        if float_bits:
            return cls(1, float_bits, one_wh.numerator, one_wh.denominator)
        return cls(max(1, ceil(one_wh)))

    def at(self, register_wh: int) -> int:
        """The step in Wh, rounded up, where the register shows `register_wh`."""
        top, bottom = register_wh * self.float_denominator, self.float_numerator
        if not self.float_bits or top <= 0:
            return self.step_wh
        exponent = top.bit_length() - bottom.bit_length()
        if (top << max(-exponent, 0)) < (bottom << max(exponent, 0)):
            exponent -= 1  # now 2**exponent <= top / bottom < 2**(exponent + 1)
        shift = self.float_bits - 1 - exponent
        step = -((-bottom << max(-shift, 0)) // (self.float_denominator << max(shift, 0)))
        return max(self.step_wh, step)

    def times(self, multiplier: Multiplier) -> "Resolution":
        """The same register in primary energy."""
        return Resolution(
            -(-self.step_wh * multiplier.numerator // multiplier.denominator),
            self.float_bits,
            self.float_numerator * multiplier.numerator,
            self.float_denominator * multiplier.denominator,
        )


WHOLE_WH = Resolution()
"""A register that tells every watt-hour."""
