"""Interruptions of supply and what they come to: SAIDI, SAIFI, CAIDI after IEEE Std 1366. Ground floor; reading walk.

Pure. An interruption counts where it begins; its minutes count in every period that it reaches into. Momentary ones, up
to five minutes, are left out, as the standard leaves them out. Planned ones and major events are not told apart here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from gridmodel.identity import DistrictId, TransformerId

MOMENTARY_S = 300
"""IEEE Std 1366-2022, 3: an interruption that is over within five minutes is momentary."""


@dataclass(frozen=True, slots=True)
class Interruption:
    """One transformer's consumers without supply."""

    transformer: TransformerId
    district: DistrictId
    begin: int
    """UTC seconds."""
    end: int | None
    """None while it lasts."""
    customers: int
    """Usage points without supply."""


@dataclass(frozen=True, slots=True)
class Indices:
    """What interruptions come to in one period, for the average customer of an area."""

    customers: int
    """Usage points of the area, with or without interruptions."""
    interruptions: int
    """Sustained ones that began in the period."""
    customer_interruptions: int
    """Customers times those interruptions."""
    customer_s: int
    """Customers times seconds without supply within the period."""

    @property
    def saifi(self) -> float | None:
        """Interruptions of the average customer; None without customers."""
        return self.customer_interruptions / self.customers if self.customers else None

    @property
    def saidi_min(self) -> float | None:
        """Minutes without supply of the average customer; None without customers."""
        return self.customer_s / 60 / self.customers if self.customers else None

    @property
    def caidi_min(self) -> float | None:
        """Minutes until supply is back, for the average interrupted customer; None without an interruption."""
        return self.customer_s / 60 / self.customer_interruptions if self.customer_interruptions else None


def indices(interruptions: Iterable[Interruption], customers: int, first: int, last: int) -> Indices:
    """The indices of an area with so many customers over (first, last], `last` being at most the present.

    An interruption that lasts still counts up to `last`.
    """
    count = customer_interruptions = customer_s = 0
    for one in interruptions:
        end = last if one.end is None else one.end
        if end - one.begin <= MOMENTARY_S:
            continue
        customer_s += one.customers * max(0, min(end, last) - max(one.begin, first))
        if first < one.begin <= last:
            count += 1
            customer_interruptions += one.customers
    return Indices(customers, count, customer_interruptions, customer_s)
