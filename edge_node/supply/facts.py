"""Everything a decision rests on, gathered in one transaction. Floor: edge_node/supply; on the payment walk.

`gather` reads the store through the caller's connection, so that the facts, the decision and what is written because of
it belong to one moment. What lies elsewhere (the registry's place, the quality of the latest reading, the clock) is
asked just before and handed in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from edge_node.store.alarms import standing_among
from edge_node.store.downlink import may_lack_protection
from edge_node.store.field_works import Held, held_registry
from edge_node.store.ledger import AccountState, Ledger, WatermarkState
from edge_node.store.operations import HOUR_S, CutPlan, Operations
from edge_node.store.readings import Latest
from edge_node.store.records import Records
from edge_node.store.relays import RelayRow, Relays
from edge_node.store.state import is_reconciled
from edge_node.supply.brakes import brakes
from edge_node.supply.place import Place
from gridmodel.account import overdue
from gridmodel.clock import ClockTrust, TimeBounds, UtilityClock
from gridmodel.control import RelayState
from gridmodel.event import AlarmKind
from gridmodel.identity import AccountId, ChannelId, DistrictId, MeterId, TransformerId, UsagePointId
from gridmodel.policy import Decision, Facts
from gridmodel.policy_rules import PolicyRules
from gridmodel.reading import Quality
from gridmodel.record import WeatherForecast
from hosting.database import Connection, Database
from protocols.authority.mandate import Mandate

READING_AGE_S_MAX = 2 * HOUR_S
"""How long ago the latest interval of a meter that may be cut ended at most: the longest interval, an hour's grace."""
UNLINKED = TransformerId("unlinked")
"""Stands in an operation for a point that the registry hangs on no transformer."""
NO_METER = MeterId("none")


class LatestQuality(Protocol):
    """How far and how well a point's import is known (`edge_node.store.readings.Readings` fits)."""

    def latest(self, point: str) -> Latest | None:
        """None when nothing was ever accepted."""
        ...


@dataclass(frozen=True, slots=True)
class Sources:
    """Where facts lie."""

    control: Database
    ledger: Ledger
    records: Records
    relays: Relays
    operations: Operations
    quality: LatestQuality
    channels: tuple[ChannelId, ...]
    """Payment channels that must vouch for themselves before anybody is cut for debt."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The present and the rules that hold in it."""

    now: int
    bounds: TimeBounds
    trusted: bool
    """The clock is in no doubt, and another source has confirmed it since this process began: a machine that starts in
    an outage with its hardware clock in local time looks sound, and is hours off."""
    rules: PolicyRules


def moment_of(clock: UtilityClock, rules: PolicyRules) -> Moment:
    """The clock's present under `rules`."""
    return Moment(clock.now(), clock.bounds(), clock.trust() is ClockTrust.TRUSTED and clock.confirmed(), rules)


@dataclass(frozen=True, slots=True)
class Gathered:
    """The facts of one point and what they came from."""

    facts: Facts
    row: RelayRow | None
    mandate: Mandate | None
    plan: CutPlan | None
    damaged: tuple[str, ...]
    """Names of rows that are not what was written."""
    credited_at: int | None
    """When the account's latest credit became durable here."""
    cuts_day: int
    """Cut intents of the node within 24 hours."""


@dataclass(frozen=True, slots=True)
class _Common:
    """What is the same for every point of the node in one transaction: asked once, however many are judged in it."""

    watermarks: WatermarkState
    mandate: Mandate | None
    lacks_protection: bool
    """See `may_lack_protection`."""
    registry: Held
    """The one that holds: a later one is durable before it is parsed."""
    cuts_stopped: bool
    reconciled: bool
    weather: dict[DistrictId, WeatherForecast | None] = field(default_factory=dict)
    """Of the districts asked for so far."""


@dataclass(frozen=True, slots=True)
class _Own:
    """What is read for several points by one statement each."""

    accounts: Mapping[AccountId, AccountState]
    rows: Mapping[UsagePointId, RelayRow]
    plans: Mapping[UsagePointId, CutPlan]
    wrong_meters: frozenset[tuple[str, str]]
    """(kind, meter) of those that are not the meter which should answer there."""


async def gather(conn: Connection, sources: Sources, place: Place, moment: Moment, but: str = "") -> Gathered:
    """The facts of `place` at `moment`. The operation `but` is judged itself and does not count for its own brakes."""
    return (await gather_all(conn, sources, [place], moment, but))[0]


async def gather_all(
    conn: Connection, sources: Sources, places: Sequence[Place], moment: Moment, but: str = ""
) -> list[Gathered]:
    """`gather` for some points at once: what they share is read once, what lies in rows of a table in one statement."""
    common = await _common_facts(conn, sources, moment)
    accounts = {place.account for place in places if place.account is not None}
    own = _Own(
        accounts=await sources.ledger.account_states(conn, sorted(accounts)),
        rows=await sources.relays.rows(conn, [place.point.id for place in places]),
        plans=await sources.operations.plans_of(conn, [place.point.id for place in places]),
        wrong_meters=await standing_among(conn, [AlarmKind.WRONG_METER], sorted({_meter_of(one) for one in places})),
    )
    return [await _gathered(conn, sources, place, moment, common, own, but) for place in places]


