"""A node through midnight: real meters on sockets, a real disk, hours and the day closed, the chunk at the hub."""

import asyncio
from pathlib import Path

import pytest

from gridmodel.identity import NodeId
from gridmodel.period import HOUR_S
from gridmodel.reading import Channel
from hosting.supervision import TaskCondition
from protocols.sync.batch import Batch
from protocols.sync.chunk import ChunkContent, decode_chunk
from protocols.sync.facts import TRANSFORMER_HOUR
from protocols.sync.lanes import Lane
from tests.edge_node.offices import built, office
from tests.edge_node.uplink.paper_hub import PaperHub
from tests.simulate.rigs import ORIGIN

MIDNIGHT = ORIGIN + 24 * HOUR_S
SPEED = 1_800.0
"""An hour in two seconds."""
NIGHT_S_MAX = 60
"""Real seconds; the night takes some ten."""


def chunks(hub: PaperHub) -> list[ChunkContent]:
    return [decode_chunk(Batch.from_bytes(data).payload) for data in hub.batches.get(Lane.INTERVAL, {}).values()]


@pytest.mark.slow
def test_the_day_closes_and_every_watt_hour_reaches_the_hub(tmp_path: Path) -> None:
    async def story() -> None:
        given = await office(tmp_path, born=MIDNIGHT - 2 * HOUR_S, speed=SPEED)
        hub = PaperHub(node=NodeId(given.config.node), now=given.clock.now)
        await given.fleet.start()
        async with built(given, hub) as node:
            running = asyncio.create_task(node.run())
            try:
                async with asyncio.timeout(NIGHT_S_MAX):
                    while not chunks(hub):
                        assert not running.done()
                        await given.clock.sleep(HOUR_S / 4)
                assert all(task.condition is TaskCondition.RUNNING for task in node.tasks())
                assert await node.store.state.reconciled()
            finally:
                node.stop()
                await running
                given.fleet.close()
        multiplier = {one.point: (one.meter, one.multiplier) for one in given.registry.installations}
        told = {
            one.point: sum(energy for index, energy in enumerate(one.energy_wh) if one.known(index))
            for chunk in chunks(hub)
            for one in chunk.series
            if one.channel is Channel.IMPORT
        }
        assert told.keys() == multiplier.keys()
        for point, (meter, factor) in multiplier.items():
            first, last = (given.fleet.truth(meter, at) for at in (MIDNIGHT - 2 * HOUR_S, MIDNIGHT))
            assert told[point] == factor.apply(last) - factor.apply(first), point
        hours = [record.body for record in hub.records(Lane.SUMMARY) if record.kind == TRANSFORMER_HOUR]
        assert {body["end"] for body in hours} >= {MIDNIGHT - HOUR_S, MIDNIGHT}
        assert {record.kind for record in hub.records(Lane.CONTROL)} >= {"node_status"}

    asyncio.run(story())
