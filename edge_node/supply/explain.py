"""Why a home is on or off: the facts, the right, what would change it. Floor: edge_node/supply; on the payment walk.

The same gathering and the same decision as enforcement, read-only. Codes are plain; beside each stands the key under
which a catalogue has its words (`hosting.i18n.label_id`), so that a face says it in the reader's language.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from edge_node.store.operations import Operation
from edge_node.supply.enforcement import Enforcement
from edge_node.supply.facts import Moment, Sources
from edge_node.supply.judging import Judged
from edge_node.supply.place import Place, Places
from gridmodel.account import credit_tiyin, open_debts
from gridmodel.control import Cause, RelayState
from gridmodel.fault import Fault
from gridmodel.field_work import life_of
from gridmodel.identity import UsagePointId
from gridmodel.policy import Action, Reason, Remedy, fresh
from gridmodel.record import ProtectionKind
from hosting.i18n import label_id

OPERATIONS_SHOWN = 10
"""The last movements: more are in the audit."""


class ExplainFault(Fault):
    """A point about which nothing can be said."""

    status = 404


async def explain(enforcement: Enforcement, sources: Sources, point: UsagePointId) -> dict[str, Any]:
    """Everything that decides about `point` now, as plain values; raises ExplainFault (TQ-SU-01, -02)."""
    places = enforcement.places()
    if places is None:
        raise ExplainFault("TQ-SU-02", "this node has no registry yet", "it comes down with the link")
    moment = enforcement.moment()
    place = places.at(point, moment.now)
    if place is None:
        raise ExplainFault(
            "TQ-SU-01", f"this node knows no usage point {point:.64}", "check the id; it may be another's"
        )
    judged = await enforcement.door.judge(place)
    gathered, facts = judged.gathered, judged.gathered.facts
    operations = await sources.operations.of_point(point, OPERATIONS_SHOWN)
    return {
        "usage_point": point,
        "at": moment.now,
        "supplied": _supplied(facts.relay),
        "relay": _relay(judged),
        "decision": {
            "action": _worded(judged.decision.action),
            "reasons": [_worded(reason) for reason in judged.decision.reasons],
            "rules": judged.decision.rules_version,
        },
        "restored_by": _restored_by(judged),
        "money": await _money(sources, place, judged),
        "permission": _permission(judged, moment),
        "protections": [
            {
                "id": one.id,
                "kind": _worded(one.kind),
                "valid_from": one.valid_from,
                "valid_to": one.valid_to,
                "asserted_by": one.asserted_by,
            }
            for one in facts.protections
        ],
        "protected_class": facts.protected_class,
        "plan": None
        if gathered.plan is None
        else {"planned_at": gathered.plan.planned_at, "not_before": gathered.plan.not_before},
        "damaged": list(gathered.damaged),
        "place": {
            "account": place.account,
            "meter": None if place.meter is None else place.meter.id,
            "transformer": place.transformer,
            "district": place.point.district,
            "registry": place.registry_version,
            "life": _life(places, place, moment.now),
        },
        "operations": [operation_as_dict(operation) for operation in operations],
    }


def _life(places: Places, place: Place, now: int) -> dict[str, str] | None:
    """How far the life of the meter has come that stands here; None without one."""
    placed = places.registry.topology(now).installation_at.get(place.point.id)
    if placed is None:
        return None
    may_control = place.remote_relay and place.may_open
    return _worded(life_of(places.registry, [placed], now, may_control=may_control))


def operation_as_dict(operation: Operation) -> dict[str, Any]:
    """One movement with its basis, as plain values."""
    return {
        "id": operation.id,
        "usage_point": operation.usage_point,
        "meter": operation.meter,
        "action": operation.action.value,
        "cause": _worded(operation.cause),
        "intent_at": operation.intent_at,
        "sent_at": operation.sent_at,
        "result_at": operation.result_at,
        "outcome": None if operation.outcome is None else operation.outcome.value,
        "mandate": operation.mandate,
        "basis": dict(operation.basis),
        "sound": operation.sound,
    }


def _permission(judged: Judged, moment: Moment) -> dict[str, Any]:
    gathered, facts, rules = judged.gathered, judged.gathered.facts, moment.rules
    weather = facts.weather
    return {
        "mandate": None if gathered.mandate is None else gathered.mandate.id,
        "valid": facts.mandate_valid,
        "quota_left": facts.quota_left,
        "cuts_stopped": facts.cuts_stopped,
        "reconciled": facts.reconciled,
        "clock_trusted": facts.clock_trusted,
        "oldest_watermark_at": facts.oldest_watermark_at,
        "reading_actual": facts.reading_actual,
        "weather": None if weather is None else [weather.min_c, weather.max_c],
        "weather_issued_at": None if weather is None else weather.issued_at,
        "weather_fresh": weather is not None and fresh(weather.issued_at, rules.weather_max_age_h, moment.bounds),
        "brakes": [_worded(reason) for reason in facts.brakes],
        "rules_missing": list(rules.missing()),
    }


def _worded(member: Enum) -> dict[str, str]:
    return {"code": str(member.value), "label": label_id(member)}


def _supplied(state: RelayState) -> bool | None:
    """Whether the consumer has supply as far as the relay is concerned; None while nobody can know."""
    match state:
        case RelayState.CONNECTED | RelayState.CUT_INTENDED:
            return True
        case RelayState.DISCONNECTED | RelayState.READY_FOR_RECONNECTION:
            return False
        case (
            RelayState.UNKNOWN
            | RelayState.CUT_UNCONFIRMED
            | RelayState.RESTORE_INTENDED
            | RelayState.RESTORE_UNCONFIRMED
        ):
            return None


def _relay(judged: Judged) -> dict[str, Any]:
    row, facts = judged.gathered.row, judged.gathered.facts
    return {
        "state": _worded(facts.relay),
        "cause": None if facts.cut_cause is None else _worded(facts.cut_cause),
        "since": None if row is None else row.since,
        "seen_at": None if row is None else row.seen_at,
        "load_w": None if row is None else row.load_w,
        "paid_at": None if row is None else row.paid_at,
        "remote": facts.remote_relay,
    }


def _restored_by(judged: Judged) -> list[Mapping[str, Any]]:
    """What gives supply back, for a point that may be dark."""
    facts, reasons = judged.gathered.facts, judged.decision.reasons
    if facts.relay in {RelayState.CONNECTED, RelayState.UNKNOWN}:
        return []
    if Reason.SAFETY_LOCK in reasons:
        locks = [one.id for one in facts.protections if one.kind is ProtectionKind.SAFETY_LOCK]
        return [{**_worded(Remedy.LOCK_REMOVED), "locks": locks}]
    if judged.decision.action is Action.RESTORE:
        ready = facts.relay is RelayState.READY_FOR_RECONNECTION
        return [_worded(Remedy.BUTTON if ready else Remedy.UNDER_WAY)]
    if facts.cut_cause is not Cause.DEBT:
        return [_worded(Remedy.PERSON)]
    return [{**_worded(Remedy.PAYMENT), "amount_tiyin": facts.overdue.amount_tiyin}, _worded(Remedy.PROTECTION)]


async def _money(sources: Sources, place: Place, judged: Judged) -> dict[str, Any] | None:
    if place.account is None:
        return None
    state = await sources.ledger.statement(place.account)
    notice, owed = judged.gathered.facts.notice, judged.gathered.facts.overdue
    return {
        "account": place.account,
        "credit_tiyin": credit_tiyin(state.entries),
        "overdue_tiyin": owed.amount_tiyin,
        "oldest_due_at": owed.oldest_due_at,
        "debts": [
            {"entry": debt.entry, "remaining_tiyin": debt.remaining_tiyin, "due_at": debt.due_at}
            for debt in open_debts(state.entries)
        ],
        "notice": None
        if notice is None
        else {
            "id": notice.id,
            "amount_tiyin": notice.amount_tiyin,
            "evidence": _worded(notice.evidence),
            "delivered_at": notice.delivered_at,
        },
    }
