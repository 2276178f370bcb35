"""``edge-node keys …`` as a chief types it: real processes, exit codes, JSON, and no secret in anything they leave."""

import asyncio
import base64
import signal
from pathlib import Path
from typing import Any

import pytest

from edge_node.config import NodeConfig
from edge_node.key_commands import check_meter_keys, leap
from edge_node.store.meter_counters import LEAP, MeterCounters
from edge_node.store.opening import CONTROL_NAME, StoreFault
from hosting.checkup import Health
from hosting.config import load_toml
from hosting.database import open_database
from hosting.process import Exit
from tests.edge_node.offices import CASHIER_SECRET, CHIEF_SECRET, Office, office
from tests.edge_node.test_command_line import running, typed
from tests.edge_node.test_meter_keys import AK, EK, written
from tests.edge_node.test_meter_vault import found_in
from tests.edge_node.vaults import OTHER, STEPS, TEXT

SECRETS = {name: bytes.fromhex(text) for name, text in (("EK", EK), ("AK", AK), ("OTHER", OTHER))}


def with_keys(given: Office, *lines: str, demo: bool = True) -> Office:
    """The office's configuration with those lines under [keys]."""
    text = given.path.read_text("utf-8").replace('row = "row.key"', "\n".join(('row = "row.key"', *lines)))
    given.path.write_text(text if demo else text.replace("demo = true", "demo = false"), "utf-8")
    return given


def key_in(path: Path) -> bytes:
    return base64.b64decode(path.read_text("ascii").rsplit(":", 1)[1])


class Typist:
    """A chief at the office's keyboard; everything that was told is kept."""

    def __init__(self, given: Office) -> None:
        self.given, self.said = given, list[str]()
        self.config = ("--config", str(given.path))
        self.chief = self.signing("p-chief", CHIEF_SECRET)

    def signing(self, person: str, secret: str) -> tuple[str, ...]:
        return *self.config, "--by", person, "--secret-file", str(self.given.secret_file(secret))

    async def keys(self, *words: str) -> tuple[int, Any]:
        code, answer, err = await typed(self.given, "keys", *words, "--json")
        self.said.extend((str(answer), err))
        return code, answer


async def taken_in(typist: Typist, folder: Path) -> None:
    """The plain file: refused to a cashier, tried, refused for one wrong row, taken in, destroyed."""
    plain = str(written(folder, TEXT))
    code, answer = await typist.keys("import", plain, *typist.signing("p-cashier", CASHIER_SECRET))
    assert (code, answer["error"]["code"]) == (Exit.REFUSED, "TQ-LG-03")
    code, answer = await typist.keys("import", plain, *typist.chief, "--dry-run")
    assert (code, answer["added"], answer["next"]) == (Exit.OK, 3, "nothing was written")
    written(folder, TEXT.replace(OTHER, OTHER[:-2]))
    code, answer = await typist.keys("import", plain, *typist.chief)
    assert (code, answer["ok"], answer["errors"][0]["meter"]) == (Exit.FAILED, False, "m-2")
    written(folder, TEXT)
    code, answer = await typist.keys("import", plain, *typist.chief)
    assert (code, answer["added"], answer["not_in_registry_meters"]) == (Exit.OK, 3, ["m-1", "m-2"])
    assert "shred" in answer["next"]


@pytest.mark.slow
def test_keys_are_taken_in_listed_and_rotated(tmp_path: Path) -> None:
    async def story() -> None:
        typist = Typist(await office(tmp_path))
        code, pair = await typist.keys("new-recovery-pair", "--demo", "--out", str(tmp_path / "safe.key"))
        assert code == Exit.OK
        with_keys(typist.given, 'node = "meter.key"', f'recovery = "{pair["public"]}"')
        node_key = tmp_path / "meter.key"
        code, answer = await typist.keys("import", str(written(tmp_path, TEXT)), *typist.chief)
        assert (code, answer["error"]["code"]) == (Exit.FAILED, "TQ-DR-01"), "the node does not run"
        async with running(typist.given) as (process, _):
            await taken_in(typist, tmp_path)
            first = key_in(node_key)
            code, answer = await typist.keys("rotate-node-key", *typist.chief)
            assert (code, answer["recovery_key"]) == (Exit.OK, pair["key_id"])
            code, listed = await typist.keys("list", *typist.config, "--limit", "2")
            assert (code, listed["total"], listed["after"]) == (Exit.OK, 3, "m-1")
            assert (listed["node_key"]["state"], listed["recovery"]["fits"]) == ("fits", True)
            code, answer = await typist.keys("leap-counters", *typist.config)
            assert (code, answer["error"]["code"]) == (Exit.FAILED, "TQ-IN-01"), "not under a running node"
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == Exit.OK
            assert process.stderr is not None
            typist.said.append((await process.stderr.read()).decode())
        secrets = SECRETS | {"old": first, "new": key_in(node_key), "offline": key_in(tmp_path / "safe.key")}
        assert first != secrets["new"]
        assert found_in("\n".join(typist.said).encode(), secrets) == []
        for path in typist.given.config.data_dir.iterdir():
            assert found_in(path.read_bytes() if path.is_file() else b"", secrets) == [], path.name

    asyncio.run(asyncio.wait_for(story(), 120))


