"""SET: request and response APDUs (IEC 62056-5-3, 7.3.4 and 8.3). Floor: protocols; walk: payment."""

from dataclasses import dataclass
from typing import TypeAlias

from protocols.dlms.apdu.parts import (
    AccessResult,
    AttributeRequest,
    DataBlock,
    encode_attribute_request,
    encode_block_number,
    read_access_result,
    read_attribute_request,
    read_block,
    read_count,
)
from protocols.dlms.axdr import Reader
from protocols.dlms.data import Data, encode_length
from protocols.dlms.faults import malformed

REQUEST = 0xC1
RESPONSE = 0xC5


@dataclass(frozen=True, slots=True)
class SetRequestNormal:
    """Write one attribute."""

    invoke: int
    """Invoke id and priority."""
    item: AttributeRequest
    """What."""
    value: Data
    """The new value."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return bytes((REQUEST, 1, self.invoke)) + encode_attribute_request(self.item) + self.value.encode()


@dataclass(frozen=True, slots=True)
class SetRequestWithFirstDatablock:
    """Write one attribute; its value comes in parts."""

    invoke: int
    """Invoke id and priority."""
    item: AttributeRequest
    """What."""
    block: DataBlock
    """The first part."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return bytes((REQUEST, 2, self.invoke)) + encode_attribute_request(self.item) + self.block.encode()


@dataclass(frozen=True, slots=True)
class SetRequestWithDatablock:
    """A further part of a value."""

    invoke: int
    """Invoke id and priority."""
    block: DataBlock
    """The part."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return bytes((REQUEST, 3, self.invoke)) + self.block.encode()


@dataclass(frozen=True, slots=True)
class SetRequestWithList:
    """Write several attributes."""

    invoke: int
    """Invoke id and priority."""
    items: tuple[AttributeRequest, ...]
    """What."""
    values: tuple[Data, ...]
    """As many values, in the same order."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        items = b"".join(map(encode_attribute_request, self.items))
        values = b"".join(value.encode() for value in self.values)
        head = bytes((REQUEST, 4, self.invoke)) + encode_length(len(self.items))
        return head + items + encode_length(len(self.values)) + values


@dataclass(frozen=True, slots=True)
class SetResponseNormal:
    """How a write ended."""

    invoke: int
    """That of the request."""
    result: AccessResult
    """SUCCESS or why not."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return bytes((RESPONSE, 1, self.invoke, self.result))


@dataclass(frozen=True, slots=True)
class SetResponseDatablock:
    """A part arrived; the next, please."""

    invoke: int
    """That of the request."""
    number: int
    """Of the part that arrived."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return bytes((RESPONSE, 2, self.invoke)) + encode_block_number(self.number)


@dataclass(frozen=True, slots=True)
class SetResponseLastDatablock:
    """The last part arrived, or the transfer is refused, and how the write ended."""

    invoke: int
    """That of the request."""
    result: AccessResult
    """SUCCESS or why not."""
    number: int
    """Of the part that arrived."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return bytes((RESPONSE, 3, self.invoke, self.result)) + encode_block_number(self.number)


@dataclass(frozen=True, slots=True)
class SetResponseWithList:
    """How several writes ended, in the order of the request."""

    invoke: int
    """That of the request."""
    results: tuple[AccessResult, ...]
    """SUCCESS or why not, each."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return bytes((RESPONSE, 5, self.invoke)) + encode_length(len(self.results)) + bytes(self.results)


SetRequest: TypeAlias = SetRequestNormal | SetRequestWithFirstDatablock | SetRequestWithDatablock | SetRequestWithList
SetResponse: TypeAlias = SetResponseNormal | SetResponseDatablock | SetResponseLastDatablock | SetResponseWithList


def read_set_request(reader: Reader) -> SetRequest:
    """After the tag."""
    kind, invoke = reader.two()
    if kind == 1:
        return SetRequestNormal(invoke, read_attribute_request(reader), reader.value())
    if kind == 2:
        return SetRequestWithFirstDatablock(invoke, read_attribute_request(reader), read_block(reader))
    if kind == 3:
        return SetRequestWithDatablock(invoke, read_block(reader))
    if kind == 4:
        items = tuple(read_attribute_request(reader) for _ in range(read_count(reader)))
        values = tuple(reader.value() for _ in range(read_count(reader)))
        if len(items) == len(values):
            return SetRequestWithList(invoke, items, values)
    raise malformed("SET request", reader.data)


def read_set_response(reader: Reader) -> SetResponse:
    """After the tag."""
    kind, invoke = reader.two()
    if kind == 1:
        return SetResponseNormal(invoke, read_access_result(reader))
    if kind == 2:
        return SetResponseDatablock(invoke, reader.number(4))
    if kind == 3:
        return SetResponseLastDatablock(invoke, read_access_result(reader), reader.number(4))
    if kind == 5:
        return SetResponseWithList(invoke, tuple(read_access_result(reader) for _ in range(read_count(reader))))
    raise malformed("SET response", reader.data)
