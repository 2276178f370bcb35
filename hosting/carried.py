"""Files that people carry from machine to machine: opened with suspicion, written whole or not at all. Floor: hosting.

On the walk of link loss. A flash drive is full, pulled out or slow; its file is a pipe, a device, or grows while it is
read. `Draft` gives a file its name only when all of it is on the drive; `open_carried` opens ordinary files only.
Drives block: all work on their files goes through the compute port.

Codes: TQ-BN-10 a file that cannot be read, 11 one that cannot be written, 12 one that exists.
"""

import errno
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from gridmodel.clock import Compute
from gridmodel.fault import Fault
from hosting.files import publish

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class CarriedFault(Fault):
    """A file that cannot be read or written where it is."""


@asynccontextmanager
async def carried(compute: Compute, path: Path) -> AsyncIterator[BinaryIO]:
    """The file, open for reading for the length of the block; a drive that fails in it is CarriedFault (TQ-BN-10)."""
    source = await compute.run(open_carried, path)
    try:
        yield source
    except OSError as error:
        raise unreadable(path, error) from error
    finally:
        source.close()


@asynccontextmanager
async def drafted(compute: Compute, place: Path, name: str) -> AsyncIterator["Draft"]:
    """A file that appears at the end of the block, or not at all; see `Draft`."""
    draft = await compute.run(Draft, place, name)
    try:
        yield draft
        await compute.run(draft.publish)
    except OSError as error:
        raise draft.failed(error) from error
    except BaseException:
        draft.discard()
        raise


def open_carried(path: Path) -> BinaryIO:
    """The file, read from its beginning; raises CarriedFault (TQ-BN-10) for anything that is no ordinary file."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise CarriedFault("TQ-BN-10", f"{path} is no ordinary file", "name the file on the drive")
    return os.fdopen(opened, "rb")


class Draft:
    """A file being written under another name, so that its own name never stands for half of it."""

    def __init__(self, place: Path, name: str) -> None:
        """Begin it: at `place`, or as `name` in the folder `place`. Raises CarriedFault (TQ-BN-11, 12)."""
        self.path = place
        try:
            self.path = place / name if place.is_dir() else place
            self._must_be_free()
            self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
            self._partial.unlink(missing_ok=True)
            self.file: BinaryIO = self._partial.open("xb")  # never through a link that lies on the drive
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from error

    def publish(self) -> None:
        """Let it appear, durably; raises CarriedFault (TQ-BN-12) when its name was taken meanwhile, OSErrors pass."""
        self.file.close()
        self._must_be_free()
        publish(self._partial, self.path)

    def failed(self, error: OSError) -> CarriedFault:
        """The fault for a drive that fails while it is written; takes away what was written."""
        self.discard()
        return self._unwritable(error)

    def discard(self) -> None:
        """Take it away; harmless when it is gone, or the drive is."""
        with suppress(OSError):
            self.file.close()
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def _must_be_free(self) -> None:
        if os.path.lexists(self.path):
            raise CarriedFault("TQ-BN-12", f"there is {self.path} already", "choose another name, or take it away")

    def _unwritable(self, error: OSError | ValueError) -> CarriedFault:
        full = isinstance(error, OSError) and error.errno in FULL
        hint = "it is full: take away what is on it, or take a larger one" if full else "look at the drive"
        return CarriedFault("TQ-BN-11", f"{self.path} cannot be written: {_why(error)}", f"{hint}; nothing is lost")


def unreadable(path: Path, error: OSError | ValueError) -> CarriedFault:
    """The fault for a drive that fails while it is read, or a name that names nothing."""
    hint = "look at the drive; the service's user must read it"
    return CarriedFault("TQ-BN-10", f"{path} cannot be read: {_why(error)}", hint)


def _why(error: OSError | ValueError) -> str | None:
    return error.strerror if isinstance(error, OSError) else "it is no name of a file"
