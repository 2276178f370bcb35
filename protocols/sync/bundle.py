"""A bundle: what a courier carries on a flash drive in place of the link. Floor: protocols; on the walk of link loss.

Theory of operation. A bundle holds the very messages that would have gone over the link, in the order of the link: up a
hello, pushes and a pull; down a welcome and pull replies. Whoever applies it hands each message to the code that serves
the link, so that everything that makes a repeat harmless there does so here.

    magic      8   "TQBUNDLE"
    version    1   01
    head_len   2   little-endian
    head           msgpack map, in the clear: a courier sees whose it is
    frames         each: length (4, little-endian), then so many sealed bytes; a length of 0 ends them
    signature 64   the sender's, over the digest of everything before it

A sealed frame is its kind (one byte) and one message. Each is sealed under the bundle's own key together with the
digest of the head and its number, so that no frame can be moved, left out, or put into another bundle; that key is in
the head, wrapped for the recipient (`hosting.keys_bundle`). `bundle_reading` has the way back.

Codes: TQ-BN-01 no bundle, 02 a version not served, 03 cut off, 04 altered or damaged, 05 for another, 06 the sender is
not who it says, 07 too large, 08 messages that do not belong together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from hashlib import sha256
from typing import BinaryIO, Protocol, Self

from gridmodel.identity import NodeId
from protocols.authority.canonical import canonical
from protocols.authority.signatures import Signer
from protocols.errors import Blame, Hope, ProtocolFault
from protocols.sync import fields as f
from protocols.sync import wire
from protocols.sync.fields import Fields
from protocols.sync.lanes import DownLane, Lane, LaneMark, lanes_from_wire, lanes_to_wire
from protocols.sync.pull import PULL_REPLY_BYTES_MAX

MAGIC = b"TQBUNDLE"
VERSION = 1
"""Of the form; the messages inside have their own number (`lanes.PROTOCOL`)."""
VERSIONS = (1,)
HEAD_BYTES_MAX = 4_096
"""A head has some 600 B."""
SEAL_BYTES = 28
"""Nonce and tag around a frame."""
FRAME_BYTES_MAX = 1 + PULL_REPLY_BYTES_MAX + SEAL_BYTES
"""The largest message is a pull reply with a district's registry."""
BUNDLE_BYTES_MAX = 2**31 - 1
"""What every file system on a flash drive can hold; a district's year of readings is a third of it."""
WRAPPED_BYTES = 80
"""The bundle's key for the recipient: a one-time public key of 32 bytes, 32 sealed ones, a tag of 16."""

_HEAD_LIMITS = wire.Limits(bytes_max=HEAD_BYTES_MAX, items_max=16, containers_max=32, octets_max=128, text_max=128)
PREFIX_BYTES = len(MAGIC) + 3


class BundleFault(ProtocolFault):
    """A file that is no bundle for us. Nothing of it was applied."""


class Direction(StrEnum):
    """Which way it is carried."""

    UP = "up"
    """From a node to the hub."""
    DOWN = "down"
    """From the hub to a node."""


class FrameKind(IntEnum):
    """What a frame holds."""

    END = 0
    """`Ending`; the last one."""
    HELLO = 1
    PUSH = 2
    PULL = 3
    WELCOME = 4
    PULL_REPLY = 5


SEQUENCE: Mapping[Direction, tuple[FrameKind, ...]] = {
    Direction.UP: (FrameKind.HELLO, FrameKind.PUSH, FrameKind.PULL, FrameKind.END),
    Direction.DOWN: (FrameKind.WELCOME, FrameKind.PULL_REPLY, FrameKind.END),
}
"""The kinds of each way in their order; END stands once, at the end."""


