"""Two hub processes on one PostgreSQL, every batch to both, acknowledgements lost, kill -9 in between.

What stands afterwards is what one hub on SQLite has after the same batches, each sent once: nothing lost, nothing
counted twice. The processes are real, and so are their sockets; the seed is in the failure's words.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from central_sync.hub import Hub, build
from gridmodel.identity import NodeId
from gridmodel.period import HOUR_S, rfc3339
from gridmodel.registry_document import registry_to_document
from hosting.compute import InlineCompute
from hosting.database import open_database
from protocols.sync.batch import Batch
from protocols.sync.facts import AlarmFact
from protocols.sync.lanes import Lane, Record
from protocols.sync.pull import DownItem
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
from tests.central_sync.race_rig import HubProcess, Race, running, speaker_at, whole_state

NODES = (A, B)
NOW = END + HOUR_S
KILLS = 4
PAYMENTS = 24
FILES = 3
ROWS = 20
"""Of one file of payments."""

Batches = Mapping[NodeId, Mapping[Lane, list[Batch]]]

pytestmark = [pytest.mark.postgresql, pytest.mark.slow]


def sealed(node: NodeId, seed: int) -> dict[Lane, list[Batch]]:
    """A node's day, batch after batch: payments, hours with a revision, alarms, the day's chunk and its corrections."""
    rng, registry = Random(f"{seed}/{node}"), registry_of(node)
    shim: Any = type("Clocked", (), {"clock": HandClock(NOW)})()
    speaker = Speaker(shim, node)
    lanes: dict[Lane, list[Batch]] = {lane: [] for lane in Lane}
    for number in range(PAYMENTS):
        entries = [payment(node, number * 3 + part, 100 + rng.randrange(10**6)) for part in range(3)]
        lanes[Lane.LEDGER].append(speaker.seal_records(Lane.LEDGER, [entry_record(one) for one in entries]))
    tag = node[-1]
    for revision in (1, 2):
        for hour in range(0, 24, revision):
            end = START + (hour + 1) * HOUR_S
            records = [hour_record(f"t-{tag}{n}", end, transformer_cell(rng), revision) for n in range(2)]
            records.append(hour_record(f"head-{tag}", end, supply_cell(rng.randrange(10**5)), revision))
            lanes[Lane.SUMMARY].append(speaker.seal_records(Lane.SUMMARY, records))
    for number in range(6):
        alarm = AlarmFact("meter_silent", f"m-{number}", START + number, "silent", None)
        lanes[Lane.CONTROL].append(
            speaker.seal_records(Lane.CONTROL, [Record("alarm", f"alarm-{number}", alarm.to_body())])
        )
    for number in (3, 4, 5):
        lanes[Lane.INTERVAL].append(speaker.seal(Lane.INTERVAL, chunk_bytes(registry, rng, number=number)))
    return lanes


def ledger_file(folder: Path, hub: int, number: int) -> Path:
    """Payments of one channel for accounts of both nodes."""
    path = folder / f"bank-{hub}-{number}.csv"
    rows = [f"bank-{hub}-{number}-{row},acc-up-t-{'ab'[row % 2]}0-0,payment,{row + 1},{DAY}" for row in range(ROWS)]
    path.write_text("\n".join(["entry_id,account,kind,amount,at", *rows, ""]), "utf-8")
    return path


async def one_hub(folder: Path, batches: Batches, files: Sequence[Path]) -> dict[str, Any]:
    """What a hub on SQLite has after everything came once."""
    hub = await open_hub(folder, HandClock(NOW))
    try:
        for node in NODES:
            await import_registry(hub, registry_of(node))
            speaker = Speaker(hub, node)
            await speaker.hello()
            for lane in batches[node].values():
                await speaker.push(*lane)
        for path in files:
            await hub.import_ledger(path.read_bytes(), path.stem.rpartition("-")[0], complete_up_to=NOW)
        return await whole_state(hub, NODES, DAY)
    finally:
        await hub.close()


async def last_look(process: HubProcess) -> dict[str, Any]:
    """The state of the database, seen by a hub of this process; what was set aside is tried again first."""
    hub: Hub = await build(
        process.config,
        clock=HandClock(NOW),
        io_clock=IdleIoClock(),
        rng=Random(1),
        entropy=SeededEntropy(),
        open_database=open_database,
        compute=InlineCompute(),
    )
    try:
        await hub.link.retry(None)
        assert (await hub.verify()).differences == []
        return await whole_state(hub, NODES, DAY)
    finally:
        await hub.close()


async def raced(folder: Path, database: str, files: Sequence[Path], seed: int) -> tuple[dict[str, Any], Race]:
    batches = {node: sealed(node, seed) for node in NODES}
    async with running(folder, database, NOW) as hubs:
        race = Race(hubs, Random(seed), KILLS, every=20)
        try:
            pulled = await run_race(race, folder, batches, files)
        finally:
            await race.end()
    for items in pulled:
        assert [item.offset for item in items] == list(range(1, len(items) + 1)), "no offset was skipped or told twice"
        race.counts["pulled"] += len(items)
    return await last_look(hubs[0]), race


async def run_race(race: Race, folder: Path, batches: Batches, files: Sequence[Path]) -> list[list[DownItem]]:
    """All lanes of both nodes at once, files at both doors, node B's registry late; gives what the nodes pulled."""
    registries = {node: folder / f"{node}.json" for node in NODES}
    for node, path in registries.items():
        path.write_text(json.dumps(registry_to_document(registry_of(node))), "utf-8")
    registered, done = asyncio.Event(), asyncio.Event()

    async def registry_b() -> None:
        """Until it comes, node B's hours wait in quarantine."""
        await race.begun.wait()
        await race.import_file(1, "import-registry", {"path": str(registries[B])})
        registered.set()

    async def files_at(number: int) -> None:
        await registered.wait()
        for path in files[number::2]:
            channel = path.stem.rpartition("-")[0]
            body = {"path": str(path), "channel": channel, "complete_up_to": rfc3339(NOW)}
            await race.import_file(number, "import-ledger", body)

    async def pull(node: NodeId) -> list[DownItem]:
        return await race.pull(lambda number: speaker_at(race.hubs[number], node, NOW), done)

    await race.import_file(0, "import-registry", {"path": str(registries[A])})
    async with asyncio.TaskGroup() as group:
        pulls = [group.create_task(pull(node)) for node in NODES]
        async with asyncio.TaskGroup() as sending:
            for node in NODES:
                for lane in batches[node].values():
                    sending.create_task(race.send(lane))
            for part in (registry_b(), files_at(0), files_at(1)):
                sending.create_task(part)
        await race.settled()
        done.set()
    return [task.result() for task in pulls]


def test_nothing_is_lost_and_nothing_counted_twice(tmp_path: Path, fresh_database: Callable[[], str]) -> None:
    seed = 20260504
    files = [ledger_file(tmp_path, hub, number) for number in range(FILES) for hub in range(2)]
    expected = asyncio.run(one_hub(tmp_path, {node: sealed(node, seed) for node in NODES}, files))
    told, race = asyncio.run(raced(tmp_path / "race", fresh_database(), files, seed))
    counts = dict(race.counts)
    for name, value in expected.items():
        assert told[name] == value, f"{name} differs; seed {seed}, {counts}"
    assert told.keys() == expected.keys()
    assert counts["kills"] == KILLS
    taken_in = counts["applied"] + counts["quarantined"]
    assert taken_in <= counts["batches"], f"a batch was taken in by both hubs; seed {seed}, {counts}"
    for sometimes in ("applied", "duplicate", "quarantined", "dropped", "lost"):
        assert counts.get(sometimes, 0) > 0, f"{sometimes} never happened; seed {seed}, {counts}"