@pytest.mark.slow
def test_a_lost_node_key_is_replaced_with_what_the_safe_holds(tmp_path: Path) -> None:
    async def story() -> None:
        typist = Typist(await office(tmp_path))
        safe, out = tmp_path / "safe.key", tmp_path / "data.key"
        _, pair = await typist.keys("new-recovery-pair", "--demo", "--out", str(safe))
        with_keys(typist.given, 'node = "meter.key"', f'recovery = "{pair["public"]}"')
        async with running(typist.given):
            code, _ = await typist.keys("import", str(written(tmp_path, TEXT)), *typist.chief)
            assert code == Exit.OK
        (tmp_path / "meter.key").unlink()
        code, listed = await typist.keys("list", *typist.config)
        assert (code, listed["node_key"]["state"]) == (Exit.FAILED, "cannot be used (TQ-KY-01)")
        check = await check_meter_keys(load_toml(typist.given.path, NodeConfig, {}))
        assert (check.health, "keys recover" in check.hint) == (Health.FAIL, True)
        copy = str(typist.given.config.data_dir / CONTROL_NAME)
        code, answer = await typist.keys(
            *("recover", "--demo", "--copy", copy, "--recovery-key", str(safe), "--out", str(out))
        )
        assert (code, answer["opened"]) == (Exit.OK, 3)
        async with running(typist.given):
            code, answer = await typist.keys("rotate-node-key", *typist.chief)
            assert (code, answer["error"]["code"]) == (Exit.FAILED, "TQ-MK-08"), "the node runs, its vault is locked"
            code, _ = await typist.keys("rotate-node-key", *typist.chief, "--recovered", str(out))
            assert code == Exit.OK
            code, listed = await typist.keys("list", *typist.config)
            assert (code, listed["total"]) == (Exit.OK, 3)
        assert found_in("\n".join(typist.said).encode(), SECRETS | {"carried": key_in(out)}) == []

    asyncio.run(asyncio.wait_for(story(), 120))


def test_a_plain_file_is_refused_in_production_and_a_recovery_key_is_checked(tmp_path: Path) -> None:
    async def story() -> None:
        given = await office(tmp_path)
        written(tmp_path, TEXT)
        with_keys(given, 'meters = "meters.toml"')
        code, told, _ = await typed(given, "check-config", "--config", str(given.path), "--json")
        assert (code, told["meter_keys"]) == (Exit.OK, "plain")
        production = given.path.read_text("utf-8").replace("demo = true", "demo = false")
        given.path.write_text(production, "utf-8")
        check = await check_meter_keys(load_toml(given.path, NodeConfig, {}))
        assert (check.health, "TQ-MK-07" in check.what, "keys import" in check.hint) == (Health.FAIL, True, True)
        given.path.write_text(production.replace('meters = "meters.toml"', 'recovery = "x25519:AAAA"'), "utf-8")
        code, told, _ = await typed(given, "check-config", "--config", str(given.path), "--json")
        assert (code, "TQ-CF" in told["error"]["code"], "recovery" in told["error"]["what"]) == (1, True, True)
        both = 'meters = "meters.toml"\nnode = "meter.key"'
        given.path.write_text(production.replace('meters = "meters.toml"', both), "utf-8")
        code, told, _ = await typed(given, "run", "--config", str(given.path))
        assert code == Exit.FAILED

    asyncio.run(asyncio.wait_for(story(), 60))


def test_a_restored_store_skips_its_counters_before_it_starts(tmp_path: Path) -> None:
    async def story() -> None:
        given = await office(tmp_path)
        path = given.config.data_dir / CONTROL_NAME
        control = await open_database(path, "control", STEPS)
        await MeterCounters(control).move("k", 500)
        await control.close()
        assert (await leap(given.config))["keys"] == 1
        control = await open_database(path, "control", STEPS)
        assert await MeterCounters(control).mark("k") == 500 + LEAP
        await control.close()
        path.unlink()
        try:
            await leap(given.config)
        except StoreFault as fault:
            assert fault.code == "TQ-ST-04"
        assert not path.exists(), "it makes no store where there is none"

    asyncio.run(asyncio.wait_for(story(), 60))
