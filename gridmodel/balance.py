"""Balances: what was supplied, delivered, exported in an hour, and what that figure does not know. Ground floor.

On the reading walk. Sign convention: `supplied` is energy that entered the area (feeder heads + generation + boundary
in − out); `delivered` is what its usage points took; `exported` is what its usage points gave back and counts as
supply; loss = supplied + exported − delivered. All integer Wh.
"""

from dataclasses import dataclass, fields
from enum import StrEnum
from operator import add, attrgetter, sub

COMPLETENESS_PCT_MIN = 98.0
"""Below this share of known usage-point intervals a loss is not told: what is missing would be called theft."""


@dataclass(frozen=True, slots=True)
class HourCell:
    """The balance of one area or transformer over one hour, or the sum of several such."""

    supplied_wh: int = 0
    delivered_wh: int = 0
    exported_wh: int = 0
    supply_expected: int = 0
    """Supply-point intervals that should be known."""
    supply_missing: int = 0
    points_expected: int = 0
    """Usage-point intervals that should be known."""
    points_actual: int = 0
    points_estimated: int = 0
    """Estimated or suspect: booked, not trusted."""
    points_missing: int = 0

    def __add__(self, other: "HourCell") -> "HourCell":
        return HourCell(*map(add, self.as_tuple(), other.as_tuple()))

    def __sub__(self, other: "HourCell") -> "HourCell":
        return HourCell(*map(sub, self.as_tuple(), other.as_tuple()))

    def as_tuple(self) -> tuple[int, ...]:
        """The values in the order of `CELL_FIELDS`: the order on the wire and in stores."""
        values: tuple[int, ...] = _VALUES(self)
        return values


CELL_FIELDS: tuple[str, ...] = tuple(field.name for field in fields(HourCell))
"""The order of a cell's values on the wire and in stores; it only ever grows at the end."""
_VALUES = attrgetter(*CELL_FIELDS)

NO_ENERGY = HourCell()


class LossUnknown(StrEnum):
    """Why a loss cannot be told."""

    NOTHING_REPORTED = "nothing_reported"
    UNMETERED = "unmetered"
    """Nothing measures the supply."""
    SUPPLY_MISSING = "supply_missing"
    READINGS_MISSING = "readings_missing"


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss that can be told."""

    loss_wh: int
    loss_pct: float | None
    """Of the energy that entered; None when nothing did."""


def completeness_pct(cell: HourCell) -> float | None:
    """The share of usage-point intervals that are booked, in percent; None where none are expected."""
    if cell.points_expected == 0:
        return None
    return 100.0 * (cell.points_actual + cell.points_estimated) / cell.points_expected


def loss_of(cell: HourCell) -> Loss | None:
    """The loss, or None where it cannot be known: no supply metered, supply missing, too many points missing."""
    share_pct = completeness_pct(cell)
    if cell.supply_expected == 0 or cell.supply_missing > 0:
        return None
    if share_pct is not None and share_pct < COMPLETENESS_PCT_MIN:
        return None
    entered_wh = cell.supplied_wh + cell.exported_wh
    loss_wh = entered_wh - cell.delivered_wh
    return Loss(loss_wh, 100.0 * loss_wh / entered_wh if entered_wh else None)


def why_unknown(cell: HourCell) -> LossUnknown | None:
    """Why `loss_of` gives nothing; None where it gives a loss."""
    if loss_of(cell) is not None:
        return None
    if not cell.supply_expected:
        return LossUnknown.UNMETERED if cell.points_expected else LossUnknown.NOTHING_REPORTED
    return LossUnknown.SUPPLY_MISSING if cell.supply_missing else LossUnknown.READINGS_MISSING
