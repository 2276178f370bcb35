"""Whatever can be said is read back as it was said; whatever else comes is a fault, quickly."""

import random
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from protocols.dlms import axdr
from protocols.dlms.apdu import Apdu, decode_apdu
from protocols.dlms.apdu.action import (
    ActionResponseNormal,
    ActionResponseWithList,
    MethodOutcome,
    returned_by_blocks,
)
from protocols.dlms.apdu.parts import ActionResult
from protocols.dlms.axdr import decode
from protocols.dlms.data import DEPTH_MAX, Data, Tag, array, octets, structure
from protocols.dlms.faults import DlmsFault
from protocols.dlms.hdlc.frames import FrameSplitter
from protocols.dlms.wrapper import WrapperCarrier, WrapperSplitter
from protocols.errors import Blame
from tests.protocols.dlms.generated import APDUS, VALUES
from tests.protocols.dlms.test_dlms_vectors import APDUS as VECTORS

SLOW = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=300)


@SLOW
@given(VALUES)
def test_values_round_trip(value: Data) -> None:
    assert decode(value.encode()) == value


@SLOW
@given(APDUS)
def test_apdus_round_trip(apdu: Apdu) -> None:
    assert decode_apdu(apdu.encode()) == apdu


@SLOW
@given(APDUS, st.data())
def test_an_apdu_cut_short_or_followed_by_more_is_a_fault_or_another_apdu(apdu: Apdu, data: st.DataObject) -> None:
    whole = apdu.encode()
    size = data.draw(st.integers(0, len(whole) - 1))
    for changed in (whole[:size], whole + b"\x00"):
        if isinstance(apdu, ActionResponseNormal | ActionResponseWithList) and changed + b"\x00" == whole:
            continue  # some meters leave out the last flag, and that is understood
        try:
            assert decode_apdu(changed) != apdu
        except DlmsFault as fault:
            assert fault.blame is Blame.REMOTE


@example(b"\x01\x84\xff\xff\xff\xff")
@example(b"\x13\x00\x82\xff\xff" + bytes(0xFFFF))
@example(b"\x13\x01\xff\xff\x01\xff\xff\x00\x01\x00")
@example(b"\x01\x01" * 40 + b"\x00")
@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_fault(raw: bytes) -> None:
    for reading in (decode, decode_apdu, WrapperSplitter().feed, FrameSplitter().feed):
        try:
            reading(raw)
        except DlmsFault as fault:
            assert fault.blame is Blame.REMOTE
            assert fault.hint


@SLOW
@given(st.data())
def test_rows_alike_and_rows_that_differ_are_read_the_same(data: st.DataObject) -> None:
    """The quick way for equal rows gives what the long way gives, whichever row is not like the first."""
    shape = data.draw(st.lists(st.sampled_from([6, 9, 15, 17, 20, 23, 0, 22]), min_size=1, max_size=5))
    same_length = data.draw(st.integers(0, 1)) == 0

    def cell(tag: int, index: int) -> Data:
        return Data(tag, None if tag == 0 else bytes(4 if same_length else index % 3) if tag == 9 else index % 100)

    table = [structure(*(cell(tag, row) for tag in shape)) for row in range(data.draw(st.integers(0, 12)))]
    odd = data.draw(st.integers(0, 24))
    if odd < len(table):
        longer = structure(*(cell(tag, 0) for tag in [*shape, 6]))
        table[odd] = (structure(Data(0, None)), Data(6, 9), longer)[odd % 3]
    assert decode(array(table).encode()) == array(table)


