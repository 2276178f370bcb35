"""What every command of ``edge-node`` shares: options, the answer as JSON or lines, exit codes. Above the rooms.

Nothing here knows a verb; `__main__` and `key_command_line` type them.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_node import commands
from edge_node.config import NodeConfig
from gridmodel.fault import Fault
from hosting.clocks import ScaledClock, clock_from_environment
from hosting.config import load_toml, read_secret
from hosting.log import LogForm, configure_log
from hosting.process import Exit, tell
from hosting.speech import spoken_lines

USAGE_CODES = ("TQ-CM-1", "TQ-ID-", "TQ-PD-", "TQ-QT-", "TQ-VB-")
"""Faults of what was typed."""
REFUSED_CODES = ("TQ-LG-",)
"""Faults of who may do what."""

Config = Annotated[Path, typer.Option("--config", "-c", help="The node's TOML file.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
SecretFile = Annotated[Path, typer.Option("--secret-file", help="File (0600) with the person's secret.")]


def clock_asked_for() -> ScaledClock:
    """The clock that the environment asks for; a wrong one is told, and ends the command."""
    try:
        return clock_from_environment(os.environ)
    except Fault as fault:
        tell(fault)
        raise typer.Exit(Exit.FAILED) from fault


def load(path: Path) -> NodeConfig:
    """The configuration; raises ConfigFault."""
    return load_toml(path, NodeConfig, os.environ)


async def signed(config: Path, verb: str, secret_file: Path, body: dict[str, Any]) -> dict[str, Any]:
    """Ask the running node for what only a person may ask."""
    return await commands.through_door(load(config), verb, body | {"secret": read_secret(secret_file)})


def answer_of(json_: bool, ask: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """The answer, or the fault told and the fitting exit code."""

    async def asked() -> dict[str, Any]:
        return await ask()

    clock = clock_asked_for()
    configure_log(LogForm.CONSOLE, clock.now)
    try:
        return asyncio.run(asked())
    except Fault as fault:
        tell(fault)
        if json_:
            typer.echo(json.dumps({"ok": False, "error": fault.as_dict()}, ensure_ascii=False))
        raise typer.Exit(_exit_of(fault)) from fault


def spoken(config: Path) -> Callable[[dict[str, Any]], list[str]]:
    """As lines for people, in the local time of the node."""
    return lambda told: spoken_lines(told, load(config).zone)


def show(told: dict[str, Any], json_: bool, lines: Callable[[dict[str, Any]], list[str]]) -> None:
    """One object on stdout, or lines for people."""
    if json_:
        typer.echo(json.dumps(told, ensure_ascii=False))
    else:
        typer.echo("\n".join(lines(told)))


def _exit_of(fault: Fault) -> Exit:
    if fault.code.startswith(USAGE_CODES):
        return Exit.USAGE
    return Exit.REFUSED if fault.code.startswith(REFUSED_CODES) else Exit.FAILED
