"""What was never confirmed goes up under the epoch that the hub minted, and the latest hours are closed again."""

import asyncio
from pathlib import Path
from random import Random

from edge_node.store.chunks import sealed_chunk
from edge_node.store.hours import PlaceCell
from gridmodel.network import SupplyPointKind
from gridmodel.period import HOUR_S
from gridmodel.reading import Revision
from protocols.sync.batch import Batch
from protocols.sync.chunk import decode_chunk
from protocols.sync.facts import PlaceHour
from protocols.sync.lanes import AckOutcome, Lane, fresh_mark, records_from_payload
from tests.central_sync.hub_rig import DAY, END, A, HandClock, chunk_bytes, registry_of, transformer_cell
from tests.edge_node.uplink.courier_bench import Desk, desk


async def told(office: Desk, epoch: int) -> list[PlaceHour]:
    """The hours that wait in lane summary, as they are sealed."""
    found = await office.store.outbox.following(Lane.SUMMARY, fresh_mark(epoch), 65_536, 64, office.clock.at)
    batches = [Batch.from_bytes(data) for data in found]
    return [PlaceHour.from_body(one.body) for batch in batches for one in records_from_payload(batch.payload)]


def test_hours_and_chunks_that_wait_are_of_the_new_epoch_and_the_latest_are_told_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with desk(tmp_path, HandClock(END + HOUR_S)) as office:
            outbox, hours, chunks = office.store.outbox, office.store.hours, office.store.readings.chunks
            for lane in (Lane.SUMMARY, Lane.INTERVAL):
                await outbox.new_epoch(lane, fresh_mark(1))
            assert await hours.to_close_again() == [], "the first epoch is no fork"
            await hours.put_hour(END - HOUR_S, [_cell(1)], office.clock.at)
            (first,) = await told(office, 1)
            (data,) = await outbox.following(Lane.SUMMARY, fresh_mark(1), 65_536, 64, office.clock.at)
            await outbox.acknowledge(
                Lane.SUMMARY, Batch.from_bytes(data).header.mark(), AckOutcome.APPLIED, "", office.clock.at
            )
            await hours.put_hour(END, [_cell(2)], office.clock.at)
            chunk = sealed_chunk(DAY, 0, Revision(1, 1), 1, chunk_bytes(registry_of(A), Random(1)))
            await chunks.put(chunk)
            await hours.put_day(DAY, 1, [chunk.row], office.clock.at)
            for lane in (Lane.SUMMARY, Lane.INTERVAL):
                await outbox.new_epoch(lane, fresh_mark(5))
            again = {one.end: one for one in await told(office, 5)}
            assert {end: one.revision.epoch for end, one in again.items()} == {END - HOUR_S: 5, END: 5}
            assert again[END - HOUR_S].cell == first.cell, "confirmed before, and told once more"
            assert again[END - HOUR_S].revision.number == first.revision.number
            assert await hours.to_close_again() == [END - HOUR_S, END]
            await hours.closed_again()
            assert await hours.to_close_again() == []
            (data,) = await outbox.following(Lane.INTERVAL, fresh_mark(5), 2**20, 1, office.clock.at)
            sent = decode_chunk(Batch.from_bytes(data).payload)
            assert sent.revision == Revision(5, 1)
            assert [row.revision for row in await chunks.of_day(DAY)] == [Revision(5, 1)], "the stale one is gone"
            assert sent.series == decode_chunk(chunk.payload).series

    asyncio.run(story())


def _cell(seed: int) -> PlaceCell:
    return PlaceCell("t-a0", SupplyPointKind.TRANSFORMER, transformer_cell(Random(seed)))
