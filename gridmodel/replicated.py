"""State that two sides may change while parted: three small, pure, property-tested types. Ground floor; link-loss walk.

One writer per fact makes nearly everything a keyed union, so that is the first of them. No CRDT library serves here:
each one tried lost a payment or a protection in the cases that matter (docs/adr/0003).
All merges are commutative, associative, idempotent.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gridmodel.fault import Fault

K = TypeVar("K")
V = TypeVar("V")

FUTURE_S_MAX = 300
"""How far ahead a stamp from elsewhere may be at ingress: two offices' clocks differ by less than five minutes."""


class ReplicaFault(Fault):
    """A stamp that must not enter."""


@dataclass(frozen=True, slots=True)
class Union(Generic[K, V]):
    """A keyed union; a key with two contents is a conflict, kept and named, never merged."""

    content: Mapping[K, V]
    conflicts: frozenset[K] = frozenset()


def union(ours: Union[K, V], theirs: Union[K, V]) -> Union[K, V]:
    """Both unions together. Of a conflicting key the smaller content (by `repr`) stays, so that all sides agree."""
    merged = dict(ours.content)
    conflicts = set(ours.conflicts | theirs.conflicts)
    for key, value in theirs.content.items():
        known = merged.setdefault(key, value)
        if known != value:
            conflicts.add(key)
            merged[key] = min(known, value, key=repr)
    return Union(merged, frozenset(conflicts))


@dataclass(frozen=True, slots=True)
class ObservedRemoveSet(Generic[V]):
    """An add-wins set: a removal names the assertions that it saw, so that an unseen one stands."""

    assertions: Mapping[str, V] = field(default_factory=dict)
    """By the assertion's id."""
    removed: frozenset[str] = frozenset()
    """Ids of assertions that were seen and revoked; a removal may arrive before its assertion."""

    def standing(self) -> dict[str, V]:
        """The assertions that hold."""
        return {tag: value for tag, value in self.assertions.items() if tag not in self.removed}

    def asserted(self, tag: str, value: V) -> "ObservedRemoveSet[V]":
        """With one more assertion; an id asserted before keeps its first content."""
        return ObservedRemoveSet({tag: value, **self.assertions}, self.removed)

    def revoked(self, tags: AbstractSet[str]) -> "ObservedRemoveSet[V]":
        """With these assertions revoked, and no others."""
        return ObservedRemoveSet(self.assertions, self.removed | tags)

    def merge(self, other: "ObservedRemoveSet[V]") -> "ObservedRemoveSet[V]":
        """Both sets together."""
        both = union(Union(self.assertions), Union(other.assertions))
        return ObservedRemoveSet(both.content, self.removed | other.removed)


@dataclass(frozen=True, slots=True, order=True)
class Hlc:
    """A hybrid logical clock's stamp: utility seconds, a counter within them, the node to break ties."""

    seconds: int
    counter: int
    node: str

    def next(self, now: int) -> "Hlc":
        """The stamp of the next local event."""
        return Hlc(now, 0, self.node) if now > self.seconds else Hlc(self.seconds, self.counter + 1, self.node)


def admitted(stamp: Hlc, now: int) -> Hlc:
    """`stamp` if it may enter here; raises ReplicaFault (TQ-RE-01) for the future. Never asked inside a merge."""
    if stamp.seconds > now + FUTURE_S_MAX:
        raise ReplicaFault(
            "TQ-RE-01",
            f"a note by {stamp.node} is stamped {stamp.seconds - now} s in the future",
            "set that office's clock, then enter the note again",
        )
    return stamp


@dataclass(frozen=True, slots=True)
class LastWriter(Generic[V]):
    """A harmless note: the later stamp wins. Never for money, protections or relays."""

    stamp: Hlc
    value: V

    def merge(self, other: "LastWriter[V]") -> "LastWriter[V]":
        """The later of the two."""
        return max(self, other, key=lambda note: (note.stamp, repr(note.value)))


@dataclass(frozen=True, slots=True)
class VersionVector:
    """What has been seen of each writer, as the highest number without a gap."""

    seen: Mapping[str, int] = field(default_factory=dict)

    def merge(self, other: "VersionVector") -> "VersionVector":
        """What either has seen."""
        writers = self.seen.keys() | other.seen.keys()
        return VersionVector({one: max(self.seen.get(one, 0), other.seen.get(one, 0)) for one in sorted(writers)})

    def covers(self, other: "VersionVector") -> bool:
        """Whether everything that `other` saw was seen here."""
        return all(self.seen.get(writer, 0) >= number for writer, number in other.seen.items())
