"""However much is to be done at once, the event loop has its turn in between."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_node.metering import collector, rounds
from edge_node.metering.polling import plan_of
from edge_node.metering.rounds import Answer
from gridmodel.reading import Channel
from simulate.loop import run_virtual
from tests.edge_node.metering.small_grid import MIDNIGHT, PROFILES, QUARTER, grid, link, office, placed

METERS = range(1, 7)
REGISTRY = grid([link(f"up-{n}", "t-1") for n in METERS], [placed(f"m-{n}", f"up-{n}") for n in METERS])


class Turns:
    """Counts how often something is called within one callback of the loop."""

    def __init__(self) -> None:
        self.turn = 0
        self.calls: Counter[int] = Counter()

    def watched(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """The same, counted."""

        def called(*arguments: Any) -> Any:
            self.calls[self.turn] += 1
            asyncio.get_running_loop().call_soon(self._turned)
            return original(*arguments)

        return called

    def _turned(self) -> None:
        self.turn += 1


def test_a_round_is_validated_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "ANSWERS_AT_ONCE_MAX", 2)
    turns = Turns()

    async def story() -> None:
        async with office(tmp_path) as one:
            monkeypatch.setattr(one.rounds, "_take", turns.watched(one.rounds._take))
            _, plan = plan_of(REGISTRY, MIDNIGHT, PROFILES)
            for poll in plan.targets:
                registers = {Channel.IMPORT: 1_000}
                await one.rounds.add(Answer(poll, MIDNIGHT, MIDNIGHT + 1, registers, None, poll.target.serial))
            await one.rounds.flush()
            assert all(one.readings.last(f"up-{n}", Channel.IMPORT) for n in METERS)

    run_virtual(story())
    assert sum(turns.calls.values()) == len(METERS)
    assert max(turns.calls.values()) == 2


def test_reads_that_are_due_together_begin_in_parts_second_tries_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "BEGUN_AT_ONCE_MAX", 2)
    turns = Turns()

    async def story() -> None:
        async with office(tmp_path) as one:
            one.meters.silent = {f"m-{n}" for n in METERS}
            monkeypatch.setattr(one.collector, "_line_of", turns.watched(one.collector._line_of))
            monkeypatch.setattr(one.collector._plans, "spread_s", 0)
            await one.take(REGISTRY)
            await one.live(MIDNIGHT + QUARTER)
            assert all(len(reads) > 1 for reads in one.meters.reads.values())

    run_virtual(story())
    assert sum(turns.calls.values()) > len(METERS)
    assert max(turns.calls.values()) == 2
