"""Runs one rehearsal: a fresh virtual loop, a folder of its own, libraries that repeat themselves. Floor: simulate."""

import gc
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter

from simulate.loop import VirtualLoop, run_virtual
from simulate.patches import own_signatures_known, repeatable_libraries
from simulate.report import RunReport
from simulate.world import Rehearsal, RunSpec

COLLECTIONS = (100_000, 20, 20)
"""Thresholds of the collector: a rehearsal makes few circles and half a million objects a second."""


def run(spec: RunSpec) -> RunReport:
    """Run one rehearsal on a fresh virtual loop and a folder of its own, which is removed afterwards."""
    loop = VirtualLoop()
    began = perf_counter()
    with (
        _rare_collections(),
        tempfile.TemporaryDirectory(prefix="rehearsal-", dir=_memory()) as folder,
        repeatable_libraries(spec.seed),
        own_signatures_known(),
    ):
        rehearsals: list[Rehearsal] = []

        async def main() -> RunReport:
            rehearsal = Rehearsal(spec, loop, Path(folder))
            rehearsals.append(rehearsal)
            return await rehearsal.live()

        try:
            report = run_virtual(main(), loop=loop)
        finally:
            for rehearsal in rehearsals:
                with suppress(RuntimeError):
                    rehearsal.end()
    report.seconds = perf_counter() - began
    return report


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Within the block, garbage in circles is looked for seldom, and never among what stood before."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _memory() -> str | None:
    """A memory-backed folder where there is one: no flushing is simulated anyway."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 — a mount point, not a name to be guessed
