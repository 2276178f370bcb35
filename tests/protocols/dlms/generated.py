"""Strategies: any COSEM value and any APDU."""

from hypothesis import strategies as st

from protocols.dlms.apdu import Apdu
from protocols.dlms.apdu.acse import Aare, Aarq, AssociationResult, Context, Mechanism, Rlre, Rlrq
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
)
from protocols.dlms.apdu.get import (
    GetRequestNext,
    GetRequestNormal,
    GetRequestWithList,
    GetResponseNormal,
    GetResponseWithDatablock,
    GetResponseWithList,
)
from protocols.dlms.apdu.initiate import Conformance, InitiateRequest, InitiateResponse
from protocols.dlms.apdu.notices import ConfirmedServiceError, DataNotification, EventNotification, ExceptionResponse
from protocols.dlms.apdu.parts import (
    AccessResult,
    AccessSelection,
    ActionResult,
    AttributeDescriptor,
    AttributeRequest,
    DataBlock,
    MethodDescriptor,
)
from protocols.dlms.apdu.sealed import GENERAL_DED, GENERAL_GLO, OPEN_TAGS, Sealed
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
from protocols.dlms.data import Data, Tag
from protocols.dlms.obis import Obis


def integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


SIGNED = {
    8: (Tag.INTEGER, Tag.BCD, Tag.DELTA_INTEGER),
    16: (Tag.LONG, Tag.DELTA_LONG),
    32: (Tag.DOUBLE_LONG, Tag.DELTA_DOUBLE_LONG),
    64: (Tag.LONG64,),
}
UNSIGNED = {
    8: (Tag.UNSIGNED, Tag.ENUM, Tag.DELTA_UNSIGNED),
    16: (Tag.LONG_UNSIGNED, Tag.DELTA_LONG_UNSIGNED),
    32: (Tag.DOUBLE_LONG_UNSIGNED, Tag.DELTA_DOUBLE_LONG_UNSIGNED),
    64: (Tag.LONG64_UNSIGNED,),
}


def of(tag: Tag, values: st.SearchStrategy[object]) -> st.SearchStrategy[Data]:
    return values.map(lambda value: Data(tag, value))  # type: ignore[arg-type]


