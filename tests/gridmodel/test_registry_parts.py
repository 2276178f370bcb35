"""A registry in parts: a function of the set of rows, strict at every part, and the same registry when put together."""

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridmodel import registry_parts
from gridmodel.fault import Fault
from gridmodel.identity import MeterId, UsagePointId
from gridmodel.network import Meter
from gridmodel.registry import Registry
from gridmodel.registry_document import head_to_document
from gridmodel.registry_parts import PartReader, assembled, parts_of
from gridmodel.registry_tables import TABLES
from tests.edge_node.metering.small_grid import grid, link, placed

POINTS = [f"up-{number}" for number in range(40)]
WHEN = 7_000


@pytest.fixture(autouse=True)
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_parts, "PART_PLACES", 4)


def whole(points: list[str] = POINTS) -> Registry:
    return grid([link(one, "t-1") for one in points], [placed(f"m-{one}", one) for one in points])


def together(parts: list[dict[str, Any]], registry: Registry) -> Registry:
    reader = PartReader(len(parts))
    return assembled(head_to_document(registry), [reader.read(number, part) for number, part in enumerate(parts)])


def same(one: Registry, other: Registry) -> bool:
    """The same rows in whatever order."""
    return all(set(getattr(one, name)) == set(getattr(other, name)) for name in TABLES)


def test_a_registry_comes_back_from_its_parts() -> None:
    registry = whole()
    parts = list(parts_of(registry))
    assert len(parts) == 16
    again = together(parts, registry)
    assert same(again, registry)
    assert together(list(parts_of(again)), again) == again, "once in parts, its order stays"
    assert again.topology(1) == registry.topology(1)


def test_what_stands_often_is_one_object() -> None:
    registry = whole()
    again = together(list(parts_of(registry)), registry)
    assert len({id(one.multiplier) for one in again.installations}) == 1
    assert len({id(one.profile) for one in again.meters}) == 1
    accounts = {one.id: one.id for one in again.usage_points}
    assert all(one.point is accounts[UsagePointId(one.point)] for one in again.installations)


@given(st.randoms(use_true_random=False))
def test_the_parts_follow_from_the_set_of_rows(dice: random.Random) -> None:
    registry = whole()
    shuffled: dict[str, Any] = {
        name: tuple(dice.sample(rows, len(rows))) for name in TABLES if (rows := getattr(registry, name))
    }
    assert list(parts_of(dataclasses.replace(registry, **shuffled))) == list(parts_of(registry))


def test_an_exchange_changes_few_parts() -> None:
    before = whole()
    (old,) = (one for one in before.installations if one.point == "up-7")
    begun = dataclasses.replace(placed("m-new", "up-7"), valid_from=WHEN)
    after = dataclasses.replace(
        before,
        version=2,
        meters=(*before.meters, Meter(MeterId("m-new"), "9", "sdm630", "10.0.0.9:502", 1)),
        installations=(
            *(one for one in before.installations if one is not old),
            dataclasses.replace(old, valid_to=WHEN, final_registers_wh=(5,)),
            begun,
        ),
    )
    pairs = zip(parts_of(before), parts_of(after), strict=True)
    assert 1 <= sum(one != other for one, other in pairs) <= 2
    assert same(together(list(parts_of(after)), after), after)


def test_an_empty_registry_has_one_part() -> None:
    nothing: dict[str, Any] = dict.fromkeys(TABLES, ())
    registry = dataclasses.replace(whole([]), **nothing)
    assert together(list(parts_of(registry)), registry) == registry


def change(*path: str | int, to: Any) -> Callable[[list[Any]], None]:
    def apply(parts: list[Any]) -> None:
        place: Any = parts
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return apply


def swap(parts: list[Any]) -> None:
    parts[0], parts[1] = parts[1], parts[0]


def twice(parts: list[Any]) -> None:
    parts[1] = parts[0]


def stray(parts: list[Any]) -> None:
    full = next(part for part in parts if part["tables"]["usage_points"])
    other = next(part for part in parts if part is not full)
    other["tables"]["usage_points"].append(full["tables"]["usage_points"].pop())


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (swap, "TQ-RG-20"),
        (twice, "TQ-RG-20"),
        (change(3, to=None), "TQ-RG-20"),
        (change(3, "of", to=8), "TQ-RG-20"),
        (change(3, "number", to="3"), "TQ-RG-20"),
        (change(3, "tables", to=[]), "TQ-RG-20"),
        (change(3, "tables", "colours", to=[]), "TQ-RG-20"),
        (change(3, "tables", "meters", to={"columns": {"id": ["a"]}}), "TQ-RG-10"),
        (stray, "TQ-RG-21"),
        (lambda parts: parts[2].pop("number"), "TQ-RG-20"),
    ],
)
def test_a_part_that_is_not_as_it_was_is_named(fault: Callable[[list[Any]], None], code: str) -> None:
    registry = whole()
    parts = list(parts_of(registry))
    fault(parts)
    with pytest.raises(Fault) as refused:
        together(parts, registry)
    assert refused.value.code == code
    assert refused.value.hint


def test_parts_that_contradict_each_other_are_refused_whole() -> None:
    registry = whole()
    parts = list(parts_of(registry))
    for part in parts:
        part["tables"]["transformers"] = []
    with pytest.raises(Fault, match="TQ-RG-04"):
        together(parts, registry)


def test_no_part_and_no_registry_is_larger_than_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = whole()
    parts = list(parts_of(registry))
    monkeypatch.setattr(registry_parts, "ROWS_MAX", 39)
    with pytest.raises(Fault, match="TQ-RG-22"):
        together(parts, registry)
    monkeypatch.setattr(registry_parts, "PART_ROWS_MAX", 1)
    with pytest.raises(Fault, match="TQ-RG-22"):
        together(parts, registry)
    with pytest.raises(Fault, match="TQ-RG-22"):
        list(parts_of(registry))
    monkeypatch.setattr(registry_parts, "PARTS_MAX", 8)
    with pytest.raises(Fault, match="TQ-RG-22"):
        list(parts_of(registry))
