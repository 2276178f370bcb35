"""A node's configuration: each mistake is named with its key and a hint, and the reference page knows every key."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from edge_node.config import NodeConfig, load_rules
from gridmodel.policy_rules import PolicyFault
from hosting.config import ConfigFault, load_toml
from protocols.authority.signatures import KeyFault

HOUSE = Path(__file__).parent.parent.parent
EXAMPLE = HOUSE / "configs" / "edge-node.example.toml"
KEY = "ed25519:lmI/DsEay+vKwPlncV+eCkMkQ+B+kQyFttT9ua4/QR4="


def loaded(folder: Path, text: str, environ: dict[str, str] | None = None) -> NodeConfig:
    path = folder / "node.toml"
    path.write_text(text, "utf-8")
    return load_toml(path, NodeConfig, environ or {})


def test_the_example_is_a_configuration_that_cuts_nobody() -> None:
    config = load_toml(EXAMPLE, NodeConfig, {})
    assert config.supply.remote_cut_profiles == ()
    assert load_rules(config.supply.policy).missing(), (
        "the shipped default leaves to the operator what is the operator's"
    )
    assert config.data_dir.is_absolute()
    assert config.cashiers == {"p-cashier-1"}


@pytest.mark.parametrize(
    ("old", "new", "code", "key", "hint"),
    [
        ("pull_period_s", "pull_periods", "TQ-CF-03", "hub.pull_periods", "pull_period_s"),
        ("pull_period_s = 20", "pull_period_s = 0", "TQ-CF-05", "hub.pull_period_s", "schema"),
        ('url = "https://hub.example:8444"', "", "TQ-CF-04", "hub.url", "[hub]"),
        ('url = "https://hub', 'url = "ftp://hub', "TQ-CF-05", "hub.url", "schema"),
        ('node = "node-1726262"', 'node = "no spaces"', "TQ-CF-05", "node", "schema"),
        ('zone = "Asia/Tashkent"', 'zone = "Europe/Paris"', "TQ-CF-05", "zone", "schema"),
        ('listen = "127.0.0.1:8070"', 'listen = "8070"', "TQ-CF-05", "console.listen", "schema"),
        ('roles = ["cashier"]', 'roles = ["king"]', "TQ-CF-05", "people.0.roles.0", "schema"),
        ('roles = ["cashier"]', "roles = []", "TQ-CF-05", "people.0.roles", "schema"),
        ('id = "p-chief-1"', 'id = "p-cashier-1"', "TQ-CF-05", "", "schema"),
        ("[hub]", "[hub", "TQ-CF-02", "", "brackets"),
    ],
)
def test_a_mistake_is_named(  # noqa: PLR0917
    tmp_path: Path, old: str, new: str, code: str, key: str, hint: str
) -> None:
    text = EXAMPLE.read_text("utf-8")
    assert old in text
    with pytest.raises(ConfigFault) as caught:
        loaded(tmp_path, text.replace(old, new, 1))
    assert (caught.value.code, caught.value.key) == (code, key)
    assert hint in caught.value.hint


def test_a_plain_secret_in_the_file_is_refused(tmp_path: Path) -> None:
    text = re.sub(r'secret = ".*?"', 'secret = "parol123"', EXAMPLE.read_text("utf-8"), count=1)
    with pytest.raises(ConfigFault, match="TQ-CF-05"):
        loaded(tmp_path, text)


def test_the_environment_overrides(tmp_path: Path) -> None:
    config = loaded(tmp_path, EXAMPLE.read_text("utf-8"), {"TARMOQ_HUB__URL": "http://127.0.0.1:1"})
    assert config.hub.url == "http://127.0.0.1:1"


def test_approvers_make_a_key_ring_and_one_key_twice_is_refused(tmp_path: Path) -> None:
    one = f'\n[[approvers]]\nname = "p-1"\npublic = "{KEY}"\n'
    config = loaded(tmp_path, EXAMPLE.read_text("utf-8") + one)
    assert [key.name for key in tuple(config.keyring().keys())] == ["p-1"]
    with pytest.raises(ConfigFault, match="stands twice"):
        loaded(tmp_path, EXAMPLE.read_text("utf-8") + one + one.replace("p-1", "p-2"))
    with pytest.raises(ConfigFault, match="TQ-CF-05"):
        loaded(tmp_path, EXAMPLE.read_text("utf-8") + one.replace(KEY, KEY[:-4]))
    with pytest.raises(KeyFault):
        loaded(tmp_path, EXAMPLE.read_text("utf-8") + one + "not_before = 9\nnot_after = 3\n").keyring()


def test_a_policy_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyFault, match="TQ-EN-01"):
        load_rules(tmp_path / "missing.toml")
    (tmp_path / "policy.toml").write_text("[parameters]\nnotice_days = 3\n", "utf-8")
    with pytest.raises(PolicyFault, match="no version"):
        load_rules(tmp_path / "policy.toml")
    (tmp_path / "policy.toml").write_text('[policy]\nversion = "x"\n[parameters]\nnotice_days = 3\n', "utf-8")
    with pytest.raises(PolicyFault, match="TQ-PO-01"):
        load_rules(tmp_path / "policy.toml")


def keys_of(model: type[BaseModel], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        inner = field.annotation
        members = [one for one in (inner, *getattr(inner, "__args__", ())) if isinstance(one, type)]
        below = [one for one in members if issubclass(one, BaseModel)]
        if not below:
            found.add(prefix + name)
        for one in below:
            found |= keys_of(one, f"{prefix}{name}{'[]' if one is not inner else ''}.")
    return found


def test_every_key_is_in_the_reference_and_every_key_there_exists() -> None:
    page = (HOUSE / "docs" / "reference" / "edge-node.md").read_text("utf-8")
    table = page[page.index("## Configuration") : page.index("## What is in the data folder")]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    told = {name for row in rows for name in re.findall(r"`([a-z_.\[\]]+)`", row)}
    assert told == keys_of(NodeConfig)
