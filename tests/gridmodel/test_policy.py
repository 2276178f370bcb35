"""The decision: from the published rules and the published failures, as a table, and total over everything."""

import tomllib
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridmodel.account import Overdue
from gridmodel.clock import TimeBounds
from gridmodel.control import Cause, RelayState
from gridmodel.identity import AccountId, DistrictId, UsagePointId
from gridmodel.policy import Action, Facts, Reason, against_by_hours, decide, reasons_against_cut
from gridmodel.policy_rules import PolicyRules, rules_from_parameters
from gridmodel.record import Notice, NoticeEvidence, Protection, ProtectionKind, WeatherForecast

DEMO = tomllib.loads((Path(__file__).parents[2] / "configs" / "policy" / "demo.toml").read_text("utf-8"))
RULES = rules_from_parameters("demo-1", DEMO["parameters"])
DAY, HOUR = 86_400, 3_600


def local(text: str) -> int:
    """A wall time of Tashkent (UTC+5) as UTC seconds."""
    return int(datetime.fromisoformat(f"{text}+05:00").astimezone(UTC).timestamp())


NOW = local("2026-04-14T10:00:00")
"""A Tuesday morning, mild, no feast: the moment at which a cut is permitted at all."""
PRESENT = TimeBounds(NOW - 2, NOW + 2)
POINT, DISTRICT = UsagePointId("up"), DistrictId("1726269")


def notice(amount: int = 10_000_000, days_ago: int = 10, evidence: NoticeEvidence | None = None) -> Notice:
    evidence = evidence or NoticeEvidence.SMS_DELIVERED
    return Notice("n", AccountId("acc"), amount, evidence, NOW - days_ago * DAY)


def protection(kind: ProtectionKind, start: int = NOW - DAY, end: int = NOW + DAY) -> Protection:
    return Protection("p", kind, POINT, None, start, end, "clinic")


DEBTOR = Facts(
    relay=RelayState.CONNECTED,
    cut_cause=None,
    remote_relay=True,
    overdue=Overdue(10_000_000, NOW - 40 * DAY),
    protected_class=None,
    protections=(),
    notice=notice(),
    oldest_watermark_at=NOW - HOUR,
    weather=WeatherForecast(DISTRICT, NOW - HOUR, 8.0, 22.0),
    mandate_valid=True,
    mandate_watermark_age_h_max=24,
    quota_left=3,
    reading_actual=True,
    clock_trusted=True,
    cuts_stopped=False,
    reconciled=True,
    records_sound=True,
    brakes=(),
    zone="Asia/Tashkent",
)
DARK = replace(DEBTOR, relay=RelayState.DISCONNECTED, cut_cause=Cause.DEBT)


def test_with_every_reason_a_debtor_is_cut() -> None:
    decision = decide(DEBTOR, RULES, PRESENT)
    assert (decision.action, decision.reasons, decision.rules_version) == (
        Action.CUT,
        (Reason.DEBT_OVERDUE,),
        "demo-1",
    )


