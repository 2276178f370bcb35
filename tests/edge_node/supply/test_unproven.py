"""A meter that nobody has read since it was put up cuts nobody; neither does a registry that lacks a field work."""

from dataclasses import replace
from pathlib import Path

from edge_node.store.field_works import FieldWorks
from edge_node.supply.explain import explain
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