class Box(Protocol):
    """The key of one bundle at work; `hosting.keys_bundle.BundleBox` is one."""

    def seal(self, plain: bytes, belongs: bytes) -> bytes:
        """Sealed together with what it belongs to."""
        ...

    def open(self, sealed: bytes, belongs: bytes) -> bytes:
        """What was sealed; raises Fault for other bytes or another owner."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleHead:
    """What a bundle says of itself in the clear."""

    direction: Direction
    node: NodeId
    """Whose facts: the sender upwards, the recipient downwards."""
    bundle: str
    """Its own id."""
    made_at: int
    """UTC seconds by the sender's clock."""
    hub_incarnation: str | None
    """Downwards the hub that made it; upwards the hub this node knows, or None."""
    lanes: Mapping[Lane, LaneMark] = field(hash=False)
    """How far each lane is durable at the hub, as the sender knows it."""
    offsets: Mapping[DownLane, int] = field(hash=False)
    """How far each lane down is durable at the node, as the sender knows it: a bundle down goes on from there."""
    wrapped: bytes
    """The bundle's key for the recipient."""
    for_key: str
    """The recipient's bundle key by its fingerprint."""
    key_id: str
    """The sender's signing key."""

    def to_bytes(self) -> bytes:
        """Packed by wire."""
        fields = {name: getattr(self, name) for name in BundleHead.__slots__}
        offsets = {lane.value: offset for lane, offset in self.offsets.items()}
        told = {"direction": self.direction.value, "lanes": lanes_to_wire(self.lanes), "offsets": offsets}
        return wire.pack(fields | told, _HEAD_LIMITS)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Back from `to_bytes`; raises WireFault or MessageFault."""
        read = Fields("bundle head", wire.unpack(data, _HEAD_LIMITS), cls.__slots__)
        return cls(
            direction=read.choice("direction", Direction),
            node=NodeId(read.identity("node")),
            bundle=read.identity("bundle"),
            made_at=read.time("made_at"),
            hub_incarnation=read.identity("hub_incarnation") if read.given("hub_incarnation") else None,
            lanes=lanes_from_wire(read.mapping("lanes", len(Lane))),
            offsets={
                f.choice("down lane", name, DownLane): f.integer("offset", offset, 0, f.COUNT_MAX)
                for name, offset in read.mapping("offsets", len(DownLane)).items()
            },
            wrapped=read.octets("wrapped", WRAPPED_BYTES),
            for_key=read.key_id("for_key"),
            key_id=read.key_id("key_id"),
        )

    def statement(self, digest: bytes) -> bytes:
        """What the sender signs: `digest` is SHA-256 of every byte before the signature."""
        return canonical(
            "sync.bundle", {"bundle": self.bundle, "digest": digest, "direction": self.direction, "node": self.node}
        )


@dataclass(frozen=True, slots=True)
class Ending:
    """The last frame."""

    whole: bool
    """Whether all that was owed is in; False: the file was full, another bundle takes the rest."""

    def to_bytes(self) -> bytes:
        """Packed by wire."""
        return wire.pack({"whole": self.whole})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Back from `to_bytes`; raises WireFault or MessageFault."""
        return cls(Fields("bundle ending", wire.unpack(data), cls.__slots__).flag("whole"))


class BundleWriter:
    """Writes one bundle into a file that is open. Blocks; OSErrors of the drive pass."""

    def __init__(
        self, out: BinaryIO, head: BundleHead, box: Box, signer: Signer, *, bytes_max: int = BUNDLE_BYTES_MAX
    ) -> None:
        self._out = out
        self._head = head
        self._box = box
        self._signer = signer
        self._bytes_max = bytes_max
        self._digest = sha256()
        self._frames = 0
        self.size = 0
        """Bytes written."""
        packed = head.to_bytes()
        self._belongs = sha256(packed).digest()
        self._write(MAGIC + bytes([VERSION]) + len(packed).to_bytes(2, "little") + packed)

    def has_room(self, size: int) -> bool:
        """Whether a message of so many bytes, and the end after it, still fit."""
        return self.size + size + 1_024 <= self._bytes_max

    def add(self, kind: FrameKind, message: bytes) -> None:
        """Seal one message into the next frame."""
        sealed = self._box.seal(bytes([kind]) + message, frame_owner(self._belongs, self._frames))
        self._frames += 1
        self._write(len(sealed).to_bytes(4, "little") + sealed)

    def finish(self, *, whole: bool) -> None:
        """End it: the last frame and the signature."""
        self.add(FrameKind.END, Ending(whole).to_bytes())
        self._write(bytes(4))
        self._out.write(self._signer.sign(self._head.statement(self._digest.digest())))

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self._digest.update(data)
        self.size += len(data)


def frame_owner(belongs: bytes, number: int) -> bytes:
    """What a frame is sealed with: the digest of the head, and the frame's number from 0."""
    return b"tarmoq-bundle/1\0" + belongs + number.to_bytes(8, "big")


def for_another(what: str, hint: str) -> BundleFault:
    """The fault for a bundle that is not for whoever has it (TQ-BN-05)."""
    return bundle_fault(5, what, hint)


def contradiction(what: str) -> BundleFault:
    """The fault for messages that do not belong together, or are of another version (TQ-BN-08)."""
    return bundle_fault(8, what, "compare the versions of node and hub, then report this code with the bundle")


def cut_off() -> BundleFault:
    """The fault for a file that ends too early (TQ-BN-03)."""
    return bundle_fault(
        3, "the bundle is cut off", "nothing was applied; copy it again, or write it again at its sender"
    )


def altered(what: str) -> BundleFault:
    """The fault for other bytes than were written (TQ-BN-04)."""
    return bundle_fault(
        4, f"the bundle is not what was written: {what}", "nothing was applied; copy it again, or write it again"
    )


def bundle_fault(number: int, what: str, hint: str) -> BundleFault:
    """A BundleFault with code TQ-BN-`number`."""
    return BundleFault(f"TQ-BN-{number:02}", what, hint, blame=Blame.REMOTE, hope=Hope.PERMANENT)
