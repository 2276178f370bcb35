"""A batch: facts of one lane under a signed header that chains to the one before. Floor: protocols.

On the walk of link loss. A room seals records (or a chunk) into a batch and stores it before anything is sent; the hub
judges the header (`state.judge`), stores the payload and acknowledges. The chain's hash is over the canonical header
without the signature: a key that was renewed signs on without a fork.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from typing import Self

from gridmodel.identity import NodeId
from protocols.authority.canonical import canonical
from protocols.sync import fields as f
from protocols.sync import wire
from protocols.sync.fields import Fields, fault
from protocols.sync.lanes import CHUNK_BYTES_MAX, EPOCH_MAX, PROTOCOL, ZERO_HASH, Lane, LaneMark, served_protocol

FRAME_BYTES_MAX = 8_192
"""A whole batch of a small lane: one second at 64 kbit/s."""
BATCH_BYTES_MAX = CHUNK_BYTES_MAX + 1_024
"""A whole interval batch: chunk and header."""

HEADERS_KEPT_MAX = 128
"""Canonical bytes remembered, half a kilobyte each: those of the batches that are being judged."""

_LIMITS = wire.Limits(
    bytes_max=BATCH_BYTES_MAX, items_max=16, containers_max=4, octets_max=CHUNK_BYTES_MAX, text_max=128
)


def batch_limit(lane: Lane) -> int:
    """How many bytes a batch of `lane` may have in all."""
    return BATCH_BYTES_MAX if lane is Lane.INTERVAL else FRAME_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchHeader:
    """What a batch says of itself; everything but the signature is signed."""

    node: NodeId
    lane: Lane
    epoch: int
    """Minted by the hub, from 1."""
    seq: int
    """From 1, without gaps within (lane, epoch)."""
    previous: bytes
    """Hash of the header of seq − 1; zeros for seq 1."""
    digest: bytes
    """SHA-256 of the payload."""
    registry_version: int
    """The registry under which the payload was made; the hub quarantines it until that version is there."""
    created_at: int
    """Utility time, UTC seconds."""
    key_id: str
    signature: bytes = b""
    protocol: int = PROTOCOL

    def canonical_bytes(self) -> bytes:
        """What is signed, and what the next header's `previous` is the hash of."""
        return _canonical(self)

    def hash(self) -> bytes:
        """SHA-256 of the canonical bytes (the signature is not in it)."""
        return sha256(self.canonical_bytes()).digest()

    def mark(self) -> LaneMark:
        """The lane's mark once this batch is durable."""
        return LaneMark(self.epoch, self.seq, self.hash())

    def signed(self, signature: bytes) -> "BatchHeader":
        """The same header with its signature."""
        return replace(self, signature=signature)


@lru_cache(maxsize=HEADERS_KEPT_MAX)
def _canonical(header: BatchHeader) -> bytes:
    """A header never changes, and is signed, checked, chained and marked within a moment."""
    return canonical(
        "sync.batch",
        {
            "created_at": header.created_at,
            "digest": header.digest,
            "epoch": header.epoch,
            "key_id": header.key_id,
            "lane": header.lane.value,
            "node": header.node,
            "previous": header.previous,
            "protocol": header.protocol,
            "registry_version": header.registry_version,
            "seq": header.seq,
        },
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """A header and its payload: the bytes of `to_bytes` are stored, sent and stored again."""

    header: BatchHeader
    payload: bytes

    def digest_matches(self) -> bool:
        """Whether the payload is the one the header speaks of."""
        return sha256(self.payload).digest() == self.header.digest

    def to_bytes(self) -> bytes:
        """Packed by wire; raises WireFault or MessageFault (TQ-SY-23: too long for its lane)."""
        header = self.header
        fields = {name: getattr(header, name) for name in BatchHeader.__slots__} | {"lane": header.lane.value}
        data = wire.pack([fields, self.payload], _LIMITS)
        _check_size(header.lane, len(data))
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Back from `to_bytes`: typed and bounded, not yet judged. Raises WireFault or MessageFault."""
        parts = f.listed("batch", wire.unpack(data, _LIMITS), 2)
        if len(parts) != 2:
            raise fault(20, "a batch is [header, payload]")
        read = Fields("header", parts[0], BatchHeader.__slots__)
        lane = read.choice("lane", Lane)
        _check_size(lane, len(data))
        header = BatchHeader(
            protocol=served_protocol(read.integer("protocol", 0, 2**16)),
            node=NodeId(read.identity("node")),
            lane=lane,
            epoch=read.integer("epoch", 1, EPOCH_MAX),
            seq=read.integer("seq", 1, f.COUNT_MAX),
            previous=read.octets("previous", f.HASH_BYTES),
            digest=read.octets("digest", f.HASH_BYTES),
            registry_version=read.integer("registry_version", 0, f.COUNT_MAX),
            created_at=read.time("created_at"),
            key_id=read.key_id("key_id"),
            signature=read.octets("signature", f.SIGNATURE_BYTES),
        )
        if (header.seq == 1) != (header.previous == ZERO_HASH):
            raise fault(22, "the first batch of an epoch, and only it, has a previous hash of zeros")
        return cls(header, f.octets("payload", parts[1], 0, CHUNK_BYTES_MAX))


def _check_size(lane: Lane, size: int) -> None:
    if size > batch_limit(lane):
        raise fault(23, f"a batch of lane {lane.value} has {size} bytes, {batch_limit(lane)} allowed")
