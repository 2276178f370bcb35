"""One suite for every engine of the hub's store port."""

import asyncio
from dataclasses import replace

import pytest

from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows import (
    BatchRow,
    ChunkRow,
    ConflictRow,
    IssuedRow,
    LinkSpan,
    OwnerRow,
    PlaceDayRow,
)
from gridmodel.account import EntryKind, LedgerEntry
from gridmodel.identity import AccountId, ChannelId, EntryId, NodeId
from protocols.sync.lanes import DownLane, Lane, LaneMark
from tests.contracts.hub_engines import ENGINES, A, B, Runner, runner


@pytest.fixture(params=ENGINES)
def run(request: pytest.FixtureRequest) -> Runner:
    return runner(request)


class Broken(Exception):
    pass


def entry(number: int, account: str = "acc-1") -> LedgerEntry:
    return LedgerEntry(
        EntryId(f"e-{number}"),
        AccountId(account),
        EntryKind.PAYMENT,
        100 + number,
        number,
        None,
        ChannelId("bank"),
        "x",
    )


def batch(seq: int, quarantine: str = "") -> BatchRow:
    data = b"whole" if quarantine else None
    return BatchRow(
        A, Lane.LEDGER, 1, seq, bytes([seq]) * 32, 3, 10, 20 + seq, quarantine, "why" if quarantine else "", data
    )


