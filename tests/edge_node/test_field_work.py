"""Field works end to end: typed at an office with the link lost, merged at a real hub, found included at home."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from central_sync.billing.registries import packed_registry
from central_sync.config import HubConfig
from central_sync.config import NodeConfig as KnownNode
from central_sync.hub import Hub
from central_sync.hub import build as build_hub
from edge_node.node import Node
from gridmodel.field_merge import WorkState
from gridmodel.field_work import PHOTO_BYTES_MAX
from hosting.clocks import SystemEntropy, SystemIoClock
from hosting.compute import InlineCompute
from hosting.database import open_database
from hosting.door import DoorFault, call_door, serve_door
from hosting.process import Exit
from protocols.authority.canonical import Domain
from protocols.authority.signatures import Signer, key_to_text
from protocols.sync.link import LinkLost
from tests.edge_node.offices import CASHIER_SECRET, FITTER_SECRET, Office, built, office
from tests.edge_node.test_command_line import typed

JPEG = b"\xff\xd8\xff\xe0" + b"picture" * 1_000
FITTER = {"by": "p-fitter", "secret": FITTER_SECRET}


@dataclass
class Cable:
    """A line to a hub in this process, which can be cut."""

    hub: Hub
    cut: bool = True

    async def exchange(self, kind: str, body: bytes) -> bytes:
        if self.cut:
            raise LinkLost(50, "the line is cut", "wait")
        return await self.hub.handle(kind, body)

    async def close(self) -> None:
        return


@dataclass
class Country:
    """An office at work, a hub behind a cable."""

    office: Office
    node: Node
    hub: Hub
    cable: Cable

    async def ask(self, verb: str, **body: Any) -> dict[str, Any]:
        return await call_door(self.office.config.door, verb, body)

    async def until(self, what: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(60):
            while not await what():
                self.node.wakeups.outbox.set()
                await self.office.clock.sleep(6)

    def photo(self, content: bytes = JPEG, name: str = "old.jpg") -> str:
        path = self.office.folder / name
        path.write_bytes(content)
        return str(path)

    def swap(self) -> dict[str, Any]:
        """The second home's meter, which was taken down, comes to the first home."""
        registry = self.node.store.registries.current()
        first, second = registry.usage_points[0].id, registry.usage_points[1].id
        placed = registry.topology(self.office.clock.now()).installation_at
        meter = registry.meter[placed[second].meter]
        return {
            "usage_point": first,
            "meter": meter.id,
            "serial": meter.serial,
            "profile": meter.profile,
            "address": meter.address,
            "unit": meter.unit,
            "start_wh": {"import": 0},
            "final_wh": {"import": 10**9},
            "seals": ["A-1"],
            "photo": self.photo(),
        }


@asynccontextmanager
async def country(folder: Path) -> AsyncIterator[Country]:
    given = await office(folder, speed=600)
    signer = Signer.from_seed(bytes(32), Domain.DEMO)
    (folder / "hub").mkdir()
    known = KnownNode(
        id=given.config.node, public_key=key_to_text(signer.public), districts=tuple(map(str, given.registry.districts))
    )
    hub = await build_hub(
        HubConfig(data_dir=folder / "hub", demo=True, nodes=(known,)),
        clock=given.clock,
        io_clock=SystemIoClock(),
        rng=Random(1),
        entropy=SystemEntropy(),
        open_database=open_database,
        compute=InlineCompute(),
    )
    await given.fleet.start()
    cable = Cable(hub)
    try:
        await hub.import_registry(packed_registry(given.registry))
        async with built(given, cable) as node, serve_door(given.config.door, node.verbs):
            task = asyncio.create_task(node.run())
            try:
                yield Country(given, node, hub, cable)
            finally:
                node.stop()
                await task
    finally:
        given.fleet.close()
        await hub.close()
        await asyncio.sleep(0)


async def refusal(asked: Awaitable[dict[str, Any]]) -> str:
    with pytest.raises(DoorFault) as caught:
        await asked
    return caught.value.code


def test_an_exchange_typed_offline_is_merged_at_the_hub_and_known_again_at_home(tmp_path: Path) -> None:
    async def story() -> None:
        async with country(tmp_path) as at:
            registries = at.node.store.registries
            swap = at.swap()
            first, meter = swap["usage_point"], swap["meter"]
            second = registries.current().usage_points[1].id

            async def read() -> bool:
                return at.node.store.readings.newest_end is not None

            await at.until(read)
            old = registries.current().topology(at.office.clock.now()).installation_at[first].meter
            await at.ask("field-remove", usage_point=second, request="work-a", **FITTER)
            now = await at.ask("field-exchange", **(swap | FITTER | final_of(at, first)), request="work-b")
            assert (now["state"]["code"], now["meter"], now["repeated"]) == ("applied", meter, False)
            assert await asyncio.to_thread(Path(now["photo_file"]).read_bytes) == JPEG
            await at.office.clock.sleep(2)  # a stay begins after its second
            told = await at.ask("explain", usage_point=first)
            assert told["place"]["meter"] == meter
            assert told["place"]["life"]["code"] == "installed"
            at.cable.cut = False

            async def arrived() -> bool:
                return len(await at.hub.situation.field_works(None, 9)) == 2

            await at.until(arrived)
            (report,) = await at.hub.merge_field_works()
            assert (report.version, report.merged) == (2, 2)

            async def came_down() -> bool:
                return registries.current().version == 2

            await at.until(came_down)
            assert {one.state for one in registries.outcomes.values()} == {WorkState.INCLUDED}
            stays = {(str(one.meter), one.point): one for one in registries.current().installations}
            assert stays[old, first].valid_to == stays[meter, first].valid_from
            assert stays[meter, first].unproven
            assert await refusal(at.ask("field-commission", meter=meter, **FITTER)) == "TQ-FW-26", "no serial on Modbus"
            listed = await at.ask("field-list")
            assert [one["state"]["code"] for one in listed["works"]] == ["included", "included"]

    asyncio.run(asyncio.wait_for(story(), 120))


