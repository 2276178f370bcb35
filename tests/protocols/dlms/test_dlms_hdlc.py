"""HDLC: frames survive any cutting of the stream, damage is seen, segments and windows of both ends fit together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlms.faults import DlmsFault
from protocols.dlms.hdlc.frames import Address, Frame, FrameSplitter
from protocols.dlms.hdlc.link import (
    DISC,
    DM,
    FRMR,
    POLL,
    RNR,
    RR,
    UA,
    UI,
    HdlcCarrier,
    HdlcMeterLink,
)
from protocols.dlms.hdlc.parameters import LinkParameters, read_parameters
from protocols.dlms.state import LinkState
from protocols.errors import Blame

METER, CLIENT = Address(1, 17, 4), Address(16)
ADDRESSES = st.one_of(
    st.integers(0, 127).map(Address),
    st.builds(Address, st.integers(0, 127), st.integers(0, 127), st.just(2)),
    st.builds(Address, st.integers(0, 0x3FFF), st.integers(0, 0x3FFF), st.just(4)),
)
FRAMES = st.builds(Frame, ADDRESSES, ADDRESSES, st.integers(0, 255), st.binary(max_size=200), st.booleans())


@given(st.lists(FRAMES, max_size=4), st.integers(1, 40), st.booleans())
def test_a_stream_of_frames_is_the_same_in_any_pieces(frames: list[Frame], size: int, shared: bool) -> None:
    stream = b"".join(frame.encode() for frame in frames)
    if shared:
        stream = (
            stream.replace(b"\x7e\x7e", b"\x7e") if all(b"\x7e" not in f.encode()[1:-1] for f in frames) else stream
        )
    splitter = FrameSplitter()
    got: list[Frame] = []
    for at in range(0, len(stream), size):
        got += splitter.feed(stream[at : at + size])
    assert got == frames


@given(FRAMES, st.integers(0, 10_000), st.integers(1, 255))
def test_one_changed_byte_is_never_taken(frame: Frame, place: int, change: int) -> None:
    raw = bytearray(frame.encode())
    raw[place % len(raw)] ^= change
    try:
        got = FrameSplitter().feed(bytes(raw) + b"\x7e" * 8)
    except DlmsFault as fault:
        assert fault.code in {"TQ-DM-02", "TQ-DM-20", "TQ-DM-21"}
    else:
        assert got in ([], [frame]), "a flag alone may be damaged where it is shared or follows"


def test_noise_is_passed_over_but_not_for_ever() -> None:
    frame = Frame(METER, CLIENT, 0x93)
    splitter = FrameSplitter()
    assert splitter.feed(b"noise" + frame.encode()) == [frame]
    with pytest.raises(DlmsFault, match="TQ-DM-21"):
        for _ in range(100):
            splitter.feed(bytes(100))


def test_after_a_bad_frame_the_next_is_read() -> None:
    splitter = FrameSplitter()
    bad = bytearray(Frame(METER, CLIENT, 0x93, b"hello").encode())
    bad[12] ^= 1
    good = Frame(METER, CLIENT, 0x53)
    with pytest.raises(DlmsFault, match="TQ-DM-20"):
        splitter.feed(bytes(bad) + good.encode())
    assert splitter.feed(b"") == [good]


def up(wanted: LinkParameters | None = None, able: LinkParameters | None = None) -> tuple[HdlcCarrier, HdlcMeterLink]:
    carrier, link = HdlcCarrier(16, METER, wanted), HdlcMeterLink(METER, CLIENT, able)
    (snrm,) = FrameSplitter().feed(carrier.connect())
    carrier.receive(link.receive(snrm).reply)
    assert carrier.ready
    return carrier, link


def exchange(carrier: HdlcCarrier, link: HdlcMeterLink, request: bytes, answer: bytes) -> tuple[list[bytes], int]:
    """What arrived at the meter and back, and how often the turn changed."""
    out, arrived, turns = carrier.send(request), [], 0
    while out:
        turns += 1
        back = b""
        for frame in FrameSplitter().feed(out):
            incoming = link.receive(frame)
            back += incoming.reply
            for apdu in incoming.apdus:
                arrived.append(apdu)
                back += link.send(answer)
        got = carrier.receive(back)
        arrived += got.apdus
        out = got.reply
    return arrived, turns


@given(
    st.binary(max_size=700),
    st.binary(max_size=700),
    st.tuples(st.integers(8, 300), st.integers(8, 300), st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(8, 300), st.integers(8, 300), st.integers(1, 7), st.integers(1, 7)),
)
def test_apdus_of_any_size_cross_links_of_any_parameters(
    request: bytes, answer: bytes, wanted: tuple[int, int, int, int], able: tuple[int, int, int, int]
) -> None:
    carrier, link = up(LinkParameters(*wanted), LinkParameters(*able))
    assert carrier.parameters.size_transmit == link.parameters.size_receive
    assert carrier.parameters.window_receive == link.parameters.window_transmit
    for _ in range(3):
        assert exchange(carrier, link, request, answer)[0] == [request, answer]
        assert carrier.ready


def test_a_window_saves_turns() -> None:
    sizes = LinkParameters(32, 32, 1, 1)
    _, slow = exchange(*up(sizes, sizes), bytes(300), bytes(300))
    windows = LinkParameters(32, 32, 7, 7)
    _, fast = exchange(*up(windows, windows), bytes(300), bytes(300))
    assert (slow, fast) == (19, 3)


def test_parameters_out_of_range_are_lowered_or_refused() -> None:
    assert read_parameters(b"") == LinkParameters()
    assert read_parameters(bytes.fromhex("81800405020FFF")).size_transmit == 2_030
    assert read_parameters(bytes.fromhex("818003 0A0100")) == LinkParameters()
    for wrong in ("8180030501 00", "81800405 02", "8081 00", "818003050155FF"):
        with pytest.raises(DlmsFault):
            read_parameters(bytes.fromhex(wrong))


def test_a_repeated_segment_is_not_joined_twice() -> None:
    carrier, link = up()
    frames = FrameSplitter().feed(carrier.send(bytes(200)))
    first = link.receive(frames[0]).reply
    assert link.receive(frames[0]).reply == first
    following = carrier.receive(first).reply
    (last,) = FrameSplitter().feed(following)
    assert link.receive(last).apdus == (bytes(200),)


def came(control: int, information: bytes = b"") -> bytes:
    return Frame(CLIENT, METER, control | POLL, information).encode()


@pytest.mark.parametrize(
    ("control", "information", "code"),
    [
        (DM, b"", "TQ-DM-26"),
        (FRMR, b"\x00", "TQ-DM-25"),
        (RNR, b"", "TQ-DM-27"),
        (UA, b"", "TQ-DM-42"),
        (0x52 | 0x20, b"\xe6\xe7\x00", "TQ-DM-23"),
        (RR | 0xA0, b"", "TQ-DM-23"),
        (0x20, b"\xe6\xe6\x00", "TQ-DM-24"),
        (UI, b"no header", "TQ-DM-24"),
        (DISC, b"", "TQ-DM-24"),
    ],
)
def test_frames_without_a_place_are_faults_of_the_meter(control: int, information: bytes, code: str) -> None:
    carrier, _ = up()
    carrier.send(b"request")
    with pytest.raises(DlmsFault, match=code) as caught:
        carrier.receive(came(control, information))
    assert caught.value.blame is Blame.REMOTE


def test_another_meter_on_the_line_is_not_taken_for_ours() -> None:
    carrier, _ = up()
    with pytest.raises(DlmsFault, match="TQ-DM-22"):
        carrier.receive(Frame(CLIENT, Address(1, 18, 4), RR | POLL).encode())


def test_a_pushed_frame_comes_between() -> None:
    carrier, link = up()
    carrier.send(b"request")
    assert carrier.receive(link.push(b"\x0fpush")).apdus == (b"\x0fpush",)


def test_an_answer_past_all_limits_is_given_up() -> None:
    carrier, _ = up(LinkParameters(2_030, 2_030, 1, 1), LinkParameters(2_030, 2_030, 1, 1))
    carrier.send(b"request")
    with pytest.raises(DlmsFault, match="TQ-DM-03"):
        for number in range(40):
            header = b"\xe6\xe7\x00" if not number else b""
            control = 0x20 | POLL | (number % 8) << 1
            carrier.receive(Frame(CLIENT, METER, control, header + bytes(2_000), segmented=True).encode())


def test_disconnecting_ends_the_link_at_both_ends() -> None:
    carrier, link = up()
    (disc,) = FrameSplitter().feed(carrier.disconnect())
    carrier.receive(link.receive(disc).reply)
    assert carrier.state is link.state is LinkState.DISCONNECTED
    assert carrier.disconnect() == b""
    with pytest.raises(DlmsFault, match="TQ-DM-41"):
        carrier.send(b"request")
    (dm,) = FrameSplitter().feed(link.receive(Frame(METER, CLIENT, RR | POLL)).reply)
    assert dm.control == DM | POLL


def test_addresses_that_do_not_fit_are_our_own_fault() -> None:
    for wrong in (Address(128), Address(1, 1, 1), Address(1, 1, 3), Address(0x4000, 1, 4)):
        with pytest.raises(DlmsFault, match="TQ-DM-74"):
            wrong.encode()


@pytest.mark.parametrize(
    ("control", "information"),
    [(RR | POLL, b""), (UI, b"\xe6\xe7\x00\x0f"), (0x10, b""), (0x0E | POLL, b"\x00")],
    ids=["that acknowledge nothing", "that nobody asked for", "that are empty", "that came before"],
)
def test_frames_without_end_that_bring_nothing_on_are_ended(control: int, information: bytes) -> None:
    """A window was sent again for each of them: 256 kB of acknowledgements held the loop for seconds."""
    carrier, _ = up()
    carrier.send(b"\xc0\x01")
    answered = 0
    with pytest.raises(DlmsFault, match="TQ-DM-23") as caught:
        for _ in range(200):
            frames = Frame(CLIENT, METER, control, information, segmented=not control & 1).encode()
            answered += len(carrier.receive(frames).reply)
    assert caught.value.blame is Blame.REMOTE
    assert answered < 64 * 50
