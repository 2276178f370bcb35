"""Meters' secrets at rest: sealed, bound to their place, locked without their key, and never in clear."""

import asyncio
import base64
import io
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from edge_node.key_commands import recover
from edge_node.meter_keys import MeterKeyFault
from edge_node.meter_vault import MeterVault, Taken
from gridmodel.identity import MeterId
from hosting.database import Database
from hosting.keys import KeyDomain
from hosting.log import LogForm, configure_log, logger
from protocols.dlms.keys import MeterKeys, MeterSecrets
from tests.edge_node.test_meter_keys import AK, EK, written
from tests.edge_node.vaults import FIRST, NOW, OTHER, TEXT, TITLE, Office, edit, folder, rows_of, told

MOVED = (
    "UPDATE meter_secret SET sealed = (SELECT sealed FROM meter_secret WHERE {})"
    " WHERE meter = 'm-1' AND kind = 'block_key'"
)


def test_a_file_is_taken_in_whole_and_secrets_are_given_out_one_by_one(tmp_path: Path) -> None:
    async def story(vault: MeterVault, _: Database) -> None:
        keys: MeterKeys = vault
        assert keys.secrets_of(MeterId("m-1")) == MeterSecrets(), "nothing is known before"
        path = office.file()
        assert await vault.take(path, dry_run=True) == Taken(added=("*", "m-1", "m-2"))
        assert keys.secrets_of(MeterId("m-1")) == MeterSecrets(), "a dry run writes nothing"
        assert await vault.take(path, dry_run=False) == Taken(added=("*", "m-1", "m-2"))
        assert keys.secrets_of(MeterId("m-1")) == FIRST
        assert keys.secrets_of(MeterId("m-9")).password == bytes.fromhex("6F2D77A1")
        assert keys.client_title() == TITLE
        assert await vault.take(path, dry_run=False) == Taken(unchanged=3)
        changed = office.file(TEXT.replace(OTHER, OTHER[::-1]))
        assert await vault.take(changed, dry_run=False) == Taken(changed=("m-2",), unchanged=2)

    async def after(vault: MeterVault, control: Database) -> None:
        assert vault.secrets_of(MeterId("m-1")) == FIRST
        assert vault.secrets_of(MeterId("m-2")).block_key == bytes.fromhex(OTHER[::-1])
        sets = (await rows_of(control).load()).sets
        assert {meter: held.version for meter, held in sets.items()} == {"*": 1, "m-1": 1, "m-2": 2}

    office = Office(tmp_path)
    told(story, office)
    assert office.key_path.stat().st_mode & 0o777 == 0o600
    told(after, office)


def test_each_wrong_row_is_named_and_then_none_is_taken_in(tmp_path: Path) -> None:
    text = (
        TEXT
        + f"""
[meters."m-3"]
block_key = "000102030405060708090A0B0C0D0E0F"
authentication_key = "{AK}"
[meters."m-4"]
block_key = "{EK[:-2]}"
authentication_key = "{AK}"
[meters."no name"]
password = "6F2D77A1"
[meters."m-5"]
block_key = "{EK}"
"""
    )

    async def story(vault: MeterVault, control: Database) -> None:
        for dry_run in (True, False):
            taken = await vault.take(office.file(text), dry_run=dry_run)
            faults = {fault.meter: fault.code for fault in taken.faults}
            assert faults == {"m-3": "TQ-MK-04", "m-4": "TQ-MK-03", "no name": "TQ-ID-01", "m-5": "TQ-MK-03"}
            assert all(fault.hint for fault in taken.faults)
            assert not any(key[:8] in str(taken) for key in (EK, AK))
        assert (await rows_of(control).load()).key is None
        with pytest.raises(MeterKeyFault, match="TQ-MK-03"):
            await vault.take(office.file("meters = 3"), dry_run=False)
        with pytest.raises(MeterKeyFault, match="TQ-MK-02"):
            await vault.take(written(tmp_path, TEXT, 0o640), dry_run=False)

    office = Office(tmp_path)
    told(story, office)


