"""The office's policy: its file, and the feasts around the present whatever the file says."""

from datetime import UTC, datetime

import pytest

from edge_node.policy_file import load_policy, with_holidays
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
