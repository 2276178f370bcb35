"""Invocation counters on disk: no number is given out twice, whenever the process or the power dies."""

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_node.store.meter_counters import LEAP, MeterCounters
from gridmodel.reading import Channel
from hosting.clocks import SystemIoClock, seeded_rng
from hosting.database import Database, open_database
from hosting.migrations import load_migrations
from protocols.dlms.blocks import CounterBlocks
from protocols.dlms.counters import RECOVERY_JUMP_MAX, RESERVE_BLOCK, CounterStore, recover, reserve
from protocols.dlms.driver import DlmsDriver
from protocols.dlms.faults import DlmsFault
from protocols.errors import Blame, Hope
from simulate.crash import SimulatedCrash
from simulate.disk import SimDisk
from tests.protocols.dlms.bench_rig import bench, fast
from tests.protocols.dlms.parties import CountingEntropy
from tests.simulate.test_disk import Aligned

STEPS = load_migrations("edge_node.store", "schema/control")
NUMBERS_EACH = 400
"""Taken in each life: blocks end in the middle of it."""


async def opened(path: Path, hooks: Aligned | None = None) -> Database:
    return await SimDisk(random.Random(1), hooks)(path, "control", STEPS)


def store_of(control: Database) -> CounterStore:
    """mypy proves that it is one."""
    return MeterCounters(control)


async def take(control: Database, taken: list[int]) -> None:
    blocks = CounterBlocks(store_of(control))
    while len(taken) < NUMBERS_EACH:
        reserved = await blocks.take("k", 64)
        assert reserved.counter is not None
        taken.extend(reserved.counter.take() for _ in range(9))
        blocks.give_back(reserved)


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("commit", [len(STEPS) + 1, len(STEPS) + 2, len(STEPS) + 3])
def test_no_number_is_used_twice_whichever_commit_dies(tmp_path: Path, side: str, commit: int) -> None:
    async def lives() -> None:
        path, used = tmp_path / "c.db", set[int]()
        for life in range(4):
            taken: list[int] = []
            control = await opened(path, Aligned(side, commit if life == 0 else commit - len(STEPS)))
            try:
                for _ in range(4):
                    await take(control, taken)
                    used_now = set(taken)
                    assert len(used_now) == len(taken)
                    assert not used_now & used, f"life {life}"
                    used |= used_now
                    taken = []
            except SimulatedCrash:
                assert not set(taken) & used
                used |= set(taken)
        control = await opened(path)
        assert await MeterCounters(control).mark("k") > max(used, default=0)
        await control.close()

    asyncio.run(lives())


CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from edge_node.store.meter_counters import MeterCounters
from hosting.database import open_database
from hosting.migrations import load_migrations
from protocols.dlms.counters import reserve

async def main():
    control = await open_database(Path(sys.argv[1]), "control", load_migrations("edge_node.store", "schema/control"))
    counter = await reserve(MeterCounters(control), "k", 64)
    print(counter.take(), counter.take(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_a_process_killed_between_reserving_and_using_leaves_its_block_behind(tmp_path: Path) -> None:
    path, used = tmp_path / "c.db", list[int]()
    for _ in range(2):
        child = subprocess.run(  # noqa: S603
            [sys.executable, "-c", CHILD, str(path)],
            cwd=Path(__file__).parent.parent.parent.parent,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert child.returncode == -signal.SIGKILL, child.stderr
        used += map(int, child.stdout.split())
    assert used == [1, 2, 65, 66]

    async def after() -> None:
        control = await open_database(path, "control", STEPS)
        assert (await reserve(MeterCounters(control), "k", 64)).take() == 129
        await control.close()

    asyncio.run(after())


def test_marks_only_rise_and_leap_after_a_restore(tmp_path: Path) -> None:
    async def story() -> None:
        control = await opened(tmp_path / "c.db")
        counters = MeterCounters(control)
        assert await counters.mark("k") == 1
        for mark, stands in ((500, 500), (20, 500), (501, 501)):
            await counters.move("k", mark)
            assert await counters.mark("k") == stands
        assert await counters.mark("other") == 1
        assert await counters.leap() == 1
        assert await counters.mark("k") == 501 + LEAP
        await control.close()

    asyncio.run(story())


def test_a_meters_word_moves_a_mark_within_limits_only(tmp_path: Path) -> None:
    async def story() -> None:
        control = await opened(tmp_path / "c.db")
        store = store_of(control)
        assert await recover(store, "k", 9_000) == 9_001
        assert await recover(store, "k", 10) == 9_001
        with pytest.raises(DlmsFault, match="TQ-DM-37") as caught:
            await recover(store, "k", 9_001 + RECOVERY_JUMP_MAX)
        assert (caught.value.blame, caught.value.hope) == (Blame.REMOTE, Hope.PERMANENT)
        assert await store.mark("k") == 9_001
        await control.close()

    asyncio.run(story())


def test_a_driver_goes_on_with_its_meter_after_a_crash(tmp_path: Path) -> None:
    """The meter itself is the judge: it refuses a counter that it has seen; what a life had left is never used."""

    async def story() -> None:
        async with bench(fast("dlms_hls_single")) as made:
            for life in range(3):
                control = await opened(tmp_path / "c.db")
                driver = DlmsDriver(
                    {made.profile.name: made.profile},
                    keys=made.keys,
                    counters=store_of(control),
                    entropy=CountingEntropy(1_000_000 * (life + 1)),
                    clock=made.clock,
                    io_clock=SystemIoClock(),
                    rng=seeded_rng(1),
                )
                for _ in range(2):
                    assert (await driver.read(made.target)).registers[Channel.IMPORT] == 12_345_678
                assert made.meter.device.heard[1] > life * RESERVE_BLOCK
                await driver.close()
                await control.close()

    asyncio.run(story())
