"""Invocation counters: numbers that must never be used twice under one key. Floor: protocols; walks: reading, payment.

AES-GCM breaks when a key meets the same counter twice, and a meter refuses a counter it has seen. So a client reserves
a block of numbers durably *before* it uses the first of them: after a crash the rest of the block is lost, never used
again. Meters mostly tell the last counter they accepted (0.0.43.1.x.255); that, read without protection, is a hint
to be believed within limits: a liar could otherwise burn the 2^32 numbers that the key has.
"""

from typing import Protocol

from protocols.dlms.faults import local_fault, remote_fault
from protocols.errors import Hope

COUNTER_MAX = 0xFFFF_FFFF
"""Four bytes on the wire; a key that has used them up must be changed."""
RESERVE_BLOCK = 1_024
"""Numbers reserved at once: a day of quarter-hourly polls of ten APDUs; 2^32 last for 4 million blocks."""
RECOVERY_JUMP_MAX = 1 << 20
"""How far beyond our own mark a meter's word moves us: a meter that was read by others for years stays below it."""


class CounterStore(Protocol):
    """Where the marks live: a durable store of the host's. One mark for each key (a meter, a client, a key id)."""

    async def mark(self, key: str) -> int:
        """The first number that was never reserved; 1 for a new key."""
        ...

    async def move(self, key: str, mark: int) -> None:
        """Make `mark` durable; it returns only after the commit. It never goes back: a lower mark changes nothing."""
        ...


class Counter:
    """The numbers of one reserved block, in order."""

    __slots__ = ("_end", "_next")

    def __init__(self, first: int, end: int) -> None:
        """Numbers from `first` up to, not including, `end`; both were reserved."""
        self._next = first
        self._end = end

    @property
    def left(self) -> int:
        """How many are left."""
        return self._end - self._next

    @property
    def following(self) -> int:
        """The one `take` would give."""
        return self._next

    def take(self) -> int:
        """The next number. Raises DlmsFault TQ-DM-35 when the block is used up: nothing may be sent then."""
        if self._next >= self._end:
            raise local_fault("TQ-DM-35", "the reserved invocation counters are used up", "reserve a block, try again")
        self._next += 1
        return self._next - 1

    def go_on(self, further: "Counter") -> bool:
        """Take in numbers that follow these without a gap; says whether they do."""
        if further.following != self._end:
            return False
        self._end += further.left
        return True

    def spend(self) -> None:
        """Leave nothing: whoever still holds it must not take from it any more."""
        self._next = self._end


async def reserve(store: CounterStore, key: str, size: int = RESERVE_BLOCK) -> Counter:
    """Reserve a block of `size` durably and give it out.

    Raises:
        DlmsFault: TQ-DM-36 when the key has too few numbers left.

    """
    first = await store.mark(key)
    end = first + size
    if end > COUNTER_MAX + 1:
        raise local_fault("TQ-DM-36", f"the invocation counters of {key} are used up", "change the meter's key")
    await store.move(key, end)
    return Counter(first, end)


async def recover(store: CounterStore, key: str, told: int) -> int:
    """Move the mark beyond the counter the meter says it accepted last; gives the mark.

    Raises:
        DlmsFault: TQ-DM-37 when that would jump by more than `RECOVERY_JUMP_MAX`; nothing was moved.

    """
    mark = await store.mark(key)
    wanted = told + 1
    if wanted <= mark:
        return mark
    if wanted - mark > RECOVERY_JUMP_MAX or wanted > COUNTER_MAX:
        raise remote_fault(
            "TQ-DM-37",
            f"the meter says counter {told}, ours stands at {mark}: too far to be believed",
            "look whether somebody else uses this key; set the mark by hand when it is true",
            Hope.PERMANENT,
        )
    await store.move(key, wanted)
    return wanted
