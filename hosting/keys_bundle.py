"""Keys of bundles: each side has a pair for which the other seals what a courier carries. Floor: hosting; link loss.

The envelope is the house's own (`keys_envelope`): a fresh AES-256-GCM key for each bundle, wrapped for the recipient's
X25519 key by HPKE; the frames are sealed under it. `protocols.sync.bundle` has the form and what is signed.

Codes: TQ-KY-09 not the public half of a bundle key.
"""

from gridmodel.clock import Entropy
from hosting.keys import KeyFault, KeyKind
from hosting.keys_envelope import HpkePrivate, HpkePublic, SealingKey, bound

_PURPOSE = "tarmoq bundle key 1"


class BundleBox:
    """The key of one bundle at work: seals and opens its frames. An implementation of `protocols.sync.bundle.Box`."""

    __slots__ = ("_entropy", "_key")

    def __init__(self, key: SealingKey, entropy: Entropy) -> None:
        self._key = key
        self._entropy = entropy

    def seal(self, plain: bytes, belongs: bytes) -> bytes:
        """Nonce, ciphertext and tag."""
        return self._key.seal(plain, belongs, self._entropy)

    def open(self, sealed: bytes, belongs: bytes) -> bytes:
        """What was sealed; raises `KeyFault` ``TQ-KY-07``."""
        return self._key.open(sealed, belongs)


class BundlePublic(HpkePublic):
    """The public half: ``x25519-bundle:<base64>``."""

    __slots__ = ()
    HEAD = "x25519-bundle:"

    @staticmethod
    def from_text(text: str) -> "BundlePublic":
        """From its text; raises `KeyFault` ``TQ-KY-09``."""
        raw = BundlePublic.raw_of(text)
        if raw is None:
            raise KeyFault(
                "TQ-KY-09",
                "that is not the public half of a bundle key",
                "give what bundle make-key printed on the other side: x25519-bundle:…",
            )
        return BundlePublic(raw)

    def box(self, bundle: str, entropy: Entropy) -> tuple[bytes, BundleBox]:
        """A fresh key for the bundle of that id, wrapped for the recipient, and at work."""
        key = SealingKey.fresh(entropy)
        return self.wrap(key, bound(_PURPOSE, bundle), entropy), BundleBox(key, entropy)


class BundlePrivate(HpkePrivate):
    """The private half, on the machine that applies bundles."""

    __slots__ = ()
    FILE = KeyKind.BUNDLE
    public: BundlePublic

    def __init__(self, raw: bytes) -> None:
        """From 32 bytes."""
        super().__init__(raw, BundlePublic)

    def box(self, bundle: str, wrapped: bytes, entropy: Entropy) -> BundleBox:
        """The key of the bundle of that id; raises `KeyFault` ``TQ-KY-07`` when it was wrapped for another."""
        return BundleBox(self.unwrap(wrapped, bound(_PURPOSE, bundle)), entropy)