HOLDS: list[tuple[str, dict[str, Any], Reason]] = [
    ("nothing is owed", {"overdue": Overdue(0, None)}, Reason.NO_DEBT),
    ("less than the minimum", {"overdue": Overdue(4_999_999, NOW - 40 * DAY)}, Reason.DEBT_BELOW_MINIMUM),
    ("29 days and 23 hours old", {"overdue": Overdue(10**7, NOW - 30 * DAY + HOUR)}, Reason.DEBT_TOO_YOUNG),
    ("Yangiyoʻl 2021: without warning", {"notice": None}, Reason.NOTICE_MISSING),
    ("an SMS nobody received", {"notice": replace(notice(), delivered_at=None)}, Reason.NOTICE_NOT_PROVEN),
    ("no evidence", {"notice": notice(evidence=NoticeEvidence.NONE)}, Reason.NOTICE_NOT_PROVEN),
    ("told four days ago", {"notice": notice(days_ago=4)}, Reason.NOTICE_RUNNING),
    ("told in the future", {"notice": notice(days_ago=-2)}, Reason.NOTICE_RUNNING),
    ("told 31 days ago", {"notice": notice(days_ago=31)}, Reason.NOTICE_EXPIRED),
    ("told of less", {"notice": notice(amount=9_999_999)}, Reason.NOTICE_OTHER_AMOUNT),
    ("told before a reversal", {"overdue": Overdue(10**7, NOW - 40 * DAY, NOW - 9 * DAY)}, Reason.NOTICE_EXPIRED),
    ("a hospital", {"protected_class": "hospital"}, Reason.PROTECTED_CLASS),
    ("a hospital, misspelt", {"protected_class": "hopsital"}, Reason.PROTECTED_CLASS),
    ("an empty class is one", {"protected_class": ""}, Reason.PROTECTED_CLASS),
    ("life support at home", {"protections": (protection(ProtectionKind.MEDICAL),)}, Reason.PROTECTED_RECORD),
    ("a complaint is open", {"protections": (protection(ProtectionKind.DISPUTE),)}, Reason.PROTECTED_RECORD),
    ("a plan is kept", {"protections": (protection(ProtectionKind.INSTALMENT_PLAN),)}, Reason.PROTECTED_RECORD),
    (
        "2025: payment refused for waste debt",
        {"protections": (protection(ProtectionKind.PAYMENT_BLOCKED),)},
        Reason.PROTECTED_RECORD,
    ),
    ("January 2023", {"protections": (protection(ProtectionKind.MORATORIUM),)}, Reason.MORATORIUM),
    (
        "ends within the doubt of the clock",
        {"protections": (protection(ProtectionKind.MEDICAL, NOW - DAY, NOW - 1),)},
        Reason.PROTECTED_RECORD,
    ),
    (
        "begins within the doubt of the clock",
        {"protections": (protection(ProtectionKind.MEDICAL, NOW + 1, NOW + DAY),)},
        Reason.PROTECTED_RECORD,
    ),
    ("Tashkent at −20 °C", {"weather": WeatherForecast(DISTRICT, NOW - HOUR, -20.0, -8.0)}, Reason.FROST),
    ("a heat wave", {"weather": WeatherForecast(DISTRICT, NOW - HOUR, 25.0, 43.0)}, Reason.HEAT),
    ("no forecast", {"weather": None}, Reason.WEATHER_UNKNOWN),
    ("an old forecast", {"weather": WeatherForecast(DISTRICT, NOW - 25 * HOUR, 8, 20)}, Reason.WEATHER_UNKNOWN),
    ("a channel never vouched", {"oldest_watermark_at": None}, Reason.WATERMARK_MISSING),
    ("November 2022: 47 h without payments", {"oldest_watermark_at": NOW - 47 * HOUR}, Reason.WATERMARK_STALE),
    ("a watermark hours ahead: this clock is behind", {"oldest_watermark_at": NOW + 10 * HOUR}, Reason.WATERMARK_STALE),
    ("a forecast of tomorrow", {"weather": WeatherForecast(DISTRICT, NOW + DAY, 8, 20)}, Reason.WEATHER_UNKNOWN),
    ("the mandate allows less", {"mandate_watermark_age_h_max": 0}, Reason.WATERMARK_STALE),
    ("no mandate", {"mandate_valid": False}, Reason.NO_MANDATE),
    ("the quota is spent", {"quota_left": 0}, Reason.QUOTA_SPENT),
    ("the quota is more than spent", {"quota_left": -3}, Reason.QUOTA_SPENT),
    ("an estimated reading", {"reading_actual": False}, Reason.READING_DOUBTFUL),
    ("a damaged row", {"records_sound": False}, Reason.RECORDS_DOUBTFUL),
    ("the clock jumped", {"clock_trusted": False}, Reason.CLOCK_DOUBTFUL),
    ("a person said stop", {"cuts_stopped": True}, Reason.CUTS_STOPPED),
    ("the store was rebuilt", {"reconciled": False}, Reason.NOT_RECONCILED),
    ("a meter without a relay", {"remote_relay": False}, Reason.NO_REMOTE_RELAY),
    ("58,217 in one day", {"brakes": (Reason.BRAKE_NODE_DAY,)}, Reason.BRAKE_NODE_DAY),
]


def test_a_mandate_that_is_none_is_said_once() -> None:
    facts = replace(DEBTOR, mandate_valid=False, quota_left=0, mandate_watermark_age_h_max=0)
    assert decide(facts, RULES, PRESENT).reasons == (Reason.NO_MANDATE,)


def test_a_notice_of_a_debt_that_was_paid_covers_no_later_one() -> None:
    young = replace(RULES, min_debt_age_days=3)
    later = replace(DEBTOR, overdue=Overdue(10_000_000, NOW - 9 * DAY))  # it fell due a day after the notice
    assert decide(later, young, PRESENT).reasons == (Reason.NOTICE_EXPIRED,)
    before = replace(DEBTOR, overdue=Overdue(10_000_000, NOW - 11 * DAY))
    assert decide(before, young, PRESENT).action is Action.CUT


@pytest.mark.parametrize(("story", "facts", "reason"), HOLDS, ids=[story for story, _, _ in HOLDS])
def test_one_reason_holds_a_cut(story: str, facts: dict[str, Any], reason: Reason) -> None:
    decision = decide(replace(DEBTOR, **facts), RULES, PRESENT)
    assert (decision.action, decision.reasons) == (Action.NONE, (reason,)), story


