"""The messages of sync, one exchange each. Floor: protocols; on the walk of link loss.

Theory of operation. Facts travel up in four *lanes*, each a numbered chain of signed batches (`batch`): a header names
the hash of the one before, so that a node restored from a backup cannot reuse numbers unnoticed. Each side keeps a
*mark* per lane: epoch, number and hash of the last batch that is durable here. `Hello`/`Welcome` compare marks.
`Push`/`PushReply` move batches; an acknowledgement means *durable at the hub*. `Pull`/`PullReply` bring down what the
hub holds for this node, by offset per down lane (`pull`). Everything is packed by `wire` and read by `fields`;
docs/reference/sync-v1.md tells the same to those who write the other side.

Every message has `to_bytes()` and `from_bytes(data)`; the latter raises WireFault or MessageFault and takes nothing in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from gridmodel.identity import NodeId
from protocols.authority.canonical import canonical
from protocols.sync import fields as f
from protocols.sync import wire
from protocols.sync.batch import BATCH_BYTES_MAX, Batch, BatchHeader, batch_limit
from protocols.sync.fields import Fields, MessageFault
from protocols.sync.lanes import (
    ADVANCING,
    CHUNK_BYTES_MAX,
    EPOCH_MAX,
    ITEM_BYTES_MAX,
    NONCE_BYTES,
    PROTOCOL,
    PROTOCOLS,
    RECORD_PAYLOAD_BYTES_MAX,
    ZERO_HASH,
    AckOutcome,
    DownLane,
    Lane,
    LaneMark,
    Record,
    fresh_mark,
    lanes_from_wire,
    lanes_to_wire,
    records_from_payload,
    records_to_payload,
    served_protocol,
)
from protocols.sync.pull import PULL_ITEMS_MAX, PULL_REPLY_BYTES_MAX, DownItem, Pull, PullReply

__all__ = [
    "ADVANCING",
    "BATCHES_PER_PUSH_MAX",
    "BATCH_BYTES_MAX",
    "CHUNK_BYTES_MAX",
    "EPOCH_MAX",
    "ITEM_BYTES_MAX",
    "NONCE_BYTES",
    "PROTOCOL",
    "PROTOCOLS",
    "PULL_ITEMS_MAX",
    "PULL_REPLY_BYTES_MAX",
    "PUSH_BYTES_MAX",
    "RECORD_PAYLOAD_BYTES_MAX",
    "ZERO_HASH",
    "Ack",
    "AckOutcome",
    "Batch",
    "BatchHeader",
    "DownItem",
    "DownLane",
    "Hello",
    "Lane",
    "LaneMark",
    "MessageFault",
    "Pull",
    "PullReply",
    "Push",
    "PushReply",
    "Record",
    "Welcome",
    "batch_limit",
    "fresh_mark",
    "records_from_payload",
    "records_to_payload",
]

BATCHES_PER_PUSH_MAX = 64
"""A push is judged and committed as a whole; 64 small batches fill eight slow frames."""
PUSH_BYTES_MAX = CHUNK_BYTES_MAX + 65_536
"""One chunk and its header, or that much of small batches: what a server must let in."""
HELLO_LIMITS = wire.FRAME
PUSH_LIMITS = wire.Limits(
    bytes_max=PUSH_BYTES_MAX, items_max=BATCHES_PER_PUSH_MAX, containers_max=4, octets_max=BATCH_BYTES_MAX
)
ACK_LIMITS = wire.Limits(bytes_max=65_536, items_max=BATCHES_PER_PUSH_MAX, containers_max=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """A node says who it is and how far it got. Signed: a stranger must not be able to ask for a new epoch."""

    node: NodeId
    hub_incarnation: str | None
    """The hub it spoke to last; None at the first contact."""
    lanes: Mapping[Lane, LaneMark] = field(hash=False)
    """The last *sealed* batch of each lane, sent or not."""
    signed_at: int
    nonce: bytes
    """16 bytes: a fork asked for twice under one nonce is answered with one epoch. Freshness is TLS's."""
    key_id: str
    signature: bytes = b""
    fork_lane: Lane | None = None
    """The lane that needs a new epoch."""
    protocol: int = PROTOCOL

    def canonical_bytes(self) -> bytes:
        """What the signature is over: everything but the signature."""
        return canonical("sync.hello", {k: v for k, v in self._plain().items() if k != "signature"})

    def _plain(self) -> dict[str, Any]:
        return {
            "fork_lane": self.fork_lane,
            "hub_incarnation": self.hub_incarnation,
            "key_id": self.key_id,
            "lanes": lanes_to_wire(self.lanes),
            "node": self.node,
            "nonce": self.nonce,
            "protocol": self.protocol,
            "signature": self.signature,
            "signed_at": self.signed_at,
        }

    def to_bytes(self) -> bytes:
        """Packed by wire."""
        return wire.pack(self._plain(), HELLO_LIMITS)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Back from `to_bytes`; raises WireFault or MessageFault (TQ-SY-24: a protocol this side does not serve)."""
        read = Fields("hello", wire.unpack(data, HELLO_LIMITS), cls.__slots__)
        return cls(
            protocol=served_protocol(read.integer("protocol", 0, 2**16)),
            node=NodeId(read.identity("node")),
            hub_incarnation=read.identity("hub_incarnation") if read.given("hub_incarnation") else None,
            lanes=lanes_from_wire(read.mapping("lanes", len(Lane))),
            fork_lane=read.choice("fork_lane", Lane) if read.given("fork_lane") else None,
            signed_at=read.time("signed_at"),
            nonce=read.octets("nonce", NONCE_BYTES),
            key_id=read.key_id("key_id"),
            signature=read.octets("signature", f.SIGNATURE_BYTES),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The hub's answer: who it is, its time, how far each lane of this node is durable."""

    hub_incarnation: str
    """Changes when the hub was restored from a backup or rebuilt."""
    hub_time: int
    lanes: Mapping[Lane, LaneMark] = field(hash=False)
    node_epoch: int
    """The highest epoch ever minted for this node."""
    protocol: int = PROTOCOL

    def to_bytes(self) -> bytes:
        """Packed by wire."""
        return wire.pack(
            {
                "hub_incarnation": self.hub_incarnation,
                "hub_time": self.hub_time,
                "lanes": lanes_to_wire(self.lanes),
                "node_epoch": self.node_epoch,
                "protocol": self.protocol,
            },
            HELLO_LIMITS,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Back from `to_bytes`; raises WireFault or MessageFault."""
        read = Fields("welcome", wire.unpack(data, HELLO_LIMITS), cls.__slots__)
        return cls(
            protocol=served_protocol(read.integer("protocol", 0, 2**16)),
            hub_incarnation=read.identity("hub_incarnation"),
            hub_time=read.time("hub_time"),
            lanes=lanes_from_wire(read.mapping("lanes", len(Lane))),
            node_epoch=read.integer("node_epoch", 1, EPOCH_MAX),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """Batches on their way up, each as its own bytes: one that cannot be read does not spoil the others."""

    node: NodeId
    batches: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        """Packed by wire."""
        return wire.pack({"batches": list(self.batches), "node": self.node}, PUSH_LIMITS)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Back from `to_bytes`; raises WireFault or MessageFault."""
        read = Fields("push", wire.unpack(data, PUSH_LIMITS), cls.__slots__)
        batches = read.listed("batches", BATCHES_PER_PUSH_MAX)
        return cls(
            node=NodeId(read.identity("node")),
            batches=tuple(f.octets("push.batches", item, 1, BATCH_BYTES_MAX) for item in batches),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """What became of one batch, and what the hub has now."""

    lane: Lane
    epoch: int
    seq: int
    outcome: AckOutcome
    reason: str
    """Empty, or one sentence for a person."""
    have: LaneMark
    """The hub's mark of the lane after this batch."""

    def to_wire(self) -> list[object]:
        """[lane, epoch, seq, outcome, reason, mark]."""
        return [self.lane.value, self.epoch, self.seq, self.outcome.value, self.reason, self.have.to_wire()]

    @classmethod
    def from_wire(cls, value: object) -> Self:
        """Back from `to_wire`; raises MessageFault."""
        items = f.listed("ack", value, 6)
        if len(items) != 6:
            raise f.fault(20, "an ack is [lane, epoch, seq, outcome, reason, mark]")
        return cls(
            lane=f.choice("ack.lane", items[0], Lane),
            epoch=f.integer("ack.epoch", items[1], 0, EPOCH_MAX),
            seq=f.integer("ack.seq", items[2], 0, f.COUNT_MAX),
            outcome=f.choice("ack.outcome", items[3], AckOutcome),
            reason=f.text("ack.reason", items[4]),
            have=LaneMark.from_wire(items[5]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PushReply:
    """One ack for each batch of the push, in its order. Sent after the hub's commit is durable, never before."""

    hub_incarnation: str
    hub_time: int
    acks: tuple[Ack, ...]

    def to_bytes(self) -> bytes:
        """Packed by wire."""
        return wire.pack(
            {
                "acks": [ack.to_wire() for ack in self.acks],
                "hub_incarnation": self.hub_incarnation,
                "hub_time": self.hub_time,
            },
            ACK_LIMITS,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Back from `to_bytes`; raises WireFault or MessageFault."""
        read = Fields("push reply", wire.unpack(data, ACK_LIMITS), cls.__slots__)
        return cls(
            hub_incarnation=read.identity("hub_incarnation"),
            hub_time=read.time("hub_time"),
            acks=tuple(Ack.from_wire(item) for item in read.listed("acks", BATCHES_PER_PUSH_MAX)),
        )
