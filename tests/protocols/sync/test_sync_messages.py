"""Messages: each comes back as it went; each mutation is a named fault or another well-formed message."""

import random
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any, Protocol

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridmodel.clock import TimeBounds
from gridmodel.identity import NodeId
from protocols.authority.signatures import SignatureRefused, Verified
from protocols.errors import ProtocolFault
from protocols.sync.batch import FRAME_BYTES_MAX
from protocols.sync.lanes import RECORD_PAYLOAD_BYTES_MAX
from protocols.sync.messages import (
    ZERO_HASH,
    Batch,
    DownItem,
    DownLane,
    Hello,
    Lane,
    LaneMark,
    MessageFault,
    Pull,
    PullReply,
    Push,
    PushReply,
    Record,
    Welcome,
    batch_limit,
    fresh_mark,
    records_from_payload,
    records_to_payload,
)
from protocols.sync.seal import check_signature, fitting, seal, sign_hello
from protocols.sync.wire import WireFault
from tests.protocols.sync import samples


class Message(Protocol):
    def to_bytes(self) -> bytes: ...


CASES: list[tuple[Message, Callable[[bytes], Message]]] = [
    (samples.hello(), Hello.from_bytes),
    (samples.welcome(), Welcome.from_bytes),
    (samples.push(), Push.from_bytes),
    (samples.push_reply(), PushReply.from_bytes),
    (samples.pull(), Pull.from_bytes),
    (samples.pull_reply(), PullReply.from_bytes),
    (samples.batch(), Batch.from_bytes),
]
NAMES = [type(message).__name__ for message, _ in CASES]


@pytest.mark.parametrize(("message", "read"), CASES, ids=NAMES)
def test_a_message_comes_back_as_it_went(message: Message, read: Callable[[bytes], Message]) -> None:
    assert read(message.to_bytes()) == message


@pytest.mark.parametrize(("message", "read"), CASES, ids=NAMES)
def test_a_missing_or_unknown_field_is_refused(message: Message, read: Callable[[bytes], Message]) -> None:
    value = msgpack.unpackb(message.to_bytes())
    fields: dict[str, Any] = value[0] if isinstance(value, list) else value
    for name in list(fields):
        kept = fields.pop(name)
        with pytest.raises(MessageFault) as caught:
            read(msgpack.packb(value))
        assert caught.value.code == "TQ-SY-20"
        assert name in caught.value.what
        fields[name] = kept
    fields["extra"] = 1
    with pytest.raises(MessageFault):
        read(msgpack.packb(value))


STRANGE: list[Any] = [None, True, -1, 2**63, 1.5, "", "x" * 3_000, "no-such", b"", b"x" * 31, [], [1], {}, {"a": 1}]


@pytest.mark.parametrize(("message", "read"), CASES, ids=NAMES)
def test_a_wrong_type_in_any_place_is_refused_or_well_formed(
    message: Message, read: Callable[[bytes], Message]
) -> None:
    rng = random.Random(4)
    codes: list[str] = []
    for _ in range(3_000):
        value = msgpack.unpackb(message.to_bytes())
        _replace_somewhere(value, rng)
        try:
            assert read(msgpack.packb(value)).to_bytes()
        except ProtocolFault as fault:
            codes.append(fault.code)
    assert len(codes) > 1_000
    assert all(code.startswith("TQ-SY-") for code in codes)


