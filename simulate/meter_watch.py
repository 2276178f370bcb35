"""The meters of one simulated node: the driver at the port, watched; contacts that tell of moves. Floor: simulate.

Meters live on the world's time, whatever the node's clock shows. A command is watched from its leaving to its outcome;
a node may die while one is on its way, and the meter obeys all the same.
"""

import asyncio
from collections.abc import Callable, Mapping

from gridmodel.clock import IoClock, Rng, UtilityClock
from protocols.driver import MeterSnapshot, MeterTarget, RelayCommand, RelayReading, WritePermit
from protocols.profile import MeterProfile
from simulate.check_relays import RelayChecker
from simulate.crash import SimulatedCrash
from simulate.driver import MeterFaults, SimDriver
from simulate.face import MeterFaces
from simulate.faults import Faults
from simulate.grid import Grid
from simulate.scenario import AtEvent
from simulate.trace import Trace
from simulate.truth import GridTruth

BYTES_EVERY = 16
"""One read in so many goes through the meter's bytes and its profile, to be compared with the others."""
COMMAND_LATENCY_S = (0.05, 1.5)
"""From the node to the meter's relay."""


class ToldTruth(GridTruth):
    """A truth that tells of every contact that moves."""

    def __init__(self, grid: Grid, profiles: Mapping[str, MeterProfile]) -> None:
        super().__init__(grid, profiles)
        self.moved: Callable[[str, bool, int], None] = _untold
        """Told of (meter, closed, world time) after a contact moved."""

    def move_relay(self, meter: str, *, closed: bool, at: int) -> None:
        """See `GridTruth.move_relay`."""
        index = self.index(meter)
        before = self.connected(index)
        super().move_relay(meter, closed=closed, at=at)
        if self.connected(index) != before:
            self.moved(meter, closed, at)


class WatchedDriver:
    """`MeterDriver` of one incarnation of a node, over `SimDriver`."""

    def __init__(
        self,
        node: str,
        faces: MeterFaces,
        *,
        clock: UtilityClock,
        io_clock: IoClock,
        rng: Rng,
        state: MeterFaults,
        hung: set[str],
        faults: Faults,
        checker: RelayChecker,
        trace: Trace,
        die: Callable[[str], SimulatedCrash],
        asked: Callable[[str], None],
    ) -> None:
        """`clock` is the world's; `state` and `hung` are shared by all incarnations of the node.

        `asked` is told of every meter that the node asks, before it answers.
        """
        self._node = node
        self._inner = SimDriver([faces], clock=clock, io_clock=io_clock, rng=rng, faults=state, bytes_every=BYTES_EVERY)
        self._io_clock = io_clock
        self._rng = rng
        self._faults = faults
        self._checker = checker
        self._trace = trace
        self._die = die
        self._asked = asked
        self._hung = hung

    async def read(self, target: MeterTarget) -> MeterSnapshot:
        """See `MeterDriver.read`."""
        self._asked(target.meter)
        if target.meter in self._hung:
            await self._hang()
        return await self._inner.read(target)

    async def read_relay(self, target: MeterTarget) -> RelayReading:
        """See `MeterDriver.read_relay`."""
        if target.meter in self._hung:
            await self._hang()
        return await self._inner.read_relay(target)

    async def control(self, target: MeterTarget, command: RelayCommand, permit: WritePermit) -> None:
        """See `MeterDriver.control`."""
        meter = str(target.meter)
        self._trace.add("command", self._node, f"{command.value} {meter} {permit.intent_id}")
        self._checker.command_begins(self._node, meter, command, permit.intent_id)
        try:
            if target.meter in self._hung:
                await self._hang()
            if self._faults.strikes(AtEvent.NODE_CRASH_AT_COMMAND):
                await self._inner.control(target, command, permit)
                raise self._die(f"while {meter} obeyed")
            if self._faults.strikes(AtEvent.COMMAND_LOST):
                await self._lost(target, command, permit, arrives=False)
            if self._faults.strikes(AtEvent.COMMAND_REPLY_LOST):
                await self._lost(target, command, permit, arrives=True)
            await self._io_clock.sleep(self._rng.uniform(*COMMAND_LATENCY_S))
            await self._inner.control(target, command, permit)
        finally:
            self._checker.command_ends(self._node, meter)

    async def close(self) -> None:
        """See `MeterDriver.close`."""
        await self._inner.close()

    async def _hang(self) -> None:
        """A broken driver: it breaks the port's promise, and only the caller's own patience helps."""
        self._faults.happened("driver_call_hung")
        await asyncio.get_running_loop().create_future()

    async def _lost(self, target: MeterTarget, command: RelayCommand, permit: WritePermit, *, arrives: bool) -> None:
        """The command or its answer is lost, as `SimDriver` would lose it."""
        state, odds = self._inner.faults, (self._inner.faults.lost_request, self._inner.faults.lost_reply)
        state.lost_request, state.lost_reply = (0.0, 1.0) if arrives else (1.0, 0.0)
        try:
            await self._inner.control(target, command, permit)
        finally:
            state.lost_request, state.lost_reply = odds


def _untold(_meter: str, _closed: bool, _at: int) -> None:
    """Nobody listens yet."""
