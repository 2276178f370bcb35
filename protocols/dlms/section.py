"""From a profile's ``[dlms]`` table to the plan that the driver works from. Floor: protocols; walks: reading, payment.

A plan holds descriptors and numbers only: what to ask in one poll, what the answers mean, how the relay moves, and the
names of the only things that may ever be written. A write is named ``class/OBIS method n`` or ``class/OBIS attribute
n``, in plans and in `writes_allowed` alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

from pydantic import ValidationError

from gridmodel.reading import Channel
from protocols.dlms.apdu.acse import Mechanism
from protocols.dlms.apdu.parts import AttributeDescriptor, MethodDescriptor
from protocols.dlms.apdu.sealed import Protection
from protocols.dlms.cosem import NO_PARAMETER, Clock, ScalerUnit
from protocols.dlms.cosem import Unit as UnitCode
from protocols.dlms.data import Data, Tag
from protocols.dlms.hdlc.parameters import LinkParameters
from protocols.dlms.obis import Obis
from protocols.dlms.place import Place, parse_address
from protocols.dlms.selection import CaptureObject
from protocols.dlms.tables import (
    ColumnTable,
    DlmsTable,
    EventLogTable,
    LoadProfileTable,
    MoveTable,
    QuirksTable,
    RecordedTable,
    TimingTable,
    ValueTable,
)
from protocols.driver import MeterEventKind, MeterTarget, ProfileValues, RelayCommand
from protocols.profile import MeterProfile, ProfileFault, RelayCapability, profile_fault

POWER = "power_w"
"""The measurement that proves a relay: total active power."""
SCRIPT_TABLE_CLASS, EXECUTE = 9, 1
_REACTIVE = frozenset({"reactive_import", "reactive_export"})
_SUFFIXES = {"W": "_w", "V": "_mv", "A": "_ma", "Hz": "_mhz"}
_CODES = {
    "Wh": UnitCode.WH,
    "varh": UnitCode.VARH,
    "W": UnitCode.W,
    "V": UnitCode.V,
    "A": UnitCode.A,
    "Hz": UnitCode.HZ,
}
_MECHANISMS = {"none": Mechanism.NONE, "lls": Mechanism.LOW, "hls_gmac": Mechanism.GMAC}


@dataclass(frozen=True, slots=True)
class ValuePlan:
    """One number of a meter and what it means."""

    key: str
    """The channel's name in lower case, or the measurement's."""
    attribute: AttributeDescriptor
    """Where it stands."""
    scale: ScalerUnit | None
    """None: the meter is asked for it."""
    unit: int
    """What the meter must count in, as the standard numbers units."""
    multiplier: Fraction
    """Beside the scaler."""
    nulls: frozenset[int]
    optional: bool = False

    @property
    def scaler_attribute(self) -> AttributeDescriptor:
        """Where the meter tells scaler and unit."""
        return self.attribute._replace(attribute=3)


@dataclass(frozen=True, slots=True)
class MovePlan:
    """What moves the relay one way."""

    method: MethodDescriptor
    parameter: Data | None
    name: str
    """As `writes_allowed` spells it."""


@dataclass(frozen=True, slots=True)
class RelayPlan:
    """The relay."""

    obis: Obis
    moves: Mapping[RelayCommand, MovePlan]
    by_output: bool
    """Whether output_state tells the contact, else control_state."""
    reads_mode: bool


@dataclass(frozen=True, slots=True)
class ClockPlan:
    """The clock."""

    obis: Obis
    offset_min: int
    set_by: str
    """nothing, shift or time."""
    write: str | None
    """As `writes_allowed` spells it; None: it is never set."""


@dataclass(frozen=True, slots=True)
class LoadProfilePlan:
    """The load profile."""

    obis: Obis
    table: LoadProfileTable
    """Period, access, stamps and limits as they are written."""
    columns: tuple[CaptureObject, ...]
    """In the meter's order."""
    clock_column: int
    """Counted from 0, as the others here."""
    status_column: int | None
    energies: Mapping[int, ValuePlan]
    """By column."""

    @property
    def values(self) -> ProfileValues:
        """What the energies are."""
        return self.table.values


@dataclass(frozen=True, slots=True)
class EventLogPlan:
    """One event log."""

    obis: Obis
    table: EventLogTable
    kinds: Mapping[int, MeterEventKind]


@dataclass(frozen=True, slots=True)
class SecurityPlan:
    """How to associate."""

    mechanism: Mechanism
    protection: Protection | None
    user: int | None
    counter: AttributeDescriptor | None
    """Where the meter tells the last counter it accepted from us."""
    counter_client: int

    @property
    def keyed(self) -> bool:
        """Whether keys and counters are needed."""
        return self.protection is not None or self.mechanism is Mechanism.GMAC


