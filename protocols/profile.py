"""The neutral part of a meter profile: what a model is, whatever it speaks. Floor: protocols; walk: reading.

Device knowledge is data: one TOML file per model under configs/meters. This page reads what every protocol shares and
keeps the protocol's own table as it is; `protocols/modbus/section.py` reads the table ``[modbus]``,
`protocols/dlms/section.py` the table ``[dlms]``. Each profile has
*golden* bytes, an exchange with the values it means, and a test replays them: a profile without them is refused.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gridmodel.quantity import POWER_W_MAX, REGISTER_WH_MAX, WH_PER_KWH, Resolution
from gridmodel.reading import Channel
from protocols.driver import RelayContact
from protocols.errors import Blame, Hope, ProtocolFault

PROFILES_FOLDER = "meters"
PROFILE_SIZE_MAX = 64_000
"""Bytes of one file: ten times the longest register map; beyond it is a pasted log."""

COARSE_AT_WH = 100_000 * WH_PER_KWH
"""Where registers of one model are compared for the coarsest: what a home uses in forty years."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,40}$")]
Hex = Annotated[str, Field(pattern=r"^[0-9A-Fa-f ]{2,1200}$")]


class ProfileFault(ProtocolFault):
    """A meter profile that cannot be used; codes TQ-MP-nn. Always local and permanent."""

    def __init__(self, code: str, what: str, hint: str) -> None:
        super().__init__(code, what, hint, blame=Blame.LOCAL, hope=Hope.PERMANENT)


class RelayCapability(StrEnum):
    """What a model can do to its consumer."""

    NONE = "none"
    """No relay: read only."""
    SWITCH = "switch"
    """Opens and closes at once when told."""


_CHANNELS = frozenset(channel.name.lower() for channel in Channel)


class GoldenExchange(BaseModel):
    """A request and its reply as hex: for Modbus unit, function and data without framing, for DLMS all bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    request: Hex
    reply: Hex


class Golden(BaseModel):
    """One poll as it went over the wire, and what it means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str = Field(min_length=1, max_length=200)
    """Where the bytes come from."""
    exchanges: tuple[GoldenExchange, ...] = Field(min_length=1, max_length=32)
    """All exchanges of one poll, in any order."""
    registers: dict[Name, int | None]
    """Channel names in lower case to Wh; an absent name is a register the model lacks."""
    measurements: dict[Name, int | None]
    no_reading: tuple[Name, ...] = ()
    """Channels and measurements whose bytes say that there is no value; TOML has no null."""
    relay: RelayContact | None = None
    serial: str | None = None

    def expected(self) -> tuple[dict[str, int | None], dict[str, int | None]]:
        """What a reader must make of the bytes: registers by channel name, measurements; None: no reading."""
        nothing: dict[str, None] = dict.fromkeys(self.no_reading)
        energy = {name: value for name, value in nothing.items() if name in _CHANNELS}
        return self.registers | energy, self.measurements | {n: v for n, v in nothing.items() if n not in energy}


class VeeLimits(BaseModel):
    """The table ``[vee]``: thresholds of validation where this model's differ from the usual; meter-side units."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    stuck_days: int = Field(default=14, ge=1, le=366)
    """So long without one watt-hour is worth a look."""
    decrease_wh_max: int = Field(default=0, ge=0, le=1_000_000)
    """The register may fall by so much, by its own rounding, and counts as standing still."""
    sum_wh_max: int = Field(default=100, ge=0, le=1_000_000)
    """Tariff registers may differ by so much from the total over an interval: four steps of a register."""
    reactive_pct_max: int = Field(default=500, ge=10, le=10_000)
    """Reactive energy in percent of active energy."""
    voltage_mv_min: int = Field(default=160_000, ge=0, le=1_000_000)
    """Phase to neutral at the meter's terminals."""
    voltage_mv_max: int = Field(default=290_000, ge=1, le=1_000_000)
    clock_off_s_max: int = Field(default=180, ge=1, le=86_400)
    """The meter's clock may differ by so much from ours."""


