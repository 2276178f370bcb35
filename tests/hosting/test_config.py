import os
from pathlib import Path

import pytest

from hosting.config import ConfigFault, ConfigModel, LocalPath, json_schema, load_toml, read_secret


class Hub(ConfigModel):
    url: str
    timeout_s: int = 30


class Desk(ConfigModel):
    id: str


class Node(ConfigModel):
    node: str
    database: LocalPath = Path("control.db")
    hub: Hub | None = None
    desks: tuple[Desk, ...] = ()


GOOD = """
node = "n-1"
database = "data/control.db"

[hub]
url = "https://hub"

[[desks]]
id = "d-1"
"""


def load(folder: Path, text: str, environ: dict[str, str] | None = None) -> Node:
    path = folder / "node.toml"
    path.write_text(text, encoding="utf-8")
    return load_toml(path, Node, environ or {})


def test_a_good_file_and_the_environment_over_it(tmp_path: Path) -> None:
    config = load(
        tmp_path, GOOD, {"TARMOQ_HUB__TIMEOUT_S": "5", "TARMOQ_NODE": "n-2", "TARMOQ_CLOCK": "1,2,3", "PATH": "x"}
    )
    assert config == Node(
        node="n-2",
        database=tmp_path / "data/control.db",
        hub=Hub(url="https://hub", timeout_s=5),
        desks=(Desk(id="d-1"),),
    )


@pytest.mark.parametrize(
    ("text", "code", "line", "told", "hint"),
    [
        ('node = "n-1"\nhub = [', "TQ-CF-02", 2, "not TOML", "quotes"),
        ('node = "n-1"\n[hub]\nurl = "x"\ntimeout = 3\n', "TQ-CF-03", 4, "hub.timeout", "timeout_s"),
        ('node = "n-1"\nnod = 1\n', "TQ-CF-03", 2, "nod", "did you mean node"),
        ('node = "n-1"\nzzzz = 1\n', "TQ-CF-03", 2, "zzzz", "known keys here: database, desks, hub, node"),
        ('node = "n-1"\n[[desks]]\nid = "a"\n[[desks]]\nidd = "b"\n', "TQ-CF-03", 5, "desks.1.idd", "did you mean id"),
        ('node = "n-1"\n[[desks]]\nid = "a"\n[[desks]]\n', "TQ-CF-04", 4, "desks.1.id", "add id"),
        ('node = "n-1"\n[hub]\n', "TQ-CF-04", 2, "hub.url", "add url to [hub]"),
        ('node = "n-1"\n[hub]\nurl = "x"\ntimeout_s = "soon"\n', "TQ-CF-05", 4, "timeout_s", "check-config"),
    ],
)
def test_each_mistake_is_named_with_its_line(
    tmp_path: Path, *, text: str, code: str, line: int, told: str, hint: str
) -> None:
    with pytest.raises(ConfigFault) as caught:
        load(tmp_path, text)
    fault = caught.value
    assert fault.code == code
    assert told in fault.what
    assert hint in fault.hint
    assert fault.line == line


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigFault, match=r"TQ-CF-01.*no configuration"):
        load_toml(tmp_path / "none.toml", Node, {})
    (tmp_path / "latin.toml").write_bytes(b'node = "\xff"')
    with pytest.raises(ConfigFault, match=r"TQ-CF-01.*UTF-8"):
        load_toml(tmp_path / "latin.toml", Node, {})
    with pytest.raises(ConfigFault, match="TQ-CF-01"):
        load_toml(tmp_path, Node, {})
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path / "a\0b"):
        with pytest.raises(ConfigFault, match="TQ-CF-01"):
            load_toml(path, Node, {})


def test_a_mistake_in_the_environment_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigFault, match="TQ-CF-03: TARMOQ_HUB__TIMEOUT"):
        load(tmp_path, GOOD, {"TARMOQ_HUB__TIMEOUT": "5"})
    with pytest.raises(ConfigFault, match="TQ-CF-06"):
        load(tmp_path, GOOD, {"TARMOQ_NODE__NAME": "5"})


def test_the_schema_can_be_exported() -> None:
    assert json_schema(Node)["additionalProperties"] is False


def test_secrets_come_from_private_files(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with pytest.raises(ConfigFault, match="TQ-CF-07"):
        read_secret(path)
    path.write_text("paxta\n", encoding="utf-8")
    path.chmod(0o644)
    with pytest.raises(ConfigFault, match=r"TQ-CF-07.*644.*chmod 600"):
        read_secret(path)
    path.chmod(0o600)
    assert read_secret(path) == "paxta"
    path.write_text("", encoding="utf-8")
    with pytest.raises(ConfigFault, match="empty"):
        read_secret(path)
    path.write_text("x" * 5000, encoding="utf-8")
    with pytest.raises(ConfigFault, match="longer"):
        read_secret(path)


@pytest.mark.parametrize("text", ["node = " + "[" * 100_000, "node = " + "1" * 5_000, 'node = "' + "x" * 2**20])
def test_a_file_that_breaks_the_reader_is_named_too(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigFault, match=r"TQ-CF-0[12]"):
        load(tmp_path, text)


def test_a_variable_that_breaks_the_reader_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text('node = "n-1"\n', "utf-8")
    with pytest.raises(ConfigFault, match="TQ-CF-05"):
        load_toml(tmp_path / "node.toml", Node, {"TARMOQ_HUB": "[" * 100_000})
