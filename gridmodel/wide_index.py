"""An index of a million names that grows and dies in small steps. Ground floor; on the reading walk.

A dict of a million entries moves them all when it grows: one step of the interpreter of 25 ms and more, in which no
other thread, and so no event loop, has its turn. Here the names stand in many small dicts, by their last characters,
in the order of insertion within each: nothing follows from chance. A lookup costs a quarter of a microsecond more, so
small indexes stay dicts.
"""

from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import TypeVar

K = TypeVar("K", bound=str)
V = TypeVar("V")

PLAIN_MAX = 262_144
"""Names of a plain dict: some five milliseconds when it grows for the last time."""
_BY = 2
"""Last characters that say in which dict a name stands: hundreds of them, where names end in digits."""


@dataclass(eq=False, repr=False)
class WideIndex(MutableMapping[K, V]):
    """A mapping from names, for a million of them."""

    _shards: dict[str, dict[K, V]] = field(default_factory=dict, init=False)

    def __getitem__(self, key: K) -> V:
        return self._shards[key[-_BY:]][key]

    def __setitem__(self, key: K, value: V) -> None:
        shard = self._shards.get(key[-_BY:])
        if shard is None:
            shard = self._shards[key[-_BY:]] = {}
        shard[key] = value

    def __delitem__(self, key: K) -> None:
        del self._shards[key[-_BY:]][key]

    def __contains__(self, key: object) -> bool:
        shard = self._shards.get(key[-_BY:]) if isinstance(key, str) else None
        return shard is not None and key in shard

    def __iter__(self) -> Iterator[K]:
        return (key for shard in self._shards.values() for key in shard)

    def __len__(self) -> int:
        return sum(map(len, self._shards.values()))


def new_index(count: int) -> MutableMapping[K, V]:
    """An empty index for so many names."""
    return {} if count <= PLAIN_MAX else WideIndex()


def index_of(pairs: Iterable[tuple[K, V]], count: int) -> MutableMapping[K, V]:
    """An index of these, `count` of them at most."""
    if count <= PLAIN_MAX:
        return dict(pairs)
    index: WideIndex[K, V] = WideIndex()
    for key, value in pairs:
        index[key] = value
    return index
