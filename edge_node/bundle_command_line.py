"""``edge-node bundle …``: what an office types when a courier stands in for the link. docs/operating/flash-drive.md.

`write` and `apply` go through the local door to the running node; while it is stopped they work on its store.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from edge_node import bundle_commands
from edge_node.command_line import Config, SecretFile, answer_of, load, spoken
from hosting.clocks import SystemEntropy
from hosting.command_line import Json, clock_asked_for, show
from hosting.config import read_secret
from hosting.process import Exit
from protocols.sync.bundle import BUNDLE_BYTES_MAX

app = typer.Typer(
    no_args_is_help=True, help="Bundles on a flash drive, in place of the link: both ways, harmless twice."
)

By = Annotated[str, typer.Option(help="Id of the person.")]


@app.command()
def write(  # noqa: PLR0917
    config: Config,
    to: Annotated[Path, typer.Option(help="A folder (of the drive), or the name of a file that is not there yet.")],
    by: By,
    secret_file: SecretFile,
    bytes_max: Annotated[int, typer.Option(help="Largest file that the drive takes.")] = BUNDLE_BYTES_MAX,
    json_: Json = False,
) -> None:
    """Everything that the hub has not acknowledged, signed and sealed for it. Exit 3 when the file took only a part."""
    told = _asked(
        config, "bundle-write", {"path": str(to.absolute()), "by": by, "bytes_max": bytes_max}, secret_file, json_
    )
    raise typer.Exit(Exit.OK if told["whole"] else Exit.PARTLY)


@app.command()
def apply(  # noqa: PLR0917
    file: Annotated[Path, typer.Argument(help="What the courier brought.")],
    config: Config,
    by: By,
    secret_file: SecretFile,
    new_hub: Annotated[bool, typer.Option(help="The hub was rebuilt or replaced: you know it.")] = False,
    json_: Json = False,
) -> None:
    """Take in a bundle of the hub; twice or late is harmless. Exit 3 when a lane needs another trip."""
    told = _asked(
        config, "bundle-apply", {"path": str(file.absolute()), "by": by, "new_hub": new_hub}, secret_file, json_
    )
    raise typer.Exit(Exit.OK if told["ok"] and told["whole"] else Exit.PARTLY)


@app.command()
def make_key(
    out: Annotated[Path, typer.Option(help="Where the private key goes; it must not exist.")],
    demo: Annotated[bool, typer.Option(help="A key of the demo's own domain.")] = False,
    json_: Json = False,
) -> None:
    """Make the node's bundle key and print its public half for the hub's configuration."""

    async def ask() -> dict[str, Any]:
        return bundle_commands.make_key(out, SystemEntropy(), demo=demo)

    show(answer_of(json_, ask), json_, lambda told: [told["public"]])


def _asked(config: Path, verb: str, body: dict[str, Any], secret_file: Path, json_: bool) -> dict[str, Any]:
    clock = clock_asked_for()

    async def ask() -> dict[str, Any]:
        whole = body | {"secret": read_secret(secret_file)}
        return await bundle_commands.ask(load(config), verb, whole, clock=clock, entropy=SystemEntropy())

    told = answer_of(json_, ask)
    show(told, json_, spoken(config))
    return told