@dataclass(frozen=True, slots=True)
class DlmsPlan:
    """How to read and move one meter model."""

    profile: str
    table: DlmsTable
    security: SecurityPlan
    serial: AttributeDescriptor | None
    serial_prefix: str
    values: tuple[ValuePlan, ...]
    """Every register and measurement of a poll."""
    channels: Mapping[str, Channel]
    """Key to channel; every other key is a measurement."""
    clock: ClockPlan | None
    relay: RelayPlan | None
    load_profile: LoadProfilePlan | None
    event_logs: tuple[EventLogPlan, ...]
    writes_allowed: frozenset[str]
    places: Mapping[str, str]
    """Key to ``class/OBIS attribute n``."""

    @property
    def timing(self) -> TimingTable:
        """How patient to be."""
        return self.table.timing

    @property
    def quirks(self) -> QuirksTable:
        """Where the model leaves the standard."""
        return self.table.quirks

    @property
    def recorded_with(self) -> RecordedTable:
        """With what the golden bytes were recorded."""
        return self.table.recorded_with

    def place(self, target: MeterTarget) -> Place:
        """Where that meter is; its address goes before the profile. Raises DlmsFault TQ-DM-93."""
        written, table = parse_address(target.address), self.table
        server = target.unit if table.server == "unit" else table.server
        physical = target.unit if table.hdlc.physical == "unit" else table.hdlc.physical
        size, window = table.hdlc.information_size, table.hdlc.window
        return Place(
            host=written.host,
            port=written.port,
            link=written.link or table.link,
            client=table.client if written.client is None else written.client,
            server=server if written.server is None else written.server,
            physical=physical if written.physical is None else written.physical,
            address_size=table.hdlc.address_size if written.physical is None and written.server is None else 0,
            parameters=LinkParameters(size, size, window, window),
            via=written.via,
        )


def write_name(member: AttributeDescriptor | MethodDescriptor) -> str:
    """How `writes_allowed` spells an attribute or a method."""
    if isinstance(member, MethodDescriptor):
        return f"{member.class_id}/{member.obis} method {member.method}"
    return f"{member.class_id}/{member.obis} attribute {member.attribute}"


def dlms_plan(profile: MeterProfile) -> DlmsPlan:
    """Read the profile's ``[dlms]`` table. Raises `ProfileFault` TQ-MP-02 (keys), 04 (units), 05 (relay, writes)."""
    if profile.protocol != "dlms":
        raise ProfileFault("TQ-MP-04", f"meter profile {profile.name} speaks {profile.protocol}", "use its own driver")
    try:
        table = DlmsTable.model_validate(dict(profile.section))
    except ValidationError as error:
        raise profile_fault(profile.name, error) from error
    _check_units(profile.name, table)
    relay, clock = _relay(table), _clock(table)
    _check_writes(profile, table, relay, clock)
    values = tuple(_value(key, one) for key, one in (*table.channels.items(), *table.measurements.items()))
    security, identity = table.security, table.identity
    protection = None if security.protection == "none" else Protection(security.protection)
    counter = security.counter_object
    return DlmsPlan(
        profile=profile.name,
        table=table,
        security=SecurityPlan(
            mechanism=_MECHANISMS[security.mode],
            protection=protection,
            user=security.user,
            counter=None if counter is None else AttributeDescriptor(1, Obis.parse(counter), 2),
            counter_client=security.counter_client,
        ),
        serial=None
        if identity is None
        else AttributeDescriptor(identity.serial.class_id, Obis.parse(identity.serial.obis), identity.serial.attribute),
        serial_prefix="" if identity is None else identity.prefix,
        values=values,
        channels=MappingProxyType({name: Channel[name.upper()] for name in table.channels}),
        clock=clock,
        relay=relay,
        load_profile=None if table.load_profile is None else _load_profile(table.load_profile),
        event_logs=tuple(
            EventLogPlan(Obis.parse(one.obis), one, {int(code): kind for code, kind in one.codes.items()})
            for one in table.event_logs
        ),
        writes_allowed=frozenset(profile.writes_allowed),
        places=MappingProxyType({one.key: write_name(one.attribute) for one in values}),
    )


