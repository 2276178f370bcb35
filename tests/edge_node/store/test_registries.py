"""The registry that holds in memory is the newest in the store, whoever loads it and however long the work takes."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edge_node.store.field_works import FieldWorks
from edge_node.store.registries import Registries, pack_document
from edge_node.store.registry_versions import insert_registry
from gridmodel.registry import Registry
from hosting.database import open_database
from hosting.migrations import load_migrations
from tests.edge_node.metering.small_grid import NODE, grid, link, placed

R = TypeVar("R")


class SlowFirst:
    """Computes inline; the first piece of work waits until it is let go."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def run(self, work: Callable[..., R], /, *given: object) -> R:
        if not self.begun.is_set():
            self.begun.set()
            await self.go_on.wait()
        return work(*given)


def numbered(version: int) -> Registry:
    return grid([link("up-1", "t-1")], [placed("m-1", "up-1")], version=version)


def test_a_load_that_takes_long_does_not_put_an_older_registry_over_a_newer(tmp_path: Path) -> None:
    async def story() -> None:
        control = await open_database(
            tmp_path / "control.db", "control", load_migrations("edge_node.store", "schema/control")
        )
        compute = SlowFirst()
        registries = Registries(control, NODE, compute, FieldWorks(control, bytes(32)))
        await control.write(lambda conn: insert_registry(conn, 1, pack_document(numbered(1)), 0))
        slow = asyncio.create_task(registries.load())
        await compute.begun.wait()
        await control.write(lambda conn: insert_registry(conn, 2, pack_document(numbered(2)), 0))
        quick = asyncio.create_task(registries.load())
        await asyncio.sleep(0)
        await control.read(lambda conn: conn.fetch_all("SELECT 1"))  # behind what the second load reads, if it may
        for _ in range(100):
            await asyncio.sleep(0)
        compute.go_on.set()
        await asyncio.gather(slow, quick)
        assert registries.current().version == 2
        await control.close()

    asyncio.run(asyncio.wait_for(story(), 30))
