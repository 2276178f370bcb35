"""What a rehearsal need not work out, and what it must."""

from gridmodel.clock import TimeBounds
from protocols.authority.canonical import Domain
from protocols.authority.signatures import (
    KeyRing,
    NamedKey,
    RefusalReason,
    Role,
    Signature,
    SignatureRefused,
    Signer,
    Verified,
)
from simulate.patches import own_signatures_known

NOW = TimeBounds(100, 110)


def test_only_what_was_signed_here_is_known_to_be_right() -> None:
    signer, other = (Signer.from_seed(bytes([n]) * 32, Domain.DEMO) for n in (1, 2))
    keys = [NamedKey(one.public, name, frozenset({Role.NODE})) for one, name in ((signer, "n1"), (other, "n2"))]
    original = KeyRing._fits
    with own_signatures_known():
        ring = KeyRing(keys, Domain.DEMO)
        made = signer.signature(b"a statement")
        assert ring.verify(Role.NODE, b"a statement", made, NOW) == Verified("n1", signer.key_id)
        altered = Signature(made.key_id, made.value[:-1] + bytes([made.value[-1] ^ 1]))
        borrowed = Signature(other.key_id, made.value)
        refusals = [
            ring.verify(Role.NODE, b"a statement", altered, NOW),
            ring.verify(Role.NODE, b"another", made, NOW),
            ring.verify(Role.NODE, b"a statement", borrowed, NOW),
            KeyRing(keys, Domain.PRODUCTION).verify(Role.NODE, b"a statement", made, NOW),
        ]
    assert {one.reason for one in refusals if isinstance(one, SignatureRefused)} == {RefusalReason.BAD_SIGNATURE}
    assert all(isinstance(one, SignatureRefused) for one in refusals)
    assert KeyRing._fits is original