SCALARS: st.SearchStrategy[Data] = st.one_of(
    st.sampled_from([Data(Tag.NULL, None), Data(Tag.DONT_CARE, None)]),
    of(Tag.BOOLEAN, st.booleans()),
    of(Tag.BIT_STRING, st.text("01", max_size=40)),
    of(Tag.OCTET_STRING, st.binary(max_size=300)),
    of(Tag.VISIBLE_STRING, st.text(st.characters(max_codepoint=255), max_size=20)),
    of(Tag.UTF8_STRING, st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
    of(Tag.FLOAT32, st.floats(width=32, allow_nan=False)),
    of(Tag.FLOAT64, st.floats(allow_nan=False)),
    of(Tag.DATE_TIME, st.binary(min_size=12, max_size=12)),
    of(Tag.DATE, st.binary(min_size=5, max_size=5)),
    of(Tag.TIME, st.binary(min_size=4, max_size=4)),
    *(of(tag, integers(bits, signed=True)) for bits, tags in SIGNED.items() for tag in tags),
    *(of(tag, integers(bits, signed=False)) for bits, tags in UNSIGNED.items() for tag in tags),
)
COMPACT = st.lists(st.tuples(integers(16, signed=False), st.binary(max_size=5)), max_size=5).map(
    lambda rows: Data(
        Tag.COMPACT_ARRAY,
        tuple(
            Data(Tag.STRUCTURE, (Data(Tag.LONG_UNSIGNED, one), Data(Tag.OCTET_STRING, other))) for one, other in rows
        ),
    )
)
VALUES: st.SearchStrategy[Data] = st.recursive(
    SCALARS | COMPACT,
    lambda inner: st.builds(Data, st.sampled_from([Tag.ARRAY, Tag.STRUCTURE]), st.lists(inner, max_size=5).map(tuple)),
    max_leaves=20,
)

BYTE = integers(8, signed=False)
WORD = integers(16, signed=False)
LONG = integers(32, signed=False)
OBIS = st.builds(Obis, *[BYTE] * 6)
ATTRIBUTE = st.builds(AttributeDescriptor, WORD, OBIS, integers(8, signed=True))
METHOD = st.builds(MethodDescriptor, WORD, OBIS, integers(8, signed=True))
ITEM = st.builds(AttributeRequest, ATTRIBUTE, st.none() | st.builds(AccessSelection, BYTE, VALUES))
ACCESS = st.sampled_from(AccessResult)
RESULT = VALUES | ACCESS
BLOCK = st.builds(DataBlock, st.booleans(), LONG, st.binary(max_size=40))
OUTCOME = st.builds(MethodOutcome, st.sampled_from(ActionResult), st.none() | RESULT)
TITLE = st.binary(min_size=8, max_size=8)
CONFORMANCE = st.integers(0, 0xFFFFFF).map(Conformance)
INFORMATION = st.binary(min_size=1, max_size=60)
MECHANISM = st.sampled_from(Mechanism)
TIME = st.sampled_from([b"", bytes(12)])


def many(items: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(items, max_size=4).map(tuple)


def pairs(
    one: st.SearchStrategy[object], other: st.SearchStrategy[object]
) -> st.SearchStrategy[list[tuple[object, object]]]:
    return st.lists(st.tuples(one, other), max_size=4)


APDUS: st.SearchStrategy[Apdu] = st.one_of(
    st.builds(
        Aarq,
        st.sampled_from(Context),
        INFORMATION,
        MECHANISM,
        st.none() | st.binary(max_size=64),
        st.none() | TITLE,
        st.none() | BYTE,
    ),
    st.builds(
        Aare,
        st.sampled_from(Context),
        st.sampled_from(AssociationResult),
        st.tuples(st.integers(1, 2), BYTE),
        st.binary(max_size=60),
        MECHANISM,
        st.none() | st.binary(max_size=64),
        st.none() | TITLE,
    ),
    st.builds(Rlrq, st.none() | BYTE, st.binary(max_size=60)),
    st.builds(Rlre, st.none() | BYTE, st.binary(max_size=60)),
    st.builds(
        InitiateRequest, CONFORMANCE, WORD, st.none() | st.binary(max_size=32), st.booleans(), st.none() | BYTE, BYTE
    ),
    st.builds(InitiateResponse, CONFORMANCE, WORD, st.none() | BYTE, BYTE, WORD),
    st.builds(GetRequestNormal, BYTE, ITEM),
    st.builds(GetRequestNext, BYTE, LONG),
    st.builds(GetRequestWithList, BYTE, many(ITEM)),
    st.builds(GetResponseNormal, BYTE, RESULT),
    st.builds(GetResponseWithDatablock, BYTE, st.booleans(), LONG, st.binary(max_size=200) | ACCESS),
    st.builds(GetResponseWithList, BYTE, many(RESULT)),
    st.builds(SetRequestNormal, BYTE, ITEM, VALUES),
    st.builds(SetRequestWithFirstDatablock, BYTE, ITEM, BLOCK),
    st.builds(SetRequestWithDatablock, BYTE, BLOCK),
    st.builds(
        lambda invoke, both: SetRequestWithList(invoke, tuple(a for a, _ in both), tuple(b for _, b in both)),
        BYTE,
        pairs(ITEM, VALUES),
    ),
    st.builds(SetResponseNormal, BYTE, ACCESS),
    st.builds(SetResponseDatablock, BYTE, LONG),
    st.builds(SetResponseLastDatablock, BYTE, ACCESS, LONG),
    st.builds(SetResponseWithList, BYTE, many(ACCESS)),
    st.builds(ActionRequestNormal, BYTE, METHOD, st.none() | VALUES),
    st.builds(ActionRequestNextPblock, BYTE, LONG),
    st.builds(
        lambda invoke, both: ActionRequestWithList(invoke, tuple(a for a, _ in both), tuple(b for _, b in both)),
        BYTE,
        pairs(METHOD, VALUES),
    ),
    st.builds(ActionRequestWithFirstPblock, BYTE, METHOD, BLOCK),
    st.builds(ActionRequestWithPblock, BYTE, BLOCK),
    st.builds(ActionResponseNormal, BYTE, OUTCOME),
    st.builds(ActionResponseWithPblock, BYTE, BLOCK),
    st.builds(ActionResponseWithList, BYTE, many(OUTCOME)),
    st.builds(ActionResponseNextPblock, BYTE, LONG),
    st.builds(DataNotification, LONG, TIME, VALUES),
    st.builds(EventNotification, st.none() | TIME, ATTRIBUTE, VALUES),
    st.builds(ExceptionResponse, BYTE, BYTE.filter(lambda error: error != 6)),
    st.builds(ExceptionResponse, BYTE, st.just(6), LONG),
    st.builds(ConfirmedServiceError, BYTE, BYTE, BYTE),
    st.builds(
        Sealed, st.sampled_from([tag for tag in OPEN_TAGS if tag < GENERAL_GLO]), st.none(), st.binary(max_size=200)
    ),
    st.builds(Sealed, st.sampled_from([GENERAL_GLO, GENERAL_DED]), st.none() | TITLE, st.binary(max_size=200)),
)
