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
import typer
from typer.testing import CliRunner

from central_sync.__main__ import app as central_sync
from edge_node.__main__ import app as edge_node
from edge_node.config import NodeConfig
from edge_node.serving import load_signer
from gridmodel.registry_document import registry_to_document
from hosting.config import load_toml
from hosting.process import Exit
from protocols.authority.signatures import key_to_text
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


def typed_here(app: typer.Typer, *words: str) -> tuple[int, Any]:
    """A command in this process: exit code and the one object on stdout."""
    result = CliRunner().invoke(app, [*words, "--json"])
    return result.exit_code, json.loads(result.stdout.splitlines()[-1])


def introduced(given: Office) -> tuple[Office, Centre]:
    """Both sides with each other's public keys, made by their own commands."""
    folder = given.folder
    keys = ("--signing", str(folder / "hub-signing.key"), "--bundle", str(folder / "hub-bundle.key"))
    code, hub = typed_here(central_sync, "bundle", "make-keys", *keys, "--demo")
    assert code == Exit.OK
    code, node = typed_here(edge_node, "bundle", "make-key", "--out", str(folder / "node-bundle.key"), "--demo")
    assert code == Exit.OK
    text = given.path.read_text("utf-8").replace(
        "[hub]\n", f'[hub]\nsigning_key = "{hub["signing_key"]}"\nbundle_key = "{hub["bundle_key"]}"\n'
    )
    given.path.write_text(text.replace("[keys]\n", '[keys]\nbundle = "node-bundle.key"\n'), "utf-8")
    centre = Centre(given, folder / "hub.toml")
    centre.path.write_text(
        HUB.format(
            node=given.config.node,
            public_key=key_to_text(load_signer(given.config).public),
            districts=json.dumps([str(one) for one in given.registry.districts]),
            bundle_key=node["public"],
        ),
        "utf-8",
    )
    return replace(given, config=load_toml(given.path, NodeConfig, {})), centre


@pytest.mark.slow
@pytest.mark.timeout(300)  # a dozen processes, one after the other
def test_a_flash_drive_between_two_real_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, centre = introduced(asyncio.run(office(tmp_path, registered=False)))
    drive = tmp_path / "drive"
    drive.mkdir()
    cashier = ("--by", "p-cashier", "--secret-file", str(given.secret_file(CASHIER_SECRET)))
    ours, theirs = ("--config", str(given.path)), ("--config", str(centre.path))
    account = given.registry.accounts[0]
    registry = tmp_path / "registry.json"
    registry.write_text(json.dumps(registry_to_document(given.registry)), "utf-8")

    async def story() -> tuple[str, str]:
        """Registry down beside running processes, a payment up to a hub that rests, the answer to a node that rests."""
        async with running(given) as (node, _):
            async with centre.running() as hub:
                code, told, err = await centre.types("import", "registry", str(registry), *theirs)
                assert code == Exit.OK, (told, err)
                write = ("bundle", "write", "--node", given.config.node, "--to", str(drive), *theirs)
                code, down, err = await centre.types(*write)
                assert (code, down["items"]) == (Exit.OK, 1), (down, err)
                hub.send_signal(signal.SIGTERM)
                assert await hub.wait() == Exit.OK
            code, told, err = await typed(given, "bundle", "apply", down["file"], *ours, *cashier, "--json")
            assert (code, told["items"], told["refused"]) == (Exit.OK, 1, 0), (told, err)
            pay = ("pay", *ours, "--account", account.id, "--amount", "500", "--cashier", *cashier[1:], "--json")
            assert (await typed(given, *pay))[0] == Exit.OK
            code, up, _ = await typed(given, "bundle", "write", "--to", str(drive), *ours, *cashier, "--json")
            assert (code, up["batches"]["ledger"]) == (Exit.OK, 1)
            node.send_signal(signal.SIGTERM)
            assert await node.wait() == Exit.OK
        code, told, err = await centre.types("bundle", "apply", up["file"], *theirs)
        assert (code, told["ok"], told["batches"]["applied"] >= 1) == (Exit.OK, True, True), (told, err)
        code, brought, err = await typed(given, "bundle", "apply", told["reply"]["file"], *ours, *cashier, "--json")
        assert (code, brought["newest"], brought["acknowledged"]["ledger"]) == (Exit.OK, True, 1), (brought, err)
        return up["file"], told["reply"]["file"]

    up, answer = asyncio.run(story())
    for name, value in given.environ.items():
        monkeypatch.setenv(name, value)
    code, told = typed_here(edge_node, "bundle", "apply", answer, *ours, *cashier)
    assert (code, told["newest"], told["acknowledged"]) == (Exit.OK, False, {})
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for command in ((edge_node, *ours, *cashier), (central_sync, *theirs)):
        code, told = typed_here(command[0], "bundle", "apply", str(tmp_path / "loop"), *command[1:])
        assert (code, told["error"]["code"]) == (Exit.FAILED, "TQ-BN-10")
    code, told = typed_here(edge_node, "bundle", "apply", up, *ours, *cashier)
    assert (code, told["error"]["code"]) == (Exit.FAILED, "TQ-BN-05")
    stranger = ("--by", "p-cashier", "--secret-file", str(given.secret_file("guess")))
    code, told = typed_here(edge_node, "bundle", "write", "--to", str(drive), *ours, *stranger)
    assert (code, told["error"]["code"]) == (Exit.REFUSED, "TQ-LG-01")
    code, told = typed_here(edge_node, "bundle", "write", "--to", str(drive), "--bytes-max", "5", *ours, *cashier)
    assert (code, told["error"]["code"]) == (Exit.USAGE, "TQ-VB-01")
    code, told = typed_here(central_sync, "bundle", "write", "--node", "nobody", "--to", str(drive), *theirs)
    assert (code, told["error"]["code"]) == (Exit.FAILED, "TQ-HB-21")
    code, told = typed_here(edge_node, "status", *ours)
    assert (told["lanes"]["ledger"]["records"], told["lanes"]["ledger"]["batches"]) == (0, 0)
