"""Invocation counters for one association, out of durably reserved blocks. Floor: protocols; walks: reading, payment.

A mark belongs to a key, not to a meter: where meters share a key (a delivery that nobody has keyed yet) two of them
must not see one counter either. Each association is given some numbers of its own; what it did not use is taken back
while nobody has taken more since. Marks are kept under a fingerprint of the key, never under the key.
"""

import asyncio
import hashlib
from dataclasses import dataclass

from protocols.dlms.counters import RESERVE_BLOCK, Counter, CounterStore, recover, reserve

FINGERPRINT_SIZE = 12
"""Bytes: enough that no two keys of a country share a mark."""


def counter_key(block_key: bytes, client_title: bytes) -> str:
    """The name of the mark for a key under our title."""
    print_ = hashlib.blake2s(block_key, digest_size=FINGERPRINT_SIZE, key=client_title, person=b"tq-dlms")
    return f"dlms-{print_.hexdigest()}"


@dataclass(frozen=True, slots=True)
class ReservedCounter:
    """The numbers of one association; without a key nothing is ciphered and there are none."""

    key: str = ""
    counter: Counter | None = None


class CounterBlocks:
    """Hands out numbers, and reserves another block before the last one runs out."""

    def __init__(self, store: CounterStore) -> None:
        self._store = store
        self._left: dict[str, Counter] = {}
        self._reserving = asyncio.Lock()

    async def take(self, key: str, size: int, least: int = 1) -> ReservedCounter:
        """`size` numbers from `least` on that nobody else has or had.

        Raises:
            DlmsFault: TQ-DM-36 when the key has none left.

        """
        async with self._reserving:
            left = self._left.get(key)
            if left is None or left.left < size or left.following < least:
                if least > 1:
                    await self._store.move(key, least)
                left = await reserve(self._store, key, max(size, RESERVE_BLOCK))
            first = left.following
            self._left[key] = Counter(first + size, first + left.left)
            return ReservedCounter(key, Counter(first, first + size))

    def give_back(self, reserved: ReservedCounter) -> None:
        """Take unused numbers back, if they are the last that were handed out. Their old holder must not go on."""
        counter = reserved.counter
        left = self._left.get(reserved.key)
        if counter is None or left is None or left.following != counter.following + counter.left:
            return
        self._left[reserved.key] = Counter(counter.following, left.following + left.left)
        counter.spend()

    async def recover(self, key: str, told: int) -> None:
        """Go on beyond what the meter says it accepted last. Raises DlmsFault TQ-DM-37 for a jump too far."""
        async with self._reserving:
            await recover(self._store, key, told)
            self._left.pop(key, None)
