"""Both command lines, called in ways that make no sense: a code and a hint, the agreed exit code, never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HUB = 'data_dir = "file/below"\ndemo = true\n'
NODE = """
node = "n1"
data_dir = "file/below"
demo = true
[hub]
url = "http://127.0.0.1:1"
[keys]
signing = "none.key"
row = "row.key"
"""
CASES: tuple[tuple[str, str, int, str], ...] = (
    ("central_sync", "run -c hub.toml", 1, "TQ-IN-02"),
    ("central_sync", "nodes -c none.toml", 1, "TQ-CF-01"),
    ("central_sync", "nodes -c deep.toml", 1, "TQ-CF-02"),
    ("central_sync", "nodes -c hub.toml", 1, "TQ-DB-02"),
    ("central_sync", "verify -c hub.toml --since tomorrow", 2, "TQ-PD-02"),
    ("central_sync", "verify -c hub.toml", 1, "TQ-DR-01"),
    ("central_sync", "import ledger none.csv -c hub.toml", 2, "none.csv"),
    ("central_sync", "import ledger file -c hub.toml", 1, "TQ-DR-01"),
    ("central_sync", "mandate sign file", 2, "TQ-HB-61"),
    ("central_sync", "nosuch", 2, "nosuch"),
    ("central_sync", "CLOCK nodes -c hub.toml", 1, "TQ-CL-03"),
    ("central_sync", "CLOCK run -c hub.toml", 1, "TQ-CL-03"),
    ("central_sync", "CLOCK mandate list -c hub.toml", 1, "TQ-CL-03"),
    ("edge_node", "run -c node.toml", 1, "TQ-IN-02"),
    ("edge_node", "CLOCK run -c node.toml", 1, "TQ-CL-03"),
    ("edge_node", "CLOCK status -c node.toml", 1, "TQ-CL-03"),
    ("edge_node", "make-key --out file/node.key", 1, "TQ-KY-06"),
    ("edge_node", "status -c hub.toml", 1, "TQ-CF-04"),
    ("edge_node", "check-config -c node.toml", 1, "TQ-KY-01"),
    ("edge_node", "explain -c node.toml --usage-point !", 2, "TQ-ID-01"),
    ("edge_node", "pay -c node.toml --account a --amount 5x --cashier c --secret-file file", 2, "soʻm"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("commands")
    (made / "file").touch()
    (made / "hub.toml").write_text(HUB, "utf-8")
    (made / "node.toml").write_text(NODE, "utf-8")
    (made / "deep.toml").write_text("a = " + "[" * 50_000, "utf-8")
    return made


def typed(folder: Path, program: str, line: str, **more: str) -> tuple[int, str]:
    clock = {"TARMOQ_CLOCK": "garbage"} if line.startswith("CLOCK ") else {}
    words = line.removeprefix("CLOCK ").split()
    root = str(Path(__file__).parents[2])
    done = subprocess.run(  # noqa: S603 — our own programs
        [sys.executable, "-m", program, *words],
        cwd=folder,
        env=os.environ | clock | {"PYTHONPATH": root, "COLUMNS": "200"} | more,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace")


@pytest.mark.slow
@pytest.mark.parametrize(("program", "line", "code", "told"), CASES, ids=[f"{one[0]} {one[1]}" for one in CASES])
def test_a_wrong_call_is_told(folder: Path, program: str, line: str, code: int, told: str) -> None:
    got, text = typed(folder, program, line)
    assert (got, "Traceback" in text) == (code, False), text
    assert told in text


@pytest.mark.slow
def test_a_terminal_without_our_letters_is_no_reason_to_end(folder: Path) -> None:
    code, text = typed(
        folder,
        "edge_node",
        "pay -c node.toml --account a --amount 5x --cashier c --secret-file file --json",
        PYTHONIOENCODING="ascii",
    )
    assert (code, "so\\u02bbm" in text, "Traceback" in text) == (2, True, False)


@pytest.mark.slow
def test_a_reader_that_leaves_early_ends_the_command_quietly(folder: Path) -> None:
    assert typed(folder, "central_sync", "check-config --schema -c hub.toml")[0] == 0
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "central_sync", "check-config", "--schema", "-c", "hub.toml"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=pipe,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, b"Traceback" in done.stderr) == (1, False), done.stderr
