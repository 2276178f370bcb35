"""Nothing lost, nothing doubled: the same ids at the edge, at the hub and in truth. Floor: simulate; all walks.

Pure: lists in, findings out. A thing is *lost* when truth or an acknowledged edge has it and the hub (or, after the
heal, its office) has not; *doubled* when somebody counts what truth does not know or counts one id twice; it *differs*
when one id has two contents.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

SHOWN_MAX = 20
"""Findings of one kind that are told in words."""


@dataclass(slots=True)
class Findings:
    """What a comparison found, in words."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)

    def __iadd__(self, other: "Findings") -> Self:
        self.lost += other.lost
        self.doubled += other.doubled
        self.differing += other.differing
        return self


def compare(what: str, where: str, truth: Mapping[K, V], found: Sequence[tuple[K, V]]) -> Findings:
    """Things of a kind at one place against truth: each exactly once, with the same content."""
    told = Findings()
    counts = Counter(key for key, _ in found)
    contents = dict(found)
    told.lost += [f"{what} {key} is not {where}" for key in truth if key not in counts]
    told.doubled += [f"{what} {key} {where} is unknown to truth" for key in counts if key not in truth]
    told.doubled += [f"{what} {key} stands {count} times {where}" for key, count in counts.items() if count > 1]
    told.differing += [
        f"{what} {key} {where} is {contents[key]}, truth is {truth[key]}"
        for key in truth
        if key in contents and contents[key] != truth[key]
    ]
    return told


def compare_payments(
    truth: Mapping[str, tuple[str, int]],
    node_of: Mapping[str, str],
    edges: Mapping[str, Iterable[Sequence[Any]]],
    hub: Iterable[Sequence[Any]],
) -> Findings:
    """Payments: `truth` gives (account, tiyin) by entry id, `node_of` the office of an account, rows are (id, …)."""
    told = compare("payment", "at the hub", truth, [(row[0], (row[1], row[2])) for row in hub])
    for node, found in edges.items():
        mine = {entry: content for entry, content in truth.items() if node_of[content[0]] == node}
        told += compare("payment", f"at {node}", mine, [(row[0], (row[1], row[2])) for row in found])
    return told


def compare_batches(
    acknowledged: Sequence[tuple[K, str]], sealed: set[K], hub: Sequence[tuple[K, str, str]]
) -> Findings:
    """Batches: what was acknowledged is at the hub once with the same digest; what is there was sealed by an office.

    `hub` gives (key, digest, outcome); one set aside differs.
    """
    told = Findings()
    counts = Counter(key for key, _, _ in hub)
    digest_of = {key: digest for key, digest, _ in hub}
    told.lost += [f"batch {key} was acknowledged and is not at the hub" for key, _ in acknowledged if key not in counts]
    told.doubled += [f"batch {key} stands {count} times at the hub" for key, count in counts.items() if count > 1]
    told.doubled += [f"batch {key} at the hub was sealed by nobody" for key in counts if key not in sealed]
    told.differing += [
        f"batch {key} has another digest at the hub"
        for key, digest in acknowledged
        if key in digest_of and digest_of[key] != digest
    ]
    told.differing += [f"batch {key} was set aside at the hub" for key, _, outcome in hub if outcome != "applied"]
    return told
