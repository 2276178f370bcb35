"""The driver over real sockets: golden bytes of every profile, and the writes it must refuse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gridmodel.identity import MeterId
from gridmodel.reading import Channel
from hosting.clocks import SystemIoClock, seeded_rng
from protocols.driver import MeterTarget, RelayCommand, RelayContact, WritePermit
from protocols.errors import Blame, Hope, ProtocolFault
from protocols.modbus.codec import Framing
from protocols.modbus.driver import ModbusDriver, parse_address
from protocols.profile import Golden, load_profiles
from tests.protocols.modbus.scripted import Gateway, HandClock, Line, gateway, registers, run

PROFILES = {name: one for name, one in load_profiles().items() if one.protocol == "modbus"}
CASES = [(name, golden) for name, profile in PROFILES.items() for golden in profile.golden]
RELAY_METER = "dds238_2_zn_sr"


@asynccontextmanager
async def driver() -> AsyncIterator[ModbusDriver]:
    made = ModbusDriver(PROFILES, clock=HandClock(), io_clock=SystemIoClock(), rng=seeded_rng(1))
    try:
        yield made
    finally:
        await made.close()
        await asyncio.sleep(0)


def target(made: Gateway, profile: str, unit: int = 1, scheme: str = "") -> MeterTarget:
    return MeterTarget(MeterId("m-1"), "12345678", profile, f"{scheme}127.0.0.1:{made.port}", unit)


@pytest.mark.parametrize("framing", list(Framing))
@pytest.mark.parametrize(("name", "golden"), CASES, ids=[f"{name}-{n}" for n, (name, _) in enumerate(CASES)])
def test_golden_bytes(name: str, golden: Golden, framing: Framing) -> None:
    async def main() -> None:
        script = {bytes.fromhex(one.request)[1:]: bytes.fromhex(one.reply) for one in golden.exchanges}
        unit = bytes.fromhex(golden.exchanges[0].request)[0]
        asked: set[bytes] = set()

        async def replay(line: Line) -> None:
            while True:
                pdu = await line.request()
                asked.add(pdu)
                reply = script[pdu]
                await line.send(line.frame(reply[1:], unit=reply[0]))

        async with gateway(replay, framing) as made, driver() as modbus:
            aim = target(made, name, unit, f"{framing.value}://")
            seen = await modbus.read(aim)
            registers, measurements = golden.expected()
            assert {channel.name.lower(): value for channel, value in seen.registers.items()} == registers
            assert dict(seen.measurements) == measurements
            assert (seen.relay.state if seen.relay else None) == golden.relay
            assert seen.serial == golden.serial
            assert set(seen.raw) >= set(registers) | set(measurements)
            assert asked == set(script), "the golden bytes are a whole poll"

    run(main())


def test_a_relay_is_moved_by_function_16_only_and_read_back_apart() -> None:
    async def main() -> None:
        seen: list[bytes] = []
        word = 1

        async def meter(line: Line) -> None:
            nonlocal word
            while True:
                pdu = await line.request()
                seen.append(pdu)
                if pdu[0] == 16:
                    word = pdu[-1]
                    await line.send(line.frame(pdu[:5]))
                else:
                    await line.send(line.frame(registers(word if pdu[2] == 0x1A else 40)))

        async with gateway(meter) as made, driver() as modbus:
            aim = target(made, RELAY_METER)
            await modbus.control(aim, RelayCommand.OPEN, WritePermit("intent-1", RelayCommand.OPEN))
            assert [pdu.hex() for pdu in seen] == ["10001a0001020000"], "one write, nothing else"
            back = await modbus.read_relay(aim)
            assert (back.state, back.load_w) == (RelayContact.OPEN, 40)
            await modbus.control(aim, RelayCommand.CLOSE, WritePermit("intent-2", RelayCommand.CLOSE))
            assert (await modbus.read_relay(aim)).state is RelayContact.CLOSED
            word = 7
            assert (await modbus.read_relay(aim)).state is RelayContact.UNKNOWN

    run(main())


@pytest.mark.parametrize(
    ("profile", "action", "code"),
    [(RELAY_METER, RelayCommand.CLOSE, "TQ-MB-46"), ("sdm630", RelayCommand.OPEN, "TQ-MB-45")],
)
def test_a_write_without_right_sends_nothing(profile: str, action: RelayCommand, code: str) -> None:
    async def main() -> None:
        async def never(line: Line) -> None:
            raise AssertionError(f"connection {line.number} was opened")

        async with gateway(never) as made, driver() as modbus:
            with pytest.raises(ProtocolFault) as caught:
                await modbus.control(target(made, profile), RelayCommand.OPEN, WritePermit("intent-1", action))
            assert (caught.value.code, caught.value.blame, caught.value.hope) == (code, Blame.LOCAL, Hope.PERMANENT)
            assert made.sessions == 0

    run(main())


def _fault_of(**change: Any) -> str:
    codes: list[str] = []

    async def main() -> None:
        given: dict[str, Any] = {"profile": RELAY_METER, "address": "127.0.0.1:9", "unit": 1} | change
        async with driver() as modbus:
            with pytest.raises(ProtocolFault) as caught:
                await modbus.read(MeterTarget(MeterId("m-1"), "1", **given))
            codes.append(caught.value.code)

    run(main())
    return codes[0]


def test_targets_that_cannot_be_are_named() -> None:
    assert _fault_of(profile="none_such") == "TQ-MB-50"
    assert _fault_of(unit=0) == "TQ-MB-47"
    assert _fault_of(unit=248) == "TQ-MB-47"
    for address in ("", "meter", "127.0.0.1:", "127.0.0.1:99999", "ftp://127.0.0.1:502", "a/b:502", ":502"):
        assert _fault_of(address=address) == "TQ-MB-47", address


def test_addresses() -> None:
    assert parse_address("10.1.2.3:502") == ("10.1.2.3", 502, Framing.TCP)
    assert parse_address("rtu://gw.local:4001") == ("gw.local", 4001, Framing.RTU)
    assert parse_address("[::1]:502") == ("::1", 502, Framing.TCP)


def test_tcp_and_rtu_are_never_mixed_on_one_port() -> None:
    async def main() -> None:
        async def meter(line: Line) -> None:
            while True:
                pdu = await line.request()
                await line.send(line.frame(registers(*[0] * pdu[4])))

        async with gateway(meter) as made, driver() as modbus:
            await modbus.read(target(made, RELAY_METER))
            with pytest.raises(ProtocolFault, match="TQ-MB-43"):
                await modbus.read(target(made, RELAY_METER, 2, "rtu://"))

    run(main())


def test_a_value_the_meter_does_not_have_is_no_reading() -> None:
    async def main() -> None:
        async def meter(line: Line) -> None:
            while True:
                pdu = await line.request()
                await line.send(line.frame(bytes((4, 2 * pdu[4])) + bytes.fromhex("7FC00000") * (pdu[4] // 2)))

        async with gateway(meter) as made, driver() as modbus:
            seen = await modbus.read(target(made, "sdm630"))
            assert dict(seen.registers) == {Channel.IMPORT: None, Channel.EXPORT: None}
            assert set(seen.measurements.values()) == {None}

    run(main())


def test_a_closed_driver_takes_no_calls() -> None:
    with pytest.raises(ProtocolFault, match="TQ-MB-48"):
        asyncio.run(_read_after_close())


async def _read_after_close() -> None:
    async with driver() as modbus:
        await modbus.close()
        await modbus.read(MeterTarget(MeterId("m-1"), "1", RELAY_METER, "127.0.0.1:9", 1))


@pytest.mark.parametrize("host", ["x" * 100, "a..b", "a\0b"])
def test_a_host_that_no_name_can_be_is_nobody_at_the_address(host: str) -> None:
    """The resolver's own error was no fault: one such row of a registry ended the round of everybody."""

    async def main() -> None:
        async with driver() as modbus:
            with pytest.raises(ProtocolFault, match=r"TQ-MB-(01|44|45)"):
                await modbus.read(MeterTarget(MeterId("m-1"), "", "sdm630", f"{host}:502", 1))

    run(main())