def final_of(at: Country, point: str) -> dict[str, Any]:
    """A final register as a fitter would read it: what was polled last, a little later."""
    placed = at.node.store.registries.current().topology(at.office.clock.now()).installation_at[point]
    finals = {}
    for channel in placed.channels:
        last = at.node.store.readings.last(point, channel)
        finals[channel.name.lower()] = 10 if last is None else last.register_wh + 10
    return {"final_wh": finals}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"secret": "guess"}, "TQ-LG-01"),
        ({"by": "p-cashier", "secret": CASHIER_SECRET}, "TQ-LG-03"),
        ({"photo": "relative.jpg"}, "TQ-VB-01"),
        ({"photo": "/nowhere/old.jpg"}, "TQ-FW-30"),
        ({"seals": []}, "TQ-FW-03"),
        ({"seals": "A-1"}, "TQ-VB-01"),
        ({"start_wh": {"moon": 1}}, "TQ-VB-01"),
        ({"start_wh": {"import": -1}}, "TQ-VB-01"),
        ({"at": "noon"}, "TQ-VB-01"),
        ({"at": 2**39}, "TQ-FW-20"),
        ({"address": "nonsense"}, "TQ-MB-"),
        ({"unit": -1}, "TQ-VB-01"),
        ({"multiplier": [0, 1]}, "TQ-QT-03"),
        ({"usage_point": "up-nowhere"}, "TQ-FW-12"),
        ({"extra": 1}, "TQ-VB-01"),
    ],
)
def test_a_work_that_makes_no_sense_is_named_and_nothing_is_recorded(
    tmp_path: Path, change: dict[str, object], code: str
) -> None:
    async def story() -> None:
        given = await office(tmp_path)
        async with built(given) as node, serve_door(given.config.door, node.verbs):
            at = Country(given, node, None, None)  # type: ignore[arg-type]
            assert (await refusal(at.ask("field-exchange", **(at.swap() | FITTER | change)))).startswith(code)
            assert not (await at.ask("field-list"))["works"]

    asyncio.run(story())


def test_a_photo_is_a_picture_of_bounded_size_and_kept_once(tmp_path: Path) -> None:
    async def story() -> None:
        given = await office(tmp_path)
        async with built(given) as node, serve_door(given.config.door, node.verbs):
            at = Country(given, node, None, None)  # type: ignore[arg-type]
            body = at.swap() | FITTER
            for content, code in ((b"%PDF-1.7", "TQ-FW-32"), (JPEG + bytes(PHOTO_BYTES_MAX), "TQ-FW-31")):
                assert await refusal(at.ask("field-exchange", **(body | {"photo": at.photo(content)}))) == code
            assert not list((given.config.data_dir / "photos").glob("*"))
            point = body["usage_point"]
            told = await at.ask("field-remove", usage_point=point, photo=at.photo(), **FITTER)
            assert [Path(told["photo_file"])] == list((given.config.data_dir / "photos").glob("*"))
            assert await photos_line(at) == "ok"
            await asyncio.to_thread(Path(told["photo_file"]).write_bytes, b"")
            assert await photos_line(at) == "warn", "whoever restores a backup has to bring them as well"

    asyncio.run(story())


def test_a_fitter_types_what_the_display_shows(tmp_path: Path) -> None:
    async def story() -> None:
        given = await office(tmp_path)
        async with built(given) as node, serve_door(given.config.door, node.verbs):
            at = Country(given, node, None, None)  # type: ignore[arg-type]
            swap = at.swap()
            common = ("--config", str(given.path), "--by", "p-fitter", "--json")
            signed = (*common, "--secret-file", str(given.secret_file(FITTER_SECRET)))
            second = node.store.registries.current().usage_points[1].id

            async def field_work(*words: str) -> tuple[int, Any]:
                return (await typed(given, "field-work", *words, *signed))[:2]

            code, gone = await field_work("remove", "--usage-point", second, "--final", "import=1234,5")
            assert (code, gone["taken"]["final_registers_wh"]) == (Exit.OK, [1_234_500])
            words = ["--usage-point", swap["usage_point"], "--meter", swap["meter"], "--serial", swap["serial"]]
            words += ["--profile", swap["profile"], "--address", swap["address"], "--unit", str(swap["unit"])]
            words += ["--start", "import=0.1", "--seal", "A-1", "--seal", "A-2", "--multiplier", "40/1"]
            code, done = await field_work("exchange", *words, "--final", "import=99999", "--photo", at.photo())
            assert (code, done["fitted"]["multiplier"], done["fitted"]["seals"]) == (Exit.OK, [40, 1], ["A-1", "A-2"])
            code, wrong = await field_work("remove", "--usage-point", second, "--final", "import=12.34567")
            assert (code, wrong["error"]["code"]) == (Exit.USAGE, "TQ-QT-04")
            code, early = await field_work("remove", "--usage-point", second, "--at", "2026-05-04T25:00")
            assert (code, early["error"]["code"]) == (Exit.USAGE, "TQ-PD-03")

    asyncio.run(story())


async def photos_line(at: Country) -> str:
    """What the doctor says of pictures."""
    report = await at.ask("doctor")
    return next(str(line["health"]) for line in report["checks"] if line["name"] == "photos")
