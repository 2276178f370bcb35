"""Invocation counters for one association, out of durably reserved blocks. Floor: protocols; walks: reading, payment.

A mark belongs to a key, not to a meter: where meters share a key (a delivery that nobody has keyed yet) two of them
must not see one counter either. Associations under one key draw from one block, each as many numbers as it was promised
at most: none is lost because another association ends later. Marks are kept under a fingerprint of the key, never under
the key.
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


class _Block(Counter):
    """Reserved numbers of one key, and how many of them are promised."""

    __slots__ = ("promised",)

    def __init__(self, first: int, end: int) -> None:
        super().__init__(first, end)
        self.promised = 0


class _Share(Counter):
    """So many numbers of a block; they are those that come next whenever one is taken."""

    __slots__ = ("_block",)

    def __init__(self, block: _Block, size: int) -> None:
        super().__init__(0, size)
        self._block = block
        block.promised += size

    @property
    def following(self) -> int:
        """See `Counter.following`; another association may take it first."""
        return self._block.following

    def take(self) -> int:
        """See `Counter.take`."""
        super().take()
        self._block.promised -= 1
        return self._block.take()

    def spend(self) -> None:
        """See `Counter.spend`; what is left is promised to nobody any more."""
        self._block.promised -= self.left
        super().spend()


class CounterBlocks:
    """Hands out numbers, and reserves more before the last ones run out."""

    def __init__(self, store: CounterStore) -> None:
        self._store = store
        self._blocks: dict[str, _Block] = {}
        self._reserving = asyncio.Lock()

    async def take(self, key: str, size: int, least: int = 1) -> ReservedCounter:
        """`size` numbers from `least` on that nobody else has or had.

        Raises:
            DlmsFault: TQ-DM-36 when the key has none left.

        """
        async with self._reserving:
            block = self._blocks.get(key)
            if block is None or block.following < least:
                if least > 1:
                    await self._store.move(key, least)
                block = await self._more(key, None, size)
            elif block.left - block.promised < size:
                block = await self._more(key, block, size)
            return ReservedCounter(key, _Share(block, size))

    async def _more(self, key: str, block: _Block | None, size: int) -> _Block:
        """Another reservation: the block goes on where it follows without a gap, else it is a new one."""
        fresh = await reserve(self._store, key, max(size, RESERVE_BLOCK))
        if block is not None and block.go_on(fresh):
            return block
        made = self._blocks[key] = _Block(fresh.following, fresh.following + fresh.left)
        return made

    def give_back(self, reserved: ReservedCounter) -> None:
        """The association is over: its old holder takes no more. Idempotent."""
        if reserved.counter is not None:
            reserved.counter.spend()

    async def recover(self, key: str, told: int) -> None:
        """Go on beyond what the meter says it accepted last. Raises DlmsFault TQ-DM-37 for a jump too far."""
        async with self._reserving:
            await recover(self._store, key, told)
            self._blocks.pop(key, None)
