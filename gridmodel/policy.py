"""The decision: cut, restore, or neither, and every reason why. Ground floor; on the payment walk.

`decide` is pure and total: facts and rules and an interval of time go in, a decision comes out. A cut needs every
reason; a restore needs one. Permissions must hold at both ends of the present, so that a doubtful minute never cuts.
All reasons against a cut are named, not the first alone: an operator sees what else would have held it.
"""

from dataclasses import dataclass
from enum import StrEnum

from gridmodel.account import Overdue
from gridmodel.clock import TimeBounds
from gridmodel.control import Cause, RelayState
from gridmodel.period import HOUR_S, local_time
from gridmodel.policy_rules import PolicyRules
from gridmodel.record import Notice, NoticeEvidence, Protection, ProtectionKind, WeatherForecast
from gridmodel.replicated import FUTURE_S_MAX

DAY_S = 24 * HOUR_S


class Action(StrEnum):
    """What is wanted of the relay."""

    CUT = "cut"
    RESTORE = "restore"
    NONE = "none"


class Reason(StrEnum):
    """Why; each has a text in every catalogue (``reason.<value>``)."""

    # for a cut or a restore
    DEBT_OVERDUE = "debt_overdue"
    DEBT_CLEARED = "debt_cleared"
    PROTECTED_NOW = "protected_now"
    # against a cut
    NO_DEBT = "no_debt"
    DEBT_BELOW_MINIMUM = "debt_below_minimum"
    DEBT_TOO_YOUNG = "debt_too_young"
    NOTICE_MISSING = "notice_missing"
    NOTICE_NOT_PROVEN = "notice_not_proven"
    NOTICE_RUNNING = "notice_running"
    NOTICE_EXPIRED = "notice_expired"
    NOTICE_OTHER_AMOUNT = "notice_other_amount"
    PROTECTED_CLASS = "protected_class"
    PROTECTED_RECORD = "protected_record"
    MORATORIUM = "moratorium"
    OUTSIDE_HOURS = "outside_hours"
    NO_CUT_DAY = "no_cut_day"
    FROST = "frost"
    HEAT = "heat"
    WEATHER_UNKNOWN = "weather_unknown"
    WATERMARK_STALE = "watermark_stale"
    WATERMARK_MISSING = "watermark_missing"
    NO_MANDATE = "no_mandate"
    QUOTA_SPENT = "quota_spent"
    RULES_INCOMPLETE = "rules_incomplete"
    CLOCK_DOUBTFUL = "clock_doubtful"
    CUTS_STOPPED = "cuts_stopped"
    NOT_RECONCILED = "not_reconciled"
    NO_REMOTE_RELAY = "no_remote_relay"
    READING_DOUBTFUL = "reading_doubtful"
    METER_UNPROVEN = "meter_unproven"
    RECORDS_DOUBTFUL = "records_doubtful"
    BRAKE_10_MINUTES = "brake_10_minutes"
    BRAKE_TRANSFORMER_HOUR = "brake_transformer_hour"
    BRAKE_TRANSFORMER_DAY = "brake_transformer_day"
    BRAKE_NODE_DAY = "brake_node_day"
    BRAKE_METER = "brake_meter"
    CUT_DELAY_RUNNING = "cut_delay_running"
    # against a restore, or nothing to do
    SAFETY_LOCK = "safety_lock"
    NOT_OUR_CUT = "not_our_cut"
    ALREADY_CUT = "already_cut"
    STILL_OWED = "still_owed"


