"""A check-up of a process: what is well, what goes on with less, what must be done. Floor: hosting; on every walk.

The doctors of node and hub look; this is the form of what they find.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self


class Health(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    """It goes on, with less than it could."""
    FAIL = "fail"
    """Something must be done."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line."""

    name: str
    health: Health
    what: str
    hint: str = ""

    @classmethod
    def from_plain(cls, told: Mapping[str, Any]) -> Self:
        """Back from a report; raises ValueError on a health that is none."""
        return cls(told["name"], Health(told["health"]), told["what"], told["hint"])


def as_report(checks: Sequence[Check]) -> dict[str, Any]:
    """The report as plain values: ``{"ok": …, "checks": […]}``; ok means that nothing failed."""
    return {
        "ok": all(check.health is not Health.FAIL for check in checks),
        "checks": [asdict(check) for check in checks],
    }
