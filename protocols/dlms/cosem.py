"""Typed views of the interface classes we use (IEC 62056-6-2). Floor: protocols; walks: reading, payment.

A view names the attributes and methods of a class and turns `Data` into values of ours. A value that does not fit its
class is a `DlmsFault` TQ-DM-60, never a guess. Which object is which, and quirks, stand in meter profiles.
"""

import math
from enum import IntEnum
from fractions import Fraction
from typing import NamedTuple

from protocols.dlms.apdu.parts import AttributeDescriptor, MethodDescriptor
from protocols.dlms.cosem_time import SIZE as TIME_SIZE
from protocols.dlms.cosem_time import CosemTime, read_time
from protocols.dlms.data import Data, Tag
from protocols.dlms.faults import DlmsFault, remote_fault
from protocols.dlms.obis import Obis
from protocols.dlms.selection import CaptureObject, read_capture_object
from protocols.errors import Hope

_EXPONENTS = {27: 0, 28: 0, 29: 0, 30: 0, 31: 0, 32: 0, 33: -3, 35: -3, 44: -3}
"""The power of ten of our unit beside the standard's: W, VA, var, Wh, VAh, varh whole; A, V, Hz in thousandths."""
_NOTHING = frozenset((int(Tag.NULL), int(Tag.DONT_CARE)))
_TIMES = frozenset((int(Tag.OCTET_STRING), int(Tag.DATE_TIME)))
SCALER_MAX = 15
"""Beyond it no meter's register makes sense."""


class Unit(IntEnum):
    """The unit of a register, as far as we use them."""

    W = 27
    VA = 28
    VAR = 29
    WH = 30
    VAH = 31
    VARH = 32
    A = 33
    V = 35
    HZ = 44
    COUNT = 255


class ScalerUnit(NamedTuple):
    """What a register counts in."""

    scaler: int
    """The value is the register times ten to this power."""
    unit: int
    """The unit's number in the standard; see `Unit`."""

    @property
    def one(self) -> Fraction:
        """What 1 on the wire is worth, in the units of `whole`; that has been asked before, and found no fault."""
        return Fraction(10) ** (self.scaler - _EXPONENTS[self.unit])

    def whole(self, value: float) -> int:
        """The value in whole Wh, W, varh, var, VA, mA, mV or mHz, rounded down.

        Raises:
            DlmsFault: TQ-DM-61 for a unit that is none of these, or a scaler beyond reason.

        """
        if self.unit not in _EXPONENTS or abs(self.scaler) > SCALER_MAX:
            raise remote_fault("TQ-DM-61", f"unit {self.unit}, scaler {self.scaler} of a register", hope=Hope.PERMANENT)
        power = self.scaler - _EXPONENTS[self.unit]
        factor: int = 10 ** abs(power)
        if isinstance(value, int):
            return value * factor if power >= 0 else value // factor
        scaled = value * factor if power >= 0 else value / factor
        if not math.isfinite(scaled):
            raise remote_fault("TQ-DM-61", f"a register reads {value}", hope=Hope.PERMANENT)
        return math.floor(scaled)


class _View:
    """An object of one class."""

    class_id = 0

    def __init__(self, obis: Obis) -> None:
        self.obis = obis

    def attribute(self, number: int) -> AttributeDescriptor:
        """One attribute of it."""
        return AttributeDescriptor(self.class_id, self.obis, number)

    def method(self, number: int) -> MethodDescriptor:
        """One method of it."""
        return MethodDescriptor(self.class_id, self.obis, number)


class DataObject(_View):
    """Data (1): a value without a unit."""

    class_id = 1
    VALUE = 2


class Register(_View):
    """Register (3): a number with a unit."""

    class_id = 3
    VALUE = 2
    SCALER_UNIT = 3
    RESET = 1
    """Method. Never sent by us: it erases energy."""


class ExtendedRegister(Register):
    """Extended register (4): with status and the time of capture."""

    class_id = 4
    STATUS = 4
    CAPTURE_TIME = 5


class ProfileGeneric(_View):
    """Profile generic (7): rows of captured values."""

    class_id = 7
    BUFFER = 2
    CAPTURE_OBJECTS = 3
    CAPTURE_PERIOD = 4
    SORT_METHOD = 5
    SORT_OBJECT = 6
    ENTRIES_IN_USE = 7
    PROFILE_ENTRIES = 8


class Clock(_View):
    """Clock (8)."""

    class_id = 8
    TIME = 2
    TIME_ZONE = 3
    STATUS = 4
    ADJUST_TO_MINUTE = 3
    """Method."""
    SHIFT_TIME = 6
    """Method: seconds, -900 to 900."""