class Remedy(StrEnum):
    """What gives a dark home its supply back."""

    PAYMENT = "payment"
    PROTECTION = "protection"
    BUTTON = "button"
    """Somebody presses the button of the meter."""
    LOCK_REMOVED = "lock_removed"
    """A person takes the safety lock away."""
    PERSON = "person"
    """Not our cut: a person who knows why it is open."""
    UNDER_WAY = "under_way"
    """Nothing more is needed: the meter is being told."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a node durably knows about one usage point and itself, gathered in one transaction."""

    relay: RelayState
    cut_cause: Cause | None
    """Why it is dark; None while connected."""
    remote_relay: bool
    """The meter has a relay that this node may move."""
    overdue: Overdue
    protected_class: str | None
    """Any class at all protects: a misspelt hospital is still one."""
    protections: tuple[Protection, ...]
    """Those that stand for the point, its district, or all; validity is judged here."""
    notice: Notice | None
    """The latest."""
    oldest_watermark_at: int | None
    """The oldest "complete up to" of all payment channels; None when a channel never sent one."""
    weather: WeatherForecast | None
    mandate_valid: bool
    mandate_watermark_age_h_max: int
    """The mandate's own limit, which can only lower the rules'."""
    quota_left: int
    """Cuts that the mandate still allows today."""
    reading_actual: bool
    """The latest interval of the point is ACTUAL and recent."""
    clock_trusted: bool
    cuts_stopped: bool
    reconciled: bool
    """False while a rebuilt or restored store has not heard the hub."""
    records_sound: bool
    """Every row this rests on still is what was written, nothing that came down is unread, and one account alone stands
    at the point of the registry that holds."""
    brakes: tuple[Reason, ...]
    """The brakes that hold at this moment."""
    zone: str
    meter_proven: bool = True
    """Somebody read the meter since it was put there, and it is the one that was entered."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is wanted and why; kept with the intent, shown to the consumer."""

    action: Action
    reasons: tuple[Reason, ...]
    """Of a CUT or RESTORE: what justifies it. Of NONE: everything that stands against a cut, or why it stays dark."""
    rules_version: str


def decide(facts: Facts, rules: PolicyRules, now: TimeBounds) -> Decision:
    """The decision for one usage point."""
    if facts.relay is RelayState.CONNECTED:
        against = reasons_against_cut(facts, rules, now)
        if against:
            return Decision(Action.NONE, against, rules.version)
        return Decision(Action.CUT, (Reason.DEBT_OVERDUE,), rules.version)
    return _dark(facts, rules, now)


def reasons_against_cut(facts: Facts, rules: PolicyRules, now: TimeBounds) -> tuple[Reason, ...]:
    """Everything that forbids a cut for debt at this moment; empty when it is permitted."""
    return (
        *_against_by_rules(facts, rules),
        *_against_by_debt(facts, rules, now),
        *_against_by_notice(facts, rules, now),
        *_against_by_protection(facts, now),
        *_against_by_calendar(facts, rules, now),
        *_against_by_knowledge(facts, rules, now),
        *facts.brakes,
    )


def _dark(facts: Facts, rules: PolicyRules, now: TimeBounds) -> Decision:
    """Cut, being cut, or being restored: one reason restores, a person's lock alone outranks it."""
    standing = _standing(facts, now)
    if any(one.kind is ProtectionKind.SAFETY_LOCK for one in standing):
        return Decision(Action.NONE, (Reason.SAFETY_LOCK,), rules.version)
    if facts.relay is RelayState.UNKNOWN or facts.cut_cause is not Cause.DEBT:
        return Decision(Action.NONE, (Reason.NOT_OUR_CUT,), rules.version)
    if facts.overdue.amount_tiyin <= 0:
        return Decision(Action.RESTORE, (Reason.DEBT_CLEARED,), rules.version)
    if standing or facts.protected_class is not None:
        return Decision(Action.RESTORE, (Reason.PROTECTED_NOW,), rules.version)
    return Decision(Action.NONE, (Reason.ALREADY_CUT, Reason.STILL_OWED), rules.version)


def _against_by_rules(facts: Facts, rules: PolicyRules) -> tuple[Reason, ...]:
    held = {
        Reason.RULES_INCOMPLETE: bool(rules.missing()),
        Reason.CUTS_STOPPED: facts.cuts_stopped,
        Reason.NOT_RECONCILED: not facts.reconciled,
        Reason.CLOCK_DOUBTFUL: not facts.clock_trusted,
        Reason.NO_REMOTE_RELAY: not facts.remote_relay,
        Reason.NO_MANDATE: not facts.mandate_valid,
        Reason.QUOTA_SPENT: facts.mandate_valid and facts.quota_left <= 0,  # a mandate that is none has no quota
    }
    return tuple(reason for reason, holds in held.items() if holds)


def _against_by_debt(facts: Facts, rules: PolicyRules, now: TimeBounds) -> tuple[Reason, ...]:
    if facts.overdue.amount_tiyin <= 0 or facts.overdue.oldest_due_at is None:
        return (Reason.NO_DEBT,)
    against = []
    if rules.min_debt_tiyin is None or facts.overdue.amount_tiyin < rules.min_debt_tiyin:
        against.append(Reason.DEBT_BELOW_MINIMUM)
    age_s = now.earliest - facts.overdue.oldest_due_at
    if rules.min_debt_age_days is None or age_s < rules.min_debt_age_days * DAY_S:
        against.append(Reason.DEBT_TOO_YOUNG)
    return tuple(against)


