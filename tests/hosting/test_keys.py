import stat
from pathlib import Path

import pytest

from hosting.clocks import SystemEntropy
from hosting.keys import (
    KeyDomain,
    KeyFault,
    create_row_key,
    create_signing_key,
    load_row_key,
    load_signing_key,
)

ENTROPY = SystemEntropy()


def test_a_key_comes_back_from_its_private_file(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    key = create_signing_key(path, ENTROPY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["node.key"]
    key.public_key().verify(load_signing_key(path).sign(b"batch"), b"batch")
    row_key = create_row_key(tmp_path / "row.key", ENTROPY)
    assert load_row_key(tmp_path / "row.key") == row_key


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    before = create_signing_key(path, ENTROPY).public_key()
    with pytest.raises(KeyFault, match="TQ-KY-04"):
        create_signing_key(path, ENTROPY)
    assert load_signing_key(path).public_key() == before


def test_missing_exposed_and_malformed_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    with pytest.raises(KeyFault, match="TQ-KY-01"):
        load_signing_key(path)
    with pytest.raises(KeyFault, match="TQ-KY-01"):
        create_signing_key(tmp_path / "none" / "node.key", ENTROPY)
    create_signing_key(path, ENTROPY)
    for mode in (0o640, 0o604):
        path.chmod(mode)
        with pytest.raises(KeyFault, match="TQ-KY-02"):
            load_signing_key(path)
    path.chmod(0o600)
    with pytest.raises(KeyFault, match="TQ-KY-03"):
        load_row_key(path)
    for content in ("", "ed25519-private:production:AAAA", "ed25519-private:moon:" + "A" * 43 + "=", "x" * 999):
        path.write_text(content, encoding="ascii")
        with pytest.raises(KeyFault, match="TQ-KY-03"):
            load_signing_key(path)
    with pytest.raises(KeyFault, match="TQ-KY-03"):
        load_signing_key(tmp_path)


def test_a_demo_key_is_refused_in_production_and_the_other_way_round(tmp_path: Path) -> None:
    create_signing_key(tmp_path / "demo.key", ENTROPY, KeyDomain.DEMO)
    create_signing_key(tmp_path / "real.key", ENTROPY)
    with pytest.raises(KeyFault, match=r"TQ-KY-05.*demo"):
        load_signing_key(tmp_path / "demo.key")
    with pytest.raises(KeyFault, match="TQ-KY-05"):
        load_signing_key(tmp_path / "real.key", KeyDomain.DEMO)
    load_signing_key(tmp_path / "demo.key", KeyDomain.DEMO)


def test_a_place_that_takes_no_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeyFault, match="TQ-KY-06"):
        create_signing_key(tmp_path / "file" / "node.key", ENTROPY)
