"""Two hub processes on one database, killed at any moment, and nodes that send every batch to both of them."""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from central_sync.config import HubConfig
from central_sync.hub import Hub
from gridmodel.identity import NodeId
from hosting.clocks import clock_to_environment
from hosting.config import load_toml
from hosting.door import DoorFault, call_door
from hosting.keys import KeyDomain, create_row_key
from protocols.authority.signatures import key_to_text
from protocols.sync.batch import Batch
from protocols.sync.lanes import ADVANCING, DownLane
from protocols.sync.link import HttpLink, LinkLost
from protocols.sync.messages import Push, PushReply
from protocols.sync.pull import DownItem
from tests.central_sync.hub_rig import DISTRICTS, SIGNERS, HandClock, SeededEntropy, Speaker

DROPPED = 0.1
"""Of acknowledgements: the node never sees them and sends again."""
KILL_S_MAX = 0.03
"""Within so much of the sending of a batch the kill comes: before, in and after its transaction."""

CONFIG = 'data_dir = "data"\ndemo = true\nlisten = "127.0.0.1:0"\n' + "".join(
    f'[[nodes]]\nid = "{node}"\npublic_key = "{key_to_text(SIGNERS[node].public)}"\ndistricts = ["{district}"]\n'
    for node, district in DISTRICTS.items()
)


class HubProcess:
    """One `central-sync run`, started again after each kill."""

    def __init__(self, folder: Path, database: str, at: int) -> None:
        (folder / "data").mkdir(parents=True, mode=0o700)
        create_row_key(folder / "data" / "row.key", SeededEntropy(3), KeyDomain.DEMO)
        self.file = folder / "hub.toml"
        self.file.write_text(CONFIG, "utf-8")
        self.config = load_toml(self.file, HubConfig, {"TARMOQ_DATABASE": database})
        self._environ = os.environ | {"TARMOQ_DATABASE": database} | clock_to_environment(at, time.time(), 1.0)
        self._process: asyncio.subprocess.Process | None = None
        self._link: HttpLink | None = None

    async def start(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "central_sync", "run", "--config", str(self.file)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environ,
        )
        self._process = process
        assert process.stdout is not None
        assert process.stderr is not None
        line = await process.stdout.readline()
        assert line, (await process.stderr.read()).decode()
        self._link = HttpLink(json.loads(line)["address"])

    @property
    def up(self) -> bool:
        """Whether it can be asked."""
        return self._link is not None

    async def kill(self) -> None:
        """As by the kernel: nothing is said, nothing is finished."""
        process, link = self._process, self._link
        assert process is not None
        assert link is not None
        self._process = self._link = None
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        await link.close()

    async def stop(self) -> None:
        """As by an operator."""
        if self._link is not None:
            await self._link.close()
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            await self._process.communicate()

    async def exchange(self, kind: str, body: bytes) -> bytes:
        if self._link is None:
            raise LinkLost(50, "it is being started again", "wait")
        return await self._link.exchange(kind, body)


class Race:
    """Both processes, who kills them, and what was counted."""

    def __init__(self, hubs: Sequence[HubProcess], rng: Random, kills: int, every: int) -> None:
        self.hubs = hubs
        self.rng = rng
        self.counts: Counter[str] = Counter()
        self.begun = asyncio.Event()
        """The first kill is ordered."""
        self._kills = kills
        self._every = every
        """Batches between two kills."""
        self._up = asyncio.Condition()
        self._killing: set[asyncio.Task[None]] = set()

    async def send(self, batches: Sequence[Batch]) -> None:
        """Every batch of a lane in order, each to both hubs until both have answered and one answer was heard."""
        for batch in batches:
            heard = False
            answered: set[int] = set()
            while not heard or len(answered) < len(self.hubs):
                waiting = [asyncio.create_task(self._push(number, batch)) for number in range(len(self.hubs))]
                self._perhaps_kill()
                for number, outcome in enumerate(await asyncio.gather(*waiting)):
                    if outcome is None:
                        continue
                    answered.add(number)
                    assert outcome in ADVANCING, outcome
                    self.counts[outcome.value] += 1
                    if self.rng.random() < DROPPED:
                        self.counts["dropped"] += 1
                    else:
                        heard = True
                if len(answered) < len(self.hubs):
                    await self._all_up()
            self.counts["batches"] += 1

    async def import_file(self, number: int, verb: str, body: dict[str, Any]) -> None:
        """By one hub's door, again until it answered."""
        while True:
            try:
                told = await call_door(self.hubs[number].config.door, verb, body)
            except (DoorFault, OSError) as fault:
                assert getattr(fault, "code", "TQ-DR-01").startswith("TQ-DR-"), fault
                self.counts["imports_lost"] += 1
                await self._all_up()
            else:
                assert told["done"], told
                self.counts["imports"] += 1
                return

    async def pull(self, speaker: Callable[[int], Speaker], until: asyncio.Event) -> list[DownItem]:
        """A node's lane down, asked for at either hub, until `until` is set and nothing more comes."""
        items: list[DownItem] = []
        while True:
            last = until.is_set()
            number = self.rng.randrange(len(self.hubs))
            try:
                reply = await speaker(number).pull({DownLane.LEDGER: len(items)}, limit=7)
            except LinkLost:
                await self._all_up()
                continue
            assert not reply.refetch
            items += reply.items
            if not reply.items:
                if last:
                    return items
                await asyncio.sleep(0.02)

    async def settled(self) -> None:
        """All kills are over and every hub is up."""
        await asyncio.gather(*self._killing)
        await self._all_up()

    async def end(self) -> None:
        """Kill nobody any more."""
        for task in self._killing:
            task.cancel()
        await asyncio.gather(*self._killing, return_exceptions=True)

    async def _push(self, number: int, batch: Batch) -> Any:
        push = Push(node=batch.header.node, batches=(batch.to_bytes(),))
        try:
            reply = PushReply.from_bytes(await self.hubs[number].exchange("push", push.to_bytes()))
        except LinkLost as lost:
            assert lost.code in {"TQ-SY-50", "TQ-SY-52"}, lost
            self.counts["lost"] += 1
            return None
        return reply.acks[0].outcome

    def _perhaps_kill(self) -> None:
        due = self.counts["batches"] // self._every
        if self._killing or self.counts["kills"] >= min(due, self._kills):
            return
        number = self.counts["kills"] % len(self.hubs)
        self.counts["kills"] += 1
        self.begun.set()
        task = asyncio.create_task(self._kill(self.hubs[number]))
        self._killing.add(task)
        task.add_done_callback(self._killing.discard)

    async def _kill(self, hub: HubProcess) -> None:
        await asyncio.sleep(self.rng.uniform(0.0, KILL_S_MAX))
        await hub.kill()
        await hub.start()
        async with self._up:
            self._up.notify_all()

    async def _all_up(self) -> None:
        async with self._up:
            await self._up.wait_for(lambda: all(hub.up for hub in self.hubs))


