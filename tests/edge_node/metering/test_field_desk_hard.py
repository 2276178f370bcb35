"""Field works as they come in life: late papers, one paper twice, wrong addresses, registers that wrapped."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_node.metering.field_desk import FieldDesk
from edge_node.metering.field_drafts import Draft
from edge_node.store.field_works import FieldWorks, StoredWorks, held_registry
from gridmodel.field_merge import WorkState, merged
from gridmodel.field_work import WorkKind
from gridmodel.identity import MeterId
from gridmodel.network import Meter
from gridmodel.period import HOUR_S
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel
from hosting.database import Connection
from protocols.profile import MeterProfile
from simulate.loop import run_virtual
from tests.edge_node.metering.small_grid import BOTH, PROFILES, QUARTER, Office, grid, link, office, placed
from tests.edge_node.metering.test_exchanges import (
    BEGUN_WH,
    FINAL_WH,
    IMPORT,
    NEW_WH,
    NOON,
    OLD_START,
    OLD_WH,
    SWAP,
    late,
    play,
)
from tests.edge_node.metering.test_field_desk import NEW, before, desk_of, draft, installed, refusal


def wrapping(register_wh_wrap: int) -> Mapping[str, MeterProfile]:
    return {**PROFILES, "sdm630": replace(PROFILES["sdm630"], register_wh_wrap=register_wh_wrap)}


def telling() -> Mapping[str, MeterProfile]:
    """The same model, if it told its serial number."""
    plain = PROFILES["sdm630"]
    golden = tuple(one.model_copy(update={"serial": "1"}) for one in plain.golden)
    return {**PROFILES, "sdm630": replace(plain, golden=golden)}


def desk_with(one: Office, profiles: Mapping[str, MeterProfile]) -> FieldDesk:
    desk = desk_of(one)
    desk._profiles = profiles
    return desk


@pytest.mark.parametrize(
    "other",
    [
        {"new": replace(NEW, serial="another")},
        {"new": replace(NEW, address="10.0.0.8:502")},
        {"multiplier": Multiplier(40)},
        {"seals": ("A-100",)},
        {"start_wh": {Channel.EXPORT: BEGUN_WH}},
        {"point": "up-2"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_name_with_another_content_is_never_taken_for_a_repetition(tmp_path: Path, other: dict[str, Any]) -> None:
    async def story() -> None:
        async with office(tmp_path, now=NOON) as one:
            await one.take(before())
            await one.clock.sleep_until(NOON + 600)
            desk = desk_of(one)
            assert (await desk.record(draft())).new
            assert not (await desk.record(draft(at=None))).new
            assert await refusal(desk.record(draft(**other))) == "TQ-FW-10"

    run_virtual(story())


@pytest.mark.parametrize(
    "other",
    [
        {"final_wh": {Channel.IMPORT: FINAL_WH + 300}},
        {"start_wh": {Channel.IMPORT: BEGUN_WH + 1}},
        {"multiplier": Multiplier(40)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_one_exchange_on_two_papers_that_differ_is_named(tmp_path: Path, other: dict[str, Any]) -> None:
    async def story() -> None:
        async with office(tmp_path, now=NOON) as one:
            await one.take(before())
            await one.clock.sleep_until(NOON + 600)
            desk = desk_of(one)
            await desk.record(draft())
            again = draft(id="work-7", old=MeterId("m-old"), **other)
            assert await refusal(desk.record(again)) == "TQ-FW-19"
            assert await refusal(desk.record(draft(id="work-7", old=MeterId("m-old")))) == "TQ-FW-29"

    run_virtual(story())


def test_a_late_paper_of_a_meter_without_a_serial_is_taken_and_booked(tmp_path: Path) -> None:
    """Till the evening the new meter was read under the old one's name, at the same address."""

    def there(now: int) -> Mapping[Channel, int | None]:
        quarters = (now - NOON) // QUARTER
        if quarters < 1:
            return {Channel.IMPORT: OLD_START + OLD_WH * (48 + quarters)}
        return {Channel.IMPORT: BEGUN_WH + 90 + NEW_WH * (quarters - 1)}

    async def story() -> None:
        async with office(tmp_path, now=NOON - 2 * HOUR_S) as one:
            play(one)
            one.meters.registers["m-old"] = one.meters.registers["m-new"] = there
            await one.take(before())
            await one.live(NOON + 4 * HOUR_S + 600)
            paper = draft(new=replace(NEW, address="10.0.0.2:502"))
            assert await refusal(desk_with(one, telling()).record(paper)) == "TQ-FW-25", "it would have told"
            wrong = replace(paper, final_wh={Channel.IMPORT: FINAL_WH - 2_000})
            assert await refusal(desk_of(one).record(wrong)) == "TQ-FW-23", "held against what was read before it"
            await desk_of(one).record(paper)
            await one.live(NOON + 6 * HOUR_S + 600)
            await late(one).tick(one.clock.now())
            booked = (await one.booked())["up-1", IMPORT]
            ends = range(NOON - HOUR_S + QUARTER, NOON + 6 * HOUR_S + 1, QUARTER)
            assert [end for end in ends if end not in booked] == []
            assert sum(booked[end][0] for end in ends) == 4 * OLD_WH + 70 + 90 + 23 * NEW_WH

    run_virtual(story())


