"""Field works put into a registry: free of order and repetition, refused by name, and lives that follow the table."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridmodel.fault import Fault
from gridmodel.field_merge import WorkState, merged
from gridmodel.field_work import (
    LIFE_TABLE,
    FieldWork,
    Fitted,
    LifeState,
    LifeStep,
    Photo,
    Proof,
    Taken,
    WorkKind,
    life_of,
)
from gridmodel.identity import MeterId, PersonId
from gridmodel.network import FAR_FUTURE, Installation, Meter
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel
from gridmodel.registry import Registry
from gridmodel.registry_document import registry_from_document, registry_to_document
from tests.gridmodel.test_registry import document

T = 50_000
PHOTO = Photo("ab" * 32, 1_000_000)
POINTS, METERS = ("u1", "u2", "h1"), ("m1", "m2", "m3", "n1", "n2")


def base() -> Registry:
    return registry_from_document(document())


def meter(name: str, serial: str = "") -> Meter:
    known = base().meter.get(MeterId(name))
    return known or Meter(MeterId(name), serial or f"S-{name}", "sdm630", "10.0.0.9:502", 7)


def fitted(name: str, point: str, **changes: Any) -> Fitted:
    plain = Fitted(meter(name), point, (Channel.IMPORT,), Multiplier(), (5_000,), ("seal-1",))
    return replace(plain, **changes)


def work(kind: WorkKind, at: int = T, name: str = "", **parts: Any) -> FieldWork:
    made = name or f"{kind.value}-{at}"
    return FieldWork(made, kind, at, PersonId("p-fitter"), at + 60, photo=PHOTO, **parts)


def exchanged(old: str = "m2", new: str = "n1", point: str = "u1", at: int = T, **changes: Any) -> FieldWork:
    finals = changes.pop("finals", (900_000, 10))
    taken = Taken(MeterId(old), point, finals)
    return work(WorkKind.EXCHANGED, at, taken=taken, fitted=fitted(new, point, **changes))


def installed(name: str = "n2", point: str = "u2", at: int = T, **changes: Any) -> FieldWork:
    return work(WorkKind.INSTALLED, at, fitted=fitted(name, point, **changes))


def removed(name: str = "n2", point: str = "u2", at: int = T) -> FieldWork:
    return work(WorkKind.REMOVED, at, taken=Taken(MeterId(name), point, (8_000,)))


def commissioned(name: str = "n1", serial: str = "S-n1", at: int = T + 600) -> FieldWork:
    return work(WorkKind.COMMISSIONED, at, proof=Proof(MeterId(name), serial, at))


def why(registry: Registry, *works: FieldWork) -> str:
    """The code of the last work's refusal."""
    outcome = merged(registry, works).outcomes[works[-1].id]
    return "" if outcome.fault is None else outcome.fault.code


def test_an_exchange_ends_one_stay_and_begins_another_with_its_registers() -> None:
    told = merged(base(), [exchanged()])
    old, new = [one for one in told.registry.installations if one.point == "u1"][-2:]
    assert (old.meter, old.valid_to, old.final_registers_wh) == ("m2", T, (900_000, 10))
    assert (new.meter, new.valid_from, new.valid_to, new.start_registers_wh) == ("n1", T, FAR_FUTURE, (5_000,))
    assert new.unproven
    assert told.registry.meter[MeterId("n1")].serial == "S-n1"
    assert (told.applied, told.registry.version, told.registry.works) == (("exchanged-50000",), base().version, 1)
    again = registry_from_document(registry_to_document(told.registry))
    assert again == told.registry, "the document carries it"
    assert {one.state for one in merged(again, [exchanged()]).outcomes.values()} == {WorkState.INCLUDED}


def test_a_proof_makes_the_meter_one_that_may_be_moved() -> None:
    told = merged(base(), [exchanged(), commissioned()])
    assert not [one for one in told.registry.installations if one.unproven]
    assert why(base(), exchanged(), commissioned(serial="S-other")) == "TQ-FW-18"
    assert why(base(), commissioned()) == "TQ-FW-12"
    assert why(base(), exchanged(), commissioned(at=T - 1)) == "TQ-FW-12", "read before it hung there"


def test_a_move_takes_the_meter_along_and_needs_a_new_proof() -> None:
    taken = Taken(MeterId("n1"), "u1", (6_000,))
    moved = work(WorkKind.MOVED, T + 900, taken=taken, fitted=fitted("n1", "u2", start_registers_wh=(6_000,)))
    told = merged(base(), [exchanged(), commissioned(), moved]).registry
    assert [(one.point, one.unproven) for one in told.installations if one.meter == "n1"] == [
        ("u1", False),
        ("u2", True),
    ]


