"""Whatever order hours and days come in: the same balances, all levels equal, and what is unknown is said."""

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from central_sync.balance.cells import AREA_COLUMNS, HOURS, PLACE_COLUMNS, empty_day, pack, unpack
from central_sync.hub import Hub
from gridmodel.balance import HourCell
from gridmodel.identity import DistrictId, FeederId, SupplyPointId, TransformerId
from gridmodel.network import Feeder, FeederLink, SupplyPoint, SupplyPointKind
from gridmodel.period import HOUR_S, rfc3339
from protocols.sync.batch import Batch
from protocols.sync.lanes import AckOutcome, Lane
from tests.central_sync.hub_rig import (
    DAY,
    DISTRICTS,
    END,
    PER_HOUR,
    START,
    A,
    B,
    HandClock,
    Speaker,
    areas,
    chunk_bytes,
    hour_record,
    import_registry,
    open_hub,
    registry_of,
    run_hub,
    supply_cell,
    transformer_cell,
)

LEVELS = ("district", "region", "republic")
SUMMED = ("supplied_wh", "delivered_wh", "exported_wh", "points_expected", "points_actual", "points_missing")


async def assert_levels_agree(hub: Hub) -> None:
    for period, at in (("hour", rfc3339(START + 5 * HOUR_S)), ("day", DAY), ("month", DAY[:7]), ("year", DAY[:4])):
        told = {level: await areas(hub, level, period, at) for level in LEVELS}
        (republic,) = told["republic"].values()
        for level in LEVELS:
            for name in SUMMED:
                assert sum(area[name] for area in told[level].values()) == republic[name], (level, period, name)
            for area in told[level].values():
                for name in ("supplied_wh", "delivered_wh"):
                    assert sum(node[name] for node in area["nodes"]) == area[name], (level, period, name)


async def batches_of(hub: Hub, rng: Random) -> list[tuple[Speaker, Batch]]:
    """Summaries with corrections, day chunks with corrections, of both nodes, each sealed in its own lane's order."""
    found = []
    for node in (A, B):
        registry = registry_of(node)
        await import_registry(hub, registry)
        speaker = Speaker(hub, node)
        places = [*(one.id for one in registry.transformers)]
        numbers = rng.sample(range(1, 10_000), 6)
        for number in numbers:
            end = START + rng.randrange(1, 25) * HOUR_S
            records = [
                hour_record(place, end, transformer_cell(rng), number, rng.choice([1, 2]))
                for place in rng.sample(places, 2)
            ]
            records.append(hour_record(f"head-{node[-1]}", end, supply_cell(rng.randrange(99_000)), number))
            if node == A:
                records.append(hour_record("bp-ab", end, supply_cell(rng.randrange(-9_000, 9_000)), number))
            found.append((speaker, speaker.seal_records(Lane.SUMMARY, records)))
        found += [
            (speaker, speaker.seal(Lane.INTERVAL, chunk_bytes(registry, rng, number=number)))
            for number in rng.sample(range(1, 100), 2)
        ]
    return found


async def deliver(batches: list[tuple[Speaker, Batch]], rng: Random) -> None:
    """In any order that lanes allow (gaps are refused and come again), some twice, in pushes of any size."""
    waiting = list(batches)
    rng.shuffle(waiting)
    while waiting:
        left = []
        for speaker, batch in waiting:
            (ack,) = await speaker.push(batch)
            if ack.outcome is AckOutcome.GAP:
                left.append((speaker, batch))
                continue
            assert ack.outcome is AckOutcome.APPLIED, ack.reason
            if rng.random() < 0.3:
                (again,) = await speaker.push(batch)
                assert again.outcome is AckOutcome.DUPLICATE
        waiting = left


