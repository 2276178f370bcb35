"""Modbus frames and PDUs as pure functions over bytes. Floor: protocols; walk: reading.

Source: MODBUS Application Protocol V1.1b3 (clause numbers below) and MODBUS Messaging on TCP/IP V1.0b. Only what meters
need: read holding registers (3), read input registers (4), write multiple registers (16) and exception replies. The
library pymodbus is measured beside this codec in `benchmarks/modbus.py`; docs/adr/0009-modbus-codec.md says why the
product does without it.

Theory of operation. A reply is believed only when everything about it agrees with the one request in flight: the
transaction (TCP), the unit, the function, the byte count, the echo of a write, the checksum (RTU). Nothing is
re-synchronised: a stream that breaks a rule is closed by the bus, since bytes after a broken frame may be the late
answer to an older question. RTU has no length field, so the length follows from the function; an unknown function
cannot be framed and is a fault at once.
"""

import struct
from enum import IntEnum, StrEnum
from typing import NamedTuple

from gridmodel.absence import Absence
from protocols.errors import Blame, Hope, ProtocolFault

READ_HOLDING = 3
READ_INPUT = 4
WRITE_MULTIPLE = 16
EXCEPTION_BIT = 0x80

REGISTERS_READ_MAX = 125
"""Clause 6.3: a reply PDU holds no more."""
REGISTERS_WRITE_MAX = 123
"""Clause 6.12."""
PDU_SIZE_MAX = 253
"""Clause 4.1, from the serial line's 256 bytes less unit and checksum."""
TCP_HEADER_SIZE = 7
"""MBAP: transaction, protocol, length, unit."""
FRAME_SIZE_MAX = TCP_HEADER_SIZE + PDU_SIZE_MAX
"""The longest frame of either framing; a stream that grows beyond it is not Modbus."""
UNIT_MIN, UNIT_MAX = 1, 247
"""Units that answer; 0 is broadcast, which has no reply to check and is never sent."""

_MBAP = struct.Struct(">HHHB")
_READ = struct.Struct(">BHH")
_WRITE = struct.Struct(">BHHB")
_ECHO_SIZE = 5


class Framing(StrEnum):
    """How PDUs travel on a TCP connection. Never two kinds on one ``host:port``."""

    TCP = "tcp"
    """Modbus/TCP: MBAP header."""
    RTU = "rtu"
    """RTU over TCP: a serial frame with its checksum, as transparent serial gateways pass it."""


class ModbusException(IntEnum):
    """Exception codes of clause 7 that a meter or gateway answers with."""

    ILLEGAL_FUNCTION = 1
    ILLEGAL_DATA_ADDRESS = 2
    ILLEGAL_DATA_VALUE = 3
    SERVER_DEVICE_FAILURE = 4
    ACKNOWLEDGE = 5
    SERVER_DEVICE_BUSY = 6
    MEMORY_PARITY_ERROR = 8
    GATEWAY_PATH_UNAVAILABLE = 10
    GATEWAY_TARGET_FAILED = 11


class Frame(NamedTuple):
    """One whole frame taken off a stream."""

    transaction: int | None
    """MBAP transaction; None in RTU."""
    unit: int
    pdu: bytes
    used: int
    """How many bytes of the stream it took."""


_ABSENCES = {
    "TQ-MB-01": Absence.UNREACHABLE,
    "TQ-MB-02": Absence.SILENT,
    "TQ-MB-08": Absence.UNREACHABLE,
    "TQ-MB-40": Absence.QUEUE_FULL,
    "TQ-MB-41": Absence.SUSPENDED,
    "TQ-MB-42": Absence.UNREACHABLE,
    "TQ-MB-50": Absence.NO_PROFILE,
    "TQ-MB-51": Absence.WRONG_METER,
}


class ModbusFault(ProtocolFault):
    """A Modbus request, frame or reply that cannot be believed; codes TQ-MB-nn."""

    @property
    def absence(self) -> Absence:
        """See `ProtocolFault.absence`."""
        return _ABSENCES.get(self.code) or super().absence


