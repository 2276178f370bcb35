"""``central-sync``: what the centre's operators type. Above the rooms; docs/reference/central-sync.md tells every verb.

Commands that only look open the database for reading, beside a running hub or without one. Commands that write reach
the running hub by its local door. `mandate new` and `mandate sign` need no hub: they run on a person's own machine.
"""

import asyncio
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from central_sync import bundle_command_line, ca_command_line, enrol_command_line, mandate_files, reports
from central_sync import doctor as doctor_
from central_sync.balance.reading import losses as losses_
from central_sync.command_line import Config, agree, answer_of, clock_of, given, load, look_at, spoken
from central_sync.config import HubConfig
from central_sync.hub import Hub
from central_sync.ingest.refilling import restored
from central_sync.serving import Serving, reading, resting, serve
from central_sync.store.engines import database_shown
from gridmodel.fault import Fault
from gridmodel.period import parse_day, parse_rfc3339
from hosting.checkup import as_report
from hosting.clocks import SystemEntropy
from hosting.command_line import Json, clock_asked_for, show
from hosting.config import json_schema
from hosting.door import NOBODY_HOME, DoorFault, call_door
from hosting.log import LogForm, configure_log
from hosting.process import Exit, run_process, speak_anywhere
from hosting.speech import check_lines

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="The central hub.")
app.add_typer(bundle_command_line.app, name="bundle")
app.add_typer(ca_command_line.app, name="ca")
app.add_typer(enrol_command_line.app, name="enrol")

Level = Annotated[str, typer.Option(help="transformer, feeder, substation, district, region or republic.")]
Period = Annotated[str, typer.Option(help="hour, day, month or year.")]
At = Annotated[str, typer.Option(help="RFC 3339 for an hour (its end), else a local date, month or year.")]
Area = Annotated[str | None, typer.Option(help="One area; all of the level without it.")]


class ImportKind(StrEnum):
    """What a file holds."""

    LEDGER = "ledger"
    REGISTRY = "registry"
    NOTICE = "notice"
    PROTECTION = "protection"
    WEATHER = "weather"


class MandateAction(StrEnum):
    """What to do with a mandate."""

    NEW = "new"
    SIGN = "sign"
    PUBLISH = "publish"
    LIST = "list"


@app.command()
def run(
    config: Config,
    database: Annotated[str | None, typer.Option(help="sqlite:///PATH or postgresql://USER@HOST/NAME.")] = None,
    log: Annotated[LogForm, typer.Option(help="Form of the log on stderr.")] = LogForm.CONSOLE,
) -> None:
    """Run the hub until SIGTERM or Ctrl-C."""
    clock = clock_asked_for()
    configure_log(log, clock.now)

    def ready(serving: Serving) -> None:
        told = {"hub": serving.hub.incarnation, "address": serving.address, "nodes": serving.nodes, "ready": True}
        print(json.dumps(told), flush=True)

    async def main(stop: asyncio.Event) -> int:
        await serve(load(config, database), stop, clock=clock, entropy=SystemEntropy(), ready=ready)
        return Exit.OK

    raise typer.Exit(run_process(main))


@app.command()
def status(config: Config, json_: Json = False) -> None:
    """What the hub holds and how late it is; from the database when the hub does not run."""

    async def ask() -> dict[str, Any]:
        try:
            return await call_door(load(config).door, "status", {})
        except DoorFault as fault:
            if fault.code != NOBODY_HOME:
                raise
        return await look_at(config, lambda hub: hub.status())

    show(answer_of(json_, ask), json_, spoken(config))


@app.command()
def nodes(
    config: Config, node: Annotated[str | None, typer.Option(help="One node, whole.")] = None, json_: Json = False
) -> None:
    """Every node: live, stale, offline, never seen; its backlog."""

    async def look(hub: Hub) -> dict[str, Any]:
        if node is None:
            return {"nodes": await hub.situation.nodes()}
        told = await hub.situation.node(node)
        return {
            "nodes": [told],
            "quarantine": await hub.situation.quarantine(node, 100),
            "field_works": await hub.situation.field_works(node, 100),
        }

    told = answer_of(json_, lambda: look_at(config, look))
    show(told, json_, spoken(config) if node is not None else lambda told: reports.node_lines(told["nodes"]))


