"""GET, SET and ACTION of a meter, whole and in blocks, for one association. Floor: protocols; walks: reading, payment.

A service takes a request and gives the response; what is under way (a long GET, SET or ACTION) is one thing at a time,
and a new request gives up the old. Nothing a client sends is trusted: what does not fit is answered with a result.
"""

from typing import assert_never

from protocols.dlms.apdu import Apdu
from protocols.dlms.apdu.action import (
    ActionRequest,
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
)
from protocols.dlms.apdu.get import (
    GetRequest,
    GetRequestNext,
    GetRequestNormal,
    GetRequestWithList,
    GetResponse,
    GetResponseNormal,
    GetResponseWithDatablock,
    GetResponseWithList,
    encode_results,
)
from protocols.dlms.apdu.initiate import Conformance
from protocols.dlms.apdu.parts import (
    AccessResult,
    ActionResult,
    AttributeRequest,
    DataBlock,
    GetResult,
    MethodDescriptor,
)
from protocols.dlms.apdu.setting import (
    SetRequest,
    SetRequestNormal,
    SetRequestWithDatablock,
    SetRequestWithFirstDatablock,
    SetRequestWithList,
    SetResponse,
    SetResponseDatablock,
    SetResponseLastDatablock,
    SetResponseNormal,
    SetResponseWithList,
)
from protocols.dlms.axdr import decode
from protocols.dlms.data import Data
from protocols.dlms.exchanges import BLOCK_HEAD_SIZE, BlockCutter, BlockJoiner
from protocols.dlms.faults import DlmsFault
from protocols.dlms.meter_side.model import Caller, CosemModel

GET_HEAD_SIZE = 4
"""Bytes before the value or the list in a GET response: tag, kind, invoke id, choice."""


