"""What every `MeterDriver` promises, tried on each: on real sockets, behind a concentrator, and in memory."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest

from gridmodel.reading import Channel
from protocols.driver import LineKeeper, MeterTarget, RelayCommand, RelayContact, WritePermit
from protocols.errors import Blame, Hope, ProtocolFault
from protocols.modbus.codec import Framing
from tests.simulate.concentrator_rig import concentrator_rig
from tests.simulate.rigs import Rig, dlms_rig, modbus_rig, simulated_rig

Make = Callable[[], AbstractAsyncContextManager[Rig]]
RIGS: dict[str, Make] = {
    "modbus-tcp": lambda: modbus_rig(Framing.TCP, 1),
    "modbus-tcp-gateway": lambda: modbus_rig(Framing.TCP, 247),
    "modbus-rtu-gateway": lambda: modbus_rig(Framing.RTU, 247),
    "dlms-plain": lambda: dlms_rig("dlms_plain_single", "dlms_lls_three"),
    "dlms-wrapper": lambda: dlms_rig("dlms_hls_single", "dlms_lls_three"),
    "dlms-hdlc": lambda: dlms_rig("dlms_hls_three", "dlms_lls_three"),
    "dlms-concentrator": concentrator_rig,
    "simulated": simulated_rig,
}
OPEN = WritePermit("intent-open", RelayCommand.OPEN)
CLOSE = WritePermit("intent-close", RelayCommand.CLOSE)


@pytest.fixture(params=list(RIGS))
def make(request: pytest.FixtureRequest) -> Make:
    return RIGS[request.param]


def with_rig(make: Make, body: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with make() as rig:
            await body(rig)

    asyncio.run(asyncio.wait_for(main(), 30))


async def fault_of(call: Awaitable[object]) -> ProtocolFault:
    with pytest.raises(ProtocolFault) as caught:
        await call
    assert caught.value.code
    assert caught.value.hint
    return caught.value


def relay_meter(rig: Rig) -> tuple[int, MeterTarget]:
    """A meter with a relay and some load."""
    now = rig.clock.now()
    meters = range(len(rig.targets))
    index = next(n for n in meters if rig.faces.relay_of(n) and rig.faces.truth.load_w(n, now) > 50)
    return index, rig.targets[index]


def plain_meter(rig: Rig) -> MeterTarget:
    return next(target for n, target in enumerate(rig.targets) if not rig.faces.relay_of(n))


def test_a_poll_tells_the_registers_as_served(make: Make) -> None:
    async def body(rig: Rig) -> None:
        for index, target in enumerate(rig.targets):
            seen = await rig.driver.read(target)
            truth = rig.faces.truth.registers_at(index, rig.clock.now())
            assert seen.registers[Channel.IMPORT] == truth.import_wh > 0
            assert seen.registers[Channel.EXPORT] == truth.export_wh
            assert all(isinstance(value, int) for value in seen.measurements.values())
            assert set(seen.raw) >= {"import", "export", *seen.measurements}
            assert (seen.relay is not None) == (rig.faces.relay_of(index) is not None)
            if seen.relay is not None:
                assert seen.relay.state is RelayContact.CLOSED
                assert seen.relay.load_w == seen.measurements["power_w"]

    with_rig(make, body)


def test_registers_step_at_interval_ends_only(make: Make) -> None:
    async def body(rig: Rig) -> None:
        _, target = relay_meter(rig)
        first = (await rig.driver.read(target)).registers
        rig.clock.at += 3_500
        assert (await rig.driver.read(target)).registers == first
        rig.clock.at += 100
        assert (await rig.driver.read(target)).registers != first

    with_rig(make, body)


def test_a_relay_moves_and_is_read_back_with_its_load(make: Make) -> None:
    async def body(rig: Rig) -> None:
        index, target = relay_meter(rig)
        before = await rig.driver.read_relay(target)
        assert before.state is RelayContact.CLOSED
        assert before.load_w is not None
        assert before.load_w > 0
        await rig.driver.control(target, RelayCommand.OPEN, OPEN)
        cut = await rig.driver.read_relay(target)
        assert (cut.state, cut.load_w) == (RelayContact.OPEN, 0)
        rig.clock.at += 3_600
        shown = (await rig.driver.read(target)).registers
        rig.clock.at += 4 * 3_600
        assert (await rig.driver.read(target)).registers == shown, "a disconnected consumer takes nothing"
        await rig.driver.control(target, RelayCommand.CLOSE, CLOSE)
        assert (await rig.driver.read_relay(target)).state is RelayContact.CLOSED
        rig.clock.at += 4 * 3_600
        assert (await rig.driver.read(target)).registers != shown
        assert rig.faces.truth.connected(index)

    with_rig(make, body)


def test_commands_may_be_repeated(make: Make) -> None:
    async def body(rig: Rig) -> None:
        _, target = relay_meter(rig)
        for _ in range(2):
            await rig.driver.control(target, RelayCommand.OPEN, OPEN)
        assert (await rig.driver.read_relay(target)).state is RelayContact.OPEN
        for _ in range(2):
            await rig.driver.control(target, RelayCommand.CLOSE, CLOSE)
        assert (await rig.driver.read_relay(target)).state is RelayContact.CLOSED

    with_rig(make, body)


def test_a_permit_for_something_else_moves_nothing(make: Make) -> None:
    async def body(rig: Rig) -> None:
        index, target = relay_meter(rig)
        fault = await fault_of(rig.driver.control(target, RelayCommand.OPEN, CLOSE))
        assert (fault.blame, fault.hope) == (Blame.LOCAL, Hope.PERMANENT)
        assert rig.faces.truth.connected(index)

    with_rig(make, body)


def test_a_meter_without_a_relay_says_so(make: Make) -> None:
    async def body(rig: Rig) -> None:
        target = plain_meter(rig)
        assert (await rig.driver.read(target)).relay is None
        for call in (rig.driver.control(target, RelayCommand.OPEN, OPEN), rig.driver.read_relay(target)):
            fault = await fault_of(call)
            assert (fault.blame, fault.hope) == (Blame.LOCAL, Hope.PERMANENT)

    with_rig(make, body)


def test_one_silent_meter_is_its_own_trouble(make: Make) -> None:
    async def body(rig: Rig) -> None:
        rig.silence({3})
        for index, target in enumerate(rig.targets[:6]):
            if index == 3:
                fault = await fault_of(rig.driver.read(target))
                assert (fault.blame, fault.hope) == (Blame.REMOTE, Hope.RETRY)
            else:
                seen = await rig.driver.read(target)
                truth = rig.faces.truth.registers_at(index, rig.clock.now())
                assert seen.registers[Channel.IMPORT] == truth.import_wh
        rig.silence(set())
        rig.clock.at += 120
        assert (await rig.driver.read(rig.targets[3])).registers[Channel.IMPORT] is not None

    with_rig(make, body)


def test_many_calls_at_once_each_get_their_own_values(make: Make) -> None:
    async def body(rig: Rig) -> None:
        seen = await asyncio.gather(*(rig.driver.read(target) for target in rig.targets for _ in range(2)))
        truth = [rig.faces.truth.registers_at(n, rig.clock.now()).import_wh for n in range(len(rig.targets))]
        assert [one.registers[Channel.IMPORT] for one in seen] == [wh for wh in truth for _ in range(2)]
        assert len(set(truth)) == len(truth), "equal registers could hide a swap"

    with_rig(make, body)


def test_a_dead_meter_costs_a_neighbour_one_timeout_at_most_and_rests_after_three(make: Make) -> None:
    async def body(rig: Rig) -> None:
        loop = asyncio.get_running_loop()
        rig.silence({3})
        begun = loop.time()
        await fault_of(rig.driver.read(rig.targets[3]))
        await rig.driver.read(rig.targets[4])
        once_s = loop.time() - begun
        calls = [asyncio.ensure_future(rig.driver.read(rig.targets[3])) for _ in range(4)]
        await asyncio.sleep(0)
        begun = loop.time()
        await rig.driver.read(rig.targets[4])
        assert loop.time() - begun < once_s + 0.25
        faults = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(fault, ProtocolFault) for fault in faults)
        if not isinstance(rig.driver, LineKeeper):
            return  # in memory nothing is spared by a rest
        begun = loop.time()
        await fault_of(rig.driver.read(rig.targets[3]))
        assert loop.time() - begun < once_s / 2, "it rests, and is asked once a minute"

    with_rig(make, body)


def test_a_cancelled_call_disturbs_nobody(make: Make) -> None:
    async def body(rig: Rig) -> None:
        for turns in range(8):
            call = asyncio.ensure_future(rig.driver.read(rig.targets[0]))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            seen = await rig.driver.read(rig.targets[1])
            assert seen.registers[Channel.IMPORT] == rig.faces.truth.registers_at(1, rig.clock.now()).import_wh

    with_rig(make, body)


def test_an_unknown_profile_is_our_fault(make: Make) -> None:
    async def body(rig: Rig) -> None:
        fault = await fault_of(rig.driver.read(replace(rig.targets[0], profile="none_such")))
        assert (fault.blame, fault.hope) == (Blame.LOCAL, Hope.PERMANENT)

    with_rig(make, body)


def test_a_closed_driver_takes_no_calls(make: Make) -> None:
    async def body(rig: Rig) -> None:
        await rig.driver.read(rig.targets[0])
        await rig.driver.close()
        await rig.driver.close()
        await fault_of(rig.driver.read(rig.targets[0]))
        await fault_of(rig.driver.control(relay_meter(rig)[1], RelayCommand.CLOSE, CLOSE))

    with_rig(make, body)
