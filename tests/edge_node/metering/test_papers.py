"""Registers on paper against the store: first and last energies, meters nobody read, slips that were plausible."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from gridmodel.network import Installation
from gridmodel.period import HOUR_S
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel, Quality
from gridmodel.registry import Registry
from simulate.loop import run_virtual
from tests.edge_node.metering.small_grid import QUARTER, Office, grid, link, office, placed
from tests.edge_node.metering.test_exchanges import (
    BEGUN_WH,
    FINAL_WH,
    IMPORT,
    NEW_WH,
    NOON,
    OLD_START,
    OLD_WH,
    SWAP,
    exchanged,
    late,
    play,
)

LINKS = [link("up-1", "t-1"), link("up-2", "t-1")]
OTHER = placed("m-2", "up-2")
MORNING = NOON - 12 * HOUR_S


def came(meter: str, since: int, start_wh: int) -> Installation:
    return replace(placed(meter, "up-1", since=since), start_registers_wh=(start_wh,))


def went(meter: str, until: int, final_wh: int) -> Installation:
    return replace(placed(meter, "up-1", until=until), final_registers_wh=(final_wh,))


def registry(*stays: Installation, version: int = 1) -> Registry:
    return grid(LINKS, [*stays, OTHER], version=version)


async def booked_wh(one: Office, since: int, until: int) -> list[int | None]:
    """Energies of up-1 in (since, until]; None where nothing is booked."""
    booked = (await one.booked()).get(("up-1", IMPORT), {})
    return [booked[end][0] if end in booked else None for end in range(since + QUARTER, until + 1, QUARTER)]


def test_a_first_meter_counts_from_its_start_register_on(tmp_path: Path) -> None:
    """Its keys came four hours after the fitter: what flowed till then is on paper."""

    async def story() -> None:
        async with office(tmp_path, now=NOON - HOUR_S) as one:
            play(one)
            one.meters.silent = {"m-new"}
            await one.take(registry(came("m-new", SWAP, BEGUN_WH)))
            await one.live(NOON + 4 * HOUR_S + 30)
            assert await late(one).tick(one.clock.now()) == 0
            one.meters.silent = set()
            room = late(one)
            await one.live(NOON + 5 * HOUR_S + 600)
            assert await room.tick(one.clock.now()) == 1
            assert await room.tick(one.clock.now()) == 0
            energies = await booked_wh(one, NOON, NOON + 5 * HOUR_S)
            assert None not in energies
            assert sum(wh or 0 for wh in energies) == 90 + 19 * NEW_WH
            await one.live(NOON + 7 * HOUR_S)
            assert (await one.all_cells())[NOON + 2 * HOUR_S]["t-1"].points_missing == 0

    run_virtual(story())


@pytest.mark.parametrize("silent_from", [NOON - 2 * HOUR_S + 600, SWAP], ids=["after a silence", "read till the end"])
def test_a_meter_that_went_counts_up_to_its_final_register(tmp_path: Path, silent_from: int) -> None:
    async def story() -> None:
        async with office(tmp_path, now=MORNING) as one:
            play(one)
            await one.take(registry(placed("m-old", "up-1")))
            await one.live(silent_from)
            one.meters.silent = {"m-old"}
            await one.live(NOON + HOUR_S)
            await one.take(registry(went("m-old", SWAP, FINAL_WH), version=2))
            room = late(one)
            assert await room.tick(one.clock.now()) == 1
            assert await room.tick(one.clock.now()) == await late(one).tick(one.clock.now()) == 0
            energies = await booked_wh(one, MORNING + QUARTER, NOON)
            assert None not in energies
            assert sum(wh or 0 for wh in energies) == 47 * OLD_WH + 70
            assert await booked_wh(one, NOON, NOON + HOUR_S) == [None] * 4

    run_virtual(story())


@pytest.mark.parametrize("silent_from", [NOON + 20, NOON - 600], ids=["the old one read at its end", "and not"])
def test_a_meter_that_hung_for_minutes_between_two_intervals_is_booked_once_or_never(
    tmp_path: Path, silent_from: int
) -> None:
    """It has no interval of its own; its registers must not be taken for those of the meter before it."""
    minutes = replace(came("m-new", NOON + 60, 5), valid_to=NOON + 300, final_registers_wh=(200,))
    end_wh, began = OLD_START + 48 * OLD_WH, NOON + 2 * HOUR_S

    async def story() -> None:
        async with office(tmp_path, now=MORNING) as one:
            play(one)
            one.meters.steady("m-third", wh=NEW_WH, start=0)
            await one.take(registry(placed("m-old", "up-1")))
            await one.live(silent_from)
            one.meters.silent = {"m-old"}
            await one.live(began)
            stays = went("m-old", NOON, end_wh), minutes, came("m-third", began, 56 * NEW_WH)
            await one.take(registry(*stays, version=2))
            await one.live(NOON + 4 * HOUR_S + 600)
            for _ in range(3):
                await late(one).tick(one.clock.now())
            energies = await booked_wh(one, MORNING + QUARTER, NOON)
            assert energies[:-1] == [OLD_WH] * 46
            assert energies[-1] in {OLD_WH, OLD_WH + 195}

    run_virtual(story())


@pytest.mark.parametrize("minutes", [5, 180], ids=["within one interval", "over hours"])
def test_a_meter_that_nobody_read_between_two_others_is_booked_by_its_papers(tmp_path: Path, minutes: int) -> None:
    """The first new meter was dead on arrival to the node, counted all the same, and was replaced."""
    again = SWAP + minutes * 60
    quarters = (again - NOON) // QUARTER

    def third(now: int) -> Mapping[Channel, int | None]:
        return {Channel.IMPORT: 40 + 25 + NEW_WH * ((now - NOON) // QUARTER - quarters - 1)}

    async def story() -> None:
        async with office(tmp_path, now=MORNING) as one:
            play(one)
            one.meters.registers["m-third"] = third
            one.meters.silent = {"m-new"}
            middle = replace(came("m-new", SWAP, BEGUN_WH), valid_to=again, final_registers_wh=(BEGUN_WH + 1_500,))
            await one.take(registry(went("m-old", SWAP, FINAL_WH), middle, came("m-third", again, 40)))
            await one.live(NOON + 5 * HOUR_S + 600)
            await late(one).tick(one.clock.now())
            energies = await booked_wh(one, MORNING + QUARTER, NOON + 5 * HOUR_S)
            assert None not in energies
            assert sum(wh or 0 for wh in energies) == 47 * OLD_WH + 70 + 1_500 + 25 + (19 - quarters) * NEW_WH

    run_virtual(story())


def test_what_a_meter_counted_elsewhere_is_not_booked_where_it_came_back(tmp_path: Path) -> None:
    """Away from ten to two, nobody wrote its registers down: it hung on another place and counted there."""
    first = placed("m-old", "up-1", until=NOON - 2 * HOUR_S)
    second = placed("m-old", "up-1", since=NOON + 2 * HOUR_S)

    async def story() -> None:
        async with office(tmp_path, now=MORNING) as one:
            play(one)
            await one.take(registry(first, second))
            await one.live(NOON + 4 * HOUR_S + 600)
            await late(one).tick(one.clock.now())
            assert set(await booked_wh(one, NOON - 2 * HOUR_S, NOON + 2 * HOUR_S + QUARTER)) == {None}
            assert set(await booked_wh(one, NOON + 2 * HOUR_S + QUARTER, NOON + 4 * HOUR_S)) == {OLD_WH}

    run_virtual(story())


@pytest.mark.parametrize("slip_wh", [600, -20], ids=["too much", "too little"])
def test_a_plausible_slip_of_the_pen_is_booked_anew_once_it_is_mended(tmp_path: Path, slip_wh: int) -> None:
    wrong = exchanged()
    old, new, other = wrong.installations
    wrong = replace(wrong, installations=(replace(old, final_registers_wh=(FINAL_WH + slip_wh,)), new, other))

    async def story() -> None:
        async with office(tmp_path, now=MORNING) as one:
            play(one)
            await one.take(wrong)
            await one.live(NOON + 3 * HOUR_S)
            room = late(one)
            assert await room.tick(one.clock.now()) == 0
            assert await booked_wh(one, NOON, NOON + QUARTER) == [70 + slip_wh + 90]
            await one.take(exchanged(version=3))
            assert await room.tick(one.clock.now()) == 1
            assert await booked_wh(one, NOON, NOON + QUARTER) == [70 + 90]
            assert (await one.booked())["up-1", IMPORT][NOON + QUARTER][1] == Quality.ACTUAL
            await one.live(NOON + 5 * HOUR_S)
            assert (await one.all_cells())[NOON + HOUR_S]["t-1"].delivered_wh == 160 + 3 * NEW_WH + 400
            assert await room.tick(one.clock.now()) == 0

    run_virtual(story())


def test_a_start_register_in_whole_kilowatt_hours_is_no_reset(tmp_path: Path) -> None:
    """The display said 8 kWh, the fitter rounded up; the old meter's part is booked all the same."""
    old, new, other = exchanged().installations
    rounded = replace(new, start_registers_wh=(BEGUN_WH + 400,))

    async def story() -> None:
        async with office(tmp_path, now=MORNING) as one:
            play(one)
            await one.take(replace(exchanged(), installations=(old, rounded, other)))
            await one.live(NOON + HOUR_S)
            await late(one).tick(one.clock.now())
            assert await booked_wh(one, NOON, NOON + QUARTER) == [70]

    run_virtual(story())


