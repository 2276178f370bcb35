"""Offices for tests of the whole node: configuration, keys and a registry in a folder, a fleet of meters beside it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from argon2 import PasswordHasher

from edge_node.config import NodeConfig
from edge_node.node import Node, build
from edge_node.policy_file import load_policy
from edge_node.serving import load_signer, row_key
from edge_node.store.opening import StoreKeys, open_store
from edge_node.store.state import Mark
from gridmodel.registry import Registry
from gridmodel.registry_document import registry_to_document
from hosting.clocks import (
    ScaledClock,
    SystemEntropy,
    SystemIoClock,
    clock_from_environment,
    clock_to_environment,
    seeded_rng,
)
from hosting.compute import InlineCompute
from hosting.config import load_toml
from hosting.database import open_database
from hosting.keys import KeyDomain, create_signing_key
from protocols.authority.canonical import Domain
from protocols.authority.signatures import Signer
from protocols.modbus.driver import ModbusDriver
from protocols.profile import load_profiles
from protocols.sync.link import Link, LinkLost
from simulate.grid_registry import registry_of
from simulate.meters import Fleet
from tests.simulate.rigs import ORIGIN, ZONE, faces_of, free_listen, spec

BORN = ORIGIN + 10 * 3600
"""Utility time at which the story begins: ten in the morning."""
SPEED = 60.0
"""A minute of the utility's in a second: a round of readings is booked within one."""
CASHIER_SECRET, CHIEF_SECRET, FITTER_SECRET = "kassa-1", "rais-1", "usta-1"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
TEXT = """
node = "{node}"
data_dir = "data"
zone = "{zone}"
demo = true
[hub]
url = "{hub}"
[console]
listen = "127.0.0.1:0"
[polling]
spread_s = 0
[keys]
signing = "node.key"
row = "row.key"
[[people]]
id = "p-cashier"
name = "Cashier"
secret = "{cashier}"
roles = ["cashier"]
[[people]]
id = "p-chief"
name = "Chief"
secret = "{chief}"
roles = ["chief"]
[[people]]
id = "p-fitter"
name = "Fitter"
secret = "{fitter}"
roles = ["fitter"]
"""


class NoLink:
    """A line that is cut."""

    async def exchange(self, kind: str, body: bytes) -> bytes:
        raise LinkLost(50, f"the line is cut: no {kind} of {len(body)} bytes", "wait")

    async def close(self) -> None:
        return


@dataclass(frozen=True)
class Office:
    """A folder with everything a node needs."""

    folder: Path
    config: NodeConfig
    registry: Registry
    fleet: Fleet
    clock: ScaledClock
    environ: dict[str, str]

    @property
    def path(self) -> Path:
        return self.folder / "node.toml"

    def secret_file(self, secret: str) -> Path:
        path = self.folder / f"{secret}.txt"
        path.write_text(secret + "\n", "utf-8")
        path.chmod(0o600)
        return path


async def office(
    folder: Path, points: int = 10, *, born: int = BORN, speed: float = SPEED, registered: bool = True
) -> Office:
    """An office whose registry is in its store (if it is `registered`); the fleet is made, not started."""
    wall, hub = ScaledClock().now(), "http://127.0.0.1:9"
    environ = clock_to_environment(born, wall, speed)
    clock = clock_from_environment(environ)
    given = spec(points)
    people = {"cashier": CASHIER_SECRET, "chief": CHIEF_SECRET, "fitter": FITTER_SECRET}
    hashes = {role: CHEAP.hash(secret) for role, secret in people.items()}
    path = folder / "node.toml"
    path.write_text(TEXT.format(node=given.node, zone=ZONE, hub=hub, **hashes), "utf-8")
    config = load_toml(path, NodeConfig, {})
    config.data_dir.mkdir(mode=0o700)
    create_signing_key(config.keys.signing, SystemEntropy(), KeyDomain.DEMO)
    faces = faces_of(given)
    listen = free_listen()
    registry = registry_of(faces.truth.grid, listen)
    keys = StoreKeys(row_key(config, SystemEntropy()), load_signer(config), config.keyring())
    store = await open_store(
        config.data_dir,
        open_database,
        node=config.node_id,
        zone=config.zone,
        keys=keys,
        compute=InlineCompute(),
        entropy=SystemEntropy(),
        now=born,
    )
    if registered:
        await store.registries.put(registry_to_document(registry), born)
        await store.state.put(Mark.CLOCK_FLOOR, str(born))  # the hub that sent it confirmed the clock
        moment = clock.moment()
        anchor = {"boot": moment.boot, "steady_s": moment.steady_s, "at": clock.now()}
        await store.state.put(Mark.CLOCK_ANCHOR, json.dumps(anchor))
    await store.close()
    return Office(folder, config, registry, Fleet(faces, listen, clock), clock, environ)


@asynccontextmanager
async def built(given: Office, link: Link | None = None) -> AsyncIterator[Node]:
    """The office's node, built as a process builds it; nothing runs yet."""
    profiles, rng = load_profiles(), seeded_rng(1)
    node = await build(
        given.config,
        clock=given.clock,
        io_clock=SystemIoClock(),
        rng=rng,
        entropy=SystemEntropy(),
        open_database=open_database,
        drivers={"modbus": ModbusDriver(profiles, clock=given.clock, io_clock=SystemIoClock(), rng=rng)},
        link=NoLink() if link is None else link,
        compute=InlineCompute(),
        signer=Signer.from_seed(bytes(32), Domain.DEMO),
        keyring=given.config.keyring(),
        rules=load_policy(given.config.supply.policy, given.clock.now(), given.config.zone),
        row_key=row_key(given.config, SystemEntropy()),
        profiles=profiles,
        told_clock=given.clock,
    )
    try:
        yield node
    finally:
        await node.close()
