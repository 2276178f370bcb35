"""The hub's configuration: which nodes it serves, who approves mandates, where it listens. Room: config; on no walk.

Checked whole before anything starts: `central-sync check-config`. Every key is told in docs/reference/central-sync.md.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from gridmodel.fault import Fault
from gridmodel.identity import DistrictId, NodeId, checked_id, checked_soato
from gridmodel.period import ZONES
from hosting.config import ConfigModel, LocalPath, read_secret
from hosting.keys import KeyDomain
from hosting.keys_bundle import BundlePublic
from protocols.authority.canonical import Domain
from protocols.authority.signatures import FOREVER, KEYS_MAX, KeyRing, NamedKey, Role, key_from_text

NODES_MAX = 5_000
"""One per district office are 206; a node per substation would be some thousands."""


LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def _identity(kind: str) -> AfterValidator:
    def check(text: str) -> str:
        try:
            return checked_id(kind, text)
        except Fault as fault:
            raise ValueError(f"{fault.what}: {fault.hint}") from fault

    return AfterValidator(check)


def _district(text: str) -> str:
    try:
        return checked_soato("district", text)
    except Fault as fault:
        raise ValueError(f"{fault.what}: {fault.hint}") from fault


def _public(text: str) -> str:
    try:
        key_from_text(text)
    except Fault as fault:
        raise ValueError(f"{fault.what}: {fault.hint}") from fault
    return text


def _bundle_key(text: str) -> str:
    try:
        BundlePublic.from_text(text)
    except Fault as fault:
        raise ValueError(f"{fault.what}: {fault.hint}") from fault
    return text


BundleKey = Annotated[str, AfterValidator(_bundle_key)]
PublicKey = Annotated[str, AfterValidator(_public)]
Listen = Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.\-]+):\d{1,5}$")]
District = Annotated[str, AfterValidator(_district)]


class NodeConfig(ConfigModel):
    """A node that may speak here."""

    id: Annotated[str, _identity("node")]
    """As the node names itself."""
    public_key: PublicKey | None = None
    """``ed25519:…`` as `edge-node` shows it; left out, the key of its approved enrolment counts."""
    districts: Annotated[tuple[District, ...], Field(min_length=1, max_length=64)]
    """SOATO codes of its scope; a district belongs to one node."""
    bundle_key: BundleKey | None = None
    """``x25519-bundle:…`` of the node: bundles that couriers take there are sealed for it."""


class TlsConfig(ConfigModel):
    """The nodes' interface: TLS, with a certificate of the hub's own authority for each node."""

    ca: LocalPath
    """Folder of the authority (``central-sync ca make``); the hub's own certificate is kept there, too."""
    listen: Listen = "0.0.0.0:8444"
    """``host:port`` of sync and enrolment; port 0 lets the system choose."""
    names: Annotated[tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9.:\-]{1,253}$")], ...], Field(min_length=1)]
    """Names and addresses by which nodes reach it (of a proxy as well): they stand in its certificate."""
    certificate_days: Annotated[int, Field(ge=2, le=825)] = 90
    """A node's certificate lives so long; it renews when a third is left."""
    grace_days: Annotated[int, Field(ge=0, le=3_650)] = 180
    """A certificate that ended while its office had no link may be renewed so long afterwards."""


class KeysConfig(ConfigModel):
    """The hub's private keys for bundles, each in a file that only its owner reads; `central-sync bundle make-keys`."""

    signing: LocalPath | None = None
    """Ed25519: signs the bundles that go down. It signs nothing else and opens no relay."""
    bundle: LocalPath | None = None
    """X25519: opens the bundles that come up."""


class ApproverConfig(ConfigModel):
    """A person whose signature counts under mandates."""

    name: Annotated[str, _identity("person")]
    """Two keys with one name are one voice."""
    public_key: PublicKey
    """``ed25519:…`` as the person's own machine shows it."""
    not_before: Annotated[int, Field(ge=0)] = 0
    """UTC seconds from which it counts."""
    not_after: Annotated[int, Field(ge=1)] = FOREVER
    """UTC seconds from which it no longer counts."""


