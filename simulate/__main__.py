"""``simulate``: rehearsals of everything, on virtual time and with real processes. Above all floors.

``--json`` gives one object on stdout; talk goes to stderr. Each command's machinery is loaded when it is asked for.
"""

import asyncio
import json
import os
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gridmodel.fault import Fault
from hosting.clocks import clock_from_environment
from hosting.process import Exit, run_process, tell

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Rehearsals of the whole country."
)

USAGE_CODES = frozenset(
    {
        "TQ-SM-10",
        "TQ-SM-13",
        "TQ-SM-16",
        "TQ-SM-17",
        "TQ-SM-20",
        "TQ-SM-21",
        "TQ-SM-22",
        "TQ-SM-23",
        "TQ-SM-30",
        "TQ-SM-31",
    }
)
"""Faults of what was typed."""

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed makes the same grid.")]


class Protocol(StrEnum):
    """What a fleet of meters speaks."""

    MODBUS = "modbus"
    DLMS = "dlms"


class LinkName(StrEnum):
    """How DLMS APDUs travel on TCP."""

    WRAPPER = "wrapper"
    HDLC = "hdlc"


class SecurityName(StrEnum):
    """What a DLMS client must bring, the public one apart."""

    NONE = "none"
    LOW = "low"
    GMAC = "gmac"


class Behind(StrEnum):
    """What stands before a fleet's meters."""

    NOTHING = "nothing"
    """Meters have addresses, or share one as units."""
    CONCENTRATOR = "concentrator"
    """Data concentrators, slow and lossy as on a power line."""


class FramingName(StrEnum):
    """How Modbus frames travel on TCP."""

    TCP = "tcp"
    RTU = "rtu"


@app.command()
def demo(  # noqa: PLR0917 — the options of a command line
    nodes: Annotated[int, typer.Option(help="Offices, each in a district of its own.")] = 2,
    meters: Annotated[int, typer.Option(help="Homes of all offices together.")] = 400,
    seed: Seed = 1,
    speed: Annotated[float, typer.Option(help="Utility seconds in one wall second.")] = 600.0,
    port: Annotated[int, typer.Option(help="Of the hub's pages; the offices' follow it.")] = 8080,
    for_: Annotated[float | None, typer.Option("--for", help="Wall seconds from the story's start.")] = None,
    json_: Json = False,
) -> None:
    """A small country living through a link cut, with real processes. Exit 1: something broke; 3: unfinished."""
    from rich.console import Console  # noqa: PLC0415 — meters need none of this

    from simulate.demo.director import run_demo  # noqa: PLC0415
    from simulate.demo.plan import DemoOptions  # noqa: PLC0415
    from simulate.demo.report import exit_code  # noqa: PLC0415
    from simulate.demo.words import Narrator  # noqa: PLC0415

    narrator = Narrator(Console(stderr=True))

    async def main(stop: asyncio.Event) -> int:
        try:
            report = await run_demo(DemoOptions(nodes, meters, seed, speed, port, for_), stop, narrator)
        except Fault as fault:
            return _failed(fault, json_=json_)
        if report is None:
            return Exit.OK if for_ is None else Exit.PARTLY
        if json_:
            print(json.dumps(report, ensure_ascii=False))
        else:
            narrator.report(report)
        return exit_code(report, asked_to_end=for_ is None)

    raise typer.Exit(run_process(main))


