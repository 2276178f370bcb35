"""What every command of ``central-sync`` shares: options, which faults end with which code. Above the rooms.

Nothing here knows a verb; `__main__` and `bundle_command_line` type them.
"""

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
from hosting.command_line import answered, clock_asked_for
from hosting.config import load_toml
from hosting.door import calendar_behind
from hosting.speech import spoken_lines

USAGE_CODES = ("TQ-ID-", "TQ-QT-", "TQ-PD-", "TQ-HB-10", "TQ-HB-61", "TQ-AU-1", "TQ-CE-41")
"""Faults of what was typed."""
REFUSED_CODES = ("TQ-HB-40", "TQ-CE-49")
"""Faults of who may do what."""

Config = Annotated[Path, typer.Option("--config", "-c", help="The hub's TOML file.")]


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
    return answered(json_, ask, usage=USAGE_CODES, refused=REFUSED_CODES)


def spoken(config: Path | None) -> Callable[[dict[str, Any]], list[str]]:
    """As lines for people, in the hub's local time (a person's own machine has no hub's file)."""
    zone = HubConfig.model_fields["zone"].default if config is None else load(config).zone
    return lambda told: spoken_lines(told, str(zone))
