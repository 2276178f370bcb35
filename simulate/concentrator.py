"""One data concentrator: queue, lanes, latency, losses, meter list, its own rounds. Floor: simulate; walk: reading.

Theory of operation. A request for a meter waits in the queue until one of a few lanes is free (a power line carries
little at once), takes a time drawn from a lognormal distribution, and comes to the meter; or it is lost, or the answer
is, and nobody says so: whoever asked waits. A lane is held for as long as the concentrator itself waits. In the evening
everything that is switched on in the street speaks on the line as well, and more is lost. Between what it is asked the
concentrator goes round its meters by a schedule of its own, so that its list says who was heard last and when.

No socket here: `simulate/concentrator_fleet.py` has them. Time of exchanges is I/O time, the evening and the schedule
are utility time; chance comes from an injected generator.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from random import Random

from gridmodel.clock import UtilityClock

Z95 = 1.6448536269514722
"""The 95th percentile of the normal distribution."""
EVENING_H = (18, 22)
"""From and to which local hour everybody is at home."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What the line before the meters is like."""

    p50_s: float = 1.5
    """Half of the exchanges take less, I/O seconds; lognormal."""
    p95_s: float = 8.0
    """One in twenty takes longer."""
    loss: float = 0.0
    """The share of exchanges that are lost, request or answer."""
    evening_loss: float = 0.15
    """The same from 18:00 to 22:00 local time."""

    def latency_s(self, dice: Random) -> float:
        """How long one exchange takes."""
        if self.p50_s <= 0:
            return 0.0
        return self.p50_s * math.exp(dice.gauss(0.0, math.log(self.p95_s / self.p50_s) / Z95))

    def lost(self, dice: Random, local_hour: int) -> bool:
        """Whether one exchange is lost."""
        share = self.evening_loss if EVENING_H[0] <= local_hour < EVENING_H[1] else self.loss
        return share > 0 and dice.random() < share


@dataclass(frozen=True, slots=True)
class ConcentratorShape:
    """What a simulated concentrator is made of."""

    weather: Weather = field(default_factory=Weather)
    lanes: int = 8
    """Exchanges on the line at once."""
    queue_max: int = 32
    """Requests that wait; what comes then is thrown away."""
    connections_max: int = 10
    """TCP connections; one more is closed at once."""
    round_s: int = 3_600
    """Utility seconds in which it goes round its meters once by itself; 0: never."""


class Heard(IntEnum):
    """What the list says of a meter."""

    NEVER = 0
    YES = 1
    LOST = 2
    """It did not answer the last time."""


@dataclass(slots=True)
class Listed:
    """One line of the meter list."""

    state: Heard = Heard.NEVER
    at: int = 0
    """When it was heard last, UTC seconds; 0: never."""


Answered = Callable[[], None]
"""Does what the meter does, and answers whoever asked."""


@dataclass(slots=True)
class _Exchange:
    index: int
    arrives: Callable[[], Answered | None]
    """The request comes to the meter; gives what answers, None when the meter stays silent."""


class Concentrator:
    """One concentrator and what it knows of its meters (by index in the grid)."""

    def __init__(
        self, meters: range, shape: ConcentratorShape, clock: UtilityClock, offset_min: int, dice: Random
    ) -> None:
        self.meters = meters
        self.shape = shape
        self.listed = {index: Listed() for index in meters}
        self.counts = {"carried": 0, "lost": 0, "dropped": 0, "refused_connections": 0}
        self.most_waiting = 0
        """The longest that its queue ever was."""
        self.connected = self.most_connected = 0
        """Connections that are open, and the most that ever were."""
        self._clock = clock
        self._offset_s = offset_min * 60
        self._dice = dice
        self._queue: deque[_Exchange] = deque()
        self._busy = 0
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._timer_count = 0

    def carry(self, index: int, arrives: Callable[[], Answered | None]) -> None:
        """Take a request for one meter; it may arrive, be answered, or never be heard of again."""
        if self._busy < self.shape.lanes:
            self._begin(_Exchange(index, arrives))
        elif len(self._queue) < self.shape.queue_max:
            self._queue.append(_Exchange(index, arrives))
            self.most_waiting = max(self.most_waiting, len(self._queue))
        else:
            self.counts["dropped"] += 1

    async def go_round(self, silent: Callable[[int], bool]) -> None:
        """Visit the meters one after the other by the schedule, for ever."""
        if self.shape.round_s <= 0:
            return
        while True:
            for index in self.meters:
                await self._clock.sleep(self.shape.round_s / len(self.meters))
                if not self._queue:  # whoever asks goes first
                    self.carry(index, lambda index=index: None if silent(index) else _nothing)  # type: ignore[misc]

    def close(self) -> None:
        """Forget everything that is on its way."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._queue.clear()

    def _begin(self, exchange: _Exchange) -> None:
        self._busy += 1
        weather, dice = self.shape.weather, self._dice
        latency_s = weather.latency_s(dice)
        hour = (self._clock.now() + self._offset_s) // 3600 % 24
        lost = weather.lost(dice, hour)
        if not lost:
            self._after(latency_s, lambda: self._arrive(exchange, latency_s))
            return
        self.counts["lost"] += 1
        if dice.random() < 0.5:
            exchange.arrives()  # the meter did as it was told, and its answer was lost
        self._after(max(latency_s, weather.p95_s), lambda: self._end(exchange.index, heard=False))

    def _arrive(self, exchange: _Exchange, latency_s: float) -> None:
        answer = exchange.arrives()
        if answer is None:
            left_s = max(0.0, self.shape.weather.p95_s - latency_s)
            self._after(left_s, lambda: self._end(exchange.index, heard=False))
            return
        self.counts["carried"] += 1
        self._end(exchange.index, heard=True)
        answer()

    def _end(self, index: int, *, heard: bool) -> None:
        line = self.listed[index]
        if heard:
            line.state, line.at = Heard.YES, self._clock.now()
        else:
            line.state = Heard.LOST
        self._busy -= 1
        if self._queue:
            self._begin(self._queue.popleft())

    def _after(self, seconds: float, then: Callable[[], None]) -> None:
        self._timer_count += 1
        number = self._timer_count
        self._timers[number] = asyncio.get_running_loop().call_later(seconds, self._ring, number, then)

    def _ring(self, number: int, then: Callable[[], None]) -> None:
        del self._timers[number]
        then()


def _nothing() -> None:
    """A visit of the concentrator's own: nobody waits for the answer."""
