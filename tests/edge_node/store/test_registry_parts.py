"""A registry that comes in parts holds when all of it is there, and not before; whatever is wrong is named."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pytest

from edge_node.store.alarms import Alarms
from edge_node.store.downlink import Applied, Downlink, may_lack_protection
from edge_node.store.field_works import FieldWorks
from edge_node.store.registries import Registries, insert_parts, pack_document
from gridmodel import registry_parts
from gridmodel.event import AlarmKind
from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from gridmodel.registry import Registry
from gridmodel.registry_document import registry_to_document
from hosting.compute import InlineCompute
from hosting.database import Database, open_database
from hosting.migrations import load_migrations
from protocols.sync import wire
from protocols.sync.chunk import document as documents
from protocols.sync.chunk.registries import PackedParts, RegistryKind, packed_parts
from protocols.sync.lanes import DownLane
from protocols.sync.pull import DownItem
from tests.edge_node.metering.small_grid import NODE, grid, link, placed
from tests.gridmodel.test_registry_parts import same

T = TypeVar("T")
NOW = 1_790_000_000
Spoil = Callable[[list[DownItem]], list[DownItem]]


@pytest.fixture(autouse=True)
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_parts, "PART_PLACES", 4)


def numbered(version: int, points: int = 40) -> Registry:
    names = [f"up-{number}" for number in range(points)]
    stays = [placed(f"m-{one}", one) for one in names]
    if version > 1:
        stays[7] = placed("m-up-7", "up-7", since=version)
    return grid([link(one, "t-1") for one in names], stays, version=version)


def items(registry: Registry, but: PackedParts | None = None, *, first: int = 1) -> list[DownItem]:
    """The items of a version as a hub sends them, the parts of `but` left out."""
    packed = packed_parts(registry)
    known = frozenset() if but is None else frozenset(but.manifest.parts)
    told = [(RegistryKind.PART, digest.hex(), part) for digest, part in packed.besides(known)]
    told.append((RegistryKind.MANIFEST, f"registry-{registry.version}", packed.manifest.to_bytes()))
    return [DownItem(DownLane.REGISTRY, number, *one) for number, one in enumerate(told, start=first)]


@dataclass
class Site:
    """The store of one node, as far as registries go."""

    control: Database
    registries: Registries
    downlink: Downlink
    alarms: Alarms

    async def take(self, taken: list[DownItem]) -> Applied:
        return await self.downlink.apply(taken, NOW)

    async def codes(self) -> set[str]:
        return {one.code for one in await self.downlink.refused()}

    async def parts(self) -> int:
        row = await self.control.read(lambda conn: conn.fetch_one("SELECT count(*) FROM registry_part"))
        return 0 if row is None else int(row[0])


@asynccontextmanager
async def site(folder: Path, node: NodeId = NODE) -> AsyncIterator[Site]:
    control = await open_database(
        folder / "control.db", "control", load_migrations("edge_node.store", "schema/control")
    )
    registries = Registries(control, node, InlineCompute(), FieldWorks(control, bytes(32)))
    downlink = Downlink(control, registries=registries, appliers={})
    try:
        await registries.load()
        yield Site(control, registries, downlink, Alarms(control, node))
    finally:
        await control.close()


def told(story: Callable[[Site], Awaitable[None]], folder: Path) -> None:
    async def run() -> None:
        async with site(folder) as one:
            await story(one)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_registry_in_parts_holds_with_its_manifest_and_after_a_restart(tmp_path: Path) -> None:
    async def story(one: Site) -> None:
        sent = items(numbered(1))
        await one.take(sent[:-1])
        assert one.registries.newest is None, "nothing holds yet"
        assert await one.codes() == set()
        assert (await one.take(sent[-1:])).applied == 1
        assert same(one.registries.current(), numbered(1))

    async def later(one: Site) -> None:
        assert same(one.registries.current(), numbered(1))

    told(story, tmp_path)
    told(later, tmp_path)


def test_parts_and_manifest_of_one_pull_hold_at_once(tmp_path: Path) -> None:
    async def story(one: Site) -> None:
        sent = items(numbered(1))
        assert (await one.take(sent)).applied == len(sent)
        assert same(one.registries.current(), numbered(1))
        assert (await one.take(sent)).applied == 0, "a repeat is harmless"

    told(story, tmp_path)


class Counting(InlineCompute):
    """Computes inline and counts what."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        self.calls[function.__name__] += 1
        return await super().run(function, *arguments)


