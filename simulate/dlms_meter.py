"""One simulated DLMS meter: objects over the grid's truth, a clock, a relay, events. Floor: simulate; walk: reading.

Made when somebody first connects, and kept. Registers and profiles are the truth as served, worked out when they are
asked for; the clock runs by its own error; the contact follows the disconnect object after each request (`settle`), and
every movement, clock setting and tampering is an event in a log. `simulate/dlms_shapes.py` says what a model has.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import overload

from gridmodel.clock import Entropy
from protocols.dlms.apdu.parts import AccessResult, AttributeDescriptor, AttributeRequest, GetResult
from protocols.dlms.cosem import ControlState
from protocols.dlms.cosem_time import encode_time
from protocols.dlms.counters import COUNTER_MAX, Counter
from protocols.dlms.data import Data, Tag, array, octets, structure
from protocols.dlms.meter_side.association import ClientAccess, LogicalDevice
from protocols.dlms.meter_side.model import PUBLIC_CLIENT, Caller, CosemObject, ObjectTable
from protocols.dlms.meter_side.objects import (
    ClockObject,
    DisconnectObject,
    PlainObject,
    ProfileObject,
    Row,
    register,
)
from protocols.dlms.meter_side.push import PushSetupObject
from protocols.dlms.meter_side.security_setup import SecuritySetupObject
from protocols.dlms.obis import (
    CLOCK,
    LIMITER,
    LOGICAL_DEVICE_NAME,
    PUSH_SETUP,
    SECURITY_SETUP,
    SERIAL,
    Obis,
    invocation_counter_of,
)
from protocols.dlms.selection import CLOCK_COLUMN, CaptureObject
from simulate.dlms_keys import FleetSecrets, Security, access_to
from simulate.dlms_shapes import STATUS, EventLogShape, MeterShape, RegisterShape
from simulate.truth import DAY_S, HISTORY_DAYS_MAX, GridTruth

EVENTS_MAX = 200
"""Rows of all event logs of one meter together; the oldest go, as in a meter's small memory."""
VOLTAGE_MV, FREQUENCY_MHZ = 229_000, 50_000
PUBLIC = {PUBLIC_CLIENT: ClientAccess()}


@dataclass(frozen=True, slots=True)
class MeterSite:
    """What the meters of one model in one fleet share."""

    truth: GridTruth
    shape: MeterShape
    security: Security
    secrets: FleetSecrets
    entropy: Entropy
    offset_min: int
    """Local time minus UTC."""
    drift_ppm: float
    """Of clocks: how far apart they run, in seconds per million; see `drift_of`."""
    moved: Callable[[int, bool, int], None]
    """Told of (index, closed, UTC seconds) when a contact is somewhere."""

    def drift_of(self, index: int) -> float:
        """How much faster that meter's clock runs than time, ppm: most about right, each fiftieth ten times as far."""
        spread = (index * 7_919 % 2_001 - 1_000) / 1_000
        return spread * self.drift_ppm * (10 if index % 50 == 49 else 1)


