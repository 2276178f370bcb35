"""``edge-node field-work …``: what a fitter types of a meter. Above the rooms; docs/operating/field-work.md.

All of it goes through the local door to the running node, whatever the link does. Registers are typed as the display
shows them, in kWh.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_node import commands
from edge_node.command_line import Config, SecretFile, answer_of, load, signed, spoken
from edge_node.field_verbs import CHANNELS
from edge_node.verbs import wrong_argument
from gridmodel.identity import new_id
from gridmodel.period import parse_local
from gridmodel.quantity import parse_kwh
from hosting.clocks import SystemEntropy
from hosting.command_line import Json, show

app = typer.Typer(no_args_is_help=True, help="Meters put up, exchanged, moved, taken down, proven: recorded offline.")

By = Annotated[str, typer.Option(help="Id of the person, who has the role fitter.")]
Point = Annotated[str, typer.Option("--usage-point", help="Usage point (or supply point) where it was done.")]
Meter = Annotated[str, typer.Option(help="Id of the new meter.")]
Serial = Annotated[str, typer.Option(help="Serial number on its face.")]
Profile = Annotated[str, typer.Option(help="Name of its meter profile.")]
Address = Annotated[str, typer.Option(help="host:port of its bus, gateway or concentrator.")]
Unit = Annotated[int, typer.Option(min=0, max=65_535, help="Its unit or device there.")]
Start = Annotated[list[str], typer.Option(help="Register of the new meter in kWh: import=0.0; once for each channel.")]
Final = Annotated[list[str], typer.Option(help="Register of the old meter in kWh: import=12345.6; for each channel.")]
Seal = Annotated[list[str], typer.Option(help="Number of a seal; once for each.")]
Photo = Annotated[Path | None, typer.Option(help="Picture of the meter's display.")]
Old = Annotated[str | None, typer.Option("--old-meter", help="The meter that went; left out: whichever stood there.")]
Times = Annotated[str | None, typer.Option("--multiplier", help="CT × VT: 40 or 40/1.")]
At = Annotated[str, typer.Option(help="When it was done, local: 2026-05-04T10:30; left out: now.")]
Request = Annotated[str, typer.Option(help="Name of this work: repeated, it is recorded once.")]


@app.command()
def install(  # noqa: PLR0917
    config: Config,
    usage_point: Point,
    meter: Meter,
    serial: Serial,
    profile: Profile,
    address: Address,
    start: Start,
    seal: Seal,
    by: By,
    secret_file: SecretFile,
    unit: Unit = 1,
    photo: Photo = None,
    multiplier: Times = None,
    at: At = "",
    request: Request = "",
    json_: Json = False,
) -> None:
    """A meter was put up where none stood."""
    new = _new(meter, serial, profile, address, unit)
    _ask(
        *("field-install", config, secret_file, json_),
        lambda: (
            {**new, **_common(config, by, usage_point, at, request, photo)}
            | {"start_wh": _registers(start), "seals": seal, **_multiplier(multiplier)}
        ),
    )


@app.command()
def exchange(  # noqa: PLR0917
    config: Config,
    usage_point: Point,
    meter: Meter,
    serial: Serial,
    profile: Profile,
    address: Address,
    final: Final,
    start: Start,
    seal: Seal,
    photo: Annotated[Path, typer.Option(help="Picture of the old meter's display.")],
    by: By,
    secret_file: SecretFile,
    unit: Unit = 1,
    old_meter: Old = None,
    multiplier: Times = None,
    at: At = "",
    request: Request = "",
    json_: Json = False,
) -> None:
    """A meter was exchanged: both registers, the seals, a photo."""
    new = _new(meter, serial, profile, address, unit)
    _ask(
        *("field-exchange", config, secret_file, json_),
        lambda: (
            {**new, **_common(config, by, usage_point, at, request, photo), **_old(old_meter, final)}
            | {"start_wh": _registers(start), "seals": seal, **_multiplier(multiplier)}
        ),
    )


@app.command()
def move(  # noqa: PLR0917
    config: Config,
    usage_point: Point,
    to_usage_point: Annotated[str, typer.Option(help="Where it hangs now.")],
    final: Annotated[list[str], typer.Option(help="Its register in kWh: import=12345.6; for each channel.")],
    seal: Seal,
    by: By,
    secret_file: SecretFile,
    photo: Photo = None,
    old_meter: Old = None,
    multiplier: Times = None,
    at: At = "",
    request: Request = "",
    json_: Json = False,
) -> None:
    """A meter was taken from one point of this node to another."""
    _ask(
        *("field-move", config, secret_file, json_),
        lambda: (
            {**_common(config, by, usage_point, at, request, photo), **_old(old_meter, final)}
            | {"to_usage_point": to_usage_point, "seals": seal, **_multiplier(multiplier)}
        ),
    )


@app.command()
def remove(  # noqa: PLR0917
    config: Config,
    usage_point: Point,
    by: By,
    secret_file: SecretFile,
    final: Annotated[list[str] | None, typer.Option(help="Its last register in kWh; none when it shows none.")] = None,
    photo: Photo = None,
    old_meter: Old = None,
    at: At = "",
    request: Request = "",
    json_: Json = False,
) -> None:
    """A meter was taken down and none put up."""
    _ask(
        *("field-remove", config, secret_file, json_),
        lambda: {**_common(config, by, usage_point, at, request, photo), **_old(old_meter, final or [])},
    )


@app.command()
def commission(  # noqa: PLR0917
    config: Config, meter: Meter, by: By, secret_file: SecretFile, request: Request = "", json_: Json = False
) -> None:
    """Read the meter now and prove that its serial number is the one entered; only then may its relay be moved."""
    name = request or new_id("work", SystemEntropy())
    _ask("field-commission", config, secret_file, json_, lambda: {"meter": meter, "by": by, "request": name})


@app.command("list")
def list_(config: Config, limit: Annotated[int, typer.Option(min=1, max=500)] = 50, json_: Json = False) -> None:
    """The latest works and what became of them."""
    told = answer_of(json_, lambda: commands.through_door(load(config), "field-list", {"limit": limit}))
    show(told, json_, spoken(config))


def _ask(verb: str, config: Path, secret_file: Path, json_: bool, body: Callable[[], dict[str, Any]]) -> None:
    async def ask() -> dict[str, Any]:
        return await signed(config, verb, secret_file, body())

    show(answer_of(json_, ask), json_, spoken(config))


def _common(  # noqa: PLR0917
    config: Path, by: str, point: str, at: str, request: str, photo: Path | None
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "by": by,
        "usage_point": point,
        "request": request or new_id("work", SystemEntropy()),
        **({} if photo is None else {"photo": str(photo.absolute())}),
    }
    return told | ({"at": parse_local(at, load(config).zone)} if at else {})


def _new(meter: str, serial: str, profile: str, address: str, unit: int) -> dict[str, Any]:
    return {"meter": meter, "serial": serial, "profile": profile, "address": address, "unit": unit}


def _old(meter: str | None, final: list[str]) -> dict[str, Any]:
    return {"final_wh": _registers(final)} | ({} if meter is None else {"old_meter": meter})


def _registers(told: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in told:
        channel, equals, kwh = one.partition("=")
        if not equals or channel not in CHANNELS or channel in found:
            raise wrong_argument("register", f"channel=kWh, each channel once, of {', '.join(CHANNELS)}")
        found[channel] = parse_kwh(kwh)
    return found


def _multiplier(told: str | None) -> dict[str, Any]:
    if told is None:
        return {}
    top, _, bottom = told.partition("/")
    if not top.isdecimal() or not (bottom or "1").isdecimal():
        raise wrong_argument("multiplier", "40 or 40/1")
    return {"multiplier": [int(top), int(bottom or "1")]}
