"""One simulated node with everything around it: grid, meters, line, wall clock, keys, configuration. Floor: simulate.

What outlives a process is here (the folder with its databases, the meters, the relays as they stand); what dies with
it is made anew by `build`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Literal

from edge_node.config import (
    ApproverConfig,
    HubConfig,
    KeysConfig,
    NodeConfig,
    PersonConfig,
    PersonRole,
    PollingConfig,
    SupplyConfig,
)
from edge_node.config import load_rules as rules_in
from edge_node.node import Node
from edge_node.node import build as build_node
from edge_node.store.opening import EdgeStore
from gridmodel.policy_rules import PolicyRules
from gridmodel.registry import Registry
from hosting.compute import InlineCompute
from hosting.territory import country
from protocols.authority.canonical import Domain
from protocols.authority.signatures import Signer, key_to_text
from protocols.dlms.driver import DlmsDriver
from protocols.driver import MeterDriver
from protocols.modbus.driver import ModbusDriver
from protocols.profile import MeterProfile, load_profiles
from simulate.byte_meters import ByteMeters, RehearsedKeys, displays_of
from simulate.clock import NodeWall, SeededEntropy, WallSpan, io_clock, node_clock, stream
from simulate.courier import node_keys
from simulate.disk import SimDisk
from simulate.driver import MeterFaults, SimDriver
from simulate.face import MeterFaces
from simulate.grid import RELAY_PROFILE, GridSpec, build_grid
from simulate.grid_registry import Listen, registry_of
from simulate.loop import VirtualLoop
from simulate.meter_watch import ToldTruth, WatchedDriver, Way
from simulate.network import LineState, SimLink
from simulate.people import APP, BILLING, cashier_of
from simulate.scenario import Depth, Scenario
from simulate.wires import Wires

ZONE: Literal["Asia/Samarkand"] = "Asia/Samarkand"
INTERVAL_MINUTES = 15
FIRST_NODE_DISTRICTS = 2
"""The first node serves two districts, so that levels above a node's districts are tried, too."""
PULL_PERIOD_S = 900
"""As on a slow line: a payment made elsewhere may be that old at a node whose line is up."""
STATUS_PERIOD_S = 21_600
UNITS_PER_GATEWAY = 10
"""Meters behind one address, read one after the other."""
CONCENTRATORS = (10, "plc_wrapper")
"""Meters behind one, and its model in configs/concentrators."""
COMMAND_S_MAX, ASSOCIATED_S_MAX, BEHIND_S_MAX = 15, 40, 75
"""How long a command to open may be on its way; over DLMS after an association, a serial number and a control mode (six
exchanges, each below the driver's patience); behind a concentrator also in its queue, when its sender gave up."""
BYTES_EVERY = 16
"""At the driver's port one read in so many goes through the meter's bytes, to be compared with the others."""
DLMS_PROFILE = "dlms_hls_single"
"""What consumers' meters are where they speak DLMS; with a load profile of the grid's interval."""
Watch = Callable[[MeterDriver, Way], WatchedDriver]
"""How the world keeps an eye on a driver."""
DriversOver = Callable[[EdgeStore], Mapping[str, MeterDriver]]
SPREAD_S = 0
"""Reads of a small node within some seconds: every second in which one begins costs the rehearsal a turn."""
POLICY = "demo.toml"
SECRET = "$argon2id$v=19$m=8,t=1,p=1$c2ltdWxhdGVk$c2ltdWxhdGVkc2ltdWxhdGVkc2ltdWxhdGVk"  # noqa: S105
"""Nobody logs in here by a secret: the desk is called as a page's session calls it."""


@dataclass(frozen=True, slots=True)
class World:
    """What all sites share."""

    seed: int
    loop: VirtualLoop
    start: int
    """UTC seconds when the loop shows zero."""
    folder: Path
    scenario: Scenario
    wires: Wires


def signer_of(seed: int, name: str) -> Signer:
    """The key of a party of the rehearsal, in the demo's domain."""
    return Signer.from_seed(sha256(f"{seed}/key/{name}".encode()).digest(), Domain.DEMO)


def approvers_of(seed: int) -> tuple[Signer, Signer]:
    """The two persons who sign mandates."""
    return signer_of(seed, "approver-1"), signer_of(seed, "approver-2")


