"""One service at a time: GET, SET, ACTION of a client, whole or in blocks. Floor: protocols; walks: reading, payment.

An exchange makes its first request, and for each answer gives either the next request or the outcome. It knows nothing
of ciphering or of states: `association` does. Blocks are numbered from 1; each is acknowledged by asking for the next.
"""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from protocols.dlms.apdu import Apdu
from protocols.dlms.apdu.action import (
    ActionRequestNextPblock,
    ActionRequestNormal,
    ActionRequestWithFirstPblock,
    ActionRequestWithList,
    ActionRequestWithPblock,
    ActionResponseNextPblock,
    ActionResponseNormal,
    ActionResponseWithList,
    ActionResponseWithPblock,
    MethodOutcome,
    returned_by_blocks,
)
from protocols.dlms.apdu.get import (
    GetRequest,
    GetRequestNext,
    GetRequestNormal,
    GetRequestWithList,
    GetResponseNormal,
    GetResponseWithDatablock,
    GetResponseWithList,
    read_results,
)
from protocols.dlms.apdu.parts import (
    INVOKE_ID_MASK,
    AccessResult,
    AttributeRequest,
    DataBlock,
    GetResult,
    MethodDescriptor,
)
from protocols.dlms.apdu.setting import (
    SetRequestNormal,
    SetRequestWithDatablock,
    SetRequestWithFirstDatablock,
    SetRequestWithList,
    SetResponseDatablock,
    SetResponseLastDatablock,
    SetResponseNormal,
    SetResponseWithList,
)
from protocols.dlms.axdr import Reader, decode
from protocols.dlms.data import Data
from protocols.dlms.faults import DlmsFault, local_fault, remote_fault, too_large

ANSWER_SIZE_MAX = 1 << 20
"""Bytes of one answer in blocks: a month of 15-minute rows with twenty columns is half of it."""
BLOCKS_MAX = 16_384
"""Blocks of one answer: `ANSWER_SIZE_MAX` from a meter that sends 64 bytes at a time."""
BLOCK_HEAD_SIZE = 32
"""Bytes around the raw data of a block: tag, kind, invoke id, descriptor, no selection, number, lengths."""


@dataclass(frozen=True, slots=True)
class Got:
    """The answers to a GET."""

    results: tuple[GetResult, ...]
    """In the order of the request."""


@dataclass(frozen=True, slots=True)
class Written:
    """How a SET ended."""

    results: tuple[AccessResult, ...]
    """In the order of the request."""


@dataclass(frozen=True, slots=True)
class Acted:
    """How an ACTION ended."""

    outcomes: tuple[MethodOutcome, ...]
    """In the order of the request."""


Answer: TypeAlias = Got | Written | Acted
_GET_RESPONSES = (GetResponseNormal, GetResponseWithDatablock, GetResponseWithList)
_SET_RESPONSES = (SetResponseNormal, SetResponseDatablock, SetResponseLastDatablock, SetResponseWithList)
_ACTION_RESPONSES = (
    ActionResponseNormal,
    ActionResponseWithPblock,
    ActionResponseWithList,
    ActionResponseNextPblock,
)
"""Tuples: `isinstance` with a union costs five times as much."""


class Exchange(Protocol):
    """One service under way."""

    def first(self) -> Apdu:
        """The request."""
        ...

    def on(self, apdu: Apdu) -> Apdu | Answer:
        """The next request, or the outcome. Raises DlmsFault TQ-DM-03, 44, 45, 47 for what is no answer to it."""
        ...


class BlockJoiner:
    """Joins numbered blocks; used on both sides."""

    __slots__ = ("_count", "_joined")

    def __init__(self) -> None:
        self._joined = bytearray()
        self._count = 0

    def take(self, block: DataBlock) -> bytes | None:
        """All of it after the last block. Raises DlmsFault TQ-DM-45 for a wrong number, 03 past a limit."""
        self._count += 1
        if block.number != self._count:
            raise remote_fault("TQ-DM-45", f"block {block.number} came, {self._count} was to come")
        if not block.raw and not block.last:
            raise remote_fault("TQ-DM-45", f"block {block.number} is empty and not the last")
        self._joined += block.raw
        if len(self._joined) > ANSWER_SIZE_MAX or self._count > BLOCKS_MAX:
            raise too_large(f"more than {ANSWER_SIZE_MAX} bytes or {BLOCKS_MAX} blocks in one transfer")
        return bytes(self._joined) if block.last else None


