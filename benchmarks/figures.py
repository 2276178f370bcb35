"""What a benchmark reports: rows as measured, and figures that an issue names, each with its limit.

A benchmark is a module of this folder with `NAME` and ``run(*, smoke: bool) -> Report``; one that runs for a time has
`SECONDS` as well and takes ``seconds``. A smoke run proves that it
works: it is too short to judge, so no figure of it is ok or not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number that somebody asked for."""

    id: str
    """``<benchmark>.<what>``, stable."""
    what: str
    """In words, with the peer it is measured beside."""
    value: float | None
    """None when it was skipped."""
    unit: str
    op: Literal[">=", "<="] | None = None
    """How the value is held against `limit`; None while there is no limit yet."""
    limit: float | None = None
    skipped: str | None = None
    """Why there is no value."""

    def judged(self, *, smoke: bool) -> dict[str, Any]:
        """As JSON; `ok` is null in a smoke run, without a limit, or when skipped."""
        held: bool | None = None
        if not smoke and self.value is not None and self.limit is not None and self.op is not None:
            held = self.value >= self.limit if self.op == ">=" else self.value <= self.limit
        return {
            "id": self.id,
            "what": self.what,
            "value": self.value,
            "op": self.op,
            "limit": self.limit,
            "unit": self.unit,
            "ok": held,
            "smoke": smoke,
            "skipped": self.skipped,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What one benchmark found."""

    rows: tuple[Mapping[str, Any], ...]
    """JSON-able, one for each thing measured."""
    figures: tuple[Figure, ...]


class Benchmark(Protocol):
    """A module of this folder."""

    NAME: str

    def run(self, *, smoke: bool) -> Report:
        """Measure; in a smoke run as little as proves that it works."""
        ...