def test_a_move_entered_late_takes_its_energy_along_and_counts_it_once(tmp_path: Path) -> None:
    """The meter keeps its address: for four hours it was read under its old point."""

    async def story() -> None:
        async with office(tmp_path, now=NOON - 2 * HOUR_S) as one:
            play(one)
            await one.take(before())
            await one.live(NOON + 4 * HOUR_S + 600)
            finals = {Channel.IMPORT: OLD_START + 48 * OLD_WH + 70}
            move = draft(WorkKind.MOVED, to_point="up-3", new=None, final_wh=finals, start_wh={}, photo=None)
            await desk_of(one).record(move)
            await one.live(NOON + 5 * HOUR_S + 600)
            await late(one).tick(one.clock.now())
            await one.live(NOON + 8 * HOUR_S)
            booked = await one.booked()
            ends = range(NOON + QUARTER, NOON + 5 * HOUR_S + 1, QUARTER)
            assert sum(booked["up-3", IMPORT][end][0] for end in ends) == 20 * OLD_WH - 70
            cells = await one.all_cells()
            delivered = sum(cells[NOON + n * HOUR_S]["t-1"].delivered_wh for n in range(6))
            assert delivered == 24 * (OLD_WH + 100), "neither twice nor lost: m-old and m-2, over six hours"
            assert cells[NOON + 2 * HOUR_S]["t-1"].points_expected == 8

    run_virtual(story())


def test_two_meters_never_stand_at_one_address(tmp_path: Path) -> None:
    """A wrong unit would have the neighbour's energy booked twice, and no serial number tells."""

    async def story() -> None:
        async with office(tmp_path, now=NOON) as one:
            await one.take(before())
            await one.clock.sleep_until(NOON + 600)
            desk, there = desk_of(one), one.registries.current().meter[MeterId("m-2")].address
            assert await refusal(desk.record(draft(new=replace(NEW, address=there)))) == "TQ-FW-33"
            assert await refusal(desk.record(installed(new=replace(NEW, address=there)))) == "TQ-FW-33"
            assert (await desk.record(draft(new=replace(NEW, address=there, unit=2)))).new

    run_virtual(story())


def test_a_serial_number_with_a_blank_is_still_that_of_another(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path, now=NOON) as one:
            registry = before()
            blank = tuple(replace(one, serial=f" {one.serial}") if one.id == "m-2" else one for one in registry.meters)
            await one.take(replace(registry, meters=blank))
            await one.clock.sleep_until(NOON + 600)
            assert await refusal(desk_of(one).record(draft(new=replace(NEW, serial="serial-m-2")))) == "TQ-FW-15"

    run_virtual(story())


def test_an_exchange_that_would_forget_a_channel_is_refused(tmp_path: Path) -> None:
    """A home that feeds back got a new meter; left empty, its export would be counted by nobody from now on."""

    async def story() -> None:
        async with office(tmp_path, now=NOON) as one:
            await one.take(grid([link("up-1", "t-1")], [placed("m-old", "up-1", BOTH)]))
            await one.clock.sleep_until(NOON + 600)
            finals = {Channel.IMPORT: FINAL_WH, Channel.EXPORT: 9}
            desk = desk_of(one)
            assert await refusal(desk.record(draft(final_wh=finals))) == "TQ-FW-17"
            both: Draft = draft(final_wh=finals, start_wh={Channel.IMPORT: 0, Channel.EXPORT: 0})
            assert (await desk.record(both)).new

    run_virtual(story())


