"""A wall that is set back stops neither polling nor booking: nobody waits for days that are over."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from hosting.clocks import ScaledClock
from protocols.driver import MeterSnapshot, MeterTarget
from simulate.loop import run_virtual
from tests.edge_node.metering.small_grid import MIDNIGHT, grid, link, office, placed

DAY_S = 86_400
LINKS = [link("up-1", "t-1")]
PLACED = [placed("m-1", "up-1")]


@pytest.mark.parametrize(
    ("begins_off_s", "after_s", "then_off_s"),
    [
        pytest.param(DAY_S, 600, 0, id="a day ahead at the start, then set right"),
        pytest.param(0, 3_600, -3 * DAY_S, id="set back three days while it runs"),
        pytest.param(0, 3_600, -1_000, id="set back a quarter of an hour"),
    ],
)
def test_polling_goes_on_behind_a_wall_that_is_set_back(
    tmp_path: Path, begins_off_s: int, after_s: int, then_off_s: int
) -> None:
    async def story() -> None:
        async with office(tmp_path, now=MIDNIGHT) as one:
            loop, off_s = asyncio.get_running_loop(), [float(begins_off_s)]
            clock = ScaledClock(MIDNIGHT, loop.time(), wall=lambda: loop.time() + off_s[0], monotonic=loop.time)
            one.clock.__dict__.update(clock.__dict__)  # the rooms hold this object already
            one.meters.steady("m-1")
            await one.take(grid(LINKS, PLACED))
            begun, reads, read = loop.time(), [0.0], one.meters.read

            async def counted(target: MeterTarget) -> MeterSnapshot:
                reads.append(loop.time() - begun)
                return await read(target)

            one.meters.read = counted  # type: ignore[method-assign]
            rooms = [asyncio.ensure_future(room.run()) for room in (one.collector, one.hour_close, one.day_close)]
            await asyncio.sleep(after_s)
            off_s[0] = float(then_off_s)
            await asyncio.sleep(DAY_S)
            for room in rooms:
                room.cancel()
            await asyncio.gather(*rooms, return_exceptions=True)
            gaps = [later - earlier for earlier, later in pairwise([*reads, loop.time() - begun])]
            assert max(gaps) <= 3_600

    run_virtual(story())