@pytest.mark.parametrize("planned", [SWAP - 2 * HOUR_S, SWAP + 2 * HOUR_S], ids=["crew later", "crew earlier"])
def test_a_plan_that_was_not_kept_costs_no_interval(tmp_path: Path, planned: int) -> None:
    """The registry named the new meter from the planned time on; neither meter tells a serial number."""

    def there(now: int) -> Mapping[Channel, int | None]:
        quarters = (now - NOON) // QUARTER
        if quarters < 1:
            return {Channel.IMPORT: OLD_START + OLD_WH * (48 + quarters)}
        return {Channel.IMPORT: BEGUN_WH + 90 + NEW_WH * (quarters - 1)}

    async def story() -> None:
        async with office(tmp_path, now=MORNING) as one:
            play(one)
            one.meters.registers["m-old"] = one.meters.registers["m-new"] = there
            await one.take(registry(placed("m-old", "up-1", until=planned), placed("m-new", "up-1", since=planned)))
            await one.live(NOON + 4 * HOUR_S)
            await one.take(exchanged())
            await one.live(NOON + 5 * HOUR_S + 600)
            await late(one).tick(one.clock.now())
            energies = await booked_wh(one, MORNING + QUARTER, NOON + 5 * HOUR_S)
            assert None not in energies
            assert sum(wh or 0 for wh in energies) == 47 * OLD_WH + 70 + 90 + 19 * NEW_WH

    run_virtual(story())


