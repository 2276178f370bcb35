"""The demo's folder: configurations, demo keys, secrets, registries and papers, as a small utility would have them.

Floor: simulate; on all walks. The folder survives the demo, so that everybody can ask the same questions again:
``central-sync balance --config <folder>/hub/hub.toml …``.
"""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from central_sync.authority.mandates import MandateTerms, draft
from edge_node.console.people import hash_secret
from gridmodel.clock import Entropy
from gridmodel.identity import NodeId
from gridmodel.registry_document import registry_to_document
from hosting.files import create_private
from hosting.keys import KeyDomain, create_signing_key
from protocols.authority.canonical import Domain
from protocols.authority.mandate import sign_mandate
from protocols.authority.signatures import Signer, key_to_text
from simulate.demo.cast import CHANNELS
from simulate.demo.plan import DLMS_PROFILE, PROLOGUE_DAY, STORY_DAY, ZONE, DemoPlan, NodePlan, moment
from simulate.dlms_keys import FleetSecrets
from simulate.grid import RELAY_PROFILE
from simulate.grid_registry import registry_of, spec_to_document

APPROVERS = ("approver-of-networks", "approver-of-sales")
"""Two persons sign every mandate."""
CASHIER, CHIEF = "cashier-1", "chief-1"
METER_KEYS = "meters.toml"
POLICY = "demo-1"
"""Version of configs/policy/demo.toml."""
WATERMARK_AGE_H_MAX = 2
"""The mandate's own limit: two hours after the channels were last heard, nobody is cut any more."""
QUOTA_PER_DAY = 1
DAY_GRACE_S, HOUR_GRACE_S, SPREAD_S = 900, 300, 120
"""Utility seconds: the day is closed at a quarter past midnight."""
PULL_PERIOD_S, STATUS_PERIOD_S = 90, 600
"""Utility seconds between pulls and between status records: at 600 times real time seven pulls a second are enough."""
LIVE_S_MAX, STALE_S_MAX = 900, 7_200


@dataclass(frozen=True, slots=True)
class DemoFiles:
    """Where everything is."""

    root: Path

    @property
    def hub(self) -> Path:
        """The hub's configuration."""
        return self.root / "hub" / "hub.toml"

    @property
    def hub_data(self) -> Path:
        """The hub's data folder."""
        return self.root / "hub" / "data"

    def node(self, node: str) -> Path:
        """A node's configuration."""
        return self.root / "nodes" / node / "node.toml"

    def node_data(self, node: str) -> Path:
        """A node's data folder."""
        return self.root / "nodes" / node / "data"

    def keys(self, node: str) -> Path:
        """The secrets of a node's DLMS meters."""
        return self.root / "nodes" / node / METER_KEYS

    def grid(self, node: str) -> Path:
        """The grid of a node's meters."""
        return self.root / "meters" / f"{node}.json"

    def relays(self, node: str) -> Path:
        """What the relays of a node's meters keep."""
        return self.root / "meters" / f"{node}.relays"

    def window(self, node: str) -> Path:
        """The window into a node's meters."""
        return self.root / "meters" / f"{node}.window"

    def paper(self, name: str) -> Path:
        """A file for the hub."""
        return self.root / "papers" / name

    def mandate(self, node: str, day: str) -> Path:
        """The mandate of a node that begins on that day."""
        return self.paper(f"mandate-{node}-{day}.json")

    def secret(self, person: str) -> Path:
        """The secret of a person of an office."""
        return self.root / "people" / f"{person}.secret"

    def log(self, process: str) -> Path:
        """What a process said."""
        return self.root / "log" / f"{process}.log"


def lay_out(root: Path, plan: DemoPlan, entropy: Entropy) -> DemoFiles:
    """Write the whole folder; it must be empty. Raises OSError or a Fault of what is made."""
    found = DemoFiles(root)
    for folder in ("hub", "meters", "papers", "people", "log", *(f"nodes/{node.id}" for node in plan.nodes)):
        (root / folder).mkdir(parents=True)
    (root / "policy.toml").write_text(files("configs").joinpath("policy", "demo.toml").read_text("utf-8"), "utf-8")
    approvers = {name: _person(root / "people" / f"{name}.key", entropy) for name in APPROVERS}
    hashes = {person: _secret(found.secret(person), entropy) for person in (CASHIER, CHIEF)}
    found.hub.write_text(_hub_toml(plan, approvers), "utf-8")
    for node in plan.nodes:
        found.node(node.id).write_text(_node_toml(node, approvers, hashes), "utf-8")
        found.grid(node.id).write_text(json.dumps(spec_to_document(node.grid.spec), indent=1), "utf-8")
        if node.dlms is not None:
            create_private(found.keys(node.id), _meter_keys().encode("ascii"))
        registry = registry_of(node.grid, node.fleet, elsewhere={} if node.dlms is None else {DLMS_PROFILE: node.dlms})
        found.paper(f"registry-{node.id}.json").write_text(json.dumps(registry_to_document(registry)), "utf-8")
        for number, day in enumerate((PROLOGUE_DAY, STORY_DAY), start=1):
            found.mandate(node.id, day).write_bytes(_mandate(node.id, day, number, approvers, entropy))
    return found


