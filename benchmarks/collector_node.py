"""The node of benchmark `collector`: the product's own, whole, over its own folder, in a process of its own.

`prepare` makes the folder as an office has it on any morning: configuration, keys, registry, and relays that were all
seen connected before. `serve` starts the node on it with `node.build`, as `edge_node.serving` does, but without its
pages and its door; its line to the hub is dead. Only the driver's reads and the loop's callbacks are looked at.
"""

import asyncio
import gc
import os
import time
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from benchmarks.collector_fleet import FleetPlan, serial_of
from benchmarks.edge_rig import Callbacks
from benchmarks.edge_store import registry_of as plain_registry
from edge_node.config import NodeConfig
from edge_node.metering.polling import offset_s
from edge_node.node import Node, build
from edge_node.policy_file import load_policy
from edge_node.serving import FILES_SPARE, load_signer, row_key
from edge_node.store.opening import EdgeStore, StoreKeys, open_store
from edge_node.store.registries import insert_registry, pack_document
from edge_node.store.relays import RelayRow
from edge_node.store.state import Mark
from gridmodel.control import RelayState
from gridmodel.identity import MeterId
from gridmodel.network import Meter
from gridmodel.registry import Registry
from hosting.clocks import ScaledClock, SystemEntropy, SystemIoClock, seeded_rng
from hosting.compute import InlineCompute, ThreadCompute
from hosting.config import load_toml
from hosting.database import open_database
from hosting.keys import KeyDomain, create_signing_key
from hosting.log import LogForm, configure_log
from hosting.process import leave_alone_what_lives, make_room_for_files, take_short_turns, walk_at_rest
from protocols.dlms.driver import DlmsDriver
from protocols.dlms.keys import MeterSecrets
from protocols.driver import MeterSnapshot, MeterTarget
from protocols.errors import ProtocolFault
from protocols.profile import load_profiles
from protocols.sync.link import HttpLink
from simulate.dlms_keys import FleetSecrets

PROFILE = "dlms_hls_single"
READS_AT_ONCE = 8_000
REST_S_MAX = 90
"""The last reads of a run, with their second tries."""
MIB = 1 << 20
TEXT = """
node = "node-a"
data_dir = "data"
demo = true
[hub]
url = "http://127.0.0.1:9"
[polling]
spread_s = {spread_s}
reads_at_once = {at_once}
[keys]
signing = "node.key"
row = "row.key"
"""


@dataclass(frozen=True)
class NodePlan:
    """What the node's process is told."""

    folder: Path
    """As `prepare` left it."""
    fleet: FleetPlan
    spread_s: int
    """Seconds over which the meters of one interval are due."""
    warm_s: int
    """Seconds before anything is measured."""
    seconds: int
    core: int | None
    """The core that is its own; None: any."""


@dataclass
class Watched:
    """What was seen in the measured time."""

    sessions: int = 0
    failed: int = 0
    wrong: int = 0
    late_s: "array[float]" = field(default_factory=lambda: array("f"))
    codes: dict[str, int] = field(default_factory=dict)
    under_way: int = 0
    most_under_way: int = 0
    on: bool = False

    def answered(self, late_s: float, *, right: bool) -> None:
        """One session came to its end."""
        self.sessions += 1
        self.late_s.append(late_s)
        self.wrong += not right

    def refused(self, fault: ProtocolFault) -> None:
        """One try failed."""
        self.failed += 1
        self.codes[fault.code] = self.codes.get(fault.code, 0) + 1


class _WatchedDriver(DlmsDriver):
    """The DLMS driver with a look at each read."""

    begun: float
    """Wall time of the interval's end from which meters are due."""
    spread_s: int
    seen: Watched

    async def read(self, target: MeterTarget) -> MeterSnapshot:
        seen = self.seen
        seen.under_way += 1
        seen.most_under_way = max(seen.most_under_way, seen.under_way)
        try:
            snapshot = await super().read(target)
        except ProtocolFault as fault:
            if seen.on:
                seen.refused(fault)
            raise
        finally:
            seen.under_way -= 1
        if seen.on:
            late_s = time.time() - self.begun - offset_s(target.meter, self.spread_s)
            seen.answered(late_s, right=snapshot.serial == target.serial)
        return snapshot


class _Keys:
    """The secrets that all meters of the fleet have."""

    def __init__(self) -> None:
        secrets = FleetSecrets()
        self._secrets = MeterSecrets(
            block_key=secrets.keys.block_key, authentication_key=secrets.keys.authentication_key
        )

    def client_title(self) -> bytes:
        return b"TMQ\x00\x00\x00\x00\x07"

    def secrets_of(self, meter: MeterId) -> MeterSecrets:
        del meter
        return self._secrets


def registry_of(plan: FleetPlan) -> Registry:
    """A district with that many meters behind the plan's concentrators."""
    plain = plain_registry(plan.meters)
    meters = tuple(
        Meter(meter.id, serial_of(index), PROFILE, *plan.listen.address(index))
        for index, meter in enumerate(plain.meters)
    )
    return replace(plain, meters=meters)


