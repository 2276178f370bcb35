"""PostgreSQL's trouble as faults that an operator can act on. Floor: central_sync/store; in the PostgreSQL door."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from central_sync.store.addresses import unreadable
from central_sync.store.faults import StoreFault

CROSSED = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.UniqueViolationError,
    asyncpg.NotNullViolationError,
)
"""Another process wrote between this verb's look and its write: nothing of it stands, and it is run again."""
LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
)
"""The connection is gone, or none can be made (TimeoutError is an OSError). A call on a closed one is an
InterfaceError, as many mistakes are: `postgres_sessions` tells them apart."""

_AWAY = (
    "TQ-HB-02",
    "does not answer",
    "look whether PostgreSQL runs and can be reached; nodes keep what was not acknowledged and send it again",
)
_HELD_UP = (
    "TQ-HB-08",
    "is held up by other writers",
    "wait for a large import to end; a process that hangs is shown by pg_stat_activity",
)
_TROUBLE: tuple[tuple[tuple[type[BaseException], ...], str, str, str], ...] = (
    (
        (asyncpg.InvalidAuthorizationSpecificationError,),  # its kind: a wrong password, an unknown or unwelcome login
        "TQ-HB-03",
        "lets nobody in by this login",
        "compare user and password with the server's, and its pg_hba.conf",
    ),
    (
        (asyncpg.InvalidCatalogNameError,),
        "TQ-HB-04",
        "does not exist",
        "createdb --owner USER NAME at the server, or correct the address",
    ),
    (
        (asyncpg.DiskFullError, asyncpg.TooManyConnectionsError, asyncpg.OutOfMemoryError),
        "TQ-HB-05",
        "has no room left",
        "free disk space or memory at the server, or raise max_connections; nothing acknowledged is lost",
    ),
    (
        (
            asyncpg.InsufficientPrivilegeError,
            asyncpg.ReadOnlySQLTransactionError,
            asyncpg.TargetServerAttributeNotMatched,
        ),
        "TQ-HB-07",
        "may not be written",
        "let the hub's user own the database; with a pair of servers name the leader (target_session_attrs=read-write)",
    ),
    (
        (asyncpg.LockNotAvailableError, asyncpg.IdleInTransactionSessionTimeoutError),
        *_HELD_UP,
    ),
    (
        (asyncpg.QueryCanceledError,),
        "TQ-HB-08",
        "broke off a statement",
        "nothing was taken in; it took too long, or an administrator ended it: look at pg_stat_activity",
    ),
    (
        (asyncpg.DataCorruptedError, asyncpg.IndexCorruptedError, asyncpg.PostgresSystemError),
        "TQ-HB-09",
        "is damaged",
        "stop every hub, keep the server's files, restore the newest copy; the nodes send again what it lacks",
    ),
    (
        (asyncpg.SerializationError, asyncpg.DeadlockDetectedError),
        "TQ-HB-12",
        "was crossed by other hub processes again and again",
        "nothing was taken in; it is tried again later. If it lasts, run fewer hub processes",
    ),
    (LOST, *_AWAY),
)


def fault_of(error: BaseException, name: str) -> StoreFault | None:
    """The named fault for trouble with the server; None for a mistake in a statement: it is ours, and kept as it is."""
    if isinstance(error, asyncpg.ClientConfigurationError):
        return unreadable()
    for kinds, code, what, hint in _TROUBLE:
        if isinstance(error, kinds):
            return StoreFault(code, f"{name} {what}: {error!s:.200}", hint)
    return None


def away(error: BaseException, name: str) -> StoreFault:
    """The fault for a connection that is gone, whatever error tells it."""
    code, what, hint = _AWAY
    return StoreFault(code, f"{name} {what}: {error!s:.200}", hint)


def held_up(why: str, name: str) -> StoreFault:
    """The fault for a turn that does not come."""
    code, what, hint = _HELD_UP
    return StoreFault(code, f"{name} {what}: {why}", hint)


def unusable(what: str, name: str) -> StoreFault:
    """The fault for a database that cannot be a hub's, or is something else's."""
    return StoreFault(
        "TQ-HB-14",
        f"{name} cannot be used: {what:.200}",
        "give the hub a database of its own: createdb --owner USER --encoding UTF8 --template template0 NAME; settings"
        " in the address must be those of the server",
    )


@contextmanager
def opening(name: str) -> Iterator[None]:
    """Until a database is open whatever is wrong with it has a name; afterwards a statement's mistake is ours."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise unusable(str(error), name) from error
