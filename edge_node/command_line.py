"""What every command of ``edge-node`` shares: options, which faults end with which code. Above the rooms.

Nothing here knows a verb; `__main__` and `key_command_line` type them.
"""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_node import commands
from edge_node.config import NodeConfig
from hosting.command_line import answered
from hosting.config import load_toml, read_secret
from hosting.speech import spoken_lines

USAGE_CODES = ("TQ-CM-1", "TQ-ID-", "TQ-PD-", "TQ-QT-", "TQ-VB-")
"""Faults of what was typed."""
REFUSED_CODES = ("TQ-LG-",)
"""Faults of who may do what."""

Config = Annotated[Path, typer.Option("--config", "-c", help="The node's TOML file.")]
SecretFile = Annotated[Path, typer.Option("--secret-file", help="File (0600) with the person's secret.")]


def load(path: Path) -> NodeConfig:
    """The configuration; raises ConfigFault."""
    return load_toml(path, NodeConfig, os.environ)


async def signed(config: Path, verb: str, secret_file: Path, body: dict[str, Any]) -> dict[str, Any]:
    """Ask the running node for what only a person may ask."""
    return await commands.through_door(load(config), verb, body | {"secret": read_secret(secret_file)})


def answer_of(json_: bool, ask: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """The answer, or the fault told and the fitting exit code."""
    return answered(json_, ask, usage=USAGE_CODES, refused=REFUSED_CODES)


def spoken(config: Path) -> Callable[[dict[str, Any]], list[str]]:
    """As lines for people, in the local time of the node."""
    return lambda told: spoken_lines(told, load(config).zone)
