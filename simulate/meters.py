"""A fleet of meters on real sockets, a thousand and more in one process. Floor: simulate; reading and payment walks.

One loopback address per meter on one fixed port, or units behind gateways; Modbus/TCP or RTU-over-TCP. A request is
answered in `data_received` from an image of bytes: no task, no future, no stream. Registers step at interval ends only,
as the utility clock passes them; writes go by function 16 to the relay only, as on the real model, and any other write
is refused and counted. `simulate/fleet_door.py` lets tests and reports look in.
"""

import asyncio
import struct
from typing import cast

from gridmodel.clock import UtilityClock
from protocols.modbus.codec import (
    EXCEPTION_BIT,
    READ_HOLDING,
    READ_INPUT,
    REGISTERS_READ_MAX,
    WRITE_MULTIPLE,
    Frame,
    Framing,
    ModbusException,
    ModbusFault,
    encode_frame,
    split_rtu_request,
    split_tcp,
)
from simulate.face import MeterFaces
from simulate.grid_registry import Listen
from simulate.relay_memory import RelayMemory, RelayMove

STREAM_SIZE_MAX = 4_096
"""Sixteen pipelined requests; who sends more without waiting is no Modbus client."""
BACKLOG = 16
"""Waiting connections per meter: a real one takes one to four."""

_READ = struct.Struct(">BHH")
_WRITE = struct.Struct(">BHHB")


class Fleet:
    """The meters of one grid, reachable. `silent` and the counts may be read and changed at any time."""

    def __init__(
        self,
        faces: MeterFaces,
        listen: Listen,
        clock: UtilityClock,
        *,
        framing: Framing = Framing.TCP,
        count: int | None = None,
        memory: RelayMemory | None = None,
    ) -> None:
        """Serves the first `count` meters of the grid, or all; `memory` has been replayed into their truth."""
        self.faces = faces
        self.listen = listen
        self.clock = clock
        self.framing = framing
        self.count = len(faces.truth.grid.meters) if count is None else count
        self.memory = RelayMemory() if memory is None else memory
        self.silent: set[int] = set()
        """Indices of meters that do not answer."""
        self.served = 0
        """Answered requests."""
        self.refused_writes = 0
        """Writes to anything but a relay."""
        self._servers: list[asyncio.Server] = []
        self._ports: set[MeterPort] = set()

    async def start(self) -> None:
        """Listen on every address; OSError when one is taken."""
        loop = asyncio.get_running_loop()
        places: dict[tuple[str, int], dict[int, int]] = {}
        for index in range(self.count):
            host, port, unit = self.listen.place(index)
            places.setdefault((host, port), {})[unit] = index
        for (host, port), units in places.items():
            self._servers.append(
                await loop.create_server(lambda units=units: MeterPort(self, units), host, port, backlog=BACKLOG)  # type: ignore[misc]
            )

    def close(self) -> None:
        """Stop listening and drop every connection."""
        for server in self._servers:
            server.close()
        for port in tuple(self._ports):
            port.drop()
        self._servers.clear()

    def truth(self, meter: str, at: int) -> int:
        """The meter's import register as served at the latest interval end up to `at`, meter-side Wh."""
        return self.faces.truth.register_wh(meter, at)

    def answer(self, index: int, pdu: bytes) -> bytes:
        """The reply PDU of one meter to one request PDU."""
        function = pdu[0]
        if function in (READ_HOLDING, READ_INPUT):
            return self._read(index, pdu)
        if function == WRITE_MULTIPLE:
            return self._write(index, pdu)
        return _refusal(function, ModbusException.ILLEGAL_FUNCTION)

    def opened(self, port: "MeterPort") -> None:
        """A connection was accepted."""
        self._ports.add(port)

    def closed(self, port: "MeterPort") -> None:
        """A connection is gone."""
        self._ports.discard(port)

    def _read(self, index: int, pdu: bytes) -> bytes:
        if len(pdu) != _READ.size:
            return _refusal(pdu[0], ModbusException.ILLEGAL_DATA_VALUE)
        function, address, count = _READ.unpack(pdu)
        if not 1 <= count <= REGISTERS_READ_MAX:
            return _refusal(function, ModbusException.ILLEGAL_DATA_VALUE)
        data = self.faces.registers(index, self.clock.now()).read(function, address, count)
        if data is None:
            return _refusal(function, ModbusException.ILLEGAL_DATA_ADDRESS)
        return bytes((function, len(data))) + data

    def _write(self, index: int, pdu: bytes) -> bytes:
        if len(pdu) < _WRITE.size or len(pdu) != _WRITE.size + pdu[5] or pdu[5] != 2 * int.from_bytes(pdu[3:5], "big"):
            return _refusal(WRITE_MULTIPLE, ModbusException.ILLEGAL_DATA_VALUE)
        address, count = struct.unpack_from(">HH", pdu, 1)
        relay = self.faces.relay_of(index)
        word = int.from_bytes(pdu[6:8], "big")
        if relay is None or address != relay.address or count != 1:
            self.refused_writes += 1
            return _refusal(WRITE_MULTIPLE, ModbusException.ILLEGAL_DATA_ADDRESS)
        if word not in (relay.closed, relay.open):
            return _refusal(WRITE_MULTIPLE, ModbusException.ILLEGAL_DATA_VALUE)
        truth, now, closed = self.faces.truth, self.clock.now(), word == relay.closed
        if truth.connected(index) != closed:
            truth.move_relay(truth.grid.meters[index], closed=closed, at=now)
            self.memory.remember(RelayMove(truth.grid.meters[index], closed, now))
        return pdu[:5]


class MeterPort(asyncio.Protocol):
    """One accepted connection to one address of the fleet."""

    def __init__(self, fleet: Fleet, units: dict[int, int]) -> None:
        self._fleet = fleet
        self._units = units
        self._split = split_tcp if fleet.framing is Framing.TCP else split_rtu_request
        self._stream = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Someone connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._fleet.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """They left."""
        del exc
        self._fleet.closed(self)

    def data_received(self, data: bytes) -> None:
        """Answer every whole request in order; a stream that is not Modbus is dropped, as real meters do."""
        stream = self._stream + data if self._stream else data
        try:
            while stream and (frame := self._split(stream)) is not None:
                stream = stream[frame.used :]
                self._serve(frame)
        except ModbusFault:
            self.drop()
            return
        self._stream = stream
        if len(stream) > STREAM_SIZE_MAX:
            self.drop()

    def drop(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _serve(self, frame: Frame) -> None:
        index = self._units.get(frame.unit)
        if index is None or index in self._fleet.silent or self._transport is None:
            return
        self._fleet.served += 1
        reply = self._fleet.answer(index, frame.pdu)
        self._transport.write(encode_frame(self._fleet.framing, frame.transaction or 0, frame.unit, reply))


def _refusal(function: int, code: ModbusException) -> bytes:
    return bytes(((function | EXCEPTION_BIT) & 0xFF, code))
