"""``edge-node`` as an office types it: real processes, a real fleet of meters on the loopback, exit codes and JSON."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hosting.process import Exit
from tests.edge_node.offices import CASHIER_SECRET, CHIEF_SECRET, Office, office

READY_S_MAX = 60
"""A start on a busy machine."""


async def typed(given: Office, *words: str) -> tuple[int, Any, str]:
    """Exit code, the one object on stdout (or its text), and stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edge_node", *words, stdout=PIPE, stderr=PIPE, env=os.environ | given.environ
    )
    out, err = await process.communicate()
    text = out.decode()
    return process.returncode or 0, json.loads(text) if "--json" in words and text else text, err.decode()


@asynccontextmanager
async def running(given: Office) -> AsyncIterator[tuple[Process, dict[str, Any]]]:
    """`edge-node run` from its ready line on; killed at the end if it still lives."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edge_node", "run", "--config", str(given.path), "--log", "json"),
        stdout=PIPE,
        stderr=PIPE,
        env=os.environ | given.environ,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(READY_S_MAX):
            line = await process.stdout.readline()
        if not line:
            raise AssertionError((await process.communicate())[1].decode())
        yield process, json.loads(line)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.slow
def test_a_day_at_the_desk(tmp_path: Path) -> None:
    async def story() -> None:
        given = await office(tmp_path)
        config = ("--config", str(given.path))
        cashier = ("--secret-file", str(given.secret_file(CASHIER_SECRET)))
        chief = ("--secret-file", str(given.secret_file(CHIEF_SECRET)))
        account = given.registry.accounts[0]
        await given.fleet.start()
        async with running(given) as (process, ready):
            assert ready["ready"] is True
            code, status, _ = await typed(given, "status", *config, "--json")
            assert (code, status["running"], status["link"]["up"]) == (Exit.LINK_DOWN, True, False)
            pay = ("pay", *config, "--account", account.id, "--cashier", "p-cashier", "--json", *cashier)
            code, paid, _ = await typed(given, *pay, "--amount", "12 500,50", "--request", "req-1")
            assert (code, paid["amount_tiyin"], paid["repeated"]) == (Exit.OK, 1_250_050, False)
            code, again, _ = await typed(given, *pay, "--amount", "12500.5", "--request", "req-1")
            assert (code, again["entry"], again["repeated"]) == (Exit.OK, paid["entry"], True)
            code, refused, told = await typed(given, *pay, "--amount", "twelve")
            assert (code, refused["error"]["code"]) == (Exit.USAGE, "TQ-QT-01")
            assert "TQ-QT-01" in told
            stop = ("stop-cuts", *config, "--by", "p-cashier", "--why", "fire", *cashier)
            assert (await typed(given, *stop))[0] == Exit.OK
            code, _, told = await typed(given, "lift-stop", *config, "--by", "p-cashier", *cashier)
            assert (code, "TQ-LG-03" in told) == (Exit.REFUSED, True)
            assert (await typed(given, "lift-stop", *config, "--by", "p-chief", *chief))[0] == Exit.OK
            compare = ("compare", *config, "--to", "2026-05-05", "--wait", "0", "--json")
            code, compared, _ = await typed(given, *compare, "--from", "2026-05-04")
            assert (code, compared["ok"], compared["state"]) == (Exit.LINK_DOWN, False, "no_answer")
            code, refused, _ = await typed(given, *compare, "--from", "2026-05-06")
            assert (code, refused["error"]["code"]) == (Exit.USAGE, "TQ-CM-10")
            code, _, told = await typed(given, "run", *config)
            assert (code, "TQ-IN-01" in told) == (Exit.FAILED, True)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == Exit.OK
        given.fleet.close()
        code, status, _ = await typed(given, "status", *config, "--json")
        assert (code, status["running"], status["lanes"]["ledger"]["records"]) == (Exit.FAILED, False, 1)
        assert set(status["validation"]) == {"today", "yesterday"}
        code, why, _ = await typed(given, "explain", *config, "--usage-point", account.usage_point, "--json")
        assert (code, why["money"]["credit_tiyin"]) == (Exit.OK, 1_250_050)
        code, _, told = await typed(given, *stop)
        assert (code, "TQ-DR-01" in told) == (Exit.FAILED, True)

    asyncio.run(story())


@pytest.mark.slow
def test_a_killed_node_starts_again_with_every_payment(tmp_path: Path) -> None:
    async def story() -> None:
        given = await office(tmp_path)
        config = ("--config", str(given.path))
        cashier = ("--secret-file", str(given.secret_file(CASHIER_SECRET)))
        account = given.registry.accounts[0]
        await given.fleet.start()
        async with running(given) as (process, _):
            pay = ("pay", *config, "--account", account.id, "--cashier", "p-cashier", "--json", *cashier)
            code, paid, _ = await typed(given, *pay, "--amount", "500")
            assert code == Exit.OK
            process.kill()
            await process.wait()
        async with running(given):
            code, why, _ = await typed(given, "explain", *config, "--usage-point", account.usage_point, "--json")
            assert (code, why["money"]["credit_tiyin"]) == (Exit.OK, paid["amount_tiyin"])
        given.fleet.close()

    asyncio.run(story())


def test_what_is_typed_wrongly_is_told_with_a_hint(tmp_path: Path) -> None:
    async def story() -> None:
        given = await office(tmp_path)
        code, told, _ = await typed(given, "check-config", "--config", str(given.path), "--json")
        assert (code, told["ok"], told["node"]) == (Exit.OK, True, given.config.node)
        broken = tmp_path / "broken.toml"
        broken.write_text(given.path.read_text("utf-8").replace("listen", "listne"), "utf-8")
        code, told, err = await typed(given, "check-config", "--config", str(broken), "--json")
        assert (code, told["error"]["code"]) == (Exit.FAILED, "TQ-CF-03")
        assert "listen" in told["error"]["hint"]
        assert "TQ-CF-03" in err
        (tmp_path / "node.key").unlink()
        code, told, _ = await typed(given, "doctor", "--config", str(given.path), "--json")
        health = {check["name"]: check["health"] for check in told["checks"]}
        assert (code, told["ok"], health["keys"], health["config"]) == (Exit.FAILED, False, "fail", "ok")
        assert (await typed(given, "pay"))[0] == Exit.USAGE

    asyncio.run(story())


def test_a_meter_is_probed_over_a_real_socket(tmp_path: Path) -> None:
    async def story() -> None:
        given = await office(tmp_path)
        await given.fleet.start()
        try:
            meter = given.registry.meters[0]
            words = ("probe", "--profile", meter.profile, "--address", meter.address, "--unit", str(meter.unit))
            code, told, _ = await typed(given, *words, "--json")
            assert (code, told["ok"], told["errors"]) == (Exit.OK, True, [])
            assert any(row["channel"] == "import" and row["unit"] == "Wh" for row in told["readings"])
        finally:
            given.fleet.close()
        code, told, _ = await typed(given, *words, "--json")
        assert (code, told["ok"]) == (Exit.FAILED, False)
        assert told["errors"][0]["hint"]

    asyncio.run(story())
