"""Client and meter side speak with each other over every link and every security, from greeting to release."""

from dataclasses import replace

import pytest

from protocols.dlms.apdu.action import MethodOutcome
from protocols.dlms.apdu.parts import (
    AccessResult,
    ActionResult,
    AttributeDescriptor,
    AttributeRequest,
    MethodDescriptor,
)
from protocols.dlms.association import ClientAssociation
from protocols.dlms.cosem import (
    NO_PARAMETER,
    Clock,
    ControlState,
    DataObject,
    DisconnectControl,
    ProfileGeneric,
    Register,
    capture_objects,
    clock_time,
    control_state,
    number,
    rows,
    scaler_unit,
    text,
)
from protocols.dlms.cosem_time import encode_time
from protocols.dlms.counters import Counter
from protocols.dlms.data import Data, Tag, octets
from protocols.dlms.exchanges import Acted, Got, Written
from protocols.dlms.faults import DlmsFault
from protocols.dlms.obis import CLOCK, DISCONNECT_CONTROL, IMPORT_ENERGY, LOAD_PROFILE, LOGICAL_DEVICE_NAME, SERIAL
from protocols.dlms.security import SecurityKeys
from protocols.dlms.selection import CLOCK_COLUMN, ByEntry, ByRange, encode_selection
from protocols.dlms.state import ClientState
from protocols.dlms.terms import CounterRefused, Opened, Released
from protocols.errors import Blame
from tests.protocols.dlms.parties import (
    AK,
    COLUMNS,
    DK,
    ECHO,
    EK,
    LINKS,
    MANAGER,
    NOW,
    OFFSET_MIN,
    ROWS,
    SCRATCH,
    SECURED,
    SETTINGS,
    Meter,
    client_for,
    talk,
    wire_to,
)


def value_of(outcome: object) -> Data:
    assert isinstance(outcome, Got)
    (result,) = outcome.results
    assert isinstance(result, Data), result
    return result


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("security", SETTINGS)
def test_open_read_release(security: str, link: str) -> None:
    meter = Meter()
    client, wire = client_for(security, link), wire_to(meter, link)
    assert isinstance(talk(client, wire, client.connect()), Opened)
    name = DataObject(LOGICAL_DEVICE_NAME)
    got = talk(client, wire, client.send(client.association.get(name.attribute(name.VALUE))))
    assert text(value_of(got)) == "TMQ0000000000001"
    clock = Clock(CLOCK)
    got = talk(client, wire, client.send(client.association.get(clock.attribute(clock.TIME))))
    time = clock_time(value_of(got))
    assert time is not None
    assert time.utc(0) == NOW
    assert isinstance(talk(client, wire, client.send(client.association.release())), Released)
    assert client.association.state is ClientState.CLOSED


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("security", SECURED)
def test_a_poll_of_registers_and_a_day_of_profile(security: str, link: str) -> None:
    client, wire = client_for(security, link), wire_to(Meter(), link)
    talk(client, wire, client.connect())
    register, serial = Register(IMPORT_ENERGY), DataObject(SERIAL)
    items = tuple(
        AttributeRequest(one)
        for one in (register.attribute(2), register.attribute(3), serial.attribute(2), serial.attribute(9))
    )
    got = talk(client, wire, client.send(client.association.get_list(items)))
    assert isinstance(got, Got)
    energy, counts, name, missing = got.results
    assert isinstance(energy, Data)
    assert isinstance(counts, Data)
    assert isinstance(name, Data)
    told = number(energy)
    assert told is not None
    assert scaler_unit(counts).whole(told) == 123_456
    assert text(name) == "00012345"
    assert missing is AccessResult.OBJECT_UNDEFINED
    profile = ProfileGeneric(LOAD_PROFILE)
    got = talk(client, wire, client.send(client.association.get(profile.attribute(profile.CAPTURE_OBJECTS))))
    assert capture_objects(value_of(got)) == COLUMNS
    got = talk(client, wire, client.send(client.association.get(profile.attribute(profile.BUFFER))))
    assert rows(value_of(got), 3) == list(ROWS)


