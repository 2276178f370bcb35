"""Who goes on as this node, and how far the hub has ever got: a node attests, the hub answers. Floor: protocols.

On the walk of link loss. Two questions that marks of lanes alone cannot answer, asked after every greeting and now and
then while the link is up.

*Which copy?* Node and hub share a chain of tickets. The node draws the next one, keeps it, shows the one it has and the
one it drew; the hub moves on from one to the other. A reply that is lost is harmless: the same pair is shown again. A
store that was copied, or put back from a backup, shows a ticket that is not the last one any more: *another* copy spoke
since. It waits until that one has been silent for `TAKEOVER_S`, then goes on in its place, with the challenge that the
hub gave it (so that an old message, delivered late, takes nothing over). The other one, should it ever speak again, is
the one that waits. Whoever waits sends nothing up and cuts nobody.

*Did the hub go back?* The hub tells counters of its own that never sink (`heads`); the node keeps the highest of each,
and tells them, so that the hub hears of it as well. The node tells the last item that it took from every lane down
(`tails`); the hub compares it with what it has under that number, since a log that went back and grew on is longer than
the node remembers, and another one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import sha256
from typing import Any, Self

from gridmodel.identity import NodeId
from protocols.authority.canonical import canonical
from protocols.sync import fields as f
from protocols.sync import wire
from protocols.sync.fields import Fields
from protocols.sync.lanes import NONCE_BYTES, PROTOCOL, DownLane, served_protocol
from protocols.sync.pull import DownItem

TICKET_BYTES = 16
TAKEOVER_S = 900
"""How long another copy must have been silent: three times the longest time between two attestations of a live one."""
ALONE_S = 3_600
"""A copy that waits and is not heard for so long is there no more."""
HEADS_MAX = 32
"""Counters that a hub tells; a later one may have more than this one."""
ATTEST_BYTES_MAX = 8_192
_LIMITS = wire.Limits(bytes_max=ATTEST_BYTES_MAX, items_max=HEADS_MAX, containers_max=64)

Tail = tuple[int, bytes]
"""(offset, digest) of the last item that a node took from a lane down."""


class Copy(StrEnum):
    """Whether the store that attests goes on as this node."""

    GOES_ON = "goes_on"
    TOOK_OVER = "took_over"
    """It goes on in the place of another copy, which was silent for long enough."""
    ANOTHER = "another"
    """Another copy of the node spoke: this one waits, sends nothing up and cuts nobody."""


def item_digest(item: DownItem) -> bytes:
    """What a tail says of an item: SHA-256 over kind, id and body."""
    return sha256(f"{item.kind}\0{item.id}\0".encode() + item.body).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attest:
    """A node shows its ticket and what it has. Signed as a pull is."""

    node: NodeId
    ticket: bytes
    """The one that the hub confirmed last; empty when it never did, as for an empty store."""
    next_ticket: bytes
    """Drawn by the node, durable there before it is shown."""
    challenge: bytes
    """What the hub answered last when another copy was in the way; empty otherwise."""
    tails: Mapping[DownLane, Tail] = field(hash=False)
    """Lanes from which nothing was taken yet are left out."""
    heads: Mapping[str, int] = field(hash=False)
    """The highest that the hub ever told of each of its counters."""
    signed_at: int
    nonce: bytes
    key_id: str
    signature: bytes = b""
    protocol: int = PROTOCOL

    def canonical_bytes(self) -> bytes:
        """What the signature is over: everything but the signature."""
        return canonical("sync.attest", {k: v for k, v in self._plain().items() if k != "signature"})

    def _plain(self) -> dict[str, Any]:
        return {
            "challenge": self.challenge,
            "heads": dict(self.heads),
            "key_id": self.key_id,
            "next_ticket": self.next_ticket,
            "node": self.node,
            "nonce": self.nonce,
            "protocol": self.protocol,
            "signature": self.signature,
            "signed_at": self.signed_at,
            "tails": {lane.value: [offset, digest] for lane, (offset, digest) in self.tails.items()},
            "ticket": self.ticket,
        }

    def to_bytes(self) -> bytes:
        """Packed by wire."""
        return wire.pack(self._plain(), _LIMITS)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Back from `to_bytes`; raises WireFault or MessageFault."""
        read = Fields("attest", wire.unpack(data, _LIMITS), cls.__slots__)
        tails = read.mapping("tails", len(DownLane))
        return cls(
            protocol=served_protocol(read.integer("protocol", 0, 2**16)),
            node=NodeId(read.identity("node")),
            ticket=_ticket(read, "ticket"),
            next_ticket=read.octets("next_ticket", TICKET_BYTES),
            challenge=_ticket(read, "challenge"),
            tails={f.choice("tails", lane, DownLane): _tail(tail) for lane, tail in tails.items()},
            heads=_heads(read),
            signed_at=read.time("signed_at"),
            nonce=read.octets("nonce", NONCE_BYTES),
            key_id=read.key_id("key_id"),
            signature=read.octets("signature", f.SIGNATURE_BYTES),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestReply:
    """The hub's answer."""

    hub_incarnation: str
    hub_time: int
    copy: Copy
    wait_s: int
    """How long the other copy has to be silent yet; 0 unless there is one, or when it has been for long enough."""
    challenge: bytes
    """To be shown the next time; empty unless another copy is in the way."""
    heads: Mapping[str, int] = field(hash=False)
    """Counters of the hub that never sink, by name: a lower one than before means that the hub went back."""
    refetch: tuple[DownLane, ...]
    """Lanes whose tail is not what the hub has under that number: start at 0."""

    def to_bytes(self) -> bytes:
        """Packed by wire."""
        return wire.pack(
            {
                "challenge": self.challenge,
                "copy": self.copy.value,
                "heads": dict(self.heads),
                "hub_incarnation": self.hub_incarnation,
                "hub_time": self.hub_time,
                "refetch": [lane.value for lane in self.refetch],
                "wait_s": self.wait_s,
            },
            _LIMITS,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Back from `to_bytes`; raises WireFault or MessageFault."""
        read = Fields("attest reply", wire.unpack(data, _LIMITS), cls.__slots__)
        return cls(
            hub_incarnation=read.identity("hub_incarnation"),
            hub_time=read.time("hub_time"),
            copy=read.choice("copy", Copy),
            wait_s=read.integer("wait_s", 0, TAKEOVER_S),
            challenge=_ticket(read, "challenge"),
            heads=_heads(read),
            refetch=tuple(f.choice("refetch", lane, DownLane) for lane in read.listed("refetch", len(DownLane))),
        )


@dataclass(frozen=True, slots=True)
class Held:
    """What the hub remembers of a node's tickets."""

    ticket: bytes
    at: int
    """When the copy that goes on attested last, by the hub's clock."""
    challenge: bytes = b""
    """Given to a copy that waits; empty when nobody does."""
    challenged_at: int = 0
    """When a copy that waits was last heard, by the hub's clock."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What the hub answers, and what it remembers from now on."""

    copy: Copy
    wait_s: int
    held: Held


def judge_copy(attest: Attest, held: Held | None, now: int, fresh_challenge: bytes) -> Judged:
    """Which copy goes on; pure. `held` and what comes of it belong in one transaction."""
    going_on = Held(attest.next_ticket, now)
    if held is None:
        return Judged(Copy.GOES_ON, 0, going_on)
    if held.ticket in {attest.ticket, attest.next_ticket}:
        if held.challenge and 0 <= now - held.challenged_at < ALONE_S:
            return Judged(Copy.GOES_ON, 0, replace(held, ticket=attest.next_ticket, at=now))
        return Judged(Copy.GOES_ON, 0, going_on)
    wait_s = min(max(0, held.at + TAKEOVER_S - now), TAKEOVER_S)
    if wait_s == 0 and held.challenge and attest.challenge == held.challenge:
        return Judged(Copy.TOOK_OVER, 0, going_on)
    waits = replace(held, challenge=held.challenge or fresh_challenge, challenged_at=now)
    return Judged(Copy.ANOTHER, wait_s, waits)


def lower_heads(told: Mapping[str, int], highest: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Counters that sank: {name: (told, highest before)}; one that is told no more is none of them."""
    return {name: (at, highest[name]) for name, at in told.items() if at < highest.get(name, 0)}


def _ticket(read: Fields, name: str) -> bytes:
    value = read.blob(name, TICKET_BYTES)
    if value and len(value) != TICKET_BYTES:
        raise f.fault(22, f"a {name} has {TICKET_BYTES} bytes, or none")
    return value


def _heads(read: Fields) -> dict[str, int]:
    told = read.mapping("heads", HEADS_MAX)
    return {f.identity("heads", name): f.integer("heads", at, 0, f.COUNT_MAX) for name, at in told.items()}


def _tail(value: object) -> Tail:
    items = f.listed("tail", value, 2)
    if len(items) != 2:
        raise f.fault(20, "a tail is [offset, digest]")
    return f.integer("tail", items[0], 1, f.COUNT_MAX), f.octets("tail", items[1], f.HASH_BYTES, f.HASH_BYTES)
