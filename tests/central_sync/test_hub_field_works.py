"""Field works at the hub: kept as they come, put into the next version, refused by name; conflicts lose nothing."""

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from central_sync.hub import Hub
from central_sync.store.sqlite import open_sqlite
from gridmodel.field_merge import WorkState, merged
from gridmodel.field_work import FieldWork, Fitted, Photo, Proof, Taken, WorkKind
from gridmodel.identity import MeterId, NodeId, PersonId
from gridmodel.network import Meter
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel
from gridmodel.registry import Registry
from gridmodel.registry_document import registry_from_document
from hosting.database import open_database
from hosting.migrations import load_migrations
from protocols.sync import field_works, wire
from protocols.sync.chunk import document as documents
from protocols.sync.facts import ITEM_LIMITS, AlarmFact
from protocols.sync.field_works import FIELD_WORK, work_to_body
from protocols.sync.lanes import AckOutcome, DownLane, Lane, Record
from tests.central_sync.hub_rig import (
    START,
    A,
    B,
    HandClock,
    Speaker,
    chunk_bytes,
    import_registry,
    registry_of,
    run_hub,
)

NOON = START + 12 * 3_600
POINT, OLD = "up-t-a0-0", MeterId("m-up-t-a0-0")


def exchange(name: str = "work-1", meter: str = "m-new", at: int = NOON) -> FieldWork:
    fitted = Fitted(
        Meter(MeterId(meter), "77", "sdm630", "10.0.0.9:502", 1), POINT, (Channel.IMPORT,), Multiplier(), (7,), ("A-1",)
    )
    taken = Taken(OLD, POINT, (90_000,))
    photo = Photo("ab" * 32, 1_000_000)
    return FieldWork(name, WorkKind.EXCHANGED, at, PersonId("p-fitter"), at + 60, taken, fitted, photo=photo)


def removal(at: int = NOON) -> FieldWork:
    taken = Taken(OLD, POINT, (90_000,))
    return FieldWork("work-2", WorkKind.REMOVED, at, PersonId("p-fitter"), at + 60, taken)


def record(work: FieldWork) -> Record:
    return Record(FIELD_WORK, work.id, work_to_body(work))


async def down(node: Speaker, after: int = 0) -> list[Registry]:
    reply = await node.pull({lane: after if lane is DownLane.REGISTRY else 0 for lane in DownLane})
    return [
        registry_from_document(documents.unpack_document(item.body)["document"])
        for item in reply.items
        if item.lane is DownLane.REGISTRY
    ]


async def works(hub: Hub, node: NodeId = A) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in await hub.situation.field_works(node, 50)}


async def ready(hub: Hub) -> Speaker:
    for name in (A, B):
        await import_registry(hub, registry_of(name))
    node = Speaker(hub, A)
    await node.hello()
    return node