def _check_units(name: str, table: DlmsTable) -> None:
    for channel, value in table.channels.items():
        unit = "varh" if channel in _REACTIVE else "Wh"
        if value.unit != unit:
            raise ProfileFault("TQ-MP-04", f"meter profile {name}: channel {channel} is in {value.unit}", f"use {unit}")
    for key, value in table.measurements.items():
        suffix = _SUFFIXES.get(value.unit)
        if suffix is None or not key.endswith(suffix):
            hint = f"end its name with {suffix}" if suffix else "energy belongs under channels"
            raise ProfileFault("TQ-MP-04", f"meter profile {name}: measurement {key} is in {value.unit}", hint)


def _value(key: str, table: ValueTable) -> ValuePlan:
    unit = int(_CODES[table.unit])
    return ValuePlan(
        key=key,
        attribute=AttributeDescriptor(table.class_id, Obis.parse(table.obis), table.attribute),
        scale=None if table.scaler == "meter" else ScalerUnit(table.scaler, unit),
        unit=unit,
        multiplier=Fraction(table.multiplier),
        nulls=frozenset(table.nulls),
        optional=table.optional,
    )


def _move(obis: Obis, table: MoveTable) -> MovePlan:
    if table.script is not None and table.script_table is not None:
        method = MethodDescriptor(SCRIPT_TABLE_CLASS, Obis.parse(table.script_table), EXECUTE)
        name = f"{write_name(method)} script {table.script}"
        return MovePlan(method, Data(Tag.LONG_UNSIGNED, table.script), name)
    method = MethodDescriptor(70, obis, table.method or 0)
    return MovePlan(method, NO_PARAMETER if table.parameter == "integer" else None, write_name(method))


def _relay(table: DlmsTable) -> RelayPlan | None:
    relay = table.relay
    if relay is None:
        return None
    obis = Obis.parse(relay.obis)
    moves = {RelayCommand.OPEN: _move(obis, relay.open), RelayCommand.CLOSE: _move(obis, relay.close)}
    return RelayPlan(obis, MappingProxyType(moves), relay.contact_from == "output", relay.reads_mode)


def _clock(table: DlmsTable) -> ClockPlan | None:
    clock = table.clock
    if clock is None:
        return None
    view = Clock(Obis.parse(clock.obis))
    names = {
        "nothing": None,
        "shift": write_name(view.method(Clock.SHIFT_TIME)),
        "time": write_name(view.attribute(Clock.TIME)),
    }
    return ClockPlan(view.obis, clock.offset_min, clock.set_by, names[clock.set_by])


def _check_writes(profile: MeterProfile, table: DlmsTable, relay: RelayPlan | None, clock: ClockPlan | None) -> None:
    """What may be written is what this program can write: the relay's two ways and the clock. Never more."""
    moves = [] if relay is None else [move.name for move in relay.moves.values()]
    known = {*moves, *([clock.write] if clock is not None and clock.write is not None else [])}
    strange = sorted(set(profile.writes_allowed) - known)
    wrong: str | None = None
    if (profile.relay is not RelayCapability.NONE) != (relay is not None):
        wrong = "relay and the table [dlms.relay] do not agree"
    elif relay is not None and (len(set(moves)) < 2 or POWER not in table.measurements or table.identity is None):
        wrong = "a relay needs two different ways, the measurement power_w and [dlms.identity]"
    elif clock is not None and clock.write is not None and table.identity is None:
        wrong = "a clock that is set needs [dlms.identity]"
    elif strange:
        wrong = f"writes_allowed names {', '.join(strange)}, which nothing here writes"
    if wrong is not None:
        hint = f"what could be allowed here: {', '.join(sorted(known)) or 'nothing'}"
        raise ProfileFault("TQ-MP-05", f"meter profile {profile.name}: {wrong}", hint)


def _load_profile(table: LoadProfileTable) -> LoadProfilePlan:
    holds = [column.holds for column in table.columns]
    return LoadProfilePlan(
        obis=Obis.parse(table.obis),
        table=table,
        columns=tuple(
            CaptureObject(one.class_id, Obis.parse(one.obis), one.attribute, one.data_index) for one in table.columns
        ),
        clock_column=holds.index("clock"),
        status_column=holds.index("status") if "status" in holds else None,
        energies=MappingProxyType(
            {n: _energy(one) for n, one in enumerate(table.columns) if one.holds not in {"clock", "status", "other"}}
        ),
    )


def _energy(column: ColumnTable) -> ValuePlan:
    unit = int(UnitCode.VARH if column.holds in _REACTIVE else UnitCode.WH)
    return ValuePlan(
        key=column.holds,
        attribute=AttributeDescriptor(column.class_id, Obis.parse(column.obis), column.attribute),
        scale=None if column.scaler == "meter" else ScalerUnit(column.scaler, unit),
        unit=unit,
        multiplier=Fraction(column.multiplier),
        nulls=frozenset(column.nulls),
    )
