"""Outages of supply: told from a gateway's own silence, refined by power events, over real DLMS meters and files."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.console.reliability import reliability
from edge_node.metering.outage_watch import JUDGED_AFTER_S
from edge_node.metering.silence import HEARD_S, METERS_MIN, Verdict, Witness, door_of, refined, verdicts
from edge_node.store.absences import Missing
from edge_node.store.outages import Evidence, Outage
from gridmodel.absence import Absence
from gridmodel.event import AlarmKind
from gridmodel.identity import MeterId, TransformerId
from gridmodel.period import HOUR_S
from gridmodel.registry_document import registry_to_document
from protocols.driver import MeterEventKind
from tests.edge_node.metering.dlms_site import BORN, Site, site
from tests.edge_node.metering.small_grid import DISTRICT, QUARTER, ZONE

NEAR, FAR = TransformerId("t-1"), TransformerId("t-2")
HOMES = {f"m-{n}": f"up-{n}" for n in range(1, 8)}
DARK = ("m-1", "m-2", "m-3", "m-4")
"""Those on the near transformer; the others hang on the far one."""
OUT, BACK = BORN + HOUR_S, BORN + 2 * HOUR_S


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 100))


def people(transformer: TransformerId, heard: Iterable[bool], gateway: str | None = None) -> list[Witness]:
    """Meters heard for the interval ending at BORN, or an hour before; each at its own address, or all at one."""
    return [
        Witness(
            MeterId(f"{transformer}-{n}"), transformer, gateway or f"{transformer}-{n}", BORN if one else BORN - 3_600
        )
        for n, one in enumerate(heard)
    ]


def verdict(given: Iterable[Witness], dark: Iterable[TransformerId] = ()) -> Verdict:
    return verdicts(given, BORN, dark)[NEAR]


def test_a_transformer_is_dark_when_its_meters_are_silent_and_others_are_heard() -> None:
    assert verdict([*people(NEAR, [False] * 5), *people(FAR, [True] * 3)]) is Verdict.DARK
    assert verdict([*people(NEAR, [False] * 5), *people(FAR, [False] * 3)]) is Verdict.UNKNOWN, "our own line"
    assert verdict([*people(NEAR, [False] * 2), *people(FAR, [True] * 3)]) is Verdict.UNKNOWN, "two are two faults"
    assert verdict([*people(NEAR, [False] * 5 + [True]), *people(FAR, [True])]) is Verdict.DARK, "one has a battery"
    assert verdict([*people(NEAR, [False] * 3 + [True] * 3), *people(FAR, [True])]) is Verdict.SUPPLIED
    assert verdict([*people(NEAR, [False] * 3 + [True] * 2), *people(FAR, [True])]) is Verdict.UNKNOWN


def test_a_gateways_own_silence_is_a_suspicion_at_most() -> None:
    assert verdict([*people(NEAR, [False] * 5, "g"), *people(FAR, [True] * 3)]) is Verdict.SUSPECT
    shared = [*people(NEAR, [False] * 5, "g"), *people(FAR, [True] * 3, "g")]
    assert verdict(shared) is Verdict.DARK, "the gateway answers for others"


def test_meters_behind_one_concentrator_share_its_door_whatever_else_their_addresses_say() -> None:
    one = "10.1.2.3:4059"
    for address in (one, f"tcp://{one}", f"wrapper://{one}?server=273&via=plc_wrapper", f"hdlc://{one}?physical=17"):
        assert door_of(address) == one
    assert door_of("rtu://Gateway.Example:502") == "gateway.example:502"


def test_a_concentrators_own_silence_darkens_nobody(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path, points=HOMES, far=[p for m, p in HOMES.items() if m not in DARK]) as one:
            await minutes(one, BORN, OUT)
            behind = {meter: f"wrapper://10.0.0.9:4059?server={300 + n}&via=bench" for n, meter in enumerate(DARK)}
            moved = tuple(replace(m, address=behind.get(m.id, m.address)) for m in one.registry.meters)
            registry = replace(one.registry, version=one.registry.version + 1, meters=moved)
            await one.store.registries.put(registry_to_document(registry), one.clock.now())
            one.hush(*DARK)
            await minutes(one, OUT + QUARTER, OUT + 3 * QUARTER)
            (found,) = (await one.store.outages.running()).values()
            assert found.evidence is Evidence.GATEWAY_SILENT
            assert await one.store.outages.since(0) == []
            assert await standing(one) == frozenset()

    run(story)


@pytest.mark.parametrize("reason", [Absence.SECURITY, Absence.REFUSED, Absence.INTERVAL_OVER, Absence.QUEUE_FULL])
def test_whoever_answers_or_was_not_asked_is_not_dark(tmp_path: Path, reason: Absence) -> None:
    async def story() -> None:
        async with site(tmp_path, points=HOMES, far=[p for m, p in HOMES.items() if m not in DARK]) as one:
            await minutes(one, BORN, OUT)
            one.hush(*DARK)
            await one.store.absences.put([(meter, Missing(reason, OUT, "")) for meter in DARK])
            await minutes(one, OUT + QUARTER, OUT + 3 * QUARTER)
            assert await one.store.outages.running() == {}
            await one.store.absences.put([(meter, Missing(Absence.SILENT, OUT, "")) for meter in DARK])
            await minutes(one, OUT + 4 * QUARTER, OUT + 4 * QUARTER)
            assert set(await one.store.outages.running()) == {NEAR}

    run(story)


def test_an_outage_ends_with_the_last_consumer_of_its_transformer(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path, points=HOMES, far=[p for m, p in HOMES.items() if m not in DARK]) as one:
            await minutes(one, BORN, OUT)
            one.hush(*DARK)
            await minutes(one, OUT + QUARTER, OUT + 2 * QUARTER)
            assert set(await one.store.outages.running()) == {NEAR}
            links = tuple(replace(link, transformer=FAR) for link in one.registry.transformer_links)
            registry = replace(one.registry, version=one.registry.version + 1, transformer_links=links)
            await one.store.registries.put(registry_to_document(registry), one.clock.now())
            await minutes(one, OUT + 3 * QUARTER, OUT + 3 * QUARTER)
            assert await one.store.outages.running() == {}
            assert await standing(one) == frozenset()

    run(story)


def test_the_transformers_own_meter_proves_supply() -> None:
    own = Witness(MeterId("m-t"), NEAR, "own", BORN, own=True)
    assert verdict([*people(NEAR, [False] * 5), own, *people(FAR, [True])]) is Verdict.SUPPLIED


def test_meters_that_were_dead_before_are_no_witnesses() -> None:
    old = [Witness(MeterId(f"m-{n}"), NEAR, f"a-{n}", BORN - HEARD_S - 1) for n in range(9)]
    assert NEAR not in verdicts([*old, *people(FAR, [True])], BORN, ())
    assert verdict([*old, *people(FAR, [True])], [NEAR]) is Verdict.DARK, "an outage may last longer than that"


@given(
    st.lists(st.tuples(st.sampled_from(["t-1", "t-2", "t-3"]), st.sampled_from(["", "g-1", "g-2"]), st.booleans())),
    st.sets(st.sampled_from(["t-1", "t-2", "t-3"])),
)
def test_nobody_is_dark_without_enough_silent_meters_of_living_gateways(
    drawn: list[tuple[str, str, bool]], dark: set[str]
) -> None:
    given = [
        Witness(MeterId(f"m-{n}"), TransformerId(t), gateway or f"own-{n}", BORN if heard else BORN - 900)
        for n, (t, gateway, heard) in enumerate(drawn)
    ]
    alive = {one.door for one in given if one.heard_at == BORN}
    shared = [one.door for one in given]
    for transformer, found in verdicts(given, BORN, map(TransformerId, dark)).items():
        own = [one for one in given if one.transformer == transformer]
        silent = [one for one in own if one.heard_at != BORN]
        telling = [one for one in silent if one.door in alive or shared.count(one.door) == 1]
        if found is Verdict.DARK:
            assert len(telling) >= METERS_MIN
            assert any(one.heard_at == BORN for one in given if one.transformer != transformer)
        if found is Verdict.SUPPLIED:
            assert len(silent) < len(own)
        if found is Verdict.SUSPECT:
            assert len(silent) == len(own)


def test_power_events_refine_by_the_median_and_need_more_than_one_phase() -> None:
    down, up = MeterEventKind.POWER_DOWN, MeterEventKind.POWER_UP
    events = [
        (MeterId(f"m-{n}"), at, kind)
        for n, error in enumerate([0, 2, 3_000])
        for at, kind in ((BORN + 400 + error, down), (BORN + 5_000 + error, up))
    ]
    assert refined(BORN, BORN + 5_400, 10, events) == (BORN + 402, BORN + 5_002)
    assert refined(BORN, BORN + 5_400, 16, events) is None
    assert refined(BORN, BORN + 5_400, 2, events[::2]) is None, "all lost it, none has it back"


def test_two_outages_within_an_hour_are_not_counted_into_each_other() -> None:
    down, up = MeterEventKind.POWER_DOWN, MeterEventKind.POWER_UP
    first, second = (BORN + 100, BORN + 1_700), (BORN + 2_800, BORN + 4_400)
    events = [
        (MeterId(f"m-{n}"), at + n, kind)
        for n in range(4)
        for pair in (first, second)
        for at, kind in zip(pair, (down, up), strict=True)
    ]
    assert refined(BORN, BORN + 1_800, 4, events) == (first[0] + 1, first[1] + 1)
    assert refined(BORN + 2_700, BORN + 4_500, 4, events) == (second[0] + 1, second[1] + 1)
    slow = [one for one in events if one[1] < BORN + 2_000]
    assert refined(BORN + 3_000, BORN + 5_000, 4, slow) == (first[0] + 1, first[1] + 1), "clocks may be slow"


async def minutes(one: Site, first: int, last: int) -> None:
    """Polls at each interval's end, and a look at supply a few minutes later."""
    for end in range(first, last + 1, QUARTER):
        one.clock.at = end + 60
        await one.poll()
        one.clock.at = end + 200
        await one.outage_watch.tick()


