"""A process that starts on a wall hours ahead, with the link lost: it reads and restores, and cuts nobody."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from gridmodel.clock import ClockDoubt, ClockTrust, TimeBounds
from hosting.clocks import ScaledClock
from tests.edge_node.supply.office import opened
from tests.edge_node.supply.ports import MORNING, HandClock, Meters

AHEAD_S = 5 * 3_600
"""A hardware clock kept in local time."""


@dataclass
class Machine(HandClock):
    """True time in `at`; everything is answered by the product's clock over this machine's wall."""

    ahead_s: int = 0
    real: ScaledClock = field(init=False)

    def __post_init__(self) -> None:
        self.boot()

    def boot(self) -> None:
        self.real = ScaledClock(wall=lambda: float(self.at + self.ahead_s), monotonic=lambda: float(self.at))

    def now(self) -> int:
        return self.real.now()

    def confirmed(self) -> bool:
        return self.real.confirmed()

    def doubts(self) -> tuple[ClockDoubt, ...]:
        return self.real.doubts()

    def trust(self) -> ClockTrust:
        return self.real.trust()

    def bounds(self) -> TimeBounds:
        return self.real.bounds()


def test_nobody_is_cut_by_a_wall_that_nobody_confirmed_since_the_start(tmp_path: Path) -> None:
    async def story() -> None:
        clock = Machine(at=MORNING - AHEAD_S - 600)  # before five in the morning
        meters = Meters(clock)
        clock.real.confirm(clock.now())
        async with opened(tmp_path, clock=clock, meters=meters) as office:
            await office.permissions()
            await office.see_all()
            await office.debtor(3)
            await office.tick_twice()
            assert meters.moved == [], "outside the hours"
        clock.ahead_s = AHEAD_S
        clock.boot()  # the office's power comes back, the link does not
        async with opened(tmp_path, clock=clock, meters=meters) as office:
            await office.tick_twice()
            assert clock.trust() is ClockTrust.TRUSTED, "nothing speaks against it"
            assert meters.moved == []
            clock.ahead_s = 0
            clock.boot()
            clock.at = MORNING
            clock.real.confirm(MORNING)  # the hub's first answer
            await office.tick_twice()
            assert [closed for _, _, closed, _ in meters.moved] == [False]

    asyncio.run(story())