class Services:
    """The services of one association."""

    def __init__(self, model: CosemModel, caller: Caller, conformance: Conformance, limit: int) -> None:
        """`limit`: the longest plain APDU the client takes, bytes."""
        self._model = model
        self._caller = caller
        self._conformance = conformance
        self._limit = max(limit, BLOCK_HEAD_SIZE + 1)
        self._long_get: BlockCutter | None = None
        self._long_set: tuple[AttributeRequest, BlockJoiner] | None = None
        self._long_action: tuple[MethodDescriptor, BlockJoiner] | None = None
        self._long_return: BlockCutter | None = None

    def handle(self, request: GetRequest | SetRequest | ActionRequest, now: int) -> Apdu:
        """The response to one request."""
        if isinstance(request, GetRequestNormal | GetRequestNext | GetRequestWithList):
            return self._get(request, now)
        if isinstance(
            request, SetRequestNormal | SetRequestWithFirstDatablock | SetRequestWithDatablock | SetRequestWithList
        ):
            return self._set(request, now)
        return self._action(request, now)

    def _get(self, request: GetRequest, now: int) -> GetResponse:
        invoke = request.invoke
        if isinstance(request, GetRequestNext):
            return self._get_next(request)
        self._long_get = None
        if isinstance(request, GetRequestWithList):
            results = tuple(self._read(item, now) for item in request.items)
            whole: GetResponse = GetResponseWithList(invoke, results)
            raw = encode_results(results)
        else:
            result = self._read(request.item, now)
            whole = GetResponseNormal(invoke, result)
            raw = result.encode() if isinstance(result, Data) else b""
        if len(raw) + GET_HEAD_SIZE <= self._limit:
            return whole
        if Conformance.BLOCK_TRANSFER_WITH_GET not in self._conformance:
            return GetResponseNormal(invoke, AccessResult.OTHER_REASON)
        self._long_get = BlockCutter(raw, self._limit - BLOCK_HEAD_SIZE)
        return self._next_block(invoke, self._long_get)

    def _get_next(self, request: GetRequestNext) -> GetResponse:
        cutter = self._long_get
        if cutter is None or request.number != cutter.number:
            self._long_get = None
            why = AccessResult.NO_LONG_GET_IN_PROGRESS if cutter is None else AccessResult.DATA_BLOCK_NUMBER_INVALID
            return GetResponseWithDatablock(request.invoke, True, request.number, why)
        return self._next_block(request.invoke, cutter)

    def _next_block(self, invoke: int, cutter: BlockCutter) -> GetResponse:
        block = cutter.following()
        if block.last:
            self._long_get = None
        return GetResponseWithDatablock(invoke, block.last, block.number, block.raw)

    def _read(self, item: AttributeRequest, now: int) -> GetResult:
        return self._model.get(self._caller, item, now)

    def _set(self, request: SetRequest, now: int) -> SetResponse:
        invoke = request.invoke
        match request:
            case SetRequestNormal():
                return SetResponseNormal(invoke, self._write(request.item, request.value, now))
            case SetRequestWithList():
                pairs = zip(request.items, request.values, strict=True)
                return SetResponseWithList(invoke, tuple(self._write(item, value, now) for item, value in pairs))
            case SetRequestWithFirstDatablock():
                self._long_set = (request.item, BlockJoiner())
                return self._set_block(invoke, request.block, now)
            case SetRequestWithDatablock():
                return self._set_block(invoke, request.block, now)
            case _:
                assert_never(request)

    def _set_block(self, invoke: int, block: DataBlock, now: int) -> SetResponse:
        if self._long_set is None:
            return SetResponseLastDatablock(invoke, AccessResult.NO_LONG_SET_IN_PROGRESS, block.number)
        item, joiner = self._long_set
        try:
            raw = joiner.take(block)
            if raw is None:
                return SetResponseDatablock(invoke, block.number)
            result = self._write(item, decode(raw), now)
        except DlmsFault as fault:
            wrong_number = fault.code == "TQ-DM-45"
            result = AccessResult.DATA_BLOCK_NUMBER_INVALID if wrong_number else AccessResult.LONG_SET_ABORTED
        self._long_set = None
        return SetResponseLastDatablock(invoke, result, block.number)

    def _write(self, item: AttributeRequest, value: Data, now: int) -> AccessResult:
        return self._model.set(self._caller, item, value, now)

    def _action(self, request: ActionRequest, now: int) -> Apdu:
        invoke = request.invoke
        match request:
            case ActionRequestNormal():
                return self._outcome(invoke, self._act(request.method, request.parameters, now))
            case ActionRequestWithList():
                pairs = zip(request.methods, request.parameters, strict=True)
                return ActionResponseWithList(invoke, tuple(self._act(method, one, now) for method, one in pairs))
            case ActionRequestWithFirstPblock():
                self._long_action = (request.method, BlockJoiner())
                return self._action_block(invoke, request.block, now)
            case ActionRequestWithPblock():
                return self._action_block(invoke, request.block, now)
            case ActionRequestNextPblock():
                return self._return_next(invoke, request.number)
            case _:
                assert_never(request)

    def _action_block(self, invoke: int, block: DataBlock, now: int) -> Apdu:
        if self._long_action is None:
            return ActionResponseNormal(invoke, MethodOutcome(ActionResult.NO_LONG_ACTION_IN_PROGRESS))
        method, joiner = self._long_action
        try:
            raw = joiner.take(block)
            if raw is None:
                return ActionResponseNextPblock(invoke, block.number)
            parameters = decode(raw)
        except DlmsFault:
            self._long_action = None
            return ActionResponseNormal(invoke, MethodOutcome(ActionResult.LONG_ACTION_ABORTED))
        self._long_action = None
        return self._outcome(invoke, self._act(method, parameters, now))

    def _act(self, method: MethodDescriptor, parameters: Data | None, now: int) -> MethodOutcome:
        return self._model.act(self._caller, method, parameters, now)

    def _outcome(self, invoke: int, outcome: MethodOutcome) -> Apdu:
        whole = ActionResponseNormal(invoke, outcome)
        if len(whole.encode()) <= self._limit or not isinstance(outcome.returned, Data):
            return whole
        if Conformance.BLOCK_TRANSFER_WITH_ACTION not in self._conformance:
            return ActionResponseNormal(invoke, MethodOutcome(ActionResult.OTHER_REASON))
        self._long_return = BlockCutter(outcome.returned.encode(), self._limit - BLOCK_HEAD_SIZE)
        return ActionResponseWithPblock(invoke, self._long_return.following())

    def _return_next(self, invoke: int, number: int) -> Apdu:
        cutter = self._long_return
        if cutter is None or cutter.number != number:
            self._long_return = None
            return ActionResponseNormal(invoke, MethodOutcome(ActionResult.NO_LONG_ACTION_IN_PROGRESS))
        block = cutter.following()
        if block.last:
            self._long_return = None
        return ActionResponseWithPblock(invoke, block)
