"""The gap list is not read when nobody is due, and no gap that comes or waits anew is overlooked for it."""

from dataclasses import replace
from pathlib import Path

from edge_node.store.gaps import GapReason, Settled
from simulate.loop import run_virtual
from tests.edge_node.store.test_readings import FIRST, MONTH_TURN, QUARTER, bookings, opened

NOON = MONTH_TURN - 43_200
DAY_S = 86_400


def test_a_gap_noticed_settled_or_taken_up_again_is_due_though_nothing_was_before(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as readings:
            gaps = readings.gaps
            await readings.book(bookings(readings, NOON, {"p": 1_000}), FIRST)
            assert await gaps.due(NOON + DAY_S, 10) == []
            await readings.book(bookings(readings, NOON + 4 * QUARTER, {"p": 1_400}), FIRST)
            (noticed,) = await gaps.due(NOON + DAY_S, 10)

            later = replace(noticed, due_at=NOON + 2 * DAY_S, tries=1)
            await gaps.settle([Settled(noticed, (later,))])
            assert await gaps.due(NOON + DAY_S, 10) == []
            sooner = replace(later, due_at=NOON + DAY_S, tries=2)
            await gaps.settle([Settled(later, (sooner,))])
            (again,) = await gaps.due(NOON + DAY_S, 10)
            assert again.tries == 2

            given_up = replace(again, due_at=None, reason=GapReason.NO_MEMORY)
            await gaps.settle([Settled(again, (given_up,))])
            assert await gaps.due(NOON + 9 * DAY_S, 10) == []
            assert await gaps.look_again([GapReason.NO_MEMORY], NOON + DAY_S) == 1
            assert len(await gaps.due(NOON + DAY_S, 10)) == 1

    run_virtual(story())
