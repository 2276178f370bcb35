"""Large things that die are taken apart step by step, on a thread of their own. Floor: hosting; on the reading walk.

A registry, its plan or an index of them is millions of objects. When the last reader lets go of one it is freed in a
single call, which holds the interpreter's lock, and so the event loop, for tenths of a second, on whichever thread.
Here its contents outlive it for a moment and go in steps of a few hundred microseconds. Memory is freed all the same,
and what anybody else still holds is not touched.
"""

from dataclasses import is_dataclass
from queue import SimpleQueue
from sys import getrefcount
from threading import Thread
from typing import Any
from weakref import finalize

STEP = 1_024
"""Objects freed in one call: well below a millisecond."""


def _alone() -> int:
    waiting: list[Any] = [[]]
    thing = waiting.pop()
    return getrefcount(thing)


_ALONE = _alone()
"""References to an object that only the loop below still has: measured, for interpreters count them differently."""
_CONTAINERS = (dict, list, tuple)


class LettingGo:
    """Frees the contents of dead owners. `watch` an owner while it lives; nothing is done before it dies."""

    def __init__(self) -> None:
        self._dead: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="letting-go", daemon=True)
        self._thread.start()

    def watch(self, owner: object) -> None:
        """Take the contents of `owner`, an object with a `__dict__`, apart once its last reader is gone."""
        finalize(owner, self._dead.put, vars(owner)).atexit = False

    def close(self) -> None:
        """End the thread after what waits; what dies later is freed as ever."""
        self._dead.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (contents := self._dead.get()) is not None:
            waiting: list[Any] = [contents]
            del contents
            take_apart(waiting)


def take_apart(waiting: list[Any]) -> None:
    """Free what is in this list, and in it, step by step; the list is empty afterwards.

    Whatever anybody else holds is left as it is, with all that is in it.
    """
    while waiting:
        thing = waiting.pop()
        if getrefcount(thing) > _ALONE:
            continue
        if isinstance(thing, dict):
            while thing:
                _keep(waiting, thing.popitem()[1])
        elif isinstance(thing, list | tuple):
            rows = list(thing)
            thing = None
            while rows:
                for one in rows[-STEP:]:
                    _keep(waiting, one)
                del one
                del rows[-STEP:]
        else:
            contents = vars(thing)
            thing = None
            waiting.append(contents)
            del contents


def _keep(waiting: list[Any], one: Any) -> None:
    """Put aside what is large itself: containers, and dataclasses of them. Anything else dies with the call."""
    if isinstance(one, _CONTAINERS):
        if len(one) > STEP or isinstance(one, dict) or (one and isinstance(one[0], _CONTAINERS)):
            waiting.append(one)
    elif is_dataclass(one) and not isinstance(one, type) and hasattr(one, "__dict__"):
        waiting.append(one)