class Over:
    """A `Speaker`'s hub behind a process's socket."""

    def __init__(self, process: HubProcess, at: int) -> None:
        self.clock = HandClock(at)
        self._process = process

    async def handle(self, kind: str, body: bytes) -> bytes:
        return await self._process.exchange(kind, body)


def speaker_at(process: HubProcess, node: NodeId, at: int) -> Speaker:
    """A node before one process; it seals as `Speaker` does."""
    over: Any = Over(process, at)
    return Speaker(over, node)


@asynccontextmanager
async def running(folder: Path, database: str, at: int, count: int = 2) -> AsyncIterator[list[HubProcess]]:
    """So many hubs on one database, started at once."""
    hubs = [HubProcess(folder / f"hub-{number}", database, at) for number in range(count)]
    try:
        await asyncio.gather(*(hub.start() for hub in hubs))
        yield hubs
    finally:
        await asyncio.gather(*(hub.stop() for hub in hubs))


async def whole_state(hub: Hub, nodes: Sequence[NodeId], day: str) -> dict[str, Any]:
    """Everything that must be the same on either engine, whatever order and however often it came."""
    told: dict[str, Any] = {}
    for level in ("transformer", "feeder", "substation", "district", "region", "republic"):
        for period, at in (("day", day), ("month", day[:7]), ("year", day[:4])):
            areas = (await hub.balance(level, period, at))["areas"]
            for area in areas:
                for node in area["nodes"]:
                    node.pop("last_seen")
            told[f"{level} {period}"] = areas
    for node in nodes:
        told[f"lanes {node}"] = await hub.store.read(lambda tx, node=node: tx.marks(node))  # type: ignore[misc]
        told[f"chunks {node}"] = await hub.store.read(lambda tx, node=node: tx.chunk_days(node))  # type: ignore[misc]
        rows = await hub.store.read(
            lambda tx, node=node: tx.down_items(node, DownLane.LEDGER, 0, 10_000, 10**8)  # type: ignore[misc]
        )
        told[f"down {node}"] = sorted((row.kind, row.id) for row in rows if row.kind != "watermark")
        assert [row.offset for row in rows] == list(range(1, len(rows) + 1))
        accounts = await hub.store.read(lambda tx, node=node: tx.owned("account", node, "", 500))  # type: ignore[misc]
        for account in accounts:
            entries = await hub.store.read(
                lambda tx, account=account: tx.account_entries(account.id, 10_000)  # type: ignore[misc]
            )
            assert all(row.intact for row in entries)
            told[f"account {account.id}"] = sorted((row.entry.id, row.entry.amount_tiyin) for row in entries)
        points = [account.usage_point for account in accounts if account.usage_point is not None]
        told[f"credits {node}"] = await hub.store.read(lambda tx, points=points: tx.credits(points))  # type: ignore[misc]
    told["watermarks"] = await hub.store.read(lambda tx: tx.watermarks())
    told["quarantined"] = await hub.store.read(lambda tx: tx.count_quarantined())
    told["conflicts"] = len(await hub.store.read(lambda tx: tx.conflicts(500)))
    told["alarms"] = len(await hub.store.read(lambda tx: tx.alarms(None, 500, standing=False)))
    return told
