"""The ``[dlms]`` table of a meter profile as it is written: typed, closed, mistakes named. Floor: protocols; reading.

These models say what a profile may contain; `section` makes the plan out of them that the driver works from. What a
real meter does differently from the standard stands under ``quirks``, so that code has one path and profiles many.
"""

from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from protocols.dlms.apdu.parts import LIST_ITEMS_MAX
from protocols.dlms.cosem import SCALER_MAX
from protocols.dlms.faults import DlmsFault
from protocols.dlms.hdlc.parameters import INFORMATION_SIZE_DEFAULT, INFORMATION_SIZE_MAX, WINDOW_MAX
from protocols.dlms.obis import Obis
from protocols.dlms.place import LinkKind
from protocols.driver import MeterEventKind, ProfileValues
from protocols.profile import Name

COLUMNS_MAX = 32
"""Columns of one load profile; the widest that were seen have some twenty."""
LOGS_MAX = 16
"""Event logs of one meter; the standard names ten."""


def _obis(text: str) -> str:
    try:
        Obis.parse(text)
    except DlmsFault as fault:
        raise ValueError(f"{fault.what}: {fault.hint}") from fault
    return text


ObisText = Annotated[str, AfterValidator(_obis)]
Unit = Literal["Wh", "varh", "W", "V", "A", "Hz"]
ChannelName = Literal["import", "export", "reactive_import", "reactive_export", "t1", "t2", "t3", "t4"]
Secret = Annotated[str, Field(pattern=r"^([0-9A-Fa-f]{2}){0,64}$")]


class Table(BaseModel):
    """Base of all: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HdlcTable(Table):
    """How a meter is addressed on an HDLC link, and what the link may carry."""

    address_size: Literal[0, 1, 2, 4] = 0
    """Bytes of the meter's address; 0: the shortest that fits."""
    physical: Annotated[int, Field(ge=0, le=0x3FFF)] | Literal["unit"] = 0
    """Physical device; ``unit``: the unit of the registry."""
    information_size: int = Field(default=INFORMATION_SIZE_DEFAULT, ge=32, le=INFORMATION_SIZE_MAX)
    window: int = Field(default=1, ge=1, le=WINDOW_MAX)


class SecurityTable(Table):
    """How a client associates."""

    mode: Literal["none", "lls", "hls_gmac"] = "none"
    protection: Literal["none", "glo", "ded", "general-glo", "general-ded"] = "none"
    """How APDUs are sealed (suite 0), as `Protection` names it."""
    user: Annotated[int, Field(ge=0, le=255)] | None = None
    counter_object: ObisText | None = None
    """Data object with the last invocation counter that the meter accepted from us."""
    counter_client: int = Field(default=16, ge=1, le=0x7F)
    """The client that may read it without secrets: the public one."""


class ValueTable(Table):
    """One number in the meter."""

    class_id: Literal[1, 3, 4] = Field(default=3, alias="class")
    obis: ObisText
    attribute: int = Field(default=2, ge=1, le=127)
    unit: Unit
    """What the meter counts in, before the scaler; the meter must agree where it tells its unit."""
    scaler: Annotated[int, Field(ge=-SCALER_MAX, le=SCALER_MAX)] | Literal["meter"] = "meter"
    """``meter``: attribute 3 is read once and checked; a number: it is not read."""
    multiplier: str = Field(default="1", pattern=r"^\d{1,9}(/[1-9]\d{0,8})?$")
    """Beside the scaler, for models that count in odd steps. CT and VT ratios stand in the registry, not here."""
    nulls: tuple[int, ...] = Field(default=(), max_length=8)
    """Numbers by which this model says that it has no value."""
    optional: bool = False
    """Some meters of this model lack it: no reading then, instead of a fault."""

    @model_validator(mode="after")
    def _scaled(self) -> Self:
        if self.class_id == 1 and self.scaler == "meter":
            raise ValueError("an object of class 1 has no scaler of its own: write one")
        if Fraction(self.multiplier) == 0:
            raise ValueError("a multiplier of zero makes every value zero")
        return self


class AttributeTable(Table):
    """One attribute of one object."""

    class_id: int = Field(default=1, alias="class", ge=1, le=0xFFFF)
    obis: ObisText
    attribute: int = Field(default=2, ge=1, le=127)


class IdentityTable(Table):
    """What proves which meter this is."""

    serial: AttributeTable
    prefix: str = Field(default="", max_length=16)
    """Stands before the serial number in the object and not on the plate; an object without it is another's."""


class ClockTable(Table):
    """The meter's clock (class 8)."""

    obis: ObisText = "0.0.1.0.0.255"
    offset_min: int = Field(default=300, ge=-840, le=840)
    """Local time minus UTC where the meter does not tell it; Tashkent and Samarkand 300."""
    set_by: Literal["nothing", "shift", "time"] = "nothing"
    """Method 6 (seconds), or attribute 2 written anew."""


class MoveTable(Table):
    """What moves a relay one way: a method of the relay itself, or a script of a script table (class 9)."""

    method: int | None = Field(default=None, ge=1, le=127)
    parameter: Literal["integer", "none"] = "integer"
    """What the method is given: an integer 0, as the standard says, or nothing."""
    script_table: ObisText | None = None
    script: int | None = Field(default=None, ge=1, le=0xFFFF)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.method is None) == (self.script is None) or (self.script is None) != (self.script_table is None):
            raise ValueError("give either a method, or a script together with its script_table")
        return self


class RelayTable(Table):
    """The relay (class 70)."""

    obis: ObisText = "0.0.96.3.10.255"
    open: MoveTable = MoveTable(method=1)
    close: MoveTable = MoveTable(method=2)
    contact_from: Literal["output", "state"] = "output"
    """Which attribute tells the contact: output_state, or control_state in models whose output is always true."""
    reads_mode: bool = True
    """Whether control_mode can be read; mode 0 obeys nobody, and the command is refused before it is sent."""


