"""Where the hub's database is: addresses of both engines. Floor: central_sync/store; on no walk."""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from central_sync.store.faults import StoreFault

SQLITE = "sqlite:///"
POSTGRESQL = ("postgresql://", "postgres://")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]*\]|[^:\[\]]*)(:\d{1,5})?")


def sqlite_path(url: str) -> Path:
    """The file that ``sqlite:///PATH`` names; raises StoreFault (TQ-HB-01) for other texts."""
    if not url.startswith(SQLITE) or len(url) == len(SQLITE):
        raise StoreFault(
            "TQ-HB-01",
            "the address of the hub's database names none",
            "write sqlite:///hub.db, sqlite:////var/hub.db or postgresql://USER@HOST/NAME",
        )
    return Path(url[len(SQLITE) :])


def shown_address(url: str) -> str:
    """An address of PostgreSQL for people, without user and password; raises StoreFault (TQ-HB-01) when it is none."""
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
    except ValueError:
        raise unreadable() from None
    place = parts.netloc.rpartition("@")[2]
    name = parts.path.removeprefix("/") or query.get("dbname", [""])[0]
    if not url.startswith(POSTGRESQL) or parts.fragment or {"/", "@", ":"} & set(name):
        raise unreadable()
    if not all(_HOST.fullmatch(host) for host in place.split(",")):
        raise unreadable()
    return f"database {name or 'of its user'} at {place or query.get('host', ['the local socket'])[0]}"


def unreadable() -> StoreFault:
    """An address that makes no sense. It is not shown: a password may stand anywhere in it."""
    return StoreFault(
        "TQ-HB-01",
        "the address of the hub's database makes no sense",
        "write postgresql://USER:PASSWORD@HOST:PORT/NAME, signs of the password percent-encoded (%40 for @, %2F for /)",
    )
