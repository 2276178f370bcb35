"""One process per data folder, and room left on its disk. Floor: hosting.

Two processes on one database would each believe in their own sequence numbers and brakes; a lock file (`flock`, freed
by the kernel when the process dies however it dies) lets one in and names the other. A full disk is noticed while
there is still room to record why work stops.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from gridmodel.fault import Fault

LOCK_NAME = "tarmoq.lock"
"""In the data folder; it stays there when nobody holds it."""
FOLDER_MODE = 0o700
"""Of a data folder: for its owner only."""
FREE_BYTES_MIN = 512 * 1024 * 1024
"""Below this nothing but control and ledger is written: enough for days of those at the largest node, and for the
copies that a recovery needs."""


class InstanceFault(Fault):
    """Another process owns the folder, or its disk is nearly full."""


def make_data_folder(folder: Path) -> None:
    """Make the data folder, for its owner only, unless it is there; raises `InstanceFault` ``TQ-IN-02``."""
    try:
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise InstanceFault(
            "TQ-IN-02", f"the data folder {folder} cannot be made: {error.strerror}", "correct data_dir, or its owner"
        ) from error


class InstanceLock:
    """Holds the data folder for this process: ``with InstanceLock(folder): ...``.

    Raises `InstanceFault` ``TQ-IN-01`` naming the process that holds it, ``TQ-IN-02`` when the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_NAME
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the folder or raise; at once, it never waits."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InstanceFault(
                "TQ-IN-02",
                f"the data folder {self._path.parent} cannot be used: {error.strerror}",
                "make it; check its owner",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise InstanceFault(
                "TQ-IN-01",
                f"process {holder} already works in {self._path.parent}",
                "talk to that one, or stop it first; never delete the lock file",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the folder back; harmless when not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def free_bytes_of(folder: Path) -> int:
    """What an ordinary user may still write on the folder's disk."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


class FreeSpaceGuard:
    """Watches the disk of a data folder; `measure` is replaced where there is no disk."""

    def __init__(
        self, folder: Path, free_bytes_min: int = FREE_BYTES_MIN, measure: Callable[[Path], int] = free_bytes_of
    ) -> None:
        self._folder = folder
        self._free_bytes_min = free_bytes_min
        self._measure = measure

    def is_short(self) -> bool:
        """Whether less than the limit is left."""
        return self._measure(self._folder) < self._free_bytes_min

    def check(self) -> int:
        """The free bytes, or `InstanceFault` ``TQ-IN-03`` when they are below the limit."""
        free_bytes = self._measure(self._folder)
        if free_bytes < self._free_bytes_min:
            raise InstanceFault(
                "TQ-IN-03",
                f"{free_bytes // 2**20} MB are free at {self._folder}, {self._free_bytes_min // 2**20} MB are needed",
                "free space on the data disk; payments and relays go on, readings wait in the meters",
            )
        return free_bytes
