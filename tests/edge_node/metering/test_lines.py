"""Lines: as wide as their driver says, in turn, within the places that there are."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from edge_node.metering.lines import Lines
from protocols.driver import Line

Job = tuple[str, int]


class Desk:
    """Reads that begin when their turn comes and end when the test says so."""

    def __init__(self) -> None:
        self.begun: list[Job] = []
        self.under_way: dict[Job, asyncio.Event] = {}

    async def read(self, job: Job, line: Line) -> None:
        assert line.read_s_max == 60
        self.begun.append(job)
        self.under_way[job] = asyncio.Event()
        await self.under_way[job].wait()
        del self.under_way[job]

    async def end(self, job: Job) -> None:
        self.under_way[job].set()
        await settle()

    def at_work(self) -> Counter[str]:
        return Counter(key for key, _ in self.under_way)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def with_lines(widths: dict[str, int], at_once_max: int, story: Callable[[Lines[Job], Desk], Awaitable[None]]) -> None:
    async def main() -> None:
        desk = Desk()
        async with asyncio.TaskGroup() as group:
            lines = Lines[Job](
                group, lambda job: Line(job[0], widths[job[0]], 60), lambda _, key: widths[key], desk.read, at_once_max
            )
            await story(lines, desk)
            while desk.under_way:
                await desk.end(next(iter(desk.under_way)))

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_bus_is_read_one_after_the_other_and_a_concentrator_several_at_once() -> None:
    async def story(lines: Lines[Job], desk: Desk) -> None:
        for n in range(4):
            lines.put(("bus", n))
            lines.put(("concentrator", n))
        await settle()
        assert desk.at_work() == {"bus": 1, "concentrator": 3}
        await desk.end(("bus", 0))
        assert desk.at_work() == {"bus": 1, "concentrator": 3}
        assert [job for job in desk.begun if job[0] == "bus"] == [("bus", 0), ("bus", 1)]

    with_lines({"bus": 1, "concentrator": 3}, 100, story)


def test_a_width_that_moves_is_followed_at_the_next_read() -> None:
    widths = {"c": 1}

    async def story(lines: Lines[Job], desk: Desk) -> None:
        for n in range(8):
            lines.put(("c", n))
        await settle()
        assert desk.at_work()["c"] == 1
        widths["c"] = 4
        await desk.end(("c", 0))
        assert desk.at_work()["c"] == 4
        widths["c"] = 2
        await desk.end(("c", 1))
        await desk.end(("c", 2))
        assert desk.at_work()["c"] == 2
        await desk.end(("c", 3))
        assert desk.at_work()["c"] == 2

    with_lines(widths, 100, story)


def test_lines_take_turns_for_the_places_and_a_slow_one_keeps_nobody_waiting() -> None:
    async def story(lines: Lines[Job], desk: Desk) -> None:
        for n in range(10):
            lines.put(("long", n))
        lines.put(("short", 0))
        await settle()
        assert desk.at_work() == {"long": 2}
        assert lines.waiting == 9
        await desk.end(("long", 0))
        await desk.end(("long", 1))
        assert desk.at_work() == {"long": 1, "short": 1}, "one more of the long line, then its own"

    with_lines({"long": 10, "short": 1}, 2, story)


def test_nothing_is_remembered_of_lines_that_are_done() -> None:
    async def story(lines: Lines[Job], desk: Desk) -> None:
        for key in ("a", "b"):
            lines.put((key, 1))
        await settle()
        for key in ("a", "b"):
            await desk.end((key, 1))
        assert (lines.waiting, lines.known) == (0, 0)
        lines.put(("a", 2))
        await settle()
        assert desk.at_work() == {"a": 1}

    with_lines({"a": 1, "b": 2}, 5, story)


def test_what_a_read_raises_ends_the_group() -> None:
    async def main() -> None:
        async def read(job: Job, line: Line) -> None:
            raise ZeroDivisionError(job, line)

        async with asyncio.TaskGroup() as group:
            Lines[Job](group, lambda job: Line(job[0], 1, 60), lambda *_: 1, read, 1).put(("a", 1))

    with pytest.raises(ExceptionGroup):
        asyncio.run(main())
