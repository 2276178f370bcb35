"""A registry too large for one document: the hub keeps it, reads it, and sends down what its node lacks."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from central_sync.balance import topology
from central_sync.billing import registry_file
from central_sync.billing.registry_file import registry_from_file
from central_sync.hub import Hub
from central_sync.store.rows import OwnerRow
from central_sync.store.sql_lanes import SqlLanes
from gridmodel import registry_parts
from gridmodel.fault import Fault
from gridmodel.field_merge import merged
from gridmodel.field_work import Taken
from gridmodel.identity import MeterId
from gridmodel.registry import Registry
from gridmodel.registry_document import HEAD, registry_to_document
from gridmodel.registry_tables import TABLES
from hosting.compute import InlineCompute
from protocols.sync import facts
from protocols.sync.chunk import registries
from protocols.sync.chunk.registries import Manifest, RegistryKind
from protocols.sync.lanes import AckOutcome, DownLane, Lane, Record
from protocols.sync.pull import DownItem
from tests.central_sync.hub_rig import (
    START,
    A,
    B,
    HandClock,
    Speaker,
    chunk_bytes,
    import_registry,
    registry_of,
    run_hub,
)
from tests.central_sync.test_hub_field_works import exchange, record, removal
from tests.edge_node.store.test_registry_parts import site
from tests.gridmodel.test_registry_parts import same

pytestmark = pytest.mark.usefixtures("few_places")


@pytest.fixture
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_parts, "PART_PLACES", 4)
    monkeypatch.setattr(registries, "WHOLE_ROWS_MAX", 39)


def large(version: int = 1) -> Registry:
    return registry_of(A, version, transformers=8, points=5)


async def spoken(hub: Hub) -> Speaker:
    node = Speaker(hub, A)
    await node.hello()
    return node


async def lane(hub: Hub, after: int = 0) -> list[DownItem]:
    return list((await Speaker(hub, A).pull({DownLane.REGISTRY: after})).items)


async def holds(node: Speaker, version: int, name: str, *, refused: bool = False) -> None:
    """The node tells which version holds there, and whether it set a later one aside."""
    body = {"at": START, "registry_version": version, "registry_refused": refused, "backlog": {}}
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
        await holds(node, 4, "status-3", refused=True)
        await import_registry(hub, large(5))
        assert len(await lane(hub)) == 4 * len(first) + 1, "what it refused may have lacked any part"

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


def test_a_damaged_part_stops_neither_its_nodes_lane_nor_the_works_of_others(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, large())
        await import_registry(hub, registry_of(B))
        node, other = Speaker(hub, A), Speaker(hub, B)
        for one in (node, other):
            await one.hello()
        part = await damaged(hub, b"nothing")
        (ack,) = await node.push(node.seal(Lane.INTERVAL, chunk_bytes(large(), Random(1))))
        assert (ack.outcome, ack.reason[:8]) == (AckOutcome.QUARANTINED, "TQ-HQ-01")
        assert (await node.send(Lane.CONTROL, record(exchange()))).outcome is AckOutcome.APPLIED
        taken = Taken(MeterId("m-up-t-b0-0"), "up-t-b0-0", (90_000,))
        assert (await other.send(Lane.CONTROL, record(replace(removal(), taken=taken)))).outcome is AckOutcome.APPLIED
        assert [(one.node, one.version) for one in await hub.merge_field_works()] == [(B, 2)]
        assert await hub.link.retry(None) == 0
        await damaged(hub, part)
        assert await hub.link.retry(None) == 1, "once the part is whole again"

    run_hub(tmp_path, story)


def test_versions_of_one_node_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Works make a version every few minutes, a region's has a gigabyte: those in use are kept."""
    read: list[int] = []

    def counted(document: bytes, *more: Any) -> topology.KnownRegistry:
        known = topology_decoded(document, *more)
        read.append(known.registry.version)
        return known

    topology_decoded = topology.decoded
    monkeypatch.setattr(topology, "decoded", counted)

    async def story(hub: Hub, _: HandClock) -> None:
        shelf = topology.RegistryShelf(hub.store, InlineCompute())
        for version in range(1, 7):
            await import_registry(hub, large(version))
            for one in (1, version):
                assert await shelf.get(A, one) is not None
        assert read == [1, 2, 3, 4, 5, 6]
        for version in (6, 1, 5):
            await shelf.get(A, version)
        assert read == [1, 2, 3, 4, 5, 6]
        await shelf.get(A, 2)
        await shelf.get(A, 6)
        assert read == [1, 2, 3, 4, 5, 6, 2, 6], "more than three of one node are not kept"

    run_hub(tmp_path, story)


def test_claims_of_a_region_are_looked_up_by_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("central_sync.billing.registries.CLAIMS_AT_ONCE", 10, raising=False)
    asked: list[int] = []
    owners = SqlLanes.owners

    async def counted(self: SqlLanes, kind: str, ids: Sequence[str]) -> dict[str, OwnerRow]:
        asked.append(len(ids))
        return await owners(self, kind, ids)

    monkeypatch.setattr(SqlLanes, "owners", counted)

    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, large())
        assert max(asked) <= 10
        assert sum(asked) == 8 + 3 + 40 + 51 + 40, "transformers, supply points, points, meters, accounts"
        stolen = replace(registry_of(B), meters=(*registry_of(B).meters, large().meters[50]))
        with pytest.raises(Fault, match=r"TQ-IM-23.* meter .* belongs to node-a"):
            await import_registry(hub, stolen)

    run_hub(tmp_path, story)


