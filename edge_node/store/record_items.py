"""Records as they come down: plain bodies read typed and bounded. Floor: edge_node/store; on the payment walk."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from gridmodel.fault import Fault
from gridmodel.identity import AccountId, DistrictId, UsagePointId, checked_soato
from gridmodel.period import parse_day
from gridmodel.quantity import MONEY_TIYIN_MAX
from gridmodel.record import Notice, NoticeEvidence, Protection, ProtectionKind, WeatherForecast
from protocols.sync import fields as f
from protocols.sync.fields import Fields

REVOKED_AT_ONCE_MAX = 500
"""Assertions one revocation names: more would be a district's protections swept away in one stroke."""
CELSIUS_MAX = 70.0
"""No place of this network was ever hotter or colder."""


class RecordFault(Fault):
    """A record that cannot enter."""


def record_fault(number: str, what: str) -> RecordFault:
    """A RecordFault TQ-RC-`number`."""
    return RecordFault(f"TQ-RC-{number}", what, "nothing was taken in; mend the record where it was entered")


def notice_from_body(body: Mapping[str, Any]) -> Notice:
    """{id, account, amount_tiyin, evidence, delivered_at}; raises MessageFault or RecordFault."""
    read = Fields("notice", dict(body), ("id", "account", "amount_tiyin", "evidence", "delivered_at"))
    notice = Notice(
        read.identity("id"),
        AccountId(read.identity("account")),
        read.integer("amount_tiyin", 0, MONEY_TIYIN_MAX),
        read.choice("evidence", NoticeEvidence),
        read.time("delivered_at") if read.given("delivered_at") else None,
    )
    if notice.evidence is NoticeEvidence.NONE and notice.delivered_at is not None:
        raise record_fault("02", f"notice {notice.id} was delivered without evidence")
    return notice


def comparison_from_body(body: Mapping[str, Any]) -> dict[str, str]:
    """{id, first, last}: local days to be compared; raises MessageFault or PeriodFault."""
    read = Fields("compare", dict(body), ("id", "first", "last"))
    first, last = (parse_day(read.text(name)).isoformat() for name in ("first", "last"))
    return {"id": read.identity("id"), "first": first, "last": last}


def protection_from_body(body: Mapping[str, Any]) -> Protection:
    """{id, kind, usage_point, district, valid_from, valid_to, asserted_by}; raises MessageFault or RecordFault."""
    names = ("id", "kind", "usage_point", "district", "valid_from", "valid_to", "asserted_by")
    read = Fields("protection", dict(body), names)
    protection = Protection(
        read.identity("id"),
        read.choice("kind", ProtectionKind),
        UsagePointId(read.identity("usage_point")) if read.given("usage_point") else None,
        DistrictId(checked_soato("district", read.text("district"))) if read.given("district") else None,
        read.time("valid_from"),
        read.time("valid_to"),
        read.identity("asserted_by"),
    )
    if protection.valid_to <= protection.valid_from:
        raise record_fault("02", f"protection {protection.id} ends before it begins")
    return protection


def protection_to_body(protection: Protection) -> dict[str, Any]:
    """The fields by name."""
    return {
        "id": protection.id,
        "kind": protection.kind.value,
        "usage_point": protection.usage_point,
        "district": protection.district,
        "valid_from": protection.valid_from,
        "valid_to": protection.valid_to,
        "asserted_by": protection.asserted_by,
    }


def revocation_from_body(body: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """{ids, by} as (ids, by); raises MessageFault."""
    read = Fields("revocation", dict(body), ("ids", "by"))
    ids = read.listed("ids", REVOKED_AT_ONCE_MAX)
    return tuple(f.identity("revocation.ids", one) for one in ids), read.identity("by")


def weather_from_body(body: Mapping[str, Any]) -> WeatherForecast:
    """{district, issued_at, min_c, max_c}; raises MessageFault or RecordFault."""
    read = Fields("weather", dict(body), ("district", "issued_at", "min_c", "max_c"))
    low, high = _celsius(body["min_c"]), _celsius(body["max_c"])
    if low > high:
        raise record_fault("02", "a forecast's minimum is above its maximum")
    return WeatherForecast(
        DistrictId(checked_soato("district", read.text("district"))), read.time("issued_at"), low, high
    )


def stop_from_body(body: Mapping[str, Any]) -> tuple[str, str, str, int]:
    """{id, by, why, at} as (id, by, why, at); raises MessageFault."""
    read = Fields("stop", dict(body), ("id", "by", "why", "at"))
    return read.identity("id"), read.identity("by"), read.text("why"), read.time("at")


def _celsius(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise record_fault("02", f"{value!r:.40} is no temperature")
    if abs(value) > CELSIUS_MAX:
        raise record_fault("02", f"{value} °C was never seen here")
    return float(value)
