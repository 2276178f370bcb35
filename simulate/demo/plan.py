"""Where and when the demo's story plays: real districts, a mild working day, free ports. Floor: simulate; all walks.

Everything follows from the options and from which ports are free; nothing runs yet. The day is fixed, so that the story
never meets a weekend, a feast or frost: the 15th of April 2026 is a Wednesday. The prologue plays two days earlier, so
that its cut has left every brake's window when the story begins.
"""

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address

from gridmodel.fault import Fault
from gridmodel.period import day_bounds, zone
from hosting.territory import country
from simulate.grid import Grid, GridSpec, build_grid
from simulate.grid_registry import Listen

REGION = "1703"
ZONE = "Asia/Tashkent"
PROLOGUE_DAY = "2026-04-13"
STORY_DAY = "2026-04-15"
NEXT_DAY = "2026-04-16"
STORY_FROM = "10:00"
PLANTED_PCT = 4.0
METERS_PER_NODE_MIN = 30
"""The story's people must be households with a relay, and neighbours of others."""
METERS_PER_NODE_MAX = 20_000
"""Loopback addresses of one node's fleet; more are for the benchmarks."""
PORT_LOWEST, PORT_HIGHEST = 20_000, 32_767
"""Where ports are looked for when the wanted ones are taken: outgoing connections begin at 32768."""
DLMS_PROFILE = "dlms_hls_single"
"""What stands in the homes of every second office: GMAC, and every APDU ciphered."""
FLEET_NETWORK = 20
"""The meters of the first node stand at 127.20.0.1 and above, of the second at 127.21.0.1."""


class DemoFault(Fault):
    """A demo that cannot be told; codes TQ-SM-3n."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line says."""

    nodes: int = 2
    meters: int = 400
    """Usage points of all nodes together."""
    seed: int = 1
    speed: float = 600.0
    """Utility seconds in one wall second."""
    port: int = 8080
    """Of the hub; the offices' pages follow it."""
    for_s: float | None = None
    """Wall seconds from the story's start; None: until somebody stops it."""


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One office: its district, its network, its addresses."""

    id: str
    district: str
    """SOATO code."""
    name: str
    """In English, for the console."""
    grid: Grid
    fleet: Listen
    dlms: Listen | None
    """Where the homes' meters are when they speak DLMS: the same addresses, another port."""
    console_port: int
    line_port: int
    """Where the line to the hub begins."""

    @property
    def console(self) -> str:
        """Address of the office's pages."""
        return f"http://127.0.0.1:{self.console_port}"


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """The whole stage."""

    options: DemoOptions
    hub_port: int
    sync_port: int
    """Where offices speak, over TLS."""
    nodes: tuple[NodePlan, ...]
    """The first one's line is cut in the story."""

    @property
    def hub(self) -> str:
        """Address of the hub."""
        return f"http://127.0.0.1:{self.hub_port}"

    @property
    def story_from(self) -> int:
        """UTC seconds at which the story begins."""
        return moment(STORY_FROM)

    def node_of_meter(self, meter: str) -> NodePlan:
        """The office that reads a meter; KeyError for a stranger."""
        return {str(one): node for node in self.nodes for one in node.grid.meters}[meter]


def moment(clock: str, day: str = STORY_DAY) -> int:
    """UTC seconds of a local ``HH:MM``."""
    return int(datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=zone(ZONE)).timestamp())


def plan_demo(options: DemoOptions) -> DemoPlan:
    """Choose districts, grids and free ports. Raises DemoFault (TQ-SM-30…32)."""
    districts = country().region(REGION).districts
    if not 1 <= options.nodes <= len(districts):
        raise DemoFault("TQ-SM-30", f"{options.nodes} nodes", f"the region has districts for 1 to {len(districts)}")
    low, high = METERS_PER_NODE_MIN * options.nodes, METERS_PER_NODE_MAX * options.nodes
    if not low <= options.meters <= high:
        raise DemoFault("TQ-SM-30", f"{options.meters} meters at {options.nodes} nodes", f"ask for {low} to {high}")
    if not 1 <= options.speed <= 3_600:
        raise DemoFault("TQ-SM-30", f"speed {options.speed:g}", "1 is real time; 3600 an hour a second, the most")
    if options.for_s is not None and options.for_s <= 0:
        raise DemoFault("TQ-SM-30", f"--for {options.for_s:g}", "seconds above zero; the whole story needs 90")
    ports = _Ports(options.port)
    hub_port = ports.next_wanted()
    origin, _ = day_bounds(PROLOGUE_DAY, ZONE)
    nodes = []
    for number, district in enumerate(districts[: options.nodes]):
        name = node_name(district.names.en)
        points = options.meters // options.nodes + (number < options.meters % options.nodes)
        speaks_dlms = number % 2 == 1
        spec = GridSpec(
            node=name,
            zone=ZONE,
            districts=(district.soato,),
            points=points,
            seed=options.seed + 1_000 * number,
            origin=origin,
            planted_pct=PLANTED_PCT,
            home_profile=DLMS_PROFILE if speaks_dlms else None,
        )
        grid = build_grid(spec)
        host, count = f"127.{FLEET_NETWORK + number}.0.1", len(grid.meters)
        nodes.append(
            NodePlan(
                id=name,
                district=district.soato,
                name=district.names.en,
                grid=grid,
                fleet=ports.fleet(host, count),
                dlms=ports.fleet(host, count) if speaks_dlms else None,
                console_port=ports.next_wanted(),
                line_port=ports.any_free(),
            )
        )
    return DemoPlan(options, hub_port, ports.any_free(), tuple(nodes))


def node_name(district: str) -> str:
    """A node's id from its district's English name: ``Altinkul district`` -> ``altinkul``."""
    words = re.sub(r"[^a-z0-9]+", "-", district.lower().replace("district", "")).strip("-")
    return words or "node"


class _Ports:
    """Gives out ports that are free now, none of them twice."""

    def __init__(self, wanted: int) -> None:
        if not 1 <= wanted <= 65_535:
            raise DemoFault("TQ-SM-31", f"{wanted} is no port", "give --port a number from 1 to 65535")
        self._wanted = wanted
        self._low = PORT_LOWEST
        self._given: set[int] = set()

    def next_wanted(self) -> int:
        """The wanted port, then the ones above it; any other when that one is taken."""
        port, self._wanted = self._wanted, self._wanted + 1
        if port <= 65_535 and port not in self._given and _free("127.0.0.1", port):
            self._given.add(port)
            return port
        return self.any_free()

    def any_free(self) -> int:
        """A free port of the loopback, below those of outgoing connections."""
        return self._search(lambda port: _free("127.0.0.1", port))

    def fleet(self, host: str, count: int) -> Listen:
        """One port that is free at every address of a fleet."""
        addresses = [str(IPv4Address(host) + n) for n in range(count)]
        return Listen(host, self._search(lambda port: all(_free(one, port) for one in addresses)))

    def _search(self, fits: Callable[[int], bool]) -> int:
        for port in range(self._low, PORT_HIGHEST + 1):
            if port not in self._given and fits(port):
                self._given.add(port)
                self._low = port + 1
                return port
        raise DemoFault("TQ-SM-31", f"no free port up to {PORT_HIGHEST}", "stop what occupies the loopback")


def _free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: an old connection is no obstacle
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True