@pytest.mark.parametrize("deviation", [True, False])
def test_a_range_of_a_profile_with_and_without_deviation(deviation: bool) -> None:
    client, wire = client_for("glo"), wire_to(Meter(), "wrapper")
    talk(client, wire, client.connect())
    hour = NOW // 3600 * 3600
    first, last = (octets(encode_time(at, OFFSET_MIN, deviation=deviation)) for at in (hour - 7_200, hour - 3_600))
    buffer = ProfileGeneric(LOAD_PROFILE).attribute(2)
    selection = encode_selection(ByRange(CLOCK_COLUMN, first, last))
    got = talk(client, wire, client.send(client.association.get(buffer, selection)))
    assert [row[1].value for row in rows(value_of(got), 3)] == [1088, 1089, 1090, 1091, 1092]
    selection = encode_selection(ByRange(CLOCK_COLUMN, first, last, (COLUMNS[1],)))
    got = talk(client, wire, client.send(client.association.get(buffer, selection)))
    assert [row[0].value for row in rows(value_of(got), 1)] == [1088, 1089, 1090, 1091, 1092]
    selection = encode_selection(ByEntry(2, 4, 2, 2))
    got = talk(client, wire, client.send(client.association.get(buffer, selection)))
    assert [row[0].value for row in rows(value_of(got), 1)] == [1001, 1002, 1003]
    bad = encode_selection(ByRange(COLUMNS[1]._replace(attribute=3), first, last))
    got = talk(client, wire, client.send(client.association.get(buffer, bad)))
    assert got == Got((AccessResult.SCOPE_OF_ACCESS_VIOLATED,))


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("security", SECURED)
@pytest.mark.parametrize("max_pdu_size", [96, 300])
def test_long_values_go_in_blocks_both_ways(security: str, link: str, max_pdu_size: int) -> None:
    client = client_for(security, link, max_pdu_size=max_pdu_size)
    wire = wire_to(Meter(max_pdu_size=max_pdu_size), link)
    talk(client, wire, client.connect())
    long = octets(bytes(index % 251 for index in range(2_000)))
    scratch = AttributeDescriptor(1, SCRATCH, 2)
    written = talk(client, wire, client.send(client.association.set(scratch, long)))
    assert written == Written((AccessResult.SUCCESS,))
    assert value_of(talk(client, wire, client.send(client.association.get(scratch)))) == long
    items = (AttributeRequest(scratch), AttributeRequest(scratch))
    got = talk(client, wire, client.send(client.association.get_list(items)))
    assert got == Got((long, long))
    acted = talk(client, wire, client.send(client.association.act(MethodDescriptor(1, ECHO, 1), long)))
    assert acted == Acted((MethodOutcome(ActionResult.SUCCESS, long),))


def test_lists_of_writes_and_of_methods() -> None:
    meter = Meter()
    client, wire = client_for("glo"), wire_to(meter, "wrapper")
    talk(client, wire, client.connect())
    scratch, serial = AttributeDescriptor(1, SCRATCH, 2), AttributeDescriptor(1, SERIAL, 2)
    items = (AttributeRequest(scratch), AttributeRequest(serial), AttributeRequest(scratch))
    values = (octets(b"new"), octets(b"forged"), Data(Tag.UNSIGNED, 1))
    written = talk(client, wire, client.send(client.association.set_list(items, values)))
    assert written == Written((AccessResult.SUCCESS, AccessResult.READ_WRITE_DENIED, AccessResult.TYPE_UNMATCHED))
    relay = DisconnectControl(DISCONNECT_CONTROL)
    methods = (relay.method(relay.REMOTE_DISCONNECT), relay.method(9))
    acted = talk(client, wire, client.send(client.association.act_list(methods, (NO_PARAMETER, None))))
    assert isinstance(acted, Acted)
    assert [one.result for one in acted.outcomes] == [ActionResult.SUCCESS, ActionResult.OBJECT_UNDEFINED]
    assert meter.relay.state is ControlState.DISCONNECTED


