"""GET: request and response APDUs (IEC 62056-5-3, 7.3.3 and 8.3). Floor: protocols; walk: reading."""

from dataclasses import dataclass
from typing import TypeAlias

from protocols.dlms.apdu.parts import (
    AccessResult,
    AttributeRequest,
    GetResult,
    encode_attribute_request,
    encode_block_number,
    encode_octets,
    encode_result,
    read_access_result,
    read_attribute_request,
    read_count,
    read_result,
)
from protocols.dlms.axdr import Reader
from protocols.dlms.data import encode_length
from protocols.dlms.faults import malformed

REQUEST = 0xC0
RESPONSE = 0xC4


@dataclass(frozen=True, slots=True)
class GetRequestNormal:
    """Read one attribute."""

    invoke: int
    """Invoke id and priority, one byte, in every APDU of these three services."""
    item: AttributeRequest
    """What."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return bytes((REQUEST, 1, self.invoke)) + encode_attribute_request(self.item)


@dataclass(frozen=True, slots=True)
class GetRequestNext:
    """The next block, please."""

    invoke: int
    """See `GetRequestNormal`."""
    number: int
    """The last block that arrived."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return bytes((REQUEST, 2, self.invoke)) + encode_block_number(self.number)


@dataclass(frozen=True, slots=True)
class GetRequestWithList:
    """Read several attributes."""

    invoke: int
    """See `GetRequestNormal`."""
    items: tuple[AttributeRequest, ...]
    """What."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        items = b"".join(map(encode_attribute_request, self.items))
        return bytes((REQUEST, 3, self.invoke)) + encode_length(len(self.items)) + items


@dataclass(frozen=True, slots=True)
class GetResponseNormal:
    """One value, or why there is none."""

    invoke: int
    """That of the request."""
    result: GetResult
    """The answer."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return bytes((RESPONSE, 1, self.invoke)) + encode_result(self.result)


@dataclass(frozen=True, slots=True)
class GetResponseWithDatablock:
    """A part of the answer, or why the transfer ends here."""

    invoke: int
    """That of the request."""
    last: bool
    """Whether it is the last part."""
    number: int
    """Counts from 1."""
    result: bytes | AccessResult
    """The part: of a Data (after normal), of a list of results (after with-list)."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        result = self.result
        tail = bytes((1, result)) if isinstance(result, AccessResult) else b"\x00" + encode_octets(result)
        return bytes((RESPONSE, 2, self.invoke, 1 if self.last else 0)) + encode_block_number(self.number) + tail


@dataclass(frozen=True, slots=True)
class GetResponseWithList:
    """Several answers in the order of the request."""

    invoke: int
    """That of the request."""
    results: tuple[GetResult, ...]
    """The answers."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return bytes((RESPONSE, 3, self.invoke)) + encode_results(self.results)


GetRequest: TypeAlias = GetRequestNormal | GetRequestNext | GetRequestWithList
GetResponse: TypeAlias = GetResponseNormal | GetResponseWithDatablock | GetResponseWithList


def encode_results(results: tuple[GetResult, ...]) -> bytes:
    """A count and the results; the raw data of blocks after a with-list request."""
    return encode_length(len(results)) + b"".join(map(encode_result, results))


def read_results(reader: Reader) -> tuple[GetResult, ...]:
    """A count and the results."""
    return tuple(read_result(reader) for _ in range(read_count(reader)))


def read_get_request(reader: Reader) -> GetRequest:
    """After the tag."""
    kind, invoke = reader.two()
    if kind == 1:
        return GetRequestNormal(invoke, read_attribute_request(reader))
    if kind == 2:
        return GetRequestNext(invoke, reader.number(4))
    if kind == 3:
        count = read_count(reader)
        return GetRequestWithList(invoke, tuple(read_attribute_request(reader) for _ in range(count)))
    raise malformed("GET request", reader.data)


def read_get_response(reader: Reader) -> GetResponse:
    """After the tag."""
    kind, invoke = reader.two()
    if kind == 1:
        return GetResponseNormal(invoke, read_result(reader))
    if kind == 2:
        last, number = reader.flag(), reader.number(4)
        result = read_access_result(reader) if reader.flag() else reader.octets()
        return GetResponseWithDatablock(invoke, last, number, result)
    if kind == 3:
        return GetResponseWithList(invoke, read_results(reader))
    raise malformed("GET response", reader.data)
