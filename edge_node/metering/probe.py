"""Read one meter once and tell everything about it: the field engineer's first question. Room: metering.

On the reading walk, apart from the collector: nothing is stored. The result is the JSON object of `edge-node probe`,
the same for every protocol; a failed reading is a result as well, with its code, blame and hint.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gridmodel.clock import UtilityClock
from gridmodel.identity import MeterId
from gridmodel.quantity import WHOLE_WH
from gridmodel.reading import Channel, Mark, Quality
from protocols.driver import MeterDriver, MeterSnapshot, MeterTarget
from protocols.errors import ProtocolFault
from protocols.modbus.driver import parse_address

PROBED = MeterId("probe")
"""The name of a meter that nobody has registered."""
_SUFFIXES = {"_mv": "mV", "_ma": "mA", "_mhz": "mHz", "_w": "W"}
_REACTIVE = (Channel.REACTIVE_IMPORT, Channel.REACTIVE_EXPORT)

DriverMaker = Callable[[], MeterDriver]
"""Makes the driver of the profile's protocol; it may raise a `ProtocolFault` for a wrong profile."""
Facts = Callable[[], Mapping[str, Any]]
"""How the meter is reached: link, security, and who is asked; it may raise a `ProtocolFault` for a wrong address."""


async def probe(
    profile: str,
    address: str,
    unit: int,
    *,
    make_driver: DriverMaker,
    clock: UtilityClock,
    facts: Facts | None = None,
) -> dict[str, Any]:
    """Poll the meter at ``host:port`` (or ``rtu://host:port``) once. Without `facts` it speaks Modbus.

    Gives ok, profile, address, unit (of DLMS: client, server, physical), link (tcp, rtu, wrapper, hdlc), security
    (none, low, gmac), serial, meter_time, read_at, relay{state, load_w}, readings[{channel, register, value, unit,
    quality, raw_hex, resolution_wh, mark}], errors[{code, blame, hint, …}]; integers in Wh, W, mV, mA, mHz, null where
    there is no reading. `resolution_wh` is the smallest step of an energy register where it stands now (varh of a
    reactive one), null for everything else; its `mark` is ``coarse`` where one step hides watt-hours, else null.
    Never raises a `ProtocolFault`; the driver is closed before it returns.
    """
    result: dict[str, Any] = {
        "ok": False,
        "profile": profile,
        "address": address,
        "unit": unit,
        "link": None,
        "security": "none",
        "serial": None,
        "meter_time": None,
        "read_at": None,
        "relay": None,
        "readings": [],
        "errors": [],
    }
    try:
        result |= {"link": parse_address(address)[2].value} if facts is None else facts()
        driver = make_driver()
        try:
            snapshot = await driver.read(MeterTarget(PROBED, "", profile, address, unit))
        finally:
            await driver.close()
    except ProtocolFault as fault:
        result["errors"].append(fault.as_dict())
        return result
    return result | {
        "ok": True,
        "serial": snapshot.serial,
        "meter_time": snapshot.meter_time,
        "read_at": clock.now(),
        "relay": _relay(snapshot),
        "readings": _readings(snapshot),
    }


def _relay(snapshot: MeterSnapshot) -> dict[str, Any] | None:
    relay = snapshot.relay
    return None if relay is None else {"state": relay.state.value, "load_w": relay.load_w}


def _readings(snapshot: MeterSnapshot) -> list[dict[str, Any]]:
    """Energy registers first, then what the meter measures at this moment."""
    values = [
        (channel.name.lower(), value, "varh" if channel in _REACTIVE else "Wh", _step_wh(snapshot, channel, value))
        for channel, value in snapshot.registers.items()
    ]
    values += [(name, value, _unit(name), None) for name, value in snapshot.measurements.items()]
    return [
        {
            "channel": name,
            "register": snapshot.places.get(name),
            "value": value,
            "unit": unit,
            "quality": (Quality.MISSING if value is None else Quality.ACTUAL).name.lower(),
            "raw_hex": snapshot.raw.get(name),
            "resolution_wh": step_wh,
            "mark": Mark.COARSE.value if step_wh is not None and step_wh > 1 else None,
        }
        for name, value, unit, step_wh in values
    ]


def _step_wh(snapshot: MeterSnapshot, channel: Channel, value: int | None) -> int | None:
    return None if value is None else snapshot.resolutions.get(channel, WHOLE_WH).at(value)


def _unit(name: str) -> str:
    return next((unit for suffix, unit in _SUFFIXES.items() if name.endswith(suffix)), "")
