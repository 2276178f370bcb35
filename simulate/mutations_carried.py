"""Planted bugs of what couriers carry: each a context in which one piece of the product is replaced. Floor: simulate.

As in `mutations`, they are what somebody would write by mistake who thinks of a file as of the link.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from central_sync.ingest.region_link import RegionLink
from edge_node.uplink.bundles import Bundles
from protocols.sync.bundle import BUNDLE_BYTES_MAX, BundleHead
from protocols.sync.lanes import AckOutcome
from protocols.sync.messages import Push, PushReply
from simulate.mutations import count_a_duplicate


@contextmanager
def written_is_delivered() -> Iterator[None]:
    """What lies on a drive counts as acknowledged: the courier will surely bring it."""
    write = Bundles.write

    async def writes(self: Bundles, place: Path, *, bytes_max: int = BUNDLE_BYTES_MAX) -> dict[str, Any]:
        told = await write(self, place, bytes_max=bytes_max)
        outbox, now = self._outbox, self._clock.now()
        for lane, mark in (await outbox.marks()).items():
            await outbox.acknowledge(lane, mark, AckOutcome.APPLIED, "", now)
        return told

    with patch.object(Bundles, "write", writes):
        yield


@contextmanager
def carried_twice_counts_twice() -> Iterator[None]:
    """A bundle is taken in by code of its own that does not look whether a batch is known."""
    push = RegionLink.push

    async def pushes(self: RegionLink, message: Push, made_at: int | None = None) -> PushReply:
        if made_at is None:
            return await push(self, message)
        with count_a_duplicate():
            return await push(self, message, made_at)

    with patch.object(RegionLink, "push", pushes):
        yield


@contextmanager
def every_word_is_the_newest() -> Iterator[None]:
    """An old bundle is believed where it says that the hub holds less."""

    async def newest(_: Bundles, __: BundleHead) -> bool:
        return True

    with patch.object(Bundles, "_is_newest", newest):
        yield
