"""How our meter side says no, and what it takes from clients of every make (IEC 62056-5-3, 6.5 and 7; 62056-6-2)."""

from dataclasses import replace

import pytest

from protocols.dlms.apdu import decode_apdu
from protocols.dlms.apdu.acse import Aare, Aarq, AssociationResult, Context, Mechanism
from protocols.dlms.apdu.get import GetRequestNormal
from protocols.dlms.apdu.initiate import OURS, Conformance, InitiateRequest
from protocols.dlms.apdu.notices import ConfirmedServiceError, ExceptionResponse
from protocols.dlms.apdu.parts import AttributeDescriptor, AttributeRequest
from protocols.dlms.apdu.sealed import Protection
from protocols.dlms.cosem import Clock
from protocols.dlms.cosem_time import encode_time
from protocols.dlms.counters import COUNTER_MAX
from protocols.dlms.data import Data, Tag, octets
from protocols.dlms.exchanges import Got
from protocols.dlms.hdlc.frames import Address, Frame, FrameSplitter
from protocols.dlms.hdlc.link import POLL, RR, HdlcCarrier, HdlcMeterLink
from protocols.dlms.meter_side.association import MeterAssociation
from protocols.dlms.meter_side.objects import ClockObject, ProfileObject
from protocols.dlms.meter_side.server import HdlcMeter
from protocols.dlms.obis import CLOCK, LOAD_PROFILE, LOGICAL_DEVICE_NAME, SERIAL
from protocols.dlms.selection import CLOCK_COLUMN, ByRange, encode_selection
from protocols.dlms.terms import AssociationSettings, Opened
from tests.protocols.dlms.parties import (
    COLUMNS,
    DEVICE,
    MANAGER,
    NOW,
    OFFSET_MIN,
    PUBLIC,
    READER,
    ROWS,
    SETTINGS,
    Meter,
    client_for,
    talk,
    wire_to,
)

CLIENT = Address(PUBLIC)
GET = GetRequestNormal(0xC1, AttributeRequest(AttributeDescriptor(1, SERIAL, 2))).encode()


def asked(meter: Meter, client: int, apdu: bytes) -> object:
    return decode_apdu(MeterAssociation(meter.device, client).receive(apdu, NOW))


def refusal(answer: object) -> tuple[tuple[int, int], int]:
    """Diagnostic, and the number of the initiate error inside."""
    assert isinstance(answer, Aare)
    assert answer.result is AssociationResult.REJECTED_PERMANENT
    inside = decode_apdu(answer.user_information)
    assert isinstance(inside, ConfirmedServiceError)
    assert (inside.service, inside.kind) == (1, 6)
    return answer.diagnostic, inside.value


def test_names_that_nobody_knows_are_refused_by_their_diagnostic() -> None:
    initiate = InitiateRequest(OURS, 1_024).encode()
    plain = Aarq(Context.LN, initiate).encode()
    assert refusal(asked(Meter(), PUBLIC, plain.replace(b"\x05\x08\x01\x01", b"\x05\x08\x01\x09")))[0] == (1, 2)
    low = Aarq(Context.LN, initiate, Mechanism.LOW, b"12345678").encode()
    assert refusal(asked(Meter(), READER, low.replace(b"\x05\x08\x02\x01", b"\x05\x08\x02\x4d")))[0] == (1, 11)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (InitiateRequest(OURS, 1_024, version=5), 1),
        (InitiateRequest(Conformance.READ | Conformance.WRITE, 1_024), 2),
        (InitiateRequest(OURS, 11), 3),
    ],
)
def test_a_proposal_that_nothing_can_come_of_is_told_why(request_: InitiateRequest, error: int) -> None:
    assert refusal(asked(Meter(), PUBLIC, Aarq(Context.LN, request_.encode()).encode())) == ((1, 1), error)


def test_a_wrong_password_is_no_wrong_version() -> None:
    low = Aarq(Context.LN, InitiateRequest(OURS, 1_024).encode(), Mechanism.LOW, b"87654321").encode()
    assert refusal(asked(Meter(), READER, low)) == ((1, 13), 0)


def test_an_apdu_of_another_world_is_a_service_unknown() -> None:
    assert asked(Meter(), PUBLIC, bytes.fromhex("0506010002")) == ExceptionResponse(2, 2)


@pytest.mark.parametrize("protection", [Protection.GLOBAL, Protection.GENERAL_GLOBAL])
def test_a_request_before_the_proof_is_refused_in_clear(protection: Protection) -> None:
    meter = Meter()
    client = client_for(protection.value)
    association = MeterAssociation(meter.device, MANAGER)
    answer = association.receive(client.association.open(), NOW)
    client.association.receive(answer)
    sealer = vars(client.association)["_sealer"]
    assert decode_apdu(association.receive(sealer.seal_apdu(GET, protection), NOW)) == ExceptionResponse(1, 1)


def test_the_last_counter_of_all_is_refused_without_a_next_one() -> None:
    meter = Meter()
    client, wire = client_for("glo"), wire_to(meter, "wrapper")
    assert isinstance(talk(client, wire, client.connect()), Opened)
    meter.device.heard[MANAGER] = COUNTER_MAX
    association = MeterAssociation(meter.device, MANAGER)
    assert isinstance(decode_apdu(association.receive(client_for("glo").association.open(), NOW)), Aare)


