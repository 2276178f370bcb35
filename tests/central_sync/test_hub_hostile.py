"""Validly signed hostile batches: each applied or set aside, no lane stops, no aggregate is wrong, nothing raises."""

import asyncio
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest

from central_sync.hub import Hub
from gridmodel.balance import HourCell
from gridmodel.identity import ChannelId
from gridmodel.period import HOUR_S
from protocols.sync import wire
from protocols.sync.chunk import encode_chunk
from protocols.sync.lanes import RECORD_LIMITS, AckOutcome, Lane, Record, records_to_payload
from tests.central_sync.hub_rig import (
    DAY,
    END,
    PER_HOUR,
    START,
    A,
    B,
    HandClock,
    Speaker,
    areas,
    chunk_bytes,
    chunk_content,
    entry_record,
    hour_record,
    import_registry,
    open_hub,
    payment,
    registry_of,
    run_hub,
    supply_cell,
    transformer_cell,
)

BATCHES = 2_000
"""Mutated payloads signed with a good key."""
JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, -(2**63), 1.5, "", "x" * 70, "up-t-b0-0", "../etc", b"\x00", [], {}, [[]], {"a": 1},
    "t-b0", START, END + 400 * 86_400, 2**40,
)  # fmt: skip


def mutated(rng: Random, value: Any, depth: int = 0) -> Any:
    """`value` with something in it changed."""
    if isinstance(value, dict) and value and depth < 4 and rng.random() < 0.85:
        key = rng.choice(sorted(value))
        roll = rng.random()
        if roll < 0.1:
            return {name: item for name, item in value.items() if name != key}
        if roll < 0.2:
            return {**value, rng.choice(["x", "id", "cell"]): rng.choice(JUNK)}
        return {**value, key: mutated(rng, value[key], depth + 1)}
    if isinstance(value, list) and value and depth < 4 and rng.random() < 0.85:
        index = rng.randrange(len(value))
        return [*value[:index], mutated(rng, value[index], depth + 1), *value[index + 1 :]]
    if isinstance(value, int) and not isinstance(value, bool) and rng.random() < 0.5:
        return value + rng.choice([1, -1, HOUR_S, 10**6, -(10**6), 10**12])
    return rng.choice(JUNK)


def templates(rng: Random) -> list[tuple[Lane, Record]]:
    end = START + rng.randrange(1, 24) * HOUR_S
    operation = {
        "usage_point": "up-t-a0-0", "meter": "m-1", "transformer": "t-a0", "action": "cut", "cause": "debt",
        "basis": {"reasons": ["debt_overdue"]}, "mandate": None, "intent_at": START, "sent_at": None,
        "result_at": None, "outcome": None,
    }  # fmt: skip
    alarm = {"kind": "meter_silent", "subject": "m-1", "at": START, "detail": "silent", "cleared_at": None}
    return [
        (Lane.SUMMARY, hour_record("t-a0", end, transformer_cell(rng), rng.randrange(1, 10**6))),
        (Lane.SUMMARY, hour_record("head-a", end, supply_cell(5), rng.randrange(1, 10**6))),
        (Lane.LEDGER, entry_record(payment(A, rng.randrange(10**9)))),
        (Lane.CONTROL, Record("relay_operation", f"op-{rng.randrange(10**9)}", operation)),
        (Lane.CONTROL, Record("alarm", f"alarm-{rng.randrange(10**9)}", alarm)),
        (Lane.CONTROL, Record("node_status", "status", {"at": START, "backlog": {"interval": 1}})),
    ]


def hostile_payload(rng: Random) -> tuple[Lane, bytes]:
    lane, record = rng.choice(templates(rng))
    roll = rng.random()
    if roll < 0.1:
        plain = records_to_payload([record])
        cut = bytearray(plain)
        cut[rng.randrange(len(cut))] ^= 1 << rng.randrange(8)
        return lane, bytes(cut[: rng.randrange(len(cut))]) if rng.random() < 0.3 else bytes(cut)
    if roll < 0.15:
        return lane, rng.randbytes(rng.randrange(200))
    value = mutated(rng, [[record.kind, record.id, record.body]])
    try:
        return lane, wire.pack(value, RECORD_LIMITS)
    except wire.WireFault:
        return lane, b"\xc1"


