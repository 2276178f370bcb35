"""The demo's processes: started side by side, watched, and all ended whatever happens. Floor: simulate; all walks.

Each runs in a process group of its own, so that Ctrl-C in the terminal reaches the director alone, and the kernel ends
it with its director. What a process writes goes into its log; its first line on stdout says that it is ready.
"""

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from simulate.demo.plan import DemoFault

READY_S_MAX = 60.0
"""A small machine with a cold disk starts five interpreters within it."""
STOP_S_MAX = 10.0
"""Real seconds to end in order; the product promises five for its verbs."""
TAIL_LINES = 6
"""Of a dead process's log, told with its death."""
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
"""Loaded before any child is made: nothing is imported between fork and exec."""


class Child:
    """One process of the demo."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path, output: IO[bytes]) -> None:
        self.name = name
        self.process = process
        self.log = log
        self.ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.ending = False
        """Somebody asked it to end."""
        self._output = output
        self.reading = asyncio.create_task(self._read(), name=f"output of {name}")

    async def _read(self) -> None:
        stdout = self.process.stdout
        if stdout is None:
            raise RuntimeError(f"{self.name} has no stdout")
        try:
            while line := await stdout.readline():
                self._output.write(line)
                self._output.flush()
                if not self.ready.done() and (told := _object_in(line)) is not None and told.get("ready") is True:
                    self.ready.set_result(told)
            await self.process.wait()
        finally:
            self._output.close()

    def tail(self) -> str:
        """The last lines of its log."""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])


class Processes:
    """All children of one demo."""

    def __init__(self, log: Callable[[str], Path]) -> None:
        self._log = log
        self._children: dict[str, Child] = {}
        self.unclean: list[str] = []
        """What was to be said of processes that did not end in order."""
        self._died: asyncio.Future[Child] = asyncio.get_running_loop().create_future()

    async def start(self, name: str, module: str, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start ``python -m module arguments``; `ready` waits for its first word."""
        path = self._log(name)
        output = path.open("ab")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=output,
            env={**os.environ, **environ},
            start_new_session=True,
            preexec_fn=_die_with_parent,  # one system call, nothing else
        )
        child = Child(name, process, path, output)
        child.reading.add_done_callback(lambda _: self._ended(child))
        self._children[name] = child

    def pids(self) -> dict[str, int]:
        """The process id of each child."""
        return {name: child.process.pid for name, child in self._children.items()}

    async def ready(self) -> dict[str, dict[str, Any]]:
        """What each process said when it was ready. Raises DemoFault TQ-SM-33 (not in time) or -34 (dead)."""
        waiting = {name: child.ready for name, child in self._children.items() if not child.ending}
        try:
            async with asyncio.timeout(READY_S_MAX):
                said = await self.unless_dead(asyncio.gather(*waiting.values()))
        except TimeoutError as error:
            late = [name for name, one in waiting.items() if not one.done()]
            raise DemoFault(
                "TQ-SM-33", f"{', '.join(late)} did not start within {READY_S_MAX:.0f} s", f"see {self._log(late[0])}"
            ) from error
        return dict(zip(waiting, said, strict=True))

    async def unless_dead(self, work: "asyncio.Future[Any]") -> Any:
        """The result of `work`, or DemoFault TQ-SM-34 as soon as a process ends that nobody asked to end."""
        try:
            await asyncio.wait({work, self._died}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                child = self._died.result()
                raise DemoFault(
                    "TQ-SM-34",
                    f"{child.name} ended by itself with exit code {child.process.returncode}:\n{child.tail()}",
                    f"its log is {child.log}; everything was stopped",
                )
            return work.result()
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(work, return_exceptions=True)

    async def stop(self) -> None:
        """End every process in order; kill those that do not end in time."""
        living = [child for child in self._children.values() if not child.reading.done()]
        for child in living:
            child.ending = True
            with suppress(ProcessLookupError):
                child.process.terminate()
        if living:
            await asyncio.wait([child.reading for child in living], timeout=STOP_S_MAX)
        for child in living:
            if not child.reading.done():
                self.unclean.append(f"{child.name} did not end within {STOP_S_MAX:.0f} s")
                with suppress(ProcessLookupError):
                    os.killpg(child.process.pid, signal.SIGKILL)
        await asyncio.gather(*(child.reading for child in living), return_exceptions=True)
        self.unclean += [
            f"{child.name} ended with exit code {child.process.returncode}: {child.tail()}"
            for child in living
            if child.process.returncode not in {0, -signal.SIGKILL}
        ]
        self._children.clear()

    def _ended(self, child: Child) -> None:
        if not child.ending and not self._died.done():
            self._died.set_result(child)


def _die_with_parent() -> None:
    """In the child, before it becomes the program: the kernel ends it when the director dies, however that dies."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _object_in(line: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None
