"""Comparing what both sides hold of a node's days: a digest tree, walked only where it differs. Floor: protocols.

On the walk of link loss. Pure. The leaf is a chunk, a day of up to a thousand usage points: the SHA-256 of its bytes,
worked out from the bytes and never from a note beside them, covers every usage-point-day in it. A *path* names a range
of leaves: a month ``2026-05``, a day ``2026-05-04``, and below a day the leading hexadecimal digits of the digest,
``2026-05-04/3f``. A range's digest is SHA-256 over a seed drawn for this one comparison and its leaves in order, so
that nobody can prepare two sets that look alike.

The node asks, the hub answers (`Compare`, `CompareReply`): summaries of some ranges' children, then the leaves of small
ranges that differ, at last the bytes of a chunk that the node has lost. Equal sides exchange one message.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Self

from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from gridmodel.period import parse_day
from protocols.authority.canonical import canonical
from protocols.sync import fields as f
from protocols.sync import wire
from protocols.sync.fields import Fields
from protocols.sync.lanes import CHUNK_BYTES_MAX, NONCE_BYTES, PROTOCOL, served_protocol
from protocols.sync.state import SessionFault

SUMMARY_BYTES = 16
"""Of a range's digest: it has to hold against chance and, being seeded, against nobody who can try in advance."""
LEAF_BYTES = 32
DAY_CHARACTERS = len("2026-05-04")
"""Leaves are told by ranges of one day: they name no day of their own."""
LEAVES_TOLD_MAX = 64
"""A range of so few leaves is told leaf by leaf: 2 kB."""
LEAVES_PER_MESSAGE_MAX = 512
PARENTS_PER_MESSAGE_MAX = 32
"""Each has at most 31 children (the days of a month): 30 kB of summaries."""
CHILDREN_PER_MESSAGE_MAX = 1_024
COMPARE_BYTES_MAX = 65_536
COMPARE_REPLY_BYTES_MAX = CHUNK_BYTES_MAX + 65_536
MONTHS_MAX = 120
"""Of one comparison; they are the children of the root, which is asked alone."""
ROOT = ""
_PATH_CHARACTERS_MAX = len("2026-05-04/") + 2 * LEAF_BYTES
_LIMITS = wire.Limits(
    bytes_max=COMPARE_BYTES_MAX,
    items_max=CHILDREN_PER_MESSAGE_MAX,
    containers_max=2 * CHILDREN_PER_MESSAGE_MAX,
    octets_max=LEAVES_PER_MESSAGE_MAX * LEAF_BYTES,
)
_REPLY_LIMITS = wire.Limits(
    bytes_max=COMPARE_REPLY_BYTES_MAX,
    items_max=CHILDREN_PER_MESSAGE_MAX,
    containers_max=2 * CHILDREN_PER_MESSAGE_MAX,
    octets_max=CHUNK_BYTES_MAX,
)

Leaf = tuple[str, bytes]
"""(local day, SHA-256 of a chunk's bytes)."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A range in a few bytes."""

    count: int
    """Leaves in it."""
    digest: bytes


class DigestTree:
    """The leaves of one side under one seed. Ranges are hashed when they are asked for; nothing is kept of them."""

    def __init__(self, leaves: Iterable[Leaf], seed: bytes) -> None:
        self._keys = sorted({f"{day}/{digest.hex()}" for day, digest in leaves})
        self._seed = seed

    def __len__(self) -> int:
        return len(self._keys)

    def count(self, path: str) -> int:
        """How many leaves are in a range."""
        return len(self._slice(path))

    def leaves(self, path: str) -> list[Leaf]:
        """The leaves in a range, in order."""
        return [(key[:10], bytes.fromhex(key[11:])) for key in self._slice(path)]

    def summary(self, path: str) -> Summary:
        """The range's digest; an empty range has one, too."""
        keys = self._slice(path)
        hashed = sha256(self._seed + "".join(key[:10] + key[11:] for key in keys).encode("ascii"))
        return Summary(len(keys), hashed.digest()[:SUMMARY_BYTES])

    def children(self, path: str) -> dict[str, Summary]:
        """The non-empty ranges that `path` is divided into: months, days, sixteenths."""
        cut = _child_length(path)
        return {child: self.summary(child) for child in dict.fromkeys(key[:cut] for key in self._slice(path))}

    def differing(self, parents: Sequence[str], told: Mapping[str, Summary]) -> dict[str, int]:
        """Children of `parents` that are not as the other side tells, with the larger of both counts.

        `told` holds all children of `parents` that the other side has; one that only this side has differs.
        """
        own: dict[str, Summary] = {}
        for parent in parents:
            own |= self.children(parent)
        return {
            path: max(own[path].count if path in own else 0, told[path].count if path in told else 0)
            for path in sorted(own.keys() | told.keys())
            if own.get(path) != told.get(path)
        }

    def _slice(self, path: str) -> list[str]:
        first = bisect_left(self._keys, path)
        return self._keys[first : bisect_left(self._keys, path + "~", first)]


