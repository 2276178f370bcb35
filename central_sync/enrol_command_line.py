"""``central-sync enrol …``: who may be a node of this hub. Above the rooms; docs/operating/enrolment.md.

All go through the local door to the running hub; while it is stopped they work on its database.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from central_sync.command_line import Config, answer_of, load, spoken
from central_sync.config import HubConfig
from central_sync.serving import resting
from hosting.clocks import SystemEntropy
from hosting.command_line import Json, clock_asked_for, show
from hosting.door import NOBODY_HOME, DoorFault, call_door

app = typer.Typer(no_args_is_help=True, help="Enrol nodes: a token, a telephone call, a decision.")

By = Annotated[str, typer.Option(help="Id of the person who decides.")]
Why = Annotated[str, typer.Option(help="The reason, in a few words.")]
Enrolment = Annotated[str, typer.Argument(help="Id of the enrolment, from `list`.")]


@app.command()
def token(
    config: Config,
    node: Annotated[str, typer.Option(help="Id of the node; it stands in [[nodes]].")],
    by: By,
    hours: Annotated[int, typer.Option(help="How long it may be used.")] = 72,
    json_: Json = False,
) -> None:
    """A token for one enrolment of one node; it is shown now and never again."""
    _asked(config, "enrol-token", {"node": node, "by": by, "hours": hours}, json_)


@app.command("list")
def list_(config: Config, json_: Json = False) -> None:
    """Enrolments, those that wait for a decision first, each with its digits; tokens not used yet."""
    _asked(config, "enrol-list", {}, json_)


@app.command()
def approve(
    enrolment: Enrolment,
    config: Config,
    fingerprint: Annotated[str, typer.Option(help="The twenty digits that the office reads out.")],
    by: By,
    json_: Json = False,
) -> None:
    """Let the node in, once the digits that the office reads out were typed here. Exit 5 when they differ."""
    _asked(config, "enrol-approve", {"enrolment": enrolment, "fingerprint": fingerprint, "by": by}, json_)


@app.command()
def reject(enrolment: Enrolment, config: Config, by: By, why: Why, json_: Json = False) -> None:
    """Refuse an enrolment; its token is used up."""
    _asked(config, "enrol-reject", {"enrolment": enrolment, "by": by, "why": why}, json_)


@app.command()
def revoke(
    config: Config, node: Annotated[str, typer.Option(help="Id of the node.")], by: By, why: Why, json_: Json = False
) -> None:
    """Nothing that the node's keys say counts from the next request on, until it enrols again."""
    _asked(config, "enrol-revoke", {"node": node, "by": by, "why": why}, json_)


def _asked(config: Any, verb: str, body: Mapping[str, Any], json_: bool) -> None:
    show(answer_of(json_, lambda: _ask(load(config), verb, body)), json_, spoken(config))


async def _ask(config: HubConfig, verb: str, body: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return await call_door(config.door, verb, body)
    except DoorFault as fault:
        if fault.code != NOBODY_HOME:
            raise
    async with resting(config, clock=clock_asked_for(), entropy=SystemEntropy()) as hub:
        return await hub.verbs()[verb](dict(body))
