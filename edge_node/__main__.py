"""``edge-node``: what an office types. Above the rooms; every verb is in docs/reference/edge-node.md.

Readers look at the files while the node is stopped and ask it through the local door while it runs; what writes always
goes through the door, with a person's secret. ``--json`` gives one object on stdout; talk goes to stderr.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_node import commands, reports
from edge_node.config import NodeConfig
from edge_node.console.people import hash_secret
from edge_node.probing import ProbeOptions, Security, probe_meter
from edge_node.serving import Serving, serve
from gridmodel.fault import Fault
from gridmodel.identity import new_id
from gridmodel.quantity import parse_som
from hosting.clocks import ScaledClock, SystemEntropy, clock_from_environment
from hosting.config import json_schema, load_toml, read_secret
from hosting.log import LogForm, configure_log
from hosting.process import Exit, run_process, speak_anywhere, tell
from hosting.speech import check_lines, spoken_lines
from protocols.dlms.place import LinkKind

USAGE_CODES = ("TQ-ID-", "TQ-QT-", "TQ-VB-")
"""Faults of what was typed."""
REFUSED_CODES = ("TQ-LG-",)
"""Faults of who may do what."""

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="An office's edge node."
)

Config = Annotated[Path, typer.Option("--config", "-c", help="The node's TOML file.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
SecretFile = Annotated[Path, typer.Option("--secret-file", help="File (0600) with the person's secret.")]
Point = Annotated[str, typer.Option("--usage-point", help="Id of the usage point.")]


@app.command()
def run(
    config: Config, log: Annotated[LogForm, typer.Option(help="Form of the log on stderr.")] = LogForm.CONSOLE
) -> None:
    """Run the node until SIGTERM or Ctrl-C."""
    clock = _clock()
    configure_log(log, clock.now)

    def ready(serving: Serving) -> None:
        print(json.dumps({"node": serving.node.config.node, "console": serving.console, "ready": True}), flush=True)

    async def main(stop: asyncio.Event) -> int:
        await serve(_load(config), stop, clock=clock, entropy=SystemEntropy(), ready=ready)
        return Exit.OK

    raise typer.Exit(run_process(main))


@app.command()
def status(config: Config, json_: Json = False) -> None:
    """Link, backlog, meters, cuts, alarms. Exit 4 while the link is lost, 1 while the node does not run."""
    told = _ask(json_, lambda: commands.status(_load(config)))
    _tell(told, json_, reports.status_lines)
    if told["link"] is None:
        raise typer.Exit(Exit.FAILED)
    raise typer.Exit(Exit.OK if told["link"]["up"] else Exit.LINK_DOWN)


@app.command()
def doctor(config: Config, json_: Json = False) -> None:
    """Look at everything that can be wrong, with what to do. Exit 1 when a line says FAIL."""
    told = _ask(json_, lambda: commands.doctor(_load(config)))
    _tell(told, json_, check_lines)
    raise typer.Exit(Exit.OK if told["ok"] else Exit.FAILED)


@app.command()
def explain(config: Config, usage_point: Point, json_: Json = False) -> None:
    """Why a point is on or off, by which facts and right, and what restores it."""
    told = _ask(json_, lambda: commands.explain(_load(config), usage_point))
    _tell(told, json_, _spoken(config))


@app.command()
def preview(config: Config, limit: Annotated[int, typer.Option(min=1, max=500)] = 100, json_: Json = False) -> None:
    """What the node will do by itself next. The node must run."""
    told = _ask(json_, lambda: commands.through_door(_load(config), "preview", {"limit": limit}))
    _tell(told, json_, _spoken(config))


@app.command()
def pay(  # noqa: PLR0917
    config: Config,
    account: Annotated[str, typer.Option(help="Account that is paid to.")],
    amount: Annotated[str, typer.Option(help="Amount in soʻm: 12500.50")],
    cashier: Annotated[str, typer.Option(help="Id of the cashier.")],
    secret_file: SecretFile,
    request: Annotated[str, typer.Option(help="Name of this payment: repeated, it is taken once.")] = "",
    json_: Json = False,
) -> None:
    """Take a payment at the desk; supply is restored at once. The node must run."""

    async def ask() -> dict[str, Any]:
        body = {
            "account": account,
            "amount_tiyin": parse_som(amount),
            "cashier": cashier,
            "secret": read_secret(secret_file),
            "request": request or new_id("req", SystemEntropy()),
        }
        return await commands.through_door(_load(config), "pay", body)

    told = _ask(json_, ask)
    zone = _load(config).zone
    _tell(told, json_, lambda paid: reports.payment_lines(paid, zone))


@app.command()
def stop_cuts(
    config: Config,
    by: Annotated[str, typer.Option(help="Id of the person.")],
    why: Annotated[str, typer.Option(help="The reason, in a few words.")],
    secret_file: SecretFile,
    json_: Json = False,
) -> None:
    """Stop every cut of this node, at once and with the link lost. Restoring goes on. The node must run."""
    told = _ask(json_, lambda: _signed(config, "stop-cuts", secret_file, {"by": by, "why": why}))
    _tell(told, json_, _spoken(config))


@app.command()
def lift_stop(
    config: Config,
    by: Annotated[str, typer.Option(help="Id of the chief.")],
    secret_file: SecretFile,
    json_: Json = False,
) -> None:
    """Let cuts go on that somebody stopped; only a chief may. The node must run."""
    told = _ask(json_, lambda: _signed(config, "lift-stop", secret_file, {"by": by}))
    _tell(told, json_, _spoken(config))


@app.command()
def probe(  # noqa: PLR0917
    profile: Annotated[str, typer.Option(help="Name of the meter profile.")],
    address: Annotated[str, typer.Option(help="host:port of the meter or its gateway.")],
    unit: Annotated[int, typer.Option(min=0, max=255)] = 1,
    client: Annotated[int | None, typer.Option(min=1, max=127, help="DLMS: the client's number (SAP).")] = None,
    server: Annotated[int | None, typer.Option(min=0, max=16383, help="DLMS: logical device.")] = None,
    physical: Annotated[int | None, typer.Option(min=0, max=16383, help="DLMS: physical device (HDLC).")] = None,
    link: Annotated[LinkKind | None, typer.Option(help="DLMS: what carries it.")] = None,
    security: Annotated[Security | None, typer.Option(help="DLMS: how to associate.")] = None,
    keys: Annotated[Path | None, typer.Option(help="DLMS: file (0600) with the meter's secrets.")] = None,
    meter: Annotated[str | None, typer.Option(help="DLMS: whose secrets in that file.")] = None,
    demo: Annotated[bool, typer.Option(help="Take keys that everybody knows.")] = False,
    json_: Json = False,
) -> None:
    """Read one meter once and print what it told. Exit 1 when it did not answer."""
    options = ProbeOptions(link, client, server, physical, security, keys, meter, demo)
    told = _ask(json_, lambda: probe_meter(profile, address, unit, options, clock=_clock(), entropy=SystemEntropy()))
    _tell(told, json_, reports.probe_lines)
    raise typer.Exit(Exit.OK if told["ok"] else Exit.FAILED)


@app.command()
def check_config(
    config: Config, schema: Annotated[bool, typer.Option(help="Print the JSON Schema.")] = False, json_: Json = False
) -> None:
    """Check the file and what it names: keys, policy, approvers. Nothing is started."""
    if schema:
        print(json.dumps(json_schema(NodeConfig), indent=1, ensure_ascii=False))
        return

    async def ask() -> dict[str, Any]:
        return commands.check_config(_load(config))

    _tell(_ask(json_, ask), json_, _spoken(config))


@app.command("hash-secret")
def hash_secret_(secret_file: SecretFile, json_: Json = False) -> None:
    """The Argon2id hash of a secret, for a person in the configuration."""

    async def ask() -> dict[str, Any]:
        return {"secret": hash_secret(read_secret(secret_file))}

    _tell(_ask(json_, ask), json_, lambda told: [told["secret"]])


@app.command()
def make_key(
    out: Annotated[Path, typer.Option(help="Where the private key goes; it must not exist.")],
    demo: Annotated[bool, typer.Option(help="A key of the demo's own domain.")] = False,
    json_: Json = False,
) -> None:
    """Make the node's signing key and print its public half for the hub's configuration."""

    async def ask() -> dict[str, Any]:
        return commands.make_key(out, SystemEntropy(), demo=demo)

    _tell(_ask(json_, ask), json_, lambda told: [told["public"]])


def main() -> None:
    """The console script."""
    speak_anywhere()
    app(prog_name="edge-node")


def _clock() -> ScaledClock:
    """The clock that the environment asks for; a wrong one is told, and ends the command."""
    try:
        return clock_from_environment(os.environ)
    except Fault as fault:
        tell(fault)
        raise typer.Exit(Exit.FAILED) from fault


def _load(path: Path) -> NodeConfig:
    return load_toml(path, NodeConfig, os.environ)


async def _signed(config: Path, verb: str, secret_file: Path, body: dict[str, Any]) -> dict[str, Any]:
    return await commands.through_door(_load(config), verb, body | {"secret": read_secret(secret_file)})


def _ask(json_: bool, ask: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """The answer, or the fault told and the fitting exit code."""

    async def asked() -> dict[str, Any]:
        return await ask()

    clock = _clock()
    configure_log(LogForm.CONSOLE, clock.now)
    try:
        return asyncio.run(asked())
    except Fault as fault:
        tell(fault)
        if json_:
            print(json.dumps({"ok": False, "error": fault.as_dict()}, ensure_ascii=False))
        raise typer.Exit(_exit_of(fault)) from fault


def _spoken(config: Path) -> Callable[[dict[str, Any]], list[str]]:
    """As lines for people, in the local time of the node."""
    return lambda told: spoken_lines(told, _load(config).zone)


def _exit_of(fault: Fault) -> Exit:
    if fault.code.startswith(USAGE_CODES):
        return Exit.USAGE
    return Exit.REFUSED if fault.code.startswith(REFUSED_CODES) else Exit.FAILED


def _tell(told: dict[str, Any], json_: bool, lines: Callable[[dict[str, Any]], list[str]]) -> None:
    if json_:
        print(json.dumps(told, ensure_ascii=False))
    else:
        print("\n".join(lines(told)))


if __name__ == "__main__":
    main()
