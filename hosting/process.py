"""How a process of ours starts, stops and ends: signals to an event, faults to an exit code. Floor: hosting.

`__main__` of node and hub hand their work here. The first SIGTERM or SIGINT asks it to stop (rooms end their verbs, the
door closes, the database is given back); a second one no longer asks.
"""

import asyncio
import gc
import io
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from enum import IntEnum

from gridmodel.fault import Fault

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""What service managers and people send."""


class Exit(IntEnum):
    """Exit codes of every command; part of the contract with scripts."""

    OK = 0
    FAILED = 1
    """Failed, or a rule is violated."""
    USAGE = 2
    """The command line makes no sense."""
    PARTLY = 3
    """Some of it was done."""
    LINK_DOWN = 4
    """The link to the hub, nothing else."""
    REFUSED = 5
    """By policy."""


def run_process(main: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    """Run `main(stop)` to its end and give its exit code; `stop` is set by the first signal.

    A `Fault` becomes its three parts on stderr and `Exit.FAILED`; anything else is a mistake of ours and raised.
    """
    try:
        return asyncio.run(_signalled(main))
    except Fault as fault:
        tell(fault)
        return Exit.FAILED
    except KeyboardInterrupt:
        return Exit.FAILED


WALKS = (1_000_000, 10, 50_000)
"""After how many new objects the garbage collector walks the young ones by itself, those with the next older, and all:
more than are ever under way, so that it waits for `walk_at_rest`. What it walks is what lives, and with 4,000 reads
under way that was 13,000 objects at every tenth walk: 22 ms each, 50 at most, and 8 % of the processor in all."""


def leave_alone_what_lives() -> None:
    """Keep all objects that live now out of the garbage collector's walks, and let it walk all others seldom.

    For what lives as long as the process: registry, plans, wiring. What dies by itself is freed all the same; only
    circles wait for a walk, and what is done often makes none.
    """
    gc.set_threshold(*WALKS)
    gc.freeze()


def walk_at_rest() -> None:
    """Let the garbage collector walk what was made since it last did: while little is under way, that is little."""
    gc.collect(1)


TURN_S = 0.0005
"""Seconds for which one thread keeps the interpreter from the others. Python's own 5 ms are waited for at every call of
a socket while another thread computes: twelve took up to 84 ms beside a busy one, and 17 ms with this."""


def take_short_turns() -> None:
    """Let the event loop have the interpreter back soon from the threads of databases and `compute`."""
    sys.setswitchinterval(TURN_S)


class FilesFault(Fault):
    """This process may not open as many files as its configuration asks for; code TQ-IN-04."""


def make_room_for_files(count: int) -> None:
    """Raise this process's limit of open files to `count`; raises FilesFault where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise FilesFault(
            "TQ-IN-04",
            f"{count} open files are needed and {hard} allowed",
            f"allow them (LimitNOFILE={count} of the service, or `ulimit -n {count}` as root), or ask for less at once",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def speak_anywhere() -> None:
    """Let a terminal that lacks a letter (or a file name that is no text) show its code, not end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def tell(fault: Fault) -> None:
    """A fault as an operator reads it, on stderr."""
    sys.stderr.write(f"{fault.code}: {fault.what}\n  {fault.hint}\n")


async def _signalled(main: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        stop.set()
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)  # the next one ends the process the hard way

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, asked)
    return await main(stop)