def _replace_somewhere(value: Any, rng: random.Random) -> None:
    while True:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        inner = value[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
            value[key] = rng.choice(STRANGE)
            return
        value = inner


@pytest.mark.parametrize(("message", "read"), CASES, ids=NAMES)
def test_flipped_bytes_are_refused_or_well_formed(message: Message, read: Callable[[bytes], Message]) -> None:
    rng = random.Random(5)
    good = message.to_bytes()
    codes: list[str] = []
    for _ in range(3_000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            read(bytes(data))
        except ProtocolFault as fault:
            codes.append(fault.code)
    assert all(code.startswith("TQ-SY-") for code in codes)


@given(st.binary(max_size=300))
def test_noise_is_a_named_fault(data: bytes) -> None:
    for _, read in CASES:
        with pytest.raises(ProtocolFault):
            read(data)


def test_a_protocol_that_is_not_served_is_named() -> None:
    value = msgpack.unpackb(samples.hello().to_bytes())
    value["protocol"] = 2
    with pytest.raises(MessageFault) as caught:
        Hello.from_bytes(msgpack.packb(value))
    assert caught.value.code == "TQ-SY-24"


def test_the_hash_chain_does_not_hang_on_the_signature() -> None:
    header = samples.batch().header
    assert replace(header, signature=bytes(64)).hash() == header.hash()
    for name, value in {
        "node": NodeId("other"),
        "lane": Lane.CONTROL,
        "epoch": 2,
        "seq": 2,
        "previous": sha256(b"").digest(),
        "digest": sha256(b"").digest(),
        "registry_version": 4,
        "created_at": 5,
        "key_id": "f" * 16,
        "protocol": 2,
    }.items():
        changed: dict[str, Any] = {name: value}
        assert replace(header, **changed).hash() != header.hash(), name


def test_a_signature_counts_for_the_node_it_is_named_for_only() -> None:
    header = samples.batch().header
    assert check_signature(header, samples.KEYRING, samples.PRESENT) == Verified(samples.NODE, samples.SIGNER.key_id)
    stranger = samples.batch(node=NodeId("node-2")).header
    assert isinstance(check_signature(stranger, samples.KEYRING, samples.PRESENT), SignatureRefused)
    assert isinstance(check_signature(replace(header, seq=7), samples.KEYRING, samples.PRESENT), SignatureRefused)
    for message in (samples.hello(), samples.pull()):
        assert isinstance(check_signature(message, samples.KEYRING, TimeBounds(0, 2**39)), Verified)
    forged = replace(samples.hello(), fork_lane=Lane.LEDGER)
    assert isinstance(check_signature(forged, samples.KEYRING, samples.PRESENT), SignatureRefused)


def test_a_mark_is_zero_all_over_or_not_at_all() -> None:
    assert LaneMark.from_wire([1, 0, ZERO_HASH]) == fresh_mark(1)
    for wrong in ([1, 0, b"x" * 32], [1, 1, ZERO_HASH], [1, 1], "mark", [1, True, ZERO_HASH]):
        with pytest.raises(MessageFault):
            LaneMark.from_wire(wrong)


def test_a_batch_keeps_to_the_size_of_its_lane() -> None:
    mark = fresh_mark(1)
    args: dict[str, Any] = {"node": samples.NODE, "after": mark, "registry_version": 1, "now": 1}
    with pytest.raises(MessageFault) as caught:
        seal(bytes(FRAME_BYTES_MAX), lane=Lane.LEDGER, signer=samples.SIGNER, **args)
    assert caught.value.code == "TQ-SY-23"
    large = seal(bytes(1_048_576), lane=Lane.INTERVAL, signer=samples.SIGNER, **args)
    assert Batch.from_bytes(large.to_bytes()) == large
    assert len(large.to_bytes()) <= batch_limit(Lane.INTERVAL)
    full = seal(bytes(RECORD_PAYLOAD_BYTES_MAX), lane=Lane.LEDGER, signer=samples.SIGNER, **args)
    assert len(full.to_bytes()) <= FRAME_BYTES_MAX


@given(st.lists(st.integers(0, 3_000), max_size=60))
def test_fitting_fills_a_payload_and_never_overfills(sizes: list[int]) -> None:
    records = [Record("alarm", f"a-{number}", {"text": "x" * size}) for number, size in enumerate(sizes)]
    start = 0
    while start < len(records):
        count = fitting(records[start:])
        assert count >= 1
        part = records[start : start + count]
        assert records_from_payload(records_to_payload(part)) == tuple(part)
        if start + count < len(records) and count < 512:
            with pytest.raises(WireFault):
                records_to_payload([*part, records[start + count], Record("alarm", "b", {"text": "x" * 16})])
        start += count


def test_a_record_that_can_never_travel_is_told_to_its_maker() -> None:
    with pytest.raises(WireFault):
        fitting([Record("alarm", "a-1", {"a": "x" * 4_000, "b": "x" * 4_000})])


def test_offsets_down_ascend() -> None:
    item = DownItem(DownLane.LEDGER, 8, "watermark", "w-1", b"x")
    for items in ((item, item), (replace(item, offset=9), item)):
        with pytest.raises(MessageFault):
            PullReply.from_bytes(replace(samples.pull_reply(), items=items).to_bytes())


def test_greetings_are_signed_whole() -> None:
    hello = samples.hello()
    assert sign_hello(hello, samples.SIGNER) == hello
    assert replace(hello, signed_at=1).canonical_bytes() != hello.canonical_bytes()
    assert replace(hello, signature=b"").canonical_bytes() == hello.canonical_bytes()
