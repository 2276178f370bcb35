"""The one place where libraries that throw dice of their own are made repeatable. Top floor.

Our own source has clocks, chance and entropy injected, so little is left: the interpreter's global generator, which
libraries use for jitter, and `uuid`. Everything is put back when the block ends.
"""

import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from simulate.clock import SeededEntropy


@contextmanager
def repeatable_libraries(seed: int) -> Iterator[None]:
    """Within the block, libraries draw the same chance in every run with the same seed."""
    before = random.getstate()
    original = uuid.uuid4
    entropy = SeededEntropy(seed, "uuid4")

    def seeded_uuid4() -> uuid.UUID:
        return uuid.UUID(bytes=entropy.token(16), version=4)

    random.seed(f"{seed}/libraries")
    uuid.uuid4 = seeded_uuid4
    try:
        yield
    finally:
        uuid.uuid4 = original
        random.setstate(before)
