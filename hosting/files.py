"""Files that appear whole or not at all, survive a power cut, and keep their secrets. Floor: hosting."""

import os
import stat
from pathlib import Path


def publish(partial: Path, path: Path) -> None:
    """Give the finished file `partial` its name `path` in the same folder, durably, replacing what was there."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_private(path: Path, content: bytes) -> None:
    """Make a file that only its owner reads (0600), whole and durable; raises `FileExistsError` rather than replace."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)  # unlike a rename it never replaces
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def read_private(path: Path, size_bytes_max: int) -> bytes:
    """Read a file that nobody but its owner may read.

    Raises `PermissionError` when others may, `ValueError` when it is too long, `OSError` when it is not there.
    """
    return _read(path, size_bytes_max, private=True)


def read_text(path: Path, size_bytes_max: int) -> str:
    """Read a UTF-8 file that a person wrote on any machine; its line ends become newlines.

    Raises `ValueError` when it is too long, no text or no file (a pipe, a device), `OSError` when it is not there.
    """
    return _read(path, size_bytes_max).decode("utf-8").replace("\r\n", "\n")


def _read(path: Path, size_bytes_max: int, *, private: bool = False) -> bytes:
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path} is not a file")
        if private and status.st_mode & 0o077:
            raise PermissionError(f"others may read it (mode {stat.S_IMODE(status.st_mode):o})")
        content = file.read(size_bytes_max + 1)
    if len(content) > size_bytes_max:
        raise ValueError(f"longer than {size_bytes_max} bytes")
    return content


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