class SituationConfig(ConfigModel):
    """When a node counts as what, in utility seconds since it was heard."""

    live_s_max: Annotated[int, Field(ge=30, le=86_400)] = 900
    """A node asks every 20 s and tries a lost link at least every 300 s: three of those are a live link."""
    stale_s_max: Annotated[int, Field(ge=60, le=604_800)] = 7_200
    """Two hours: two hour closes were missed."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.stale_s_max <= self.live_s_max:
            raise ValueError("stale_s_max must be above live_s_max")
        return self


class HubConfig(ConfigModel):
    """The whole file."""

    data_dir: LocalPath
    """Where the database, its row key, the lock and the local door are."""
    zone: Literal["Asia/Tashkent", "Asia/Samarkand"] = "Asia/Tashkent"
    """Names the local days, months and years of balances."""
    demo: bool = False
    """Keys of the demo's own domain: a production directory refuses them, and the other way round."""
    database: Annotated[str | None, Field(repr=False)] = None
    """``sqlite:///PATH`` or ``postgresql://USER:PASSWORD@HOST:PORT/NAME``; by default hub.db in the data directory."""
    database_file: LocalPath | None = None
    """A file (mode 0600) that holds the address instead, where it has a password."""
    listen: Listen = "127.0.0.1:8443"
    """``host:port`` of sync, API and pages; port 0 lets the system choose, `run` prints the address."""
    hosts: Annotated[tuple[str, ...], Field(max_length=32)] = ()
    """Names under which browsers and nodes may ask, without port; the loopback is always one."""
    plain_http: bool = False
    """Let `listen` be elsewhere than on the loopback, and sync be spoken there: what offices send is then readable on
    the way, and nothing but its signatures says who sent it."""
    tls: TlsConfig | None = None
    """Where nodes speak; without it they speak at `listen`."""
    audit_hour: Annotated[int, Field(ge=0, le=23)] = 3
    """Local hour of the nightly audit of balances."""
    keys: KeysConfig = KeysConfig()
    nodes: Annotated[tuple[NodeConfig, ...], Field(max_length=NODES_MAX)] = ()
    approvers: Annotated[tuple[ApproverConfig, ...], Field(max_length=KEYS_MAX - NODES_MAX)] = ()
    situation: SituationConfig = SituationConfig()

    @model_validator(mode="after")
    def _one_database(self) -> Self:
        if self.database is not None and self.database_file is not None:
            raise ValueError("database and database_file name two databases: keep one of them")
        return self

    @model_validator(mode="after")
    def _not_in_clear(self) -> Self:
        if self.address()[0] not in LOOPBACK and not self.plain_http:
            raise ValueError("listen is not on the loopback: let nodes use [tls], or say plain_http = true")
        return self

    @model_validator(mode="after")
    def _one_owner(self) -> Self:
        owners: dict[str, str] = {}
        for node in self.nodes:
            for district in node.districts:
                if owners.setdefault(district, node.id) != node.id:
                    raise ValueError(f"district {district} belongs to {owners[district]} and to {node.id}")
        if len({node.id for node in self.nodes}) < len(self.nodes):
            raise ValueError("a node is listed twice")
        given = [node.public_key for node in self.nodes if node.public_key is not None]
        keys = [*given, *(person.public_key for person in self.approvers)]
        if len(set(keys)) < len(keys):
            raise ValueError("a public key is listed twice: every node and person has its own")
        return self

    def keyring(self) -> KeyRing:
        """Nodes and approvers by their keys."""
        given = [(one.id, one.public_key) for one in self.nodes if one.public_key is not None]
        nodes = [NamedKey(key_from_text(key), name, frozenset({Role.NODE})) for name, key in given]
        people = [
            NamedKey(key_from_text(one.public_key), one.name, frozenset({Role.APPROVER}), one.not_before, one.not_after)
            for one in self.approvers
        ]
        return KeyRing([*nodes, *people], self.domain)

    @property
    def domain(self) -> Domain:
        """Where signatures count."""
        return Domain.DEMO if self.demo else Domain.PRODUCTION

    @property
    def key_domain(self) -> KeyDomain:
        """The same for keys at rest."""
        return KeyDomain(self.domain.value)

    @property
    def door(self) -> Path:
        """The socket of the local door; named so that no node's command knocks at it."""
        return self.data_dir / "hub.door"

    @property
    def plain_sync(self) -> bool:
        """Whether nodes may speak at `listen`."""
        return self.tls is None or self.plain_http

    def address(self) -> tuple[str, int]:
        """Host and port to listen at."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    def node_of_district(self) -> dict[DistrictId, NodeId]:
        """Who serves each district."""
        return {DistrictId(one): NodeId(node.id) for node in self.nodes for one in node.districts}

    def database_url(self) -> str:
        """The configured database, or the default one. May hold a password. Raises ConfigFault (TQ-CF-07)."""
        if self.database_file is not None:
            return read_secret(self.database_file)
        return self.database if self.database is not None else f"sqlite:///{self.data_dir / 'hub.db'}"


if set(ZONES) != {"Asia/Tashkent", "Asia/Samarkand"}:
    raise TypeError("the zones of the configuration are not those of the network")
