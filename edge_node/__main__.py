"""``edge-node``: what an office types. Above the rooms; every verb is in docs/reference/edge-node.md.

Readers look at the files while the node is stopped and ask it through the local door while it runs; what writes always
goes through the door, with a person's secret. ``--json`` gives one object on stdout; talk goes to stderr.
"""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_node import bundle_command_line, commands, enrolling, field_command_line, key_command_line, reports
from edge_node.command_line import Config, SecretFile, answer_of, load, signed, spoken
from edge_node.compare_commands import EXITS, compare
from edge_node.config import NodeConfig
from edge_node.console.people import hash_secret
from edge_node.probing import ProbeOptions, Security, probe_meter
from edge_node.serving import Serving, serve
from gridmodel.identity import new_id
from gridmodel.quantity import parse_som
from hosting.clocks import SystemEntropy, SystemIoClock
from hosting.command_line import Json, clock_asked_for, show
from hosting.config import json_schema, read_secret
from hosting.log import LogForm, configure_log
from hosting.process import Exit, run_process, speak_anywhere
from hosting.speech import check_lines
from protocols.dlms.place import LinkKind

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="An office's edge node."
)
app.add_typer(key_command_line.app, name="keys")
app.add_typer(field_command_line.app, name="field-work")
app.add_typer(bundle_command_line.app, name="bundle")

Point = Annotated[str, typer.Option("--usage-point", help="Id of the usage point.")]


@app.command()
def run(
    config: Config, log: Annotated[LogForm, typer.Option(help="Form of the log on stderr.")] = LogForm.CONSOLE
) -> None:
    """Run the node until SIGTERM or Ctrl-C."""
    clock = clock_asked_for()
    configure_log(log, clock.now)

    def ready(serving: Serving) -> None:
        print(json.dumps({"node": serving.node.config.node, "console": serving.console, "ready": True}), flush=True)

    async def main(stop: asyncio.Event) -> int:
        await serve(load(config), stop, clock=clock, entropy=SystemEntropy(), ready=ready)
        return Exit.OK

    raise typer.Exit(run_process(main))


@app.command()
def status(config: Config, json_: Json = False) -> None:
    """Link, backlog, meters, cuts, alarms. Exit 4 while the link is lost, 1 while the node does not run."""
    told = answer_of(json_, lambda: commands.status(load(config)))
    show(told, json_, reports.status_lines)
    if told["link"] is None:
        raise typer.Exit(Exit.FAILED)
    raise typer.Exit(Exit.OK if told["link"]["up"] else Exit.LINK_DOWN)


@app.command()
def doctor(config: Config, json_: Json = False) -> None:
    """Look at everything that can be wrong, with what to do. Exit 1 when a line says FAIL."""
    told = answer_of(json_, lambda: commands.doctor(load(config)))
    show(told, json_, check_lines)
    raise typer.Exit(Exit.OK if told["ok"] else Exit.FAILED)


@app.command()
def explain(config: Config, usage_point: Point, json_: Json = False) -> None:
    """Why a point is on or off, by which facts and right, and what restores it."""
    told = answer_of(json_, lambda: commands.explain(load(config), usage_point))
    show(told, json_, spoken(config))


@app.command()
def preview(config: Config, limit: Annotated[int, typer.Option(min=1, max=500)] = 100, json_: Json = False) -> None:
    """What the node will do by itself next. The node must run."""
    told = answer_of(json_, lambda: commands.through_door(load(config), "preview", {"limit": limit}))
    show(told, json_, spoken(config))


