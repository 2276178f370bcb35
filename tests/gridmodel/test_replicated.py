"""Replicated state: merges commute, associate and repeat without harm; nothing anybody knew is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridmodel.replicated import (
    FUTURE_S_MAX,
    Hlc,
    LastWriter,
    ObservedRemoveSet,
    ReplicaFault,
    Union,
    VersionVector,
    admitted,
    union,
)

KEY = st.sampled_from("abcde")
UNIONS = st.builds(Union, st.dictionaries(KEY, st.integers(0, 3), max_size=5), st.frozensets(KEY, max_size=2))
SETS = st.builds(ObservedRemoveSet, st.dictionaries(KEY, st.integers(0, 1), max_size=5), st.frozensets(KEY, max_size=3))
STAMPS = st.builds(Hlc, st.integers(0, 3), st.integers(0, 2), st.sampled_from(["n1", "n2"]))
NOTES = st.builds(LastWriter, STAMPS, st.integers(0, 3))
VECTORS = st.builds(VersionVector, st.dictionaries(KEY, st.integers(0, 9), max_size=5))


@given(one=UNIONS, two=UNIONS, three=UNIONS)
def test_unions(one: Union[str, int], two: Union[str, int], three: Union[str, int]) -> None:
    assert union(one, two) == union(two, one)
    assert union(union(one, two), three) == union(one, union(two, three))
    assert union(one, one) == one
    both = union(one, two)
    assert both.content.keys() == one.content.keys() | two.content.keys()
    differing = {key for key in one.content.keys() & two.content.keys() if one.content[key] != two.content[key]}
    assert differing <= both.conflicts


@given(one=SETS, two=SETS, three=SETS)
def test_observed_remove_sets(
    one: ObservedRemoveSet[int], two: ObservedRemoveSet[int], three: ObservedRemoveSet[int]
) -> None:
    assert one.merge(two) == two.merge(one)
    assert one.merge(two).merge(three) == one.merge(two.merge(three))
    assert one.merge(one) == one


def test_an_assertion_nobody_saw_survives_a_removal() -> None:
    """The protection entered at an office while the hub revokes the one it knew."""
    nothing: ObservedRemoveSet[str] = ObservedRemoveSet()
    common = nothing.asserted("p1", "dialysis")
    office, hub = common.asserted("p2", "dialysis again"), common.revoked({"p1"})
    assert office.merge(hub).standing() == hub.merge(office).standing() == {"p2": "dialysis again"}


def test_a_removal_may_arrive_before_its_assertion() -> None:
    empty: ObservedRemoveSet[str] = ObservedRemoveSet()
    assert empty.revoked({"p1"}).asserted("p1", "x").standing() == {}


@given(one=NOTES, two=NOTES, three=NOTES)
def test_last_writers(one: LastWriter[int], two: LastWriter[int], three: LastWriter[int]) -> None:
    assert one.merge(two) == two.merge(one)
    assert one.merge(two).merge(three) == one.merge(two.merge(three))
    assert one.merge(one) == one


@given(stamp=STAMPS, now=st.integers(0, 5))
def test_a_clock_never_goes_back(stamp: Hlc, now: int) -> None:
    assert stamp.next(now) > stamp
    assert stamp.next(now).node == stamp.node


def test_the_future_is_refused_at_the_door() -> None:
    now = 1_000_000
    edge = Hlc(now + FUTURE_S_MAX, 0, "n")
    assert admitted(edge, now) == edge
    with pytest.raises(ReplicaFault, match="TQ-RE-01"):
        admitted(Hlc(now + FUTURE_S_MAX + 1, 0, "n"), now)


@given(one=VECTORS, two=VECTORS, three=VECTORS)
def test_version_vectors(one: VersionVector, two: VersionVector, three: VersionVector) -> None:
    assert one.merge(two) == two.merge(one)
    assert one.merge(two).merge(three) == one.merge(two.merge(three))
    assert one.merge(two).covers(one)
    assert one.merge(two).covers(two)
    if one.covers(two) and two.covers(three):
        assert one.covers(three)
