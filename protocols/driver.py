"""The port behind which every meter stands, whatever it speaks. Floor: protocols; walks: reading, payment.

`edge_node` knows meters through this page alone: the Modbus and DLMS drivers and the simulator's in-memory driver
implement it, and `tests/contracts/test_meter_driver_contract.py` holds all of them to the promises written here. What
only some protocols have is a port of its own beside `MeterDriver`: past intervals (`ProfileReader`), the clock
(`ClockKeeper`), event logs (`EventReader`). Modbus meters have none of the three, so their driver does not pretend.

Promises of every implementation:

* One meter's silence or nonsense is a `ProtocolFault` for that meter, never a value of another meter or register.
* Nothing that moves a relay happens in `read` or `read_relay`; nothing at all is written without a `WritePermit`.
* A return from `control` means the device accepted the command, not that the contact moved: read it back.
* A `ProtocolFault` from `control` with `Hope.RETRY` leaves the outcome unknown: the command may have arrived.
* Cancelling a call is safe: later answers to it are thrown away.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from gridmodel.identity import MeterId
from gridmodel.quantity import Resolution
from gridmodel.reading import Channel


@dataclass(frozen=True, slots=True)
class MeterTarget:
    """One meter as it is reached: who it should be, how it speaks and where."""

    meter: MeterId
    """Our id of the meter."""
    serial: str
    """The serial number the registry expects; `MeterSnapshot.serial` is compared with it where the meter tells one."""
    profile: str
    """Name of the meter profile (file name under configs/meters without the ending)."""
    address: str
    """``host:port`` of the meter or its gateway."""
    unit: int
    """Unit behind the gateway, 1-247; a meter with its own address uses 1. DLMS profiles say which part of a DLMS
    address it stands for, if any."""


class RelayCommand(StrEnum):
    """What a relay is told."""

    OPEN = "open"
    """Disconnect the consumer. A cut: every law about cuts applies."""
    CLOSE = "close"
    """Connect the consumer."""


class RelayContact(StrEnum):
    """What the meter says about its main contact."""

    CLOSED = "closed"
    """The consumer is connected."""
    OPEN = "open"
    """The consumer is disconnected."""
    READY = "ready"
    """Disconnected, and connected again as soon as somebody presses the meter's button."""
    UNKNOWN = "unknown"
    """The meter has no relay, does not tell, or told something its profile does not know."""


@dataclass(frozen=True, slots=True)
class RelayReading:
    """A relay as read back: the contact and the load that proves or disproves it."""

    state: RelayContact
    """What the meter says about its contact."""
    load_w: int | None
    """Active power through the meter in W, before CT and VT; None = no reading."""


@dataclass(frozen=True, slots=True)
class WritePermit:
    """The token that lets one write pass. Minted only by the enforcement's one write door, after its intent is durable.

    A driver refuses a permit whose `action` differs from the command, so a permit to restore cannot cut.
    """

    intent_id: str
    """The durable intent this write carries out; it appears in logs and in the audit."""
    action: RelayCommand
    """The one command it allows."""


@dataclass(frozen=True, slots=True)
class MeterSnapshot:
    """All that one poll of one meter told. Values are meter-side: before CT x VT multipliers. None = no reading."""

    serial: str | None
    """The serial number as the meter tells it; None when it does not."""
    meter_time: int | None
    """The meter's own clock in UTC seconds; None when it has none."""
    relay: RelayReading | None
    """The relay as this poll saw it; None when the profile has no relay."""
    registers: Mapping[Channel, int | None]
    """Energy registers in Wh."""
    measurements: Mapping[str, int | None]
    """Instantaneous values, the unit last in each name: ``voltage_l1_mv``, ``current_l1_ma``, ``frequency_mhz``,
    ``power_w``."""
    raw: Mapping[str, str]
    """The wire's bytes behind each value as hex, keyed by the lower-case channel name or the measurement name."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Where each value stands in the meter, keyed as `raw`: ``3:000A`` (function and register) on Modbus."""
    resolutions: Mapping[Channel, Resolution] = field(default_factory=dict)
    """How fine each energy register is; one that is not named here tells every watt-hour, as far as is known."""


class MeterDriver(Protocol):
    """Reads meters and moves their relays. One object per process serves all targets; calls may run concurrently."""

    async def read(self, target: MeterTarget) -> MeterSnapshot:
        """Poll every register, measurement and the relay of the profile once.

        A value the meter reports as "not available" is None; a value that cannot be obtained at all raises.

        Raises:
            ProtocolFault: silence, a malformed or foreign reply, an exception reply, an unknown profile.

        """
        ...

    async def control(self, target: MeterTarget, command: RelayCommand, permit: WritePermit) -> None:
        """Tell the relay to open or close; goes before waiting polls on the same bus. No read-back happens here.

        Raises:
            ProtocolFault: as for `read`; Blame.LOCAL and Hope.PERMANENT when the permit does not match, the profile has
                no relay, or the write is not on the profile's allow-list (nothing was sent then).

        """
        ...

    async def read_relay(self, target: MeterTarget) -> RelayReading:
        """Read the relay's contact and the load; goes before waiting polls on the same bus.

        Raises:
            ProtocolFault: as for `read`; Blame.LOCAL and Hope.PERMANENT when the profile has no relay.

        """
        ...

    async def close(self) -> None:
        """Drop all connections and wake all waiting calls with a fault. Idempotent; no call is accepted afterwards."""
        ...


@dataclass(frozen=True, slots=True)
class Line:
    """What meters are reached through: a gateway's serial line, a concentrator, or the one meter's own address."""

    key: str
    """Meters with the same key share it."""
    width: int
    """How many reads it takes at once at this moment, 1 and more; the driver makes any more wait."""
    read_s_max: int
    """Real seconds that one read on it may take in all: beyond them the driver itself has failed."""


