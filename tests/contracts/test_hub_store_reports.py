"""The same suite for every engine of the hub's store port: what nodes report, and what goes down to them."""

from dataclasses import replace

import pytest

from central_sync.store.port import HubStore, HubTransaction
from central_sync.store.rows import HUB, MERGED, REFUSED, WAITING, AlarmRow, FieldWorkRow, OperationRow
from protocols.sync.lanes import DownLane
from tests.contracts.hub_engines import ENGINES, A, B, Runner, runner


@pytest.fixture(params=ENGINES)
def run(request: pytest.FixtureRequest) -> Runner:
    return runner(request)


def test_reports_only_become_fuller(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        intent = OperationRow(A, "op", "up-1", "m", "t", "cut", "debt", b"basis", None, 5, None, None, None)
        result = replace(intent, sent_at=6, result_at=7, outcome="confirmed")
        alarm = AlarmRow(A, "al", "meter_silent", "m", 5, "x", None)

        async def verb(tx: HubTransaction) -> None:
            for row in (intent, result, intent):
                await tx.put_operations([row], 9)
            await tx.put_operations([replace(result, id="op-2"), replace(intent, id="op-2")], 9)
            for one in (replace(alarm, cleared_at=8), alarm):
                await tx.put_alarms([one])
            await tx.put_alarms([replace(alarm, node=HUB, at=9)])
            await tx.put_audit_head(A, "h", 5, b"head")

        await store.write(verb)

        async def look(tx: HubTransaction) -> None:
            assert await tx.operations(A, None, 9) == [result, replace(result, id="op-2")]
            assert await tx.operations(None, "up-2", 9) == []
            assert await tx.last_movements(A) == [("up-1", "cut", "confirmed")]
            assert await tx.last_movements(B) == []
            assert [one.node for one in await tx.alarms(None, 9, standing=True)] == [HUB]
            assert await tx.alarms(A, 9, standing=False) == [replace(alarm, cleared_at=8)]

        await store.read(look)

    run(story)


def test_field_works_are_kept_with_what_became_of_them(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        one = FieldWorkRow(A, "work-1", 50, "m-1", b"body", 60, WAITING, "", "", None)
        other = replace(one, node=B, state=REFUSED, code="TQ-FW-12", reason="no", received_at=70)

        async def verb(tx: HubTransaction) -> None:
            await tx.put_field_works([one, other, replace(one, id="work-2")])
            await tx.put_field_works([replace(one, state=MERGED, version=4)])

        await store.write(verb)

        async def look(tx: HubTransaction) -> None:
            done = replace(one, state=MERGED, version=4)
            assert await tx.field_work(A, "work-1") == done
            assert await tx.field_work(A, "work-9") is None
            assert await tx.field_works(A, 3) == [done, replace(one, id="work-2")]
            assert await tx.field_works(A, 4) == [replace(one, id="work-2")], "version 4 holds the other"
            assert await tx.recent_field_works(None, 1) == [other]
            assert len(await tx.recent_field_works(A, 9)) == 2
            assert (await tx.count_field_works(A), await tx.count_field_works(B)) == (2, 1)
            assert await tx.nodes_with_field_works() == [A]

        await store.read(look)
        await store.write(lambda tx: tx.rejudge_field_works(B))
        assert await store.read(lambda tx: tx.nodes_with_field_works()) == [A, B]
        again = await store.read(lambda tx: tx.field_work(B, "work-1"))
        assert again == replace(other, state=WAITING), "why it was refused is still told"

    run(story)


def test_the_way_down_is_numbered_and_bounded(run: Runner) -> None:
    async def story(store: HubStore) -> None:
        async def verb(tx: HubTransaction) -> None:
            await tx.append_down(A, DownLane.LEDGER, [("k", "1", b"x" * 10), ("k", "2", b"y" * 10)], 1)
            await tx.append_down(A, DownLane.LEDGER, [("k", "3", b"z" * 50)], 2)
            await tx.append_down(B, DownLane.LEDGER, [("k", "1", b"")], 2)
            await tx.append_down(B, DownLane.LEDGER, [("k", "1", b"again"), ("k", "2", b"")], 3)
            assert await tx.down_bodies(B, DownLane.LEDGER, ["1", "2", "9"]) == {"1": b"again", "2": b""}
            assert await tx.down_bodies(A, DownLane.LEDGER, ["3"]) == {"3": b"z" * 50}
            assert await tx.down_bodies(A, DownLane.REGISTRY, ["3"]) == {}
            assert await tx.down_bodies(A, DownLane.LEDGER, []) == {}
            assert await tx.registry_parts(A, 1) == ()
            await tx.put_down_mark(A, DownLane.LEDGER, 3, 5)
            await tx.put_down_mark(A, DownLane.LEDGER, 2, 6)

        await store.write(verb)

        async def look(tx: HubTransaction) -> None:
            async def offsets(after: int, limit: int, bytes_max: int) -> list[int]:
                return [one.offset for one in await tx.down_items(A, DownLane.LEDGER, after, limit, bytes_max)]

            assert await offsets(0, 9, 10**6) == [1, 2, 3]
            assert await offsets(0, 2, 10**6) == [1, 2]
            assert await offsets(0, 9, 25) == [1, 2]
            assert await offsets(2, 9, 1) == [3], "one at least"
            assert await offsets(3, 9, 10**6) == []
            assert (await tx.down_heads(A))[DownLane.LEDGER] == 3
            assert (await tx.down_heads(B)) == {lane: 3 * (lane is DownLane.LEDGER) for lane in DownLane}
            assert (await tx.down_marks(A))[DownLane.LEDGER] == 2

        await store.read(look)

    run(story)
