"""Another's client, dlms-cosem 21.3.2, reads our meter side; its codec and ours read each other's APDUs.

It stands in for the meters and readers of the field, which were not written by us. It knows general-glo, not glo-*.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dlms_cosem import cosem, enumerations, utils  # type: ignore[import-untyped]
from dlms_cosem.clients.dlms_client import DlmsClient as PeerClient  # type: ignore[import-untyped]
from dlms_cosem.clients.hdlc_transport import SerialHdlcTransport  # type: ignore[import-untyped]
from dlms_cosem.connection import XDlmsApduFactory  # type: ignore[import-untyped]
from dlms_cosem.cosem.capture_object import CaptureObject as PeerColumn  # type: ignore[import-untyped]
from dlms_cosem.cosem.selective_access import RangeDescriptor  # type: ignore[import-untyped]
from dlms_cosem.exceptions import DlmsClientException  # type: ignore[import-untyped]
from dlms_cosem.protocol.xdlms import GetResponseWithList as PeerList  # type: ignore[import-untyped]

from protocols.dlms.apdu import decode_apdu
from protocols.dlms.axdr import decode
from protocols.dlms.cosem import ControlState
from protocols.dlms.data import Data, Tag, octets
from protocols.dlms.wrapper import WrapperFrame, WrapperSplitter
from tests.protocols.dlms.parties import (
    AK,
    CLIENT_TITLE,
    DK,
    EK,
    MANAGER,
    NOW,
    OFFSET_MIN,
    PASSWORD,
    PUBLIC,
    READER,
    ROWS,
    SCRATCH,
    Meter,
    wire_to,
)
from tests.protocols.dlms.test_dlms_vectors import APDUS

MECHANISMS = enumerations.AuthenticationMechanism
SECURITIES: dict[str, dict[str, Any]] = {
    "low": {"client_logical_address": READER, "authentication_method": MECHANISMS.LLS, "password": PASSWORD},
    "general-glo": {
        "client_logical_address": MANAGER,
        "authentication_method": MECHANISMS.HLS_GMAC,
        "encryption_key": EK,
        "authentication_key": AK,
        "client_system_title": CLIENT_TITLE,
    },
}


class MemoryLink:
    """The peer's transport, over the wrapper, in memory."""

    timeout = 1

    def __init__(self, client: int, wire: Callable[[bytes], bytes]) -> None:
        self.client_logical_address = client
        self.server_logical_address = 1
        self._wire = wire

    def connect(self) -> None: ...

    def disconnect(self) -> None: ...

    def send(self, apdu: bytes) -> bytes:
        out = WrapperFrame(self.client_logical_address, 1, bytes(apdu)).encode()
        (frame,) = WrapperSplitter().feed(self._wire(out))
        return frame.apdu


class MemorySerial:
    """The peer's serial port, in memory. Like a real one it returns what it has when its time is over."""

    def __init__(self, wire: Callable[[bytes], bytes]) -> None:
        self._wire = wire
        self._waiting = b""
        self._silent = False

    def write(self, data: bytes) -> None:
        self._waiting += self._wire(bytes(data))
        self._silent = False

    def read_until(self, end: bytes) -> bytes:
        """Up to and with the next flag. The peer takes a frame's last flag for a first one when its FCS ends in 7E."""
        assert self._waiting or not self._silent, "our meter is silent"
        taken, flag, self._waiting = self._waiting.partition(end)
        self._silent = not flag
        return taken + flag


def peer(security: str, link: str, meter: Meter, challenge: bytes = bytes(32), **changes: Any) -> Any:
    arguments = SECURITIES[security] | changes
    client, wire = arguments["client_logical_address"], wire_to(meter, link)
    transport = (
        MemoryLink(client, wire)
        if link == "wrapper"
        else SerialHdlcTransport(
            client_logical_address=client,
            server_logical_address=1,
            server_physical_address=17,
            serial_port="memory",
            serial=MemorySerial(wire),
        )
    )
    client = PeerClient(server_logical_address=1, io_interface=transport, **arguments)
    client.dlms_connection.client_to_meter_challenge = challenge
    return client


@contextmanager
def associated(client: Any) -> Iterator[None]:
    """From greeting to release. No DISC: the peer cannot read a UA without parameters, as the standard has it there."""
    client.connect()
    client.associate()
    yield
    client.release_association()


def attribute(class_id: int, obis: tuple[int, ...], number: int) -> Any:
    return cosem.CosemAttribute(enumerations.CosemInterface(class_id), cosem.Obis(*obis), number)


ENERGY = attribute(3, (1, 0, 1, 8, 0), 2)
PROFILE = attribute(7, (1, 0, 99, 1, 0), 2)