class ColumnTable(Table):
    """One column of a load profile, in the meter's order."""

    holds: Literal["clock", "status", "other"] | ChannelName
    class_id: int = Field(alias="class", ge=1, le=0xFFFF)
    obis: ObisText
    attribute: int = Field(default=2, ge=0, le=127)
    data_index: int = Field(default=0, ge=0, le=0xFFFF)
    scaler: Annotated[int, Field(ge=-SCALER_MAX, le=SCALER_MAX)] | Literal["meter"] = "meter"
    multiplier: str = Field(default="1", pattern=r"^\d{1,9}(/[1-9]\d{0,8})?$")
    nulls: tuple[int, ...] = Field(default=(), max_length=8)


class LoadProfileTable(Table):
    """The load profile (class 7)."""

    obis: ObisText = "1.0.99.1.0.255"
    period_s: Literal[900, 1800, 3600]
    access: Literal["range", "entry"] = "range"
    values: ProfileValues = ProfileValues.REGISTERS
    stamp: Literal["end", "start"] = "end"
    """Which end of its interval a row is stamped with."""
    rows_max: int = Field(default=96, ge=1, le=4_000)
    """Rows asked for at once."""
    check_columns: bool = True
    """Whether capture objects and period are read from the meter and compared, once for each meter."""
    doubtful_status: int = Field(default=0, ge=0, le=0xFFFF_FFFF)
    """Bits of the status column that make a row doubtful."""
    columns: tuple[ColumnTable, ...] = Field(min_length=2, max_length=COLUMNS_MAX)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        held = [column.holds for column in self.columns if column.holds != "other"]
        if held.count("clock") != 1 or len(set(held)) < len(held) or set(held) <= {"clock", "status"}:
            raise ValueError("a load profile has one clock, at least one energy, and each of them once")
        return self


class EventLogTable(Table):
    """One event log (class 7): a column with the time and one with the code."""

    name: Name
    obis: ObisText
    columns: int = Field(default=2, ge=2, le=COLUMNS_MAX)
    clock_column: int = Field(default=1, ge=1, le=COLUMNS_MAX)
    code_column: int = Field(default=2, ge=1, le=COLUMNS_MAX)
    access: Literal["range", "entry", "whole"] = "range"
    codes: dict[str, MeterEventKind] = Field(default_factory=dict, max_length=256)
    """The meter's numbers and what they mean; markets number differently."""

    @model_validator(mode="after")
    def _numbered(self) -> Self:
        if max(self.clock_column, self.code_column) > self.columns or self.clock_column == self.code_column:
            raise ValueError("clock_column and code_column are two of the columns")
        if not all(code.isascii() and code.isdigit() for code in self.codes):
            raise ValueError("codes are numbers")
        return self


class QuirksTable(Table):
    """Where this model leaves the standard."""

    list_items_max: int = Field(default=16, ge=1, le=LIST_ITEMS_MAX)
    """Attributes in one request; 1: it does not understand lists."""
    release: Literal["sealed", "plain", "none"] = "sealed"
    """How an association ends: with a sealed request inside where it is ciphered, without, or by hanging up."""
    deviation_reversed: bool = False
    """Deviations count from UTC to local time, against the standard."""
    deviation_in_range: bool = True
    """Times in a range carry their deviation; some meters find nothing then."""
    null_times: bool = False
    """Rows of a profile without a time follow the row before by one period (null-data compression)."""
    newest_first: bool = False
    """Profiles are sorted with the newest row first; of account where they are read by entry."""
    counter_restarts: bool = False
    """The meter's own invocation counter begins anew with each association."""


class TimingTable(Table):
    """How much patience a meter needs, in milliseconds of I/O time unless said otherwise."""

    timeout_ms: int = Field(default=5_000, gt=300, le=120_000)
    connect_timeout_ms: int = Field(default=5_000, gt=300, le=60_000)
    connect_delay_ms: int = Field(default=0, ge=0, le=10_000)
    pause_ms: int = Field(default=0, ge=0, le=5_000)
    retries: int = Field(default=1, ge=0, le=3)
    call_s_max: int = Field(default=60, ge=2, le=600)
    profile_s_max: int = Field(default=300, ge=2, le=3_600)


class RecordedTable(Table):
    """With what the golden bytes were recorded, so that they can be replayed; never used against a meter."""

    password: Secret = ""
    block_key: Secret = ""
    authentication_key: Secret = ""
    client_title: Secret = ""
    challenge: Secret = ""
    dedicated_key: Secret = ""
    counter: int = Field(default=1, ge=1, le=0xFFFF_FFFF)


class DlmsTable(Table):
    """The whole ``[dlms]`` table."""

    link: LinkKind = LinkKind.WRAPPER
    client: int = Field(ge=1, le=0x7F)
    server: Annotated[int, Field(ge=1, le=0x3FFF)] | Literal["unit"] = 1
    """Logical device; ``unit``: the unit of the registry."""
    hdlc: HdlcTable = HdlcTable()
    security: SecurityTable = SecurityTable()
    timing: TimingTable = TimingTable()
    quirks: QuirksTable = QuirksTable()
    identity: IdentityTable | None = None
    channels: dict[ChannelName, ValueTable] = Field(min_length=1)
    measurements: dict[Name, ValueTable] = Field(default_factory=dict, max_length=32)
    clock: ClockTable | None = None
    relay: RelayTable | None = None
    load_profile: LoadProfileTable | None = None
    event_logs: tuple[EventLogTable, ...] = Field(default=(), max_length=LOGS_MAX)
    recorded_with: RecordedTable = RecordedTable()
