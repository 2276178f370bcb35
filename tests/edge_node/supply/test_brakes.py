"""Brakes: pure counts, and the windows they are counted in."""

import asyncio
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.store.operations import CutCounts, Movement, Operation
from edge_node.supply.brakes import PointCounts, brakes, node_day_limit
from gridmodel.control import Cause
from gridmodel.identity import TransformerId
from gridmodel.policy import Reason
from tests.edge_node.supply.network import meter_id, point_id
from tests.edge_node.supply.office import changed, opened, rules
from tests.edge_node.supply.ports import MORNING

NONE = CutCounts(0, 0, 0, 0, 0, None)
POINTS = PointCounts(42_000, 80)
RULES = changed(rules(), max_cuts_per_node_day_pct=Fraction(1, 10), max_cuts_per_transformer_day_pct=Fraction(5))


@pytest.mark.parametrize(
    ("counts", "held"),
    [
        (NONE, ()),
        (CutCounts(4, 41, 2, 3, 0, MORNING - 900), ()),
        (CutCounts(5, 5, 0, 0, 0, None), (Reason.BRAKE_10_MINUTES,)),
        (CutCounts(0, 42, 0, 0, 0, None), (Reason.BRAKE_NODE_DAY,)),
        (CutCounts(0, 3, 3, 3, 0, None), (Reason.BRAKE_TRANSFORMER_HOUR,)),
        (CutCounts(0, 4, 0, 4, 0, None), (Reason.BRAKE_TRANSFORMER_DAY,)),
        (CutCounts(0, 1, 0, 1, 1, None), (Reason.BRAKE_METER,)),
        (CutCounts(0, 0, 0, 0, 0, MORNING - 899), (Reason.BRAKE_METER,)),
        (CutCounts(0, 0, 0, 0, 0, MORNING + 86_400), (Reason.BRAKE_METER,)),
    ],
)
def test_each_brake_at_its_own_figure(counts: CutCounts, held: tuple[Reason, ...]) -> None:
    assert brakes(counts, RULES, POINTS, MORNING) == held


def test_shares_are_rounded_up_and_at_least_one() -> None:
    assert [node_day_limit(RULES, PointCounts(n, 1)) for n in (1, 999, 1000, 1001, 42_000)] == [1, 1, 1, 2, 42]
    assert brakes(NONE, RULES, PointCounts(1, 1), MORNING) == ()
    assert Reason.BRAKE_TRANSFORMER_DAY in brakes(NONE, RULES, PointCounts(1, 0), MORNING), "no transformer, no cut"


@given(counts=st.builds(CutCounts, *[st.integers(0, 60)] * 5, st.one_of(st.none(), st.integers(0, 2 * MORNING))))
def test_more_cuts_never_release_a_brake(counts: CutCounts) -> None:
    held = set(brakes(counts, RULES, POINTS, MORNING))
    more = CutCounts(
        counts.node_10min + 1,
        counts.node_day + 1,
        counts.transformer_hour + 1,
        counts.transformer_day + 1,
        counts.meter_day + 1,
        counts.meter_moved_at,
    )
    assert held <= set(brakes(more, RULES, POINTS, MORNING))


def test_windows_slide_and_the_future_is_now(tmp_path: Path) -> None:
    """Intents 30 h, 20 h, 50 min, 5 min ago, and one stamped by a clock that was a day ahead."""

    async def whole() -> None:
        async with opened(tmp_path) as office:
            operations = office.sources.operations
            ages = [30 * 3600, 20 * 3600, 3000, 300, -86_400]
            for number, age in enumerate(ages):
                operation = Operation(
                    id=f"op-{number}",
                    usage_point=point_id(number),
                    meter=meter_id(number),
                    transformer=TransformerId("tr-0" if number % 2 else "tr-1"),
                    action=Movement.CUT,
                    cause=Cause.DEBT,
                    basis={},
                    mandate=None,
                    intent_at=MORNING - age,
                )
                await office.control.write(lambda conn, one=operation: operations.put(conn, one, MORNING))  # type: ignore[misc]

            async def counted(number: int, but: str = "") -> CutCounts:
                return await office.control.read(
                    lambda conn: operations.cut_counts(
                        conn, point_id(number), meter_id(number), TransformerId("tr-1"), MORNING, but
                    )
                )

            assert await counted(0) == CutCounts(2, 4, 2, 2, 0, MORNING - 30 * 3600)
            assert await counted(3) == CutCounts(2, 4, 2, 2, 1, MORNING - 300)
            assert await counted(4) == CutCounts(2, 4, 2, 2, 1, MORNING + 86_400)
            assert await counted(4, but="op-4") == CutCounts(1, 3, 1, 1, 0, None)

    asyncio.run(whole())
