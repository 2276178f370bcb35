"""Field works on their way: what was recorded arrives, anything else is named."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridmodel.field_work import FieldWork
from protocols.sync import wire
from protocols.sync.field_works import work_from_body, work_to_body
from protocols.sync.fields import MessageFault
from protocols.sync.lanes import RECORD_LIMITS
from tests.gridmodel.test_field_merge import any_work, exchanged


@given(any_work())
def test_a_work_survives_the_way(work: FieldWork) -> None:
    packed = wire.pack(work_to_body(work), RECORD_LIMITS)
    assert work_from_body(wire.unpack(packed, RECORD_LIMITS)) == work


PLACES: list[tuple[str, ...]] = [
    *((one,) for one in work_to_body(exchanged())),
    *(("fitted", one) for one in work_to_body(exchanged())["fitted"]),
    *(("taken", one) for one in work_to_body(exchanged())["taken"]),
    *(("photo", one) for one in work_to_body(exchanged())["photo"]),
]


@given(
    st.sampled_from(PLACES), st.sampled_from([None, True, -1, 2**60, "", "two words", b"x", [], ["x"] * 99, {}, 1.5])
)
def test_a_spoilt_work_is_named_or_is_a_work(place: tuple[str, ...], value: Any) -> None:
    body = deepcopy(work_to_body(exchanged()))
    inner: Any = body
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    try:
        work_from_body(body)
    except MessageFault as fault:
        assert fault.code.startswith("TQ-SY-2")


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(MessageFault, match="unknown"):
        work_from_body(work_to_body(exchanged()) | {"weather": "fine"})
