"""The office's ports in tests: a clock moved by hand, meters that do what they like, qualities of readings."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from edge_node.store.readings import Latest
from gridmodel.clock import ClockDoubt, ClockTrust, TimeBounds
from gridmodel.identity import MeterId
from gridmodel.reading import Quality
from protocols.driver import MeterSnapshot, MeterTarget, RelayCommand, RelayContact, RelayReading, WritePermit
from protocols.errors import Blame, Hope, ProtocolFault

MORNING = int(datetime(2026, 4, 14, 5, 0, tzinfo=UTC).timestamp())
"""Tuesday 2026-04-14, 10:00 in Tashkent: an ordinary working morning."""


@dataclass
class HandClock:
    """A utility clock moved by hand; sleeping moves it, too."""

    at: int = MORNING
    doubtful: bool = False
    unsure_s: int = 2
    """Half-width of the present."""
    turns: int = 1
    """Of the event loop in a sleep, however long: what others get done meanwhile."""

    def now(self) -> int:
        return self.at

    def confirmed(self) -> bool:
        return True

    def doubts(self) -> tuple[ClockDoubt, ...]:
        return (ClockDoubt.UNCONFIRMED,) if self.doubtful else ()

    def trust(self) -> ClockTrust:
        return ClockTrust.DOUBTFUL if self.doubtful else ClockTrust.TRUSTED

    def bounds(self) -> TimeBounds:
        return TimeBounds(self.at - self.unsure_s, self.at + self.unsure_s)

    async def sleep_until(self, at: int) -> None:
        self.at = max(self.at, at)
        await asyncio.sleep(0)

    async def sleep(self, seconds: float) -> None:
        self.at += round(seconds)
        for _ in range(self.turns):
            await asyncio.sleep(0)


@dataclass
class Meters:
    """Meters behind the driver port: what they are told and what they do."""

    clock: HandClock
    closed: dict[MeterId, bool] = field(default_factory=dict)
    silent: set[MeterId] = field(default_factory=set)
    stuck: set[MeterId] = field(default_factory=set)
    hung: set[MeterId] = field(default_factory=set)
    """A driver's call for them never returns, not even with a fault."""
    lose_replies: set[MeterId] = field(default_factory=set)
    """The command arrives, its reply does not."""
    load_w: dict[MeterId, int] = field(default_factory=dict)
    moved: list[tuple[int, MeterId, bool, str]] = field(default_factory=list)
    """(at, meter, closed, intent) of every contact that moved."""
    before_command: Callable[[MeterId, RelayCommand], None] | None = None
    after_command: Callable[[MeterId, RelayCommand], None] | None = None

    async def read(self, target: MeterTarget) -> MeterSnapshot:
        raise NotImplementedError

    async def control(self, target: MeterTarget, command: RelayCommand, permit: WritePermit) -> None:
        assert permit.action is command
        await self._hang(target.meter)
        if self.before_command is not None:
            self.before_command(target.meter, command)
        self._answers(target.meter)
        if target.meter not in self.stuck:
            wanted = command is RelayCommand.CLOSE
            if self.closed.get(target.meter, True) is not wanted:
                self.moved.append((self.clock.at, target.meter, wanted, permit.intent_id))
            self.closed[target.meter] = wanted
        if self.after_command is not None:
            self.after_command(target.meter, command)
        if target.meter in self.lose_replies:
            raise _silence()

    async def read_relay(self, target: MeterTarget) -> RelayReading:
        await self._hang(target.meter)
        self._answers(target.meter)
        return self.reading(target.meter)

    def reading(self, meter: MeterId) -> RelayReading:
        closed = self.closed.get(meter, True)
        load = self.load_w.get(meter, 200 if closed else 0)
        return RelayReading(RelayContact.CLOSED if closed else RelayContact.OPEN, load)

    async def close(self) -> None:
        pass

    async def _hang(self, meter: MeterId) -> None:
        await asyncio.sleep(0)
        if meter in self.hung:
            await asyncio.Event().wait()

    def _answers(self, meter: MeterId) -> None:
        if meter in self.silent:
            raise _silence()


def _silence() -> ProtocolFault:
    return ProtocolFault("TQ-MB-01", "silence", "wait", blame=Blame.REMOTE, hope=Hope.RETRY)


@dataclass
class Qualities:
    """The latest interval of every point: good and fresh unless said otherwise."""

    clock: HandClock
    doubtful: set[str] = field(default_factory=set)

    def latest(self, point: str) -> Latest | None:
        return Latest(self.clock.now() - 600, Quality.ESTIMATED if point in self.doubtful else Quality.ACTUAL)
