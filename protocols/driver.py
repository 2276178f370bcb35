"""The port behind which every meter stands, whatever it speaks. Floor: protocols; walks: reading, payment.

`edge_node` knows meters through this page alone: the Modbus driver and the simulator's in-memory driver implement it,
and `tests/contracts/test_meter_driver_contract.py` holds all of them to the promises written here. Reading a profile of
past intervals, setting a clock and reading event logs join the port together with the first protocol that has them
(DLMS/COSEM); Modbus meters have none of the three, so the port does not pretend.

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
from typing import Protocol

from gridmodel.identity import MeterId
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
    """Unit behind the gateway, 1-247; a meter with its own address uses 1."""


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
