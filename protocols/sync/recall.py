"""Which of these facts do you lack? Ledger and control facts compared by id, in both directions. Floor: protocols.

On the walk of link loss. After a backup was put back on either side, sequence numbers say nothing of what was lost
before them; ids do. The node asks, the hub answers; one message at a time. Pure.

A fact is a record as it travels: kind, id, body. Its *place* is 48 bits of SHA-256 over kind and id, its *digest* 16
bytes of SHA-256 over the packed record. Both sides divide the places into 256 *parts*. First the node tells one seeded
digest for each part; for parts that differ it then tells places and digests of all its facts, a range at a time. The
hub names those of them that it has not (or has with another content), and gives the records that it has beyond them.

What the hub lacks the node puts into its lane again: there is one way in. What the node lacks it takes from the reply.
One id with two contents is told in both directions, kept by both sides as a named conflict, and overwritten by neither.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

from gridmodel.identity import NodeId
from protocols.authority.canonical import canonical
from protocols.sync import fields as f
from protocols.sync import wire
from protocols.sync.facts import LEDGER_ENTRY, RELAY_OPERATION
from protocols.sync.field_works import FIELD_WORK
from protocols.sync.fields import Fields
from protocols.sync.lanes import NONCE_BYTES, PROTOCOL, RECORD_LIMITS, Lane, Record, served_protocol

RECALLED = {LEDGER_ENTRY: Lane.LEDGER, RELAY_OPERATION: Lane.CONTROL, FIELD_WORK: Lane.CONTROL}
"""Kinds that are compared, and the lane in which each travels: payments and debts, movements of relays, field works."""
PLACE_BYTES = 6
PLACE_END = 1 << (8 * PLACE_BYTES)
PARTS = 256
_PART_SHIFT = 8 * PLACE_BYTES - 8
DIGEST_BYTES = 16
LEAF_BYTES = PLACE_BYTES + DIGEST_BYTES
LEAVES_MAX = 1_024
"""Facts told in one message: 22 kB, three seconds on a slow link."""
GIVEN_MAX = 512
"""Records given back in one reply."""
GIVEN_BYTES_MAX = 131_072
RECALL_BYTES_MAX = 32_768
RECALL_REPLY_BYTES_MAX = 262_144
_LIMITS = wire.Limits(bytes_max=RECALL_BYTES_MAX, octets_max=LEAVES_MAX * LEAF_BYTES)
_REPLY_LIMITS = wire.Limits(bytes_max=RECALL_REPLY_BYTES_MAX, containers_max=65_536)

Leaf = bytes
"""Place and digest of one fact, joined: they sort by place."""


def leaf_of(record: Record) -> Leaf:
    """The leaf of a fact; raises WireFault for a body that cannot travel."""
    packed = wire.pack([record.kind, record.id, record.body], RECORD_LIMITS)
    return place_of(record.kind, record.id).to_bytes(PLACE_BYTES, "big") + sha256(packed).digest()[:DIGEST_BYTES]


def place_of(kind: str, name: str) -> int:
    """Where a fact stands, whatever it says."""
    return int.from_bytes(sha256(f"{kind}\0{name}".encode()).digest()[:PLACE_BYTES], "big")


class Leaves:
    """The facts of one side, sorted by place."""

    def __init__(self, leaves: Iterable[Leaf]) -> None:
        self._sorted = sorted(set(leaves))

    def __len__(self) -> int:
        return len(self._sorted)

    def parts(self, seed: bytes) -> tuple[bytes, ...]:
        """One digest for each of the `PARTS` parts, under a seed drawn for this one comparison."""
        return tuple(
            sha256(seed + b"".join(self.between(part << _PART_SHIFT, (part + 1) << _PART_SHIFT))).digest()[
                :DIGEST_BYTES
            ]
            for part in range(PARTS)
        )

    def between(self, low: int, high: int) -> list[Leaf]:
        """Those with low <= place < high."""
        first, last = (
            len(self._sorted) if place >= PLACE_END else bisect_left(self._sorted, place.to_bytes(PLACE_BYTES, "big"))
            for place in (low, high)
        )
        return self._sorted[first:last]

    def ranges(self, part: int) -> list[tuple[int, int]]:
        """The part cut into ranges of at most `LEAVES_MAX` facts; together they cover it, empty or not."""
        low, high = part << _PART_SHIFT, (part + 1) << _PART_SHIFT
        found = self.between(low, high)
        cuts = [low]
        at = LEAVES_MAX
        while at < len(found):
            while at > 0 and found[at][:PLACE_BYTES] == found[at - 1][:PLACE_BYTES]:
                at -= 1  # two facts of one place are told together
            cuts.append(int.from_bytes(found[at][:PLACE_BYTES], "big"))
            at += LEAVES_MAX
        return list(zip(cuts, [*cuts[1:], high], strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """A node tells what facts it has. Signed as a pull is. With no parts and an empty range it ends a comparison."""

    node: NodeId
    seed: bytes
    """16 bytes drawn for this comparison."""
    parts: tuple[bytes, ...] = ()
    """The digests of all parts, in the first message alone."""
    low: int = 0
    high: int = 0
    """Places from `low` to below `high` are told in `leaves`, all of them."""
    leaves: tuple[Leaf, ...] = ()
    done: bool = False
    """At the end: nothing was found that either side has to learn yet."""
    signed_at: int
    nonce: bytes
    key_id: str
    signature: bytes = b""
    protocol: int = PROTOCOL

    def canonical_bytes(self) -> bytes:
        """What the signature is over: everything but the signature."""
        return canonical("sync.recall", {k: v for k, v in self._plain().items() if k != "signature"})

    def _plain(self) -> dict[str, Any]:
        return {
            "done": self.done,
            "high": self.high,
            "key_id": self.key_id,
            "leaves": b"".join(self.leaves),
            "low": self.low,
            "node": self.node,
            "nonce": self.nonce,
            "parts": b"".join(self.parts),
            "protocol": self.protocol,
            "seed": self.seed,
            "signature": self.signature,
            "signed_at": self.signed_at,
        }

    def to_bytes(self) -> bytes:
        """Packed by wire."""
        return wire.pack(self._plain(), _LIMITS)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Back from `to_bytes`; raises WireFault or MessageFault."""
        read = Fields("recall", wire.unpack(data, _LIMITS), cls.__slots__)
        parts = cut("parts", read.blob("parts", PARTS * DIGEST_BYTES), DIGEST_BYTES)
        low, high = read.integer("low", 0, PLACE_END), read.integer("high", 0, PLACE_END)
        leaves = cut("leaves", read.blob("leaves", LEAVES_MAX * LEAF_BYTES), LEAF_BYTES)
        if len(parts) not in {0, PARTS}:
            raise f.fault(22, f"{PARTS} parts are told, or none")
        places = [int.from_bytes(leaf[:PLACE_BYTES], "big") for leaf in leaves]
        if low > high or any(not low <= place < high for place in places):
            raise f.fault(22, "a fact lies outside the range that is told")
        return cls(
            protocol=served_protocol(read.integer("protocol", 0, 2**16)),
            node=NodeId(read.identity("node")),
            seed=read.octets("seed", NONCE_BYTES),
            parts=parts,
            low=low,
            high=high,
            leaves=leaves,
            done=read.flag("done"),
            signed_at=read.time("signed_at"),
            nonce=read.octets("nonce", NONCE_BYTES),
            key_id=read.key_id("key_id"),
            signature=read.octets("signature", f.SIGNATURE_BYTES),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallReply:
    """What differs at the hub."""

    hub_incarnation: str
    hub_time: int
    differ: tuple[int, ...] = ()
    """Parts that differ."""
    lacking: tuple[Leaf, ...] = ()
    """Of the facts told: those that the hub has not, or not with this content."""
    given: tuple[Record, ...] = ()
    """Facts of the range that the hub has beyond those told, in order of their places."""
    upto: int = 0
    """Given are those below this place; the rest is asked for from here on."""

    def to_bytes(self) -> bytes:
        """Packed by wire."""
        return wire.pack(
            {
                "differ": list(self.differ),
                "given": [[one.kind, one.id, one.body] for one in self.given],
                "hub_incarnation": self.hub_incarnation,
                "hub_time": self.hub_time,
                "lacking": b"".join(self.lacking),
                "upto": self.upto,
            },
            _REPLY_LIMITS,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Back from `to_bytes`; raises WireFault or MessageFault."""
        read = Fields("recall reply", wire.unpack(data, _REPLY_LIMITS), cls.__slots__)
        return cls(
            hub_incarnation=read.identity("hub_incarnation"),
            hub_time=read.time("hub_time"),
            differ=tuple(f.integer("differ", part, 0, PARTS - 1) for part in read.listed("differ", PARTS)),
            lacking=cut("lacking", read.blob("lacking", LEAVES_MAX * LEAF_BYTES), LEAF_BYTES),
            given=tuple(_record(one) for one in read.listed("given", GIVEN_MAX)),
            upto=read.integer("upto", 0, PLACE_END),
        )


def cut(what: str, joined: bytes, size: int) -> tuple[bytes, ...]:
    """Pieces of one length; raises MessageFault when they do not fill it."""
    if len(joined) % size:
        raise f.fault(22, f"{what} have {size} bytes each")
    return tuple(joined[at : at + size] for at in range(0, len(joined), size))


def fitting_reply(records: Sequence[Record]) -> int:
    """How many of the leading records fit one reply; at least 1 when there are any."""
    size = 0
    for count, record in enumerate(records[:GIVEN_MAX]):
        size += len(wire.pack([record.kind, record.id, record.body], RECORD_LIMITS))
        if count and size > GIVEN_BYTES_MAX:
            return count
    return min(len(records), GIVEN_MAX)


def _record(value: object) -> Record:
    parts = f.listed("given", value, 3)
    if len(parts) != 3 or type(parts[2]) is not dict or parts[0] not in RECALLED:
        raise f.fault(20, f"a fact given back is [kind, id, body] of {', '.join(RECALLED)}")
    return Record(f.identity("given.kind", parts[0]), f.identity("given.id", parts[1]), parts[2])
