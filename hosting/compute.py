"""Where heavy pure work runs, so that no callback holds the event loop over 20 ms. Floor: hosting.

On the walk of a reading: batches of hashes, zstd and numpy are handed to `Compute.run`. A pool of threads suffices: all
three release the interpreter's lock. The simulator works inline, in the order of the calls.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

WORKERS_MAX = 4
"""Threads at most: more would only take turns, and an office's machine has few cores."""
IN_FLIGHT_PER_WORKER_MAX = 16
"""Work accepted per thread before callers wait their turn: batches are megabytes, and a queue of them is memory."""


def emptied(*held: dict[Any, Any]) -> None:
    """Take everything out of these, one by one: a task for `compute`.

    A dictionary of a hundred thousand objects that dies at once holds the interpreter's lock for 50 ms, on any thread.
    """
    for one in held:
        while one:
            one.popitem()


class InlineCompute:
    """Runs the work at once, on the caller's turn; an implementation of `Compute` for virtual time and for tests."""

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Give `function(*arguments)`, or raise what it raises."""
        return function(*arguments)


class ThreadCompute:
    """A bounded pool of threads; an implementation of `Compute`. Callers beyond the queue's bound wait in order.

    A cancelled caller leaves at once; its work, if begun, ends unseen: hand over pure functions only.
    """

    def __init__(self, workers: int | None = None) -> None:
        count = workers if workers is not None else max(1, min(WORKERS_MAX, os.cpu_count() or 1))
        self._pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix="compute")
        self._places = asyncio.Semaphore(count * IN_FLIGHT_PER_WORKER_MAX)

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Run `function(*arguments)` on a thread and give its result; what it raises is raised here."""
        async with self._places:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def close(self) -> None:
        """Let begun work end and drop what is queued."""
        self._pool.shutdown(wait=True, cancel_futures=True)
