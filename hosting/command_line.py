"""What every command of node and hub shares: its clock, the answer as JSON or lines, exit codes. Floor: hosting."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from gridmodel.fault import Fault
from hosting.clocks import ScaledClock, clock_from_environment
from hosting.log import LogForm, configure_log
from hosting.process import Exit, tell

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def clock_asked_for() -> ScaledClock:
    """The clock that the environment asks for; a wrong one is told, and ends the command."""
    try:
        return clock_from_environment(os.environ)
    except Fault as fault:
        tell(fault)
        raise typer.Exit(Exit.FAILED) from fault


def answered(
    json_: bool, ask: Callable[[], Awaitable[dict[str, Any]]], *, usage: tuple[str, ...], refused: tuple[str, ...]
) -> dict[str, Any]:
    """The answer, or the fault told and the fitting exit code: `usage` and `refused` are beginnings of fault codes."""

    async def asked() -> dict[str, Any]:
        return await ask()

    configure_log(LogForm.CONSOLE, clock_asked_for().now)
    try:
        return asyncio.run(asked())
    except Fault as fault:
        tell(fault)
        if json_:
            typer.echo(json.dumps({"ok": False, "error": fault.as_dict()}, ensure_ascii=False))
        if fault.code.startswith(usage):
            raise typer.Exit(Exit.USAGE) from fault
        raise typer.Exit(Exit.REFUSED if fault.code.startswith(refused) else Exit.FAILED) from fault


def show(told: dict[str, Any], json_: bool, lines: Callable[[dict[str, Any]], list[str]]) -> None:
    """One object on stdout, or lines for people."""
    if json_:
        typer.echo(json.dumps(told, ensure_ascii=False))
    else:
        typer.echo("\n".join(lines(told)))