@pytest.mark.slow
def test_thousands_of_hostile_batches_stop_no_lane(tmp_path: Path) -> None:
    async def story() -> None:
        clock = HandClock(END + HOUR_S)
        hub = await open_hub(tmp_path, clock)
        try:
            for node in (A, B):
                await import_registry(hub, registry_of(node))
            good = Speaker(hub, B)
            await good.send_chunk(chunk_bytes(registry_of(B), Random(2)))
            of_b = await areas(hub, "transformer", "day", DAY)
            rng, evil = Random(2026), Speaker(hub, A)
            counts = dict.fromkeys(AckOutcome, 0)
            for _ in range(BATCHES // 20):
                acks = await evil.push(*(evil.seal(*hostile_payload(rng)) for _ in range(20)))
                for ack in acks:
                    counts[ack.outcome] += 1
            assert counts[AckOutcome.APPLIED] + counts[AckOutcome.QUARANTINED] == BATCHES
            assert counts[AckOutcome.QUARANTINED] > BATCHES // 2
            assert counts[AckOutcome.APPLIED] > 0, "some mutations make no difference"
            assert (await hub.verify()).differences == []
            after = await areas(hub, "transformer", "day", DAY)
            assert {name: after[name] for name in ("t-b0", "t-b1")} == {name: of_b[name] for name in ("t-b0", "t-b1")}
            ack = await evil.send(Lane.LEDGER, entry_record(payment(A, 1)))
            assert ack.outcome is AckOutcome.APPLIED, "the lane goes on"
            assert len(await hub.situation.quarantine(None, 500)) == 500
        finally:
            await hub.close()

    asyncio.run(story())


def cell(**changes: int) -> HourCell:
    fields = {
        "supplied_wh": 1_000, "delivered_wh": 900, "supply_expected": PER_HOUR, "points_expected": 2 * PER_HOUR,
        "points_actual": 2 * PER_HOUR,
    }  # fmt: skip
    return HourCell(**(fields | changes))


@pytest.mark.parametrize(
    ("code", "place", "wrong"),
    [
        ("TQ-HQ-02", "t-unknown", cell()),
        ("TQ-HQ-02", "t-b0", cell()),
        ("TQ-HQ-04", "t-a0", cell(delivered_wh=-1)),
        ("TQ-HQ-04", "t-a0", cell(delivered_wh=100 * 1_000 * 10 + 1)),
        ("TQ-HQ-04", "t-a0", cell(supplied_wh=2**52)),
        ("TQ-HQ-05", "t-a0", cell(points_actual=2 * PER_HOUR - 1)),
        ("TQ-HQ-05", "t-a0", cell(points_expected=3 * PER_HOUR, points_actual=3 * PER_HOUR)),
        ("TQ-HQ-05", "t-a0", cell(points_actual=2 * PER_HOUR + 1, points_missing=-1)),
        ("TQ-HQ-05", "t-a0", cell(supply_expected=2 * PER_HOUR)),
        ("TQ-HQ-05", "t-a0", cell(supply_missing=PER_HOUR + 1)),
        ("TQ-HQ-04", "head-a", cell()),
        ("TQ-HQ-05", "head-a", HourCell(supplied_wh=5, points_expected=1, points_actual=1)),
        ("TQ-HQ-02", "sp-t-a0", supply_cell(5)),
    ],
)
def test_an_impossible_hour_is_set_aside(tmp_path: Path, code: str, place: str, wrong: HourCell) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, registry_of(A))
        node = Speaker(hub, A)
        ack = await node.send(
            Lane.SUMMARY,
            hour_record("t-a1", START + HOUR_S, cell()),
            hour_record(place, START + HOUR_S, wrong),
        )
        assert (ack.outcome, ack.reason[:8]) == (AckOutcome.QUARANTINED, code), ack.reason
        assert (await areas(hub, "district", "day", DAY))["1703202"]["delivered_wh"] == 0, "nothing of it is applied"

    run_hub(tmp_path, story)


def renamed(chunk: bytes, day: str, other: str) -> bytes:
    """A sound chunk of another day of as many letters."""
    body = chunk[:-32].replace(day.encode(), other.encode())
    return body + sha256(body).digest()