def test_a_demo_takes_keys_that_everybody_knows_and_needs_no_recovery_key(tmp_path: Path) -> None:
    async def story(vault: MeterVault, _: Database) -> None:
        taken = await vault.take(office.file('password = "3132333435363738"'), dry_run=False)
        assert taken.added == ("*",)
        assert (await vault.rotate()).recovery_key is None

    office = Office(tmp_path, recovery=False, domain=KeyDomain.DEMO)
    told(story, office)


def test_production_seals_nothing_that_could_not_be_recovered(tmp_path: Path) -> None:
    async def story(vault: MeterVault, _: Database) -> None:
        with pytest.raises(MeterKeyFault, match="TQ-MK-10"):
            await vault.take(office.file(), dry_run=True)
        with pytest.raises(MeterKeyFault, match="TQ-MK-11"):
            await vault.rotate()

    office = Office(tmp_path, recovery=False)
    told(story, office)


@pytest.mark.parametrize(
    "edits",
    [
        (MOVED.format("meter = 'm-2' AND kind = 'block_key'"),),
        (MOVED.format("meter = 'm-1' AND kind = 'authentication_key'"),),
        ("UPDATE meter_secret SET version = 2 WHERE meter = 'm-1'",),
        ("UPDATE meter_secret SET version = 2 WHERE meter = 'm-1' AND kind = 'block_key'",),
        ("DELETE FROM meter_secret WHERE meter = 'm-1' AND kind = 'meter_title'",),
        ("UPDATE meter_secret SET kind = 'hls_secret' WHERE meter = 'm-1' AND kind = 'block_key'",),
        ("DELETE FROM meter_secret WHERE meter = 'm-1'", "UPDATE meter_secret SET meter = 'm-1' WHERE meter = '*'"),
        ("UPDATE meter_secret SET sealed = x'00' WHERE meter = 'm-1' AND kind = 'block_key'",),
    ],
)
def test_rows_that_were_swapped_or_edited_do_not_open_and_the_others_do(tmp_path: Path, edits: tuple[str, ...]) -> None:
    async def taken_in(vault: MeterVault, _: Database) -> None:
        await vault.take(office.file(), dry_run=False)

    async def story(vault: MeterVault, _: Database) -> None:
        with pytest.raises(MeterKeyFault, match=r"TQ-MK-09.*m-1"):
            vault.secrets_of(MeterId("m-1"))
        assert vault.secrets_of(MeterId("m-2")).block_key == bytes.fromhex(OTHER)
        with pytest.raises(MeterKeyFault, match=r"TQ-MK-09.*m-1"):
            await vault.rotate()
        await vault.take(office.file(), dry_run=False)
        assert vault.secrets_of(MeterId("m-1")) == FIRST, "an import mends it"
        await vault.rotate()

    office = Office(tmp_path)
    told(taken_in, office)
    edit(office, *edits)
    told(story, office)


def test_without_its_node_key_the_vault_is_locked_and_never_makes_another(tmp_path: Path) -> None:
    async def taken_in(vault: MeterVault, _: Database) -> None:
        await vault.take(office.file(), dry_run=False)

    async def locked(vault: MeterVault, _: Database) -> None:
        with pytest.raises(MeterKeyFault, match=code):
            vault.secrets_of(MeterId("m-1"))
        assert vault.locked is not None
        for work in (vault.take(office.file(), dry_run=True), vault.rotate()):
            with pytest.raises(MeterKeyFault, match=code):
                await work

    office = Office(tmp_path)
    told(taken_in, office)
    kept = office.key_path.read_bytes()
    office.key_path.chmod(0o640)
    code = "TQ-KY-02"
    told(locked, office)
    office.key_path.unlink()
    code = "TQ-MK-08"
    told(locked, office)
    assert not office.key_path.exists()
    other = Office(folder(tmp_path / "other"))
    told(taken_in_elsewhere(other), other)
    office.key_path.write_bytes(other.key_path.read_bytes())
    office.key_path.chmod(0o600)
    told(locked, office)
    assert office.key_path.read_bytes() == other.key_path.read_bytes(), "a key of another node is not overwritten"
    office.place = replace(office.place, node_key=None)
    told(locked, office)
    office.place = replace(office.place, node_key=office.key_path)
    office.key_path.write_bytes(kept)

    async def opened(vault: MeterVault, _: Database) -> None:
        assert vault.secrets_of(MeterId("m-1")) == FIRST

    told(opened, office)


