"""What died is taken apart; what anybody still holds is not touched."""

import importlib
import sys
import weakref
from dataclasses import dataclass, field
from enum import Enum
from threading import Event
from types import MappingProxyType

import pytest

from hosting import letting_go as module
from hosting.letting_go import STEP, LettingGo


class Leaf:
    __slots__ = ("__weakref__",)


class Place(Enum):
    A = "a"


@dataclass(eq=False)
class Owner:
    rows: tuple[Leaf, ...]
    by_name: dict[str, Leaf]
    parts: tuple[dict[str, list[Leaf]], ...] = ()
    inner: list["Owner"] = field(default_factory=list)


def owner(count: int = 3 * STEP) -> Owner:
    leaves = tuple(Leaf() for _ in range(count))
    return Owner(leaves, {f"leaf-{number}": one for number, one in enumerate(leaves)}, ({"a": list(leaves)},) * 2)


def gone(*leaves: Leaf) -> Event:
    """Set once these are freed, and the last of them."""
    event, left = Event(), len(leaves)

    def count() -> None:
        nonlocal left
        left -= 1
        if not left:
            event.set()

    for one in leaves:
        weakref.finalize(one, count)
    return event


def test_an_owner_goes_with_all_that_only_it_had() -> None:
    letting_go = LettingGo()
    one = owner()
    one.inner.append(owner(STEP))
    freed = gone(one.rows[0], one.rows[-1], one.inner[0].rows[7])
    letting_go.watch(one)
    assert not freed.is_set()
    del one
    assert freed.wait(30)
    letting_go.close()


def test_what_another_holds_stays_whole() -> None:
    letting_go = LettingGo()
    one = owner()
    by_name, part, rows = one.by_name, one.parts[0]["a"], one.rows
    letting_go.watch(one)
    letting_go.watch(one)
    del one
    letting_go.close()
    assert len(by_name) == len(part) == len(rows) == 3 * STEP


def test_what_is_no_data_is_let_be() -> None:
    """A class in an owner, or a view of one, is nothing to take apart, and the next owner goes all the same."""
    letting_go = LettingGo()
    one = owner(STEP)
    vars(one).update(kind=type("Kind", (), {}), view=MappingProxyType({"a": 1}), generic=dict[str, int], place=Place.A)
    letting_go.watch(one)
    two = owner(STEP)
    freed = gone(two.rows[0])
    letting_go.watch(two)
    del one, two
    assert freed.wait(30)
    assert Place("a") is Place.A
    letting_go.close()


def test_an_owner_that_lives_is_not_touched() -> None:
    letting_go = LettingGo()
    one = owner()
    letting_go.watch(one)
    letting_go.close()
    assert len(one.rows) == len(one.by_name) == 3 * STEP
    del one


def test_what_another_holds_stays_whole_where_the_interpreter_counts_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python 3.14 on a name that is passed on may not count: then two references are shared ones."""
    counted = sys.getrefcount
    monkeypatch.setattr(sys, "getrefcount", lambda thing: counted(thing) - 2)
    importlib.reload(module)
    held = {"a": list(range(3 * STEP))}
    try:
        module.take_apart([held])
        assert len(held["a"]) == 3 * STEP
        freed = Leaf()
        event = gone(freed)
        waiting = [{"a": [freed] * (3 * STEP)}]
        del freed
        module.take_apart(waiting)
        assert event.is_set()
    finally:
        monkeypatch.undo()
        importlib.reload(module)
