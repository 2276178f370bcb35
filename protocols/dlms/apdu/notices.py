"""APDUs that come unasked or instead of an answer (IEC 62056-5-3, 7.3 and 8.3). Floor: protocols; walk: reading."""

from dataclasses import dataclass

from protocols.dlms.apdu.parts import AttributeDescriptor, encode_octets, read_attribute
from protocols.dlms.axdr import Reader
from protocols.dlms.data import Data
from protocols.dlms.faults import malformed

DATA_NOTIFICATION = 0x0F
EVENT_NOTIFICATION = 0xC2
EXCEPTION = 0xD8
SERVICE_ERROR = 0x0E
COUNTER_ERROR = 6
"""In an exception response: the invocation counter was not new; the expected one follows."""
DECIPHERING_ERROR = 5
"""In an exception response: wrong key, or changed on the way."""
PDU_TOO_LONG = 4
"""In an exception response."""
OPERATION_NOT_POSSIBLE = 1
"""In an exception response."""
SERVICE_NOT_SUPPORTED = 2
"""In an exception response."""
OTHER_REASON = 3
"""In an exception response."""
STATE_ERRORS = {1: "service not allowed", 2: "service unknown"}
SERVICE_ERRORS = {
    1: "operation not possible",
    2: "service not supported",
    3: "other reason",
    4: "PDU too long",
    5: "deciphering error",
    6: "invocation counter error",
}


@dataclass(frozen=True, slots=True)
class DataNotification:
    """What a meter pushes."""

    invoke: int
    """Long invoke id and priority, 32 bits."""
    time: bytes
    """COSEM date-time of 12 bytes, or empty."""
    body: Data
    """As the push setup says."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        head = bytes((DATA_NOTIFICATION,)) + self.invoke.to_bytes(4, "big")
        return head + encode_octets(self.time) + self.body.encode()


@dataclass(frozen=True, slots=True)
class EventNotification:
    """One attribute that a meter reports by itself."""

    time: bytes | None
    """COSEM date-time of 12 bytes where the meter gives one."""
    attribute: AttributeDescriptor
    """Which."""
    value: Data
    """Its value."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        time = b"\x00" if self.time is None else b"\x01" + encode_octets(self.time)
        return bytes((EVENT_NOTIFICATION,)) + time + self.attribute.encode() + self.value.encode()


@dataclass(frozen=True, slots=True)
class ExceptionResponse:
    """A request that could not be handled at all."""

    state_error: int
    """1 service not allowed, 2 service unknown."""
    service_error: int
    """See `SERVICE_ERRORS`."""
    counter: int | None = None
    """The invocation counter the server expects at least, after `COUNTER_ERROR`."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        tail = b"" if self.counter is None else self.counter.to_bytes(4, "big")
        return bytes((EXCEPTION, self.state_error, self.service_error)) + tail

    def __str__(self) -> str:
        """In words."""
        words = [STATE_ERRORS.get(self.state_error, str(self.state_error))]
        words.append(SERVICE_ERRORS.get(self.service_error, str(self.service_error)))
        return ", ".join(words) + ("" if self.counter is None else f" (expected: {self.counter})")


@dataclass(frozen=True, slots=True)
class ConfirmedServiceError:
    """A request, most often the initiate, refused in the old way."""

    service: int
    """1 initiate, 5 read, 6 write."""
    kind: int
    """Which group of errors: 0 application reference, 6 initiate, …"""
    value: int
    """The error in its group."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return bytes((SERVICE_ERROR, self.service, self.kind, self.value))


def read_data_notification(reader: Reader) -> DataNotification:
    """After the tag."""
    return DataNotification(reader.number(4), _time(reader), reader.value())


def read_event_notification(reader: Reader) -> EventNotification:
    """After the tag."""
    time = _time(reader) if reader.flag() else None
    return EventNotification(time, read_attribute(reader), reader.value())


def read_exception(reader: Reader) -> ExceptionResponse:
    """After the tag; meters after older editions leave the counter out."""
    state, service = reader.u8(), reader.u8()
    return ExceptionResponse(state, service, reader.number(4) if service == COUNTER_ERROR and reader.left else None)


def read_service_error(reader: Reader) -> ConfirmedServiceError:
    """After the tag."""
    return ConfirmedServiceError(reader.u8(), reader.u8(), reader.u8())


def _time(reader: Reader) -> bytes:
    time = reader.octets()
    if len(time) not in {0, 4, 5, 12}:
        raise malformed("date-time", time)
    return time
