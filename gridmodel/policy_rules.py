"""The rules of disconnection as types, made from a dated parameter file. Ground floor; on the payment walk.

A parameter that the operator must set and has not set is never read as zero: it stays None, and `missing` names it, and
while anything is missing nobody is cut. Basis of each default: configs/policy/default.toml.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from operator import attrgetter
from typing import Any

from gridmodel.fault import Fault
from gridmodel.period import parse_day
from gridmodel.quantity import TIYIN_PER_SOM

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_PER_DAY = 24 * 60


class PolicyFault(Fault):
    """A policy file that cannot be used."""


@dataclass(frozen=True, slots=True)
class PolicyRules:
    """One dated rule set. Amounts in tiyin, durations as their names say; None = the operator has not decided."""

    version: str
    """Named in every decision, so that an auditor finds the rule set."""
    min_debt_tiyin: int | None
    min_debt_age_days: int | None
    mode: str | None
    """``postpaid``: debts are due after consumption. Prepaid has no rules yet, and is refused."""
    notice_days: int
    notice_expiry_days: int
    allowed_minutes: tuple[tuple[int, int], ...]
    """Windows of local minutes of the day, each [from, to)."""
    no_cut_weekdays: frozenset[int]
    """Monday is 0."""
    no_cut_days: frozenset[str]
    """Holidays and their eves, as local dates."""
    cold_moratorium_c: float
    heat_moratorium_c: float
    weather_max_age_h: int
    """A forecast older than this is no forecast, and counts as frost."""
    fresh_balance_max_age_h: int
    """How old the oldest payment watermark may be."""
    max_cuts_per_transformer_hour: int
    max_cuts_per_transformer_day_pct: Fraction
    max_cuts_per_node_day_pct: Fraction
    max_cuts_per_node_10min: int
    min_minutes_between_switchings: int
    max_cuts_per_meter_day: int
    cut_delay_max_min: int
    mandate_lifetime_h: int

    def missing(self) -> tuple[str, ...]:
        """The parameters without which nobody is cut."""
        values = _VALUES_OF(self)
        if None not in values:
            return ()
        return tuple(field.name for field, value in zip(fields(self), values, strict=True) if value is None)


_VALUES_OF = attrgetter(*(field.name for field in fields(PolicyRules)))
"""Every value of a rule set, in order."""


def _whole(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise PolicyFault("TQ-PO-02", f"{value!r:.40} is not a whole number from {low} to {high}", "mend the value")
        return value

    return read


def _percent(value: object) -> Fraction:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 100:
        raise PolicyFault("TQ-PO-02", f"{value!r:.40} is no percentage", "write a number above 0 and at most 100")
    return Fraction(str(value))


def _celsius(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not -60 <= value <= 60:
        raise PolicyFault("TQ-PO-02", f"{value!r:.40} is no temperature", "write degrees Celsius from -60 to 60")
    return float(value)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise PolicyFault("TQ-PO-02", f"{value!r:.40} is no list of words", 'write ["fri", "sat"]')
    return tuple(value)


def _weekdays(value: object) -> frozenset[int]:
    names = _texts(value)
    unknown = [name for name in names if name not in WEEKDAYS]
    if unknown:
        raise PolicyFault("TQ-PO-02", f"{unknown[0]!r:.40} is no weekday", f"use {', '.join(WEEKDAYS)}")
    return frozenset(WEEKDAYS.index(name) for name in names)


def _days(value: object) -> frozenset[str]:
    return frozenset(parse_day(day).isoformat() for day in _texts(value))


def _windows(value: object) -> tuple[tuple[int, int], ...]:
    windows = []
    for text in _texts(value):
        first, dash, last = text.partition("-")
        opens, closes = _minute_of_day(first), _minute_of_day(last)
        if not dash or closes <= opens:
            raise PolicyFault("TQ-PO-02", f"{text!r:.40} is no window of the day", 'write "09:00-14:00"')
        windows.append((opens, closes))
    return tuple(windows)


def _minute_of_day(text: str) -> int:
    hours, colon, minutes = text.partition(":")
    if not (
        colon and text.isascii() and hours.isdecimal() and len(hours) <= 2 and minutes.isdecimal() and len(minutes) == 2
    ):
        raise PolicyFault("TQ-PO-02", f"{text!r:.40} is no time of day", 'write "09:00"')
    minute = int(hours) * 60 + int(minutes)
    if not 0 <= minute <= MINUTES_PER_DAY or int(minutes) > 59:
        raise PolicyFault("TQ-PO-02", f"{text!r:.40} is no time of day", 'write "09:00"')
    return minute


def _mode(value: object) -> str:
    if value != "postpaid":
        raise PolicyFault("TQ-PO-02", f"{value!r:.40} is no mode that has rules", 'write "postpaid"')
    return "postpaid"


def _som(value: object) -> int:
    return _whole(0, 10**9)(value) * TIYIN_PER_SOM


_PARAMETERS: dict[str, tuple[str, Callable[[object], Any]]] = {
    # parameter of the file: (field of PolicyRules, reader)
    "min_debt_uzs": ("min_debt_tiyin", _som),
    "min_debt_age_days": ("min_debt_age_days", _whole(0, 3650)),
    "mode": ("mode", _mode),
    "notice_days": ("notice_days", _whole(1, 365)),
    "notice_expiry_days": ("notice_expiry_days", _whole(1, 365)),
    "allowed_hours": ("allowed_minutes", _windows),
    "no_cut_weekdays": ("no_cut_weekdays", _weekdays),
    "no_cut_days": ("no_cut_days", _days),
    "cold_moratorium_c": ("cold_moratorium_c", _celsius),
    "heat_moratorium_c": ("heat_moratorium_c", _celsius),
    "weather_max_age_h": ("weather_max_age_h", _whole(1, 72)),
    "fresh_balance_max_age_h": ("fresh_balance_max_age_h", _whole(1, 24 * 14)),
    "max_cuts_per_transformer_hour": ("max_cuts_per_transformer_hour", _whole(0, 1000)),
    "max_cuts_per_transformer_day_pct": ("max_cuts_per_transformer_day_pct", _percent),
    "max_cuts_per_node_day_pct": ("max_cuts_per_node_day_pct", _percent),
    "max_cuts_per_node_10min": ("max_cuts_per_node_10min", _whole(0, 1000)),
    "min_minutes_between_switchings": ("min_minutes_between_switchings", _whole(0, 24 * 60)),
    "max_cuts_per_meter_day": ("max_cuts_per_meter_day", _whole(0, 24)),
    "cut_delay_max_min": ("cut_delay_max_min", _whole(0, 24 * 60)),
    "mandate_lifetime_h": ("mandate_lifetime_h", _whole(1, 24 * 14)),
}
_OPERATOR_SETS = frozenset({"min_debt_uzs", "min_debt_age_days", "mode"})
"""Parameters without a default anywhere: absent means that nobody is cut."""


def rules_from_parameters(version: str, parameters: Mapping[str, Any]) -> PolicyRules:
    """Typed rules from the parameters that enforcement reads; raises PolicyFault (TQ-PO-01…02) naming the parameter.

    A parameter that is absent is a fault, except those that the operator must set: absent they stay None and block.
    Parameters of the file that belong to billing or reconnection are not read here.
    """
    values: dict[str, Any] = {}
    for name, (field_name, read) in _PARAMETERS.items():
        if name not in parameters and name in _OPERATOR_SETS:
            values[field_name] = None
            continue
        if name not in parameters:
            raise PolicyFault("TQ-PO-01", f"the policy has no {name}", "copy it from configs/policy/default.toml")
        try:
            values[field_name] = read(parameters[name])
        except Fault as fault:
            raise PolicyFault("TQ-PO-02", f"{name}: {fault.what}", fault.hint) from fault
    return PolicyRules(version=version, **values)