async def standing(one: Site) -> frozenset[str]:
    return await one.store.alarms.subjects(AlarmKind.SUPPLY_OUTAGE)


def test_an_outage_is_inferred_told_ended_and_refined(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path, points=HOMES, far=[p for m, p in HOMES.items() if m not in DARK]) as one:
            await minutes(one, BORN, OUT)
            assert await one.store.outages.running() == {}
            one.hush(*DARK)
            await minutes(one, OUT + QUARTER, OUT + 2 * QUARTER)
            (found,) = (await one.store.outages.running()).values()
            assert (found.transformer, found.began_at, found.customers) == (NEAR, OUT, 4)
            assert found.evidence is Evidence.METERS_SILENT
            assert await standing(one) == {NEAR}
            (line,) = await reliability(one.store, ZONE, one.clock.now())
            assert (line["running"], line["customers_dark"], line["customers"]) == (1, 4, 7)
            one.hush(*DARK, silent=False)
            await minutes(one, BACK, BACK + QUARTER)
            assert await standing(one) == frozenset()
            (ended,) = await one.store.outages.since(0)
            assert (ended.began_at, ended.ended_at, ended.judged_at) == (OUT, BACK, None)
            for meter in DARK:
                one.meters[meter].events = {"standard": [(OUT + 120, 1), (BACK - 300, 2)]}
            one.clock.at = BACK + QUARTER + 300
            await one.event_reading.tick()
            await minutes(one, BACK + 2 * QUARTER, BACK + 2 * QUARTER)
            (refined_one,) = await one.store.outages.since(0)
            assert (refined_one.began_at, refined_one.ended_at) == (OUT + 120, BACK - 300)
            assert refined_one.evidence is Evidence.POWER_EVENTS
            (line,) = await reliability(one.store, ZONE, one.clock.now())
            assert line["year"]["outages"] == line["month"]["outages"] == 1
            assert line["month"]["saifi"] == round(4 / 7, 4)
            assert line["month"]["saidi_min"] == round(4 / 7 * (HOUR_S - 420) / 60, 2)

    run(story)


