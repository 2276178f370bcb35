"""``edge-node keys …`` as a chief types it: real processes, exit codes, JSON, and no secret in anything they leave."""

import asyncio
import base64
import signal
from pathlib import Path

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


def test_keys_are_taken_in_listed_rotated_lost_and_recovered(tmp_path: Path) -> None:
    async def story() -> None:
        safe, said = tmp_path / "safe.key", list[str]()
        given = await office(tmp_path)

        async def keys(*words: str) -> tuple[int, dict[str, object]]:
            code, answer, err = await typed(given, "keys", *words, "--json")
            said.extend((str(answer), err))
            return code, answer

        code, pair = await keys("new-recovery-pair", "--demo", "--out", str(safe))
        assert code == Exit.OK
        with_keys(given, 'node = "meter.key"', f'recovery = "{pair["public"]}"')
        config, node_key = ("--config", str(given.path)), tmp_path / "meter.key"
        chief = (*config, "--by", "p-chief", "--secret-file", str(given.secret_file(CHIEF_SECRET)))
        cashier = (*config, "--by", "p-cashier", "--secret-file", str(given.secret_file(CASHIER_SECRET)))
        plain = written(tmp_path, TEXT)
        assert (await keys("import", str(plain), *chief))[0] == Exit.FAILED, "the node does not run"
        async with running(given) as (process, _):
            code, answer = await keys("import", str(plain), *cashier)
            assert (code, answer["error"]["code"]) == (Exit.REFUSED, "TQ-LG-03")  # type: ignore[index]
            code, answer = await keys("import", str(plain), *chief, "--dry-run")
            assert (code, answer["added"], answer["next"]) == (Exit.OK, 3, "nothing was written")
            bad = written(tmp_path, TEXT.replace(OTHER, OTHER[:-2]))
            code, answer = await keys("import", str(bad), *chief)
            assert (code, answer["ok"], answer["errors"][0]["meter"]) == (Exit.FAILED, False, "m-2")  # type: ignore[index]
            code, answer = await keys("import", str(written(tmp_path, TEXT)), *chief)
            assert (code, answer["added"], answer["not_in_registry_meters"]) == (Exit.OK, 3, ["m-1", "m-2"])
            assert "shred" in str(answer["next"])
            plain.unlink()
            first = key_in(node_key)
            code, answer = await keys("rotate-node-key", *chief)
            assert (code, answer["recovery_key"]) == (Exit.OK, pair["key_id"])
            assert key_in(node_key) != first
            code, listed = await keys("list", *config, "--limit", "2")
            assert (code, listed["total"], listed["after"]) == (Exit.OK, 3, "m-1")
            assert listed["node_key"]["state"] == "fits"  # type: ignore[index]
            code, _ = await keys("leap-counters", *config)
            assert code == Exit.FAILED, "not under a running node"
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == Exit.OK
            assert process.stderr is not None
            said.append((await process.stderr.read()).decode())
        node_key.unlink()
        code, listed = await keys("list", *config)
        assert (code, listed["node_key"]["state"]) == (Exit.FAILED, "cannot be used (TQ-KY-01)")  # type: ignore[index]
        assert (await check_meter_keys(load_toml(given.path, NodeConfig, {}))).health is Health.FAIL
        data, out = tmp_path / "data" / CONTROL_NAME, tmp_path / "data.key"
        recover = ("recover", "--demo", "--copy", str(data), "--recovery-key", str(safe), "--out", str(out))
        code, answer = await keys(*recover)
        assert (code, answer["opened"]) == (Exit.OK, 3)
        async with running(given):
            code, _ = await keys("rotate-node-key", *chief)
            assert code == Exit.FAILED, "the node runs, its vault is locked"
            code, _ = await keys("rotate-node-key", *chief, "--recovered", str(out))
            assert code == Exit.OK
            code, listed = await keys("list", *config)
            assert (code, listed["total"]) == (Exit.OK, 3)
        secrets = SECRETS | {"old": first, "new": key_in(node_key), "carried": key_in(out), "offline": key_in(safe)}
        assert found_in("\n".join(said).encode(), secrets) == []
        for path in data.parent.iterdir():
            if path.is_file():
                assert found_in(path.read_bytes(), secrets) == [], path.name

    asyncio.run(asyncio.wait_for(story(), 170))


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
