"""Planted bugs of clocks: as written by somebody who never saw one lie. Floor: simulate; on the reading walk."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

from edge_node import node
from edge_node.metering.holding import Holding, Placed
from edge_node.store.held_reads import HeldRow
from edge_node.store.opening import EdgeStore
from gridmodel.clock import ToldClock
from hosting import clocks
from hosting.clock_votes import Settled, Votes, settle
from hosting.clocks import ScaledClock


@contextmanager
def start_believes_its_wall() -> Iterator[None]:
    """A process that starts remembers nothing: whatever the wall shows is the time."""

    async def remind(_clock: ToldClock, _store: EdgeStore) -> None:
        """Nothing."""

    with patch.object(node, "remind", remind):
        yield


@contextmanager
def jump_believed() -> Iterator[None]:
    """A wall is believed as it is: it came from the system, after all."""
    with patch.object(clocks, "JUMP_S_MAX", 1e12):
        yield


@contextmanager
def hub_believed_alone() -> Iterator[None]:
    """The hub knows the time: what it says is the time, whoever speaks against it."""

    def believes(votes: Votes) -> Settled:
        return settle(votes) if votes.hub is None else Settled(votes.hub, ())

    with patch.object(clocks, "settle", believes):
        yield


@contextmanager
def held_reads_stamped_when_told() -> Iterator[None]:
    """Held reads are stamped with the time at which the time became known."""
    placed, when = Holding.placed, ScaledClock.when

    async def all_now(self: Holding, row: HeldRow) -> list[Placed]:
        now = self.moment()
        return await placed(self, replace(row, reads=tuple(replace(r, steady_ms=_ms(now)) for r in row.reads)))

    def _ms(moment: object) -> int:
        return round(getattr(moment, "steady_s", 0.0) * 1_000)

    with patch.object(Holding, "placed", all_now), patch.object(ScaledClock, "when", when):
        yield
