"""Bytes that once did harm, or would have: each with its story. A bug that `make fuzz` finds gets its test here."""

import pytest

from protocols.dlms.apdu.parts import AttributeDescriptor
from protocols.dlms.faults import DlmsFault
from protocols.dlms.meter_side.association import MeterAssociation
from protocols.dlms.obis import SERIAL
from protocols.dlms.state import ClientState
from tests.protocols.dlms.parties import MANAGER, NOW, Meter, client_for, talk, wire_to


def test_an_answer_after_the_association_broke_is_a_fault() -> None:
    """The request that was under way was still known, its state was not: looking up the pair was a KeyError."""
    client, wire = client_for("low"), wire_to(Meter(), "wrapper")
    talk(client, wire, client.connect())
    client.association.get(AttributeDescriptor(1, SERIAL, 2))
    for raw, code in (("C401C2001101", "TQ-DM-44"), ("C401C1001101", "TQ-DM-42")):
        with pytest.raises(DlmsFault, match=code):
            client.association.receive(bytes.fromhex(raw))
        assert client.association.state is ClientState.CLOSED


def test_keys_changed_under_an_association_do_not_remember_its_counters_for_the_new_key() -> None:
    """An old association goes on under the old key; its high counter must not shut out the new key's low ones."""
    meter = Meter()
    client, wire = client_for("glo", first_counter=900), wire_to(meter, "wrapper")
    talk(client, wire, client.connect())
    keys = meter.device.clients[MANAGER].keys
    assert keys is not None
    meter.device.use_keys(type(keys)(bytes(16), keys.authentication_key), meter.device.clients[MANAGER].least)
    talk(client, wire, client.send(client.association.get(AttributeDescriptor(1, SERIAL, 2))))
    assert meter.device.heard.get(MANAGER, -1) == -1


def test_an_empty_apdu_is_answered_and_refused() -> None:
    assert MeterAssociation(Meter().device, MANAGER).receive(b"", NOW) == bytes.fromhex("D80103")
    client, wire = client_for("low"), wire_to(Meter(), "wrapper")
    talk(client, wire, client.connect())
    with pytest.raises(DlmsFault, match="TQ-DM-01"):
        client.association.receive(b"")
