"""Batches as they come: applied, duplicate, out of order, forked, set aside; never counted twice, never lost."""

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from central_sync.hub import Hub, build, build_reader
from central_sync.store.sqlite import SqliteHubStore
from gridmodel.fault import Fault
from gridmodel.period import HOUR_S, rfc3339
from hosting.compute import InlineCompute
from hosting.database import open_database
from protocols.sync.facts import AlarmFact, RelayOperationFact
from protocols.sync.lanes import AckOutcome, DownLane, Lane, Record
from protocols.sync.messages import Push, PushReply
from tests.central_sync.hub_rig import (
    DAY,
    END,
    START,
    A,
    B,
    HandClock,
    IdleIoClock,
    SeededEntropy,
    Speaker,
    areas,
    chunk_bytes,
    entry_record,
    hour_record,
    hub_config,
    import_registry,
    open_hub,
    payment,
    registry_of,
    run_hub,
    supply_cell,
    transformer_cell,
)

FIRST = START + HOUR_S


def test_a_summary_moves_every_level_once(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, registry_of(A))
        node = Speaker(hub, A)
        await node.hello()
        cell = transformer_cell(Random(1))
        batch = node.seal_records(
            Lane.SUMMARY, [hour_record("t-a0", FIRST, cell), hour_record("head-a", FIRST, supply_cell(30_000))]
        )
        assert [ack.outcome for ack in await node.push(batch)] == [AckOutcome.APPLIED]
        assert [ack.outcome for ack in await node.push(batch)] == [AckOutcome.DUPLICATE]
        for level in ("feeder", "substation", "district", "region", "republic"):
            (one,) = [
                area for area in (await areas(hub, level, "hour", rfc3339(FIRST))).values() if area["delivered_wh"]
            ]
            assert (one["supplied_wh"], one["delivered_wh"]) == (30_000, cell.delivered_wh), level
        (one,) = (await areas(hub, "transformer", "hour", rfc3339(FIRST), "t-a0")).values()
        assert one["supplied_wh"] == cell.supplied_wh
        assert not one["final"]

    run_hub(tmp_path, story)


def test_a_gap_a_fork_and_a_new_epoch(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, registry_of(A))
        node = Speaker(hub, A)
        welcome = await node.hello()
        assert welcome.node_epoch == 1
        first = node.seal_records(Lane.LEDGER, [entry_record(payment(A, 1))])
        second = node.seal_records(Lane.LEDGER, [entry_record(payment(A, 2))])
        assert (await node.push(second))[0].outcome is AckOutcome.GAP
        assert [ack.outcome for ack in await node.push(first, second)] == [AckOutcome.APPLIED] * 2
        restored = Speaker(hub, A, marks={**node.marks, Lane.LEDGER: first.header.mark()})
        other = restored.seal_records(Lane.LEDGER, [entry_record(payment(A, 3))])
        assert (await restored.push(other))[0].outcome is AckOutcome.FORK
        welcome = await restored.hello(Lane.LEDGER, nonce=b"n" * 16)
        assert welcome.lanes[Lane.LEDGER].epoch == 2
        assert (await restored.hello(Lane.LEDGER, nonce=b"n" * 16)).lanes[Lane.LEDGER].epoch == 2, (
            "a repeat mints nothing"
        )
        restored.marks[Lane.LEDGER] = welcome.lanes[Lane.LEDGER]
        ack = await restored.send(Lane.LEDGER, *(entry_record(payment(A, n)) for n in (1, 2, 3)))
        assert ack.outcome is AckOutcome.APPLIED
        told = await hub.consumers.ledger("acc-up-t-a0-0")
        assert told["credit_tiyin"] == 3 * 10_000_00
        assert (await restored.hello(Lane.LEDGER, nonce=b"n" * 16)).lanes[Lane.LEDGER].seq == 1, "an old hello replayed"

    run_hub(tmp_path, story)


def test_one_entry_with_two_contents_is_a_named_conflict(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, registry_of(A))
        node = Speaker(hub, A)
        await node.send(Lane.LEDGER, entry_record(payment(A, 1)))
        ack = await node.send(Lane.LEDGER, entry_record(payment(A, 1, amount=5)), entry_record(payment(A, 2)))
        assert ack.outcome is AckOutcome.APPLIED
        assert "another content" in ack.reason
        assert (await hub.consumers.ledger("acc-up-t-a0-0"))["credit_tiyin"] == 2 * 10_000_00
        (conflict,) = await hub.store.read(lambda tx: tx.conflicts(10))
        assert conflict.id == "pay-node-a-1"
        assert [one["kind"] for one in await hub.situation.alarms(None, 10, standing=True)] == ["ledger_conflict"]

    run_hub(tmp_path, story)


