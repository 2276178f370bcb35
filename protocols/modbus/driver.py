"""Modbus behind the `MeterDriver` port: profiles on one side, buses on the other. Floor: protocols; reading, payment.

One bus per ``host:port``, made at the first call. An address may say its framing (``tcp://…``, ``rtu://…``); one that
does not is Modbus/TCP. Modbus has no authentication: whoever reaches the wire can move a relay. What this driver
can promise is its own part: nothing is written but the one allow-listed relay register, by function 16, with a permit
in hand.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from gridmodel.clock import IoClock, Rng, UtilityClock
from gridmodel.reading import Channel
from protocols.driver import Line, MeterSnapshot, MeterTarget, RelayCommand, RelayContact, RelayReading, WritePermit
from protocols.errors import Blame, Hope
from protocols.modbus.bus import Bus
from protocols.modbus.codec import UNIT_MAX, UNIT_MIN, Framing, ModbusFault, local_fault, write_pdu
from protocols.modbus.section import POWER, SERIAL, Block, ModbusPlan, RelayMap, modbus_plan
from protocols.profile import MeterProfile
from protocols.turns import Priority, priority_of

OPEN_CONNECTIONS_MAX = 256
"""Connections kept open between calls: a quarter of the usual 1,024 file descriptors. Beyond it a connection is closed
after its call, since a district's 42,000 meters cannot all keep a socket."""

READ_S_MAX = 60
"""All blocks of one meter, each after its turn and its timeout."""


class ModbusDriver:
    """All Modbus meters of one process; an implementation of `MeterDriver`."""

    def __init__(
        self, profiles: Mapping[str, MeterProfile], *, clock: UtilityClock, io_clock: IoClock, rng: Rng
    ) -> None:
        """Raises `ProfileFault` for a wrong register map; profiles of other protocols are left to their drivers."""
        self._plans = {name: modbus_plan(one) for name, one in profiles.items() if one.protocol == "modbus"}
        self._writes_allowed = {name: frozenset(one.writes_allowed) for name, one in profiles.items()}
        self._clock = clock
        self._io_clock = io_clock
        self._rng = rng
        self._buses: dict[tuple[str, int], Bus] = {}
        self._closed = False

    def line(self, target: MeterTarget) -> Line:
        """See `LineKeeper.line`: one request at a time goes to each ``host:port``."""
        host, port, _ = parse_address(target.address)
        return Line(f"{host}:{port}", 1, READ_S_MAX)

    def width(self, key: str) -> int:
        """See `LineKeeper.width`."""
        del key
        return 1

    async def read(self, target: MeterTarget) -> MeterSnapshot:
        """See `MeterDriver.read`; one request for each block of the profile."""
        plan = self._plan(target)
        values, raw = await self._blocks(target, plan, plan.poll, Priority.POLL)
        return snapshot_of(plan, values, raw)

    async def read_relay(self, target: MeterTarget) -> RelayReading:
        """See `MeterDriver.read_relay`; goes before polls."""
        plan = self._plan(target)
        relay = _relay_of(target, plan)
        values, _ = await self._blocks(target, plan, plan.relay_poll, Priority.RELAY)
        _check_serial(target, plan, values)
        return relay_reading(relay, values)

    async def control(self, target: MeterTarget, command: RelayCommand, permit: WritePermit) -> None:
        """See `MeterDriver.control`; function 16 to the one allow-listed register, before polls.

        Where the profile knows a serial number it is read first. Raises TQ-MB-51 when another meter answers.
        """
        plan = self._plan(target)
        relay = _relay_of(target, plan)
        if permit.action is not command:
            raise local_fault(
                "TQ-MB-46",
                f"permit {permit.intent_id} is for {permit.action.value}, not for {command.value}",
                "nothing was sent; report this fault",
            )
        if f"{relay.address:04X}" not in self._writes_allowed[plan.profile]:
            raise local_fault(
                "TQ-MB-44",
                f"meter profile {plan.profile} does not allow writing {relay.address:04X}",
                "nothing was sent; only the registers in writes_allowed may ever be written",
            )
        word = relay.closed if command is RelayCommand.CLOSE else relay.open
        if plan.identity:
            values, _ = await self._blocks(target, plan, plan.identity, priority_of(command))
            _check_serial(target, plan, values)
        bus = self._bus(target)
        await bus.exchange(_unit(target), write_pdu(relay.address, (word,)), plan.timing, priority_of(command))
        self._spare(bus)

    async def close(self) -> None:
        """See `MeterDriver.close`."""
        self._closed = True
        for bus in self._buses.values():
            bus.close()

    def suspended(self, target: MeterTarget) -> bool:
        """Whether the target's unit is being left alone at this moment, for a status page."""
        return self._bus(target).suspended(target.unit)

    async def _blocks(
        self, target: MeterTarget, plan: ModbusPlan, blocks: Sequence[Block], priority: Priority
    ) -> tuple[dict[str, int | None], dict[str, str]]:
        unit = _unit(target)
        bus = self._bus(target)
        values: dict[str, int | None] = {}
        raw: dict[str, str] = {}
        replies = await bus.exchanges(unit, [block.pdu for block in blocks], plan.timing, priority)
        for block, data in zip(blocks, replies, strict=True):
            for field in block.fields:
                values[field.key] = field.value(data)
                raw[field.key] = field.raw(data).hex()
        self._spare(bus)
        return values, raw

    def _spare(self, bus: Bus) -> None:
        """Close the connection after its call when too many are open."""
        if len(self._buses) > OPEN_CONNECTIONS_MAX and sum(one.connected for one in self._buses.values()) > (
            OPEN_CONNECTIONS_MAX
        ):
            bus.release()

    def _plan(self, target: MeterTarget) -> ModbusPlan:
        if self._closed:
            raise local_fault("TQ-MB-48", "the Modbus driver is closed", "the node is stopping; start it again")
        plan = self._plans.get(target.profile)
        if plan is None:
            raise local_fault(
                "TQ-MB-50",
                f"meter {target.meter} has the profile {target.profile!r:.60}, which is no Modbus profile",
                "mend the registry, or add the profile to configs/meters",
            )
        return plan

    def _bus(self, target: MeterTarget) -> Bus:
        host, port, framing = parse_address(target.address)
        bus = self._buses.get((host, port))
        if bus is None:
            bus = self._buses[host, port] = Bus(
                host, port, framing, clock=self._clock, io_clock=self._io_clock, rng=self._rng
            )
        elif bus.framing is not framing:
            raise local_fault(
                "TQ-MB-43",
                f"meter {target.meter} wants {framing.value} at {host}:{port}, where others speak {bus.framing.value}",
                "one gateway port speaks one framing: mend the registry; nothing was sent",
            )
        return bus


