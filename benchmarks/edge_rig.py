"""What the benchmarks of the edge's store share: a store on real files, and a watch over the loop's callbacks."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_node.store.readings import Readings
from edge_node.store.segments import Segments
from gridmodel.period import day_bounds
from gridmodel.reading import Revision
from hosting.compute import ThreadCompute
from hosting.database import open_database

ZONE = "Asia/Tashkent"
DAY = "2026-05-05"
MIDNIGHT = day_bounds(DAY, ZONE)[0]
QUARTER = 900
CALLBACK_S_MAX = 0.020
FIRST = Revision(1, 1)


@dataclass
class Callbacks:
    """How long the loop's callbacks took: by the clock, but not while other programs had the processor.

    A wait for the interpreter's lock counts, since another thread of this process works meanwhile.
    """

    slow: int = 0
    longest_s: float = 0.0
    names: list[str] = field(default_factory=list)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Time every callback until the block ends."""
        original = asyncio.Handle._run  # noqa: SLF001

        def run(handle: asyncio.Handle) -> None:
            begun, worked, own = time.perf_counter(), time.process_time(), time.thread_time()
            original(handle)
            took = min(time.perf_counter() - begun, time.process_time() - worked)
            self.longest_s = max(self.longest_s, took)
            if took > CALLBACK_S_MAX:
                self.slow += 1
                worked_ms = (time.thread_time() - own) * 1000
                self.names.append(f"{took * 1000:.0f} ms, {worked_ms:.0f} of them its own work: {_name(handle)}")

        asyncio.Handle._run = run  # type: ignore[method-assign, assignment]  # noqa: SLF001
        try:
            yield
        finally:
            asyncio.Handle._run = original  # type: ignore[method-assign]  # noqa: SLF001


def _name(handle: asyncio.Handle) -> str:
    """Whose callback it was: of a task the calls in which it waits now, or the task itself when it has ended."""
    task = getattr(getattr(handle, "_callback", None), "__self__", None)
    if not isinstance(task, asyncio.Task):
        return f"{handle!r:.120}"
    waits: Any = task.get_coro()
    named = [str(getattr(waits, "__qualname__", waits))]
    while (waits := getattr(waits, "cr_await", None)) is not None and hasattr(waits, "cr_frame"):
        frame = waits.cr_frame
        named.append(f"{waits.__qualname__}:{frame.f_lineno if frame else 0}")
    return " > ".join(named)


@asynccontextmanager
async def opened(folder: Path, compute: ThreadCompute) -> AsyncIterator[Readings]:
    """A store with nothing in it."""
    readings = Readings(Segments(folder, open_database, ZONE), bytes(range(32)), compute)
    await readings.load()
    try:
        yield readings
    finally:
        await readings.close()


def permanent() -> None:
    """What is there now stays: no collection walks through it again (a node does so once its registry is in)."""
    gc.collect()
    gc.freeze()
