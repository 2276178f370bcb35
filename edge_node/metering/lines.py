"""Who is read now: each line as wide as its driver says, all lines in turn, so many at once. Room: metering; reading.

A line is what meters share: a serial bus, a concentrator, a meter's own address (`protocols.driver.Line`). Its queue is
first come first served, so that no meter of it comes twice before another once; lines that have work take turns for the
free places, so that a thousand meters behind one concentrator do not keep another line waiting. How wide a line is may
be learned by its driver: it is asked again whenever a read begins or ends.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from protocols.driver import Line

J = TypeVar("J")


class _Queue(Generic[J]):
    __slots__ = ("at_work", "jobs", "line", "listed", "width")

    def __init__(self, line: Line) -> None:
        self.line = line
        self.width = line.width
        """As it was when it was last asked for."""
        self.jobs: deque[J] = deque()
        self.at_work = 0
        self.listed = False
        """Stands among those that want a place."""


class Lines(Generic[J]):
    """The reads of one collector; `put` never waits."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        line_of: Callable[[J], Line],
        width_of: Callable[[J, str], int],
        read: Callable[[J, Line], Awaitable[None]],
        at_once_max: int,
    ) -> None:
        """`width_of` gives the present width of a line by its key; `read` may raise only what is to end the group."""
        self._group = group
        self._line_of = line_of
        self._width_of = width_of
        self._read = read
        self._places = at_once_max
        self._queues: dict[str, _Queue[J]] = {}
        self._wanting: deque[_Queue[J]] = deque()

    @property
    def waiting(self) -> int:
        """How many reads have not begun."""
        return sum(len(queue.jobs) for queue in self._queues.values())

    @property
    def known(self) -> int:
        """How many lines have any work."""
        return len(self._queues)

    def put(self, job: J) -> None:
        """Read it when its turn comes."""
        line = self._line_of(job)
        queue = self._queues.get(line.key)
        if queue is None:
            queue = self._queues[line.key] = _Queue(line)
        queue.line, queue.width = line, line.width
        queue.jobs.append(job)
        self._want(queue)
        self._fill()

    def _want(self, queue: _Queue[J]) -> None:
        if queue.jobs and not queue.listed:
            queue.listed = True
            self._wanting.append(queue)

    def _fill(self) -> None:
        """Give the free places away, one to each line in turn."""
        while self._places > 0 and self._wanting:
            queue = self._wanting.popleft()
            queue.listed = False
            if queue.at_work >= queue.width:
                continue  # it wants again when one of its reads ends
            queue.at_work += 1
            self._places -= 1
            self._group.create_task(self._work(queue, queue.jobs.popleft()))
            self._want(queue)

    async def _work(self, queue: _Queue[J], job: J) -> None:
        try:
            await self._read(job, queue.line)
        finally:
            queue.at_work -= 1
            self._places += 1
        if queue.jobs:
            queue.width = self._width_of(job, queue.line.key)
            self._want(queue)
        elif queue.at_work == 0:
            self._queues.pop(queue.line.key, None)
        self._fill()
