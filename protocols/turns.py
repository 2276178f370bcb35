"""Whose turn it is on a bus: one at a time, relay commands before polls, a bounded queue. Floor: protocols; reading.

Every driver that speaks to one ``host:port`` for several meters keeps one of these; the fault of a full queue is its
own, so that its code names the protocol.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from protocols.errors import ProtocolFault

WAITING_MAX = 512
"""Two full rounds of a gateway's 247 units: more waiting calls mean that polls are asked faster than the bus can go."""


class Turns:
    """A lock with two queues, each first come first served; the urgent one goes first."""

    def __init__(self, full: Callable[[int], ProtocolFault]) -> None:
        """`full` makes the fault for a poll that found so many calls waiting."""
        self._full = full
        self._held = False
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._polls: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return len(self._urgent) + len(self._polls)

    def take_free(self) -> bool:
        """Take the turn if nobody has it, without waiting; says whether it did."""
        free, self._held = not self._held, True
        return free

    async def take(self, *, urgent: bool) -> None:
        """Wait for the turn; `give` it back afterwards, always.

        Polls beyond `WAITING_MAX` are refused (the fault of `full`: local, retry); urgent calls never are.
        """
        if self.take_free():
            return
        if not urgent and self.waiting >= WAITING_MAX:
            raise self._full(self.waiting)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._urgent if urgent else self._polls
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()
            else:
                queue.remove(turn)
            raise

    def give(self) -> None:
        """Hand the turn to the next waiting call, if any."""
        for queue in (self._urgent, self._polls):
            while queue:
                turn = queue.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._held = False
