"""A hub with an authority of its own on a real TLS socket, a node's folder, and clocks that are set by hand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from central_sync.api.app import serve_hub
from central_sync.api.nodes_app import nodes_app
from central_sync.config import HubConfig, TlsConfig
from central_sync.config import NodeConfig as HubNode
from central_sync.hub import Hub, build
from central_sync.identity.own_certificate import OwnCertificate
from edge_node import enrolling
from edge_node.config import HubConfig as WayToHub
from edge_node.config import KeysConfig, NodeConfig
from edge_node.serving import own_tls
from edge_node.uplink.identity import NodeIdentity, NodeTls
from edge_node.uplink.renewal import Renewal
from edge_node.wakeups import Wakeups
from gridmodel.identity import NodeId
from hosting.clocks import ScaledClock, SystemEntropy
from hosting.compute import InlineCompute
from hosting.database import open_database
from hosting.keys import KeyDomain, load_signing_key
from hosting.keys_certificates import CertificateAuthority
from hosting.tls import TrustedTime
from protocols.authority.canonical import Domain
from protocols.authority.signatures import Signer
from protocols.sync.lanes import Lane, fresh_mark
from protocols.sync.link import HttpLink
from protocols.sync.messages import Hello, Welcome
from protocols.sync.seal import sign_hello
from tests.central_sync.hub_rig import DISTRICTS, END, ROW_KEY, A, HandClock, IdleIoClock

NOW = END + 3_600
DAY_S = 86_400
Story = Callable[["Country"], Awaitable[None]]


def standing_clock(at: int) -> ScaledClock:
    """A clock that shows `at` and stands still."""
    return ScaledClock(at, 0.0, 1.0, wall=lambda: 0.0, monotonic=lambda: 0.0)


@dataclass
class Office:
    """One node's files and what it shows."""

    config: NodeConfig
    clock: ScaledClock

    def __post_init__(self) -> None:
        self.own: NodeTls = self.fresh(self.clock)

    def fresh(self, clock: ScaledClock) -> NodeTls:
        """The node after a restart, with that clock."""
        own = own_tls(self.config, TrustedTime(clock))
        assert own is not None
        self.clock, self.own = clock, own
        return own

    @property
    def identity(self) -> NodeIdentity:
        return self.own.identity

    async def enrol(self, token: str = "", *, again: bool = False) -> dict[str, Any]:
        asked = enrolling.Asked(token, again=again)
        return await enrolling.enrol(
            self.config, asked, clock=self.clock, entropy=SystemEntropy(), say=lambda _line: None
        )

    @property
    def signer(self) -> Signer:
        return Signer(load_signing_key(self.config.keys.signing, KeyDomain.DEMO), Domain.DEMO)

    def renewal(self) -> Renewal:
        return Renewal(self.config.hub.url, self.own, clock=self.clock, wakeups=Wakeups())

    async def hello(self, node: NodeId | None = None, signer: Signer | None = None) -> Welcome:
        """One hello over a link of its own; raises LinkLost."""
        signer = self.signer if signer is None else signer
        hello = Hello(
            node=self.config.node_id if node is None else node,
            hub_incarnation=None,
            lanes={lane: fresh_mark(1) for lane in Lane},
            signed_at=NOW,
            nonce=bytes(16),
            key_id=signer.key_id,
        )
        link = HttpLink(self.config.hub.url, tls=self.own.context)
        try:
            return Welcome.from_bytes(await link.exchange("hello", sign_hello(hello, signer).to_bytes()))
        finally:
            await link.close()


@dataclass
class Country:
    """The hub, its clock, its address."""

    folder: Path
    hub: Hub
    clock: HandClock
    url: str
    authority: CertificateAuthority
    own: OwnCertificate

    def office(self, node: NodeId = A, *, url: str = "", at: int = NOW) -> Office:
        folder = self.folder / "offices" / node
        folder.mkdir(parents=True, exist_ok=True)
        config = NodeConfig(
            node=node,
            data_dir=folder / "data",
            demo=True,
            hub=WayToHub(url=url or self.url),
            keys=KeysConfig(signing=folder / "signing.key", row=folder / "row.key"),
        )
        return Office(config, standing_clock(at))

    async def token(self, node: NodeId = A, hours: int = 72) -> str:
        return str((await self.hub.enrolments.token(node, hours, "operator"))["token"])

    async def enrolled(self, node: NodeId = A) -> Office:
        office = self.office(node, at=self.clock.at)
        told = await office.enrol(await self.token(node))
        await self.approve(told["fingerprint"])
        assert (await office.enrol())["ok"]
        return office

    async def approve(self, digits: str) -> dict[str, Any]:
        waits = [one for one in (await self.hub.enrolments.listed())["enrolments"] if one["state"] == "waiting"]
        return await self.hub.enrolments.approve(waits[0]["enrolment"], digits, "operator")


def config_of(folder: Path, **tls: Any) -> HubConfig:
    return HubConfig(
        data_dir=folder / "hub",
        demo=True,
        tls=TlsConfig(ca=folder / "ca", names=("127.0.0.1", "localhost"), listen="127.0.0.1:0", **tls),
        nodes=tuple(HubNode(id=node, districts=(district,)) for node, district in DISTRICTS.items()),
    )


@asynccontextmanager
async def country(folder: Path, **tls: Any) -> AsyncIterator[Country]:
    config, clock, entropy = config_of(folder, **tls), HandClock(NOW), SystemEntropy()
    assert config.tls is not None
    config.data_dir.mkdir(parents=True, exist_ok=True)
    made = (folder / "ca" / "ca.crt").exists()
    authority = (
        CertificateAuthority.read(folder / "ca", KeyDomain.DEMO)
        if made
        else CertificateAuthority.make(folder / "ca", KeyDomain.DEMO, NOW, entropy)
    )
    hub = await build(
        config,
        clock=clock,
        io_clock=IdleIoClock(),
        rng=Random(1),
        entropy=entropy,
        open_database=open_database,
        compute=InlineCompute(),
        row_key=ROW_KEY,
        authority=authority,
    )
    try:
        own = OwnCertificate(config.tls, authority, clock, entropy)
        async with serve_hub(nodes_app(hub, entropy), "127.0.0.1:0", own.context) as url:
            yield Country(folder, hub, clock, url, authority, own)
    finally:
        await hub.close()


def run_country(folder: Path, story: Story, **tls: Any) -> None:
    async def whole() -> None:
        async with country(folder, **tls) as made:
            await story(made)

    asyncio.run(whole())