def test_what_is_not_authentic_is_refused_and_nothing_kept(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, registry_of(A))
        await import_registry(hub, registry_of(B))
        node = Speaker(hub, A)
        batch = node.seal_records(Lane.LEDGER, [entry_record(payment(A, 1))])
        forged = replace(batch, header=batch.header.signed(b"x" * 64))
        swapped = replace(batch, payload=batch.payload + b"")
        changed = replace(batch, payload=b"\x90")
        assert swapped == batch
        assert (await node.push(forged))[0].outcome is AckOutcome.REFUSED
        assert (await node.push(changed))[0].outcome is AckOutcome.REFUSED
        push = Push(node=B, batches=(batch.to_bytes(), b"junk"))
        reply = PushReply.from_bytes(await hub.handle("push", push.to_bytes()))
        assert [ack.outcome for ack in reply.acks] == [AckOutcome.REFUSED] * 2
        for kind, body in (("push", b""), ("hello", b"\xc1"), ("pull", b"x" * 9_000), ("other", b"")):
            with pytest.raises(Fault):
                await hub.handle(kind, body)
        with pytest.raises(Fault, match="TQ-HB-21"):
            await hub.handle("push", Push(node="stranger", batches=()).to_bytes())  # type: ignore[arg-type]
        assert (await node.push(batch))[0].outcome is AckOutcome.APPLIED

    run_hub(tmp_path, story)


def test_a_node_speaks_only_for_its_own(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, registry_of(A))
        await import_registry(hub, registry_of(B))
        node = Speaker(hub, A)
        for lane, record in (
            (Lane.SUMMARY, hour_record("t-b0", FIRST, transformer_cell(Random(1)))),
            (Lane.LEDGER, entry_record(payment(B, 1))),
            (Lane.CONTROL, operation("up-t-b0-0")),
        ):
            ack = await node.send(lane, record)
            assert (ack.outcome, ack.reason[:8]) == (AckOutcome.QUARANTINED, "TQ-HQ-02"), lane
        assert not [one for one in (await areas(hub, "district", "day", DAY)).values() if one["delivered_wh"]]

    run_hub(tmp_path, story)


def operation(point: str, **changes: object) -> Record:
    fact = RelayOperationFact(
        point, f"m-{point}", "t-a0", "cut", "debt", {"reasons": ["debt_overdue"]}, "mandate-1", START, None, None, None
    )
    return Record("relay_operation", "op-1", replace(fact, **changes).to_body())  # type: ignore[arg-type]


def test_control_facts_are_shown(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, registry_of(A))
        node = Speaker(hub, A)
        result = operation("up-t-a0-0", sent_at=START + 1, result_at=START + 9, outcome="confirmed")
        alarm = AlarmFact("meter_silent", "m-1", START, "no answer", None)
        cleared = replace(alarm, cleared_at=START + 60)
        status = Record("node_status", "status", {"at": START, "backlog": {"interval": 3}})
        ack = await node.send(
            Lane.CONTROL,
            Record("alarm", "alarm-1.cleared", cleared.to_body()),
            Record("alarm", "alarm-1", alarm.to_body()),
            result,
            operation("up-t-a0-0"),
            status,
            Record("audit_head", "head-1", {"at": START, "head": b"h"}),
        )
        assert ack.outcome is AckOutcome.APPLIED, ack.reason
        (one,) = await hub.situation.alarms(A, 10, standing=False)
        assert one["cleared_at"] is not None
        (seen,) = await hub.situation.operations(None, "up-t-a0-0", 10)
        assert (seen["outcome"], seen["basis"]) == ("confirmed", {"reasons": ["debt_overdue"]})
        assert (await hub.consumers.explain("up-t-a0-0"))["supply"] == "disconnected"
        assert (await hub.situation.node(A))["backlog"] == {"interval": 3}

    run_hub(tmp_path, story)


