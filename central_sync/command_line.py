"""What every command of ``central-sync`` shares: options, the answer as JSON or lines, exit codes. Above the rooms.

Nothing here knows a verb; `__main__` and `bundle_command_line` type them.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from central_sync.config import HubConfig
from central_sync.hub import Hub
from central_sync.serving import reading
from gridmodel.fault import Fault
from hosting.clocks import CLOCK_VARIABLE, ScaledClock, clock_from_environment
from hosting.config import load_toml
from hosting.door import calendar_behind
from hosting.log import LogForm, configure_log
from hosting.process import Exit, tell
from hosting.speech import spoken_lines

USAGE_CODES = ("TQ-ID-", "TQ-QT-", "TQ-PD-", "TQ-HB-10", "TQ-HB-61", "TQ-AU-1", "TQ-CE-41")
"""Faults of what was typed."""
REFUSED_CODES = ("TQ-HB-40", "TQ-CE-49")
"""Faults of who may do what."""

Config = Annotated[Path, typer.Option("--config", "-c", help="The hub's TOML file.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def clock_asked_for() -> ScaledClock:
    """The clock that the environment asks for; a wrong one is told, and ends the command."""
    try:
        return clock_from_environment(os.environ)
    except Fault as fault:
        tell(fault)
        raise typer.Exit(Exit.FAILED) from fault


def load(path: Path, database: str | None = None) -> HubConfig:
    """The configuration, with another database if one is named; raises ConfigFault."""
    config = load_toml(path, HubConfig, os.environ)
    return config if database is None else config.model_copy(update={"database": database, "database_file": None})


async def look_at(config: Path, look: Callable[[Hub], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """What `look` finds in the database, opened for reading."""
    loaded = load(config)
    async with reading(loaded, clock=await clock_of(loaded)) as hub:
        return await look(hub)


async def clock_of(config: HubConfig) -> ScaledClock:
    """The calendar of the hub that runs in this folder, if one does: its files are judged by it, not by the shell's."""
    if CLOCK_VARIABLE in os.environ or (calendar := await calendar_behind(config.door)) is None:
        return clock_asked_for()
    return clock_from_environment({CLOCK_VARIABLE: calendar})


def given(path: Path | None, name: str = "a file") -> Path:
    """The path, which this action needs; raises Fault."""
    if path is None:
        raise Fault("TQ-HB-61", f"{name} is missing on the command line", "central-sync mandate --help")
    return path


def agree(yes: bool) -> Callable[[str], bool]:
    """How a person agrees to what was shown on stderr."""

    def asked(shown: str) -> bool:
        typer.echo(shown, err=True)
        return yes or typer.confirm("Sign this?", err=True)

    return asked


def answer_of(json_: bool, ask: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """The answer, or the fault told and the fitting exit code."""

    async def asked() -> dict[str, Any]:
        return await ask()

    configure_log(LogForm.CONSOLE, clock_asked_for().now)
    try:
        return asyncio.run(asked())
    except Fault as fault:
        tell(fault)
        if json_:
            typer.echo(json.dumps({"ok": False, "error": fault.as_dict()}, ensure_ascii=False))
        raise typer.Exit(_exit_of(fault)) from fault


def spoken(config: Path | None) -> Callable[[dict[str, Any]], list[str]]:
    """As lines for people, in the hub's local time (a person's own machine has no hub's file)."""
    zone = HubConfig.model_fields["zone"].default if config is None else load(config).zone
    return lambda told: spoken_lines(told, str(zone))


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