@pytest.mark.parametrize(
    ("wall", "reason"),
    [
        ("2026-04-14T08:59:59", Reason.OUTSIDE_HOURS),
        ("2026-04-14T14:00:00", Reason.OUTSIDE_HOURS),
        ("2026-04-14T13:59:59", Reason.OUTSIDE_HOURS),  # the present reaches past the hour
        ("2026-04-14T09:00:01", Reason.OUTSIDE_HOURS),  # and may still be before it
        ("2026-04-14T23:00:00", Reason.OUTSIDE_HOURS),
        ("2026-04-17T10:00:00", Reason.NO_CUT_DAY),  # Friday
        ("2026-04-18T10:00:00", Reason.NO_CUT_DAY),  # Saturday
        ("2026-04-19T10:00:00", Reason.NO_CUT_DAY),  # Sunday
        ("2026-12-07T10:00:00", Reason.NO_CUT_DAY),  # the eve of Constitution Day, a Monday
        ("2026-12-08T10:00:00", Reason.NO_CUT_DAY),  # the day itself
        ("2026-08-31T10:00:00", Reason.NO_CUT_DAY),  # the eve of Independence Day
    ],
)
def test_the_calendar_holds(wall: str, reason: Reason) -> None:
    shift = local(wall) - NOW
    moved = replace(
        DEBTOR,
        overdue=Overdue(10**7, NOW - 40 * DAY + shift),
        notice=replace(notice(), delivered_at=NOW - 10 * DAY + shift),
        oldest_watermark_at=NOW - HOUR + shift,
        weather=WeatherForecast(DISTRICT, NOW - HOUR + shift, 8.0, 22.0),
    )
    decision = decide(moved, RULES, TimeBounds(PRESENT.earliest + shift, PRESENT.latest + shift))
    assert (decision.action, decision.reasons) == (Action.NONE, (reason,))


@pytest.mark.parametrize("name", ["min_debt_tiyin", "min_debt_age_days", "mode"])
def test_what_the_operator_has_not_set_blocks(name: str) -> None:
    unset: Any = {name: None}
    rules: PolicyRules = replace(RULES, **unset)
    assert Reason.RULES_INCOMPLETE in decide(DEBTOR, rules, PRESENT).reasons
    assert decide(DEBTOR, rules, PRESENT).action is Action.NONE


def test_a_doubtful_present_covers_both_ends() -> None:
    """A clock that may show any time of the week permits nothing."""
    week = TimeBounds(NOW - 3 * DAY, NOW + 3 * DAY)
    assert {Reason.NO_CUT_DAY, Reason.NOTICE_EXPIRED} & set(decide(DEBTOR, RULES, week).reasons)


def test_all_reasons_are_named_not_the_first_alone() -> None:
    facts = replace(DEBTOR, protected_class="school", notice=None, cuts_stopped=True)
    assert decide(facts, RULES, PRESENT).reasons == (
        Reason.CUTS_STOPPED,
        Reason.NOTICE_MISSING,
        Reason.PROTECTED_CLASS,
    )


@pytest.mark.parametrize(
    ("facts", "action", "reasons"),
    [
        ({}, Action.NONE, (Reason.ALREADY_CUT, Reason.STILL_OWED)),
        ({"overdue": Overdue(0, None)}, Action.RESTORE, (Reason.DEBT_CLEARED,)),
        ({"protected_class": "school"}, Action.RESTORE, (Reason.PROTECTED_NOW,)),
        ({"protections": (protection(ProtectionKind.DISPUTE),)}, Action.RESTORE, (Reason.PROTECTED_NOW,)),
        (
            {"overdue": Overdue(0, None), "protections": (protection(ProtectionKind.SAFETY_LOCK),)},
            Action.NONE,
            (Reason.SAFETY_LOCK,),
        ),
        ({"overdue": Overdue(0, None), "cut_cause": Cause.SAFETY}, Action.NONE, (Reason.NOT_OUR_CUT,)),
        ({"relay": RelayState.UNKNOWN, "cut_cause": None}, Action.NONE, (Reason.NOT_OUR_CUT,)),
    ],
)
def test_the_dark(facts: dict[str, Any], action: Action, reasons: tuple[Reason, ...]) -> None:
    decision = decide(replace(DARK, **facts), RULES, PRESENT)
    assert (decision.action, decision.reasons) == (action, reasons)


