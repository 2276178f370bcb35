"""Every field of every record kind, wrong in every way, validly signed, over a real socket: nothing stops or lies.

`test_hub_hostile` mutates at random; here nothing is left to chance. Each batch must be acknowledged as applied or set
aside, no answer of the hub may break on what was applied, and balances worked out anew must agree.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from central_sync.api.app import hub_app, serve_hub
from central_sync.hub import Hub
from central_sync.web.pages import add_pages
from gridmodel.period import HOUR_S
from hosting.clocks import SystemIoClock
from protocols.sync import facts, wire
from protocols.sync.batch import Batch
from protocols.sync.lanes import RECORD_LIMITS, AckOutcome, Lane
from protocols.sync.link import HttpLink
from protocols.sync.messages import BATCHES_PER_PUSH_MAX
from tests.central_sync.hub_rig import (
    DAY,
    END,
    START,
    A,
    B,
    HandClock,
    SeededEntropy,
    Speaker,
    areas,
    chunk_bytes,
    entry_record,
    hour_record,
    import_registry,
    open_hub,
    payment,
    registry_of,
    supply_cell,
    transformer_cell,
)
from tests.central_sync.test_hub_http import OverHttp

YEAR_S = 366 * 86_400
WRONG: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**40, 2**40 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 0.5, -1e300,
    "", "x" * 65, "x" * 401, "x" * 4_000, "\0", "a\nb", "'; DROP TABLE node; --", "<script>", "\U0001f525" * 60,
    b"", b"\xff" * 70, [], {}, [[[[[[[[[]]]]]]]]], {"a": {"b": {"c": []}}}, [None] * 9, "up-t-b0-0", "t-b0", "head-b",
    "acc-up-t-b0-0", "17", "node-b", 3_600, START - 20 * YEAR_S, START - 20 * YEAR_S // HOUR_S * HOUR_S,
    END + 400 * 86_400, END + 2 * HOUR_S, END + 500 * YEAR_S, END + 8_000 * YEAR_S, 253_402_300_800,
)  # fmt: skip
OPERATION: dict[str, Any] = {
    "usage_point": "up-t-a0-0", "meter": "m-1", "transformer": "t-a0", "action": "cut", "cause": "debt",
    "basis": {"reasons": ["debt_overdue"]}, "mandate": "mandate-1", "intent_at": START, "sent_at": START + 1,
    "result_at": START + 2, "outcome": "confirmed",
}  # fmt: skip
ALARM: dict[str, Any] = {
    "kind": "meter_silent", "subject": "m-1", "at": START, "detail": "silent", "cleared_at": START + 60,
}  # fmt: skip
STATUS: dict[str, Any] = {
    "at": START, "backlog": {"control": 0, "interval": 1}, "oldest_waiting_at": START, "registry_version": 1,
    "reconciled": True, "cuts_stopped": False, "clock_trusted": True, "mandate_until": END, "software": "tarmoq 0.1.0",
    "usage_points": 4, "meters": 9, "meters_silent": 0, "cuts_today": 0, "newest_reading_end": START,
}  # fmt: skip
Plain = list[Any]


def sound(number: int) -> list[tuple[Lane, Plain]]:
    """One sound record of every kind, with an id of its own."""
    rng = Random(number)
    hour = hour_record("t-a0", START + 5 * HOUR_S, transformer_cell(rng), number)
    supply = hour_record("bp-ab", START + 5 * HOUR_S, supply_cell(9), number)
    entry = entry_record(payment(A, number))
    return [
        (Lane.SUMMARY, [hour.kind, hour.id, hour.body]),
        (Lane.SUMMARY, [supply.kind, supply.id, supply.body]),
        (Lane.LEDGER, [entry.kind, entry.id, {**entry.body, "due_at": START, "reverses": "pay-0"}]),
        (Lane.CONTROL, [facts.RELAY_OPERATION, f"op-{number}", dict(OPERATION)]),
        (Lane.CONTROL, [facts.ALARM, f"alarm-{number}", dict(ALARM)]),
        (Lane.CONTROL, [facts.NODE_STATUS, f"status-{number}", dict(STATUS)]),
        (Lane.CONTROL, [facts.AUDIT_HEAD, f"head-{number}", {"at": START, "head": b"h" * 32}]),
    ]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in a record, the record itself first."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))


def changed(value: Any, path: tuple[Any, ...], wrong: Any) -> Any:
    """`value` with `wrong` at the end of `path`."""
    if not path:
        return wrong
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], wrong)
    return copy


def without(value: Any, path: tuple[Any, ...]) -> Any:
    """`value` without what stands at the end of `path`."""
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    if len(path) > 1:
        copy[path[0]] = without(value[path[0]], path[1:])
    else:
        del copy[path[0]]
    return copy


def attacks() -> Iterator[tuple[Lane, bytes]]:
    """Payloads: each place of each record with each wrong value, and left out, and beside an unknown one."""
    number = 10
    for index in range(len(sound(0))):
        _, template = sound(0)[index]
        for path in places(template):
            for wrong in WRONG:
                number += 1
                lane, record = sound(number)[index]
                try:
                    yield lane, wire.pack([changed(record, path, wrong)], RECORD_LIMITS)
                except wire.WireFault:
                    continue
            if path:
                number += 1
                lane, record = sound(number)[index]
                yield lane, wire.pack([without(record, path)], RECORD_LIMITS)
        for lane in Lane:  # every kind in every lane
            number += 1
            yield lane, wire.pack([sound(number)[index][1]], RECORD_LIMITS)
        lane, record = sound(number + 1)[index]
        number += 1
        yield lane, wire.pack([[record[0], record[1], {**record[2], "more": 1}]], RECORD_LIMITS)
        yield lane, wire.pack([record] * 8, RECORD_LIMITS)
        yield lane, wire.pack([record, record[:2]], RECORD_LIMITS)
    for lane in Lane:
        for deep in (
            b"\x91" * 3_000 + b"\xc0",
            b"\x81\xa1a" * 1_500 + b"\xc0",
            b"\xdd\xff\xff\xff\xff",
            b"\x90" * 7_000,
        ):
            yield lane, deep
        yield lane, b"\xdc\x0f\xff" + b"\x80" * 4_095
        yield lane, b""


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[Hub, str]]:
    """A hub with its pages on a socket."""
    hub = await open_hub(folder, HandClock(END + HOUR_S))
    hub.io_clock = SystemIoClock()
    try:
        application = hub_app(hub, SeededEntropy())
        add_pages(application, hub)
        async with serve_hub(application, "127.0.0.1:0") as address:
            yield hub, address
    finally:
        await hub.close()


ANSWERS = (
    "/api/v1/status", "/api/v1/nodes", f"/api/v1/nodes/{A}", "/api/v1/alarms?limit=500&standing=false",
    "/api/v1/alarms?limit=500", "/api/v1/relay-operations?limit=500", "/api/v1/quarantine?limit=500",
    "/api/v1/consumers?limit=100", "/api/v1/consumers/up-t-a0-0", "/api/v1/accounts/acc-up-t-a0-0/ledger",
    f"/api/v1/balances?level=republic&period=year&at={DAY[:4]}", f"/api/v1/losses?level=feeder&period=day&at={DAY}",
    "/", "/balances", "/nodes", f"/nodes/{A}", "/alarms", "/quarantine", "/consumers", "/consumers/up-t-a0-0",
)  # fmt: skip


@pytest.mark.slow
def test_each_wrong_field_is_set_aside_and_every_answer_stands(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(tmp_path) as (hub, address), aiohttp.ClientSession(address) as session:
            for node in (A, B):
                await import_registry(hub, registry_of(node))
            await Speaker(hub, B).send_chunk(chunk_bytes(registry_of(B), Random(2)))
            of_b = await areas(hub, "transformer", "day", DAY)
            link = HttpLink(address)
            evil = Speaker(OverHttp(hub, link), A)  # type: ignore[arg-type]
            counts = dict.fromkeys(AckOutcome, 0)
            waiting: list[Batch] = []

            async def flush() -> None:
                for ack in await evil.push(*waiting):
                    counts[ack.outcome] += 1
                waiting.clear()

            for lane, payload in attacks():
                waiting.append(evil.seal(lane, payload))
                if len(waiting) == BATCHES_PER_PUSH_MAX:
                    await flush()
            await flush()
            await link.close()
            acknowledged = counts[AckOutcome.APPLIED] + counts[AckOutcome.QUARANTINED]
            assert acknowledged == sum(counts.values()), counts
            assert counts[AckOutcome.QUARANTINED] > acknowledged // 2
            broken = {}
            for path in ANSWERS:
                async with session.get(path) as reply:
                    if reply.status != 200:
                        broken[path] = await reply.text()
            assert broken == {}
            await hub.link.retry(None)
            assert (await hub.verify()).differences == []
            after = await areas(hub, "transformer", "day", DAY)
            assert {name: after[name] for name in ("t-b0", "t-b1")} == {name: of_b[name] for name in ("t-b0", "t-b1")}
            ack = await Speaker(hub, B).send(Lane.LEDGER, entry_record(payment(B, 1)))
            assert ack.outcome is AckOutcome.APPLIED, "others go on"

    asyncio.run(story())
