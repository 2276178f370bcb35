"""A hub as a browser finds it: two nodes with a day of hours, one silent since noon, an alarm, a batch set aside."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from central_sync.api.app import hub_app, serve_hub
from central_sync.hub import Hub
from central_sync.web.pages import add_pages
from hosting.clocks import SystemEntropy, SystemIoClock
from protocols.sync import facts
from protocols.sync.lanes import Lane, Record
from tests.central_sync.hub_rig import (
    END,
    START,
    A,
    B,
    HandClock,
    Speaker,
    entry_record,
    hour_record,
    import_registry,
    open_hub,
    payment,
    registry_of,
    supply_cell,
    transformer_cell,
)

NOW = START + 16 * 3600
POINT = "up-t-a0-0"


@dataclass(frozen=True)
class FurnishedHub:
    """A hub that can be looked at."""

    hub: Hub
    clock: HandClock
    speaker: Speaker
    url: str


@asynccontextmanager
async def furnished_hub(folder: Path) -> AsyncIterator[FurnishedHub]:
    clock = HandClock(START + 3600)
    hub = await open_hub(folder, clock)
    hub.io_clock = SystemIoClock()
    try:
        speaker = await _day(hub, clock)
        application = hub_app(hub, SystemEntropy())
        add_pages(application, hub)
        async with serve_hub(application, "127.0.0.1:0") as url:
            yield FurnishedHub(hub, clock, speaker, url)
    finally:
        await hub.close()


async def _day(hub: Hub, clock: HandClock) -> Speaker:
    dice = Random(5)
    speakers = {}
    for node in (A, B):
        await import_registry(hub, registry_of(node, transformers=4, points=12))
        speakers[node] = Speaker(hub, node)
        await speakers[node].hello()
    for hour in range(1, 16):
        clock.at = START + hour * 3600 + 600
        for node, speaker in speakers.items():
            if node == B and hour > 12:
                continue
            await speaker.send(Lane.SUMMARY, *_hour(node[-1], START + hour * 3600, dice))
    clock.at = NOW
    first = speakers[A]
    await first.send(Lane.LEDGER, entry_record(payment(A, 1)))
    await first.send(Lane.CONTROL, *_control())
    await first.send(Lane.SUMMARY, hour_record("t-unknown", START + 3600, transformer_cell(dice)))
    return first


def _hour(tag: str, end: int, dice: Random) -> list[Record]:
    cells = {f"t-{tag}{n}": transformer_cell(dice, 12) for n in range(4)}
    if end != START + 9 * 3600:  # in all other hours every reading came
        cells = {
            name: replace(cell, points_actual=cell.points_expected, points_estimated=0, points_missing=0)
            for name, cell in cells.items()
        }
    taken = sum(cell.delivered_wh - cell.exported_wh for cell in cells.values())
    records = [hour_record(name, end, cell) for name, cell in cells.items()]
    records.append(hour_record(f"head-{tag}", end, supply_cell(taken * 104 // 100)))
    if tag == "a":
        records.append(hour_record("bp-ab", end, supply_cell(0)))
        records.append(hour_record("gen-a", end, supply_cell(0)))
    return records


def _control() -> list[Record]:
    operation = facts.RelayOperationFact(
        usage_point=POINT,
        meter="m-" + POINT,
        transformer="t-a0",
        action="cut",
        cause="debt",
        basis={"reasons": ["debt_overdue"]},
        mandate="mandate-19",
        intent_at=NOW - 7200,
        sent_at=NOW - 7198,
        result_at=NOW - 7190,
        outcome="confirmed",
    )
    alarm = {
        "kind": "meter_silent",
        "subject": "m-up-t-a1-0",
        "at": NOW - 4000,
        "detail": "3 polls",
        "cleared_at": None,
    }
    status = {
        "at": NOW - 60,
        "backlog": {"control": 0, "ledger": 2, "summary": 5, "interval": 0},
        "usage_points": 48,
        "meters": 55,
        "meters_silent": 1,
        "cuts_today": 1,
        "cuts_stopped": False,
        "mandate_until": END + 86_400,
        "newest_reading_end": NOW - 900,
        "registry_version": 1,
        "software": "tarmoq 0.1.0",
    }
    return [
        Record(facts.RELAY_OPERATION, "op-1", operation.to_body()),
        Record("alarm", "alarm-1", alarm),
        Record(facts.NODE_STATUS, "status-1", status),
    ]