class BlockCutter:
    """Cuts bytes into numbered blocks; used on both sides."""

    __slots__ = ("_at", "_number", "_raw", "_size")

    def __init__(self, raw: bytes, size: int) -> None:
        """`size` is that of a block's raw data, bytes, at least one."""
        self._raw = raw
        self._size = max(size, 1)
        self._at = 0
        self._number = 0

    @property
    def number(self) -> int:
        """Of the last block given."""
        return self._number

    def following(self) -> DataBlock:
        """The next block."""
        part = self._raw[self._at : self._at + self._size]
        self._at += self._size
        self._number += 1
        return DataBlock(self._at >= len(self._raw), self._number, part)


def _other(apdu: Apdu) -> DlmsFault:
    return remote_fault("TQ-DM-47", f"{type(apdu).__name__} does not answer the request")


def check_invoke(sent: int, came: int) -> None:
    """Raises DlmsFault TQ-DM-44 for the answer to another request; the other bits of the byte are the meter's."""
    if (sent ^ came) & INVOKE_ID_MASK:
        raise remote_fault(
            "TQ-DM-44",
            f"the answer to request {came & INVOKE_ID_MASK} came for {sent & INVOKE_ID_MASK}",
            "an answer came late: the connection is closed so that none is taken for another's",
        )


def _counted(asked: int, came: int) -> None:
    if asked != came:
        raise remote_fault("TQ-DM-47", f"{came} answers came for {asked} requests")


class GetExchange:
    """Reads one attribute, or several with one request."""

    def __init__(self, invoke: int, items: tuple[AttributeRequest, ...], *, listed: bool) -> None:
        self._invoke = invoke
        self._items = items
        self._listed = listed
        self._joiner: BlockJoiner | None = None

    def first(self) -> GetRequest:
        """With-list or normal."""
        if self._listed:
            return GetRequestWithList(self._invoke, self._items)
        return GetRequestNormal(self._invoke, self._items[0])

    def on(self, apdu: Apdu) -> Apdu | Answer:
        """See `Exchange`."""
        if not isinstance(apdu, _GET_RESPONSES):
            raise _other(apdu)
        check_invoke(self._invoke, apdu.invoke)
        if isinstance(apdu, GetResponseNormal) and not self._listed:
            return Got((apdu.result,))
        if isinstance(apdu, GetResponseWithDatablock):
            return self._on_block(apdu)
        results = apdu.results if isinstance(apdu, GetResponseWithList) else (apdu.result,)
        if isinstance(apdu, GetResponseNormal) and isinstance(apdu.result, AccessResult):
            results = (apdu.result,) * len(self._items)
        _counted(len(self._items), len(results))
        return Got(results)

    def _on_block(self, apdu: GetResponseWithDatablock) -> Apdu | Answer:
        if isinstance(apdu.result, AccessResult):
            return Got((apdu.result,) * len(self._items))
        self._joiner = self._joiner or BlockJoiner()
        raw = self._joiner.take(DataBlock(apdu.last, apdu.number, apdu.result))
        if raw is None:
            return GetRequestNext(self._invoke, apdu.number)
        if not self._listed:
            return Got((decode(raw),))
        reader = Reader(raw)
        results = read_results(reader)
        reader.end()
        _counted(len(self._items), len(results))
        return Got(results)


