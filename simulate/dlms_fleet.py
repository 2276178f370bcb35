"""A fleet of DLMS meters on real sockets, thousands in one process, over the wrapper or HDLC. Floor: simulate; reading.

The meter's side is the product's own (`protocols/dlms/meter_side`), the truth the one that Modbus fleets serve. A meter
with an address of its own answers as logical device 1 behind the wrapper, and to any physical address behind HDLC; one
of several behind an address as the logical device, or physical device, of its unit.

Measured beside other work on two cores, 3,000 meters with two days behind them: listening after 1.5 to 3 s with 106 MB
(35 KB a meter with the process's own); 38 KB more for each meter that somebody has read; a session (connect, GMAC and
AES-GCM, four registers, 24 rows by range) costs 1.5 ms of CPU, 2.2 ms the first time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gridmodel.clock import Entropy, UtilityClock
from protocols.dlms.cosem import ControlState
from protocols.dlms.faults import DlmsFault
from protocols.dlms.hdlc.frames import Address, FrameSplitter
from protocols.dlms.hdlc.parameters import LinkParameters
from protocols.dlms.meter_side.association import LogicalDevice
from protocols.dlms.meter_side.server import HdlcMeter, WrapperMeter
from protocols.dlms.security import SEALED, SecurityKeys
from protocols.dlms.wrapper import WrapperSplitter
from simulate.dlms_keys import FleetSecrets, Security
from simulate.dlms_meter import DlmsMeter, MeterSite
from simulate.dlms_shapes import MeterShape
from simulate.fleet import FleetFault, MeterFleet, MeterPort
from simulate.grid_registry import GridFault, Listen
from simulate.relay_memory import RelayMemory
from simulate.truth import GridTruth

HDLC_ABLE = LinkParameters(512, 512, 4, 4)
"""What a simulated meter can do at most; a client that asks for less gets it."""
ANY_PHYSICAL = (0, 1, 16, 17, 0x7E, 0x7F, 0x3FFE, 0x3FFF)
"""Physical addresses of a meter that is alone on its line: none told, the usual ones, calling, everybody."""
OTHER_KEYS = SecurityKeys(bytes(range(0xA0, 0xB0)), bytes(range(0xB0, 0xC0)))
"""What a meter has whose keys nobody knows."""
CLOCK_ERROR_S_MAX = 10 * 366 * 86_400


@dataclass(frozen=True, slots=True)
class DlmsOptions:
    """How a fleet's meters are made and reached."""

    shape: MeterShape
    security: Security = Security.GMAC
    secrets: FleetSecrets = FleetSecrets()  # noqa: RUF009 — it is frozen
    hdlc: bool = False
    """HDLC over TCP instead of the wrapper."""
    drift_ppm: float = 0.0
    """See `simulate.dlms_meter.MeterSite.drift_of`."""
    offset_min: int = 300
    """Local time minus UTC."""


