"""Bytes that once did harm, or would have: each with its story. A bug that `make fuzz` finds gets its test here."""

from dataclasses import replace

import pytest

from gridmodel.reading import Channel
from protocols.dlms.apdu.parts import AttributeDescriptor
from protocols.dlms.counters import COUNTER_MAX, Counter
from protocols.dlms.faults import DlmsFault
from protocols.dlms.meter_side.association import MeterAssociation
from protocols.dlms.obis import SERIAL
from protocols.dlms.state import ClientState
from tests.protocols.dlms.bench_rig import METER, bench, fast, fault_of, run
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


def test_a_meter_that_comes_back_after_another_stood_in_its_place_is_heard_at_once() -> None:
    """Each counts for itself: the stranger's counter, far ahead, silenced the right meter for hours."""

    async def body() -> None:
        async with bench(fast("dlms_hls_single")) as made:
            made.keys.given[METER] = replace(made.keys.secrets_of(METER), meter_title=None)
            device = made.meter.device
            own = device.title, device.counter
            await made.driver.read(made.target)
            device.title, device.counter = b"TMQ\x00\x00\x00\x09\x09", Counter(70_000, COUNTER_MAX)
            await made.driver.read(made.target)
            device.title, device.counter = own
            seen = await made.driver.read(made.target)
            assert seen.registers[Channel.IMPORT] == 12_345_678
            device.counter = Counter(1, COUNTER_MAX)
            fault = await fault_of(made.driver.read(made.target))
            assert fault.code == "TQ-DM-31", "what this meter has said before is still no news"

    run(body)