def test_what_came_down_is_read_once(tmp_path: Path) -> None:
    async def story(one: Site) -> None:
        compute = Counting()
        registries = Registries(one.control, NODE, compute, FieldWorks(one.control, bytes(32)))
        downlink = Downlink(one.control, registries=registries, appliers={})
        sent = items(numbered(1))
        await downlink.apply(sent, NOW)
        assert (compute.calls["read"], compute.calls["whole"]) == (len(sent) - 1, 1)
        await downlink.apply([DownItem(DownLane.REGISTRY, 50, "registry", "r-2", pack_item(numbered(2)))], NOW)
        assert (compute.calls["read_item"], compute.calls["registry_of"]) == (1, 0)
        assert registries.current().version == 2

    told(story, tmp_path)


def test_a_part_that_came_before_a_crash_is_not_asked_for_again(tmp_path: Path) -> None:
    sent = items(numbered(1))

    async def story(one: Site) -> None:
        await one.take(sent[:5])

    async def later(one: Site) -> None:
        assert (await one.downlink.offsets())[DownLane.REGISTRY] == 5
        await one.take(sent[5:])
        assert same(one.registries.current(), numbered(1))

    told(story, tmp_path)
    told(later, tmp_path)


def without(sent: list[DownItem]) -> list[DownItem]:
    return [*sent[:3], *sent[4:]]


def flipped(sent: list[DownItem]) -> list[DownItem]:
    body = bytearray(sent[3].body)
    body[20] ^= 1
    return [*sent[:3], replace(sent[3], body=bytes(body)), *sent[4:]]


def renamed(sent: list[DownItem]) -> list[DownItem]:
    """Refused until the true part of that name comes, and missing under its own."""
    return [*sent[:3], replace(sent[3], id=sent[4].id), *sent[4:]]


def repacked(sent: list[DownItem], parts: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]) -> list[DownItem]:
    """With a manifest that is whole in itself and names the parts otherwise."""
    packed = packed_parts(numbered(2))
    manifest = replace(packed.manifest, parts=parts(packed.manifest.parts))
    return [*sent[:-1], replace(sent[-1], body=manifest.to_bytes())]


def reordered(sent: list[DownItem]) -> list[DownItem]:
    return repacked(sent, lambda parts: parts[::-1])


def doubled(sent: list[DownItem]) -> list[DownItem]:
    return repacked(sent, lambda parts: (parts[1], *parts[1:]))


def shortened(sent: list[DownItem]) -> list[DownItem]:
    return repacked(sent, lambda parts: parts[:-1])


def torn(sent: list[DownItem]) -> list[DownItem]:
    return [*sent[:-1], replace(sent[-1], body=sent[-1].body[:-1])]


def forged(sent: list[DownItem]) -> list[DownItem]:
    body = wire.unpack(sent[-1].body, wire.DOCUMENT)
    return [*sent[:-1], replace(sent[-1], body=wire.pack({**body, "version": 9}, wire.DOCUMENT))]


def another(sent: list[DownItem]) -> list[DownItem]:
    packed = packed_parts(dataclasses.replace(numbered(2), node=NodeId("node-b")))
    return [*sent[:-1], replace(sent[-1], body=packed.manifest.to_bytes())]


def unknown(sent: list[DownItem]) -> list[DownItem]:
    return [*sent[:-1], replace(sent[-1], kind="registry_sheaf")]


def same_version(sent: list[DownItem]) -> list[DownItem]:
    packed = packed_parts(dataclasses.replace(numbered(2), version=1))
    return [*sent[:-1], replace(sent[-1], body=packed.manifest.to_bytes())]


@pytest.mark.parametrize(
    ("spoil", "codes"),
    [
        (without, {"TQ-ST-05"}),
        (flipped, {"TQ-SY-70", "TQ-ST-05"}),
        (renamed, {"TQ-ST-05"}),
        (reordered, {"TQ-RG-20"}),
        (doubled, {"TQ-RG-20"}),
        (shortened, {"TQ-RG-20"}),
        (torn, {"TQ-SY-02"}),
        (forged, {"TQ-SY-71"}),
        (another, {"TQ-ST-02"}),
        (unknown, {"TQ-DL-01"}),
        (same_version, {"TQ-ST-03"}),
    ],
)
def test_a_wrong_version_is_named_and_the_one_before_goes_on(tmp_path: Path, spoil: Spoil, codes: set[str]) -> None:
    async def story(one: Site) -> None:
        await one.take(items(numbered(1, 20)))
        before = one.registries.current()
        await one.take(spoil(items(numbered(2), first=30)))
        assert await one.codes() == codes
        assert all(refused.what for refused in await one.downlink.refused())
        assert await one.alarms.count(AlarmKind.DOWNLINK_REFUSED) == len(codes)
        assert one.registries.current() is before
        assert await one.control.read(may_lack_protection), "nobody is cut while a change of the network is missing"
        await one.take(items(numbered(3), first=60))
        assert same(one.registries.current(), numbered(3)), "the next whole version holds"
        assert not await one.control.read(may_lack_protection)

    told(story, tmp_path)
    told(lambda one: _holds(one, 3), tmp_path)