class DlmsFleet(MeterFleet):
    """The DLMS meters of one grid, reachable."""

    def __init__(
        self,
        truth: GridTruth,
        listen: Listen,
        clock: UtilityClock,
        options: DlmsOptions,
        *,
        entropy: Entropy,
        count: int | None = None,
        memory: RelayMemory | None = None,
    ) -> None:
        """As `MeterFleet`. Raises GridFault TQ-SM-17 when a meter to be served is of another model."""
        super().__init__(truth, listen, clock, count=count, memory=memory)
        self.options = options
        self._meters: dict[int, DlmsMeter] = {}
        self._site = MeterSite(
            truth,
            options.shape,
            options.security,
            options.secrets,
            entropy,
            options.offset_min,
            options.drift_ppm,
            lambda index, closed, now: self.contact(index, closed=closed, now=now),
        )
        strange = {truth.grid.profile_of(index) for index in range(self.count)} - {options.shape.name}
        if strange:
            raise GridFault(
                "TQ-SM-17", f"meters of the model {min(strange):.40} are not {options.shape.name}", "serve them apart"
            )

    def meter(self, index: int) -> DlmsMeter:
        """The meter with that index; made when it is first asked for."""
        found = self._meters.get(index)
        if found is None:
            found = self._meters[index] = DlmsMeter(self._site, index)
        return found

    def renewed(self, index: int) -> None:
        """See `MeterFleet.renewed`."""
        self._meters.pop(index, None)

    def port(self, units: dict[int, int]) -> MeterPort:
        """See `MeterFleet.port`."""
        return DlmsPort(self, units)

    def meddle(self, index: int, what: str, given: dict[str, Any]) -> dict[str, Any]:
        """By hand: keys, tamper, press, clock, and meter to look at it.

        Raises FleetFault TQ-SM-23 for what is none of these, or an argument that makes no sense.
        """
        meter, now = self.meter(index), self.clock.now()
        match what:
            case "keys":
                keys = OTHER_KEYS if given.get("wrong", True) else self.options.secrets.keys
                meter.device.use_keys(keys, SEALED)
            case "tamper":
                meter.tamper(_whole(given, "code", 1, 255), now)
                self._tell(index)
            case "press":
                if meter.relay is not None:
                    meter.relay.press_button()
                    meter.settle(now)
            case "clock":
                error_s = _whole(given, "error_s", -CLOCK_ERROR_S_MAX, CLOCK_ERROR_S_MAX)
                meter.clock.be_wrong(now, error_s, float(_whole(given, "drift_ppm", -100_000, 100_000, 0)))
            case "meter":
                pass
            case _:
                return super().meddle(index, what, given)
        state = ControlState.CONNECTED if meter.relay is None else meter.relay.state
        return {
            "meter": self.grid_truth.grid.meters[index],
            "control_state": state.name.lower(),
            "clock_error_s": meter.clock.shown(now) - now,
            "events": [{"at": at, "code": code} for at, code in meter.events],
        }

    def _tell(self, index: int) -> None:
        """What a meter wants to say by itself goes to whoever is associated."""
        for port in self.ports_of(index):
            if isinstance(port, DlmsPort):
                port.tell(index)


class DlmsPort(MeterPort):
    """One accepted connection to one address of the fleet."""

    def __init__(self, fleet: DlmsFleet, units: dict[int, int]) -> None:
        super().__init__(fleet, units)
        self._fleet = fleet
        alone = len(units) == 1
        make = _hdlc if fleet.options.hdlc else _wrapper
        self._servers = {
            unit: make(fleet.meter(index).device, 1 if alone else unit, alone) for unit, index in units.items()
        }
        self._split: Callable[[bytes], list[tuple[int, bytes]]] | None = None
        if not alone:
            self._split = _HdlcTurns().feed if fleet.options.hdlc else _WrapperTurns().feed

    def data_received(self, data: bytes) -> None:
        """See `MeterPort.data_received`."""
        try:
            if self._split is None:
                (unit,) = self.units
                self._serve(unit, data)
            else:
                for unit, frame in self._split(data):
                    self._serve(unit, frame)
        except DlmsFault:
            self.drop()

    def tell(self, index: int) -> None:
        """Notifications of one meter, where the link lets it speak by itself."""
        for unit, at in self.units.items():
            server = self._servers[unit]
            if at == index and isinstance(server, WrapperMeter) and (out := server.notices()):
                self.write(out)

    def _serve(self, unit: int, data: bytes) -> None:
        index = self.units.get(unit)
        if index is None or index in self._fleet.silent:
            return
        now = self._fleet.clock.now()
        self._fleet.grid_truth.advance(now)
        answer = self._servers[unit].receive(data, now)
        self._fleet.meter(index).settle(now)
        if answer:
            self.reply(index, answer)


class _WrapperTurns:
    """Whose turn it is on a connection that several meters share: by logical device."""

    def __init__(self) -> None:
        self._splitter = WrapperSplitter()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        return [(frame.destination, frame.encode()) for frame in self._splitter.feed(data)]


class _HdlcTurns:
    """The same by physical device."""

    def __init__(self) -> None:
        self._splitter = FrameSplitter()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        return [(frame.destination.lower, frame.encode()) for frame in self._splitter.feed_line(data)]


def _wrapper(device: LogicalDevice, unit: int, alone: bool) -> WrapperMeter | HdlcMeter:
    del alone
    return WrapperMeter({unit: device})


def _hdlc(device: LogicalDevice, unit: int, alone: bool) -> WrapperMeter | HdlcMeter:
    places = ANY_PHYSICAL if alone else (unit,)
    return HdlcMeter({Address(1, place, 4): device for place in places}, HDLC_ABLE)


def _whole(given: Mapping[str, Any], name: str, least: int, most: int, usual: int | None = None) -> int:
    value = given.get(name, usual)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise FleetFault("TQ-SM-23", f"{name} is {value!r:.40}", f"give a whole number from {least} to {most}")
    return value
