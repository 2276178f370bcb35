"""Envelopes: what opens, what must not, and that another implementation of RFC 9180 agrees."""

import pickle
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from hosting.clocks import SystemEntropy
from hosting.keys import KeyDomain, KeyFault, KeyKind, load_key
from hosting.keys_envelope import RecoveryPrivate, RecoveryPublic, SealingKey, bound

ENTROPY = SystemEntropy()
OWNER = bound("meter", "m-1", "block_key", 1)


def test_what_was_sealed_opens_for_its_owner_only() -> None:
    key = SealingKey.fresh(ENTROPY)
    sealed = key.seal(b"secret", OWNER, ENTROPY)
    assert key.open(sealed, OWNER) == b"secret"
    assert b"secret" not in sealed
    assert key.seal(b"secret", OWNER, ENTROPY) != sealed, "a fresh nonce each time"
    for owner in (
        bound("meter", "m-2", "block_key", 1),
        bound("meter", "m-1", "authentication_key", 1),
        bound("meter", "m-1", "block_key", 2),
    ):
        with pytest.raises(KeyFault, match="TQ-KY-07"):
            key.open(sealed, owner)
    with pytest.raises(KeyFault, match="TQ-KY-07"):
        SealingKey.fresh(ENTROPY).open(sealed, OWNER)


def test_each_flipped_bit_and_each_cut_is_noticed() -> None:
    key = SealingKey.fresh(ENTROPY)
    sealed = key.seal(b"x", OWNER, ENTROPY)
    wrong = [bytes(byte ^ (place == at) for at, byte in enumerate(sealed)) for place in range(len(sealed))]
    wrong += [sealed[:size] for size in range(len(sealed))]
    for one in wrong:
        with pytest.raises(KeyFault, match="TQ-KY-07"):
            key.open(one, OWNER)


def test_owners_cannot_be_mixed_up_by_moving_a_letter() -> None:
    assert bound("m-1", "2") != bound("m-12", "")
    assert bound("a", "b") != bound("ab")
    assert bound("m", 1) == bound("m", "1")


def test_a_key_is_wrapped_under_another_and_for_the_offline_one(tmp_path: Path) -> None:
    node, data = SealingKey.fresh(ENTROPY), SealingKey.fresh(ENTROPY)
    assert node.unwrap(node.wrap(data, OWNER, ENTROPY), OWNER).id == data.id
    private = RecoveryPrivate.create(tmp_path / "recovery.key", ENTROPY, KeyDomain.PRODUCTION)
    public = RecoveryPublic.from_text(private.public.text)
    wrapped = public.wrap(data, OWNER, ENTROPY)
    again = RecoveryPrivate.read(tmp_path / "recovery.key", KeyDomain.PRODUCTION)
    assert (again.public.id, again.unwrap(wrapped, OWNER).id) == (public.id, data.id)
    flipped = [bytes(byte ^ (place == at) for at, byte in enumerate(wrapped)) for place in range(len(wrapped))]
    for one in (*flipped, b"", bytes(32), bytes(80), wrapped[:-1]):
        with pytest.raises(KeyFault, match="TQ-KY-07"):
            again.unwrap(one, OWNER)
    with pytest.raises(KeyFault, match="TQ-KY-07"):
        again.unwrap(wrapped, bound("another"))


def test_another_implementation_of_hpke_unwraps_ours_and_we_unwrap_its(tmp_path: Path) -> None:
    hpke = pytest.importorskip("cryptography.hazmat.primitives.hpke")
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    private, data = RecoveryPrivate.create(tmp_path / "r.key", ENTROPY, KeyDomain.DEMO), SealingKey.fresh(ENTROPY)
    data.write(tmp_path / "data.key", KeyKind.DATA, KeyDomain.DEMO)
    raw = load_key(tmp_path / "data.key", KeyKind.DATA, KeyDomain.DEMO)
    theirs = X25519PrivateKey.from_private_bytes(load_key(tmp_path / "r.key", KeyKind.RECOVERY, KeyDomain.DEMO))
    assert suite.decrypt(private.public.wrap(data, OWNER, ENTROPY), theirs, info=OWNER) == raw
    assert isinstance(theirs.public_key(), X25519PublicKey)
    assert private.unwrap(suite.encrypt(raw, theirs.public_key(), info=OWNER), OWNER).id == data.id


def test_nothing_shows_a_key(tmp_path: Path) -> None:
    key = SealingKey.fresh(ENTROPY)
    key.write(tmp_path / "node.key", KeyKind.NODE, KeyDomain.DEMO)
    raw = load_key(tmp_path / "node.key", KeyKind.NODE, KeyDomain.DEMO)
    assert SealingKey.read(tmp_path / "node.key", KeyKind.NODE, KeyDomain.DEMO).id == key.id
    private = RecoveryPrivate.create(tmp_path / "r.key", ENTROPY, KeyDomain.DEMO)
    for told in (repr(key), str(key), f"{private}", key.id):
        assert raw.hex() not in told
        assert repr(raw) not in told
    with pytest.raises(TypeError):
        pickle.dumps(key)


@pytest.mark.parametrize("text", ["", "x25519:", "x25519:AAAA", "x25519:!", "ed25519:" + "A" * 43 + "="])
def test_what_is_no_recovery_key_is_refused_by_name(text: str) -> None:
    with pytest.raises(KeyFault, match="TQ-KY-08"):
        RecoveryPublic.from_text(text)


def test_files_of_one_kind_are_not_taken_for_another(tmp_path: Path) -> None:
    SealingKey.fresh(ENTROPY).write(tmp_path / "data.key", KeyKind.DATA, KeyDomain.DEMO)
    with pytest.raises(KeyFault, match=r"TQ-KY-03.*node-key"):
        SealingKey.read(tmp_path / "data.key", KeyKind.NODE, KeyDomain.DEMO)
    with pytest.raises(KeyFault, match="TQ-KY-05"):
        SealingKey.read(tmp_path / "data.key", KeyKind.DATA, KeyDomain.PRODUCTION)