class AssociationLn(_View):
    """Association LN (15)."""

    class_id = 15
    OBJECT_LIST = 2
    PARTNERS = 3
    CONTEXT = 4
    STATUS = 8
    REPLY_TO_HLS = 1
    """Method."""


class SecuritySetup(_View):
    """Security setup (64)."""

    class_id = 64
    POLICY = 2
    SUITE = 3
    CLIENT_TITLE = 4
    SERVER_TITLE = 5
    ACTIVATE = 1
    """Method: a stricter policy, as an ENUM."""
    KEY_TRANSFER = 2
    """Method: see `protocols/dlms/key_transfer.py`."""


class PushSetup(_View):
    """Push setup (40): what a meter sends by itself, and where to."""

    class_id = 40
    OBJECT_LIST = 2
    DESTINATION = 3
    PUSH = 1
    """Method."""


class ControlState(IntEnum):
    """control_state of a disconnect control."""

    DISCONNECTED = 0
    CONNECTED = 1
    READY_FOR_RECONNECTION = 2


class DisconnectControl(_View):
    """Disconnect control (70): the relay."""

    class_id = 70
    OUTPUT_STATE = 2
    CONTROL_STATE = 3
    CONTROL_MODE = 4
    REMOTE_DISCONNECT = 1
    """Method, with an INTEGER 0."""
    REMOTE_RECONNECT = 2
    """Method, with an INTEGER 0."""


class Limiter(_View):
    """Limiter (71): cuts by itself over a threshold; writing one is a cut."""

    class_id = 71
    MONITORED_VALUE = 2
    THRESHOLD_ACTIVE = 3
    THRESHOLD_NORMAL = 4
    THRESHOLD_EMERGENCY = 5
    MIN_OVER_THRESHOLD_DURATION = 6
    MIN_UNDER_THRESHOLD_DURATION = 7
    ACTIONS = 11


NO_PARAMETER = Data(Tag.INTEGER, 0)
"""What methods without a real parameter are given."""


def unfit(what: str, data: Data) -> DlmsFault:
    """TQ-DM-60: a value is not what its class says."""
    return remote_fault(
        "TQ-DM-60",
        f"{what} came as type {data.tag}",
        "check class and OBIS code in the meter's profile",
        Hope.PERMANENT,
    )


def number(data: Data) -> int | float | None:
    """A register's value; None: the meter has none at the moment (null-data)."""
    value = data.value
    if data.tag in _NOTHING:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise unfit("a number", data)
    return value


def scaler_unit(data: Data) -> ScalerUnit:
    """scaler_unit of a register."""
    value = data.value
    if isinstance(value, tuple) and len(value) == 2:
        scaler, unit = value[0].value, value[1].value
        if isinstance(scaler, int) and isinstance(unit, int):
            return ScalerUnit(scaler, unit)
    raise unfit("scaler and unit", data)


def text(data: Data) -> str:
    """A serial number or name: a string, printable octets, or a number in digits."""
    value = data.value
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or data.tag == Tag.BIT_STRING:
        raise unfit("a name", data)
    return value.strip("\x00 ")


def clock_time(data: Data) -> CosemTime | None:
    """A time, as octet-string or date-time; None: not specified, or a date that never was, as dead clocks show it."""
    if data.tag in _NOTHING:
        return None
    if data.tag not in _TIMES or not isinstance(data.value, bytes) or len(data.value) != TIME_SIZE:
        raise unfit("a time", data)
    try:
        return read_time(data.value)
    except DlmsFault:
        return None


def capture_objects(data: Data) -> tuple[CaptureObject, ...]:
    """The columns of a profile."""
    if not isinstance(data.value, tuple):
        raise unfit("the columns of a profile", data)
    return tuple(read_capture_object(one) for one in data.value)


def rows(data: Data, columns: int) -> list[tuple[Data, ...]]:
    """The rows of a profile's buffer; each must have `columns` columns. Null data is left as it is."""
    if not isinstance(data.value, tuple):
        raise unfit("the buffer of a profile", data)
    found = []
    for row in data.value:
        if not isinstance(row.value, tuple) or len(row.value) != columns:
            raise remote_fault(
                "TQ-DM-62",
                f"a row has {len(row.value) if isinstance(row.value, tuple) else 'no'} columns, the profile {columns}",
                "read the meter's capture objects and correct its profile",
                Hope.PERMANENT,
            )
        found.append(row.value)
    return found


def control_state(data: Data) -> ControlState:
    """control_state of a disconnect control."""
    if isinstance(data.value, int) and data.value in set(ControlState):
        return ControlState(data.value)
    raise unfit("the state of a relay", data)


def output_state(data: Data) -> bool:
    """output_state of a disconnect control: whether the consumer is connected."""
    if isinstance(data.value, bool):
        return data.value
    raise unfit("the output of a relay", data)