async def damaged(hub: Hub, body: bytes) -> bytes:
    """Put this in the place of a part of A; gives what stood there."""

    async def verb(tx: Any) -> bytes:
        where = "WHERE node = ? AND lane = 'registry' AND number = 3"
        (found,) = await tx._connection.fetch_all(f"SELECT body FROM down_item {where}", (A,))
        await tx._connection.execute(f"UPDATE down_item SET body = ? {where}", (body, A))
        return bytes(found[0])

    return await hub.store.write(verb)


def test_one_that_fits_travels_whole_as_ever(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, registry_of(A, 1, transformers=7, points=4))
        assert [one.kind for one in await lane(hub)] == [RegistryKind.WHOLE]

    run_hub(tmp_path, story)


def test_the_hub_reads_what_it_kept(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, large())
        stored = await hub.store.read(lambda tx: tx.registry_document(A, 1))
        parts = await hub.store.read(lambda tx: tx.registry_parts(A, 1))
        assert stored is not None
        assert len(stored) < 2_000, "every version is a manifest, its parts stand in the lane down"
        assert same(registries.registry_of(stored, parts), large())
        await holds(await spoken(hub), 1, "status-1")
        await import_registry(hub, large(2))
        assert await hub.store.read(lambda tx: tx.registry_parts(A, 2)) == parts
        assert await hub.store.read(lambda tx: tx.registry_parts(A, 3)) == ()

    run_hub(tmp_path, story)


def lines_of(registry: Registry, rows: int = 7) -> list[str]:
    told = registry_to_document(registry)
    head = {name: told[name] for name in HEAD}
    pieces = [
        {"table": name, "rows": table[start : start + rows]}
        for name in TABLES
        for table in [told[name]]
        for start in range(0, len(table), rows)
    ]
    return [json.dumps(one) for one in (head, *pieces)]


def test_a_file_of_lines_is_the_registry_that_one_document_is(tmp_path: Path) -> None:
    lines = lines_of(large())
    for data in ("\n".join(lines), "\n\n".join([lines[0], *lines[:0:-1]]) + "\n", "\ufeff" + "\r\n".join(lines)):
        assert same(registry_from_file(data.encode()), large())
    assert same(registry_from_file(json.dumps(registry_to_document(large()), indent=1).encode()), large())

    async def story(hub: Hub, _: HandClock) -> None:
        assert (await hub.import_registry("\n".join(lines).encode())).usage_points == 40
        assert (await hub.import_registry(json.dumps(registry_to_document(large())).encode())).done, "twice is once"

    run_hub(tmp_path, story)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ("{", "TQ-IM-20"),
        ("[]", "TQ-IM-20"),
        ('{"table": "colours", "rows": []}', "TQ-IM-20"),
        ('{"table": ["meters"], "rows": []}', "TQ-IM-20"),
        ('{"table": "meters"}', "TQ-IM-20"),
        ('{"table": "meters", "rows": 7}', "TQ-RG-10"),
        ('{"table": "meters", "rows": [{"id": "m"}]}', "TQ-RG-10"),
        (json.dumps({"table": "feeders", "rows": [{"id": "f-a", "substation": "ss-a", "name": "twice"}]}), "TQ-RG-03"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_taken_in(wrong: str, code: str) -> None:
    lines = lines_of(large())
    with pytest.raises(Fault) as refused:
        registry_from_file("\n".join([*lines[:3], wrong, *lines[3:]]).encode())
    assert refused.value.code == code
    if code == "TQ-IM-20":
        assert "line 4" in refused.value.what


def test_files_that_are_too_large_are_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n".join(lines_of(large())).encode()
    whole = json.dumps(registry_to_document(large())).encode()
    for name, size, data in (
        ("LINE_BYTES_MAX", 900, text),
        ("REGISTRY_BYTES_MAX", 900, text),
        ("DOCUMENT_BYTES_MAX", 900, whole),
        ("ROWS_MAX", 39, text),
    ):
        with monkeypatch.context() as small, pytest.raises(Fault, match="TQ-IM-24"):
            small.setattr(registry_file, name, size)
            registry_from_file(data)


def test_what_the_hub_sends_holds_at_the_node(tmp_path: Path) -> None:
    folder = tmp_path / "office"
    folder.mkdir()

    async def story(hub: Hub, _: HandClock) -> None:
        node = Speaker(hub, A)
        await node.hello()
        await import_registry(hub, large())
        async with site(folder) as office:
            sent = await lane(hub)
            assert (await office.take(sent)).refused == 0
            assert same(office.registries.current(), large())
            await holds(node, 1, "status-1")
            assert (await node.send(Lane.CONTROL, record(exchange()))).outcome is AckOutcome.APPLIED
            await hub.merge_field_works()
            assert (await office.take(await lane(hub, len(sent)))).refused == 0
            assert office.registries.current() == merged(office.registries.current(), [exchange()]).registry
            assert office.registries.current().version == 2

    run_hub(tmp_path, story)