class _Neutral(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    make: str = Field(min_length=1, max_length=60)
    model: str = Field(min_length=1, max_length=60)
    protocol: Name
    relay: RelayCapability
    register_wh_wrap: int | None = Field(default=None, strict=True, gt=0, le=REGISTER_WH_MAX)
    power_w_max: int = Field(strict=True, gt=0, le=POWER_W_MAX)
    writes_allowed: tuple[str, ...] = Field(default=(), max_length=32)
    golden: tuple[Golden, ...] = Field(min_length=1, max_length=16)
    vee: VeeLimits = VeeLimits()


@dataclass(frozen=True, slots=True)
class MeterProfile:
    """One meter model."""

    name: str
    """The file's name without its ending."""
    make: str
    model: str
    protocol: str
    """Names the section that says how to talk to it: ``modbus`` or ``dlms``."""
    relay: RelayCapability
    register_wh_wrap: int | None
    """The energy at which the register starts again at zero, meter-side Wh; None when it cannot be reached."""
    power_w_max: int
    """More than this cannot flow through the meter (meter-side W): a higher rise of the register is a spike."""
    writes_allowed: tuple[str, ...]
    """The only things that may ever be written, as the protocol's section spells them; everything else is refused."""
    golden: tuple[Golden, ...]
    section: Mapping[str, Any]
    """The protocol's own table, unread."""
    vee: VeeLimits
    """Thresholds of validation."""
    resolution: Resolution
    """How fine its energy registers are, the coarsest of them, meter-side."""

    def resolution_wh(self, register_wh: int) -> int:
        """The step in Wh of a register that shows `register_wh` (meter-side): more than 1 hides watt-hours."""
        return self.resolution.at(register_wh)


def parse_profile(name: str, text: str) -> MeterProfile:
    """A profile from the text of its file. Raises `ProfileFault` TQ-MP-01 (no TOML) or 02 (a wrong or missing key)."""
    table = table_of(f"meter profile {name}", text)
    try:
        neutral = _Neutral.model_validate(table)
    except ValidationError as error:
        raise profile_fault(name, error) from error
    section = table.get(neutral.protocol)
    extra = sorted(set(neutral.model_extra or {}) - {neutral.protocol})
    if not isinstance(section, dict) or extra:
        wrong = f"has unknown keys {', '.join(extra)}" if extra else f"has no table [{neutral.protocol}]"
        raise ProfileFault("TQ-MP-02", f"meter profile {name} {wrong}", "compare it with a shipped profile")
    for golden in neutral.golden:
        unknown = sorted(set(golden.registers) - _CHANNELS)
        if unknown:
            raise ProfileFault("TQ-MP-02", f"meter profile {name} has unknown channels {unknown}", "use import, export")
    return MeterProfile(
        name=name,
        make=neutral.make,
        model=neutral.model,
        protocol=neutral.protocol,
        relay=neutral.relay,
        register_wh_wrap=neutral.register_wh_wrap,
        power_w_max=neutral.power_w_max,
        writes_allowed=neutral.writes_allowed,
        golden=neutral.golden,
        section=MappingProxyType(section),
        vee=neutral.vee,
        resolution=_resolution(section),
    )


def table_of(whose: str, text: str) -> dict[str, Any]:
    """The TOML of a profile or concentrator. Raises `ProfileFault` TQ-MP-01."""
    if len(text) > PROFILE_SIZE_MAX:
        raise _too_long(whose)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # beside its own: a number of 5,000 digits, a nest without end
        raise ProfileFault("TQ-MP-01", f"{whose} is not TOML: {error}", "mend the line it names") from error


def text_of(whose: str, file: Traversable) -> str:
    """The text of a file that is one, as far as a profile may be long. Raises `ProfileFault` TQ-MP-01."""
    try:
        if not file.is_file():
            raise ProfileFault("TQ-MP-01", f"{whose} is no file", "put a file there, or take the name away")
        with file.open("rb") as opened:
            raw = opened.read(PROFILE_SIZE_MAX + 1)
        if len(raw) > PROFILE_SIZE_MAX:
            raise _too_long(whose)
        return raw.decode("utf-8").replace("\r\n", "\n")
    except OSError as error:
        raise ProfileFault("TQ-MP-01", f"{whose} cannot be read: {error}", "let the program read it") from error
    except UnicodeDecodeError as error:
        raise ProfileFault("TQ-MP-01", f"{whose} is not UTF-8 text", "save it as UTF-8") from error


def _too_long(whose: str) -> ProfileFault:
    return ProfileFault("TQ-MP-01", f"{whose} is longer than {PROFILE_SIZE_MAX} bytes", "use a profile file")


FLOAT_BITS = {"f32": 24, "f64": 53}
"""Digits of each float type's mantissa, the hidden one included."""
SCALE_PATTERN = r"^\d{1,12}(\.\d{1,12}|/[1-9]\d{0,11})?$"
"""Exact and never long to work out, which 1e-999999999 would be."""
_SCALE = re.compile(SCALE_PATTERN)
_WH = {"kWh": WH_PER_KWH, "Wh": 1}


def _resolution(section: Mapping[str, Any]) -> Resolution:
    """From the table ``registers`` of a section, where its entries say type, scale and unit; else whole watt-hours.

    What is wrong with an entry the protocol's own reader will say.
    """
    found = [Resolution()]
    registers = section.get("registers")
    for entry in registers.values() if isinstance(registers, dict) else ():
        if not isinstance(entry, dict) or "type" not in entry or entry.get("unit") not in _WH:
            continue
        scale = entry.get("scale", "1")
        if not isinstance(scale, str) or not _SCALE.match(scale):
            continue
        found.append(Resolution.of(Fraction(scale) * _WH[entry["unit"]], FLOAT_BITS.get(str(entry["type"]), 0)))
    return max(found, key=lambda one: one.at(COARSE_AT_WH))


def profile_fault(name: str, error: ValidationError) -> ProfileFault:
    """The first finding of pydantic as a fault that names profile and key (TQ-MP-02)."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    return ProfileFault(
        "TQ-MP-02",
        f"meter profile {name}: {where}: {first['msg']}",
        "compare it with a shipped profile in configs/meters",
    )


def load_profile(name: str, folder: Traversable | None = None) -> MeterProfile:
    """The profile of that name from `folder`, or from those shipped. Raises `ProfileFault` TQ-MP-01…03."""
    place = _shipped() if folder is None else folder
    if name not in _names(place):
        known = ", ".join(_names(place)) or "none"
        raise ProfileFault("TQ-MP-03", f"there is no meter profile {name!r:.60}", f"known profiles: {known}")
    return parse_profile(name, text_of(f"meter profile {name}", place.joinpath(f"{name}.toml")))


def load_profiles(folder: Traversable | None = None) -> Mapping[str, MeterProfile]:
    """All profiles of `folder`, or all shipped ones, by name. Files that start with ``_`` are not profiles."""
    place = _shipped() if folder is None else folder
    return MappingProxyType({name: load_profile(name, place) for name in _names(place)})


def _shipped() -> Traversable:
    return files("configs").joinpath(PROFILES_FOLDER)


def _names(place: Traversable) -> list[str]:
    names = (entry.name for entry in place.iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml") and not name.startswith("_"))
