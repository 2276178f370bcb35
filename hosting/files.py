"""Files that appear whole or not at all, and are there after a power cut. Floor: hosting."""

import os
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
