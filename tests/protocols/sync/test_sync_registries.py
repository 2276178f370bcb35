"""A registry on its way: manifests and parts are what their digests say, and every other one is named."""

import dataclasses
from hashlib import sha256

import pytest

from gridmodel import registry_parts
from gridmodel.fault import Fault
from protocols.sync import wire
from protocols.sync.chunk import registries
from protocols.sync.chunk.document import pack_document
from protocols.sync.chunk.registries import (
    Manifest,
    PartsReader,
    packed_parts,
    part_digest,
    parts_named_in,
    registry_of,
    travels_whole,
)
from tests.gridmodel.test_registry import document
from tests.gridmodel.test_registry_parts import same, whole


@pytest.fixture(autouse=True)
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_parts, "PART_PLACES", 4)


def test_a_registry_in_parts_comes_back_and_equal_ones_have_equal_bytes() -> None:
    registry = whole()
    packed = packed_parts(registry)
    stored = packed.manifest.to_bytes()
    assert same(registry_of(stored, packed.parts), registry)
    backwards = dataclasses.replace(registry, meters=registry.meters[::-1])
    assert packed_parts(backwards) == packed
    assert parts_named_in(stored) == packed.manifest.parts


def test_a_whole_document_is_read_as_ever() -> None:
    stored = pack_document(document())
    assert registry_of(stored).version == 3
    assert parts_named_in(stored) == ()


def test_a_version_after_one_exchange_shares_its_other_parts() -> None:
    before, after = packed_parts(whole()), packed_parts(dataclasses.replace(whole(), version=2))
    assert before.manifest.parts == after.manifest.parts
    assert before.manifest.to_bytes() != after.manifest.to_bytes()
    assert list(after.besides(frozenset(before.manifest.parts))) == []
    assert len(list(after.besides(frozenset(before.manifest.parts[:3])))) == 13


def test_a_manifest_that_was_changed_is_named() -> None:
    manifest = packed_parts(whole()).manifest
    told = wire.unpack(manifest.to_bytes(), wire.DOCUMENT)
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    wrongs: list[tuple[object, str]] = [
        (None, "TQ-SY-71"),
        ({**told, "parts": told["parts"][::-1]}, "TQ-SY-71"),
        ({**told, "parts": told["parts"][1:]}, "TQ-SY-71"),
        ({**told, "version": 2}, "TQ-SY-71"),
        ({**told, "digest": None}, "TQ-SY-71"),
        ({**told, "colour": 1}, "TQ-SY-71"),
        ({**told, "parts": ["x"]}, "TQ-SY-21"),
        ({**told, "parts": 7}, "TQ-SY-21"),
        ({**told, "node": "two words"}, "TQ-ID-01"),
        ({**told, "version": True}, "TQ-RG-12"),
    ]
    for wrong, code in wrongs:
        with pytest.raises(Fault) as refused:
            Manifest.from_bytes(wire.pack(wrong, wire.DOCUMENT))
        assert refused.value.code == code, wrong


def test_a_part_that_is_missing_or_not_itself_is_named() -> None:
    packed = packed_parts(whole())
    reader = PartsReader(packed.manifest)
    with pytest.raises(Fault, match="TQ-SY-72") as missing:
        reader.read(4, None)
    assert "part 5 of 16" in missing.value.what
    with pytest.raises(Fault, match="TQ-SY-70"):
        reader.read(4, packed.parts[5])
    with pytest.raises(Fault, match="TQ-SY-70"):
        part_digest("ab" * 32, packed.parts[5])
    assert part_digest(sha256(packed.parts[5]).hexdigest(), packed.parts[5]) == packed.manifest.parts[5]
    with pytest.raises(Fault, match="TQ-SY-72"):
        registry_of(packed.manifest.to_bytes(), packed.parts[1:])
    with pytest.raises(Fault, match="TQ-SY-71"):
        registry_of(wire.pack([]))


def test_a_manifest_that_names_a_part_twice_is_refused() -> None:
    packed = packed_parts(whole())
    parts = (packed.parts[0], packed.parts[0], *packed.parts[2:])
    manifest = dataclasses.replace(packed.manifest, parts=tuple(sha256(one).digest() for one in parts))
    with pytest.raises(Fault, match="TQ-RG-20"):
        registry_of(manifest.to_bytes(), parts)


def test_only_what_fits_one_document_travels_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert travels_whole(whole())
    monkeypatch.setattr(registries, "WHOLE_ROWS_MAX", 39)
    assert not travels_whole(whole())
