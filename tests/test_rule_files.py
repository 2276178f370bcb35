"""The shipped policies and tariffs are what enforcement and rating can read, and say what nobody has decided."""

import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gridmodel.policy_rules import PolicyRules, rules_from_parameters

CONFIGS = Path(__file__).parent.parent / "configs"
BLOCKING = ("min_debt_uzs", "min_debt_age_days", "mode")


def document(name: str) -> dict[str, Any]:
    return tomllib.loads((CONFIGS / name).read_text("utf-8"))


def rules(name: str) -> PolicyRules:
    file = document(f"policy/{name}.toml")
    return rules_from_parameters(file["policy"]["version"], file["parameters"])


def test_by_default_nobody_is_cut_until_the_operator_decides() -> None:
    assert rules("default").missing() == ("min_debt_tiyin", "min_debt_age_days", "mode")
    assert not set(BLOCKING) & set(document("policy/default.toml")["parameters"])


def test_the_demo_decides_what_the_default_leaves_open_and_nothing_else() -> None:
    default, demo = document("policy/default.toml")["parameters"], document("policy/demo.toml")["parameters"]
    assert rules("demo").missing() == ()
    assert {name: value for name, value in demo.items() if name not in BLOCKING} == default


@pytest.mark.parametrize("name", ["default", "demo"])
def test_every_parameter_says_its_basis(name: str) -> None:
    comment, without = "", []
    for line in (CONFIGS / "policy" / f"{name}.toml").read_text("utf-8").partition("[parameters]\n")[2].splitlines():
        if line.startswith("#"):
            comment += line
            continue
        if " = " in line and "Basis:" not in comment:
            without.append(line)
        comment = ""
    assert without == []


def test_brakes_stand_as_the_contract_has_them() -> None:
    held = rules("default")
    assert held.max_cuts_per_transformer_hour == 3
    assert str(held.max_cuts_per_transformer_day_pct) == "5"
    assert str(held.max_cuts_per_node_day_pct) == "1/10"
    assert held.fresh_balance_max_age_h == 24
    assert "hospital" in document("policy/default.toml")["parameters"]["protected_classes"]


def test_holidays_come_with_their_eves() -> None:
    days = rules("default").no_cut_days
    assert {"2026-09-01", "2026-08-31", "2027-03-21", "2027-03-20"} <= days
    assert {date.fromisoformat(day).year for day in days} >= {2026, 2027}


def test_a_tariff_that_was_not_seen_is_absent_and_not_zero() -> None:
    files = sorted((CONFIGS / "tariffs").glob("*.toml"))
    assert files
    for path in files:
        table = tomllib.loads(path.read_text("utf-8"))
        assert table["tariff"]["valid_from"] == path.stem
        tiers = [tier for name, rows in table.items() if name != "tariff" for tier in rows]
        assert all(tier["rate_som_per_kwh"] > 0 for tier in tiers if "rate_som_per_kwh" in tier)
        assert all("not seen" in tier["status"] for tier in tiers if "rate_som_per_kwh" not in tier)
