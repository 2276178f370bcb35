"""A registry too large for one document: the hub keeps it, reads it, and sends down what its node lacks."""

import json
from pathlib import Path
from random import Random

import pytest

from central_sync.hub import Hub
from gridmodel import registry_parts
from gridmodel.registry import Registry
from gridmodel.registry_document import registry_to_document
from protocols.sync import facts
from protocols.sync.chunk import registries
from protocols.sync.chunk.registries import Manifest, RegistryKind
from protocols.sync.lanes import AckOutcome, DownLane, Lane, Record
from protocols.sync.pull import DownItem
from tests.central_sync.hub_rig import (
    START,
    A,
    HandClock,
    Speaker,
    chunk_bytes,
    import_registry,
    registry_of,
    run_hub,
)
from tests.central_sync.test_hub_field_works import exchange, record
from tests.gridmodel.test_registry_parts import same

pytestmark = pytest.mark.usefixtures("few_places")


@pytest.fixture
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_parts, "PART_PLACES", 4)
    monkeypatch.setattr(registries, "WHOLE_ROWS_MAX", 39)


def large(version: int = 1) -> Registry:
    return registry_of(A, version, transformers=8, points=5)


async def lane(hub: Hub, after: int = 0) -> list[DownItem]:
    return list((await Speaker(hub, A).pull({DownLane.REGISTRY: after})).items)


async def holds(node: Speaker, version: int, name: str) -> None:
    """The node tells which version holds there."""
    body = {"at": START, "registry_version": version, "backlog": {}}
    ack = await node.send(Lane.CONTROL, Record(facts.NODE_STATUS, name, body))
    assert ack.outcome is AckOutcome.APPLIED, ack.reason


def test_a_large_registry_is_imported_and_goes_down_in_parts(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        data = json.dumps(registry_to_document(large())).encode()
        assert (await hub.import_registry(data)).usage_points == 40
        items = await lane(hub)
        assert [one.kind for one in items] == [RegistryKind.PART] * (len(items) - 1) + [RegistryKind.MANIFEST]
        manifest = Manifest.from_bytes(items[-1].body)
        assert [one.id for one in items[:-1]] == [digest.hex() for digest in manifest.parts]
        assert (manifest.node, manifest.version) == (A, 1)
        assert (await hub.import_registry(data)).done, "twice is once"
        assert len(await lane(hub)) == len(items)

    run_hub(tmp_path, story)


def test_batches_are_held_against_a_registry_in_parts(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, large())
        node = Speaker(hub, A)
        await node.hello()
        (ack,) = await node.push(node.seal(Lane.INTERVAL, chunk_bytes(large(), Random(1))))
        assert ack.outcome is AckOutcome.APPLIED, ack.reason

    run_hub(tmp_path, story)


def test_only_what_the_node_lacks_goes_down(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, large())
        node = Speaker(hub, A)
        await node.hello()
        first = await lane(hub)
        await import_registry(hub, large(2))
        again = (await lane(hub))[len(first) :]
        assert len(again) == len(first), "nobody has said that version 1 holds there"
        await holds(node, 2, "status-1")
        await import_registry(hub, large(3))
        (manifest,) = (await lane(hub))[2 * len(first) :]
        assert Manifest.from_bytes(manifest.body).version == 3
        await holds(node, 77, "status-2")
        await import_registry(hub, large(4))
        assert len(await lane(hub)) == 3 * len(first) + 1, "of a version that is not here nothing is known"

    run_hub(tmp_path, story)


def test_field_works_change_a_few_parts(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, large())
        node = Speaker(hub, A)
        await node.hello()
        await holds(node, 1, "status-1")
        first = await lane(hub)
        assert (await node.send(Lane.CONTROL, record(exchange()))).outcome is AckOutcome.APPLIED
        (report,) = await hub.merge_field_works()
        assert report.version == 2
        later = (await lane(hub))[len(first) :]
        assert 2 <= len(later) <= 3
        assert await hub.merge_field_works() == []

    run_hub(tmp_path, story)


def test_one_that_fits_travels_whole_as_ever(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, registry_of(A, 1, transformers=7, points=4))
        assert [one.kind for one in await lane(hub)] == [RegistryKind.WHOLE]

    run_hub(tmp_path, story)


def test_the_hub_reads_what_it_kept(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, large())
        stored = await hub.store.read(lambda tx: tx.registry_document(A, 1))
        assert stored is not None
        assert same(registries.registry_of(stored), large())

    run_hub(tmp_path, story)
