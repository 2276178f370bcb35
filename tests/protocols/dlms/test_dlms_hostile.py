"""Whole conversations with bytes changed on the way: only named faults, nothing read wrong, nothing moved unasked."""

import random
import time
from collections.abc import Callable

import pytest

from protocols.dlms.apdu.notices import DataNotification
from protocols.dlms.apdu.parts import AttributeDescriptor
from protocols.dlms.apdu.parts import AttributeRequest as Item
from protocols.dlms.cosem import ControlState
from protocols.dlms.data import Data, octets, structure
from protocols.dlms.exchanges import Got
from protocols.dlms.faults import DlmsFault
from protocols.dlms.meter_side.association import MeterAssociation
from protocols.dlms.meter_side.server import ASSOCIATIONS_MAX, WrapperMeter
from protocols.dlms.obis import CLOCK, IMPORT_ENERGY, LOAD_PROFILE, SERIAL
from protocols.dlms.state import ClientState
from protocols.dlms.terms import Notified
from protocols.dlms.wrapper import WrapperFrame
from tests.protocols.dlms.parties import LINKS, MANAGER, NOW, SETTINGS, Meter, client_for, talk, wire_to
from tests.protocols.dlms.test_dlms_codec import mutated
from tests.protocols.dlms.test_dlms_vectors import APDUS

CONVERSATIONS = 12
"""For each link, security and direction; each of about ten exchanges."""


def spoiled(rng: random.Random, wire: Callable[[bytes], bytes], *, to_meter: bool) -> Callable[[bytes], bytes]:
    def carry(data: bytes) -> bytes:
        hurt = rng.random() < 0.25
        back = wire(mutated(rng, data) if hurt and to_meter else data)
        return mutated(rng, back) if hurt and not to_meter else back

    return carry


@pytest.mark.parametrize("to_meter", [True, False])
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("security", SETTINGS)
def test_a_spoiled_wire_gives_faults_or_the_truth(security: str, link: str, to_meter: bool) -> None:
    rng = random.Random(f"{security}{link}{to_meter}")
    energy, serial = AttributeDescriptor(3, IMPORT_ENERGY, 2), AttributeDescriptor(1, SERIAL, 2)
    profile = AttributeDescriptor(7, LOAD_PROFILE, 2)
    faults = 0
    for _ in range(CONVERSATIONS):
        meter = Meter(max_pdu_size=300)
        client = client_for(security, link, max_pdu_size=300)
        wire = spoiled(rng, wire_to(meter, link), to_meter=to_meter)
        try:
            talk(client, wire, client.connect())
            for _ in range(4):
                got = talk(client, wire, client.send(client.association.get_list((Item(energy), Item(serial)))))
                assert isinstance(got, Got)
                if link != "wrapper" or security not in {"none", "low", "gmac"}:
                    assert got.results[0] in {Data(6, 123_456), 3}
                talk(client, wire, client.send(client.association.get(profile)))
        except DlmsFault as fault:
            assert fault.hint
            faults += 1
        except AssertionError as silence:
            assert "both sides are silent" in str(silence)
            faults += 1
        assert meter.relay.state is ControlState.CONNECTED
    assert faults > CONVERSATIONS // 2


@pytest.mark.parametrize("security", SETTINGS)
def test_a_meter_answers_anything_and_never_breaks(security: str) -> None:
    rng = random.Random(7)
    frames = [bytes.fromhex(text) for _, text in APDUS.values()]
    client = client_for(security)
    meter = Meter()
    association = MeterAssociation(meter.device, SETTINGS[security][0])
    association.receive(client.association.open(), NOW)
    started = time.perf_counter()
    for _ in range(2_000):
        answer = association.receive(mutated(rng, rng.choice(frames)), NOW)
        assert answer
    assert time.perf_counter() - started < 10


def test_a_notification_comes_between_request_and_answer() -> None:
    client, wire = client_for("low"), wire_to(Meter(), "wrapper")
    talk(client, wire, client.connect())
    client.association.get(AttributeDescriptor(8, CLOCK, 2))
    pushed = DataNotification(1, bytes(12), structure(octets(b"event")))
    assert client.association.receive(pushed.encode()) == Notified(pushed)
    assert client.association.state is ClientState.GETTING


def test_a_notification_in_clear_is_not_heard_where_all_is_ciphered() -> None:
    client, wire = client_for("glo"), wire_to(Meter(), "wrapper")
    talk(client, wire, client.connect())
    with pytest.raises(DlmsFault, match="TQ-DM-32"):
        client.association.receive(DataNotification(1, b"", octets(b"forged")).encode())


def test_a_client_that_counts_through_addresses_does_not_fill_a_meter() -> None:
    meter = Meter()
    wire = WrapperMeter({1: meter.device})
    for client in range(1_000):
        assert wire.receive(WrapperFrame(client, 1, b"\xc0").encode(), NOW)
        assert len(wire._associations) <= ASSOCIATIONS_MAX
    assert MANAGER not in meter.device.heard