async def prepare(plan: NodePlan, now: int) -> None:
    """Fill an empty folder; `now` in UTC seconds of utility time."""
    path = plan.folder / "node.toml"
    path.write_text(TEXT.format(spread_s=plan.spread_s, at_once=READS_AT_ONCE), "utf-8")
    config = load_toml(path, NodeConfig, {})
    config.data_dir.mkdir(mode=0o700)
    create_signing_key(config.keys.signing, SystemEntropy(), KeyDomain.DEMO)
    keys = StoreKeys(row_key(config, SystemEntropy()), load_signer(config), config.keyring())
    registry = registry_of(plan.fleet)
    packed = pack_document(registry)
    rows = [
        RelayRow(point.id, meter.id, RelayState.CONNECTED, None, now, now, None, None, None)
        for point, meter in zip(registry.usage_points, registry.meters, strict=True)
    ]
    store = await open_store(
        config.data_dir,
        open_database,
        node=config.node_id,
        zone=config.zone,
        keys=keys,
        compute=InlineCompute(),
        entropy=SystemEntropy(),
        now=now,
    )
    try:
        await store.control.write(lambda conn: insert_registry(conn, registry.version, packed, now))
        await store.control.write(lambda conn: store.relays.put(conn, rows))
        await store.state.put(Mark.CLOCK_FLOOR, str(now))  # the hub that sent the registry confirmed the clock
    finally:
        await store.close()


def serve(pipe: Pipe, plan: NodePlan) -> None:
    """Start the node, say that it stands, measure, and send what was found."""
    if plan.core is not None:
        os.sched_setaffinity(0, {plan.core})
    pipe.send("here")
    asyncio.run(_serve(pipe, plan, pipe.recv()))


async def _serve(pipe: Pipe, plan: NodePlan, calendar: tuple[float, float, float]) -> None:
    make_room_for_files(READS_AT_ONCE + FILES_SPARE)
    take_short_turns()
    seen = Watched()
    async with _node(plan, calendar, seen) as node:
        pipe.send("ready")
        await asyncio.sleep(max(0.0, calendar[1] - time.time()))
        running = asyncio.create_task(node.run())
        found = await _measure(plan, seen, running)
        if plan.warm_s + plan.seconds >= plan.spread_s:
            found["walk_at_rest_ms"] = await _walk(seen, running)
        node.stop()
        await running
    pipe.send(found)


@asynccontextmanager
async def _node(plan: NodePlan, calendar: tuple[float, float, float], seen: Watched) -> AsyncIterator[Node]:
    """The node over its folder, as a process builds it; nothing runs yet."""
    config = load_toml(plan.folder / "node.toml", NodeConfig, {})
    clock, io_clock, rng, entropy = ScaledClock(*calendar), SystemIoClock(), seeded_rng(1), SystemEntropy()
    compute, profiles = ThreadCompute(), load_profiles()
    configure_log(LogForm.CONSOLE, clock.now)

    def drivers(store: EdgeStore) -> dict[str, DlmsDriver]:
        driver = _WatchedDriver(
            profiles,
            keys=_Keys(),
            counters=store.meter_counters,
            entropy=entropy,
            clock=clock,
            io_clock=io_clock,
            rng=rng,
        )
        driver.begun, driver.spread_s, driver.seen = calendar[1], plan.spread_s, seen
        return {"dlms": driver}

    node = await build(
        config,
        clock=clock,
        io_clock=io_clock,
        rng=rng,
        entropy=entropy,
        open_database=open_database,
        drivers={},
        link=HttpLink(config.hub.url),
        compute=compute,
        signer=load_signer(config),
        keyring=config.keyring(),
        rules=load_policy(config.supply.policy, clock.now(), config.zone),
        row_key=row_key(config, entropy),
        profiles=profiles,
        drivers_over=drivers,
        told_clock=clock,
        settled=leave_alone_what_lives,
        at_rest=walk_at_rest,
    )
    gc.collect()
    leave_alone_what_lives()
    try:
        yield node
    finally:
        await node.close()
        compute.close()


async def _measure(plan: NodePlan, seen: Watched, running: "asyncio.Task[None]") -> dict[str, Any]:
    """Let the node warm up, then watch it: its processor in the first two thirds, each callback in the last."""
    callbacks = Callbacks()
    await _pause(plan.warm_s, running)
    seen.on = True
    begun, peak_mib = time.perf_counter(), 0.0
    watched_s = max(1, plan.seconds // 3)
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(plan.seconds - watched_s):
        await _pause(1, running)
        peak_mib = max(peak_mib, _rss_mib())
    core = (time.process_time() - cpu) / (time.perf_counter() - wall)
    with callbacks.watched():
        await _pause(watched_s, running)
    seen.on = False
    passed, peak_mib = time.perf_counter() - begun, max(peak_mib, _rss_mib())
    late = sorted(seen.late_s)
    return {
        "seconds": round(passed),
        "warm_up_s": plan.warm_s,
        "sessions_per_s": round(seen.sessions / passed, 1),
        "failed_tries_per_s": round(seen.failed / passed, 2),
        "codes": seen.codes,
        "wrong": seen.wrong,
        "core_pct": round(100 * core, 1),
        "cpu_ms_per_session": round(1_000 * core * passed / max(1, seen.sessions), 3),
        "late_s": {name: round(_share(late, share), 1) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))},
        "most_at_once": seen.most_under_way,
        "rss_mib": round(peak_mib),
        "longest_callback_ms": round(callbacks.longest_s * 1_000, 1),
        "slow_callbacks": callbacks.slow,
        "slowest": sorted(callbacks.names, key=lambda told: -int(told.split()[0]))[:5],
    }


async def _walk(seen: Watched, running: "asyncio.Task[None]") -> float:
    """How long the walk takes that a node makes between two intervals, in ms: when the last reads have ended."""
    for _ in range(REST_S_MAX):
        if seen.under_way == 0:
            break
        await _pause(1, running)
    begun = time.perf_counter()
    walk_at_rest()
    return round((time.perf_counter() - begun) * 1_000, 1)


async def _pause(seconds: float, running: "asyncio.Task[None]") -> None:
    """Let the node work; what ends it is raised."""
    done, _ = await asyncio.wait({running}, timeout=seconds)
    for task in done:
        task.result()


def _share(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def _rss_mib() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB
