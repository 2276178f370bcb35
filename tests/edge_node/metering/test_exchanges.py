"""Exchanges and moves in mid-period, through store, hour close and day close: energy stays with its own hour."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from edge_node.metering.late_exchanges import LateExchanges
from gridmodel.identity import FeederId, TransformerId
from gridmodel.network import FAR_FUTURE, FeederLink
from gridmodel.period import HOUR_S
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel, Quality
from gridmodel.registry import Registry, RegistryFault
from gridmodel.registry_document import registry_from_document, registry_to_document
from protocols.sync.chunk import NOT_EXPECTED, decode_chunk
from simulate.loop import run_virtual
from tests.edge_node.metering.small_grid import MIDNIGHT, PROFILES, QUARTER, Office, grid, link, office, placed

DAY = "2026-05-05"
DAY_END = MIDNIGHT + 86_400
NOON = MIDNIGHT + 12 * HOUR_S
SWAP = NOON + 400
IMPORT = int(Channel.IMPORT)
OLD_WH, NEW_WH = 200, 300
OLD_START, NEW_START = 10_000, 500
FINAL_WH = OLD_START + 48 * OLD_WH + 70
"""The old meter's register at the exchange, 400 s after noon."""
BEGUN_WH = 7
"""The new meter's."""


def new_meter(now: int) -> Mapping[Channel, int | None]:
    """Counts NEW_WH in every quarter after the one of the exchange, 90 in that one."""
    return {Channel.IMPORT: BEGUN_WH + 90 + NEW_WH * ((now - NOON) // QUARTER - 1)}


def exchanged(*, version: int = 2, registers: bool = True) -> Registry:
    """m-old at up-1 until 12:06:40 local time, m-new from then on; m-2 at up-2 all day."""
    old, new = placed("m-old", "up-1", until=SWAP), placed("m-new", "up-1", since=SWAP)
    if registers:
        old, new = replace(old, final_registers_wh=(FINAL_WH,)), replace(new, start_registers_wh=(BEGUN_WH,))
    return grid([link("up-1", "t-1"), link("up-2", "t-1")], [old, new, placed("m-2", "up-2")], version=version)


def play(one: Office) -> None:
    one.meters.steady("m-old", wh=OLD_WH, start=OLD_START)
    one.meters.registers["m-new"] = new_meter
    one.meters.steady("m-2", wh=100)


async def chunk_series(one: Office) -> dict[tuple[str, str], tuple[tuple[int, ...], bytes]]:
    """{(point, transformer): (energies, qualities)} of the import series of the latest chunks of the day."""
    found: dict[tuple[str, str], tuple[tuple[int, ...], bytes]] = {}
    for row in sorted(await one.readings.chunks.of_day(DAY), key=lambda row: row.revision):
        content = decode_chunk(await one.readings.chunks.payload(DAY, row.id))
        for series in content.series:
            if series.channel is Channel.IMPORT:
                found[series.point, series.transformer] = (series.energy_wh, series.quality)
    return found


def test_an_exchange_at_noon_is_booked_closed_and_sealed_to_the_watt_hour(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            await one.take(exchanged())
            await one.live(DAY_END + 2 * HOUR_S)
            booked = (await one.booked())["up-1", IMPORT]
            assert booked[NOON + QUARTER] == (70 + 90, Quality.ACTUAL)
            assert {quality for _, quality in booked.values()} == {Quality.ACTUAL}
            total = 48 * OLD_WH + 70 + 90 + 47 * NEW_WH
            assert sum(wh for end, (wh, _) in booked.items() if end <= DAY_END) == total
            cells = await one.all_cells()
            assert cells[NOON]["t-1"].delivered_wh == 4 * (OLD_WH + 100)
            assert cells[NOON + HOUR_S]["t-1"].delivered_wh == 160 + 3 * NEW_WH + 400
            assert all(cells[hour]["t-1"].points_missing == 0 for hour in cells if hour <= DAY_END)
            energies, qualities = (await chunk_series(one))["up-1", "t-1"]
            assert sum(energies) == total
            assert set(qualities) == {Quality.ACTUAL}
            assert (await one.readings.rule_counts.of_day(DAY))["exchange"] == 1

    run_virtual(story())


def test_an_exchange_during_a_silence_parts_the_sum_at_its_own_time(tmp_path: Path) -> None:
    """The line is dead from 10:00 to 14:00; the meter is exchanged in between."""

    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            await one.take(exchanged())
            await one.live(NOON - 2 * HOUR_S + 600)
            one.meters.silent = {"m-old", "m-new"}
            await one.live(NOON + 2 * HOUR_S + 600)
            one.meters.silent = set()
            await one.live(DAY_END + 2 * HOUR_S)
            cells = await one.all_cells()
            old_wh = 8 * OLD_WH + 70  # over nine intervals; the fifth to the eighth are the hour before noon
            assert cells[NOON]["t-1"].delivered_wh == 4 * 100 + (old_wh * 8 // 9 - old_wh * 4 // 9)
            booked = (await one.booked())["up-1", IMPORT]
            assert sum(wh for end, (wh, _) in booked.items() if end <= DAY_END) == 48 * OLD_WH + 160 + 47 * NEW_WH
            assert booked[NOON + QUARTER][1] == Quality.ESTIMATED

    run_virtual(story())


def test_without_registers_nothing_is_invented_and_the_hour_says_what_is_missing(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            await one.take(exchanged(registers=False))
            await one.live(NOON + 3 * HOUR_S)
            booked = (await one.booked())["up-1", IMPORT]
            assert NOON + QUARTER not in booked
            cell = (await one.all_cells())[NOON + HOUR_S]["t-1"]
            assert (cell.points_missing, cell.points_expected) == (1, 8)

    run_virtual(story())


def late(one: Office) -> LateExchanges:
    return LateExchanges(
        readings=one.readings,
        hours=one.hours,
        registries=one.registries,
        profiles=PROFILES,
        clock=one.clock,
        wakeups=one.wakeups,
    )


@pytest.mark.parametrize("slip", [False, True], ids=["written later", "mended after a slip of the pen"])
def test_registers_that_come_a_day_later_book_the_same(tmp_path: Path, *, slip: bool) -> None:
    """The line is dead from 10:00 to 14:00; the day is sealed before the papers arrive."""

    async def history(folder: Path, first: Registry, second: Registry | None) -> dict[int, tuple[int, int]]:
        async with office(folder) as one:
            play(one)
            await one.take(first)
            await one.live(NOON - 2 * HOUR_S + 600)
            one.meters.silent = {"m-old", "m-new"}
            await one.live(NOON + 2 * HOUR_S + 600)
            one.meters.silent = set()
            await one.live(DAY_END + 2 * HOUR_S)
            room = late(one)
            assert await room.tick(one.clock.now()) == 0
            if second is not None:
                await one.take(second)
                assert await room.tick(one.clock.now()) == 1
                assert await room.tick(one.clock.now()) == 0
                assert await late(one).tick(one.clock.now()) == 0, "after a restart it finds it booked"
                await one.live(DAY_END + 4 * HOUR_S)
            energies, _ = (await chunk_series(one))["up-1", "t-1"]
            assert sum(energies) == 48 * OLD_WH + 160 + 47 * NEW_WH
            cell = (await one.all_cells())[NOON + HOUR_S]["t-1"]
            assert (cell.points_missing, cell.points_estimated) == (0, 4)
            booked = (await one.booked())["up-1", IMPORT]
            return {end: value for end, value in booked.items() if end <= DAY_END}

    for name in ("late", "at-once"):
        (tmp_path / name).mkdir()

    async def story() -> None:
        wrong = exchanged(registers=slip)
        if slip:
            old, new, other = wrong.installations
            wrong = replace(wrong, installations=(replace(old, final_registers_wh=(900,)), new, other))
        told_late = await history(tmp_path / "late", wrong, exchanged(version=3))
        told_at_once = await history(tmp_path / "at-once", exchanged(), None)
        assert told_late == told_at_once

    run_virtual(story())


def test_another_multiplier_on_the_same_meter_is_an_exchange_with_itself(tmp_path: Path) -> None:
    """New current transformers at noon: the same register, forty times the energy."""
    before = replace(placed("m-old", "up-1", until=SWAP), final_registers_wh=(FINAL_WH,))
    after = replace(placed("m-old", "up-1", since=SWAP, multiplier=Multiplier(40)), start_registers_wh=(FINAL_WH,))

    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            await one.take(grid([link("up-1", "t-1")], [before, after]))
            await one.live(NOON + 2 * HOUR_S)
            booked = (await one.booked())["up-1", IMPORT]
            assert booked[NOON][0] == OLD_WH
            assert booked[NOON + QUARTER] == (70 + 40 * (OLD_WH - 70), Quality.ACTUAL)
            assert booked[NOON + 2 * QUARTER][0] == 40 * OLD_WH

    run_virtual(story())


def test_energy_of_a_silence_stays_under_the_parents_of_its_own_hour(tmp_path: Path) -> None:
    """up-1 moves from t-1 to t-2 at noon, and t-1 to another feeder; its meter was silent from 10:00 to 14:00."""
    links = [link("up-1", "t-1", until=NOON), link("up-1", "t-2", since=NOON), link("up-2", "t-1")]
    feeders = [
        FeederLink(TransformerId("t-1"), FeederId("f-1"), 0, NOON),
        FeederLink(TransformerId("t-1"), FeederId("f-2"), NOON),
        FeederLink(TransformerId("t-2"), FeederId("f-1"), 0, FAR_FUTURE),
    ]
    registry = grid(links, [placed("m-old", "up-1"), placed("m-2", "up-2")], feeder_links=feeders)

    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            await one.take(registry)
            await one.live(NOON - 2 * HOUR_S + 600)
            one.meters.silent = {"m-old"}
            await one.live(NOON + 2 * HOUR_S + 600)
            one.meters.silent = set()
            await one.live(DAY_END + 2 * HOUR_S)
            cells = await one.all_cells()
            assert (cells[NOON]["t-1"].delivered_wh, cells[NOON]["t-1"].points_estimated) == (4 * 300, 4)
            after = cells[NOON + HOUR_S]
            assert after["t-1"].delivered_wh == 4 * 100
            assert (after["t-2"].delivered_wh, after["t-2"].points_estimated) == (4 * OLD_WH, 4)
            assert registry.topology(NOON).feeder_of[TransformerId("t-1")] == "f-1"
            assert registry.topology(NOON + QUARTER).feeder_of[TransformerId("t-1")] == "f-2"
            series = await chunk_series(one)
            under_first, under_second = series["up-1", "t-1"], series["up-1", "t-2"]
            assert sum(under_first[0]) == sum(under_second[0]) == 48 * OLD_WH
            assert set(under_first[1][48:]) == set(under_second[1][:48]) == {NOT_EXPECTED}

    run_virtual(story())


def test_the_registers_travel_with_the_registry_and_are_left_out_where_nobody_wrote_them() -> None:
    registry = exchanged()
    document = registry_to_document(registry)
    assert registry_from_document(document) == registry
    assert [sorted(set(row) & {"start_registers_wh", "final_registers_wh"}) for row in document["installations"]] == [
        ["final_registers_wh"],
        ["start_registers_wh"],
        [],
    ]


def test_registers_that_do_not_match_the_channels_are_refused() -> None:
    wrong = replace(placed("m-old", "up-1"), start_registers_wh=(1, 2))
    with pytest.raises(RegistryFault, match="2 registers, 1 channels") as refused:
        grid([link("up-1", "t-1")], [wrong])
    assert refused.value.code == "TQ-RG-06"


@pytest.mark.parametrize("begun_wh", [BEGUN_WH, OLD_START + 48 * OLD_WH + 400], ids=["new", "near the old one's"])
@pytest.mark.parametrize("at", [NOON, SWAP], ids=["at an interval's end", "within one"])
def test_a_meter_without_a_serial_is_read_under_the_old_name_and_nothing_is_lost(
    tmp_path: Path, at: int, begun_wh: int
) -> None:
    """The registry learns of the exchange two hours later; until then the new meter is read as the old one."""

    def there(now: int) -> Mapping[Channel, int | None]:
        """What answers at the place; who reads the end of an interval meets the crew's work of that second done."""
        quarters = (now - NOON) // QUARTER
        old_wh = OLD_START + OLD_WH * (48 + quarters)
        return {
            Channel.IMPORT: begun_wh + NEW_WH * quarters
            if now >= (at // QUARTER + (at % QUARTER > 0)) * QUARTER
            else old_wh
        }

    async def story() -> None:
        async with office(tmp_path) as one:
            one.meters.registers["m-old"] = one.meters.registers["m-new"] = there
            one.meters.steady("m-2", wh=100)
            old, new = placed("m-old", "up-1", until=at), placed("m-new", "up-1", since=at)
            old = replace(old, final_registers_wh=(OLD_START + OLD_WH * 48,))
            new = replace(new, start_registers_wh=(begun_wh,))
            links, other = [link("up-1", "t-1"), link("up-2", "t-1")], placed("m-2", "up-2")
            before = placed("m-old", "up-1")
            await one.take(grid(links, [before, other], version=1))
            await one.live(NOON + 2 * HOUR_S + 600)
            await one.take(grid(links, [old, new, other], version=2))
            await late(one).tick(one.clock.now())
            await one.live(NOON + 4 * HOUR_S)
            booked = (await one.booked())["up-1", IMPORT]
            ends = range(NOON - 2 * HOUR_S + QUARTER, NOON + 3 * HOUR_S + 1, QUARTER)
            assert [end for end in ends if end not in booked] == []
            assert sum(booked[end][0] or 0 for end in ends) == 8 * OLD_WH + 12 * NEW_WH

    run_virtual(story())


def test_registers_that_come_within_the_interval_after_are_looked_at_again(tmp_path: Path) -> None:
    """The plan had the crew come earlier; minutes later the paper says: at noon, and with which registers."""

    async def story() -> None:
        async with office(tmp_path) as one:
            one.meters.steady("m-old", wh=OLD_WH, start=OLD_START)
            one.meters.steady("m-new", wh=NEW_WH, start=NEW_START)
            one.meters.steady("m-2", wh=100)
            old, new = placed("m-old", "up-1", until=NOON), placed("m-new", "up-1", since=NOON)
            links, other = [link("up-1", "t-1"), link("up-2", "t-1")], placed("m-2", "up-2")
            planned = replace(old, valid_to=NOON - 300), replace(new, valid_from=NOON - 300)
            await one.take(grid(links, [*planned, other], version=1))
            await one.live(NOON + 400)
            old = replace(old, final_registers_wh=(OLD_START + 48 * OLD_WH,))
            new = replace(new, start_registers_wh=(NEW_START + 48 * NEW_WH,))
            await one.take(grid(links, [old, new, other], version=2))
            room = late(one)
            assert await room.tick(one.clock.now()) == 0, "the interval after the exchange is not over"
            await one.live(NOON + 2 * HOUR_S)
            assert await room.tick(one.clock.now()) == 1
            booked = (await one.booked())["up-1", IMPORT]
            assert [booked[NOON + n * QUARTER][0] for n in (-1, 0, 1)] == [OLD_WH, OLD_WH, NEW_WH]

    run_virtual(story())