def test_a_node_that_starts_within_an_outage_goes_on_with_it(tmp_path: Path) -> None:
    async def story() -> None:
        far = [point for meter, point in HOMES.items() if meter not in DARK]
        async with site(tmp_path, points=HOMES, far=far) as one:
            await minutes(one, BORN, OUT)
            one.hush(*DARK)
            await minutes(one, OUT + QUARTER, OUT + 2 * QUARTER)
            before = await one.store.outages.running()
            assert set(before) == {NEAR}
        async with site(tmp_path, now=BACK + 60, points=HOMES, far=far) as again:
            again.hush(*DARK)
            await minutes(again, BACK, BACK + QUARTER)
            assert await again.store.outages.running() == before
            again.hush(*DARK, silent=False)
            await minutes(again, BACK + 2 * QUARTER, BACK + 3 * QUARTER)
            assert await again.store.outages.running() == {}
            (ended,) = await again.store.outages.since(0)
            assert ended.ended_at == BACK + 2 * QUARTER

    run(story)


def test_a_suspicion_goes_unless_power_events_confirm_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with site(tmp_path, points=HOMES, far=["up-5", "up-6", "up-7"]) as one:
            outages = one.store.outages
            await minutes(one, BORN, BORN + QUARTER)
            suspected = [
                Outage(
                    f"outage-{transformer}",
                    transformer,
                    DISTRICT,
                    BORN + HOUR_S,
                    BORN + 2 * HOUR_S,
                    3,
                    Evidence.GATEWAY_SILENT,
                    BORN,
                )
                for transformer in (NEAR, FAR)
            ]
            await outages.put(suspected, one.clock.now())
            assert await outages.since(0) == [], "a suspicion counts nowhere"
            assert await standing(one) == frozenset()
            for meter in DARK:
                one.meters[meter].events = {"standard": [(BORN + HOUR_S + 5, 1), (BORN + 2 * HOUR_S - 5, 2)]}
            one.clock.at = BORN + 2 * HOUR_S + 300
            await one.event_reading.tick()
            await minutes(one, BORN + 2 * HOUR_S + QUARTER, BORN + 2 * HOUR_S + QUARTER)
            (confirmed,) = await outages.since(0)
            assert (confirmed.transformer, confirmed.evidence) == (NEAR, Evidence.POWER_EVENTS)
            later = (BORN + 2 * HOUR_S + JUDGED_AFTER_S) // QUARTER * QUARTER + QUARTER
            await minutes(one, later, later)
            assert await outages.unjudged() == []
            assert len(await outages.since(0)) == 1

    run(story)