def taken_in_elsewhere(office: Office) -> Callable[[MeterVault, Database], Awaitable[None]]:
    async def story(vault: MeterVault, _: Database) -> None:
        await vault.take(office.file(), dry_run=False)

    return story


def forms(secret: bytes) -> list[bytes]:
    """How a secret could stand in a file or a line: as bytes, hex, base64, or as Python shows it."""
    hexed = secret.hex()
    shown = (hexed, hexed.upper(), base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode())
    return [secret, *(text.rstrip("=").encode() for text in shown), repr(secret)[2:-1].encode()]


def found_in(content: bytes, secrets: dict[str, bytes]) -> list[str]:
    return [name for name, secret in secrets.items() if any(form in content for form in forms(secret))]


def test_no_secret_is_in_clear_in_a_database_a_copy_a_log_or_an_answer(tmp_path: Path) -> None:
    office, lines = Office(tmp_path), io.StringIO()
    secrets = {name: bytes.fromhex(text) for name, text in (("EK", EK), ("AK", AK), ("OTHER", OTHER))}
    said: list[object] = []

    async def story(vault: MeterVault, control: Database) -> None:
        said.append(await vault.take(office.file(), dry_run=False))
        await control.copy_to(tmp_path / "backup-1.db")
        said.append(await vault.rotate())
        await vault.take(office.file(TEXT.replace("5000", "6000")), dry_run=False)
        await control.copy_to(tmp_path / "backup-2.db")
        said.append(await recover(tmp_path / "backup-2.db", office.private, tmp_path / "data.key", demo=False))
        said.extend((vault, vars(vault), vault.secrets_of(MeterId("m-1"))))
        for name in ("meter.key", "data.key"):
            secrets[name] = base64.b64decode((tmp_path / name).read_text("ascii").rsplit(":", 1)[1])
        edit(office, "UPDATE meter_secret SET version = 9")
        await vault.open(rows_of(control))
        try:
            vault.secrets_of(MeterId("m-1"))
        except MeterKeyFault as fault:
            said.extend((fault, fault.as_dict(), fault.__cause__, fault.__context__))
            logger("meters").exception("refused", vault=vault, fault=fault)
        (tmp_path / "meters.toml").unlink()
        files = list(await asyncio.to_thread(tmp_path.glob, "*.db*"))
        assert {path.name for path in files} >= {"control.db", "control.db-wal", "backup-1.db", "backup-2.db"}
        for path in files:
            assert found_in(path.read_bytes(), secrets) == [], path.name

    for form in LogForm:
        configure_log(form, lambda: NOW, stream=lines)
    try:
        told(story, office)
    finally:
        structlog.reset_defaults()
    assert "TQ-MK-09" in lines.getvalue()
    assert found_in(lines.getvalue().encode(), secrets) == []
    assert found_in(repr(said).encode(), secrets) == []
    assert found_in(repr(secrets["EK"]).encode(), secrets) == ["EK"], "the search finds what is there"


def test_what_a_vault_held_is_taken_apart_by_compute_and_dies_on_no_callback(tmp_path: Path) -> None:
    async def story(vault: MeterVault, _: Database) -> None:
        await vault.take(office.file(), dry_run=False)
        held = vault._sealed.sets
        assert len(held) == 3
        await vault.rotate()
        assert held == {}
        assert vault.secrets_of(MeterId("m-1")) == FIRST

    office = Office(tmp_path)
    told(story, office)