@app.command("compare")
def compare_(
    config: Config,
    first: Annotated[str, typer.Option("--from", help="First local day: 2026-05-01")],
    last: Annotated[str, typer.Option("--to", help="Last local day.")],
    wait: Annotated[float, typer.Option(min=0, max=3_600, help="Real seconds to wait for the last word.")] = 90,
    json_: Json = False,
) -> None:
    """Compare sealed days with the hub now; what either side lost comes back. Exit 3: on its way, 4: no answer."""
    told = answer_of(json_, lambda: compare(load(config), first, last, wait, SystemIoClock()))
    show(told, json_, spoken(config))
    raise typer.Exit(EXITS.get(told["state"], Exit.LINK_DOWN))


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
        return await commands.through_door(load(config), "pay", body)

    told = answer_of(json_, ask)
    zone = load(config).zone
    show(told, json_, lambda paid: reports.payment_lines(paid, zone))


@app.command()
def stop_cuts(
    config: Config,
    by: Annotated[str, typer.Option(help="Id of the person.")],
    why: Annotated[str, typer.Option(help="The reason, in a few words.")],
    secret_file: SecretFile,
    json_: Json = False,
) -> None:
    """Stop every cut of this node, at once and with the link lost. Restoring goes on. The node must run."""
    told = answer_of(json_, lambda: signed(config, "stop-cuts", secret_file, {"by": by, "why": why}))
    show(told, json_, spoken(config))


@app.command()
def lift_stop(
    config: Config,
    by: Annotated[str, typer.Option(help="Id of the chief.")],
    secret_file: SecretFile,
    json_: Json = False,
) -> None:
    """Let cuts go on that somebody stopped; only a chief may. The node must run."""
    told = answer_of(json_, lambda: signed(config, "lift-stop", secret_file, {"by": by}))
    show(told, json_, spoken(config))


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
    clock, entropy = clock_asked_for(), SystemEntropy()
    told = answer_of(json_, lambda: probe_meter(profile, address, unit, options, clock=clock, entropy=entropy))
    show(told, json_, reports.probe_lines)
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
        return commands.check_config(load(config))

    show(answer_of(json_, ask), json_, spoken(config))


@app.command("hash-secret")
def hash_secret_(secret_file: SecretFile, json_: Json = False) -> None:
    """The Argon2id hash of a secret, for a person in the configuration."""

    async def ask() -> dict[str, Any]:
        return {"secret": hash_secret(read_secret(secret_file))}

    show(answer_of(json_, ask), json_, lambda told: [told["secret"]])


@app.command()
def make_key(
    out: Annotated[Path, typer.Option(help="Where the private key goes; it must not exist.")],
    demo: Annotated[bool, typer.Option(help="A key of the demo's own domain.")] = False,
    json_: Json = False,
) -> None:
    """Make the node's signing key and print its public half for the hub's configuration."""

    async def ask() -> dict[str, Any]:
        return commands.make_key(out, SystemEntropy(), demo=demo)

    show(answer_of(json_, ask), json_, lambda told: [told["public"]])


@app.command()
def enrol(  # noqa: PLR0917
    config: Config,
    token: Annotated[str, typer.Option(help="As the hub's operator gave it; left out to ask how it stands.")] = "",
    hub: Annotated[str, typer.Option(help="Where the hub listens for nodes; left out: hub.url.")] = "",
    wait_s: Annotated[int, typer.Option("--wait", min=0, max=86_400, help="Seconds to wait for the approval.")] = 0,
    again: Annotated[bool, typer.Option(help="Set the certificate aside that is there, and make a new key.")] = False,
    json_: Json = False,
) -> None:
    """Become a node of the hub: compare the digits by telephone. Exit 3 while it waits; the same command goes on."""
    clock = clock_asked_for()

    async def ask() -> dict[str, Any]:
        asked = enrolling.Asked(token, hub, wait_s, again)
        return await enrolling.enrol(load(config), asked, clock=clock, entropy=SystemEntropy(), say=say)

    def say(line: str) -> None:
        typer.echo(line, err=True)

    told = answer_of(json_, ask)
    show(told, json_, spoken(config))
    raise typer.Exit(enrolling.exit_of(told))


def main() -> None:
    """The console script."""
    speak_anywhere()
    app(prog_name="edge-node")


if __name__ == "__main__":
    main()
