"""Power cuts at every commit between polling, hour close and day close: nothing lost, nothing twice."""

from pathlib import Path

import pytest

from gridmodel.balance import HourCell
from gridmodel.period import HOUR_S
from gridmodel.reading import Channel
from protocols.sync import wire
from protocols.sync.chunk import decode_chunk
from protocols.sync.facts import PlaceHour
from simulate.crash import SimulatedCrash
from simulate.loop import run_virtual
from tests.edge_node.metering.small_grid import BOTH, MIDNIGHT, grid, link, office, placed
from tests.edge_node.metering.small_grid import Office as Site

GRID = grid(
    [link("up-1", "t-1"), link("up-2", "t-2")],
    [placed("m-1", "up-1"), placed("m-2", "up-2", BOTH), placed("m-t1", "sp-t-1", BOTH), placed("m-h", "sp-head")],
)
DAY_END = MIDNIGHT + 86_400
START = DAY_END - 2 * HOUR_S
END = DAY_END + 3 * HOUR_S


class CrashAt:
    """Dies at the n-th commit of the databases whose name begins so."""

    def __init__(self, name: str, count: int, *, before: bool) -> None:
        self.name, self.left, self.before = name, count, before

    def before_commit(self, name: str) -> None:
        if name.startswith(self.name):
            self.left -= 1
            if self.before and self.left == 0:
                raise SimulatedCrash(name, "before a commit")

    def after_commit(self, name: str) -> None:
        if name.startswith(self.name) and not self.before and self.left == 0:
            raise SimulatedCrash(name, "after a commit")


def play(one: Site) -> None:
    one.meters.steady("m-1", wh=100)
    one.meters.steady("m-2", wh=200, export_wh=30)
    one.meters.steady("m-t1", wh=320, export_wh=10)
    one.meters.steady("m-h", wh=600)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("name", "count"),
    [*(("readings", n) for n in (2, 7, 9, 11, *range(14, 24))), *(("control", n) for n in range(2, 8))],
)
def test_after_a_power_cut_books_are_what_the_meters_counted(
    tmp_path: Path, name: str, count: int, *, before: bool
) -> None:
    async def story() -> None:
        died_at = await _first_life(tmp_path, CrashAt(name, count, before=before))
        async with office(tmp_path, now=died_at) as again:
            play(again)
            if again.registries.newest is None:
                await again.take(GRID)
            await again.live(END)
            await _books_are_right(again)

    run_virtual(story())


async def _first_life(folder: Path, hooks: CrashAt) -> int:
    """Live until the power goes; gives when it went."""
    died_at = START
    try:
        async with office(folder, now=START, hooks=hooks) as one:
            play(one)
            await one.take(GRID)
            try:
                await one.live(END)
            finally:
                died_at = one.clock.now()
    except SimulatedCrash:
        return died_at
    raise AssertionError("the power never went")


async def _books_are_right(one: Site) -> None:
    booked = await one.booked()
    for (point, channel), wh in {
        ("up-1", Channel.IMPORT): 100,
        ("up-2", Channel.IMPORT): 200,
        ("up-2", Channel.EXPORT): 30,
        ("sp-head", Channel.IMPORT): 600,
    }.items():
        line = booked[point, channel]
        assert sum(energy for energy, _ in line.values()) == wh * len(line)
    cells = await one.all_cells()
    told: dict[tuple[int, str], PlaceHour] = {}
    for kind in ("transformer_hour", "supply_hour"):
        for _, body in await one.records(kind):
            fact = PlaceHour.from_body(wire.unpack(body))
            earlier = told.get((fact.end, fact.place))
            assert earlier is None or earlier.revision < fact.revision
            told[fact.end, fact.place] = fact
    for hour, places in cells.items():
        for place, cell in places.items():
            if hour > DAY_END or (hour, place) in told:
                assert told[hour, place].cell == cell
    rows = await one.readings.chunks.of_day("2026-05-05")
    offered = {record_id for record_id, _ in await one.records("chunk")}
    assert offered == {row.id for row in rows}, "every chunk is offered, none is left over"
    latest = {row.number: row for row in rows}
    chunks = [decode_chunk(await one.readings.chunks.payload(row.day, row.id)) for row in latest.values()]
    for chunk in chunks:
        for transformer, hours in chunk.transformer_sums.items():
            for n, cell in enumerate(hours):
                assert cell == cells.get(MIDNIGHT + (n + 1) * HOUR_S, {}).get(transformer, HourCell())
