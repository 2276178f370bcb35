"""``edge-node keys …``: what a chief types about the secrets of meters. Above the rooms; docs/operating/meter-keys.md.

`import` and `rotate-node-key` go through the local door to the running node; the others need no node.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from edge_node import key_commands
from edge_node.command_line import Config, SecretFile, answer_of, load, signed, spoken
from hosting.clocks import SystemEntropy
from hosting.command_line import Json, clock_asked_for, show
from hosting.process import Exit

app = typer.Typer(no_args_is_help=True, help="Secrets of meters at rest: take in, look, rotate, recover.")

By = Annotated[str, typer.Option(help="Id of the chief.")]
Demo = Annotated[bool, typer.Option(help="Keys of the demo's own domain.")]


@app.command("import")
def import_(  # noqa: PLR0917
    file: Annotated[Path, typer.Argument(help="TOML with the secrets in clear (0600).")],
    config: Config,
    by: By,
    secret_file: SecretFile,
    dry_run: Annotated[bool, typer.Option(help="Only tell what would be taken in.")] = False,
    json_: Json = False,
) -> None:
    """Seal the secrets of a plain file: all rows or none. The node must run, and uses them at once."""
    body = {"file": str(file.absolute()), "dry_run": dry_run, "by": by}
    told = answer_of(json_, lambda: signed(config, "keys-import", secret_file, body))
    show(told, json_, spoken(config))
    raise typer.Exit(Exit.OK if told["ok"] else Exit.FAILED)


@app.command("list")
def list_(
    config: Config,
    after: Annotated[str, typer.Option(help="Begin after this meter.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=key_commands.LISTED_MAX)] = 100,
    json_: Json = False,
) -> None:
    """Which meters have sealed secrets, how old, and whether the node key opens them. Exit 1 if it does not."""
    now = clock_asked_for().now()
    told = answer_of(json_, lambda: key_commands.key_list(load(config), after, limit, now))
    show(told, json_, spoken(config))
    raise typer.Exit(Exit.OK if told["ok"] else Exit.FAILED)


@app.command()
def rotate_node_key(
    config: Config,
    by: By,
    secret_file: SecretFile,
    recovered: Annotated[Path | None, typer.Option(help="What keys recover wrote, when the node key is lost.")] = None,
    json_: Json = False,
) -> None:
    """Make a new node key and seal everything again under it, all or nothing. The node must run; it goes on reading."""
    body = {"by": by} | ({} if recovered is None else {"recovered": str(recovered.absolute())})
    told = answer_of(json_, lambda: signed(config, "keys-rotate", secret_file, body))
    show(told, json_, spoken(config))


@app.command()
def recover(
    copy: Annotated[Path, typer.Option(help="A copy of the node's control database.")],
    recovery_key: Annotated[Path, typer.Option(help="File (0600) with the offline private key.")],
    out: Annotated[Path, typer.Option(help="Where the recovered key goes; it must not exist.")],
    demo: Demo = False,
    json_: Json = False,
) -> None:
    """Unwrap a lost node's data key with the offline key, on an offline machine. Exit 1 when rows do not open."""
    told = answer_of(json_, lambda: key_commands.recover(copy, recovery_key, out, demo=demo))
    show(told, json_, _lines)
    raise typer.Exit(Exit.OK if told["ok"] else Exit.FAILED)


@app.command()
def new_recovery_pair(
    out: Annotated[Path, typer.Option(help="Where the private key goes; it must not exist.")],
    demo: Demo = False,
    json_: Json = False,
) -> None:
    """Make the offline recovery key on an offline machine, and print its public half for keys.recovery."""

    async def ask() -> dict[str, Any]:
        return key_commands.new_recovery_pair(out, SystemEntropy(), demo=demo)

    show(answer_of(json_, ask), json_, _lines)


@app.command()
def leap_counters(config: Config, json_: Json = False) -> None:
    """After a control database was restored from a copy, before the node starts: never use a counter twice."""
    show(answer_of(json_, lambda: key_commands.leap(load(config))), json_, spoken(config))


def _lines(told: dict[str, Any]) -> list[str]:
    return [f"{name.replace('_', ' ')}: {value}" for name, value in told.items()]