@runtime_checkable
class LineKeeper(Protocol):
    """Says which meters share a line, and how much it takes. Of a driver without it each address is one of width 1."""

    def line(self, target: MeterTarget) -> Line:
        """The target's line as it is now.

        Raises:
            ProtocolFault: local and permanent, for a target that this driver cannot reach at all.

        """
        ...

    def width(self, key: str) -> int:
        """How wide the line with that key is now, since a width may be learned; 1 for one that nobody asked for yet."""
        ...


class ProfileValues(StrEnum):
    """What the energies of a load profile are."""

    REGISTERS = "registers"
    """The register as it stood at the interval's end."""
    INTERVALS = "intervals"
    """The energy of the interval alone."""


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One interval out of a meter's own memory."""

    end: int
    """The interval's end by the meter's clock, UTC seconds; a multiple of the period."""
    energies: Mapping[Channel, int | None]
    """Meter-side Wh, as `ProfileSlice.values` says; None = the meter has no value."""
    status: int | None
    """The meter's status word of the interval, as it came; None where the profile has none."""
    doubtful: bool
    """The meter or its profile says that the row is not to be trusted: clock lost or doubtful, a status bit set, or
    two rows with one end."""


@dataclass(frozen=True, slots=True)
class ProfileSlice:
    """Some intervals out of a meter's own memory."""

    values: ProfileValues
    period_s: int
    """Length of every interval."""
    rows: tuple[ProfileRow, ...]
    """Rising by `end`, each end once; what the meter does not have is absent."""
    odd_rows: int
    """Rows left out because they end between two intervals, as power failures leave them."""
    resolution_wh: Mapping[Channel, int] = field(default_factory=dict)
    """The smallest step of each channel, meter-side Wh, rounded up; 1 where nothing is said. Values are cut to it."""


@runtime_checkable
class ProfileReader(Protocol):
    """Reads past intervals out of meters; a driver that has it implements it beside `MeterDriver`."""

    async def read_profile(self, target: MeterTarget, first: int, last: int) -> ProfileSlice:
        """The intervals that end from `first` to `last` (UTC seconds, both included), as far as the meter has them.

        Raises:
            ProtocolFault: as for `MeterDriver.read`; Blame.LOCAL and Hope.PERMANENT when the profile has no load
                profile or too much is asked for; Blame.REMOTE and Hope.PERMANENT when another serial number answers.
                Never a part: all that was asked for, or a fault.

        """
        ...


@dataclass(frozen=True, slots=True)
class ClockReading:
    """A meter's clock beside ours."""

    meter_time: int | None
    """What the meter shows, UTC seconds; None when it does not say which moment."""
    asked_at: int
    """When it was asked, UTC seconds of the utility's clock."""
    answered_at: int
    """When the answer was there: the meter's time belongs between the two."""
    doubtful: bool
    """The meter itself says that its clock is invalid or doubtful."""


@dataclass(frozen=True, slots=True)
class ClockPermit:
    """The token that lets one clock be moved; minted by the one write door after its intent is durable."""

    intent_id: str
    """The durable intent this write carries out."""
    shift_s_max: int
    """The largest step it allows, seconds either way."""


@runtime_checkable
class ClockKeeper(Protocol):
    """Reads and moves the clocks of meters."""

    async def read_clock(self, target: MeterTarget) -> ClockReading:
        """The meter's clock; nothing is written.

        Raises:
            ProtocolFault: as for `ProfileReader.read_profile`, when the profile has no clock.

        """
        ...

    async def set_clock(self, target: MeterTarget, shift_s: int, permit: ClockPermit) -> None:
        """Move the meter's clock by `shift_s` seconds, forward when positive. Read it back: nothing here does.

        Raises:
            ProtocolFault: as for `MeterDriver.control`; Blame.LOCAL when the step is larger than the permit's.

        """
        ...


class MeterEventKind(StrEnum):
    """What a meter's event log tells, in our words; each profile says which of its codes mean what."""

    POWER_DOWN = "power_down"
    POWER_UP = "power_up"
    CLOCK_OLD = "clock_old"
    """The clock was set; this is its time before."""
    CLOCK_NEW = "clock_new"
    """The clock was set; this is its time after."""
    TERMINAL_COVER_OPENED = "terminal_cover_opened"
    TERMINAL_COVER_CLOSED = "terminal_cover_closed"
    METER_COVER_OPENED = "meter_cover_opened"
    METER_COVER_CLOSED = "meter_cover_closed"
    MAGNETIC_FIELD_BEGAN = "magnetic_field_began"
    MAGNETIC_FIELD_ENDED = "magnetic_field_ended"
    FAILED_LOGIN = "failed_login"
    RELAY_OPENED = "relay_opened"
    RELAY_CLOSED = "relay_closed"
    RELAY_READY = "relay_ready"
    """The relay may be closed by the button."""
    LOG_CLEARED = "log_cleared"
    OTHER = "other"
    """A code that the profile does not know; the code itself is kept."""


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """One line of an event log."""

    log: str
    """Which log, by its name in the profile."""
    at: int
    """By the meter's clock, UTC seconds."""
    code: int
    """As the meter numbers it."""
    kind: MeterEventKind


@runtime_checkable
class EventReader(Protocol):
    """Reads event logs of meters, a little at a time."""

    async def read_events(self, target: MeterTarget, since: int) -> tuple[MeterEvent, ...]:
        """The events of all logs of the profile from `since` (UTC seconds, included) on, rising by time.

        Reading on from the last event's second gives that event again: the caller drops what it has, by log, time and
        code. Events without a time are left out.

        Raises:
            ProtocolFault: as for `ProfileReader.read_profile`, when the profile has no event log.

        """
        ...
