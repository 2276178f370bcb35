"""The bus on real sockets against meters and gateways that misbehave. No value may ever be another's."""

import asyncio
import struct
from itertools import pairwise

import pytest

from protocols.errors import Blame, Hope
from protocols.modbus.bus import Bus, Timing
from protocols.modbus.codec import Framing, ModbusFault, read_pdu
from protocols.resting import SUSPENSION_S
from protocols.turns import WAITING_MAX, Priority
from tests.protocols.modbus.scripted import (
    FAST,
    HandClock,
    Line,
    answer_with_address,
    bus_to,
    gateway,
    registers,
    run,
)

LATE_S = 0.45
"""Later than the timeout of `FAST`, sooner than two of them."""


async def ask(bus: Bus, address: int, unit: int = 1, priority: Priority = Priority.POLL) -> int | str:
    """The value of one register, or the code of the fault."""
    try:
        return int.from_bytes(await bus.exchange(unit, read_pdu(3, address, 1), FAST, priority), "big")
    except ModbusFault as fault:
        return fault.code


@pytest.mark.parametrize("framing", list(Framing))
def test_a_sound_meter_is_read_over_one_connection(framing: Framing) -> None:
    async def main() -> None:
        async with gateway(answer_with_address, framing) as made, bus_to(made) as bus:
            assert [await ask(bus, address) for address in range(100, 110)] == list(range(100, 110))
            assert made.sessions == 1

    run(main())


@pytest.mark.parametrize("framing", list(Framing))
def test_a_late_reply_is_never_taken_for_another(framing: Framing) -> None:
    """The case of pymodbus#2636: reading 100, 200, 300 with one late reply once gave 100, 100, 200."""

    async def main() -> None:
        async def late_once(line: Line) -> None:
            if line.number == 1:
                address = struct.unpack(">BHH", await line.request())[1]
                await asyncio.sleep(LATE_S)
                await line.send(line.frame(registers(address)))
            await answer_with_address(line)

        async with gateway(late_once, framing) as made, bus_to(made) as bus:
            assert await ask(bus, 100) == "TQ-MB-02"
            assert await ask(bus, 200) == 200
            assert await ask(bus, 300) == 300

    run(main())


def test_a_serial_gateway_that_hands_the_late_reply_to_the_next_connection() -> None:
    """A transparent gateway knows no owners: the late reply comes out of the new connection."""

    async def main() -> None:
        lines: list[Line] = []

        async def transparent(line: Line) -> None:
            lines.append(line)
            if line.number == 1:
                address = struct.unpack(">BHH", await line.request())[1]
                await asyncio.sleep(LATE_S)
                await lines[-1].send(lines[0].frame(registers(address)))
                return
            await answer_with_address(line)

        async with gateway(transparent, Framing.RTU) as made, bus_to(made) as bus:
            assert await ask(bus, 100) == "TQ-MB-02"
            assert await ask(bus, 200) == 200
            assert await ask(bus, 300) == 300

    run(main())


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("unit", "TQ-MB-04"),
        ("transaction", "TQ-MB-06"),
        ("function", "TQ-MB-05"),
        ("length", "TQ-MB-07"),
        ("protocol", "TQ-MB-03"),
        ("huge", "TQ-MB-03"),
        ("double", "TQ-MB-09"),
        ("half", "TQ-MB-02"),
        ("half-closed", "TQ-MB-08"),
        ("closed", "TQ-MB-08"),
        ("exception", "TQ-MB-24"),
        ("text", "TQ-MB-03"),
    ],
)
def test_each_broken_reply_is_named_and_the_next_call_is_sound(case: str, code: str) -> None:
    async def main() -> None:
        async def broken_once(line: Line) -> None:
            if line.number == 1:
                await line.request()
                good = line.frame(registers(1))
                await line.send(
                    {
                        "unit": line.frame(registers(1), unit=9),
                        "transaction": line.frame(registers(1), transaction=line.transaction + 1),
                        "function": line.frame(registers(1, function=4)),
                        "length": line.frame(registers(1, 2)),
                        "protocol": b"\x00\x01\x00\x09" + good[4:],
                        "huge": good[:4] + b"\xff\xff" + good[6:],
                        "double": good + good,
                        "half": good[:8],
                        "half-closed": good[:8],
                        "closed": b"",
                        "exception": line.frame(b"\x83\x04"),
                        "text": b"HTTP/1.1 400 Bad Request\r\n\r\n",
                    }[case]
                )
                if "closed" in case:
                    return
            await answer_with_address(line)

        async with gateway(broken_once) as made, bus_to(made) as bus:
            assert await ask(bus, 100) == code
            assert await ask(bus, 200) == 200
            assert made.sessions == (1 if case == "exception" else 2)

    run(main())