@pytest.mark.parametrize(
    ("wrap_wh", "final_wh", "taken"),
    [(OLD_START + 48 * OLD_WH + 100, 150, True), (10**8, OLD_START, False)],
    ids=["wrapped", "a digit too few"],
)
def test_an_old_meter_may_have_wrapped_since_it_was_read(
    tmp_path: Path, wrap_wh: int, final_wh: int, taken: bool
) -> None:
    async def story() -> None:
        async with office(tmp_path, now=NOON - HOUR_S) as one:
            play(one)
            await one.take(before())
            await one.live(NOON + 200)
            one.meters.silent = {"m-old"}
            await one.live(SWAP + 60)
            asked = desk_with(one, wrapping(wrap_wh)).record(draft(final_wh={Channel.IMPORT: final_wh}))
            assert (await asked).new if taken else await refusal(asked) == "TQ-FW-23"

    run_virtual(story())


def test_a_work_that_the_centre_has_and_does_not_take_over_is_told_at_home(tmp_path: Path) -> None:
    """The hub refused it (the meter is another office's): no version comes, and nobody here would hear of it."""

    async def story() -> None:
        async with office(tmp_path, now=NOON) as one:
            await one.take(before())
            await one.clock.sleep_until(NOON + 600)
            desk = desk_of(one)
            await desk.record(draft())
            await one.clock.sleep_until(NOON + 6 * HOUR_S)
            assert await desk.look(one.clock.now()) == 0, "the line is down: nobody has heard of it"
            await acknowledged(one, one.clock.now())
            await one.clock.sleep_until(NOON + 7 * HOUR_S)
            assert await desk.look(one.clock.now()) == 0
            await one.clock.sleep_until(NOON + 9 * HOUR_S)
            assert await desk.look(one.clock.now()) == 1
            (alarm,) = await one.alarms.standing()
            assert (alarm.subject, alarm.detail[:8]) == ("work-1", "TQ-FW-34")
            assert await desk.look(one.clock.now()) == 1
            await one.take(replace(one.registries.current(), version=2))
            assert await desk.look(one.clock.now()) == 0
            assert await one.alarms.standing() == []

    run_virtual(story())


def test_works_that_the_version_holds_are_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An office that exchanged tens of thousands of meters would else read them all for each further one."""
    looked_at: list[int] = []
    read = FieldWorks.read

    def counted(self: FieldWorks, rows: list[tuple[Any, ...]]) -> StoredWorks:
        looked_at.append(len(rows))
        return read(self, rows)

    monkeypatch.setattr(FieldWorks, "read", counted)

    async def story() -> None:
        async with office(tmp_path, now=NOON) as one:
            await one.take(before())
            await one.clock.sleep_until(NOON + 3_000)
            desk = desk_of(one)
            works = [(await desk.record(draft())).work]
            works.append((await desk.record(installed(at=NOON + 600, new=third(3)))).work)
            base = one.registries.current()
            await one.take(replace(base, version=2))
            assert {told.state for told in one.registries.outcomes.values()} == {WorkState.INCLUDED}
            looked_at.clear()
            gone = draft(WorkKind.REMOVED, id="work-3", point="up-2", at=NOON + 900, final_wh={}, seals=(), new=None)
            works.append((await desk.record(replace(gone, photo=None))).work)
            assert max(looked_at) <= 1
            told = one.registries.current()
            assert (told.version, told.works) == await one.control.read(held_registry) == (2, 3)
            assert told == replace(merged(replace(before(), version=2), works).registry, works=3)
            assert {name: each.state.value for name, each in one.registries.outcomes.items()} == {
                "work-1": "included",
                "work-2": "included",
                "work-3": "applied",
            }
            await one.take(replace(before(), version=3))
            assert one.registries.current() == replace(merged(replace(before(), version=3), works).registry, works=3)
            last, all_three = one.registries.current(), one.registries.outcomes
        async with office(tmp_path, now=NOON + 4_000) as one:
            assert (one.registries.current(), one.registries.outcomes) == (last, all_three)

    run_virtual(story())


def third(number: int) -> Meter:
    return replace(NEW, id=MeterId(f"m-{number}"), serial=f"serial-{number}", address=f"10.0.1.{number}:502")


async def acknowledged(one: Office, now: int) -> None:
    """All that waits in lane control was sealed, sent and acknowledged."""

    async def verb(conn: Connection) -> None:
        await conn.execute("UPDATE outbox_record SET epoch = 1, seq = 1 WHERE lane = 'control'")
        await conn.execute(
            "INSERT INTO outbox_batch (lane, epoch, seq, header, created_at, acked_at)"
            " VALUES ('control', 1, 1, x'', ?1, ?1)",
            (now,),
        )

    await one.control.write(verb)