@app.command()
def balance(  # noqa: PLR0917 — the options of a command line
    config: Config, level: Level, period: Period, at: At, area: Area = None, json_: Json = False
) -> None:
    """Balances: supplied, delivered, loss and completeness of every area of a level."""
    told = answer_of(json_, lambda: look_at(config, lambda hub: hub.balance(level, period, at, area)))
    show(told, json_, lambda told: reports.balance_lines(told, load(config).zone))


@app.command()
def losses(  # noqa: PLR0917 — the options of a command line
    config: Config, level: Level, period: Period, at: At, area: Area = None, json_: Json = False
) -> None:
    """The same, the highest loss first; areas whose loss cannot be known come last."""

    async def look(hub: Hub) -> dict[str, Any]:
        told = await hub.balance(level, period, at, area)
        return told | {"areas": losses_(told)}

    show(
        answer_of(json_, lambda: look_at(config, look)),
        json_,
        lambda told: reports.balance_lines(told, load(config).zone),
    )


@app.command("import")
def import_(  # noqa: PLR0917 — the options of a command line
    kind: ImportKind,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV or JSON; a registry is JSON.")],
    config: Config,
    channel: Annotated[str, typer.Option(help="Of a ledger: the payment channel or billing run.")] = "",
    complete_up_to: Annotated[str, typer.Option(help="RFC 3339: every payment up to then is in the file.")] = "",
    dry_run: Annotated[bool, typer.Option(help="Judge everything, change nothing.")] = False,
    skip_bad: Annotated[bool, typer.Option(help="Apply the good rows; the watermark then stays.")] = False,
    json_: Json = False,
) -> None:
    """Take in a file, whole or not at all. The hub must run. Exit 1: nothing applied; 3: without the wrong rows."""
    body: dict[str, Any] = {"path": str(file.absolute()), "dry_run": dry_run}
    match kind:
        case ImportKind.LEDGER:
            body |= {"channel": channel, "complete_up_to": complete_up_to, "skip_bad": skip_bad}
        case ImportKind.REGISTRY:
            pass
        case _:
            body |= {"kind": kind.value, "skip_bad": skip_bad}
    verb = {ImportKind.LEDGER: "import-ledger", ImportKind.REGISTRY: "import-registry"}.get(kind, "import-records")

    async def ask() -> dict[str, Any]:
        if complete_up_to:
            parse_rfc3339(complete_up_to)
        return await call_door(load(config).door, verb, body, answer_s_max=600.0)

    told = answer_of(json_, ask)
    show(told, json_, spoken(config) if kind is ImportKind.REGISTRY else reports.import_lines)
    if told.get("mistakes"):
        raise typer.Exit(Exit.PARTLY if told["done"] else Exit.FAILED)


@app.command()
def mandate(  # noqa: PLR0917 — the options of a command line
    action: MandateAction,
    file: Annotated[Path | None, typer.Argument(help="The mandate file; `new` writes it, `sign` adds to it.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Of the hub: for publish and list.")] = None,
    key: Annotated[Path | None, typer.Option(help="The person's private key file, for sign.")] = None,
    yes: Annotated[bool, typer.Option(help="Sign without asking (after reading it elsewhere).")] = False,
    demo: Annotated[bool, typer.Option(help="The key is of the demo's own domain.")] = False,
    node: Annotated[str | None, typer.Option(help="For new and list.")] = None,
    not_before: Annotated[str, typer.Option(help="RFC 3339, for new.")] = "",
    expires: Annotated[str, typer.Option(help="RFC 3339, for new; at most 14 days later.")] = "",
    policy: Annotated[str, typer.Option(help="Version of the rule set, for new.")] = "",
    quota_per_day: Annotated[int, typer.Option(help="Cuts per local day at most, for new.")] = 0,
    watermark_age_h_max: Annotated[int, typer.Option(help="For new; above 24 it takes four persons.")] = 24,
    account_class: Annotated[list[str] | None, typer.Option(help="For new; may be repeated.")] = None,
    counter: Annotated[int, typer.Option(help="Above every earlier mandate of the node, for new.")] = 1,
    json_: Json = False,
) -> None:
    """Draft (new) and sign mandates on a person's machine; publish them at the hub and list them."""
    clock, entropy = clock_asked_for(), SystemEntropy()

    async def ask() -> dict[str, Any]:
        match action:
            case MandateAction.NEW:
                asked = mandate_files.Asked(
                    node or "", not_before, expires, policy, quota_per_day, watermark_age_h_max,
                    tuple(account_class or ("household",)), counter,
                )  # fmt: skip
                return mandate_files.write_draft(given(file), asked, clock.now(), entropy)
            case MandateAction.SIGN:
                return mandate_files.sign(given(file), given(key, "--key"), demo=demo, agree=agree(yes))
            case MandateAction.PUBLISH:
                document = mandate_files.read(given(file)).decode("utf-8", "replace")
                return await call_door(load(given(config)).door, "mandate-publish", {"document": document})
            case MandateAction.LIST:
                wanted = mandate_files.node_or_none(node)

                async def look(hub: Hub) -> dict[str, Any]:
                    return {"mandates": await hub.mandates.listed(wanted)}

                return await look_at(given(config), look)

    told = answer_of(json_, ask)
    show(told, json_, spoken(config))
    if told.get("signed") is False:
        raise typer.Exit(Exit.REFUSED)


