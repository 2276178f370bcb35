"""Our simulated meters before strangers' clients, and every frame of both sides before tshark's dissector."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient

from protocols.modbus.codec import Framing, encode_frame, read_pdu, write_pdu
from simulate.meters import Fleet
from tests.protocols.modbus.libmodbus import PeerRefusal, peer_client
from tests.protocols.modbus.scripted import HandClock, run
from tests.simulate.capture import dissect
from tests.simulate.rigs import ORIGIN, faces_of, free_listen, spec

NOW = ORIGIN + 5 * 3600
RELAY = 0x1A


@asynccontextmanager
async def fleet_behind_gateways(framing: Framing) -> AsyncIterator[Fleet]:
    fleet = Fleet(faces_of(spec(20)), free_listen(247), HandClock(NOW), framing=framing)
    await fleet.start()
    try:
        yield fleet
    finally:
        fleet.close()
        await asyncio.sleep(0)


def relay_meter(fleet: Fleet) -> int:
    return next(n for n in range(20) if fleet.faces.relay_of(n))


def shown(fleet: Fleet, index: int, function: int, address: int, count: int) -> bytes:
    data = fleet.faces.registers(index, NOW).read(function, address, count)
    assert data is not None
    return data


def test_libmodbus_reads_and_moves_our_meters() -> None:
    async def main() -> None:
        async with fleet_behind_gateways(Framing.TCP) as fleet:
            index = relay_meter(fleet)
            host, port, unit = fleet.listen.place(index)
            before = shown(fleet, index, 3, 0x08, 10)
            assert await asyncio.to_thread(_by_libmodbus, host, port, unit) == before
            assert not fleet.faces.truth.connected(index)
            assert fleet.counts.refused_writes == 1

    run(main())


def _by_libmodbus(host: str, port: int, unit: int) -> bytes:
    with peer_client(host, port, unit) as client:
        data = client.read(3, 0x08, 10)
        with pytest.raises(PeerRefusal) as caught:
            client.read(4, 0x00, 2)
        assert caught.value.code == 2
        with pytest.raises(PeerRefusal) as caught:
            client.write(0x0000, 0)
        assert caught.value.code == 2, "writing 0 there would erase the counters"
        with pytest.raises(PeerRefusal) as caught:
            client.write_one(RELAY, 0)
        assert caught.value.code == 1, "function 6 is not known to this model"
        client.write(RELAY, 0)
        assert client.read(3, RELAY, 1) == b"\x00\x00"
        return data


@pytest.mark.parametrize("framing", list(Framing))
def test_pymodbus_reads_and_moves_our_meters(framing: Framing) -> None:
    async def main() -> None:
        async with fleet_behind_gateways(framing) as fleet:
            index = relay_meter(fleet)
            host, port, unit = fleet.listen.place(index)
            framer = FramerType.RTU if framing is Framing.RTU else FramerType.SOCKET
            client = AsyncModbusTcpClient(host, port=port, framer=framer)
            assert await client.connect()
            try:
                seen = await client.read_holding_registers(0x08, count=10, device_id=unit)
                raw = b"".join(word.to_bytes(2, "big") for word in seen.registers)
                assert raw == shown(fleet, index, 3, 0x08, 10)
                assert (await client.read_input_registers(0, count=2, device_id=unit)).exception_code == 2
                assert (await client.write_register(RELAY, 0, device_id=unit)).exception_code == 1
                assert not (await client.write_registers(RELAY, [0], device_id=unit)).isError()
                assert not fleet.faces.truth.connected(index)
            finally:
                client.close()

    run(main())


@pytest.mark.parametrize("framing", list(Framing))
def test_tshark_reads_our_frames_as_we_mean_them(framing: Framing, tmp_path: Path) -> None:
    fleet = Fleet(faces_of(spec(20)), free_listen(247), HandClock(NOW), framing=framing)
    index = relay_meter(fleet)
    asked = [
        read_pdu(3, 0x08, 10),
        read_pdu(3, RELAY, 1),
        write_pdu(RELAY, (0,)),
        read_pdu(4, 0, 2),
        read_pdu(3, RELAY, 1),
    ]
    exchanges = [
        (encode_frame(framing, n, 17, pdu), encode_frame(framing, n, 17, fleet.answer(index, pdu)))
        for n, pdu in enumerate(asked, start=1)
    ]
    seen = dissect(tmp_path, exchanges, framing)
    assert len(seen) == 2 * len(asked)
    for layers in seen:
        assert "_ws.malformed" not in str(layers), layers
        assert "modbus" in layers, layers
    functions = [layers["modbus"]["modbus.func_code"] for layers in seen]
    assert functions == ["3", "3", "3", "3", "16", "16", "4", "4", "3", "3"]
    assert seen[7]["modbus"]["modbus.exception_code"] == "2"
    assert seen[0]["modbus"]["modbus.word_cnt"] == "10"
    assert seen[0]["modbus"]["modbus.reference_num"] == "8"
    assert seen[1]["modbus"]["modbus.byte_cnt"] == "20"
    values = [value for layers in (seen[1], seen[3], seen[9]) for value in _registers(layers["modbus"])]
    raw = shown(fleet, index, 3, 0x08, 3)
    assert values[:3] == [int.from_bytes(raw[n : n + 2], "big") for n in (0, 2, 4)]
    assert values[-2:] == [1, 0], "the relay before and after"
    if framing is Framing.TCP:
        assert [layers["mbtcp"]["mbtcp.trans_id"] for layers in seen[::2]] == ["1", "2", "3", "4", "5"]
        assert {layers["mbtcp"]["mbtcp.unit_id"] for layers in seen} == {"17"}
    else:
        assert {layers["mbrtu"]["mbrtu.unit_id"] for layers in seen} == {"17"}
        assert "mbrtu.crc16.bad" not in str(seen)


def _registers(tree: dict[str, object]) -> list[int]:
    """The values of all registers that the dissector found, wherever it put them."""
    found = []
    for key, value in tree.items():
        if key.startswith("modbus.regval_uint16"):
            found.append(int(str(value)))
        elif isinstance(value, dict):
            found += _registers(value)
    return found
