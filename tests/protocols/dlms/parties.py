"""A meter with something of everything inside, a client for each way to speak to it, and the wire between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from protocols.dlms.apdu.acse import Mechanism
from protocols.dlms.apdu.action import MethodOutcome
from protocols.dlms.apdu.parts import ActionResult, AttributeRequest
from protocols.dlms.apdu.sealed import Protection
from protocols.dlms.association import ClientAssociation
from protocols.dlms.carrier import Carrier
from protocols.dlms.client import DlmsClient
from protocols.dlms.cosem_time import encode_time
from protocols.dlms.counters import Counter
from protocols.dlms.data import Data, Tag, octets
from protocols.dlms.hdlc.frames import Address
from protocols.dlms.hdlc.link import HdlcCarrier
from protocols.dlms.hdlc.parameters import LinkParameters
from protocols.dlms.meter_side.association import ClientAccess, LogicalDevice
from protocols.dlms.meter_side.model import Caller, ObjectTable
from protocols.dlms.meter_side.objects import ClockObject, DisconnectObject, PlainObject, ProfileObject, Row, register
from protocols.dlms.meter_side.push import PushSetupObject
from protocols.dlms.meter_side.security_setup import SecuritySetupObject
from protocols.dlms.meter_side.server import HdlcMeter, WrapperMeter
from protocols.dlms.obis import (
    CLOCK,
    DISCONNECT_CONTROL,
    IMPORT_ENERGY,
    LIMITER,
    LOAD_PROFILE,
    LOGICAL_DEVICE_NAME,
    PUSH_SETUP,
    SECURITY_SETUP,
    SERIAL,
    Obis,
    invocation_counter_of,
)
from protocols.dlms.security import SecurityKeys
from protocols.dlms.selection import CLOCK_COLUMN, CaptureObject
from protocols.dlms.terms import AssociationSettings, Outcome
from protocols.dlms.wrapper import WrapperCarrier

NOW = 1_780_000_000
OFFSET_MIN = 300
EK = bytes(range(16))
AK = bytes(range(0xD0, 0xE0))
DK = bytes(range(0x40, 0x50))
MASTER = bytes(range(0x70, 0x80))
METER_TITLE = b"TMQ\x00\x00\x00\x00\x01"
CLIENT_TITLE = b"TMQ\x00\x00\x00\x00\x63"
PASSWORD = b"12345678"
PUBLIC, READER, MANAGER, PROVER = 16, 32, 1, 2
"""Client SAPs: no security, LLS, GMAC with ciphering, GMAC without."""
SCRATCH = Obis(0, 0, 96, 50, 0)
ECHO = Obis(0, 0, 96, 51, 0)
COLUMNS = (CLOCK_COLUMN, CaptureObject(3, IMPORT_ENERGY, 2), CaptureObject(1, Obis(0, 0, 96, 10, 1), 2))
DEVICE = Address(1, 17, 4)


class CountingEntropy:
    """Bytes that differ each time."""

    def __init__(self, calls: int = 0) -> None:
        self.calls = calls

    def token(self, size_bytes: int) -> bytes:
        self.calls += 1
        return self.calls.to_bytes(size_bytes, "big")


def profile_row(index: int) -> Row:
    at = NOW // 3600 * 3600 - (96 - index) * 900
    return (octets(encode_time(at, OFFSET_MIN)), Data(Tag.DOUBLE_LONG_UNSIGNED, 1000 + index), Data(Tag.UNSIGNED, 0))


ROWS: Sequence[Row] = [profile_row(index) for index in range(96)]


def echo(parameters: Data | None, _now: int) -> MethodOutcome:
    return MethodOutcome(ActionResult.SUCCESS, parameters)


@dataclass
class Meter:
    """A device and the objects a test looks into."""

    relay: DisconnectObject = field(default_factory=lambda: DisconnectObject(DISCONNECT_CONTROL))
    clock: ClockObject = field(default_factory=lambda: ClockObject(CLOCK, OFFSET_MIN))
    max_pdu_size: int = 1_024
    device: LogicalDevice = field(init=False)

    def __post_init__(self) -> None:
        keys = SecurityKeys(EK, AK)
        objects = [
            PlainObject(1, LOGICAL_DEVICE_NAME, {2: octets(b"TMQ0000000000001")}),
            PlainObject(1, SERIAL, {2: octets(b"00012345")}),
            PlainObject(1, SCRATCH, {2: octets(b"")}, writable=(2,)),
            PlainObject(1, ECHO, {}, methods={1: echo}),
            PlainObject(
                1,
                invocation_counter_of(0),
                {2: lambda _: Data(Tag.DOUBLE_LONG_UNSIGNED, max(self.device.heard.get(MANAGER, 0), 0))},
            ),
            PlainObject(71, LIMITER, {3: Data(Tag.DOUBLE_LONG_UNSIGNED, 5_000)}, writable=(3,)),
            register(IMPORT_ENERGY, Data(Tag.DOUBLE_LONG_UNSIGNED, 123_456), 0, 30),
            register(Obis(1, 0, 32, 7, 0), Data(Tag.LONG_UNSIGNED, 2_301), -1, 35),
            ProfileObject(LOAD_PROFILE, COLUMNS, lambda _: ROWS, period_s=900),
            self.clock,
            self.relay,
            SecuritySetupObject(
                SECURITY_SETUP,
                keys,
                MASTER,
                METER_TITLE,
                client_title=lambda: self.device.client_title,
                changed=lambda new, least: self.device.use_keys(new, least),  # noqa: PLW0108 — the device comes later
            ),
            PushSetupObject(
                PUSH_SETUP,
                (CaptureObject(1, SERIAL, 2), CaptureObject(3, IMPORT_ENERGY, 2), CaptureObject(1, SERIAL, 9)),
                lambda attribute, now: self.device.model.get(
                    Caller(MANAGER, authenticated=True), AttributeRequest(attribute), now
                ),
                lambda notice: self.device.notices.append(notice),  # noqa: PLW0108 — as above
            ),
        ]
        self.device = LogicalDevice(
            ObjectTable(objects, public=(LOGICAL_DEVICE_NAME, CLOCK, invocation_counter_of(0))),
            {
                PUBLIC: ClientAccess(),
                READER: ClientAccess(Mechanism.LOW, PASSWORD),
                MANAGER: ClientAccess(Mechanism.GMAC, keys=keys, ciphered=True),
                PROVER: ClientAccess(Mechanism.GMAC, keys=keys),
            },
            CountingEntropy(),
            max_pdu_size=self.max_pdu_size,
        )


SETTINGS: dict[str, tuple[int, AssociationSettings]] = {
    "none": (PUBLIC, AssociationSettings()),
    "low": (READER, AssociationSettings(Mechanism.LOW, password=PASSWORD)),
    "gmac": (PROVER, AssociationSettings(Mechanism.GMAC, system_title=CLIENT_TITLE)),
    **{
        kind.value: (MANAGER, AssociationSettings(Mechanism.GMAC, kind, system_title=CLIENT_TITLE))
        for kind in Protection
    },
}
"""Every way to speak, by name."""
SECURED = [name for name in SETTINGS if name != "none"]
LINKS: dict[str, Callable[[int], Carrier]] = {
    "wrapper": lambda client: WrapperCarrier(client, 1),
    "hdlc": lambda client: HdlcCarrier(client, DEVICE),
    "hdlc-windows": lambda client: HdlcCarrier(client, DEVICE, LinkParameters(64, 50, 3, 4)),
}


def client_for(
    security: str,
    link: str = "wrapper",
    *,
    keys: SecurityKeys | None = None,
    first_counter: int = 1,
    max_pdu_size: int = 0xFFFF,
) -> DlmsClient:
    sap, settings = SETTINGS[security]
    settings = replace(settings, max_pdu_size=max_pdu_size)
    association = ClientAssociation(
        settings,
        keys=keys or SecurityKeys(EK, AK, DK),
        counter=Counter(first_counter, first_counter + 100_000),
        challenge=b"challenge-of-the-client",
    )
    return DlmsClient(LINKS[link](sap), association)


def wire_to(meter: Meter, link: str) -> Callable[[bytes], bytes]:
    """A fresh connection to a meter: bytes there, bytes back."""
    if link == "wrapper":
        wrapper = WrapperMeter({1: meter.device})
        return lambda data: wrapper.receive(data, NOW)
    hdlc = HdlcMeter({DEVICE: meter.device}, LinkParameters(128, 128, 7, 7))
    return lambda data: hdlc.receive(data, NOW)


def talk(client: DlmsClient, wire: Callable[[bytes], bytes], out: bytes) -> Outcome:
    """Carry bytes to and fro until there is an outcome; at most 10,000 turns."""
    for _ in range(10_000):
        out, outcomes = client.receive(wire(out))
        if outcomes:
            assert len(outcomes) == 1
            assert out == b""
            return outcomes[0]
        assert out, "both sides are silent"
    raise AssertionError("no end")
