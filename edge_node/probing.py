"""Which driver a probe needs, and what it is told on the command line. Above the rooms; on the reading walk.

`edge-node probe` reads one meter that nobody need have registered. The profile says which protocol; for DLMS the
command line may say link, client, server and security otherwise than the profile, and where the secrets are.
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from edge_node.meter_keys import FileKeys, load_meter_keys
from edge_node.metering.probe import PROBED, probe
from edge_node.probe_counters import FileCounters
from gridmodel.clock import Entropy
from hosting.clocks import ScaledClock, SystemIoClock, seeded_rng
from protocols.dlms.counters import CounterStore
from protocols.dlms.driver import DlmsDriver
from protocols.dlms.place import LinkKind, parse_address
from protocols.dlms.section import dlms_plan
from protocols.driver import MeterDriver, MeterTarget
from protocols.modbus.driver import ModbusDriver
from protocols.profile import MeterProfile, ProfileFault, load_profile


class Security(StrEnum):
    """How a probe associates, in the words of the command line."""

    NONE = "none"
    LOW = "low"
    GMAC = "gmac"


_MODES = {Security.NONE: "none", Security.LOW: "lls", Security.GMAC: "hls_gmac"}
_WORDS = {mode: word.value for word, mode in _MODES.items()}
"""The words of profiles, and of the command line."""


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """What the command line may say of a DLMS meter; None: the profile decides."""

    link: LinkKind | None = None
    client: int | None = None
    """The client's SAP."""
    server: int | None = None
    """Logical device."""
    physical: int | None = None
    """Physical device of an HDLC line."""
    security: Security | None = None
    keys: Path | None = None
    """File with the meter's secrets."""
    meter: str | None = None
    """Whose secrets in that file; None: those at its top."""
    demo: bool = False
    """Whether keys that everybody knows may be used."""


class NoCounters:
    """Where nothing is ciphered no number is needed; an implementation of `CounterStore`."""

    async def mark(self, key: str) -> int:  # noqa: ARG002
        """One, never used."""
        return 1

    async def move(self, key: str, mark: int) -> None:
        """Nothing to keep."""


async def probe_meter(
    profile: str, address: str, unit: int, options: ProbeOptions, *, clock: ScaledClock, entropy: Entropy
) -> dict[str, Any]:
    """Read one meter once; see metering.probe."""
    try:
        model = load_profile(profile)
    except ProfileFault as fault:
        return await probe(profile, address, unit, make_driver=partial(_raise, fault), clock=clock, facts=dict)
    if model.protocol != "dlms":

        def make_modbus() -> MeterDriver:
            return ModbusDriver({profile: model}, clock=clock, io_clock=SystemIoClock(), rng=seeded_rng())

        return await probe(profile, address, unit, make_driver=make_modbus, clock=clock)
    model = _secured(model, options.security)
    told = _told(address, options)
    with ExitStack() as held:

        def make_dlms() -> MeterDriver:
            keys, counters = _keys(options, entropy, held)
            return DlmsDriver(
                {profile: model},
                keys=keys,
                counters=counters,
                entropy=entropy,
                clock=clock,
                io_clock=SystemIoClock(),
                rng=seeded_rng(),
            )

        result = await probe(
            profile, told, unit, make_driver=make_dlms, clock=clock, facts=lambda: _facts(model, told, unit)
        )
    if "client" in result:
        del result["unit"]
    return result | {"address": address}


def _secured(model: MeterProfile, security: Security | None) -> MeterProfile:
    """The profile with the security of the command line. Ciphering stays as the profile has it, else it is ``glo``."""
    if security is None:
        return model
    table = dict(model.section.get("security", {}))
    table["mode"] = _MODES[security]
    if security is not Security.GMAC:
        table["protection"] = "none"
    elif model.section.get("security", {}).get("mode") != "hls_gmac":
        table["protection"] = "glo"
    return replace(model, section={**model.section, "security": table})


def _told(address: str, options: ProbeOptions) -> str:
    """The address with what the command line says; what the address itself says goes before the profile as well."""
    link = "" if options.link is None or "://" in address else f"{options.link.value}://"
    numbers = {"client": options.client, "server": options.server, "physical": options.physical}
    query = urlencode({name: number for name, number in numbers.items() if number is not None})
    return f"{link}{address}" + (f"{'&' if '?' in address else '?'}{query}" if query else "")


def _facts(model: MeterProfile, address: str, unit: int) -> dict[str, Any]:
    plan = dlms_plan(model)
    parse_address(address)
    place = plan.place(MeterTarget(PROBED, "", model.name, address, unit))
    return {
        "link": place.link.value,
        "security": _WORDS[plan.table.security.mode],
        "client": place.client,
        "server": place.server,
        "physical": place.physical,
    }


def _keys(options: ProbeOptions, entropy: Entropy, held: ExitStack) -> tuple[FileKeys, CounterStore]:
    """Secrets and counters; a probe has a system title of its own. Raises MeterKeyFault."""
    keys = load_meter_keys(options.keys, node=PROBED, demo=options.demo)
    if options.keys is None:
        return keys, NoCounters()
    counters = FileCounters(options.keys, entropy)
    held.callback(counters.close)
    title = keys.probe_title or counters.title
    return keys.only(options.meter, title) if options.meter else replace(keys, title=title), counters


def _raise(fault: ProfileFault) -> MeterDriver:
    raise fault
