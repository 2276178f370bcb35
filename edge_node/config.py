"""What an edge node is told before it starts: one TOML file, checked whole. On every walk; docs/reference/edge-node.md.

A key that is not known is a mistake, a path is relative to the file that names it, secrets stand in files of their own.
What can darken a home is off unless the file says otherwise: without a policy file, approvers and a list of profiles
whose relay may be opened, the node polls, takes payments and restores, and cuts nobody.

Codes: TQ-EN-01 a policy file that cannot be read.
"""

import tomllib
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from gridmodel.fault import Fault
from gridmodel.identity import NodeId, checked_id
from gridmodel.period import zone as checked_zone
from gridmodel.policy_rules import PolicyFault, PolicyRules, rules_from_parameters
from hosting.config import ConfigModel, LocalPath
from hosting.files import read_text
from hosting.i18n import Language
from hosting.keys_bundle import BundlePublic
from hosting.keys_envelope import RecoveryPublic
from protocols.authority.canonical import Domain
from protocols.authority.signatures import KeyRing, NamedKey, Role, key_from_text

POLICY_SIZE_BYTES_MAX = 256 * 1024
"""A policy is some dozens of parameters with their reasons."""


LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _identifier(text: str) -> str:
    try:
        return checked_id("name", text)
    except Fault as fault:
        raise ValueError(f"{fault.what}: {fault.hint}") from fault


def _zone(text: str) -> str:
    try:
        checked_zone(text)
    except Fault as fault:
        raise ValueError(f"{fault.what}: {fault.hint}") from fault
    return text


def _public_key(text: str) -> str:
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


def _recovery_key(text: str) -> str:
    try:
        RecoveryPublic.from_text(text)
    except Fault as fault:
        raise ValueError(f"{fault.what}: {fault.hint}") from fault
    return text


Identifier = Annotated[str, AfterValidator(_identifier)]
ZoneName = Annotated[str, AfterValidator(_zone)]
PublicKey = Annotated[str, AfterValidator(_public_key)]
BundleKey = Annotated[str, AfterValidator(_bundle_key)]
RecoveryKey = Annotated[str, AfterValidator(_recovery_key)]
Listen = Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.\-]+):\d{1,5}$")]
"""``host:port``; port 0 lets the system choose."""


class PersonRole(StrEnum):
    """What a person of the office may do."""

    CASHIER = "cashier"
    """Take payments."""
    DISPATCHER = "dispatcher"
    """Stop cuts and look at everything."""
    CHIEF = "chief"
    """Lift a stop."""
    FITTER = "fitter"
    """Record what was done to meters."""


class HubConfig(ConfigModel):
    """The way to the hub."""

    url: str = Field(pattern=r"^https?://[^\s/]+(/\S*)?$")
    """Where the hub listens for nodes: ``https://hub.example:8444``."""
    plain_http: bool = False
    """Speak without TLS to a hub that is not on this machine: everything can be read on the way."""
    pull_period_s: int = Field(default=20, ge=1, le=3600)
    """Utility seconds between two pulls: how old a payment made elsewhere may be here while the link is up."""
    frame_bytes_max: int = Field(default=8_192, ge=8_192, le=1_048_576)
    """One push; 8 kB are a second at 64 kbit/s, so that a payment never waits longer behind a backlog."""
    status_period_s: int = Field(default=300, ge=10, le=86_400)
    """Utility seconds between two status records."""
    signing_key: PublicKey | None = None
    """``ed25519:…`` as the hub's operators show it: signs the bundles that couriers bring."""
    bundle_key: BundleKey | None = None
    """``x25519-bundle:…`` of the hub: bundles that couriers take are sealed for it."""

    @model_validator(mode="after")
    def _not_in_clear(self) -> Self:
        if not self.tls and not self.plain_http and _host(self.url) not in LOOPBACK:
            raise ValueError("hub.url is not https and not on this machine: use https, or say hub.plain_http = true")
        return self

    @property
    def tls(self) -> bool:
        """Whether the link is TLS, and this node needs a certificate."""
        return self.url.startswith("https://")


