"""The engines behind the hub's store port, each with how its contract's stories are run."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.postgres import open_postgres
from central_sync.store.sqlite import open_sqlite
from gridmodel.identity import NodeId
from hosting.database import open_database

A, B = NodeId("node-a"), NodeId("node-b")
Story = Callable[[HubStore], Awaitable[None]]
Runner = Callable[[Story], None]
Opener = Callable[[], Awaitable[HubStore]]
ROW_KEY = b"k" * 32


def sqlite_opener(request: pytest.FixtureRequest) -> Opener:
    folder: Path = request.getfixturevalue("tmp_path")
    return lambda: open_sqlite(folder / "hub.db", ROW_KEY, open_database)


def postgresql_opener(request: pytest.FixtureRequest) -> Opener:
    url: str = request.getfixturevalue("fresh_database")()
    return lambda: open_postgres(url, lambda _: ROW_KEY)


OPENERS = {"sqlite": sqlite_opener, "postgresql": postgresql_opener}
ENGINES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]
"""Parameters of a fixture."""


def runner(request: pytest.FixtureRequest) -> Runner:
    """Runs a story over a new store of the fixture's engine, two nodes enlisted."""
    opener = OPENERS[request.param](request)

    async def enlist(tx: HubTransaction) -> None:
        await tx.enlist(A, "key-a", ("1703202",))
        await tx.enlist(B, "key-b", ("1706204", "1706207"))

    async def whole(story: Story) -> None:
        store = await opener()
        try:
            await store.write(enlist)
            await story(store)
        finally:
            await store.close()

    return lambda story: asyncio.run(whole(story))
