"""Invocation counters of a field engineer's machine, in a file beside the key file. Above the rooms; reading walk.

A probe has no store, and must not give out a number twice all the same. So it keeps its marks, and a system title of
its own that no other machine has, in ``KEYFILE.counters``; while it runs no other probe may use that file.
"""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from edge_node.meter_keys import MeterKeyFault
from gridmodel.clock import Entropy
from hosting.files import create_private, publish, read_private
from protocols.dlms.counters import COUNTER_MAX
from protocols.dlms.security import TITLE_SIZE

COUNTER_FILE_SIZE_BYTES_MAX = 16 * 1024 * 1024
"""A mark for each key that was ever probed from here; more is the wrong file."""


def _understood(raw: bytes) -> tuple[bytes, dict[str, int]]:
    """Title and marks; raises what is wrong with them, beside ValueError whatever the reader of JSON raises."""
    told: Any = json.loads(raw)
    title, marks = bytes.fromhex(told["title"]), dict(told["marks"])
    if len(title) != TITLE_SIZE or not all(
        type(mark) is int and 1 <= mark <= COUNTER_MAX + 1 for mark in marks.values()
    ):
        raise ValueError("a title or mark that cannot be")
    return title, marks


class FileCounters:
    """Marks in a file; an implementation of `protocols.dlms.counters.CounterStore`."""

    def __init__(self, keys: Path, entropy: Entropy) -> None:
        """Takes the file for itself until `close`. Raises MeterKeyFault TQ-MK-01, 03, 05."""
        self._path = keys.with_name(f"{keys.name}.counters")
        try:
            self._lock = os.open(keys, os.O_RDONLY)
        except OSError as error:
            raise MeterKeyFault(
                "TQ-MK-01", f"the meter key file {keys} cannot be read: {error}", "restore it from its safe"
            ) from error
        try:
            self._take(keys)
            self.title, self._marks = self._load(entropy)
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Let others use it."""
        os.close(self._lock)

    async def mark(self, key: str) -> int:
        """See `CounterStore`."""
        return self._marks.get(key, 1)

    async def move(self, key: str, mark: int) -> None:
        """See `CounterStore`; on disk when it returns."""
        if mark > self._marks.get(key, 1):
            self._marks[key] = mark
            self._save()

    def _take(self, keys: Path) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise MeterKeyFault("TQ-MK-05", f"another probe uses {keys}", "wait until it is done") from error

    def _load(self, entropy: Entropy) -> tuple[bytes, dict[str, int]]:
        try:
            return _understood(read_private(self._path, COUNTER_FILE_SIZE_BYTES_MAX))
        except FileNotFoundError:
            return b"TMQ" + entropy.token(5), {}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise MeterKeyFault(
                "TQ-MK-03",
                f"the counters in {self._path} cannot be read ({type(error).__name__})",
                "do not delete it lightly: counters that are used twice give the keys away; restore it from its safe",
            ) from error

    def _save(self) -> None:
        fresh = self._path.with_name(f"{self._path.name}.new")
        fresh.unlink(missing_ok=True)
        create_private(fresh, json.dumps({"title": self.title.hex(), "marks": self._marks}).encode())
        publish(fresh, self._path)
