"""What a node is told next: items after its offsets, within one message. Floor: central_sync/ingest; link loss.

The same for a pull over the link and for a bundle that a courier takes down.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from central_sync.store.port import HubTransaction
from gridmodel.identity import NodeId
from protocols.sync.lanes import DownLane
from protocols.sync.pull import PULL_REPLY_BYTES_MAX, DownItem

DOWN_BODY_BYTES_MAX = PULL_REPLY_BYTES_MAX - 131_072
"""Bodies of one reply, leaving room for what is around up to 512 items."""


@dataclass(frozen=True, slots=True)
class GoingDown:
    """One message's worth."""

    items: tuple[DownItem, ...]
    more: bool
    """Whether more lies behind them."""
    refetch: tuple[DownLane, ...]
    """Lanes whose offset this hub never assigned: it was restored."""


async def what_lies_after(tx: HubTransaction, node: NodeId, offsets: Mapping[DownLane, int], limit: int) -> GoingDown:
    """What lies after these offsets, lanes in their order; at least one item if there is one."""
    heads = await tx.down_heads(node)
    refetch = tuple(lane for lane, offset in sorted(offsets.items()) if offset > heads[lane])
    items: list[DownItem] = []
    more = False
    room, left = DOWN_BODY_BYTES_MAX, limit
    for lane in DownLane:
        if lane not in offsets or lane in refetch or heads[lane] == offsets[lane]:
            continue
        if left <= 0 or room <= 0:
            more = True
            break
        found = await tx.down_items(node, lane, offsets[lane], left, room)
        if items and found and sum(len(item.body) for item in found) > room:
            found = []  # the lane's first item alone does not fit beside the others: it travels next
        items += found
        left -= len(found)
        room -= sum(len(item.body) for item in found)
        more = more or (found[-1].offset if found else offsets[lane]) < heads[lane]
    return GoingDown(tuple(items), more, refetch)
