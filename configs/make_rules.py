"""Make `configs/policy/*.toml` and `configs/tariffs/*.toml` from a folder of collected facts.

    python -m configs.make_rules --data FOLDER

FOLDER holds `policy_parameters.json` and `tariffs.json`. A parameter that the operator must set stays absent: a comment
stands in its place, and no reader may take it for zero. The demo's policy is the default with `DEMO` set.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import holidays

from configs.toml_text import Value, comment_text, pairs_text

HERE = Path(__file__).parent
YEARS = (2026, 2027)
HEAD = """\
Made by `python -m configs.make_rules`. An absent parameter is one that nobody has decided: where its comment says that
it blocks, nobody is cut until the operator sets it. Basis "suggestion" is our own proposal, to be confirmed by the
utility and its regulator. Amounts in soʻm, times local.
"""
DEMO: dict[str, tuple[Value, str]] = {
    "min_debt_uzs": (50_000, "the demo's own value"),
    "min_debt_age_days": (30, "the demo's own value"),
    "mode": ("postpaid", "the demo's own value"),
}
OURS: tuple[dict[str, Any], ...] = (
    {
        "name": "weather_max_age_h",
        "default": 24,
        "type": "hours",
        "meaning": "a forecast older than this is none, and counts as frost",
        "basis": "suggestion",
    },
)
"""Parameters that the rules need beside the collected ones."""


def no_cut_days() -> list[str]:
    """Public holidays of Uzbekistan and their eves."""
    days: set[date] = set()
    for day in holidays.country_holidays("UZ", years=YEARS):
        days |= {day, day - timedelta(days=1)}
    return sorted(day.isoformat() for day in days)


def parameter_text(parameter: Mapping[str, Any], value: Value | None, basis: str) -> str:
    """One parameter with what it means and where it comes from."""
    name = str(parameter["name"])
    about = f"{parameter['meaning'] or name}. {parameter['type']}. Basis: {basis}"
    if value is not None:
        return comment_text(about) + pairs_text({name: value}) + "\n"
    blocks = "NOT SET: nobody is cut until the operator sets it." if parameter.get("blocks") else "not set."
    return comment_text(about) + f"# {name} =   {blocks}\n\n"


def policy_text(version: str, parameters: list[Mapping[str, Any]], chosen: Mapping[str, tuple[Value, str]]) -> str:
    """A whole policy file."""
    parts = [comment_text(HEAD), "\n[policy]\n", pairs_text({"version": version}), "\n[parameters]\n"]
    for parameter in parameters:
        value, basis = chosen.get(parameter["name"], (parameter["default"], parameter["basis"]))
        parts.append(parameter_text(parameter, value, basis))
    parts.append(
        comment_text(
            "The days of no_cut_holidays, written out: public holidays with the extra days off known so far, and their "
            "eves. Days that follow the moon are estimates; look again each year. Basis: PyPI holidays (MIT)"
        )
    )
    parts += ["no_cut_days = [\n", *(f'    "{day}",\n' for day in no_cut_days()), "]\n"]
    return "".join(parts)


def tiers(name: str, rows: list[Mapping[str, Any]]) -> Iterator[str]:
    """One class of consumers: monthly consumption up to a bound at a rate; a rate nobody has seen stays absent."""
    for row in rows:
        yield f"\n[[{name}]]\n"
        yield pairs_text(
            {"up_to_kwh_month": row.get("up_to"), "rate_som_per_kwh": row["rate"], "status": row.get("status", "seen")}
        )


def tariff_text(tariff: Mapping[str, Any]) -> str:
    """A dated tariff table."""
    head = (
        "Made by `python -m configs.make_rules` from the press; tariffs are data with a date, never code. Rates are "
        "soʻm for a kWh with VAT. A rate that was not seen is absent: nothing may be rated by it."
    )
    top: dict[str, Value | None] = {
        "valid_from": tariff["valid_from"],
        "social_norm_kwh_month": tariff["social_norm_kwh_month"],
        "note": tariff["note"],
        "sources": tariff["sources"],
    }
    return "".join(
        [
            comment_text(head),
            "\n[tariff]\n",
            pairs_text(top),
            *tiers("household", tariff["household"]),
            *tiers("household_electric_stove", tariff["household_electric_stove"]),
            *tiers("other", [tariff["other_incl_companies"]]),
        ]
    )


def main() -> None:
    """Read the facts, write the files."""
    parser = argparse.ArgumentParser(description="make configs/policy and configs/tariffs from collected facts")
    parser.add_argument("--data", type=Path, required=True, help="folder with policy_parameters.json, tariffs.json")
    data: Path = parser.parse_args().data
    parameters = [*json.loads((data / "policy_parameters.json").read_text("utf-8"))["params"], *OURS]
    (HERE / "policy" / "default.toml").write_text(policy_text("default-1", parameters, {}), "utf-8")
    (HERE / "policy" / "demo.toml").write_text(policy_text("demo-1", parameters, DEMO), "utf-8")
    tariff = json.loads((data / "tariffs.json").read_text("utf-8"))
    (HERE / "tariffs" / f"{tariff['valid_from']}.toml").write_text(tariff_text(tariff), "utf-8")


if __name__ == "__main__":
    main()