def test_a_record_that_only_a_newer_hub_knows_waits_and_hides_no_alarm(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, registry_of(A))
        node = Speaker(hub, A)
        alarm = AlarmFact("meter_silent", "m-1", START, "no answer", None)
        ack = await node.send(
            Lane.CONTROL, Record("note_of_2030", "note-1", {"text": "x"}), Record("alarm", "alarm-1", alarm.to_body())
        )
        assert (ack.outcome, ack.reason[:8]) == (AckOutcome.QUARANTINED, "TQ-HQ-10")
        assert "note_of_2030" in ack.reason
        assert [one["id"] for one in await hub.situation.alarms(A, 10, standing=True)] == ["alarm-1"]
        assert await hub.link.retry(None) == 0
        assert (await hub.status())["quarantined"] == 1, "it waits for a hub that can read it"
        assert (await node.send(Lane.CONTROL, operation("up-t-a0-0"))).outcome is AckOutcome.APPLIED

    run_hub(tmp_path, story)


def test_why_a_cut_was_withheld_is_told(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, registry_of(A))
        node = Speaker(hub, A)
        why = {"reasons": ["debt_overdue"], "withheld": ["no_debt"]}
        await node.send(Lane.CONTROL, operation("up-t-a0-0"))
        await node.send(Lane.CONTROL, operation("up-t-a0-0", basis=why, result_at=START + 9, outcome="withheld"))
        await node.send(Lane.CONTROL, operation("up-t-a0-0", result_at=START + 5, outcome="failed"))  # late, and older
        (seen,) = await hub.situation.operations(None, "up-t-a0-0", 10)
        assert (seen["outcome"], seen["basis"]) == ("withheld", why)

    run_hub(tmp_path, story)