def test_a_chunk_with_wrong_sums_or_foreign_points_is_set_aside(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        registry = registry_of(A)
        await import_registry(hub, registry)
        await import_registry(hub, registry_of(B))
        node, rng = Speaker(hub, A), Random(1)
        good = chunk_bytes(registry, rng)
        flipped = bytearray(good)
        flipped[len(good) // 2] ^= 1
        whole = chunk_content(registry, rng)
        cases = {
            "TQ-SY-33": bytes(flipped),
            "TQ-SY-32": good[:-1],
            "TQ-SY-30": b"not a chunk",
            "TQ-HQ-08": chunk_bytes(registry_of(A, transformers=2, points=1), rng),
        }
        for code, data in cases.items():
            ack = await node.send_chunk(data)
            assert (ack.outcome, ack.reason[:8]) == (AckOutcome.QUARANTINED, code), ack.reason
        foreign = chunk_bytes(registry_of(B, version=1), rng)
        ack = await node.send_chunk(foreign)
        assert (ack.outcome, ack.reason[:8]) == (AckOutcome.QUARANTINED, "TQ-HQ-08")
        more = chunk_bytes(registry_of(A, transformers=3), rng)
        ack = await node.send_chunk(more)
        assert (ack.outcome, ack.reason[:8]) == (AckOutcome.QUARANTINED, "TQ-HQ-02")
        ack = await node.send_chunk(renamed(good, DAY, "2026-W19-1"))
        assert (ack.outcome, ack.reason[:8]) == (AckOutcome.QUARANTINED, "TQ-SY-35"), "one day under two names"
        assert (await areas(hub, "district", "day", DAY))["1703202"]["delivered_wh"] == 0
        ack = await node.send_chunk(encode_chunk(whole))
        assert ack.outcome is AckOutcome.APPLIED, ack.reason

    run_hub(tmp_path, story)


def test_no_node_speaks_for_a_channel_of_the_centre(tmp_path: Path) -> None:
    async def story(hub: Hub, clock: HandClock) -> None:
        await import_registry(hub, registry_of(A))
        await hub.import_ledger(b"entry_id;account;kind;amount;at\n", f"desk-{A}", complete_up_to=clock.at)
        ack = await Speaker(hub, A).send(Lane.LEDGER, entry_record(payment(A, 1)))
        assert (ack.outcome, ack.reason[:8]) == (AckOutcome.QUARANTINED, "TQ-HQ-09")

    run_hub(tmp_path, story)


def test_no_node_speaks_for_the_desk_of_another(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, registry_of(A))
        node = Speaker(hub, A)
        foreign = replace(payment(A, 1), channel=ChannelId(f"desk-{B}"))
        ack = await node.send(Lane.LEDGER, entry_record(foreign))
        assert (ack.outcome, ack.reason[:8]) == (AckOutcome.QUARANTINED, "TQ-HQ-09")
        ack = await node.send(Lane.LEDGER, entry_record(replace(payment(A, 2), channel=ChannelId("desk-old"))))
        assert ack.outcome is AckOutcome.APPLIED, "a desk that is no other node's"
        ack = await node.send(Lane.LEDGER, entry_record(payment(B, 3)))
        assert (ack.outcome, ack.reason[:8]) == (AckOutcome.QUARANTINED, "TQ-HQ-02"), "an account of another node"

    run_hub(tmp_path, story)


def test_a_batch_sealed_by_a_clock_a_year_ahead_waits_in_quarantine_and_the_payments_behind_it_go_on(
    tmp_path: Path,
) -> None:
    async def story(hub: Hub, clock: HandClock) -> None:
        await import_registry(hub, registry_of(A))
        node = Speaker(hub, A)
        right = clock.at
        clock.at += 365 * 86_400
        status = Record("node_status", "status-1", {"at": right + 365 * 86_400, "backlog": {}})
        ahead = [
            node.seal_records(Lane.CONTROL, [status]),
            node.seal_records(Lane.LEDGER, [entry_record(payment(A, 1))]),
        ]
        clock.at = right
        acks = [*await node.push(*ahead), await node.send(Lane.LEDGER, entry_record(payment(A, 2)))]
        assert [(ack.outcome, ack.reason[:8]) for ack in acks] == [
            (AckOutcome.QUARANTINED, "TQ-HQ-03"),
            (AckOutcome.QUARANTINED, "TQ-HQ-03"),
            (AckOutcome.APPLIED, ""),
        ]
        assert await hub.link.retry(None) == 0
        clock.at = right + 365 * 86_400
        assert await hub.link.retry(None) == 2, "once its time has come it counts"

    run_hub(tmp_path, story)


def test_nothing_is_supplied_where_no_meter_stood(tmp_path: Path) -> None:
    """The registry that a batch names says when: twenty years before the first meter there was no energy to tell of."""

    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, registry_of(A))
        node = Speaker(hub, A)
        for place, wrong in (("head-a", supply_cell(5)), ("t-a0", HourCell(supplied_wh=5, supply_expected=PER_HOUR))):
            ack = await node.send(Lane.SUMMARY, hour_record(place, START - 20 * 365 * 24 * HOUR_S, wrong))
            assert (ack.outcome, ack.reason[:6]) == (AckOutcome.QUARANTINED, "TQ-HQ-"), ack.reason
            ack = await node.send(Lane.SUMMARY, hour_record(place, START + HOUR_S, wrong))
            assert ack.outcome is AckOutcome.APPLIED, ack.reason

    run_hub(tmp_path, story)