def test_a_new_link_knows_no_old_association() -> None:
    meter = HdlcMeter({DEVICE: Meter().device})
    client = client_for("none", "hdlc")
    assert isinstance(talk(client, lambda data: meter.receive(data, NOW), client.connect()), Opened)
    anew = HdlcCarrier(PUBLIC, DEVICE)
    anew.receive(meter.receive(anew.connect(), NOW))
    (answer,) = anew.receive(meter.receive(anew.send(GET), NOW)).apdus
    assert decode_apdu(answer) == ExceptionResponse(1, 1)


def test_a_client_asks_on_when_its_request_was_only_acknowledged() -> None:
    carrier, link = HdlcCarrier(PUBLIC, DEVICE), HdlcMeterLink(DEVICE, CLIENT)
    (snrm,) = FrameSplitter().feed(carrier.connect())
    carrier.receive(link.receive(snrm).reply)
    (request,) = FrameSplitter().feed(carrier.send(GET))
    assert link.receive(request).apdus == (GET,)
    acknowledged = Frame(CLIENT, DEVICE, RR | 1 << 5 | POLL).encode()
    poll = carrier.receive(acknowledged).reply
    (asked_on,) = FrameSplitter().feed(poll)
    assert (asked_on.control & 0x0F, asked_on.control & POLL) == (RR, POLL)
    assert carrier.receive(acknowledged).reply == b"", "whoever needs longer is not hurried"
    assert carrier.retry() == poll
    assert carrier.receive(link.send(b"answer")).apdus == (b"answer",)


def test_a_range_is_a_span_of_time_whatever_zone_a_client_thinks_in() -> None:
    profile = ProfileObject(LOAD_PROFILE, COLUMNS, lambda _: ROWS, period_s=900)
    first, last = NOW // 3600 * 3600 - 3_600, NOW // 3600 * 3600 - 900
    wanted = rows_of(profile, first, last, OFFSET_MIN)
    assert len(wanted) == 4
    for zone_min in (0, -480, 330):
        assert rows_of(profile, first, last, zone_min) == wanted
    bare = [(octets(encode_time(first + 900 * n, OFFSET_MIN, deviation=False)), *ROWS[0][1:]) for n in range(4)]
    knows = ProfileObject(LOAD_PROFILE, COLUMNS, lambda _: bare, period_s=900, offset_min=OFFSET_MIN)
    assert len(rows_of(knows, first, last, 0)) == 4
    assert len(rows_of(knows, first, last, OFFSET_MIN, deviation=False)) == 4


def test_a_log_whose_clock_was_set_back_hides_no_line_from_a_range() -> None:
    stamps = (NOW, NOW + 60, NOW - 90_000, NOW - 89_000, NOW + 120)
    lines = [(octets(encode_time(at, OFFSET_MIN)), *ROWS[0][1:]) for at in stamps]
    log = ProfileObject(LOAD_PROFILE, COLUMNS, lambda _: lines, period_s=0, rising=False)
    assert len(rows_of(log, NOW, NOW + 3_600, OFFSET_MIN)) == 3
    assert len(rows_of(log, NOW - 100_000, NOW - 80_000, OFFSET_MIN)) == 2


def rows_of(
    profile: ProfileObject, first: int, last: int, zone_min: int, *, deviation: bool = True
) -> tuple[Data, ...]:
    low, high = (octets(encode_time(at, zone_min, deviation=deviation)) for at in (first, last))
    found = profile.get(2, encode_selection(ByRange(CLOCK_COLUMN, low, high)), NOW)
    assert isinstance(found, Data)
    assert isinstance(found.value, tuple)
    return found.value


def test_a_range_of_numbers_that_are_none_ends_in_no_exception() -> None:
    profile = ProfileObject(LOAD_PROFILE, COLUMNS, lambda _: ROWS, period_s=900)
    for odd in (float("inf"), float("nan")):
        value = Data(Tag.FLOAT64, odd)
        assert profile.get(2, encode_selection(ByRange(COLUMNS[1], value, value)), NOW) == Data(Tag.ARRAY, ())


def test_a_clock_has_all_the_attributes_of_its_class() -> None:
    clock = ClockObject(CLOCK, OFFSET_MIN)
    assert list(clock.attributes()) == list(range(Clock.TIME, 10))
    assert all(isinstance(clock.get(number, None, NOW), Data) for number in clock.attributes())


def test_no_secret_stands_in_what_a_program_shows_of_itself() -> None:
    secret = b"a-secret-of-ours"
    shown = [
        Aarq(Context.LN, b"", Mechanism.LOW, secret),
        InitiateRequest(OURS, 1_024, secret),
        AssociationSettings(Mechanism.LOW, password=secret),
        replace(SETTINGS["low"][1], password=secret),
    ]
    assert not [one for one in shown if "a-secret" in repr(one) or secret.hex() in repr(one)]


def test_a_frame_that_was_damaged_or_lost_is_asked_for_again() -> None:
    meter = HdlcMeter({DEVICE: Meter().device})
    client = client_for("none", "hdlc")
    assert isinstance(talk(client, lambda data: meter.receive(data, NOW), client.connect()), Opened)
    request = client.send(client.association.get(AttributeDescriptor(1, LOGICAL_DEVICE_NAME, 2)))
    damaged = bytearray(request)
    damaged[-5] ^= 1
    assert meter.receive(bytes(damaged), NOW) == b""
    (frame,) = FrameSplitter().feed(request)
    beyond = replace(frame, control=frame.control ^ 0x04).encode()
    (asked_for,) = FrameSplitter().feed(meter.receive(beyond, NOW))
    assert (asked_for.control & 0x0F, asked_for.control >> 5) == (RR, frame.control >> 1 & 7)
    answer = meter.receive(bytes(damaged) + client.carrier.retry(), NOW)
    assert isinstance(talk(client, lambda _: answer, b""), Got)