def test_one_damaged_batch_set_aside_stops_no_other(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        node, cell = Speaker(hub, A), transformer_cell(Random(3))
        for number in range(2):
            ack = await node.send(Lane.SUMMARY, hour_record("t-a0", FIRST + number * HOUR_S, cell))
            assert ack.outcome is AckOutcome.QUARANTINED
        assert isinstance(hub.store, SqliteHubStore)
        await hub.store.database.write(lambda conn: conn.execute("UPDATE batch SET data = x'00' WHERE seq = 1"))
        await import_registry(hub, registry_of(A))
        await hub.link.retry(None)
        assert [one["seq"] for one in await hub.situation.quarantine(None, 10)] == [1]

    run_hub(tmp_path, story)


def test_a_batch_waits_for_its_registry(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, registry_of(A))
        node = Speaker(hub, A, registry_version=2)
        cell = transformer_cell(Random(3))
        ack = await node.send(Lane.SUMMARY, hour_record("t-a2", FIRST, cell))
        assert (ack.outcome, ack.reason[:8]) == (AckOutcome.QUARANTINED, "TQ-HQ-01")
        assert (await node.send(Lane.SUMMARY, hour_record("t-a0", FIRST, cell))).outcome is AckOutcome.QUARANTINED
        await import_registry(hub, registry_of(A, 2, transformers=3))
        assert await hub.situation.quarantine(None, 10) == []
        told = await areas(hub, "transformer", "hour", rfc3339(FIRST))
        assert told["t-a2"]["delivered_wh"] == told["t-a0"]["delivered_wh"] == cell.delivered_wh

    run_hub(tmp_path, story)


def test_the_future_waits(tmp_path: Path) -> None:
    async def story(hub: Hub, clock: HandClock) -> None:
        await import_registry(hub, registry_of(A))
        node = Speaker(hub, A)
        ack = await node.send(Lane.SUMMARY, hour_record("t-a0", END, transformer_cell(Random(3))))
        assert (ack.outcome, ack.reason[:8]) == (AckOutcome.QUARANTINED, "TQ-HQ-03")
        assert await hub.link.retry(None) == 0
        clock.at = END
        assert await hub.link.retry(None) == 1

    run_hub(tmp_path, story, at=START + 7_200)


def test_two_pushes_at_once_for_one_node_count_once(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, registry_of(A))
        node = Speaker(hub, A)
        cell = transformer_cell(Random(3))
        batches = [node.seal_records(Lane.SUMMARY, [hour_record("t-a0", FIRST + n * HOUR_S, cell)]) for n in range(5)]
        both = await asyncio.gather(node.push(*batches), node.push(*batches), node.push(*batches[:3]))
        outcomes = [[ack.outcome for ack in acks] for acks in both]
        for index in range(3):
            seen = sorted(one[index] for one in outcomes)
            assert seen == [AckOutcome.APPLIED, AckOutcome.DUPLICATE, AckOutcome.DUPLICATE]
        assert (await areas(hub, "district", "day", DAY))["1703202"]["delivered_wh"] == 5 * cell.delivered_wh

    run_hub(tmp_path, story)


def test_a_crash_between_commit_and_acknowledgement_doubles_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        clock = HandClock(END + HOUR_S)
        hub = await open_hub(tmp_path, clock)
        registry = registry_of(A)
        await import_registry(hub, registry)
        node = Speaker(hub, A)
        chunk = node.seal(Lane.INTERVAL, chunk_bytes(registry, Random(4)))
        money = node.seal_records(Lane.LEDGER, [entry_record(payment(A, 1))])
        await node.push(chunk, money)  # the reply is lost
        before = await areas(hub, "district", "day", DAY)
        await hub.close()
        again = await open_hub(tmp_path, clock)
        node.hub = again
        assert again.incarnation == hub.incarnation
        assert [ack.outcome for ack in await node.push(chunk, money)] == [AckOutcome.DUPLICATE] * 2
        assert await areas(again, "district", "day", DAY) == before
        assert (await again.consumers.ledger("acc-up-t-a0-0"))["credit_tiyin"] == 10_000_00
        await again.close()

    asyncio.run(story())


def test_the_way_down_numbers_without_gaps(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        node = Speaker(hub, A)
        await node.hello()
        for version in (1, 2, 3):
            await import_registry(hub, registry_of(A, version))
        reply = await node.pull(dict.fromkeys(DownLane, 0), limit=2)
        assert [(item.offset, item.id) for item in reply.items] == [(1, "registry-1"), (2, "registry-2")]
        assert reply.more
        reply = await node.pull({DownLane.REGISTRY: 2, DownLane.LEDGER: 0})
        assert [item.offset for item in reply.items] == [3]
        assert not reply.more
        assert (await hub.situation.node(A))["down_waiting"] == 1
        reply = await node.pull({DownLane.REGISTRY: 9})
        assert reply.refetch == (DownLane.REGISTRY,)

    run_hub(tmp_path, story)


def test_what_another_process_applied_meanwhile_is_not_set_aside_again(tmp_path: Path) -> None:
    """Two hubs on one database, one of them of a later version: what it could read, the older one's sweep leaves."""

    async def story(hub: Hub, _: HandClock) -> None:
        node = Speaker(hub, A)
        ack = await node.send(Lane.SUMMARY, hour_record("t-a0", FIRST, transformer_cell(Random(3))))
        assert ack.outcome is AckOutcome.QUARANTINED
        (row,) = await hub.store.read(lambda tx: tx.quarantined(A, 9, data=True))

        async def prepared(*_: object) -> Fault:
            await hub.store.write_for(A, lambda tx: tx.put_batch(replace(row, quarantine="", reason="", data=None)))
            return Fault("TQ-HQ-10", "this hub knows no such thing", "a newer one does")

        hub.link._content = prepared  # type: ignore[method-assign, assignment]
        assert await hub.link.retry(None) == 0
        assert await hub.store.read(lambda tx: tx.count_quarantined()) == {}

    run_hub(tmp_path, story)


def test_a_lost_row_key_is_told_and_never_made_anew(tmp_path: Path) -> None:
    """Under a new key every row of the ledger would seem damaged; a reader must not make one in passing either."""

    async def opened(*, reading: bool) -> None:
        config, clock = hub_config(tmp_path), HandClock(END)
        ports: dict[str, Any] = {
            "clock": clock,
            "io_clock": IdleIoClock(),
            "rng": Random(1),
            "entropy": SeededEntropy(),
            "compute": InlineCompute(),
        }
        if reading:
            hub = await build_reader(config, **ports)
        else:
            hub = await build(config, open_database=open_database, **ports)
        await hub.close()

    asyncio.run(opened(reading=False))
    key = tmp_path / "row.key"
    kept = key.read_bytes()
    key.unlink()
    for reading in (True, False):
        with pytest.raises(Fault, match="TQ-KY-01"):
            asyncio.run(opened(reading=reading))
        assert not key.exists()
    key.write_bytes(kept)
    key.chmod(0o600)
    asyncio.run(opened(reading=True))


def test_what_waits_for_another_reason_by_now_says_so(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        ack = await Speaker(hub, A).send(Lane.SUMMARY, hour_record("t-gone", START + HOUR_S, supply_cell(1)))
        assert ack.reason[:8] == "TQ-HQ-01"
        await import_registry(hub, registry_of(A))
        (batch,) = await hub.situation.quarantine(A, 5)
        assert batch["code"] == "TQ-HQ-02", "its registry came, and does not know the place"

    run_hub(tmp_path, story)