NEVER_NEEDED: dict[str, Any] = {
    "notice": None,
    "oldest_watermark_at": None,
    "weather": None,
    "mandate_valid": False,
    "quota_left": 0,
    "reading_actual": False,
    "clock_trusted": False,
    "cuts_stopped": True,
    "reconciled": False,
    "brakes": tuple(Reason),
}


@pytest.mark.parametrize("state", [one for one in RelayState if one not in {RelayState.CONNECTED, RelayState.UNKNOWN}])
def test_a_restore_needs_nothing_but_one_reason(state: RelayState) -> None:
    """Any hour, any day, no mandate, no brake, no trust in the clock: who paid is restored."""
    paid = replace(DARK, relay=state, overdue=Overdue(0, None), **NEVER_NEEDED)
    for shift in range(0, 7 * DAY, 7 * HOUR):
        present = TimeBounds(NOW + shift, NOW + shift + DAY)
        assert decide(paid, replace(RULES, min_debt_tiyin=None), present).action is Action.RESTORE


FLAGS = st.booleans()
FACTS = st.builds(
    Facts,
    relay=st.sampled_from(RelayState),
    cut_cause=st.sampled_from([None, *Cause]),
    remote_relay=FLAGS,
    overdue=st.builds(
        Overdue,
        st.integers(0, 2 * 10**7),
        st.one_of(st.none(), st.integers(NOW - 60 * DAY, NOW)),
        st.one_of(st.none(), st.integers(NOW - 60 * DAY, NOW)),
    ),
    protected_class=st.sampled_from([None, None, None, "hospital"]),
    protections=st.lists(
        st.builds(protection, st.sampled_from(ProtectionKind), st.just(NOW - DAY), st.integers(NOW - 9, NOW + 9)),
        max_size=2,
    ).map(tuple),
    notice=st.one_of(st.none(), st.builds(notice, st.integers(1, 2 * 10**7), st.integers(-1, 40))),
    oldest_watermark_at=st.one_of(st.none(), st.integers(NOW - 48 * HOUR, NOW)),
    weather=st.one_of(
        st.none(), st.builds(WeatherForecast, st.just(DISTRICT), st.just(NOW), st.floats(-9, 9), st.floats(10, 45))
    ),
    mandate_valid=FLAGS,
    mandate_watermark_age_h_max=st.integers(0, 48),
    quota_left=st.integers(-1, 2),
    reading_actual=FLAGS,
    clock_trusted=FLAGS,
    cuts_stopped=FLAGS,
    reconciled=FLAGS,
    records_sound=FLAGS,
    brakes=st.sampled_from([(), (), (Reason.BRAKE_METER,)]),
    zone=st.just("Asia/Tashkent"),
)


@given(facts=FACTS, shift=st.integers(-DAY, DAY), doubt=st.integers(0, HOUR))
def test_total_and_of_one_mind(facts: Facts, shift: int, doubt: int) -> None:
    present = TimeBounds(NOW + shift, NOW + shift + doubt)
    decision = decide(facts, RULES, present)
    assert decision.reasons, "never without a reason"
    if decision.action is Action.CUT:
        assert facts.relay is RelayState.CONNECTED
        assert reasons_against_cut(facts, RULES, present) == ()
        assert facts.overdue.amount_tiyin > 0
        assert facts.protected_class is None
    if decision.action is Action.RESTORE:
        assert facts.cut_cause is Cause.DEBT
        assert facts.relay not in {RelayState.CONNECTED, RelayState.UNKNOWN}


@given(facts=FACTS, worse=st.sampled_from([field.name for field in fields(Facts)]), data=st.data())
def test_one_more_hindrance_never_permits_a_cut(facts: Facts, worse: str, data: st.DataObject) -> None:
    hindered: dict[str, Any] = {
        "overdue": Overdue(0, None),
        "protected_class": "school",
        "protections": (protection(ProtectionKind.DISPUTE),),
        "notice": None,
        "oldest_watermark_at": None,
        "weather": None,
        "mandate_valid": False,
        "quota_left": 0,
        "reading_actual": False,
        "clock_trusted": False,
        "cuts_stopped": True,
        "reconciled": False,
        "records_sound": False,
        "remote_relay": False,
        "brakes": (Reason.BRAKE_NODE_DAY,),
    }
    if worse in hindered:
        assert decide(replace(facts, **{worse: hindered[worse]}), RULES, PRESENT).action is not Action.CUT


def test_a_present_of_days_is_within_no_hours() -> None:
    """Both its ends lay within the hours of two days, and the night and the holiday between them were forgotten."""
    assert Reason.OUTSIDE_HOURS in against_by_hours(RULES, DEBTOR.zone, TimeBounds(NOW, NOW + DAY + 600))
    assert not against_by_hours(RULES, DEBTOR.zone, PRESENT)