def test_a_verb_that_raises_leaves_nothing(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        async def verb(tx: HubTransaction) -> None:
            await tx.set_mark(A, Lane.LEDGER, LaneMark(1, 5, b"h" * 32))
            await tx.put_ledger_entries([entry(1)], A, "node", 5)
            raise Broken

        for door in (store.write, lambda broken: store.write_for(A, broken)):
            with pytest.raises(Broken):
                await door(verb)
        assert await store.read(lambda tx: tx.marks(A)) == {}
        assert await store.read(lambda tx: tx.ledger_entries(["e-1"])) == {}

    run(story)


def test_a_read_may_not_write(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        with pytest.raises(RuntimeError):
            await store.read(lambda tx: tx.set_hub_value("a", "b"))

    run(story)


def test_verbs_about_one_node_do_not_interleave(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        async def append(tx: HubTransaction) -> None:
            heads = await tx.down_heads(A)
            await asyncio.sleep(0)
            await tx.append_down(A, DownLane.LEDGER, [("k", f"i-{heads[DownLane.LEDGER]}", b"")], 1)

        await asyncio.gather(*(store.write_for(A, append) for _ in range(20)))
        items = await store.read(lambda tx: tx.down_items(A, DownLane.LEDGER, 0, 100, 10**6))
        assert [(item.offset, item.id) for item in items] == [(n + 1, f"i-{n}") for n in range(20)]

    run(story)


def test_nodes_keep_what_they_have_proven_when_enlisted_again(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        async def verb(tx: HubTransaction) -> None:
            await tx.set_epoch(A, 4)
            await tx.put_status(A, b"new", 50)
            await tx.put_status(A, b"old", 40)
            await tx.enlist(A, "key-new", ("1703203",))

        await store.write(verb)
        row = await store.read(lambda tx: tx.node(A))
        assert row is not None
        assert (row.public_key, row.districts, row.epoch, row.status) == ("key-new", ("1703203",), 4, b"new")
        assert [one.id for one in await store.read(lambda tx: tx.nodes())] == [A, B]
        assert await store.read(lambda tx: tx.node(NodeId("nobody"))) is None

    run(story)


def test_names_are_ordered_by_their_bytes(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        names = ["Up-1", "up-10", "up-2", "up-B", "up-a", "up.1", "up_1", "upB"]
        rows = [OwnerRow("usage_point", name, A) for name in names]
        await store.write_for(A, lambda tx: tx.put_registry(A, 1, b"one", rows, 5))
        for after, left in (("", sorted(names)), ("up-B", ["up-a", "up.1", "upB", "up_1"])):
            found = await store.read(lambda tx, after=after: tx.owned("usage_point", A, after, 9))  # type: ignore[misc]
            assert [row.id for row in found] == left

    run(story)


def test_contact_is_told_in_spans(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        for now in (100, 150, 140, 500, 510):
            await store.write(lambda tx, at=now: tx.seen(A, at, 100))  # type: ignore[misc]
        row = await store.read(lambda tx: tx.node(A))
        assert row is not None
        assert row.last_seen == 510
        assert await store.read(lambda tx: tx.link_spans(A, 9)) == [LinkSpan(500, 510), LinkSpan(100, 150)]
        assert await store.read(lambda tx: tx.link_spans(A, 1)) == [LinkSpan(500, 510)]
        assert await store.read(lambda tx: tx.link_spans(B, 9)) == []

    run(story)


def test_marks_batches_and_forks(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        async def verb(tx: HubTransaction) -> None:
            for seq in (1, 2):
                await tx.set_mark(A, Lane.LEDGER, LaneMark(1, seq, bytes([seq]) * 32))
                await tx.put_batch(batch(seq, "TQ-X" if seq == 2 else ""))
            await tx.put_fork(A, Lane.LEDGER, b"n", 2, 5)

        await store.write(verb)

        async def look(tx: HubTransaction) -> None:
            assert await tx.marks(A) == {Lane.LEDGER: LaneMark(1, 2, b"\2" * 32)}
            assert await tx.batch_digest(A, Lane.LEDGER, 1, 1) == b"\1" * 32
            assert await tx.batch_digest(A, Lane.LEDGER, 2, 1) is None
            assert await tx.batch_digest(B, Lane.LEDGER, 1, 1) is None
            assert (
                await tx.quarantined(None, 9, data=True) == await tx.quarantined(A, 9, data=True) == [batch(2, "TQ-X")]
            )
            assert [row.data for row in await tx.quarantined(None, 9)] == [None], "a list does not read megabytes"
            assert await tx.quarantined(B, 9) == []
            assert await tx.quarantined(A, 9, codes=("TQ-X", "TQ-Y"), data=True) == [batch(2, "TQ-X")]
            assert await tx.quarantined(A, 9, codes=("TQ-Y",)) == []
            assert await tx.quarantined(None, 9, after=batch(2)) == []
            assert await tx.quarantined(None, 9, after=batch(1), data=True) == [batch(2, "TQ-X")]
            assert await tx.count_quarantined() == {A: 1}
            assert await tx.fork_epoch(A, Lane.LEDGER, b"n") == 2
            assert await tx.fork_epoch(A, Lane.SUMMARY, b"n") is None

        await store.read(look)
        await store.write(lambda tx: tx.put_batch(batch(2)))
        assert await store.read(lambda tx: tx.quarantined(None, 9)) == []

    run(story)


def test_registries_and_owners(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        many = [OwnerRow("usage_point", f"up-{n:04}", A) for n in range(1_200)]
        account = OwnerRow("account", "acc-1", A, "up-0001")

        async def verb(tx: HubTransaction) -> None:
            await tx.put_registry(A, 1, b"one", [*many, account], 5)
            await tx.put_registry(A, 2, b"two", [replace(account, usage_point="up-0002")], 6)

        await store.write(verb)

        async def look(tx: HubTransaction) -> None:
            assert await tx.registry_versions() == {A: 2}
            assert await tx.registry_document(A, 1) == b"one"
            assert await tx.registry_document(B, 1) is None
            ids = [one.id for one in many]
            assert await tx.owners("usage_point", [*ids, "up-x"]) == {one.id: one for one in many}
            assert await tx.owners("transformer", ids) == {}
            assert await tx.account_at("up-0002") == "acc-1"
            assert await tx.account_at("up-0001") is None
            assert await tx.owned("usage_point", A, "up-0005", 2) == many[6:8]
            assert await tx.owned("usage_point", B, "", 2) == []

        await store.read(look)

    run(story)


def test_a_chunk_that_comes_again_mends_its_row_and_pages_follow_their_ids(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        chunks = [ChunkRow(f"c-{n}", A, "2026-05-04", 1, 1, 3, 9, b"content") for n in range(5)]

        async def verb(tx: HubTransaction) -> None:
            for chunk in reversed(chunks):
                await tx.put_chunk(replace(chunk, content=b"altered", day="2026-05-05"))
                await tx.put_chunk(chunk)

        await store.write(verb)
        assert await store.read(lambda tx: tx.chunks_of(A, "2026-05-04", "", 3)) == chunks[:3]
        assert await store.read(lambda tx: tx.chunks_of(A, "2026-05-04", "c-2", 3)) == chunks[3:]
        assert await store.read(lambda tx: tx.chunk_days(A)) == [("2026-05-04", 5)]

    run(story)


def test_payloads_set_aside_are_known_by_their_digest(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        aside, applied = replace(batch(2, "TQ-X"), lane=Lane.INTERVAL), replace(batch(3), lane=Lane.INTERVAL)

        async def verb(tx: HubTransaction) -> set[bytes]:
            for row in (aside, applied, batch(4, "TQ-X")):
                await tx.put_batch(row)
            return await tx.quarantined_digests(A, [bytes([n]) * 32 for n in (1, 2, 3, 4)])

        assert await store.write(verb) == {aside.digest}
        assert await store.read(lambda tx: tx.quarantined_digests(A, [])) == set()

    run(story)


def test_energy_is_kept_by_node_day_and_area(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        place = PlaceDayRow("t-1", "2026-05-04", A, "transformer", b"s", "[]", None)
        chunk = ChunkRow("c-1", A, "2026-05-04", 1, 1, 3, 9, b"content")
        keys = [("district", "1703202"), ("feeder", "f-1")]

        async def verb(tx: HubTransaction) -> None:
            await tx.put_place_days([place])
            await tx.put_place_days([replace(place, state=b"t", chunk="c-1")])
            await tx.put_chunk(chunk)
            await tx.put_chunk(replace(chunk, received_at=99))
            await tx.put_balance_days(A, "2026-05-04", {keys[0]: b"a", keys[1]: b"f"})
            await tx.put_balance_days(B, "2026-05-04", {keys[0]: b"b"})
            await tx.put_balance_months(A, "2026-05", {keys[0]: b"m"})

        await store.write(verb)

        async def look(tx: HubTransaction) -> None:
            assert await tx.place_days("2026-05-04", ["t-1", "t-2"]) == {"t-1": replace(place, state=b"t", chunk="c-1")}
            assert await tx.place_days("2026-05-05", ["t-1"]) == {}
            assert await tx.all_place_days("2026-05-04", B) == []
            assert await tx.place_day_keys() == [(A, "2026-05-04")]
            assert await tx.chunk("c-1") == chunk
            assert await tx.chunk_days(A) == [("2026-05-04", 1)]
            assert await tx.chunks_of(A, "2026-05-04", "", 9) == [chunk]
            assert await tx.chunks_of(A, "2026-05-04", "c-1", 9) == []
            assert await tx.chunks_of(B, "2026-05-04", "", 9) == []
            assert await tx.balance_days(A, "2026-05-04", [*keys, ("feeder", "f-2")]) == {keys[0]: b"a", keys[1]: b"f"}
            assert await tx.balance_months(A, "2026-05", keys) == {keys[0]: b"m"}
            assert await tx.node_balances(A, "2026-05-04") == {keys[0]: b"a", keys[1]: b"f"}
            assert await tx.node_balances(A, "2026-05") == {keys[0]: b"m"}
            told = await tx.area_days("district", "2026-05-04", None)
            assert [(row.area, row.node, row.state) for row in told] == [("1703202", A, b"a"), ("1703202", B, b"b")]
            assert await tx.area_days("district", "2026-05-04", "1703203") == []
            assert len(await tx.area_months("district", "2026-05", "1703202")) == 1

        await store.read(look)

    run(story)


def test_the_ledger_is_a_union_with_named_conflicts(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        async def verb(tx: HubTransaction) -> None:
            await tx.put_ledger_entries([entry(n) for n in range(1, 1_101)], A, "import", 7)
            for _ in range(2):
                await tx.put_conflict(ConflictRow("e-1", "other", A, 8))
            await tx.put_watermark("bank", 50, 1)
            await tx.put_watermark("bank", 40, 2)

        await store.write(verb)

        async def look(tx: HubTransaction) -> None:
            (row,) = (await tx.ledger_entries(["e-7", "e-0"])).values()
            assert (row.entry, row.node, row.origin, row.intact) == (entry(7), A, "import", True)
            assert [one.entry.id for one in await tx.account_entries("acc-1", 2)] == ["e-1100", "e-1099"]
            assert await tx.damaged_entries(9) == []
            assert await tx.conflicts(9) == [ConflictRow("e-1", "other", A, 8)]
            assert await tx.watermarks() == {"bank": 50}
            assert await tx.imported_channels(["bank", "desk"]) == {"bank"}

        await store.read(look)

    run(story)


def test_issued_records_have_one_content(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        row = IssuedRow("notice", "n-1", A, "acc-1", "{}", 5)

        async def verb(tx: HubTransaction) -> None:
            await tx.put_issued([row, replace(row, node=B)])
            await tx.put_issued([replace(row, content="other")])

        await store.write(verb)

        async def look(tx: HubTransaction) -> None:
            assert await tx.issued("notice", ["n-1"]) == [row, replace(row, node=B)]
            assert await tx.issued("weather", ["n-1"]) == []
            assert await tx.issued_about("notice", "acc-1", 1) == [row]
            assert await tx.issued_to("notice", B, 9) == [replace(row, node=B)]

        await store.read(look)

    run(story)