async def _holds(one: Site, version: int) -> None:
    assert one.registries.current().version == version


def test_a_manifest_is_taken_in_when_its_missing_part_came(tmp_path: Path) -> None:
    async def story(one: Site) -> None:
        sent = items(numbered(1))
        await one.take(without(sent))
        assert await one.codes() == {"TQ-ST-05"}
        assert await one.downlink.retry_refused(NOW) == 0
        await one.take([replace(sent[3], offset=50)])
        assert one.registries.newest is None
        assert await one.downlink.retry_refused(NOW) == 1
        assert same(one.registries.current(), numbered(1))
        assert await one.alarms.count(AlarmKind.DOWNLINK_REFUSED) == 0

    told(story, tmp_path)


def test_a_later_version_brings_only_what_changed_and_what_nobody_has_is_let_go(tmp_path: Path) -> None:
    async def story(one: Site) -> None:
        first = packed_parts(numbered(1))
        await one.take(items(numbered(1)))
        before = one.registries.current()
        sent = items(numbered(2), first, first=30)
        assert len(sent) == 2, "one part, and the manifest"
        stray = items(grid([link("up-x", "t-1")], [placed("m-x", "up-x")], version=9), first=25)
        await one.take(stray[:-1])
        assert await one.parts() == len(first.parts) + len(stray) - 1
        await one.take(sent)
        after = one.registries.current()
        assert same(after, numbered(2))
        assert await one.parts() == len(first.parts) + 1, "the parts of both versions"
        shared = {id(row) for row in before.meters} & {id(row) for row in after.meters}
        assert len(shared) > len(after.meters) // 2, "rows of unchanged parts are not read again"

    told(story, tmp_path)
    told(lambda one: _holds(one, 2), tmp_path)


def test_whole_documents_and_parts_follow_each_other(tmp_path: Path) -> None:
    """A hub of the version before sends whole documents; a registry grows, and shrinks again."""

    def document(version: int, offset: int) -> DownItem:
        packed = pack_item(numbered(version))
        return DownItem(DownLane.REGISTRY, offset, "registry", f"registry-{version}", packed)

    async def story(one: Site) -> None:
        for number, sent in enumerate(([document(1, 1)], items(numbered(2), first=2), [document(3, 40)]), start=1):
            assert (await one.take(sent)).refused == 0
            assert same(one.registries.current(), numbered(number))

    told(story, tmp_path)
    told(lambda one: _holds(one, 3), tmp_path)


def pack_item(registry: Registry) -> bytes:
    return documents.pack_document({"document": registry_to_document(registry)})


def test_versions_that_go_take_their_parts_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_node.store.registry_versions.VERSIONS_KEPT", 2)

    async def story(one: Site) -> None:
        offset = 1
        for version in range(1, 6):
            sent = items(numbered(version), first=offset)
            await one.take(sent)
            offset += len(sent)
        assert await one.parts() == 17, "those of versions 4 and 5, which differ in one"
        uses = await one.control.read(lambda conn: conn.fetch_all("SELECT DISTINCT version FROM registry_part_use"))
        assert {version for (version,) in uses} == {4, 5}

    told(story, tmp_path)


def test_parts_that_nobody_names_do_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_node.store.registry_versions.PARTS_WAITING_MAX", 20)

    async def story(one: Site) -> None:
        first = items(numbered(1))
        await one.take(first)
        for number in range(50):
            stray = items(grid([link(f"up-{number}", "t-1")], [placed("m-x", f"up-{number}")], version=9))
            await one.take([replace(stray[0], offset=100 + number)])
        assert await one.parts() <= 16 + 21, "those of version 1, and the latest"
        await one.take(items(numbered(2), first=200))
        assert same(one.registries.current(), numbered(2))

    told(story, tmp_path)


def test_a_part_damaged_on_the_disk_is_named_when_it_is_read(tmp_path: Path) -> None:
    async def story(one: Site) -> None:
        await one.control.write(lambda conn: insert_parts(conn, packed_parts(numbered(1)), NOW))
        await one.registries.load()
        await one.control.write(
            lambda conn: conn.execute("UPDATE registry_part SET document = zeroblob(9) WHERE rowid = 3")
        )

    told(story, tmp_path)
    with pytest.raises(Fault, match=r"TQ-ST-06.*TQ-SY-70.*restore the node's control database"):
        told(story, tmp_path)


def test_an_old_store_with_a_whole_document_is_loaded(tmp_path: Path) -> None:
    async def story(one: Site) -> None:
        packed = pack_document(numbered(4))
        await one.control.write(lambda conn: conn.execute("INSERT INTO registry VALUES (?, ?, ?)", (4, packed, NOW)))

    told(story, tmp_path)
    told(lambda one: _holds(one, 4), tmp_path)