class ConsoleConfig(ConfigModel):
    """The office's own pages."""

    listen: Listen = "127.0.0.1:8070"
    """``host:port``; the loopback unless the office's other machines are to see it."""
    hosts: tuple[str, ...] = ()
    """Names under which browsers may ask for it, beside the loopback's."""


class KeysConfig(ConfigModel):
    """Private keys at rest, each in a file that only its owner reads."""

    signing: LocalPath
    """The node's Ed25519 key: signs its batches."""
    row: LocalPath
    """The key of the row hashes; made at the first start, never replaced."""
    meters: LocalPath | None = None
    """Secrets of DLMS meters in clear (hex values in TOML): for a demo only."""
    node: LocalPath | None = None
    """The node key: opens the sealed secrets of DLMS meters; made at the first start, never overwritten."""
    recovery: RecoveryKey | None = None
    """``x25519:…``, the public half of the offline key that opens them when the node key is lost."""
    tls: LocalPath | None = None
    """Folder of the node's certificate and its key (``edge-node enrol``); by default `identity` in `data_dir`."""
    bundle: LocalPath | None = None
    """The node's bundle key: opens what couriers bring (``edge-node bundle make-key``)."""
    system_title: str | None = Field(default=None, pattern=r"^[0-9A-Fa-f]{16}$")
    """The node's own DLMS system title, 16 hex digits; made from the node's id unless given. No two nodes share one."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.meters is not None and self.node is not None:
            raise ValueError("keys: meters is a plain file, node is for sealed secrets: give one of them")
        return self


class PollingConfig(ConfigModel):
    """When meters are read and hours are closed; utility seconds."""

    spread_s: int = Field(default=120, ge=0, le=3_300)
    """Over how long after an interval's end the reads are spread."""
    reads_at_once: int = Field(default=200, ge=1, le=8_000)
    """Meters read at once, a socket each: 200 for meters that answer at once, thousands behind slow concentrators."""
    hour_grace_s: int = Field(default=600, ge=0, le=3_600)
    """How long after an hour's end late readings are waited for."""
    day_grace_s: int = Field(default=7_200, ge=0, le=86_400)
    """How long after midnight late readings are waited for before the day's chunks are made."""


class ClocksConfig(ConfigModel):
    """The clocks of meters; seconds."""

    set: bool = True
    """Whether clocks that drift are moved, where the meter's profile allows it; without, drift is measured and told."""
    tolerance_s: int = Field(default=5, ge=1, le=60)
    """A clock within it is right."""
    step_s_day_max: int = Field(default=30, ge=1, le=300)
    """The most by which one meter's clock is moved in a day."""
    error_s_max: int = Field(default=300, ge=10, le=840)
    """A clock further off is an alarm, and set by a person on the spot."""


class SupplyConfig(ConfigModel):
    """Cuts: what the node may do by itself."""

    policy: LocalPath | None = None
    """The rules of disconnection; without a file the shipped default holds, which lacks what blocks: nobody is cut."""
    remote_cut_profiles: tuple[Identifier, ...] = ()
    """Meter profiles whose relay may be opened from here; restoring is always allowed. Empty: nobody is cut."""
    payment_channels: tuple[Identifier, ...] = ()
    """Channels that must vouch for their payments (watermark) before anybody is cut for a debt."""


class PersonConfig(ConfigModel):
    """A person of the office who logs in."""

    id: Identifier
    """Opaque: stands in ledger and audit in place of the name."""
    name: str = Field(min_length=1, max_length=80)
    """Shown on pages and receipts."""
    secret: str = Field(pattern=r"^\$argon2id\$")
    """Argon2id hash of the secret (``edge-node hash-secret``)."""
    roles: tuple[PersonRole, ...] = Field(min_length=1)
    """What the person may do."""


class ApproverConfig(ConfigModel):
    """A person whose signature counts under mandates."""

    name: Identifier
    """Two keys with one name are one voice."""
    public: PublicKey
    """``ed25519:…`` as the person's own machine shows it."""
    not_before: int = Field(default=0, ge=0)
    """UTC seconds from which it counts."""
    not_after: int = Field(default=2**40, ge=1)
    """UTC seconds from which it no longer counts."""