async def _common_facts(conn: Connection, sources: Sources, moment: Moment) -> _Common:
    return _Common(
        watermarks=await sources.ledger.watermark_state(conn, sources.channels),
        mandate=await sources.records.mandate_in_force(conn, moment.bounds),
        lacks_protection=await may_lack_protection(conn),
        registry=await held_registry(conn),
        cuts_stopped=await sources.records.cuts_are_stopped(conn),
        reconciled=await is_reconciled(conn),
    )


async def _gathered(  # noqa: PLR0917
    conn: Connection, sources: Sources, place: Place, moment: Moment, common: _Common, own: _Own, but: str
) -> Gathered:
    point, meter, now = place.point, _meter_of(place), moment.bounds
    account = AccountState((), (), None) if place.account is None else own.accounts[place.account]
    notice, torn_notices = (
        (None, ()) if place.account is None else await sources.records.latest_notice(conn, place.account)
    )
    protections, torn_protections = await sources.records.standing_protections(conn, point.id, point.district)
    counts = await sources.operations.cut_counts(
        conn, point.id, meter, place.transformer or UNLINKED, now.earliest, but
    )
    row = own.rows.get(point.id)
    known = row is not None and row.meter == meter
    torn_relay = () if row is None or row.sound else (f"relay {point.id}",)
    damaged = (*account.damaged, *torn_notices, *torn_protections, *common.watermarks.damaged, *torn_relay)
    if point.district not in common.weather:
        common.weather[point.district] = await sources.records.weather_of(conn, point.district)
    mandate, whole = common.mandate, not damaged and place.accounts == 1 and not common.lacks_protection
    permitted = (
        mandate is not None
        and mandate.policy_version == moment.rules.version
        and point.consumer_class.value in mandate.account_classes
    )
    facts = Facts(
        relay=row.state if row is not None and known else RelayState.UNKNOWN,
        cut_cause=row.cause if row is not None and known else None,
        remote_relay=place.remote_relay and place.may_open and place.transformer is not None,
        overdue=overdue(account.entries, now.earliest),
        protected_class=point.protected_class,
        protections=protections,
        notice=notice,
        oldest_watermark_at=common.watermarks.oldest_at,
        weather=common.weather[point.district],
        mandate_valid=permitted,
        mandate_watermark_age_h_max=0 if mandate is None else mandate.watermark_age_h_max,
        quota_left=0 if mandate is None else mandate.quota_per_day - counts.node_day,
        reading_actual=(AlarmKind.WRONG_METER.value, meter) not in own.wrong_meters  # it would be a neighbour's relay
        and _is_actual(sources.quality.latest(point.id), now),
        clock_trusted=moment.trusted,
        cuts_stopped=common.cuts_stopped,
        reconciled=common.reconciled,
        records_sound=whole and (place.registry_version, place.registry_works) == common.registry,
        brakes=brakes(counts, moment.rules, place.counts, now.earliest),
        zone=place.zone,
        meter_proven=place.proven,
    )
    return Gathered(facts, row, mandate, own.plans.get(point.id), damaged, account.credited_at, counts.node_day)


def _meter_of(place: Place) -> MeterId:
    return NO_METER if place.meter is None else place.meter.id


def _is_actual(latest: Latest | None, now: TimeBounds) -> bool:
    """Whether the latest interval is real and recent."""
    return latest is not None and latest.quality is Quality.ACTUAL and 0 <= now.latest - latest.end <= READING_AGE_S_MAX


async def all_protections_whole(conn: Connection, sources: Sources, gathered: Gathered) -> Gathered:
    """The same facts, doubtful if any protection at all is altered: the point's own may name another one now.

    Asked of whoever would be cut, and of nobody else: it reads them all.
    """
    torn = await sources.records.torn_protections(conn)
    if not torn:
        return gathered
    facts = replace(gathered.facts, records_sound=False)
    return replace(gathered, facts=facts, damaged=tuple(dict.fromkeys((*gathered.damaged, *torn))))


def basis(gathered: Gathered, place: Place, decision: Decision, moment: Moment) -> Mapping[str, Any]:
    """What an operation rests on, as plain values: kept with it, shown to the consumer, proven to an auditor."""
    facts = gathered.facts
    return {
        "reasons": [reason.value for reason in decision.reasons],
        "rules": decision.rules_version,
        "earliest": moment.bounds.earliest,
        "latest": moment.bounds.latest,
        "account": place.account,
        "overdue_tiyin": facts.overdue.amount_tiyin,
        "oldest_due_at": facts.overdue.oldest_due_at,
        "notice": None if facts.notice is None else facts.notice.id,
        "notice_delivered_at": None if facts.notice is None else facts.notice.delivered_at,
        "watermark_at": facts.oldest_watermark_at,
        "mandate": None if gathered.mandate is None else gathered.mandate.id,
        "quota_left": facts.quota_left,
        "weather": None if facts.weather is None else [facts.weather.min_c, facts.weather.max_c],
        "reading_actual": facts.reading_actual,
        "registry": place.registry_version,
    }
