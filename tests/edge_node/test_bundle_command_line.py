"""A courier between two real processes: keys, registry down, payment up, the answer; running and stopped alike."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from edge_node.config import NodeConfig
from gridmodel.registry_document import registry_to_document
from hosting.config import load_toml
from hosting.process import Exit
from tests.edge_node.offices import CASHIER_SECRET, Office, office
from tests.edge_node.test_command_line import READY_S_MAX, running, typed

HUB = """
data_dir = "hub-data"
demo = true
listen = "127.0.0.1:0"
[keys]
signing = "hub-signing.key"
bundle = "hub-bundle.key"
[[nodes]]
id = "{node}"
public_key = "{public_key}"
districts = {districts}
bundle_key = "{bundle_key}"
"""
BANK = "entry_id;account;kind;amount;at;due_at;reverses\nbank-1;{account};payment;1000;{at};;\n"


@dataclass
class Centre:
    """The hub's folder, as its operators type there."""

    office: Office
    path: Path

    async def types(self, *words: str) -> tuple[int, Any, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "central_sync", *words, "--json"),
            stdout=PIPE,
            stderr=PIPE,
            env=os.environ | self.office.environ,
        )
        out, err = await process.communicate()
        return process.returncode or 0, json.loads(out) if out else None, err.decode()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "central_sync", "run", "--config", str(self.path), "--log", "json"),
            stdout=PIPE,
            stderr=PIPE,
            env=os.environ | self.office.environ,
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(READY_S_MAX):
                assert await process.stdout.readline(), (await process.communicate())[1].decode()
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


async def introduced(folder: Path) -> tuple[Office, Centre]:
    """Both sides with each other's public keys, made by their own commands."""
    given = await office(folder, registered=False)
    centre = Centre(given, folder / "hub.toml")
    keys = ("--signing", str(folder / "hub-signing.key"), "--bundle", str(folder / "hub-bundle.key"))
    code, hub, _ = await centre.types("bundle", "make-keys", *keys, "--demo")
    assert code == Exit.OK
    out = str(folder / "node-bundle.key")
    code, node, _ = await typed(given, "bundle", "make-key", "--out", out, "--demo", "--json")
    assert code == Exit.OK
    _, told, _ = await typed(given, "check-config", "--config", str(given.path), "--json")
    text = given.path.read_text("utf-8").replace(
        "[hub]\n", f'[hub]\nsigning_key = "{hub["signing_key"]}"\nbundle_key = "{hub["bundle_key"]}"\n'
    )
    given.path.write_text(text.replace("[keys]\n", '[keys]\nbundle = "node-bundle.key"\n'), "utf-8")
    centre.path.write_text(
        HUB.format(
            node=given.config.node,
            public_key=told["public_key"],
            districts=json.dumps([str(one) for one in given.registry.districts]),
            bundle_key=node["public"],
        ),
        "utf-8",
    )
    return replace(given, config=load_toml(given.path, NodeConfig, {})), centre


@pytest.mark.slow
def test_a_flash_drive_between_two_real_processes(tmp_path: Path) -> None:
    async def story() -> None:
        given, centre = await introduced(tmp_path)
        drive = tmp_path / "drive"
        drive.mkdir()
        cashier = ("--by", "p-cashier", "--secret-file", str(given.secret_file(CASHIER_SECRET)))
        ours, theirs = ("--config", str(given.path)), ("--config", str(centre.path))
        account = given.registry.accounts[0]
        registry, bank = tmp_path / "registry.json", tmp_path / "bank.csv"
        registry.write_text(json.dumps(registry_to_document(given.registry)), "utf-8")
        bank.write_text(BANK.format(account=account.id, at="2026-05-03T10:00:00+05:00"), "utf-8")
        async with running(given) as (node, _):
            async with centre.running() as hub:
                code, told, err = await centre.types("import", "registry", str(registry), *theirs)
                assert code == Exit.OK, (told, err)
                code, told, err = await centre.types("import", "ledger", str(bank), "--channel", "bank", *theirs)
                assert code == Exit.OK, (told, err)
                write = ("bundle", "write", "--node", given.config.node, "--to", str(drive), *theirs)
                code, down, err = await centre.types(*write)
                assert (code, down["items"]) == (Exit.OK, 2), (down, err)
                hub.send_signal(signal.SIGTERM)
                assert await hub.wait() == Exit.OK
            code, told, err = await typed(given, "bundle", "apply", down["file"], *ours, *cashier, "--json")
            assert (code, told["items"], told["refused"]) == (Exit.OK, 2, 0), (told, err)
            pay = ("pay", *ours, "--account", account.id, "--amount", "500", "--cashier", *cashier[1:], "--json")
            assert (await typed(given, *pay))[0] == Exit.OK
            code, up, _ = await typed(given, "bundle", "write", "--to", str(drive), *ours, *cashier, "--json")
            assert (code, up["batches"]["ledger"]) == (Exit.OK, 1)
            wrong = ("bundle", "apply", up["file"], *ours, *cashier, "--json")
            code, told, _ = await typed(given, *wrong)
            assert (code, told["error"]["code"]) == (Exit.FAILED, "TQ-BN-05")
            stranger = ("--by", "p-cashier", "--secret-file", str(given.secret_file("guess")))
            code, told, _ = await typed(given, "bundle", "write", "--to", str(drive), *ours, *stranger, "--json")
            assert (code, told["error"]["code"]) == (Exit.REFUSED, "TQ-LG-01")
            node.send_signal(signal.SIGTERM)
            assert await node.wait() == Exit.OK
        code, told, err = await centre.types("bundle", "apply", up["file"], *theirs)
        assert (code, told["ok"], told["batches"]["applied"] >= 1) == (Exit.OK, True, True), (told, err)
        bring = ("bundle", "apply", told["reply"]["file"], *ours, *cashier, "--json")
        code, told, err = await typed(given, *bring)
        assert (code, told["newest"], told["acknowledged"]["ledger"]) == (Exit.OK, True, 1), (told, err)
        code, told, err = await typed(given, *bring)
        assert (code, told["newest"], told["acknowledged"]) == (Exit.OK, False, {}), (told, err)
        code, status, _ = await typed(given, "status", *ours, "--json")
        assert (status["lanes"]["ledger"]["records"], status["lanes"]["ledger"]["batches"]) == (0, 0)
        code, why, _ = await typed(given, "explain", *ours, "--usage-point", account.usage_point, "--json")
        assert (code, why["money"]["credit_tiyin"]) == (Exit.OK, 150_000)

    asyncio.run(story())
