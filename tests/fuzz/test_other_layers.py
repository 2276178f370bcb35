"""A short storm over Modbus, the sync wire and files, and what the long one does. `make fuzz` runs a million frames."""

import json

import pytest

from tests.fuzz import file_layers, other_layers
from tests.fuzz.long_storm import all_layers, jobs_of, main
from tests.fuzz.storm import storm

LAYERS = {layer.name: layer for layer in (*other_layers.layers(), *file_layers.layers())}


@pytest.mark.parametrize("name", LAYERS)
def test_hostile_frames_give_named_faults(name: str) -> None:
    assert storm(LAYERS[name], 2_000, 1).bugs == []


def test_the_long_storm_reports(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--layer", "modbus tcp", "--layer", "dlms values"]
    assert main(["--frames", "6000", "--workers", "1", "--json", *chosen]) == 0
    told = capsys.readouterr()
    report = json.loads(told.out)
    assert report["frames"] == 6_000
    assert {layer["name"] for layer in report["layers"]} == {"modbus tcp", "dlms values"}
    assert report["bugs"] == 0
    assert "modbus tcp: 3000 frames" in told.err
    with pytest.raises(SystemExit):
        main(["--layer", "none such"])


def test_a_million_frames_are_shared_out_to_the_last() -> None:
    jobs = jobs_of(list(all_layers()), 1_000_000, 1)
    assert sum(frames for _, frames, _ in jobs) == 1_000_000
    assert len(set(jobs)) == len(jobs)
