"""The office's policy: its file, and the feasts around the present whatever the file says."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_node.policy_file import load_policy, with_holidays
from gridmodel.policy_rules import PolicyFault
from tests.edge_node.supply.office import rules

ZONE = "Asia/Tashkent"


def at(year: int) -> int:
    return int(datetime(year, 4, 14, tzinfo=UTC).timestamp())


def test_without_a_file_nobody_is_cut() -> None:
    assert load_policy(None, at(2026), ZONE).missing() == ("min_debt_tiyin", "min_debt_age_days", "mode")


@pytest.mark.parametrize("year", [2025, 2026, 2031])
def test_feasts_and_their_eves_are_kept_every_year(year: int) -> None:
    bare = rules(no_cut_days=[])
    kept = with_holidays(bare, at(year), ZONE).no_cut_days
    for day in ("01-01", "03-07", "03-08", "03-20", "03-21", "05-09", "08-31", "09-01", "10-01", "12-07", "12-08"):
        assert f"{year}-{day}" in kept
    assert f"{year - 1}-12-31" in kept, "the eve of New Year lies in the year before"
    assert f"{year + 1}-09-01" in kept


def test_days_of_the_file_stay() -> None:
    assert {"2026-05-08", "2026-05-09"} <= with_holidays(rules(), at(2031), ZONE).no_cut_days


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 20_000, "a = " + "9" * 5_000, "\ufeff[policy]", "a = '\0'", "#" * 10_000_000],
)
def test_a_file_that_breaks_the_reader_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(PolicyFault, match="TQ-EN-01") as caught:
        load_policy(path, at(2026), ZONE)
    assert len(caught.value.what) < 300
    assert caught.value.hint


def test_what_is_no_file_is_named_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "a\0b"):
        with pytest.raises(PolicyFault, match="TQ-EN-01"):
            load_policy(path, at(2026), ZONE)


def test_an_hour_of_five_thousand_digits_is_named() -> None:
    with pytest.raises(PolicyFault, match="TQ-PO-02: allowed_hours"):
        rules(allowed_hours=["9" * 5_000 + ":00-24:00"])
