"""The codec against the standard's own examples, against pymodbus as an oracle, and against rubbish."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest

from protocols.errors import Blame, Hope
from protocols.modbus.codec import (
    FRAME_SIZE_MAX,
    ExceptionReply,
    Frame,
    Framing,
    ModbusFault,
    check_reply,
    crc16,
    encode_frame,
    read_pdu,
    split_rtu_reply,
    split_rtu_request,
    split_tcp,
    write_pdu,
)

WORDS = st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=123)


def test_the_standards_read_example() -> None:
    """MODBUS Application Protocol V1.1b3, clause 6.3: registers 108-110 hold 022B, 0000, 0064."""
    request = read_pdu(3, 0x006B, 3)
    assert request.hex() == "03006b0003"
    assert check_reply(request, bytes.fromhex("0306022b00000064")).hex() == "022b00000064"


def test_the_standards_write_example() -> None:
    """Clause 6.12: two registers from 2 are set to 000A and 0102."""
    request = write_pdu(1, (0x000A, 0x0102))
    assert request.hex() == "100001000204000a0102"
    assert check_reply(request, bytes.fromhex("1000010002")) == b""


def test_the_checksum_of_the_serial_line_guide() -> None:
    assert crc16(bytes.fromhex("0207")) == 0x1241


@given(address=st.integers(0, 0xFF00), count=st.integers(1, 125), unit=st.integers(1, 247), tid=st.integers(1, 65535))
def test_requests_equal_those_of_pymodbus(address: int, count: int, unit: int, tid: int) -> None:
    theirs = ReadHoldingRegistersRequest(address=address, count=count, dev_id=unit, transaction_id=tid)
    ours = read_pdu(3, address, count)
    assert encode_frame(Framing.TCP, tid, unit, ours) == FramerSocket(DecodePDU(True)).buildFrame(theirs)
    assert encode_frame(Framing.RTU, 0, unit, ours) == FramerRTU(DecodePDU(True)).buildFrame(theirs)


@given(words=WORDS, unit=st.integers(1, 247))
def test_frames_round_trip_and_are_incomplete_at_every_cut(words: list[int], unit: int) -> None:
    reply = bytes((3, 2 * len(words))) + b"".join(word.to_bytes(2, "big") for word in words)
    for framing, split in ((Framing.TCP, split_tcp), (Framing.RTU, split_rtu_reply)):
        frame = encode_frame(framing, 7, unit, reply)
        found = split(frame)
        assert found is not None
        assert (found.unit, found.pdu, found.used) == (unit, reply, len(frame))
        assert all(split(frame[:cut]) is None for cut in range(len(frame)))
    write = write_pdu(3, tuple(words))
    found = split_rtu_request(encode_frame(Framing.RTU, 0, unit, write))
    assert found is not None
    assert found.pdu == write


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("0406022b00000064", "TQ-MB-05"),
        ("84 02", "TQ-MB-05"),
        ("83", "TQ-MB-05"),
        ("0304022b0000", "TQ-MB-07"),
        ("0306022b0000", "TQ-MB-07"),
        ("0308022b00000064", "TQ-MB-07"),
        ("03", "TQ-MB-07"),
        ("8302", "TQ-MB-22"),
        ("8363", "TQ-MB-20"),
    ],
)
def test_a_reply_that_does_not_fit_is_named(reply: str, code: str) -> None:
    with pytest.raises(ModbusFault) as caught:
        check_reply(read_pdu(3, 0x6B, 3), bytes.fromhex(reply))
    assert caught.value.code == code
    assert caught.value.blame is Blame.REMOTE
    assert caught.value.hint


def test_a_write_must_be_echoed() -> None:
    with pytest.raises(ModbusFault, match="TQ-MB-07"):
        check_reply(write_pdu(0x1A, (1,)), bytes.fromhex("10001b0001"))


def test_exceptions_say_whether_to_hope() -> None:
    assert ExceptionReply(3, 2).hope is Hope.PERMANENT
    assert ExceptionReply(3, 6).hope is Hope.RETRY
    assert ExceptionReply(3, 11).code == "TQ-MB-31"


@pytest.mark.parametrize("ask", [(3, 0, 0), (3, 0, 126), (3, 0xFFFF, 2), (6, 0, 1), (3, -1, 1)])
def test_what_cannot_be_asked_is_our_fault(ask: tuple[int, int, int]) -> None:
    with pytest.raises(ModbusFault) as caught:
        read_pdu(*ask)
    assert caught.value.blame is Blame.LOCAL


@pytest.mark.parametrize("values", [(), (1,) * 124, (-1,), (0x10000,)])
def test_what_cannot_be_written_is_our_fault(values: tuple[int, ...]) -> None:
    with pytest.raises(ModbusFault) as caught:
        write_pdu(0, values)
    assert caught.value.hope is Hope.PERMANENT


def _swallow(stream: bytes) -> None:
    """Every outcome but a frame, "not yet" or a named fault of the other side fails the test."""
    for split in (split_tcp, split_rtu_reply, split_rtu_request):
        outcome = _outcome(split, stream)
        if isinstance(outcome, ModbusFault):
            assert outcome.blame is Blame.REMOTE
        elif outcome is None:
            assert len(stream) < FRAME_SIZE_MAX + 6, "a stream may not stay incomplete beyond the longest frame"
        else:
            assert 0 < outcome.used <= len(stream)


def _outcome(split: Callable[[bytes], Frame | None], stream: bytes) -> Frame | ModbusFault | None:
    try:
        frame = split(stream)
        if frame is not None:
            check_reply(read_pdu(3, 0, 10), frame.pdu)
    except ModbusFault as fault:
        return fault
    return frame


@given(st.binary(max_size=600))
def test_random_bytes_are_a_frame_or_a_named_fault(stream: bytes) -> None:
    _swallow(stream)


def test_twenty_thousand_mutated_frames() -> None:
    dice = random.Random(20260501)
    sound = bytes((3, 20)) + bytes(range(20))
    frames = [encode_frame(framing, 1, 1, sound) for framing in Framing]
    for number in range(20_000):
        frame = bytearray(frames[number % 2])
        for _ in range(dice.randrange(1, 6)):
            match dice.randrange(4):
                case 0:
                    frame[dice.randrange(len(frame))] = dice.randrange(256)
                case 1:
                    del frame[dice.randrange(len(frame)) :]
                    frame += b"\x00"
                case 2:
                    frame += dice.randbytes(dice.randrange(1, 40))
                case _:
                    frame[:0] = dice.randbytes(dice.randrange(1, 4))
        _swallow(bytes(frame))