@pytest.mark.parametrize("link", ["wrapper", "hdlc"])
@pytest.mark.parametrize("security", SECURITIES)
def test_another_client_reads_writes_and_acts_on_our_meter(security: str, link: str) -> None:
    meter = Meter()
    client = peer(security, link, meter)
    with associated(client):
        assert utils.parse_as_dlms_data(client.get(ENERGY)) == 123_456
        assert utils.parse_as_dlms_data(client.get(attribute(1, (0, 0, 96, 1, 0), 2))) == b"00012345"
        response = client.set(attribute(1, tuple(SCRATCH)[:5], 2), octets(b"new").encode())
        assert response.result is enumerations.DataAccessResult.SUCCESS
        client.action(
            cosem.CosemMethod(enumerations.CosemInterface.DISCONNECT_CONTROL, cosem.Obis(0, 0, 96, 3, 10), 1),
            Data(Tag.INTEGER, 0).encode(),
        )
    assert meter.relay.state is ControlState.DISCONNECTED


def test_another_client_reads_a_frame_whose_check_ends_in_a_flag() -> None:
    """Of 256 frames one ends in 7E 7E: the peer takes the last flag for the first of a frame that never comes."""
    with associated(peer("general-glo", "hdlc", Meter(), challenge=(784).to_bytes(32, "big"))):
        pass


@pytest.mark.parametrize("link", ["wrapper", "hdlc"])
@pytest.mark.parametrize("security", SECURITIES)
def test_another_client_reads_a_profile_in_blocks_and_by_range(security: str, link: str) -> None:
    client = peer(security, link, Meter(), max_pdu_size=250)
    zone = datetime.fromtimestamp(NOW // 3600 * 3600, UTC) + timedelta(minutes=OFFSET_MIN)
    last = zone.replace(tzinfo=None) - timedelta(hours=1)
    with associated(client):
        rows = decode(client.get(PROFILE))
        assert rows.value == tuple(Data(Tag.STRUCTURE, row) for row in ROWS)
        column = PeerColumn(cosem_attribute=attribute(8, (0, 0, 1, 0, 0), 2), data_index=0)
        wanted = RangeDescriptor(restricting_object=column, from_value=last - timedelta(hours=1), to_value=last)
        part = decode(client.get(PROFILE, access_descriptor=wanted)).value
    assert isinstance(part, tuple)
    assert [row.value[1].value for row in part] == [1088, 1089, 1090, 1091, 1092]


def test_another_client_reads_a_list() -> None:
    client = peer("low", "wrapper", Meter())
    item = cosem.CosemAttributeWithSelection
    with associated(client):
        answer = client.get_many([item(attribute=ENERGY, access_selection=None)] * 2)
    assert isinstance(answer, PeerList)
    assert [one.value for one in answer.response_data] == [123_456, 123_456]


@pytest.mark.parametrize("changes", [{"encryption_key": DK}, {"authentication_key": DK}])
def test_another_client_with_wrong_keys_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(DlmsClientException):
        peer("general-glo", "wrapper", Meter(), **changes).associate()


def test_a_client_whose_counter_ran_ahead_of_ours_and_back_is_refused() -> None:
    meter = Meter()
    with associated(peer("general-glo", "wrapper", meter, client_initial_invocation_counter=500)):
        pass
    with pytest.raises(DlmsClientException):
        peer("general-glo", "wrapper", meter, client_initial_invocation_counter=499).associate()


def test_a_public_client_of_another_kind_associates() -> None:
    meter = Meter()
    client = PeerClient(PUBLIC, 1, MemoryLink(PUBLIC, wire_to(meter, "wrapper")))
    assert client.associate().result is enumerations.AssociationResult.ACCEPTED
    assert utils.parse_as_dlms_data(client.get(attribute(1, (0, 0, 42, 0, 0), 2))) == b"TMQ0000000000001"


UNKNOWN_TO_THE_PEER = {
    "GET value",
    "AARE refused",
    "GET values",
    "SET first block",
    "SET block taken",
    "SET last block taken",
    "RLRQ bare",
    "exception for a counter",
    "data notification",
}
"""What the peer cannot decode, or not without its own mistakes."""


@pytest.mark.parametrize("name", [name for name in APDUS if name not in UNKNOWN_TO_THE_PEER])
def test_the_two_codecs_write_the_same_bytes(name: str) -> None:
    apdu, text = APDUS[name]
    raw = bytes.fromhex(text)
    theirs = XDlmsApduFactory.apdu_from_bytes(bytearray(raw))
    assert decode_apdu(bytes(theirs.to_bytes())) == apdu
