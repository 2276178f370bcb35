"""The benchmark runner: every module reports in the agreed form; a limit that is broken is exit 1."""

import json

import pytest

from benchmarks import __main__ as runner
from benchmarks.figures import Figure, Report


def test_the_modbus_benchmark_runs_and_reports(capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["modbus", "--smoke", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["benchmarks"]
    assert [one["name"] for one in found] == ["modbus"]
    clients = {row["client"] for row in found[0]["rows"] if "client" in row}
    assert clients == {"bare", "awaited", "ours", "ours, one a call", "pymodbus"}
    for figure in found[0]["figures"]:
        assert set(figure) == {"id", "what", "value", "op", "limit", "unit", "ok", "smoke", "skipped"}
        assert figure["ok"] is None
        assert figure["value"] > 0


def test_the_dlms_benchmark_reads_the_same_with_every_client(capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["dlms", "--smoke", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["benchmarks"]
    assert len(found["rows"]) == 5
    limits = {figure["id"]: (figure["op"], figure["limit"]) for figure in found["figures"]}
    assert limits == {
        "dlms.vs_peer": (">=", 4.0),
        "dlms.vs_peer_sockets": (None, None),
        "dlms.vs_floor": ("<=", 1.3),
    }


def test_the_collector_benchmark_reads_meters_behind_concentrators(capfd: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["collector", "--smoke", "--json"]) == 0
    (found,) = json.loads(capfd.readouterr().out)["benchmarks"]  # whatever its processes say stands on stderr
    (row,) = found["rows"]
    assert row["sessions_per_s"] > 5
    assert row["wrong"] == 0
    assert set(row["codes"]) <= {"TQ-DM-81"}, "dead meters and nothing else"
    assert {figure["id"] for figure in found["figures"]} == {
        "collector.sessions",
        "collector.core",
        "collector.late",
        "collector.rss",
        "collector.callback",
        "collector.late_with_dead",
        "collector.evening_soon",
        "collector.evening_by_six",
    }


class _Timed:
    NAME = "timed"
    SECONDS = 600

    def run(self, *, smoke: bool, seconds: int = SECONDS) -> Report:
        return Report(({"seconds": seconds},), ())


def test_a_benchmark_that_runs_for_a_time_can_be_shortened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "known_benchmarks", lambda: {"timed": _Timed(), "slow": _Slow()})
    assert runner.main(["--json", "--smoke", "--seconds", "20"]) == 0
    rows = [one["rows"] for one in json.loads(capsys.readouterr().out)["benchmarks"]]
    assert [{"seconds": 20}] in rows


class _Slow:
    NAME = "slow"

    def run(self, *, smoke: bool) -> Report:
        return Report(({"what": 1},), (Figure("slow.speed", "speed", 1.0, "per s", ">=", 2.0),))


def test_a_broken_limit_is_exit_1_unless_it_was_a_smoke_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "known_benchmarks", lambda: {"slow": _Slow()})
    assert runner.main(["slow"]) == 1
    assert runner.main(["slow", "--smoke"]) == 0
    assert runner.main(["slow", "--json"]) == 1


def test_an_unknown_name_is_usage() -> None:
    with pytest.raises(SystemExit) as left:
        runner.main(["no_such_benchmark"])
    assert left.value.code == 2


@pytest.mark.parametrize(
    ("op", "value", "ok"), [(">=", 2.0, True), (">=", 1.9, False), ("<=", 2.0, True), ("<=", 2.1, False)]
)
def test_figures_are_held_to_their_limits(op: str, value: float, ok: bool) -> None:
    figure = Figure("x.y", "y", value, "s", ">=" if op == ">=" else "<=", 2.0)
    assert figure.judged(smoke=False)["ok"] is ok
    assert figure.judged(smoke=True)["ok"] is None
    assert Figure("x.y", "y", None, "s", "<=", 2.0, skipped="no disk").judged(smoke=False)["ok"] is None