async def state_of(folder: Path, seed: int, order: int) -> object:
    hub = await open_hub(folder, HandClock(END + HOUR_S))
    try:
        batches = await batches_of(hub, Random(seed))
        await deliver(batches, Random(order))
        report = await hub.verify()
        assert report.differences == []
        assert report.chunks == 2
        await assert_levels_agree(hub)
        told = [
            await areas(hub, level, period, at)
            for level in ("transformer", "feeder", "district")
            for period, at in (("day", DAY), ("month", DAY[:7]))
        ]
        for one in told:
            for area in one.values():
                area.pop("nodes")
        return told
    finally:
        await hub.close()


@given(seed=st.integers(0, 2**32), first=st.integers(0, 2**32), second=st.integers(0, 2**32))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_gives_the_same_balances(
    tmp_path_factory: pytest.TempPathFactory, seed: int, first: int, second: int
) -> None:
    folders = [tmp_path_factory.mktemp("hub") for _ in range(2)]
    one = asyncio.run(state_of(folders[0], seed, first))
    other = asyncio.run(state_of(folders[1], seed, second))
    assert one == other


def test_levels_agree_while_data_are_late_and_after(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        rng = Random(5)
        batches = await batches_of(hub, rng)
        await assert_levels_agree(hub)
        for speaker, batch in batches:
            await speaker.push(batch)
            await assert_levels_agree(hub)

    run_hub(tmp_path, story)


def test_a_day_becomes_final_and_a_correction_replaces(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        registry = registry_of(A)
        await import_registry(hub, registry)
        node = Speaker(hub, A)
        cell = transformer_cell(Random(9))
        await node.send(Lane.SUMMARY, hour_record("t-a0", START + HOUR_S, cell))
        assert not (await areas(hub, "transformer", "day", DAY, "t-a0"))["t-a0"]["final"]
        assert (await node.send_chunk(chunk_bytes(registry, Random(1), number=1))).outcome is AckOutcome.APPLIED
        first = (await areas(hub, "transformer", "day", DAY, "t-a0"))["t-a0"]
        assert first["final"]
        assert (await areas(hub, "republic", "day", DAY))["17"]["final"]
        await node.send(Lane.SUMMARY, hour_record("t-a0", START + HOUR_S, cell, number=99, epoch=9))
        assert (await areas(hub, "transformer", "day", DAY, "t-a0"))["t-a0"] == first | {"nodes": [first["nodes"][0]]}
        await node.send_chunk(chunk_bytes(registry, Random(2), number=7))
        corrected = (await areas(hub, "transformer", "day", DAY, "t-a0"))["t-a0"]
        assert corrected["delivered_wh"] != first["delivered_wh"]
        await node.send_chunk(chunk_bytes(registry, Random(3), number=6))
        assert (await areas(hub, "transformer", "day", DAY, "t-a0"))["t-a0"] == corrected

    run_hub(tmp_path, story)


def test_one_revision_with_two_contents_is_set_aside(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        registry = registry_of(A)
        await import_registry(hub, registry)
        node = Speaker(hub, A)
        await node.send_chunk(chunk_bytes(registry, Random(1), number=1))
        before = await areas(hub, "transformer", "day", DAY)
        ack = await node.send_chunk(chunk_bytes(registry, Random(2), number=1))
        assert (ack.outcome, ack.reason[:8]) == (AckOutcome.QUARANTINED, "TQ-HQ-06")
        assert (await node.send_chunk(chunk_bytes(registry, Random(1), number=1))).outcome is AckOutcome.APPLIED
        assert await areas(hub, "transformer", "day", DAY) == before

    run_hub(tmp_path, story)


def test_boundaries_are_booked_to_both_districts_and_generators_to_theirs(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, registry_of(A))
        await import_registry(hub, registry_of(B))
        node, end = Speaker(hub, A), START + HOUR_S
        await node.send(
            Lane.SUMMARY,
            hour_record("bp-ab", end, supply_cell(500)),
            hour_record("gen-a", end, supply_cell(40)),
            hour_record("head-a", end, supply_cell(1_000)),
        )
        told = await areas(hub, "district", "hour", rfc3339(end))
        assert told[DISTRICTS[A]]["supplied_wh"] == 1_540
        assert told[DISTRICTS[B]]["supplied_wh"] == -500
        assert [one["id"] for one in told[DISTRICTS[B]]["nodes"]] == [A, B]
        assert (await areas(hub, "republic", "hour", rfc3339(end)))["17"]["supplied_wh"] == 1_040
        assert (await areas(hub, "feeder", "hour", rfc3339(end)))["f-a"]["supplied_wh"] == 1_000

    run_hub(tmp_path, story)


def test_a_plant_that_names_its_feeder_supplies_that_feeder(tmp_path: Path) -> None:
    """Without it, what the plant feeds in looks like a loss below zero."""

    async def story(hub: Hub, _: HandClock) -> None:
        plant = SupplyPoint(SupplyPointId("gen-a"), SupplyPointKind.GENERATOR, DistrictId(DISTRICTS[A]))
        before = registry_of(A)
        points = [one for one in before.supply_points if one.id != plant.id]
        on_feeder = replace(plant, feeder=before.feeders[0].id)
        await import_registry(hub, replace(before, supply_points=(*points, on_feeder)))
        node, end = Speaker(hub, A), START + HOUR_S
        await node.send(
            Lane.SUMMARY, hour_record("gen-a", end, supply_cell(40)), hour_record("head-a", end, supply_cell(1_000))
        )
        for level in ("feeder", "substation", "district"):
            (told,) = [one for one in (await areas(hub, level, "hour", rfc3339(end))).values() if one["supplied_wh"]]
            assert told["supplied_wh"] == 1_040, level

    run_hub(tmp_path, story)


def test_a_loss_is_told_only_when_all_is_known(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        await import_registry(hub, registry_of(B, transformers=1))
        node, end = Speaker(hub, B), START + HOUR_S
        whole = HourCell(
            supplied_wh=9_800,
            delivered_wh=9_600,
            supply_expected=PER_HOUR,
            points_expected=2 * PER_HOUR,
            points_actual=2 * PER_HOUR,
        )
        await node.send(Lane.SUMMARY, hour_record("t-b0", end, whole))
        feeder = (await areas(hub, "feeder", "hour", rfc3339(end)))["f-b"]
        assert (feeder["loss_wh"], feeder["supply_missing"]) == (None, PER_HOUR), "its head has not reported"
        assert (await areas(hub, "transformer", "hour", rfc3339(end)))["t-b0"]["loss_wh"] == 200
        await node.send(Lane.SUMMARY, hour_record("head-b", end, supply_cell(10_000)))
        feeder = (await areas(hub, "feeder", "hour", rfc3339(end)))["f-b"]
        assert (feeder["loss_wh"], feeder["loss_pct"], feeder["completeness_pct"]) == (400, 4.0, 100.0)
        day = (await areas(hub, "feeder", "day", DAY))["f-b"]
        assert (day["loss_wh"], day["points_missing"]) == (None, 23 * 2 * PER_HOUR), "23 hours never came"

    run_hub(tmp_path, story)


def test_hours_that_have_not_come_yet_are_not_missing(tmp_path: Path) -> None:
    async def story(hub: Hub, clock: HandClock) -> None:
        await import_registry(hub, registry_of(B))
        assert (await areas(hub, "district", "day", DAY))[DISTRICTS[B]]["points_expected"] == 10 * 4 * PER_HOUR
        clock.at = END
        assert (await areas(hub, "district", "day", DAY))[DISTRICTS[B]]["points_expected"] == 24 * 4 * PER_HOUR

    run_hub(tmp_path, story, at=START + 10 * HOUR_S + 60)


def test_energy_stays_under_the_parents_of_its_own_hour(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        moved = START + 12 * HOUR_S
        base = registry_of(B)
        t0, t1 = TransformerId("t-b0"), TransformerId("t-b1")
        second = Feeder(FeederId("f-b2"), base.substations[0].id, "Feeder b2")
        registry = registry_of(
            B,
            feeders=(*base.feeders, second),
            feeder_links=(
                FeederLink(t0, FeederId("f-b"), START - 86_400, moved),
                FeederLink(t0, second.id, moved),
                FeederLink(t1, FeederId("f-b"), START - 86_400),
            ),
        )
        await import_registry(hub, registry)
        node = Speaker(hub, B)
        await node.send_chunk(chunk_bytes(registry, Random(1)))
        first, other = (await areas(hub, "feeder", "day", DAY))["f-b"], (await areas(hub, "feeder", "day", DAY))["f-b2"]
        by_hour = [
            (await areas(hub, "transformer", "hour", rfc3339(START + n * HOUR_S)))["t-b0"]["delivered_wh"]
            for n in range(1, 25)
        ]
        assert other["delivered_wh"] == sum(by_hour[12:])
        whole = await areas(hub, "transformer", "day", DAY)
        assert first["delivered_wh"] == whole["t-b1"]["delivered_wh"] + sum(by_hour[:12])
        substation = (await areas(hub, "substation", "day", DAY))["ss-b"]
        assert substation["delivered_wh"] == first["delivered_wh"] + other["delivered_wh"]
        assert substation["loss_wh"] is None, "the second feeder has no meter at its head"
        assert (await hub.verify()).differences == []

    run_hub(tmp_path, story)


def test_the_audit_finds_a_row_that_was_moved_wrong(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        registry = registry_of(A)
        await import_registry(hub, registry)
        await Speaker(hub, A).send_chunk(chunk_bytes(registry, Random(1)))
        assert (await hub.verify()).differences == []  # and what was right once is worked out anew when it is another
        key = ("feeder", "f-a")
        states = await hub.store.read(lambda tx: tx.balance_days(A, DAY, [key]))
        wrong = unpack(states[key], HOURS, AREA_COLUMNS)
        wrong[4, 1] += 1
        await hub.store.write(lambda tx: tx.put_balance_days(A, DAY, {key: pack(wrong)}))
        report = await hub.verify()
        assert [one for one in report.differences if "feeder f-a" in one]
        (alarm,) = await hub.situation.alarms(None, 10, standing=True)
        assert alarm["kind"] == "balance_differs"

    run_hub(tmp_path, story)


def test_the_audit_finds_a_place_or_a_chunk_that_was_altered_after_it_was_right(tmp_path: Path) -> None:
    async def story(hub: Hub, _: HandClock) -> None:
        registry = registry_of(A)
        await import_registry(hub, registry)
        await Speaker(hub, A).send_chunk(chunk_bytes(registry, Random(1)))
        for _again in range(2):
            report = await hub.verify()
            assert (report.differences, report.days, report.chunks) == ([], 1, 1)
        rows = await hub.store.read(lambda tx: tx.all_place_days(DAY, A))
        row = next(one for one in rows if one.chunk is not None)
        state = unpack(row.state, HOURS, PLACE_COLUMNS)
        state[4, 1] += 1
        await hub.store.write(lambda tx: tx.put_place_days([replace(row, state=pack(state))]))
        assert any(row.place in one for one in (await hub.verify()).differences)
        await hub.store.write(lambda tx: tx.put_place_days([row]))
        assert (await hub.verify()).differences == []
        chunk = await hub.store.read(lambda tx: tx.chunk(row.chunk or ""))
        assert chunk is not None
        await hub.store.write(lambda tx: tx.put_chunk(replace(chunk, content=chunk.content[:-1] + b"?")))
        assert any("the blob is not what was received" in one for one in (await hub.verify()).differences)

    run_hub(tmp_path, story)


def test_states_survive_packing() -> None:
    state = empty_day("transformer").state.copy()
    state[3, 2] = -(2**53)
    assert (unpack(pack(state), HOURS, state.shape[1]) == state).all()
