"""A large office's registry in parts, through the downlink and threads: the loop has its turn between all parts."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.edge_store import registry_of
from edge_node.store.downlink import Downlink
from edge_node.store.field_works import FieldWorks
from edge_node.store.registries import Registries
from gridmodel.identity import MeterId
from gridmodel.registry import Registry
from hosting.compute import ThreadCompute
from hosting.database import open_database
from hosting.letting_go import LettingGo
from hosting.migrations import load_migrations
from protocols.sync.chunk.registries import packed_parts
from protocols.sync.lanes import DownLane
from protocols.sync.pull import DownItem
from tests.edge_node.store.test_registry_parts import items
from tests.gridmodel.test_registry_parts import same

POINTS = 60_000
"""A million takes a minute of a processor and 1.4 GB (docs/adr/0016-registries-in-parts.md)."""
PULL_ITEMS = 5


def exchanged(registry: Registry) -> Registry:
    old, new = registry.installations[777], MeterId("m-new")
    return replace(
        registry,
        version=2,
        meters=(*registry.meters, replace(registry.meter[old.meter], id=new)),
        installations=(
            *registry.installations[:777],
            replace(old, valid_to=9_000),
            replace(old, meter=new, valid_from=9_000),
            *registry.installations[778:],
        ),
    )


@pytest.mark.slow
def test_a_large_registry_comes_in_parts_and_an_exchange_in_few(tmp_path: Path) -> None:
    first = registry_of(POINTS)
    second = exchanged(first)
    packed = packed_parts(first)
    assert len(packed.parts) == 16
    assert max(map(len, packed.parts)) < 300_000
    turns = 0

    async def turning() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def story() -> None:
        control = await open_database(
            tmp_path / "control.db", "control", load_migrations("edge_node.store", "schema/control")
        )
        compute, letting_go = ThreadCompute(), LettingGo()
        registries = Registries(control, first.node, compute, FieldWorks(control, bytes(32)), let_go=letting_go.watch)
        downlink = Downlink(control, registries=registries, appliers={})

        async def pull(sent: list[DownItem]) -> int:
            refused = 0
            for start in range(0, len(sent), PULL_ITEMS):
                refused += (await downlink.apply(sent[start : start + PULL_ITEMS], 0)).refused
            return refused

        turner = asyncio.create_task(turning())
        assert await pull(items(first)) == 0
        assert turns > len(packed.parts), "the loop turned between the parts"
        assert same(registries.current(), first)
        later = items(second, packed, first=100)
        assert 2 <= len(later) <= 4, "the parts of the place and of the new meter, and the manifest"
        assert await pull(later) == 0
        assert same(registries.current(), second)
        assert registries.current().topology(9_001).installation_at["up-000777"].meter == "m-new"
        assert (await downlink.offsets())[DownLane.REGISTRY] == 99 + len(later)
        turner.cancel()
        await control.close()
        compute.close()
        letting_go.close()

    asyncio.run(asyncio.wait_for(story(), 300))
