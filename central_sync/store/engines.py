"""Which engine a configuration names, and opening it. Floor: central_sync/store; on no walk."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

from central_sync.config import HubConfig
from central_sync.store.addresses import POSTGRESQL, shown_address, sqlite_path
from central_sync.store.faults import StoreFault
from central_sync.store.port import HubStore
from central_sync.store.sqlite import open_sqlite, open_sqlite_reader
from gridmodel.clock import Entropy
from hosting.database import DatabaseOpener
from hosting.keys import KeyDomain, create_row_key, load_row_key

ROW_KEY_NAME = "row.key"


def database_shown(config: HubConfig) -> str:
    """The configured database for people: a path, or a place without a secret. Raises StoreFault (TQ-HB-01)."""
    url = config.database_url()
    return shown_address(url) if url.startswith(POSTGRESQL) else str(_path(config, url))


async def open_store(
    config: HubConfig, entropy: Entropy, open_database: DatabaseOpener, row_key: bytes | None
) -> HubStore:
    """Open or make the hub's store; raises StoreFault, DatabaseFault, MigrationFault, KeyFault.

    `row_key` is read from (or made in) the data directory unless it is given.
    """
    url = config.database_url()
    keys = _keys(config.data_dir, entropy, config.key_domain) if row_key is None else lambda _: row_key
    if url.startswith(POSTGRESQL):
        store: HubStore = await _postgres().open_postgres(url, keys)
        return store
    path = _path(config, url)
    return await open_sqlite(path, keys(path.exists()), open_database)


async def open_store_reader(config: HubConfig) -> HubStore:
    """Open an existing store for reading only, beside running hubs: `write` fails in it. Raises like `open_store`."""
    url = config.database_url()

    def keys(rows_stand: bool) -> bytes:
        return load_row_key(config.data_dir / ROW_KEY_NAME, config.key_domain) if rows_stand else bytes(32)

    if url.startswith(POSTGRESQL):
        store: HubStore = await _postgres().open_postgres_reader(url, keys)
        return store
    path = _path(config, url)
    return await open_sqlite_reader(path, keys(path.exists()))


def _postgres() -> ModuleType:
    """Loaded when it is asked for: a hub on SQLite needs no library for it."""
    try:
        return import_module("central_sync.store.postgres")
    except ModuleNotFoundError as error:
        hint = "pip install 'tarmoq[hub]', or use --database sqlite:///PATH"
        raise StoreFault("TQ-HB-13", f"the library for PostgreSQL is not installed: {error.name}", hint) from error


def _path(config: HubConfig, url: str) -> Path:
    """A relative path counts from the data directory."""
    return config.data_dir / sqlite_path(url)


def _keys(folder: Path, entropy: Entropy, domain: KeyDomain) -> Callable[[bool], bytes]:
    """The key of row hashes: in the data directory, made with the first start.

    Raises KeyFault (TQ-KY-01) when rows stand and their key is gone: under a new one all of them would seem damaged.
    """

    def keys(rows_stand: bool) -> bytes:
        path = folder / ROW_KEY_NAME
        return load_row_key(path, domain) if rows_stand or path.exists() else create_row_key(path, entropy, domain)

    return keys