class DlmsMeter:
    """One meter."""

    __slots__ = ("clock", "device", "events", "index", "push", "relay", "site")

    def __init__(self, site: MeterSite, index: int) -> None:
        self.site = site
        self.index = index
        self.events: list[tuple[int, int]] = []
        """(UTC seconds as the meter's clock showed them, code), the oldest first."""
        shape, spec = site.shape, site.truth.grid.spec
        self.clock = _TellingClock(self, site.offset_min, site.drift_of(index), spec.origin)
        state = ControlState.CONNECTED if site.truth.connected(index) else ControlState.DISCONNECTED
        self.relay = None if shape.relay is None else DisconnectObject(shape.relay, shape.control_mode, state)
        serial = site.truth.serial_of(index)
        title = b"TMQ" + int(serial).to_bytes(5, "big")
        self.device = LogicalDevice(
            ObjectTable(()),
            PUBLIC,
            site.entropy,
            title=title,
            counter=Counter(1, COUNTER_MAX + 1),
            max_pdu_size=shape.max_pdu_size,
            anyone=access_to(site.security, site.secrets),
        )
        codes = (CaptureObject(1, log.code, 2) for log in shape.logs)
        pushed = (CaptureObject(1, LOGICAL_DEVICE_NAME, 2), CLOCK_COLUMN, *codes)
        self.push = PushSetupObject(PUSH_SETUP, pushed, self._read, self.device.notices.append)
        public = (LOGICAL_DEVICE_NAME, CLOCK, invocation_counter_of(0))
        self.device.model = ObjectTable(
            self._objects(serial, title), public, open_to_all=site.security is Security.NONE
        )

    def settle(self, now: int) -> None:
        """After a request or a hand on the button: the contact is where the relay's state says, and a move an event."""
        if self.relay is None or self.relay.output == self.site.truth.connected(self.index):
            return
        codes = self.site.shape.codes
        told = {
            ControlState.CONNECTED: codes.connected,
            ControlState.DISCONNECTED: codes.disconnected,
            ControlState.READY_FOR_RECONNECTION: codes.ready,
        }[self.relay.state]
        self.happened(told, now)
        self.site.moved(self.index, self.relay.output, now)

    def happened(self, code: int, now: int) -> None:
        """An event, at `now` (UTC seconds) as the meter's clock shows it."""
        self.events.append((self.clock.shown(now), code))
        del self.events[:-EVENTS_MAX]

    def tamper(self, code: int, now: int) -> None:
        """Something that the meter reports by itself as well."""
        self.happened(code, now)
        self.push.push(now)

    def last_code(self, log: EventLogShape) -> int:
        """The code of the last event in a log; 0: none yet."""
        return next((code for _, code in reversed(self.events) if code in log.codes), 0)

    def _objects(self, serial: str, title: bytes) -> list[CosemObject]:
        site, shape = self.site, self.site.shape
        name = f"TMQ{int(serial):013}".encode()
        objects: list[CosemObject] = [
            PlainObject(1, LOGICAL_DEVICE_NAME, {2: octets(name)}),
            PlainObject(1, SERIAL, {2: octets(serial.encode())}),
            PlainObject(1, invocation_counter_of(0), {2: self._heard}),
            PlainObject(1, STATUS, {2: Data(Tag.UNSIGNED, 0)}),
            self.clock,
            *(self._register(one) for one in shape.registers),
            self._profile(shape.load_profile, shape.period_s or site.truth.grid.spec.interval_minutes * 60),
            self._profile(shape.daily_profile, DAY_S),
            self.push,
            SecuritySetupObject(
                SECURITY_SETUP,
                site.secrets.keys,
                site.secrets.master,
                title,
                client_title=lambda: self.device.client_title,
                changed=self.device.use_keys,
            ),
        ]
        for log in shape.logs:
            objects += self._log_objects(log)
        if self.relay is not None:
            objects += [self.relay, _limiter()]
        return objects

    def _register(self, shape: RegisterShape) -> CosemObject:
        return register(shape.obis, lambda now: shape.data(self._shown(shape.shows, now)), shape.scaler, shape.unit)

    def _log_objects(self, log: EventLogShape) -> tuple[CosemObject, CosemObject]:
        columns = (CLOCK_COLUMN, CaptureObject(1, log.code, 2))
        by_range = self.site.shape.by_range
        return (
            ProfileObject(
                log.obis,
                columns,
                lambda _: self._log(log),
                period_s=0,
                by_range=by_range,
                rising=False,
                offset_min=self.site.offset_min,
            ),
            PlainObject(1, log.code, {2: lambda _: Data(Tag.UNSIGNED, self.last_code(log))}),
        )

    def _profile(self, obis: Obis, period_s: int) -> ProfileObject:
        shape = self.site.shape
        status = (CaptureObject(1, STATUS, 2),) if shape.tells_status else ()
        columns = (CLOCK_COLUMN, *status, *(CaptureObject(3, one, 2) for one in shape.profiled))
        return ProfileObject(
            obis,
            columns,
            lambda now: ProfileRows(self, period_s, now),
            period_s=period_s,
            by_range=shape.by_range,
            offset_min=self.site.offset_min,
        )

    def _log(self, log: EventLogShape) -> Sequence[Row]:
        return [(self.stamp(at), Data(Tag.UNSIGNED, code)) for at, code in self.events if code in log.codes]

    def _heard(self, _now: int) -> Data:
        return Data(Tag.DOUBLE_LONG_UNSIGNED, max((0, *self.device.heard.values())))

    def _read(self, attribute: AttributeDescriptor, now: int) -> GetResult:
        """As the meter reads itself, for what it pushes."""
        return self.device.model.get(Caller(1, authenticated=True), AttributeRequest(attribute), now)

    def _shown(self, shows: str, now: int) -> int:
        truth = self.site.truth
        if shows == "import_wh":
            return truth.shown_at(self.index, now).import_wh
        if shows == "export_wh":
            return truth.shown_at(self.index, now).export_wh
        if shows == "power_w":
            return truth.load_w(self.index, now)
        wander = (self.index * 37 + truth.end // 900 * 13) % 61 - 30
        if shows == "frequency_mhz":
            return FREQUENCY_MHZ + wander
        voltage_mv = VOLTAGE_MV + wander * 100
        if shows.startswith("voltage"):
            return voltage_mv
        phases = sum(one.shows.startswith("current") for one in self.site.shape.registers)
        return truth.load_w(self.index, now) * 1_000_000 // (voltage_mv * phases)

    def stamp(self, at: int) -> Data:
        """A time as the meter spells it."""
        return octets(_spelled(at, self.site.offset_min, self.site.shape.deviation))

    def row(self, at: int) -> Row:
        """The row of a profile that ends at `at`, UTC seconds."""
        shown = self.site.truth.shown_at(self.index, at)
        values = {"import_wh": shown.import_wh, "export_wh": shown.export_wh}
        shape = self.site.shape
        energies = (one for obis in shape.profiled for one in shape.registers if one.obis == obis)
        status = (Data(Tag.UNSIGNED, 0),) if shape.tells_status else ()
        return (self.stamp(at), *status, *(one.data(values[one.shows]) for one in energies))


@lru_cache(8_192)
def _spelled(at: int, offset_min: int, deviation: bool) -> bytes:
    """The stamps of rows are the same in every meter of a fleet."""
    return encode_time(at, offset_min, deviation=deviation)


class ProfileRows(Sequence[Row]):
    """The rows of a profile up to a moment, each made when it is looked at."""

    def __init__(self, meter: DlmsMeter, period_s: int, now: int) -> None:
        """`period_s` divides the days since the truth began."""
        self._meter = meter
        self._period_s = period_s
        truth = meter.site.truth
        truth.advance(now)
        kept = truth.end - HISTORY_DAYS_MAX * DAY_S
        origin = truth.grid.spec.origin
        skipped = max(0, -(-(kept - origin) // period_s), (truth.stands_since(meter.index) - origin) // period_s)
        self._first = origin + (skipped + 1) * period_s
        self._count = max(0, (truth.end - self._first) // period_s + 1)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return self._meter.row(self._first + index % self._count * self._period_s)


class _TellingClock(ClockObject):
    """A clock whose setting is an event: the old time, the new one."""

    def __init__(self, meter: DlmsMeter, offset_min: int, drift_ppm: float, since: int) -> None:
        super().__init__(CLOCK, offset_min, deviation=meter.site.shape.deviation, drift_ppm=drift_ppm, since=since)
        self._meter = meter

    def set(self, attribute: int, value: Data, now: int) -> AccessResult:
        """See `ClockObject.set`."""
        before = self.shown(now)
        result = super().set(attribute, value, now)
        if result is AccessResult.SUCCESS:
            codes = self._meter.site.shape.codes
            self._meter.events.append((before, codes.clock_old))
            self._meter.happened(codes.clock_new, now)
        return result


def _limiter() -> PlainObject:
    """A limiter that keeps its thresholds and never acts: zero is no limit."""
    limit = Data(Tag.DOUBLE_LONG_UNSIGNED, 0)
    nothing = structure(octets(bytes(6)), Data(Tag.LONG_UNSIGNED, 0))
    return PlainObject(
        71,
        LIMITER,
        {
            2: structure(Data(Tag.LONG_UNSIGNED, 3), octets(bytes((1, 0, 1, 7, 0, 255))), Data(Tag.INTEGER, 2)),
            3: limit,
            4: limit,
            5: limit,
            6: limit,
            7: limit,
            8: structure(Data(Tag.LONG_UNSIGNED, 0), octets(bytes.fromhex("FFFFFFFFFFFFFFFFFF800000")), limit),
            9: array(()),
            10: Data(Tag.BOOLEAN, False),
            11: structure(nothing, nothing),
        },
        writable=(4, 5, 6, 7),
    )