@pytest.mark.parametrize(
    ("works", "code"),
    [
        ([installed(point="u9")], "TQ-FW-11"),
        ([exchanged(old="m9")], "TQ-FW-12"),
        ([exchanged(at=6_000)], "TQ-FW-12"),
        ([installed(point="u1")], "TQ-FW-13"),
        ([installed(name="m2", point="u2")], "TQ-FW-14"),
        ([exchanged(), installed(name="n1", at=T + 9)], "TQ-FW-14"),
        ([exchanged(meter=replace(meter("n1"), id=MeterId("m3")))], "TQ-FW-15"),
        ([exchanged(old="m1", at=5_000)], "TQ-FW-16"),
        ([installed(at=T + 100), installed(name="n1", at=T)], "TQ-FW-13"),
        ([exchanged(finals=(1,))], "TQ-FW-17"),
        ([removed(at=T)], "TQ-FW-12"),
    ],
)
def test_what_the_registry_contradicts_is_named_and_changes_nothing(works: list[FieldWork], code: str) -> None:
    refused = [one for one in merged(base(), works).outcomes.values() if one.fault is not None]
    assert [one.fault.code for one in refused if one.fault] == [code]
    kept = [one for one in works if merged(base(), works).outcomes[one.id].fault is None]
    assert merged(base(), works).registry == merged(base(), kept).registry


def test_one_id_with_two_contents_counts_neither_way() -> None:
    one, two = installed(), replace(installed(), by=PersonId("p-other"))
    for works in ([one, two], [two, one], [two, one, two]):
        told = merged(base(), works)
        assert told.registry == base()
        assert why(base(), *works) == "TQ-FW-10"


@pytest.mark.parametrize(
    "make",
    [
        lambda: exchanged(seals=()),
        lambda: exchanged(seals=("x" * 50,)),
        lambda: exchanged(finals=()),
        lambda: exchanged(start_registers_wh=(1, 2)),
        lambda: exchanged(start_registers_wh=(-1,)),
        lambda: exchanged(channels=(Channel.IMPORT, Channel.IMPORT), start_registers_wh=(1, 1)),
        lambda: exchanged(new="m2"),
        lambda: replace(exchanged(), photo=None),
        lambda: replace(exchanged(), photo=Photo("zz" * 32, 10)),
        lambda: replace(exchanged(), photo=Photo("ab" * 32, 10**9)),
        lambda: replace(exchanged(), recorded_at=T - 1),
        lambda: replace(exchanged(), taken=None),
        lambda: replace(exchanged(), id="two words"),
        lambda: commissioned(serial=" "),
    ],
)
def test_what_cannot_be_is_named_before_any_registry_is_asked(make: Callable[[], FieldWork]) -> None:
    with pytest.raises(Fault, match=r"TQ-(FW|ID)-0"):
        make()


def on_record(**changes: Any) -> Registry:
    """The exchange as the centre entered it, with something else in its papers."""
    told = merged(base(), [exchanged()]).registry
    stays = [replace(one, **changes) if one.meter == "n1" else one for one in told.installations]
    return replace(told, installations=tuple(stays))


@pytest.mark.parametrize(
    ("registry", "code"),
    [
        (lambda: on_record(start_registers_wh=(5_001,)), "TQ-FW-19"),
        (lambda: on_record(multiplier=Multiplier(40)), "TQ-FW-19"),
        (lambda: on_record(multiplier=Multiplier(2, 2)), ""),
        (lambda: on_record(channels=(Channel.IMPORT, Channel.EXPORT), start_registers_wh=(5_000, 0)), "TQ-FW-19"),
        (lambda: on_record(start_registers_wh=()), ""),
        (lambda: on_record(unproven=False), ""),
        (lambda: merged(base(), [exchanged(finals=(900_001, 10))]).registry, "TQ-FW-19"),
    ],
)
def test_a_registry_with_other_papers_of_the_same_exchange_is_named_and_stands(
    registry: Callable[[], Registry], code: str
) -> None:
    told = merged(registry(), [exchanged()])
    assert why(registry(), exchanged()) == code
    if code:
        assert told.registry.installations == registry().installations


