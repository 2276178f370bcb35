"""The rules of disconnection as an office loads them: its file, and the holidays around the present. Floor: edge_node.

On the payment walk. The days without cuts in the file are a floor, never a ceiling: public holidays of Uzbekistan and
their eves (package `holidays`, decree days included as far as it knows them) are added for the years around now, so
that a file nobody has looked at since last year still keeps the feasts.
"""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import holidays

from edge_node.config import load_rules
from gridmodel.period import local_time
from gridmodel.policy_rules import PolicyRules

YEARS_AROUND = 1
"""Years before and after the present: a node runs longer than that without a restart never."""


def load_policy(path: Path | None, now: int, zone: str) -> PolicyRules:
    """The rules of `path` (or the shipped default, by which nobody is cut) with the holidays around `now`.

    Raises PolicyFault naming file and parameter.
    """
    return with_holidays(load_rules(path), now, zone)


def with_holidays(rules: PolicyRules, now: int, zone: str) -> PolicyRules:
    """`rules` with the public holidays of Uzbekistan and their eves in the years around `now`."""
    year = local_time(now, zone).year
    years = range(year - YEARS_AROUND, year + YEARS_AROUND + 1)
    feasts = holidays.country_holidays("UZ", years=years)
    days = {day.isoformat() for feast in feasts for day in (feast, feast - timedelta(days=1))}
    return replace(rules, no_cut_days=rules.no_cut_days | days)
