"""A node as a process serves it, in an office whose meters are all DLMS: keys from its file, counters in its store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_node.config import NodeConfig
from edge_node.serving import Serving, load_signer, row_key, serve
from edge_node.store.opening import StoreKeys, open_store
from gridmodel.registry_document import registry_to_document
from hosting.clocks import SystemEntropy
from hosting.compute import InlineCompute
from hosting.config import load_toml
from hosting.database import open_database
from hosting.door import call_door
from protocols.dlms.section import dlms_plan
from protocols.profile import load_profiles
from simulate.grid import RELAY_PROFILE
from tests.edge_node.offices import BORN, CHIEF_SECRET, FITTER_SECRET, Office, office
from tests.protocols.dlms.served import ServedMeter, served
from tests.protocols.dlms.table_keys import TableKeys
from tests.simulate.rigs import dlms_source

PROFILES = load_profiles()
HOUR_S = 3600


async def with_dlms_meters(given: Office, stack: AsyncExitStack, setting: str) -> tuple[NodeConfig, list[ServedMeter]]:
    """The same office, each meter replaced by a DLMS one on a socket, with keys of its own in ``meters.toml``."""
    keys, lines, meters, made = TableKeys(), list[str](), list(given.registry.meters), list[ServedMeter]()
    for index, meter in enumerate(meters):
        name = "dlms_hls_single" if meter.profile == RELAY_PROFILE else "dlms_lls_three"
        secrets, source = keys.secrets_of(meter.id), dlms_source(given.fleet.faces, index)
        plan, title = dlms_plan(PROFILES[name]), keys.title_of(meter.id)
        made.append(ServedMeter(plan, meter.serial, source, unit=17, secrets=secrets, title=title))
        wire = await stack.enter_async_context(served(made[-1], given.clock.now))
        meters[index] = replace(meter, profile=name, address=wire.address, unit=17)
        lines += [f'[meters."{meter.id}"]', f'meter_title = "{title.hex()}"']
        lines += [f'{name} = "{value.hex()}"' for name, value in secrets.secrets().items()]
    file = given.folder / "meters.toml"
    file.write_text("\n".join(lines), "utf-8")
    file.chmod(0o600)
    text = given.path.read_text("utf-8").replace('row = "row.key"', f'row = "row.key"\n{setting}')
    given.path.write_text(text, "utf-8")
    config = load_toml(given.path, NodeConfig, {})
    store = await open_store(
        config.data_dir,
        open_database,
        node=config.node_id,
        zone=config.zone,
        keys=StoreKeys(row_key(config, SystemEntropy()), load_signer(config), config.keyring()),
        compute=InlineCompute(),
        entropy=SystemEntropy(),
        now=BORN,
    )
    registry = replace(given.registry, version=given.registry.version + 1, meters=tuple(meters))
    await store.registries.put(registry_to_document(registry), BORN)
    await store.close()
    return config, made


@asynccontextmanager
async def working(given: Office, config: NodeConfig) -> AsyncIterator[Serving]:
    """The node as its process serves it."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    work = asyncio.create_task(serve(config, stop, clock=given.clock, entropy=SystemEntropy(), ready=ready.set_result))
    await asyncio.wait({work, ready}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        await work
    try:
        yield ready.result()
    finally:
        stop.set()
        await work


async def read_all(given: Office, config: NodeConfig, meters: list[ServedMeter], end: int) -> None:
    """Wait until every home's relay was seen and the readings of that interval are there."""
    homes = sum(meter.plan.relay is not None for meter in meters)
    status: dict[str, Any] = {}
    async with asyncio.timeout(60):
        while status.get("relays", {}).get("connected", 0) < homes or (status["newest_reading_end"] or 0) < end:
            await given.clock.sleep(6)
            status = await call_door(config.door, "status", {})
    assert status["meters_silent"] == 0


def test_an_office_of_dlms_meters_is_read(tmp_path: Path) -> None:
    async def story() -> None:
        given = await office(tmp_path)
        async with AsyncExitStack() as stack:
            config, meters = await with_dlms_meters(given, stack, 'meters = "meters.toml"')
            async with working(given, config) as serving:
                await read_all(given, config, meters, BORN)
                keyed = [meter for meter in meters if meter.plan.security.keyed]
                marks = [await serving.node.store.meter_counters.leap(0), len(keyed)]
                assert marks[0] == marks[1] > 0, "a durable mark for each key"

    asyncio.run(asyncio.wait_for(story(), 90))


def test_a_running_office_takes_sealed_keys_up_and_works_on_through_a_rotation(tmp_path: Path) -> None:
    async def story() -> None:
        given = await office(tmp_path, speed=600)
        async with AsyncExitStack() as stack:
            config, meters = await with_dlms_meters(given, stack, 'node = "meter.key"')
            async with working(given, config):
                chief = {"by": "p-chief", "secret": CHIEF_SECRET}
                taken = await call_door(
                    config.door, "keys-import", {"file": str(tmp_path / "meters.toml"), "dry_run": False} | chief
                )
                assert (taken["ok"], taken["added"], taken["not_in_registry"]) == (True, len(meters), 0)
                (tmp_path / "meters.toml").unlink()
                await read_all(given, config, meters, BORN)
                await call_door(config.door, "keys-rotate", chief)
                await read_all(given, config, meters, BORN + HOUR_S)

    asyncio.run(asyncio.wait_for(story(), 120))


def test_a_meter_put_up_elsewhere_is_proven_by_reading_it(tmp_path: Path) -> None:
    """The second home's meter comes to the first home; another serial number in the paper is no proof."""

    async def story() -> None:
        given = await office(tmp_path)
        async with AsyncExitStack() as stack:
            config, meters = await with_dlms_meters(given, stack, 'meters = "meters.toml"')
            async with working(given, config) as serving:
                await read_all(given, config, meters, BORN)
                registries, readings = serving.node.store.registries, serving.node.store.readings
                first, second = (one.id for one in registries.current().usage_points[:2])
                placed = registries.current().topology(given.clock.now()).installation_at
                new, old = registries.current().meter[placed[second].meter], placed[first]
                fitter = {"by": "p-fitter", "secret": FITTER_SECRET}
                await call_door(config.door, "field-remove", {"usage_point": second} | fitter)
                photo = tmp_path / "old.png"
                photo.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
                finals = {one.name.lower(): readings.last(first, one).register_wh + 5 for one in old.channels}  # type: ignore[union-attr]
                exchange = {
                    "usage_point": first,
                    "meter": new.id,
                    "serial": new.serial,
                    "profile": new.profile,
                    "address": new.address,
                    "unit": new.unit,
                    "start_wh": {"import": 0},
                    "final_wh": finals,
                    "seals": ["A-1"],
                    "photo": str(photo),
                }
                await call_door(config.door, "field-exchange", exchange | fitter)
                await given.clock.sleep(2)  # a stay begins after its second
                told = await call_door(config.door, "explain", {"usage_point": first})
                assert (told["place"]["meter"], told["place"]["life"]["code"]) == (new.id, "installed")
                proven = await call_door(config.door, "field-commission", {"meter": new.id} | fitter)
                assert proven["proof"]["serial"] == new.serial
                told = await call_door(config.door, "explain", {"usage_point": first})
                assert told["place"]["life"]["code"] in {"linked", "controllable"}

    asyncio.run(asyncio.wait_for(story(), 90))
