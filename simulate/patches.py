"""The one place where libraries are made repeatable, and where a rehearsal knows what it need not work out. Top floor.

Our own source has clocks, chance and entropy injected, so little is left: the interpreter's global generator, which
libraries use for jitter, and `uuid`. Everything is put back when the block ends.
"""

import random
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any
from unittest.mock import patch

from protocols.authority.signatures import KeyRing, Signature, Signer
from simulate.clock import SeededEntropy

SIGNED_MAX = 20_000
"""Signatures of this process remembered: what was signed days ago is still asked for when a node starts again."""


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


@contextmanager
def own_signatures_known() -> Iterator[None]:
    """Within the block a signature made by this process is known to be right; every other one is worked out.

    Ed25519 says the same of both: what was signed by a key fits that key. What was altered by one bit is not known.
    """
    made: OrderedDict[bytes, None] = OrderedDict()
    sign, fits = Signer.sign, KeyRing._fits  # noqa: SLF001

    def signing(self: Signer, statement: bytes) -> bytes:
        value = sign(self, statement)
        made[_of(self.domain, self.key_id, value, statement)] = None
        if len(made) > SIGNED_MAX:
            made.popitem(last=False)
        return value

    def fitting(self: KeyRing, public: Any, signature: Signature, statement: bytes) -> bool:
        known = _of(self.domain, signature.key_id, signature.value, statement) in made
        return known or fits(self, public, signature, statement)

    with patch.object(Signer, "sign", signing), patch.object(KeyRing, "_fits", fitting):
        yield


def _of(domain: str, key_id: str, value: bytes, statement: bytes) -> bytes:
    return sha256(b"\0".join((domain.encode(), key_id.encode(), value, statement))).digest()