class NodeConfig(ConfigModel):
    """The whole file."""

    node: Identifier
    """The node's id, as the hub knows it."""
    data_dir: LocalPath
    """Folder of the databases, the lock and the local door; made if it is missing."""
    zone: ZoneName = "Asia/Tashkent"
    """Local time of the office."""
    language: Language = Language.UZ_LATN
    """What pages speak when a browser asks for nothing we know."""
    demo: bool = False
    """Keys of the demo's own domain: a production directory refuses them, and the other way round."""
    hub: HubConfig
    console: ConsoleConfig = ConsoleConfig()
    keys: KeysConfig
    polling: PollingConfig = PollingConfig()
    clocks: ClocksConfig = ClocksConfig()
    supply: SupplyConfig = SupplyConfig()
    desk: Identifier | None = None
    """Payment channel of the office's own desk; ``desk-`` and the node's id unless given."""
    people: tuple[PersonConfig, ...] = Field(default=(), max_length=500)
    approvers: tuple[ApproverConfig, ...] = Field(default=(), max_length=64)

    @model_validator(mode="after")
    def _once(self) -> Self:
        ids = [person.id for person in self.people]
        twice = sorted({one for one in ids if ids.count(one) > 1})
        if twice:
            raise ValueError(f"people: {twice[0]} stands twice")
        publics = [approver.public for approver in self.approvers]
        if len(set(publics)) < len(publics):
            raise ValueError("approvers: one key stands twice; give each person a key of their own")
        return self

    @property
    def node_id(self) -> NodeId:
        """The node's id in the utility's words."""
        return NodeId(self.node)

    @property
    def identity_dir(self) -> Path:
        """Folder of the node's certificate and its key."""
        return self.keys.tls if self.keys.tls is not None else self.data_dir / "identity"

    @property
    def domain(self) -> Domain:
        """Where signatures count."""
        return Domain.DEMO if self.demo else Domain.PRODUCTION

    @property
    def door(self) -> Path:
        """The socket of the local door; named so that no hub's command knocks at it."""
        return self.data_dir / "node.door"

    @property
    def desk_channel(self) -> str:
        """The payment channel of the office's own desk."""
        return self.desk if self.desk is not None else f"desk-{self.node}"

    @property
    def cashiers(self) -> frozenset[str]:
        """Ids of those who may take payments."""
        return frozenset(person.id for person in self.people if PersonRole.CASHIER in person.roles)

    def person(self, person_id: str) -> PersonConfig | None:
        """A person by id."""
        return next((one for one in self.people if one.id == person_id), None)

    def keyring(self) -> KeyRing:
        """The persons whose signatures count under mandates; raises KeyFault for an entry that cannot be."""
        return KeyRing(
            (
                NamedKey(key_from_text(one.public), one.name, frozenset({Role.APPROVER}), one.not_before, one.not_after)
                for one in self.approvers
            ),
            self.domain,
        )


def load_rules(path: Path | None) -> PolicyRules:
    """The rules in a policy file; without one the shipped default, which lacks what an operator must decide: no cuts.

    Raises PolicyFault naming file and parameter.
    """
    file = path if path is not None else files("configs").joinpath("policy", "default.toml")
    try:
        text = file.read_text(encoding="utf-8") if path is None else read_text(path, POLICY_SIZE_BYTES_MAX)
        table = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise PolicyFault(
            "TQ-EN-01", f"the policy {file} cannot be read: {error}", "give supply.policy the right file"
        ) from error
    head, parameters = table.get("policy"), table.get("parameters")
    version = head.get("version") if isinstance(head, dict) else None
    if not isinstance(version, str) or not isinstance(parameters, dict):
        raise PolicyFault(
            "TQ-EN-01",
            f"the policy {file} has no version or no [parameters]",
            "begin with a copy of configs/policy/default.toml",
        )
    return rules_from_parameters(checked_id("policy version", version), parameters)
