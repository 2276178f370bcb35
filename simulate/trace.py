"""The record of a run: every commit, send and relay movement in order, hashed. Floor: simulate; on all walks.

One seed gives one order of events, so it gives one hash, in every process and under every hash seed of the interpreter.
A difference between two runs means that something outside the seed decided: a set of objects that was walked, a look
at the machine's clock. The last events are kept as text: the transcript that is shown when a run fails.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Callable

KEPT_MAX = 400
"""Events kept as text: the last minutes before a failure."""


class Trace:
    """Takes events in; `now` gives virtual seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._hash = hashlib.sha256()
        self._last: deque[tuple[float, str, str, str]] = deque(maxlen=KEPT_MAX)
        self.counts: Counter[str] = Counter()
        """Events by kind."""
        self.heard: list[Callable[[str, str, str], None]] = []
        """Told of (kind, who, detail) of each."""

    def add(self, kind: str, who: str, detail: str = "") -> None:
        """One event: what happened, to whom, and what tells it from another."""
        at = self._now()
        self.counts[kind] += 1
        self._hash.update(f"{at:.6f}\t{kind}\t{who}\t{detail}\n".encode())
        self._last.append((at, kind, who, detail))
        for listener in self.heard:
            listener(kind, who, detail)

    def sha256(self) -> str:
        """The hash over all events so far, hexadecimal."""
        return self._hash.hexdigest()

    def transcript(self, last: int = 40, *, without: frozenset[str] = frozenset({"commit"})) -> list[str]:
        """The last events as lines, oldest first; commits are many and left out unless asked for."""
        shown = [event for event in self._last if event[1] not in without][-last:]
        return [f"{_clock(at)} {kind:<10} {who:<8} {detail}".rstrip() for at, kind, who, detail in shown]


def _clock(at_s: float) -> str:
    """Virtual time of a run as day, hour, minute, second."""
    whole = int(at_s)
    return f"day {whole // 86_400} {whole // 3600 % 24:02d}:{whole // 60 % 60:02d}:{at_s % 60:06.3f}"