@app.command()
def meters(  # noqa: PLR0917 — the options of a command line
    listen: Annotated[str, typer.Option(help="HOST:PORT; the address is raised for each meter.")],
    count: Annotated[int | None, typer.Option(min=1, help="How many; all meters of a grid without it.")] = None,
    protocol: Annotated[Protocol, typer.Option(help="What they speak.")] = Protocol.MODBUS,
    profile: Annotated[str | None, typer.Option(help="Their model: a meter profile, or a DLMS model.")] = None,
    seed: Seed = 1,
    framing: Annotated[FramingName, typer.Option(help="Of Modbus.")] = FramingName.TCP,
    link: Annotated[LinkName, typer.Option(help="Of DLMS.")] = LinkName.WRAPPER,
    security: Annotated[SecurityName, typer.Option(help="Of DLMS.")] = SecurityName.GMAC,
    keys: Annotated[
        Path | None, typer.Option(help="DLMS keys and password, TOML with hex; well-known without it.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=0, max=45, help="Load profile behind them; 2 of DLMS.")] = None,
    drift: Annotated[int, typer.Option(min=0, max=100_000, help="How far DLMS clocks run apart, ppm.")] = 20,
    units: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Behind one address; 1, concentrators 1000.")
    ] = None,
    behind: Annotated[Behind, typer.Option(help="What stands before DLMS meters.")] = Behind.NOTHING,
    dlms_port: Annotated[int, typer.Option(min=1, max=32_767, help="Of a grid's DLMS homes, same addresses.")] = 4_059,
    grid: Annotated[Path | None, typer.Option(help="A planned grid instead of plain meters.")] = None,
    window: Annotated[Path | None, typer.Option(help="Socket for looking in.")] = None,
    memory: Annotated[Path | None, typer.Option(help="File in which relays keep their moves.")] = None,
) -> None:
    """A fleet of meters on real sockets until SIGTERM or Ctrl-C; one JSON line on stdout when all of them listen."""
    from protocols.modbus.codec import Framing  # noqa: PLC0415
    from simulate.meters_run import (  # noqa: PLC0415
        FleetOptions,
        asked_place,
        asked_spec,
        dlms_options,
        serve_fleet,
    )

    clock = clock_from_environment(os.environ)
    is_dlms = protocol is Protocol.DLMS

    def ready(fleet: Any) -> None:
        first, _ = fleet.listen.address(0)
        print(json.dumps({"meters": fleet.count, "first": first, "ready": True}), flush=True)

    async def main(stop: asyncio.Event) -> int:
        try:
            hdlc = link is LinkName.HDLC
            wrapper = is_dlms and not hdlc
            place = asked_place(listen, units, concentrators=behind is Behind.CONCENTRATOR, wrapper=wrapper)
            model = profile or ("dlms_single_phase" if is_dlms else "dds238_2_zn_sr")
            past = (2 if is_dlms else 0) if days is None else days
            spec = asked_spec(grid, count, model, seed, clock, days=past, dlms=is_dlms)
            homes = None if spec.home_profile is None else replace(place, port=dlms_port)
            dlms = None
            if is_dlms or homes is not None:
                dlms = dlms_options(spec.home_profile or model, security.value, keys, hdlc=hdlc, drift_ppm=drift)
            options = FleetOptions(place, Framing(framing.value), window, memory, dlms, homes)
            await serve_fleet(spec, options, clock=clock, stop=stop, ready=ready, count=count)
        except Fault as fault:
            return _failed(fault, json_=False)
        return Exit.OK

    raise typer.Exit(run_process(main))


Nodes = Annotated[int, typer.Option(min=1, max=64, help="Edge nodes.")]
Meters = Annotated[int, typer.Option(min=4, max=5_000, help="Usage points of each node.")]
Days = Annotated[int, typer.Option(min=1, max=400, help="Local days of the phase with faults.")]
ScenarioName = Annotated[str, typer.Option(help="A file of simulate/scenarios.")]


@app.command()
def run(  # noqa: PLR0917 — the options of a command line
    seed: Seed,
    days: Days,
    nodes: Nodes = 3,
    meters: Meters = 20,
    scenario: ScenarioName = "everyday",
    json_: Json = False,
) -> None:
    """One rehearsal in virtual time with the product's own code. Exit 1: a law did not hold."""
    from simulate.campaign import quiet_run, spec_of  # noqa: PLC0415

    try:
        report = quiet_run(spec_of(seed, days, nodes, meters, scenario))
    except Fault as fault:
        raise typer.Exit(_failed(fault, json_=json_)) from fault
    print(json.dumps(report.as_dict(), ensure_ascii=False) if json_ else "\n".join(report.lines()))
    raise typer.Exit(Exit.FAILED if report.violations else Exit.OK)


@app.command()
def campaign(  # noqa: PLR0917 — the options of a command line
    seeds: Annotated[str, typer.Option(help="FROM:TO, TO not included.")],
    days: Days,
    nodes: Nodes = 2,
    meters: Meters = 12,
    scenario: ScenarioName = "everyday",
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Processes; all cores without it.")] = None,
    json_: Json = False,
) -> None:
    """Many rehearsals. Exit 1: a law did not hold, or a long campaign never saw something rare."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    from simulate.campaign import campaign as all_seeds  # noqa: PLC0415
    from simulate.campaign import seeds_of, spec_of  # noqa: PLC0415

    try:
        chosen = seeds_of(seeds)
        spec = spec_of(chosen.start, days, nodes, meters, scenario)
    except Fault as fault:
        raise typer.Exit(_failed(fault, json_=json_)) from fault
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("seeds", total=len(chosen))
        report = all_seeds(chosen, spec, workers=workers, told=lambda known: progress.update(bar, completed=known.runs))
    print(json.dumps(report.as_dict(), ensure_ascii=False) if json_ else "\n".join(report.lines()))
    raise typer.Exit(Exit.FAILED if report.failing() else Exit.OK)


@app.command()
def mutants(names: Annotated[list[str] | None, typer.Argument(help="Only these.")] = None, json_: Json = False) -> None:
    """Plant each known bug and look whether a checker finds it. Exit 1: one was not found."""
    from simulate.campaign import silence  # noqa: PLC0415
    from simulate.mutants import MUTANTS, hunt_all  # noqa: PLC0415
    from simulate.scenario import ScenarioFault  # noqa: PLC0415

    unknown = sorted(set(names or ()) - {mutant.name for mutant in MUTANTS})
    if unknown:
        fault = ScenarioFault(
            "TQ-SM-22", f"there is no mutant {unknown[0]:.40}", f"use {', '.join(one.name for one in MUTANTS)}"
        )
        raise typer.Exit(_failed(fault, json_=json_))
    silence()
    results = []
    for result in hunt_all(names or ()):
        results.append(result)
        if not json_:
            how = f"by {result.checker} with seed {result.seed}" if result.found else "NOT FOUND"
            print(f"{result.name}: {how} in {result.seconds:.1f} s ({result.what})", flush=True)
    missed = [result.name for result in results if not result.found]
    if json_:
        print(json.dumps({"mutants": [one.as_dict() for one in results], "not_found": missed}, ensure_ascii=False))
    raise typer.Exit(Exit.FAILED if missed else Exit.OK)


def main() -> None:
    """The console script."""
    app(prog_name="simulate")


def _failed(fault: Fault, *, json_: bool) -> Exit:
    """A fault told on stderr, and as an object when one was asked for."""
    tell(fault)
    if json_:
        print(json.dumps({"ok": False, "error": fault.as_dict()}, ensure_ascii=False))
    return Exit.USAGE if fault.code in USAGE_CODES else Exit.FAILED


if __name__ == "__main__":
    main()