def test_a_wrong_checksum_is_named() -> None:
    async def main() -> None:
        async def garbled(line: Line) -> None:
            await line.request()
            frame = line.frame(registers(1))
            await line.send(frame[:-1] + bytes((frame[-1] ^ 1,)))

        async with gateway(garbled, Framing.RTU) as made, bus_to(made) as bus:
            assert await ask(bus, 100) == "TQ-MB-03"

    run(main())


def test_bytes_in_a_thousand_pieces_are_put_together() -> None:
    async def main() -> None:
        async def crumbs(line: Line) -> None:
            while True:
                await line.request()
                for byte in line.frame(registers(77)):
                    await line.send(bytes((byte,)))
                    await asyncio.sleep(0)

        async with gateway(crumbs) as made, bus_to(made) as bus:
            assert await ask(bus, 5) == 77

    run(main())


def test_unasked_bytes_between_requests_close_the_connection() -> None:
    async def main() -> None:
        sent = asyncio.Event()

        async def chatty(line: Line) -> None:
            if line.number == 1:
                await line.request()
                await line.send(line.frame(registers(1)))
                await line.send(line.frame(registers(2)))
                assert await line.reader.read() == b""
                sent.set()
                return
            await answer_with_address(line)

        async with gateway(chatty) as made, bus_to(made) as bus:
            await ask(bus, 100)
            await sent.wait()
            assert await ask(bus, 200) == 200
            assert made.sessions == 2

    run(main())


def test_a_cancelled_call_takes_its_answer_with_it() -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def slow_first(line: Line) -> None:
            if line.number == 1:
                await line.request()
                asked.set()
                await line.reader.read()
                return
            await answer_with_address(line)

        async with gateway(slow_first) as made, bus_to(made) as bus:
            first = asyncio.create_task(ask(bus, 100))
            waiting = asyncio.create_task(ask(bus, 200))
            await asked.wait()
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert await waiting == 200

    run(main())


def test_a_dead_unit_is_suspended_and_probed_each_minute() -> None:
    async def main() -> None:
        alive = False

        async def unit_9_is_dead(line: Line) -> None:
            while True:
                address = struct.unpack(">BHH", await line.request())[1]
                if line.unit != 9 or alive:
                    await line.send(line.frame(registers(address)))

        clock = HandClock()
        async with gateway(unit_9_is_dead) as made, bus_to(made, clock) as bus:
            assert [await ask(bus, 1, unit=9) for _ in range(4)] == ["TQ-MB-02"] * 3 + ["TQ-MB-41"]
            assert bus.suspended(9)
            assert await ask(bus, 7, unit=8) == 7
            clock.at += SUSPENSION_S
            assert await ask(bus, 1, unit=9) == "TQ-MB-02", "the probe"
            assert await ask(bus, 1, unit=9) == "TQ-MB-41", "one probe a minute"
            clock.at -= 86_400
            assert not bus.suspended(9), "a clock set back must not suspend for a day"
            clock.at += 86_400
            alive = True
            assert await ask(bus, 3, unit=9, priority=Priority.RELAY) == 3, "relay commands are tried in spite of it"
            assert await ask(bus, 4, unit=9) == 4

    run(main())