@pytest.mark.parametrize("known_at", [SWAP + 60, NOON + 4 * HOUR_S + 600], ids=["at once", "late"])
@pytest.mark.parametrize("meter", ["m-old", "m-new"])
def test_new_transformers_whose_paper_comes_late_are_not_booked_with_the_old_ratio(
    tmp_path: Path, meter: str, known_at: int
) -> None:
    """Forty times the energy from the exchange on; the other meter tells its serial number, and is not read before."""
    same = meter == "m-old"
    after = replace(came(meter, SWAP, FINAL_WH if same else BEGUN_WH), multiplier=Multiplier(40))
    rest_wh = OLD_WH - 70 + 19 * OLD_WH if same else 90 + 19 * NEW_WH

    async def story() -> None:
        async with office(tmp_path, now=MORNING) as one:
            play(one)
            await one.take(registry(placed("m-old", "up-1")))
            await one.live(SWAP)
            one.meters.serials = {} if same else {"m-old": "serial-m-new"}
            await one.live(known_at)
            await one.take(registry(went("m-old", SWAP, FINAL_WH), after, version=2))
            await one.live(NOON + 5 * HOUR_S + 600)
            room = late(one)
            await room.tick(one.clock.now())
            for again in (room, late(one)):
                assert await again.tick(one.clock.now()) == 0
            energies = await booked_wh(one, MORNING + QUARTER, NOON + 5 * HOUR_S)
            assert None not in energies
            assert sum(wh or 0 for wh in energies) == 47 * OLD_WH + 70 + 40 * rest_wh

    run_virtual(story())