def test_an_exchange_becomes_the_next_version_and_its_office_finds_it_done(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        node = await ready(hub)
        read = Proof(MeterId("m-new"), "77", NOON + 90)
        proof = FieldWork("work-3", WorkKind.COMMISSIONED, NOON + 90, PersonId("p-1"), NOON + 90, proof=read)
        ack = await node.send(Lane.CONTROL, record(exchange()), record(proof))
        assert ack.outcome is AckOutcome.APPLIED, ack.reason
        assert (await works(hub))["work-1"]["state"] == "waiting"
        (report,) = await hub.merge_field_works()
        assert (report.version, report.merged, report.refused) == (2, 2, 0)
        first, second = await down(node)
        assert second == replace(merged(first, [exchange(), proof]).registry, version=2)
        told = merged(second, [exchange(), proof])
        assert {one.state for one in told.outcomes.values()} == {WorkState.INCLUDED}
        assert {one["registry_version"] for one in (await works(hub)).values()} == {2}
        assert await hub.merge_field_works() == [], "nothing is left to judge"
        assert (await node.send(Lane.CONTROL, record(exchange()))).outcome is AckOutcome.APPLIED, "sent again by id"
        assert await hub.merge_field_works() == []

    run_hub(tmp_path, story)


def test_what_is_refused_is_named_and_hides_nothing_else(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        node = await ready(hub)
        alarm = AlarmFact("meter_silent", "m-1", START, "no answer", None)
        foreign = exchange("work-9", "m-up-t-b0-0")
        ack = await node.send(Lane.CONTROL, record(foreign), Record("alarm", "alarm-1", alarm.to_body()))
        assert ack.outcome is AckOutcome.APPLIED, ack.reason
        (report,) = await hub.merge_field_works()
        assert (report.version, report.refused) == (None, 1)
        told = (await works(hub))["work-9"]
        assert (told["state"], told["code"]) == ("refused", "TQ-FW-40")
        assert "node-b" in told["reason"]
        kinds = {one["kind"]: one for one in await hub.situation.alarms(None, 10, standing=True)}
        assert kinds.keys() == {"meter_silent", "field_work_refused"}
        assert len(await down(node)) == 1, "no version for nothing"

    run_hub(tmp_path, story)


def test_nobody_is_cut_where_another_office_still_believes_the_meter_to_be(tmp_path: Path) -> None:
    """Its owner would cut its debtor through it, and somebody else would go dark."""

    async def story(hub: Hub, _: HandClock) -> None:
        node = await ready(hub)
        owner = Speaker(hub, B)
        await owner.hello()
        await node.send(Lane.CONTROL, record(exchange("work-9", "m-up-t-b0-0")))
        for _again in range(2):
            await hub.merge_field_works()
            await hub.store.write(lambda tx: tx.rejudge_field_works(A))
        reply = await owner.pull(dict.fromkeys(DownLane, 0))
        (item,) = [one for one in reply.items if one.kind == "protection"]
        body = wire.unpack(item.body, ITEM_LIMITS)
        assert (body["usage_point"], body["kind"]) == ("up-t-b0-0", "dispute")
        assert body["valid_from"] < body["valid_to"]
        mine = await node.pull(dict.fromkeys(DownLane, 0))
        assert [one.kind for one in mine.items if one.kind == "protection"] == []

    run_hub(tmp_path, story)


def test_an_import_made_without_the_work_gets_it_again_and_one_that_contradicts_it_names_it(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        node = await ready(hub)
        await node.send(Lane.CONTROL, record(exchange()))
        await hub.merge_field_works()
        await import_registry(hub, registry_of(A, version=3))
        (report,) = await hub.merge_field_works()
        assert report.version == 4
        assert (await down(node))[-1].meter[MeterId("m-new")].serial == "77"
        bare = registry_of(A, version=5)
        stays = tuple(one for one in bare.installations if one.point != POINT)
        await import_registry(hub, replace(bare, installations=stays))
        (report,) = await hub.merge_field_works()
        assert (report.version, report.refused) == (None, 1)
        assert (await works(hub))["work-1"]["code"] == "TQ-FW-12"
        await import_registry(hub, registry_of(A, version=6))
        assert [one.refused for one in await hub.merge_field_works()] == [0]
        assert await hub.situation.alarms(None, 10, standing=True) == []

    run_hub(tmp_path, story)


def test_one_id_with_two_contents_is_a_conflict_and_the_first_stands(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        node = await ready(hub)
        await node.send(Lane.CONTROL, record(exchange()))
        ack = await node.send(Lane.CONTROL, record(replace(exchange(), by=PersonId("p-other"))))
        assert (ack.outcome, "another content" in ack.reason) == (AckOutcome.APPLIED, True)
        assert (await works(hub))["work-1"]["by"] == "p-fitter"
        assert (await hub.status())["conflicts"] == 1

    run_hub(tmp_path, story)


def test_a_spoilt_or_misdated_work_is_set_aside(tmp_path: Path) -> None:
    async def story(hub: Hub, clock: HandClock) -> None:
        node = await ready(hub)
        spoilt = Record(FIELD_WORK, "work-1", work_to_body(exchange()) | {"kind": "stolen"})
        other = Record(FIELD_WORK, "work-8", work_to_body(exchange()))
        late = exchange("work-7", at=clock.at + 3 * 86_400)
        for one, code in ((spoilt, "TQ-SY-22"), (other, "TQ-HQ-06"), (record(late), "TQ-HQ-03")):
            ack = await node.send(Lane.CONTROL, one)
            assert (ack.outcome, ack.reason[:8]) == (AckOutcome.QUARANTINED, code)
        clock.at += 4 * 86_400
        assert await hub.link.retry(None) == 1, "its time has come"
        assert (await works(hub)).keys() == {"work-7"}

    run_hub(tmp_path, story)


def test_a_newer_hub_reads_what_an_older_one_could_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        node = await ready(hub)
        with monkeypatch.context() as older:
            older.setattr(field_works, "FIELD_WORK", "not_invented_yet")
            ack = await node.send(Lane.CONTROL, record(exchange()))
            assert (ack.outcome, ack.reason[:8]) == (AckOutcome.QUARANTINED, "TQ-HQ-10")
            assert await hub.link.retry(None) == 0
        assert await hub.link.retry(None) == 1
        assert (await works(hub))["work-1"]["state"] == "waiting"

    run_hub(tmp_path, story)


def test_a_day_made_under_the_old_version_with_the_work_in_it_is_booked(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        node = await ready(hub)
        await node.send(Lane.CONTROL, record(removal(START - 3_600)))
        told = merged(registry_of(A), [removal(START - 3_600)]).registry
        links = tuple(one for one in told.transformer_links if one.usage_point != POINT)
        ack = await node.send_chunk(chunk_bytes(replace(told, transformer_links=links), Random(3)))
        assert ack.outcome is AckOutcome.APPLIED, ack.reason

    run_hub(tmp_path, story)


def test_a_database_of_the_first_version_is_brought_forward(tmp_path: Path) -> None:
    async def story() -> None:
        first = await open_database(tmp_path / "hub.db", "hub", load_migrations("central_sync.store")[:1])
        await first.close()
        store = await open_sqlite(tmp_path / "hub.db", b"k" * 32, open_database)
        assert await store.read(lambda tx: tx.field_works(A, 0)) == []
        await store.close()

    asyncio.run(story())
