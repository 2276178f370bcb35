"""The registry: dated links, strict documents, contradictions refused whole."""

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridmodel import registry as registry_module
from gridmodel.fault import Fault
from gridmodel.identity import FeederId, TransformerId, UsagePointId
from gridmodel.network import FAR_FUTURE
from gridmodel.registry import TOPOLOGIES_KEPT, Registry, in_order
from gridmodel.registry_document import registry_from_document, registry_to_document

Document = dict[str, Any]


POINTS: Document = {
    "usage_points": [
        {
            "id": "u1",
            "district": "1703202",
            "consumer_class": "household",
            "protected_class": None,
            "address": "Navoiy 1",
        },
        {
            "id": "u2",
            "district": "1703202",
            "consumer_class": "company",
            "protected_class": "hospital",
            "address": "Navoiy 2",
        },
    ],
    "supply_points": [
        {
            "id": "h1",
            "kind": "feeder_head",
            "district": "1703202",
            "transformer": None,
            "feeder": "f1",
            "to_district": None,
        },
        {
            "id": "b1",
            "kind": "boundary",
            "district": "1703202",
            "transformer": None,
            "feeder": None,
            "to_district": "1703203",
        },
    ],
    "installations": [
        {
            "meter": "m1",
            "point": "u1",
            "channels": [1],
            "multiplier": [1, 1],
            "valid_from": 1_000,
            "valid_to": 7_000,
        },
        {
            "meter": "m2",
            "point": "u1",
            "channels": [1, 2],
            "multiplier": [40, 1],
            "valid_from": 7_000,
            "valid_to": 2**40,
        },
        {
            "meter": "m3",
            "point": "h1",
            "channels": [1],
            "multiplier": [1, 1],
            "valid_from": 0,
            "valid_to": 2**40,
        },
    ],
}


def document() -> Document:
    """Two feeders; transformer t1 moves from f1 to f2 at 5,000; meter m1 is exchanged for m2 at 7,000."""
    return {
        "node": "n1",
        "version": 3,
        "zone": "Asia/Tashkent",
        "interval_minutes": 15,
        "districts": ["1703202", "1703203"],
        "substations": [{"id": "s1", "district": "1703202", "name": "Sharq"}],
        "feeders": [{"id": one, "substation": "s1", "name": one} for one in ("f1", "f2")],
        "transformers": [
            {"id": "t1", "district": "1703202", "name": "TP-1", "rated_kva": 160, "lat": 40.8, "lon": 72.1},
            {"id": "t2", "district": "1703202", "name": "TP-2", "rated_kva": 250, "lat": None, "lon": None},
        ],
        **deepcopy(POINTS),
        "accounts": [{"id": "a1", "usage_point": "u1", "person": "p1"}],
        "meters": [
            {"id": one, "serial": one, "profile": "sdm630", "address": "127.0.0.1:5020", "unit": 1}
            for one in ("m1", "m2", "m3")
        ],
        "transformer_links": [
            {"usage_point": "u1", "transformer": "t1", "valid_from": 0, "valid_to": 2**40},
            {"usage_point": "u2", "transformer": "t2", "valid_from": 0, "valid_to": 2**40},
        ],
        "feeder_links": [
            {"transformer": "t1", "feeder": "f1", "valid_from": 0, "valid_to": 5_000},
            {"transformer": "t1", "feeder": "f2", "valid_from": 5_000, "valid_to": 2**40},
            {"transformer": "t2", "feeder": "f2", "valid_from": 0, "valid_to": 2**40},
        ],
    }


@pytest.fixture
def registry() -> Registry:
    return registry_from_document(document())


def test_energy_stays_booked_under_the_parents_of_its_own_hour(registry: Registry) -> None:
    assert registry.topology(5_000).feeder_of[TransformerId("t1")] == FeederId("f1")
    assert registry.topology(5_001).feeder_of[TransformerId("t1")] == FeederId("f2")


def test_an_exchanged_meter_ends_with_its_last_interval(registry: Registry) -> None:
    assert registry.topology(7_000).installation_at["u1"].meter == "m1"
    assert registry.topology(7_001).installation_at["u1"].meter == "m2"
    assert "u1" not in registry.topology(1_000).installation_at


def test_points_hang_on_their_transformers(registry: Registry) -> None:
    topology = registry.topology(6_000)
    assert topology.points_of[TransformerId("t1")] == (UsagePointId("u1"),)
    assert topology is registry.topology(6_500)


@given(st.integers(1, 20_000))
def test_a_cached_topology_is_the_topology_of_its_moment(end: int) -> None:
    registry = registry_from_document(document())
    registry.topology(20_001)
    fresh = registry_from_document(document())
    assert registry.topology(end) == fresh.topology(end)


