"""The way down: a node pulls what lies after its offsets. Floor: protocols; on the walk of link loss.

The hub writes items into a per-node log, one lane each for authority, ledger and registry; the node applies an item and
remembers its offset in one transaction, so a repeat is harmless. Told as a whole in `messages`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Self

from gridmodel.identity import NodeId
from protocols.authority.canonical import canonical
from protocols.sync import fields as f
from protocols.sync import wire
from protocols.sync.fields import Fields
from protocols.sync.lanes import ITEM_BYTES_MAX, NONCE_BYTES, PROTOCOL, DownLane, served_protocol

PULL_ITEMS_MAX = 512
"""Items of one pull; more stay for the next."""
PULL_REPLY_BYTES_MAX = ITEM_BYTES_MAX + 262_144
"""One item of the largest kind and what goes with it."""

_PULL_LIMITS = wire.FRAME
_REPLY_LIMITS = wire.Limits(
    bytes_max=PULL_REPLY_BYTES_MAX, items_max=PULL_ITEMS_MAX, containers_max=1_024, octets_max=ITEM_BYTES_MAX
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """A node asks for what lies after its offsets. Signed: a proxy in between changes nothing."""

    node: NodeId
    offsets: Mapping[DownLane, int] = field(hash=False)
    """The last offset that is durable here, per lane; 0 for nothing yet. Lanes left out are not pulled."""
    limit: int
    """Items at most."""
    signed_at: int
    nonce: bytes
    key_id: str
    signature: bytes = b""
    protocol: int = PROTOCOL

    def canonical_bytes(self) -> bytes:
        """What the signature is over: everything but the signature."""
        return canonical("sync.pull", {k: v for k, v in self._plain().items() if k != "signature"})

    def _plain(self) -> dict[str, Any]:
        return {
            "key_id": self.key_id,
            "limit": self.limit,
            "node": self.node,
            "nonce": self.nonce,
            "offsets": {lane.value: offset for lane, offset in self.offsets.items()},
            "protocol": self.protocol,
            "signature": self.signature,
            "signed_at": self.signed_at,
        }

    def to_bytes(self) -> bytes:
        """Packed by wire."""
        return wire.pack(self._plain(), _PULL_LIMITS)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Back from `to_bytes`; raises WireFault or MessageFault."""
        read = Fields("pull", wire.unpack(data, _PULL_LIMITS), cls.__slots__)
        offsets = read.mapping("offsets", len(DownLane))
        return cls(
            protocol=served_protocol(read.integer("protocol", 0, 2**16)),
            node=NodeId(read.identity("node")),
            offsets={
                f.choice("down lane", name, DownLane): f.integer("offset", offset, 0, f.COUNT_MAX)
                for name, offset in offsets.items()
            },
            limit=read.integer("limit", 1, PULL_ITEMS_MAX),
            signed_at=read.time("signed_at"),
            nonce=read.octets("nonce", NONCE_BYTES),
            key_id=read.key_id("key_id"),
            signature=read.octets("signature", f.SIGNATURE_BYTES),
        )


@dataclass(frozen=True, slots=True)
class DownItem:
    """One thing for a node. `body` is opaque here: a signed mandate stays as its signers packed it."""

    lane: DownLane
    offset: int
    kind: str
    id: str
    body: bytes

    def to_wire(self) -> list[object]:
        """[lane, offset, kind, id, body]."""
        return [self.lane.value, self.offset, self.kind, self.id, self.body]

    @classmethod
    def from_wire(cls, value: object) -> Self:
        """Back from `to_wire`; raises MessageFault."""
        items = f.listed("item", value, 5)
        if len(items) != 5:
            raise f.fault(20, "an item is [lane, offset, kind, id, body]")
        return cls(
            f.choice("item.lane", items[0], DownLane),
            f.integer("item.offset", items[1], 1, f.COUNT_MAX),
            f.identity("item.kind", items[2]),
            f.identity("item.id", items[3]),
            f.octets("item.body", items[4], 0, ITEM_BYTES_MAX),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PullReply:
    """Items in ascending offset per lane. The node applies and remembers the offset in one transaction."""

    hub_incarnation: str
    hub_time: int
    items: tuple[DownItem, ...]
    more: bool
    """Whether more lies ready."""
    refetch: tuple[DownLane, ...] = ()
    """Lanes whose offset this hub never assigned (it was restored): start at 0 and swap in the whole lane at once."""

    def to_bytes(self) -> bytes:
        """Packed by wire; the caller keeps within ITEM_BYTES_MAX of bodies."""
        return wire.pack(
            {
                "hub_incarnation": self.hub_incarnation,
                "hub_time": self.hub_time,
                "items": [item.to_wire() for item in self.items],
                "more": self.more,
                "refetch": [lane.value for lane in self.refetch],
            },
            _REPLY_LIMITS,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Back from `to_bytes`; raises WireFault or MessageFault."""
        read = Fields("pull reply", wire.unpack(data, _REPLY_LIMITS), cls.__slots__)
        items = tuple(DownItem.from_wire(item) for item in read.listed("items", PULL_ITEMS_MAX))
        for lane in DownLane:
            offsets = [item.offset for item in items if item.lane is lane]
            if any(later <= earlier for earlier, later in pairwise(offsets)):
                raise f.fault(22, f"the offsets of lane {lane.value} do not ascend")
        return cls(
            hub_incarnation=read.identity("hub_incarnation"),
            hub_time=read.time("hub_time"),
            items=items,
            more=read.flag("more"),
            refetch=tuple(f.choice("refetch", lane, DownLane) for lane in read.listed("refetch", len(DownLane))),
        )
