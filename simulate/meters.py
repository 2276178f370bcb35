"""A fleet of Modbus meters on real sockets, a thousand and more in one process. Floor: simulate; reading and payment.

Modbus/TCP or RTU-over-TCP; one loopback address per meter, or units behind gateways. A request is answered from an
image of bytes. Registers step at interval ends only, as the utility clock passes them; writes go by function 16 to the
relay only, as on the real model, and any other write is refused and counted.
"""

import struct

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
from simulate.fleet import MeterFleet, MeterPort
from simulate.grid_registry import Listen
from simulate.relay_memory import RelayMemory

STREAM_SIZE_MAX = 4_096
"""Sixteen pipelined requests; who sends more without waiting is no Modbus client."""

_READ = struct.Struct(">BHH")
_WRITE = struct.Struct(">BHHB")


class Fleet(MeterFleet):
    """The Modbus meters of one grid, reachable."""

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
        """As `MeterFleet`, with the framing of the wire."""
        super().__init__(faces.truth, listen, clock, count=count, memory=memory)
        self.faces = faces
        self.framing = framing

    def port(self, units: dict[int, int]) -> "ModbusPort":
        """See `MeterFleet.port`."""
        return ModbusPort(self, units)

    def answer(self, index: int, pdu: bytes) -> bytes:
        """The reply PDU of one meter to one request PDU."""
        function = pdu[0]
        if function in (READ_HOLDING, READ_INPUT):
            return self._read(index, pdu)
        if function == WRITE_MULTIPLE:
            return self._write(index, pdu)
        return _refusal(function, ModbusException.ILLEGAL_FUNCTION)

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
            self.counts.refused_writes += 1
            return _refusal(WRITE_MULTIPLE, ModbusException.ILLEGAL_DATA_ADDRESS)
        if word not in (relay.closed, relay.open):
            return _refusal(WRITE_MULTIPLE, ModbusException.ILLEGAL_DATA_VALUE)
        self.contact(index, closed=word == relay.closed, now=self.clock.now())
        return pdu[:5]


class ModbusPort(MeterPort):
    """One accepted connection to one address of the fleet."""

    def __init__(self, fleet: Fleet, units: dict[int, int]) -> None:
        super().__init__(fleet, units)
        self._fleet = fleet
        self._split = split_tcp if fleet.framing is Framing.TCP else split_rtu_request
        self._stream = b""

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

    def _serve(self, frame: Frame) -> None:
        index = self.units.get(frame.unit)
        if index is None or index in self._fleet.silent:
            return
        answer = self._fleet.answer(index, frame.pdu)
        self.reply(index, encode_frame(self._fleet.framing, frame.transaction or 0, frame.unit, answer))


def _refusal(function: int, code: ModbusException) -> bytes:
    return bytes(((function | EXCEPTION_BIT) & 0xFF, code))
