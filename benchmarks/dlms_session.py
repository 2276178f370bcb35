"""The session that the benchmark `dlms` measures: the meter, what is asked of it, and what its answers mean."""

from collections.abc import Callable

from protocols.dlms.apdu.acse import Mechanism
from protocols.dlms.apdu.parts import AccessSelection
from protocols.dlms.apdu.sealed import Protection
from protocols.dlms.association import ClientAssociation
from protocols.dlms.client import DlmsClient
from protocols.dlms.cosem import ProfileGeneric, Register, clock_time, number, rows
from protocols.dlms.cosem_time import encode_time
from protocols.dlms.counters import Counter
from protocols.dlms.data import Data, Tag, octets
from protocols.dlms.exchanges import Got
from protocols.dlms.meter_side.association import ClientAccess, LogicalDevice
from protocols.dlms.meter_side.model import ObjectTable
from protocols.dlms.meter_side.objects import ProfileObject, Row, register
from protocols.dlms.meter_side.server import WrapperMeter
from protocols.dlms.obis import IMPORT_ENERGY, LOAD_PROFILE, Obis
from protocols.dlms.security import SecurityKeys
from protocols.dlms.selection import CLOCK_COLUMN, ByRange, CaptureObject, encode_selection
from protocols.dlms.terms import AssociationSettings, Outcome, Released
from protocols.dlms.wrapper import WrapperCarrier

ROWS_WANTED = 24
OURS, PEERS = 1, 2
"""Client SAPs: each has counters of its own."""
KEYS = SecurityKeys(bytes(range(16)), bytes(range(0xD0, 0xE0)))
TITLE = b"TMQ\x00\x00\x00\x00\x63"
CHALLENGE = b"challenge-of-our"
NOW = 1_780_002_000
OFFSET_MIN = 300
SETTINGS = AssociationSettings(Mechanism.GMAC, Protection.GENERAL_GLOBAL, system_title=TITLE)
REGISTERS = tuple(Obis(1, 0, quantity, 8, 0) for quantity in (1, 2, 3, 4))
COLUMNS = (CLOCK_COLUMN, CaptureObject(1, Obis(0, 0, 96, 10, 1), 2), CaptureObject(3, IMPORT_ENERGY, 2))
LAST = NOW - NOW % 900
FIRST = LAST - (ROWS_WANTED - 1) * 900

Reading = tuple[list[int | float | None], list[tuple[int, int | float | None]]]
"""Four registers, and the rows as (UTC seconds, Wh)."""
Exchanges = list[tuple[bytes, bytes]]
"""Requests and answers."""


class _FixedEntropy:
    """The challenge of a meter whose answers are replayed."""

    def token(self, size_bytes: int) -> bytes:
        return bytes(range(size_bytes))


def _device() -> LogicalDevice:
    def row(index: int) -> Row:
        time = octets(encode_time(LAST - (95 - index) * 900, OFFSET_MIN))
        return (time, Data(Tag.UNSIGNED, 0), Data(Tag.DOUBLE_LONG_UNSIGNED, 1_000 + index))

    day = [row(index) for index in range(96)]
    objects = [register(obis, Data(Tag.DOUBLE_LONG_UNSIGNED, 123_456), 0, 30) for obis in REGISTERS]
    profile = ProfileObject(LOAD_PROFILE, COLUMNS, lambda _: day, period_s=900)
    access = ClientAccess(Mechanism.GMAC, keys=KEYS, ciphered=True)
    return LogicalDevice(ObjectTable([*objects, profile]), {OURS: access, PEERS: access}, _FixedEntropy())


def _selection() -> AccessSelection:
    first, last = (octets(encode_time(at, OFFSET_MIN)) for at in (FIRST, LAST))
    return encode_selection(ByRange(CLOCK_COLUMN, first, last))


def new_client() -> DlmsClient:
    """Our client, as it begins every session: the same counters and challenge, so that the same answers fit."""
    association = ClientAssociation(SETTINGS, keys=KEYS, counter=Counter(1, 1_000), challenge=CHALLENGE)
    return DlmsClient(WrapperCarrier(OURS, 1), association)


def requests(client: DlmsClient) -> list[Callable[[], bytes]]:
    """The services of one session, in order."""
    association = client.association
    reads = [lambda obis=obis: association.get(Register(obis).attribute(2)) for obis in REGISTERS]
    profile = ProfileGeneric(LOAD_PROFILE).attribute(2)
    return [*reads, lambda: association.get(profile, _selection()), association.release]


def understood(outcomes: list[Outcome]) -> Reading:
    """What a session's outcomes mean; it is part of the session."""
    values = [one.results[0] for one in outcomes if isinstance(one, Got)]
    found = [one for one in values if isinstance(one, Data)]
    table = []
    for at, _, energy in rows(found[4], len(COLUMNS)):
        when = clock_time(at)
        if when is not None:
            table.append((when.utc(OFFSET_MIN), number(energy)))
    return [number(one) for one in found[:4]], table


def live_in_memory(wire: Callable[[bytes], bytes]) -> None:
    """One session of ours: `wire` takes what is written and gives what comes back."""
    client = new_client()
    out, outcomes = client.connect(), []
    waiting = iter(requests(client))
    while True:
        out, more = client.receive(wire(out))
        outcomes += more
        if more and isinstance(more[0], Released):
            break
        out = out or client.send(next(waiting)())
    registers, table = understood(outcomes)
    if registers != [123_456] * 4 or table[-1] != (LAST, 1_095) or len(table) != ROWS_WANTED:
        raise RuntimeError(f"the session read something else: {registers} {table}")


def recorded(session: Callable[[Callable[[bytes], bytes]], object]) -> Exchanges:
    """Every request and answer of one session."""
    meter = WrapperMeter({1: _device()})
    exchanges: Exchanges = []

    def wire(data: bytes) -> bytes:
        exchanges.append((data, meter.receive(data, NOW)))
        return exchanges[-1][1]

    session(wire)
    return exchanges