@pytest.mark.parametrize(
    ("went_at", "came_at"), [(NOON, NOON), (SWAP - 2 * HOUR_S, SWAP)], ids=["at an interval's end", "after a while"]
)
def test_a_register_close_to_the_old_one_that_was_read_under_its_name_is_booked_anew(
    tmp_path: Path, went_at: int, came_at: int
) -> None:
    """A used meter had counted a little more than the old one: nothing fell, and reads looked like the old one's."""
    first = came_at // QUARTER * QUARTER
    final_wh = OLD_START + OLD_WH * (went_at - MORNING) // QUARTER
    start_wh = final_wh + 40 if went_at == came_at else final_wh + 90_000

    def there(now: int) -> Mapping[Channel, int | None]:
        if now < came_at:
            return {Channel.IMPORT: OLD_START + OLD_WH * ((now - MORNING) // QUARTER)}
        return {Channel.IMPORT: start_wh + NEW_WH * ((now - first) // QUARTER)}

    async def story() -> None:
        async with office(tmp_path, now=MORNING) as one:
            play(one)
            one.meters.registers["m-old"] = one.meters.registers["m-new"] = there
            await one.take(registry(placed("m-old", "up-1")))
            await one.live(went_at)
            one.meters.silent = {"m-old"} if went_at < came_at else set()
            await one.live(came_at + 30)
            one.meters.silent = set()
            await one.live(NOON + 3 * HOUR_S)
            await one.take(registry(went("m-old", went_at, final_wh), came("m-new", came_at, start_wh), version=2))
            await one.live(NOON + 5 * HOUR_S + 600)
            for again in (1, 0):
                assert await late(one).tick(one.clock.now()) == again
            energies = await booked_wh(one, MORNING + QUARTER, went_at // QUARTER * QUARTER)
            assert sum(wh or 0 for wh in energies) == final_wh - OLD_START - OLD_WH
            energies = await booked_wh(one, first, NOON + 5 * HOUR_S)
            assert sum(wh or 0 for wh in energies) == len(energies) * NEW_WH
            assert None not in energies

    run_virtual(story())


@pytest.mark.parametrize(
    ("final_wh", "start_wh"),
    [(FINAL_WH + 10**8, BEGUN_WH), (FINAL_WH, BEGUN_WH + 50_000), (FINAL_WH - 5_000, BEGUN_WH)],
    ids=["a spike", "a fall of the new one", "a fall of the old one"],
)
def test_registers_that_fit_nothing_are_booked_nowhere(tmp_path: Path, final_wh: int, start_wh: int) -> None:
    old, new, other = exchanged().installations
    stays = (replace(old, final_registers_wh=(final_wh,)), replace(new, start_registers_wh=(start_wh,)), other)

    async def story() -> None:
        async with office(tmp_path, now=MORNING) as one:
            play(one)
            await one.take(replace(exchanged(), installations=stays))
            await one.live(NOON + HOUR_S)
            assert await late(one).tick(one.clock.now()) == 0
            assert await booked_wh(one, NOON, NOON + QUARTER) == [None]

    run_virtual(story())
