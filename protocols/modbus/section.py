"""The ``[modbus]`` table of a meter profile: its register map, and the plan of reads made from it. Floor: protocols.

On the reading walk. Scales are exact fractions, so a register's value in Wh, mV, mA, mHz or W is one rounding away from
the wire and never drifts. Reads are joined only across gaps that the profile declares readable: many meters answer an
exception for a whole block when one register in it does not exist.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gridmodel.quantity import Resolution
from gridmodel.reading import Channel
from protocols.modbus.bus import TIMEOUT_S_MIN, Timing
from protocols.modbus.codec import READ_HOLDING, READ_INPUT, REGISTERS_READ_MAX, read_pdu
from protocols.profile import (
    FLOAT_BITS,
    SCALE_PATTERN,
    MeterProfile,
    ProfileFault,
    RelayCapability,
    profile_fault,
)

Address = Annotated[int, Field(strict=True, ge=0, le=0xFFFF)]
FieldType = Literal["u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64"]
NullPattern = Annotated[str, Field(pattern=r"^([0-9A-F]{4}){1,4}$")]

_FORMATS: dict[str, tuple[struct.Struct, int]] = {
    "u16": (struct.Struct(">H"), 1),
    "i16": (struct.Struct(">h"), 1),
    "u32": (struct.Struct(">I"), 2),
    "i32": (struct.Struct(">i"), 2),
    "u64": (struct.Struct(">Q"), 4),
    "i64": (struct.Struct(">q"), 4),
    "f32": (struct.Struct(">f"), 2),
    "f64": (struct.Struct(">d"), 4),
}
_UNITS: dict[str, tuple[str, int]] = {
    "kWh": ("wh", 1000),
    "Wh": ("wh", 1),
    "V": ("mv", 1000),
    "A": ("ma", 1000),
    "Hz": ("mhz", 1000),
    "kW": ("w", 1000),
    "W": ("w", 1),
}
"""Unit on the data sheet to the base unit that values are given in, and how many of it."""

VALUE_MAX = 2**53
"""Of any value in its base unit: a float register gone wrong shows 10**41, which no store of ours can hold."""

Unit = Literal["kWh", "Wh", "V", "A", "Hz", "kW", "W"]
POWER = "power_w"
"""The measurement that proves a relay: total active power."""
SERIAL = "serial"
"""The key of the serial number."""
REGISTER_KEY = "register"
"""Prefix of a field that is an energy register, followed by the channel's name."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Value(_Table):
    address: Address
    function: Literal[3, 4]
    type: FieldType
    scale: str = Field(default="1", pattern=SCALE_PATTERN)
    unit: Unit
    word_order: Literal["high_first", "low_first"] = "high_first"
    nulls: tuple[NullPattern, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> "_Value":
        words = _FORMATS[self.type][1]
        if any(len(null) != 4 * words for null in self.nulls):
            raise ValueError(f"a null pattern of {self.type} has {4 * words} hex digits")
        if self.address + words > 0x10000:
            raise ValueError("the value ends beyond register FFFF")
        if Fraction(self.scale) == 0:
            raise ValueError("a scale of zero makes every value zero")
        return self


class _Relay(_Table):
    address: Address
    closed: Address
    open: Address
    write_function: Literal[16] = 16


class _Serial(_Table):
    address: Address
    function: Literal[3, 4]
    type: Literal["u32", "u64"]


class _Gap(_Table):
    function: Literal[3, 4]
    first: Address
    last: Address


class _TimingTable(_Table):
    timeout_ms: int = Field(default=1000, gt=int(TIMEOUT_S_MIN * 1000), le=30_000)
    connect_timeout_ms: int = Field(default=3000, gt=int(TIMEOUT_S_MIN * 1000), le=60_000)
    connect_delay_ms: int = Field(default=0, ge=0, le=10_000)
    pause_ms: int = Field(default=0, ge=0, le=5_000)


class _Section(_Table):
    registers_read_max: int = Field(default=REGISTERS_READ_MAX, ge=4, le=REGISTERS_READ_MAX)
    timing: _TimingTable = _TimingTable()
    registers: dict[Literal["import", "export", "reactive_import", "reactive_export", "t1", "t2", "t3", "t4"], _Value]
    measurements: dict[str, _Value] = Field(max_length=32)
    relay: _Relay | None = None
    serial: _Serial | None = None
    readable_gaps: tuple[_Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class ValueField:
    """One value in a block of registers."""

    key: str
    """``register.import``, a measurement's name, ``relay`` or ``serial``."""
    offset: int
    """Bytes from the start of the block."""
    size: int
    """Bytes."""
    type: str
    numerator: int
    denominator: int
    """Value on the wire × numerator ÷ denominator = value in its base unit."""
    swapped: bool
    """Low word first."""
    nulls: tuple[bytes, ...]

    def raw(self, block: bytes) -> bytes:
        """The bytes of this value as they came."""
        return block[self.offset : self.offset + self.size]

    def value(self, block: bytes) -> int | None:
        """The value in its base unit, rounded to the nearest; None for a null pattern, NaN or what nothing can show."""
        raw = self.raw(block)
        if raw in self.nulls:
            return None
        if self.swapped:
            raw = b"".join(raw[at : at + 2] for at in range(self.size - 2, -1, -2))
        number: int | float = _FORMATS[self.type][0].unpack(raw)[0]
        if isinstance(number, int):
            top, bottom = number * self.numerator, self.denominator
        elif math.isfinite(number):
            above, below = number.as_integer_ratio()
            top, bottom = above * self.numerator, below * self.denominator
        else:
            return None
        whole = top if bottom == 1 else (2 * top + bottom) // (2 * bottom)
        return whole if abs(whole) <= VALUE_MAX else None


@dataclass(frozen=True, slots=True)
class Block:
    """One read request and the values in its reply."""

    pdu: bytes
    function: int
    address: int
    count: int
    fields: tuple[ValueField, ...]


@dataclass(frozen=True, slots=True)
class RelayMap:
    """The relay's register and its two words; always written by function 16."""

    address: int
    closed: int
    open: int


@dataclass(frozen=True, slots=True)
class ModbusPlan:
    """How to poll and move one meter model: what the driver works from."""

    profile: str
    timing: Timing
    poll: tuple[Block, ...]
    """Every register, measurement, the relay and the serial number."""
    relay: RelayMap | None
    relay_poll: tuple[Block, ...]
    """The relay, the load and, where the profile has one, the serial number; empty without a relay."""
    identity: tuple[Block, ...]
    """The serial number alone; empty where the profile has none."""
    channels: Mapping[str, Channel]
    """Field key to channel."""
    places: Mapping[str, str]
    """Name of each value as in `MeterSnapshot.raw` to ``function:register``."""
    resolutions: Mapping[Channel, Resolution]
    """How fine each energy register is."""


def modbus_plan(profile: MeterProfile) -> ModbusPlan:
    """Read the profile's ``[modbus]`` table. Raises `ProfileFault` TQ-MP-02 (keys), 04 (units), 05 (relay, writes)."""
    if profile.protocol != "modbus":
        raise ProfileFault("TQ-MP-04", f"meter profile {profile.name} speaks {profile.protocol}", "use its own driver")
    try:
        section = _Section.model_validate(dict(profile.section))
    except ValidationError as error:
        raise profile_fault(profile.name, error) from error
    _check_units(profile.name, section)
    relay = _relay_map(profile, section)
    wanted = _wanted(section)
    load = [entry for entry in wanted if entry[0] in ("relay", POWER, SERIAL)]
    timing = section.timing
    poll = _blocks(wanted, section)
    return ModbusPlan(
        profile=profile.name,
        timing=Timing(
            timeout_s=timing.timeout_ms / 1000,
            connect_timeout_s=timing.connect_timeout_ms / 1000,
            connect_delay_s=timing.connect_delay_ms / 1000,
            pause_s=timing.pause_ms / 1000,
        ),
        poll=poll,
        relay=relay,
        relay_poll=_blocks(load, section) if relay else (),
        identity=_blocks([entry for entry in wanted if entry[0] == SERIAL], section),
        channels=MappingProxyType({f"{REGISTER_KEY}.{name}": Channel[name.upper()] for name in section.registers}),
        places=MappingProxyType(
            {
                one.key.removeprefix(f"{REGISTER_KEY}."): f"{block.function}:{block.address + one.offset // 2:04X}"
                for block in poll
                for one in block.fields
            }
        ),
        resolutions=MappingProxyType(
            {
                Channel[name.upper()]: Resolution.of(
                    Fraction(value.scale) * _UNITS[value.unit][1], FLOAT_BITS.get(value.type, 0)
                )
                for name, value in section.registers.items()
            }
        ),
    )


def _check_units(name: str, section: _Section) -> None:
    for channel, value in section.registers.items():
        if _UNITS[value.unit][0] != "wh":
            raise ProfileFault("TQ-MP-04", f"meter profile {name}: register {channel} is no energy", "use kWh or Wh")
    for key, value in section.measurements.items():
        if not key.endswith("_" + _UNITS[value.unit][0]):
            raise ProfileFault(
                "TQ-MP-04",
                f"meter profile {name}: measurement {key} is in {value.unit}",
                f"end its name with _{_UNITS[value.unit][0]}",
            )


def _relay_map(profile: MeterProfile, section: _Section) -> RelayMap | None:
    """The relay if the profile has one; its register must be the only way in, and the profile must allow it."""
    relay = section.relay
    allowed = [f"{relay.address:04X}"] if relay else []
    has_relay = profile.relay is not RelayCapability.NONE
    sound = has_relay == (relay is not None) and list(profile.writes_allowed) == allowed
    if not sound or (relay is not None and (relay.closed == relay.open or POWER not in section.measurements)):
        raise ProfileFault(
            "TQ-MP-05",
            f"meter profile {profile.name}: relay, writes_allowed and the table [modbus.relay] do not agree",
            "a relay needs its table, two different words, power_w, and writes_allowed with exactly its register",
        )
    return RelayMap(relay.address, relay.closed, relay.open) if relay else None


_Wanted = tuple[str, int, int, str, Fraction, bool, tuple[bytes, ...]]
"""Key, function, address, type, scale, swapped, nulls."""


def _wanted(section: _Section) -> list[_Wanted]:
    values = [(f"{REGISTER_KEY}.{name}", value) for name, value in section.registers.items()]
    values += list(section.measurements.items())
    wanted: list[_Wanted] = [
        (
            key,
            value.function,
            value.address,
            value.type,
            Fraction(value.scale) * _UNITS[value.unit][1],
            value.word_order == "low_first",
            tuple(bytes.fromhex(null) for null in value.nulls),
        )
        for key, value in values
    ]
    if section.relay is not None:
        wanted.append(("relay", READ_HOLDING, section.relay.address, "u16", Fraction(1), False, ()))
    if section.serial is not None:
        serial = section.serial
        wanted.append((SERIAL, serial.function, serial.address, serial.type, Fraction(1), False, ()))
    return wanted


def _blocks(wanted: list[_Wanted], section: _Section) -> tuple[Block, ...]:
    """Join neighbours of one function, across declared gaps only, up to the meter's longest read."""
    groups: list[list[_Wanted]] = []
    for function in (READ_HOLDING, READ_INPUT):
        end = -1
        for entry in sorted((entry for entry in wanted if entry[1] == function), key=lambda entry: entry[2]):
            stop = entry[2] + _FORMATS[entry[3]][1]
            joins = groups and end >= 0 and _readable(section, function, end, entry[2])
            if joins and max(stop, end) - groups[-1][0][2] <= section.registers_read_max:
                groups[-1].append(entry)
            else:
                groups.append([entry])
                end = -1
            end = max(end, stop)
    return tuple(_block(group) for group in groups)


def _readable(section: _Section, function: int, first: int, beyond: int) -> bool:
    """Whether every register from `first` up to but not including `beyond` may be read although nobody wants it."""
    return all(
        any(gap.function == function and gap.first <= register <= gap.last for gap in section.readable_gaps)
        for register in range(first, beyond)
    )


def _block(group: list[_Wanted]) -> Block:
    function, address = group[0][1], group[0][2]
    count = max(entry[2] + _FORMATS[entry[3]][1] for entry in group) - address
    fields = tuple(
        ValueField(
            key=key,
            offset=2 * (at - address),
            size=2 * _FORMATS[kind][1],
            type=kind,
            numerator=scale.numerator,
            denominator=scale.denominator,
            swapped=swapped,
            nulls=nulls,
        )
        for key, _, at, kind, scale, swapped, nulls in group
    )
    return Block(read_pdu(function, address, count), function, address, count, fields)
