"""The meters of one simulated node: the driver at the port, watched; contacts that tell of moves. Floor: simulate.

Meters live on the world's time, whatever the node's clock shows. A command is watched from its leaving to its outcome;
a node may die while one is on its way, and the meter obeys all the same.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from gridmodel.clock import IoClock, Rng
from protocols.dlms.driver import DlmsDriver
from protocols.driver import (
    ClockPermit,
    ClockReading,
    MeterDriver,
    MeterEvent,
    MeterSnapshot,
    MeterTarget,
    ProfileSlice,
    RelayCommand,
    RelayReading,
    WritePermit,
)
from protocols.profile import MeterProfile
from simulate.crash import SimulatedCrash
from simulate.faults import Faults
from simulate.grid import Grid
from simulate.image import Display
from simulate.judges.relays import RelayChecker
from simulate.scenario import AtEvent
from simulate.trace import Trace
from simulate.truth import GridTruth

COMMAND_LATENCY_S = (0.05, 1.5)
"""From the node to the meter's relay."""


class ToldTruth(GridTruth):
    """A truth that tells of every contact that moves."""

    def __init__(self, grid: Grid, profiles: Mapping[str, MeterProfile], displays: Mapping[str, Display]) -> None:
        super().__init__(grid, profiles, displays)
        self.moved: Callable[[str, bool, int], None] = _untold
        """Told of (meter, closed, world time) after a contact moved."""

    def move_relay(self, meter: str, *, closed: bool, at: int) -> None:
        """See `GridTruth.move_relay`."""
        index = self.index(meter)
        before = self.connected(index)
        super().move_relay(meter, closed=closed, at=at)
        if self.connected(index) != before:
            self.moved(str(self.meter_at(index)), closed, at)


class Way(Protocol):
    """The way to the meters, where commands and their answers can be lost."""

    def losing(self, meter: str, *, arrives: bool) -> AbstractContextManager[None]:
        """Within the block what is sent to the meter is lost, or `arrives` and its answers are."""
        ...


class WatchedDriver:
    """`MeterDriver` of one incarnation of a node, over another."""

    def __init__(
        self,
        node: str,
        inner: MeterDriver,
        way: Way,
        *,
        io_clock: IoClock,
        rng: Rng,
        hung: set[str],
        faults: Faults,
        checker: RelayChecker,
        trace: Trace,
        die: Callable[[str], SimulatedCrash],
        asked: Callable[[str], None],
    ) -> None:
        """`hung` is shared by all incarnations of the node; `asked` is told of every meter asked, before it answers."""
        self._node = node
        self._inner = inner
        self._way = way
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
        number = self._checker.command_begins(self._node, meter, command, permit.intent_id)
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
            self._checker.command_ends(self._node, meter, number)

    async def close(self) -> None:
        """See `MeterDriver.close`."""
        await self._inner.close()

    async def _hang(self) -> None:
        """A broken driver: it breaks the port's promise, and only the caller's own patience helps."""
        self._faults.happened("driver_call_hung")
        await asyncio.get_running_loop().create_future()

    async def _lost(self, target: MeterTarget, command: RelayCommand, permit: WritePermit, *, arrives: bool) -> None:
        """The command or its answer is lost on the way."""
        with self._way.losing(str(target.meter), arrives=arrives):
            await self._inner.control(target, command, permit)


class WatchedDlms(WatchedDriver):
    """The same over DLMS, with what only its meters have."""

    def __init__(self, node: str, inner: DlmsDriver, way: Way, **watched: Any) -> None:
        super().__init__(node, inner, way, **watched)
        self._dlms = inner

    async def read_profile(self, target: MeterTarget, first: int, last: int) -> ProfileSlice:
        """See `ProfileReader.read_profile`."""
        return await self._dlms.read_profile(target, first, last)

    async def read_clock(self, target: MeterTarget) -> ClockReading:
        """See `ClockKeeper.read_clock`."""
        return await self._dlms.read_clock(target)

    async def set_clock(self, target: MeterTarget, shift_s: int, permit: ClockPermit) -> None:
        """See `ClockKeeper.set_clock`."""
        await self._dlms.set_clock(target, shift_s, permit)

    async def read_events(self, target: MeterTarget, since: int) -> tuple[MeterEvent, ...]:
        """See `EventReader.read_events`."""
        return await self._dlms.read_events(target, since)


def watched(node: str, inner: MeterDriver, way: Way, **how: Any) -> WatchedDriver:
    """`inner` with an eye on it; it keeps what is its protocol's own."""
    return (
        WatchedDlms(node, inner, way, **how)
        if isinstance(inner, DlmsDriver)
        else WatchedDriver(node, inner, way, **how)
    )


def _untold(_meter: str, _closed: bool, _at: int) -> None:
    """Nobody listens yet."""
