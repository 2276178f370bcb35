"""A wide index is a mapping like any other, in an order that follows from what was put in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridmodel import wide_index
from gridmodel.wide_index import WideIndex, index_of, new_index

NAMES = st.text("abc1", max_size=4)


@given(st.lists(st.tuples(NAMES, st.integers())), st.lists(NAMES))
def test_it_holds_what_a_dict_holds(pairs: list[tuple[str, int]], gone: list[str]) -> None:
    plain, wide = dict(pairs), WideIndex[str, int]()
    wide.update(pairs)
    for name in gone:
        assert plain.pop(name, None) == wide.pop(name, None)
    assert wide == plain
    assert len(wide) == len(plain)
    assert sorted(wide) == sorted(plain)
    assert dict(wide.items()) == plain
    for name in ("", "a", "abc1", *plain):
        assert wide.get(name) == plain.get(name)
        assert (name in wide) == (name in plain)


def test_its_order_follows_from_what_was_put_in() -> None:
    assert list(index_of(((name, None) for name in ("x-12", "y-13", "z-12")), 3)) == ["x-12", "y-13", "z-12"]
    wide = WideIndex[str, None]()
    for name in ("x-12", "y-13", "z-12"):
        wide[name] = None
    assert list(wide) == ["x-12", "z-12", "y-13"]


def test_small_ones_are_dicts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(new_index(3), dict)
    assert isinstance(index_of([("a", 1)], 1), dict)
    monkeypatch.setattr(wide_index, "PLAIN_MAX", 2)
    assert isinstance(new_index(3), WideIndex)
    assert index_of([("a", 1), ("b", 2)], 3) == {"a": 1, "b": 2}
    with pytest.raises(KeyError):
        index_of([("a", 1)], 3)["c"]
