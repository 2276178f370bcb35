"""The file with meters' secrets: who may read it, what it may hold, and that it is never quoted."""

import asyncio
from pathlib import Path

import pytest

from edge_node.meter_keys import FileKeys, MeterKeyFault, load_meter_keys
from edge_node.probe_counters import FileCounters
from gridmodel.identity import MeterId
from protocols.dlms.counters import CounterStore, reserve
from protocols.dlms.keys import MeterKeys
from protocols.errors import Blame, Hope
from tests.protocols.dlms.parties import CountingEntropy

EK = "5C2E8F0A913D47B6E4107D29FA6683C1"
AK = "A7094BD2386EF15C80C3197E5DB24F66"
GOOD = f"""
password = "3763346130653931"
[meters."m-1"]
block_key = "{EK}"
authentication_key = "{AK}"
meter_title = "544D510000000701"
invocation_counter = 5000
[meters."m-2"]
block_key = "000102030405060708090A0B0C0D0E0F"
authentication_key = "{AK}"
"""


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "meters.toml"
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return path


def loaded(path: Path | None, *, demo: bool = False, title: str | None = None) -> FileKeys:
    return load_meter_keys(path, node="n-1", demo=demo, title=title)


def test_each_meter_has_its_own_secrets_and_the_rest_those_of_all(tmp_path: Path) -> None:
    keys: FileKeys = loaded(written(tmp_path, GOOD))
    as_port: MeterKeys = keys
    one = as_port.secrets_of(MeterId("m-1"))
    assert (one.block_key, one.authentication_key) == (bytes.fromhex(EK), bytes.fromhex(AK))
    assert (one.password, one.meter_title, one.counter_least) == (None, b"TMQ\x00\x00\x00\x07\x01", 5_000)
    assert as_port.secrets_of(MeterId("m-9")).password == b"7c4a0e91"
    assert EK.lower() not in repr(keys).lower()
    assert repr(bytes.fromhex(EK)) not in repr(keys)


def test_a_title_is_the_nodes_own_or_made_from_its_id(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    assert loaded(path, title="544D5100000000AA").client_title() == bytes.fromhex("544D5100000000AA")
    made = {load_meter_keys(None, node=node, demo=False).client_title() for node in ("n-1", "n-2", "n-3")}
    assert len(made) == 3
    assert all(len(title) == 8 and title.startswith(b"TMQ") for title in made)
    assert loaded(path).client_title() in made


def test_keys_that_everybody_knows_are_refused_outside_a_demo(tmp_path: Path) -> None:
    keys = loaded(written(tmp_path, GOOD))
    with pytest.raises(MeterKeyFault, match="TQ-MK-04") as caught:
        keys.secrets_of(MeterId("m-2"))
    assert (caught.value.blame, caught.value.hope) == (Blame.LOCAL, Hope.PERMANENT)
    assert "block_key of meter m-2" in caught.value.what
    assert keys.secrets_of(MeterId("m-1")).block_key, "one badly delivered meter does not hold the others up"
    demo = loaded(written(tmp_path, GOOD), demo=True)
    assert demo.secrets_of(MeterId("m-2")).block_key == bytes(range(16))
    path = written(tmp_path, 'password = "3132333435363738"')
    with pytest.raises(MeterKeyFault, match=r"TQ-MK-04.*password of every meter"):
        loaded(path)
    assert loaded(path, demo=True).secrets_of(MeterId("m-1")).password == b"12345678"


@pytest.mark.parametrize(
    ("text", "mode", "code"),
    [
        (GOOD, 0o640, "TQ-MK-02"),
        (GOOD.replace("block_key", "block_kex", 1), 0o600, "TQ-MK-03"),
        (GOOD.replace(EK, EK[:-2]), 0o600, "TQ-MK-03"),
        (GOOD.replace(EK, EK[:-1] + "G"), 0o600, "TQ-MK-03"),
        (GOOD.replace(f'block_key = "{EK}"\n', ""), 0o600, "TQ-MK-03"),
        (GOOD.replace(f'"{EK}"', EK), 0o600, "TQ-MK-03"),
        (GOOD.replace('"544D510000000701"', '"544D"'), 0o600, "TQ-MK-03"),
        (GOOD.replace("5000", "0"), 0o600, "TQ-MK-03"),
        ("\x00", 0o600, "TQ-MK-03"),
        ("a = " + "[" * 20_000, 0o600, "TQ-MK-03"),
    ],
)
def test_a_wrong_file_is_named_and_no_secret_is_quoted(tmp_path: Path, text: str, mode: int, code: str) -> None:
    path = written(tmp_path, text, mode)
    with pytest.raises(MeterKeyFault, match=code) as caught:
        loaded(path)
    assert caught.value.hint
    told = f"{caught.value.what} {caught.value.hint} {caught.value.__cause__}"
    assert EK[:8] not in told
    assert AK[:8] not in told


def test_a_missing_file_is_named_and_none_at_all_is_no_secrets(tmp_path: Path) -> None:
    with pytest.raises(MeterKeyFault, match="TQ-MK-01"):
        loaded(tmp_path / "none.toml")
    assert loaded(None).secrets_of(MeterId("m-1")).secrets() == {}
    with pytest.raises(MeterKeyFault, match="TQ-MK-06"):
        loaded(None).only("m-1", b"x" * 8)


def test_a_probes_counters_are_on_disk_before_they_are_used(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)

    async def story() -> None:
        first = FileCounters(path, CountingEntropy())
        store: CounterStore = first
        with pytest.raises(MeterKeyFault, match="TQ-MK-05"):
            FileCounters(path, CountingEntropy())
        assert (await reserve(store, "k", 64)).take() == 1
        first.close()
        again = FileCounters(path, CountingEntropy(77))
        assert again.title == first.title, "a machine keeps the title it has counted under"
        assert (await reserve(again, "k", 64)).take() == 65
        again.close()

    asyncio.run(story())
    file = tmp_path / "meters.toml.counters"
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("{}", "utf-8")
    for _ in range(2):
        with pytest.raises(MeterKeyFault, match="TQ-MK-03"):
            FileCounters(path, CountingEntropy())


@pytest.mark.parametrize(
    "text",
    [
        "[" * 50_000,
        '{"title": "", "marks": {}}',
        '{"title": "0011", "marks": {}}',
        '{"title": "0011223344556677", "marks": {"k": -5}}',
        '{"title": "0011223344556677", "marks": {"k": 0}}',
        '{"title": "0011223344556677", "marks": {"k": true}}',
        '{"title": "0011223344556677", "marks": {"k": 1e400}}',
        '{"title": "0011223344556677", "marks": {"k": 99999999999}}',
    ],
)
def test_counters_that_could_be_used_twice_are_refused(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, GOOD)
    counters = path.with_name(f"{path.name}.counters")
    counters.write_text(text, "utf-8")
    counters.chmod(0o600)
    with pytest.raises(MeterKeyFault, match="TQ-MK-03"):
        FileCounters(path, CountingEntropy())
    assert counters.read_text("utf-8") == text
