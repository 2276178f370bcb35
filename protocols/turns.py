"""Whose turn it is on a bus: the graver call first, meters in rotation, a bounded queue. Floor: protocols; reading.

Theory of operation. Every driver that speaks to one ``host:port`` for several meters keeps one of these. A bus has so
many turns at once (`width`: one on a serial line, several before a concentrator), and a meter holds at most one of
them, since it has one association at a time. Whoever waits is served by `Priority`, and within it the meters take
turns: five calls to a dead meter hold up its neighbour by one of them, not by five.

A bus whose width moves keeps some room between `width` and `width_max` for safety and relays: a restore does not wait
until a slow poll gives its turn back. The fault of a full queue is the driver's own, so that its code names the
protocol.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from enum import IntEnum
from typing import Generic, TypeVar

from protocols.driver import RelayCommand
from protocols.errors import ProtocolFault

K = TypeVar("K", bound=Hashable)

WAITING_MAX = 512
"""Two full rounds of a gateway's 247 units: more waiting calls mean that polls are asked faster than the bus can go."""
BACKFILL_WAITING_MAX = 64
"""What can wait must not fill the queue that due polls need."""


class Priority(IntEnum):
    """What goes first; the lower number."""

    SAFETY = 0
    """A restore, or whatever makes somebody safe."""
    RELAY = 1
    """Every other relay command, and the look at where a relay is."""
    POLL = 2
    """A poll that is due now."""
    BACKFILL = 3
    """Past intervals, event logs, clocks: they can wait."""

    @property
    def urgent(self) -> bool:
        """Whether it is never refused, is tried in spite of rests, and may go beyond the present width."""
        return self <= Priority.RELAY


def priority_of(command: RelayCommand) -> Priority:
    """A restore goes before every cut."""
    return Priority.SAFETY if command is RelayCommand.CLOSE else Priority.RELAY


_WAITING_MAX = {Priority.POLL: WAITING_MAX, Priority.BACKFILL: BACKFILL_WAITING_MAX}


class Turns(Generic[K]):
    """So many turns at once, one for each meter (`K`) at most."""

    def __init__(self, full: Callable[[int], ProtocolFault], *, width: int = 1, width_max: int = 1) -> None:
        """`full` makes the fault for a call that found so many waiting; urgent ones may fill `width_max`."""
        self._full = full
        self._width = width
        self._width_max = width_max
        self._held: set[K] = set()
        self._queues: dict[Priority, OrderedDict[K, deque[asyncio.Future[None]]]] = {
            priority: OrderedDict() for priority in Priority
        }
        self._count = dict.fromkeys(Priority, 0)
        self.waiting = 0
        """How many calls wait for their turn."""

    @property
    def held(self) -> int:
        """How many have theirs."""
        return len(self._held)

    @property
    def width(self) -> int:
        """How many may have theirs, urgent ones left out."""
        return self._width

    def widen(self, width: int) -> None:
        """From now on so many, up to `width_max`; turns that are out are not called back."""
        self._width = width
        if self.waiting:
            self._pass_on()

    def take_free(self, meter: K, priority: Priority) -> bool:
        """Take a turn if one is free for that meter, without waiting; says whether it did."""
        held = len(self._held)
        if meter in self._held or (held >= self._width and (held >= self._width_max or not priority.urgent)):
            return False
        self._held.add(meter)
        return True

    async def take(self, meter: K, priority: Priority) -> None:
        """Wait for a turn; `give` it back afterwards, always.

        Calls that are not urgent are refused when too many of their kind wait (the fault of `full`: local, retry).
        """
        if self.take_free(meter, priority):
            return
        if (most := _WAITING_MAX.get(priority)) is not None and self._count[priority] >= most:
            raise self._full(self._count[priority])
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues[priority].setdefault(meter, deque()).append(turn)
        self._counted(priority, 1)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(meter)
            else:
                self._forget(meter, priority, turn)
            raise

    def give(self, meter: K) -> None:
        """Hand the meter's turn to whoever waits, if anybody."""
        self._held.discard(meter)
        if self.waiting:
            for queue in self._queues.values():
                if meter in queue:
                    queue.move_to_end(meter)  # its next call goes behind the other meters'
            self._pass_on()

    def _pass_on(self) -> None:
        """Give free turns away, the graver calls first."""
        for priority, queue in self._queues.items():
            width = self._width_max if priority.urgent else self._width
            while len(self._held) < width and (meter := self._next(queue)) is not None:
                turn = queue[meter].popleft()
                self._counted(priority, -1)
                if not queue[meter]:
                    del queue[meter]
                if not turn.done():
                    self._held.add(meter)
                    turn.set_result(None)

    def _next(self, queue: OrderedDict[K, deque[asyncio.Future[None]]]) -> K | None:
        return next((meter for meter in queue if meter not in self._held), None)

    def _forget(self, meter: K, priority: Priority, turn: asyncio.Future[None]) -> None:
        """A caller went away; its future may be out of the queue already."""
        calls = self._queues[priority].get(meter)
        if calls is not None and turn in calls:
            calls.remove(turn)
            self._counted(priority, -1)
            if not calls:
                del self._queues[priority][meter]

    def _counted(self, priority: Priority, change: int) -> None:
        self._count[priority] += change
        self.waiting += change