def test_relay_commands_go_before_waiting_polls() -> None:
    async def main() -> None:
        order: list[int] = []
        first = asyncio.Event()
        go_on = asyncio.Event()

        async def noting(line: Line) -> None:
            while True:
                address = struct.unpack(">BHH", await line.request())[1]
                order.append(address)
                first.set()
                await go_on.wait()
                await line.send(line.frame(registers(address)))

        async with gateway(noting) as made, bus_to(made) as bus:
            polls = [asyncio.create_task(ask(bus, address)) for address in (1, 2, 3)]
            await first.wait()
            restore = asyncio.create_task(ask(bus, 99, priority=Priority.RELAY))
            await asyncio.sleep(0)
            go_on.set()
            await asyncio.gather(restore, *polls)
        assert order == [1, 99, 2, 3]

    run(main())


def test_the_queue_has_an_end_for_polls_but_not_for_restores() -> None:
    async def main() -> None:
        async def mute(line: Line) -> None:
            await line.reader.read()

        async with gateway(mute) as made, bus_to(made) as bus:
            tasks = [asyncio.create_task(ask(bus, 1)) for _ in range(WAITING_MAX + 1)]
            await asyncio.sleep(0)
            refused = await ask(bus, 2)
            urgent = asyncio.create_task(ask(bus, 3, priority=Priority.RELAY))
            await asyncio.sleep(0)
            assert refused == "TQ-MB-40"
            assert not urgent.done()
            bus.close()
            assert set(await asyncio.gather(urgent, *tasks)) == {"TQ-MB-48"}

    run(main())


def test_a_refused_connection_backs_off_and_comes_back() -> None:
    async def main() -> None:
        async with gateway(answer_with_address) as made:
            port = made.port
        clock = HandClock()
        async with bus_to(made, clock) as bus:
            assert await ask(bus, 1) == "TQ-MB-01"
            assert await ask(bus, 1) == "TQ-MB-42"
            assert await ask(bus, 1, priority=Priority.RELAY) == "TQ-MB-01", "a restore is tried at once"
            waits = []
            for _ in range(8):
                waited = 0
                while await ask(bus, 1) == "TQ-MB-42":
                    clock.at += 1
                    waited += 1
                waits.append(waited)
            assert waits[0] < waits[-1] <= 76, waits
            clock.at += 100
            server = await asyncio.start_server(made.accept, "127.0.0.1", port)
            assert await ask(bus, 5) == 5
            server.close()

    run(main())


def test_pauses_and_connect_delay_are_kept() -> None:
    async def main() -> None:
        arrivals: list[float] = []
        loop = asyncio.get_running_loop()

        async def noting(line: Line) -> None:
            arrivals.append(loop.time())
            while True:
                await line.request()
                arrivals.append(loop.time())
                await line.send(line.frame(registers(0)))

        timing = Timing(timeout_s=1.0, connect_delay_s=0.08, pause_s=0.05)
        async with gateway(noting) as made, bus_to(made) as bus:
            for _ in range(3):
                await bus.exchange(1, read_pdu(3, 0, 1), timing)
            await bus.exchanges(1, (read_pdu(3, 0, 1),) * 3, timing)
        gaps = [later - earlier for earlier, later in pairwise(arrivals)]
        assert gaps[0] > 0.07
        assert min(gaps[1:]) > 0.045

    run(main())


def test_faults_tell_whom_to_blame() -> None:
    async def main() -> None:
        async def mute(line: Line) -> None:
            await line.reader.read()

        async with gateway(mute) as made, bus_to(made) as bus:
            with pytest.raises(ModbusFault) as caught:
                await bus.exchange(1, read_pdu(3, 0, 1), FAST)
            assert (caught.value.blame, caught.value.hope) == (Blame.REMOTE, Hope.RETRY)
            bus.close()
            with pytest.raises(ModbusFault) as caught:
                await bus.exchange(1, read_pdu(3, 0, 1), FAST)
            assert (caught.value.blame, caught.value.hope) == (Blame.LOCAL, Hope.PERMANENT)

    run(main())
