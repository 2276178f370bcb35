"""One meter on a socket and a driver before it, for tests of the driver."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gridmodel.identity import MeterId
from hosting.clocks import SystemIoClock, seeded_rng
from protocols.dlms.driver import DlmsDriver
from protocols.dlms.section import DlmsPlan, dlms_plan
from protocols.driver import MeterTarget
from protocols.errors import ProtocolFault
from protocols.profile import MeterProfile, load_profile
from tests.protocols.dlms.parties import CountingEntropy
from tests.protocols.dlms.recording import VALUES, MemoryCounters
from tests.protocols.dlms.served import ServedMeter, Wire, served
from tests.protocols.dlms.table_keys import TableKeys
from tests.protocols.modbus.scripted import NOON, HandClock

METER = MeterId("m-17")
SERIAL = "TQ00000017"
FAST = {"timeout_ms": 310, "connect_timeout_ms": 1_000, "retries": 0}


def fast(name: str, **changes: Any) -> MeterProfile:
    """A shipped profile with the shortest timeout, and tables changed in part."""
    profile = load_profile(name)
    section = {**profile.section, "timing": FAST}
    for table, change in changes.items():
        section[table] = {**section.get(table, {}), **change} if isinstance(change, dict) else change
    return replace(profile, section=section)


@dataclass
class Bench:
    """What a test holds in its hands."""

    profile: MeterProfile
    plan: DlmsPlan
    meter: ServedMeter
    wire: Wire
    driver: DlmsDriver
    target: MeterTarget
    clock: HandClock
    keys: TableKeys
    counters: MemoryCounters
    values: dict[str, int | None] = field(default_factory=dict)


@asynccontextmanager
async def bench(
    profile: MeterProfile, *, serial: str = SERIAL, model: DlmsPlan | None = None, **made: Any
) -> AsyncIterator[Bench]:
    """A meter of that profile, or of the other `model`; `made` goes to `ServedMeter`."""
    plan, clock, keys, counters = dlms_plan(profile), HandClock(NOON), TableKeys(), MemoryCounters()
    values: dict[str, int | None] = {**VALUES}
    given: dict[str, Any] = {"secrets": keys.secrets_of(METER), "title": keys.title_of(METER), "unit": 17} | made
    meter = ServedMeter(model or plan, serial, lambda key, _: values[key], **given)
    driver = DlmsDriver(
        {profile.name: profile},
        keys=keys,
        counters=counters,
        entropy=CountingEntropy(1_000_000),
        clock=clock,
        io_clock=SystemIoClock(),
        rng=seeded_rng(1),
    )
    async with served(meter, clock.now) as wire:
        target = MeterTarget(METER, SERIAL, profile.name, wire.address, 17)
        try:
            yield Bench(profile, plan, meter, wire, driver, target, clock, keys, counters, values)
        finally:
            await driver.close()
            await asyncio.sleep(0)


def run(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(body(), 30))


async def fault_of(call: Awaitable[object]) -> ProtocolFault:
    with pytest.raises(ProtocolFault) as caught:
        await call
    assert caught.value.hint
    assert caught.value.as_dict()["blame"]
    return caught.value
