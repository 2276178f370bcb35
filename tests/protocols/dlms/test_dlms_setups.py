"""Keys changed over the wire, policies made stricter, notifications pushed, and what an association tells of itself."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from protocols.dlms.apdu.acse import Context, Mechanism, context_name, mechanism_name
from protocols.dlms.apdu.notices import DataNotification
from protocols.dlms.apdu.parts import AccessResult, ActionResult, AttributeDescriptor, GetResult
from protocols.dlms.client import DlmsClient
from protocols.dlms.cosem import NO_PARAMETER, AssociationLn, PushSetup, SecuritySetup
from protocols.dlms.data import NULL, Data, Tag, array, octets, structure
from protocols.dlms.exchanges import Acted, Got, Written
from protocols.dlms.faults import DlmsFault
from protocols.dlms.key_transfer import KeyId, unwrapped_keys, wrapped_keys
from protocols.dlms.meter_side.association import NOTICES_MAX
from protocols.dlms.meter_side.model import Caller
from protocols.dlms.meter_side.objects import extended_register
from protocols.dlms.obis import CURRENT_ASSOCIATION, IMPORT_ENERGY, PUSH_SETUP, SECURITY_SETUP, SERIAL
from protocols.dlms.security import SEALED, Control, SecurityKeys, unwrap_key, wrap_key
from protocols.dlms.selection import CaptureObject
from protocols.dlms.terms import Notified, Opened
from tests.protocols.dlms.parties import (
    AK,
    CLIENT_TITLE,
    DK,
    EK,
    MANAGER,
    MASTER,
    METER_TITLE,
    NOW,
    PROVER,
    SECURED,
    SETTINGS,
    Meter,
    client_for,
    talk,
    wire_to,
)

SETUP = SecuritySetup(SECURITY_SETUP)
PUSH = PushSetup(PUSH_SETUP)
NEW = bytes(range(0xA0, 0xB0))
TOLD = structure(octets(b"00012345"), Data(Tag.DOUBLE_LONG_UNSIGNED, 123_456), NULL)
"""What the meter pushes: the third attribute does not exist."""
SOMEBODY = Caller(MANAGER, authenticated=True)
Wire = Callable[[bytes], bytes]


def opened(meter: Meter, security: str, link: str = "wrapper", **how: SecurityKeys | int) -> tuple[DlmsClient, Wire]:
    client, wire = client_for(security, link, **how), wire_to(meter, link)  # type: ignore[arg-type]
    assert isinstance(talk(client, wire, client.connect()), Opened)
    return client, wire


def act(client: DlmsClient, wire: Wire, number: int, parameters: Data) -> ActionResult:
    acted = talk(client, wire, client.send(client.association.act(SETUP.method(number), parameters)))
    assert isinstance(acted, Acted)
    return acted.outcomes[0].result


def read(client: DlmsClient, wire: Wire, attribute: AttributeDescriptor) -> GetResult:
    got = talk(client, wire, client.send(client.association.get(attribute)))
    assert isinstance(got, Got)
    return got.results[0]


def test_key_wrap_is_that_of_rfc_3394() -> None:
    master = bytes(range(16))
    key = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
    wrapped = bytes.fromhex("1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5")
    assert wrap_key(master, key) == wrapped
    assert unwrap_key(master, wrapped) == key
    for wrong in (wrapped[:-1] + b"\0", wrapped[:-8], b"", bytes(24)):
        with pytest.raises(DlmsFault, match="TQ-DM-30"):
            unwrap_key(master, wrong)
    with pytest.raises(DlmsFault, match="TQ-DM-75"):
        wrap_key(master, key[:-1])


@pytest.mark.parametrize("security", ["glo", "ded", "general-glo", "general-ded", "gmac"])
def test_keys_are_changed_over_the_wire(security: str) -> None:
    meter = Meter()
    client, wire = opened(meter, security)
    both = {KeyId.BLOCK: NEW, KeyId.AUTHENTICATION: DK}
    assert act(client, wire, SETUP.KEY_TRANSFER, wrapped_keys(MASTER, both)) is ActionResult.SUCCESS
    assert isinstance(read(client, wire, AttributeDescriptor(1, SERIAL, 2)), Data), "the old keys last to the release"
    old = client_for(security, first_counter=500)
    with pytest.raises(DlmsFault, match="TQ-DM-40"):
        talk(old, wire_to(meter, "wrapper"), old.connect())
    client, wire = opened(meter, security, keys=SecurityKeys(NEW, DK, DK), first_counter=1)
    assert read(client, wire, AttributeDescriptor(1, SERIAL, 2)) == octets(b"00012345")


def test_a_new_authentication_key_alone_does_not_reset_the_counters() -> None:
    meter = Meter()
    client, wire = opened(meter, "glo", first_counter=40)
    act(client, wire, SETUP.KEY_TRANSFER, wrapped_keys(MASTER, {KeyId.AUTHENTICATION: NEW}))
    again = client_for("glo", keys=SecurityKeys(EK, NEW), first_counter=41)
    with pytest.raises(DlmsFault, match="TQ-DM-40"):
        talk(again, wire_to(meter, "wrapper"), again.connect())
    opened(meter, "glo", keys=SecurityKeys(EK, NEW), first_counter=60)


def test_a_new_master_key_wraps_the_next_transfer() -> None:
    meter = Meter()
    client, wire = opened(meter, "glo")
    assert act(client, wire, 2, wrapped_keys(MASTER, {KeyId.MASTER: NEW})) is ActionResult.SUCCESS
    assert act(client, wire, 2, wrapped_keys(MASTER, {KeyId.BLOCK: NEW})) is ActionResult.READ_WRITE_DENIED
    assert act(client, wire, 2, wrapped_keys(NEW, {KeyId.BLOCK: DK})) is ActionResult.SUCCESS
    opened(meter, "glo", keys=SecurityKeys(DK, AK))


@pytest.mark.parametrize(
    "parameter",
    [
        None,
        NULL,
        array(()),
        array([NULL]),
        array([structure(Data(Tag.ENUM, 9), octets(bytes(24)))]),
        array([structure(Data(Tag.ENUM, 0), NULL)]),
        array([*wrapped_keys(MASTER, {KeyId.BLOCK: NEW}).value] * 2),  # type: ignore[misc]
        array([structure(Data(Tag.ENUM, n), octets(bytes(24))) for n in range(5)]),
    ],
)
def test_a_transfer_of_another_form_changes_nothing(parameter: Data | None) -> None:
    with pytest.raises(DlmsFault, match="TQ-DM-02"):
        unwrapped_keys(MASTER, parameter)
    meter = Meter()
    outcome = meter.device.model.act(SOMEBODY, SETUP.method(2), parameter, NOW)
    assert outcome.result is ActionResult.TYPE_UNMATCHED


def test_one_bad_key_spoils_the_whole_transfer() -> None:
    meter = Meter()
    client, wire = opened(meter, "glo")
    good, bad = (wrapped_keys(one, {which: NEW}) for one, which in ((MASTER, KeyId.BLOCK), (DK, KeyId.AUTHENTICATION)))
    assert isinstance(good.value, tuple)
    assert isinstance(bad.value, tuple)
    assert act(client, wire, 2, array([*good.value, *bad.value])) is ActionResult.READ_WRITE_DENIED
    opened(meter, "glo", first_counter=100)


def test_a_policy_becomes_stricter_never_weaker() -> None:
    meter = Meter()
    meter.device.use_keys(SecurityKeys(EK, AK), Control.AUTHENTICATED)
    client, wire = opened(meter, "glo")
    assert read(client, wire, SETUP.attribute(SETUP.POLICY)) == Data(Tag.ENUM, 3)
    for weaker, result in ((1, "READ_WRITE_DENIED"), (3, "SUCCESS"), (4, "TYPE_UNMATCHED")):
        assert act(client, wire, SETUP.ACTIVATE, Data(Tag.ENUM, weaker)).name == result
    assert meter.device.clients[MANAGER].least == SEALED
    assert read(client, wire, SETUP.attribute(SETUP.CLIENT_TITLE)) == octets(CLIENT_TITLE)
    assert read(client, wire, SETUP.attribute(SETUP.SERVER_TITLE)) == octets(METER_TITLE)


@pytest.mark.parametrize("link", ["wrapper", "hdlc"])
@pytest.mark.parametrize("security", SECURED)
def test_a_push_is_heard_beside_its_answer(security: str, link: str) -> None:
    client, wire = opened(Meter(), security, link)
    _, outcomes = client.receive(wire(client.send(client.association.act(PUSH.method(PUSH.PUSH), NO_PARAMETER))))
    if link != "wrapper":
        assert {type(one) for one in outcomes} == {Acted}, "an HDLC meter waits for its turn"
        raw = wire(client.send(client.association.get(AttributeDescriptor(1, SERIAL, 2))))
        _, outcomes = client.receive(raw)
    assert len(outcomes) == 2
    (notice,) = [one.notice for one in outcomes if isinstance(one, Notified)]
    assert notice == DataNotification(1, b"", TOLD)


def test_a_push_is_ciphered_where_the_association_is() -> None:
    meter = Meter()
    client, wire = opened(meter, "glo")
    raw = wire(client.send(client.association.act(PUSH.method(PUSH.PUSH), NO_PARAMETER)))
    assert b"00012345" not in raw
    again, other = opened(meter, "low")
    assert b"00012345" in other(again.send(again.association.act(PUSH.method(PUSH.PUSH), NO_PARAMETER)))


def test_a_push_too_long_for_a_frame_is_lost_and_its_answer_is_not() -> None:
    client, wire = opened(Meter(), "glo", "hdlc-windows")
    for _ in range(2):
        _, outcomes = client.receive(wire(client.send(client.association.act(PUSH.method(PUSH.PUSH), NO_PARAMETER))))
        assert {type(one) for one in outcomes} == {Acted}


def test_what_is_pushed_may_be_chosen() -> None:
    client, wire = opened(Meter(), "low")
    for value, result in (
        (array([NULL]), AccessResult.TYPE_UNMATCHED),
        (array([CaptureObject(1, SERIAL, 2).to_data()] * 33), AccessResult.TYPE_UNMATCHED),
        (octets(b""), AccessResult.TYPE_UNMATCHED),
        (array([CaptureObject(1, SERIAL, 2).to_data()]), AccessResult.SUCCESS),
    ):
        written = talk(client, wire, client.send(client.association.set(PUSH.attribute(PUSH.OBJECT_LIST), value)))
        assert written == Written((result,))
    _, outcomes = client.receive(wire(client.send(client.association.act(PUSH.method(1), NO_PARAMETER))))
    assert [
        one.notice.body for one in outcomes if isinstance(one, Notified) if isinstance(one.notice, DataNotification)
    ] == [structure(octets(b"00012345"))]
    acted = talk(client, wire, client.send(client.association.act(PUSH.method(1), NULL)))
    assert isinstance(acted, Acted)
    assert acted.outcomes[0].result is ActionResult.TYPE_UNMATCHED


def test_what_nobody_heard_waits_and_does_not_pile_up() -> None:
    meter = Meter()
    for number in range(100):
        meter.device.notices.append(DataNotification(number, b"", NULL))
    client, wire = client_for("low"), wire_to(meter, "wrapper")
    _, outcomes = client.receive(wire(client.connect()))
    heard = [one.notice for one in outcomes if isinstance(one, Notified)]
    assert [one.invoke for one in heard if isinstance(one, DataNotification)] == list(range(100 - NOTICES_MAX, 100))
    assert len(meter.device.notices) == 0


def test_an_association_tells_what_was_agreed() -> None:
    own = AssociationLn(CURRENT_ASSOCIATION)
    for security, mechanism in (("low", Mechanism.LOW), ("gmac", Mechanism.GMAC), ("glo", Mechanism.GMAC)):
        client, wire = opened(Meter(), security)
        ciphered = SETTINGS[security][0] not in {PROVER, SETTINGS["low"][0]}
        context = Context.LN_CIPHERED if ciphered else Context.LN
        assert read(client, wire, own.attribute(own.CONTEXT)) == octets(context_name(context))
        assert read(client, wire, own.attribute(6)) == octets(mechanism_name(mechanism))
        assert read(client, wire, own.attribute(9)) == octets(SECURITY_SETUP.pack())
        told = read(client, wire, own.attribute(5))
        assert isinstance(told, Data)
        assert isinstance(told.value, tuple)
        assert client.association.agreed is not None
        assert told.value[0].value == f"{int(client.association.agreed.conformance):024b}"
        assert [one.value for one in told.value[1:]] == [1024, 1024, 6, 0, b""]


def test_an_extended_register_has_status_and_time() -> None:
    one = extended_register(
        IMPORT_ENERGY, Data(Tag.LONG, 5), 0, 30, status=Data(Tag.UNSIGNED, 1), captured=octets(bytes(12))
    )
    assert [one.get(number, None, NOW) for number in (2, 4, 5)] == [Data(16, 5), Data(17, 1), octets(bytes(12))]


def test_a_dedicated_key_is_this_associations_own() -> None:
    """A second association may bring another dedicated key, and its counters begin at one again."""
    meter = Meter()
    for first, dedicated in ((1, DK), (100, NEW), (200, DK)):
        client, wire = opened(
            meter, "ded", keys=replace(SecurityKeys(EK, AK), dedicated_key=dedicated), first_counter=first
        )
        assert read(client, wire, AttributeDescriptor(1, SERIAL, 2)) == octets(b"00012345")