def test_a_registry_with_many_exchanges_does_not_keep_a_topology_for_each() -> None:
    told = document()
    stay = next(one for one in told["installations"] if one["meter"] == "m3")
    told["installations"].remove(stay)
    told["installations"] += [{**stay, "valid_from": at, "valid_to": at + 100} for at in range(10_000, 50_000, 100)]
    registry = registry_from_document(told)
    for end in range(10_050, 50_000, 100):
        assert registry.topology(end).installation_at[stay["point"]].valid_from == end - 50
    assert len(registry._topologies) <= TOPOLOGIES_KEPT

    assert registry.topology(10_050) == registry_from_document(told).topology(10_050)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers())), st.integers(1, 5))
def test_slices_are_sorted_as_the_whole_is(values: list[tuple[int, int]], at_once: int) -> None:
    with pytest.MonkeyPatch.context() as small:
        small.setattr(registry_module, "SORTED_AT_ONCE", at_once)
        assert list(in_order(values, key=lambda one: one[0])) == sorted(values, key=lambda one: one[0])
        assert list(in_order(values)) == sorted(values)


def test_an_indexed_registry_has_nothing_left_to_work_out(registry: Registry) -> None:
    ready = registry.indexed()
    assert ready is registry
    assert {"usage_point", "meter", "account", "accounts_at", "usage_point_ids"} <= vars(registry).keys()
    latest = registry.topology(2**39)
    assert latest is registry.topology(FAR_FUTURE)
    assert registry.accounts_at == {"u1": ("a1",)}
    assert list(registry.usage_point_ids) == sorted(registry.usage_point)


def test_a_document_survives_the_way_through_json(registry: Registry) -> None:
    again = json.loads(json.dumps(registry_to_document(registry)))
    assert again == document()
    assert registry_from_document(again) == registry


def change(*path: str | int, to: Any) -> Callable[[Document], None]:
    def apply(whole: Document) -> None:
        place: Any = whole
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return apply


def without(*path: str | int) -> Callable[[Document], None]:
    def apply(whole: Document) -> None:
        place: Any = whole
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return apply


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (change("interval_minutes", to=7), "TQ-RG-01"),
        (change("zone", to="Mars/Olympus"), "TQ-PD-01"),
        (change("districts", 0, to="9903202"), "TQ-ID-02"),
        (change("version", to=-1), "TQ-RG-12"),
        (change("version", to=True), "TQ-RG-12"),
        (change("colour", to="red"), "TQ-RG-10"),
        (without("meters"), "TQ-RG-10"),
        (without("meters", 0, "unit"), "TQ-RG-10"),
        (change("meters", 0, "id", to="m2"), "TQ-RG-03"),
        (change("accounts", 0, "usage_point", to="u9"), "TQ-RG-04"),
        (change("transformer_links", 0, "transformer", to="t9"), "TQ-RG-04"),
        (change("installations", 1, "valid_from", to=6_000), "TQ-RG-05"),
        (change("feeder_links", 1, "valid_from", to=4_000), "TQ-RG-05"),
        (change("installations", 2, "meter", to="m2"), "TQ-RG-05"),
        (change("installations", 2, "valid_to", to=0), "TQ-RG-05"),
        (change("supply_points", 0, "feeder", to=None), "TQ-RG-02"),
        (change("supply_points", 1, "to_district", to="1703202"), "TQ-RG-02"),
        (change("supply_points", 1, "kind", to="volcano"), "TQ-RG-14"),
        (change("usage_points", 0, "address", to="x" * 300), "TQ-RG-11"),
        (change("transformers", 0, "lat", to="north"), "TQ-RG-13"),
        (change("installations", 0, "channels", to=[]), "TQ-RG-15"),
        (change("installations", 0, "channels", to=[99]), "TQ-RG-14"),
        (change("installations", 0, "multiplier", to=[0, 1]), "TQ-QT-03"),
        (change("installations", 0, "multiplier", to=40), "TQ-RG-16"),
        (change("meters", to={"m1": 1}), "TQ-RG-10"),
        (change("meters", 0, to="m1"), "TQ-RG-10"),
    ],
)
def test_a_faulty_registry_is_refused_whole_with_its_name(fault: Callable[[Document], None], code: str) -> None:
    whole = document()
    fault(whole)
    with pytest.raises(Fault) as refused:
        registry_from_document(whole)
    assert refused.value.code == code
    assert refused.value.hint


@pytest.mark.parametrize("nothing", [None, [], "registry", 7])
def test_what_is_no_document(nothing: object) -> None:
    with pytest.raises(Fault, match="TQ-RG-10"):
        registry_from_document(nothing)
