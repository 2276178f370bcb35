"""Who answers on Modbus: a relay moves only behind the serial number that its profile knows; gateways that give up."""

from dataclasses import replace

import pytest

from gridmodel.absence import Absence
from gridmodel.identity import MeterId
from hosting.clocks import SystemIoClock, seeded_rng
from protocols.driver import MeterTarget, RelayCommand, RelayContact, WritePermit
from protocols.errors import Blame, Hope, ProtocolFault
from protocols.modbus.codec import ModbusException
from protocols.modbus.driver import ModbusDriver
from protocols.profile import load_profile
from protocols.resting import SILENCES_BEFORE_SUSPENSION
from tests.protocols.modbus.scripted import HandClock, Line, gateway, registers, run

PLAIN = load_profile("dds238_2_zn_sr")
NUMBERED = replace(
    PLAIN, section={**PLAIN.section, "serial": {"address": 0x0100, "function": 3, "type": "u32"}}, golden=()
)
OPEN = WritePermit("intent-1", RelayCommand.OPEN)


def driver() -> ModbusDriver:
    return ModbusDriver({NUMBERED.name: NUMBERED}, clock=HandClock(), io_clock=SystemIoClock(), rng=seeded_rng(1))


def test_another_meter_in_its_place_is_neither_moved_nor_believed() -> None:
    async def main() -> None:
        seen: list[bytes] = []
        serial = 12_345_678

        async def meter(line: Line) -> None:
            while True:
                pdu = await line.request()
                seen.append(pdu)
                if pdu[0] == 16:
                    await line.send(line.frame(pdu[:5]))
                elif pdu[1:3] == b"\x01\x00":
                    await line.send(line.frame(registers(serial >> 16, serial & 0xFFFF)))
                else:
                    await line.send(line.frame(registers(1 if pdu[2] == 0x1A else 40)))

        async with gateway(meter) as made:
            modbus = driver()
            aim = MeterTarget(MeterId("m-1"), "12345678", NUMBERED.name, f"127.0.0.1:{made.port}", 1)
            await modbus.control(aim, RelayCommand.OPEN, OPEN)
            assert [pdu[0] for pdu in seen] == [3, 16]
            assert (await modbus.read_relay(aim)).state is RelayContact.CLOSED
            seen.clear()
            serial = 99
            for call in (modbus.control(aim, RelayCommand.OPEN, OPEN), modbus.read_relay(aim)):
                with pytest.raises(ProtocolFault, match="TQ-MB-51") as caught:
                    await call
                assert (caught.value.blame, caught.value.hope) == (Blame.REMOTE, Hope.PERMANENT)
                assert caught.value.absence is Absence.WRONG_METER
            assert 16 not in [pdu[0] for pdu in seen]
            await modbus.close()

    run(main())


@pytest.mark.parametrize("code", [ModbusException.GATEWAY_PATH_UNAVAILABLE, ModbusException.GATEWAY_TARGET_FAILED])
def test_a_unit_that_its_gateway_gives_up_rests(code: ModbusException) -> None:
    async def main() -> None:
        asked = 0

        async def giving_up(line: Line) -> None:
            nonlocal asked
            while True:
                pdu = await line.request()
                asked += 1
                await line.send(line.frame(bytes((pdu[0] | 0x80, code))))

        async with gateway(giving_up) as made:
            modbus = driver()
            aim = MeterTarget(MeterId("m-1"), "12345678", NUMBERED.name, f"127.0.0.1:{made.port}", 1)
            for _ in range(SILENCES_BEFORE_SUSPENSION):
                with pytest.raises(ProtocolFault, match=f"TQ-MB-{20 + code}"):
                    await modbus.read(aim)
            with pytest.raises(ProtocolFault, match="TQ-MB-41"):
                await modbus.read(aim)
            assert asked == SILENCES_BEFORE_SUSPENSION
            assert modbus.suspended(aim)
            await modbus.close()

    run(main())