def test_the_relay_is_moved_and_read_back() -> None:
    meter = Meter()
    client, wire = client_for("ded"), wire_to(meter, "wrapper")
    talk(client, wire, client.connect())
    relay = DisconnectControl(DISCONNECT_CONTROL)
    act = client.association.act
    assert isinstance(talk(client, wire, client.send(act(relay.method(relay.REMOTE_DISCONNECT), NO_PARAMETER))), Acted)
    got = talk(client, wire, client.send(client.association.get(relay.attribute(relay.CONTROL_STATE))))
    assert control_state(value_of(got)) is ControlState.DISCONNECTED
    talk(client, wire, client.send(act(relay.method(relay.REMOTE_RECONNECT), NO_PARAMETER)))
    got = talk(client, wire, client.send(client.association.get(relay.attribute(relay.OUTPUT_STATE))))
    assert value_of(got).value is True


def refused(security: str, code: str, *, keys: SecurityKeys | None = None, meter: Meter | None = None) -> DlmsFault:
    client, wire = client_for(security, keys=keys), wire_to(meter or Meter(), "wrapper")
    with pytest.raises(DlmsFault) as caught:
        talk(client, wire, client.connect())
    assert caught.value.code == code
    assert caught.value.blame is Blame.REMOTE
    assert client.association.state is ClientState.CLOSED
    with pytest.raises(DlmsFault, match="TQ-DM-41"):
        client.association.get(AttributeDescriptor(1, SERIAL, 2))
    return caught.value


@pytest.mark.parametrize("security", ["glo", "ded", "general-glo", "general-ded", "gmac"])
def test_wrong_keys_open_nothing(security: str) -> None:
    meter = Meter()
    refused(security, "TQ-DM-40", keys=SecurityKeys(DK, AK, DK), meter=meter)
    refused(security, "TQ-DM-40", keys=SecurityKeys(EK, DK, DK), meter=meter)
    assert meter.device.heard.get(MANAGER, -1) == -1, "what is not authentic must not move the counter"


def test_a_wrong_password_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sap, settings = SETTINGS["low"]
    monkeypatch.setitem(SETTINGS, "low", (sap, replace(settings, password=b"12345679")))
    assert "authentication failure" in refused("low", "TQ-DM-40").what


def test_a_stronger_client_without_its_security_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETTINGS, "none", (MANAGER, SETTINGS["none"][1]))
    assert "context name" in refused("none", "TQ-DM-40").what


def test_a_counter_used_before_is_refused() -> None:
    meter = Meter()
    client, wire = client_for("glo"), wire_to(meter, "wrapper")
    talk(client, wire, client.connect())
    heard = meter.device.heard[MANAGER]
    assert heard >= 2
    again = client_for("glo", first_counter=heard)
    with pytest.raises(DlmsFault, match="TQ-DM-40"):
        talk(again, wire_to(meter, "wrapper"), again.connect())
    fresh = client_for("glo", first_counter=heard + 1)
    assert isinstance(talk(fresh, wire_to(meter, "wrapper"), fresh.connect()), Opened)


def test_a_replayed_request_is_refused_and_says_which_counter_is_next() -> None:
    meter = Meter()
    client, wire = client_for("glo"), wire_to(meter, "wrapper")
    talk(client, wire, client.connect())
    request = client.send(client.association.get(AttributeDescriptor(1, SERIAL, 2)))
    assert isinstance(talk(client, wire, request), Got)
    client.association.get(AttributeDescriptor(1, SERIAL, 2))
    with pytest.raises(CounterRefused) as caught:
        client.receive(wire(request))
    assert caught.value.expected == meter.device.heard[MANAGER] + 1


