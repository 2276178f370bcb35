"""50,000 mutated and random frames against every layer of DLMS; a million of them by `make fuzz`."""

import random

import pytest

from protocols.dlms.faults import DlmsFault
from protocols.errors import Blame, Hope
from tests.fuzz import dlms_layers
from tests.fuzz.long_storm import shares
from tests.fuzz.storm import MEMORY_MAX, SECONDS_MAX, Layer, Misconduct, mutated, storm

FRAMES = 50_000
LAYERS = {layer.name: layer for layer in dlms_layers.layers()}
SHARES = shares(list(LAYERS.values()), FRAMES)


@pytest.mark.parametrize("name", LAYERS)
def test_hostile_frames_give_named_faults_in_bounded_time_and_memory(name: str) -> None:
    tally = storm(LAYERS[name], SHARES[name], 1)
    assert tally.bugs == []
    assert tally.frames == SHARES[name]
    assert tally.slowest_s < SECONDS_MAX
    assert tally.peak_bytes < MEMORY_MAX


def test_all_frames_are_shared_out() -> None:
    assert sum(SHARES.values()) == FRAMES
    assert min(SHARES.values()) > 50


def broken(raw: bytes, _rng: random.Random) -> None:
    if b"1" in raw:
        raise IndexError("an unhandled one")
    if b"2" in raw:
        raise DlmsFault("TQ-DM-70", "ours", "hint", blame=Blame.LOCAL, hope=Hope.PERMANENT)
    if b"3" in raw:
        bytearray(200_000)
    raise DlmsFault("TQ-DM-02", "theirs", "hint", blame=Blame.REMOTE, hope=Hope.RETRY)


@pytest.mark.parametrize(
    ("frame", "told"), [(b"1", "IndexError"), (b"2", "TQ-DM-70 blames local"), (b"3", "bytes of memory")]
)
def test_a_storm_finds_what_it_looks_for(frame: bytes, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.storm.MEMORY_MAX", 100_000)
    bugs = storm(Layer("x", [frame * 40], broken), 600, 1).bugs
    assert any(told in bug for bug in bugs)
    assert bytes.fromhex(bugs[0].rpartition(" ")[2])


def nothing(_raw: bytes, _rng: random.Random) -> None: ...


def test_a_layer_that_believes_everything_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "only 0 of 1000" in storm(Layer("x", [b"abc"], nothing), 1_000, 1).bugs[0]

    def moved() -> None:
        raise Misconduct("a relay moved")

    assert "a relay moved" in storm(Layer("x", [b"abc"], nothing, finish=moved), 0, 1).bugs[0]
    monkeypatch.setattr("tests.fuzz.storm.SECONDS_MAX", -1.0)
    assert " s: " in storm(Layer("x", [b"abc"], nothing), 3, 1).bugs[0]


def test_the_same_seed_brings_the_same_frames() -> None:
    frames = [b"one", b"another", b""]
    assert len({mutated(random.Random(7), b"one", frames) for _ in range(3)}) == 1
    assert len({mutated(random.Random(n), bytes(40), frames) for n in range(100)}) > 80