def rules_of(scenario: Scenario) -> PolicyRules:
    """The demo's policy with the scenario's brakes."""
    rules = rules_in(policy_path())
    return dataclasses.replace(rules, version=f"rehearsal-{scenario.name}", **scenario.brakes)


def policy_path() -> Path:
    """The demo's policy in the source tree or the wheel."""
    return Path(__file__).resolve().parent.parent / "configs" / "policy" / POLICY


def districts_of(number: int) -> tuple[str, ...]:
    """Districts of the node with that number, from 0; no two nodes share one."""
    known = sorted(one.soato for region in country().regions for one in region.districts)
    if number == 0:
        return tuple(known[:FIRST_NODE_DISTRICTS])
    return (known[(FIRST_NODE_DISTRICTS + (number - 1) * 17) % len(known)],)


class Site:
    """See the module."""

    def __init__(self, world: World, number: int, meters: int) -> None:
        self.node = f"n{number + 1}"
        self._world = world
        self.depth = world.scenario.meters[number % len(world.scenario.meters)]
        self.profiles = _profiles()
        spec = GridSpec(
            node=self.node,
            zone=ZONE,
            districts=districts_of(number),
            points=meters,
            seed=world.seed * 1_000 + number,
            origin=world.start,
            interval_minutes=INTERVAL_MINUTES,
            home_profile=DLMS_PROFILE if self.depth in {Depth.DLMS, Depth.CONCENTRATOR} else None,
        )
        self.truth = ToldTruth(build_grid(spec), self.profiles, displays_of([DLMS_PROFILE], self.profiles))
        self.faces = MeterFaces(self.truth)
        self.grid = self.truth.grid
        listens = {
            "modbus": Listen(f"127.{number + 1}.0.1", 502, UNITS_PER_GATEWAY),
            "dlms": Listen(f"127.{number + 1}.128.1", 4059, *CONCENTRATORS)
            if self.depth is Depth.CONCENTRATOR
            else Listen(f"127.{number + 1}.128.1", 4059),
        }
        self.registry: Registry = registry_of(self.grid, listens["modbus"], elsewhere={DLMS_PROFILE: listens["dlms"]})
        self.folder = world.folder / self.node
        self.folder.mkdir(mode=0o700)
        self.wall = NodeWall(world.loop, may_lie=world.scenario.clocks_lie)
        self.wall_wrong: list[WallSpan] = []
        """When and by how much the wall was wrong; one after the other."""
        self.boots = 1
        """How often its machine was started."""
        self.line = LineState()
        self.meters = MeterFaults(latency_s=world.scenario.meter_latency_s)
        self.command_s_max = {Depth.CONCENTRATOR: BEHIND_S_MAX, Depth.DLMS: ASSOCIATED_S_MAX}.get(
            self.depth, COMMAND_S_MAX
        )
        self.hung: set[str] = set()
        """Meters whose driver calls never return."""
        self.out_of_reach: set[str] = set()
        """Meters behind a gateway that is too slow, or with another one in their place."""
        self.well_since: dict[str, float] = {}
        """Virtual second since when a meter that was ill answers again; meters that never were are not in it."""
        self.bytes: ByteMeters | None = None if self.depth is Depth.PORT else self._on_wires(listens)
        """The meters at their wires; None at the driver's port."""
        self.signer = signer_of(world.seed, self.node)
        self.rules = rules_of(world.scenario)
        self.config = self._config(approvers_of(world.seed))

    @property
    def boot(self) -> str:
        """Which start of its machine this is."""
        return f"{self.node}/{self.boots}"

    def ill(self) -> frozenset[str]:
        """Meters that do not answer now."""
        named = self.meters.silent | self.hung | self.out_of_reach
        return named | {str(self.truth.meter_at(self.truth.index(meter))) for meter in named}

    def fall_silent(self, meters: frozenset[str]) -> None:
        """They do not answer from now on."""
        self.meters.silent |= meters
        if self.bytes is not None:
            self.bytes.fall_silent(meters)

    def answer_again(self, meters: frozenset[str]) -> None:
        """They are well again."""
        self.meters.silent -= meters
        if self.bytes is not None:
            self.bytes.answer_again(meters)

    def died(self) -> None:
        """The node's process is gone, and its connections with it."""
        self._world.wires.cut(self.node)

    def _on_wires(self, listens: Mapping[str, Listen]) -> ByteMeters:
        world = self._world
        return ByteMeters(
            self.node,
            self.faces,
            listens=listens,
            model=self.profiles[DLMS_PROFILE],
            wires=world.wires,
            clock=node_clock(world.loop, NodeWall(world.loop, may_lie=False), world.start),
            state=self.meters,
            entropy=SeededEntropy(world.seed, f"fleet/{self.node}"),
            rng=stream(world.seed, f"wires/{self.node}"),
        )

    def _drivers(self, incarnation: int, watch: Watch) -> tuple[Mapping[str, MeterDriver], DriversOver | None]:
        """The drivers of one incarnation, and those that need its store."""
        world = self._world
        name, io = f"meters/{self.node}/{incarnation}", io_clock(world.loop)
        rng = stream(world.seed, name)
        if self.bytes is None:
            clock = node_clock(world.loop, NodeWall(world.loop, may_lie=False), world.start)
            driver = SimDriver(
                [self.faces], clock=clock, io_clock=io, rng=rng, faults=self.meters, bytes_every=BYTES_EVERY
            )
            return {"modbus": watch(driver, driver)}, None
        way, clock = self.bytes, node_clock(world.loop, self.wall, world.start, self.boot)
        modbus = watch(ModbusDriver(self.profiles, clock=clock, io_clock=io, rng=rng), way)
        if self.depth is Depth.MODBUS:
            return {"modbus": modbus}, None
        make = partial(
            DlmsDriver,
            self.profiles,
            keys=RehearsedKeys(self.node.encode().rjust(8, b"-")),
            entropy=SeededEntropy(world.seed, name),
            clock=clock,
            io_clock=io,
            rng=rng,
        )
        return {"modbus": modbus}, lambda store: {"dlms": watch(make(counters=store.meter_counters), way)}

    def _config(self, approvers: tuple[Signer, Signer]) -> NodeConfig:
        people = [
            PersonConfig(id=cashier_of(self.node), name="Cashier", secret=SECRET, roles=(PersonRole.CASHIER,)),
            PersonConfig(id=f"chief-{self.node}", name="Chief", secret=SECRET, roles=(PersonRole.CHIEF,)),
        ]
        return NodeConfig(
            node=self.node,
            data_dir=self.folder,
            zone=ZONE,
            demo=True,
            hub=HubConfig(url="http://127.0.0.1:1", pull_period_s=PULL_PERIOD_S, status_period_s=STATUS_PERIOD_S),
            keys=KeysConfig(signing=self.folder / "node.key", row=self.folder / "row.key"),
            polling=PollingConfig(spread_s=SPREAD_S),
            supply=SupplyConfig(remote_cut_profiles=(RELAY_PROFILE, DLMS_PROFILE), payment_channels=(APP, BILLING)),
            people=tuple(people),
            approvers=tuple(
                ApproverConfig(name=f"approver-{n}", public=key_to_text(one.public))
                for n, one in enumerate(approvers, start=1)
            ),
        )

    async def build(self, disk: SimDisk, incarnation: int, watch: Watch, link: SimLink) -> Node:
        """The product's node over this site, as `edge_node.serving` builds it."""
        world, name = self._world, f"{self.node}/{incarnation}"
        drivers, drivers_over = self._drivers(incarnation, watch)
        clock = node_clock(world.loop, self.wall, world.start, self.boot)
        return await build_node(
            self.config,
            clock=clock,
            io_clock=io_clock(world.loop),
            rng=stream(world.seed, f"node/{name}"),
            entropy=SeededEntropy(world.seed, f"node/{name}"),
            open_database=disk,
            drivers=drivers,
            drivers_over=drivers_over,
            link=link,
            compute=InlineCompute(),
            signer=self.signer,
            keyring=self.config.keyring(),
            rules=self.rules,
            row_key=sha256(f"{world.seed}/row/{self.node}".encode()).digest(),
            profiles=self.profiles,
            told_clock=clock,
            bundle_keys=node_keys(world.seed, self.node),
        )


def _profiles() -> Mapping[str, MeterProfile]:
    """The shipped ones; the load profile of DLMS meters has the interval that nodes keep."""
    known = dict(load_profiles())
    dlms = known[DLMS_PROFILE]
    load = {**dlms.section["load_profile"], "period_s": INTERVAL_MINUTES * 60}
    known[DLMS_PROFILE] = dataclasses.replace(dlms, section={**dlms.section, "load_profile": load})
    return known