@app.command()
def verify(  # noqa: PLR0917 — the options of a command line
    config: Config,
    since: Annotated[str, typer.Option(help="Local date from which on; everything without it.")] = "",
    node: Annotated[str, typer.Option(help="One node: hold its days against the node itself.")] = "",
    first: Annotated[str, typer.Option("--from", help="With --node: the first local date.")] = "",
    last: Annotated[str, typer.Option("--to", help="With --node: the last local date.")] = "",
    repair: Annotated[bool, typer.Option(help="With --node: mend the hub's own rows.")] = False,
    wait_s: Annotated[int, typer.Option("--wait", help="With --node: seconds for the node's answer.")] = 90,
    json_: Json = False,
) -> None:
    """Work balances out anew and compare; with --node, compare with what the node holds. The hub must run."""

    async def ask() -> dict[str, Any]:
        if since:
            parse_day(since)
        if node:
            body = {"node": node, "from": first, "to": last, "repair": repair, "wait_s": wait_s}
            return await call_door(load(config).door, "verify-node", body, answer_s_max=wait_s + 600.0)
        return await call_door(load(config).door, "verify", {"since": since}, answer_s_max=600.0)

    told = answer_of(json_, ask)
    show(told, json_, spoken(config))
    if node and (code := reports.verify_exit(told)) is not Exit.OK:
        raise typer.Exit(code)
    if told["differences"]:
        raise typer.Exit(Exit.FAILED)


@app.command("restored")
def restored_(config: Config, json_: Json = False) -> None:
    """Say that the stopped hub's database was put back from a backup: it gets a new incarnation, nodes refill it."""

    async def ask() -> dict[str, Any]:
        loaded, clock, entropy = load(config), clock_asked_for(), SystemEntropy()
        async with resting(loaded, clock=clock, entropy=entropy) as hub:
            return await restored(hub.store, clock, entropy)

    show(answer_of(json_, ask), json_, spoken(config))


@app.command()
def doctor(config: Config, json_: Json = False) -> None:
    """Look at everything that can be wrong, with what to do. Exit 1 when a line says FAIL."""

    async def look(hub: Hub) -> dict[str, Any]:
        return as_report(await doctor_.examine(hub))

    async def ask() -> dict[str, Any]:
        loaded = load(config)
        try:
            async with reading(loaded, clock=await clock_of(loaded)) as hub:
                return await look(hub)
        except Fault as fault:
            return as_report(doctor_.failed(fault))

    told = answer_of(json_, ask)
    show(told, json_, check_lines)
    if not told["ok"]:
        raise typer.Exit(Exit.FAILED)


@app.command()
def check_config(
    config: Config, schema: Annotated[bool, typer.Option(help="Print the JSON Schema.")] = False, json_: Json = False
) -> None:
    """Check the file: keys, districts, database. Nothing is started."""
    if schema:
        print(json.dumps(json_schema(HubConfig), indent=1, ensure_ascii=False))
        return

    async def ask() -> dict[str, Any]:
        loaded = load(config)
        keys = loaded.keyring().keys()
        return {
            "ok": True,
            "database": database_shown(loaded),
            "listen": loaded.listen,
            "domain": loaded.domain.value,
            "nodes": len(loaded.nodes),
            "approvers": len(keys) - len(loaded.nodes),
        }

    show(answer_of(json_, ask), json_, spoken(config))


def main() -> None:
    """The console script."""
    speak_anywhere()
    app(prog_name="central-sync")


if __name__ == "__main__":
    main()