def test_a_replayed_answer_is_refused() -> None:
    client, wire = client_for("glo"), wire_to(Meter(), "wrapper")
    talk(client, wire, client.connect())
    answer = wire(client.send(client.association.get(AttributeDescriptor(1, SERIAL, 2))))
    client.receive(answer)
    client.association.get(AttributeDescriptor(1, SERIAL, 2))
    with pytest.raises(DlmsFault, match="TQ-DM-31"):
        client.receive(answer)
    assert client.association.state is ClientState.CLOSED


def test_an_answer_in_clear_is_not_believed_where_all_is_ciphered() -> None:
    client, wire = client_for("glo"), wire_to(Meter(), "wrapper")
    talk(client, wire, client.connect())
    client.association.get(AttributeDescriptor(1, SERIAL, 2))
    with pytest.raises(DlmsFault, match="TQ-DM-32"):
        client.association.receive(bytes.fromhex("C401C1001101"))


def test_a_mirrored_challenge_is_no_proof() -> None:
    """A false meter that sends our own challenge back could have us compute its proof."""
    client, wire = client_for("gmac"), wire_to(Meter(), "wrapper")
    answer = wire(client.connect())
    mirrored = answer.replace((1).to_bytes(16, "big"), b"challenge-of-the"[:16])
    assert mirrored != answer
    challenge = b"challenge-of-the"
    association = ClientAssociation(
        SETTINGS["gmac"][1], keys=SecurityKeys(EK, AK), counter=Counter(1, 9), challenge=challenge
    )
    association.open()
    with pytest.raises(DlmsFault, match="TQ-DM-38"):
        association.receive(mirrored[8:])


def test_the_answer_to_an_earlier_request_is_not_taken() -> None:
    client, wire = client_for("low"), wire_to(Meter(), "wrapper")
    talk(client, wire, client.connect())
    late = wire(client.send(client.association.get(AttributeDescriptor(1, SERIAL, 2))))
    client.receive(late)
    client.association.get(AttributeDescriptor(3, IMPORT_ENERGY, 2))
    with pytest.raises(DlmsFault, match="TQ-DM-44"):
        client.receive(late)


def test_counters_end_before_anything_is_sent() -> None:
    association = ClientAssociation(
        SETTINGS["glo"][1], keys=SecurityKeys(EK, AK), counter=Counter(5, 5), challenge=bytes(16)
    )
    with pytest.raises(DlmsFault, match="TQ-DM-35"):
        association.open()


def test_a_repeated_hdlc_frame_is_answered_again_and_delivered_once() -> None:
    client, wire = client_for("low", "hdlc"), wire_to(Meter(), "hdlc")
    talk(client, wire, client.connect())
    request = client.send(client.association.get(AttributeDescriptor(1, SERIAL, 2)))
    lost = wire(request)
    again = wire(client.carrier.retry())
    assert again == lost
    _, outcomes = client.receive(again)
    assert len(outcomes) == 1
    with pytest.raises(DlmsFault, match="TQ-DM-28"):
        for _ in range(9):
            client.carrier.retry()


def test_the_public_client_sees_little_and_moves_nothing() -> None:
    meter = Meter()
    client, wire = client_for("none"), wire_to(meter, "wrapper")
    talk(client, wire, client.connect())
    got = talk(client, wire, client.send(client.association.get(Register(IMPORT_ENERGY).attribute(2))))
    assert got == Got((AccessResult.READ_WRITE_DENIED,))
    relay = DisconnectControl(DISCONNECT_CONTROL)
    acted = talk(client, wire, client.send(client.association.act(relay.method(1), NO_PARAMETER)))
    assert acted == Acted((MethodOutcome(ActionResult.READ_WRITE_DENIED),))
    assert meter.relay.state is ControlState.CONNECTED
