"""Planted bugs of stores that were put back from a backup, as somebody would write them by mistake. Floor: simulate."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

from edge_node.store import batches
from edge_node.store.recovery import Named, Recovery, TakenBack
from edge_node.uplink.recalling import RecallRoom
from protocols.sync.lanes import Record


@contextmanager
def lost_facts_not_taken_back() -> Iterator[None]:
    """What the hub gives back is the node's own word, so it seems to be known already."""

    async def take_back(self: Recovery, records: Sequence[Record], now: int) -> TakenBack:
        del self, records, now
        return TakenBack()

    with patch.object(Recovery, "take_back", take_back):
        yield


@contextmanager
def agrees_without_recall() -> Iterator[None]:
    """A new epoch and a whole pull are taken for enough: nobody asks what either side lacks."""

    async def wanted(self: RecallRoom) -> bool:
        del self
        return False

    with patch.object(RecallRoom, "wanted", wanted):
        yield


@contextmanager
def acknowledged_is_forgotten() -> Iterator[None]:
    """What the hub has once confirmed is let go at once, and never told again."""

    async def tell_again(self: Recovery, names: Iterable[Named], now: int) -> int:
        del self, names, now
        return 0

    with patch.object(batches, "KEPT_S", 0), patch.object(Recovery, "tell_again", tell_again):
        yield
