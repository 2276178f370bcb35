"""Our Modbus client before strangers' servers: libmodbus where it is installed, pymodbus always.

Each shipped profile's registers, as its golden bytes have them, are served by the other's code; what our driver makes
of them must be what the golden bytes mean.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pymodbus import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from gridmodel.identity import MeterId
from protocols.driver import MeterTarget, RelayCommand, RelayContact, WritePermit
from protocols.errors import Blame, Hope
from protocols.modbus.codec import ExceptionReply, Framing
from protocols.profile import Golden
from tests.protocols.modbus.libmodbus import peer_server
from tests.protocols.modbus.scripted import run
from tests.protocols.modbus.test_modbus_driver import CASES, RELAY_METER, driver

IDS = [f"{name}-{n}" for n, (name, _) in enumerate(CASES)]
Placed = tuple[int, int, bytes]
"""Function, address, register bytes."""


def registers_of(golden: Golden) -> tuple[int, list[Placed]]:
    """The unit, and what its registers hold."""
    placed = []
    for one in golden.exchanges:
        request, reply = bytes.fromhex(one.request), bytes.fromhex(one.reply)
        placed.append((request[1], int.from_bytes(request[2:4], "big"), reply[3:]))
    return bytes.fromhex(golden.exchanges[0].request)[0], placed


def at(port: int, profile: str, unit: int, framing: Framing = Framing.TCP) -> MeterTarget:
    return MeterTarget(MeterId("m-1"), "", profile, f"{framing.value}://127.0.0.1:{port}", unit)


async def reads_as_golden(port: int, name: str, unit: int, golden: Golden, framing: Framing = Framing.TCP) -> None:
    async with driver() as modbus:
        seen = await modbus.read(at(port, name, unit, framing))
    registers, measurements = golden.expected()
    assert {channel.name.lower(): value for channel, value in seen.registers.items()} == registers
    assert dict(seen.measurements) == measurements
    assert (seen.relay.state if seen.relay else None) == golden.relay


@pytest.mark.parametrize(("name", "golden"), CASES, ids=IDS)
def test_every_profile_is_read_from_libmodbus(name: str, golden: Golden) -> None:
    unit, placed = registers_of(golden)
    with peer_server() as server:
        for function, address, data in placed:
            server.put(function, address, data)
        run(reads_as_golden(server.port, name, unit, golden))


def test_libmodbus_moves_its_relay_at_our_word() -> None:
    async def main(port: int) -> None:
        async with driver() as modbus:
            aim = at(port, RELAY_METER, 1)
            assert (await modbus.read_relay(aim)).state is RelayContact.CLOSED
            await modbus.control(aim, RelayCommand.OPEN, WritePermit("intent-1", RelayCommand.OPEN))
            assert (await modbus.read_relay(aim)).state is RelayContact.OPEN

    with peer_server() as server:
        server.put(3, 0x1A, b"\x00\x01")
        server.put(3, 0x0000, b"\x12\x34")
        run(main(server.port))
        assert server.holding(0x1A) == 0
        assert server.holding(0x0000) == 0x1234, "nothing else was written"


def test_a_register_that_libmodbus_does_not_have_is_named() -> None:
    async def main(port: int) -> None:
        async with driver() as modbus:
            with pytest.raises(ExceptionReply, match="TQ-MB-22") as caught:
                await modbus.read(at(port, RELAY_METER, 1))
            assert (caught.value.blame, caught.value.hope) == (Blame.REMOTE, Hope.PERMANENT)

    with peer_server(size=4) as server:
        run(main(server.port))


@asynccontextmanager
async def pymodbus_server(unit: int, placed: list[Placed], framing: Framing) -> AsyncIterator[int]:
    data = [SimData(address, values=words(raw), datatype=DataType.REGISTERS) for _, address, raw in placed]
    framer = FramerType.RTU if framing is Framing.RTU else FramerType.SOCKET
    server = ModbusTcpServer(SimDevice(unit, simdata=data), framer=framer, address=("127.0.0.1", 0))
    await server.listen()
    transport = server.transport
    assert isinstance(transport, asyncio.Server)
    try:
        yield transport.sockets[0].getsockname()[1]
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


def words(raw: bytes) -> list[int]:
    return [int.from_bytes(raw[n : n + 2], "big") for n in range(0, len(raw), 2)]


@pytest.mark.parametrize("framing", list(Framing))
@pytest.mark.parametrize(("name", "golden"), CASES, ids=IDS)
def test_every_profile_is_read_from_pymodbus(name: str, golden: Golden, framing: Framing) -> None:
    async def main() -> None:
        unit, placed = registers_of(golden)
        async with pymodbus_server(unit, placed, framing) as port:
            await reads_as_golden(port, name, unit, golden, framing)

    run(main())


@pytest.mark.parametrize("framing", list(Framing))
def test_pymodbus_refuses_a_gap_that_does_not_exist(framing: Framing) -> None:
    """Registers between two values exist on no such server: only neighbours are read together."""

    async def main() -> None:
        lonely: list[Placed] = [(3, 0x08, bytes(14)), (3, 0x11, bytes(2)), (3, 0x1A, bytes(2))]
        async with pymodbus_server(1, lonely, framing) as port, driver() as modbus:
            with pytest.raises(ExceptionReply, match="TQ-MB-2"):
                await modbus.read(at(port, RELAY_METER, 1, framing))
            assert (await modbus.read_relay(at(port, RELAY_METER, 1, framing))).state is RelayContact.OPEN

    run(main())
