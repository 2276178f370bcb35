"""The outbox on a real database: sealed once, sent as sealed, lost never, offered again under a new epoch."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from edge_node.store.batches import KEPT_S, Outbox
from edge_node.store.outbox import ChunkRef, OutboxFault, append_chunk, append_record
from hosting.database import Connection, Database
from hosting.database_faults import DatabaseFault
from protocols.sync.batch import FRAME_BYTES_MAX, Batch
from protocols.sync.lanes import AckOutcome, Lane, LaneMark, fresh_mark, records_from_payload
from tests.edge_node.store.outbox_bench import NODE, NOW, SIGNER, Chunks, ids, opened, put


async def everything(outbox: Outbox, lane: Lane, after: LaneMark) -> list[bytes]:
    found: list[bytes] = []
    while batches := await outbox.following(lane, after, FRAME_BYTES_MAX, 64, NOW):
        found.extend(batches)
        after = Batch.from_bytes(batches[-1]).header.mark()
    return found


def test_nothing_is_sealed_before_the_hub_opened_an_epoch(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as (control, outbox):
            await put(control, Lane.LEDGER, "pay-1")
            assert await outbox.following(Lane.LEDGER, fresh_mark(0), FRAME_BYTES_MAX, 64, NOW) == []
            backlog = (await outbox.backlog())[Lane.LEDGER]
            assert (backlog.records, backlog.batches, backlog.oldest_at) == (1, 0, NOW)

    asyncio.run(story())


def test_sealed_bytes_are_the_same_after_a_restart_and_form_a_chain(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as (control, outbox):
            await outbox.new_epoch(Lane.LEDGER, fresh_mark(1))
            await put(control, Lane.LEDGER, *(f"pay-{n}" for n in range(500)))
            first = await everything(outbox, Lane.LEDGER, fresh_mark(1))
        async with opened(tmp_path) as (_, outbox):
            again = await everything(outbox, Lane.LEDGER, fresh_mark(1))
            assert (await outbox.marks())[Lane.LEDGER] == Batch.from_bytes(first[-1]).header.mark()
        assert again == first
        assert len(first) > 1
        mark = fresh_mark(1)
        seen: list[str] = []
        for data in first:
            assert len(data) <= FRAME_BYTES_MAX
            batch = Batch.from_bytes(data)
            assert batch.digest_matches()
            assert (batch.header.node, batch.header.key_id) == (NODE, SIGNER.key_id)
            assert (batch.header.seq, batch.header.previous) == (mark.seq + 1, mark.hash)
            mark = batch.header.mark()
            seen.extend(ids(records_from_payload(batch.payload)))
        assert seen == [f"pay-{n}" for n in range(500)]

    asyncio.run(story())


def test_a_record_appended_in_a_transaction_that_fails_is_not_there(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as (control, outbox):

            async def verb(conn: Connection) -> None:
                await append_record(conn, Lane.LEDGER, "ledger_entry", "pay-1", {"id": "pay-1"}, NOW)
                raise KeyError("the room found a mistake")

            with pytest.raises(KeyError):
                await control.write(verb)
            assert (await outbox.backlog())[Lane.LEDGER].records == 0

    asyncio.run(story())


def test_a_record_that_could_never_travel_is_refused_where_it_is_made(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as (control, outbox):
            huge = {f"part{n}": "x" * 4000 for n in range(2)}
            with pytest.raises(OutboxFault, match="TQ-OB-01"):
                await put(control, Lane.CONTROL, "op-1", body=huge | {"z": "y" * 1000})
            assert (await outbox.backlog())[Lane.CONTROL].records == 0

    asyncio.run(story())


def test_the_largest_record_that_is_let_in_travels(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as (control, outbox):
            await outbox.new_epoch(Lane.CONTROL, fresh_mark(1))
            for size in range(2900, 3100):
                with suppress(OutboxFault):
                    await put(control, Lane.CONTROL, "i" * 64, body={"a": "x" * 4000, "b": "y" * size})
            sent = await everything(outbox, Lane.CONTROL, fresh_mark(1))
            assert sent
            assert max(map(len, sent)) <= FRAME_BYTES_MAX

    asyncio.run(story())


def test_a_new_epoch_offers_again_exactly_what_was_not_acknowledged(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as (control, outbox):
            await outbox.new_epoch(Lane.LEDGER, fresh_mark(1))
            await put(control, Lane.LEDGER, *(f"pay-{n}" for n in range(500)))
            sent = await everything(outbox, Lane.LEDGER, fresh_mark(1))
            first = Batch.from_bytes(sent[0])
            await outbox.acknowledge(Lane.LEDGER, first.header.mark(), AckOutcome.APPLIED, "", NOW)
            assert await outbox.new_epoch(Lane.LEDGER, fresh_mark(2))
            assert not await outbox.new_epoch(Lane.LEDGER, fresh_mark(2)), "told twice, done once"
        async with opened(tmp_path) as (_, outbox):
            again = [Batch.from_bytes(data) for data in await everything(outbox, Lane.LEDGER, fresh_mark(2))]
            assert [batch.header.epoch for batch in again] == [2] * len(again)
            assert again[0].header.seq == 1
            offered = [one for batch in again for one in ids(records_from_payload(batch.payload))]
            held = ids(records_from_payload(first.payload))
            assert held + offered == [f"pay-{n}" for n in range(500)]

    asyncio.run(story())


def test_acknowledged_batches_stay_for_a_hub_restored_from_a_backup_and_go_in_time(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as (control, outbox):
            await outbox.new_epoch(Lane.LEDGER, fresh_mark(1))
            await put(control, Lane.LEDGER, "pay-1")
            (data,) = await everything(outbox, Lane.LEDGER, fresh_mark(1))
            mark = Batch.from_bytes(data).header.mark()
            await put(control, Lane.LEDGER, "pay-2")
            second = await everything(outbox, Lane.LEDGER, mark)
            await outbox.acknowledge(Lane.LEDGER, mark, AckOutcome.QUARANTINED, "registry 9 is not here", NOW)
            assert await outbox.prune(NOW + KEPT_S) == 0
            assert await everything(outbox, Lane.LEDGER, fresh_mark(1)) == [data, *second]
            assert await outbox.quarantined() == [("ledger", 1, 1, "registry 9 is not here")]
            assert await outbox.prune(NOW + KEPT_S + 1) == 1
            assert await everything(outbox, Lane.LEDGER, mark) == second, "what is not acknowledged never expires"
            local = (await outbox.local({Lane.LEDGER: mark}))[Lane.LEDGER]
            assert local.acknowledged == mark
            assert local.at_hub is None, "pruned: the acknowledged mark stands for it"

    asyncio.run(story())


def test_an_acknowledgement_of_what_was_never_sealed_moves_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as (control, outbox):
            await outbox.new_epoch(Lane.LEDGER, fresh_mark(1))
            await put(control, Lane.LEDGER, "pay-1")
            await everything(outbox, Lane.LEDGER, fresh_mark(1))
            await outbox.acknowledge(Lane.LEDGER, LaneMark(1, 7, b"\1" * 32), AckOutcome.APPLIED, "", NOW)
            local = (await outbox.local({}))[Lane.LEDGER]
            assert local.acknowledged == fresh_mark(1)

    asyncio.run(story())


def test_a_chunk_travels_alone_and_from_the_segments(tmp_path: Path) -> None:
    async def story() -> None:
        chunks = Chunks({"c1": b"one" * 1000, "c2": b"two" * 1000})
        async with opened(tmp_path, chunks) as (control, outbox):
            await outbox.new_epoch(Lane.INTERVAL, fresh_mark(1))
            for name in chunks.held:
                ref = ChunkRef("2026-11-24", name, 7)
                await control.write(lambda conn, ref=ref: append_chunk(conn, ref, NOW))  # type: ignore[misc]
            first = await outbox.following(Lane.INTERVAL, fresh_mark(1), FRAME_BYTES_MAX, 64, NOW)
            assert len(first) == 1
            sent = [Batch.from_bytes(data) for data in await everything(outbox, Lane.INTERVAL, fresh_mark(1))]
            assert [batch.payload for batch in sent] == list(chunks.held.values())
            assert {batch.header.registry_version for batch in sent} == {7}

    asyncio.run(story())


def test_a_chunk_that_cannot_be_read_is_named_and_stops_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        chunks = Chunks({"c2": b"two", "c3": b"three"})
        async with opened(tmp_path, chunks) as (control, outbox):
            await outbox.new_epoch(Lane.INTERVAL, fresh_mark(1))
            for name in ("c1", "c2", "c3"):
                ref = ChunkRef("2026-11-24", name, 7)
                await control.write(lambda conn, ref=ref: append_chunk(conn, ref, NOW))  # type: ignore[misc]
            sent: list[bytes] = []
            for _ in range(3):
                after = Batch.from_bytes(sent[-1]).header.mark() if sent else fresh_mark(1)
                sent.extend(await outbox.following(Lane.INTERVAL, after, FRAME_BYTES_MAX, 1, NOW))
            assert [Batch.from_bytes(data).payload for data in sent] == [b"two", b"three"]
            chunks.held["c2"] = b"changed on the disk"
            assert [
                Batch.from_bytes(data).header.seq
                for data in await outbox.following(Lane.INTERVAL, fresh_mark(1), FRAME_BYTES_MAX, 1, NOW)
            ] in ([], [2])
            alarms = await control.read(
                lambda conn: conn.fetch_all(
                    "SELECT subject FROM alarm WHERE kind = 'chunk_unreadable' ORDER BY subject"
                )
            )
            assert alarms == [("c1",), ("c2",)]
            await outbox.new_epoch(Lane.INTERVAL, fresh_mark(2))
            again = await everything(outbox, Lane.INTERVAL, fresh_mark(2))
            assert [Batch.from_bytes(data).payload for data in again] == [b"three"]

    asyncio.run(story())


async def _alarms(control: Database) -> list[tuple[str, str]]:
    rows = await control.read(lambda conn: conn.fetch_all("SELECT kind, subject FROM alarm ORDER BY kind, subject"))
    return [(kind, subject) for kind, subject in rows]


@pytest.mark.parametrize("column", ["payload", "header"])
def test_a_sealed_batch_damaged_on_the_disk_travels_anew_in_another_epoch(tmp_path: Path, column: str) -> None:
    async def story() -> None:
        async with opened(tmp_path) as (control, outbox):
            await outbox.new_epoch(Lane.LEDGER, fresh_mark(1))
            await put(control, Lane.LEDGER, "pay-1")
            (first,) = await everything(outbox, Lane.LEDGER, fresh_mark(1))
            mark = Batch.from_bytes(first).header.mark()
            await control.write(
                lambda conn: conn.execute(
                    f"UPDATE outbox_batch SET {column} = CAST(substr({column}, 1, 20) || x'ff00' AS BLOB)"
                )
            )
            assert (await outbox.local({Lane.LEDGER: mark}))[Lane.LEDGER].at_hub in {None, mark.hash}
            await everything(outbox, Lane.LEDGER, fresh_mark(1))
            assert ("row_damaged", "ledger-1-1") in await _alarms(control)
            await outbox.new_epoch(Lane.LEDGER, fresh_mark(2))
            (again,) = await everything(outbox, Lane.LEDGER, fresh_mark(2))
            assert ids(records_from_payload(Batch.from_bytes(again).payload)) == ["pay-1"]

    asyncio.run(story())


def test_a_record_damaged_on_the_disk_is_named_and_stops_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as (control, outbox):
            await outbox.new_epoch(Lane.LEDGER, fresh_mark(1))
            await put(control, Lane.LEDGER, "pay-1", "pay-2", "pay-3")
            await control.write(lambda conn: conn.execute("UPDATE outbox_record SET body = x'c1' WHERE id = 'pay-2'"))
            sent = await everything(outbox, Lane.LEDGER, fresh_mark(1))
            told = [one for data in sent for one in ids(records_from_payload(Batch.from_bytes(data).payload))]
            assert told == ["pay-1", "pay-3"]
            assert ("row_damaged", "record-2") in await _alarms(control)

    asyncio.run(story())


def test_a_segment_that_cannot_be_read_at_this_moment_costs_no_chunk(tmp_path: Path) -> None:
    class Locked(Chunks):
        locked = True

        async def payload(self, day: str, chunk_id: str) -> bytes:
            if self.locked:
                raise DatabaseFault("TQ-DB-04", "readings-2026-11 is locked by another process", "try again")
            return await super().payload(day, chunk_id)

    async def story() -> None:
        chunks = Locked({"c1": b"one"})
        async with opened(tmp_path, chunks) as (control, outbox):
            await outbox.new_epoch(Lane.INTERVAL, fresh_mark(1))
            await control.write(lambda conn: append_chunk(conn, ChunkRef("2026-11-24", "c1", 7), NOW))
            for sealed in (False, True):
                chunks.locked = True
                with pytest.raises(DatabaseFault):
                    await outbox.following(Lane.INTERVAL, fresh_mark(1), FRAME_BYTES_MAX, 1, NOW)
                chunks.locked = False
                assert len(await outbox.following(Lane.INTERVAL, fresh_mark(1), FRAME_BYTES_MAX, 1, NOW)) == 1, sealed
            assert await _alarms(control) == []

    asyncio.run(story())
