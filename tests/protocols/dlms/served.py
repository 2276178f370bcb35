"""A meter made from its own profile and served on a real socket: every object the plan asks for, moved by a test."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from protocols.dlms.apdu.acse import Mechanism
from protocols.dlms.apdu.action import MethodOutcome
from protocols.dlms.apdu.parts import GetResult
from protocols.dlms.cosem import Unit
from protocols.dlms.cosem_time import encode_time
from protocols.dlms.counters import Counter
from protocols.dlms.data import NULL, Data, Tag, octets
from protocols.dlms.faults import DlmsFault
from protocols.dlms.hdlc.frames import Address
from protocols.dlms.hdlc.parameters import LinkParameters
from protocols.dlms.keys import MeterSecrets
from protocols.dlms.meter_side.association import ClientAccess, LogicalDevice
from protocols.dlms.meter_side.model import PUBLIC_CLIENT, CosemObject, ObjectTable
from protocols.dlms.meter_side.objects import ClockObject, DisconnectObject, PlainObject, ProfileObject, Row, register
from protocols.dlms.meter_side.server import HdlcMeter, WrapperMeter
from protocols.dlms.obis import SERIAL, Obis
from protocols.dlms.place import LinkKind
from protocols.dlms.section import DlmsPlan, ValuePlan
from protocols.dlms.security import SecurityKeys
from protocols.dlms.selection import CLOCK_COLUMN, CaptureObject
from tests.protocols.dlms.parties import CountingEntropy

METER_TITLE = b"TMQ\x00\x00\x00\x07\x01"
Source = Callable[[str, int], int | None]
"""A value in its base unit, by key and moment."""
_FORMS = {
    Unit.WH: (Tag.DOUBLE_LONG_UNSIGNED, 0, 1),
    Unit.VARH: (Tag.DOUBLE_LONG_UNSIGNED, 0, 1),
    Unit.W: (Tag.DOUBLE_LONG, 0, 1),
    Unit.V: (Tag.LONG_UNSIGNED, -1, 100),
    Unit.A: (Tag.LONG_UNSIGNED, -2, 10),
    Unit.HZ: (Tag.LONG_UNSIGNED, -2, 10),
}
"""Type, scaler, and base units in one step of the register, by unit."""


def secrets_of(plan: DlmsPlan) -> MeterSecrets:
    """Those that the profile's golden bytes were recorded with."""
    made = plan.recorded_with
    return MeterSecrets(
        password=bytes.fromhex(made.password) or None,
        block_key=bytes.fromhex(made.block_key) or None,
        authentication_key=bytes.fromhex(made.authentication_key) or None,
    )


class HookedRelay(DisconnectObject):
    """A relay that tells when it moved."""

    moved: Callable[[bool, int], None] | None = None

    def act(self, method: int, parameters: Data | None, now: int) -> MethodOutcome:
        outcome = super().act(method, parameters, now)
        if self.moved is not None:
            self.moved(self.output, now)
        return outcome


