"""Plans: worked out once for each span, whoever asks, and anew when registry or span changes."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from edge_node.metering.plans import Plans
from edge_node.metering.polling import plan_of
from tests.edge_node.metering.small_grid import MIDNIGHT, PROFILES, at_version, grid, link, placed

T = TypeVar("T")
CHANGE = MIDNIGHT + 3_600
LINKS = [link("up-1", "t-1"), link("up-2", "t-1")]
REGISTRY = grid(
    LINKS, [placed("m-1", "up-1"), placed("m-2", "up-2", until=CHANGE), placed("m-3", "up-2", since=CHANGE)]
)


class CountingCompute:
    """Runs the work a turn of the loop later, and counts the plans."""

    plans = 0

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        await asyncio.sleep(0)
        self.plans += function is plan_of
        return function(*arguments)


def test_all_who_ask_at_once_share_one_plan() -> None:
    asyncio.run(_all_who_ask_at_once())


async def _all_who_ask_at_once() -> None:
    compute = CountingCompute()
    plans = Plans(PROFILES, compute)
    first, second = await asyncio.gather(plans.of(REGISTRY, MIDNIGHT), plans.of(REGISTRY, MIDNIGHT))
    assert first is second
    assert compute.plans == 1


def test_both_sides_of_a_change_are_kept_and_another_registry_begins_anew() -> None:
    asyncio.run(_both_sides_of_a_change())


async def _both_sides_of_a_change() -> None:
    compute = CountingCompute()
    plans = Plans(PROFILES, compute)
    before, after = await plans.of(REGISTRY, CHANGE), await plans.of(REGISTRY, CHANGE + 1)
    assert [sorted(one.meters) for one in (before, after)] == [["m-1", "m-2"], ["m-1", "m-3"]]
    assert await plans.of(REGISTRY, CHANGE) is before
    assert compute.plans == 2
    assert await plans.of(at_version(REGISTRY, 2), CHANGE) is not before