def parse_address(address: str) -> tuple[str, int, Framing]:
    """``[tcp://|rtu://]host:port`` as host, port and framing, Modbus/TCP where it does not say. Raises TQ-MB-47."""
    scheme, separator, place = address.rpartition("://")
    try:
        framing = Framing(scheme) if separator else Framing.TCP
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        framing = Framing.TCP
    if not host or not port or place.count("/") or "@" in place:
        raise local_fault("TQ-MB-47", f"{address!r:.80} is no meter address", "write host:port, such as 10.1.2.3:502")
    return host, port, framing


def _unit(target: MeterTarget) -> int:
    if not UNIT_MIN <= target.unit <= UNIT_MAX:
        raise local_fault("TQ-MB-47", f"unit {target.unit} of meter {target.meter} cannot be", "units are 1 to 247")
    return target.unit


def _check_serial(target: MeterTarget, plan: ModbusPlan, values: Mapping[str, int | None]) -> None:
    """Whoever answers must be the target where the profile tells who it is. Raises ModbusFault TQ-MB-51."""
    if plan.identity and str(values[SERIAL]) != target.serial.strip():
        raise ModbusFault(
            "TQ-MB-51",
            f"{values[SERIAL]} answered at {target.address} unit {target.unit} instead of {target.serial!r:.40}",
            "nothing was written: correct address, unit or serial number in the registry",
            blame=Blame.REMOTE,
            hope=Hope.PERMANENT,
        )


def _relay_of(target: MeterTarget, plan: ModbusPlan) -> RelayMap:
    if plan.relay is None:
        raise local_fault(
            "TQ-MB-45", f"meter {target.meter} ({plan.profile}) has no relay", "nothing was sent; mend the registry"
        )
    return plan.relay


def snapshot_of(plan: ModbusPlan, values: Mapping[str, int | None], raw: Mapping[str, str]) -> MeterSnapshot:
    """One poll's decoded fields and their bytes (hex), both by field key, as the port's snapshot."""
    measurements = dict(values)
    named = dict(raw)
    registers: dict[Channel, int | None] = {}
    for key, channel in plan.channels.items():
        registers[channel] = measurements.pop(key)
        named[channel.name.lower()] = named.pop(key)
    relay = relay_reading(plan.relay, values) if plan.relay else None
    measurements.pop("relay", None)
    serial = measurements.pop(SERIAL, None)
    return MeterSnapshot(
        serial=None if serial is None else str(serial),
        meter_time=None,
        relay=relay,
        registers=registers,
        measurements=measurements,
        raw=named,
        places=plan.places,
        resolutions=plan.resolutions,
    )


def relay_reading(relay: RelayMap, values: Mapping[str, int | None]) -> RelayReading:
    """The relay's word and the load among decoded fields; a word that the profile does not know is UNKNOWN."""
    states = {relay.closed: RelayContact.CLOSED, relay.open: RelayContact.OPEN}
    word = values["relay"]
    return RelayReading(RelayContact.UNKNOWN if word is None else states.get(word, RelayContact.UNKNOWN), values[POWER])
