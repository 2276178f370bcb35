"""Readings: channels, qualities, revisions, registers and intervals. Ground floor; on the reading walk.

Energy is read from registers, never integrated from power. An absent value is data as well: a missing interval is an
interval with quality MISSING and no energy. Names follow IEC 61968-9 (channel, quality) and DLMS/COSEM.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from gridmodel.identity import MeterId


class Channel(IntEnum):
    """What a register counts. The numbers travel on the wire and never change."""

    IMPORT = 1
    """Active energy taken from the network (1.0.1.8.0)."""
    EXPORT = 2
    """Active energy given to the network (1.0.2.8.0)."""
    REACTIVE_IMPORT = 3
    REACTIVE_EXPORT = 4
    T1 = 5
    """Active import in tariff register 1 (1.0.1.8.1); T2 to T4 likewise."""
    T2 = 6
    T3 = 7
    T4 = 8


class Quality(IntEnum):
    """How far a value may be trusted. The numbers travel on the wire and never change."""

    ACTUAL = 0
    """From two valid registers at both ends of the interval."""
    ESTIMATED = 1
    """The sum is true, its distribution over the gap is not; nobody is cut on it."""
    SUSPECT = 2
    """Booked but doubtful (a spike, a wrap): nobody is cut on it."""
    MISSING = 3
    """No value; no energy is invented for it."""


class Estimation(IntEnum):
    """How an estimated interval got its share of a known sum. The numbers are stored and never change."""

    NONE = 0
    """Not estimated; or estimated before methods were kept."""
    INTERPOLATION = 1
    """The register in a straight line between the two that are known: an even spread."""
    OWN_PROFILE = 2
    """As the point itself took energy at these times of the week, over the weeks before."""
    NEIGHBOURS = 3
    """As the other points under the same transformer took energy in these very intervals."""


class Mark(StrEnum):
    """Why validation looked twice: the names of its rules (`gridmodel.vee.RULES`)."""

    GAP = "gap"
    """Registers are missing in between; the energy was spread over the gap."""
    RESET = "reset"
    """The register fell: nothing is booked, the meter is looked at."""
    WRAP = "wrap"
    """The register passed its end and started at zero."""
    SPIKE = "spike"
    """More energy than the connection can carry: held back, not booked."""
    OVERLOAD = "overload"
    """More energy than the connection can carry, read after read: booked as suspect."""
    STUCK = "stuck"
    """Not one watt-hour for longer than the rules call normal."""
    NULL = "null"
    """The meter answered with its code for "no value"."""
    STALE = "stale"
    """The read is not later than the one already known."""
    AHEAD = "ahead"
    """The register already known was stamped by a clock far ahead; counting starts anew."""
    DECREASE = "decrease"
    """The register fell by no more than its own steps: it counts as standing still."""
    COARSE = "coarse"
    """The register's own step is a large part of what the interval shows: the sum is true, the interval is rounded."""
    EXCHANGE = "exchange"
    """Another meter: the final register of the old one and the start of the new one book what lies between."""
    SUM_CHECK = "sum_check"
    """The tariff registers moved by another sum than the total register."""
    REACTIVE_CHECK = "reactive_check"
    """More reactive energy than goes with so much active energy."""
    VOLTAGE = "voltage"
    """A phase without its voltage, or with too much."""
    POWER = "power"
    """More power than the meter can carry, or than voltage times current."""
    CLOCK = "clock"
    """The meter's own clock shows another time."""


@dataclass(frozen=True, slots=True, order=True)
class Revision:
    """Which of two values of one fact holds: the higher one. `epoch` is minted by the hub, `number` by the node."""

    epoch: int
    number: int


@dataclass(frozen=True, slots=True)
class RegisterRead:
    """One register as a meter served it, times its multiplier: primary watt-hours."""

    point: str
    """Usage point or supply point."""
    meter: MeterId
    channel: Channel
    at: int
    """The interval end that the read stands for, UTC seconds."""
    register_wh: int | None
    """Primary watt-hours; None when the meter had no value."""


@dataclass(frozen=True, slots=True)
class IntervalReading:
    """The energy of one interval of one channel at one point."""

    point: str
    channel: Channel
    end: int
    energy_wh: int | None
    """None with quality MISSING."""
    quality: Quality
    register_wh: int | None
    """The primary register at `end`, when it was read."""
    method: Estimation = Estimation.NONE
    """Of an estimated interval."""
