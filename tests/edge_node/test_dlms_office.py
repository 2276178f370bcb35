"""A node as a process serves it, in an office whose meters are all DLMS: keys from its file, counters in its store."""

import asyncio
from contextlib import AsyncExitStack
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
from tests.edge_node.offices import BORN, Office, office
from tests.protocols.dlms.served import ServedMeter, served
from tests.protocols.dlms.table_keys import TableKeys
from tests.simulate.rigs import dlms_source

PROFILES = load_profiles()


async def with_dlms_meters(given: Office, stack: AsyncExitStack) -> tuple[NodeConfig, list[ServedMeter]]:
    """The same office, each meter replaced by a DLMS one on a socket, with keys of its own."""
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
    text = given.path.read_text("utf-8").replace('row = "row.key"', 'row = "row.key"\nmeters = "meters.toml"')
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


def test_an_office_of_dlms_meters_is_read(tmp_path: Path) -> None:
    async def story() -> None:
        given = await office(tmp_path)
        async with AsyncExitStack() as stack:
            config, meters = await with_dlms_meters(given, stack)
            stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
            work = asyncio.create_task(
                serve(config, stop, clock=given.clock, entropy=SystemEntropy(), ready=ready.set_result)
            )
            await asyncio.wait({work, ready}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
            serving: Serving = ready.result()
            homes = sum(meter.plan.relay is not None for meter in meters)
            status: dict[str, Any] = {}
            async with asyncio.timeout(30):
                while status.get("relays", {}).get("connected", 0) < homes:
                    await given.clock.sleep(6)
                    status = await call_door(config.door, "status", {})
            assert (status["newest_reading_end"], status["meters_silent"]) == (BORN, 0)
            logs = serving.node.store.meter_events
            async with asyncio.timeout(30):
                while len(await logs.reads()) < len(meters):  # between the polls
                    await given.clock.sleep(6)
            assert (status["gaps"], status["meter_clocks"]["looked_at"]) == ({}, 0), "nobody confirmed our own clock"
            keyed = [meter for meter in meters if meter.plan.security.keyed]
            marks = [await serving.node.store.meter_counters.leap(0), len(keyed)]
            assert marks[0] == marks[1] > 0, "a durable mark for each key"
            stop.set()
            await work

    asyncio.run(asyncio.wait_for(story(), 90))
