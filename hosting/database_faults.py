"""SQLite's trouble with a file, as faults that an operator can act on. Floor: hosting; part of the database door."""

import sqlite3
from http import HTTPStatus
from pathlib import Path

from gridmodel.fault import Fault


class DatabaseFault(Fault):
    """The database cannot do what was asked: missing, locked, full, damaged, of another version."""

    @property
    def status(self) -> int:
        """For an asker over HTTP: come again later, nothing was taken in."""
        return HTTPStatus.SERVICE_UNAVAILABLE

    @property
    def lasting(self) -> bool:
        """Whether no waiting makes the file readable: it is damaged. A lock, a full or failing disk may pass."""
        return self.code in _LASTING


_LASTING = frozenset({"TQ-DB-03", "TQ-DB-08"})
_TROUBLE: dict[int, tuple[str, str, str]] = {
    sqlite3.SQLITE_NOTADB: (
        "TQ-DB-03",
        "is not a database",
        "the file was overwritten: set it aside and restore a copy",
    ),
    sqlite3.SQLITE_BUSY: ("TQ-DB-04", "is locked by another process", "find the process that holds it; try again"),
    sqlite3.SQLITE_LOCKED: ("TQ-DB-04", "is locked by another process", "find the process that holds it; try again"),
    sqlite3.SQLITE_FULL: (
        "TQ-DB-07",
        "found the disk full",
        "free space on the data disk; nothing acknowledged is lost",
    ),
    sqlite3.SQLITE_CORRUPT: ("TQ-DB-08", "is damaged", "stop the process, set the file aside, restore the newest copy"),
    sqlite3.SQLITE_CANTOPEN: (
        "TQ-DB-11",
        "cannot be opened",
        "check that the data folder exists and belongs to this user",
    ),
    sqlite3.SQLITE_READONLY: (
        "TQ-DB-12",
        "may not be written",
        "check the owner of the file and whether the disk is read-only",
    ),
    sqlite3.SQLITE_IOERR: ("TQ-DB-13", "met an error of the disk", "check the disk (dmesg); keep the newest copy safe"),
}


def fault_of(error: sqlite3.Error, name: str) -> DatabaseFault | None:
    """The named fault for trouble with the file; None for a mistake in a statement, which is ours kept as it is."""
    trouble = _TROUBLE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if trouble is None:
        return None
    code, what, hint = trouble
    return DatabaseFault(code, f"{name} {what}: {error}", hint)


def must_exist(path: Path, name: str) -> None:
    """Raise ``TQ-DB-02`` when there is no file `path`."""
    if not path.is_file():
        raise DatabaseFault(
            "TQ-DB-02", f"there is no database {path} for {name}", "run the process once, or correct the path"
        )


def fresh_partial(path: Path, name: str) -> Path:
    """Where a copy grows before it gets its name; a rest from an interrupted copy is removed. Raises ``TQ-DB-10``."""
    if path.exists():
        raise DatabaseFault("TQ-DB-10", f"a copy of {name} would overwrite {path}", "choose a name not yet used")
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    return partial
