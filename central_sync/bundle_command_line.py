"""``central-sync bundle …``: couriers' bundles at the centre. Above the rooms; docs/operating/flash-drive.md.

`write` and `apply` go through the local door to the running hub; while it is stopped they work on its database.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from central_sync.command_line import Config, answer_of, load, spoken
from central_sync.config import HubConfig
from central_sync.door_verbs import Office, apply_bundle, write_bundle
from central_sync.serving import resting
from hosting.clocks import SystemEntropy
from hosting.command_line import Json, clock_asked_for, show
from hosting.door import NOBODY_HOME, DoorFault, call_door
from hosting.keys import KeyDomain, create_signing_key
from hosting.keys_bundle import BundlePrivate
from hosting.process import Exit
from protocols.authority.canonical import Domain
from protocols.authority.signatures import Signer, key_to_text

ANSWER_S_MAX = 3_600.0
"""A bundle of a year takes minutes."""

app = typer.Typer(
    no_args_is_help=True, help="Bundles on a flash drive, in place of the link: both ways, harmless twice."
)


@app.command()
def write(
    config: Config,
    node: Annotated[str, typer.Option(help="For whom.")],
    to: Annotated[Path, typer.Option(help="A folder (of the drive), or the name of a file that is not there yet.")],
    whole: Annotated[bool, typer.Option(help="From the beginning: for a node that lost its store.")] = False,
    json_: Json = False,
) -> None:
    """What a node has not got yet, signed and sealed for it. Exit 3 when the file took only a part."""
    body = {"node": node, "path": str(to.absolute()), "whole": whole}
    told = answer_of(json_, lambda: _asked(load(config), "bundle-write", write_bundle, body))
    show(told, json_, spoken(config))
    raise typer.Exit(Exit.OK if told["whole"] else Exit.PARTLY)


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(help="What the courier brought.")],
    config: Config,
    answer: Annotated[
        Path | None, typer.Option(help="Where the answer goes: a folder, or a new file; left out: beside what came.")
    ] = None,
    json_: Json = False,
) -> None:
    """Take in a node's bundle and write the answer; twice or late is harmless. Exit 3: a lane stands, or it is full."""
    beside = file.absolute().parent if answer is None else answer.absolute()
    body = {"path": str(file.absolute()), "answer": str(beside)}
    told = answer_of(json_, lambda: _asked(load(config), "bundle-apply", apply_bundle, body))
    show(told, json_, spoken(config))
    raise typer.Exit(Exit.OK if told["ok"] and told["reply"]["whole"] else Exit.PARTLY)


@app.command()
def make_keys(
    signing: Annotated[Path, typer.Option(help="Where the private signing key goes; it must not exist.")],
    bundle: Annotated[Path, typer.Option(help="Where the private bundle key goes; it must not exist.")],
    demo: Annotated[bool, typer.Option(help="Keys of the demo's own domain.")] = False,
    json_: Json = False,
) -> None:
    """Make the hub's keys for bundles and print their public halves for the nodes' configuration."""

    async def ask() -> dict[str, Any]:
        domain, entropy = (KeyDomain.DEMO if demo else KeyDomain.PRODUCTION), SystemEntropy()
        signer = Signer(create_signing_key(signing, entropy, domain), Domain(domain.value))
        pair = BundlePrivate.create(bundle, entropy, domain)
        return {"ok": True, "signing_key": key_to_text(signer.public), "bundle_key": pair.public.text}

    show(
        answer_of(json_, ask),
        json_,
        lambda told: [f'{name} = "{told[name]}"' for name in ("signing_key", "bundle_key")],
    )


async def _asked(
    config: HubConfig,
    verb: str,
    resting_verb: Callable[[Office, Mapping[str, Any]], Awaitable[dict[str, Any]]],
    body: Mapping[str, Any],
) -> dict[str, Any]:
    """Ask the running hub, or work on the database of one that does not run."""
    try:
        return await call_door(config.door, verb, body, answer_s_max=ANSWER_S_MAX)
    except DoorFault as fault:
        if fault.code != NOBODY_HOME:
            raise
    async with resting(config, clock=clock_asked_for(), entropy=SystemEntropy()) as hub:
        return await resting_verb(hub, body)
