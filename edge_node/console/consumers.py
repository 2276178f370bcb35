"""Finding consumers: by what stands on the bill, the meter or the gate, and by what is the matter. Room: console.

On the payment walk. The registry is in memory; its searchable words are folded once for each version, off the event
loop. A page has a cursor: the id after which it goes on, so that lines never come twice while others are added.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any

from edge_node.console.office import Office
from edge_node.store.listing import Owed
from edge_node.store.readings import Latest
from edge_node.store.relays import RelayRow
from gridmodel.control import RelayState
from gridmodel.identity import AccountId, MeterId, UsagePointId, counted
from gridmodel.network import UsagePoint
from gridmodel.policy import Action, Reason
from gridmodel.record import ProtectionKind
from gridmodel.registry import Registry
from hosting.uzbek_script import folded

ROWS_PER_PAGE = 50
"""Lines of one page: two screens."""
QUERY_LENGTH_MAX = 80
"""Characters of a search that are looked at."""
CUTTABLE_LOOKED_MAX = 200
"""Candidates judged for the list of those who could be cut: each costs a dozen small queries."""
PASSING = frozenset(
    {
        Reason.OUTSIDE_HOURS,
        Reason.NO_CUT_DAY,
        Reason.QUOTA_SPENT,
        Reason.BRAKE_10_MINUTES,
        Reason.BRAKE_TRANSFORMER_HOUR,
        Reason.BRAKE_TRANSFORMER_DAY,
        Reason.BRAKE_NODE_DAY,
        Reason.BRAKE_METER,
        Reason.CUT_DELAY_RUNNING,
    }
)
"""Reasons against a cut that pass by themselves: the consumer could be cut, only not at this moment."""


class Matter(StrEnum):
    """What is the matter with the consumers that are listed."""

    ALL = "all"
    CUT = "cut"
    CUTTABLE = "cuttable"
    PROTECTED = "protected"
    OWING = "owing"


@dataclass(frozen=True, slots=True)
class Line:
    """One consumer in a list."""

    point: UsagePoint
    account: AccountId | None
    meter: MeterId | None
    relay: RelayState
    row: RelayRow | None
    owed: Owed | None
    late: bool
    protections: tuple[ProtectionKind, ...]
    latest: Latest | None
    waits_for: tuple[str, ...] = ()
    """Codes of the reasons for which a cuttable consumer is not cut at this moment."""


@dataclass(frozen=True, slots=True)
class Found:
    """One page of lines."""

    lines: tuple[Line, ...]
    next: str | None
    """The cursor of the next page."""


@dataclass(slots=True)
class ConsumerIndex:
    """The searchable words of one registry version."""

    registry: Registry | None = None
    ids: list[UsagePointId] = field(default_factory=list)
    """In the order a person counts: house 9 before house 10."""
    words: dict[UsagePointId, str] = field(default_factory=dict)
    account: dict[UsagePointId, AccountId] = field(default_factory=dict)

    async def fresh(self, office: Office) -> Registry | None:
        """The registry that holds, with this index made for it."""
        registry = office.store.registries.newest
        if registry is not None and registry is not self.registry:
            self.ids, self.words, self.account = await office.compute.run(_words, registry, office.clock.now())
            self.registry = registry
        return registry


async def find(office: Office, index: ConsumerIndex, query: str, matter: Matter, after: str) -> Found:
    """The page of consumers that fit, in order of their ids, after the cursor."""
    registry = await index.fresh(office)
    if registry is None:
        return Found((), None)
    now = office.clock.now()
    waits: dict[UsagePointId, tuple[str, ...]] = {}
    protected = await office.listing.protected(now)
    chosen: set[UsagePointId] | None = None
    match matter:
        case Matter.ALL:
            pass
        case Matter.CUT:
            chosen = {row.usage_point for row in await office.store.relays.list_dark()}
        case Matter.CUTTABLE:
            waits = await _cuttable(office)
            chosen = set(waits)
        case Matter.PROTECTED:
            chosen = set(protected) | {point.id for point in registry.usage_points if point.protected_class}
        case Matter.OWING:
            owing = await office.listing.owing(now)
            chosen = {point for point, account in index.account.items() if account in owing}
    hits = await office.compute.run(_hits, index.ids, index.words, query, chosen, after)
    page = hits[:ROWS_PER_PAGE]
    lines = await _lines(office, index, registry, page, protected, waits)
    return Found(tuple(lines), page[-1] if len(hits) > ROWS_PER_PAGE else None)


async def one_line(office: Office, index: ConsumerIndex, point: UsagePointId) -> Line | None:
    """The line of one consumer, or None where this office has no such."""
    registry = await index.fresh(office)
    if registry is None or point not in registry.usage_point:
        return None
    protected = await office.listing.protected(office.clock.now())
    return (await _lines(office, index, registry, [point], protected, {}))[0]


async def _cuttable(office: Office) -> dict[UsagePointId, tuple[str, ...]]:
    """Connected consumers that everything but a passing reason permits to cut, with those reasons."""
    preview: dict[str, Any] = await office.node.preview(CUTTABLE_LOOKED_MAX)
    return {
        UsagePointId(line["usage_point"]): () if line["action"] == Action.CUT else tuple(line["reasons"])
        for line in preview["points"]
        if line["relay"] == RelayState.CONNECTED
        and (line["action"] == Action.CUT or all(reason in PASSING for reason in line["reasons"]))
    }


async def _lines(  # noqa: PLR0917
    office: Office,
    index: ConsumerIndex,
    registry: Registry,
    page: list[UsagePointId],
    protected: dict[UsagePointId, set[ProtectionKind]],
    waits: dict[UsagePointId, tuple[str, ...]],
) -> list[Line]:
    now = office.clock.now()
    relays = await office.store.control.read(lambda conn: office.store.relays.rows(conn, page)) if page else {}
    owed = await office.listing.owed([index.account[point] for point in page if point in index.account])
    installed = registry.topology(now).installation_at
    lines = []
    for point in page:
        account = index.account.get(point)
        row = relays.get(point)
        placed = installed.get(point)
        debt = None if account is None else owed.get(account)
        lines.append(
            Line(
                point=registry.usage_point[point],
                account=account,
                meter=None if placed is None else placed.meter,
                relay=RelayState.UNKNOWN if row is None else row.state,
                row=row,
                owed=debt,
                late=debt is not None
                and debt.owed_tiyin > 0
                and debt.first_due_at is not None
                and debt.first_due_at < now,
                protections=tuple(sorted(protected.get(point, ()))),
                latest=office.store.readings.latest(point),
                waits_for=waits.get(point, ()),
            )
        )
    return lines


def _hits(
    ids: list[UsagePointId],
    words: dict[UsagePointId, str],
    query: str,
    chosen: set[UsagePointId] | None,
    after: str,
) -> list[UsagePointId]:
    """The points of one page and one more, if there is one. Pure; 40,000 points are 25 ms, so off the event loop."""
    wanted = folded(query[:QUERY_LENGTH_MAX]).split()
    start = bisect_right(ids, counted(after), key=counted) if after else 0
    fitting = (
        point
        for point in islice(ids, start, None)
        if (chosen is None or point in chosen) and all(word in words[point] for word in wanted)
    )
    return list(islice(fitting, ROWS_PER_PAGE + 1))


def _words(
    registry: Registry, now: int
) -> tuple[list[UsagePointId], dict[UsagePointId, str], dict[UsagePointId, AccountId]]:
    """Pure and, for a large office, half a second of work."""
    account: dict[UsagePointId, AccountId] = {}
    said: dict[UsagePointId, list[str]] = {}
    for one in registry.accounts:
        account.setdefault(one.usage_point, one.id)
        said.setdefault(one.usage_point, []).append(one.id)
    installed = registry.topology(now).installation_at
    words = {}
    for point in registry.usage_points:
        placed = installed.get(point.id)
        meter = None if placed is None else registry.meter.get(placed.meter)
        named = [point.id, point.address, *said.get(point.id, ()), *(() if meter is None else (meter.id, meter.serial))]
        words[point.id] = folded(" ".join(named))
    return sorted(words, key=counted), words, account