class ExceptionReply(ModbusFault):
    """The device answered, and its answer is an exception: it is alive, the connection is sound."""

    def __init__(self, function: int, code: int) -> None:
        name, hope, hint = _EXCEPTIONS.get(code, ("an unknown exception", Hope.RETRY, "note the code and the meter"))
        super().__init__(
            f"TQ-MB-{20 + code}" if code in _EXCEPTIONS else "TQ-MB-20",
            f"the device answered function {function} with exception {code}, {name}",
            hint,
            blame=Blame.REMOTE,
            hope=hope,
        )
        self.exception = code

    @property
    def absence(self) -> Absence:
        """A gateway that cannot reach the meter says so by two codes of its own."""
        unreached = {ModbusException.GATEWAY_PATH_UNAVAILABLE, ModbusException.GATEWAY_TARGET_FAILED}
        return Absence.SILENT if self.exception in unreached else Absence.REFUSED


_EXCEPTIONS: dict[int, tuple[str, Hope, str]] = {
    ModbusException.ILLEGAL_FUNCTION: ("illegal function", Hope.PERMANENT, "check the meter profile against the model"),
    ModbusException.ILLEGAL_DATA_ADDRESS: (
        "illegal data address",
        Hope.PERMANENT,
        "check the meter profile against the model and its firmware",
    ),
    ModbusException.ILLEGAL_DATA_VALUE: ("illegal data value", Hope.PERMANENT, "check the meter profile's counts"),
    ModbusException.SERVER_DEVICE_FAILURE: ("device failure", Hope.RETRY, "if it stays, have the meter looked at"),
    ModbusException.ACKNOWLEDGE: ("acknowledge: still working", Hope.RETRY, "wait for the next poll"),
    ModbusException.SERVER_DEVICE_BUSY: ("device busy", Hope.RETRY, "wait for the next poll"),
    ModbusException.MEMORY_PARITY_ERROR: ("memory parity error", Hope.RETRY, "if it stays, exchange the meter"),
    ModbusException.GATEWAY_PATH_UNAVAILABLE: (
        "gateway path unavailable",
        Hope.RETRY,
        "check the gateway's serial line and its table of units",
    ),
    ModbusException.GATEWAY_TARGET_FAILED: (
        "gateway target failed to respond",
        Hope.RETRY,
        "the gateway is alive, the meter behind it is not: check its supply, wiring and unit number",
    ),
}


def remote_fault(code: str, what: str, hint: str) -> ModbusFault:
    """A fault of the other side or of the way to it, worth another try."""
    return ModbusFault(code, what, hint, blame=Blame.REMOTE, hope=Hope.RETRY)


def local_fault(code: str, what: str, hint: str) -> ModbusFault:
    """A fault of ours that trying again cannot mend."""
    return ModbusFault(code, what, hint, blame=Blame.LOCAL, hope=Hope.PERMANENT)


def read_pdu(function: int, address: int, count: int) -> bytes:
    """The PDU that reads `count` registers from `address` (0-based). Raises `ModbusFault` for what cannot be asked."""
    if function not in (READ_HOLDING, READ_INPUT):
        raise local_fault("TQ-MB-10", f"function {function} does not read registers", "use 3 or 4 in the profile")
    if not 1 <= count <= REGISTERS_READ_MAX or not 0 <= address <= 0x10000 - count:
        raise local_fault(
            "TQ-MB-11",
            f"{count} registers from {address:04X} cannot be read at once",
            f"ask for 1 to {REGISTERS_READ_MAX} registers below 10000 hex",
        )
    return _READ.pack(function, address, count)


def write_pdu(address: int, values: tuple[int, ...]) -> bytes:
    """The PDU that writes `values` (16-bit each) from `address` by function 16. Raises `ModbusFault`."""
    count = len(values)
    if not 1 <= count <= REGISTERS_WRITE_MAX or not 0 <= address <= 0x10000 - count:
        raise local_fault("TQ-MB-12", f"{count} registers cannot be written at {address:04X}", "check the profile")
    if not all(0 <= value <= 0xFFFF for value in values):
        raise local_fault("TQ-MB-13", "a written register is not a 16-bit number", "check the profile")
    return _WRITE.pack(WRITE_MULTIPLE, address, count, 2 * count) + struct.pack(f">{count}H", *values)


def encode_frame(framing: Framing, transaction: int, unit: int, pdu: bytes) -> bytes:
    """The bytes of one frame, ready to send."""
    if framing is Framing.TCP:
        return _MBAP.pack(transaction, 0, len(pdu) + 1, unit) + pdu
    body = bytes((unit,)) + pdu
    return body + crc16(body).to_bytes(2, "little")


