"""Rules out of parameters: what is missing blocks, what is wrong is named, nothing is read as zero."""

import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from gridmodel.policy_rules import PolicyFault, rules_from_parameters

POLICY = Path(__file__).parents[2] / "configs" / "policy"


def parameters(name: str = "demo") -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((POLICY / f"{name}.toml").read_text("utf-8"))["parameters"]
    return table


def test_the_shipped_demo_is_complete() -> None:
    rules = rules_from_parameters("demo-1", parameters())
    assert rules.missing() == ()
    assert rules.min_debt_tiyin == 5_000_000
    assert rules.allowed_minutes == ((9 * 60, 14 * 60),)
    assert rules.no_cut_weekdays == {4, 5, 6}
    assert rules.max_cuts_per_node_day_pct == Fraction(1, 10)
    assert (rules.cold_moratorium_c, rules.heat_moratorium_c) == (-5, 40)
    assert "2026-03-20" in rules.no_cut_days, "the eve of Nowruz"


def test_the_shipped_default_cuts_nobody_until_the_operator_decides() -> None:
    rules = rules_from_parameters("default-1", parameters("default"))
    assert rules.missing() == ("min_debt_tiyin", "min_debt_age_days", "mode")


@pytest.mark.parametrize("name", ["notice_days", "allowed_hours", "weather_max_age_h", "max_cuts_per_node_day_pct"])
def test_an_absent_parameter_that_has_a_default_is_named(name: str) -> None:
    given_ = parameters()
    del given_[name]
    with pytest.raises(PolicyFault, match=f"TQ-PO-01.*{name}"):
        rules_from_parameters("x", given_)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("notice_days", 0),
        ("notice_days", "5"),
        ("notice_days", True),
        ("notice_days", 5.0),
        ("min_debt_uzs", -1),
        ("min_debt_age_days", None),
        ("mode", "prepaid"),
        ("mode", ""),
        ("allowed_hours", "09:00-14:00"),
        ("allowed_hours", ["14:00-09:00"]),
        ("allowed_hours", ["9-14"]),
        ("allowed_hours", ["09:00-24:01"]),
        ("allowed_hours", ["09:60-14:00"]),
        ("no_cut_weekdays", ["friday"]),
        ("no_cut_weekdays", ["fri", 6]),
        ("no_cut_days", ["2026-02-30"]),
        ("cold_moratorium_c", "cold"),
        ("cold_moratorium_c", 200),
        ("max_cuts_per_node_day_pct", 0),
        ("max_cuts_per_node_day_pct", 101),
        ("max_cuts_per_node_day_pct", True),
        ("max_cuts_per_node_10min", -1),
        ("mandate_lifetime_h", 10_000),
    ],
)
def test_an_impossible_value_is_named(name: str, value: object) -> None:
    with pytest.raises(PolicyFault, match=f"TQ-PO-02.*{name}"):
        rules_from_parameters("x", {**parameters(), name: value})


def test_no_windows_means_no_cuts_ever() -> None:
    assert rules_from_parameters("x", {**parameters(), "allowed_hours": []}).allowed_minutes == ()
