"""Cells add up, and a loss that cannot be known is not told."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gridmodel.balance import CELL_FIELDS, NO_ENERGY, HourCell, Loss, completeness_pct, loss_of

CELLS = st.builds(HourCell, *[st.integers(0, 10**12)] * len(CELL_FIELDS))
KNOWN = HourCell(1_000, 960, 0, 4, 0, 400, 400, 0, 0)


@given(CELLS, CELLS, CELLS)
def test_cells_add_in_any_order(one: HourCell, two: HourCell, three: HourCell) -> None:
    assert one + two == two + one
    assert (one + two) + three == one + (two + three)
    assert one + NO_ENERGY == one
    assert (one + two) - two == one


@given(CELLS)
def test_a_cell_travels_as_a_tuple(cell: HourCell) -> None:
    assert HourCell(*cell.as_tuple()) == cell


def test_a_known_loss_is_told() -> None:
    assert loss_of(KNOWN) == Loss(40, 4.0)


def test_exported_energy_counts_as_supply() -> None:
    assert loss_of(replace(KNOWN, exported_wh=100)) == Loss(140, 100 * 140 / 1_100)


def test_no_loss_is_told_without_supply_meters_or_with_one_silent() -> None:
    assert loss_of(replace(KNOWN, supply_expected=0)) is None
    assert loss_of(replace(KNOWN, supply_missing=1)) is None


def test_missing_consumption_is_not_called_a_loss() -> None:
    assert loss_of(replace(KNOWN, points_actual=390, points_missing=10)) is None
    assert loss_of(replace(KNOWN, points_actual=396, points_missing=4)) is not None


def test_nothing_in_nothing_out() -> None:
    assert loss_of(replace(NO_ENERGY, supply_expected=1)) == Loss(0, None)
    assert completeness_pct(NO_ENERGY) is None, "nothing is expected: not complete, not incomplete"