def _person(path: Path, entropy: Entropy) -> Signer:
    return _demo_signer(create_signing_key(path, entropy, KeyDomain.DEMO))


def _demo_signer(key: Ed25519PrivateKey) -> Signer:
    return Signer(key, Domain.DEMO)


def _secret(path: Path, entropy: Entropy) -> str:
    """A fresh secret in a file for its owner; gives the hash for the configuration."""
    secret = entropy.token(12).hex()
    create_private(path, f"{secret}\n".encode("ascii"))
    return hash_secret(secret)


def _mandate(node: str, day: str, counter: int, approvers: dict[str, Signer], entropy: Entropy) -> bytes:
    """For two days from that one on, signed by both persons the evening before."""
    begin = moment("00:00", day)
    signed = draft(
        MandateTerms(
            node=NodeId(node),
            not_before=begin,
            expires=begin + 48 * 3600,
            policy_version=POLICY,
            quota_per_day=QUOTA_PER_DAY,
            watermark_age_h_max=WATERMARK_AGE_H_MAX,
            account_classes=("household",),
            counter=counter,
        ),
        begin - 6 * 3600,
        entropy,
    )
    for signer in approvers.values():
        signed = sign_mandate(signed, signer)
    return signed.to_json()


def _hub_toml(plan: DemoPlan, approvers: dict[str, Signer]) -> str:
    lines = [
        "# The hub of a demo; the folder may be thrown away when you have seen enough.",
        'data_dir = "data"',
        f"zone = {_text(ZONE)}",
        "demo = true",
        f"listen = {_text(f'127.0.0.1:{plan.hub_port}')}",
        "",
        "[tls]",
        'ca = "ca"',
        f"listen = {_text(f'127.0.0.1:{plan.sync_port}')}",
        'names = ["127.0.0.1"]',
        "",
        "[situation]",
        f"live_s_max = {LIVE_S_MAX}",
        f"stale_s_max = {STALE_S_MAX}",
    ]
    for node in plan.nodes:
        lines += [
            "",
            "[[nodes]]",
            f"id = {_text(node.id)}",
            f"districts = [{_text(node.district)}]",
        ]
    for name, signer in approvers.items():
        lines += ["", "[[approvers]]", f"name = {_text(name)}", f"public_key = {_text(key_to_text(signer.public))}"]
    return "\n".join(lines) + "\n"


def _node_toml(node: NodePlan, approvers: dict[str, Signer], hashes: dict[str, str]) -> str:
    lines = [
        f"# The office of {node.name} in a demo. Its way to the hub is a line that the demo can cut.",
        f"node = {_text(node.id)}",
        'data_dir = "data"',
        f"zone = {_text(ZONE)}",
        "demo = true",
        "",
        "[hub]",
        f"url = {_text(f'https://127.0.0.1:{node.line_port}')}",
        f"pull_period_s = {PULL_PERIOD_S}",
        f"status_period_s = {STATUS_PERIOD_S}",
        "",
        "[console]",
        f"listen = {_text(f'127.0.0.1:{node.console_port}')}",
        "",
        "[keys]",
        'signing = "signing.key"',
        'row = "row.key"',
        *([] if node.dlms is None else [f"meters = {_text(METER_KEYS)}"]),
        "",
        "[polling]",
        f"spread_s = {SPREAD_S}",
        f"hour_grace_s = {HOUR_GRACE_S}",
        f"day_grace_s = {DAY_GRACE_S}",
        "",
        "[supply]",
        'policy = "../../policy.toml"',
        f"remote_cut_profiles = [{_text(node.grid.spec.home_profile or RELAY_PROFILE)}]",
        f"payment_channels = [{', '.join(map(_text, CHANNELS))}]",
    ]
    for person, name, roles in ((CASHIER, "Cashier", ["cashier"]), (CHIEF, "Chief", ["dispatcher", "chief"])):
        lines += [
            "",
            "[[people]]",
            f"id = {_text(person)}",
            f"name = {_text(name)}",
            f"secret = {_text(hashes[person])}",
            f"roles = [{', '.join(map(_text, roles))}]",
        ]
    for name, signer in approvers.items():
        lines += ["", "[[approvers]]", f"name = {_text(name)}", f"public = {_text(key_to_text(signer.public))}"]
    return "\n".join(lines) + "\n"


def _meter_keys() -> str:
    """The well-known secrets of simulated meters: only a demo takes them."""
    secrets = FleetSecrets()
    return (
        "# Keys from textbooks, for a demo alone; real meters have keys of their own.\n"
        f'block_key = "{secrets.keys.block_key.hex()}"\n'
        f'authentication_key = "{secrets.keys.authentication_key.hex()}"\n'
    )


def _text(value: str) -> str:
    """A TOML basic string; JSON's escapes are TOML's."""
    return json.dumps(value)