def _against_by_notice(facts: Facts, rules: PolicyRules, now: TimeBounds) -> tuple[Reason, ...]:
    notice = facts.notice
    if notice is None:
        return (Reason.NOTICE_MISSING,)
    if notice.evidence is NoticeEvidence.NONE or notice.delivered_at is None:
        return (Reason.NOTICE_NOT_PROVEN,)
    against = []
    if now.earliest - notice.delivered_at < rules.notice_days * DAY_S:
        against.append(Reason.NOTICE_RUNNING)
    reversed_at, due_at = facts.overdue.reversed_at, facts.overdue.oldest_due_at
    if (
        now.latest - notice.delivered_at > rules.notice_expiry_days * DAY_S
        or (reversed_at is not None and reversed_at >= notice.delivered_at)
        or (due_at is not None and due_at > notice.delivered_at)  # told of another debt, which was paid since
    ):
        against.append(Reason.NOTICE_EXPIRED)
    if facts.overdue.amount_tiyin > notice.amount_tiyin:
        against.append(Reason.NOTICE_OTHER_AMOUNT)
    return tuple(against)


def _standing(facts: Facts, now: TimeBounds) -> tuple[Protection, ...]:
    """Protections in force at any moment of the present: they end at the latest time that they might."""
    return tuple(one for one in facts.protections if one.valid_from <= now.latest and one.valid_to > now.earliest)


def _against_by_protection(facts: Facts, now: TimeBounds) -> tuple[Reason, ...]:
    standing = _standing(facts, now)
    held = {
        Reason.PROTECTED_CLASS: facts.protected_class is not None,
        Reason.MORATORIUM: any(one.kind is ProtectionKind.MORATORIUM for one in standing),
        Reason.PROTECTED_RECORD: any(one.kind is not ProtectionKind.MORATORIUM for one in standing),
    }
    return tuple(reason for reason, holds in held.items() if holds)


def against_by_hours(rules: PolicyRules, zone: str, now: TimeBounds) -> tuple[Reason, ...]:
    """What the calendar alone forbids at any moment of the present, for everybody in `zone`."""
    against = []
    moments = [local_time(moment, zone) for moment in (now.earliest, now.latest)]
    if moments[0].date() != moments[1].date() or not any(
        all(opens <= moment.hour * 60 + moment.minute < closes for moment in moments)
        for opens, closes in rules.allowed_minutes
    ):
        against.append(Reason.OUTSIDE_HOURS)
    if any(
        moment.weekday() in rules.no_cut_weekdays or moment.date().isoformat() in rules.no_cut_days
        for moment in moments
    ):
        against.append(Reason.NO_CUT_DAY)
    return tuple(against)


def _against_by_calendar(facts: Facts, rules: PolicyRules, now: TimeBounds) -> tuple[Reason, ...]:
    against = list(against_by_hours(rules, facts.zone, now))
    weather = facts.weather
    if weather is None or not fresh(weather.issued_at, rules.weather_max_age_h, now):
        against.append(Reason.WEATHER_UNKNOWN)
    else:
        if weather.min_c < rules.cold_moratorium_c:
            against.append(Reason.FROST)
        if weather.max_c > rules.heat_moratorium_c:
            against.append(Reason.HEAT)
    return tuple(against)


def fresh(at: int, age_h_max: int, now: TimeBounds) -> bool:
    """Whether a stamp from elsewhere is young enough. One from the future shows that this clock is behind."""
    return -FUTURE_S_MAX <= now.latest - at <= age_h_max * HOUR_S


def _against_by_knowledge(facts: Facts, rules: PolicyRules, now: TimeBounds) -> tuple[Reason, ...]:
    against = []
    limits_h = [rules.fresh_balance_max_age_h, *([facts.mandate_watermark_age_h_max] if facts.mandate_valid else [])]
    if facts.oldest_watermark_at is None:
        against.append(Reason.WATERMARK_MISSING)
    elif not fresh(facts.oldest_watermark_at, min(limits_h), now):
        against.append(Reason.WATERMARK_STALE)
    if not facts.reading_actual:
        against.append(Reason.READING_DOUBTFUL)
    if not facts.meter_proven:
        against.append(Reason.METER_UNPROVEN)
    if not facts.records_sound:
        against.append(Reason.RECORDS_DOUBTFUL)
    return tuple(against)
