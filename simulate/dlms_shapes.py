"""Models of simulated DLMS meters as data: which objects they have, how a register counts. Floor: simulate; reading.

A `MeterShape` says what a reader finds in a meter; `simulate/dlms_meter.py` makes the objects. Those shipped here are
plain meters after the standard's own OBIS codes; a shape can as well be made from a meter profile.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gridmodel.reading import Channel
from protocols.dlms.cosem import Unit
from protocols.dlms.data import NUMBERS, Data, Tag
from protocols.dlms.obis import DAILY_PROFILE, DISCONNECT_CONTROL, EXPORT_ENERGY, IMPORT_ENERGY, LOAD_PROFILE, Obis

IMPORT, EXPORT, POWER = "import_wh", "export_wh", "power_w"
"""What registers may show, beside ``voltage_l1_mv``, ``current_l1_ma`` (l1 to l3) and ``frequency_mhz``."""
_CHANNELS = {Channel.IMPORT: IMPORT, Channel.EXPORT: EXPORT}


@dataclass(frozen=True, slots=True)
class RegisterShape:
    """One register (class 3)."""

    obis: Obis
    shows: str
    """What it counts; the unit last in the name."""
    tag: Tag
    scaler: int
    unit: Unit
    multiplied: int = field(init=False)
    divided: int = field(init=False)
    """A value times the one over the other is the count."""
    end: int = field(init=False)
    """At which the count starts again from zero."""

    def __post_init__(self) -> None:
        """Work out what every reading needs."""
        power = self.scaler + (0 if self.unit in {Unit.W, Unit.WH} else 3)
        signed = self.tag in {Tag.INTEGER, Tag.LONG, Tag.DOUBLE_LONG, Tag.LONG64}
        object.__setattr__(self, "multiplied", 10 ** max(0, -power))
        object.__setattr__(self, "divided", 10 ** max(0, power))
        object.__setattr__(self, "end", 1 << 8 * NUMBERS[self.tag].size - signed)

    def count(self, value: int) -> int:
        """The register for a value in Wh, W, mV, mA or mHz: cut to its resolution, and it starts again at its end."""
        return value * self.multiplied // self.divided % self.end

    def data(self, value: int) -> Data:
        """The same as it goes over the wire."""
        return Data(int(self.tag), self.count(value))

    def shown(self, value: int) -> int:
        """What a reader decodes when the exact value is `value`."""
        return self.count(value) * self.divided // self.multiplied


@dataclass(frozen=True, slots=True)
class EventLogShape:
    """One event log (class 7): its rows are a time and a code."""

    obis: Obis
    code: Obis
    """The object that holds the last code."""
    codes: frozenset[int]
    """The codes that are kept here."""


@dataclass(frozen=True, slots=True)
class EventCodes:
    """Which number says what; markets number differently."""

    clock_old: int = 4
    clock_new: int = 5
    failed_login: int = 46
    ready: int = 59
    disconnected: int = 62
    connected: int = 63


@dataclass(frozen=True, slots=True)
class MeterShape:
    """One model."""

    name: str
    registers: tuple[RegisterShape, ...]
    logs: tuple[EventLogShape, ...]
    load_profile: Obis = LOAD_PROFILE
    daily_profile: Obis = DAILY_PROFILE
    profiled: tuple[Obis, ...] = (IMPORT_ENERGY, EXPORT_ENERGY)
    """The registers whose values stand in both profiles, after the time and the status."""
    relay: Obis | None = DISCONNECT_CONTROL
    control_mode: int = 4
    codes: EventCodes = field(default_factory=EventCodes)
    period_s: int | None = None
    """Of the load profile; None: the grid's interval."""
    tells_status: bool = True
    """Whether a row of a profile has a status behind its time."""
    by_range: bool = True
    """Whether profiles know selection by range; entries they always know."""
    deviation: bool = True
    """Whether times tell their deviation from UTC."""
    max_pdu_size: int = 1_024
    """The longest APDU it takes, bytes."""

    @property
    def has_relay(self) -> bool:
        """Whether it can be disconnected."""
        return self.relay is not None

    def served_wh(self, channel: Channel, register_wh: int) -> int:
        """See `simulate.image.Display`."""
        shows = _CHANNELS.get(channel)
        return next((one.shown(register_wh) for one in self.registers if one.shows == shows), 0)


STATUS = Obis(0, 0, 96, 10, 1)
"""Data: the status of a load profile's row; 0: sound."""
_SWITCH = EventLogShape(Obis(0, 0, 99, 98, 2), Obis(0, 0, 96, 11, 2), frozenset(range(59, 70)))
_STANDARD = EventLogShape(Obis(0, 0, 99, 98, 0), Obis(0, 0, 96, 11, 0), frozenset(range(1, 30)))
_FRAUD = EventLogShape(Obis(0, 0, 99, 98, 1), Obis(0, 0, 96, 11, 1), frozenset(range(40, 52)))
_ENERGY = (
    RegisterShape(IMPORT_ENERGY, IMPORT, Tag.DOUBLE_LONG_UNSIGNED, 0, Unit.WH),
    RegisterShape(EXPORT_ENERGY, EXPORT, Tag.DOUBLE_LONG_UNSIGNED, 0, Unit.WH),
    RegisterShape(Obis(1, 0, 1, 7, 0), POWER, Tag.DOUBLE_LONG_UNSIGNED, 0, Unit.W),
    RegisterShape(Obis(1, 0, 14, 7, 0), "frequency_mhz", Tag.LONG_UNSIGNED, -2, Unit.HZ),
)


def _phase(number: int) -> tuple[RegisterShape, RegisterShape]:
    """Voltage and current: 32.7.0 and 31.7.0 of the first phase, 20 more for each further one."""
    first = 20 * (number - 1)
    return (
        RegisterShape(Obis(1, 0, 32 + first, 7, 0), f"voltage_l{number}_mv", Tag.LONG_UNSIGNED, -1, Unit.V),
        RegisterShape(Obis(1, 0, 31 + first, 7, 0), f"current_l{number}_ma", Tag.LONG_UNSIGNED, -2, Unit.A),
    )


SINGLE_PHASE = MeterShape("dlms_single_phase", (*_ENERGY, *_phase(1)), (_STANDARD, _FRAUD, _SWITCH))
THREE_PHASE = MeterShape(
    "dlms_three_phase", (*_ENERGY, *_phase(1), *_phase(2), *_phase(3)), (_STANDARD, _FRAUD, _SWITCH), control_mode=2
)
SHAPES: Mapping[str, MeterShape] = MappingProxyType({one.name: one for one in (SINGLE_PHASE, THREE_PHASE)})
"""By the name that ``--profile`` takes."""