def sound_reply_head(framing: Framing, unit: int, pdu: bytes) -> bytes:
    """What every reply to a read begins with that answers it in full, on TCP behind the transaction; else nothing.

    On TCP such a reply differs from others of its kind by its registers alone: whoever finds this head and the right
    size has checked unit, function and byte count. An RTU frame needs its checksum looked at, a write its echo.
    """
    count = int.from_bytes(pdu[3:5], "big")
    if framing is not Framing.TCP or pdu[0] == WRITE_MULTIPLE or count > REGISTERS_READ_MAX:
        return b""
    return _MBAP.pack(0, 0, 2 * count + 3, unit)[2:] + bytes((pdu[0], 2 * count))


def split_tcp(stream: bytes) -> Frame | None:
    """The first frame of a Modbus/TCP stream, None while it is incomplete. Raises `ModbusFault` (TQ-MB-03)."""
    if len(stream) < TCP_HEADER_SIZE:
        return None
    transaction, protocol, length, unit = _MBAP.unpack_from(stream)
    if protocol != 0 or not 2 <= length <= PDU_SIZE_MAX + 1:
        raise malformed(f"a header with protocol {protocol} and length {length}", stream)
    used = length + 6
    if len(stream) < used:
        return None
    return Frame(transaction, unit, stream[TCP_HEADER_SIZE:used], used)


def split_rtu_reply(stream: bytes) -> Frame | None:
    """The first reply frame of an RTU stream, None while it is incomplete. Raises `ModbusFault` (TQ-MB-03)."""
    if len(stream) < 3:
        return None
    function = stream[1]
    if function & EXCEPTION_BIT:
        used = 5
    elif function in (READ_HOLDING, READ_INPUT):
        used = 5 + stream[2]
    elif function == WRITE_MULTIPLE:
        used = 8
    else:
        raise malformed(f"function {function}, which was never asked", stream)
    return _checked_rtu(stream, used)


def split_rtu_request(stream: bytes) -> Frame | None:
    """The first request frame of an RTU stream, for the meter's side. Raises `ModbusFault` (TQ-MB-03)."""
    if len(stream) < 8:
        return None
    return _checked_rtu(stream, 9 + stream[6] if stream[1] == WRITE_MULTIPLE else 8)


def _checked_rtu(stream: bytes, used: int) -> Frame | None:
    if used > FRAME_SIZE_MAX:
        raise malformed(f"a frame of {used} bytes", stream)
    if len(stream) < used:
        return None
    if crc16(stream[: used - 2]) != int.from_bytes(stream[used - 2 : used], "little"):
        raise malformed("a wrong checksum", stream)
    return Frame(None, stream[0], stream[1 : used - 2], used)


def malformed(what: str, stream: bytes) -> ModbusFault:
    """The fault of a frame that breaks the framing, with its first bytes."""
    return remote_fault(
        "TQ-MB-03",
        f"the reply is not Modbus: {what} in {stream[:16].hex(' ')}",
        "check that the address is a meter or gateway and that the framing (tcp or rtu) is the right one",
    )


def check_reply(request: bytes, reply: bytes) -> bytes:
    """The register bytes a reply PDU carries (big-endian, two a register; none for a write).

    Raises:
        ExceptionReply: the device refused.
        ModbusFault: the reply does not answer this request (TQ-MB-05 function, TQ-MB-07 length or echo).

    """
    function = request[0]
    if reply[0] != function:
        if reply[0] == function | EXCEPTION_BIT and len(reply) == 2:
            raise ExceptionReply(function, reply[1])
        raise remote_fault(
            "TQ-MB-05",
            f"function {function} was answered by function {reply[0]}",
            "check that no other master talks to this gateway",
        )
    if function == WRITE_MULTIPLE:
        if reply != request[:_ECHO_SIZE]:
            raise _other_answer(request, reply)
        return b""
    size = 2 * int.from_bytes(request[3:5], "big")
    if len(reply) != size + 2 or reply[1] != size:
        raise _other_answer(request, reply)
    return reply[2:]


def _other_answer(request: bytes, reply: bytes) -> ModbusFault:
    return remote_fault(
        "TQ-MB-07",
        f"the reply {reply[:16].hex(' ')} does not fit the request {request[:16].hex(' ')}",
        "check that no other master talks to this gateway",
    )


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc16(data: bytes) -> int:
    """CRC-16/MODBUS over `data` (MODBUS over Serial Line V1.02, clause 6.2.2)."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc
