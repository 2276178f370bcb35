"""`simulate meters`: a fleet in a process of its own until it is told to stop. Floor: simulate; reading and payment.

Either a plain fleet (so many meters of one profile, households from a seed) or the meters of a planned grid, from the
JSON file that the demo writes for its nodes' meters.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from gridmodel.clock import UtilityClock
from gridmodel.period import day_bounds, local_day
from hosting.clocks import SystemEntropy
from hosting.files import read_text
from hosting.process import FilesFault, make_room_for_files
from protocols.modbus.codec import Framing
from protocols.profile import load_profile, load_profiles
from simulate.concentrator import ConcentratorShape
from simulate.concentrator_fleet import ConcentratorFleet
from simulate.dlms_fleet import DlmsFleet, DlmsOptions
from simulate.dlms_keys import FleetSecrets, Security, read_secrets
from simulate.dlms_models import shape_named
from simulate.face import MeterFaces
from simulate.fleet_door import FleetDoor
from simulate.grid import GridSpec, build_grid
from simulate.grid_registry import METERS_PER_CONCENTRATOR_MAX, POINTS_MAX, GridFault, Listen, spec_from_document
from simulate.meters import Fleet
from simulate.mixed_fleet import DLMS, MODBUS, MixedFleet
from simulate.relay_memory import RelayMemory
from simulate.truth import DAY_S, HISTORY_DAYS_MAX, GridTruth

PLAIN_ZONE = "Asia/Tashkent"
PLAIN_DISTRICT = "1726264"
AnyFleet: TypeAlias = Fleet | DlmsFleet | MixedFleet
"""A `ConcentratorFleet` is a DlmsFleet."""
BEHIND_CONCENTRATOR = "plc_wrapper"
"""The model that readers are to name in their addresses."""
FILES_SPARE = 200
"""File descriptors beside those of meters: the process's own, and a little air."""
GRID_SIZE_BYTES_MAX = 1024 * 1024
"""Of a grid file, which holds some numbers and districts."""
PORT_MAX = 32_767
"""Above it outgoing connections take ports of their own."""


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """What to serve and where."""

    listen: Listen
    framing: Framing = Framing.TCP
    door: Path | None = None
    """Where the window for reports is; None without one."""
    memory: Path | None = None
    """Where relays keep their moves through a restart; None: they begin closed."""
    dlms: DlmsOptions | None = None
    """How the meters speak DLMS; None: they speak Modbus."""
    dlms_listen: Listen | None = None
    """Where the DLMS meters are in a grid whose other meters speak Modbus; None: all speak alike."""


def plain_spec(
    count: int, profile: str, seed: int, clock: UtilityClock, *, days: int = 0, dlms: bool = False
) -> GridSpec:
    """`count` households with meters of one model, their truth beginning `days` before this morning.

    Raises `ProfileFault`, GridFault, and FleetFault for a model that is not known.
    """
    if not 1 <= count <= POINTS_MAX or not 0 <= days <= HISTORY_DAYS_MAX:
        hint = f"ask for 1 to {POINTS_MAX} meters, with 0 to {HISTORY_DAYS_MAX} days"
        raise GridFault("TQ-SM-13", f"{count} meters with {days} days make no fleet", hint)
    if dlms:
        shape_named(profile)
    else:
        load_profile(profile)
    origin, _ = day_bounds(local_day(clock.now() - days * DAY_S, PLAIN_ZONE), PLAIN_ZONE)
    return GridSpec(
        node="sim",
        zone=PLAIN_ZONE,
        districts=(PLAIN_DISTRICT,),
        points=max(2, count),
        seed=seed,
        origin=origin,
        interval_minutes=15,
        planted_pct=0.0,
        company_pct=0.0,
        profile=profile,
    )


def asked_spec(
    grid: Path | None, count: int | None, model: str, seed: int, clock: UtilityClock, *, days: int, dlms: bool
) -> GridSpec:
    """The grid in a file, or a plain one. Raises GridFault TQ-SM-11, 13, and as `plain_spec`."""
    if grid is not None:
        return read_grid(grid)
    if count is None:
        raise GridFault("TQ-SM-13", "neither --count nor --grid was given", "say how many meters there are")
    return plain_spec(count, model, seed, clock, days=days, dlms=dlms)


def dlms_options(model: str, security: str, keys: Path | None, *, hdlc: bool, drift_ppm: float) -> DlmsOptions:
    """How DLMS meters are made, from what was typed. Raises FleetFault (the model), GridFault TQ-SM-16 (keys)."""
    secrets = FleetSecrets() if keys is None else read_secrets(keys)
    return DlmsOptions(shape_named(model), Security(security), secrets, hdlc, drift_ppm)


def read_grid(path: Path) -> GridSpec:
    """The grid in a file that `spec_to_document` wrote as JSON. Raises GridFault TQ-SM-11."""
    try:
        document = json.loads(read_text(path, GRID_SIZE_BYTES_MAX))
    except (OSError, ValueError, RecursionError) as error:
        raise GridFault("TQ-SM-11", f"the grid file {path} cannot be read: {error!s:.80}", "name another") from error
    return spec_from_document(document)


def parse_listen(text: str, units: int = 1, via: str | None = None) -> Listen:
    """``HOST:PORT`` with an IPv4 address to count from; `via` concentrators where given. Raises GridFault TQ-SM-10."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or len(port) > len(str(PORT_MAX)) or not 0 < int(port) <= PORT_MAX:
        raise GridFault(
            "TQ-SM-10", f"{text!r:.60} is no place to listen", f"write HOST:PORT, port below {PORT_MAX + 1}"
        )
    listen = Listen(host, int(port), units, via)
    listen.place(0)
    return listen


def asked_place(text: str, units: int | None, *, concentrators: bool, wrapper: bool) -> Listen:
    """Where a fleet listens: so many `units` behind an address, 1 unless said, behind concentrators 1,000.

    `wrapper`: the meters speak DLMS over it. Raises GridFault TQ-SM-10, and 13 for concentrators without it.
    """
    if not concentrators:
        return parse_listen(text, 1 if units is None else units)
    if not wrapper:
        hint = "add --protocol dlms, and leave --link as it is"
        raise GridFault("TQ-SM-13", "concentrators pass DLMS through by wrapper ports alone", hint)
    return parse_listen(text, METERS_PER_CONCENTRATOR_MAX if units is None else units, BEHIND_CONCENTRATOR)


async def serve_fleet(
    spec: GridSpec,
    options: FleetOptions,
    *,
    clock: UtilityClock,
    stop: asyncio.Event,
    ready: Callable[[AnyFleet], None],
    count: int | None = None,
) -> AnyFleet:
    """Serve the grid's meters (the first `count`, or all) until `stop`; `ready` is called once all of them listen.

    Gives the fleet for its counts. Raises GridFault TQ-SM-12 (too few file descriptors), 14 (an address is taken), 15
    (a memory of other meters), 17 (meters of another model than the DLMS one).
    """
    dlms, memory = options.dlms, RelayMemory(options.memory)
    displays = {} if dlms is None else {dlms.shape.name: dlms.shape}
    truth = GridTruth(build_grid(spec), load_profiles(), displays)
    memory.replay(truth)
    fleet = _fleet(truth, options, clock, memory, count)
    addresses = -(-fleet.count // options.listen.units)
    connections = fleet.count if options.listen.via is None else addresses * ConcentratorShape().connections_max
    _make_room(addresses + connections + FILES_SPARE)
    door = FleetDoor(fleet)
    try:
        try:
            await fleet.start()
            if options.door is not None:
                await door.start(options.door)
        except OSError as error:
            place = f"{options.listen.host}:{options.listen.port}"
            raise GridFault(
                "TQ-SM-14", f"meters cannot listen from {place} on: {error}", "choose other ones"
            ) from error
        ready(fleet)
        await stop.wait()
    finally:
        door.close()
        fleet.close()
        memory.close()
        await asyncio.sleep(0)
    return fleet


def _fleet(
    truth: GridTruth, options: FleetOptions, clock: UtilityClock, memory: RelayMemory, count: int | None
) -> AnyFleet:
    dlms, listen = options.dlms, options.listen
    if dlms is None:
        return Fleet(MeterFaces(truth), listen, clock, framing=options.framing, count=count, memory=memory)
    truth.advance(clock.now())
    if options.dlms_listen is None:
        make = DlmsFleet if listen.via is None else ConcentratorFleet
        return make(truth, listen, clock, dlms, entropy=SystemEntropy(), count=count, memory=memory)
    listens = {MODBUS: listen, DLMS: options.dlms_listen}
    return MixedFleet(
        MeterFaces(truth), listens, clock, dlms, entropy=SystemEntropy(), framing=options.framing, memory=memory
    )


def _make_room(files: int) -> None:
    """Raise this process's limit of open files: a listening socket for each address, and connections."""
    try:
        make_room_for_files(files)
    except FilesFault as fault:
        hint = "allow them, or serve fewer meters, or more of them behind one gateway"
        raise GridFault("TQ-SM-12", fault.what, hint) from fault
