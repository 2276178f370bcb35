"""Lanes, marks and records: what moves, how far it is durable, and its smallest part. Floor: protocols.

On the walk of link loss: a room of the node writes records, `batch` seals them into a lane, `messages` carries them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from protocols.sync import fields as f
from protocols.sync import wire
from protocols.sync.fields import fault

PROTOCOL = 1
"""The number this code speaks."""
PROTOCOLS = (1,)
"""What a hub of this code serves: its own number and, once there is one, the number before."""

ZERO_HASH = bytes(f.HASH_BYTES)
"""The hash before the first batch of an epoch."""

EPOCH_MAX = 2**31
"""Epochs are minted by the hub at forks and rebuilt nodes: a handful in a node's life."""
CHUNK_BYTES_MAX = 1_048_576
"""Payload of an interval batch: 2,000 points at 15 minutes fit four times over."""
RECORD_PAYLOAD_BYTES_MAX = 7_168
"""Payload of a batch of the small lanes: with its header it stays within a frame of 8 kB."""

ITEM_BYTES_MAX = 8_388_608
"""One item down: the registry of the largest district, 120,000 usage points, has 5.7 MB (`chunk.document`)."""
NONCE_BYTES = 16
"""Enough that no two are ever alike."""

RECORDS_PER_BATCH_MAX = 512
"""More never fit the payload: a record has at least a dozen bytes."""
RECORD_LIMITS = wire.Limits(
    bytes_max=RECORD_PAYLOAD_BYTES_MAX, items_max=RECORDS_PER_BATCH_MAX, containers_max=RECORD_PAYLOAD_BYTES_MAX
)


class Lane(StrEnum):
    """A lane up, in order of priority: control before money, money before balances, balances before detail."""

    CONTROL = "control"
    """relay_operation, alarm, field_work, node_status, audit_head."""
    LEDGER = "ledger"
    """ledger_entry."""
    SUMMARY = "summary"
    """transformer_hour, supply_hour: provisional until the day's chunk replaces them."""
    INTERVAL = "interval"
    """Chunks of a day."""


class DownLane(StrEnum):
    """A lane down, numbered by offsets that the hub assigns per node from 1 upwards."""

    AUTHORITY = "authority"
    """mandate, stop_cuts, protection, notice, weather, policy."""
    LEDGER = "ledger"
    """ledger_entry, watermark."""
    REGISTRY = "registry"
    """registry."""


class AckOutcome(StrEnum):
    """What the hub did with one batch."""

    APPLIED = "applied"
    """Durable and counted."""
    QUARANTINED = "quarantined"
    """Durable and set aside with a reason; the lane goes on."""
    DUPLICATE = "duplicate"
    """Was durable already, with the same digest."""
    GAP = "gap"
    """Batches before it are missing: send from `have` on."""
    FORK = "fork"
    """It contradicts what is durable: ask for a new epoch."""
    REFUSED = "refused"
    """Not authentic or not from this node: nothing was stored."""


ADVANCING = frozenset({AckOutcome.APPLIED, AckOutcome.QUARANTINED, AckOutcome.DUPLICATE})
"""The outcomes that mean: durable at the hub, and said so."""


@dataclass(frozen=True, slots=True)
class LaneMark:
    """How far a lane is durable: the last batch's epoch, number and header hash; seq 0 with zeros before the first."""

    epoch: int
    seq: int
    hash: bytes = ZERO_HASH

    def to_wire(self) -> list[object]:
        """[epoch, seq, hash]."""
        return [self.epoch, self.seq, self.hash]

    @classmethod
    def from_wire(cls, value: object) -> "LaneMark":
        """Back from `to_wire`; raises MessageFault."""
        items = f.listed("mark", value, 3)
        if len(items) != 3:
            raise fault(20, "a mark is [epoch, seq, hash]")
        mark = cls(
            f.integer("mark.epoch", items[0], 0, EPOCH_MAX),
            f.integer("mark.seq", items[1], 0, f.COUNT_MAX),
            f.octets("mark.hash", items[2], f.HASH_BYTES, f.HASH_BYTES),
        )
        if (mark.seq == 0) != (mark.hash == ZERO_HASH):
            raise fault(22, "a mark has the zero hash exactly when nothing was sent")
        return mark


def fresh_mark(epoch: int) -> LaneMark:
    """The mark of a lane at the beginning of an epoch."""
    return LaneMark(epoch, 0, ZERO_HASH)


@dataclass(frozen=True, slots=True)
class Record:
    """One fact of the small lanes: a kind, the identifier its owner gave it, and plain values."""

    kind: str
    id: str
    body: dict[str, Any] = field(hash=False)


def records_to_payload(records: list[Record]) -> bytes:
    """The payload of a batch of a small lane; raises WireFault when it does not fit a frame."""
    return wire.pack([[record.kind, record.id, record.body] for record in records], RECORD_LIMITS)


def records_from_payload(payload: bytes) -> tuple[Record, ...]:
    """The records in a payload; raises WireFault or MessageFault (then the batch is quarantined, not lost)."""
    out = []
    for item in f.listed("payload", wire.unpack(payload, RECORD_LIMITS), RECORD_LIMITS.items_max):
        parts = f.listed("record", item, 3)
        if len(parts) != 3 or type(parts[2]) is not dict:
            raise fault(20, "a record is [kind, id, body]")
        out.append(Record(f.identity("record.kind", parts[0]), f.identity("record.id", parts[1]), parts[2]))
    return tuple(out)


def served_protocol(number: int) -> int:
    """`number` if this side speaks it; raises MessageFault TQ-SY-24."""
    if number not in PROTOCOLS:
        raise fault(24, f"protocol {number} is not served here; {', '.join(map(str, PROTOCOLS))} are")
    return number


def lanes_to_wire(lanes: Mapping[Lane, LaneMark]) -> dict[str, Any]:
    """{lane: [epoch, seq, hash]}."""
    return {lane.value: mark.to_wire() for lane, mark in lanes.items()}


def lanes_from_wire(value: dict[str, Any]) -> dict[Lane, LaneMark]:
    """Back from `lanes_to_wire`; raises MessageFault."""
    return {f.choice("lane", name, Lane): LaneMark.from_wire(mark) for name, mark in value.items()}