def test_a_row_that_only_looks_alike_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte after the first row changed: the quick way never sees what the long way does not."""
    good = array([structure(octets(b"abcd"), Data(Tag.UNSIGNED, n)) for n in range(6)]).encode()
    size = (len(good) - 2) // 6
    changed = [
        good[:place] + bytes((value,)) + good[place + 1 :]
        for place in range(2 + size, len(good))
        for value in (0x00, 0x02, 0x03, 0x06, 0x11)
    ]

    def read(raw: bytes) -> object:
        try:
            return decode(raw)
        except DlmsFault as fault:
            return fault.code

    quick = [read(raw) for raw in changed]
    monkeypatch.setattr(axdr, "ROWS_ALIKE_MIN", 1_000)
    assert quick == [read(raw) for raw in changed]
    assert len(set(map(str, quick))) > 20


def test_lists_that_promise_much_cost_little() -> None:
    """Nested counts of 65,535 would be 10^14 values; the budget ends it."""
    bombs = [
        b"\x13" + b"\x01\xff\xff" * 3 + b"\x00" + b"\x01\x00",
        b"\x13\x02\x82\xff\xff" + b"\x00" * 0xFFFF + b"\x01\x00",
        b"\x01\x83\x01\x00\x01" + b"\x00" * 0x10001,
        b"\x02\x01" * 5_000,
    ]
    started = time.perf_counter()
    for bomb in bombs:
        with pytest.raises(DlmsFault):
            decode(bomb)
    assert time.perf_counter() - started < 2


def test_depth_is_bounded_both_ways() -> None:
    value = Data(Tag.NULL, None)
    for _ in range(DEPTH_MAX):
        value = array([value])
    assert decode(value.encode()) == value
    with pytest.raises(DlmsFault, match="TQ-DM-71"):
        array([value]).encode()
    with pytest.raises(DlmsFault, match="TQ-DM-03"):
        decode(b"\x01\x01" + value.encode())


@pytest.mark.parametrize(
    "value",
    [
        Data(Tag.UNSIGNED, 256),
        Data(Tag.UNSIGNED, None),
        Data(Tag.UNSIGNED, True),
        Data(Tag.LONG, 1.5),
        Data(Tag.BOOLEAN, 1),
        Data(Tag.BIT_STRING, "012"),
        Data(Tag.VISIBLE_STRING, "Ў"),
        Data(Tag.DATE, b"1234"),
        Data(Tag.OCTET_STRING, "text"),
        Data(99, b""),
        Data(Tag.NULL, 0),
        Data(Tag.COMPACT_ARRAY, (Data(Tag.UNSIGNED, 1), Data(Tag.LONG, 1))),
    ],
)
def test_what_does_not_fit_its_type_is_our_own_fault(value: Data) -> None:
    with pytest.raises(DlmsFault, match="TQ-DM-71") as caught:
        structure(value).encode()
    assert caught.value.blame is Blame.LOCAL


def test_both_dialects_of_a_returned_value_in_blocks_are_understood() -> None:
    value = octets(b"long")
    for raw in (value.encode(), b"\x00\x01\x00" + value.encode()):
        assert returned_by_blocks(raw) == MethodOutcome(ActionResult.SUCCESS, value)
    assert returned_by_blocks(b"\x00\x00") == MethodOutcome(ActionResult.SUCCESS)
    for value in (octets(bytes(300)), structure(octets(b"ab"), Data(Tag.UNSIGNED, 1)), Data(Tag.DOUBLE_LONG, 5)):
        assert returned_by_blocks(b"\x00" + value.encode()) == MethodOutcome(ActionResult.SUCCESS, value)


def mutated(rng: random.Random, frame: bytes) -> bytes:
    changed = bytearray(frame)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(changed)) if changed else 0
        match rng.randrange(4):
            case 0 if changed:
                changed[at] = rng.randrange(256)
            case 1:
                changed[at:at] = rng.randbytes(rng.randrange(1, 4))
            case 2:
                del changed[at : at + rng.randrange(1, 5)]
            case _:
                changed = changed[: at + 1] + changed[at:]
    return bytes(changed)


def test_twenty_thousand_mutated_apdus_give_values_or_faults() -> None:
    rng = random.Random(20_000)
    frames = [bytes.fromhex(text) for _, text in VECTORS.values()]
    faults = 0
    slowest = 0.0
    for _ in range(20_000):
        raw = mutated(rng, rng.choice(frames))
        started = time.perf_counter()
        try:
            decode_apdu(raw)
        except DlmsFault as fault:
            assert fault.blame is Blame.REMOTE
            faults += 1
        slowest = max(slowest, time.perf_counter() - started)
    assert faults > 10_000
    assert slowest < 0.5


@given(st.lists(st.binary(max_size=100), max_size=5), st.integers(1, 50))
def test_a_wrapped_stream_is_the_same_in_any_pieces(apdus: list[bytes], size: int) -> None:
    meter = WrapperCarrier(1, 16)
    stream = b"".join(meter.send(apdu) for apdu in apdus)
    client = WrapperCarrier(16, 1)
    got: list[bytes] = []
    for at in range(0, len(stream), size):
        got += client.receive(stream[at : at + size]).apdus
    assert got == apdus


def test_another_logical_device_is_not_taken_for_ours() -> None:
    with pytest.raises(DlmsFault, match="TQ-DM-11"):
        WrapperCarrier(16, 1).receive(WrapperCarrier(2, 16).send(b"\xc4"))
    with pytest.raises(DlmsFault, match="TQ-DM-10"):
        WrapperCarrier(16, 1).receive(b"\x7e\xa0\x07\x21\x03\x93\x00\x00")
