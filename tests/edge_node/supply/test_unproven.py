"""A meter that nobody has read since it was put up cuts nobody; neither does a registry that lacks a field work."""

from dataclasses import replace
from pathlib import Path

import pytest

from edge_node.store.field_works import FieldWorks
from edge_node.store.relays import Sighting
from edge_node.supply.explain import explain
from gridmodel.control import RelayState
from gridmodel.field_work import FieldWork, Fitted, Photo, Proof, Taken, WorkKind
from gridmodel.identity import MeterId, PersonId
from gridmodel.policy import Reason
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel
from tests.edge_node.supply.network import point_id, registry
from tests.edge_node.supply.office import Office, told

EXCHANGED_S = 3 * 86_400
"""So long ago."""


async def _reasons(office: Office, number: int) -> tuple[Reason, ...]:
    places = office.enforcement.places()
    assert places is not None
    place = places.at(point_id(number), office.clock.at)
    assert place is not None
    return (await office.enforcement.door.judge(place)).decision.reasons


def _exchange(office: Office, number: int) -> FieldWork:
    """The point's meter was replaced by one of its model, days ago."""
    known = office.registries.current()
    at = office.clock.at - EXCHANGED_S
    old = known.topology(at).installation_at[point_id(number)]
    meter = replace(known.meter[old.meter], id=MeterId("m-new"), serial="77")
    fitted = Fitted(meter, old.point, (Channel.IMPORT,), Multiplier(), (0,), ("A-1",))
    taken = Taken(old.meter, old.point, tuple(5 for _ in old.channels))
    photo = Photo("ab" * 32, 1_000)
    return FieldWork("work-1", WorkKind.EXCHANGED, at, PersonId("p-1"), office.clock.at, taken, fitted, photo=photo)


async def _record(office: Office, work: FieldWork) -> None:
    works, held = FieldWorks(office.control, bytes(32)), (await office.registries.tried((work,)))[0]
    assert await works.put(work, held, office.clock.at) is True


def test_an_unproven_meter_cuts_nobody_and_a_proof_ends_that(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        assert await _reasons(office, 3) == (Reason.DEBT_OVERDUE,)
        await _record(office, _exchange(office, 3))
        assert Reason.RECORDS_DOUBTFUL in await _reasons(office, 3), "durable, and not yet in memory"
        await office.registries.load()
        await office.see_all()
        assert await _reasons(office, 3) == (Reason.METER_UNPROVEN,)
        await office.tick_twice()
        assert office.meters.moved == []
        said = await explain(office.enforcement, office.sources, point_id(3))
        assert said["place"]["life"]["code"] == "installed"
        at = office.clock.at
        proof = Proof(MeterId("m-new"), "77", at)
        await _record(office, FieldWork("work-2", WorkKind.COMMISSIONED, at, PersonId("p-1"), at, proof=proof))
        await office.registries.load()
        assert await _reasons(office, 3) == (Reason.DEBT_OVERDUE,)
        said = await explain(office.enforcement, office.sources, point_id(3))
        assert said["place"]["life"]["code"] == "controllable"

    told(tmp_path, story, network=registry())


def test_a_damaged_work_cuts_nobody_at_all(tmp_path: Path) -> None:
    async def story(office: Office) -> None:
        await office.debtor(3)
        await _record(office, _exchange(office, 4))
        await office.control.write(lambda conn: conn.execute("UPDATE field_work SET recorded_at = recorded_at + 1"))
        await office.registries.load()
        assert Reason.RECORDS_DOUBTFUL in await _reasons(office, 3)

    told(tmp_path, story, network=registry())


@pytest.mark.parametrize("ago_s", [0, 1, 2])
def test_nobody_is_cut_through_a_meter_that_has_just_gone(tmp_path: Path, ago_s: int) -> None:
    """The exchange is recorded as done now; for a clock that is sure of two seconds the old meter may still stand."""

    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick()
        work = _exchange(office, 3)
        at = office.clock.at + 5 - ago_s  # `tick` moves the clock by five seconds
        office.clock.at = at
        await _record(office, replace(work, at=at, recorded_at=at))
        await office.registries.load()
        office.clock.at = at + ago_s - 5
        await office.tick()
        assert office.meters.moved == []
        assert not await office.operations(3)

    told(tmp_path, story, network=registry())


def test_a_meter_moved_while_it_was_cut_darkens_nobody_who_owes_nothing(tmp_path: Path) -> None:
    """Cut at a debtor's, it was hung up at another place with its relay open: no payment there would close it."""

    async def story(office: Office) -> None:
        await office.debtor(3)
        await office.tick_twice()
        known = office.registries.current()
        at = office.clock.at
        moved, left = (known.topology(at).installation_at[point_id(n)] for n in (3, 4))
        gone = FieldWork(
            "work-1", WorkKind.REMOVED, at + 60, PersonId("p-1"), at + 90, Taken(left.meter, left.point, ())
        )
        meter = known.meter[moved.meter]
        fitted = Fitted(meter, left.point, (Channel.IMPORT,), Multiplier(), (5,), ("A-1",))
        taken = Taken(moved.meter, moved.point, (5,))
        move = FieldWork("work-2", WorkKind.MOVED, at + 120, PersonId("p-1"), at + 180, taken, fitted)
        assert office.meters.closed[moved.meter] is False
        office.clock.at = at + 200
        for work in (gone, move):
            await _record(office, work)
            await office.registries.load()
        await office.sources.relays.record_sightings([Sighting(point_id(4), moved.meter, "open", 0, office.clock.at)])
        await office.tick()
        await office.tick()
        assert office.meters.closed[moved.meter] is True
        assert (await office.row(4)).state is RelayState.CONNECTED

    told(tmp_path, story, network=registry())
