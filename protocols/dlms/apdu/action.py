"""ACTION: request and response APDUs (IEC 62056-5-3, 7.3.5 and 8.3). Floor: protocols; walk: payment."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from protocols.dlms.apdu.parts import (
    ActionResult,
    DataBlock,
    GetResult,
    MethodDescriptor,
    encode_block_number,
    encode_result,
    read_action_result,
    read_block,
    read_count,
    read_method,
    read_result,
)
from protocols.dlms.axdr import Reader
from protocols.dlms.data import NULL, Data, encode_length
from protocols.dlms.faults import DlmsFault, malformed

REQUEST = 0xC3
RESPONSE = 0xC7


@dataclass(frozen=True, slots=True)
class ActionRequestNormal:
    """Invoke one method."""

    invoke: int
    """Invoke id and priority."""
    method: MethodDescriptor
    """Which."""
    parameters: Data | None
    """None: the method takes none."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        tail = b"\x00" if self.parameters is None else b"\x01" + self.parameters.encode()
        return bytes((REQUEST, 1, self.invoke)) + self.method.encode() + tail


@dataclass(frozen=True, slots=True)
class ActionRequestNextPblock:
    """The next part of the answer, please."""

    invoke: int
    """Invoke id and priority."""
    number: int
    """The last part that arrived."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return bytes((REQUEST, 2, self.invoke)) + encode_block_number(self.number)


@dataclass(frozen=True, slots=True)
class ActionRequestWithList:
    """Invoke several methods."""

    invoke: int
    """Invoke id and priority."""
    methods: tuple[MethodDescriptor, ...]
    """Which."""
    parameters: tuple[Data, ...]
    """As many, in the same order; NULL where a method takes none."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        methods = b"".join(method.encode() for method in self.methods)
        parameters = b"".join(one.encode() for one in self.parameters)
        head = bytes((REQUEST, 3, self.invoke)) + encode_length(len(self.methods))
        return head + methods + encode_length(len(self.parameters)) + parameters


@dataclass(frozen=True, slots=True)
class ActionRequestWithFirstPblock:
    """Invoke one method; its parameters come in parts."""

    invoke: int
    """Invoke id and priority."""
    method: MethodDescriptor
    """Which."""
    block: DataBlock
    """The first part."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return bytes((REQUEST, 4, self.invoke)) + self.method.encode() + self.block.encode()


@dataclass(frozen=True, slots=True)
class ActionRequestWithPblock:
    """A further part of a method's parameters."""

    invoke: int
    """Invoke id and priority."""
    block: DataBlock
    """The part."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return bytes((REQUEST, 6, self.invoke)) + self.block.encode()


@dataclass(frozen=True, slots=True)
class MethodOutcome:
    """How one method ended (Action-Response-With-Optional-Data)."""

    result: ActionResult
    """SUCCESS or why not."""
    returned: GetResult | None = None
    """What it gave back, where it does."""

    def encode(self) -> bytes:
        """Result and optional data."""
        tail = b"\x00" if self.returned is None else b"\x01" + encode_result(self.returned)
        return bytes((self.result,)) + tail


@dataclass(frozen=True, slots=True)
class ActionResponseNormal:
    """How a method ended."""

    invoke: int
    """That of the request."""
    outcome: MethodOutcome
    """Result and optional data."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return bytes((RESPONSE, 1, self.invoke)) + self.outcome.encode()


@dataclass(frozen=True, slots=True)
class ActionResponseWithPblock:
    """A part of what a method gave back."""

    invoke: int
    """That of the request."""
    block: DataBlock
    """The part."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return bytes((RESPONSE, 2, self.invoke)) + self.block.encode()


@dataclass(frozen=True, slots=True)
class ActionResponseWithList:
    """How several methods ended, in the order of the request."""

    invoke: int
    """That of the request."""
    outcomes: tuple[MethodOutcome, ...]
    """Each."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        outcomes = b"".join(one.encode() for one in self.outcomes)
        return bytes((RESPONSE, 3, self.invoke)) + encode_length(len(self.outcomes)) + outcomes


@dataclass(frozen=True, slots=True)
class ActionResponseNextPblock:
    """A part of the parameters arrived; the next, please."""

    invoke: int
    """That of the request."""
    number: int
    """Of the part that arrived."""

    def encode(self) -> bytes:
        """The bytes of the wire."""
        return bytes((RESPONSE, 4, self.invoke)) + encode_block_number(self.number)


ActionRequest: TypeAlias = (
    ActionRequestNormal
    | ActionRequestNextPblock
    | ActionRequestWithList
    | ActionRequestWithFirstPblock
    | ActionRequestWithPblock
)
ActionResponse: TypeAlias = (
    ActionResponseNormal | ActionResponseWithPblock | ActionResponseWithList | ActionResponseNextPblock
)


def read_outcome(reader: Reader) -> MethodOutcome:
    """Result and optional data; some meters leave out the flag when there is no data, and that is understood."""
    result = read_action_result(reader)
    return MethodOutcome(result, read_result(reader) if reader.left and reader.flag() else None)


def read_action_request(reader: Reader) -> ActionRequest:
    """After the tag."""
    kind, invoke = reader.two()
    if kind == 1:
        return ActionRequestNormal(invoke, read_method(reader), reader.value() if reader.flag() else None)
    if kind == 2:
        return ActionRequestNextPblock(invoke, reader.number(4))
    if kind == 3:
        methods = tuple(read_method(reader) for _ in range(read_count(reader)))
        parameters = tuple(reader.value() for _ in range(read_count(reader)))
        if len(methods) == len(parameters):
            return ActionRequestWithList(invoke, methods, parameters)
    if kind == 4:
        return ActionRequestWithFirstPblock(invoke, read_method(reader), read_block(reader))
    if kind == 6:
        return ActionRequestWithPblock(invoke, read_block(reader))
    raise malformed("ACTION request", reader.data)


def read_action_response(reader: Reader) -> ActionResponse:
    """After the tag."""
    kind, invoke = reader.two()
    if kind == 1:
        return ActionResponseNormal(invoke, read_outcome(reader))
    if kind == 2:
        return ActionResponseWithPblock(invoke, read_block(reader))
    if kind == 3:
        return ActionResponseWithList(invoke, tuple(read_outcome(reader) for _ in range(read_count(reader))))
    if kind == 4:
        return ActionResponseNextPblock(invoke, reader.number(4))
    raise malformed("ACTION response", reader.data)


def returned_by_blocks(raw: bytes) -> MethodOutcome:
    """What the joined parts of an answer say.

    The standard gives with-pblock no place for the result, and meters differ: most send the returned Data alone, some
    an Action-Response-With-Optional-Data, some a Get-Data-Result. The first byte tells the first apart: a lone
    Data of null has nothing behind it.
    """
    if raw[:1] != b"\x00" or len(raw) == 1:
        return _whole(raw, lambda reader: MethodOutcome(ActionResult.SUCCESS, reader.value() if raw else NULL))
    try:
        return _whole(raw, read_outcome)
    except DlmsFault:
        return _whole(raw, lambda reader: MethodOutcome(ActionResult.SUCCESS, read_result(reader)))


def _whole(raw: bytes, read: Callable[[Reader], MethodOutcome]) -> MethodOutcome:
    reader = Reader(raw)
    outcome = read(reader)
    reader.end()
    return outcome