def _child_length(path: str) -> int:
    """Characters of a child's path: root → month → day → one more hexadecimal digit."""
    if len(path) < 7:
        return 7
    if len(path) < 10:
        return 10
    return max(len(path), 11) + 1


def checked_path(value: object) -> str:
    """A path as it came; raises MessageFault."""
    path = f.text("path", value, _PATH_CHARACTERS_MAX)
    if path == ROOT:
        return path
    if len(path) not in {7, 10} and not (len(path) > 11 and path[10] == "/"):
        raise f.fault(22, "a path is a month, a day, or a day with digits of a digest")
    day = path[:10] if len(path) > 7 else path + "-01"
    if not set(path[11:]) <= set("0123456789abcdef"):
        raise f.fault(22, "a path has digits that are not hexadecimal")
    _day(day)
    return path


def _day(value: object) -> str:
    """A local day; raises MessageFault."""
    day = f.text("day", value, 10)
    try:
        return parse_day(day).isoformat()
    except Fault as error:
        raise f.fault(22, "a day is YYYY-MM-DD") from error


def _range_of_day(value: object) -> str:
    path = checked_path(value)
    if len(path) < DAY_CHARACTERS:
        raise f.fault(22, "leaves are told by ranges of one day")
    return path


def _optional_day(value: object) -> str:
    return "" if value == "" else _day(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """A node tells digests of what it holds. Signed as a pull is."""

    node: NodeId
    request: str
    """What asked for this comparison, ``node`` when nobody did; an identifier."""
    first: str
    """Local days from `first` to `last` are compared, both included."""
    last: str
    kept_from: str
    """The node lets go of chunks of earlier days, by rule; empty when it keeps all."""
    seed: bytes
    """16 bytes drawn for this comparison."""
    parents: tuple[str, ...] = ()
    children: Mapping[str, Summary] = field(default_factory=dict, hash=False)
    """All non-empty children of `parents` at the node."""
    leaves: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict, hash=False)
    """All leaves of some ranges at the node, by path."""
    fetch: bytes = b""
    """The digest of a chunk to give back; empty for none."""
    signed_at: int
    nonce: bytes
    key_id: str
    signature: bytes = b""
    protocol: int = PROTOCOL

    def canonical_bytes(self) -> bytes:
        """What the signature is over: everything but the signature."""
        return canonical("sync.compare", {k: v for k, v in self._plain().items() if k != "signature"})

    def _plain(self) -> dict[str, Any]:
        return {
            "children": {path: [one.count, one.digest] for path, one in self.children.items()},
            "fetch": self.fetch,
            "first": self.first,
            "kept_from": self.kept_from,
            "key_id": self.key_id,
            "last": self.last,
            "leaves": {path: b"".join(digests) for path, digests in self.leaves.items()},
            "node": self.node,
            "nonce": self.nonce,
            "parents": list(self.parents),
            "protocol": self.protocol,
            "request": self.request,
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
        read = Fields("compare", wire.unpack(data, _LIMITS), cls.__slots__)
        children = read.mapping("children", CHILDREN_PER_MESSAGE_MAX)
        leaves = read.mapping("leaves", LEAVES_PER_MESSAGE_MAX)
        fetch = read.blob("fetch", LEAF_BYTES)
        if fetch and len(fetch) != LEAF_BYTES:
            raise f.fault(22, f"a chunk is named by {LEAF_BYTES} bytes")
        return cls(
            protocol=served_protocol(read.integer("protocol", 0, 2**16)),
            node=NodeId(read.identity("node")),
            request=read.identity("request"),
            first=_day(read.text("first")),
            last=_day(read.text("last")),
            kept_from=_optional_day(read.text("kept_from")),
            seed=read.octets("seed", NONCE_BYTES),
            parents=tuple(checked_path(path) for path in read.listed("parents", PARENTS_PER_MESSAGE_MAX)),
            children={checked_path(path): _summary(value) for path, value in children.items()},
            leaves={_range_of_day(path): _digests(value) for path, value in leaves.items()},
            fetch=fetch,
            signed_at=read.time("signed_at"),
            nonce=read.octets("nonce", NONCE_BYTES),
            key_id=read.key_id("key_id"),
            signature=read.octets("signature", f.SIGNATURE_BYTES),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareReply:
    """What differs at the hub."""

    hub_incarnation: str
    hub_time: int
    kept_from: str
    """The hub lets go of chunks of earlier days; empty when it keeps all."""
    differ: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Children of the parents asked about that differ, with the larger count of both sides."""
    lacking: tuple[bytes, ...] = ()
    """Of the leaves told: the hub has neither applied nor set them aside."""
    aside: int = 0
    """Of the leaves told: set aside at the hub with a reason, which no second sending would mend."""
    extra: tuple[Leaf, ...] = ()
    """In the ranges told leaf by leaf: what the hub has beyond them."""
    chunk: bytes = b""
    """The chunk to be given back; empty when none was asked for, or it is gone."""

    def to_bytes(self) -> bytes:
        """Packed by wire."""
        return wire.pack(
            {
                "aside": self.aside,
                "chunk": self.chunk,
                "differ": dict(self.differ),
                "extra": [[day, digest] for day, digest in self.extra],
                "hub_incarnation": self.hub_incarnation,
                "hub_time": self.hub_time,
                "kept_from": self.kept_from,
                "lacking": b"".join(self.lacking),
            },
            _REPLY_LIMITS,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Back from `to_bytes`; raises WireFault or MessageFault."""
        read = Fields("compare reply", wire.unpack(data, _REPLY_LIMITS), cls.__slots__)
        differ = read.mapping("differ", CHILDREN_PER_MESSAGE_MAX)
        return cls(
            hub_incarnation=read.identity("hub_incarnation"),
            hub_time=read.time("hub_time"),
            kept_from=_optional_day(read.text("kept_from")),
            differ={checked_path(path): f.integer("count", count, 0, f.COUNT_MAX) for path, count in differ.items()},
            lacking=_digests(read.blob("lacking", LEAVES_PER_MESSAGE_MAX * LEAF_BYTES)),
            aside=read.integer("aside", 0, LEAVES_PER_MESSAGE_MAX),
            extra=tuple(_leaf(one) for one in read.listed("extra", LEAVES_PER_MESSAGE_MAX)),
            chunk=read.blob("chunk", CHUNK_BYTES_MAX),
        )


def check_answer(compare: Compare, reply: CompareReply) -> None:
    """Hold a reply to what was asked; raises SessionFault (TQ-SY-60) where it speaks of anything else.

    So each answer leads one step down, within the days that are compared, and a comparison ends whatever a hub says.
    """
    for path in reply.differ:
        if not any(path.startswith(parent) and len(path) == _child_length(parent) for parent in compare.parents):
            raise SessionFault(f"the hub tells of {path:.80}, which is no part of what was asked")
        day = path[:DAY_CHARACTERS]
        if not compare.first[: len(day)] <= day <= compare.last[: len(day)]:
            raise SessionFault(f"the hub tells of {path:.80}, which is not compared")
    lengths = {len(path) for path in compare.leaves}
    for day, digest in reply.extra:
        key = f"{day}/{digest.hex()}"
        if not any(key[:length] in compare.leaves for length in lengths):
            raise SessionFault(f"the hub tells of a chunk of {day}, which was not asked about")
    if not {digest for told in compare.leaves.values() for digest in told}.issuperset(reply.lacking):
        raise SessionFault("the hub asks for a chunk that it was not told of")
    if reply.chunk and not compare.fetch:
        raise SessionFault("the hub gives back a chunk that nobody asked for")


def _summary(value: object) -> Summary:
    items = f.listed("summary", value, 2)
    if len(items) != 2:
        raise f.fault(20, "a summary is [count, digest]")
    digest = f.octets("summary.digest", items[1], SUMMARY_BYTES, SUMMARY_BYTES)
    return Summary(f.integer("summary.count", items[0], 0, f.COUNT_MAX), digest)


def _leaf(value: object) -> Leaf:
    items = f.listed("leaf", value, 2)
    if len(items) != 2:
        raise f.fault(20, "a leaf is [day, digest]")
    return _day(items[0]), f.octets("leaf.digest", items[1], LEAF_BYTES, LEAF_BYTES)


def _digests(value: object) -> tuple[bytes, ...]:
    joined = f.octets("leaves", value, 0, LEAVES_PER_MESSAGE_MAX * LEAF_BYTES)
    if len(joined) % LEAF_BYTES:
        raise f.fault(22, f"digests have {LEAF_BYTES} bytes each")
    return tuple(joined[at : at + LEAF_BYTES] for at in range(0, len(joined), LEAF_BYTES))
