"""A registry as it travels and is kept: one document or, where that is too small, parts and a manifest of them.

Floor: protocols; on the reading walk. A part goes by the SHA-256 of its packed bytes: what has that digest is that
part, whoever brought it and whenever. The manifest names the parts in their order, and has a digest over itself and so
over the whole: it is what makes a version hold, all at once, when every part is there.

Codes: TQ-SY-70 a part that is not what its name says, -71 a manifest that is none or was changed, -72 a part is
missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, Self

from gridmodel.identity import NodeId
from gridmodel.registry import Registry
from gridmodel.registry_document import HEAD, head_from_document, head_to_document, registry_from_document
from gridmodel.registry_parts import PART_ROWS_MAX, PARTS_MAX, PartReader, ReadPart, assembled, parts_of
from gridmodel.registry_tables import TABLES
from protocols.errors import Blame, Hope
from protocols.sync import fields as f
from protocols.sync import wire
from protocols.sync.chunk import document as documents

WHOLE_ROWS_MAX = wire.DOCUMENT.items_max
"""Rows of one table in a registry that travels whole, as nodes one version older can read it."""
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
"""What every whole document begins with, and no manifest."""

_PART = wire.Limits(bytes_max=8_388_608, items_max=PART_ROWS_MAX, containers_max=4 * PART_ROWS_MAX)
_MANIFEST = wire.Limits(bytes_max=65_536, items_max=PARTS_MAX, containers_max=16)
_HINT = "nothing of it is used and the version before goes on; import the registry again at the hub"


def _fault(number: int, what: str) -> wire.WireFault:
    return wire.WireFault(f"TQ-SY-{number}", what, _HINT, blame=Blame.REMOTE, hope=Hope.PERMANENT)


class RegistryKind(StrEnum):
    """What an item of the lane `registry` is."""

    WHOLE = "registry"
    """One document, as nodes of the version before know it."""
    PART = "registry_part"
    """A part, under its digest in hex. Holds nothing by itself."""
    MANIFEST = "registry_manifest"
    """Names the parts that came before it, and makes them hold."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a registry says of itself, and which parts it has."""

    head: Mapping[str, Any]
    """What `registry_document.HEAD` names, as plain values."""
    parts: tuple[bytes, ...]
    """The digest of each part, in their order."""

    @property
    def node(self) -> NodeId:
        """Whose registry it is."""
        return NodeId(str(self.head["node"]))

    @property
    def version(self) -> int:
        """Its version."""
        return int(self.head["version"])

    def to_bytes(self) -> bytes:
        """Packed, the same bytes for equal registries."""
        told = self._told()
        return wire.pack({**told, "digest": _digest(told)}, _MANIFEST)

    def _told(self) -> dict[str, Any]:
        return {**self.head, "parts": list(self.parts)}

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Back from `to_bytes`; raises WireFault, MessageFault, RegistryFault or IdentityFault."""
        read = wire.unpack(data, _MANIFEST)
        if not isinstance(read, dict) or read.keys() != {*HEAD, "parts", "digest"}:
            raise _fault(71, "this is no manifest of a registry")
        head = {name: read[name] for name in HEAD}
        head_from_document(head)
        parts = tuple(f.octets("part", one, 32, 32) for one in f.listed("parts", read["parts"], PARTS_MAX))
        manifest = cls(head, parts)
        if read["digest"] != _digest(manifest._told()):
            raise _fault(71, f"the manifest of version {head['version']} was changed on its way")
        return manifest


def _digest(told: Mapping[str, Any]) -> bytes:
    return sha256(wire.pack(told, _MANIFEST)).digest()


@dataclass(frozen=True, slots=True)
class PackedParts:
    """A registry in parts."""

    manifest: Manifest
    parts: tuple[bytes, ...]
    """Packed, in the order of the manifest."""

    def besides(self, known: frozenset[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """(digest, packed part) of those that whoever has `known` lacks; each once."""
        return ((one, part) for one, part in zip(self.manifest.parts, self.parts, strict=True) if one not in known)


def travels_whole(registry: Registry) -> bool:
    """Whether a registry is small enough for one document."""
    return all(len(getattr(registry, name)) <= WHOLE_ROWS_MAX for name in TABLES)


def packed_parts(registry: Registry) -> PackedParts:
    """A registry in parts. Heavy; raises RegistryFault TQ-RG-22 or WireFault (blame local)."""
    parts = tuple(documents.pack_document(part, _PART) for part in parts_of(registry))
    digests = tuple(sha256(part).digest() for part in parts)
    return PackedParts(Manifest(head_to_document(registry), digests), parts)


def part_digest(name: str, packed: bytes) -> bytes:
    """The digest of a part that came under `name`, which is that digest in hex; raises WireFault TQ-SY-70."""
    digest = sha256(packed).digest()
    if digest.hex() != name:
        raise _fault(70, f"what came as part {name:.16} of a registry is not that part")
    return digest


class PartsReader:
    """Reads the parts of one manifest, in their order. Heavy: a task for `compute` at each part."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._reader = PartReader(len(manifest.parts))

    def read(self, number: int, packed: bytes | None) -> ReadPart:
        """What stands in a part; None says that it is not here.

        Raises WireFault (TQ-SY-72 missing, -70 altered), RegistryFault or IdentityFault.
        """
        if packed is None:
            of, version = len(self._manifest.parts), self._manifest.version
            raise _fault(72, f"part {number + 1} of {of} of registry version {version} is not here")
        part_digest(self._manifest.parts[number].hex(), packed)
        return self._reader.read(number, documents.unpack_folded(packed, _PART))

    def whole(self, parts: list[ReadPart]) -> Registry:
        """The registry of all its parts; raises RegistryFault, IdentityFault or PeriodFault."""
        self._reader.forget()
        return assembled(self._manifest.head, parts)


def is_whole(stored: bytes) -> bool:
    """Whether these bytes are a registry's one document, and not a manifest."""
    return stored.startswith(ZSTD_MAGIC)


def registry_of(stored: bytes, parts: Sequence[bytes] = ()) -> Registry:
    """A registry from its one document, or from its manifest and all packed parts in order. Heavy.

    Raises the faults of either; TQ-SY-72 where parts are missing.
    """
    if is_whole(stored):
        return registry_from_document(documents.unpack_folded(stored))
    manifest = Manifest.from_bytes(stored)
    if len(parts) != len(manifest.parts):
        raise _fault(72, f"{len(parts)} of {len(manifest.parts)} parts of registry {manifest.version} are here")
    reader = PartsReader(manifest)
    return reader.whole([reader.read(number, part) for number, part in enumerate(parts)])


def parts_named_in(stored: bytes) -> tuple[bytes, ...]:
    """The digests of the parts of what is stored, in order; none of a whole document. Raises the manifest's faults."""
    return () if is_whole(stored) else Manifest.from_bytes(stored).parts
