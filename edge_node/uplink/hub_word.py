"""How far the lanes were durable at the hub by the newest bundle: kept between two trips. Room: uplink; link loss."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from protocols.sync.lanes import Lane, LaneMark


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
