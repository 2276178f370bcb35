"""How far the lanes stood at the hub by its newest word, and from where a bundle goes on. Room: uplink; link loss."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from edge_node.store.batches import Outbox
from edge_node.store.state import Mark, NodeState
from protocols.sync.batch import Batch
from protocols.sync.lanes import Lane, LaneMark
from protocols.sync.state import LANES_BY_PRIORITY, NEVER_SEALED, Standing, compare


@dataclass(frozen=True, slots=True)
class HubWord:
    """How far the lanes were durable at the hub at its time `at`."""

    at: int
    lanes: Mapping[Lane, LaneMark]

    def to_text(self) -> str:
        """JSON."""
        lanes = {lane.value: [mark.epoch, mark.seq, mark.hash.hex()] for lane, mark in self.lanes.items()}
        return json.dumps({"at": self.at, "lanes": lanes})

    @classmethod
    def from_text(cls, text: str | None) -> "HubWord":
        """Back from `to_text`; nothing at all when there was none."""
        if text is None:
            return cls(-1, {})
        told = json.loads(text)
        lanes = {Lane(lane): LaneMark(mark[0], mark[1], bytes.fromhex(mark[2])) for lane, mark in told["lanes"].items()}
        return cls(told["at"], lanes)


@dataclass(frozen=True, slots=True)
class Going:
    """From where each lane goes on, by the hub's newest word."""

    after: dict[Lane, LaneMark]
    forked: dict[Lane, LaneMark]
    """Lanes that need a new epoch, and where the hub stands."""


async def going_on(state: NodeState, outbox: Outbox, now: int) -> Going:
    """By the word of the newest bundle or greeting, unless the link acknowledged something since."""
    told_at = int(await state.get(Mark.HUB_TOLD_AT) or 0)
    word = HubWord.from_text(await state.get(Mark.HUB_WORD))
    marks = word.lanes if word.at >= told_at else {}
    local = await outbox.local(marks)
    going = Going({}, {})
    for lane in LANES_BY_PRIORITY:
        ours = local.get(lane, NEVER_SEALED)
        if ours is NEVER_SEALED and lane not in marks:
            continue
        hub = marks.get(lane, ours.acknowledged)
        match compare(ours, hub):
            case Standing.IN_STEP if await _goes_on(outbox, lane, hub, now):
                going.after[lane] = hub
            case Standing.IN_STEP:
                going.forked[lane] = hub
            case Standing.FORKED:
                going.forked[lane] = hub
            case Standing.NEW_EPOCH:
                continue
    return going


async def _goes_on(outbox: Outbox, lane: Lane, hub: LaneMark, now: int) -> bool:
    """Whether the first batch after the hub's mark, if there is one, is its successor: older ones are pruned."""
    found = await outbox.following(lane, hub, 1, 1, now)
    if not found:
        return True
    header = Batch.from_bytes(found[0]).header
    return (header.seq, header.previous) == (hub.seq + 1, hub.hash)
