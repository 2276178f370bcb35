"""The demo as people run it: real processes, the whole story, a report that can be checked, and nothing left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

FIELDS = {
    "seed", "speed", "story_from", "story_to", "dir", "hub_config", "node_configs", "urls", "nodes", "meters",
    "energy_wh", "lost", "doubled", "link_cuts", "cut_while_offline", "restored_while_offline", "exposed",
    "paid_elsewhere", "days_closed", "feeder_loss", "steps_missing", "violations",
}  # fmt: skip
"""Of DESIGN §4."""
PORT = 22_000 + os.getpid() % 5_000


def processes_of(folder: Path) -> list[str]:
    """Command lines of living processes that name the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if str(folder) in line:
                found.append(line)
    return found


def can_listen(url: str) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((urlsplit(url).hostname or "", urlsplit(url).port or 0))
        except OSError:
            return False
    return True


@contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A demo whose files go to `folder`; killed when a test fails."""
    process = subprocess.Popen(  # noqa: S603 — our own command
        [sys.executable, "-m", "simulate", "demo", "--meters", "60", "--port", str(PORT), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def balance(report: dict[str, Any], level: str, period: str, at: str) -> list[dict[str, Any]]:
    """`central-sync balance` on the demo's folder after everything has stopped."""
    command = ("balance", "--config", report["hub_config"], "--level", level, "--period", period, "--at", at, "--json")
    done = subprocess.run(  # noqa: S603 — our own command
        [sys.executable, "-m", "central_sync", *command], check=True, capture_output=True, text=True, timeout=60
    )
    return list(json.loads(done.stdout)["areas"])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_whole_story_with_real_processes(tmp_path: Path) -> None:
    with demo(tmp_path, "--speed", "900", "--for", "62", "--seed", "2", "--json") as process:
        said, told = process.communicate(timeout=240)
    assert process.returncode == 0, told[-3_000:] + said
    report = json.loads(said)
    assert set(report) >= FIELDS
    assert (report["lost"], report["doubled"], report["violations"], report["steps_missing"]) == (0, 0, [], [])
    energy = report["energy_wh"]
    assert energy["meters"] == energy["edges"] == energy["hub"] > 0
    assert min(report["link_cuts"], report["cut_while_offline"], report["restored_while_offline"]) >= 1
    assert report["days_closed"] >= 1
    assert abs(report["feeder_loss"]["found_pct"] - report["feeder_loss"]["planted_pct"]) <= 0.5
    elsewhere = report["paid_elsewhere"]
    assert not elsewhere["cut"] or elsewhere["exposed"]
    assert elsewhere["reason"]
    assert (report["nodes"], report["meters"], len(report["node_configs"])) == (2, 60, 2)
    nothing_left(tmp_path, report)
    levels_agree(report)


def nothing_left(folder: Path, report: dict[str, Any]) -> None:
    assert processes_of(folder) == []
    assert all(can_listen(url) for url in report["urls"])
    assert Path(report["dir"]).parent == folder
    assert [path for path in folder.rglob("*") if path.is_socket()] == []
    assert [path.name for path in folder.iterdir()] == [Path(report["dir"]).name]


def levels_agree(report: dict[str, Any]) -> None:
    """The files alone tell the same: the republic is its regions, its districts and their nodes."""
    for period, at in (("day", "2026-04-15"), ("month", "2026-04")):
        sums = {
            level: sum(area["delivered_wh"] for area in balance(report, level, period, at))
            for level in ("republic", "region", "district")
        }
        nodes = [node for area in balance(report, "district", period, at) for node in area["nodes"]]
        assert len({*sums.values(), sum(node["delivered_wh"] for node in nodes)}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_stops_it_early_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    with demo(tmp_path) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Prologue" in line:
                break
        while len(processes_of(tmp_path)) < 5 and process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.1)
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize(("arguments", "code"), [(("--nodes", "0"), "TQ-SM-30"), (("--port", "0"), "TQ-SM-31")])
def test_what_makes_no_sense_is_a_named_usage_error(tmp_path: Path, arguments: tuple[str, ...], code: str) -> None:
    with demo(tmp_path, *arguments, "--json") as process:
        said, told = process.communicate(timeout=60)
    assert process.returncode == 2
    assert json.loads(said)["error"]["code"] == code
    assert code in told
    assert list(tmp_path.iterdir()) == []