@dataclass
class ServedMeter:
    """A device after a plan. What is not in `lacks` is there."""

    plan: DlmsPlan
    serial: str
    source: Source
    unit: int = 1
    secrets: MeterSecrets | None = None
    title: bytes = METER_TITLE
    rows: Callable[[int], Sequence[Row]] = lambda _: ()
    columns: tuple[CaptureObject, ...] | None = None
    events: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)
    """Time and code, by log."""
    lacks: frozenset[str] = frozenset()
    by_range: bool = True
    scales: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Scaler and unit that it tells instead, by key."""
    max_pdu_size: int = 1_024
    hides: Data | None = None
    """What it tells in place of its serial number."""
    heard: dict[int, int] = field(default_factory=dict)
    relay: HookedRelay = field(init=False)
    clock: ClockObject = field(init=False)
    device: LogicalDevice = field(init=False)

    def __post_init__(self) -> None:
        plan = self.plan
        offset = plan.clock.offset_min if plan.clock else 300
        self.clock = ClockObject(plan.clock.obis if plan.clock else CLOCK_COLUMN.obis, offset)
        self.relay = HookedRelay(plan.relay.obis if plan.relay else Obis(0, 0, 96, 3, 10))
        objects: list[CosemObject] = [self.clock, PlainObject(1, SERIAL, {2: self._told_serial})]
        if plan.relay is not None:
            objects.append(self.relay)
        objects += [self._register(value) for value in plan.values if value.key not in self.lacks]
        if plan.load_profile is not None:
            columns = self.columns or plan.load_profile.columns
            period_s = plan.load_profile.table.period_s
            objects.append(
                ProfileObject(plan.load_profile.obis, columns, self.rows, period_s=period_s, by_range=self.by_range)
            )
        objects += [self._log(log.obis, log.table.name) for log in plan.event_logs]
        counter = plan.security.counter
        if counter is not None:
            objects.append(PlainObject(1, counter.obis, {2: self._accepted}))
        security = plan.security
        given = self.secrets or secrets_of(plan)
        keys = None
        if security.keyed and given.block_key is not None and given.authentication_key is not None:
            keys = SecurityKeys(given.block_key, given.authentication_key)
        access = ClientAccess(security.mechanism, given.password or b"", keys, ciphered=security.protection is not None)
        clients = {PUBLIC_CLIENT: ClientAccess(), plan.table.client: access}
        self.device = LogicalDevice(
            ObjectTable(
                objects,
                public=[] if counter is None else [counter.obis],
                open_to_all=security.mechanism is Mechanism.NONE,
            ),
            clients,
            CountingEntropy(),
            title=self.title,
            counter=Counter(1, 1 << 32),
            heard=self.heard,
            max_pdu_size=self.max_pdu_size,
        )

    def _told_serial(self, _now: int) -> Data:
        return octets(self.serial.encode()) if self.hides is None else self.hides

    def _accepted(self, _now: int) -> Data:
        return Data(Tag.DOUBLE_LONG_UNSIGNED, max(self.device.heard.get(self.plan.table.client, 0), 0))

    def _register(self, value: ValuePlan) -> PlainObject:
        tag, scaler, step = _FORMS[Unit(value.unit)]
        told_scaler, told_unit = self.scales.get(value.key, (scaler, value.unit))

        def shown(now: int) -> GetResult:
            number = self.source(value.key, now)
            return NULL if number is None else Data(tag, number // step)

        return register(value.attribute.obis, shown, told_scaler, told_unit)

    def _log(self, obis: Obis, name: str) -> ProfileObject:
        columns = (self.plan_clock_column(), CaptureObject(1, Obis(0, 0, 96, 11, 0), 2))
        return ProfileObject(obis, columns, lambda _: self._lines(name), period_s=0, by_range=self.by_range)

    def _lines(self, name: str) -> list[Row]:
        return [(octets(encode_time(at, 300)), Data(Tag.UNSIGNED, code)) for at, code in self.events.get(name, ())]

    def plan_clock_column(self) -> CaptureObject:
        return CLOCK_COLUMN._replace(obis=self.clock.obis)

    def wire(self, now: Callable[[], int]) -> Callable[[bytes], bytes]:
        """A fresh connection: bytes there, bytes back."""
        if self.plan.table.link is LinkKind.WRAPPER:
            wrapper = WrapperMeter({1: self.device})
            return lambda data: wrapper.receive(data, now())
        physical = self.plan.table.hdlc.physical
        lower = self.unit if physical == "unit" else physical
        hdlc = HdlcMeter({Address(1, lower, 4): self.device}, LinkParameters(128, 128, 1, 1))
        return lambda data: hdlc.receive(data, now())


@dataclass
class Wire:
    """A served meter's socket and what a test does to it."""

    port: int = 0
    silent: bool = False
    connections: int = 0
    transports: set[asyncio.Transport] = field(default_factory=set)
    at_once: int = 0
    """The most connections that were ever open together."""
    seen: list[tuple[bytes, bytes]] = field(default_factory=list)
    """What came in and what went out, in order."""
    lost: set[int] = field(default_factory=set)
    """Answers that get lost on the way, by their count from 1."""
    mangle: Callable[[bytes, int], bytes] | None = None
    """Changes an answer; the count of answers so far is given. Empty: the connection is closed after it."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


class _Served(asyncio.Protocol):
    def __init__(self, meter: ServedMeter, state: Wire, now: Callable[[], int]) -> None:
        self.state = state
        self.wire = meter.wire(now)
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.state.connections += 1
        self.state.transports.add(transport)
        self.state.at_once = max(self.state.at_once, len(self.state.transports))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is not None:
            self.state.transports.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        state = self.state
        if state.silent or self.transport is None:
            return
        try:
            out = self.wire(data)
        except DlmsFault:
            self.transport.close()
            return
        state.seen.append((data, out))
        if len(state.seen) in state.lost:
            return
        if state.mangle is not None:
            mangled = state.mangle(out, len(state.seen))
            self.transport.write(mangled)
            if not mangled:
                self.transport.close()
        else:
            self.transport.write(out)


@asynccontextmanager
async def served(meter: ServedMeter, now: Callable[[], int]) -> AsyncIterator[Wire]:
    """The meter on a port that the system chose."""
    state = Wire()
    server = await asyncio.get_running_loop().create_server(lambda: _Served(meter, state, now), "127.0.0.1", 0)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for transport in tuple(state.transports):
            transport.abort()
        await asyncio.sleep(0)
        await server.wait_closed()