def test_a_paper_with_another_serial_number_is_named_though_the_stay_is_on_record() -> None:
    held = merged(base(), [exchanged()]).registry
    assert why(held, exchanged(meter=replace(meter("n1"), serial="S-else"))) == "TQ-FW-15"


moments = st.integers(min_value=8_000, max_value=8_030)
names, places = st.sampled_from(METERS), st.sampled_from(POINTS)


@st.composite
def any_work(draw: st.DrawFn) -> FieldWork:
    kind, at = draw(st.sampled_from(list(WorkKind))), draw(moments)
    one, two, here, there = draw(names), draw(names), draw(places), draw(places)
    other = next(name for name in METERS if name != one) if two == one else two
    away = next(place for place in POINTS if place != here) if there == here else there
    finals = tuple(range(draw(st.integers(min_value=1, max_value=2))))
    parts: dict[WorkKind, dict[str, Any]] = {
        WorkKind.REMOVED: {"taken": Taken(MeterId(one), here, finals)},
        WorkKind.INSTALLED: {"fitted": fitted(one, here)},
        WorkKind.EXCHANGED: {"taken": Taken(MeterId(one), here, finals), "fitted": fitted(other, here)},
        WorkKind.MOVED: {"taken": Taken(MeterId(one), here, finals), "fitted": fitted(one, away)},
        WorkKind.COMMISSIONED: {"proof": Proof(MeterId(one), meter(one).serial, at)},
    }
    return work(kind, at, f"w-{draw(st.integers(min_value=0, max_value=20))}", **parts[kind])


@settings(max_examples=150, deadline=None)
@given(st.lists(any_work(), max_size=9), st.randoms(use_true_random=False))
def test_works_merge_whatever_order_and_however_often_they_came(works: list[FieldWork], dice: Any) -> None:
    told = merged(base(), works)
    shuffled = [*works, *dice.sample(works, len(works) // 2)]
    dice.shuffle(shuffled)
    again = merged(base(), shuffled)
    assert again.registry == told.registry
    assert {name: one.state for name, one in again.outcomes.items()} == {
        name: one.state for name, one in told.outcomes.items()
    }
    assert registry_from_document(registry_to_document(told.registry)) == told.registry, "it contradicts nothing"


@settings(max_examples=150, deadline=None)
@given(st.lists(any_work(), max_size=9, unique_by=lambda one: one.id))
def test_a_registry_that_holds_the_works_is_left_as_it_is(works: list[FieldWork]) -> None:
    told = merged(base(), works)
    held = [one for one in works if told.outcomes[one.id].state is not WorkState.REFUSED]
    again = merged(told.registry, held)
    assert again.registry == told.registry
    assert not again.applied
    assert all(one.state is WorkState.INCLUDED for one in again.outcomes.values())
    half = merged(merged(base(), held[::2] if _alone(held[::2]) else []).registry, held)
    assert half.registry == told.registry, "in two steps as in one"


def _alone(works: list[FieldWork]) -> bool:
    """Whether they stand without the others, as those do that an office entered in order."""
    return all(one.fault is None for one in merged(base(), works).outcomes.values())


def test_a_meters_life_follows_the_table() -> None:
    story = [exchanged(), commissioned(), removed("n1", "u1", T + 900)]
    told = merged(base(), story).registry
    stays = [one for one in told.installations if one.meter == "n1"]

    def state(at: int, registry: Registry = told, *, may_control: bool = True) -> LifeState:
        return life_of(
            registry, [one for one in registry.installations if one.meter == "n1"], at, may_control=may_control
        )

    assert state(T) is LifeState.STOCK
    assert state(T + 1, merged(base(), story[:1]).registry) is LifeState.INSTALLED
    assert state(T + 700) is LifeState.CONTROLLABLE
    assert state(T + 700, may_control=False) is LifeState.LINKED
    assert state(T + 901) is LifeState.REMOVED
    unlinked = replace(told, transformer_links=())
    assert life_of(unlinked, stays, T + 700, may_control=True) is LifeState.COMMISSIONED
    assert life_of(told, [Installation(MeterId("n1"), "u1", (Channel.IMPORT,), Multiplier(), 0)], 5, may_control=True)


def test_every_state_is_reached_and_left_by_the_table() -> None:
    assert set(LIFE_TABLE) == set(LifeState)
    reached = {after for steps in LIFE_TABLE.values() for after in steps.values()}
    assert reached == set(LifeState) - {LifeState.STOCK}
    assert {step for steps in LIFE_TABLE.values() for step in steps} == set(LifeStep)
