"""Keys of bundles: what is sealed for one side opens there alone, and no kind of key passes for another."""

from pathlib import Path

import pytest

from hosting.clocks import SystemEntropy
from hosting.keys import KeyDomain, KeyFault
from hosting.keys_bundle import BundlePrivate, BundlePublic
from hosting.keys_envelope import RecoveryPrivate, RecoveryPublic

ENTROPY = SystemEntropy()


def test_the_key_of_a_bundle_is_for_its_recipient_and_its_bundle(tmp_path: Path) -> None:
    private = BundlePrivate.create(tmp_path / "bundle.key", ENTROPY, KeyDomain.DEMO)
    public = BundlePublic.from_text(private.public.text)
    assert public.id == private.public.id
    wrapped, box = public.box("bundle-1", ENTROPY)
    assert len(wrapped) == 80
    again = BundlePrivate.read(tmp_path / "bundle.key", KeyDomain.DEMO).box("bundle-1", wrapped, ENTROPY)
    assert again.open(box.seal(b"frame", b"0"), b"0") == b"frame"
    with pytest.raises(KeyFault, match="TQ-KY-07"):
        again.open(box.seal(b"frame", b"0"), b"1")
    for one, bundle in ((private, "bundle-2"), (BundlePrivate(bytes(32)), "bundle-1")):
        with pytest.raises(KeyFault, match="TQ-KY-07"):
            one.box(bundle, wrapped, ENTROPY)


def test_no_kind_of_key_passes_for_another(tmp_path: Path) -> None:
    bundle, recovery = tmp_path / "bundle.key", tmp_path / "recovery.key"
    ours = BundlePrivate.create(bundle, ENTROPY, KeyDomain.PRODUCTION)
    theirs = RecoveryPrivate.create(recovery, ENTROPY, KeyDomain.PRODUCTION)
    with pytest.raises(KeyFault, match="TQ-KY-03"):
        BundlePrivate.read(recovery, KeyDomain.PRODUCTION)
    with pytest.raises(KeyFault, match="TQ-KY-03"):
        RecoveryPrivate.read(bundle, KeyDomain.PRODUCTION)
    with pytest.raises(KeyFault, match="TQ-KY-05"):
        BundlePrivate.read(bundle, KeyDomain.DEMO)
    with pytest.raises(KeyFault, match="TQ-KY-09"):
        BundlePublic.from_text(theirs.public.text)
    with pytest.raises(KeyFault, match="TQ-KY-08"):
        RecoveryPublic.from_text(ours.public.text)
