"""Days in the life of a small grid: what is polled, closed and sealed equals what the meters counted."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_node.store.chunks import GIVEN_BACK_FROM
from gridmodel.balance import HourCell
from gridmodel.event import AlarmKind
from gridmodel.identity import FeederId, TransformerId, UsagePointId
from gridmodel.network import FeederLink
from gridmodel.period import HOUR_S, day_bounds
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel, Quality
from gridmodel.registry import Registry
from hosting.database import Connection
from protocols.driver import RelayContact
from protocols.sync import wire
from protocols.sync.chunk import NOT_EXPECTED, ChunkContent, decode_chunk
from protocols.sync.facts import PlaceHour
from simulate.loop import run_virtual
from tests.edge_node.metering.small_grid import (
    BOTH,
    MIDNIGHT,
    QUARTER,
    ZONE,
    Office,
    at_version,
    grid,
    link,
    office,
    placed,
)

LINKS = [link("up-1", "t-1"), link("up-2", "t-1"), link("up-3", "t-2")]
PLACED = [
    placed("m-1", "up-1"),
    placed("m-2", "up-2", BOTH),
    placed("m-3", "up-3", multiplier=Multiplier(40)),
    placed("m-t1", "sp-t-1", BOTH),
    placed("m-head", "sp-head", BOTH),
]
GRID = grid(LINKS, PLACED)
DAY = "2026-05-05"
DAY_END = MIDNIGHT + 86_400


def play(one: Office) -> None:
    one.meters.steady("m-1", wh=100)
    one.meters.steady("m-2", wh=200, export_wh=30)
    one.meters.steady("m-3", wh=5)
    one.meters.steady("m-t1", wh=320, export_wh=10)
    one.meters.steady("m-head", wh=600, export_wh=0)


async def chunks_of(one: Office, day: str = DAY, revision: int | None = None) -> list[ChunkContent]:
    rows = await one.readings.chunks.of_day(day)
    wanted = [row for row in rows if revision is None or row.revision.number == revision]
    return [decode_chunk(await one.readings.chunks.payload(day, row.id)) for row in wanted]


def sums_by_hour(chunks: Sequence[ChunkContent], day: str = DAY) -> dict[tuple[int, str], HourCell]:
    start = day_bounds(day, ZONE)[0]
    return {
        (start + (hour + 1) * HOUR_S, name): cell
        for chunk in chunks
        for name, cells in chunk.transformer_sums.items()
        for hour, cell in enumerate(cells)
        if cell != HourCell()
    }


async def transformer_cells(one: Office, registry: Registry = GRID) -> dict[tuple[int, str], HourCell]:
    names = {transformer.id for transformer in registry.transformers}
    return {
        (hour, place): cell
        for hour, cells in (await one.all_cells()).items()
        for place, cell in cells.items()
        if place in names and cell != HourCell()
    }


def test_a_day_is_polled_closed_and_sealed_to_the_watt_hour(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            await one.take(GRID)
            await one.live(DAY_END + 2 * HOUR_S)
            cells = await one.all_cells()
            assert list(cells)[:24] == list(range(MIDNIGHT + HOUR_S, DAY_END + 1, HOUR_S))
            first = cells[MIDNIGHT + HOUR_S]
            assert first["t-1"] == HourCell(
                supplied_wh=4 * 310,
                delivered_wh=4 * 300,
                exported_wh=4 * 30,
                supply_expected=4,
                points_expected=8,
                points_actual=8,
            )
            assert first["t-2"].delivered_wh == 4 * 5 * 40
            assert first["sp-head"] == HourCell(supplied_wh=4 * 600, supply_expected=4)
            chunks = await chunks_of(one)
            told = {key: cell for key, cell in (await transformer_cells(one)).items() if key[0] <= DAY_END}
            assert sums_by_hour(chunks) == told
            usage, supply = chunks
            assert {series.point for series in supply.series} == {"sp-head"}
            head = next(s for s in supply.series if s.channel is Channel.IMPORT)
            assert (head.start_register_wh, sum(head.energy_wh)) == (None, 96 * 600)
            assert {s.point for s in usage.series} == {"up-1", "up-2", "up-3", "sp-t-1"}
            assert len(await one.records("chunk")) == 2
            hours = [PlaceHour.from_body(wire.unpack(body)) for _, body in await one.records("transformer_hour")]
            assert {(h.end, h.place): h.cell for h in hours if h.end <= DAY_END} == told
            assert await one.unseen() == {}

    run_virtual(story())


def test_hours_and_a_day_without_any_reading_are_closed_as_missing(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            one.meters.silent = {"m-1", "m-2", "m-3", "m-t1", "m-head"}
            await one.take(GRID)
            await one.live(DAY_END + 2 * HOUR_S)
            cells = await one.all_cells()
            assert cells[MIDNIGHT + HOUR_S]["t-1"] == HourCell(
                supply_expected=4, supply_missing=4, points_expected=8, points_missing=8
            )
            chunks = await chunks_of(one)
            assert {bytes(set(series.quality)) for chunk in chunks for series in chunk.series} == {bytes([3])}
            standing = {(a.kind, a.subject): a.detail for a in await one.alarms.standing()}
            assert "TQ-XX-01" in standing[AlarmKind.METER_SILENT, "m-1"]
            assert len(standing) == 5

    run_virtual(story())


def test_a_silence_is_spread_over_its_gap_marked_and_the_hours_are_told_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            await one.take(GRID)
            await one.live(MIDNIGHT + 3 * HOUR_S)
            one.meters.silent = {"m-1"}
            await one.live(MIDNIGHT + 6 * HOUR_S)
            gap = (await one.hours.cells(MIDNIGHT + 5 * HOUR_S))["t-1"]
            assert (gap.points_missing, gap.delivered_wh) == (4, 800)
            assert [a.subject for a in await one.alarms.standing()] == ["m-1"]
            one.meters.silent = set()
            await one.live(MIDNIGHT + 8 * HOUR_S)
            healed = (await one.hours.cells(MIDNIGHT + 5 * HOUR_S))["t-1"]
            assert (healed.points_missing, healed.points_estimated, healed.delivered_wh) == (0, 4, 1200)
            assert not await one.alarms.standing()
            told = [PlaceHour.from_body(wire.unpack(body)) for _, body in await one.records("transformer_hour")]
            again = [h for h in told if h.end == MIDNIGHT + 5 * HOUR_S and h.place == "t-1"]
            assert [h.cell for h in again] == [gap, healed]
            assert again[0].revision < again[1].revision
            others = [h for h in told if h.end == MIDNIGHT + 5 * HOUR_S and h.place == "t-2"]
            assert len(others) == 1, "what did not change is not told again"

    run_virtual(story())


def test_a_reading_after_the_day_closed_seals_it_again_and_offers_only_what_changed(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            await one.take(GRID)
            await one.live(MIDNIGHT + 20 * HOUR_S)
            one.meters.silent = {"m-1"}
            await one.live(DAY_END + 3 * HOUR_S)
            summaries = len(await one.records("transformer_hour"))
            one.meters.silent = set()
            await one.live(DAY_END + 6 * HOUR_S)
            first, second = await chunks_of(one, revision=1), await chunks_of(one, revision=2)
            assert (len(first), len(second)) == (2, 1)
            assert sums_by_hour(second) == {
                key: cell for key, cell in (await transformer_cells(one)).items() if key[0] <= DAY_END
            }
            line = next(s for s in second[0].series if s.point == "up-1")
            assert sum(line.energy_wh) == 96 * 100
            assert set(line.quality) == {Quality.ACTUAL, Quality.ESTIMATED}
            assert len(await one.records("chunk")) == 3
            late = [PlaceHour.from_body(wire.unpack(b)) for _, b in (await one.records("transformer_hour"))[summaries:]]
            assert all(h.end > DAY_END for h in late), "a sealed day is told by its chunks alone"
            assert await one.unseen() == {}

    run_virtual(story())


@pytest.mark.parametrize("given_back", [True, False])
def test_a_day_whose_segment_was_lost_is_not_sealed_again_from_what_is_left(
    tmp_path: Path, *, given_back: bool
) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            await one.take(GRID)
            await one.live(MIDNIGHT + 20 * HOUR_S)
            one.meters.silent = {"m-1"}
            await one.live(DAY_END + 3 * HOUR_S)

            async def lose(conn: Connection) -> None:
                await conn.execute("DELETE FROM reading WHERE end <= ?", (DAY_END,))
                moved = f"UPDATE chunk SET number = number + {GIVEN_BACK_FROM}"
                await conn.execute(moved if given_back else "DELETE FROM chunk")

            async with one.readings.segments.lease("2026-05") as segment:
                await segment.database.write(lose)
            one.meters.silent = set()
            await one.live(DAY_END + 6 * HOUR_S)
            assert len(await one.records("chunk")) == 2, "the hub keeps what it has: a day of nothing would outrank it"
            assert await one.unseen() == {}

    run_virtual(story())


def test_a_node_that_starts_at_ten_tells_nothing_of_the_hours_before(tmp_path: Path) -> None:
    ten = MIDNIGHT + 10 * HOUR_S

    async def story() -> None:
        async with office(tmp_path, now=ten) as one:
            play(one)
            await one.take(GRID)
            await one.live(DAY_END + 2 * HOUR_S)
            assert min(await one.all_cells()) == ten + HOUR_S
            usage = (await chunks_of(one))[0]
            for series in usage.series:
                assert series.quality == bytes([NOT_EXPECTED] * 40 + [Quality.ACTUAL] * 56)
            assert usage.transformer_sums["t-1"][9] == HourCell()
            assert usage.transformer_sums["t-1"][10].points_expected == 8

    run_virtual(story())


def test_a_point_moved_at_noon_is_booked_under_the_transformer_of_its_hour(tmp_path: Path) -> None:
    noon = MIDNIGHT + 12 * HOUR_S
    moved = grid([link("up-1", "t-1", 0, noon), link("up-1", "t-2", noon), *LINKS[1:]], PLACED)

    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            await one.take(moved)
            await one.live(DAY_END + 2 * HOUR_S)
            cells = await one.all_cells()
            assert cells[noon]["t-1"].delivered_wh == 4 * 300
            assert cells[noon + HOUR_S]["t-1"].delivered_wh == 4 * 200
            assert cells[noon + HOUR_S]["t-2"].delivered_wh == 4 * 300
            assert cells[noon + HOUR_S]["t-2"].points_expected == 8
            chunks = await chunks_of(one)
            assert sums_by_hour(chunks) == {
                key: cell for key, cell in (await transformer_cells(one)).items() if key[0] <= DAY_END
            }
            stays = [s for chunk in chunks for s in chunk.series if s.point == "up-1"]
            assert sorted(s.transformer for s in stays) == ["t-1", "t-2"]
            assert sum(sum(s.energy_wh) for s in stays) == 96 * 100

    run_virtual(story())


def test_a_transformer_moved_between_feeders_changes_no_cell_of_it(tmp_path: Path) -> None:
    noon = MIDNIGHT + 12 * HOUR_S
    feeders = [
        FeederLink(TransformerId("t-1"), FeederId("f-1"), 0, noon),
        FeederLink(TransformerId("t-1"), FeederId("f-2"), noon),
        FeederLink(TransformerId("t-2"), FeederId("f-1"), 0),
    ]

    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            await one.take(grid(LINKS, PLACED, feeder_links=feeders))
            await one.live(DAY_END + 2 * HOUR_S)
            cells = await one.all_cells()
            assert {cells[hour]["t-1"] for hour in list(cells)[:24]} == {cells[noon]["t-1"]}

    run_virtual(story())


def test_a_meter_exchanged_at_noon_starts_its_own_count(tmp_path: Path) -> None:
    noon = MIDNIGHT + 12 * HOUR_S
    exchanged = grid(
        LINKS, [placed("m-1", "up-1", until=noon), placed("m-9", "up-1", since=noon), *PLACED[1:]], version=2
    )

    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            one.meters.steady("m-9", wh=70, start=0)
            await one.take(GRID)
            await one.live(MIDNIGHT + 6 * HOUR_S)
            await one.take(exchanged)
            await one.live(DAY_END + 2 * HOUR_S)
            line = (await one.booked())["up-1", Channel.IMPORT]
            assert {line[end][0] for end in line if end <= noon} == {100}
            assert {line[end][0] for end in line if noon + QUARTER < end} == {70}
            assert noon + QUARTER not in line, "between two counts nothing is known"
            assert not await one.alarms.standing()

    run_virtual(story())


def test_another_multiplier_is_a_new_base_and_no_spike(tmp_path: Path) -> None:
    noon = MIDNIGHT + 12 * HOUR_S
    other = (
        placed("m-1", "up-1", until=noon),
        placed("m-1", "up-1", multiplier=Multiplier(30), since=noon),
    )

    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            await one.take(grid(LINKS, [*other, *PLACED[1:]]))
            await one.live(DAY_END)
            line = (await one.booked())["up-1", Channel.IMPORT]
            assert line[noon] == (100, Quality.ACTUAL)
            assert noon + QUARTER not in line
            assert line[noon + 2 * QUARTER] == (3_000, Quality.ACTUAL)
            assert not await one.alarms.standing()

    run_virtual(story())


def test_a_neighbours_meter_books_nothing_and_is_told(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            one.meters.serials["m-1"] = "serial-of-next-door"
            await one.take(GRID)
            await one.live(MIDNIGHT + 3 * HOUR_S)
            assert ("up-1", Channel.IMPORT) not in await one.booked()
            told = {a.kind: a for a in await one.alarms.standing()}
            assert list(told) == [AlarmKind.WRONG_METER]
            assert "serial-of-next-door" in told[AlarmKind("wrong_meter")].detail
            one.meters.serials.clear()
            await one.live(MIDNIGHT + 4 * HOUR_S)
            assert not await one.alarms.standing()

    run_virtual(story())


@pytest.mark.parametrize(
    ("kind", "jump"), [(AlarmKind.REGISTER_RESET, -9_999), (AlarmKind.REGISTER_SPIKE, 900_000_000)]
)
def test_a_register_that_jumps_and_comes_back_books_nothing_extra(tmp_path: Path, kind: AlarmKind, jump: int) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            steady = one.meters.registers["m-1"]
            three = MIDNIGHT + 3 * HOUR_S

            def odd(now: int) -> dict[Channel, int | None]:
                wh = steady(now)[Channel.IMPORT]
                return {Channel.IMPORT: (wh or 0) + (jump if three <= now < three + QUARTER else 0)}

            one.meters.registers["m-1"] = odd
            await one.take(GRID)
            await one.live(three + QUARTER - 1)
            assert [(a.kind, a.subject) for a in await one.alarms.standing()] == [(kind, "m-1")]
            assert one.readings.latest("up-1") is not None
            assert one.readings.latest("up-1").quality is Quality.SUSPECT  # type: ignore[union-attr]
            await one.live(three + 2 * QUARTER)
            assert not await one.alarms.standing()
            line = (await one.booked())["up-1", Channel.IMPORT]
            assert sum(energy for energy, _ in line.values()) == 100 * len(line)

    run_virtual(story())


def test_relay_contacts_are_told_to_supply_only_when_they_are_news(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            one.meters.contacts = {"m-1": RelayContact.CLOSED, "m-2": RelayContact.UNKNOWN}
            await one.take(GRID)
            await one.live(MIDNIGHT + HOUR_S)
            rows = await one.control.read(
                lambda conn: conn.fetch_all("SELECT usage_point, meter, contact FROM relay_sighting")
            )
            assert rows == [(UsagePointId("up-1"), "m-1", "closed")]
            assert one.wakeups.enforcement.is_set()

    run_virtual(story())


def test_a_second_registry_changes_what_is_polled_from_the_next_interval(tmp_path: Path) -> None:
    async def story() -> None:
        async with office(tmp_path) as one:
            play(one)
            await one.take(grid(LINKS, PLACED[1:]))
            await one.live(MIDNIGHT + HOUR_S)
            await one.take(at_version(GRID, 2))
            await one.live(MIDNIGHT + 2 * HOUR_S)
            assert min(one.meters.reads["m-1"]) >= MIDNIGHT + HOUR_S
            cells = await one.all_cells()
            assert cells[MIDNIGHT + HOUR_S]["t-1"].points_expected == 8

    run_virtual(story())
