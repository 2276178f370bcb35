"""Layers beside the wires: envelopes, documents, mandates, facts, profiles and addresses as the storm meets them."""

import random
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gridmodel.balance import HourCell
from gridmodel.fault import Fault
from gridmodel.reading import Revision
from gridmodel.registry_document import registry_from_document, registry_to_document
from gridmodel.registry_parts import PartReader, parts_of
from hosting.keys_envelope import RecoveryPrivate, SealingKey, bound
from protocols.authority.mandate import SignedMandate, sign_mandate
from protocols.dlms.concentrators import parse_concentrator
from protocols.dlms.place import parse_address as dlms_address
from protocols.dlms.section import dlms_plan
from protocols.errors import Blame, Hope, ProtocolFault
from protocols.modbus.driver import parse_address as modbus_address
from protocols.modbus.section import modbus_plan
from protocols.profile import parse_profile
from protocols.sync import wire
from protocols.sync.chunk.document import pack_document, unpack_folded
from protocols.sync.chunk.registries import Manifest, packed_parts
from protocols.sync.facts import (
    AlarmFact,
    PlaceHour,
    RelayOperationFact,
    head_from_body,
    ledger_entry_from_body,
    status_from_body,
)
from simulate.grid import build_grid
from simulate.grid_registry import Listen, registry_of
from tests.fuzz.storm import Layer, Misconduct
from tests.protocols.authority.test_authority_mandate import mandate
from tests.protocols.dlms.parties import CountingEntropy
from tests.protocols.sync import samples
from tests.simulate.rigs import spec

Feed = Callable[[bytes, random.Random], object]
OURS = frozenset({Blame.LOCAL, Blame.REMOTE})
BELONGS = bound("meter", 7, "block_key")
DATA, NODE, RECOVERY = (
    SealingKey(bytes(range(32))),
    SealingKey(bytes(range(1, 33))),
    RecoveryPrivate(bytes(range(2, 34))),
)


def named(feed: Feed) -> Feed:
    """Faults of files and documents count as the other side's."""

    def fed(raw: bytes, rng: random.Random) -> object:
        try:
            return feed(raw, rng)
        except ProtocolFault:
            raise
        except Fault as fault:
            raise ProtocolFault(fault.code, fault.what, fault.hint, blame=Blame.REMOTE, hope=Hope.PERMANENT) from fault

    return fed


def envelopes(sealed: Mapping[bytes, bytes], raw: bytes, _rng: random.Random) -> None:
    """What opens is what somebody with the key sealed, for the very place where it stands."""
    faults: list[Fault] = []
    opens: tuple[Callable[[], object], ...] = (
        lambda: DATA.open(raw, BELONGS),
        lambda: NODE.unwrap(raw, BELONGS).id,
        lambda: RECOVERY.unwrap(raw, BELONGS).id,
    )
    for opened in opens:
        try:
            found = opened()
        except Fault as fault:
            faults.append(fault)
        else:
            if raw not in sealed or found not in {sealed[raw], DATA.id}:
                raise Misconduct("something was opened that nobody sealed")
    raise faults[0]


def documents(raw: bytes, _rng: random.Random) -> None:
    registry_from_document(unpack_folded(raw))


def registries(raw: bytes, _rng: random.Random) -> None:
    registry_from_document(wire.unpack(raw, wire.DOCUMENT)).indexed()


def manifests(raw: bytes, _rng: random.Random) -> None:
    Manifest.from_bytes(raw)


def parts(raw: bytes, _rng: random.Random) -> None:
    PartReader(1).read(0, wire.unpack(raw, wire.DOCUMENT))


def facts(raw: bytes, _rng: random.Random) -> None:
    """A body as each kind of fact; raises the last fault where none of them takes it."""
    body = wire.unpack(raw)
    if not isinstance(body, dict):
        return
    readers: tuple[Callable[[Mapping[str, Any]], object], ...] = (
        AlarmFact.from_body,
        PlaceHour.from_body,
        RelayOperationFact.from_body,
        ledger_entry_from_body,
        status_from_body,
        head_from_body,
    )
    faults: list[Fault] = []
    for read in readers:
        try:
            read(body)
        except Fault as fault:
            faults.append(fault)
    raise faults[0]


def profiles(raw: bytes, _rng: random.Random) -> None:
    """The same bytes as a meter's profile and as a concentrator."""
    text = raw.decode("utf-8", "replace")
    try:
        parse_concentrator("storm", text)
    except Fault:
        profile = parse_profile("storm", text)
        if profile.protocol == "dlms":
            dlms_plan(profile)
        else:
            modbus_plan(profile)


def addresses(raw: bytes, rng: random.Random) -> None:
    rng.choice((dlms_address, modbus_address))(raw.decode("utf-8", "replace"))


def mandates(raw: bytes, _rng: random.Random) -> None:
    SignedMandate.from_json(raw)


def bodies() -> list[bytes]:
    """One body of each kind."""
    operation = RelayOperationFact(
        "up-1", "m-1", "t-1", "cut", "debt", {"reasons": ["debt"]}, None, 1, None, None, None
    )
    hour = PlaceHour("t-1", 3_600, HourCell(), Revision(1, 2))
    alarm = AlarmFact("meter_silent", "m-1", 1, "no answer", None)
    status = {"at": 1, "backlog": {"ledger": 2}, "cuts_today": 3, "link_up": True, "software": "1"}
    return [wire.pack(one) for one in (operation.to_body(), hour.to_body(), alarm.to_body(), status)]


def layers() -> list[Layer]:
    """All of them."""
    entropy = CountingEntropy()
    sealed = {DATA.seal(b"secret", BELONGS, entropy): b"secret"}
    wrapped = {NODE.wrap(DATA, BELONGS, entropy): b"", RECOVERY.public.wrap(DATA, BELONGS, entropy): b""}
    grid = registry_to_document(registry_of(build_grid(spec(8)), Listen("127.1.0.1", 502)))
    (in_parts,) = parts_of(registry_from_document(grid))
    files = sorted((Path(__file__).parents[2] / "configs").glob("[mc]*s/*.toml"))
    places = (
        b"10.1.2.3:502",
        b"rtu://[::1]:502",
        b"wrapper://meter:4059?server=273&via=plc_wrapper",
        b"hdlc://m:1?client=1",
    )
    signed = sign_mandate(SignedMandate(mandate()).mandate, samples.SIGNER).to_json()
    return [
        Layer("envelopes", [*sealed, *wrapped], named(partial(envelopes, sealed | wrapped))),
        Layer("documents", [pack_document(grid)], named(documents), weight=0.2),
        Layer("registries", [wire.pack(grid, wire.DOCUMENT)], named(registries), weight=0.2),
        Layer("registry parts", [wire.pack(in_parts, wire.DOCUMENT)], named(parts), weight=0.2),
        Layer("registry manifests", [packed_parts(registry_from_document(grid)).manifest.to_bytes()], named(manifests)),
        Layer("facts", bodies(), named(facts)),
        Layer("mandates", [signed], named(mandates)),
        Layer("profiles", [one.read_bytes() for one in files], named(profiles), OURS, weight=0.05),
        Layer("addresses", places, named(addresses), OURS),
    ]