class SetExchange:
    """Writes one attribute, in blocks where it must, or several with one request."""

    def __init__(
        self, invoke: int, items: tuple[AttributeRequest, ...], values: tuple[Data, ...], *, listed: bool, limit: int
    ) -> None:
        """`limit` is the longest APDU the meter takes, bytes."""
        self._invoke = invoke
        self._items = items
        self._values = values
        self._listed = listed
        self._limit = limit
        self._cutter: BlockCutter | None = None

    def first(self) -> Apdu:
        """Whole, or the first block. Raises DlmsFault TQ-DM-43 for a list that does not fit one APDU."""
        whole = (
            SetRequestWithList(self._invoke, self._items, self._values)
            if self._listed
            else SetRequestNormal(self._invoke, self._items[0], self._values[0])
        )
        if len(whole.encode()) <= self._limit:
            return whole
        if self._listed:
            raise too_long_to_send()
        self._cutter = BlockCutter(self._values[0].encode(), self._limit - BLOCK_HEAD_SIZE)
        return SetRequestWithFirstDatablock(self._invoke, self._items[0], self._cutter.following())

    def on(self, apdu: Apdu) -> Apdu | Answer:
        """See `Exchange`."""
        if not isinstance(apdu, _SET_RESPONSES):
            raise _other(apdu)
        check_invoke(self._invoke, apdu.invoke)
        if isinstance(apdu, SetResponseDatablock):
            if self._cutter is None or apdu.number != self._cutter.number:
                raise remote_fault("TQ-DM-45", f"block {apdu.number} was acknowledged, which is not the last sent")
            return SetRequestWithDatablock(self._invoke, self._cutter.following())
        if isinstance(apdu, SetResponseWithList):
            _counted(len(self._items), len(apdu.results))
            return Written(apdu.results)
        return Written((apdu.result,) * len(self._items))


class ActionExchange:
    """Invokes one method, in blocks both ways where it must, or several with one request."""

    def __init__(
        self,
        invoke: int,
        methods: tuple[MethodDescriptor, ...],
        parameters: tuple[Data | None, ...],
        *,
        listed: bool,
        limit: int,
    ) -> None:
        """`limit` is the longest APDU the meter takes, bytes."""
        self._invoke = invoke
        self._methods = methods
        self._parameters = parameters
        self._listed = listed
        self._limit = limit
        self._cutter: BlockCutter | None = None
        self._joiner = BlockJoiner()

    def first(self) -> Apdu:
        """Whole, or the first block. Raises DlmsFault TQ-DM-43 for a list that does not fit one APDU."""
        parameters = self._parameters[0]
        whole = (
            ActionRequestWithList(self._invoke, self._methods, tuple(one or Data(0, None) for one in self._parameters))
            if self._listed
            else ActionRequestNormal(self._invoke, self._methods[0], parameters)
        )
        if len(whole.encode()) <= self._limit:
            return whole
        if self._listed or parameters is None:
            raise too_long_to_send()
        self._cutter = BlockCutter(parameters.encode(), self._limit - BLOCK_HEAD_SIZE)
        return ActionRequestWithFirstPblock(self._invoke, self._methods[0], self._cutter.following())

    def on(self, apdu: Apdu) -> Apdu | Answer:
        """See `Exchange`."""
        if not isinstance(apdu, _ACTION_RESPONSES):
            raise _other(apdu)
        check_invoke(self._invoke, apdu.invoke)
        if isinstance(apdu, ActionResponseNextPblock):
            if self._cutter is None or apdu.number != self._cutter.number:
                raise remote_fault("TQ-DM-45", f"block {apdu.number} was acknowledged, which is not the last sent")
            return ActionRequestWithPblock(self._invoke, self._cutter.following())
        if isinstance(apdu, ActionResponseWithPblock):
            raw = self._joiner.take(apdu.block)
            if raw is None:
                return ActionRequestNextPblock(self._invoke, apdu.block.number)
            outcomes: tuple[MethodOutcome, ...] = (returned_by_blocks(raw),)
        else:
            outcomes = apdu.outcomes if isinstance(apdu, ActionResponseWithList) else (apdu.outcome,)
        _counted(len(self._methods), len(outcomes))
        return Acted(outcomes)


def too_long_to_send() -> DlmsFault:
    """TQ-DM-43: the meter takes no APDU that long, and it cannot be cut."""
    return local_fault("TQ-DM-43", "the request is longer than the meter takes", "ask for fewer things at once")
